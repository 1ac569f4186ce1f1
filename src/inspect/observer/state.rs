//! The state of an array: a copy of the state block in its file, read without mapping the file.

use crate::{
    error::{Error, Result},
    format::{
        constants::*,
        words::{Owner, frozen},
    },
    inspect::info::ArrayInfo,
    layout::span::Span,
    scope::Scope,
    state::{
        block::lifecycle,
        lanes::{Mode, member_of},
        snapshot::{LaneSnapshot, StateSnapshot},
    },
    store::StoreReader,
    sys::fs::open_file,
};
use std::{ops::Range, os::unix::fs::FileExt};

/// The state of an array when it was looked at. Given by
/// [`Observer::state`](crate::Observer::state).
///
/// # Examples
///
/// ```
/// use ndshm::{GuardKind, Observer};
///
/// let manager = ndshm::Manager::new()?;
/// let xs = manager.zeros::<u8, _>(100)?;
/// let left = xs.slice(ndarray::s![..50])?;
/// let guard = left.read()?;
/// let state = Observer::open(manager.path())?.state(&xs.handle().info()?)?;
/// assert_eq!((state.guards[0].kind, state.guards[0].range.clone()), (GuardKind::Read, 0..50));
/// assert_eq!(Some(state.producer), state.owner);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArrayState {
    /// The rule of its deletion: by its owner (`Local`), by the first opener of a handle of it,
    /// which becomes its owner (`Remote`), or with the store (`Store`).
    pub scope: Scope,
    /// The member that owns a `Local` array. If it is dead, a sweep deletes the array.
    pub owner: Option<MemberState>,
    /// The member that made it.
    pub producer: MemberState,
    /// Whether it was frozen.
    pub is_frozen: bool,
    /// Mappings of the file. After a process was killed the number may be too high, never too low.
    pub openers: u32,
    /// Bytes of the data that a writer left half-written, the bytes under the guard of a dead
    /// writer included.
    pub poisoned: Vec<Range<usize>>,
    /// The guards that living members hold and wait for.
    pub guards: Vec<GuardState>,
    /// Whether a process waits for a guard, or for the array to be frozen.
    pub is_waited_for: bool,
}

/// A process in a store, by its member id, which is never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberState {
    /// The member id.
    pub id: u64,
    /// Whether the process lives.
    pub is_alive: bool,
}

/// A guard on an array, or the wait for one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardState {
    /// Its access.
    pub kind: GuardKind,
    /// From the first byte of its view to the last, counted from the start of the array's data; the
    /// view need not have all bytes in between.
    pub range: Range<usize>,
    /// The member that holds it.
    pub member: u64,
}

/// The access of a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuardKind {
    /// It reads.
    Read,
    /// It writes, recovers or freezes.
    Write,
    /// It waits, to write, to read or for atomic access.
    Waiting,
    /// It does atomic access, beside others that do so to the same bytes.
    Atomic,
}

impl ArrayState {
    /// Copies the state block of an array's file, and asks about the members in it.
    pub(super) fn read(info: &ArrayInfo, store: &StoreReader) -> Result<Self> {
        let released = || Error::Released {
            path: info.path.clone(),
            id: info.id,
        };
        let file = open_file(&info.path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => released(),
            _ => Error::Io {
                path: info.path.clone(),
                action: "open the array file",
                source,
            },
        })?;
        let mut head = [0; HEADER_KEY_AT];
        file.read_exact_at(&mut head, 0)
            .map_err(Error::io(&info.path, "read the state block"))?;
        let state = StateSnapshot::in_head(&head);
        let is_same = head.starts_with(&MAGIC)
            && state.generation == info.generation
            && state.lifecycle == lifecycle::READY;
        if !is_same || is_another(info, &file)? {
            return Err(released());
        }
        let mut lanes = store.lanes()?;
        lanes.retain(|lane| lane.key == info.id.lane_key());
        Self::of(&state, &lanes, info.byte_len, |member| {
            store.is_alive(member)
        })
    }

    fn of(
        state: &StateSnapshot,
        lanes: &[LaneSnapshot],
        byte_len: usize,
        is_alive: impl Fn(u64) -> Result<bool>,
    ) -> Result<Self> {
        let member = |id| {
            Ok::<_, Error>(MemberState {
                id,
                is_alive: is_alive(id)?,
            })
        };
        let (scope, owner) = match Owner::of(state.owner) {
            // Damaged, it names no process that deletes the array.
            Some(Owner::None) | None => (Scope::Store, None),
            Some(Owner::Claimable) => (Scope::Remote, None),
            Some(Owner::Member(id)) => (Scope::Local, Some(member(id)?)),
        };
        let is_frozen = state.frozen == frozen::FROZEN;
        let (mut poisoned, guards) = guards(state, lanes, byte_len, &is_alive)?;
        if is_frozen {
            // No process writes a frozen array, so records of poison in its table mean nothing.
            poisoned.clear();
        }
        Ok(Self {
            scope,
            owner,
            producer: member(state.producer)?,
            is_frozen,
            openers: state.openers,
            poisoned,
            is_waited_for: state.waiting != 0
                || guards.iter().any(|guard| guard.kind == GuardKind::Waiting),
            guards,
        })
    }
}

/// The poisoned ranges of an array, in ascending order, and the guards of living members.
fn guards(
    state: &StateSnapshot,
    lanes: &[LaneSnapshot],
    byte_len: usize,
    is_alive: impl Fn(u64) -> Result<bool>,
) -> Result<(Vec<Range<usize>>, Vec<GuardState>)> {
    let mut poisoned: Vec<_> = state
        .poison()
        .map(|(_, record)| range_of(record.span, byte_len))
        .collect();
    let mut guards = Vec::new();
    for lane in lanes {
        let (range, member) = (range_of(lane.span, byte_len), member_of(lane.tag));
        if Mode::Poisoned.is(lane.tag) {
            poisoned.push(range);
            continue;
        }
        let Some(kind) = kind_of(lane.tag) else {
            continue;
        };
        if is_alive(member)? {
            guards.push(GuardState {
                kind,
                range,
                member,
            });
        } else if kind == GuardKind::Write {
            poisoned.push(range);
        }
    }
    poisoned.sort_unstable_by_key(|range| (range.start, range.end));
    // A record that is being moved stands in two places.
    poisoned.dedup();
    Ok((poisoned, guards))
}

/// The range of a span, whatever stands in it: one within the data.
fn range_of(span: Span, byte_len: usize) -> Range<usize> {
    let (start, end) = (clamped(span.start, byte_len), clamped(span.end, byte_len));
    start..end.max(start)
}

fn clamped(at: u64, byte_len: usize) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX).min(byte_len)
}

fn kind_of(tag: u64) -> Option<GuardKind> {
    [
        (Mode::Read, GuardKind::Read),
        (Mode::ReadExclusive, GuardKind::Read),
        (Mode::Write, GuardKind::Write),
        (Mode::WriteWait, GuardKind::Waiting),
        (Mode::ReadWait, GuardKind::Waiting),
        (Mode::AtomicWait, GuardKind::Waiting),
        (Mode::Atomic, GuardKind::Atomic),
    ]
    .into_iter()
    .find_map(|(mode, kind)| mode.is(tag).then_some(kind))
}

/// Whether another file has taken the path since the description was read: then its header has
/// another id, because ids are never given twice.
fn is_another(info: &ArrayInfo, file: &std::fs::File) -> Result<bool> {
    // The id is the first entry of the header map: a text of two letters, a tag, a byte string.
    let mut start = [0; 64];
    let read = file
        .read_at(&mut start, HEADER_AT as u64)
        .map_err(Error::io(&info.path, "read the header"))?;
    Ok(!start[..read]
        .windows(16)
        .any(|bytes| bytes == info.id.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::words::{CLAIMABLE, seal};

    fn head(words: &[(usize, u64)]) -> [u8; HEADER_KEY_AT] {
        let mut head = [0; HEADER_KEY_AT];
        words
            .iter()
            .for_each(|(at, word)| head[*at..at + 8].copy_from_slice(&word.to_ne_bytes()));
        head
    }

    fn parse(words: &[(usize, u64)], lanes: &[LaneSnapshot]) -> ArrayState {
        let state = StateSnapshot::in_head(&head(words));
        ArrayState::of(&state, lanes, 1000, |member| Ok(member == 1)).unwrap()
    }

    fn lane(mode: u64, member: u64, start: u64, end: u64) -> LaneSnapshot {
        LaneSnapshot {
            tag: member << 8 | mode,
            key: 0,
            span: Span::range(start, end),
            thread: 0,
            turn: 0,
            process: 0,
            since: 0,
        }
    }

    #[test]
    fn the_owner_word_says_the_scope() {
        assert_eq!(parse(&[(OWNER_AT, 0)], &[]).scope, Scope::Store);
        assert_eq!(parse(&[(OWNER_AT, CLAIMABLE)], &[]).scope, Scope::Remote);
        assert_eq!(parse(&[(OWNER_AT, 2)], &[]).scope, Scope::Store);
        let dead = parse(&[(OWNER_AT, seal(2))], &[]);
        assert_eq!(
            (dead.scope, dead.owner),
            (
                Scope::Local,
                Some(MemberState {
                    id: 2,
                    is_alive: false
                })
            )
        );
    }

    #[test]
    fn what_a_dead_writer_holds_is_poison_and_what_a_dead_reader_holds_is_nothing() {
        let lanes = [
            lane(2, 2, 8, 16),
            lane(1, 2, 0, 8),
            lane(3, 2, 0, 8),
            lane(4, 2, 0, 4),
            lane(2, 1, 16, 24),
        ];
        let state = parse(&[], &lanes);
        assert_eq!(state.poisoned, [0..4, 8..16]);
        assert_eq!(
            state.guards,
            [GuardState {
                kind: GuardKind::Write,
                range: 16..24,
                member: 1
            }]
        );
        let is_frozen = [(FROZEN_AT, frozen::FROZEN.into())];
        assert!(parse(&is_frozen, &lanes).poisoned.is_empty());
    }

    #[test]
    fn whatever_stands_in_a_lane_gives_ranges_within_the_data() {
        let lanes = [
            lane(2, 1, u64::MAX, 3),
            lane(1, 1, 5, u64::MAX),
            lane(15, 1, 0, 1),
        ];
        let ranges: Vec<_> = parse(&[], &lanes)
            .guards
            .into_iter()
            .map(|guard| guard.range)
            .collect();
        assert_eq!(ranges, [1000..1000, 5..1000]);
    }
}

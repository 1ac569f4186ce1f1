//! The state of an array as it stands in its file: a copy of the state block, read without mapping
//! the file.

use crate::{
    error::{Error, Result},
    format::constants::*,
    inspect::info::ArrayInfo,
    scope::Scope,
    state::{
        block::lifecycle,
        lock_table::{Mode, member_of},
    },
    sys::fs::open_file,
};
use std::{ops::Range, os::unix::fs::FileExt};

/// What goes on with an array, when it was looked at. Given by
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
    /// Who deletes it: `Local` its owner, `Remote` whoever opens its handle first, `Store` the end
    /// of the store.
    pub scope: Scope,
    /// The member that owns a `Local` array. If it is dead, the array is what a sweep deletes.
    pub owner: Option<MemberState>,
    /// The member that made it.
    pub producer: MemberState,
    /// Whether it was frozen.
    pub is_frozen: bool,
    /// Mappings of the file: after processes were killed it may be too high, never too low.
    pub openers: u32,
    /// Bytes of the data that a writer left half-written, those included that a dead writer still
    /// seems to hold.
    pub poisoned: Vec<Range<usize>>,
    /// The guards that living members hold, and those that writers wait for.
    pub guards: Vec<GuardState>,
    /// Whether somebody waits for a guard, or for the array to be frozen.
    pub is_waited_for: bool,
}

/// A process in a store, by the number that it has there: never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberState {
    /// Its number.
    pub id: u64,
    /// Whether it lives.
    pub is_alive: bool,
}

/// A guard on an array, or a writer's claim to one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardState {
    /// What it is for.
    pub kind: GuardKind,
    /// From the first byte of its view to the last, from the start of the array's data; it need not
    /// cover all of them.
    pub range: Range<usize>,
    /// The member that holds it.
    pub member: u64,
}

/// What a guard is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuardKind {
    /// It reads.
    Read,
    /// It writes, recovers or freezes.
    Write,
    /// It waits to write.
    Waiting,
    /// It lets others do atomic access to the same bytes.
    Atomic,
}

impl ArrayState {
    /// Copies the state block of an array's file, and asks about the members in it.
    pub(super) fn read(info: &ArrayInfo, is_alive: impl Fn(u64) -> Result<bool>) -> Result<Self> {
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
        let mut head = [0; HEADER_AT];
        file.read_exact_at(&mut head, 0)
            .map_err(Error::io(&info.path, "read the state block"))?;
        let is_same = u64_at(&head, GENERATION_AT) == info.generation
            && u32_at(&head, LIFECYCLE_AT as usize) == lifecycle::READY;
        if !is_same || !head.starts_with(&MAGIC) || is_another(info, &file)? {
            return Err(released());
        }
        Self::parse(&head, info.byte_len, is_alive)
    }

    fn parse(
        head: &[u8; HEADER_AT],
        byte_len: usize,
        is_alive: impl Fn(u64) -> Result<bool>,
    ) -> Result<Self> {
        let member = |id| {
            Ok::<_, Error>(MemberState {
                id,
                is_alive: is_alive(id)?,
            })
        };
        let (scope, owner) = match u64_at(head, OWNER_AT) {
            0 => (Scope::Store, None),
            CLAIMABLE => (Scope::Remote, None),
            id => (Scope::Local, Some(member(id)?)),
        };
        let is_frozen = u32_at(head, FROZEN_AT) != 0;
        let (mut poisoned, mut guards) = (Vec::new(), Vec::new());
        for slot in 0..SLOTS {
            let at = SLOTS_AT + slot * SLOT_LEN;
            let tag = u64_at(head, at);
            if tag == 0 {
                continue;
            }
            // Whatever stands there: a range within the data.
            let bound = |at| {
                usize::try_from(u64_at(head, at))
                    .unwrap_or(usize::MAX)
                    .min(byte_len)
            };
            let (start, end) = (bound(at + 8), bound(at + 16));
            let (range, id) = (start..end.max(start), member_of(tag));
            if Mode::Poisoned.is(tag) {
                poisoned.push(range);
                continue;
            }
            let kinds = [
                (Mode::Read, GuardKind::Read),
                (Mode::Write, GuardKind::Write),
                (Mode::Intent, GuardKind::Waiting),
                (Mode::Atomic, GuardKind::Atomic),
            ];
            let Some((_, kind)) = kinds.into_iter().find(|(mode, _)| mode.is(tag)) else {
                continue;
            };
            match is_alive(id)? {
                true => guards.push(GuardState {
                    kind,
                    range,
                    member: id,
                }),
                false if kind == GuardKind::Write => poisoned.push(range),
                false => {}
            }
        }
        if is_frozen {
            // Nobody writes a frozen array, so what is left in its table means nothing.
            poisoned.clear();
        }
        poisoned.sort_unstable_by_key(|range| (range.start, range.end));
        let producer = member(u64_at(head, PRODUCER_AT))?;
        let (openers, is_waited_for) = (u32_at(head, OPENERS_AT), u32_at(head, WAITING_AT) != 0);
        Ok(Self {
            scope,
            owner,
            producer,
            is_frozen,
            openers,
            poisoned,
            guards,
            is_waited_for,
        })
    }
}

/// Whether the path is another file's than when the description was read: then it has another
/// header, because ids are never used twice.
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

fn u32_at(head: &[u8], at: usize) -> u32 {
    head[at..]
        .first_chunk()
        .map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn u64_at(head: &[u8], at: usize) -> u64 {
    head[at..]
        .first_chunk()
        .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(words: &[(usize, u64)]) -> [u8; HEADER_AT] {
        let mut head = [0; HEADER_AT];
        words
            .iter()
            .for_each(|(at, word)| head[*at..at + 8].copy_from_slice(&word.to_ne_bytes()));
        head
    }

    fn parse(words: &[(usize, u64)]) -> ArrayState {
        ArrayState::parse(&head(words), 1000, |member| Ok(member == 1)).unwrap()
    }

    fn slot(index: usize, mode: u64, member: u64, start: u64, end: u64) -> [(usize, u64); 3] {
        let at = SLOTS_AT + index * SLOT_LEN;
        [(at, mode << 56 | member), (at + 8, start), (at + 16, end)]
    }

    #[test]
    fn the_owner_word_says_the_scope() {
        assert_eq!(parse(&[(OWNER_AT, 0)]).scope, Scope::Store);
        assert_eq!(parse(&[(OWNER_AT, u64::MAX)]).scope, Scope::Remote);
        let dead = parse(&[(OWNER_AT, 2)]);
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
        let words = [
            slot(0, 2, 2, 8, 16),
            slot(1, 1, 2, 0, 8),
            slot(2, 3, 2, 0, 8),
            slot(3, 4, 2, 0, 4),
            slot(63, 2, 1, 16, 24),
        ]
        .concat();
        let state = parse(&words);
        assert_eq!(state.poisoned, [0..4, 8..16]);
        assert_eq!(
            state.guards,
            [GuardState {
                kind: GuardKind::Write,
                range: 16..24,
                member: 1
            }]
        );
        assert!(
            parse(&[&words[..], &[(FROZEN_AT, 1)]].concat())
                .poisoned
                .is_empty()
        );
    }

    #[test]
    fn whatever_stands_in_a_slot_gives_ranges_within_the_data() {
        let words = [
            slot(0, 2, 1, u64::MAX, 3),
            slot(1, 1, 1, 5, u64::MAX),
            slot(2, 99, 1, 0, 1),
        ]
        .concat();
        let ranges: Vec<_> = parse(&words)
            .guards
            .into_iter()
            .map(|guard| guard.range)
            .collect();
        assert_eq!(ranges, [1000..1000, 5..1000]);
    }
}

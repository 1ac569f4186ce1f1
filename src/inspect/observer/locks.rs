//! The guards and waits of a whole store, and which of them wait for which.

use super::{GuardKind, Observer};
use crate::{
    error::Result,
    format::id::ArrayId,
    inspect::info::ArrayInfo,
    layout::{span::Span, text::slice_of},
    state::{
        lanes::{Conflicts, Mode, OF_ARRAYS, READING, is_in, is_waiting, member_of, wanted_by},
        snapshot::LaneSnapshot,
    },
    sync::milliseconds,
    sys::process,
};
use std::{collections::HashMap, fs, ops::Range, path::PathBuf, time::Duration};

/// A guard on an array, or the wait for one. Given by [`Observer::locks`](crate::Observer::locks).
///
/// # Examples
///
/// ```
/// use ndshm::{GuardKind, Observer};
///
/// let manager = ndshm::Manager::new()?;
/// let results = manager.options().name("results").zeros::<f64, _>((5, 100))?;
/// let row = results.slice(ndarray::s![3, ..])?;
/// let guard = row.write()?;
/// let locks = Observer::open(manager.path())?.locks()?;
/// assert_eq!((locks[0].kind, locks[0].view.as_deref()), (GuardKind::Write, Some("[3]")));
/// assert_eq!(locks[0].pid, Some(std::process::id()));
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockState {
    /// The array, if it is still in the store.
    pub array: Option<ArrayId>,
    /// Its file.
    pub path: Option<PathBuf>,
    /// What the guard is for.
    pub kind: GuardKind,
    /// Whether it is waited for, not held.
    pub is_waiting: bool,
    /// From the first byte of its view to the last, counted from the start of the array's data; the
    /// view need not have all bytes in between.
    pub range: Range<usize>,
    /// Its view as a slice of the array in NumPy's notation, where one says it: `[3]`,
    /// `[:, 128:256]`.
    pub view: Option<String>,
    /// The member that holds it or waits for it.
    pub member: u64,
    /// Whether that member lives. A guard to write of a dead member is poison.
    pub is_alive: bool,
    /// Its process, where the number means something: in the same pid namespace.
    pub pid: Option<u32>,
    /// The command of the process, where it can be read.
    pub command: Option<String>,
    /// How long it has waited.
    pub waited: Option<Duration>,
    /// The guards and waits that it waits for: their places in the list.
    pub waits_for: Vec<usize>,
}

impl Observer {
    /// All guards in the store and all waits for one, and which of them wait for which.
    ///
    /// One copy of the lock file, without stopping any process: what changed meanwhile may be
    /// missing or be there twice.
    ///
    /// # Errors
    ///
    /// `Io` if the lock file or the directory cannot be read.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// let observer = ndshm::Observer::open(manager.path())?;
    /// assert!(observer.locks()?.is_empty());
    /// let _guard = xs.read()?;
    /// assert_eq!(observer.locks()?.len(), 1);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn locks(&self) -> Result<Vec<LockState>> {
        let mut lanes = self.store.lanes()?;
        let ended = Mode::Poisoned.bit() | Mode::Written.bit();
        lanes.retain(|lane| is_in(lane.tag, OF_ARRAYS & !ended));
        if lanes.is_empty() {
            return Ok(Vec::new());
        }
        let arrays: HashMap<u64, ArrayInfo> = self
            .arrays()?
            .into_iter()
            .flatten()
            .map(|info| (info.id.lane_key(), info))
            .collect();
        // Guards of one array together, the first bytes first, guards before waits.
        lanes.sort_by_key(|lane| {
            let path = arrays.get(&lane.key).map(|info| info.path.clone());
            (
                path,
                lane.key,
                is_waiting(lane.tag),
                lane.span.start,
                lane.tag,
            )
        });
        let mut alive = HashMap::new();
        let mut locks = Vec::with_capacity(lanes.len());
        for lane in &lanes {
            let member = member_of(lane.tag);
            let is_alive = match alive.get(&member) {
                Some(&is_alive) => is_alive,
                None => *alive.entry(member).or_insert(self.store.is_alive(member)?),
            };
            let info = arrays.get(&lane.key);
            let pid = process::pid_of(lane.process);
            locks.push(LockState {
                array: info.map(|info| info.id),
                path: info.map(|info| info.path.clone()),
                kind: kind_of(lane.tag),
                is_waiting: is_waiting(lane.tag),
                range: range_of(lane.span, info.map_or(usize::MAX, |info| info.byte_len)),
                view: info.and_then(|info| {
                    slice_of(&lane.span, &info.shape, info.order, info.dtype.itemsize())
                }),
                member,
                is_alive,
                pid,
                command: pid.filter(|_| is_alive).and_then(command_of),
                waited: is_waiting(lane.tag).then(|| {
                    Duration::from_millis(u64::from(milliseconds().wrapping_sub(lane.since)))
                }),
                waits_for: waits_for(lane, &lanes),
            });
        }
        Ok(locks)
    }
}

fn waits_for(lane: &LaneSnapshot, lanes: &[LaneSnapshot]) -> Vec<usize> {
    if !is_waiting(lane.tag) {
        return Vec::new();
    }
    let wanted = wanted_by(lane.tag);
    let is_kept_by = |other: &LaneSnapshot| {
        let is_writer_before_reader = wanted != Mode::Write && Mode::WriteWait.is(other.tag);
        other.key == lane.key
            && other.span.overlaps(&lane.span)
            && (Conflicts::of(wanted).has(other.tag) || is_writer_before_reader)
    };
    let others = lanes.iter().enumerate();
    others
        .filter(|(_, other)| is_kept_by(other))
        .map(|(at, _)| at)
        .collect()
}

fn kind_of(tag: u64) -> GuardKind {
    if is_in(tag, READING) || Mode::ReadWait.is(tag) {
        GuardKind::Read
    } else if Mode::Atomic.is(tag) || Mode::AtomicWait.is(tag) {
        GuardKind::Atomic
    } else {
        GuardKind::Write
    }
}

fn range_of(span: Span, byte_len: usize) -> Range<usize> {
    let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(byte_len);
    within(span.start)..within(span.end).max(within(span.start))
}

/// The command of a process, its arguments separated by spaces.
pub(crate) fn command_of(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    let text: String = text
        .trim()
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(200)
        .collect();
    (!text.is_empty()).then_some(text)
}

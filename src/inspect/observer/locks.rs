//! The guards and waits of a whole store, and which of them wait for which.

use super::{GuardKind, Observer};
use crate::{
    element::dtype::DType,
    error::Result,
    format::id::ArrayId,
    inspect::{holder::Holder, info::ArrayInfo},
    layout::{Order, span::Span, text::slice_of},
    state::{
        lanes::{Conflicts, Mode, OF_ARRAYS, READING, is_in, is_waiting, member_of, wanted_by},
        snapshot::LaneSnapshot,
    },
    store::thread_lanes,
    sync::milliseconds,
    sys::process,
};
use std::{collections::HashMap, ops::Range, time::Duration};

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
/// let holder = &locks[0].holder;
/// assert_eq!((holder.kind, holder.slice.as_deref()), (Some(GuardKind::Write), Some("[3]")));
/// assert_eq!(holder.pid, Some(std::process::id()));
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockState {
    /// The array, if it is still in the store.
    pub array: Option<ArrayId>,
    /// The guard or wait, with its process, in the words of errors. Its kind is known; its time is
    /// that of a wait.
    pub holder: Holder,
    /// The guards and waits that it waits for: their places in the list.
    pub waits_for: Vec<usize>,
}

impl Observer {
    /// All guards in the store and all waits for one, and which of them wait for which.
    ///
    /// One copy of the lock file, without stopping any process: a guard that was taken or given
    /// back meanwhile may be missing or be there twice.
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
        lanes.sort_by_cached_key(|lane| {
            let path = arrays.get(&lane.key).map(|info| info.path.clone());
            (
                path,
                lane.key,
                is_waiting(lane.tag),
                lane.span.start,
                lane.tag,
            )
        });
        let (mut alive, mut commands) = (HashMap::new(), HashMap::new());
        let pid_of = process::pids_here();
        let mut locks = Vec::with_capacity(lanes.len());
        for lane in &lanes {
            let member = member_of(lane.tag);
            let is_alive = match alive.get(&member) {
                Some(&is_alive) => is_alive,
                None => *alive.entry(member).or_insert(self.store.is_alive(member)?),
            };
            let info = arrays.get(&lane.key);
            let pid = pid_of(lane.process);
            let command = pid.filter(|_| is_alive).and_then(|pid| {
                let command = commands.entry(pid);
                command.or_insert_with(|| process::command_of(pid)).clone()
            });
            locks.push(LockState {
                array: info.map(|info| info.id),
                holder: holder(lane, info, is_alive, pid, command),
                waits_for: waits_for(lane, &lanes),
            });
        }
        Ok(locks)
    }
}

/// The guard or wait in a lane, which a process of this number and command holds.
fn holder(
    lane: &LaneSnapshot,
    info: Option<&ArrayInfo>,
    is_alive: bool,
    pid: Option<u32>,
    command: Option<String>,
) -> Holder {
    let is_this_process = is_alive && pid == Some(std::process::id());
    Holder {
        path: info.map(|info| info.path.clone()),
        kind: Some(kind_of(lane.tag)),
        is_waiting: is_waiting(lane.tag),
        range: range_of(lane.span, info.map_or(usize::MAX, |info| info.byte_len)),
        slice: info
            .and_then(|info| slice_of_span(&lane.span, &info.shape, info.order, &info.dtype)),
        member: member_of(lane.tag),
        is_alive,
        pid,
        command,
        is_this_process,
        is_this_thread: is_this_process && lane.is_of_thread(thread_lanes::number()),
        since: waited(lane),
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

/// The access of the guard in a lane, held or waited for.
pub(crate) fn kind_of(tag: u64) -> GuardKind {
    if is_in(tag, READING) || Mode::ReadWait.is(tag) {
        GuardKind::Read
    } else if Mode::Atomic.is(tag) || Mode::AtomicWait.is(tag) {
        GuardKind::Atomic
    } else {
        GuardKind::Write
    }
}

/// From the first byte of a span to the last, whatever stands in it: within the data.
pub(crate) fn range_of(span: Span, byte_len: usize) -> Range<usize> {
    let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(byte_len);
    within(span.start)..within(span.end).max(within(span.start))
}

/// How long the wait in a lane has lasted, if one is in it.
pub(crate) fn waited(lane: &LaneSnapshot) -> Option<Duration> {
    let waited = || Duration::from_millis(u64::from(milliseconds().wrapping_sub(lane.since)));
    is_waiting(lane.tag).then(waited)
}

/// The view of a guard, as a slice of the array in NumPy's notation. `None` if no slice says it.
pub(crate) fn slice_of_span(
    span: &Span,
    shape: &[usize],
    order: Order,
    dtype: &DType,
) -> Option<String> {
    let itemsize = dtype.itemsize();
    slice_of(span, shape, order, itemsize).or_else(|| {
        let (whole, field) = field_of(span, dtype)?;
        let elements = slice_of(&whole, shape, order, itemsize)?;
        Some(match elements.as_str() {
            "[:]" => field,
            _ => elements + &field,
        })
    })
}

/// The span of the whole elements of which a span covers one field, and the field: `["mass"]`.
fn field_of(span: &Span, dtype: &DType) -> Option<(Span, String)> {
    let itemsize = dtype.itemsize() as u64;
    let offset = span.start.checked_rem(itemsize)?;
    let pitch = u64::from(span.pitch);
    let width = match pitch {
        0 => span.end.checked_sub(span.start)?,
        _ => u64::from(span.width),
    };
    let behind = itemsize.checked_sub(offset.checked_add(width)?)?;
    let field = field_at(dtype, offset, width)?;
    let is_each_element = pitch == 0 || pitch == itemsize;
    let whole = Span {
        start: span.start - offset,
        end: span.end.checked_add(behind)?,
        pitch: if is_each_element { 0 } else { span.pitch },
        width: if is_each_element {
            0
        } else {
            u32::try_from(itemsize).ok()?
        },
    };
    Some((whole, field))
}

/// The field of a struct that has these bytes of it.
fn field_at(dtype: &DType, offset: u64, len: u64) -> Option<String> {
    dtype.fields().iter().find_map(|field| {
        let within = offset.checked_sub(field.offset() as u64)?;
        let name = format!("[{:?}]", field.name());
        match within == 0 && field.dtype().itemsize() as u64 == len {
            true => Some(name),
            false => Some(name + &field_at(field.dtype(), within, len)?),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Element;

    fn text(span: [u64; 4], shape: &[usize], dtype: &DType) -> Option<String> {
        let [start, end, pitch, width] = span;
        let span = Span {
            start,
            end,
            pitch: pitch as u32,
            width: width as u32,
        };
        slice_of_span(&span, shape, Order::C, dtype)
    }

    #[test]
    fn a_field_of_a_struct_is_named_after_the_elements() {
        let place = DType::structure(
            [("x", f32::DTYPE.clone(), 0), ("y", f32::DTYPE.clone(), 4)],
            8,
        );
        let place = place.unwrap();
        let particle =
            DType::structure([("mass", f64::DTYPE.clone(), 0), ("at", place, 8)], 16).unwrap();
        let text = |span| text(span, &[4, 6], &particle);
        let told = |text: &str| Some(text.to_owned());
        assert_eq!(text([0, 384, 0, 0]), told("[:]"));
        assert_eq!(text([8, 384, 16, 8]), told("[\"at\"]"));
        assert_eq!(text([12, 384, 16, 4]), told("[\"at\"][\"y\"]"));
        assert_eq!(text([96, 96 + 5 * 16 + 8, 16, 8]), told("[1][\"mass\"]"));
        assert_eq!(text([112, 120, 0, 0]), told("[1, 1][\"mass\"]"));
        assert_eq!(text([32, 32 + 3 * 96 + 8, 96, 8]), told("[:, 2][\"mass\"]"));
        assert_eq!(text([0, 16 * 3, 0, 0]), told("[0, 0:3]"));
        // Bytes of no field, of two fields, and over the end of an element; damaged lanes.
        for other in [
            [4, 8, 0, 0],
            [4, 12, 0, 0],
            [12, 20, 0, 0],
            [8, 384, 16, 9],
            [8, u64::MAX, 16, 8],
            [u64::MAX, 0, 16, 8],
            [8, 384, u64::MAX, 8],
        ] {
            assert_eq!(text(other), None, "{other:?}");
        }
    }
}

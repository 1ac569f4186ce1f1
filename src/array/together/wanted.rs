//! The locks that a set wants, and the order in which all processes take them.

use crate::{
    array::{lock::Access, open_array::OpenArray},
    format::id::ArrayId,
    layout::span::Span,
    segment::Segment,
    sys::wait::Wait,
};
use std::{path::PathBuf, sync::Arc};
use uuid::Uuid;

/// Store, array and file, the first and the last byte, and whether it is exclusive.
type Place = (Uuid, ArrayId, (u64, u64), u64, u64, bool);

/// One lock of several, whatever the type of its elements.
#[derive(Clone)]
pub struct Wanted {
    pub(super) array: Arc<OpenArray>,
    pub(super) span: Span,
    pub(super) access: Access,
}

impl Wanted {
    /// The place in the order of all locks. Copies of a file in a store have one id, and other
    /// inodes. A name would not do, because processes may know a renamed array by different ones.
    pub(super) fn place(&self) -> Place {
        (
            self.array.member().page().uuid(),
            self.array.header().id,
            self.array.inode(),
            self.span.start,
            self.span.end,
            self.is_exclusive(),
        )
    }

    /// Whether no other lock on these bytes goes with it.
    fn is_exclusive(&self) -> bool {
        matches!(self.access, Access::Write | Access::Recover { .. })
    }

    /// Whether both are on one file. A process has one segment of it.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        let segment = |wanted: &Self| -> *const Segment { &**wanted.array };
        std::ptr::eq(segment(self), segment(other))
    }

    /// Whether no thread can have this lock and the other one at once.
    fn excludes(&self, other: &Self) -> bool {
        self.is_beside(other)
            && (self.access != other.access || self.is_exclusive())
            && self.span.overlaps(&other.span)
    }
}

/// How many of the first locks belong to one knot: they are on one array, and the range of each
/// overlaps that of those before it.
pub(super) fn knot_len(wanted: &[Wanted], order: &[usize]) -> usize {
    let first = &wanted[order[0]];
    let mut end = first.span.end;
    let is_in_knot = |&&index: &&usize| {
        let next = &wanted[index];
        let is_in = next.is_beside(first) && next.span.start < end;
        end = end.max(next.span.end);
        is_in
    };
    1 + order[1..].iter().take_while(is_in_knot).count()
}

/// The array of two locks that exclude each other.
pub(super) fn first_conflict(wanted: &[Wanted], order: &[usize]) -> Option<PathBuf> {
    for (at, &first) in order.iter().enumerate() {
        let first = &wanted[first];
        for &second in &order[at + 1..] {
            let second = &wanted[second];
            let is_behind = !second.is_beside(first) || second.span.start >= first.span.end;
            if is_behind {
                break;
            }
            if first.excludes(second) {
                return Some(first.array.path().into());
            }
        }
    }
    None
}

/// The limit of all waits together: the shortest of those that the managers of the stores set.
pub(super) fn shortest(wanted: &[Wanted], wait: Wait) -> Wait {
    let limits = wanted
        .iter()
        .filter_map(|wanted| wanted.array.member().settings().lock_timeout());
    match (wait, limits.min()) {
        (Wait::Forever, Some(limit)) => Wait::AtMost(limit),
        (wait, _) => wait,
    }
}

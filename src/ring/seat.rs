//! A subscriber's seat in a ring, and the slots that its process holds by it.

use super::opened::OpenRing;
use crate::sys::fork;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Acquire};

/// A seat of this process: given back when the subscriber and all its frames are dropped.
pub(super) struct Seat {
    pub(super) ring: Arc<OpenRing>,
    pub(super) index: usize,
    pub(super) me: u64,
    pub(super) generation: u64,
    /// How many frames of this process pin each slot by this seat. A forked child never locks it,
    /// so it need not be a mutex that no fork finds locked, which takes twice as long.
    counts: Mutex<Box<[u32]>>,
}

/// A slot that a seat holds.
pub(super) struct Pin {
    pub(super) seat: Arc<Seat>,
    pub(super) slot: usize,
}

impl Seat {
    /// A seat of a ring that this member has taken.
    pub(super) fn new(ring: &Arc<OpenRing>, index: usize, me: u64) -> Self {
        Self {
            ring: ring.clone(),
            index,
            me,
            generation: fork::generation(),
            counts: Mutex::new(vec![0; ring.frames()].into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Box<[u32]>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pins the frame at a position, if it is there.
    pub(super) fn pin(&self, position: u64) -> bool {
        let table = self.ring.table();
        let slot = table.slot(position);
        let mut counts = self.lock();
        // A slot that is pinned keeps its frame.
        let is_pinned = match counts[slot] {
            0 => table.pin(self.index, position),
            _ => position != 0 && table.frame(position).position.load(Acquire) == position,
        };
        counts[slot] += u32::from(is_pinned);
        is_pinned
    }
}

impl Drop for Pin {
    /// In a forked child the seat is the parent's.
    fn drop(&mut self) {
        if self.seat.generation == fork::generation() {
            let mut counts = self.seat.lock();
            counts[self.slot] -= 1;
            if counts[self.slot] == 0 {
                self.seat.ring.table().unpin(self.seat.index, self.slot);
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.generation == fork::generation() {
            self.ring.table().leave(self.index);
        }
    }
}

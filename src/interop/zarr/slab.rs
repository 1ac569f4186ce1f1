//! Guards that go from thread to thread.
//!
//! One of the modules with unsafe code. The thread that takes the guards of a checkpoint hands each
//! of them to the thread that sends its elements, and the last of these gives it back.

use crate::array::guard::ReadGuard;
use ndarray::IxDyn;

/// Elements that lie together in memory, in the order of memory.
pub(super) enum Slab {
    Guarded(Movable),
    /// Elements that are poisoned, of which each chunk is copied without a guard when it is sent.
    Unlocked,
}

/// A read guard that any thread may give back.
pub(super) struct Movable(ReadGuard<u8, IxDyn>);

// SAFETY: a guard is not Send because the search for deadlocks knows it by its thread. `guarded`
// unbinds it, so it is no thread's. Apart from that a guard may be given back by any thread, as its
// documentation says for bindings to other languages: its lane and the count of its mapping change
// by atomic operations only.
unsafe impl Send for Movable {}

impl Slab {
    /// The slab of a guard over a contiguous view.
    pub(super) fn guarded(guard: ReadGuard<u8, IxDyn>) -> Self {
        guard.unbind();
        Self::Guarded(Movable(guard))
    }

    /// The bytes under the guard; `None` without one.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Guarded(Movable(guard)) => match guard.as_slice() {
                Some(bytes) => Some(bytes),
                None => unreachable!("the view of a slab is contiguous"),
            },
            Self::Unlocked => None,
        }
    }
}

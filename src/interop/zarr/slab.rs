//! Guards that go from thread to thread.
//!
//! One of the modules with unsafe code. The thread that takes the guards of a checkpoint hands each
//! of them to the thread that sends its elements, and the last of these gives it back.

use crate::{
    array::{any::AnyArray, guard::ReadGuard},
    error::Result,
};
use ndarray::IxDyn;

/// Elements that lie together in memory, in the order of memory.
pub(super) enum Slab {
    Guarded(Movable),
    /// A copy that was made without a guard, of elements that are poisoned.
    Copied(Vec<u8>),
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

    /// The slab of a view whose poison does not matter.
    pub(super) fn copied(view: &AnyArray) -> Result<Self> {
        view.read_bytes_unlocked().map(Self::Copied)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Guarded(Movable(guard)) => match guard.as_slice() {
                Some(bytes) => bytes,
                None => unreachable!("the view of a slab is contiguous"),
            },
            Self::Copied(bytes) => bytes,
        }
    }
}

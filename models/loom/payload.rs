//! The bytes that guards protect. The model fails if two conflicting accesses are not ordered by
//! happens-before.

use crate::{engine::cell::Cell, sync};

/// Whether a write began and did not end.
pub(crate) struct Payload(Cell<bool>);

// SAFETY: threads of a model run one at a time, and the cell reports accesses that are not ordered.
unsafe impl Sync for Payload {}

impl Payload {
    pub(crate) fn new(is_half_written: bool) -> Self {
        Self(Cell::new(is_half_written))
    }

    pub(crate) fn is_half_written(&self) -> bool {
        self.0.get()
    }

    pub(crate) fn read(&self) {
        assert!(!self.is_half_written(), "read of half-written bytes");
    }

    /// Writes, and may die in the middle.
    pub(crate) fn write(&self) {
        self.read();
        self.overwrite();
    }

    /// Writes bytes that another member may have left half-written.
    pub(crate) fn overwrite(&self) {
        self.0.set(true);
        sync::step();
        self.0.set(false);
    }
}

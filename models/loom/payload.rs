//! The bytes that guards protect. Any access that does not happen before or after another that it
//! conflicts with ends the model.

use crate::{engine::cell::Cell, sync};

/// Whether somebody began to write and did not end.
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
        assert!(!self.is_half_written(), "read while it is half-written");
    }

    /// Writes, as one who may die over it.
    pub(crate) fn write(&self) {
        self.read();
        self.overwrite();
    }

    /// Writes what somebody else may have left half-written.
    pub(crate) fn overwrite(&self) {
        self.0.set(true);
        sync::step();
        self.0.set(false);
    }
}

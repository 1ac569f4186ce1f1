//! The state block inside a mapped file, and mappings that its openers count.
//!
//! A module with unsafe code: it promises that the block consists of atomics, and it reads the
//! bytes of a file that only the caller has.

use crate::{
    format::constants::*,
    state::block::{Slot, StateBlock},
    sys::{
        fork::{self, AtFork, Registration},
        mapping::{Atomics, Mapping},
    },
};
use std::{
    ops::{Deref, Range},
    sync::{Arc, atomic::Ordering::SeqCst},
};

// Here, not in `block`: a model's words have another size.
const _: () = assert!(size_of::<StateBlock>() == STATE_LEN);
const _: () = {
    assert!(std::mem::offset_of!(StateBlock, endian) == 0);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, lifecycle) == LIFECYCLE_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, frozen) == FROZEN_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, openers) == OPENERS_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, generation) == GENERATION_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, owner) == OWNER_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, lock) == LOCK_WORD_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, wake) == WAKE_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, waiting) == WAITING_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, used) == USED_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, producer) == PRODUCER_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, slots) == SLOTS_AT);
    assert!(size_of::<Slot>() == SLOT_LEN);
    assert!(std::mem::offset_of!(Slot, tag) == SLOT_TAG_AT);
    assert!(std::mem::offset_of!(Slot, start) == SLOT_START_AT);
    assert!(std::mem::offset_of!(Slot, end) == SLOT_END_AT);
    assert!(std::mem::offset_of!(Slot, pitch) == SLOT_PITCH_AT);
    assert!(std::mem::offset_of!(Slot, width) == SLOT_WIDTH_AT);
};

// SAFETY: the block is `repr(C)` and consists of atomics of 4 and 8 bytes, for which any bytes are
// valid; the asserted offsets and its size leave no room for padding.
unsafe impl Atomics for StateBlock {}

impl Mapping {
    /// The state block of an array file.
    pub(crate) fn state(&self) -> &StateBlock {
        self.atomics(STATE_AT)
    }
}

impl AtFork for Mapping {
    /// Counts the mapping that the child inherits; it is never counted out. The parent counts
    /// before the fork: otherwise it could find itself the only opener and recycle the file.
    fn before(&self) {
        if self.len() >= STATE_AT + STATE_LEN {
            self.state().count_in();
        }
    }

    fn in_child(&self) {}
}

/// A mapping that the file's openers count, in a forked child too.
pub(crate) struct Counted {
    mapping: Arc<Mapping>,
    generation: u64,
    /// Whether dropping this counts the mapping out.
    counts_out: bool,
    registration: Option<Registration>,
}

impl Counted {
    pub(crate) fn new(mapping: Mapping) -> Self {
        Self::opened(mapping).0
    }

    /// Counts the mapping in, and returns the lifecycle after that; see [`StateBlock::count_in`].
    pub(crate) fn opened(mapping: Mapping) -> (Self, u32) {
        // Read before the write: a read fault also maps the pages around, and maps them writable.
        mapping.state().endian.load(SeqCst);
        let lifecycle = mapping.state().count_in();
        (Self::counted_before(mapping), lifecycle)
    }

    /// Wraps a mapping that is counted in already.
    pub(crate) fn counted_before(mapping: Mapping) -> Self {
        let mapping = Arc::new(mapping);
        Self {
            registration: Some(fork::register(mapping.clone())),
            generation: fork::generation(),
            counts_out: true,
            mapping,
        }
    }

    /// Bytes after the state block of an unlinked file that no other process has open.
    pub(crate) fn lost_bytes(&mut self, range: Range<usize>) -> &[u8] {
        assert!(
            HEADER_KEY_AT <= range.start && range.start <= range.end && range.end <= self.len(),
            "{range:?} of {} bytes",
            self.len()
        );
        // SAFETY: no process or thread writes these bytes while the slice lives: the caller has the
        // mapping exclusively but for the fork handler, which touches the state block only, and the
        // range lies behind that block (asserted); and no other process has the file.
        unsafe { self.mapping.bytes(range) }
    }

    /// Returns the mapping alone; the count stays.
    pub(crate) fn into_mapping(mut self) -> Option<Mapping> {
        self.counts_out = false;
        self.registration = None;
        let mapping = self.mapping.clone();
        drop(self);
        Arc::into_inner(mapping)
    }
}

/// The mapping of a file that is not published yet. If it never is, no process goes on taking the
/// file for one that is being recycled.
pub(crate) struct Unpublished {
    /// `None` only while this is dropped.
    mapping: Option<Counted>,
}

impl Unpublished {
    pub(crate) fn new(mapping: Counted) -> Self {
        Self {
            mapping: Some(mapping),
        }
    }

    /// The mapping of a file that is ready to be published.
    pub(crate) fn publish(mut self) -> Counted {
        match self.mapping.take() {
            Some(mapping) => mapping,
            None => unreachable!("the mapping is there until the drop"),
        }
    }
}

impl Deref for Unpublished {
    type Target = Counted;

    fn deref(&self) -> &Counted {
        match &self.mapping {
            Some(mapping) => mapping,
            None => unreachable!("the mapping is there until the drop"),
        }
    }
}

impl Drop for Unpublished {
    /// In a forked child the file is the parent's.
    fn drop(&mut self) {
        if let Some(mapping) = &self.mapping
            && mapping.generation == fork::generation()
        {
            mapping.state().give_up_recycling();
        }
    }
}

impl Deref for Counted {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        &self.mapping
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.counts_out && self.generation == fork::generation() {
            self.mapping.state().count_out();
            failpoint!(MappingCountedOut);
        }
    }
}

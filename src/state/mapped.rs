//! The state block inside a mapped file, and mappings that are counted in it.
//!
//! One of the modules with unsafe code: it promises that the block consists of atomics.

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

// Here, not in `block`: in a model a word has another size.
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

// SAFETY: the block is `repr(C)` and consists of atomics of 4 and 8 bytes, for which any bytes are valid; the asserted offsets and its size leave no
// room for padding.
unsafe impl Atomics for StateBlock {}

impl Mapping {
    /// The state block of an array file.
    pub(crate) fn state(&self) -> &StateBlock {
        self.atomics(STATE_AT)
    }
}

impl AtFork for Mapping {
    /// The child will have this mapping too, and nobody will ever count it out. Counted before there is a child: else the parent could take the file
    /// for its own alone.
    fn before(&self) {
        if self.len() >= STATE_AT + STATE_LEN {
            self.state().count_in();
        }
    }

    fn in_child(&self) {}
}

/// A mapping that is counted in the file's openers, in a forked child too.
pub(crate) struct Counted {
    mapping: Arc<Mapping>,
    generation: u64,
    /// Whether the count goes when this is dropped.
    counts_out: bool,
    registration: Option<Registration>,
}

impl Counted {
    pub(crate) fn new(mapping: Mapping) -> Self {
        Self::opened(mapping).0
    }

    /// Gives the lifecycle too, as it is from the count on; see [`StateBlock::count_in`].
    pub(crate) fn opened(mapping: Mapping) -> (Self, u32) {
        // Read before it is written: a fault of reading maps the pages around too, and for writing.
        mapping.state().endian.load(SeqCst);
        let lifecycle = mapping.state().count_in();
        (Self::counted_before(mapping), lifecycle)
    }

    /// A mapping whose count stands.
    pub(crate) fn counted_before(mapping: Mapping) -> Self {
        let mapping = Arc::new(mapping);
        Self {
            registration: Some(fork::register(mapping.clone())),
            generation: fork::generation(),
            counts_out: true,
            mapping,
        }
    }

    /// Bytes behind the state block of a file that has no name any more, and that nobody else has open.
    pub(crate) fn lost_bytes(&mut self, range: Range<usize>) -> &[u8] {
        assert!(
            HEADER_KEY_AT <= range.start && range.start <= range.end && range.end <= self.len(),
            "{range:?} of {} bytes",
            self.len()
        );
        // SAFETY: no process or thread writes these bytes as long as the slice lives: the caller has the mapping exclusively but for the handler
        // of forks, which touches the state block only, and the range lies behind that (asserted); and the caller is the only one that has the file.
        unsafe { self.mapping.bytes(range) }
    }

    /// The mapping alone; its count stands.
    pub(crate) fn into_mapping(mut self) -> Option<Mapping> {
        self.counts_out = false;
        self.registration = None;
        let mapping = self.mapping.clone();
        drop(self);
        Arc::into_inner(mapping)
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

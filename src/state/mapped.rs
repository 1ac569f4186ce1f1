//! The state block inside a mapped file, and mappings that its openers count.
//!
//! A module with unsafe code: it promises that the block consists of atomics, and it reads the
//! bytes of a file that only the caller has.

use crate::{
    format::{
        constants::*,
        kind::{CONTROL_LEN, FRAME_LEN, GROWTH_LEN, SEAT_LEN},
    },
    state::{
        block::{Record, StateBlock},
        growth::Growth,
        lanes::Lane,
        ring::{Control, FrameWords, Seat},
    },
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
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, generation) == GENERATION_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, owner) == OWNER_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, producer) == PRODUCER_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, heir) == HEIR_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, lock) == LOCK_WORD_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, used) == USED_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, poisoned) == POISONED_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, openers) == OPENERS_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, wake) == WAKE_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, waiting) == WAITING_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, overflown) == OVERFLOWN_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, ticket) == TICKET_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, signals) == SIGNALS_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, stripe_len) == STRIPE_LEN_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, whole) == WHOLE_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, change) == CHANGE_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, awaited) == AWAITED_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, asked) == ASKED_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, list) == LIST_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, groups) == GROUPS_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, records) == RECORDS_AT);
    assert!(STATE_AT + std::mem::offset_of!(StateBlock, stripes) == STRIPES_AT);
    assert!(
        STRIPES_AT.is_multiple_of(64),
        "they have a line of their own"
    );
    assert!(size_of::<Record>() == RECORD_LEN);
    assert!(std::mem::offset_of!(Record, tag) == RECORD_TAG_AT);
    assert!(std::mem::offset_of!(Record, start) == RECORD_START_AT);
    assert!(std::mem::offset_of!(Record, end) == RECORD_END_AT);
    assert!(std::mem::offset_of!(Record, pitch) == RECORD_PITCH_AT);
    assert!(std::mem::offset_of!(Record, width) == RECORD_WIDTH_AT);
    assert!(size_of::<Growth>() == GROWTH_LEN);
    assert!(std::mem::offset_of!(Growth, committed) == 8);
    assert!(std::mem::offset_of!(Growth, reserved) == 16);
    assert!(std::mem::offset_of!(Growth, flushed) == 24);
    assert!(std::mem::offset_of!(Growth, boot) == 32);
    assert!(size_of::<Lane>() == LANE_LEN);
    assert!(std::mem::offset_of!(Lane, tag) == LANE_TAG_AT);
    assert!(std::mem::offset_of!(Lane, key) == LANE_KEY_AT);
    assert!(std::mem::offset_of!(Lane, start) == LANE_START_AT);
    assert!(std::mem::offset_of!(Lane, end) == LANE_END_AT);
    assert!(std::mem::offset_of!(Lane, pitch) == LANE_PITCH_AT);
    assert!(std::mem::offset_of!(Lane, width) == LANE_WIDTH_AT);
    assert!(std::mem::offset_of!(Lane, thread) == LANE_THREAD_AT);
    assert!(std::mem::offset_of!(Lane, epoch) == LANE_EPOCH_AT);
    assert!(std::mem::offset_of!(Lane, turn) == LANE_TURN_AT);
    assert!(std::mem::offset_of!(Lane, process) == LANE_PROCESS_AT);
    assert!(std::mem::offset_of!(Lane, since) == LANE_SINCE_AT);
};

// SAFETY: the block is `repr(C)` and consists of atomics of 2, 4 and 8 bytes, for which any bytes
// are valid; the asserted offsets and its size leave no room for padding.
unsafe impl Atomics for StateBlock {}

// SAFETY: the words are `repr(C)` and consist of atomics of 4 and 8 bytes, for which any bytes are
// valid; their asserted size leaves no room for padding.
unsafe impl Atomics for Growth {}

// SAFETY: a lane is `repr(C)` and consists of atomics of 4 and 8 bytes, for which any bytes are
// valid; its asserted size leaves no room for padding.
unsafe impl Atomics for Lane {}

const _: () = {
    assert!(size_of::<Control>() == CONTROL_LEN);
    assert!(size_of::<FrameWords>() == FRAME_LEN);
    assert!(size_of::<Seat>() == SEAT_LEN);
    assert!(std::mem::offset_of!(Control, newest) == 0);
    assert!(std::mem::offset_of!(Control, producer) == 8);
    assert!(std::mem::offset_of!(Control, wake) == 16);
    assert!(std::mem::offset_of!(Control, waiting) == 20);
    assert!(std::mem::offset_of!(Control, freed) == 24);
    assert!(std::mem::offset_of!(Control, awaited) == 28);
    assert!(std::mem::offset_of!(Control, ended) == 32);
    assert!(std::mem::offset_of!(Control, seats_used) == 36);
    assert!(std::mem::offset_of!(Control, pid) == 40);
    assert!(std::mem::offset_of!(Control, last_dead) == 48);
    assert!(std::mem::offset_of!(Control, base) == 56);
    assert!(std::mem::offset_of!(Control, boot) == 64);
    assert!(std::mem::offset_of!(FrameWords, position) == 0);
    assert!(std::mem::offset_of!(FrameWords, number) == 8);
    assert!(std::mem::offset_of!(FrameWords, time) == 16);
    assert!(std::mem::offset_of!(FrameWords, rows) == 24);
    assert!(std::mem::offset_of!(Seat, tag) == 0);
    assert!(std::mem::offset_of!(Seat, at) == 8);
    assert!(std::mem::offset_of!(Seat, held) == 16);
    assert!(std::mem::offset_of!(Seat, pid) == 48);
};

// SAFETY: the words of a ring are `repr(C)` and consist of atomics of 4 and 8 bytes, for which any
// bytes are valid; the asserted sizes and offsets leave no room for padding.
unsafe impl Atomics for Control {}
// SAFETY: as above.
unsafe impl Atomics for FrameWords {}
// SAFETY: as above.
unsafe impl Atomics for Seat {}

impl Mapping {
    /// The state block of an array file.
    #[inline]
    pub(crate) fn state(&self) -> &StateBlock {
        self.atomics(STATE_AT)
    }

    /// A lane of a lock file, whose page the file has.
    #[inline]
    pub(crate) fn lane(&self, index: u32) -> &Lane {
        self.atomics_at(LANES_AT + index as usize * LANE_LEN)
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

    #[inline]
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

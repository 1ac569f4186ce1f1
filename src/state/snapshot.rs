//! The words of an array's state block, from bytes that a reader copied out of the file instead of
//! mapping it.
//!
//! The block may change while it is copied. Each word is one that stood there; two words need not
//! have stood there at the same time.

use crate::format::constants::*;

/// The words of a state block.
#[derive(Clone, Debug)]
pub(crate) struct StateSnapshot {
    pub(crate) endian: u32,
    pub(crate) lifecycle: u32,
    pub(crate) frozen: u32,
    pub(crate) openers: u32,
    pub(crate) generation: u64,
    pub(crate) owner: u64,
    /// The lock word: the member that holds it, or 0.
    pub(crate) lock: u64,
    pub(crate) waiting: u32,
    /// A bit for each slot that was ever taken.
    pub(crate) used: u64,
    pub(crate) producer: u64,
    pub(crate) slots: [SlotSnapshot; SLOTS],
}

/// The words of a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotSnapshot {
    pub(crate) tag: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) pitch: u32,
    pub(crate) width: u32,
}

impl StateSnapshot {
    /// The words in the first bytes of an array file.
    pub(crate) fn in_head(head: &[u8; HEADER_KEY_AT]) -> Self {
        Self::of(&part(head, STATE_AT))
    }

    /// The words of a block.
    pub(crate) fn of(block: &[u8; STATE_LEN]) -> Self {
        let word = |at: usize| u32::from_ne_bytes(part(block, at - STATE_AT));
        let long = |at: usize| u64::from_ne_bytes(part(block, at - STATE_AT));
        Self {
            endian: word(STATE_AT),
            lifecycle: word(LIFECYCLE_AT),
            frozen: word(FROZEN_AT),
            openers: word(OPENERS_AT),
            generation: long(GENERATION_AT),
            owner: long(OWNER_AT),
            lock: long(LOCK_WORD_AT),
            waiting: word(WAITING_AT),
            used: long(USED_AT),
            producer: long(PRODUCER_AT),
            slots: std::array::from_fn(|slot| {
                SlotSnapshot::of(&part(block, SLOTS_AT - STATE_AT + slot * SLOT_LEN))
            }),
        }
    }
}

impl SlotSnapshot {
    fn of(slot: &[u8; SLOT_LEN]) -> Self {
        let word = |at: usize| u32::from_ne_bytes(part(slot, at));
        let long = |at: usize| u64::from_ne_bytes(part(slot, at));
        Self {
            tag: long(SLOT_TAG_AT),
            start: long(SLOT_START_AT),
            end: long(SLOT_END_AT),
            pitch: word(SLOT_PITCH_AT),
            width: word(SLOT_WIDTH_AT),
        }
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        layout::span::Span,
        state::block::{StateBlock, lifecycle},
        sys::mapping::Mapping,
    };
    use std::{os::unix::fs::FileExt, path::Path, sync::atomic::Ordering::SeqCst};

    #[test]
    fn a_snapshot_has_the_words_of_the_block() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        file.write_all_at(&StateBlock::initial(3, 4), STATE_AT as u64)
            .unwrap();
        let mapping = Mapping::new(&file, 4096, Path::new("scratch")).unwrap();
        let state = mapping.state();
        state.frozen.store(5, SeqCst);
        state.openers.store(6, SeqCst);
        state.generation.store(7, SeqCst);
        state.lock.store(8, SeqCst);
        state.wake.store(9, SeqCst);
        state.waiting.store(10, SeqCst);
        let span = Span {
            start: 11,
            end: 12,
            pitch: 13,
            width: 14,
        };
        state.slots[SLOTS - 1].put(span);
        state.slots[SLOTS - 1].tag.store(15, SeqCst);
        state.used.store(16, SeqCst);
        let mut block = [0; STATE_LEN];
        file.read_exact_at(&mut block, STATE_AT as u64).unwrap();
        let found = StateSnapshot::of(&block);
        assert_eq!(
            (found.endian, found.lifecycle),
            (ENDIAN_PROBE, lifecycle::READY)
        );
        assert_eq!((found.owner, found.producer), (3, 4));
        assert_eq!((found.frozen, found.openers, found.generation), (5, 6, 7));
        assert_eq!((found.lock, found.waiting, found.used), (8, 10, 16));
        let slot = found.slots[SLOTS - 1];
        assert_eq!(
            (slot.start, slot.end, slot.pitch, slot.width),
            (11, 12, 13, 14)
        );
        assert_eq!((slot.tag, found.slots[0].tag), (15, 0));
    }
}

//! The words of an array's state block, from bytes that a reader copied out of the file instead of
//! mapping it.
//!
//! The block may change while it is copied. Each word is one that stood there; two words need not
//! have stood there at the same time.

use crate::{
    format::constants::*,
    layout::span::Span,
    state::{
        lanes::{FLAGS, Lane, Mode, turns},
        rests::held_by,
    },
};
use std::sync::atomic::Ordering::Acquire;

/// The words of a state block.
#[derive(Clone, Debug)]
pub(crate) struct StateSnapshot {
    pub(crate) endian: u32,
    pub(crate) lifecycle: u32,
    pub(crate) frozen: u32,
    pub(crate) openers: u32,
    pub(crate) generation: u64,
    pub(crate) owner: u64,
    pub(crate) heir: u64,
    /// The lock word: the member that holds it, or 0.
    pub(crate) lock: u64,
    pub(crate) waiting: u32,
    pub(crate) producer: u64,
    /// A bit for each entry of the list of lanes that is used.
    pub(crate) used: u64,
    pub(crate) list: [u16; LIST_LEN],
    pub(crate) overflown: u32,
    pub(crate) groups: [u64; GROUP_WORDS],
    /// A bit for each record that is used.
    pub(crate) poisoned: u64,
    pub(crate) records: [RecordSnapshot; RECORDS],
    /// The bytes of a stripe; 0 where writes are not counted.
    pub(crate) stripe_len: u64,
    /// A bit for each stripe that a thread may wait for.
    pub(crate) awaited: u32,
    /// Whether all bytes are zero that the format says are.
    pub(crate) is_zero_elsewhere: bool,
}

/// The words of a record of poison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordSnapshot {
    pub(crate) tag: u64,
    pub(crate) span: Span,
}

impl StateSnapshot {
    /// The words in the first bytes of an array file.
    pub(crate) fn in_head(head: &[u8; HEADER_KEY_AT]) -> Self {
        Self::of(&part(head, STATE_AT))
    }

    /// The words of a block.
    pub(crate) fn of(block: &[u8; STATE_LEN]) -> Self {
        let word = |at: usize| word(block, at - STATE_AT);
        let long = |at: usize| long(block, at - STATE_AT);
        Self {
            endian: word(STATE_AT),
            lifecycle: word(LIFECYCLE_AT),
            frozen: word(FROZEN_AT),
            openers: word(OPENERS_AT),
            generation: long(GENERATION_AT),
            owner: long(OWNER_AT),
            heir: long(HEIR_AT),
            lock: long(LOCK_WORD_AT),
            waiting: word(WAITING_AT),
            producer: long(PRODUCER_AT),
            used: long(USED_AT),
            list: std::array::from_fn(|entry| {
                u16::from_ne_bytes(part(block, LIST_AT - STATE_AT + entry * 2))
            }),
            overflown: word(OVERFLOWN_AT),
            groups: std::array::from_fn(|i| long(GROUPS_AT + i * 8)),
            poisoned: long(POISONED_AT),
            records: std::array::from_fn(|record| {
                RecordSnapshot::of(&part(block, RECORDS_AT - STATE_AT + record * RECORD_LEN))
            }),
            stripe_len: long(STRIPE_LEN_AT),
            awaited: word(AWAITED_AT),
            is_zero_elsewhere: STATE_ZEROS
                .into_iter()
                .flat_map(|zeros| zeros.start - STATE_AT..zeros.end - STATE_AT)
                .all(|at| block[at] == 0),
        }
    }
}

impl RecordSnapshot {
    fn of(record: &[u8; RECORD_LEN]) -> Self {
        Self {
            tag: long(record, RECORD_TAG_AT),
            span: Span {
                start: long(record, RECORD_START_AT),
                end: long(record, RECORD_END_AT),
                pitch: word(record, RECORD_PITCH_AT),
                width: word(record, RECORD_WIDTH_AT),
            },
        }
    }
}

/// The words of a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneSnapshot {
    pub(crate) tag: u64,
    pub(crate) key: u64,
    /// The bytes of the guard, the wait or the poison.
    pub(crate) span: Span,
    pub(crate) thread: u32,
    pub(crate) turn: u64,
    pub(crate) process: u32,
    pub(crate) since: u32,
}

impl LaneSnapshot {
    pub(crate) fn of(lane: &[u8; LANE_LEN]) -> Self {
        let tag = long(lane, LANE_TAG_AT);
        let words = Span {
            start: long(lane, LANE_START_AT),
            end: long(lane, LANE_END_AT),
            pitch: word(lane, LANE_PITCH_AT),
            width: word(lane, LANE_WIDTH_AT),
        };
        Self {
            tag,
            key: long(lane, LANE_KEY_AT),
            span: held_by(tag, words),
            thread: word(lane, LANE_THREAD_AT),
            turn: long(lane, LANE_TURN_AT),
            process: word(lane, LANE_PROCESS_AT),
            since: word(lane, LANE_SINCE_AT),
        }
    }

    /// Copies the words of a mapped lane. Its use may change meanwhile: see
    /// [`is_of_one_use`](Self::is_of_one_use).
    pub(crate) fn read(lane: &Lane) -> Self {
        // The tag first: the words that it makes valid were written before it.
        let tag = lane.tag.load(Acquire);
        Self {
            tag,
            turn: lane.turn.load(Acquire),
            key: lane.key.load(Acquire),
            span: lane.hold(tag),
            thread: lane.thread.load(Acquire),
            process: lane.process.load(Acquire),
            since: lane.since.load(Acquire),
        }
    }

    /// Whether this is the number of the lane's thread, among those of its process.
    pub(crate) fn is_of_thread(&self, number: u32) -> bool {
        number != 0 && self.thread == number
    }

    /// Whether the lane is still in the use that was copied: then all words are of this one use.
    pub(crate) fn is_of_one_use(&self, lane: &Lane) -> bool {
        let tag = lane.tag.load(Acquire);
        // A thread may take another part of the lane's reservation in the same use.
        tag & !FLAGS == self.tag & !FLAGS
            && lane.hold(tag) == self.span
            && turns::number(lane.turn.load(Acquire)) == turns::number(self.turn)
    }
}

impl StateSnapshot {
    /// Whether a hint of the block leads to a lane.
    pub(crate) fn leads_to(&self, lane: usize) -> bool {
        let group = lane / GROUP;
        let is_listed = (0..LIST_LEN)
            .any(|entry| self.used >> entry & 1 != 0 && usize::from(self.list[entry]) == lane);
        let is_in_group = self.overflown != 0
            && self
                .groups
                .get(group / 64)
                .is_some_and(|word| word >> (group % 64) & 1 != 0);
        is_listed || is_in_group
    }

    /// A record that is marked as used and is neither poison nor free.
    pub(crate) fn odd_record(&self) -> Option<usize> {
        let is_odd = |record: usize| {
            let tag = self.records[record].tag;
            self.poisoned >> record & 1 != 0 && tag != 0 && !Mode::Poisoned.is(tag)
        };
        (0..RECORDS).find(|&record| is_odd(record))
    }

    /// The records of poison.
    pub(crate) fn poison(&self) -> impl Iterator<Item = (usize, &RecordSnapshot)> {
        let is_used = |record: usize| self.poisoned >> record & 1 != 0;
        let records = self.records.iter().enumerate();
        records.filter(move |(record, words)| is_used(*record) && Mode::Poisoned.is(words.tag))
    }
}

/// The bytes at an offset.
pub(crate) fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

/// The word of 4 bytes at an offset.
pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(part(bytes, at))
}

/// The word of 8 bytes at an offset.
pub(crate) fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(part(bytes, at))
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
        state.make_ready();
        state.frozen.store(5, SeqCst);
        state.openers.store(6, SeqCst);
        state.generation.store(7, SeqCst);
        state.heir.store(23, SeqCst);
        state.lock.store(8, SeqCst);
        state.wake.store(9, SeqCst);
        state.waiting.store(10, SeqCst);
        let span = Span {
            start: 11,
            end: 12,
            pitch: 13,
            width: 14,
        };
        let tag = Mode::Poisoned.tag(15);
        state.records[RECORDS - 1].put(span);
        state.records[RECORDS - 1].tag.store(tag, SeqCst);
        state.poisoned.store(1 << (RECORDS - 1), SeqCst);
        state.used.store(0b101, SeqCst);
        state.stripe_len.store(19, SeqCst);
        state.change.store(20, SeqCst);
        state.awaited.store(21, SeqCst);
        state.stripes[STRIPES - 1].store(22, SeqCst);
        state.list[0].store(17, SeqCst);
        state.list[1].store(18, SeqCst);
        state.list[2].store(16_445, SeqCst);
        let mut block = [0; STATE_LEN];
        file.read_exact_at(&mut block, STATE_AT as u64).unwrap();
        let found = StateSnapshot::of(&block);
        assert_eq!(
            (found.endian, found.lifecycle),
            (ENDIAN_PROBE, lifecycle::READY)
        );
        assert_eq!((found.owner, found.producer, found.heir), (3, 4, 23));
        assert_eq!((found.frozen, found.openers, found.generation), (5, 6, 7));
        assert_eq!((found.lock, found.waiting, found.used), (8, 10, 5));
        assert_eq!((found.stripe_len, found.awaited), (19, 21));
        let poison: Vec<_> = found
            .poison()
            .map(|(record, words)| (record, words.tag, words.span))
            .collect();
        assert_eq!(poison, [(RECORDS - 1, tag, span)]);
        assert!(found.is_zero_elsewhere && found.odd_record().is_none());
        for zeros in STATE_ZEROS {
            for at in [zeros.start, zeros.end - 1] {
                block[at - STATE_AT] = 1;
                assert!(!StateSnapshot::of(&block).is_zero_elsewhere, "{at}");
                block[at - STATE_AT] = 0;
            }
        }
        let led_to = [16, 17, 18, 16_445].map(|lane| found.leads_to(lane));
        assert_eq!(led_to, [false, true, false, true]);
    }

    #[test]
    fn a_bit_of_the_groups_leads_to_sixteen_lanes() {
        let mut block = StateBlock::initial(3, 4);
        let put = |block: &mut [u8], at: usize, value: u64| {
            block[at - STATE_AT..][..8].copy_from_slice(&value.to_ne_bytes());
        };
        // Group 64 + 3.
        put(&mut block, GROUPS_AT + 8, 1 << 3);
        assert!(!StateSnapshot::of(&block).leads_to(67 * GROUP));
        block[OVERFLOWN_AT - STATE_AT] = 1;
        let found = StateSnapshot::of(&block);
        assert!((67 * GROUP..68 * GROUP).all(|lane| found.leads_to(lane)));
        assert!(!found.leads_to(67 * GROUP - 1) && !found.leads_to(68 * GROUP));
    }
}

//! Records of poison: in the block of the array, and in lanes where the block has no room.
//! Everything here runs under the lock word.

use super::{LockTable, Poison};
use crate::{
    format::constants::RECORDS,
    layout::span::Span,
    state::lanes::{Lanes, Mode, member_of},
};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// The set of all records.
const ALL: u64 = u64::MAX >> (64 - RECORDS);

/// Where a record of poison stands.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Record(usize),
    Lane(u32),
}

impl<L: Lanes> LockTable<'_, L> {
    /// Calls `visit` with each record of poison of this array.
    pub(super) fn each_poison(&self, mut visit: impl FnMut(Place, Poison)) {
        self.each_record(|record, poison| visit(Place::Record(record), poison));
        self.each_lane(u32::MAX, |index, lane, tag| {
            if Mode::Poisoned.is(tag) {
                let poison = Poison {
                    span: lane.hold(tag),
                    member: member_of(tag),
                };
                visit(Place::Lane(index), poison);
            }
        });
    }

    fn each_record(&self, mut visit: impl FnMut(usize, Poison)) {
        let mut rest = self.block.poisoned.load(Relaxed) & ALL;
        while rest != 0 {
            let record = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let tag = self.block.records[record].tag.load(Acquire);
            if Mode::Poisoned.is(tag) {
                let poison = Poison {
                    span: self.block.records[record].span(),
                    member: member_of(tag),
                };
                visit(record, poison);
            }
        }
    }

    /// A record of the block that overlaps a span.
    #[inline]
    pub(super) fn poison_over(&self, span: &Span) -> Option<Poison> {
        let mut found = None;
        if self.block.poisoned.load(Relaxed) != 0 {
            self.each_record(|_, poison| {
                if poison.span.overlaps(span) {
                    found = Some(poison);
                }
            });
        }
        found
    }

    /// A record of the block that is not used.
    pub(super) fn free_record(&self) -> Option<usize> {
        self.free_records().next()
    }

    pub(super) fn free_records(&self) -> impl Iterator<Item = usize> {
        let used = self.block.poisoned.load(Relaxed);
        (0..RECORDS).filter(move |&record| {
            used >> record & 1 == 0
                || !Mode::Poisoned.is(self.block.records[record].tag.load(Relaxed))
        })
    }

    /// Publishes poison in a free record.
    pub(super) fn publish_record(&self, record: usize, poison: Poison) {
        let (used, entry) = (&self.block.poisoned, &self.block.records[record]);
        entry.tag.store(0, Relaxed);
        used.store(used.load(Relaxed) | 1 << record, Relaxed);
        entry.put(poison.span);
        failpoint!(RecordSpanWritten);
        entry.tag.store(Mode::Poisoned.tag(poison.member), Release);
        failpoint!(RecordPublished);
    }

    /// Frees a record, or the lane that it stands in.
    pub(super) fn free_poison(&self, place: Place) {
        match place {
            Place::Record(record) => {
                let used = &self.block.poisoned;
                self.block.records[record].tag.store(0, SeqCst);
                used.store(used.load(Relaxed) & !(1 << record), SeqCst);
            }
            Place::Lane(index) => {
                if let Some(lane) = self.lane(index) {
                    let tag = lane.tag.load(Acquire);
                    if Mode::Poisoned.is(tag) {
                        self.replace_counted(lane, tag, 0);
                    }
                }
            }
        }
    }

    /// Makes room for one more part of a record: in a lane or in the block. Returns false if there
    /// is no poison to move or to merge.
    pub(super) fn make_room(&self) -> bool {
        self.free_a_lane() || self.merge_records()
    }

    /// Moves a record of poison from a lane into the block, after merging two there if all are
    /// used. Returns false if no lane has poison.
    pub(super) fn free_a_lane(&self) -> bool {
        let mut found = None;
        self.each_lane(u32::MAX, |index, _, tag| {
            if Mode::Poisoned.is(tag) {
                found = Some((index, tag));
            }
        });
        let Some((lane, tag)) = found.and_then(|(index, tag)| Some((self.lane(index)?, tag)))
        else {
            return false;
        };
        if self.free_record().is_none() && !self.merge_records() {
            return false;
        }
        self.fold(lane, tag);
        true
    }

    /// Merges the two records of the block that lie closest together. Returns false if there are no
    /// two.
    ///
    /// The kept one grows word by word and covers more after each word, so a death at any point
    /// loses no poison.
    fn merge_records(&self) -> bool {
        let mut closest: Option<(u64, usize, usize)> = None;
        self.each_record(|kept, first| {
            self.each_record(|gone, second| {
                let (first, second) = (first.span, second.span);
                let gap = first
                    .start
                    .max(second.start)
                    .saturating_sub(first.end.min(second.end));
                if kept < gone && closest.is_none_or(|(least, ..)| gap < least) {
                    closest = Some((gap, kept, gone));
                }
            });
        });
        let Some((_, kept, gone)) = closest else {
            return false;
        };
        let (record, second) = (&self.block.records[kept], self.block.records[gone].span());
        let first = record.span();
        let grown = Span::range(first.start.min(second.start), first.end.max(second.end));
        // Their threads would take them again on poisoned bytes.
        if !self.keep_awake(u32::MAX, &grown, Mode::Write) {
            return false;
        }
        failpoint!(MergeBegun);
        record.pitch.store(0, SeqCst);
        failpoint!(MergePitch);
        record.width.store(0, SeqCst);
        failpoint!(MergeWidth);
        record.start.store(grown.start, SeqCst);
        failpoint!(MergeStart);
        record.end.store(grown.end, SeqCst);
        failpoint!(MergeEnd);
        self.free_poison(Place::Record(gone));
        failpoint!(MergeDone);
        true
    }
}

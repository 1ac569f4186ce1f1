//! Recoveries of poisoned bytes, and merging of poison. Everything here runs under the lock word.

use super::{ALL, Liveness, Mode, Obstacle, Poison, Refusal, Request, each, member_of};
use crate::{format::constants::SLOTS, layout::span::Span, state::block::StateBlock};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};

impl StateBlock {
    /// Takes a slot for a recovery, and the poison of its bytes away.
    pub(super) fn place_recovery(
        &self,
        request: Request,
        is_exact: bool,
        intent: &mut Option<usize>,
        liveness: &impl Liveness,
    ) -> Result<usize, Obstacle> {
        let Request { member, span, .. } = request;
        let (mut free, mut conflicts, mut records, mut deadlock) = (ALL, 0, 0u64, false);
        // Slots that stay taken if every guard is given back.
        let mut lasting = 0;
        self.each_used(|slot, tag| {
            free &= !(1 << slot);
            lasting += usize::from(Mode::Poisoned.is(tag) || Mode::Intent.is(tag));
            if Mode::Intent.is(tag) || !self.slots[slot].span().overlaps(&span) {
                // Not in the way.
            } else if Mode::Poisoned.is(tag) {
                records |= 1 << slot;
            } else {
                conflicts |= 1 << slot;
                deadlock |= member_of(tag) == member && liveness.is_own(slot);
            }
        });
        self.used.store(ALL & !free, Relaxed);
        if deadlock {
            return Err(Obstacle::Refused(Refusal::WouldDeadlock));
        }
        if conflicts != 0 {
            self.intend(request, free, intent);
            return Err(Obstacle::Conflict(conflicts));
        }
        let rest = self
            .slots_for_rest(records, &span, is_exact)
            .map_err(|poison| Obstacle::Refused(Refusal::Interleaved(poison)))?;
        let needed = usize::from(intent.is_none()) + rest;
        if (free.count_ones() as usize) < needed {
            return Err(self.make_room(lasting + needed));
        }
        // The guard first, then the rest of the records, then the records go. An interruption
        // anywhere leaves no less poison than before, because the guard of a dead member is poison
        // too.
        let guard = match intent.take() {
            Some(slot) => {
                failpoint!(IntentReady);
                self.slots[slot].tag.swap(Mode::Write.tag(member), AcqRel);
                failpoint!(IntentConverted);
                slot
            }
            None => self.publish_in(&mut free, span, Mode::Write.tag(member)),
        };
        failpoint!(RecoverGuardPublished);
        self.replace_records(records, &span, free);
        Ok(guard)
    }

    /// The number of slots that the rest of these records needs beside `span`, or a record that
    /// cannot be split.
    fn slots_for_rest(&self, records: u64, span: &Span, is_exact: bool) -> Result<usize, Poison> {
        let (mut needed, mut interleaved) = (0, None);
        each(records, |slot| {
            match self.slots[slot].span().without(span).filter(|_| is_exact) {
                Some(rest) => needed += rest.into_iter().flatten().count(),
                None => {
                    interleaved = Some(Poison {
                        span: self.slots[slot].span(),
                        member: member_of(self.slots[slot].tag.load(Acquire)),
                    })
                }
            }
        });
        interleaved.map_or(Ok(needed), Err)
    }

    /// Merges two records if the recovery would not fit even after every guard is given back;
    /// otherwise it waits for slots. Intents count as taken: other recoveries may wait for slots
    /// too, and keep their intents meanwhile.
    fn make_room(&self, lasting: usize) -> Obstacle {
        let records = self.slots_where(|_, tag| Mode::Poisoned.is(tag));
        if lasting > SLOTS && records.count_ones() > 1 {
            self.merge_closest_poison();
            return Obstacle::Merged;
        }
        Obstacle::Full
    }

    /// Replaces each of these records by its rest beside `span`.
    fn replace_records(&self, records: u64, span: &Span, mut free: u64) {
        each(records, |slot| {
            let poisoned = self.slots[slot].tag.load(Acquire);
            // Looked at again: a record that was changed without the lock word, so that its rest no
            // longer fits, stays.
            let fits = |rest: &[Option<Span>; 3]| {
                rest.iter().flatten().count() <= free.count_ones() as usize
            };
            let Some(rest) = self.slots[slot].span().without(span).filter(fits) else {
                return;
            };
            for rest in rest.into_iter().flatten() {
                self.publish_in(&mut free, rest, poisoned);
                failpoint!(RecoverRestPublished);
            }
            self.slots[slot].tag.swap(0, AcqRel);
            failpoint!(RecoverRecordFreed);
        });
    }

    /// Publishes a slot among the free ones, and takes it out of them.
    fn publish_in(&self, free: &mut u64, span: Span, tag: u64) -> usize {
        let slot = self.publish(*free, span, tag);
        *free &= !(1 << slot);
        slot
    }

    /// Merges the two records that lie closest together.
    ///
    /// The kept one grows word by word and covers more after each word, so a death at any point
    /// loses no poison.
    pub(super) fn merge_closest_poison(&self) {
        let records = self.slots_where(|_, tag| Mode::Poisoned.is(tag));
        let mut closest: Option<(u64, usize, usize)> = None;
        each(records, |kept| {
            each(records, |gone| {
                let (first, second) = (self.slots[kept].span(), self.slots[gone].span());
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
            return;
        };
        let (first, second) = (self.slots[kept].span(), self.slots[gone].span());
        failpoint!(MergeBegun);
        self.slots[kept].pitch.store(0, SeqCst);
        failpoint!(MergePitch);
        self.slots[kept].width.store(0, SeqCst);
        failpoint!(MergeWidth);
        self.slots[kept]
            .start
            .store(first.start.min(second.start), SeqCst);
        failpoint!(MergeStart);
        self.slots[kept]
            .end
            .store(first.end.max(second.end), SeqCst);
        failpoint!(MergeEnd);
        self.slots[gone].tag.swap(0, AcqRel);
        failpoint!(MergeDone);
    }
}

//! Finding and taking places in the table. Everything here runs under the lock word.

use super::{
    ALL, KEPT_FROM_INTENTS, Liveness, MAX_POISONED, Mode, Obstacle, Poison, Refusal, Request, each,
    member_of,
};
use crate::{
    format::constants::SLOTS, layout::span::Span, state::block::StateBlock, sync::Instant,
};
use std::sync::atomic::{
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    compiler_fence,
};

impl StateBlock {
    /// Takes a place where nothing at all has to be decided: no other slot is in the way, there is
    /// room, and the records are few.
    #[inline]
    pub(super) fn place_at_once(&self, member: u64, span: Span, mode: Mode) -> Option<usize> {
        let (mut free, mut is_clear, mut records) = (ALL, true, 0);
        self.each_used(|slot, tag| {
            free &= !(1 << slot);
            records += u32::from(Mode::Poisoned.is(tag));
            is_clear &=
                mode != Mode::Write && mode.is(tag) || !self.slots[slot].span().overlaps(&span);
        });
        (is_clear && free != 0 && records <= MAX_POISONED)
            .then(|| self.publish(free, span, mode.tag(member)))
    }

    /// Finds a place for a guard.
    pub(super) fn place(
        &self,
        request: Request,
        intent: &mut Option<usize>,
        liveness: &impl Liveness,
    ) -> Result<usize, Obstacle> {
        let Request {
            member, span, mode, ..
        } = request;
        let is_mine = |slot: usize, tag: u64| member_of(tag) == member && liveness.is_own(slot);
        let (mut free, mut conflicts, mut deadlock, mut poison) = (ALL, 0, false, None);
        let (mut waiting_writers, mut records) = (0u64, 0);
        self.each_used(|slot, tag| {
            free &= !(1 << slot);
            records += u32::from(Mode::Poisoned.is(tag));
            if *intent == Some(slot) || !self.slots[slot].span().overlaps(&span) {
                // Not in the way.
            } else if Mode::Poisoned.is(tag) {
                poison = Some(Poison {
                    span: self.slots[slot].span(),
                    member: member_of(tag),
                });
            } else if Mode::Intent.is(tag) {
                waiting_writers |= if mode == Mode::Write { 0 } else { 1 << slot };
            } else if mode == Mode::Write || !mode.is(tag) {
                conflicts |= 1 << slot;
                deadlock |= is_mine(slot, tag);
            }
        });
        self.used.store(ALL & !free, Relaxed);
        if let Some(poison) = poison {
            return Err(Obstacle::Refused(Refusal::Poisoned(poison)));
        }
        // A writer that waits for a guard of this thread would be waited for by it.
        each(waiting_writers, |writer| {
            let waited_for = self.slots[writer].span();
            self.each_used(|slot, tag| {
                deadlock |= is_mine(slot, tag)
                    && !Mode::Intent.is(tag)
                    && self.slots[slot].span().overlaps(&waited_for)
            });
        });
        if deadlock {
            return Err(Obstacle::Refused(Refusal::WouldDeadlock));
        }
        if conflicts | waiting_writers != 0 {
            if mode == Mode::Write {
                self.intend(request, free, intent);
            }
            return Err(Obstacle::Conflict(conflicts | waiting_writers));
        }
        if let Some(slot) = intent.take() {
            failpoint!(IntentReady);
            self.slots[slot].tag.swap(mode.tag(member), AcqRel);
            failpoint!(IntentConverted);
            return Ok(slot);
        }
        if records > MAX_POISONED || free == 0 && records > 1 {
            self.merge_closest_poison();
            return Err(Obstacle::Merged);
        }
        if free == 0 {
            Err(Obstacle::Full)
        } else {
            Ok(self.publish(free, span, mode.tag(member)))
        }
    }

    /// Finds a place for a recovery.
    pub(super) fn place_recovery(
        &self,
        request: Request,
        is_exact: bool,
        intent: &mut Option<usize>,
        liveness: &impl Liveness,
    ) -> Result<usize, Obstacle> {
        let Request { member, span, .. } = request;
        let (mut free, mut conflicts, mut records, mut deadlock) = (ALL, 0, 0u64, false);
        let mut kept = 0;
        self.each_used(|slot, tag| {
            free &= !(1 << slot);
            kept += usize::from(Mode::Poisoned.is(tag) || Mode::Intent.is(tag));
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
        let (mut needed, mut interleaved) = (usize::from(intent.is_none()), None);
        each(records, |slot| {
            match self.slots[slot].span().without(&span).filter(|_| is_exact) {
                Some(rest) => needed += rest.into_iter().flatten().count(),
                None => {
                    interleaved = Some(Poison {
                        span: self.slots[slot].span(),
                        member: member_of(self.slots[slot].tag.load(Acquire)),
                    })
                }
            }
        });
        if let Some(poison) = interleaved {
            return Err(Obstacle::Refused(Refusal::Interleaved(poison)));
        }
        if (free.count_ones() as usize) < needed {
            // Where there would be no room if every guard were given back, nobody is waited for.
            // Other recoveries may wait for slots too, and keep their intents meanwhile.
            if kept + needed > SLOTS
                && self
                    .slots_where(|_, tag| Mode::Poisoned.is(tag))
                    .count_ones()
                    > 1
            {
                self.merge_closest_poison();
                return Err(Obstacle::Merged);
            }
            return Err(Obstacle::Full);
        }
        let take = |free: &mut u64, span, tag| {
            let slot = self.publish(*free, span, tag);
            *free &= !(1 << slot);
            slot
        };
        // The guard first, then what it does not cover of the records, then the records go:
        // whatever is interrupted here leaves no less poison than there was, because the guard of a
        // dead member is poison too.
        let guard = match intent.take() {
            Some(slot) => {
                failpoint!(IntentReady);
                self.slots[slot].tag.swap(Mode::Write.tag(member), AcqRel);
                failpoint!(IntentConverted);
                slot
            }
            None => take(&mut free, span, Mode::Write.tag(member)),
        };
        failpoint!(RecoverGuardPublished);
        each(records, |slot| {
            let poisoned = self.slots[slot].tag.load(Acquire);
            // Looked at again. A record that somebody changed meanwhile without the lock word, so
            // that the room does not do, stays.
            let fits = |rest: &[Option<Span>; 3]| {
                rest.iter().flatten().count() <= free.count_ones() as usize
            };
            let Some(rest) = self.slots[slot].span().without(&span).filter(fits) else {
                return;
            };
            for rest in rest.into_iter().flatten() {
                take(&mut free, rest, poisoned);
                failpoint!(RecoverRestPublished);
            }
            self.slots[slot].tag.swap(0, AcqRel);
            failpoint!(RecoverRecordFreed);
        });
        Ok(guard)
    }

    /// Says that somebody waits to write, if there is room to say so: new readers of the bytes
    /// wait, too.
    pub(super) fn intend(&self, request: Request, free: u64, intent: &mut Option<usize>) {
        let waits = request
            .deadline
            .is_none_or(|deadline| deadline > Instant::now());
        if intent.is_none() && waits && free.count_ones() > KEPT_FROM_INTENTS {
            *intent = Some(self.publish(free, request.span, Mode::Intent.tag(request.member)));
            failpoint!(IntentPublished);
        }
    }

    /// Writes the span of one of the free slots, which are all that are, and gives it its tag.
    #[inline]
    pub(super) fn publish(&self, free: u64, span: Span, tag: u64) -> usize {
        let slot = free.trailing_zeros() as usize;
        self.slots[slot].put(span);
        failpoint!(SlotSpanWritten);
        // Changed under the lock word only, and set before the tag.
        self.used.store(ALL & !free | 1 << slot, Relaxed);
        failpoint!(SlotUsedSet);
        // Others look under the lock word, whose release orders this for them. Against a death only
        // the order of the instructions counts: the elements may not be written before the slot
        // says so.
        self.slots[slot].tag.store(tag, Release);
        compiler_fence(SeqCst);
        failpoint!(SlotPublished);
        slot
    }

    /// Makes one record of the two that lie closest together.
    ///
    /// The kept one grows word by word, and covers more after each of them: it can be interrupted
    /// anywhere.
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

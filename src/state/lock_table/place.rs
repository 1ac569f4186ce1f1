//! Finding and taking slots for guards. Everything here runs under the lock word.

use super::{
    ALL, KEPT_FROM_INTENTS, Liveness, MAX_POISONED, Mode, Obstacle, Poison, Refusal, Request, each,
    member_of,
};
use crate::{layout::span::Span, state::block::StateBlock, sync::Instant};
use std::sync::atomic::{
    Ordering::{AcqRel, Relaxed, Release, SeqCst},
    compiler_fence,
};

impl StateBlock {
    /// Takes a slot if there is nothing to decide: no other slot is in the way, one is free, and
    /// records need no merging.
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

    /// Takes a slot for a guard.
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
        if deadlock || self.is_awaited_by(waiting_writers, is_mine) {
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

    /// Whether one of these writers waits for a guard of the calling thread.
    fn is_awaited_by(&self, writers: u64, is_mine: impl Fn(usize, u64) -> bool) -> bool {
        let mut is_awaited = false;
        each(writers, |writer| {
            let awaited = self.slots[writer].span();
            self.each_used(|slot, tag| {
                is_awaited |= is_mine(slot, tag)
                    && !Mode::Intent.is(tag)
                    && self.slots[slot].span().overlaps(&awaited)
            });
        });
        is_awaited
    }

    /// Publishes an intent if the request waits and enough slots are free: new readers of the bytes
    /// then wait too.
    pub(super) fn intend(&self, request: Request, free: u64, intent: &mut Option<usize>) {
        let waits = request
            .deadline
            .is_none_or(|deadline| deadline > Instant::now());
        if intent.is_none() && waits && free.count_ones() > KEPT_FROM_INTENTS {
            *intent = Some(self.publish(free, request.span, Mode::Intent.tag(request.member)));
            failpoint!(IntentPublished);
        }
    }

    /// Writes the span of the first of the free slots, and publishes it with its tag. `free` names
    /// all free slots.
    #[inline]
    pub(super) fn publish(&self, free: u64, span: Span, tag: u64) -> usize {
        let slot = free.trailing_zeros() as usize;
        self.slots[slot].put(span);
        failpoint!(SlotSpanWritten);
        // Changed under the lock word only, and set before the tag.
        self.used.store(ALL & !free | 1 << slot, Relaxed);
        failpoint!(SlotUsedSet);
        // Other processes scan under the lock word, whose release orders this for them. Against a
        // death only the order of the instructions counts: the elements must not be written before
        // the slot says so.
        self.slots[slot].tag.store(tag, Release);
        compiler_fence(SeqCst);
        failpoint!(SlotPublished);
        slot
    }
}

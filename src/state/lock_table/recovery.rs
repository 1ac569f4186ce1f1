//! Recoveries of poisoned bytes. Everything here runs under the lock word.

use super::{
    LockTable, Obstacle, Poison, Recovery, Refusal, Request, Surroundings, hints::Hints,
    waiting::Wait,
};
use crate::{
    layout::span::Span,
    state::{
        lanes::{Conflicts, Lanes, Mode, is_in, is_waiting},
        rests::{HELD, Met},
    },
};
use std::sync::atomic::Ordering::{Relaxed, Release};

impl<L: Lanes> LockTable<'_, L> {
    /// Takes the lane for a recovery, and the poison of its bytes away unless that is done later.
    /// `spare` are leased lanes for parts of records that the recovery does not cover.
    pub(super) fn place_recovery(
        &self,
        request: &Request,
        recovery: Recovery,
        surroundings: &impl Surroundings,
        wait: &mut Wait,
        spare: &mut Vec<u32>,
    ) -> Result<(), Obstacle> {
        let span = request.span;
        let mut holder = None;
        let mut queue = wait.queue(self.block);
        let (mut deadlock, mut has_own, mut has_changed) = (false, false, false);
        let obstacles = Conflicts::at_once(Mode::Write);
        let mut hints = self.each_lane(request.lane, |index, lane, tag| {
            has_own |= is_in(tag, HELD) && request.is_of_thread(lane, tag);
            match lane.meet(tag, &span, obstacles) {
                Met::Nothing => {}
                Met::Changed => has_changed = true,
                Met::Obstacle(tag) if Mode::Poisoned.is(tag) => {}
                Met::Obstacle(tag) if is_waiting(tag) => {
                    if wait.is_behind(lane.turn.load(Relaxed)) {
                        queue.add(index, lane, tag);
                    }
                }
                Met::Obstacle(tag) => {
                    holder.get_or_insert((index, tag));
                    deadlock |= request.is_of_thread(lane, tag);
                }
            }
        });
        if !hints.is_complete {
            return Err(Obstacle::OutOfReach);
        }
        if deadlock {
            return Err(Obstacle::Refused(Refusal::WouldDeadlock));
        }
        if holder.is_some() {
            let waiter = if has_own { None } else { queue.last() };
            let ahead = self.ahead(holder, waiter);
            return Err(self.wait_behind(request, wait, &mut hints, ahead));
        }
        if has_changed {
            return Err(Obstacle::Changed);
        }
        let missing = self.missing_room(&span, recovery.is_exact, spare)?;
        if missing > 0 && recovery.clears {
            return Err(Obstacle::Lanes(missing));
        }
        // No freeze comes after this look: a freezer holds a guard on the whole array, and there is
        // none, or it would be in the way.
        if !surroundings.may_be_written() {
            return Err(Obstacle::Refused(Refusal::NotWritable));
        }
        // The guard first, then the rest of the records, then the records go. An interruption
        // anywhere leaves no less poison than before, because the guard of a dead member is poison
        // too.
        if wait.is_published {
            self.convert(request);
            wait.is_published = false;
        } else if !self.publish(request, Mode::Write, 0, &mut hints) {
            return Err(Obstacle::OutOfReach);
        }
        failpoint!(RecoverGuardPublished);
        if recovery.clears {
            self.replace_records(&span, &mut hints, spare);
        }
        Ok(())
    }

    /// Takes the poison of a guard's bytes away: the second half of a recovery whose guard was
    /// published before. No other guard is on its bytes, so no record of them is added meanwhile.
    pub(super) fn clear_records(
        &self,
        request: &Request,
        is_exact: bool,
        spare: &mut Vec<u32>,
    ) -> Result<(), Obstacle> {
        let mut hints = self.each_lane(request.lane, |_, _, _| {});
        if !hints.is_complete {
            return Err(Obstacle::OutOfReach);
        }
        let missing = self.missing_room(&request.span, is_exact, spare)?;
        if missing > 0 {
            return Err(Obstacle::Lanes(missing));
        }
        self.replace_records(&request.span, &mut hints, spare);
        Ok(())
    }

    /// How many lanes are missing for the poison beside `span`. Refuses a recovery where a record
    /// cannot be split.
    fn missing_room(&self, span: &Span, is_exact: bool, spare: &[u32]) -> Result<usize, Obstacle> {
        let needed = self
            .parts_of_rest(span, is_exact)
            .map_err(|poison| Obstacle::Refused(Refusal::Interleaved(poison)))?;
        let room = self.free_records().count() + spare.len();
        Ok(needed.saturating_sub(room))
    }

    /// The number of parts that the poison beside `span` needs, or a record that cannot be split.
    fn parts_of_rest(&self, span: &Span, is_exact: bool) -> Result<usize, Poison> {
        let (mut needed, mut interleaved) = (0, None);
        self.each_poison(|_, poison| {
            if poison.span.overlaps(span) {
                match poison.span.without(span).filter(|_| is_exact) {
                    Some(rest) => needed += rest.into_iter().flatten().count(),
                    None => interleaved = Some(poison),
                }
            }
        });
        interleaved.map_or(Ok(needed), Err)
    }

    /// Replaces each record over `span` by its rest beside it.
    pub(super) fn replace_records(&self, span: &Span, hints: &mut Hints, spare: &mut Vec<u32>) {
        self.each_poison(|place, poison| {
            if !poison.span.overlaps(span) {
                return;
            }
            // Looked at again: a record that was changed without the lock word, so that its rest no
            // longer fits, stays.
            let Some(rest) = poison.span.without(span) else {
                return;
            };
            let room = self.free_records().count() + spare.len();
            if rest.iter().flatten().count() > room {
                return;
            }
            for span in rest.into_iter().flatten() {
                self.publish_rest(Poison { span, ..poison }, hints, spare);
                failpoint!(RecoverRestPublished);
            }
            self.free_poison(place);
            failpoint!(RecoverRecordFreed);
        });
    }

    fn publish_rest(&self, poison: Poison, hints: &mut Hints, spare: &mut Vec<u32>) {
        if let Some(record) = self.free_record() {
            self.publish_record(record, poison);
            return;
        }
        let Some((index, lane)) = spare
            .pop()
            .and_then(|index| Some((index, self.lane(index)?)))
        else {
            return;
        };
        self.lead_to(index, hints);
        lane.put(self.key, poison.span);
        lane.tag.store(Mode::Poisoned.tag(poison.member), Release);
    }
}

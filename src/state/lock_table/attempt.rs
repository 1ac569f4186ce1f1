//! Attempts: a request tries until it has its guard, and sleeps between tries.

use super::{
    Ahead, LOOKS, LockTable, Obstacle, Occupied, Refusal, Request,
    caller::{Surroundings, ask_caller},
    waiting::{LONGEST_SLEEP, Wait},
    withdraw,
};
use crate::{
    state::{
        lanes::{self, FLAGS, Lanes, is_in, member_of, turns},
        rests::HELD,
    },
    sync::{self, Instant},
};
use std::{sync::atomic::Ordering::SeqCst, time::Duration};

/// A call with less time left asks for itself whether a holder lives.
const LONGEST_SHARED_QUESTION: Duration = Duration::from_millis(500);

/// The end of a wait for one lane.
#[derive(PartialEq)]
enum Waited {
    /// The thread slept, and the lane has changed.
    Slept,
    /// The lane was a dead member's.
    Cleared,
}

impl<L: Lanes> LockTable<'_, L> {
    /// Tries until `place` takes the lane, and sleeps between tries.
    pub(super) fn wait_for(
        &self,
        request: Request,
        surroundings: &impl Surroundings,
        place: impl Fn(&mut Wait, &mut Vec<u32>) -> Result<(), Obstacle>,
    ) -> Result<(), Refusal> {
        let mut attempt = Attempt {
            table: self,
            request: &request,
            surroundings,
            wait: Wait::beside(surroundings.has_companions()),
            spare: Vec::new(),
        };
        self.try_for(&mut attempt, place)
    }

    fn try_for<S: Surroundings>(
        &self,
        attempt: &mut Attempt<'_, '_, L, S>,
        place: impl Fn(&mut Wait, &mut Vec<u32>) -> Result<(), Obstacle>,
    ) -> Result<(), Refusal> {
        let Attempt {
            request,
            surroundings,
            wait,
            spare,
            ..
        } = attempt;
        let (request, surroundings) = (*request, *surroundings);
        let mut looks = 0;
        loop {
            let has_waited = wait.is_published;
            let placed = self.locked(request, surroundings, || place(wait, spare))?;
            match placed {
                Ok(()) => {
                    if has_waited {
                        self.lane(request.lane).inspect(|lane| lane.rouse_next());
                    }
                    return Ok(());
                }
                Err(Obstacle::Refused(refusal)) => return Err(refusal),
                Err(Obstacle::Changed) => {}
                Err(Obstacle::OutOfReach) if surroundings.reach_lanes() => {}
                Err(Obstacle::OutOfReach) => return Err(Refusal::OutOfReach),
                Err(Obstacle::Lanes(count)) => {
                    let more: Vec<_> = (0..count).map_while(|_| surroundings.lease()).collect();
                    let is_enough = more.len() == count;
                    spare.extend(more);
                    if !is_enough && !self.locked(request, surroundings, || self.make_room())? {
                        return Err(Refusal::TooManyGuards);
                    }
                }
                Err(Obstacle::Ahead(ahead)) => {
                    if self.wait_on(ahead, request, surroundings, wait)? == Waited::Slept {
                        looks = 0;
                        continue;
                    }
                }
            }
            looks += 1;
            if looks > LOOKS {
                sync::sleep(Duration::from_millis(1));
                ask_caller(surroundings)?;
                if request
                    .deadline
                    .is_some_and(|deadline| Instant::now() >= deadline)
                {
                    return Err(Refusal::WouldBlock);
                }
            }
        }
    }

    /// Sleeps until the guard or waiter ahead may no longer be in the way, or clears the lanes of
    /// dead members.
    fn wait_on(
        &self,
        Ahead { holder, mut waiter }: Ahead,
        request: &Request,
        surroundings: &impl Surroundings,
        wait: &mut Wait,
    ) -> Result<Waited, Refusal> {
        // The lane on which the request sleeps, and what an error names.
        let (Some(last), Some(mut named)) = (waiter.or(holder), holder.or(waiter)) else {
            return Ok(Waited::Cleared);
        };
        let Some(lane) = self.lane(last.index) else {
            return Ok(Waited::Cleared);
        };
        let is_dead = |one: Occupied| {
            let member = member_of(one.tag);
            member != request.member && !surroundings.is_alive(member)
        };
        let mut turn = last.turn;
        loop {
            let left = request
                .deadline
                .map(|deadline| deadline.saturating_duration_since(Instant::now()));
            // A call that is about to end needs an answer of its own.
            let is_shared = left.is_none_or(|left| left > LONGEST_SHARED_QUESTION);
            let is_due =
                !is_shared || wait.is_due(self.block, named.index, surroundings.has_check());
            // Where another waiter asks about the guard, nothing is asked: a dead waiter is in the
            // way only when the guard is gone.
            if is_due && (is_dead(named) || waiter.is_some_and(is_dead)) {
                self.clear_dead(request.member, surroundings);
                wait.begin_to_ask();
                return Ok(Waited::Cleared);
            }
            if surroundings.is_cut_off() {
                return Err(Refusal::CutOff);
            }
            let mut time = match is_shared {
                true => wait.pause(),
                false => LONGEST_SLEEP,
            };
            if let Some(left) = left {
                time = time.min(left);
                if time.is_zero() {
                    surroundings.note_blocker(named.index, wait.watched());
                    return Err(Refusal::WouldBlock);
                }
            }
            if wait.is_published
                && request.deadline.is_none()
                && wait.is_time_to_search()
                && surroundings.is_deadlocked(request.lane)
            {
                return Err(Refusal::WouldDeadlock);
            }
            wait.begin();
            wait.watch(named.index, named.turn);
            failpoint!(WaitSleeping);
            lane.sleep(turn, time);
            failpoint!(WaitWoken);
            ask_caller(surroundings)?;
            let tag = lane.tag.load(SeqCst);
            turn = lane.turn.load(SeqCst);
            let has_ended = match waiter {
                Some(_) => turns::number(turn) != turns::number(last.turn),
                None => !self.is_in_the_way(named, request),
            };
            if wait.loses_patience() || has_ended {
                wait.note_look();
                return Ok(Waited::Slept);
            }
            let last = Occupied { tag, ..last };
            if waiter.is_some() && is_in(tag, HELD) && self.is_in_the_way(last, request) {
                // The waiter has its guard: this request is the next one.
                (named, waiter) = (last, None);
                wait.begin_to_ask();
            } else if !self.is_in_the_way(named, request) {
                // Another guard is in the way by now.
                return Ok(Waited::Slept);
            }
        }
    }

    /// Whether a guard or a waiter is still in the way of a request, in the same use of its lane.
    fn is_in_the_way(&self, found: Occupied, request: &Request) -> bool {
        self.lane(found.index).is_some_and(|lane| {
            let tag = lane.tag.load(SeqCst);
            (tag ^ found.tag) & !FLAGS == 0
                && turns::number(lane.turn.load(SeqCst)) == turns::number(found.turn)
                && self.is_of_this(lane, tag)
                && lane.hold(tag).overlaps(&request.span)
        })
    }
}

/// One request with the lanes that it has published and leased so far. Its drop gives them back,
/// unless the request has its guard.
struct Attempt<'t, 'a, L: Lanes, S: Surroundings> {
    table: &'t LockTable<'a, L>,
    request: &'t Request,
    surroundings: &'t S,
    wait: Wait,
    spare: Vec<u32>,
}

impl<L: Lanes, S: Surroundings> Drop for Attempt<'_, '_, L, S> {
    fn drop(&mut self) {
        if self.surroundings.has_forked() {
            return;
        }
        if self.wait.is_published {
            self.table
                .lane(self.request.lane)
                .inspect(|lane| withdraw(lane));
        }
        for &lane in &self.spare {
            self.table
                .lane(lane)
                .inspect(|lane| _ = lanes::free(lane, self.request.member));
        }
    }
}

//! Attempts: a request tries until it has its guard, and sleeps between tries.

use super::{
    LOOKS, LockTable, Obstacle, Occupied, Refusal, Request,
    caller::{Surroundings, ask_caller},
    waiting::{LONGEST_SLEEP, Wait},
    withdraw,
};
use crate::{
    state::{
        lanes::{self, Lane, Lanes, is_in, member_of},
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
            let placed = self.locked(request, surroundings, || place(wait, spare))?;
            match placed {
                Ok(()) => return Ok(()),
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
                Err(Obstacle::Lane(occupied)) => {
                    if self.wait_on(occupied, request, surroundings, wait)? == Waited::Slept {
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

    /// Sleeps until the guard or waiter in a lane may no longer be in the way, or clears the lanes
    /// of dead members.
    fn wait_on(
        &self,
        Occupied {
            index,
            tag,
            mut turn,
        }: Occupied,
        request: &Request,
        surroundings: &impl Surroundings,
        wait: &mut Wait,
    ) -> Result<Waited, Refusal> {
        let Some(lane) = self.lane(index) else {
            return Ok(Waited::Cleared);
        };
        wait.begin_to_ask();
        loop {
            let left = request
                .deadline
                .map(|deadline| deadline.saturating_duration_since(Instant::now()));
            // A wait of another thread moves on by itself, and a call that is about to end needs an
            // answer of its own.
            let is_shared =
                is_in(tag, HELD) && left.is_none_or(|left| left > LONGEST_SHARED_QUESTION);
            if !is_shared || wait.is_due(self.block, index, surroundings.has_check()) {
                let member = member_of(tag);
                if member != request.member && !surroundings.is_alive(member) {
                    self.clear_dead(request.member, surroundings);
                    return Ok(Waited::Cleared);
                }
                if surroundings.is_cut_off() {
                    return Err(Refusal::CutOff);
                }
            }
            let mut time = match is_shared {
                true => wait.pause(),
                false => LONGEST_SLEEP,
            };
            if let Some(left) = left {
                time = time.min(left);
                if time.is_zero() {
                    surroundings.note_blocker(index, wait.watched());
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
            wait.watch(index, turn);
            failpoint!(WaitSleeping);
            lane.sleep(turn, time);
            failpoint!(WaitWoken);
            ask_caller(surroundings)?;
            turn = lane.turn.load(SeqCst);
            if wait.loses_patience() || !self.is_in_the_way(lane, tag, request, wait) {
                wait.note_look();
                return Ok(Waited::Slept);
            }
        }
    }

    /// Whether a lane with this tag is in the way of a request. The tag alone does not tell: its
    /// member may have put another guard into the lane, and another waiter may sleep on that.
    fn is_in_the_way(&self, lane: &Lane, tag: u64, request: &Request, wait: &Wait) -> bool {
        lane.tag.load(SeqCst) == tag
            && self.is_of_this(lane, tag)
            && lane.hold(tag).overlaps(&request.span)
            && (is_in(tag, HELD) || wait.lets_go_first(lane, tag, request.mode))
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

//! Taking a lane for a guard, or for a wait. Everything here runs under the lock word.

use super::{
    Ahead, LOOKS, LockTable, Obstacle, Occupied, Poison, Refusal, Request, hints::Hints,
    waiting::Wait,
};
use crate::{
    layout::span::Span,
    state::{
        lanes::{
            COUNTED, Conflicts, Lane, Lanes, Mode, announce, freed_by, is_in, is_waiting,
            make_restless, member_of, turns, waiting_for, wanted_by,
        },
        rests::{HELD, Met, PART, Reservation, is_resting},
    },
    sync::{Instant, milliseconds},
};
use std::sync::atomic::{
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    compiler_fence,
};

impl Request {
    /// Whether a lane is one of the thread that makes the request.
    pub(super) fn is_of_thread(&self, lane: &Lane, tag: u64) -> bool {
        member_of(tag) == self.member
            && self.thread != 0
            && lane.thread.load(Relaxed) == self.thread
    }
}

impl<L: Lanes> LockTable<'_, L> {
    /// Takes the lane if there is nothing to decide: no other lane and no poison is in the way. The
    /// guard may rest when it is given back.
    #[inline]
    pub(super) fn place_at_once(&self, request: &Request, reserve: &mut Option<Span>) -> bool {
        let obstacles = Conflicts::at_once(request.mode);
        let mut is_clear = true;
        let mut hints = self.each_lane(request.lane, |_, lane, tag| {
            is_clear &= matches!(lane.meet(tag, &request.span, obstacles), Met::Nothing);
            if let Some(range) = *reserve
                && !self.leaves_free(request, lane, &range, obstacles)
            {
                *reserve = None;
            }
        });
        let is_clear = is_clear && hints.is_complete && self.block.poisoned.load(Relaxed) == 0;
        is_clear && self.publish_within(request, *reserve, request.mode, 0, &mut hints)
    }

    /// Whether a lane leaves a range free for a reservation of the thread that makes the request.
    /// A reservation of the same thread there is revoked.
    fn leaves_free(
        &self,
        request: &Request,
        lane: &Lane,
        range: &Span,
        obstacles: Conflicts,
    ) -> bool {
        let tag = lane.tag.load(Acquire);
        !obstacles.has_reserved(tag)
            || !lane.reach(tag).overlaps(range)
            || is_resting(tag) && request.is_of_thread(lane, tag) && lane.revoke(tag)
    }

    /// Takes the lane for a guard, or for the wait for one.
    pub(super) fn place(&self, request: &Request, wait: &mut Wait) -> Result<(), Obstacle> {
        let Request { span, mode, .. } = *request;
        let obstacles = Conflicts::at_once(mode);
        let is_mine = |lane: &Lane, tag: u64| request.is_of_thread(lane, tag);
        let (mut poison, mut holder) = (self.poison_over(&span), None);
        // The waiters before this request, and those that go first though no guard is in its way.
        let (mut queue, mut first) = (wait.queue(self.block), wait.queue(self.block));
        let (mut deadlock, mut has_own, mut has_changed) = (false, false, false);
        let mut hints = self.each_lane(request.lane, |index, lane, tag| {
            has_own |= is_in(tag, HELD) && is_mine(lane, tag);
            let tag = match lane.meet(tag, &span, obstacles) {
                Met::Nothing => return,
                Met::Changed => {
                    has_changed = true;
                    return;
                }
                Met::Obstacle(tag) => tag,
            };
            if Mode::Poisoned.is(tag) {
                poison = Some(self.fold(lane, tag));
            } else if !is_waiting(tag) {
                holder.get_or_insert((index, tag));
                deadlock |= is_mine(lane, tag);
            } else {
                if wait.is_behind(lane.turn.load(Relaxed)) {
                    queue.add(index, lane, tag);
                }
                if wait.lets_go_first(lane, tag, mode) {
                    first.add(index, lane, tag);
                }
            }
        });
        if !hints.is_complete {
            return Err(Obstacle::OutOfReach);
        }
        if let Some(poison) = poison {
            return Err(Obstacle::Refused(Refusal::Poisoned(poison)));
        }
        if has_own && first.last().is_some() {
            // A waiter that waits for a guard of this thread cannot go first.
            first = wait.queue(self.block);
            self.each_lane(request.lane, |index, lane, tag| {
                let is_obstacle = is_waiting(tag)
                    && obstacles.has(tag)
                    && lane.hold(tag).overlaps(&span)
                    && wait.lets_go_first(lane, tag, mode);
                if !is_obstacle {
                    // Not in the way.
                } else if !self.waits_for_thread_of(request, lane, tag) {
                    first.add(index, lane, tag);
                } else if mode != Mode::Write && Mode::WriteWait.is(tag) {
                    deadlock |= !wait.has_companions;
                }
            });
        }
        if deadlock {
            return Err(Obstacle::Refused(Refusal::WouldDeadlock));
        }
        let waiter = match holder {
            None => first.last(),
            // The waiters before it may wait for a guard of this thread.
            Some(_) if has_own => None,
            Some(_) => queue.last(),
        };
        if holder.is_some() || waiter.is_some() {
            let ahead = self.ahead(holder, waiter);
            return Err(self.wait_behind(request, wait, &mut hints, ahead));
        }
        if has_changed {
            return Err(Obstacle::Changed);
        }
        if !wait.is_published {
            return match self.publish(request, mode, 0, &mut hints) {
                true => Ok(()),
                false => Err(Obstacle::OutOfReach),
            };
        }
        self.convert(request);
        wait.is_published = false;
        Ok(())
    }

    /// Whether a waiter waits for a guard of the thread that makes the request. Looks at all lanes
    /// again for each waiter: a thread may have any number of guards, and no memory is allocated
    /// under the lock word.
    #[cold]
    fn waits_for_thread_of(&self, request: &Request, waiter: &Lane, tag: u64) -> bool {
        let (span, obstacles) = (waiter.hold(tag), Conflicts::of(wanted_by(tag)));
        let mut is_found = false;
        self.each_lane_at_any_time(|_, lane, tag| {
            is_found = is_found
                || obstacles.has(tag)
                    && request.is_of_thread(lane, tag)
                    && lane.hold(tag).overlaps(&span);
        });
        is_found
    }

    /// Turns the lane of a wait into that of the guard. The bit of waiters stays.
    pub(super) fn convert(&self, request: &Request) {
        if let Some(lane) = self.lane(request.lane) {
            failpoint!(WaitReady);
            let change = waiting_for(request.mode) as u64 ^ request.mode as u64;
            // The lane of a wait has no mark.
            let change = change | self.mark_of(request.mode);
            lane.tag.fetch_xor(change, AcqRel);
            compiler_fence(SeqCst);
            failpoint!(WaitConverted);
        }
    }

    /// The guard and the waiter ahead, by their lanes and tags.
    pub(super) fn ahead(&self, holder: Option<(u32, u64)>, waiter: Option<(u32, u64)>) -> Ahead {
        let look = |(index, tag)| {
            // Read before the announcement: the end of this use changes it.
            let turn = self.lane(index)?.turn.load(SeqCst);
            Some(Occupied { index, tag, turn })
        };
        Ahead {
            holder: holder.and_then(look),
            waiter: waiter.and_then(look),
        }
    }

    /// Announces the request in the lane on which it will sleep, and publishes its wait. Only a
    /// request that waits writes anything.
    pub(super) fn wait_behind(
        &self,
        request: &Request,
        wait: &mut Wait,
        hints: &mut Hints,
        mut ahead: Ahead,
    ) -> Obstacle {
        let waits = request
            .deadline
            .is_none_or(|deadline| deadline > Instant::now());
        if !waits {
            // It is told of the guard alone.
            ahead.waiter = ahead.waiter.filter(|_| ahead.holder.is_none());
            return Obstacle::Ahead(ahead);
        }
        let Some(last) = ahead.waiter.as_mut().or(ahead.holder.as_mut()) else {
            return Obstacle::Changed;
        };
        let is_announced = self.lane(last.index).is_some_and(|lane| {
            let announced = announce(lane, last.tag);
            last.tag = announced.unwrap_or(last.tag);
            // Looked at again: the lane may have got the same tag by a guard on another array.
            announced.is_some() && self.is_of_this(lane, last.tag)
        });
        if !is_announced {
            return Obstacle::Changed;
        }
        failpoint!(WaitFlagged);
        if let Some(lane) = self.lane(request.lane) {
            if !wait.is_published {
                if !self.keep_awake(request.lane, &request.span, request.mode) {
                    return Obstacle::Changed;
                }
                wait.ticket = self.block.ticket.load(Relaxed);
                self.block
                    .ticket
                    .store(wait.ticket.wrapping_add(1), Relaxed);
                let ends = if request.deadline.is_some() {
                    turns::ENDS
                } else {
                    0
                };
                let turn = u64::from(wait.ticket) | ends;
                lane.since.store(milliseconds(), Relaxed);
                wait.is_published = self.publish(request, waiting_for(request.mode), turn, hints);
                failpoint!(WaitPublished);
            } else if wait.is_ripe() {
                lane.turn.fetch_or(turns::RIPE, Relaxed);
            }
        }
        Obstacle::Ahead(ahead)
    }

    /// Lets no guard rest that excludes one of this span and mode: its thread could take it again
    /// past a waiter. Guards that are taken later, with a waiter in their way, do not rest. Returns
    /// false if a guard was taken and given back at each of many looks.
    pub(super) fn keep_awake(&self, mine: u32, span: &Span, mode: Mode) -> bool {
        let guards = Conflicts::guards(mode);
        let mut are_awake = true;
        let hints = self.each_lane(mine, |_, lane, mut tag| {
            if !guards.has_reserved(tag) || !lane.reach(tag).overlaps(span) {
                return;
            }
            // Only its thread changes the tag meanwhile. To reserve other bytes it needs the lock
            // word.
            are_awake &= (0..LOOKS).any(|_| {
                let is_awake = match () {
                    () if !guards.has_reserved(tag) => true,
                    () if is_resting(tag) => lane.revoke(tag),
                    () => make_restless(lane, tag).is_some(),
                };
                tag = lane.tag.load(Acquire);
                is_awake
            });
        });
        failpoint!(GuardsKeptAwake);
        are_awake && hints.is_complete
    }

    /// Publishes the request's lane, with the ticket and flags of a waiter. Returns false if this
    /// process may not touch the lane.
    pub(super) fn publish(
        &self,
        request: &Request,
        mode: Mode,
        turn: u64,
        hints: &mut Hints,
    ) -> bool {
        self.publish_within(request, None, mode, turn, hints)
    }

    /// The same, with a range that the lane reserves.
    #[inline]
    fn publish_within(
        &self,
        request: &Request,
        reserve: Option<Span>,
        mode: Mode,
        turn: u64,
        hints: &mut Hints,
    ) -> bool {
        let Some(lane) = self.lane(request.lane) else {
            return false;
        };
        self.lead_to(request.lane, hints);
        let mut tag = mode.tag(request.member) | self.mark_of(mode);
        let mut words = request.span;
        if let Some(range) = reserve
            && let Some((offset, len)) = Reservation::part(&range, &words)
        {
            tag |= PART;
            words = Span {
                pitch: offset,
                width: len,
                ..range
            };
        }
        lane.put(self.key, words);
        lane.thread.store(request.thread, Release);
        let last = lane.turn.load(Relaxed);
        lane.turn.store(turns::next(last, turn), Release);
        failpoint!(LaneSpanWritten);
        // Other processes scan under the lock word, whose release orders this for them. Against a
        // death only the order of the instructions counts: the elements must not be written before
        // the lane says so.
        lane.tag.store(tag, Release);
        compiler_fence(SeqCst);
        failpoint!(LanePublished);
        true
    }

    /// The mark of a guard of this mode, if it is counted when it ends.
    #[inline]
    fn mark_of(&self, mode: Mode) -> u64 {
        match mode == Mode::Write && self.block.is_watched() {
            true => COUNTED,
            false => 0,
        }
    }

    /// Moves a record of poison from a lane into the block, if there is room.
    pub(super) fn fold(&self, lane: &Lane, tag: u64) -> Poison {
        let poison = Poison {
            span: lane.hold(tag),
            member: member_of(tag),
        };
        if let Some(record) = self.free_record() {
            self.publish_record(record, poison);
            self.replace_counted(lane, tag, freed_by(poison.member));
            failpoint!(PoisonFolded);
        }
        poison
    }
}

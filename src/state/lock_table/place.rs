//! Taking a lane for a guard, or for a wait. Everything here runs under the lock word.

use super::{
    HELD, LockTable, Obstacle, Poison, Refusal, Request, announce, hints::Hints, waiting::Wait,
};
use crate::{
    layout::span::Span,
    state::lanes::{Lane, Lanes, Mode, is_in, member_of},
    sync::Instant,
};
use std::sync::atomic::{
    Ordering::{AcqRel, Relaxed, Release, SeqCst},
    compiler_fence,
};

/// The modes in the way of a request at once: guards that exclude it, and all waiters that it may
/// have to let go first.
const fn in_the_way(mode: Mode) -> u32 {
    let always = Mode::Write.bit() | Mode::WriteWait.bit() | Mode::Poisoned.bit();
    let (read, atomic) = (
        Mode::Read.bit() | Mode::ReadWait.bit(),
        Mode::Atomic.bit() | Mode::AtomicWait.bit(),
    );
    match mode {
        Mode::Read => always | atomic,
        Mode::Atomic => always | read,
        _ => always | read | atomic,
    }
}

const WAITERS: u32 = Mode::WriteWait.bit() | Mode::ReadWait.bit() | Mode::AtomicWait.bit();

/// The mode of a lane that waits for a guard of this mode.
fn waiting_for(mode: Mode) -> Mode {
    match mode {
        Mode::Read => Mode::ReadWait,
        Mode::Atomic => Mode::AtomicWait,
        _ => Mode::WriteWait,
    }
}

/// Spans of guards that the calling thread holds on this array: the first ones, and the hull of the
/// others.
struct OwnSpans {
    few: [Span; 8],
    count: usize,
}

impl OwnSpans {
    fn none() -> Self {
        let empty = Span {
            start: 0,
            end: 0,
            pitch: 0,
            width: 0,
        };
        Self {
            few: [empty; 8],
            count: 0,
        }
    }

    fn add(&mut self, span: Span) {
        if self.count < self.few.len() {
            self.few[self.count] = span;
            self.count += 1;
        } else {
            let last = &mut self.few[self.count - 1];
            *last = Span {
                start: last.start.min(span.start),
                end: last.end.max(span.end),
                pitch: 0,
                width: 0,
            };
        }
    }

    fn overlap(&self, span: &Span) -> bool {
        self.few[..self.count].iter().any(|own| own.overlaps(span))
    }
}

impl<L: Lanes> LockTable<'_, L> {
    /// Takes the lane if there is nothing to decide: no other lane and no poison is in the way.
    #[inline]
    pub(super) fn place_at_once(&self, request: &Request) -> bool {
        let obstacles = in_the_way(request.mode);
        let mut is_clear = true;
        let mut hints = self.each_lane(request.lane, |_, lane, tag| {
            is_clear &= !is_in(tag, obstacles) || !lane.span().overlaps(&request.span);
        });
        let is_clear = is_clear && hints.is_complete && self.block.poisoned.load(Relaxed) == 0;
        is_clear && self.publish(request, request.mode, &mut hints)
    }

    /// Takes the lane for a guard, or for the wait for one.
    pub(super) fn place(&self, request: &Request, wait: &mut Wait) -> Result<(), Obstacle> {
        let Request {
            member,
            thread,
            span,
            mode,
            ..
        } = *request;
        let obstacles = in_the_way(mode);
        let is_mine = |lane: &Lane, tag: u64| {
            member_of(tag) == member && thread != 0 && lane.thread.load(Relaxed) == thread
        };
        let (mut poison, mut holder, mut waiter) = (self.poison_over(&span), None, None);
        let (mut deadlock, mut own) = (false, OwnSpans::none());
        let mut hints = self.each_lane(request.lane, |index, lane, tag| {
            if is_in(tag, HELD) && is_mine(lane, tag) {
                own.add(lane.span());
            }
            if !is_in(tag, obstacles) || !lane.span().overlaps(&span) {
                // Not in the way.
            } else if Mode::Poisoned.is(tag) {
                poison = Some(self.fold(lane, tag));
            } else if !is_in(tag, WAITERS) {
                holder.get_or_insert((index, tag));
                deadlock |= is_mine(lane, tag);
            } else if wait.lets_go_first(lane, tag, mode) {
                waiter.get_or_insert((index, tag));
            }
        });
        if !hints.is_complete {
            return Err(Obstacle::OutOfReach);
        }
        if let Some(poison) = poison {
            return Err(Obstacle::Refused(Refusal::Poisoned(poison)));
        }
        if own.count != 0 && waiter.is_some() {
            // Waiters that wait for a guard of this thread.
            waiter = None;
            self.each_lane(request.lane, |index, lane, tag| {
                let is_obstacle = is_in(tag, WAITERS & obstacles)
                    && lane.span().overlaps(&span)
                    && wait.lets_go_first(lane, tag, mode);
                if is_obstacle && !own.overlap(&lane.span()) {
                    waiter.get_or_insert((index, tag));
                } else if is_obstacle && mode != Mode::Write && Mode::WriteWait.is(tag) {
                    deadlock = true;
                }
            });
        }
        if deadlock {
            return Err(Obstacle::Refused(Refusal::WouldDeadlock));
        }
        if let Some((index, tag)) = holder.or(waiter) {
            return Err(self.wait_for_lane(request, wait, &mut hints, index, tag));
        }
        if !wait.is_published {
            return match self.publish(request, mode, &mut hints) {
                true => Ok(()),
                false => Err(Obstacle::OutOfReach),
            };
        }
        self.convert(request);
        wait.is_published = false;
        Ok(())
    }

    /// Turns the lane of a wait into that of the guard. The bit of waiters stays.
    pub(super) fn convert(&self, request: &Request) {
        if let Some(lane) = self.lane(request.lane) {
            failpoint!(IntentReady);
            let change = waiting_for(request.mode) as u64 ^ request.mode as u64;
            lane.tag.fetch_xor(change, AcqRel);
            compiler_fence(SeqCst);
            failpoint!(IntentConverted);
        }
    }

    /// Announces the request in the lane that is in its way, and publishes its wait. Only a request
    /// that waits writes anything.
    pub(super) fn wait_for_lane(
        &self,
        request: &Request,
        wait: &mut Wait,
        hints: &mut Hints,
        index: u32,
        tag: u64,
    ) -> Obstacle {
        let waits = request
            .deadline
            .is_none_or(|deadline| deadline > Instant::now());
        if !waits {
            return Obstacle::Lane(index, tag);
        }
        // Looked at again: the lane may have got the same tag by a guard on another array.
        let announced = self
            .lane(index)
            .and_then(|lane| announce(lane, tag).filter(|&awaited| self.is_of_this(lane, awaited)));
        let Some(tag) = announced else {
            return Obstacle::Changed;
        };
        failpoint!(WaitFlagged);
        if let Some(lane) = self.lane(request.lane) {
            if !wait.is_published {
                wait.ticket = self.block.ticket.load(Relaxed);
                self.block
                    .ticket
                    .store(wait.ticket.wrapping_add(1), Relaxed);
                lane.turn.store(wait.turn(), Relaxed);
                wait.is_published = self.publish(request, waiting_for(request.mode), hints);
                failpoint!(IntentPublished);
            } else {
                lane.turn.store(wait.turn(), Relaxed);
            }
        }
        Obstacle::Lane(index, tag)
    }

    /// Publishes the request's lane. Returns false if this process may not touch it.
    #[inline]
    pub(super) fn publish(&self, request: &Request, mode: Mode, hints: &mut Hints) -> bool {
        let Some(lane) = self.lane(request.lane) else {
            return false;
        };
        self.lead_to(request.lane, hints);
        lane.put(self.key, request.span);
        lane.thread.store(request.thread, Relaxed);
        failpoint!(LaneSpanWritten);
        // Other processes scan under the lock word, whose release orders this for them. Against a
        // death only the order of the instructions counts: the elements must not be written before
        // the lane says so.
        lane.tag.store(mode.tag(request.member), Release);
        compiler_fence(SeqCst);
        failpoint!(LanePublished);
        true
    }

    /// Moves a record of poison from a lane into the block, if there is room.
    pub(super) fn fold(&self, lane: &Lane, tag: u64) -> Poison {
        let poison = Poison {
            span: lane.span(),
            member: member_of(tag),
        };
        if let Some(record) = self.free_record() {
            self.publish_record(record, poison);
            lane.replace_if(tag, 0);
            failpoint!(PoisonFolded);
        }
        poison
    }
}

//! Counting the guards that write, and watching an array: see [`changes`](crate::state::changes).

use super::{LOOKS, LockTable, Obstacle, Refusal, Request, Surroundings, poison};
use crate::state::{
    lanes::{
        AWAITED, Answers, COUNTED, Lane, Lanes, Mode, left_by_the_dead, make_restless, member_of,
    },
    rests::PART,
};
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

impl<L: Lanes> LockTable<'_, L> {
    /// Gives the guard in a lane back, and wakes the waiters. The lane stays leased, or is freed.
    #[inline]
    pub(crate) fn give_back(&self, lane: &Lane, is_freed: bool) {
        failpoint!(WithdrawWanted);
        let tag = lane.tag.load(Relaxed);
        let after = match is_freed {
            true => 0,
            false => Mode::Leased.tag(member_of(tag)),
        };
        let is_quiet = tag & (AWAITED | COUNTED) == 0
            && lane
                .tag
                .compare_exchange(tag, after, SeqCst, Relaxed)
                .is_ok();
        if is_quiet {
            failpoint!(LaneReplaced);
        } else {
            self.give_back_marked(lane, after);
        }
        failpoint!(WithdrawDone);
    }

    /// Gives back a guard that a waiter sleeps on, or that is counted.
    #[cold]
    fn give_back_marked(&self, lane: &Lane, after: u64) {
        let member = member_of(lane.tag.load(Relaxed));
        let written = Mode::Written.tag(member);
        let before = lane.end(after, written);
        if before & COUNTED == 0 {
            return;
        }
        let stripes = self.block.count(&lane.hold(before));
        lane.replace_if(written | COUNTED | before & PART, after);
        failpoint!(ChangeSettled);
        self.block.wake_changed(stripes);
    }

    /// Turns the lane of a writer that panicked into a record of poison: the thread has it no more.
    pub(crate) fn poison(&self, lane: &Lane, member: u64) {
        poison(lane, member);
        let tag = lane.tag.load(Acquire);
        if Mode::Poisoned.is(tag) {
            self.replace_counted(lane, tag, tag & !COUNTED);
        }
    }

    /// Replaces the tag of a lane whose guard has ended, and counts the guard before if it may not
    /// be counted yet. Returns false if the lane has another tag by now.
    pub(super) fn replace_counted(&self, lane: &Lane, tag: u64, after: u64) -> bool {
        if tag & COUNTED == 0 {
            return tag == after || lane.replace_if(tag, after);
        }
        let stripes = self.block.count(&lane.hold(tag));
        let is_replaced = lane.replace_if(tag, after);
        failpoint!(ChangeSettled);
        self.block.wake_changed(stripes);
        is_replaced
    }

    /// Clears a lane of this array whose member is dead, and counts its guard: see
    /// [`clear_dead`](Self::clear_dead).
    pub(super) fn replace_dead(&self, lane: &Lane, tag: u64) {
        failpoint!(ClearDeadWanted);
        self.replace_counted(lane, tag, left_by_the_dead(tag) & !COUNTED);
        failpoint!(DeadCleared);
    }

    /// Counts the guards that dead writers left and no process has counted. Asks about members that
    /// hold a guard which is counted.
    pub(crate) fn count_the_dead(&self, me: u64, surroundings: &impl Surroundings) {
        self.clear_dead_if(me, surroundings, |tag| tag & COUNTED != 0);
    }

    /// Clears the lanes of dead members on this array whose tag is such, and counts their guards
    /// and those of poison.
    pub(super) fn clear_dead_if(
        &self,
        me: u64,
        surroundings: &impl Surroundings,
        is_such: impl Fn(u64) -> bool,
    ) {
        let mut answers = Answers::default();
        self.each_lane_at_any_time(|_, lane, tag| {
            let member = member_of(tag);
            if !is_such(tag) {
                // Not asked about: to ask for each member costs a system call.
            } else if Mode::Poisoned.is(tag) {
                self.replace_counted(lane, tag, tag & !COUNTED);
            } else if member != me
                && !answers.is_alive(member, |member| surroundings.is_alive(member))
            {
                self.replace_dead(lane, tag);
            }
        });
    }

    /// Watches the array: from now on its guards that write are counted, those that are held now
    /// included.
    #[cold]
    pub(crate) fn watch(
        &self,
        request: &Request,
        stripe_len: u64,
        surroundings: &impl Surroundings,
    ) -> Result<(), Refusal> {
        self.wait_for(*request, surroundings, |_, _| self.mark_writers(stripe_len))
    }

    fn mark_writers(&self, stripe_len: u64) -> Result<(), Obstacle> {
        if self.block.is_watched() {
            return Ok(());
        }
        let mut are_marked = true;
        let hints = self.each_lane(u32::MAX, |_, lane, mut tag| {
            // Only its thread changes the tag meanwhile: it gives the guard back, or takes one that
            // rests. To publish another one it needs the lock word.
            are_marked &= (0..LOOKS).any(|_| {
                let is_marked = match () {
                    () if Mode::WriteRest.is(tag) => lane.revoke(tag),
                    () if Mode::Write.is(tag) => lane.mark(tag),
                    // It would rest as a guard to write.
                    () if Mode::ReadExclusive.is(tag) => make_restless(lane, tag).is_some(),
                    () => true,
                };
                tag = lane.tag.load(Acquire);
                is_marked
            });
        });
        if !hints.is_complete {
            return Err(Obstacle::OutOfReach);
        }
        if !are_marked {
            return Err(Obstacle::Changed);
        }
        failpoint!(WritersMarked);
        // Last: a thread that sees it relies on the marks.
        self.block.stripe_len.store(stripe_len, SeqCst);
        failpoint!(ChangesWatched);
        Ok(())
    }
}

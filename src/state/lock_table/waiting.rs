//! A wait for a guard, and the waits for the array to be frozen.

use super::Refusal;
use crate::{
    format::constants::ASKED,
    state::{
        block::StateBlock,
        lanes::{Lane, Mode, turns},
    },
    sync::{self, Instant, QUESTION_LASTS, fence, milliseconds},
};
use std::{
    sync::atomic::Ordering::{Relaxed, SeqCst},
    time::Duration,
};

/// The longest sleep of a waiter before it checks that the holder in its way lives. In tests it is
/// so long that a lost wake-up is noticed.
pub(super) const LONGEST_SLEEP: Duration = if cfg!(test) {
    Duration::from_secs(3600)
} else {
    Duration::from_millis(20)
};

/// The longest sleep of a waiter while another one asks.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The same, where a check of the caller may end the wait.
const LONGEST_PAUSE_BETWEEN_CHECKS: Duration = Duration::from_millis(200);

/// How long the order of waiters and the rule of ripe waiters bind a request.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a wait is when it first searches for a circle of waits.
const FIRST_SEARCH: Duration = Duration::from_millis(100);
const LONGEST_BETWEEN_SEARCHES: Duration = Duration::from_millis(6400);
/// A waiter that was awake so often without success is ripe.
const LOOKS_UNTIL_RIPE: u32 = 2;

/// A guard or wait that kept a request.
#[derive(Clone, Copy)]
pub(crate) struct Watched {
    pub(crate) lane: u32,
    /// The number of the use of the lane: see [`turns`].
    pub(crate) number: u64,
    pub(crate) since: Instant,
}

/// The progress of one request.
pub(super) struct Wait {
    /// The request's lane says that it waits.
    pub(super) is_published: bool,
    pub(super) ticket: u32,
    /// The call holds other guards on this array.
    pub(super) has_companions: bool,
    looks: u32,
    began: Option<Instant>,
    /// The guard or wait that the request sleeps on.
    watched: Option<Watched>,
    /// The request has waited so long that only guards, and a waiting writer before readers, are in
    /// its way.
    is_impatient: bool,
    /// How long the wait is when it next searches for a circle of waits.
    next_search: Duration,
    /// The length of the next sleep.
    pause: Duration,
}

impl Wait {
    /// A request that has not waited yet.
    #[cfg(test)]
    pub(super) fn new() -> Self {
        Self::beside(false)
    }

    /// The same, with or without other guards of the same call.
    pub(super) fn beside(has_companions: bool) -> Self {
        Self {
            has_companions,
            is_published: false,
            ticket: 0,
            looks: 0,
            began: None,
            watched: None,
            is_impatient: false,
            next_search: FIRST_SEARCH,
            pause: LONGEST_SLEEP,
        }
    }

    /// Notes the first sleep. Returns the time.
    pub(super) fn begin(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    /// Notes the use of a lane that is in the way before the waiter sleeps.
    pub(super) fn watch(&mut self, lane: u32, turn: u64) {
        let number = turns::number(turn);
        let is_known = |known: &Watched| (known.lane, known.number) == (lane, number);
        if !self.watched.as_ref().is_some_and(is_known) {
            let since = Instant::now();
            self.watched = Some(Watched {
                lane,
                number,
                since,
            });
        }
    }

    /// Whether to ask if the members ahead live, before the next sleep. The lane is that of the
    /// guard in the way. The answer to a question of another waiter for it counts for all of them.
    ///
    /// A waiter that finds such a question sleeps twice as long as before, one that does not half
    /// as long. So of many waiters few are awake: those that ask, every 20 ms, and each of the
    /// others every 500 ms, or every 200 ms if a check of the caller may end its wait. These take
    /// over where the asking ones end their waits.
    pub(super) fn is_due(&mut self, block: &StateBlock, lane: u32, has_check: bool) -> bool {
        let (word, now) = (&block.asked[lane as usize % ASKED], milliseconds());
        let asked = word.load(Relaxed);
        let age = now.wrapping_sub(asked as u32);
        let is_due = asked >> 32 != u64::from(lane) || age >= QUESTION_LASTS;
        if is_due {
            word.store(u64::from(lane) << 32 | u64::from(now), Relaxed);
            self.pause = (self.pause / 2).max(LONGEST_SLEEP);
        } else {
            let longest = match has_check {
                true => LONGEST_PAUSE_BETWEEN_CHECKS,
                false => LONGEST_PAUSE,
            };
            self.pause = (self.pause * 2).min(longest.max(LONGEST_SLEEP));
        }
        is_due
    }

    /// Notes that another guard or wait is in the way, or that the same one is after a look.
    pub(super) fn begin_to_ask(&mut self) {
        self.pause = LONGEST_SLEEP;
    }

    /// The length of the next sleep on a guard.
    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    /// A queue before this request, without a waiter yet.
    pub(super) fn queue(&self, block: &StateBlock) -> Queue {
        let ticket = match self.is_published {
            true => self.ticket,
            // It gets the next one if it waits.
            false => block.ticket.load(Relaxed),
        };
        Queue { ticket, last: None }
    }

    /// Whether another waiter came before this request.
    pub(super) fn is_behind(&self, turn: u64) -> bool {
        !self.is_published || (turn as u32).wrapping_sub(self.ticket) > u32::MAX / 2
    }

    pub(super) fn watched(&self) -> Option<Watched> {
        self.watched
    }

    /// Notes that the waiter was awake and looks again.
    pub(super) fn note_look(&mut self) {
        self.begin_to_ask();
        self.looks = self.looks.saturating_add(1);
    }

    /// Whether the request has just lost its patience: then it looks again.
    pub(super) fn loses_patience(&mut self) -> bool {
        let is_over = !self.is_impatient
            && self
                .began
                .is_some_and(|began| Instant::now().saturating_duration_since(began) > PATIENCE);
        self.is_impatient |= is_over;
        is_over
    }

    /// Whether to search for a circle of waits: 100 ms after the wait began, and then each time
    /// that it has become twice as long, up to every 6.4 s.
    pub(super) fn is_time_to_search(&mut self) -> bool {
        let Some(began) = self.began else {
            return false;
        };
        let is_time = Instant::now().saturating_duration_since(began) >= self.next_search;
        if is_time {
            self.next_search += self.next_search.min(LONGEST_BETWEEN_SEARCHES);
        }
        is_time
    }

    /// Whether the waiter was awake so often that new requests let it go first.
    pub(super) fn is_ripe(&self) -> bool {
        self.looks >= LOOKS_UNTIL_RIPE
    }

    /// Whether a request of this mode lets another waiter go first, which excludes it.
    pub(super) fn lets_go_first(&self, other: &Lane, tag: u64, mode: Mode) -> bool {
        let turn = other.turn.load(Relaxed);
        let is_writer_before_reader = mode != Mode::Write && Mode::WriteWait.is(tag);
        let comes_first = match self.is_published {
            true => self.is_behind(turn),
            false => is_writer_before_reader || turn & turns::RIPE != 0,
        };
        comes_first && (is_writer_before_reader || !self.is_impatient)
    }
}

/// Waiters that go before a request: the last of them.
pub(super) struct Queue {
    /// The request's own ticket.
    ticket: u32,
    /// The lane and the tag of the last one, and how much older its ticket is.
    last: Option<(u32, u64, u32)>,
}

impl Queue {
    pub(super) fn add(&mut self, index: u32, lane: &Lane, tag: u64) {
        let age = self.ticket.wrapping_sub(lane.turn.load(Relaxed) as u32);
        if self.last.is_none_or(|(_, _, least)| age < least) {
            self.last = Some((index, tag, age));
        }
    }

    /// The lane and the tag of the last waiter before the request.
    pub(super) fn last(&self) -> Option<(u32, u64)> {
        self.last.map(|(index, tag, _)| (index, tag))
    }
}

impl StateBlock {
    /// Waits until `is_done` returns a value. Looks again at every wake-up, and every 20 ms.
    ///
    /// A waiter reads the wake word, sets the waiting flag, looks once more, and sleeps while the
    /// wake word has the value that it read. A waker that finds the flag set clears it, bumps the
    /// wake word and wakes every sleeper. No wake-up is lost: a waker that clears the flag after
    /// the waiter set it also changes the word, and a waker whose change the last look missed finds
    /// the flag set.
    pub(crate) fn wait_until<R>(
        &self,
        deadline: Option<Instant>,
        mut is_done: impl FnMut() -> Option<R>,
    ) -> Result<R, Refusal> {
        loop {
            let seen = self.expect_wake();
            if let Some(result) = is_done() {
                return Ok(result);
            }
            self.sleep(seen, deadline)?;
        }
    }

    /// Wakes the threads that wait for the array to be frozen or released, if there are any.
    ///
    /// The caller changed the awaited state before. A waiter looks at it after setting the flag and
    /// a fence. All of these accesses are in one order (SeqCst): this call sees the flag, or the
    /// waiter sees the state.
    #[inline]
    pub(crate) fn wake(&self) {
        if self.waiting.load(SeqCst) != 0 {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        if self.waiting.swap(0, SeqCst) != 0 {
            failpoint!(WakeFlagCleared);
            self.wake.fetch_add(1, SeqCst);
            failpoint!(WakeBumped);
            sync::wake_all(&self.wake);
            failpoint!(WakeDone);
        }
    }

    /// Announces a waiter, before its last look at the awaited state. Returns the wake word for
    /// [`sleep`](Self::sleep).
    fn expect_wake(&self) -> u32 {
        let seen = self.wake.load(SeqCst);
        self.waiting.store(1, SeqCst);
        fence(SeqCst);
        failpoint!(FrozenAwaited);
        seen
    }

    /// Sleeps until a wake-up after `seen` was read, the deadline, or 20 ms.
    fn sleep(&self, seen: u32, deadline: Option<Instant>) -> Result<(), Refusal> {
        let mut time = LONGEST_SLEEP;
        if let Some(deadline) = deadline {
            time = time.min(deadline.saturating_duration_since(Instant::now()));
            if time.is_zero() {
                return Err(Refusal::WouldBlock);
            }
        }
        sync::sleep_on(&self.wake, seen, time);
        Ok(())
    }
}

//! The lock table of an array: who may read and write which bytes, robust against the death of any
//! holder at any instruction.
//!
//! A guard is a slot: a span, a mode, a member. Every change of the table is one atomic swap of a
//! slot's tag; the span is written before it, so a slot with a free tag means nothing, and nothing
//! has to be repaired after a death. Changes that look at several slots happen under the lock word,
//! which a dead holder's successor takes over. A slot of mode write whose member is dead *is* the
//! record that its bytes are poisoned.
//!
//! Nothing here panics, allocates or waits without a bound; nothing knows of files. Spans are
//! written and read under the lock word only, whose release and acquire order them; the bytes that
//! a guard protects are ordered by the tags: a swap releases, and a scan acquires.

mod place;
#[cfg(test)]
mod tests;

use crate::{
    format::constants::{MAX_MEMBER, SLOTS},
    layout::span::Span,
    state::block::StateBlock,
    sync::{self, Instant, SPINS, fence},
};
use std::{
    sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst},
    time::Duration,
};

/// The set of all slots.
const ALL: u64 = u64::MAX >> (64 - SLOTS);

/// The longest sleep of a waiter before it looks whether those it waits for still live. In tests it
/// is so long that a wake-up that is lost is noticed.
const LONGEST_SLEEP: Duration = if cfg!(test) {
    Duration::from_secs(3600)
} else {
    Duration::from_millis(20)
};
/// How long whoever does not wait for guards waits for the lock word, which is held for less than a
/// microsecond by who runs.
const WORD_PATIENCE: Duration = Duration::from_millis(50);
/// Slots that waiting writers leave to guards.
const KEPT_FROM_INTENTS: u32 = SLOTS.div_ceil(8) as u32;
/// How often whoever found something to clear away looks again at once: more often than there can
/// be anything, unless somebody writes into the table all the time who has no business there.
const LOOKS: u32 = 2 * SLOTS as u32;
/// Records of poison are merged beyond this number.
const MAX_POISONED: u32 = SLOTS as u32 / 2;

/// What a slot is for: bits 56 to 63 of its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Mode {
    Read = 1,
    Write = 2,
    /// A writer waits: new readers of its bytes do, too.
    Intent = 3,
    /// A writer died or panicked.
    Poisoned = 4,
    /// Atomic access: beside others of its kind, but not beside readers and writers.
    Atomic = 5,
}

impl Mode {
    fn tag(self, member: u64) -> u64 {
        (self as u64) << 56 | member
    }

    pub(crate) fn is(self, tag: u64) -> bool {
        tag >> 56 == self as u64
    }
}

pub(crate) fn member_of(tag: u64) -> u64 {
    tag & (MAX_MEMBER - 1)
}

/// What the table asks about its surroundings.
pub(crate) trait Liveness {
    /// Whether the member lives. Called without the lock word, and only about others.
    fn is_alive(&self, member: u64) -> bool;
    /// Whether the calling thread holds this slot, which its process holds.
    fn is_own(&self, slot: usize) -> bool;
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) member: u64,
    pub(crate) span: Span,
    /// Read, write or atomic.
    pub(crate) mode: Mode,
    /// Waits until then, for ever where there is none.
    pub(crate) deadline: Option<Instant>,
}

/// Bytes that a writer left half-written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Poison {
    pub(crate) span: Span,
    /// The writer.
    pub(crate) member: u64,
}

/// Why no guard is given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    WouldBlock,
    WouldDeadlock,
    TooManyGuards,
    Poisoned(Poison),
    /// A record of poison cannot be split where a recovery wants it.
    Interleaved(Poison),
}

/// Why a guard is not given at once.
enum Obstacle {
    /// Slots whose guards are in the way.
    Conflict(u64),
    /// Too few slots are free.
    Full,
    /// Two records of poison became one, which may be in the way where they were not.
    Merged,
    Refused(Refusal),
}

impl StateBlock {
    /// Takes a slot for a guard where the lock word is free and nothing is in the way, as it is for
    /// nearly every guard; else ask [`acquire`](Self::acquire).
    #[inline]
    pub(crate) fn acquire_at_once(&self, member: u64, span: Span, mode: Mode) -> Option<usize> {
        self.lock
            .compare_exchange(0, member, Acquire, Relaxed)
            .ok()?;
        failpoint!(WordTaken);
        let slot = self.place_at_once(member, span, mode);
        failpoint!(WordFreeing);
        self.lock.store(0, Release);
        slot
    }

    /// Takes a slot for a guard.
    #[cold]
    pub(crate) fn acquire(
        &self,
        request: Request,
        liveness: &impl Liveness,
    ) -> Result<usize, Refusal> {
        self.wait_with_intent(request, liveness, |table, intent| {
            table.place(request, intent, liveness)
        })
    }

    /// Takes a slot for a guard on bytes that may be poisoned; their poison is gone when it is
    /// withdrawn.
    ///
    /// A span that is not exact covers bytes that will not be written, whose poison must stay: it
    /// takes no record away.
    pub(crate) fn recover(
        &self,
        request: Request,
        is_exact: bool,
        liveness: &impl Liveness,
    ) -> Result<usize, Refusal> {
        self.wait_with_intent(request, liveness, |table, intent| {
            table.place_recovery(request, is_exact, intent, liveness)
        })
    }

    /// Gives a slot back and wakes who waits.
    pub(crate) fn withdraw(&self, slot: usize) {
        failpoint!(WithdrawWanted);
        self.slots[slot].tag.swap(0, SeqCst);
        failpoint!(WithdrawDone);
        self.wake();
    }

    /// Leaves the slot of a writer that panicked as a record of poison.
    pub(crate) fn poison(&self, slot: usize, member: u64) {
        failpoint!(PoisonWanted);
        self.slots[slot]
            .tag
            .swap(Mode::Poisoned.tag(member), SeqCst);
        failpoint!(PoisonDone);
        self.wake();
    }

    /// Waits until `is_done` gives something; looks again whenever somebody wakes the waiters, and
    /// every 20 ms.
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

    /// The poison on these bytes, that of writers included that nobody found dead before.
    pub(crate) fn poisoned(
        &self,
        request: Request,
        liveness: &impl Liveness,
    ) -> Result<Vec<Poison>, Refusal> {
        let overlapping = |slot: usize| self.slots[slot].span().overlaps(&request.span);
        let held = self.locked(request, liveness, |table| {
            table.slots_where(|slot, tag| !Mode::Poisoned.is(tag) && overlapping(slot))
        })?;
        self.clear_dead(held, request.member, liveness);
        // Not allocated under the lock word.
        let mut found = Vec::with_capacity(SLOTS);
        self.locked(request, liveness, |table| {
            each(
                table.slots_where(|slot, tag| Mode::Poisoned.is(tag) && overlapping(slot)),
                |slot| {
                    found.push(Poison {
                        span: table.slots[slot].span(),
                        member: member_of(table.slots[slot].tag.load(Acquire)),
                    });
                },
            );
        })?;
        found.sort_unstable_by_key(|poison| (poison.span.start, poison.span.end));
        Ok(found)
    }

    /// [`wait_for`](Self::wait_for) with the slot of an intent, which is withdrawn where no guard
    /// is given.
    fn wait_with_intent(
        &self,
        request: Request,
        liveness: &impl Liveness,
        place: impl Fn(&Self, &mut Option<usize>) -> Result<usize, Obstacle>,
    ) -> Result<usize, Refusal> {
        let mut intent = None;
        let result = self.wait_for(request, liveness, |table| place(table, &mut intent));
        if let (Err(_), Some(slot)) = (&result, intent) {
            self.withdraw(slot);
        }
        result
    }

    /// Tries until `place` gives a slot, and sleeps between.
    fn wait_for(
        &self,
        request: Request,
        liveness: &impl Liveness,
        mut place: impl FnMut(&Self) -> Result<usize, Obstacle>,
    ) -> Result<usize, Refusal> {
        let (mut waits, mut looks) = (None, 0);
        loop {
            let in_the_way = match self.locked(request, liveness, &mut place)? {
                Ok(slot) => return Ok(slot),
                Err(Obstacle::Refused(refusal)) => return Err(refusal),
                Err(Obstacle::Conflict(slots)) => slots,
                Err(Obstacle::Full) => ALL,
                Err(Obstacle::Merged) => 0,
            };
            if (in_the_way == 0 || self.clear_dead(in_the_way, request.member, liveness))
                && looks < LOOKS
            {
                looks += 1;
                continue;
            }
            if in_the_way == ALL
                && (0..SLOTS).any(|slot| self.holds(request.member, slot) && liveness.is_own(slot))
            {
                return Err(Refusal::TooManyGuards);
            }
            if let Some(seen) = waits.take() {
                self.sleep(seen, request.deadline)?;
            }
            // Before the next look at the table.
            waits = Some(self.expect_wake());
        }
    }

    /// Clears the slots among these whose members are dead: a writer's becomes poison. True where
    /// there was one.
    ///
    /// Without the lock word: a tag names a dead member for ever, so one compare-and-swap is
    /// enough, whoever else does the same.
    fn clear_dead(&self, slots: u64, me: u64, liveness: &impl Liveness) -> bool {
        let mut buried = false;
        each(slots, |slot| {
            let tag = self.slots[slot].tag.load(Acquire);
            let member = member_of(tag);
            if tag == 0 || Mode::Poisoned.is(tag) || member == me || liveness.is_alive(member) {
                return;
            }
            let left = if Mode::Write.is(tag) {
                Mode::Poisoned.tag(member)
            } else {
                0
            };
            failpoint!(BuryWanted);
            buried |= self.slots[slot]
                .tag
                .compare_exchange(tag, left, SeqCst, Acquire)
                .is_ok();
            failpoint!(Buried);
        });
        if buried {
            self.wake();
        }
        buried
    }

    /// Calls `action` with each slot that is taken, and its tag.
    #[inline]
    fn each_used(&self, mut action: impl FnMut(usize, u64)) {
        each(self.used.load(Relaxed), |slot| {
            let tag = self.slots[slot].tag.load(Acquire);
            if tag != 0 {
                action(slot, tag);
            }
        });
    }

    fn slots_where(&self, is_wanted: impl Fn(usize, u64) -> bool) -> u64 {
        let mut slots = 0;
        self.each_used(|slot, tag| slots |= u64::from(is_wanted(slot, tag)) << slot);
        slots
    }

    fn holds(&self, member: u64, slot: usize) -> bool {
        let tag = self.slots[slot].tag.load(Acquire);
        tag != 0 && member_of(tag) == member
    }

    /// Runs `section` with the lock word held.
    fn locked<R>(
        &self,
        request: Request,
        liveness: &impl Liveness,
        section: impl FnOnce(&Self) -> R,
    ) -> Result<R, Refusal> {
        self.take_word(request, liveness)?;
        failpoint!(WordTaken);
        let result = section(self);
        failpoint!(WordFreeing);
        self.lock.store(0, Release);
        Ok(result)
    }

    fn take_word(&self, request: Request, liveness: &impl Liveness) -> Result<(), Refusal> {
        match self
            .lock
            .compare_exchange(0, request.member, Acquire, Relaxed)
        {
            Ok(_) => Ok(()),
            Err(_) => self.wait_for_word(request, liveness),
        }
    }

    #[cold]
    fn wait_for_word(
        &self,
        Request {
            member, deadline, ..
        }: Request,
        liveness: &impl Liveness,
    ) -> Result<(), Refusal> {
        let mut tries = 0;
        let mut since = None;
        loop {
            let Err(holder) = self.lock.compare_exchange(0, member, Acquire, Relaxed) else {
                return Ok(());
            };
            tries += 1;
            if tries < SPINS {
                sync::spin_loop();
                continue;
            }
            // Threads of one process have one member id: who holds the word lives, or nobody here
            // does. Who sleeps between its tries asks each time.
            let is_time = tries % SPINS == 0
                || since.is_some_and(|since: Instant| {
                    Instant::now() > since + Duration::from_millis(1)
                });
            let is_dead = holder != 0 && holder != member && is_time && !liveness.is_alive(holder);
            if is_dead
                && self
                    .lock
                    .compare_exchange(holder, member, Acquire, Relaxed)
                    .is_ok()
            {
                failpoint!(WordTakenOver);
                return Ok(());
            }
            let now = Instant::now();
            let since = *since.get_or_insert(now);
            if deadline.is_some_and(|deadline| now >= deadline.max(since + WORD_PATIENCE)) {
                return Err(Refusal::WouldBlock);
            }
            if now < since + Duration::from_millis(1) {
                sync::yield_now()
            } else {
                sync::sleep(Duration::from_micros(100))
            }
        }
    }

    /// Wakes who waits, if anybody does: for a guard, or for the array to be frozen.
    ///
    /// What they wait for was done before, a tag swapped for instance; a waiter looks at the tags
    /// after it has set the flag and a fence. All of that has one order (SeqCst): either the flag
    /// is seen here, or the waiter sees the tag.
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

    /// Says that somebody waits, before a last look at what is waited for. What
    /// [`sleep`](Self::sleep) needs.
    ///
    /// In this order: whoever clears the flag after this changes the word too, and whoever does
    /// something that the look misses sees the flag.
    fn expect_wake(&self) -> u32 {
        let seen = self.wake.load(SeqCst);
        self.waiting.store(1, SeqCst);
        fence(SeqCst);
        failpoint!(WaitFlagged);
        seen
    }

    /// Sleeps until a slot is given back after `seen` was read, but not long.
    fn sleep(&self, seen: u32, deadline: Option<Instant>) -> Result<(), Refusal> {
        let mut time = LONGEST_SLEEP;
        if let Some(deadline) = deadline {
            time = time.min(deadline.saturating_duration_since(Instant::now()));
            if time.is_zero() {
                return Err(Refusal::WouldBlock);
            }
        }
        failpoint!(WaitSleeping);
        sync::sleep_on(&self.wake, seen, time);
        failpoint!(WaitWoken);
        Ok(())
    }
}

/// Calls `action` with each member of a set of slots.
#[inline]
fn each(mut slots: u64, mut action: impl FnMut(usize)) {
    while slots != 0 {
        action(slots.trailing_zeros() as usize);
        slots &= slots - 1;
    }
}

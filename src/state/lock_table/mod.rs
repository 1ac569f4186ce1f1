//! # The lock table
//!
//! A table of 64 slots in the state block says which member may access which bytes of the array. It
//! works between processes, and it stays usable when a holder dies between any two instructions.
//! Nothing here panics, nothing allocates under the lock word, and nothing knows of files.
//!
//! # Guards
//!
//! A guard is a slot: a tag (member id and [`Mode`]) and a [`Span`] of bytes. Two guards conflict
//! if their spans overlap and at least one of them writes; atomic access conflicts with readers and
//! writers, but not with other atomic access. To take a guard:
//!
//! 1. take the lock word, by compare-and-swap from free to the own member id;
//! 2. scan the used slots for a conflict;
//! 3. write the span into a free slot, set its bit in the map of used slots, and publish the slot
//!    by writing its tag;
//! 4. free the lock word.
//!
//! To give it back: swap the tag to 0 (free) and wake the waiters. This needs no lock word. Without
//! contention neither makes a system call. One membership serves all threads of a process, so the
//! caller tells by [`Liveness::is_own`] which slots the calling thread itself holds.
//!
//! # Waiting
//!
//! A waiter reads the wake word, sets the waiting flag, looks at the table once more, and sleeps
//! while the wake word has the value that it read. A waker that finds the flag set clears it, bumps
//! the wake word and wakes every sleeper. No wake-up is lost: a waker that clears the flag after
//! the waiter set it also changes the word, and a waker whose slot the last look still saw taken
//! finds the flag set. A sleep lasts 20 ms at most: then the waiter checks that the holders in its
//! way are alive.
//!
//! # Intents
//!
//! A writer that has to wait publishes an intent in a slot. New readers and atomic accesses of
//! overlapping bytes then wait too, so a stream of readers cannot starve a writer. The intent
//! becomes the writer's guard in the same slot. Eight slots are never given to intents.
//!
//! # Deadlock
//!
//! A thread that would wait for a guard of its own gets [`Refusal::WouldDeadlock`], and so does a
//! thread that asks for bytes that a waiting writer claims while that writer waits for a guard of
//! this thread. A thread that holds a guard while the table is full gets
//! [`Refusal::TooManyGuards`].
//!
//! # Death
//!
//! Every change of the table is one atomic write of a tag, and the span is written before it. A
//! slot with a free tag means nothing, and the map of used slots is a hint. So a death between any
//! two instructions leaves nothing to repair, only slots and possibly the lock word of a dead
//! member:
//!
//! - The lock word is taken over by compare-and-swap from the dead holder's id. A thread that waits
//!   for it asks whether the holder lives after every 100 tries, and after a millisecond at every
//!   try.
//! - A dead member's slot is cleared by the process that finds it in its way, by compare-and-swap
//!   of the tag and without the lock word. That is safe because member ids are never reused: a tag
//!   names a dead member for ever. A slot of a reader, an atomic access or an intent becomes free;
//!   a writer's becomes a record of poison.
//!
//! # Poison
//!
//! A record is a slot of mode [`Mode::Poisoned`] (or of mode write whose member is dead): its bytes
//! may be half-written, and guards on them are refused. A guard whose thread panics becomes a
//! record in place. Beyond 32 records, the two that lie closest together are merged: one grows word
//! by word, covers more after each write, and then the other is freed. A death amid a merge
//! therefore loses no poison.
//!
//! # Recovery
//!
//! [`StateBlock::recover`] takes poisoned bytes exclusively. It publishes its guard, then the parts
//! of the overlapping records that the guard does not cover, then frees those records. A death in
//! between leaves no byte less poisoned than before, because the guard of a dead member is poison
//! too. The recovery is refused if the rest of a record cannot be told in at most three spans, and
//! if its own span covers bytes that its view does not: their poison would be lost. If the rest
//! would not fit even after all guards are given back, records are merged.
//!
//! # Freezing
//!
//! The freezer takes a guard on the whole array, sets the frozen flag, and wakes the waiters. A
//! writer checks the flag while it holds its slot, so it precedes the freeze or is refused.
//!
//! # Memory orders
//!
//! - Spans are written and read under the lock word only. Its acquire and release order them.
//! - The bytes that a guard protects are ordered by tags: the swap that gives a slot back releases
//!   them, and a scan acquires them.
//! - The waiting flag, the wake word and the tags that are given back are SeqCst: waker and waiter
//!   each write one word and read the other's.
//! - A tag is published by a plain release store and a compiler fence. Other processes scan under
//!   the lock word, which orders the store for them. Against a death only the order of the
//!   instructions counts: no element may be written before the slot says so.
//!
//! # A hostile table
//!
//! Any process of the user can write any bytes into the block at any time, without the lock word.
//! So values are copied before use, arithmetic does not overflow, nothing that was counted is
//! assumed to be still true, and looking again is bounded. Calls with a deadline return in time.
//! Only a call without a deadline waits as long as the block names a living member.
//!
//! `place` finds and takes slots, `recovery` handles records of poison, `word` is the lock word,
//! and `waiting` is waking and sleeping.

mod place;
mod recovery;
#[cfg(test)]
mod tests;
mod waiting;
mod word;

use crate::{
    format::constants::{MAX_MEMBER, SLOTS},
    layout::span::Span,
    state::block::StateBlock,
    sync::Instant,
};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// The set of all slots.
const ALL: u64 = u64::MAX >> (64 - SLOTS);

/// Slots that are never given to intents.
const KEPT_FROM_INTENTS: u32 = SLOTS.div_ceil(8) as u32;
/// How often a call that cleared or merged something looks again at once. More looks than slots are
/// needed only if a foreign process keeps writing into the table.
const LOOKS: u32 = 2 * SLOTS as u32;
/// Records of poison are merged beyond this number.
const MAX_POISONED: u32 = SLOTS as u32 / 2;

/// The purpose of a slot: bits 56 to 63 of its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Mode {
    Read = 1,
    Write = 2,
    /// A writer waits: new readers of its bytes wait too.
    Intent = 3,
    /// A writer died or panicked.
    Poisoned = 4,
    /// Atomic access: coexists with its own kind, excludes readers and writers.
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
    // MAX_MEMBER has all bits of a member id.
    tag & MAX_MEMBER
}

/// Answers that the table needs from its caller.
pub(crate) trait Liveness {
    /// Whether the member lives. Called without the lock word, and only about others.
    fn is_alive(&self, member: u64) -> bool;
    /// Whether the calling thread holds this slot, which its process holds.
    fn is_own(&self, slot: usize) -> bool;
    /// Whether this process can no longer learn which members live. A wait ends then.
    fn is_cut_off(&self) -> bool {
        false
    }
    /// Whether the calling thread has to end its wait. Called without the lock word, between two
    /// sleeps.
    fn is_interrupted(&self) -> bool {
        false
    }
}

/// A request for a guard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) member: u64,
    pub(crate) span: Span,
    /// Read, write or atomic.
    pub(crate) mode: Mode,
    /// The end of waiting; `None` waits for ever.
    pub(crate) deadline: Option<Instant>,
}

/// Bytes that a writer may have left half-written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Poison {
    pub(crate) span: Span,
    /// The writer.
    pub(crate) member: u64,
}

/// The reason for a final refusal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A guard is in the way, and the deadline is over.
    WouldBlock,
    /// A living member holds the lock word, and the deadline is over.
    WordHeld,
    Interrupted,
    WouldDeadlock,
    TooManyGuards,
    /// This process can no longer learn which members live.
    CutOff,
    Poisoned(Poison),
    /// A record of poison cannot be split as a recovery needs it.
    Interleaved(Poison),
}

/// The reason why one attempt gives no guard.
enum Obstacle {
    /// The slots whose guards are in the way.
    Conflict(u64),
    /// Too few slots are free.
    Full,
    /// Two records of poison became one, which may now be in the way.
    Merged,
    Refused(Refusal),
}

impl StateBlock {
    /// Takes a slot for a guard if the lock word is free and nothing is in the way, the usual case.
    /// If it returns `None`, call [`acquire`](Self::acquire).
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

    /// Takes a slot for a guard on bytes that may be poisoned, and clears their poison. If the
    /// guard is dropped in a panic or its process dies, its own bytes are poisoned again.
    ///
    /// A span that is not exact covers bytes that are not written and whose poison must stay: it
    /// clears no record.
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

    /// Gives a slot back and wakes the waiters.
    pub(crate) fn withdraw(&self, slot: usize) {
        failpoint!(WithdrawWanted);
        self.slots[slot].tag.swap(0, SeqCst);
        failpoint!(WithdrawDone);
        self.wake();
    }

    /// Turns the slot of a writer that panicked into a record of poison.
    pub(crate) fn poison(&self, slot: usize, member: u64) {
        failpoint!(PoisonWanted);
        self.slots[slot]
            .tag
            .swap(Mode::Poisoned.tag(member), SeqCst);
        failpoint!(PoisonDone);
        self.wake();
    }

    /// The poison on these bytes, including that of writers whose death is noticed only now.
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
        if liveness.is_cut_off() {
            return Err(Refusal::CutOff);
        }
        // Allocate before taking the lock word.
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

    /// [`wait_for`](Self::wait_for) with an intent, which is withdrawn if no guard is given.
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

    /// Tries until `place` returns a slot, and sleeps between tries.
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
            if liveness.is_cut_off() {
                return Err(Refusal::CutOff);
            }
            if in_the_way == ALL
                && (0..SLOTS).any(|slot| self.holds(request.member, slot) && liveness.is_own(slot))
            {
                return Err(Refusal::TooManyGuards);
            }
            if let Some(seen) = waits.take() {
                self.sleep(seen, request.deadline)?;
                if liveness.is_interrupted() {
                    return Err(Refusal::Interrupted);
                }
            }
            // Before the next look at the table.
            waits = Some(self.expect_wake());
        }
    }

    /// Clears those of these slots whose members are dead: a writer's becomes poison. Returns
    /// whether there was one.
    ///
    /// Needs no lock word: a tag names a dead member for ever, so one compare-and-swap is enough
    /// even if other processes do the same.
    fn clear_dead(&self, slots: u64, me: u64, liveness: &impl Liveness) -> bool {
        let mut cleared = false;
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
            failpoint!(ClearDeadWanted);
            cleared |= self.slots[slot]
                .tag
                .compare_exchange(tag, left, SeqCst, Acquire)
                .is_ok();
            failpoint!(DeadCleared);
        });
        if cleared {
            self.wake();
        }
        cleared
    }

    /// Calls `action` with each used slot and its tag.
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
}

/// Calls `action` with each slot of a set.
#[inline]
fn each(mut slots: u64, mut action: impl FnMut(usize)) {
    while slots != 0 {
        action(slots.trailing_zeros() as usize);
        slots &= slots - 1;
    }
}

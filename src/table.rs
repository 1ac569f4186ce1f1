//! The lock table of an array: who may read and write which bytes, robust against the death of any holder at any instruction.
//!
//! A guard is a slot: a span, a mode, a member. Every change of the table is one atomic swap of a slot's tag; the span is written before it, so a
//! slot with a free tag means nothing, and nothing has to be repaired after a death. Changes that look at several slots happen under the lock
//! word, which a dead holder's successor takes over. A slot of mode write whose member is dead *is* the record that its bytes are poisoned.
//!
//! Nothing here panics, allocates or waits without a bound; nothing knows of files. Spans are written and read under the lock word only, whose
//! release and acquire order them; the bytes that a guard protects are ordered by the tags: a swap releases, and a scan acquires.

#[cfg(test)]
mod tests;

use crate::{
    format::MAX_MEMBER,
    span::Span,
    state::{SLOTS, StateBlock},
};
use rustix::{io::Errno, thread::futex, time::Timespec};
use std::{
    sync::atomic::{
        Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
        fence,
    },
    time::{Duration, Instant},
};

/// The longest sleep of a waiter before it looks whether those it waits for still live. In tests it is so long that a wake-up that is lost is
/// noticed.
const LONGEST_SLEEP: Duration = if cfg!(test) { Duration::from_secs(3600) } else { Duration::from_millis(20) };
/// How often the lock word is looked at before the processor is yielded, and then before it is asked whether its holder lives.
const SPINS: u32 = 100;
/// How long whoever does not wait for guards waits for the lock word, which is held for less than a microsecond by who runs.
const WORD_PATIENCE: Duration = Duration::from_millis(50);
/// Slots that waiting writers leave to guards.
const KEPT_FROM_INTENTS: u32 = 8;
/// Records of poison are merged beyond this number.
const MAX_POISONED: u32 = 32;

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

    fn is(self, tag: u64) -> bool {
        tag >> 56 == self as u64
    }
}

fn member_of(tag: u64) -> u64 {
    tag & (MAX_MEMBER - 1)
}

/// What the table asks about its surroundings.
pub(crate) trait World {
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
    Refused(Refusal),
}

impl StateBlock {
    /// Takes a slot for a guard.
    pub(crate) fn acquire(&self, request: Request, world: &impl World) -> Result<usize, Refusal> {
        self.wait_with_intent(request, world, |table, intent| table.place(request, intent, world))
    }

    /// Takes a slot for a guard on bytes that may be poisoned; their poison is gone when it is withdrawn.
    ///
    /// A span that is not exact covers bytes that will not be written, whose poison must stay: it takes no record away.
    pub(crate) fn recover(&self, request: Request, is_exact: bool, world: &impl World) -> Result<usize, Refusal> {
        self.wait_with_intent(request, world, |table, intent| table.place_recovery(request, is_exact, intent, world))
    }

    /// Gives a slot back and wakes who waits.
    pub(crate) fn withdraw(&self, slot: usize) {
        self.slots[slot].tag.swap(0, SeqCst);
        self.wake();
    }

    /// Leaves the slot of a writer that panicked as a record of poison.
    pub(crate) fn poison(&self, slot: usize, member: u64) {
        self.slots[slot].tag.swap(Mode::Poisoned.tag(member), SeqCst);
        self.wake();
    }

    /// Wakes all who wait, for instance for the array to be frozen.
    pub(crate) fn announce(&self) {
        self.wake();
    }

    /// Waits until `is_done` gives something; looks again whenever a guard is given back or something is announced, and every 20 ms.
    pub(crate) fn wait_until<R>(&self, deadline: Option<Instant>, mut is_done: impl FnMut() -> Option<R>) -> Result<R, Refusal> {
        loop {
            let seen = self.expect_wake();
            if let Some(result) = is_done() {
                return Ok(result);
            }
            self.sleep(seen, deadline)?;
        }
    }

    /// The poison on these bytes, that of writers included that nobody found dead before.
    pub(crate) fn poisoned(&self, request: Request, world: &impl World) -> Result<Vec<Poison>, Refusal> {
        let overlapping = |slot: usize| self.slots[slot].span().overlaps(&request.span);
        let held = self.locked(request, world, |table| table.slots_where(|slot, tag| !Mode::Poisoned.is(tag) && overlapping(slot)))?;
        self.bury(held, request.member, world);
        // Not allocated under the lock word.
        let mut found = Vec::with_capacity(SLOTS);
        self.locked(request, world, |table| {
            each(table.slots_where(|slot, tag| Mode::Poisoned.is(tag) && overlapping(slot)), |slot| {
                found.push(Poison { span: table.slots[slot].span(), member: member_of(table.slots[slot].tag.load(Acquire)) });
            });
        })?;
        found.sort_unstable_by_key(|poison| (poison.span.start, poison.span.end));
        Ok(found)
    }

    /// [`wait_for`](Self::wait_for) with the slot of an intent, which is withdrawn where no guard is given.
    fn wait_with_intent(
        &self,
        request: Request,
        world: &impl World,
        place: impl Fn(&Self, &mut Option<usize>) -> Result<usize, Obstacle>,
    ) -> Result<usize, Refusal> {
        let mut intent = None;
        let result = self.wait_for(request, world, |table| place(table, &mut intent));
        if let (Err(_), Some(slot)) = (&result, intent) {
            self.withdraw(slot);
        }
        result
    }

    /// Tries until `place` gives a slot, and sleeps between.
    fn wait_for(&self, request: Request, world: &impl World, mut place: impl FnMut(&Self) -> Result<usize, Obstacle>) -> Result<usize, Refusal> {
        let mut waits = None;
        loop {
            let in_the_way = match self.locked(request, world, &mut place)? {
                Ok(slot) => return Ok(slot),
                Err(Obstacle::Refused(refusal)) => return Err(refusal),
                Err(Obstacle::Conflict(slots)) => slots,
                Err(Obstacle::Full) => u64::MAX,
            };
            if self.bury(in_the_way, request.member, world) {
                continue;
            }
            if in_the_way == u64::MAX && (0..SLOTS).any(|slot| self.holds(request.member, slot) && world.is_own(slot)) {
                return Err(Refusal::TooManyGuards);
            }
            if let Some(seen) = waits.take() {
                self.sleep(seen, request.deadline)?;
            }
            // Before the next look at the table.
            waits = Some(self.expect_wake());
        }
    }

    /// Finds a place for a guard. Under the lock word.
    fn place(&self, request: Request, intent: &mut Option<usize>, world: &impl World) -> Result<usize, Obstacle> {
        let Request { member, span, mode, .. } = request;
        let is_mine = |slot: usize, tag: u64| member_of(tag) == member && world.is_own(slot);
        let (mut free, mut conflicts, mut deadlock, mut poison) = (u64::MAX, 0, false, None);
        let (mut waiting_writers, mut records) = (0u64, 0);
        self.each_used(|slot, tag| {
            free &= !(1 << slot);
            records += u32::from(Mode::Poisoned.is(tag));
            if *intent == Some(slot) || !self.slots[slot].span().overlaps(&span) {
                // Not in the way.
            } else if Mode::Poisoned.is(tag) {
                poison = Some(Poison { span: self.slots[slot].span(), member: member_of(tag) });
            } else if Mode::Intent.is(tag) {
                waiting_writers |= if mode == Mode::Write { 0 } else { 1 << slot };
            } else if mode == Mode::Write || !mode.is(tag) {
                conflicts |= 1 << slot;
                deadlock |= is_mine(slot, tag);
            }
        });
        self.used.store(!free, Relaxed);
        if let Some(poison) = poison {
            return Err(Obstacle::Refused(Refusal::Poisoned(poison)));
        }
        // A writer that waits for a guard of this thread would be waited for by it.
        each(waiting_writers, |writer| {
            let waited_for = self.slots[writer].span();
            self.each_used(|slot, tag| deadlock |= is_mine(slot, tag) && !Mode::Intent.is(tag) && self.slots[slot].span().overlaps(&waited_for));
        });
        if deadlock {
            return Err(Obstacle::Refused(Refusal::WouldDeadlock));
        }
        if conflicts | waiting_writers != 0 {
            if mode == Mode::Write {
                self.intend(request, free, intent);
            }
            return Err(Obstacle::Conflict(conflicts | waiting_writers));
        }
        if let Some(slot) = intent.take() {
            self.slots[slot].tag.swap(mode.tag(member), AcqRel);
            return Ok(slot);
        }
        if records > MAX_POISONED || free == 0 && records > 1 {
            self.merge_closest_poison();
            return self.place(request, intent, world);
        }
        if free == 0 { Err(Obstacle::Full) } else { Ok(self.publish(free, span, mode.tag(member))) }
    }

    /// Finds a place for a recovery. Under the lock word.
    fn place_recovery(&self, request: Request, is_exact: bool, intent: &mut Option<usize>, world: &impl World) -> Result<usize, Obstacle> {
        let Request { member, span, .. } = request;
        let (mut free, mut conflicts, mut records, mut deadlock) = (u64::MAX, 0, 0u64, false);
        self.each_used(|slot, tag| {
            free &= !(1 << slot);
            if Mode::Intent.is(tag) || !self.slots[slot].span().overlaps(&span) {
                // Not in the way.
            } else if Mode::Poisoned.is(tag) {
                records |= 1 << slot;
            } else {
                conflicts |= 1 << slot;
                deadlock |= member_of(tag) == member && world.is_own(slot);
            }
        });
        self.used.store(!free, Relaxed);
        if deadlock {
            return Err(Obstacle::Refused(Refusal::WouldDeadlock));
        }
        if conflicts != 0 {
            self.intend(request, free, intent);
            return Err(Obstacle::Conflict(conflicts));
        }
        let (mut needed, mut interleaved) = (usize::from(intent.is_none()), None);
        each(records, |slot| match self.slots[slot].span().without(&span).filter(|_| is_exact) {
            Some(rest) => needed += rest.into_iter().flatten().count(),
            None => interleaved = Some(Poison { span: self.slots[slot].span(), member: member_of(self.slots[slot].tag.load(Acquire)) }),
        });
        if let Some(poison) = interleaved {
            return Err(Obstacle::Refused(Refusal::Interleaved(poison)));
        }
        if (free.count_ones() as usize) < needed {
            return Err(Obstacle::Full);
        }
        let mut take = |span, tag| {
            let slot = self.publish(free, span, tag);
            free &= !(1 << slot);
            slot
        };
        // The guard first, then what it does not cover of the records, then the records go: whatever is interrupted here leaves no less poison
        // than there was, because the guard of a dead member is poison too.
        let guard = match intent.take() {
            Some(slot) => {
                self.slots[slot].tag.swap(Mode::Write.tag(member), AcqRel);
                slot
            }
            None => take(span, Mode::Write.tag(member)),
        };
        each(records, |slot| {
            let poisoned = self.slots[slot].tag.load(Acquire);
            for rest in self.slots[slot].span().without(&span).into_iter().flatten().flatten() {
                take(rest, poisoned);
            }
            self.slots[slot].tag.swap(0, AcqRel);
        });
        Ok(guard)
    }

    /// Says that somebody waits to write, if there is room to say so: new readers of the bytes wait, too. Under the lock word.
    fn intend(&self, request: Request, free: u64, intent: &mut Option<usize>) {
        let waits = request.deadline.is_none_or(|deadline| deadline > Instant::now());
        if intent.is_none() && waits && free.count_ones() > KEPT_FROM_INTENTS {
            *intent = Some(self.publish(free, request.span, Mode::Intent.tag(request.member)));
        }
    }

    /// Writes the span of one of the free slots and gives it its tag. Under the lock word.
    #[inline]
    fn publish(&self, free: u64, span: Span, tag: u64) -> usize {
        let slot = free.trailing_zeros() as usize;
        self.slots[slot].put(span);
        // Changed under the lock word only, and set before the tag.
        self.used.store(self.used.load(Relaxed) | 1 << slot, Relaxed);
        self.slots[slot].tag.swap(tag, AcqRel);
        slot
    }

    /// Makes one record of the two that lie closest together. Under the lock word.
    ///
    /// The kept one grows word by word, and covers more after each of them: it can be interrupted anywhere.
    fn merge_closest_poison(&self) {
        let records = self.slots_where(|_, tag| Mode::Poisoned.is(tag));
        let mut closest: Option<(u64, usize, usize)> = None;
        each(records, |kept| {
            each(records, |gone| {
                let (first, second) = (self.slots[kept].span(), self.slots[gone].span());
                let gap = first.start.max(second.start).saturating_sub(first.end.min(second.end));
                if kept < gone && closest.is_none_or(|(least, ..)| gap < least) {
                    closest = Some((gap, kept, gone));
                }
            });
        });
        let Some((_, kept, gone)) = closest else { return };
        let (first, second) = (self.slots[kept].span(), self.slots[gone].span());
        self.slots[kept].pitch.store(0, SeqCst);
        self.slots[kept].width.store(0, SeqCst);
        self.slots[kept].start.store(first.start.min(second.start), SeqCst);
        self.slots[kept].end.store(first.end.max(second.end), SeqCst);
        self.slots[gone].tag.swap(0, AcqRel);
    }

    /// Clears the slots among these whose members are dead: a writer's becomes poison. True where there was one.
    ///
    /// Without the lock word: a tag names a dead member for ever, so one compare-and-swap is enough, whoever else does the same.
    fn bury(&self, slots: u64, me: u64, world: &impl World) -> bool {
        let mut buried = false;
        each(slots, |slot| {
            let tag = self.slots[slot].tag.load(Acquire);
            let member = member_of(tag);
            if tag == 0 || Mode::Poisoned.is(tag) || member == me || world.is_alive(member) {
                return;
            }
            let left = if Mode::Write.is(tag) { Mode::Poisoned.tag(member) } else { 0 };
            buried |= self.slots[slot].tag.compare_exchange(tag, left, SeqCst, Acquire).is_ok();
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
    #[inline]
    fn locked<R>(&self, request: Request, world: &impl World, section: impl FnOnce(&Self) -> R) -> Result<R, Refusal> {
        self.take_word(request, world)?;
        let result = section(self);
        self.lock.store(0, Release);
        Ok(result)
    }

    #[inline]
    fn take_word(&self, request: Request, world: &impl World) -> Result<(), Refusal> {
        match self.lock.compare_exchange(0, request.member, Acquire, Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => self.wait_for_word(request, world),
        }
    }

    #[cold]
    fn wait_for_word(&self, Request { member, deadline, .. }: Request, world: &impl World) -> Result<(), Refusal> {
        let mut tries = 0;
        let mut since = None;
        loop {
            let Err(holder) = self.lock.compare_exchange(0, member, Acquire, Relaxed) else { return Ok(()) };
            tries += 1;
            if tries < SPINS {
                std::hint::spin_loop();
                continue;
            }
            // Threads of one process have one member id: who holds the word lives, or nobody here does.
            let is_dead = holder != 0 && holder != member && tries % SPINS == 0 && !world.is_alive(holder);
            if is_dead && self.lock.compare_exchange(holder, member, Acquire, Relaxed).is_ok() {
                return Ok(());
            }
            let now = Instant::now();
            let since = *since.get_or_insert(now);
            if deadline.is_some_and(|deadline| now >= deadline.max(since + WORD_PATIENCE)) {
                return Err(Refusal::WouldBlock);
            }
            if now < since + Duration::from_millis(1) { std::thread::yield_now() } else { std::thread::sleep(Duration::from_micros(100)) }
        }
    }

    /// Wakes who waits, if anybody does.
    ///
    /// A tag was swapped before; a waiter looks at the tags after it has set the flag and a fence. All of that has one order (SeqCst): either the
    /// flag is seen here, or the waiter sees the tag.
    #[inline]
    fn wake(&self) {
        if self.waiting.load(SeqCst) != 0 {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        if self.waiting.swap(0, SeqCst) != 0 {
            self.wake.fetch_add(1, SeqCst);
            // The only failures are of the arguments, which are constant.
            let _ = futex::wake(&self.wake, futex::Flags::empty(), i32::MAX as u32);
        }
    }

    /// Says that somebody waits, before a last look at what is waited for. What [`sleep`](Self::sleep) needs.
    ///
    /// In this order: whoever clears the flag after this changes the word too, and whoever does something that the look misses sees the flag.
    fn expect_wake(&self) -> u32 {
        let seen = self.wake.load(SeqCst);
        self.waiting.store(1, SeqCst);
        fence(SeqCst);
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
        let timeout = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        match futex::wait(&self.wake, futex::Flags::empty(), seen, Some(&timeout)) {
            // Woken, changed before the sleep, interrupted, or time to look again.
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => Ok(()),
            Err(errno) => unreachable!("futex wait: {errno}"),
        }
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

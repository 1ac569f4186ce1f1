//! Locks on the bytes of an array.
//!
//! # How a thread takes a lock
//!
//! A lock is a lane of the store: a span of bytes of one array, a mode (read, write, atomic), and
//! the member, that is the process, that took it. `state::lock_table` decides which locks exclude
//! each other, how a thread waits and which record a death leaves. This module is the way of a
//! guard through that table:
//!
//! 1. A guard without bytes, and a reader of a frozen array, take no lane: no writer can touch
//!    their bytes.
//! 2. The thread takes a lane that it keeps for its guards, or leases one (`store::thread_lanes`).
//! 3. Where nothing is in the way, the table gives the lock at once. Nearly every guard ends here.
//! 4. Otherwise the thread waits in the table, for as long as [`Wait`] allows. Meanwhile the table
//!    asks whether a member is alive ([`Waiting`]). A dead member's locks do not
//!    exclude: those that read are cleared, those that write are poison. A lane has the number of
//!    its thread: to wait for a lock of the own thread would be a deadlock, so that is refused.
//! 5. A writer looks at the frozen flag with its lock in hand. A freezer sets the flag while it
//!    holds a lock on the whole array, so a writer either precedes the freeze or sees the flag.
//! 6. Dropping the lock gives the lane back and wakes the waiting threads. A panic that drops a
//!    lock to write turns the lane into a record of poison instead. A lock that was taken amid a
//!    panic is given back: a thread cannot tell whether a second panic drops it, because the
//!    standard library does not give the number of panics.
//!
//! A forked child inherits the memory of a lock but not the lane, which stays its parent's. A lock
//! therefore records the generation of its process, and does nothing in a child. A child that is
//! forked in the middle of a wait, by the caller's check, begins again with a lane of its own.

use crate::{
    array::{hold::Hold, open_array::OpenArray, refusal::refused, waiting::Waiting},
    error::{Error, Result},
    layout::span::Span,
    segment::Segment,
    state::{
        lanes::{Lane, Lanes, Mode},
        lock_table::{Recovery, Refusal, Request},
    },
    store::thread_lanes::{self, LeasedLane, Rest, Wanted},
    sys::{fork, wait::Wait},
};
use std::{
    marker::PhantomData,
    sync::{
        MutexGuard,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, Release},
        },
    },
    time::Instant,
};

/// The access that a lock gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    /// Write bytes that may be poisoned.
    Recover {
        /// Whether the span covers the bytes of the view and no others: the poison of other bytes
        /// must stay.
        is_exact: bool,
        /// Whether the poison goes with the taking of the lock, not by [`Lock::clear_poison`].
        clears: bool,
    },
    /// Read and write by atomic operations only.
    Atomic,
}

impl Access {
    fn mode(self) -> Mode {
        match self {
            Access::Read => Mode::Read,
            Access::Write | Access::Recover { .. } => Mode::Write,
            Access::Atomic => Mode::Atomic,
        }
    }
}

/// A lane that this thread holds: dropping it gives the lane back.
pub(crate) struct Lock {
    /// Without a lane where there are no bytes to lock, or no writer that could write them.
    hold: Hold,
    end: End,
    /// The thread that took the lock, if any thread may give it back; else 0. As wide as its
    /// neighbours, as `OnPanic` is.
    unbound_from: AtomicU64,
    generation: u64,
    on_panic: OnPanic,
    /// Neither a guard nor its lock is Send: a thread that would wait for itself is recognized by
    /// its number.
    _not_send: PhantomData<MutexGuard<'static, ()>>,
}

/// The lane of a lock that took none.
pub(super) const NO_LANE: u32 = u32::MAX;
/// How often a thread tries to get a lane that it freed.
const LEASES: usize = 64;
/// A bit of a lock's lane: the lane is freed with the lock.
const FREED_AFTER: u32 = 1 << 31;
/// A bit of a lock's lane: the lock rests, unless a thread waits for it.
const RESTS: u32 = 1 << 30;
/// The bits of a lock's lane that are no index.
const FLAGS: u32 = FREED_AFTER | RESTS;

/// What becomes of a lane when its lock is given back. As wide as the neighbouring fields: guards
/// are moved, and moving padding costs more than taking the lock.
#[derive(Clone, Copy, PartialEq)]
#[repr(usize)]
enum End {
    /// The thread keeps the lane.
    IsKept,
    /// The thread keeps it, and the lock rests there, unless a thread waits for it.
    Rests,
    /// The thread does not keep it.
    IsFreed,
}

impl End {
    #[inline]
    fn of(lane: u32) -> Self {
        match lane & FLAGS {
            0 => Self::IsKept,
            RESTS => Self::Rests,
            _ => Self::IsFreed,
        }
    }
}

/// The effect of a panic that drops a lock. As wide as the neighbouring fields.
#[derive(Clone, Copy, PartialEq)]
#[repr(usize)]
enum OnPanic {
    GivesBack,
    /// For a lock to write that was taken before the panic.
    Poisons,
}

impl Lock {
    #[inline(always)]
    pub(crate) fn take(array: &OpenArray, span: Span, access: Access, wait: Wait) -> Result<Self> {
        Self::take_with(array, span, access, wait, false)
    }

    /// Takes a lock. With companions, the call holds other locks on this array, and waits for all.
    #[inline(always)]
    pub(super) fn take_with(
        array: &OpenArray,
        span: Span,
        access: Access,
        wait: Wait,
        has_companions: bool,
    ) -> Result<Self> {
        match take_lane(array, span, access, wait, has_companions) {
            Ok(lane) => {
                let on_panic = if access.mode() == Mode::Write && !std::thread::panicking() {
                    OnPanic::Poisons
                } else {
                    OnPanic::GivesBack
                };
                let index = (lane != NO_LANE).then_some(lane & !FLAGS);
                Ok(Lock {
                    hold: array.hold(index),
                    end: End::of(lane),
                    unbound_from: AtomicU64::new(0),
                    generation: fork::generation(),
                    on_panic,
                    _not_send: PhantomData,
                })
            }
            Err(error) => Err(*error),
        }
    }
}

/// Takes a lock. Every guard calls this, so the error is boxed: the answer fits into registers.
fn take_lane(
    array: &OpenArray,
    span: Span,
    access: Access,
    wait: Wait,
    has_companions: bool,
) -> Result<u32, Box<Error>> {
    array.mark_used();
    // No process writes a frozen array, so its readers need no lane. The lane of a freezer that
    // died is no poison.
    if span.is_empty() || access == Access::Read && array.is_immutable() {
        return Ok(NO_LANE);
    }
    let member = array.member().id_within(wait)?;
    if access == Access::Write {
        array.warm_up(&span);
    }
    let is_recovery = matches!(access, Access::Recover { .. });
    let wanted = Wanted {
        segment: array.serial(),
        span: &span,
        mode: access.mode(),
    };
    let wanted = (!is_recovery).then_some(wanted);
    let mut range = None;
    let leased = match thread_lanes::lease(array.member(), member, wanted.as_ref(), &mut range) {
        // The lock rested, and this thread has it again.
        Ok(leased) if leased.rest() == Rest::Resumed => return finish(array, leased, access),
        Ok(leased) => leased,
        Err(error) => match lease_from_poison(array, member, *error)? {
            Some(leased) => leased,
            None => return take_lane(array, span, access, wait, has_companions),
        },
    };
    let request = Request {
        member,
        thread: leased.thread(),
        lane: leased.index(),
        span,
        mode: access.mode(),
        deadline: None,
    };
    let asked = range.is_some();
    if is_recovery || !array.lock_table().acquire_at_once(&request, &mut range) {
        let leased = leased.without_rest();
        return wait_for_lane(array, request, leased, access, wait, has_companions);
    }
    // The lane reserves less than its guards in turn need.
    let leased = match asked && range.is_none() {
        true => leased.without_rest(),
        false => leased,
    };
    finish(array, leased, access)
}

/// The lane of a lock that the table gave.
#[inline]
fn finish(array: &OpenArray, leased: LeasedLane, access: Access) -> Result<u32, Box<Error>> {
    failpoint!(GuardTaken);
    let lane = leased.lane();
    // Checked with the lock held: a freezer takes it too, so the freeze comes before this check or
    // after this lock. A recovery was checked before it cleared poison.
    if matches!(access, Access::Write | Access::Atomic) && !array.may_be_written() {
        give_back(array, lane & !RESTS);
        return Err(Box::new(array.not_writable()));
    }
    Ok(lane)
}

impl LeasedLane {
    #[inline]
    fn lane(&self) -> u32 {
        match self.rest() {
            Rest::Freed => self.index() | FREED_AFTER,
            Rest::No => self.index(),
            Rest::IfAtOnce | Rest::Resumed => self.index() | RESTS,
        }
    }
}

/// Leases a lane where none could be had: this array's records of poison give theirs. Returns
/// `None` in a child that the caller's check forked.
#[cold]
fn lease_from_poison(array: &OpenArray, member: u64, error: Error) -> Result<Option<LeasedLane>> {
    if !matches!(error, Error::TooManyGuards { .. } | Error::NoSpace { .. }) {
        return Err(error);
    }
    let request = Request {
        member,
        thread: thread_lanes::number(),
        lane: NO_LANE,
        span: Span::NOTHING,
        mode: Mode::Read,
        deadline: Some(Instant::now()),
    };
    let around = Waiting::new(array);
    // Another thread may take the lane that becomes free.
    for _ in 0..LEASES {
        match array.lock_table().yield_lane(&request, &around) {
            Ok(true) => {}
            Err(Refusal::Forked) => return Ok(None),
            Err(refusal @ Refusal::Interrupted) => {
                return Err(refused(
                    array,
                    &request,
                    refusal,
                    &Wait::Never.begin(),
                    &around,
                ));
            }
            Ok(false) | Err(_) => break,
        }
        if let Ok(leased) = thread_lanes::lease(array.member(), member, None, &mut None) {
            return Ok(Some(leased));
        }
    }
    Err(error)
}

#[cold]
fn wait_for_lane(
    array: &OpenArray,
    request: Request,
    leased: LeasedLane,
    access: Access,
    wait: Wait,
    has_companions: bool,
) -> Result<u32, Box<Error>> {
    let deadline = wait.or(array.member().settings().lock_timeout()).begin();
    let request = Request {
        deadline: deadline.instant(),
        ..request
    };
    let around = Waiting {
        lane: leased.is_kept().then_some(leased.index()),
        has_companions,
        ..Waiting::new(array)
    };
    // A panic of the caller's check frees it too.
    let unused = Unused {
        array,
        lane: leased.lane(),
        generation: around.generation,
    };
    let taken = match access {
        Access::Recover { is_exact, clears } => {
            let recovery = Recovery { is_exact, clears };
            array.lock_table().recover(request, recovery, &around)
        }
        Access::Read | Access::Write | Access::Atomic => {
            array.lock_table().acquire(request, &around)
        }
    };
    match taken {
        Ok(()) => {
            std::mem::forget(unused);
            finish(array, leased, access)
        }
        Err(Refusal::Forked) => {
            take_lane(array, request.span, access, deadline.rest(), has_companions)
        }
        Err(refusal @ Refusal::Interrupted) => Err(Box::new(refused(
            array, &request, refusal, &deadline, &around,
        ))),
        // It was frozen while this thread waited.
        Err(_) if access == Access::Read && array.is_immutable() => Ok(NO_LANE),
        Err(refusal) => Err(Box::new(refused(
            array, &request, refusal, &deadline, &around,
        ))),
    }
}

/// A leased lane that has no guard: its drop frees it, unless the thread keeps it.
struct Unused<'a> {
    array: &'a OpenArray,
    lane: u32,
    generation: u64,
}

impl Drop for Unused<'_> {
    fn drop(&mut self) {
        if self.lane & FREED_AFTER != 0 && self.generation == fork::generation() {
            give_back(self.array, self.lane);
        }
    }
}

/// Gives a lane back for which no lock was made.
fn give_back(array: &Segment, lane: u32) {
    if let Some(line) = array.member().lanes().lane(lane & !FLAGS) {
        end_guard(array, line, End::of(lane));
    }
}

#[inline]
fn end_guard(array: &Segment, lane: &Lane, end: End) {
    if end != End::Rests || !lane.rest() {
        array.lock_table().give_back(lane, end == End::IsFreed);
    }
}

impl Lock {
    /// The locked array.
    pub(super) fn array(&self) -> &Segment {
        self.hold.segment()
    }

    /// Gives the lane back, in a panic too: no guard was made of it.
    pub(super) fn give_back(mut self) {
        self.on_panic = OnPanic::GivesBack;
    }

    /// Says that any thread may give the lock back. Called by the thread that took it, and after
    /// [`bind`](Self::bind) by the thread that called that.
    pub(super) fn unbind(&self) {
        if self.unbound_from.load(Relaxed) == 0 {
            self.unbound_from
                .store(thread_lanes::number().into(), Relaxed);
        }
        self.set_thread(0);
    }

    /// Says that the calling thread keeps the lock until [`unbind`](Self::unbind), after the end of
    /// its wait.
    pub(super) fn bind(&self) {
        if self.unbound_from.load(Relaxed) != 0 {
            self.set_thread(thread_lanes::number());
        }
    }

    /// Writes the number of the thread that took the lock into the lane again, which may stay that
    /// thread's for its next lock. Another thread that gives the lock back must not: as long as the
    /// lock is held it is not the first one's.
    #[cold]
    fn name_thread(&self) {
        let (first, this) = (self.unbound_from.load(Relaxed), thread_lanes::number());
        self.set_thread(if first == u64::from(this) { this } else { 0 });
    }

    /// A search for deadlocks that sees the number sees the waits of before it too.
    fn set_thread(&self, number: u32) {
        if let Some(lane) = self.hold.lane()
            && self.generation == fork::generation()
        {
            lane.thread.store(number, Release);
        }
    }

    /// Clears the poison of the bytes, for a lock that was taken over it. Waits for the lock word
    /// only. A child that the caller's check forked clears nothing: the lock is its parent's.
    #[cold]
    pub(super) fn clear_poison(
        &self,
        array: &OpenArray,
        span: Span,
        is_exact: bool,
        wait: Wait,
    ) -> Result<()> {
        let Some(lane) = self.hold.lane() else {
            return Ok(());
        };
        if self.generation != fork::generation() {
            return Ok(());
        }
        let deadline = wait.begin();
        let request = Request {
            member: array.member().id_within(wait)?,
            thread: thread_lanes::number(),
            lane: array.member().lanes().index_of(lane),
            span,
            mode: Mode::Write,
            deadline: deadline.instant(),
        };
        let around = Waiting::new(array);
        match array.lock_table().clear_poison(request, is_exact, &around) {
            Ok(()) | Err(Refusal::Forked) => Ok(()),
            Err(refusal) => Err(refused(array, &request, refusal, &deadline, &around)),
        }
    }

    /// Turns the lane into a record of poison, so that the drop has nothing to give back.
    pub(super) fn leave_poison(&mut self) {
        if self.generation == fork::generation() {
            self.poison();
            self.hold.leave_lane();
        }
    }

    #[cold]
    fn poison(&self) {
        // The generation is that of the lock, so this is the id that took it, and it is known.
        let Ok(member) = self.array().member().id() else {
            return;
        };
        let Some(lane) = self.hold.lane() else {
            return;
        };
        self.array().lock_table().poison(lane, member);
        event!(
            WARN,
            path = %self.array().path().display(),
            "a panic poisoned what was being written"
        );
    }
}

impl Drop for Lock {
    /// Gives the lane back, or leaves it as poison where the thread panics while it writes. A lock
    /// that a forked child inherited touches nothing: the lane is its parent's.
    #[inline]
    fn drop(&mut self) {
        let Some(lane) = self.hold.lane() else {
            return;
        };
        if self.generation != fork::generation() {
            return;
        }
        if *self.unbound_from.get_mut() != 0 {
            self.name_thread();
        }
        if self.on_panic == OnPanic::Poisons && std::thread::panicking() {
            self.poison()
        } else {
            end_guard(self.array(), lane, self.end)
        }
    }
}

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
//!    asks whether a member is alive (`segment::surroundings`). A dead member's locks do not
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
//! therefore records the generation of its process, and does nothing in a child.

use crate::{
    array::open_array::OpenArray,
    error::{Error, Result},
    format::constants::MOST_LANES,
    layout::span::Span,
    state::{
        lanes::{Lanes, Mode},
        lock_table::{Poison, Refusal, Request, poison, withdraw},
    },
    store::thread_lanes::{self, LeasedLane},
    sys::{
        fork,
        wait::{Deadline, Wait},
    },
};
use std::{
    marker::PhantomData,
    ops::Range,
    sync::{Arc, MutexGuard},
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
    array: Arc<OpenArray>,
    /// [`NO_LANE`] where there are no bytes to lock, or no writer that could write them. With
    /// [`FREED_AFTER`] where the thread does not keep the lane.
    lane: u32,
    generation: u64,
    on_panic: OnPanic,
    /// Neither a guard nor its lock is Send: a thread that would wait for itself is recognized by
    /// its number.
    _not_send: PhantomData<MutexGuard<'static, ()>>,
}

/// The lane of a lock that took none.
const NO_LANE: u32 = u32::MAX;
/// How often a thread tries to get a lane that it freed.
const LEASES: usize = 64;
/// A bit of a lock's lane: the lane is freed with the lock.
const FREED_AFTER: u32 = 1 << 31;

/// The effect of a panic that drops a lock. As wide as the neighbouring fields: guards are moved,
/// and moving padding costs more than taking the lock.
#[derive(Clone, Copy, PartialEq)]
#[repr(usize)]
enum OnPanic {
    GivesBack,
    /// For a lock to write that was taken before the panic.
    Poisons,
}

impl Lock {
    #[inline(always)]
    pub(crate) fn take(
        array: &Arc<OpenArray>,
        span: Span,
        access: Access,
        wait: Wait,
    ) -> Result<Self> {
        match take_lane(array, span, access, wait) {
            Ok(lane) => {
                let on_panic = if access.mode() == Mode::Write && !std::thread::panicking() {
                    OnPanic::Poisons
                } else {
                    OnPanic::GivesBack
                };
                Ok(Lock {
                    array: array.clone(),
                    lane,
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
fn take_lane(array: &OpenArray, span: Span, access: Access, wait: Wait) -> Result<u32, Box<Error>> {
    array.mark_used();
    // No process writes a frozen array, so its readers need no lane. The lane of a freezer that
    // died is no poison.
    if span.is_empty() || access == Access::Read && array.is_frozen() {
        return Ok(NO_LANE);
    }
    let member = array.member().id_within(wait)?;
    if access == Access::Write {
        array.warm_up(&span);
    }
    let leased = lease(array, member)?;
    let request = Request {
        member,
        thread: leased.thread,
        lane: leased.index,
        span,
        mode: access.mode(),
        deadline: None,
    };
    let lane = match leased.is_kept {
        true => leased.index,
        false => leased.index | FREED_AFTER,
    };
    let is_recovery = matches!(access, Access::Recover { .. });
    if is_recovery || !array.lock_table().acquire_at_once(&request) {
        match wait_for_lane(array, request, access, wait) {
            Ok(()) => {}
            Err(error) => {
                if !leased.is_kept {
                    give_back(array, lane);
                }
                // It was frozen while this thread waited.
                return match access {
                    Access::Read if array.is_frozen() => Ok(NO_LANE),
                    _ => Err(error),
                };
            }
        }
    }
    failpoint!(GuardTaken);
    // Checked with the lock held: a freezer takes it too, so the freeze comes before this check or
    // after this lock.
    if access != Access::Read && !array.may_be_written() {
        give_back(array, lane);
        return Err(Box::new(array.not_writable()));
    }
    Ok(lane)
}

/// Leases a lane. Where none can be had, this array's records of poison give their lanes.
#[inline]
fn lease(array: &OpenArray, member: u64) -> Result<LeasedLane> {
    match thread_lanes::lease(array.member(), member) {
        Err(error @ (Error::TooManyGuards { .. } | Error::NoSpace { .. })) => {
            lease_from_poison(array, member, error)
        }
        leased => leased,
    }
}

#[cold]
fn lease_from_poison(array: &OpenArray, member: u64, error: Error) -> Result<LeasedLane> {
    let request = Request {
        member,
        thread: thread_lanes::number(),
        lane: NO_LANE,
        span: Span {
            start: 0,
            end: 0,
            pitch: 0,
            width: 0,
        },
        mode: Mode::Read,
        deadline: Some(Instant::now()),
    };
    // Another thread may take the lane that becomes free.
    for _ in 0..LEASES {
        let yielded = array.lock_table().yield_lane(&request, &**array);
        if yielded != Ok(true) {
            break;
        }
        if let Ok(leased) = thread_lanes::lease(array.member(), member) {
            return Ok(leased);
        }
    }
    Err(error)
}

#[cold]
fn wait_for_lane(
    array: &OpenArray,
    request: Request,
    access: Access,
    wait: Wait,
) -> Result<(), Box<Error>> {
    let deadline = wait.or(array.member().settings().lock_timeout()).begin();
    let request = Request {
        deadline: deadline.instant(),
        ..request
    };
    let taken = match access {
        Access::Recover { is_exact } => array.lock_table().recover(request, is_exact, &**array),
        Access::Read | Access::Write | Access::Atomic => {
            array.lock_table().acquire(request, &**array)
        }
    };
    Ok(taken.map_err(|refusal| refused(array, refusal, &deadline))?)
}

#[inline]
fn give_back(array: &OpenArray, lane: u32) {
    if let Some(line) = array.member().lanes().lane(lane & !FREED_AFTER) {
        match lane & FREED_AFTER {
            0 => withdraw(line),
            _ => line.replace(0),
        }
    }
}

impl Lock {
    /// The locked array.
    pub(super) fn array(&self) -> &OpenArray {
        &self.array
    }

    /// Turns the lane into a record of poison, so that the drop has nothing to give back.
    pub(super) fn leave_poison(&mut self) {
        if self.lane != NO_LANE && self.generation == fork::generation() {
            self.poison();
            self.lane = NO_LANE;
        }
    }

    #[cold]
    fn poison(&self) {
        // The generation is that of the lock, so this is the id that took it, and it is known.
        let Ok(member) = self.array.member().id() else {
            return;
        };
        if let Some(lane) = self.array.member().lanes().lane(self.lane & !FREED_AFTER) {
            poison(lane, member);
        }
        event!(
            WARN,
            path = %self.array.path().display(),
            "a panic poisoned what was being written"
        );
    }
}

impl Drop for Lock {
    /// Gives the lane back, or leaves it as poison where the thread panics while it writes. A lock
    /// that a forked child inherited touches nothing: the lane is its parent's.
    #[inline]
    fn drop(&mut self) {
        if self.lane == NO_LANE || self.generation != fork::generation() {
            return;
        }
        if self.on_panic == OnPanic::Poisons && std::thread::panicking() {
            self.poison()
        } else {
            give_back(&self.array, self.lane)
        }
    }
}

#[cold]
fn refused(array: &OpenArray, refusal: Refusal, deadline: &Deadline) -> Error {
    let path = array.path().to_path_buf();
    match refusal {
        Refusal::WouldDeadlock => Error::WouldDeadlock { path },
        Refusal::CutOff => array.member().lost(),
        Refusal::TooManyGuards => Error::TooManyGuards {
            path,
            limit: MOST_LANES,
        },
        Refusal::OutOfReach => match array.member().reach_lanes() {
            Err(error) => error,
            // It could not a moment ago.
            Ok(()) => Error::WouldBlock { path },
        },
        Refusal::Interrupted => Error::Interrupted { path },
        Refusal::Poisoned(poison) => {
            event!(
                WARN,
                path = %path.display(),
                start = poison.span.start,
                end = poison.span.end,
                member = poison.member,
                "found poison"
            );
            Error::Poisoned {
                path,
                range: range_of(poison),
                member: poison.member,
            }
        }
        Refusal::Interleaved(poison) => {
            let reason = format!(
                "the poisoned bytes {:?} interleave with those of this view: recover a view that \
                 contains them",
                range_of(poison)
            );
            Error::layout("recover", reason)
        }
        Refusal::WouldBlock => deadline.failed(&path, "a guard on overlapping bytes was held"),
        Refusal::WordHeld => deadline.failed(&path, WORD_IS_HELD),
    }
}

/// Why a call did not get the lock word of the table in time.
const WORD_IS_HELD: &str = "another process held the array's lock word, which takes less than a \
                            microsecond (if it is stopped: continue it by SIGCONT, or end it)";

fn range_of(poison: Poison) -> Range<usize> {
    poison.span.start as usize..poison.span.end as usize
}

/// The poisoned bytes of a span, as ranges of the payload. A frozen array has none: poison refuses
/// the freeze, and a freezer that dies wrote nothing. Waits for the lock word only, and as long as
/// the store's setting allows.
pub(crate) fn poisoned(array: &OpenArray, span: Span) -> Result<Vec<Range<usize>>> {
    let deadline = array.member().deadline();
    let request = Request {
        member: array.member().id_within(deadline.rest())?,
        thread: thread_lanes::number(),
        lane: NO_LANE,
        span,
        mode: Mode::Read,
        deadline: deadline.instant(),
    };
    let found = array
        .lock_table()
        .poisoned(&request, &**array)
        .map_err(|refusal| refused(array, refusal, &deadline))?;
    if array.is_frozen() {
        return Ok(Vec::new());
    }
    Ok(found.into_iter().map(range_of).collect())
}

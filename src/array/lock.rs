//! Locks on the bytes of an array.
//!
//! # How a thread takes a lock
//!
//! An array file has a lock table of [`SLOTS`] slots, which all processes map. A lock is one slot:
//! a span of bytes, a mode (read, write, atomic), and the member, that is the process, that took
//! it. `state::lock_table` decides which slots exclude each other, how a thread waits and which
//! record a death leaves. This module is the way of a guard through that table:
//!
//! 1. A guard without bytes, and a reader of a frozen array, take no slot: no writer can touch
//!    their bytes.
//! 2. Where nothing is in the way, the table gives a slot at once. Nearly every guard ends here.
//! 3. Otherwise the thread waits in the table, for as long as [`Wait`] allows. Meanwhile the table
//!    asks questions ([`Liveness`]). Is a member alive? A dead member's locks do not exclude:
//!    those that read are cleared, those that write are poison. Does a slot belong to this thread?
//!    To wait for it would be a deadlock, so that is refused.
//! 4. A writer looks at the frozen flag with its slot in hand. A freezer sets the flag while it
//!    holds a lock on the whole array, so a writer either precedes the freeze or sees the flag.
//! 5. Dropping the lock withdraws the slot and wakes the waiting threads. A panic that drops a lock
//!    to write turns the slot into a record of poison instead. A lock that was taken amid a panic
//!    is withdrawn: a thread cannot tell whether a second panic drops it, because the standard
//!    library does not give the number of panics.
//!
//! The table knows processes, not threads. Which thread of this process holds a slot is noted
//! beside it ([`Segment::thread_of`](crate::segment::Segment::thread_of)), in private memory.
//!
//! A forked child inherits the memory of a lock but not the slot, which stays its parent's. A lock
//! therefore records the generation of its process, and does nothing in a child.

use crate::{
    array::open_array::OpenArray,
    error::{Error, Result},
    format::constants::SLOTS,
    layout::span::Span,
    state::lock_table::{Liveness, Mode, Poison, Refusal, Request},
    sys::{
        fork,
        wait::{Deadline, Wait, is_interrupted},
    },
};
use std::{
    marker::PhantomData,
    ops::Range,
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
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

/// A slot of the lock table that this thread holds: dropping it gives the slot back.
pub(crate) struct Lock {
    array: Arc<OpenArray>,
    /// [`NO_SLOT`] where there are no bytes to lock, or no writer that could write them.
    slot: usize,
    generation: u64,
    on_panic: OnPanic,
    /// Neither a guard nor its lock is Send: a thread that would wait for itself is recognized by
    /// its number.
    _not_send: PhantomData<MutexGuard<'static, ()>>,
}

/// The slot of a lock that took none.
const NO_SLOT: usize = SLOTS;

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
        match take_slot(array, span, access, wait) {
            Ok(slot) => {
                let on_panic = if access.mode() == Mode::Write && !std::thread::panicking() {
                    OnPanic::Poisons
                } else {
                    OnPanic::GivesBack
                };
                Ok(Lock {
                    array: array.clone(),
                    slot,
                    generation: fork::generation(),
                    on_panic,
                    _not_send: PhantomData,
                })
            }
            Err(error) => Err(*error),
        }
    }
}

/// Takes a slot of the lock table. Every guard calls this, so the error is boxed: the answer fits
/// into registers.
fn take_slot(
    array: &OpenArray,
    span: Span,
    access: Access,
    wait: Wait,
) -> Result<usize, Box<Error>> {
    array.mark_used();
    // No process writes a frozen array, so its readers need no slot. The slot of a freezer that
    // died is no poison.
    if span.is_empty() || access == Access::Read && array.is_frozen() {
        return Ok(NO_SLOT);
    }
    let member = array.member().id()?;
    if access == Access::Write {
        array.warm_up(&span);
    }
    let mode = access.mode();
    let at_once = match access {
        Access::Recover { .. } => None,
        _ => array.state().acquire_at_once(member, span, mode),
    };
    let slot = match at_once {
        Some(slot) => slot,
        None => {
            let request = Request {
                member,
                span,
                mode,
                deadline: None,
            };
            match wait_for_slot(array, request, access, wait) {
                Ok(slot) => slot,
                // It was frozen while this thread waited.
                Err(_) if access == Access::Read && array.is_frozen() => return Ok(NO_SLOT),
                Err(error) => return Err(error),
            }
        }
    };
    array.thread_of(slot).store(this_thread(), Relaxed);
    failpoint!(GuardTaken);
    // Checked with the lock held: a freezer takes it too, so the freeze comes before this check or
    // after this lock.
    if access != Access::Read && !array.may_be_written() {
        give_back(array, slot);
        return Err(Box::new(array.not_writable()));
    }
    Ok(slot)
}

#[cold]
fn wait_for_slot(
    array: &OpenArray,
    request: Request,
    access: Access,
    wait: Wait,
) -> Result<usize, Box<Error>> {
    let deadline = wait.or(array.member().settings().lock_timeout()).begin();
    let request = Request {
        deadline: deadline.instant(),
        ..request
    };
    let surroundings = Surroundings {
        array,
        thread: this_thread(),
    };
    let taken = match access {
        Access::Recover { is_exact } => array.state().recover(request, is_exact, &surroundings),
        Access::Read | Access::Write | Access::Atomic => {
            array.state().acquire(request, &surroundings)
        }
    };
    Ok(taken.map_err(|refusal| refused(array, refusal, &deadline))?)
}

fn give_back(array: &OpenArray, slot: usize) {
    array.thread_of(slot).store(0, Relaxed);
    array.state().withdraw(slot);
}

impl Lock {
    /// Turns the slot into a record of poison, so that the drop has nothing to give back.
    pub(super) fn leave_poison(&mut self) {
        if self.slot != NO_SLOT && self.generation == fork::generation() {
            self.poison();
            self.slot = NO_SLOT;
        }
    }

    #[cold]
    fn poison(&self) {
        // The generation is that of the lock, so this is the id that took it, and it is known.
        let Ok(member) = self.array.member().id() else {
            return;
        };
        self.array.thread_of(self.slot).store(0, Relaxed);
        self.array.state().poison(self.slot, member);
        event!(
            WARN,
            path = %self.array.path().display(),
            "a panic poisoned what was being written"
        );
    }
}

impl Drop for Lock {
    /// Gives the slot back, or leaves it as poison where the thread panics while it writes. A lock
    /// that a forked child inherited touches nothing: the slot is its parent's.
    #[inline]
    fn drop(&mut self) {
        if self.slot == NO_SLOT || self.generation != fork::generation() {
            return;
        }
        if self.on_panic == OnPanic::Poisons && std::thread::panicking() {
            self.poison()
        } else {
            give_back(&self.array, self.slot)
        }
    }
}

/// The answers to the lock table's questions.
struct Surroundings<'a> {
    array: &'a OpenArray,
    thread: u64,
}

impl Liveness for Surroundings<'_> {
    fn is_alive(&self, member: u64) -> bool {
        // A member counts as alive where the kernel does not tell: waiting is safe. If this process
        // no longer has the file that it asks about, `is_cut_off` ends the wait.
        self.array.member().is_alive(member).unwrap_or(true)
    }

    fn is_own(&self, slot: usize) -> bool {
        self.array.thread_of(slot).load(Relaxed) == self.thread
    }

    fn is_cut_off(&self) -> bool {
        self.array.member().is_lost()
    }

    fn is_interrupted(&self) -> bool {
        is_interrupted()
    }
}

#[cold]
fn refused(array: &OpenArray, refusal: Refusal, deadline: &Deadline) -> Error {
    let path = array.path().to_path_buf();
    match refusal {
        Refusal::WouldDeadlock => Error::WouldDeadlock { path },
        Refusal::CutOff => array.member().lost(),
        Refusal::TooManyGuards => Error::TooManyGuards { path, limit: SLOTS },
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
        span,
        mode: Mode::Read,
        deadline: deadline.instant(),
    };
    let surroundings = Surroundings {
        array,
        thread: this_thread(),
    };
    let found = array
        .state()
        .poisoned(request, &surroundings)
        .map_err(|refusal| refused(array, refusal, &deadline))?;
    if array.is_frozen() {
        return Ok(Vec::new());
    }
    Ok(found.into_iter().map(range_of).collect())
}

/// A number that no other thread of this process has.
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static THREAD: u64 = NEXT.fetch_add(1, Relaxed));
    THREAD.with(|thread| *thread)
}

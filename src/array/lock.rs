//! Locks on the bytes of an array: slots of its lock table, taken and given back.

use crate::{
    array::open_array::OpenArray,
    error::{Error, Result},
    format::constants::SLOTS,
    layout::span::Span,
    state::lock_table::{Liveness, Mode, Poison, Refusal, Request},
    sys::fork,
};
use std::{
    marker::PhantomData,
    ops::Range,
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How long to wait for a lock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    Never,
    AtMost(Duration),
    Forever,
}

/// What is asked of the lock table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    /// Write, whether it is poisoned or not.
    Recover {
        /// Whether the span covers nothing that the view does not have: of other bytes the poison
        /// must stay.
        is_exact: bool,
    },
    /// Read and write by atomic operations only.
    Atomic,
}

/// A taken slot of the lock table: given back when it is dropped.
pub(crate) struct Lock {
    array: Arc<OpenArray>,
    /// [`NO_SLOT`] where there are no bytes to lock, or nobody who could write them.
    slot: usize,
    generation: u64,
    on_panic: OnPanic,
    /// Neither a guard nor its lock is Send: whether a thread would wait for itself is known by
    /// thread.
    _not_send: PhantomData<MutexGuard<'static, ()>>,
}

const NO_SLOT: usize = SLOTS;

/// What a guard that is dropped by a panic does with its slot. As wide as its neighbours: guards
/// are moved, and to move padding costs more than to take the lock.
#[derive(Clone, Copy, PartialEq)]
#[repr(usize)]
enum OnPanic {
    GivesBack,
    /// Of a guard that writes, where the panic was not there before it.
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
                let writes = matches!(access, Access::Write | Access::Recover { .. });
                let on_panic = if writes && !std::thread::panicking() {
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

/// Takes a slot of the lock table. The error is boxed so that the answer fits into registers: this
/// is called for every guard.
fn take_slot(
    array: &OpenArray,
    span: Span,
    access: Access,
    wait: Wait,
) -> Result<usize, Box<Error>> {
    array.mark_used();
    let member = array.member().id()?;
    // Nobody writes a frozen array, so its readers need no slot: what a freezer that died left in
    // the table is no poison.
    if span.is_empty() || access == Access::Read && array.is_frozen() {
        return Ok(NO_SLOT);
    }
    if access == Access::Write {
        array.warm_up(&span);
    }
    let mode = match access {
        Access::Read => Mode::Read,
        Access::Write | Access::Recover { .. } => Mode::Write,
        Access::Atomic => Mode::Atomic,
    };
    let recovers = matches!(access, Access::Recover { .. });
    let at_once = if recovers {
        None
    } else {
        array.state().acquire_at_once(member, span, mode)
    };
    let slot = match at_once {
        Some(slot) => slot,
        None => match wait_for_slot(
            array,
            Request {
                member,
                span,
                mode,
                deadline: None,
            },
            access,
            wait,
        ) {
            Ok(slot) => slot,
            // It was frozen while this waited.
            Err(_) if access == Access::Read && array.is_frozen() => return Ok(NO_SLOT),
            Err(error) => return Err(error),
        },
    };
    array.thread_of(slot).store(this_thread(), Relaxed);
    failpoint!(GuardTaken);
    // Looked at with the lock held: freezing takes it too, so it comes before or behind all of what
    // follows.
    if access != Access::Read && array.is_frozen() {
        give_back(array, slot);
        return Err(Box::new(Error::Frozen {
            path: array.path().into(),
        }));
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
    let wait = match (wait, array.member().settings().lock_timeout()) {
        (Wait::Forever, Some(timeout)) => Wait::AtMost(timeout),
        (wait, _) => wait,
    };
    let request = Request {
        deadline: wait.deadline(),
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
    Ok(taken.map_err(|refusal| refused(array, refusal, wait))?)
}

fn give_back(array: &OpenArray, slot: usize) {
    array.thread_of(slot).store(0, Relaxed);
    array.state().withdraw(slot);
}

impl Lock {
    /// Makes the slot a record of poison; there is nothing to give back any more.
    pub(super) fn leave_poison(&mut self) {
        if self.slot != NO_SLOT && self.generation == fork::generation() {
            self.poison();
            self.slot = NO_SLOT;
        }
    }
}

impl Drop for Lock {
    /// Gives the slot back, or leaves it as poison where the thread panics while it writes. A guard
    /// that was inherited over a fork touches nothing: its slot is the parent's.
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

impl Lock {
    #[cold]
    fn poison(&self) {
        // Of the same generation as the lock, so the id is the one that took it, and known.
        let Ok(member) = self.array.member().id() else {
            return;
        };
        self.array.thread_of(self.slot).store(0, Relaxed);
        self.array.state().poison(self.slot, member);
        event!(WARN, path = %self.array.path().display(), "a panic poisoned what was being written");
    }
}

impl Wait {
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Wait::Never => Some(Instant::now()),
            Wait::AtMost(time) => Instant::now().checked_add(time),
            Wait::Forever => None,
        }
    }
}

/// What the lock table of an array asks about.
struct Surroundings<'a> {
    array: &'a OpenArray,
    thread: u64,
}

impl Liveness for Surroundings<'_> {
    fn is_alive(&self, member: u64) -> bool {
        // Who cannot be asked about counts as alive: to wait is safe.
        self.array.member().is_alive(member).unwrap_or(true)
    }

    fn is_own(&self, slot: usize) -> bool {
        self.array.thread_of(slot).load(Relaxed) == self.thread
    }
}

#[cold]
fn refused(array: &OpenArray, refusal: Refusal, wait: Wait) -> Error {
    let path = array.path().to_path_buf();
    let range = |poison: Poison| poison.span.start as usize..poison.span.end as usize;
    match (refusal, wait) {
        (Refusal::WouldDeadlock, _) => Error::WouldDeadlock { path },
        (Refusal::TooManyGuards, _) => Error::TooManyGuards { path, limit: SLOTS },
        (Refusal::Poisoned(poison), _) => {
            event!(WARN, path = %path.display(), start = poison.span.start, end = poison.span.end, member = poison.member, "found poison");
            Error::Poisoned {
                path,
                range: range(poison),
                member: poison.member,
            }
        }
        (Refusal::Interleaved(poison), _) => {
            let reason = format!(
                "the poisoned bytes {:?} interleave with those of this view: recover a view that contains them",
                range(poison)
            );
            Error::layout("recover", reason)
        }
        (Refusal::WouldBlock, Wait::AtMost(waited)) => Error::Timeout {
            path,
            obstacle: "a guard on overlapping bytes was held",
            waited,
        },
        (Refusal::WouldBlock, _) => Error::WouldBlock { path },
    }
}

/// The poisoned bytes of a span, as ranges of the payload. A frozen array has none: freezing is
/// refused on poison, and a freezer that dies wrote nothing.
pub(crate) fn poisoned(array: &OpenArray, span: Span) -> Result<Vec<Range<usize>>> {
    let request = Request {
        member: array.member().id()?,
        span,
        mode: Mode::Read,
        deadline: None,
    };
    let surroundings = Surroundings {
        array,
        thread: this_thread(),
    };
    let found = array
        .state()
        .poisoned(request, &surroundings)
        .map_err(|refusal| refused(array, refusal, Wait::Forever))?;
    if array.is_frozen() {
        return Ok(Vec::new());
    }
    Ok(found
        .into_iter()
        .map(|poison| poison.span.start as usize..poison.span.end as usize)
        .collect())
}

/// A number that no other thread of this process has.
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static THREAD: u64 = NEXT.fetch_add(1, Relaxed));
    THREAD.with(|thread| *thread)
}

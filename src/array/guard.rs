//! Guards: proofs of a lock, which are views of the locked elements.
//!
//! One of the modules with unsafe code: a guard is where the lock that makes a view sound and the
//! view itself come together.

use crate::{
    array::{open_array::OpenArray, view},
    element::Element,
    error::{Error, Result},
    format::constants::SLOTS,
    layout::{Layout, span::Span},
    state::lock_table::{Liveness, Mode, Poison, Refusal, Request},
    sys::fork,
};
use ndarray::{ArrayRef, ArrayView, ArrayViewMut, Dimension};
use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut, Range},
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
    open_array: Arc<OpenArray>,
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
        open_array: &Arc<OpenArray>,
        span: Span,
        access: Access,
        wait: Wait,
    ) -> Result<Self> {
        match take_slot(open_array, span, access, wait) {
            Ok(slot) => {
                let writes = matches!(access, Access::Write | Access::Recover { .. });
                let on_panic = if writes && !std::thread::panicking() {
                    OnPanic::Poisons
                } else {
                    OnPanic::GivesBack
                };
                Ok(Lock {
                    open_array: open_array.clone(),
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
    open_array: &OpenArray,
    span: Span,
    access: Access,
    wait: Wait,
) -> Result<usize, Box<Error>> {
    open_array.used();
    let member = open_array.member().id()?;
    // Nobody writes a frozen array, so its readers need no slot: what a freezer that died left in
    // the table is no poison.
    if span.is_empty() || access == Access::Read && open_array.is_frozen() {
        return Ok(NO_SLOT);
    }
    if access == Access::Write {
        open_array.warm_up(&span);
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
        open_array.state().acquire_at_once(member, span, mode)
    };
    let slot = match at_once {
        Some(slot) => slot,
        None => match wait_for_slot(
            open_array,
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
            Err(_) if access == Access::Read && open_array.is_frozen() => return Ok(NO_SLOT),
            Err(error) => return Err(error),
        },
    };
    open_array.thread_of(slot).store(this_thread(), Relaxed);
    failpoint!(GuardTaken);
    // Looked at with the lock held: freezing takes it too, so it comes before or behind all of what
    // follows.
    if access != Access::Read && open_array.is_frozen() {
        give_back(open_array, slot);
        return Err(Box::new(Error::Frozen {
            path: open_array.path().into(),
        }));
    }
    Ok(slot)
}

#[cold]
fn wait_for_slot(
    open_array: &OpenArray,
    request: Request,
    access: Access,
    wait: Wait,
) -> Result<usize, Box<Error>> {
    let wait = match (wait, open_array.member().settings().lock_timeout()) {
        (Wait::Forever, Some(timeout)) => Wait::AtMost(timeout),
        (wait, _) => wait,
    };
    let request = Request {
        deadline: wait.deadline(),
        ..request
    };
    let surroundings = Surroundings {
        open_array,
        thread: this_thread(),
    };
    let taken = match access {
        Access::Recover { is_exact } => {
            open_array.state().recover(request, is_exact, &surroundings)
        }
        Access::Read | Access::Write | Access::Atomic => {
            open_array.state().acquire(request, &surroundings)
        }
    };
    Ok(taken.map_err(|refusal| refused(open_array, refusal, wait))?)
}

fn give_back(open_array: &OpenArray, slot: usize) {
    open_array.thread_of(slot).store(0, Relaxed);
    open_array.state().withdraw(slot);
}

impl Lock {
    /// Makes the slot a record of poison; there is nothing to give back any more.
    fn leave_poison(&mut self) {
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
            give_back(&self.open_array, self.slot)
        }
    }
}

impl Lock {
    #[cold]
    fn poison(&self) {
        // Of the same generation as the lock, so the id is the one that took it, and known.
        let Ok(member) = self.open_array.member().id() else {
            return;
        };
        self.open_array.thread_of(self.slot).store(0, Relaxed);
        self.open_array.state().poison(self.slot, member);
        event!(WARN, path = %self.open_array.path().display(), "a panic poisoned what was being written");
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
    open_array: &'a OpenArray,
    thread: u64,
}

impl Liveness for Surroundings<'_> {
    fn is_alive(&self, member: u64) -> bool {
        // Who cannot be asked about counts as alive: to wait is safe.
        self.open_array.member().is_alive(member).unwrap_or(true)
    }

    fn is_own(&self, slot: usize) -> bool {
        self.open_array.thread_of(slot).load(Relaxed) == self.thread
    }
}

#[cold]
fn refused(open_array: &OpenArray, refusal: Refusal, wait: Wait) -> Error {
    let path = open_array.path().to_path_buf();
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
pub(crate) fn poisoned(open_array: &OpenArray, span: Span) -> Result<Vec<Range<usize>>> {
    let request = Request {
        member: open_array.member().id()?,
        span,
        mode: Mode::Read,
        deadline: None,
    };
    let surroundings = Surroundings {
        open_array,
        thread: this_thread(),
    };
    let found = open_array
        .state()
        .poisoned(request, &surroundings)
        .map_err(|refusal| refused(open_array, refusal, Wait::Forever))?;
    if open_array.is_frozen() {
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

/// Shared access to the elements of an array or view: while it lives, nobody writes them.
///
/// Dereferences to [`ndarray::ArrayRef`], so all of ndarray's reading methods are there. Where a
/// function takes `&ArrayRef`, pass `&*guard`; where an operator needs an array on its right side,
/// `guard.view()`. The guard owns what it needs: it may outlive the array it came from, and keeps a
/// [`Local`](crate::Scope::Local) array from being deleted.
///
/// Dropping the guard gives the lock back. A guard that is leaked with `mem::forget` holds its lock
/// until the process ends. Guards stay in their thread, but may be shared from it. Nothing but that
/// check depends on the thread: a binding to another language that moves a guard into another
/// thread by unsafe means, and drops it there, gets no undefined behaviour.
///
/// # Examples
///
/// ```
/// let manager = ndshm::Manager::new()?;
/// let xs = manager.from_shape_fn::<f64, _>(4, |i| i as f64)?;
/// let guard = xs.read()?;
/// assert_eq!((guard.sum(), guard[3]), (6.0, 3.0));
/// assert_eq!(&*guard * 2.0, ndarray::array![0.0, 2.0, 4.0, 6.0]);
/// # Ok::<(), ndshm::Error>(())
/// ```
pub struct ReadGuard<T: Element, D: Dimension> {
    // Private, and its lifetime never leaves: it ends with the lock below.
    view: ArrayView<'static, T, D>,
    _lock: Lock,
}

/// Exclusive access to the elements of an array or view: while it lives, nobody else reads or
/// writes them.
///
/// Dereferences to [`ndarray::ArrayRef`], mutably too. Everything else is as with [`ReadGuard`].
///
/// Where the thread panics while it holds the guard, or the process dies, the elements may be
/// half-written: they are *poisoned*, and nobody reads or writes them before somebody
/// [recovers](crate::SharedArray::recover) them.
///
/// # Examples
///
/// ```
/// let manager = ndshm::Manager::new()?;
/// let xs = manager.zeros::<f64, _>((2, 2))?;
/// let mut guard = xs.write()?;
/// guard[[0, 1]] = 2.0;
/// guard.mapv_inplace(|x| x + 1.0);
/// assert_eq!(guard.sum(), 6.0);
/// # Ok::<(), ndshm::Error>(())
/// ```
pub struct WriteGuard<T: Element, D: Dimension> {
    // Private, and its lifetime never leaves: it ends with the lock below.
    view: ArrayViewMut<'static, T, D>,
    _lock: Lock,
}

impl<T: Element, D: Dimension> ReadGuard<T, D> {
    #[inline(always)]
    pub(crate) fn take(
        open_array: &Arc<OpenArray>,
        layout: &Layout<D>,
        span: Span,
        wait: Wait,
    ) -> Result<Self> {
        let lock = Lock::take(open_array, span, Access::Read, wait)?;
        // SAFETY: the lock was taken for all of the layout's bytes, or the array is frozen: nobody
        // writes them until it is dropped; it keeps the segment mapped as long, and the view, whose
        // lifetime never leaves this struct, goes before it.
        let view = unsafe { view::elements(open_array, layout) };
        Ok(Self { view, _lock: lock })
    }
}

impl<T: Element, D: Dimension> WriteGuard<T, D> {
    /// Gives the lock back and leaves the elements as poison, as a panic does: for who fails by
    /// other means, an exception of another language say.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// xs.write()?.poison();
    /// assert!(matches!(xs.read(), Err(ndshm::Error::Poisoned { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn poison(mut self) {
        self._lock.leave_poison();
    }

    /// The caller checked that the layout is disjoint and the mapping writable, and wants to write
    /// or to recover.
    #[inline(always)]
    pub(crate) fn take(
        open_array: &Arc<OpenArray>,
        layout: &Layout<D>,
        span: Span,
        access: Access,
        wait: Wait,
    ) -> Result<Self> {
        let lock = Lock::take(open_array, span, access, wait)?;
        // SAFETY: the caller checked that the layout is disjoint and the mapping writable; the lock
        // was taken exclusively for all of its bytes, so nobody else touches them until it is
        // dropped; it keeps the segment mapped as long, and the view, whose lifetime never leaves
        // this struct, goes before it.
        let view = unsafe { view::elements_mut(open_array, layout) };
        Ok(Self { view, _lock: lock })
    }
}

impl<T: Element, D: Dimension> Deref for ReadGuard<T, D> {
    type Target = ArrayRef<T, D>;

    fn deref(&self) -> &ArrayRef<T, D> {
        &self.view
    }
}

impl<T: Element, D: Dimension> Deref for WriteGuard<T, D> {
    type Target = ArrayRef<T, D>;

    fn deref(&self) -> &ArrayRef<T, D> {
        &self.view
    }
}

impl<T: Element, D: Dimension> DerefMut for WriteGuard<T, D> {
    fn deref_mut(&mut self) -> &mut ArrayRef<T, D> {
        &mut self.view
    }
}

impl<T: Element + fmt::Debug, D: Dimension> fmt::Debug for ReadGuard<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view.fmt(f)
    }
}

impl<T: Element + fmt::Debug, D: Dimension> fmt::Debug for WriteGuard<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view.fmt(f)
    }
}

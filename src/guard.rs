//! Guards: proofs of a lock, which are views of the locked elements.
//!
//! One of the modules with unsafe code: a guard is where the lock that makes a view sound and the view itself come together.

use crate::{
    element::Element,
    error::{Error, Result},
    fork,
    grip::Grip,
    layout::Layout,
    span::Span,
    state::{Mode, Refusal, SLOTS},
    view,
};
use ndarray::{ArrayRef, ArrayView, ArrayViewMut, Dimension};
use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicU64, Ordering::SeqCst},
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

/// A taken slot of the lock table: given back when it is dropped.
struct Lock {
    grip: Arc<Grip>,
    /// None where there are no bytes to lock.
    slot: Option<usize>,
    generation: u64,
    /// Neither a guard nor its lock is Send: whether a thread would wait for itself is known by thread.
    _not_send: PhantomData<MutexGuard<'static, ()>>,
}

impl Lock {
    fn take(grip: &Arc<Grip>, span: Span, mode: Mode, wait: Wait) -> Result<Self> {
        grip.used();
        let deadline = match wait {
            Wait::Never => Some(Instant::now()),
            Wait::AtMost(time) => Instant::now().checked_add(time),
            Wait::Forever => None,
        };
        let mut lock = Lock { grip: grip.clone(), slot: None, generation: fork::generation(), _not_send: PhantomData };
        if span.is_empty() {
            return Ok(lock);
        }
        let thread = this_thread();
        let path = || grip.path().to_path_buf();
        let slot = grip.acquire(span, mode, deadline, thread)?.map_err(|refusal| match (refusal, wait) {
            (Refusal::WouldDeadlock, _) => Error::WouldDeadlock { path: path() },
            (Refusal::TooManyGuards, _) => Error::TooManyGuards { path: path(), limit: SLOTS },
            (Refusal::WouldBlock, Wait::AtMost(waited)) => Error::Timeout { path: path(), waited },
            (Refusal::WouldBlock, _) => Error::WouldBlock { path: path() },
        })?;
        grip.thread_of(slot).store(thread, SeqCst);
        lock.slot = Some(slot);
        Ok(lock)
    }
}

impl Drop for Lock {
    /// Gives the slot back; a guard that was inherited over a fork touches nothing: its slot is the parent's.
    fn drop(&mut self) {
        if let Some(slot) = self.slot
            && self.generation == fork::generation()
        {
            self.grip.thread_of(slot).store(0, SeqCst);
            self.grip.state().release(slot);
        }
    }
}

/// A number that no other thread of this process has.
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static THREAD: u64 = NEXT.fetch_add(1, SeqCst));
    THREAD.with(|thread| *thread)
}

/// Shared access to the elements of an array or view: while it lives, nobody writes them.
///
/// Dereferences to [`ndarray::ArrayRef`], so all of ndarray's reading methods are there. Where a function takes `&ArrayRef`, pass `&*guard`;
/// where an operator needs an array on its right side, `guard.view()`. The guard owns what it needs: it may outlive the array it came from,
/// and keeps a [`Local`](crate::Scope::Local) array from being deleted.
///
/// Dropping the guard gives the lock back. A guard that is leaked with `mem::forget` holds its lock until the process ends. Guards stay in
/// their thread, but may be shared from it.
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

/// Exclusive access to the elements of an array or view: while it lives, nobody else reads or writes them.
///
/// Dereferences to [`ndarray::ArrayRef`], mutably too. Everything else is as with [`ReadGuard`].
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
    pub(crate) fn take(grip: &Arc<Grip>, layout: &Layout<D>, span: Span, wait: Wait) -> Result<Self> {
        let lock = Lock::take(grip, span, Mode::Read, wait)?;
        // SAFETY: the lock was taken for all of the layout's bytes, so nobody writes them until it is dropped; it keeps the segment mapped
        // as long, and the view, whose lifetime never leaves this struct, goes before it.
        let view = unsafe { view::elements(grip, layout) };
        Ok(Self { view, _lock: lock })
    }
}

impl<T: Element, D: Dimension> WriteGuard<T, D> {
    /// The caller checked that the layout is disjoint and the mapping writable.
    pub(crate) fn take(grip: &Arc<Grip>, layout: &Layout<D>, span: Span, wait: Wait) -> Result<Self> {
        let lock = Lock::take(grip, span, Mode::Write, wait)?;
        // SAFETY: the caller checked that the layout is disjoint and the mapping writable; the lock was taken exclusively for all of its
        // bytes, so nobody else touches them until it is dropped; it keeps the segment mapped as long, and the view, whose lifetime never
        // leaves this struct, goes before it.
        let view = unsafe { view::elements_mut(grip, layout) };
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

//! Guards: views of locked elements.
//!
//! # Why a guard is sound
//!
//! A guard owns two things: a [`Lock`] on all bytes of its elements, and an ndarray view of them.
//! The view is a Rust reference, so no thread or process may write its elements while it lives, and
//! for a [`WriteGuard`] no other may read them. Three facts ensure that:
//!
//! - The lock covers every byte of the view: the span of the lock and the view come from one
//!   checked layout.
//! - The lock outlives the view. Fields are dropped in the order of their declaration, the view is
//!   declared first, and its `'static` lifetime never leaves the struct: `Deref` shortens it to
//!   that of the borrowed guard.
//! - The lock holds the segment, so it stays mapped.
//!
//! A guard over a frozen array has a lock without a slot: no process writes a frozen array.
//!
//! One of the modules with unsafe code: here the lock that makes a view sound and the view itself
//! come together.

use crate::{
    array::{
        lock::{Access, Lock},
        open_array::OpenArray,
        view,
    },
    element::Element,
    error::Result,
    layout::{Layout, span::Span},
    sys::wait::Wait,
};
use ndarray::{ArrayRef, ArrayView, ArrayViewMut, Dimension};
use std::{
    fmt,
    ops::{Deref, DerefMut},
};

/// Shared access to the elements of an array or view: while it lives, no thread or process writes
/// them.
///
/// Dereferences to [`ndarray::ArrayRef`], so it has all of ndarray's reading methods. Where a
/// function takes `&ArrayRef`, pass `&*guard`; where an operator needs an array on its right side,
/// `guard.view()`. The guard may outlive the array it came from, and keeps a
/// [`Local`](crate::Scope::Local) array from being deleted.
///
/// Dropping the guard gives the lock back. A guard that is leaked with `mem::forget` holds its lock
/// until the process ends. A guard stays in its thread, but may be shared from it. Only the check
/// for deadlocks depends on the thread: a binding to another language that moves a guard into
/// another thread by unsafe means, and drops it there, gets no undefined behaviour.
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
    // Private, and its lifetime never leaves this struct: it ends with the lock below.
    view: ArrayView<'static, T, D>,
    pub(super) lock: Lock,
}

/// Exclusive access to the elements of an array or view: while it lives, no other guard reads or
/// writes them.
///
/// Dereferences to [`ndarray::ArrayRef`], mutably too. Everything else is as with [`ReadGuard`].
///
/// Where the thread panics while it holds the guard, or the process dies, the elements may be
/// half-written: they are *poisoned*. No guard reads or writes them until a process
/// [recovers](crate::SharedArray::recover) them.
///
/// A guard that a thread takes while it panics, in a `Drop` that runs during the unwinding, does
/// not poison. The standard library does not tell the end of such a `Drop` from a second panic
/// inside it, so the elements are given back as they are then, as by a [`std::sync::Mutex`]. Where
/// code in a `Drop` writes and can panic, catch that panic and call [`poison`](Self::poison). A
/// guard that was taken before the first panic poisons, whichever panic drops it.
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
    // Private, and its lifetime never leaves this struct: it ends with the lock below.
    view: ArrayViewMut<'static, T, D>,
    pub(super) lock: Lock,
}

impl<T: Element, D: Dimension> ReadGuard<T, D> {
    #[inline(always)]
    pub(crate) fn take(
        array: &OpenArray,
        layout: &Layout<D>,
        span: Span,
        wait: Wait,
    ) -> Result<Self> {
        let lock = Lock::take(array, span, Access::Read, wait)?;
        // SAFETY: the lock was taken for the span of the layout.
        Ok(unsafe { Self::locked(lock, array, layout) })
    }

    /// The guard of a lock.
    ///
    /// # Safety
    ///
    /// The lock was taken on this array, to read all bytes of the layout.
    #[inline(always)]
    pub(super) unsafe fn locked(lock: Lock, array: &OpenArray, layout: &Layout<D>) -> Self {
        // SAFETY: the lock was taken for all of the layout's bytes (the caller's promise), or the
        // array is frozen: no guard writes them until the lock is dropped; the lock keeps the
        // segment mapped until then, and the view, whose lifetime never leaves this struct, is
        // dropped before it.
        let view = unsafe { view::elements(array, layout) };
        Self { view, lock }
    }
}

impl<T: Element, D: Dimension> WriteGuard<T, D> {
    /// Gives the lock back and leaves the elements poisoned, as a panic does: for a writer that
    /// fails by other means, for example by an exception of another language.
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
        self.lock.leave_poison();
    }

    /// The caller checked that the layout is disjoint and the mapping writable, and asks for access
    /// to write or to recover.
    #[inline(always)]
    pub(crate) fn take(
        array: &OpenArray,
        layout: &Layout<D>,
        span: Span,
        access: Access,
        wait: Wait,
    ) -> Result<Self> {
        let lock = Lock::take(array, span, access, wait)?;
        // SAFETY: the lock was taken for the span of the layout, to write or to recover; the caller
        // checked that the layout is disjoint and the mapping writable.
        Ok(unsafe { Self::locked(lock, array, layout) })
    }

    /// The guard of a lock.
    ///
    /// # Safety
    ///
    /// The lock was taken on this array, exclusively, for all bytes of the layout. The layout is
    /// disjoint and the mapping writable.
    #[inline(always)]
    pub(super) unsafe fn locked(lock: Lock, array: &OpenArray, layout: &Layout<D>) -> Self {
        // SAFETY: the layout is disjoint and the mapping writable, and the lock was taken
        // exclusively for all of its bytes (the caller's promise), so no other guard touches them
        // until the lock is dropped; the lock keeps the segment mapped until then, and the view,
        // whose lifetime never leaves this struct, is dropped before it.
        let view = unsafe { view::elements_mut(array, layout) };
        Self { view, lock }
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

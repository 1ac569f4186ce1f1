//! Guards: proofs of a lock, which are views of the locked elements.
//!
//! One of the modules with unsafe code: a guard is where the lock that makes a view sound and the
//! view itself come together.

use crate::{
    array::{
        lock::{Access, Lock, Wait},
        open_array::OpenArray,
        view,
    },
    element::Element,
    error::Result,
    layout::{Layout, span::Span},
};
use ndarray::{ArrayRef, ArrayView, ArrayViewMut, Dimension};
use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

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
        array: &Arc<OpenArray>,
        layout: &Layout<D>,
        span: Span,
        wait: Wait,
    ) -> Result<Self> {
        let lock = Lock::take(array, span, Access::Read, wait)?;
        // SAFETY: the lock was taken for all of the layout's bytes, or the array is frozen: nobody
        // writes them until it is dropped; it keeps the segment mapped as long, and the view, whose
        // lifetime never leaves this struct, goes before it.
        let view = unsafe { view::elements(array, layout) };
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
        array: &Arc<OpenArray>,
        layout: &Layout<D>,
        span: Span,
        access: Access,
        wait: Wait,
    ) -> Result<Self> {
        let lock = Lock::take(array, span, access, wait)?;
        // SAFETY: the caller checked that the layout is disjoint and the mapping writable; the lock
        // was taken exclusively for all of its bytes, so nobody else touches them until it is
        // dropped; it keeps the segment mapped as long, and the view, whose lifetime never leaves
        // this struct, goes before it.
        let view = unsafe { view::elements_mut(array, layout) };
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

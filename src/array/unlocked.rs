//! Access without a lock, for callers that know by other means that it is safe.
//!
//! One of the modules with unsafe code: its functions are unsafe to call.

use super::{
    SharedArray,
    any::AnyArray,
    core::{Core, ElementType},
    view,
};
use crate::{element::Element, error::Result};
use ndarray::{ArrayView, ArrayViewMut, Dimension, IxDyn};

impl<K: ElementType, D: Dimension> Core<K, D> {
    /// # Safety
    ///
    /// For as long as the view is used, no guard and no other unlocked view writes these elements,
    /// in any process.
    unsafe fn view_unlocked(&self) -> ArrayView<'_, K::Unit, K::GuardDim<D>> {
        self.opened.mark_used();
        let layout = self.element_type.guard_layout(&self.layout);
        // SAFETY: `self` keeps the segment mapped for as long as the view borrows it, and the units
        // of a checked layout lie inside it; the rest is the caller's promise.
        unsafe { view::elements(&self.opened, &layout) }
    }

    /// # Safety
    ///
    /// For as long as the view is used, no guard and no other unlocked view reads or writes these
    /// elements, in any process.
    unsafe fn view_mut_unlocked(&self) -> Result<ArrayViewMut<'_, K::Unit, K::GuardDim<D>>> {
        self.check_writable()?;
        self.opened.mark_used();
        let layout = self.element_type.guard_layout(&self.layout);
        // SAFETY: `check_writable` says that the layout is disjoint, so that of its units is, and
        // that the mapping is writable; `self` keeps it mapped for as long as the view borrows it;
        // the rest is the caller's promise.
        Ok(unsafe { view::elements_mut(&self.opened, &layout) })
    }
}

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// The elements without a lock.
    ///
    /// # Safety
    ///
    /// For as long as the view is used, no guard and no other unlocked view writes these elements,
    /// in any process.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<f64, _>(3)?;
    /// // SAFETY: no other code knows this array.
    /// assert_eq!(unsafe { xs.view_unlocked() }.sum(), 3.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub unsafe fn view_unlocked(&self) -> ArrayView<'_, T, D> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.core.view_unlocked() }
    }

    /// The elements for writing, without a lock.
    ///
    /// # Errors
    ///
    /// `ReadOnly` for an array or view that cannot be written.
    ///
    /// # Safety
    ///
    /// For as long as the view is used, no guard and no other unlocked view reads or writes these
    /// elements, in any process.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(3)?;
    /// // SAFETY: no other code knows this array.
    /// unsafe { xs.view_mut_unlocked()? }.fill(1.0);
    /// assert_eq!(xs.read()?.sum(), 3.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub unsafe fn view_mut_unlocked(&self) -> Result<ArrayViewMut<'_, T, D>> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.core.view_mut_unlocked() }
    }
}

impl AnyArray {
    /// The bytes of the elements without a lock; their shape as with [`read`](Self::read).
    ///
    /// # Safety
    ///
    /// As of [`SharedArray::view_unlocked`](crate::SharedArray::view_unlocked).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.ones::<u16, _>(3)?.into_any()?;
    /// // SAFETY: no other code knows this array.
    /// assert_eq!(unsafe { any.view_unlocked() }[[2, 0]], 1);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub unsafe fn view_unlocked(&self) -> ArrayView<'_, u8, IxDyn> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.core.view_unlocked() }
    }

    /// The bytes of the elements for writing, without a lock; their shape as with
    /// [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// `ReadOnly` and `Frozen` for an array or view that cannot be written.
    ///
    /// # Safety
    ///
    /// As of [`SharedArray::view_mut_unlocked`](crate::SharedArray::view_mut_unlocked).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.ones::<u16, _>(3)?.into_any()?;
    /// // SAFETY: no other code knows this array.
    /// unsafe { any.view_mut_unlocked()? }.fill(0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub unsafe fn view_mut_unlocked(&self) -> Result<ArrayViewMut<'_, u8, IxDyn>> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.core.view_mut_unlocked() }
    }
}

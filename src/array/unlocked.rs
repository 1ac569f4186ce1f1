//! Access without a lock, for who has other means to know that it is safe.
//!
//! One of the modules with unsafe code: its functions are unsafe to call.

use super::SharedArray;
use crate::{array::view, element::Element, error::Result};
use ndarray::{ArrayView, ArrayViewMut, Dimension};

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// The elements without a lock.
    ///
    /// # Safety
    ///
    /// For as long as the view is used, nobody writes these elements: no guard, no other unlocked
    /// view, in any process.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<f64, _>(3)?;
    /// // SAFETY: nobody else knows this array.
    /// assert_eq!(unsafe { xs.view_unlocked() }.sum(), 3.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub unsafe fn view_unlocked(&self) -> ArrayView<'_, T, D> {
        self.open_array.used();
        // SAFETY: `self` keeps the segment mapped for as long as the view borrows it; the rest is
        // the caller's promise.
        unsafe { view::elements(&self.open_array, &self.layout) }
    }

    /// The elements for writing, without a lock.
    ///
    /// # Errors
    ///
    /// `ReadOnly` for an array or view that cannot be written.
    ///
    /// # Safety
    ///
    /// For as long as the view is used, nobody else reads or writes these elements: no guard, no
    /// other unlocked view, in any process.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(3)?;
    /// // SAFETY: nobody else knows this array.
    /// unsafe { xs.view_mut_unlocked()? }.fill(1.0);
    /// assert_eq!(xs.read()?.sum(), 3.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub unsafe fn view_mut_unlocked(&self) -> Result<ArrayViewMut<'_, T, D>> {
        self.check_writable()?;
        self.open_array.used();
        // SAFETY: `check_writable` says that the layout is disjoint and the mapping writable;
        // `self` keeps it mapped for as long as the view borrows it; the rest is the caller's
        // promise.
        Ok(unsafe { view::elements_mut(&self.open_array, &self.layout) })
    }
}

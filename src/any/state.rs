//! What happens to an array of run-time type as a whole: freezing, poison, recovery.

use super::AnyArray;
use crate::{
    error::{Error, Result},
    frozen,
    guard::{self, Access, Wait, WriteGuard},
};
use ndarray::IxDyn;
use std::ops::Range;

impl AnyArray {
    /// Ends all writing to the array; see [`SharedArray::freeze`](crate::SharedArray::freeze).
    ///
    /// # Errors
    ///
    /// Those of [`SharedArray::freeze`](crate::SharedArray::freeze).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.zeros_any(&"<f4".parse()?, &[5])?;
    /// any.freeze()?;
    /// assert!(any.is_frozen() && !any.is_writable());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn freeze(&self) -> Result<()> {
        self.grip.used();
        frozen::freeze(&self.grip, self.is_writable)
    }

    /// Whether the array was frozen.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(!manager.zeros_any(&"<f4".parse()?, &[5])?.is_frozen());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_frozen(&self) -> bool {
        self.grip.is_frozen()
    }

    /// The poisoned ranges that touch this view; see [`SharedArray::poisoned`](crate::SharedArray::poisoned).
    ///
    /// # Errors
    ///
    /// `Io` where it cannot be found out who lives.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(manager.zeros_any(&"<f4".parse()?, &[5])?.poisoned()?.is_empty());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn poisoned(&self) -> Result<Vec<Range<usize>>> {
        self.grip.used();
        guard::poisoned(&self.grip, self.span())
    }

    /// Exclusive access to the bytes of the elements, poisoned or not, with a last axis for those of one element; see
    /// [`SharedArray::recover`](crate::SharedArray::recover). What is there when the guard is dropped is no longer poisoned.
    ///
    /// # Errors
    ///
    /// Those of [`SharedArray::recover`](crate::SharedArray::recover).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<u16, _>(5)?;
    /// xs.into_any()?.recover()?.fill(0);
    /// assert_eq!(xs.read()?.sum(), 0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn recover(&self) -> Result<WriteGuard<u8, IxDyn>> {
        self.check_writable()?;
        let span = self.span();
        let is_exact = span.byte_len() == (self.len() * self.dtype.itemsize()) as u64;
        WriteGuard::take(&self.grip, &self.bytes(), span, Access::Recover { is_exact }, Wait::Forever)
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        match self.is_writable {
            _ if self.grip.is_frozen() => Err(Error::Frozen { path: self.path().into() }),
            true => Ok(()),
            false => Err(Error::ReadOnly { path: self.path().into(), reason: "the view is read-only, or some of its elements share memory" }),
        }
    }
}

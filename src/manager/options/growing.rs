//! Making arrays that grow.

use super::{ArrayOptions, check_shape};
use crate::{
    array::growing::{self, GrowingArray},
    element::Element,
    error::Result,
};
use ndarray::{Dimension, IntoDimension};

/// The dimension of an array whose rows have the dimension `R`.
type Rows<R> = <<R as IntoDimension>::Dim as Dimension>::Larger;

impl ArrayOptions<'_> {
    /// A new array that grows: rows of this shape are appended to it, by any number of processes,
    /// up to `max_len` of them.
    ///
    /// `max_len` is address space, not memory: choose it large. See [`GrowingArray`].
    ///
    /// # Errors
    ///
    /// `AlreadyExists`; `Layout` if `max_len` is 0, if a row has no bytes, and if the size
    /// overflows; `AddressSpace`; those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let numbers = manager.options().growing::<f64, _>(1 << 30, ())?;
    /// let images = manager.options().name("images").growing::<u8, _>(1 << 20, (480, 640))?;
    /// assert_eq!((numbers.all()?.ndim(), images.all()?.ndim()), (1, 3));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn growing<T: Element, R: IntoDimension>(
        &self,
        max_len: usize,
        row_shape: R,
    ) -> Result<GrowingArray<T, Rows<R>>> {
        let row = row_shape.into_dimension();
        growing::create(self.member, self.labels()?, max_len, row.slice())
    }

    /// Opens the array that grows with this name, or makes it if there is none: the start of a log
    /// that goes on where it was.
    ///
    /// # Errors
    ///
    /// `Name` if no name was given; `Kind`, `Dtype`, `Rank` and `Layout` if there is another array;
    /// those of [`growing`](Self::growing).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// for run in 0..3 {
    ///     let log = manager.options().name("log").open_or_growing::<u64, _>(1000, ())?;
    ///     assert_eq!(log.push(run)?, run as usize);
    /// }
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open_or_growing<T: Element, R: IntoDimension>(
        &self,
        max_len: usize,
        row_shape: R,
    ) -> Result<GrowingArray<T, Rows<R>>> {
        let row = row_shape.into_dimension();
        let wanted = [&[max_len], row.slice()].concat();
        self.open_or_make(
            |path| {
                let found = growing::open_named::<T, Rows<R>>(self.member, path)?;
                let shape = [&[found.max_len()], found.row_shape()].concat();
                check_shape(path, &shape, &wanted)?;
                Ok(found)
            },
            || growing::create(self.member, self.labels()?, max_len, row.slice()),
        )
    }
}

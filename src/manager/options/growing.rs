//! Making arrays that grow.

use super::{ArrayOptions, check_shape};
use crate::{
    array::growing::{AnyGrowing, GrowingArray},
    element::{Element, dtype::DType},
    error::{Error, Result},
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
        self.growing_any(&T::DTYPE, row.slice(), max_len)?
            .downcast()
    }

    /// A new array that grows, of elements whose type is known at run time only.
    ///
    /// # Errors
    ///
    /// Those of [`growing`](Self::growing).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let images = manager.options().growing_any(&"|u1".parse()?, &[480, 640], 1 << 20)?;
    /// assert_eq!((images.len(), images.row_shape()), (0, &[480, 640][..]));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn growing_any(
        &self,
        dtype: &DType,
        row_shape: &[usize],
        max_len: usize,
    ) -> Result<AnyGrowing> {
        AnyGrowing::create(self.member, self.labels()?, dtype, row_shape, max_len)
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
        self.open_or_growing_any(&T::DTYPE, row.slice(), max_len)?
            .downcast()
    }

    /// Opens the array that grows with this name, or makes it, with elements whose type is known at
    /// run time only.
    ///
    /// # Errors
    ///
    /// Those of [`open_or_growing`](Self::open_or_growing).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let options = manager.options().name("log");
    /// let log = options.open_or_growing_any(&"<f8".parse()?, &[], 1000)?;
    /// assert_eq!(options.open_or_growing_any(&"<f8".parse()?, &[], 1000)?.id(), log.id());
    /// let refused = options.open_or_growing_any(&"<f4".parse()?, &[], 1000);
    /// assert!(matches!(refused, Err(ndshm::Error::Dtype { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open_or_growing_any(
        &self,
        dtype: &DType,
        row_shape: &[usize],
        max_len: usize,
    ) -> Result<AnyGrowing> {
        let wanted = [&[max_len], row_shape].concat();
        self.open_or_make(
            |path| {
                let found = AnyGrowing::open_named(self.member, path)?;
                if found.dtype() != dtype {
                    return Err(Error::Dtype {
                        path: path.into(),
                        expected: dtype.clone(),
                        found: found.dtype().clone(),
                    });
                }
                let shape = [&[found.max_len()], found.row_shape()].concat();
                if shape.len() != wanted.len() {
                    return Err(Error::Rank {
                        path: path.into(),
                        expected: wanted.len(),
                        found: shape.len(),
                    });
                }
                check_shape(path, &shape, &wanted)?;
                Ok(found)
            },
            || self.growing_any(dtype, row_shape, max_len),
        )
    }
}

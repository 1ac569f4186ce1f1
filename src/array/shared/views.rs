//! Views of a `SharedArray`: the same memory, fewer of its elements.

use super::SharedArray;
use crate::{element::Element, error::Result};
use ndarray::{ArrayRef, Axis, Dimension, RemoveAxis, Slice, SliceArg};

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// The same view again. Never fails; a `Result` like the other views.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// xs.view()?.write()?.fill(1.0);
    /// assert_eq!(xs.read()?.sum(), 5.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn view(&self) -> Result<Self> {
        Ok(Self::new(self.core.view()))
    }

    /// The same view, for reading only: its guards and handles cannot write.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert!(matches!(xs.read_only()?.write(), Err(ndshm::Error::ReadOnly { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn read_only(&self) -> Result<Self> {
        Ok(Self::new(self.core.read_only()))
    }

    /// The part that ndarray's [`s!`](ndarray::s) names: ranges with steps, also negative ones,
    /// single indices, new axes.
    ///
    /// # Errors
    ///
    /// `Layout` for an index or a range that does not fit, a step of zero, or a wrong number of
    /// axes.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::s;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.from_shape_fn::<i64, _>((3, 4), |(i, j)| (10 * i + j) as i64)?;
    /// assert_eq!(xs.slice(s![1, ..;-1])?.to_ndarray()?, ndarray::array![13, 12, 11, 10]);
    /// assert!(xs.slice(s![5, ..]).is_err());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn slice<I: SliceArg<D>>(&self, info: I) -> Result<SharedArray<T, I::OutDim>> {
        self.core.slice(info).map(SharedArray::new)
    }

    /// The part of one axis that a [`Slice`] names.
    ///
    /// # Errors
    ///
    /// `Layout` for an axis or a range that does not fit, or a step of zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::{Axis, Slice};
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 8))?;
    /// assert_eq!(xs.slice_axis(Axis(1), Slice::new(1, None, 3))?.shape(), [3, 3]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn slice_axis(&self, axis: Axis, indices: Slice) -> Result<Self> {
        self.core.slice_axis(axis, indices).map(Self::new)
    }

    /// The part at one index of an axis, without that axis.
    ///
    /// # Errors
    ///
    /// `Layout` for an axis or an index that does not fit.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Axis;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 8))?;
    /// assert_eq!(xs.index_axis(Axis(0), 2)?.shape(), [8]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn index_axis(&self, axis: Axis, index: usize) -> Result<SharedArray<T, D::Smaller>>
    where
        D: RemoveAxis,
    {
        self.core.index_axis(axis, index).map(SharedArray::new)
    }

    /// The parts before and from `index` on, along an axis.
    ///
    /// # Errors
    ///
    /// `Layout` for an axis or an index that does not fit.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Axis;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// let (left, right) = xs.split_at(Axis(0), 2)?;
    /// let (_l, _r) = (left.write()?, right.write()?); // both at once: they share no bytes
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn split_at(&self, axis: Axis, index: usize) -> Result<(Self, Self)> {
        let (before, from) = self.core.split_at(axis, index)?;
        Ok((Self::new(before), Self::new(from)))
    }

    /// The parts of `size` indices each along an axis; the last one may be shorter.
    ///
    /// # Errors
    ///
    /// `Layout` for an axis that does not exist or a size of zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Axis;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((5, 2))?;
    /// let rows: Vec<_> = xs.axis_chunks(Axis(0), 2)?.map(|chunk| chunk.shape()[0]).collect();
    /// assert_eq!(rows, [2, 2, 1]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn axis_chunks(
        &self,
        axis: Axis,
        size: usize,
    ) -> Result<impl ExactSizeIterator<Item = Self> + use<T, D>> {
        Ok(self.core.axis_chunks(axis, size)?.map(Self::new))
    }

    /// The shared array for an ndarray view that lies inside this one's memory, for example a view
    /// of a guard.
    ///
    /// # Errors
    ///
    /// `NotShared` where the memory is not this array's, not between its first and last byte, or
    /// begins in the middle of an element.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::s;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.from_shape_fn::<f64, _>(10, |i| i as f64)?;
    /// let guard = xs.read()?;
    /// let shared = xs.subview(&guard.slice(s![3..5]))?;
    /// assert_eq!(shared.to_ndarray()?, ndarray::array![3.0, 4.0]);
    /// assert!(matches!(
    ///     xs.subview(&ndarray::array![3.0, 4.0]),
    ///     Err(ndshm::Error::NotShared { .. })
    /// ));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn subview<E: Dimension>(&self, part: &ArrayRef<T, E>) -> Result<SharedArray<T, E>> {
        self.core.subview(part).map(SharedArray::new)
    }
}

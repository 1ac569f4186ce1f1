//! Views of all elements of a `SharedArray` under other axes.

use super::SharedArray;
use crate::{element::Element, error::Result};
use ndarray::{Axis, Dimension, IntoDimension, Ix1, IxDyn, ShapeArg};

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// The same elements with a new axis of length 1 before `axis`.
    ///
    /// # Errors
    ///
    /// `Layout` for an axis after the last one, or where the view would have more than 32 axes.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Axis;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert_eq!(xs.insert_axis(Axis(0))?.shape(), [1, 5]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn insert_axis(&self, axis: Axis) -> Result<SharedArray<T, D::Larger>> {
        self.core.insert_axis(axis).map(SharedArray::new)
    }

    /// The transposed view: all axes in reverse order. The same as
    /// [`reversed_axes`](Self::reversed_axes).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((2, 3))?;
    /// assert_eq!(xs.t()?.shape(), [3, 2]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn t(&self) -> Result<Self> {
        self.reversed_axes()
    }

    /// All axes in reverse order.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((2, 3, 4))?;
    /// assert_eq!(xs.reversed_axes()?.shape(), [4, 3, 2]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn reversed_axes(&self) -> Result<Self> {
        Ok(Self::new(self.core.reversed_axes()))
    }

    /// The axes in the given order.
    ///
    /// # Errors
    ///
    /// `Layout` where `axes` does not name each axis once.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((2, 3, 4))?;
    /// assert_eq!(xs.permuted_axes([1, 2, 0])?.shape(), [3, 4, 2]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn permuted_axes(&self, axes: impl IntoDimension<Dim = D>) -> Result<Self> {
        self.core
            .permuted_axes(axes.into_dimension())
            .map(Self::new)
    }

    /// The view repeated to a larger shape, which takes no memory. It is read-only.
    ///
    /// # Errors
    ///
    /// `Layout` where ndarray's rules of broadcasting do not allow it.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let row = manager.from_shape_fn::<f64, _>(3, |i| i as f64)?;
    /// assert_eq!(
    ///     row.broadcast((2, 3))?.to_ndarray()?,
    ///     ndarray::array![[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]
    /// );
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn broadcast<E: IntoDimension>(&self, shape: E) -> Result<SharedArray<T, E::Dim>> {
        self.core.broadcast(shape).map(SharedArray::new)
    }

    /// The diagonal: the elements whose indices are all equal.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 3))?;
    /// xs.diag()?.write()?.fill(1.0);
    /// assert_eq!(xs.to_ndarray()?, ndarray::Array2::<f64>::eye(3));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn diag(&self) -> Result<SharedArray<T, Ix1>> {
        Ok(SharedArray::new(self.core.diag()))
    }

    /// The same elements under another shape, where that needs no copy.
    ///
    /// Takes `&self`, so a shape that does not fit cannot lose the array. The order is C unless
    /// `shape` says otherwise, as in ndarray.
    ///
    /// # Errors
    ///
    /// `Layout` where the number of elements differs or the strides do not allow it.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((2, 6))?;
    /// assert_eq!(xs.into_shape_with_order((3, 4))?.shape(), [3, 4]);
    /// assert!(xs.t()?.into_shape_with_order(12).is_err());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn into_shape_with_order<E: ShapeArg>(&self, shape: E) -> Result<SharedArray<T, E::Dim>> {
        self.core.reshaped(shape).map(SharedArray::new)
    }

    /// The same view with its number of dimensions known at run time. Takes `&self`, as all views
    /// do.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((2, 6))?;
    /// assert_eq!(xs.into_dyn()?.dim(), ndarray::IxDyn(&[2, 6]));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn into_dyn(&self) -> Result<SharedArray<T, IxDyn>> {
        Ok(SharedArray::new(self.core.to_dyn()))
    }

    /// The same view with another dimension type of the same number of dimensions. Takes `&self`,
    /// so a wrong number cannot lose the array.
    ///
    /// # Errors
    ///
    /// `Rank` where the number differs.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::{Ix1, Ix2};
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((2, 6))?.into_dyn()?;
    /// assert_eq!(xs.into_dimensionality::<Ix2>()?.dim(), (2, 6));
    /// assert!(matches!(xs.into_dimensionality::<Ix1>(), Err(ndshm::Error::Rank { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn into_dimensionality<E: Dimension>(&self) -> Result<SharedArray<T, E>> {
        self.core.to_dimensionality().map(SharedArray::new)
    }
}

//! Views of an array: the same memory under another shape and other strides.
//!
//! Bounds are checked (`bounds`) before ndarray computes what comes out, because its raw views
//! panic.

use super::{
    SharedArray,
    bounds::{axis_length, check_axis_index, check_slice, check_slice_info},
};
use crate::{
    array::view,
    element::Element,
    error::{Error, Result},
    layout::{self, Bounds, Layout},
};
use ndarray::{
    ArrayRef, Axis, Dimension, IntoDimension, Ix1, IxDyn, RawArrayView, RemoveAxis, ShapeArg,
    Slice, SliceArg,
};
use std::{convert::Infallible, marker::PhantomData};

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// The same view once more. Never fails; a `Result` like its siblings.
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
        Ok(self.with_layout(self.layout.clone()))
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
        Ok(Self {
            is_writable: false,
            ..self.with_layout(self.layout.clone())
        })
    }

    /// The part that ndarray's [`s!`](ndarray::s) names: ranges with steps, negative ones too,
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
        check_slice_info(&info, self.shape())?;
        Ok(self.derive(|view| view.slice_move(info)))
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
        let operation = "slice an axis";
        let length = self.axis_length(operation, axis)?;
        check_slice(operation, indices.start, indices.end, indices.step, length)?;
        Ok(self.derive(|mut view| {
            view.slice_axis_inplace(axis, indices);
            view
        }))
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
        check_axis_index(self.shape(), axis, index)?;
        Ok(self.derive(|view| view.index_axis_move(axis, index)))
    }

    /// The same elements with a new axis of length 1 before `axis`.
    ///
    /// # Errors
    ///
    /// `Layout` for an axis behind the last, or more than 32 of them.
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
        if axis.index() > self.ndim() || self.ndim() >= crate::layout::MAX_NDIM {
            return Err(Error::layout(
                "insert an axis",
                format!(
                    "axis {} into {} axes (at most 32)",
                    axis.index(),
                    self.ndim()
                ),
            ));
        }
        Ok(self.derive(|view| view.insert_axis(axis)))
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
        let operation = "split";
        let length = self.axis_length(operation, axis)?;
        if index > length {
            return Err(Error::layout(
                operation,
                format!("at {index} of axis {} of length {length}", axis.index()),
            ));
        }
        let (first, second) = view::apply_pair::<T, D>(&self.open_array, &self.layout, |view| {
            view.split_at(axis, index)
        });
        Ok((self.with_layout(first), self.with_layout(second)))
    }

    /// The parts of `size` indices each along an axis, the last one maybe shorter.
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
        let operation = "split into chunks";
        let length = self.axis_length(operation, axis)?;
        if size == 0 {
            return Err(Error::layout(
                operation,
                "a chunk must have at least one index",
            ));
        }
        let whole = self.with_layout(self.layout.clone());
        Ok((0..length.div_ceil(size)).map(move |chunk| {
            let (start, end) = (
                chunk * size,
                (chunk * size).saturating_add(size).min(length),
            );
            whole.derive(|mut view| {
                view.slice_axis_inplace(axis, Slice::from(start..end));
                view
            })
        }))
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
        Ok(self.derive(RawArrayView::reversed_axes))
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
        let axes = axes.into_dimension();
        let mut sorted = axes.slice().to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..self.ndim()) {
            return Err(Error::layout(
                "permute the axes",
                format!(
                    "{:?} does not name each of {} axes once",
                    axes.slice(),
                    self.ndim()
                ),
            ));
        }
        Ok(self.derive(|view| view.permuted_axes(axes)))
    }

    /// The view repeated to a larger shape without taking memory. It can only be read.
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
    /// assert_eq!(row.broadcast((2, 3))?.to_ndarray()?, ndarray::array![[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn broadcast<E: IntoDimension>(&self, shape: E) -> Result<SharedArray<T, E::Dim>> {
        let dim = shape.into_dimension();
        let cannot = || {
            Error::layout(
                "broadcast",
                format!("{:?} to {:?}", self.shape(), dim.slice()),
            )
        };
        if dim.ndim() > crate::layout::MAX_NDIM || layout::byte_len(dim.slice(), 1).is_none() {
            return Err(cannot());
        }
        let layout = view::broadcast::<T, D, E::Dim>(&self.open_array, &self.layout, dim.clone())
            .ok_or_else(cannot)?;
        Ok(SharedArray {
            is_writable: false,
            ..self.with_layout(layout)
        })
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
        Ok(self.derive(RawArrayView::into_diag))
    }

    /// The same elements under another shape, where that needs no copy.
    ///
    /// Takes `&self`: a shape that does not fit cannot lose the array. The order is C unless
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
        let operation = "reshape";
        let (dim, order) = shape.into_shape_and_order();
        if dim.ndim() > crate::layout::MAX_NDIM || layout::byte_len(dim.slice(), 1).is_none() {
            return Err(Error::layout(
                operation,
                format!("{:?} is too large", dim.slice()),
            ));
        }
        let wanted = dim.slice().to_vec();
        let shape = (dim, order.unwrap_or(ndarray::Order::RowMajor));
        let layout = view::apply(
            &self.open_array,
            &self.layout,
            |view: RawArrayView<T, D>| view.into_shape_with_order(shape),
        );
        let cannot = |error| {
            format!(
                "{:?} with strides {:?} to {wanted:?}: {error}",
                self.shape(),
                self.strides()
            )
        };
        Ok(self.with_layout(layout.map_err(|error| Error::layout(operation, cannot(error)))?))
    }

    /// The same view with its number of dimensions known at run time. Takes `&self`, as all views.
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
        Ok(self.derive(RawArrayView::into_dyn))
    }

    /// The same view with another dimension type of the same number of dimensions. Takes `&self`: a
    /// wrong number cannot lose the array.
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
        let wrong = || Error::Rank {
            path: self.path().into(),
            expected: E::NDIM.unwrap_or_default(),
            found: self.ndim(),
        };
        Ok(self.with_layout(self.layout.to_dimensionality().ok_or_else(wrong)?))
    }

    /// The shared array for an ndarray view that lies inside this one's memory: a view of a guard,
    /// say.
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
    /// assert!(matches!(xs.subview(&ndarray::array![3.0, 4.0]), Err(ndshm::Error::NotShared { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn subview<E: Dimension>(&self, part: &ArrayRef<T, E>) -> Result<SharedArray<T, E>> {
        let not_shared = || Error::NotShared {
            path: self.path().into(),
        };
        let offset = self
            .open_array
            .offset_of(part.as_ptr().addr())
            .ok_or_else(not_shared)?;
        let itemsize = size_of::<T>();
        let byte_strides: Option<Vec<isize>> = part
            .strides()
            .iter()
            .zip(part.shape())
            .map(|(stride, &n)| {
                if n > 1 {
                    stride.checked_mul(itemsize as isize)
                } else {
                    Some(0)
                }
            })
            .collect();
        let byte_strides = byte_strides.ok_or_else(not_shared)?;
        let bounds = Bounds {
            len: self.open_array.data_len(),
            itemsize,
            align: align_of::<T>(),
        };
        let extent =
            layout::check(bounds, offset, part.shape(), &byte_strides).map_err(|_| not_shared())?;
        let own = self.extent();
        if extent.start < own.start || extent.end > own.end {
            return Err(not_shared());
        }
        // A slice that was cast to other elements and back may begin in the middle of one.
        let dtype = &self.open_array.header().dtype;
        if !dtype.has_view(&T::DTYPE, offset, part.shape(), &byte_strides) {
            return Err(not_shared());
        }
        let is_writable =
            self.is_writable && layout::disjoint(part.shape(), &byte_strides, itemsize);
        let layout = Layout::from_bytes(offset, part.raw_dim(), &byte_strides, itemsize);
        Ok(SharedArray {
            is_writable,
            ..self.with_layout(layout)
        })
    }

    /// The view that ndarray's operation makes of this one; no operation makes elements share bytes
    /// that did not.
    fn derive<E: Dimension>(
        &self,
        operation: impl FnOnce(RawArrayView<T, D>) -> RawArrayView<T, E>,
    ) -> SharedArray<T, E> {
        let Ok(layout) = view::apply(&self.open_array, &self.layout, |view| {
            Ok::<_, Infallible>(operation(view))
        });
        self.with_layout(layout)
    }

    fn with_layout<E: Dimension>(&self, layout: Layout<E>) -> SharedArray<T, E> {
        self.open_array.used();
        SharedArray {
            open_array: self.open_array.clone(),
            layout,
            is_writable: self.is_writable,
            _element: PhantomData,
        }
    }

    fn axis_length(&self, operation: &'static str, axis: Axis) -> Result<usize> {
        axis_length(operation, self.shape(), axis)
    }
}

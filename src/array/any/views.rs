//! Views of an array whose element type is known at run time.
//!
//! They are computed as those of bytes: an element's address depends on strides in bytes alone.

use super::{AnyArray, check_byte_len};
use crate::{
    array::{self, view},
    element::dtype::DType,
    error::{Error, Result},
    layout::{self, Bounds, Layout},
};
use ndarray::{Axis, IxDyn, RawArrayView, SliceArg};
use std::convert::Infallible;

impl AnyArray {
    /// The same view once more.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.zeros_any(&"<f4".parse()?, &[5])?;
    /// assert_eq!(any.view()?.id(), any.id());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn view(&self) -> Result<Self> {
        Ok(self.derived(self.layout.clone()))
    }

    /// The same view, for reading only.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.zeros_any(&"<f4".parse()?, &[5])?.read_only()?;
    /// assert!(matches!(any.write_bytes(&[0; 20]), Err(ndshm::Error::ReadOnly { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn read_only(&self) -> Result<Self> {
        Ok(Self {
            is_writable: false,
            ..self.view()?
        })
    }

    /// The part that a slice names; see [`SharedArray::slice`](crate::SharedArray::slice). The
    /// number of axes is known at run time: give a `&[SliceInfoElem]`.
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
    /// let any = manager.from_shape_fn::<u8, _>((2, 3), |(i, j)| (10 * i + j) as u8)?.into_any()?;
    /// assert_eq!(any.slice(s![1, ..;-1].as_ref())?.read_bytes()?, [12, 11, 10]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn slice<I: SliceArg<IxDyn>>(&self, info: I) -> Result<Self> {
        array::check_slice_info(&info, self.shape())?;
        Ok(self.derive(|view| view.slice_move(info).into_dyn()))
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
    /// let any = manager.zeros_any(&"<f4".parse()?, &[5, 2])?;
    /// assert_eq!(any.index_axis(Axis(0), 4)?.shape(), [2]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn index_axis(&self, axis: Axis, index: usize) -> Result<Self> {
        array::check_axis_index(self.shape(), axis, index)?;
        Ok(self.derive(|view| view.index_axis_move(axis, index)))
    }

    /// The transposed view: all axes in reverse order.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros_any(&"<f4".parse()?, &[5, 2])?.t()?.shape(), [2, 5]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn t(&self) -> Result<Self> {
        Ok(self.derive(RawArrayView::reversed_axes))
    }

    /// The parts of every element of type `[T; N]`, as a last axis of length N; see
    /// [`SharedArray::unpack`](crate::SharedArray::unpack).
    ///
    /// # Errors
    ///
    /// `Layout` where the elements have no such parts, or where they do not lie a multiple of their
    /// size apart.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let parts = manager.zeros_any(&"(3,2)<f4".parse()?, &[5])?.unpack()?.unpack()?;
    /// assert_eq!((parts.dtype().to_string().as_str(), parts.shape(), parts.byte_strides()), ("<f4", &[5, 3, 2][..], vec![24, 8, 4]));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn unpack(&self) -> Result<Self> {
        let no_parts = || {
            Error::layout(
                "take the parts",
                format!("elements of type {} have none", self.dtype),
            )
        };
        let (len, part) = self.dtype.subarray().ok_or_else(no_parts)?;
        let shape: Vec<_> = self.shape().iter().copied().chain([len]).collect();
        let strides: Vec<_> = self
            .byte_strides()
            .into_iter()
            .chain([part.itemsize() as isize])
            .collect();
        self.placed(part, self.layout.offset, &shape, &strides)
    }

    /// Any view of the same elements, by numbers: `offset` and `strides` in bytes, the offset from
    /// the start of the whole array's data, as that of [`byte_offset`](Self::byte_offset).
    ///
    /// # Errors
    ///
    /// `Layout` where it does not lie inside of this view, or its elements are none of the array's.
    /// Where some of them share bytes it is read-only.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.from_shape_fn::<u8, _>(10, |i| i as u8)?.into_any()?;
    /// assert_eq!(any.with_layout(9, &[4], &[-2])?.read_bytes()?, [9, 7, 5, 3]);
    /// assert!(any.with_layout(9, &[4], &[2]).is_err());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn with_layout(&self, offset: usize, shape: &[usize], strides: &[isize]) -> Result<Self> {
        let itemsize = self.dtype.itemsize();
        if !offset.abs_diff(self.layout.offset).is_multiple_of(itemsize) {
            let reason = format!(
                "offset {offset} is no multiple of the element's {itemsize} bytes away from this view's {}",
                self.layout.offset
            );
            return Err(Error::layout("take a view", reason));
        }
        self.placed(self.dtype.clone(), offset, shape, strides)
    }

    /// Where the first element lies: bytes from the start of the whole array's data.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::s;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.zeros_any(&"<f4".parse()?, &[5])?;
    /// assert_eq!(any.slice(s![..;-1].as_ref())?.byte_offset(), 16);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn byte_offset(&self) -> usize {
        self.layout.offset
    }

    /// A view inside of this one, of elements of this type.
    fn placed(
        &self,
        dtype: DType,
        offset: usize,
        shape: &[usize],
        strides: &[isize],
    ) -> Result<Self> {
        let operation = "take a view";
        let itemsize = dtype.itemsize();
        let bounds = Bounds {
            len: self.open_array.data_len(),
            itemsize,
            align: 1,
        };
        let extent = layout::check(bounds, offset, shape, strides)
            .map_err(|reason| Error::layout(operation, reason))?;
        check_byte_len(shape, &dtype)?;
        let own = self.layout.extent(1, self.dtype.itemsize());
        if !extent.is_empty() && (extent.start < own.start || extent.end > own.end) {
            return Err(Error::layout(
                operation,
                format!("its bytes {extent:?} lie outside of this view's {own:?}"),
            ));
        }
        if !self
            .open_array
            .header()
            .dtype
            .has_view(&dtype, offset, shape, strides)
        {
            return Err(Error::layout(
                operation,
                format!("it names no elements or parts of type {dtype}"),
            ));
        }
        let is_writable = self.is_writable && layout::disjoint(shape, strides, itemsize);
        let layout = Layout::from_bytes(offset, IxDyn(shape), strides, 1);
        Ok(Self {
            dtype,
            is_writable,
            ..self.derived(layout)
        })
    }

    /// One field of every struct; see [`SharedArray::field`](crate::SharedArray::field).
    ///
    /// # Errors
    ///
    /// `Layout` where there is no such field, or where its elements do not lie a multiple of their
    /// size apart.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{DType, Element};
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let dtype = DType::structure([("x", f32::DTYPE, 0), ("n", u32::DTYPE, 4)], 8)?;
    /// let n = manager.zeros_any(&dtype, &[5])?.field("n")?;
    /// assert_eq!((n.dtype(), n.shape(), n.byte_strides()), (&u32::DTYPE, &[5][..], vec![8]));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn field(&self, name: &str) -> Result<Self> {
        let (dtype, offset) = self.dtype.field(name)?;
        let offset = self.layout.offset + if self.is_empty() { 0 } else { offset };
        let strides = self.byte_strides();
        let bounds = Bounds {
            len: self.open_array.data_len(),
            itemsize: dtype.itemsize(),
            align: 1,
        };
        layout::check(bounds, offset, self.shape(), &strides)
            .map_err(|reason| Error::layout("take a field", reason))?;
        let layout = Layout {
            offset,
            ..self.layout.clone()
        };
        Ok(Self {
            dtype: dtype.clone(),
            ..self.derived(layout)
        })
    }

    /// The parts of one field of type `[T; N]` of every struct, as further axes: of `[[T; 2]; 3]`
    /// two, of length 3 and 2.
    ///
    /// # Errors
    ///
    /// `Layout` where there is no such field, or its elements have no parts.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{DType, Element};
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let dtype = DType::structure([("m", <[[f32; 2]; 3]>::DTYPE, 0), ("n", u32::DTYPE, 24)], 28)?;
    /// let m = manager.zeros_any(&dtype, &[5])?.field_array("m")?;
    /// assert_eq!((m.dtype(), m.shape(), m.byte_strides()), (&f32::DTYPE, &[5, 3, 2][..], vec![28, 8, 4]));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn field_array(&self, name: &str) -> Result<Self> {
        let (field, offset) = self.dtype.field(name)?;
        let (mut part, mut shape, mut strides) =
            (field.clone(), self.shape().to_vec(), self.byte_strides());
        while let Some((len, inner)) = part.subarray() {
            shape.push(len);
            strides.push(if len > 1 {
                inner.itemsize() as isize
            } else {
                0
            });
            part = inner;
        }
        if part == *field {
            return Err(Error::layout(
                "take a field",
                format!("elements of type {part} have no parts"),
            ));
        }
        let offset = self.layout.offset + if self.is_empty() { 0 } else { offset };
        self.placed(part, offset, &shape, &strides)
    }

    fn derive(
        &self,
        operation: impl FnOnce(RawArrayView<u8, IxDyn>) -> RawArrayView<u8, IxDyn>,
    ) -> Self {
        let Ok(layout) = view::apply(&self.open_array, &self.layout, |view| {
            Ok::<_, Infallible>(operation(view))
        });
        self.derived(layout)
    }

    fn derived(&self, layout: Layout<IxDyn>) -> Self {
        self.open_array.used();
        Self {
            open_array: self.open_array.clone(),
            dtype: self.dtype.clone(),
            layout,
            is_writable: self.is_writable,
        }
    }
}

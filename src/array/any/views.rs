//! Views of an `AnyArray`.

use super::AnyArray;
use crate::{error::Result, sys::mapping::Pages};
use ndarray::{Axis, IxDyn, SliceArg};
use std::sync::Arc;

/// The memory of an array in this process: it stays mapped until this is dropped.
///
/// It is neither the array nor a lock. The array is deleted as its scope says, and its memory is
/// given back to the system when it is mapped nowhere; see [`AnyArray::memory`].
pub struct MappedMemory {
    _pages: Vec<Arc<Pages>>,
}

impl MappedMemory {
    pub(crate) fn new(pages: Vec<Arc<Pages>>) -> Self {
        Self { _pages: pages }
    }
}

impl AnyArray {
    /// The same view again.
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
        Ok(Self::new(self.core.view()))
    }

    /// The whole array that this is a view of; for reading only if this view is.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.zeros_any(&"<f4".parse()?, &[5])?;
    /// let view = any.slice(ndarray::s![2..])?;
    /// assert_eq!(view.whole()?.shape(), [5]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn whole(&self) -> Result<Self> {
        Ok(Self::new(self.core.whole()))
    }

    /// Keeps the memory that the array has in this process mapped, and nothing else of the array.
    ///
    /// For bindings to languages in which an address may be used after its guard: such a use reads
    /// what the memory then has, and does not crash.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.zeros_any(&"<f4".parse()?, &[5])?;
    /// let path = any.path().to_path_buf();
    /// let memory = any.memory();
    /// drop(any);
    /// assert!(!path.exists());
    /// # drop(memory);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn memory(&self) -> MappedMemory {
        MappedMemory::new(self.core.opened.pages())
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
        Ok(Self::new(self.core.read_only()))
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
        let view = self.core.slice(info)?;
        Ok(Self::new(view.into_dyn()))
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
        self.core.index_axis(axis, index).map(Self::new)
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
        Ok(Self::new(self.core.reversed_axes()))
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
    /// let parts = manager
    ///     .zeros_any(&"(3,2)<f4".parse()?, &[5])?
    ///     .unpack()?
    ///     .unpack()?;
    /// assert_eq!(
    ///     (
    ///         parts.dtype().to_string().as_str(),
    ///         parts.shape(),
    ///         parts.byte_strides()
    ///     ),
    ///     ("<f4", &[5, 3, 2][..], vec![24, 8, 4])
    /// );
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn unpack(&self) -> Result<Self> {
        self.core.unpack_any().map(Self::new)
    }

    /// Any view of the same elements, given by numbers: `offset` and `strides` in bytes, the offset
    /// from the start of the whole array's data, like [`byte_offset`](Self::byte_offset).
    ///
    /// The view is read-only where some of its elements share bytes.
    ///
    /// # Errors
    ///
    /// `Layout` where it does not lie inside this view, or where its elements are not elements of
    /// the array.
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
        self.core.relaid(offset, shape, strides).map(Self::new)
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
        self.core.layout.offset
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
        self.core.field(name).map(Self::new)
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
    /// let dtype = DType::structure(
    ///     [("m", <[[f32; 2]; 3]>::DTYPE, 0), ("n", u32::DTYPE, 24)],
    ///     28,
    /// )?;
    /// let m = manager.zeros_any(&dtype, &[5])?.field_array("m")?;
    /// assert_eq!(
    ///     (m.dtype(), m.shape(), m.byte_strides()),
    ///     (&f32::DTYPE, &[5, 3, 2][..], vec![28, 8, 4])
    /// );
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn field_array(&self, name: &str) -> Result<Self> {
        self.core.field_array_any(name).map(Self::new)
    }
}

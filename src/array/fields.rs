//! Views of a part of every element: fields of structs, and the parts of `[T; N]`.

use super::SharedArray;
use crate::{
    element::{Element, dtype::DType},
    error::{Error, Result},
    layout::{self, Bounds, Layout},
};
use ndarray::Dimension;
use std::marker::PhantomData;

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// One field of every struct, as a view that shares memory and travels like any other. Guards
    /// on different fields do not exclude each other.
    ///
    /// `a.b` names field `b` of the struct in field `a`.
    ///
    /// # Errors
    ///
    /// `Layout` where there is no such field, or where its elements cannot be an ndarray view: they
    /// must lie a multiple of their size apart (a complex number of 16 bytes in a struct of 24 does
    /// not). `Dtype` where the field is of another type.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Element;
    ///
    /// #[derive(Clone, Copy, Element)]
    /// #[repr(C)]
    /// struct Reading {
    ///     celsius: f64,
    ///     sensor: u64,
    /// }
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let readings = manager.from_elem((3, 4), Reading { celsius: 20.5, sensor: 7 })?;
    /// let celsius = readings.field::<f64>("celsius")?;
    /// celsius.write()?[[1, 2]] = 21.0;
    /// assert_eq!(readings.read()?[[1, 2]].celsius, 21.0);
    /// assert_eq!(celsius.handle().open::<f64, ndarray::Ix2>()?.read()?.sum(), 11.0 * 20.5 + 21.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn field<U: Element>(&self, name: &str) -> Result<SharedArray<U, D>> {
        let dtype = T::DTYPE;
        let (field, offset) = dtype.field(name)?;
        self.part(field, offset, self.layout.dim.clone(), self.byte_strides())
    }

    /// The parts of one `[U; N]` field of every struct, along a new last axis of length N.
    ///
    /// # Errors
    ///
    /// As [`field`](Self::field); `Dtype` where the field is no array of `U`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Element;
    ///
    /// #[derive(Clone, Copy, Element)]
    /// #[repr(C)]
    /// struct Body {
    ///     position: [f64; 3],
    ///     mass: f64,
    /// }
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let bodies = manager.from_elem(5, Body { position: [1.0, 2.0, 3.0], mass: 1.0 })?;
    /// let positions = bodies.field_array::<f64>("position")?;
    /// assert_eq!(positions.shape(), [5, 3]);
    /// assert_eq!(positions.read()?.row(4), ndarray::array![1.0, 2.0, 3.0]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn field_array<U: Element>(&self, name: &str) -> Result<SharedArray<U, D::Larger>> {
        let dtype = T::DTYPE;
        let (field, offset) = dtype.field(name)?;
        self.parts(field, offset)
    }

    /// The parts of `[U; N]` elements along a new last axis of length N.
    ///
    /// # Errors
    ///
    /// `Dtype` where the elements are no arrays of `U`; `Layout` where the view would have more
    /// than 32 axes.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let points = manager.from_elem(5, [1.0f32, 2.0, 3.0])?;
    /// let coordinates = points.unpack::<f32>()?;
    /// assert_eq!((coordinates.shape(), coordinates.read()?.sum()), (&[5, 3][..], 30.0));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn unpack<U: Element>(&self) -> Result<SharedArray<U, D::Larger>> {
        self.parts(&T::DTYPE, 0)
    }

    fn parts<U: Element>(&self, of: &DType, offset: usize) -> Result<SharedArray<U, D::Larger>> {
        let wrong = || Error::Dtype {
            path: self.path().into(),
            expected: U::DTYPE,
            found: of.clone(),
        };
        let (len, part) = of.subarray().ok_or_else(wrong)?;
        let mut dim = D::Larger::zeros(self.ndim() + 1);
        let shape = self.shape().iter().copied().chain([len]);
        dim.slice_mut()
            .iter_mut()
            .zip(shape)
            .for_each(|(n, length)| *n = length);
        let mut strides = self.byte_strides();
        strides.push(part.itemsize() as isize);
        self.part(&part, offset, dim, strides)
    }

    /// The view of the parts of type `dtype` that lie `offset` bytes behind the start of each
    /// element.
    fn part<U: Element, E: Dimension>(
        &self,
        dtype: &DType,
        offset: usize,
        dim: E,
        strides: Vec<isize>,
    ) -> Result<SharedArray<U, E>> {
        if *dtype != U::DTYPE {
            return Err(Error::Dtype {
                path: self.path().into(),
                expected: U::DTYPE,
                found: dtype.clone(),
            });
        }
        let itemsize = size_of::<U>();
        // A view without elements may lie at the end of the payload, where no field is.
        let offset = self.layout.offset + if self.is_empty() { 0 } else { offset };
        let bounds = Bounds {
            len: self.open_array.data_len(),
            itemsize,
            align: align_of::<U>(),
        };
        layout::check(bounds, offset, dim.slice(), &strides)
            .map_err(|reason| Error::layout("take a field", reason))?;
        let is_writable = self.is_writable && layout::disjoint(dim.slice(), &strides, itemsize);
        let layout = Layout::from_bytes(offset, dim, &strides, itemsize);
        self.open_array.used();
        Ok(SharedArray {
            open_array: self.open_array.clone(),
            layout,
            is_writable,
            _element: PhantomData,
        })
    }
}

//! Views of a part of every element of a `SharedArray`: fields of structs, and the parts of `[T;
//! N]`.

use super::SharedArray;
use crate::{element::Element, error::Result};
use ndarray::Dimension;

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// One field of every struct, as a view that shares memory and has handles like any other.
    /// Guards on different fields do not exclude each other.
    ///
    /// `a.b` names field `b` of the struct in field `a`.
    ///
    /// # Errors
    ///
    /// `Layout` where there is no such field, or where its elements cannot be an ndarray view: they
    /// must lie a multiple of their size apart (a complex number of 16 bytes in a struct of 24 does
    /// not). `Dtype` where the field has another type.
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
        self.core.field(name).map(SharedArray::new)
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
        self.core.field_array(name).map(SharedArray::new)
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
        self.core.unpack().map(SharedArray::new)
    }
}

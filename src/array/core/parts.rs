//! Views of elements of another type: a part of every element, or the same elements with a type
//! that is known at compile time instead of run time, or the reverse.
//!
//! Offsets are in bytes from the start of the payload, strides in bytes.

use super::{Core, ElementType, Typed};
use crate::{
    element::{Element, dtype::DType},
    error::{Error, Result},
    layout::{self, Layout},
};
use ndarray::{ArrayRef, Dimension, IxDyn};
use std::ops::Range;

impl<K: ElementType, D: Dimension> Core<K, D> {
    /// One field of every struct, as elements of the type `P`.
    pub(in crate::array) fn field<P: ElementType>(&self, name: &str) -> Result<Core<P, D>> {
        let (field, offset) = self.element_type.dtype().field(name)?;
        let field = P::accept(field, self.path())?;
        self.part(field, offset, self.layout.dim.clone(), &self.byte_strides())
    }

    /// The view of the parts of type `part` that lie `offset` bytes after the start of each
    /// element.
    fn part<P: ElementType, E: Dimension>(
        &self,
        part: P,
        offset: usize,
        dim: E,
        strides: &[isize],
    ) -> Result<Core<P, E>> {
        let offset = self.part_offset(offset);
        self.check_place(&part, offset, dim.slice(), strides)
            .map_err(|reason| Error::layout("take a field", reason))?;
        Ok(self.placed(part, offset, dim, strides))
    }

    /// The offset of a part of the first element. A view without elements may lie at the end of the
    /// payload, which has no part there.
    fn part_offset(&self, offset: usize) -> usize {
        self.layout.offset + if self.is_empty() { 0 } else { offset }
    }

    /// Checks that elements of this type lie inside the payload, and returns their bytes.
    fn check_place<P: ElementType>(
        &self,
        part: &P,
        offset: usize,
        shape: &[usize],
        strides: &[isize],
    ) -> Result<Range<usize>, String> {
        let bounds = part.bounds(self.opened.data_len());
        layout::check(bounds, offset, shape, strides)
    }

    /// The view of elements of this type in a place that `check_place` accepted.
    fn placed<P: ElementType, E: Dimension>(
        &self,
        part: P,
        offset: usize,
        dim: E,
        strides: &[isize],
    ) -> Core<P, E> {
        self.opened.mark_used();
        let is_writable =
            self.is_writable && layout::disjoint(dim.slice(), strides, part.itemsize());
        let layout = Layout::from_bytes(offset, dim, strides, size_of::<P::Unit>());
        Core::new(part, self.opened.clone(), layout, is_writable)
    }
}

impl<T: Element, D: Dimension> Core<Typed<T>, D> {
    /// The parts of one field of type `[U; N]` of every struct, along a new last axis.
    pub(in crate::array) fn field_array<U: Element>(
        &self,
        name: &str,
    ) -> Result<Core<Typed<U>, D::Larger>> {
        let (field, offset) = self.element_type.dtype().field(name)?;
        self.parts(field, offset)
    }

    /// The parts of elements of type `[U; N]`, along a new last axis.
    pub(in crate::array) fn unpack<U: Element>(&self) -> Result<Core<Typed<U>, D::Larger>> {
        self.parts(self.element_type.dtype(), 0)
    }

    /// The parts of the array of type `of` that lies `offset` bytes after the start of each
    /// element.
    fn parts<U: Element>(&self, of: &DType, offset: usize) -> Result<Core<Typed<U>, D::Larger>> {
        let no_array = || Error::Dtype {
            path: self.path().into(),
            expected: U::DTYPE,
            found: of.clone(),
        };
        let (len, part) = of.subarray().ok_or_else(no_array)?;
        let mut dim = D::Larger::zeros(self.ndim() + 1);
        let shape = self.shape().iter().copied().chain([len]);
        for (length, n) in dim.slice_mut().iter_mut().zip(shape) {
            *length = n;
        }
        let mut strides = self.byte_strides();
        strides.push(part.itemsize() as isize);
        self.part(Typed::accept(&part, self.path())?, offset, dim, &strides)
    }

    /// The view of an ndarray view that lies between this one's first and last byte.
    pub(in crate::array) fn subview<E: Dimension>(
        &self,
        part: &ArrayRef<T, E>,
    ) -> Result<Core<Typed<T>, E>> {
        let not_shared = || Error::NotShared {
            path: self.path().into(),
        };
        let offset = self
            .opened
            .offset_of(part.as_ptr().addr())
            .ok_or_else(not_shared)?;
        let strides = byte_strides_of(part).ok_or_else(not_shared)?;
        let extent = self
            .check_place(&self.element_type, offset, part.shape(), &strides)
            .map_err(|_| not_shared())?;
        let own = self.extent();
        if extent.start < own.start || extent.end > own.end {
            return Err(not_shared());
        }
        // A slice that was cast to other elements and back may begin in the middle of one.
        let dtype = self.opened.header().spec.dtype();
        if !dtype.has_view(&T::DTYPE, offset, part.shape(), &strides) {
            return Err(not_shared());
        }
        Ok(self.placed(Typed::new(), offset, part.raw_dim(), &strides))
    }

    /// The same view with its element type known at run time.
    pub(in crate::array) fn to_any(&self) -> Result<Core<DType, IxDyn>> {
        let view = self.to_dyn();
        T::DTYPE.check_byte_len(view.shape())?;
        let strides = view.byte_strides();
        let is_writable = view.is_writable();
        let layout = Layout::from_bytes(view.layout.offset, view.layout.dim, &strides, 1);
        Ok(Core::new(T::DTYPE, view.opened, layout, is_writable))
    }
}

/// The strides of an ndarray view in bytes; zero for axes of length 0 and 1. `None` where they
/// overflow.
fn byte_strides_of<T, D: Dimension>(view: &ArrayRef<T, D>) -> Option<Vec<isize>> {
    view.strides()
        .iter()
        .zip(view.shape())
        .map(|(stride, &n)| match n {
            0 | 1 => Some(0),
            _ => stride.checked_mul(size_of::<T>() as isize),
        })
        .collect()
}

impl Core<DType, IxDyn> {
    /// The same view with its element type and its rank known at compile time.
    pub(in crate::array) fn downcast<T: Element, D: Dimension>(&self) -> Result<Core<Typed<T>, D>> {
        let typed = Typed::accept(&self.element_type, self.path())?;
        let (offset, strides) = (self.layout.offset, self.byte_strides());
        self.check_place(&typed, offset, self.shape(), &strides)
            .map_err(|reason| Error::layout("make a typed array", reason))?;
        let dim = D::from_dimension(&self.layout.dim).ok_or_else(|| self.wrong_rank::<D>())?;
        Ok(self.placed(typed, offset, dim, &strides))
    }

    /// The parts of elements that are arrays, along a new last axis.
    pub(in crate::array) fn unpack_any(&self) -> Result<Self> {
        let no_parts = || {
            Error::layout(
                "take the parts",
                format!("elements of type {} have none", self.element_type),
            )
        };
        let (len, part) = self.element_type.subarray().ok_or_else(no_parts)?;
        let (mut shape, mut strides) = (self.shape().to_vec(), self.byte_strides());
        shape.push(len);
        strides.push(part.itemsize() as isize);
        self.inside(part, self.layout.offset, &shape, &strides)
    }

    /// The parts of one field that is an array, perhaps of arrays, along a new axis for each.
    pub(in crate::array) fn field_array_any(&self, name: &str) -> Result<Self> {
        let (field, offset) = self.element_type.field(name)?;
        let (mut shape, mut strides) = (self.shape().to_vec(), self.byte_strides());
        let mut part = field.clone();
        while let Some((len, inner)) = part.subarray() {
            shape.push(len);
            strides.push(match len {
                0 | 1 => 0,
                _ => inner.itemsize() as isize,
            });
            part = inner;
        }
        if part == *field {
            return Err(Error::layout(
                "take a field",
                format!("elements of type {part} have no parts"),
            ));
        }
        self.inside(part, self.part_offset(offset), &shape, &strides)
    }

    /// Other elements of the same type in the same array, between this view's first and last byte.
    pub(in crate::array) fn relaid(
        &self,
        offset: usize,
        shape: &[usize],
        strides: &[isize],
    ) -> Result<Self> {
        let (own, itemsize) = (self.layout.offset, self.element_type.itemsize());
        if !offset.abs_diff(own).is_multiple_of(itemsize) {
            let reason = format!(
                "offset {offset} is no multiple of the element's {itemsize} bytes away from this \
                 view's {own}"
            );
            return Err(Error::layout("take a view", reason));
        }
        self.inside(self.element_type.clone(), offset, shape, strides)
    }

    /// A view of elements of this type, between this view's first and last byte.
    fn inside(
        &self,
        part: DType,
        offset: usize,
        shape: &[usize],
        strides: &[isize],
    ) -> Result<Self> {
        let refused = |reason| Error::layout("take a view", reason);
        let extent = self
            .check_place(&part, offset, shape, strides)
            .map_err(refused)?;
        part.check_byte_len(shape)?;
        let own = self.extent();
        if !extent.is_empty() && (extent.start < own.start || extent.end > own.end) {
            return Err(refused(format!(
                "its bytes {extent:?} lie outside of this view's {own:?}"
            )));
        }
        let whole = self.opened.header().spec.dtype();
        if !whole.has_view(&part, offset, shape, strides) {
            return Err(refused(format!(
                "it names no elements or parts of type {part}"
            )));
        }
        Ok(self.placed(part, offset, IxDyn(shape), strides))
    }
}

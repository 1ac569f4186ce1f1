//! The types of elements: known at compile time, or at run time only.

use crate::{
    element::{Element, dtype::DType},
    error::{Error, Result},
    layout::{self, Bounds, Layout},
};
use ndarray::{Dimension, IxDyn};
use std::{borrow::Cow, marker::PhantomData, path::Path};

/// The type of an array's elements.
///
/// It also says in which unit a layout counts. ndarray needs a Rust type to compute views and to
/// show elements: that is the element itself where it is known at compile time, and the byte where
/// it is not. All calls are resolved at compile time.
pub(crate) trait ElementType: Clone {
    /// The unit of strides, as the type of ndarray's views.
    type Unit: Element;
    /// The dimensions that a guard shows of an array of `D` dimensions.
    type GuardDim<D: Dimension>: Dimension;
    /// The alignment of an element, in bytes.
    const ALIGN: usize;

    fn dtype(&self) -> &DType;

    /// Bytes of an element.
    fn itemsize(&self) -> usize;

    /// Units of an element.
    fn units(&self) -> usize {
        self.itemsize() / size_of::<Self::Unit>()
    }

    /// The bounds of a view in a payload of `len` bytes.
    fn bounds(&self, len: usize) -> Bounds {
        Bounds {
            len,
            itemsize: self.itemsize(),
            align: Self::ALIGN,
        }
    }

    /// This type, for elements of the type `found`; the error `Dtype` where they have another one.
    /// `path` is the array's, for the error.
    fn accept(found: &DType, path: &Path) -> Result<Self>;

    /// An error where guards show bytes, and a view repeats its elements so often that its bytes
    /// cannot be counted.
    fn check_byte_len(&self, shape: &[usize]) -> Result<()>;

    /// The layout of the units that a guard shows.
    fn guard_layout<'a, D: Dimension>(
        &self,
        layout: &'a Layout<D>,
    ) -> Cow<'a, Layout<Self::GuardDim<D>>>;
}

/// The type `T`, known at compile time: strides count elements, guards show elements.
pub(crate) struct Typed<T>(PhantomData<T>);

impl<T: Element> Typed<T> {
    /// The description of `T` in a static place, to be borrowed.
    const DTYPE: &'static DType = &T::DTYPE;

    pub(in crate::array) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for Typed<T> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<T: Element> ElementType for Typed<T> {
    type Unit = T;
    type GuardDim<D: Dimension> = D;
    const ALIGN: usize = align_of::<T>();

    #[inline]
    fn dtype(&self) -> &DType {
        Self::DTYPE
    }

    #[inline]
    fn itemsize(&self) -> usize {
        size_of::<T>()
    }

    fn accept(found: &DType, path: &Path) -> Result<Self> {
        if found != Self::DTYPE {
            return Err(Error::Dtype {
                path: path.into(),
                expected: T::DTYPE,
                found: found.clone(),
            });
        }
        Ok(Self::new())
    }

    fn check_byte_len(&self, _shape: &[usize]) -> Result<()> {
        Ok(())
    }

    #[inline(always)]
    fn guard_layout<'a, D: Dimension>(&self, layout: &'a Layout<D>) -> Cow<'a, Layout<D>> {
        Cow::Borrowed(layout)
    }
}

/// A type known at run time only: strides count bytes, and guards show bytes, with a last axis for
/// those of one element.
impl ElementType for DType {
    type Unit = u8;
    type GuardDim<D: Dimension> = IxDyn;
    const ALIGN: usize = 1;

    fn dtype(&self) -> &DType {
        self
    }

    fn itemsize(&self) -> usize {
        DType::itemsize(self)
    }

    fn accept(found: &DType, _path: &Path) -> Result<Self> {
        Ok(found.clone())
    }

    fn check_byte_len(&self, shape: &[usize]) -> Result<()> {
        let uncountable = || {
            Error::layout(
                "take an array of run-time type",
                format!("shape {shape:?} of {self} has more bytes than can be counted"),
            )
        };
        layout::byte_len(shape, self.itemsize())
            .map(|_| ())
            .ok_or_else(uncountable)
    }

    fn guard_layout<'a, D: Dimension>(&self, layout: &'a Layout<D>) -> Cow<'a, Layout<IxDyn>> {
        let itemsize = self.itemsize();
        let dim: Vec<_> = layout
            .dim
            .slice()
            .iter()
            .copied()
            .chain([itemsize])
            .collect();
        let strides: Vec<_> = layout.byte_strides(1).into_iter().chain([1]).collect();
        Cow::Owned(Layout::from_bytes(layout.offset, IxDyn(&dim), &strides, 1))
    }
}

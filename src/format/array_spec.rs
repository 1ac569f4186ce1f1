//! The specification of an array: the type of its elements, its shape and its order.
//!
//! It is checked where it is made, and nowhere else: a value of it cannot be wrong, so the code
//! that makes, writes, reads and maps an array takes one and relies on it.

use crate::{
    element::dtype::DType,
    layout::{self, MAX_NDIM, Order},
};
use std::fmt;

/// The elements of an array, and the order in which they lie in its payload.
///
/// Invariant: the shape has at most [`MAX_NDIM`] axes, and the number of bytes fits `isize`, also
/// where an axis of length zero hides it. So do all strides.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ArraySpec {
    dtype: DType,
    shape: Vec<usize>,
    order: Order,
    byte_len: usize,
}

/// The reason why no array has a certain type and shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Impossible {
    /// It has more than [`MAX_NDIM`] axes.
    Rank { ndim: usize },
    /// Its number of bytes overflows.
    Size { dtype: DType, shape: Vec<usize> },
}

impl ArraySpec {
    pub(crate) fn new(
        dtype: DType,
        shape: impl Into<Vec<usize>>,
        order: Order,
    ) -> Result<Self, Impossible> {
        let shape = shape.into();
        if shape.len() > MAX_NDIM {
            return Err(Impossible::Rank { ndim: shape.len() });
        }
        match layout::byte_len(&shape, dtype.itemsize()) {
            Some(byte_len) => Ok(Self {
                dtype,
                shape,
                order,
                byte_len,
            }),
            None => Err(Impossible::Size { dtype, shape }),
        }
    }

    /// The same elements in another order.
    pub(crate) fn with_order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    pub(crate) fn dtype(&self) -> &DType {
        &self.dtype
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// Bytes of all elements.
    pub(crate) fn byte_len(&self) -> usize {
        self.byte_len
    }

    /// The strides that these elements have in an order, in bytes.
    pub(crate) fn strides_in(&self, order: Order) -> Vec<isize> {
        // They fit, since the number of bytes does.
        layout::contiguous_strides(&self.shape, order, self.dtype.itemsize()).unwrap_or_default()
    }

    pub(crate) fn into_parts(self) -> (DType, Vec<usize>, Order) {
        (self.dtype, self.shape, self.order)
    }
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Impossible::Rank { ndim } => {
                write!(f, "{ndim} axes, at most {MAX_NDIM} are possible")
            }
            Impossible::Size { dtype, shape } => {
                write!(f, "shape {shape:?} of {dtype} is too large")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Element;

    #[test]
    fn a_shape_of_too_many_axes_or_bytes_is_impossible() {
        let spec = |dtype, shape: &[usize]| ArraySpec::new(dtype, shape, Order::C);
        assert_eq!(
            spec(u8::DTYPE, &[1; 33]),
            Err(Impossible::Rank { ndim: 33 })
        );
        for shape in [&[1 << 31, 1 << 31][..], &[1 << 40, 0, 1 << 40]] {
            let refused = spec(f64::DTYPE, shape).unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!("shape {shape:?} of <f8 is too large")
            );
        }
        assert_eq!(spec(f64::DTYPE, &[1; 32]).unwrap().byte_len(), 8);
        assert_eq!(spec(f64::DTYPE, &[1 << 40, 0]).unwrap().byte_len(), 0);
    }

    #[test]
    fn the_strides_of_the_largest_arrays_fit() {
        for shape in [&[1 << 60][..], &[1 << 59, 0], &[0, 1 << 59], &[2; 32]] {
            let spec = ArraySpec::new(u8::DTYPE, shape, Order::C).unwrap();
            for order in [Order::C, Order::F] {
                assert_eq!(spec.strides_in(order).len(), shape.len(), "{shape:?}");
            }
        }
    }
}

//! Arrays as files of other formats describe them.

use crate::{
    element::dtype::DType,
    layout::{self, Order},
};

/// The description of an array in a file of another format.
#[derive(Debug, PartialEq)]
pub(super) struct Described {
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) order: Order,
    /// The numbers of each element whose bytes have to be swapped, because the file has the other
    /// byte order.
    pub(super) swaps: Vec<Swap>,
}

impl Described {
    /// An array in C order whose numbers have the byte order of this machine.
    pub(super) fn native(dtype: DType, shape: Vec<usize>) -> Self {
        Self {
            dtype,
            shape,
            order: Order::C,
            swaps: Vec::new(),
        }
    }

    /// The number of bytes of its elements; the largest number where they cannot be counted.
    pub(super) fn byte_len(&self) -> u64 {
        layout::byte_len(&self.shape, self.dtype.itemsize()).map_or(u64::MAX, |len| len as u64)
    }
}

/// `count` consecutive numbers of `width` bytes in each element that have the other byte order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Swap {
    pub(super) offset: usize,
    pub(super) width: usize,
    pub(super) count: usize,
}

/// The element type and the shape for formats without `[T; N]` elements: the lengths of these
/// follow those of the array.
pub(super) fn without_subarray(dtype: &DType, shape: &[usize]) -> (DType, Vec<usize>) {
    let (mut dtype, mut shape) = (dtype.clone(), shape.to_vec());
    while dtype.to_string().starts_with('(')
        && let Some((len, part)) = dtype.subarray()
    {
        shape.push(len);
        dtype = part;
    }
    (dtype, shape)
}

//! Arrays as files of other formats describe them.

use crate::{
    element::{
        dtype::DType,
        numpy::{NumpyDType, Swap},
    },
    layout::{self, MAX_NDIM, Order},
};

/// The description of an array in a file of another format.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Described {
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) order: Order,
    /// The numbers of each element whose bytes have to be swapped, because the file has the other
    /// byte order.
    pub(super) swaps: Vec<Swap>,
    /// The bytes of an element of the file, to which `swaps` belong. Not those of `dtype` where an
    /// element of the file is a whole axis here.
    pub(super) itemsize: usize,
    /// The attribute that says NumPy's type, where `dtype` does not.
    pub(super) numpy: Option<String>,
}

impl Described {
    /// An array in C order whose numbers have the byte order of this machine.
    pub(super) fn native(dtype: DType, shape: Vec<usize>) -> Self {
        Self {
            itemsize: dtype.itemsize(),
            dtype,
            shape,
            order: Order::C,
            swaps: Vec::new(),
            numpy: None,
        }
    }

    /// The number of bytes of its elements; the largest number where they cannot be counted.
    pub(super) fn byte_len(&self) -> u64 {
        layout::byte_len(&self.shape, self.dtype.itemsize()).map_or(u64::MAX, |len| len as u64)
    }

    /// An array of one of NumPy's types.
    ///
    /// Elements of no bytes, and those that are too large for elements here, become bytes along a
    /// further axis.
    pub(super) fn of_numpy(
        dtype: &NumpyDType,
        swaps: Vec<Swap>,
        mut shape: Vec<usize>,
        order: Order,
    ) -> Result<Self, String> {
        let (itemsize, ndim) = (dtype.itemsize(), shape.len());
        let mut stored = dtype.stored();
        if stored.is_none() {
            if order == Order::F && ndim > 1 && itemsize > 0 {
                return Err(format!(
                    "its elements of {itemsize} bytes are too large for Fortran order: save it in \
                     C order"
                ));
            }
            shape.push(itemsize);
            stored = "|u1".parse().ok();
        }
        let dtype_here = stored.ok_or("it has elements that are none")?;
        if shape.len() > MAX_NDIM {
            return Err(format!(
                "it has {ndim} axes, at most {MAX_NDIM} are possible"
            ));
        }
        if layout::byte_len(&shape, dtype_here.itemsize()).is_none() {
            return Err(format!("shape {shape:?} of {dtype_here} is too large"));
        }
        Ok(Self {
            order: if shape.contains(&0) && shape.len() > ndim {
                Order::C
            } else {
                order
            },
            dtype: dtype_here,
            shape,
            swaps,
            itemsize,
            numpy: dtype.attribute(),
        })
    }
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

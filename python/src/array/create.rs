//! New arrays.

use super::Array;
use crate::{arguments::order_from, error::Raise};
use ndshm::{ArrayOptions, DType, Order};
use pyo3::prelude::*;

/// The elements of a new array.
pub(crate) enum Content<'a> {
    /// Zeros, or those of a former array of this process.
    Anything,
    Zeros,
    /// These bytes, in the order of memory.
    Bytes(&'a [u8]),
    /// This element everywhere.
    Element(&'a [u8]),
}

/// Creates an array, without the interpreter's lock.
pub(crate) fn create(
    py: Python<'_>,
    options: &ArrayOptions<'_>,
    dtype: &DType,
    shape: &[usize],
    order: &str,
    content: Content<'_>,
) -> PyResult<Array> {
    let order = order_from(order)?;
    let any = py.detach(|| match content {
        Content::Anything => options.empty_any(dtype, shape, order),
        Content::Zeros if order == Order::C => options.zeros_any(dtype, shape),
        Content::Zeros => options.from_bytes_fn(dtype, shape, order, |_| ()),
        Content::Bytes(bytes) => options.from_bytes(dtype, shape, order, bytes),
        Content::Element(element) => {
            options.from_bytes_fn(dtype, shape, order, |bytes| repeat(element, bytes))
        }
    });
    Array::new(py, any.raise(py)?)
}

/// Fills `bytes`, which are zero, with copies of an element.
fn repeat(element: &[u8], bytes: &mut [u8]) {
    if element.iter().any(|&byte| byte != 0) {
        bytes
            .chunks_exact_mut(element.len())
            .for_each(|place| place.copy_from_slice(element));
    }
}

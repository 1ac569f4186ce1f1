//! The strides that NumPy gives to the library's arrays.

use ndshm::{AnyArray, Order};

/// The strides in bytes as NumPy computes them, also for axes of length 0 and 1, whose strides have
/// no effect.
pub(crate) fn numpy_strides(array: &AnyArray) -> Vec<isize> {
    let shape = array.shape();
    let mut strides = vec![0; shape.len()];
    let mut step = array.dtype().itemsize() as isize;
    let mut set = |axis: usize| {
        strides[axis] = step;
        step *= shape[axis].max(1) as isize;
    };
    match array.order() {
        None => return array.byte_strides(),
        Some(Order::C) => (0..shape.len()).rev().for_each(&mut set),
        Some(Order::F) => (0..shape.len()).for_each(&mut set),
    }
    strides
}

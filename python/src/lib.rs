//! The Python package of ndshm, as far as it is not written in Python: the classes `Manager`,
//! `Array` and `Guard`.
//!
//! A layer over the library's public interface: `AnyArray` for the arrays, `export` for the one
//! place where memory becomes a NumPy array and stops being one.

mod array;
mod attrs;
mod dtype;
mod error;
mod export;
mod guard;
mod index;
mod manager;
mod names;

use pyo3::prelude::*;

/// The compiled part of `ndshm`.
#[pymodule]
mod _ndshm {
    #[pymodule_export]
    use crate::{
        array::{Array, open, open_path, unpickle_array, wait_frozen},
        export::Keeper,
        guard::Guard,
        manager::Manager,
    };
}

//! Arrays that exist already, by handle or path: functions for the Python part of the package.

use super::Array;
use crate::{arguments, error::Raise};
use ndshm::{AnyArray, Handle};
use pyo3::prelude::*;
use std::path::PathBuf;

/// Open the array or view that the text of a handle names.
#[pyfunction]
pub(crate) fn open(py: Python<'_>, handle: &str) -> PyResult<Array> {
    let handle: Handle = handle.parse::<Handle>().raise(py)?;
    let opened = py.detach(|| handle.open_any());
    Array::new(py, opened.raise(py)?)
}

/// Open the array or view of a pickle, which consists of its handle.
#[pyfunction]
pub(crate) fn unpickle_array(py: Python<'_>, handle: &str) -> PyResult<Array> {
    let array = open(py, handle)?;
    // A use, so a claim is final: a result that is dropped at once is deleted, not given back.
    array.any.view().raise(py)?;
    Ok(array)
}

/// Open the array in a file.
#[pyfunction]
pub(crate) fn open_path(py: Python<'_>, path: PathBuf) -> PyResult<Array> {
    let opened = py.detach(|| AnyArray::open_path(path));
    Array::new(py, opened.raise(py)?)
}

/// Wait until the array that a handle names is frozen, at most `timeout` seconds.
#[pyfunction]
pub(crate) fn wait_frozen(py: Python<'_>, handle: &str, timeout: Option<f64>) -> PyResult<()> {
    let handle: Handle = handle.parse::<Handle>().raise(py)?;
    let timeout = arguments::limit("timeout", timeout)?;
    py.detach(|| handle.wait_frozen(timeout)).raise(py)
}

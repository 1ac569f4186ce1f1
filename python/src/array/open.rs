//! Arrays that exist already, by handle or path: functions for the Python part of the package.

use super::Array;
use crate::error::Raise;
use ndshm::{AnyArray, Handle};
use pyo3::prelude::*;
use std::{path::PathBuf, time::Duration};

/// Open the array or view that the text of a handle names.
#[pyfunction]
pub(crate) fn open(py: Python<'_>, handle: &str) -> PyResult<Array> {
    let handle: Handle = handle.parse::<Handle>().raise(py)?;
    Array::new(py, handle.open_any().raise(py)?)
}

/// Open the array or view of a pickle, which consists of its handle.
#[pyfunction]
pub(crate) fn unpickle_array(py: Python<'_>, handle: &str) -> PyResult<Array> {
    open(py, handle)
}

/// Open the array in a file.
#[pyfunction]
pub(crate) fn open_path(py: Python<'_>, path: PathBuf) -> PyResult<Array> {
    Array::new(py, AnyArray::open_path(path).raise(py)?)
}

/// Wait until the array that a handle names is frozen, at most `timeout` seconds.
#[pyfunction]
pub(crate) fn wait_frozen(py: Python<'_>, handle: &str, timeout: f64) -> PyResult<()> {
    let handle: Handle = handle.parse::<Handle>().raise(py)?;
    let timeout = Duration::try_from_secs_f64(timeout.max(0.0)).unwrap_or(Duration::MAX);
    py.detach(|| handle.wait_frozen(timeout)).raise(py)
}

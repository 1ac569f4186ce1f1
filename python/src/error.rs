//! The library's errors as Python's: the classes stand in `ndshm/_errors.py` and are called like
//! the variants.

use ndshm::Error;
use pyo3::{exceptions::PyRuntimeError, prelude::*, sync::PyOnceLock, types::PyModule};

static CLASSES: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// The exception for an error: the class that is called like its variant, with its text.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    // `Debug` gives the name of the variant first: the library says so.
    let debug = format!("{error:?}");
    let variant = debug.split(':').next().unwrap_or_default();
    let class = CLASSES
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("ndshm._errors")?.unbind()))
        .and_then(|module| {
            module
                .bind(py)
                .getattr(variant)
                .or_else(|_| module.bind(py).getattr("Error"))
        });
    match class.and_then(|class| class.call1((error.to_string(),))) {
        Ok(exception) => PyErr::from_value(exception),
        Err(_) => PyRuntimeError::new_err(debug),
    }
}

/// What a function of the library gives, for Python.
pub(crate) trait Raise<T> {
    fn raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> Raise<T> for ndshm::Result<T> {
    #[inline]
    fn raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raised(py, &error))
    }
}

/// An exception of the base class.
pub(crate) fn plain(py: Python<'_>, text: &str) -> PyErr {
    let class = py
        .import("ndshm._errors")
        .and_then(|module| module.getattr("Error"));
    class
        .and_then(|class| class.call1((text,)))
        .map_or_else(|error| error, PyErr::from_value)
}

//! Managers as text: the form in which they are pickled, and in which the compiled classes create
//! the Python class `ndshm.Manager`.

use ndshm::Manager;
use pyo3::{exceptions::PyValueError, prelude::*};

/// The text that [`from_text`] takes: it names the manager's store.
pub(crate) fn to_text(manager: &Manager) -> PyResult<String> {
    serde_json::to_string(manager).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// A manager of the store that a text names, as a member. The error is a text: serde keeps nothing
/// else of the library's error.
pub(crate) fn from_text(text: &str) -> Result<Manager, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// The Python function that creates an `ndshm.Manager` from a text.
pub(crate) fn unpickle_manager(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("ndshm._manager")?.getattr("unpickle_manager")
}

/// The manager as an `ndshm.Manager`.
pub(crate) fn manager<'py>(py: Python<'py>, manager: &Manager) -> PyResult<Bound<'py, PyAny>> {
    unpickle_manager(py)?.call1((to_text(manager)?,))
}

//! Reading and assigning by index.

use super::{Array, foreign};
use crate::{index, lock::Mode, nested};
use pyo3::{
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyString, PyTuple},
};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

impl Array {
    /// An element for an index with an integer for each axis, copied under the lock; a view for
    /// another basic index or the name of a field; for any other index a plain ndarray, copied
    /// under the lock.
    pub(crate) fn item_at<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(name) = index.cast::<PyString>() {
            return Ok(Bound::new(py, self.field(py, name)?)?.into_any());
        }
        if let Some(view) = self.indexed(py, index)? {
            if self.any.ndim() > 0 && index::is_element(index, self.any.ndim()) {
                let copy = view.locked(py, Mode::Read, |ndarray| ndarray.call_method0("copy"))?;
                if !view.any.dtype().fields().is_empty() {
                    // Setting a field of the copy would not set that of the array.
                    copy.call_method1(intern!(py, "setflags"), (false,))?;
                }
                return copy.get_item(PyTuple::empty(py));
            }
            register_with_torch(py)?;
            return Ok(Bound::new(py, view)?.into_any());
        }
        let index = plain(index)?;
        self.locked(py, Mode::Read, |ndarray| {
            let taken = ndarray.get_item(index)?;
            match taken.getattr(intern!(py, "base")) {
                // NumPy may return a view here too, for example of several fields. The view would
                // outlive the lock.
                Ok(base) if !base.is_none() => taken.call_method0("copy"),
                _ => Ok(taken),
            }
        })
    }

    /// Assigns to the elements that an index selects, and locks only these if the index is basic or
    /// the name of a field.
    pub(crate) fn set_item<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        foreign::refuse(value)?;
        let value = plain(value)?;
        let all = py.Ellipsis().into_bound(py);
        if let Ok(name) = index.cast::<PyString>() {
            return self.field(py, name)?.assign(py, &all, &value);
        }
        match self.indexed(py, index)? {
            Some(view) => view.assign(py, &all, &value),
            None => self.assign(py, &plain(index)?, &value),
        }
    }

    fn assign<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        self.locked(py, Mode::Write, |ndarray| ndarray.set_item(index, value))
    }
}

/// An index or a value with copies in the place of shared arrays, in tuples and lists too. They are
/// made before another array is locked, because they may be of the same memory.
fn plain<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    nested::replaced(value, &mut |value| match value.cast_exact::<Array>() {
        Ok(array) => array.get().copied(array.py(), "K").map(Some),
        Err(_) => Ok(None),
    })
}

/// Tells a `DataLoader` of torch how to make batches of arrays, once, if the program has imported
/// it: a row of an array as its data set is an array too.
fn register_with_torch(py: Python<'_>) -> PyResult<()> {
    static IS_KNOWN: AtomicBool = AtomicBool::new(false);
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    if IS_KNOWN.load(Relaxed) {
        return Ok(());
    }
    let modules = MODULES.get_or_try_init(py, || {
        let modules = py.import("sys")?.getattr("modules")?;
        Ok::<_, PyErr>(modules.cast_into::<PyDict>()?.unbind())
    })?;
    if modules.bind(py).contains(intern!(py, "torch.utils.data"))? {
        IS_KNOWN.store(true, Relaxed);
        py.import("ndshm._torch")?.call_method0("register")?;
    }
    Ok(())
}

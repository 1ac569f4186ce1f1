//! The class `Guard`: a lock on the elements for the block of `with a.read() as x` or
//! `with a.write() as x`.

use crate::{
    array::Array,
    export::{self, Lease},
    lock::{self, Mode, Wait},
    names,
};
use pyo3::{
    exceptions::{PyBufferError, PyRuntimeError},
    intern,
    prelude::*,
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The error for a block that leaves references to its ndarray, or the note on the exception that
/// ended the block.
const STILL_REFERENCED: &str = "views, memoryviews or other references to the guard's array are \
                                still in use: the lock is kept until the last of them is gone; \
                                delete them before the block ends, or copy the array";

/// A lock on the elements of an array or view, as a context manager.
///
/// ``with a.read() as x`` returns the elements as a read-only zero-copy ndarray of the array's
/// shape; ``with a.write() as x`` as a writable one. The lock is held until the block ends. Then
/// ``x`` is emptied: all its axes get the length 0 (an ndarray without axes shows a private zero).
///
/// Delete views of ``x``, memoryviews, iterators and capsules of it before the block ends, and keep
/// ``x`` itself in variables only. Otherwise the guard raises ``BufferError``, these objects stay
/// usable, and the lock is kept until the last of them is gone.
///
/// An exception that ends a writing block leaves the elements *poisoned*, as the death of the
/// process does: see :meth:`Array.recover`.
#[pyclass(frozen, module = "ndshm")]
pub(crate) struct Guard {
    array: Py<Array>,
    mode: Mode,
    wait: Wait,
    entered: Mutex<Option<Entered>>,
}

/// The end of the block of one guard or several.
pub(crate) struct Block<'a, 'py> {
    pub(crate) has_failed: bool,
    /// The exception that ended it.
    pub(crate) value: Option<&'a Bound<'py, PyAny>>,
    pub(crate) traceback: Option<&'a Bound<'py, PyAny>>,
}

impl<'py> Block<'_, 'py> {
    /// Ends one lease: empties the ndarray and gives the lock back. Returns false if other
    /// references than variables, and than the `known` ones of the caller, keep the memory in use.
    pub(crate) fn end(
        &self,
        ndarray: &Bound<'py, PyAny>,
        known: isize,
        lease: &Lease,
        mode: Mode,
        itemsize: usize,
    ) -> PyResult<bool> {
        if self.has_failed && mode != Mode::Read {
            lease.poison_at_end();
        }
        let is_unused = names::are_all(ndarray, known, self.traceback)?;
        if is_unused {
            export::empty(ndarray, lease, itemsize);
            lease.end();
        }
        Ok(is_unused)
    }

    /// The end of a block that leaves references to its ndarrays.
    pub(crate) fn still_referenced(&self, py: Python<'py>) -> PyResult<bool> {
        match self.value {
            // The caller must see the exception that ended the block.
            Some(value) if self.has_failed => {
                value.call_method1(intern!(py, "add_note"), (STILL_REFERENCED,))?;
                Ok(false)
            }
            _ => Err(PyBufferError::new_err(STILL_REFERENCED)),
        }
    }
}

struct Entered {
    ndarray: Py<PyAny>,
    lease: Py<Lease>,
}

impl Guard {
    pub(crate) fn new(array: Py<Array>, mode: Mode, wait: Wait) -> Self {
        Self {
            array,
            mode,
            wait,
            entered: Mutex::new(None),
        }
    }

    fn entered(&self) -> MutexGuard<'_, Option<Entered>> {
        self.entered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Guard {
    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.entered().is_some() {
            return Err(PyRuntimeError::new_err(
                "the guard is in use: ask the array for another one",
            ));
        }
        let array = self.array.get();
        let held = lock::take(py, array.any(), self.mode, self.wait)?;
        let (ndarray, lease) = export::leased(py, array.any(), array.element_type(py), held)?;
        *self.entered() = Some(Entered {
            ndarray: ndarray.clone().unbind(),
            lease,
        });
        Ok(ndarray)
    }

    #[pyo3(signature = (kind=None, value=None, traceback=None))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<&Bound<'_, PyAny>>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let entered = self.entered().take();
        let Some(Entered { ndarray, lease }) = entered else {
            return Err(PyRuntimeError::new_err("the guard is not in use"));
        };
        let ndarray = ndarray.into_bound(py);
        let block = Block {
            has_failed: kind.is_some(),
            value,
            traceback,
        };
        let itemsize = self.array.get().any().dtype().itemsize();
        match block.end(&ndarray, 1, lease.get(), self.mode, itemsize)? {
            true => Ok(false),
            false => block.still_referenced(py),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "<ndshm.Guard: {} of {}>",
            self.mode.verb(),
            self.array.bind(py).repr()?
        ))
    }
}

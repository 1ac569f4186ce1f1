//! The block of a `with` statement over one guard or several: its start, and its end.

use crate::{
    export::{self, Lease},
    lock::Mode,
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

/// The block of a context manager: while it runs, it has its ndarrays and their leases, `E`.
pub(crate) struct Block<E>(Mutex<Option<E>>);

impl<E> Block<E> {
    /// No block runs yet.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Starts the block by `take`, which returns the value of `as` and the leases. An error with
    /// the text `in_use` if the block runs already.
    pub(crate) fn start<R>(
        &self,
        in_use: &'static str,
        take: impl FnOnce() -> PyResult<(R, E)>,
    ) -> PyResult<R> {
        if self.entered().is_some() {
            return Err(PyRuntimeError::new_err(in_use));
        }
        // Not under the mutex: it may wait for other threads, and runs Python code.
        let (value, entered) = take()?;
        *self.entered() = Some(entered);
        Ok(value)
    }

    /// Ends the block: the caller gives its leases back. An error with the text `not_in_use` if no
    /// block runs.
    pub(crate) fn end(&self, not_in_use: &'static str) -> PyResult<E> {
        let entered = self.entered().take();
        entered.ok_or_else(|| PyRuntimeError::new_err(not_in_use))
    }

    /// Calls `visit` with the leases, if the block runs.
    pub(crate) fn with_entered(&self, visit: impl FnOnce(&E)) {
        if let Some(entered) = &*self.entered() {
            visit(entered);
        }
    }

    fn entered(&self) -> MutexGuard<'_, Option<E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a block: the arguments of `__exit__`.
pub(crate) struct End<'a, 'py> {
    /// Whether an exception ended it.
    pub(crate) has_failed: bool,
    /// The exception that ended it.
    pub(crate) value: Option<&'a Bound<'py, PyAny>>,
    pub(crate) traceback: Option<&'a Bound<'py, PyAny>>,
}

impl<'py> End<'_, 'py> {
    /// Ends one lease: empties the ndarray and gives the lock back. Returns false if other
    /// references than variables, and than the one of the block, keep the memory in use.
    pub(crate) fn give_back(
        &self,
        ndarray: &Bound<'py, PyAny>,
        lease: &Lease,
        mode: Mode,
        itemsize: usize,
    ) -> PyResult<bool> {
        if self.has_failed && mode != Mode::Read {
            lease.poison_at_end();
        }
        // The block has one reference to each of its ndarrays.
        let is_unused = names::are_all(ndarray, 1, self.traceback)?;
        if is_unused {
            export::empty(ndarray, lease, itemsize);
            lease.end();
        }
        Ok(is_unused)
    }

    /// The result of `__exit__`: no exception is swallowed, and references that are left raise one.
    pub(crate) fn outcome(&self, py: Python<'py>, is_ended: bool) -> PyResult<bool> {
        match self.value {
            _ if is_ended => Ok(false),
            // The caller must see the exception that ended the block.
            Some(value) if self.has_failed => {
                value.call_method1(intern!(py, "add_note"), (STILL_REFERENCED,))?;
                Ok(false)
            }
            _ => Err(PyBufferError::new_err(STILL_REFERENCED)),
        }
    }
}

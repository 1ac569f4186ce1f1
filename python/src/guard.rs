//! Guards: what `with a.read() as x` and `with a.write() as x` hold.

use crate::{
    array::Array,
    error::{Raise, raised},
    export::{self, Carried, Held, Lease},
    names,
};
use ndshm::{AnyArray, Error};
use pyo3::{
    exceptions::{PyBufferError, PyRuntimeError},
    intern,
    prelude::*,
};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often a waiting thread looks for signals.
const SLICE: Duration = Duration::from_millis(250);

/// What is asked for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Read,
    Write,
    Recover,
}

/// How long to wait: not at all, for some time, or for as long as it takes (or the store's
/// `lock_timeout` says).
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    Never,
    AtMost(Duration),
    Forever,
}

impl Wait {
    /// From Python's arguments: seconds, or `None`.
    pub(crate) fn new(timeout: Option<f64>) -> PyResult<Self> {
        match timeout {
            None => Ok(Wait::Forever),
            Some(seconds) if seconds <= 0.0 => Ok(Wait::Never),
            Some(seconds) => Ok(Wait::AtMost(
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
            )),
        }
    }
}

/// Takes a lock: at once if it can be had, else without the interpreter's lock.
pub(crate) fn take(py: Python<'_>, array: &AnyArray, mode: Mode, wait: Wait) -> PyResult<Held> {
    let taken = match mode {
        Mode::Read => array.try_read().map(Held::Read),
        Mode::Write => array.try_write().map(Held::Write),
        // It has no form that does not wait.
        Mode::Recover => {
            return py
                .detach(|| array.recover().map(Held::Write).map(Carried))
                .map(|Carried(held)| held)
                .raise(py);
        }
    };
    match (taken, wait) {
        (Err(Error::WouldBlock { .. }), Wait::AtMost(time)) => {
            wait_for(py, array, mode, Some(time))
        }
        (Err(Error::WouldBlock { .. }), Wait::Forever) => {
            wait_for(py, array, mode, array.manager().lock_timeout())
        }
        (taken, _) => taken.raise(py),
    }
}

#[cold]
fn wait_for(
    py: Python<'_>,
    array: &AnyArray,
    mode: Mode,
    limit: Option<Duration>,
) -> PyResult<Held> {
    let start = Instant::now();
    loop {
        let left = limit.map(|limit| limit.saturating_sub(start.elapsed()));
        let slice = left.map_or(SLICE, |left| left.min(SLICE));
        let taken = py.detach(|| {
            let taken = match mode {
                Mode::Read => array.read_timeout(slice).map(Held::Read),
                Mode::Write | Mode::Recover => array.write_timeout(slice).map(Held::Write),
            };
            taken.map(Carried)
        });
        match taken {
            Err(Error::Timeout { path, obstacle, .. }) => {
                if let Some(limit) = limit.filter(|&limit| start.elapsed() >= limit) {
                    return Err(raised(
                        py,
                        &Error::Timeout {
                            path,
                            obstacle,
                            waited: limit,
                        },
                    ));
                }
                py.check_signals()?;
            }
            taken => return taken.map(|Carried(held)| held).raise(py),
        }
    }
}

/// A lock on the elements of an array or view, as a context manager that gives them as a zero-copy
/// ndarray.
#[pyclass(frozen, module = "ndshm")]
pub(crate) struct Guard {
    array: Py<Array>,
    mode: Mode,
    wait: Wait,
    entered: Mutex<Option<Entered>>,
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

    fn entered(&self) -> std::sync::MutexGuard<'_, Option<Entered>> {
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
        let held = take(py, array.any(), self.mode, self.wait)?;
        let (ndarray, lease) = export::leased(py, array.any(), array.dtype_of(py), held)?;
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
        let (ndarray, lease) = (ndarray.into_bound(py), lease.into_bound(py));
        let failed = kind.is_some();
        if failed && self.mode != Mode::Read {
            lease.get().poison_at_end();
        }
        if export::references(&ndarray) == 1 {
            // Nobody else knows the ndarray: it goes, and the lease with it.
            drop(ndarray);
            lease.get().end();
            return Ok(false);
        }
        if names::are_all(&ndarray, 1, traceback)? {
            export::empty(
                &ndarray,
                lease.get(),
                self.array.get().any().dtype().itemsize(),
            );
            lease.get().end();
            return Ok(false);
        }
        let advice = "views, memoryviews or other references to the guard's array are still in use: the lock is kept until the last of them is gone; \
                      delete them, or copy what is to be kept, before the block ends";
        match value {
            // The exception that ends the block is what the caller has to see.
            Some(value) if failed => {
                value.call_method1(intern!(py, "add_note"), (advice,))?;
                Ok(false)
            }
            _ => Err(PyBufferError::new_err(advice)),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let mode = match self.mode {
            Mode::Read => "read",
            Mode::Write => "write",
            Mode::Recover => "recover",
        };
        Ok(format!(
            "<ndshm.Guard: {mode} of {}>",
            self.array.bind(py).repr()?
        ))
    }
}

//! The class `Guard`: a lock on the elements for the block of `with a.read() as x` or
//! `with a.write() as x`.

use crate::{
    array::Array,
    block::{Block, End},
    enclosing,
    export::{self, Lease},
    lock::{self, Mode, Wait},
};
use pyo3::prelude::*;

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
    block: Block<Entered>,
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
            block: Block::new(),
        }
    }
}

impl enclosing::Manager for Guard {
    fn bind(&self, is_bound: bool) {
        self.block
            .with_entered(|entered| entered.lease.get().bind(is_bound));
    }
}

#[pymethods]
impl Guard {
    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (this, py) = (slf.get(), slf.py());
        let in_use = "the guard is in use: ask the array for another one";
        let ndarray = this.block.start(in_use, || {
            let array = this.array.get();
            let held = lock::take(py, array.any(), this.mode, this.wait)?;
            held.bind(false);
            let (ndarray, lease) = export::leased(py, array.any(), array.element_type(py), held)?;
            let entered = Entered {
                ndarray: ndarray.clone().unbind(),
                lease,
            };
            Ok((ndarray, entered))
        })?;
        enclosing::enter(slf);
        Ok(ndarray)
    }

    #[pyo3(signature = (kind=None, value=None, traceback=None))]
    fn __exit__(
        slf: &Bound<'_, Self>,
        kind: Option<&Bound<'_, PyAny>>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let end = End {
            has_failed: kind.is_some(),
            value,
            traceback,
        };
        let (this, py) = (slf.get(), slf.py());
        enclosing::leave(slf);
        let Entered { ndarray, lease } = this.block.end("the guard is not in use")?;
        let itemsize = this.array.get().any().dtype().itemsize();
        let is_ended = end.give_back(ndarray.bind(py), lease.get(), this.mode, itemsize)?;
        end.outcome(py, is_ended)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "<ndshm.Guard: {} of {}>",
            self.mode.verb(),
            self.array.bind(py).repr()?
        ))
    }
}

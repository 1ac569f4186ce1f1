//! The class `Guard`: a lock on the elements for the block of `with a.read() as x` or
//! `with a.write() as x`.

use crate::{
    array::Array,
    block::{Block, End},
    enclosing,
    lock::{self, Mode, Wait},
    locked::Leased,
};
use pyo3::prelude::*;

/// A lock on the elements of an array or view, as a context manager.
///
/// ``with a.read() as x`` returns the elements as a read-only zero-copy ndarray of the array's
/// shape; ``with a.write() as x`` as a writable one: a :class:`LockedArray`. The lock is held until
/// the block ends. Then ``x`` and all its views are emptied, wherever they are kept: all their axes
/// get the length 0 (an ndarray without axes shows a private zero).
///
/// Memory that left the block by other objects keeps the lock until the last of them is gone: a
/// memoryview, a capsule, a plain ndarray such as ``numpy.asarray(x)``. Then the guard raises
/// ``BufferError``, which names the way.
///
/// An exception that ends a writing block leaves the elements *poisoned*, as the death of the
/// process does: see :meth:`Array.recover`. ``GeneratorExit`` and ``SystemExit`` do not, and
/// :class:`WouldDeadlock` does not where the block wrote nothing.
#[pyclass(frozen, module = "ndshm")]
pub(crate) struct Guard {
    array: Py<Array>,
    mode: Mode,
    wait: Wait,
    block: Block<Leased>,
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
            .with_entered(|leased| leased.lease.bind(is_bound));
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
            let leased = Leased::new(py, array.any(), array.element_type(py), held)?;
            Ok((leased.view(py)?, leased))
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
        let _ = traceback;
        let (this, py) = (slf.get(), slf.py());
        enclosing::leave(slf);
        let leased = this.block.end("the guard is not in use")?;
        let mut end = End::new(py, kind, value)?;
        end.give_back(py, leased, this.mode, this.array.get().any())?;
        end.outcome(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "<ndshm.Guard: {} of {}>",
            self.mode.verb(),
            self.array.bind(py).repr()?
        ))
    }
}

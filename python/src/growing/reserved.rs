//! The class `ReservedRows`: the block that writes rows in place.

use super::{GrowingArray, append::Draft};
use crate::{arguments::Wait, block::Block, locked::Leased};
use pyo3::{exceptions::PyBufferError, intern, prelude::*};

/// A block that writes rows of an array that grows: see :meth:`GrowingArray.reserve`.
///
/// ``with log.reserve(k) as rows`` gives a writable ndarray over their memory. The end of the block
/// appends them; an exception does not.
#[pyclass(frozen, module = "ndshm")]
pub(crate) struct ReservedRows {
    log: Py<GrowingArray>,
    rows: usize,
    wait: Wait,
    block: Block<Leased>,
}

impl ReservedRows {
    pub(super) fn new(log: Py<GrowingArray>, rows: usize, wait: Wait) -> Self {
        Self {
            log,
            rows,
            wait,
            block: Block::new(),
        }
    }
}

#[pymethods]
impl ReservedRows {
    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let in_use = "the rows are being written: reserve others";
        self.block.start(in_use, || {
            let log = self.log.get();
            let leased = log.begin(py, self.rows, self.wait)?;
            match leased.view(py) {
                Ok(view) => {
                    *log.draft() = Some(Draft::all(self.rows));
                    Ok((view, leased))
                }
                Err(error) => {
                    drop(log.close(py, leased)?);
                    Err(error)
                }
            }
        })
    }

    #[pyo3(signature = (kind=None, value=None, traceback=None))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<&Bound<'_, PyAny>>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let _ = traceback;
        let leased = self.block.end("the rows are not being written")?;
        let log = self.log.get();
        let rows = log.draft().take().map_or(self.rows, |draft| draft.rows);
        let left = match kind.is_none() && value.is_none() {
            true => log.end(py, leased, rows)?.err(),
            // The rows are dropped: they never were.
            false => log.close(py, leased)?.err(),
        };
        match (left, value) {
            (None, _) => Ok(false),
            (Some(text), None) => Err(PyBufferError::new_err(text)),
            // The caller must see the exception that ended the block.
            (Some(text), Some(value)) => {
                value.call_method1(intern!(py, "add_note"), (text,))?;
                Ok(false)
            }
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "<ndshm.ReservedRows: {} rows of {}>",
            self.rows,
            self.log.bind(py).repr()?
        ))
    }
}

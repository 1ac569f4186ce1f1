//! The class `FrameMut`: the block that writes a frame.

use super::{Producer, producer::Draft};
use crate::{arguments::Wait, block::Block, locked::Leased};
use pyo3::{exceptions::PyBufferError, intern, prelude::*};

/// A block that writes a frame: see :meth:`Producer.next`.
///
/// ``with producer.next() as frame`` gives a writable ndarray over the memory of the frame. The end
/// of the block publishes it; an exception does not.
#[pyclass(frozen, module = "ndshm")]
pub(crate) struct FrameMut {
    producer: Py<Producer>,
    wait: Wait,
    block: Block<Leased>,
}

impl FrameMut {
    pub(super) fn new(producer: Py<Producer>, wait: Wait) -> Self {
        Self {
            producer,
            wait,
            block: Block::new(),
        }
    }
}

#[pymethods]
impl FrameMut {
    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let in_use = "the frame is being written: ask the producer for another one";
        self.block.start(in_use, || {
            let producer = self.producer.get();
            let leased = producer.begin(py, self.wait)?;
            let view = leased.view(py)?;
            *producer.draft() = Some(Draft::default());
            Ok((view, leased))
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
        let leased = self.block.end("the frame is not being written")?;
        let producer = self.producer.get();
        let draft = producer.draft().take().unwrap_or_default();
        let is_whole = kind.is_none() && value.is_none();
        match (producer.end(py, leased, draft, is_whole)?, value) {
            (Ok(_), _) => Ok(false),
            (Err(text), None) => Err(PyBufferError::new_err(text)),
            // The caller must see the exception that ended the block.
            (Err(text), Some(value)) => {
                value.call_method1(intern!(py, "add_note"), (text,))?;
                Ok(false)
            }
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "<ndshm.FrameMut of {}>",
            self.producer.get().ring.bind(py).repr()?
        ))
    }
}

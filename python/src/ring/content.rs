//! What a producer puts into a frame: arrays, rows and information, as Python gives them.

use super::Ring;
use crate::{array::Array, locked};
use pyo3::{
    exceptions::PyValueError,
    intern,
    prelude::*,
    types::{PyBytes, PyDict, PySlice},
};

impl Ring {
    /// The number of rows of a frame.
    pub(super) fn rows_of_frame(&self) -> usize {
        self.any.frame_shape().first().copied().unwrap_or(1)
    }

    /// Whether a frame has axes, so that its first one counts rows.
    pub(super) fn has_rows(&self) -> bool {
        !self.any.frame_shape().is_empty()
    }

    /// What a caller wants to publish, as an array.
    pub(super) fn array<'py>(
        &self,
        py: Python<'py>,
        given: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if given.is_instance_of::<Array>() {
            return Ok(given.clone());
        }
        source(given, self.element_type(py))
    }

    /// How many rows of an array are published.
    pub(super) fn rows_of(
        &self,
        array: &Bound<'_, PyAny>,
        wanted: Option<isize>,
    ) -> PyResult<usize> {
        let shape: Vec<usize> = array.getattr(intern!(array.py(), "shape"))?.extract()?;
        let frame = self.numpy_shape(self.any.frame_shape());
        let fits = match self.has_rows() {
            true => shape.len() == frame.len() && shape[1..] == frame[1..] && shape[0] <= frame[0],
            false => shape == frame,
        };
        if !fits {
            return Err(PyValueError::new_err(format!(
                "an array of shape {shape:?} is no frame of shape {frame:?}, and no rows of one"
            )));
        }
        let given = if self.has_rows() { shape[0] } else { 1 };
        let rows = wanted.map_or(Ok(given), |rows| self.checked_rows(rows))?;
        match rows <= given {
            true => Ok(rows),
            false => Err(PyValueError::new_err(format!(
                "{rows} rows of an array that has {given}"
            ))),
        }
    }

    /// A valid number of rows.
    pub(super) fn checked_rows(&self, rows: isize) -> PyResult<usize> {
        let most = self.rows_of_frame();
        let valid = usize::try_from(rows).ok().filter(|&rows| rows <= most);
        valid.ok_or_else(|| {
            PyValueError::new_err(format!(
                "{rows} rows: the frames of this ring have 0 to {most}"
            ))
        })
    }

    /// The bytes of the information that a caller gives: a value, or a dictionary by fields.
    pub(super) fn info_bytes(&self, py: Python<'_>, info: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
        let Some(dtype) = self.info_type(py) else {
            return Err(PyValueError::new_err(
                "the ring has no information beside its frames: make it with info=dtype",
            ));
        };
        let numpy = py.import(intern!(py, "numpy"))?;
        let made = numpy.call_method1(intern!(py, "zeros"), ((), dtype))?;
        match info.cast::<PyDict>() {
            Ok(fields) => {
                for (name, value) in fields {
                    made.set_item(name, value)?;
                }
            }
            Err(_) => made.set_item(py.Ellipsis(), info)?,
        }
        made.call_method0(intern!(py, "tobytes"))?.extract()
    }

    /// The information of these bytes, as a scalar or record of NumPy's.
    pub(super) fn info_of<'py>(
        info: &Bound<'py, PyAny>,
        bytes: &[u8],
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = info.py();
        let made = py
            .import(intern!(py, "numpy"))?
            .call_method1(intern!(py, "frombuffer"), (PyBytes::new(py, bytes), info))?;
        made.get_item(0)
    }
}

/// What a caller gives for elements of a type, as an array of NumPy's.
pub(crate) fn source<'py>(
    given: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = given.py();
    let asarray = py
        .import(intern!(py, "numpy"))?
        .getattr(intern!(py, "asarray"))?;
    match given.hasattr(intern!(py, "dtype"))? {
        true => asarray.call1((given,)),
        // A list has no type: its items are converted as an assignment converts them.
        false => asarray.call1((given, dtype)),
    }
}

/// Copies the first rows of an array into a frame, or all of it.
pub(crate) fn copy<'py>(
    mut frame: Bound<'py, PyAny>,
    array: &Bound<'py, PyAny>,
    rows: Option<usize>,
) -> PyResult<()> {
    let py = array.py();
    let mut array = array.clone();
    if let Some(rows) = rows {
        let rows = PySlice::new(py, 0, rows as isize, 1);
        frame = frame.get_item(&rows)?;
        array = array.get_item(&rows)?;
    }
    let numpy = py.import(intern!(py, "numpy"))?;
    locked::without_trace(py, || {
        numpy.call_method1(intern!(py, "copyto"), (frame, array))
    })?;
    Ok(())
}

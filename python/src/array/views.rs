//! Views of the same memory.

use super::Array;
use crate::{
    error::Raise,
    export,
    index::{self, Place},
};
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyDict, PyString, PyTuple},
};

impl Array {
    /// The view that a basic index selects; `None` if the index is not basic.
    pub(super) fn indexed(
        &self,
        py: Python<'_>,
        index: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Self>> {
        let place = index::place(
            index,
            self.any.byte_offset(),
            self.any.shape(),
            &self.any.byte_strides(),
        )?;
        place.map(|place| self.at(py, &place)).transpose()
    }

    /// A view of one field of every struct.
    pub(super) fn field(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<Self> {
        let text = name.to_cow()?;
        let fields = self.any.dtype().fields();
        let is_array = fields
            .iter()
            .any(|field| field.name() == text && field.dtype().to_string().starts_with('('));
        let whole = self.any.field(&text).raise(py);
        let made = match whole.and_then(|field| Array::new(py, field)) {
            // Parts may lie a multiple of their size apart where the whole fields do not.
            Err(_) if is_array => Array::new(py, self.any.field_array(&text).raise(py)?)?,
            made => made?,
        };
        let numpys = self.element_type(py).getattr("fields")?;
        if let Ok(expected) = numpys.get_item(name).and_then(|field| field.get_item(0))
            && !made.element_type(py).eq(expected.getattr("base")?)?
        {
            return Err(PyTypeError::new_err(format!(
                "the field {text:?} of type {expected} has no view of its own: take it from the \
                 ndarray of the whole elements, as in `with a.read() as x: x[{text:?}]`"
            )));
        }
        Ok(made)
    }

    /// The view that an operation of NumPy makes of an ndarray. The operation must neither read
    /// elements nor copy them.
    pub(crate) fn viewed<'py>(
        &self,
        py: Python<'py>,
        operation: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let whole = export::unlocked(py, &self.any, self.element_type(py))?;
        let made = operation(&whole)?;
        self.placed(address(&whole)?, &made)
    }

    /// The view with the layout of an ndarray that NumPy made of one over the elements of this
    /// array, which begins at the address `start`.
    pub(crate) fn placed(&self, start: isize, made: &Bound<'_, PyAny>) -> PyResult<Self> {
        let array = made.cast::<PyUntypedArray>()?;
        // NumPy may move the start of a view without elements anywhere.
        let distance = if array.shape().contains(&0) {
            0
        } else {
            address(made)? - start
        };
        self.at(
            made.py(),
            &Place {
                offset: (self.any.byte_offset() as isize + distance) as usize,
                shape: array.shape().to_vec(),
                strides: array.strides().to_vec(),
            },
        )
    }

    /// A view in another shape; `ValueError` if that needs a copy.
    pub(crate) fn reshaped(
        &self,
        py: Python<'_>,
        shape: &Bound<'_, PyTuple>,
        order: &str,
    ) -> PyResult<Self> {
        let options = PyDict::new(py);
        options.set_item("order", order)?;
        options.set_item("copy", false)?;
        self.viewed(py, |whole| {
            let made = whole.call_method("reshape", shape.clone(), Some(&options));
            made.map_err(|error| {
                // The text of NumPy's other reasons names the shape.
                match error.to_string().contains("creating a copy") {
                    true => PyValueError::new_err(
                        "elements with this layout cannot take that shape without a copy: use \
                         numpy.array(a).reshape(...)",
                    ),
                    false => error,
                }
            })
        })
    }

    fn at(&self, py: Python<'_>, place: &Place) -> PyResult<Self> {
        let view = self
            .any
            .with_layout(place.offset, &place.shape, &place.strides);
        Ok(self.derived(py, view.raise(py)?))
    }
}

/// The address of an ndarray's first element.
pub(crate) fn address(ndarray: &Bound<'_, PyAny>) -> PyResult<isize> {
    ndarray
        .getattr("__array_interface__")?
        .get_item("data")?
        .get_item(0)?
        .extract()
}

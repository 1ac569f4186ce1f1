//! The class `Array`: a shared array and NumPy's type of its elements. Its Python methods are in
//! `methods`.

pub(crate) mod create;
mod items;
pub(crate) mod ndarrays;
pub(crate) mod open;
mod views;

use crate::{
    dtype,
    error::Raise,
    lock::{self, Mode, Wait},
    locked::Leased,
};
use ndshm::{AnyArray, Element};
use pyo3::prelude::*;

/// A typed n-dimensional array, or a view of one, in memory that many processes share.
///
/// It has NumPy's attributes. Access the elements through guards (:meth:`read`, :meth:`write`), as
/// copies (:meth:`to_numpy`, ``numpy.asarray``), or by indexing. Basic indexing (integers, slices,
/// ``...``, ``None``, the name of a field) returns a view of the same memory; any other indexing
/// returns a plain ndarray, copied under the lock. Assigning to an index locks the selected
/// elements.
///
/// A pickle of an array is a reference of less than 300 bytes.
#[pyclass(frozen, weakref, module = "ndshm")]
pub(crate) struct Array {
    any: AnyArray,
    dtype: Py<PyAny>,
}

impl Array {
    /// Wraps an array so that its elements are NumPy's: the parts of elements `[T; N]` become a
    /// further axis, as in NumPy.
    pub(crate) fn new(py: Python<'_>, mut any: AnyArray) -> PyResult<Self> {
        let dtype = loop {
            if let Some(claimed) = dtype::claimed(py, &any)? {
                break claimed;
            }
            // NumPy's types of the other arrays have no parts: an ndarray would get more axes.
            match any.dtype().subarray() {
                Some((_, part)) if part != u8::DTYPE => any = any.unpack().raise(py)?,
                _ => break dtype::to_numpy(py, any.dtype())?,
            }
        };
        let dtype = dtype.unbind();
        Ok(Self { any, dtype })
    }

    /// Wraps a view whose elements have the type of this array's.
    pub(crate) fn derived(&self, py: Python<'_>, any: AnyArray) -> Self {
        Self {
            any,
            dtype: self.dtype.clone_ref(py),
        }
    }

    pub(crate) fn any(&self) -> &AnyArray {
        &self.any
    }

    /// NumPy's type of the elements.
    pub(crate) fn element_type<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.dtype.bind(py)
    }

    /// Calls `operation` with an ndarray over the elements while they are locked. Its result must
    /// not refer to the ndarray, because the lock ends with the call.
    fn locked<'py, R>(
        &self,
        py: Python<'py>,
        mode: Mode,
        operation: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<R>,
    ) -> PyResult<R> {
        let held = lock::take(py, &self.any, mode, Wait::Forever)?;
        let leased = Leased::new(py, &self.any, self.element_type(py), held)?;
        let ndarray = leased.plain(py)?;
        let result = operation(&ndarray);
        drop(ndarray);
        leased.end(py, &self.any)?;
        result
    }
}

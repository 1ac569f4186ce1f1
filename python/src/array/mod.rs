//! The class `Array`: a shared array and NumPy's type of its elements. Its Python methods are in
//! `methods`.

pub(crate) mod create;
pub(crate) mod foreign;
mod items;
pub(crate) mod ndarrays;
pub(crate) mod open;
pub(crate) mod views;

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
/// It is used like an ndarray. Operators and NumPy's functions lock what they read or write,
/// compute on the memory itself, and give plain ndarrays; ``a += 1`` and ``out=a`` write the
/// memory, in one step for other processes. A block of :meth:`read` or :meth:`write` holds the lock
/// for several steps.
///
/// Basic indexing (slices, ``...``, ``None``, the name of a field, fewer integers than axes)
/// returns a view of the same memory. An integer for each axis gives the element, copied under the
/// lock, as in NumPy; ``a[0, ...]`` gives its view. Any other indexing returns a plain ndarray,
/// copied too. Assigning to an index locks the selected elements. ``a[0] += 1`` reads, adds and
/// writes in three steps: for a counter use :meth:`atomic` or ``numpy.add.at``.
///
/// ``numpy.asarray(a)`` is a read-only copy, of a frozen array the memory itself.
///
/// A pickle of an array is a reference of less than 300 bytes.
#[pyclass(frozen, weakref, sequence, module = "ndshm")]
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

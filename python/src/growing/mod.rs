//! The class `GrowingArray`, and the block `ReservedRows` that writes its rows in place.

mod append;
mod reserved;

pub(crate) use reserved::ReservedRows;

use crate::{
    arguments::{ScopeArgument, Wait, limit, scope_name},
    array::Array,
    attrs, dtype,
    error::{self, Raise},
    room::Home,
};
use append::Draft;
use ndshm::{AnyGrowing, Handle};
use pyo3::{
    exceptions::PyValueError,
    intern,
    prelude::*,
    types::{PyIterator, PyTuple},
};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

/// An array whose first axis grows: rows are appended behind the others, by any number of
/// processes, one after the other.
///
/// Made by :meth:`Manager.growing`, and opened by its name, path or handle, only as what it is.
/// ``log.append(rows)`` appends a copy, and ``with log.reserve(k) as rows`` writes rows in place.
///
/// Appended rows never change, so no lock is needed to read them: ``log[a:b]``, ``log[i]``,
/// iteration and ``numpy.asarray(log)`` give the rows that are there at that moment, as read-only
/// ndarrays over the memory itself. They are pickled by reference.
///
/// A row is there as a whole, or not at all: a process that is killed while it appends leaves
/// nothing to recover. :meth:`freeze` ends the growth.
///
/// It is deleted as an array is: see :class:`Manager`. Rows that were taken from it keep it, as
/// views keep an array. A pickle of it is a reference of less than 300 bytes.
#[pyclass(frozen, weakref, module = "ndshm")]
pub(crate) struct GrowingArray {
    any: AnyGrowing,
    dtype: Py<PyAny>,
    /// The axes of the elements themselves, which are the last ones in NumPy.
    inner: Vec<usize>,
    home: Arc<Home>,
    /// How many rows a block appends; `None` where no block runs.
    draft: Mutex<Option<Draft>>,
}

impl GrowingArray {
    pub(crate) fn new(py: Python<'_>, any: AnyGrowing) -> PyResult<Self> {
        let whole = match dtype::believed(py, any.numpy_dtype(), any.dtype().itemsize())? {
            Some(claimed) => claimed,
            None => dtype::to_numpy(py, any.dtype())?,
        };
        Ok(Self {
            inner: whole.getattr(intern!(py, "shape"))?.extract()?,
            dtype: whole.getattr(intern!(py, "base"))?.unbind(),
            any,
            home: Arc::default(),
            draft: Mutex::new(None),
        })
    }

    fn element_type<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.dtype.bind(py)
    }

    /// The shape of a row in NumPy.
    fn numpy_row(&self) -> Vec<usize> {
        [self.any.row_shape(), &self.inner].concat()
    }

    /// The shape of so many rows in NumPy.
    fn numpy_rows(&self, rows: usize) -> Vec<usize> {
        [&[rows], self.any.row_shape(), &self.inner].concat()
    }

    /// The rows that are there now, as an array that never changes.
    fn committed(&self, py: Python<'_>) -> PyResult<Array> {
        let rows = self.any.rows(..);
        Array::new(py, rows.map_err(|error| error::of_growing(py, &error))?)
    }
}

#[pymethods]
impl GrowingArray {
    /// The number of rows that are there, and the shape of a row.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.numpy_rows(self.any.len()))
    }

    /// The shape of a row.
    #[getter]
    fn row_shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.numpy_row())
    }

    /// NumPy's type of the elements.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.element_type(py).clone()
    }

    /// The most rows that the array can have.
    #[getter]
    fn max_len(&self) -> usize {
        self.any.max_len()
    }

    /// Whether the growth has ended for good.
    #[getter]
    fn is_frozen(&self) -> bool {
        self.any.is_frozen()
    }

    /// The name in the store, or ``None`` for an array without a name.
    #[getter]
    fn name(&self) -> Option<String> {
        self.any.name()
    }

    /// The identity of the array, in all processes.
    #[getter]
    fn id(&self) -> String {
        self.any.id().to_string()
    }

    /// The path of the array's file.
    #[getter]
    fn path(&self) -> String {
        self.any.path().to_string_lossy().into_owned()
    }

    /// One line of text from which any process of the same user opens this array.
    ///
    /// The process may be written in Rust or Python. See :func:`ndshm.open_growing`.
    #[getter]
    fn handle(&self) -> String {
        self.any.handle().to_string()
    }

    /// The array's scope in this process: ``'local'``, ``'remote'`` or ``None``.
    ///
    /// It decides when the array is deleted: see :class:`ndshm.Manager`.
    #[getter]
    fn scope(&self) -> Option<&'static str> {
        scope_name(self.any.scope())
    }

    #[setter]
    fn set_scope(&self, py: Python<'_>, scope: ScopeArgument) -> PyResult<()> {
        self.any.set_scope(scope.given()?).raise(py)
    }

    /// The attributes from the array's creation, in a dict that refuses changes.
    #[getter]
    fn attrs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        attrs::fixed(&attrs::of_user(py, &self.any.attrs().raise(py)?)?)
    }

    /// The names of the axes, that of the rows first: one for each axis, or none at all.
    #[getter]
    fn axis_names(&self) -> Vec<Option<String>> {
        self.any.axis_names().to_vec()
    }

    /// Append a copy of one row, or of several. Returns the index of the first of them.
    ///
    /// The shape decides: an array of the shape of a row is one row, and one with a further axis in
    /// front is that many rows. All of them become visible at once. A list is converted as
    /// ``x[...] = list`` converts it.
    ///
    /// Waits at most ``timeout`` seconds while another process or thread appends; without
    /// ``timeout``, as long as the store's ``lock_timeout`` allows.
    ///
    /// Raises ``ValueError`` for another shape, ``TypeError`` for elements that would lose more
    /// than precision (the casting ``'same_kind'``); :class:`Full` if they do not fit;
    /// :class:`NoSpace`; :class:`Frozen`; :class:`Released`; :class:`ReadOnly`;
    /// :class:`WouldBlock` (only with ``timeout=0``) and :class:`Timeout`, whose ``holders`` name
    /// the process; :class:`WouldDeadlock` in the block of :meth:`reserve`. Then nothing was
    /// appended.
    #[pyo3(signature = (rows, timeout=None))]
    fn append(
        &self,
        py: Python<'_>,
        rows: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<usize> {
        self.append_copy(py, rows, Wait::new(timeout)?)
    }

    /// Return a block that writes rows in place: ``with log.reserve(k) as rows``.
    ///
    /// ``rows`` is a writable ndarray of ``k`` rows, a :class:`LockedArray`, whose elements are
    /// unspecified at first. The end of the block appends them, or the first ones: see
    /// :attr:`rows`. It empties the ndarray and all its views. An exception that ends the block
    /// appends nothing. No other process or thread appends before the end.
    ///
    /// Memory that left the block by other objects, such as a memoryview, raises ``BufferError``:
    /// then nothing is appended, and no process can append before they are gone.
    ///
    /// Its start waits as :meth:`append` does, and raises the exceptions of it; its end raises
    /// :class:`NotOwner` in a forked child.
    #[pyo3(signature = (rows, timeout=None))]
    fn reserve(slf: &Bound<'_, Self>, rows: isize, timeout: Option<f64>) -> PyResult<ReservedRows> {
        let rows = usize::try_from(rows)
            .map_err(|_| PyValueError::new_err(format!("{rows} rows cannot be reserved")))?;
        Ok(ReservedRows::new(
            slf.clone().unbind(),
            rows,
            Wait::new(timeout)?,
        ))
    }

    /// The rows of the block of :meth:`reserve` that its end appends: all, unless it is set.
    ///
    /// Set it in the block, to the number of the first rows that are valid.
    #[getter]
    fn rows(&self) -> PyResult<usize> {
        self.change_draft(|draft| Ok(draft.rows))
    }

    #[setter]
    fn set_rows(&self, rows: isize) -> PyResult<()> {
        self.change_draft(|draft| draft.set(rows))
    }

    /// Wait until there are more than ``seen`` rows, and return how many there are.
    ///
    /// Returns at once if the growth has ended, also without more rows: then :attr:`is_frozen` says
    /// so. Waits at most ``timeout`` seconds, or without a limit for ``None``.
    ///
    /// Raises :class:`Timeout`; :class:`Released` and :class:`Closed`, within 25 ms.
    #[pyo3(signature = (seen, timeout=None))]
    fn wait_grown(&self, py: Python<'_>, seen: usize, timeout: Option<f64>) -> PyResult<usize> {
        let timeout = limit("timeout", timeout)?;
        let waited = py.detach(|| self.any.wait_grown(seen, timeout));
        waited.map_err(|error| error::of_growing(py, &error))
    }

    /// End the growth for good, in every process. Waits while another process or thread appends.
    ///
    /// Raises :class:`ReadOnly`, and the exceptions of the wait of :meth:`append`. It is no error
    /// if the growth has ended before.
    fn freeze(&self, py: Python<'_>) -> PyResult<()> {
        let frozen = py.detach(|| self.any.freeze());
        frozen.map_err(|error| error::of_growing(py, &error))
    }

    /// Write the rows to the disk, and note how many there are.
    ///
    /// After a loss of power, or another start of the machine, exactly these are there.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.any.flush()).raise(py)
    }

    /// Delete the array now, whichever process owns it.
    ///
    /// Its rows can be read where it is open; no more are appended.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.any.release()).raise(py)
    }

    fn __len__(&self) -> usize {
        self.any.len()
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.committed(py)?.frozen_ndarray(py)?.get_item(index)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.committed(py)?.frozen_ndarray(py)?.try_iter()
    }

    #[pyo3(signature = (dtype=None, *, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.committed(py)?.to_array(py, dtype, copy)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        let module = py.import(intern!(py, "ndshm._ndshm"))?;
        // The first process that opens the pickle inherits an array that its maker drops.
        let handle = self.any.hand_over().to_string();
        Ok((module.getattr("unpickle_growing")?, (handle,)))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let name = self.any.name();
        let name = name.map(|name| format!(", name={name:?}"));
        Ok(format!(
            "<ndshm.GrowingArray: {} of {} rows, row_shape={}, dtype={}{}{}>",
            self.any.len(),
            self.max_len(),
            self.row_shape(py)?,
            self.element_type(py),
            name.unwrap_or_default(),
            if self.is_frozen() { ", frozen" } else { "" }
        ))
    }
}

/// Open the array that grows that the text of a handle names.
#[pyfunction]
pub(crate) fn open_growing(py: Python<'_>, handle: &str) -> PyResult<GrowingArray> {
    let handle: Handle = handle.parse::<Handle>().raise(py)?;
    let opened = py.detach(|| handle.open_any_growing());
    GrowingArray::new(py, opened.raise(py)?)
}

/// Open the array that grows of a pickle, which consists of its handle.
#[pyfunction]
pub(crate) fn unpickle_growing(py: Python<'_>, handle: &str) -> PyResult<GrowingArray> {
    let opened = open_growing(py, handle)?;
    // A use, so a claim is final: an array that is dropped at once is deleted, not given back.
    drop(opened.any.memory());
    Ok(opened)
}

/// Open the array that grows in a file.
#[pyfunction]
pub(crate) fn open_growing_path(py: Python<'_>, path: PathBuf) -> PyResult<GrowingArray> {
    let opened = py.detach(|| AnyGrowing::open_path(path));
    GrowingArray::new(py, opened.raise(py)?)
}

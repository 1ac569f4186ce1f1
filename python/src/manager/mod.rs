//! The class `Manager`: the base class of `ndshm.Manager`.

pub(crate) mod checkpoint;
mod describe;
mod labels;
mod load;
mod settings;

use crate::{
    arguments::{self, ScopeArgument, lengths, order_from},
    array::{
        Array,
        create::{Content, create},
    },
    dtype,
    error::{self, Raise},
    growing::GrowingArray,
    pickle,
    ring::{self, Ring},
};
use checkpoint::{CheckpointSettings, RestoreSettings};
use labels::Labels;
use load::{Load, Loaded};
use ndshm::Error;
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyDict, PyString},
};
use settings::Settings;
use std::{
    path::PathBuf,
    slice,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The base class of :class:`ndshm.Manager`.
#[pyclass(frozen, weakref, subclass, module = "ndshm")]
pub(crate) struct Manager {
    /// `None` after the manager was closed or has left.
    inner: Mutex<Option<ndshm::Manager>>,
    path: PathBuf,
}

impl Manager {
    fn wrapped(inner: ndshm::Manager) -> Self {
        let path = inner.path().into();
        Self {
            inner: Mutex::new(Some(inner)),
            path,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<ndshm::Manager>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inner(&self, py: Python<'_>) -> PyResult<ndshm::Manager> {
        let inner = self.lock().clone();
        inner
            .ok_or(Error::Closed {
                path: self.path.clone(),
            })
            .raise(py)
    }
}

#[pymethods]
impl Manager {
    #[new]
    #[pyo3(signature = (
        path=None, *, name=None, root=None, persistent=None, any_file_system=false,
        lock_timeout=None, huge_pages=None, prefault=false, recycle=None, cache=None,
        core_dumps=None, janitor=false, mode="a", _pickled=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "Python's keywords")]
    fn new(
        py: Python<'_>,
        path: Option<PathBuf>,
        name: Option<String>,
        root: Option<PathBuf>,
        persistent: Option<bool>,
        any_file_system: bool,
        lock_timeout: Option<f64>,
        huge_pages: Option<&str>,
        prefault: bool,
        recycle: Option<usize>,
        cache: Option<usize>,
        core_dumps: Option<bool>,
        janitor: bool,
        mode: &str,
        _pickled: Option<&str>,
    ) -> PyResult<Self> {
        if let Some(text) = _pickled {
            // The variant of the library's error is lost: serde turns it into a text.
            let joined = pickle::from_text(text).map_err(|reason| error::plain(py, &reason))?;
            return Ok(Self::wrapped(joined));
        }
        let settings = Settings {
            path,
            name,
            root,
            persistent,
            any_file_system,
            lock_timeout,
            huge_pages,
            prefault,
            core_dumps,
            recycle,
            cache,
            janitor,
            mode,
        };
        Ok(Self::wrapped(settings.manager(py)?))
    }

    /// The path of the store's directory.
    #[getter]
    fn path(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Whether the end of this manager deletes the store.
    #[getter]
    fn is_owner(&self) -> bool {
        self.lock().as_ref().is_some_and(ndshm::Manager::is_owner)
    }

    /// Whether this manager has left or deleted its store.
    #[getter]
    fn closed(&self) -> bool {
        self.lock().is_none()
    }

    /// Create an array of `element`'s bytes everywhere if given, else of zeros.
    #[pyo3(signature = (
        shape, dtype, order="C", name=None, scope=ScopeArgument::Default, attrs=None,
        axis_names=None, element=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "Python's keywords")]
    fn _create(
        &self,
        py: Python<'_>,
        shape: &Bound<'_, PyAny>,
        dtype: &Bound<'_, PyAny>,
        order: &str,
        name: Option<String>,
        scope: ScopeArgument,
        attrs: Option<&Bound<'_, PyDict>>,
        axis_names: Option<Vec<String>>,
        element: Option<&[u8]>,
    ) -> PyResult<Array> {
        let manager = self.inner(py)?;
        let (dtype, numpy_dtype) = dtype::from_numpy(dtype)?;
        let labels = Labels {
            name,
            scope,
            attrs,
            axis_names,
            numpy_dtype,
        };
        let options = labels.apply(py, manager.options(), &dtype)?;
        let content = match element {
            None => Content::Anything,
            Some([]) => Content::Zeros,
            Some(element) => Content::Element(element),
        };
        create(py, &options, &dtype, &lengths(shape)?, order, content)
    }

    /// Open the array with this name, or create it with zeros.
    #[pyo3(signature = (
        name, shape, dtype, order="C", scope=ScopeArgument::Default, attrs=None, axis_names=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "Python's keywords")]
    fn _open_or_zeros(
        &self,
        py: Python<'_>,
        name: String,
        shape: &Bound<'_, PyAny>,
        dtype: &Bound<'_, PyAny>,
        order: &str,
        scope: ScopeArgument,
        attrs: Option<&Bound<'_, PyDict>>,
        axis_names: Option<Vec<String>>,
    ) -> PyResult<Array> {
        let manager = self.inner(py)?;
        let (dtype, numpy_dtype) = dtype::from_numpy(dtype)?;
        let labels = Labels {
            name: Some(name),
            scope,
            attrs,
            axis_names,
            numpy_dtype,
        };
        let options = labels.apply(py, manager.options(), &dtype)?;
        let (shape, order) = (lengths(shape)?, order_from(order)?);
        let any = py.detach(|| options.open_or_zeros_any(&dtype, &shape, order));
        Array::new(py, any.raise(py)?)
    }

    /// Create an array with a copy of an ndarray that is contiguous in `order`.
    #[pyo3(signature = (
        source, order="C", name=None, scope=ScopeArgument::Default, attrs=None, axis_names=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "Python's keywords")]
    fn _copy(
        &self,
        py: Python<'_>,
        source: &Bound<'_, PyAny>,
        order: &str,
        name: Option<String>,
        scope: ScopeArgument,
        attrs: Option<&Bound<'_, PyDict>>,
        axis_names: Option<Vec<String>>,
    ) -> PyResult<Array> {
        let manager = self.inner(py)?;
        let array = source.cast::<PyUntypedArray>()?;
        let is_contiguous = if order == "F" {
            array.is_fortran_contiguous()
        } else {
            array.is_c_contiguous()
        };
        if !is_contiguous {
            return Err(PyTypeError::new_err(
                "the source is not contiguous in this order",
            ));
        }
        let (dtype, numpy_dtype) = dtype::from_numpy(array.dtype().as_any())?;
        let labels = Labels {
            name,
            scope,
            attrs,
            axis_names,
            numpy_dtype,
        };
        let options = labels.apply(py, manager.options(), &dtype)?;
        let byte_len = array.len() * dtype.itemsize();
        // SAFETY: `source` is an ndarray, so this is its struct.
        let data = unsafe { (*array.as_array_ptr()).fields.data };
        let bytes: &[u8] = match byte_len {
            0 => &[],
            // SAFETY: the elements of a contiguous ndarray lie side by side from `data`, and
            // `source` keeps them. A thread that writes them during the copy gets a mixture of
            // bytes, as with any copy that NumPy makes without the interpreter's lock.
            _ => unsafe { slice::from_raw_parts(data.cast(), byte_len) },
        };
        let content = Content::Bytes(bytes);
        create(py, &options, &dtype, array.shape(), order, content)
    }

    /// Create the arrays of a file. Return them with their keys, and what was left.
    #[pyo3(signature = (
        path, format, name=None, prefix=None, scope=ScopeArgument::Default, only=None,
        skip_unsupported=false
    ))]
    #[allow(clippy::too_many_arguments, reason = "Python's keywords")]
    fn _load(
        &self,
        py: Python<'_>,
        path: PathBuf,
        format: &str,
        name: Option<String>,
        prefix: Option<String>,
        scope: ScopeArgument,
        only: Option<Vec<String>>,
        skip_unsupported: bool,
    ) -> PyResult<Loaded> {
        let request = Load {
            path,
            name,
            prefix,
            scope,
            only,
            skip_unsupported,
        };
        request.run(py, &self.inner(py)?, format)
    }

    /// Write a checkpoint. Return its description.
    fn _checkpoint<'py>(
        &self,
        py: Python<'py>,
        place: PathBuf,
        settings: CheckpointSettings,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let manager = self.inner(py)?;
        settings.write(py, &manager, &checkpoint::place_of(place)?, progress)
    }

    /// Make the arrays of a checkpoint. Return their description.
    fn _restore<'py>(
        &self,
        py: Python<'py>,
        place: PathBuf,
        settings: RestoreSettings,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let manager = self.inner(py)?;
        settings.read(py, &manager, &checkpoint::place_of(place)?, progress)
    }

    /// Open the array with this name. Raises :class:`NotFound`.
    fn open(&self, py: Python<'_>, name: &str) -> PyResult<Array> {
        let manager = self.inner(py)?;
        let opened = py.detach(|| manager.array_any(name));
        Array::new(py, opened.raise(py)?)
    }

    /// Open the ring with this name. Raises :class:`NotFound`.
    fn open_ring(&self, py: Python<'_>, name: &str) -> PyResult<Ring> {
        let manager = self.inner(py)?;
        let opened = py.detach(|| manager.ring_any(name));
        Ring::new(py, opened.raise(py)?)
    }

    /// Create a ring of frames.
    #[pyo3(signature = (
        shape, frames, dtype, max_subscribers=64, info=None, name=None,
        scope=ScopeArgument::Default, attrs=None, axis_names=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "Python's keywords")]
    fn _ring(
        &self,
        py: Python<'_>,
        shape: &Bound<'_, PyAny>,
        frames: usize,
        dtype: &Bound<'_, PyAny>,
        max_subscribers: usize,
        info: Option<&Bound<'_, PyAny>>,
        name: Option<String>,
        scope: ScopeArgument,
        attrs: Option<&Bound<'_, PyDict>>,
        axis_names: Option<Vec<String>>,
    ) -> PyResult<Ring> {
        let manager = self.inner(py)?;
        let (dtype, numpy_dtype) = dtype::from_numpy(dtype)?;
        let info = info.map(ring::info_from_numpy).transpose()?;
        let labels = Labels {
            name,
            scope,
            attrs,
            axis_names,
            numpy_dtype,
        };
        let options = labels.apply(py, manager.options(), &dtype)?;
        let options = options.max_subscribers(max_subscribers);
        let shape = lengths(shape)?;
        let made = py.detach(|| options.ring_any(&dtype, &shape, frames, info));
        Ring::new(py, made.raise(py)?)
    }

    /// Open the array that grows with this name. Raises :class:`NotFound`.
    fn open_growing(&self, py: Python<'_>, name: &str) -> PyResult<GrowingArray> {
        let manager = self.inner(py)?;
        let opened = py.detach(|| manager.growing_any(name));
        GrowingArray::new(py, opened.raise(py)?)
    }

    /// Create an array that grows.
    #[pyo3(signature = (
        row_shape, dtype, max_len, name=None, scope=ScopeArgument::Default, attrs=None,
        axis_names=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "Python's keywords")]
    fn _growing(
        &self,
        py: Python<'_>,
        row_shape: &Bound<'_, PyAny>,
        dtype: &Bound<'_, PyAny>,
        max_len: usize,
        name: Option<String>,
        scope: ScopeArgument,
        attrs: Option<&Bound<'_, PyDict>>,
        axis_names: Option<Vec<String>>,
    ) -> PyResult<GrowingArray> {
        let manager = self.inner(py)?;
        let (dtype, numpy_dtype) = dtype::from_numpy(dtype)?;
        let labels = Labels {
            name,
            scope,
            attrs,
            axis_names,
            numpy_dtype,
        };
        let options = labels.apply(py, manager.options(), &dtype)?;
        let row_shape = lengths(row_shape)?;
        let made = py.detach(|| options.growing_any(&dtype, &row_shape, max_len));
        GrowingArray::new(py, made.raise(py)?)
    }

    fn __getitem__(&self, py: Python<'_>, name: &str) -> PyResult<Array> {
        self.open(py, name)
    }

    fn __contains__(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<bool> {
        match name.cast::<PyString>() {
            Ok(name) => self.inner(py)?.contains(name.to_cow()?.as_ref()).raise(py),
            Err(_) => Ok(false),
        }
    }

    /// Wait until an array of this name exists, and return a dictionary for it.
    #[pyo3(signature = (name, timeout=None))]
    fn _wait_for<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let manager = self.inner(py)?;
        let timeout = arguments::limit("timeout", timeout)?;
        let found = py.detach(|| manager.wait_for(name, timeout));
        describe::array(py, &found.raise(py)?)
    }

    /// Delete the array with this name, whichever process owns it.
    fn remove(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let manager = self.inner(py)?;
        py.detach(|| manager.remove(name)).raise(py)
    }

    /// Give the array with the name ``old`` the name ``new``.
    ///
    /// Processes that have it open go on using it, and pickles and handles that were made before
    /// find it by its id. Raises :class:`AlreadyExists` if an array has the name.
    fn rename(&self, py: Python<'_>, old: &str, new: &str) -> PyResult<()> {
        let manager = self.inner(py)?;
        py.detach(|| manager.rename(old, new)).raise(py)
    }

    /// Return a dictionary for each array of the store, oldest first.
    fn _list<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let found = self.inner(py)?.list().raise(py)?;
        found.iter().map(|info| describe::array(py, info)).collect()
    }

    /// Return the reasons why arrays of the store cannot be read.
    fn damaged(&self, py: Python<'_>) -> PyResult<Vec<PyErr>> {
        let found = self.inner(py)?.damaged().raise(py)?;
        Ok(found.iter().map(|error| error::raised(py, error)).collect())
    }

    /// Return the arrays and bytes of the store, and the bytes that its file system has left.
    fn _usage<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        describe::usage(py, &self.inner(py)?.usage().raise(py)?)
    }

    /// Delete the leftovers of dead processes.
    fn _sweep<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let manager = self.inner(py)?;
        let swept = py.detach(|| manager.sweep()).raise(py)?;
        describe::swept(py, &swept)
    }

    /// Delete the store with all its arrays, even a persistent store.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let Some(manager) = self.lock().take() else {
            return Ok(());
        };
        py.detach(|| manager.close()).raise(py)
    }

    /// Leave the store, as the end of a ``with`` block does.
    ///
    /// This deletes an ephemeral store that this process created. Any other store stays.
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let Some(manager) = self.lock().take() else {
            return Ok(());
        };
        py.detach(|| match manager.is_owner() {
            true => manager.close(),
            false => Ok(()),
        })
        .raise(py)
    }

    /// Give up the ownership of an ephemeral store: it lasts until its last process is gone.
    ///
    /// Then its janitor or the next sweep deletes it. It is for processes of one rank that share a
    /// store and end in any order: give such a store a ``janitor``. Does nothing if this manager
    /// does not own the store.
    fn disown(&self, py: Python<'_>) -> PyResult<()> {
        self.inner(py)?.disown().raise(py)
    }

    /// Make the store persistent, and return its path.
    fn persist(&self, py: Python<'_>) -> PyResult<String> {
        let path = self.inner(py)?.persist().raise(py)?;
        Ok(path.to_string_lossy().into_owned())
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        let text = pickle::to_text(&self.inner(py)?)?;
        Ok((pickle::unpickle_manager(py)?, (text,)))
    }
}

//! Stores as Python sees them.

use crate::{
    array::{Array, Content, make},
    attrs, dtype,
    error::{self, Raise},
};
use ciborium::Value;
use ndshm::{ArrayOptions, Builder, Error, HugePages, Order, Scope};
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    intern,
    prelude::*,
    types::{PyDict, PyString},
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// A scope, or none given: `None` is one.
#[derive(Clone, Copy)]
pub(crate) enum ScopeArgument {
    Default,
    Given(Scope),
}

impl<'py> FromPyObject<'_, 'py> for ScopeArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if object.is_none() {
            return Ok(ScopeArgument::Given(Scope::Store));
        }
        let text: Option<String> = object.extract().ok();
        match text.as_deref() {
            Some("local") => Ok(ScopeArgument::Given(Scope::Local)),
            Some("remote") => Ok(ScopeArgument::Given(Scope::Remote)),
            _ => Err(PyValueError::new_err(format!(
                "a scope is 'local', 'remote' or None, not {}",
                object.repr()?
            ))),
        }
    }
}

pub(crate) fn scope_name(scope: Scope) -> Option<&'static str> {
    match scope {
        Scope::Local => Some("local"),
        Scope::Remote => Some("remote"),
        _ => None,
    }
}

pub(crate) fn order_of(order: &str) -> PyResult<Order> {
    match order {
        "C" | "c" => Ok(Order::C),
        "F" | "f" => Ok(Order::F),
        _ => Err(PyValueError::new_err(format!(
            "an order is 'C' or 'F', not {order:?}"
        ))),
    }
}

/// A process's grip on a store of shared arrays.
#[pyclass(frozen, weakref, subclass, module = "ndshm")]
pub(crate) struct Manager {
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

    /// The manager as Python's class, which has the verbs.
    pub(crate) fn of<'py>(py: Python<'py>, inner: &ndshm::Manager) -> PyResult<Bound<'py, PyAny>> {
        py.import("ndshm._manager")?
            .getattr("unpickle_manager")?
            .call1((to_json(inner)?,))
    }

    pub(crate) fn inner(&self, py: Python<'_>) -> PyResult<ndshm::Manager> {
        let inner = self
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        inner
            .ok_or(Error::Closed {
                path: self.path.clone(),
            })
            .raise(py)
    }

    fn take(&self) -> Option<ndshm::Manager> {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

fn to_json(manager: &ndshm::Manager) -> PyResult<String> {
    serde_json::to_string(manager).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// The tool of this package, unless `NDSHM_JANITOR` names a program for janitors.
fn tool(py: Python<'_>) -> PyResult<Option<PathBuf>> {
    if std::env::var_os("NDSHM_JANITOR").is_some_and(|named| !named.is_empty()) {
        return Ok(None);
    }
    py.import("ndshm._tool")?
        .getattr("path")?
        .call0()?
        .extract()
}

/// What the verbs that make an array are told beside its elements.
struct Labels<'a, 'py> {
    name: Option<String>,
    scope: ScopeArgument,
    attrs: Option<&'a Bound<'py, PyDict>>,
    axis_names: Option<Vec<String>>,
    /// What [`dtype::NUMPY_DTYPE`] says.
    meaning: Option<String>,
}

impl Labels<'_, '_> {
    fn apply<'m>(
        self,
        py: Python<'_>,
        mut options: ArrayOptions<'m>,
    ) -> PyResult<ArrayOptions<'m>> {
        if let Some(name) = self.name {
            options = options.name(name);
        }
        if let ScopeArgument::Given(scope) = self.scope {
            options = options.scope(scope);
        }
        if let Some(names) = self.axis_names {
            options = options.axis_names(names);
        }
        if self.attrs.is_none() && self.meaning.is_none() {
            return Ok(options);
        }
        let mut map = BTreeMap::new();
        for (key, value) in self.attrs.into_iter().flatten() {
            map.insert(key.extract::<String>()?, attrs::to_value(&value)?);
        }
        if let Some(meaning) = self.meaning {
            map.insert(dtype::NUMPY_DTYPE.to_owned(), Value::Text(meaning));
        }
        options.attrs(&map).raise(py)
    }
}

/// A length or a sequence of them.
fn lengths(shape: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    let length = |item: &Bound<'_, PyAny>| match item.extract::<isize>() {
        Ok(length) => usize::try_from(length)
            .map_err(|_| PyValueError::new_err("negative dimensions are not allowed")),
        Err(_) => item.call_method0("__index__")?.extract(),
    };
    match shape.try_iter() {
        Ok(items) => items.map(|item| length(&item?)).collect(),
        Err(_) => Ok(vec![length(shape)?]),
    }
}

#[pymethods]
impl Manager {
    #[new]
    #[pyo3(signature = (path=None, *, name=None, root=None, persistent=None, any_file_system=false, lock_timeout=None, huge_pages=None, prefault=false, recycle=None, cache=None, janitor=false, mode="a", _pickled=None))]
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
        janitor: bool,
        mode: &str,
        _pickled: Option<&str>,
    ) -> PyResult<Self> {
        if let Some(text) = _pickled {
            // Its error is a text; which of the library's it was cannot be told any more.
            let joined =
                serde_json::from_str(text).map_err(|error| error::plain(py, &error.to_string()))?;
            return Ok(Self::wrapped(joined));
        }
        let mut builder: Builder = ndshm::Manager::builder();
        let is_named = path.is_some() || name.is_some();
        if let Some(path) = path {
            builder = builder.path(path);
        }
        if let Some(name) = name {
            builder = builder.name(name);
        }
        if let Some(root) = root {
            builder = builder.root(root);
        }
        builder = match persistent {
            Some(true) => builder.persistent(),
            Some(false) => builder.ephemeral(),
            None => builder,
        };
        if any_file_system {
            builder = builder.any_file_system();
        }
        if let Some(seconds) = lock_timeout {
            let timeout = Duration::try_from_secs_f64(seconds)
                .map_err(|_| PyValueError::new_err("lock_timeout is a number of seconds"))?;
            builder = builder.lock_timeout(timeout);
        }
        builder = match huge_pages {
            None => builder,
            Some("auto") => builder.huge_pages(HugePages::Auto),
            Some("never") => builder.huge_pages(HugePages::Never),
            Some("require") => builder.huge_pages(HugePages::Require),
            Some(_) => {
                return Err(PyValueError::new_err(
                    "huge_pages is 'auto', 'never' or 'require'",
                ));
            }
        };
        if prefault {
            builder = builder.prefault();
        }
        if let Some(bytes) = recycle {
            builder = builder.recycle(bytes);
        }
        if let Some(bytes) = cache {
            builder = builder.cache(bytes);
        }
        if janitor {
            builder = builder.janitor(true);
            // An interpreter of a virtual environment runs elsewhere, so the tool is not beside it.
            if let Some(program) = tool(py)? {
                builder = builder.janitor_program(program);
            }
        }
        let made = match (mode, is_named) {
            ("a", true) => py.detach(|| builder.open_or_create()),
            ("a" | "x", _) => py.detach(|| builder.create()),
            ("r+", _) => py.detach(|| builder.open()),
            _ => {
                return Err(PyValueError::new_err(
                    "mode is 'a' (open, or create), 'x' (create) or 'r+' (open)",
                ));
            }
        };
        Ok(Self::wrapped(made.raise(py)?))
    }

    /// The store's directory.
    #[getter]
    fn path(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Whether the end of this manager deletes the store.
    #[getter]
    fn is_owner(&self) -> bool {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .is_some_and(ndshm::Manager::is_owner)
    }

    /// Whether this manager has let go of its store.
    #[getter]
    fn closed(&self) -> bool {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    /// A new array: of `data`'s bytes if given (contiguous in `order`), of `element`'s everywhere,
    /// or of zeros.
    #[pyo3(signature = (shape, dtype, order="C", name=None, scope=ScopeArgument::Default, attrs=None, axis_names=None, element=None))]
    #[allow(clippy::too_many_arguments, reason = "Python's keywords")]
    fn _make(
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
        let (dtype, meaning) = dtype::from_numpy(dtype)?;
        let options = Labels {
            name,
            scope,
            attrs,
            axis_names,
            meaning,
        }
        .apply(py, manager.options())?;
        let content = element.map_or(Content::Empty, Content::Element);
        make(py, &options, &dtype, &lengths(shape)?, order, content)
    }

    /// A new array with a copy of an ndarray that is contiguous in `order`.
    #[pyo3(signature = (source, order="C", name=None, scope=ScopeArgument::Default, attrs=None, axis_names=None))]
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
        use numpy::{PyUntypedArray, PyUntypedArrayMethods};
        let manager = self.inner(py)?;
        let array = source.cast::<PyUntypedArray>()?;
        let is_ordered = if order == "F" {
            array.is_fortran_contiguous()
        } else {
            array.is_c_contiguous()
        };
        if !is_ordered {
            return Err(PyTypeError::new_err(
                "the source is not contiguous in this order",
            ));
        }
        let (dtype, meaning) = dtype::from_numpy(&source.getattr(intern!(py, "dtype"))?)?;
        let options = Labels {
            name,
            scope,
            attrs,
            axis_names,
            meaning,
        }
        .apply(py, manager.options())?;
        let byte_len = array.len() * dtype.itemsize();
        // SAFETY: `source` is an ndarray, so this is its struct.
        let data = unsafe { (*array.as_array_ptr()).fields.data };
        let bytes: &[u8] = match byte_len {
            0 => &[],
            // SAFETY: a contiguous ndarray's elements lie side by side from there, and `source`
            // keeps them. Who writes them from another thread while they are copied gets a mixture
            // of bytes, as with any copy that NumPy makes without the interpreter's lock.
            _ => unsafe { std::slice::from_raw_parts(data.cast(), byte_len) },
        };
        make(
            py,
            &options,
            &dtype,
            array.shape(),
            order,
            Content::Bytes(bytes),
        )
    }

    /// The array with this name. Raises :class:`NotFound`.
    fn open(&self, py: Python<'_>, name: &str) -> PyResult<Array> {
        Array::new(py, self.inner(py)?.array_any(name).raise(py)?)
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

    /// Deletes the array with this name, whoever owns it.
    fn remove(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        self.inner(py)?.remove(name).raise(py)
    }

    /// What is in the store, oldest first: a dictionary for each array.
    fn _list<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let describe = |info: ndshm::ArrayInfo| {
            let map = PyDict::new(py);
            map.set_item("name", &info.name)?;
            map.set_item("id", info.id.to_string())?;
            map.set_item("path", info.path.to_string_lossy())?;
            map.set_item("shape", pyo3::types::PyTuple::new(py, &info.shape)?)?;
            map.set_item("dtype", info.dtype.to_string())?;
            map.set_item("order", if info.order == Order::C { "C" } else { "F" })?;
            map.set_item("nbytes", info.byte_len)?;
            map.set_item(
                "created",
                info.created
                    .duration_since(std::time::UNIX_EPOCH)
                    .map_or(0.0, |time| time.as_secs_f64()),
            )?;
            map.set_item("pid", info.pid)?;
            map.set_item("software", &info.software)?;
            Ok(map)
        };
        self.inner(py)?
            .list()
            .raise(py)?
            .into_iter()
            .map(describe)
            .collect()
    }

    /// Arrays and bytes of the store, and the bytes that are left on its file system.
    fn _usage<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let usage = self.inner(py)?.usage().raise(py)?;
        let map = PyDict::new(py);
        map.set_item("arrays", usage.arrays)?;
        map.set_item("nbytes", usage.byte_len)?;
        map.set_item("allocated", usage.allocated)?;
        map.set_item("kept", usage.kept)?;
        map.set_item("available", usage.available)?;
        Ok(map)
    }

    /// Deletes what the dead left.
    fn _sweep<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let manager = self.inner(py)?;
        let swept = py.detach(|| manager.sweep()).raise(py)?;
        let map = PyDict::new(py);
        map.set_item("stores", swept.stores)?;
        map.set_item("arrays", swept.arrays)?;
        map.set_item("nbytes", swept.bytes)?;
        map.set_item(
            "skipped",
            swept
                .skipped
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
        )?;
        Ok(map)
    }

    /// Deletes the store with all its arrays, a persistent one too.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let Some(manager) = self.take() else {
            return Ok(());
        };
        py.detach(|| manager.close()).raise(py)
    }

    /// Lets go of the store, as the end of ``with`` does: an ephemeral one that this process made
    /// is deleted, another one stays.
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let Some(manager) = self.take() else {
            return Ok(());
        };
        py.detach(|| match manager.is_owner() {
            true => manager.close(),
            false => Ok(()),
        })
        .raise(py)
    }

    /// Makes the store persistent, and gives its path.
    fn persist(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self
            .inner(py)?
            .persist()
            .raise(py)?
            .to_string_lossy()
            .into_owned())
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        let text = to_json(&self.inner(py)?)?;
        Ok((
            py.import("ndshm._manager")?.getattr("unpickle_manager")?,
            (text,),
        ))
    }
}

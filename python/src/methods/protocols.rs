//! The protocols by which Python, NumPy and other libraries use an array: its elements as memory,
//! by index, as numbers and as text.

use crate::{
    array::{
        Array,
        ndarrays::{DlpackOptions, Preview, Shown},
    },
    compute,
    error::Raise,
};
use pyo3::{
    exceptions::{PyAttributeError, PyTypeError, PyValueError},
    ffi, intern,
    prelude::*,
    sync::PyOnceLock,
    types::PySlice,
};
use std::ffi::c_int;

#[pymethods]
impl Array {
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.to_array(py, dtype, copy)
    }

    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<Py<PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<Py<PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = DlpackOptions {
            stream,
            max_version,
            dl_device,
        };
        self.to_dlpack(py, options, copy)
    }

    /// For pyarrow.
    #[pyo3(signature = (r#type=None))]
    fn __arrow_array__<'py>(
        slf: &Bound<'py, Self>,
        r#type: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let module = slf.py().import("ndshm._arrow")?;
        module.getattr("arrow_array")?.call1((slf, r#type))
    }

    /// For polars, and others that take Arrow's capsules.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        slf: &Bound<'py, Self>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let module = slf.py().import("ndshm._arrow")?;
        module
            .getattr("arrow_c_array")?
            .call1((slf, requested_schema))
    }

    /// Attributes of an ndarray that hand out its memory, or change it.
    fn __getattr__(&self, py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
        let hands_out = matches!(name, "__array_interface__" | "__array_struct__");
        let is_of_ndarrays = || compute::numpy(py)?.getattr("ndarray")?.hasattr(name);
        let text = match hands_out || !name.starts_with('_') && is_of_ndarrays()? {
            true => format!(
                "an array has no {name}, which needs its lock: use `with a.read() as x` and \
                 x.{name}, numpy.asarray(a) for a copy, or a.freeze()"
            ),
            false => format!("'ndshm.Array' object has no attribute '{name}'"),
        };
        Err(PyAttributeError::new_err(text))
    }

    fn __dlpack_device__(&self) -> (i32, i32) {
        (1, 0)
    }

    /// Exports the memory of a frozen array. Other arrays need a guard.
    ///
    /// # Safety
    ///
    /// Python's: `view` points to a buffer structure that the call may fill.
    unsafe fn __getbuffer__(
        slf: PyRef<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        // SAFETY: the same promise.
        unsafe { slf.fill_buffer(slf.py(), view, flags) }
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.item_at(py, index)
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (this, py) = (slf.get(), slf.py());
        match this.any().ndim() {
            0 => Err(PyTypeError::new_err("iteration over a 0-d array")),
            // Scalars, which are copies anyway: all of them under one lock.
            1 => Ok(this.copied(py, "K")?.try_iter()?.into_any()),
            _ => {
                // SAFETY: the object is one with elements by number.
                let made = unsafe { ffi::PySeqIter_New(slf.as_ptr()) };
                // SAFETY: it is a new reference, or null with an exception set.
                unsafe { Bound::from_owned_ptr_or_err(py, made) }
            }
        }
    }

    fn __setitem__(
        &self,
        py: Python<'_>,
        index: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.set_item(py, index, value)
    }

    fn __delitem__(&self, index: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = index;
        Err(PyValueError::new_err("cannot delete array elements"))
    }

    fn __len__(&self) -> PyResult<usize> {
        let length = self.any().shape().first().copied();
        length.ok_or_else(|| PyTypeError::new_err("an array without axes has no length"))
    }

    fn __reversed__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let backwards = PySlice::full(py);
        let step = backwards.get_type().call1((py.None(), py.None(), -1))?;
        Ok(slf.get_item(step)?.try_iter()?.into_any())
    }

    fn __float__(&self, py: Python<'_>) -> PyResult<f64> {
        self.copied(py, "K")?.call_method0("__float__")?.extract()
    }

    fn __int__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.copied(py, "K")?.call_method0("__int__")
    }

    fn __complex__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.copied(py, "K")?.call_method0("__complex__")
    }

    fn __index__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.any().ndim() > 0 {
            return Err(PyTypeError::new_err(
                "only integer arrays without axes can be an index",
            ));
        }
        self.copied(py, "K")?.call_method0("__index__")
    }

    #[pyo3(signature = (digits=None))]
    fn __round__<'py>(&self, py: Python<'py>, digits: Option<i32>) -> PyResult<Bound<'py, PyAny>> {
        self.copied(py, "K")?
            .call_method1("round", (digits.unwrap_or(0),))
    }

    fn __format__<'py>(&self, py: Python<'py>, spec: &str) -> PyResult<Bound<'py, PyAny>> {
        match (self.any().ndim(), spec) {
            (0, _) => self.copied(py, "K")?.call_method1("__format__", (spec,)),
            (_, "") => Ok(self.__str__(py)?.into_pyobject(py)?.into_any()),
            _ => Err(PyTypeError::new_err(
                "unsupported format string passed to ndshm.Array.__format__",
            )),
        }
    }

    /// A new view, as a copy of a reference.
    fn __copy__(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(self.derived(py, self.any().view().raise(py)?))
    }

    /// A new array in the same store.
    fn __deepcopy__<'py>(
        slf: &Bound<'py, Self>,
        _memo: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::copy(slf, None, None)
    }

    /// For Dask: a frozen array by its identity; any other has elements that may change.
    fn __dask_tokenize__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.any().is_frozen() {
            return Ok(("ndshm", self.handle()).into_pyobject(py)?.into_any());
        }
        py.import("uuid")?.call_method0("uuid4")?.getattr("hex")
    }

    fn __bool__(&self, py: Python<'_>) -> PyResult<bool> {
        self.copied(py, "K")?.is_truthy()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        static UNPICKLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let unpickle = UNPICKLE.get_or_try_init(py, || {
            let module = py.import("ndshm._ndshm")?;
            Ok::<_, PyErr>(module.getattr("unpickle_array")?.unbind())
        })?;
        // The process that receives a result is to have it, though the sender drops it at once.
        Ok((
            unpickle.bind(py).clone(),
            (self.any().hand_over().to_string(),),
        ))
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.copied(py, "C")?.call_method0(intern!(py, "tobytes"))
    }

    /// The elements, as those of an ndarray.
    fn __str__(&self, py: Python<'_>) -> PyResult<String> {
        match self.preview(py, Shown::AsText)? {
            Preview::Elements(text) => Ok(text),
            Preview::Unreadable(_) => self.__repr__(py),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let name = self
            .name()
            .map(|name| format!(", name={name:?}"))
            .unwrap_or_default();
        let rest = format!(
            "shape={}, dtype={}{name}",
            self.shape(py)?,
            self.element_type(py)
        );
        Ok(
            match self.preview(
                py,
                Shown::AsList {
                    prefix: "ndshm.Array(",
                },
            )? {
                Preview::Elements(text) => format!("ndshm.Array({text}, {rest})"),
                Preview::Unreadable(reason) => format!("<ndshm.Array: {rest}, {reason}>"),
            },
        )
    }

    /// For notebooks.
    fn _repr_html_(&self, py: Python<'_>) -> PyResult<String> {
        let escape = |text: &str| {
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            text.replace('>', "&gt;").replace('"', "&quot;")
        };
        let elements = match self.preview(py, Shown::AsList { prefix: "" })? {
            Preview::Elements(text) => text,
            Preview::Unreadable(reason) => reason.into(),
        };
        let rows = [
            ("name", self.name().unwrap_or_default()),
            ("shape", self.shape(py)?.to_string()),
            ("dtype", self.element_type(py).to_string()),
            ("bytes", self.nbytes().to_string()),
            ("file", self.path()),
        ];
        let rows: String = (rows.iter().filter(|(_, value)| !value.is_empty()))
            .map(|(key, value)| format!("<tr><th>{key}</th><td>{}</td></tr>", escape(value)))
            .collect();
        let elements = escape(&elements);
        Ok(format!("<table>{rows}</table><pre>{elements}</pre>"))
    }
}

//! Shared arrays as Python sees them.

use crate::{
    attrs, dtype,
    error::Raise,
    export,
    guard::{self, Guard, Mode, Wait},
    index::{self, Place},
    manager::{Manager, ScopeArgument, order_of, scope_name},
};
use ciborium::Value;
use ndshm::{AnyArray, DType, Element, Handle, Order};
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::{
    exceptions::{PyAttributeError, PyBufferError, PyTypeError, PyValueError},
    ffi, intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyString, PyTuple},
};
use std::{collections::BTreeMap, ffi::c_int, time::Duration};

/// The strides as NumPy has them: those of axes of length 0 and 1, which do not matter, too.
pub(crate) fn numpy_strides(array: &AnyArray) -> Vec<isize> {
    let Some(order) = array.order() else {
        return array.byte_strides();
    };
    let shape = array.shape();
    let mut strides = vec![0; shape.len()];
    let mut step = array.dtype().itemsize() as isize;
    let mut set = |axis: usize| {
        strides[axis] = step;
        step *= shape[axis].max(1) as isize;
    };
    match order {
        Order::C => (0..shape.len()).rev().for_each(&mut set),
        Order::F => (0..shape.len()).for_each(&mut set),
    }
    strides
}

/// A typed n-dimensional array, or a view of one, in memory that many processes share.
#[pyclass(frozen, weakref, module = "ndshm")]
pub(crate) struct Array {
    any: AnyArray,
    dtype: Py<PyAny>,
}

impl Array {
    /// An array whose elements are those that NumPy knows: of `[T; N]` the parts are a further
    /// axis, as in NumPy.
    pub(crate) fn new(py: Python<'_>, mut any: AnyArray) -> PyResult<Self> {
        while any
            .dtype()
            .subarray()
            .is_some_and(|(_, part)| part != u8::DTYPE)
        {
            any = any.unpack().raise(py)?;
        }
        let dtype = match meaning(&any) {
            Some(text) => dtype::dtype(py, text)?,
            None => dtype::to_numpy(py, any.dtype())?,
        };
        Ok(Self {
            any,
            dtype: dtype.unbind(),
        })
    }

    pub(crate) fn any(&self) -> &AnyArray {
        &self.any
    }

    pub(crate) fn dtype_of<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.dtype.bind(py)
    }

    /// One field of every struct.
    fn field(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<Self> {
        let name = name.to_cow()?;
        let is_array = self
            .any
            .dtype()
            .fields()
            .iter()
            .any(|field| field.name() == name && field.dtype().to_string().starts_with('('));
        let field = if is_array {
            self.any.field_array(&name)
        } else {
            self.any.field(&name)
        };
        Array::new(py, field.raise(py)?)
    }

    /// A view of the same elements.
    fn derived(&self, py: Python<'_>, any: AnyArray) -> Self {
        Self {
            any,
            dtype: self.dtype.clone_ref(py),
        }
    }

    fn at(&self, py: Python<'_>, place: &Place) -> PyResult<Self> {
        Ok(self.derived(
            py,
            self.any
                .with_layout(place.offset, &place.shape, &place.strides)
                .raise(py)?,
        ))
    }

    /// Where a basic index leads.
    fn place(&self, index: &Bound<'_, PyAny>) -> PyResult<Option<Place>> {
        index::place(
            index,
            self.any.byte_offset(),
            self.any.shape(),
            &self.any.byte_strides(),
        )
    }

    /// The view that an operation of NumPy's makes of an ndarray: it must not read elements, nor
    /// copy them.
    fn viewed<'py>(
        &self,
        py: Python<'py>,
        operation: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let whole = export::unlocked(py, &self.any, self.dtype_of(py))?;
        let start = address(&whole)?;
        let made = operation(&whole)?;
        let array = made.cast::<PyUntypedArray>()?;
        let offset = (self.any.byte_offset() as isize + address(&made)? - start) as usize;
        let offset = if array.shape().contains(&0) {
            self.any.byte_offset()
        } else {
            offset
        };
        self.at(
            py,
            &Place {
                offset,
                shape: array.shape().to_vec(),
                strides: array.strides().to_vec(),
            },
        )
    }

    fn frozen_ndarray<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        export::frozen(
            py,
            self.any.view().raise(py)?,
            self.dtype_of(py),
            self.any.read().raise(py)?,
        )
    }

    /// A private copy, made while the elements are locked.
    fn copied<'py>(&self, py: Python<'py>, order: &str) -> PyResult<Bound<'py, PyAny>> {
        let held = guard::take(py, &self.any, Mode::Read, Wait::Forever)?;
        let (ndarray, lease) = export::leased(py, &self.any, self.dtype_of(py), held)?;
        // NumPy lets other threads run while it copies.
        let copy = ndarray.call_method1(intern!(py, "copy"), (order,));
        drop(ndarray);
        lease.get().end();
        copy
    }

    /// Sets the elements of a view from an ndarray, while they are locked.
    fn fill_from(
        &self,
        py: Python<'_>,
        index: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let held = guard::take(py, &self.any, Mode::Write, Wait::Forever)?;
        let (ndarray, lease) = export::leased(py, &self.any, self.dtype_of(py), held)?;
        let set = ndarray.set_item(index, value);
        drop(ndarray);
        lease.get().end();
        set
    }
}

/// How NumPy takes integers that stand for something else.
fn meaning(any: &AnyArray) -> Option<String> {
    if *any.dtype() != i64::DTYPE {
        return None;
    }
    let attrs: BTreeMap<String, Value> = any.attrs().ok()?;
    attrs.get(dtype::NUMPY_DTYPE)?.as_text().map(str::to_owned)
}

fn address(ndarray: &Bound<'_, PyAny>) -> PyResult<isize> {
    ndarray
        .getattr("__array_interface__")?
        .get_item("data")?
        .get_item(0)?
        .extract()
}

#[pymethods]
impl Array {
    /// The lengths of the axes.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.any.shape())
    }

    /// In bytes.
    #[getter]
    fn strides<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, numpy_strides(&self.any))
    }

    /// How many axes there are.
    #[getter]
    fn ndim(&self) -> usize {
        self.any.ndim()
    }

    /// How many elements there are.
    #[getter]
    fn size(&self) -> usize {
        self.any.len()
    }

    /// Bytes of one element.
    #[getter]
    fn itemsize(&self) -> usize {
        self.any.dtype().itemsize()
    }

    /// Bytes of all elements.
    #[getter]
    fn nbytes(&self) -> usize {
        self.any.len() * self.any.dtype().itemsize()
    }

    /// The type of the elements, NumPy's.
    #[getter]
    fn dtype(&self, py: Python<'_>) -> Py<PyAny> {
        self.dtype.clone_ref(py)
    }

    /// The order in which the elements lie in memory; ``None`` where they are not contiguous.
    #[getter]
    fn order(&self) -> Option<&'static str> {
        self.any.order().map(|order| match order {
            Order::C => "C",
            Order::F => "F",
        })
    }

    /// The name in the store, if one was chosen.
    #[getter]
    fn name(&self) -> Option<String> {
        self.any.name()
    }

    /// The array's identity: one for all its views, in all processes.
    #[getter]
    fn id(&self) -> String {
        self.any.id().to_string()
    }

    /// The array's file.
    #[getter]
    fn path(&self) -> String {
        self.any.path().to_string_lossy().into_owned()
    }

    /// One line of text that names this array or view for any process of the same user, in whatever
    /// language: see :func:`ndshm.open`.
    #[getter]
    fn handle(&self) -> String {
        self.any.handle().to_string()
    }

    /// Who deletes the array, as this process holds it: ``'local'``, ``'remote'``, or ``None``.
    #[getter]
    fn scope(&self) -> Option<&'static str> {
        scope_name(self.any.scope())
    }

    #[setter]
    fn set_scope(&self, py: Python<'_>, scope: ScopeArgument) -> PyResult<()> {
        match scope {
            ScopeArgument::Given(scope) => self.any.set_scope(scope).raise(py),
            ScopeArgument::Default => Err(PyValueError::new_err(
                "a scope is 'local', 'remote' or None",
            )),
        }
    }

    /// Whether this process may write the elements.
    #[getter]
    fn writable(&self) -> bool {
        self.any.is_writable()
    }

    /// Whether this is less than the whole array, or lies otherwise.
    #[getter]
    fn is_view(&self) -> bool {
        self.any.is_view()
    }

    /// Whether nobody will ever write the array again.
    #[getter]
    fn frozen(&self) -> bool {
        self.any.is_frozen()
    }

    /// What was said of the array when it was made: a new dict each time.
    #[getter]
    fn attrs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let map: BTreeMap<String, Value> = self.any.attrs().raise(py)?;
        let dict = PyDict::new(py);
        for (key, value) in map.iter().filter(|(key, _)| *key != dtype::NUMPY_DTYPE) {
            dict.set_item(key, attrs::to_python(py, value)?)?;
        }
        Ok(dict)
    }

    /// Of the whole array's axes: one for each, or none at all.
    #[getter]
    fn axis_names(&self) -> Vec<Option<String>> {
        self.any.axis_names().to_vec()
    }

    /// A manager of the array's store, as a member.
    #[getter]
    fn manager<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Manager::of(py, &self.any.manager())
    }

    /// The view with its axes in the opposite order.
    #[getter(T)]
    fn transposed(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(self.derived(py, self.any.t().raise(py)?))
    }

    /// A view with its axes in another order, as NumPy's.
    #[pyo3(signature = (*axes))]
    fn transpose(&self, py: Python<'_>, axes: &Bound<'_, PyTuple>) -> PyResult<Self> {
        self.viewed(py, |whole| whole.call_method1("transpose", axes.clone()))
    }

    /// A view in which two axes have changed places.
    fn swapaxes(&self, py: Python<'_>, axis1: isize, axis2: isize) -> PyResult<Self> {
        self.viewed(py, |whole| whole.call_method1("swapaxes", (axis1, axis2)))
    }

    /// A view without the axes of length 1, or without these.
    #[pyo3(signature = (axis=None))]
    fn squeeze(&self, py: Python<'_>, axis: Option<Py<PyAny>>) -> PyResult<Self> {
        self.viewed(py, |whole| whole.call_method1("squeeze", (axis,)))
    }

    /// A view of a diagonal of two axes, which becomes the last axis.
    #[pyo3(signature = (offset=0, axis1=0, axis2=1))]
    fn diagonal(
        &self,
        py: Python<'_>,
        offset: isize,
        axis1: isize,
        axis2: isize,
    ) -> PyResult<Self> {
        self.viewed(py, |whole| {
            whole.call_method1("diagonal", (offset, axis1, axis2))
        })
    }

    /// The same memory in another shape. Raises ``ValueError`` where that needs a copy.
    #[pyo3(signature = (*shape))]
    fn reshape(&self, py: Python<'_>, shape: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let shape = if shape.len() == 1 {
            shape.get_item(0)?
        } else {
            shape.clone().into_any()
        };
        let cannot = |error: PyErr| match error.is_instance_of::<PyAttributeError>(py) {
            true => PyValueError::new_err(
                "elements that lie like these cannot get that shape without a copy",
            ),
            false => error,
        };
        self.viewed(py, |whole| {
            let view = whole.call_method0("view")?;
            view.setattr("shape", shape).map_err(cannot)?;
            Ok(view)
        })
    }

    /// The same view, through which nobody writes.
    fn read_only(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(self.derived(py, self.any.read_only().raise(py)?))
    }

    /// The same view once more.
    fn view(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(self.derived(py, self.any.view().raise(py)?))
    }

    /// Shared access, for ``with``: waits while overlapping bytes are written, ``timeout`` seconds
    /// at most.
    ///
    /// Raises :class:`WouldBlock` (``timeout=0``), :class:`Timeout`, :class:`Poisoned`,
    /// :class:`WouldDeadlock` where this thread holds the other guard.
    #[pyo3(signature = (timeout=None))]
    fn read(slf: Py<Self>, timeout: Option<f64>) -> PyResult<Guard> {
        Ok(Guard::new(slf, Mode::Read, Wait::new(timeout)?))
    }

    /// Exclusive access, for ``with``; guards on other bytes of the same array do not wait for each
    /// other.
    ///
    /// Raises what :meth:`read` does, and :class:`ReadOnly` and :class:`Frozen`.
    #[pyo3(signature = (timeout=None))]
    fn write(slf: Py<Self>, timeout: Option<f64>) -> PyResult<Guard> {
        Ok(Guard::new(slf, Mode::Write, Wait::new(timeout)?))
    }

    /// Exclusive access to what may be poisoned: set the elements anew. The poison is gone when the
    /// block ends without an exception.
    fn recover(slf: Py<Self>) -> Guard {
        Guard::new(slf, Mode::Recover, Wait::Forever)
    }

    /// The poisoned ranges that touch this view: bytes from the start of the array's data, the end
    /// exclusive.
    fn poisoned(&self, py: Python<'_>) -> PyResult<Vec<(usize, usize)>> {
        Ok(self
            .any
            .poisoned()
            .raise(py)?
            .into_iter()
            .map(|range| (range.start, range.end))
            .collect())
    }

    /// Ends all writing to the array for ever, and gives a read-only ndarray that needs no guard.
    fn freeze<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.detach(|| self.any.freeze()).raise(py)?;
        self.frozen_ndarray(py)
    }

    /// The memory as an ndarray without a lock, for those who coordinate by themselves. It keeps a
    /// local array from being deleted.
    fn unlocked<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        export::unlocked(py, &self.any, self.dtype_of(py))
    }

    /// A private copy, made under the lock.
    #[pyo3(signature = (order="K"))]
    fn to_numpy<'py>(&self, py: Python<'py>, order: &str) -> PyResult<Bound<'py, PyAny>> {
        self.copied(py, order)
    }

    /// A DataArray with the names of axes and the attributes: of ``data``, the ndarray of a guard
    /// say, else of a copy, or of a frozen array itself.
    #[pyo3(signature = (data=None))]
    fn to_xarray<'py>(
        slf: &Bound<'py, Self>,
        data: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.py()
            .import("ndshm._xarray")?
            .getattr("to_xarray")?
            .call1((slf, data))
    }

    /// A new shared array with a copy of the elements, in the same store or in another one.
    #[pyo3(signature = (manager=None, **labels))]
    fn copy<'py>(
        slf: &Bound<'py, Self>,
        manager: Option<Bound<'py, PyAny>>,
        labels: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let manager = manager.map_or_else(|| slf.getattr("manager"), Ok)?;
        manager.call_method("array", (slf.get().copied(slf.py(), "K")?,), labels)
    }

    /// The only element, as a scalar of Python.
    fn item(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.copied(py, "K")?.call_method0("item")?.unbind())
    }

    /// Deletes the array now, whoever owns it. What is open goes on working.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.any.release().raise(py)
    }

    /// Writes changed pages to the disk of a persistent store, and waits for that.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.any.flush()).raise(py)
    }

    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let made = match copy {
            None | Some(false) if self.any.is_frozen() => self.frozen_ndarray(py)?,
            Some(false) => {
                return Err(PyValueError::new_err(
                    "an ndarray that is no copy needs a lock: use `with a.read() as x`, or a.freeze(), or a.unlocked()",
                ));
            }
            _ => self.copied(py, "K")?,
        };
        match dtype {
            Some(dtype) if !dtype.eq(self.dtype_of(py))? => {
                let options = PyDict::new(py);
                options.set_item("copy", copy.unwrap_or(false))?;
                made.call_method("astype", (dtype,), Some(&options))
            }
            _ => Ok(made),
        }
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
        if max_version.is_none_or(|version| version < (1, 0)) {
            return Err(PyBufferError::new_err(
                "only DLPack of version 1.0 or later says that memory is read-only: ask for it by max_version",
            ));
        }
        let ndarray = match copy {
            Some(true) => self.copied(py, "K")?,
            _ if self.any.is_frozen() => self.frozen_ndarray(py)?,
            _ => {
                return Err(PyBufferError::new_err(
                    "memory that others may write needs a lock: use `with a.read() as x`, or a.freeze()",
                ));
            }
        };
        let options = PyDict::new(py);
        options.set_item("stream", stream)?;
        options.set_item("max_version", max_version)?;
        options.set_item("dl_device", dl_device)?;
        ndarray.call_method("__dlpack__", (), Some(&options))
    }

    fn __dlpack_device__(&self) -> (i32, i32) {
        (1, 0)
    }

    /// Of a frozen array only: others are read through a guard.
    ///
    /// # Safety
    ///
    /// Python's: `view` is one that may be filled.
    unsafe fn __getbuffer__(
        slf: PyRef<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let py = slf.py();
        if !slf.any.is_frozen() {
            return Err(PyBufferError::new_err(
                "memory that others may write needs a lock: use `with a.read() as x`, or a.freeze()",
            ));
        }
        let ndarray = slf.frozen_ndarray(py)?;
        // SAFETY: the caller's `view` and `flags` go to the ndarray, which stands in the view as
        // what was exported, and keeps the array.
        match unsafe { ffi::PyObject_GetBuffer(ndarray.as_ptr(), view, flags) } {
            0 => Ok(()),
            _ => Err(PyErr::fetch(py)),
        }
    }

    fn __getitem__<'py>(
        slf: &Bound<'py, Self>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, array) = (slf.py(), slf.get());
        if let Ok(name) = index.cast::<PyString>() {
            return Ok(Bound::new(py, array.field(py, name)?)?.into_any());
        }
        if let Some(place) = array.place(index)? {
            return Ok(Bound::new(py, array.at(py, &place)?)?.into_any());
        }
        let held = guard::take(py, &array.any, Mode::Read, Wait::Forever)?;
        let (ndarray, lease) = export::leased(py, &array.any, array.dtype_of(py), held)?;
        let taken =
            ndarray
                .get_item(index)
                .and_then(|taken| match taken.getattr(intern!(py, "base")) {
                    // What is a view all the same, of some fields say, is copied: it must not outlive the
                    // lock.
                    Ok(base) if !base.is_none() => taken.call_method0("copy"),
                    _ => Ok(taken),
                });
        drop(ndarray);
        lease.get().end();
        taken
    }

    fn __setitem__<'py>(
        slf: &Bound<'py, Self>,
        index: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let (py, array) = (slf.py(), slf.get());
        // Before the elements are locked: the value may be a shared array itself, of the same
        // memory even.
        let value = if value.is_instance_of::<Array>() {
            value.call_method0("to_numpy")?
        } else {
            value.clone()
        };
        if let Ok(name) = index.cast::<PyString>() {
            return array
                .field(py, name)?
                .fill_from(py, py.Ellipsis().bind(py), &value);
        }
        match array.place(index)? {
            Some(place) => array
                .at(py, &place)?
                .fill_from(py, py.Ellipsis().bind(py), &value),
            None => array.fill_from(py, index, &value),
        }
    }

    fn __len__(&self) -> PyResult<usize> {
        self.any
            .shape()
            .first()
            .copied()
            .ok_or_else(|| PyTypeError::new_err("an array without axes has no length"))
    }

    fn __float__(&self, py: Python<'_>) -> PyResult<f64> {
        self.copied(py, "K")?.call_method0("__float__")?.extract()
    }

    fn __int__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.copied(py, "K")?.call_method0("__int__")
    }

    fn __bool__(&self, py: Python<'_>) -> PyResult<bool> {
        self.copied(py, "K")?.is_truthy()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        static UNPICKLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let unpickle = UNPICKLE.get_or_try_init(py, || {
            Ok::<_, PyErr>(
                py.import("ndshm._ndshm")?
                    .getattr("unpickle_array")?
                    .unbind(),
            )
        })?;
        Ok((unpickle.bind(py).clone(), (self.handle(),)))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let name = self
            .any
            .name()
            .map(|name| format!(", name={name:?}"))
            .unwrap_or_default();
        Ok(format!(
            "<ndshm.Array: shape={}, dtype={}{name}>",
            self.shape(py)?,
            self.dtype.bind(py)
        ))
    }
}

fn opened(py: Python<'_>, handle: &str) -> PyResult<Array> {
    let handle: Handle = handle.parse::<Handle>().raise(py)?;
    Array::new(py, handle.open_any().raise(py)?)
}

/// Opens what the text of a handle names.
#[pyfunction]
pub(crate) fn open(py: Python<'_>, handle: &str) -> PyResult<Array> {
    opened(py, handle)
}

/// The same for what was pickled.
#[pyfunction]
pub(crate) fn unpickle_array(py: Python<'_>, handle: &str) -> PyResult<Array> {
    opened(py, handle)
}

/// Opens the array in a file.
#[pyfunction]
pub(crate) fn open_path(py: Python<'_>, path: std::path::PathBuf) -> PyResult<Array> {
    Array::new(py, AnyArray::open_path(path).raise(py)?)
}

/// Waits until the array that a handle names was frozen: `timeout` seconds at most.
#[pyfunction]
pub(crate) fn wait_frozen(py: Python<'_>, handle: &str, timeout: f64) -> PyResult<()> {
    let handle: Handle = handle.parse::<Handle>().raise(py)?;
    let timeout = Duration::try_from_secs_f64(timeout.max(0.0)).unwrap_or(Duration::MAX);
    py.detach(|| handle.wait_frozen(timeout)).raise(py)
}

/// Makes an array: `fill` says of what.
pub(crate) fn make(
    py: Python<'_>,
    options: &ndshm::ArrayOptions<'_>,
    dtype: &DType,
    shape: &[usize],
    order: &str,
    content: Content<'_>,
) -> PyResult<Array> {
    let order = order_of(order)?;
    let any = match content {
        Content::Empty => py.detach(|| options.empty_any(dtype, shape, order)),
        Content::Bytes(bytes) => py.detach(|| options.from_bytes(dtype, shape, order, bytes)),
        Content::Element(element) => {
            py.detach(|| options.from_bytes_fn(dtype, shape, order, |bytes| repeat(element, bytes)))
        }
    };
    Array::new(py, any.raise(py)?)
}

/// What a new array holds.
pub(crate) enum Content<'a> {
    /// Zeros, in a new file.
    Empty,
    /// These bytes, in the order of memory.
    Bytes(&'a [u8]),
    /// This element everywhere.
    Element(&'a [u8]),
}

fn repeat(element: &[u8], bytes: &mut [u8]) {
    if element.iter().any(|&byte| byte != 0) {
        bytes
            .chunks_exact_mut(element.len())
            .for_each(|place| place.copy_from_slice(element));
    }
}

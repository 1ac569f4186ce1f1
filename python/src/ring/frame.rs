//! The class `Frame`: a subclass of `numpy.ndarray` for the frames that a subscriber took.
//!
//! The last of the bases of an object of this class, and of every view of it, is a [`Pinned`]. It
//! holds the frame until the last ndarray, memoryview or capsule over its memory is gone. What
//! NumPy computes with a frame, and every copy, is an object of NumPy's own class.

use super::Ring;
use crate::{
    export,
    signals::FRAMES,
    slots::{
        argument, array_wrap, become_plain, both, class_of_ndarrays, fields, last_base, method,
        plain_view, run_for_object, slot, view_as, with_keywords,
    },
};
use ndshm::AnyFrame;
use numpy::npyffi::NPY_ARRAY_OWNDATA;
use pyo3::{ffi, intern, prelude::*, sync::PyOnceLock, types::PyType};
use std::{
    ffi::{CStr, c_void},
    sync::atomic::Ordering::SeqCst,
    time::{Duration, UNIX_EPOCH},
};

const DOC: &CStr =
    c"A published frame of a ring: a read-only ndarray over its memory, without a copy.

While it lives, or a view, a memoryview or another object over its memory, the producer does not
overwrite it, and needs another frame to write: a ring needs two frames more than all
subscribers hold at once. It stays valid after the subscriber is closed and the ring released.

What is computed with it is a plain ndarray. ``frame.copy()`` holds no frame. A pickle of it has
the elements. In the child of a fork it holds nothing: do not read it there.";

static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// The base of a frame's ndarrays: it holds the frame.
#[pyclass(frozen, module = "ndshm._ndshm")]
struct Pinned {
    frame: AnyFrame,
    info: Option<Py<PyAny>>,
}

impl Pinned {
    fn time(&self) -> Duration {
        let since = self.frame.time().duration_since(UNIX_EPOCH);
        since.unwrap_or_default()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        FRAMES.fetch_sub(1, SeqCst);
    }
}

/// Adds the class to the package's compiled module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("Frame", class(module.py())?)
}

fn class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    let class = CLASS.get_or_try_init(py, || {
        let slots = vec![
            slot(ffi::Py_tp_doc, DOC.as_ptr().cast_mut().cast()),
            slot(ffi::Py_tp_methods, methods().as_mut_ptr().cast::<c_void>()),
            slot(ffi::Py_tp_getset, getters().as_mut_ptr().cast::<c_void>()),
        ];
        let (class, _) = class_of_ndarrays(py, c"ndshm.Frame", slots, 0)?;
        Ok::<_, PyErr>(class.unbind())
    });
    Ok(class?.bind(py))
}

fn methods() -> &'static mut [ffi::PyMethodDef] {
    let finalize = ffi::PyMethodDefPointer {
        PyCFunction: finalize,
    };
    let reduce = ffi::PyMethodDefPointer {
        PyCFunction: reduce_ex,
    };
    Box::leak(Box::new([
        method(c"__array_finalize__", finalize, ffi::METH_O),
        method(c"__reduce_ex__", reduce, ffi::METH_O),
        with_keywords!(c"__array_wrap__", array_wrap),
        ffi::PyMethodDef::zeroed(),
    ]))
}

fn getters() -> &'static mut [ffi::PyGetSetDef] {
    let getter = |name: &'static CStr, get: ffi::getter, doc: &'static CStr| ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get),
        set: None,
        doc: doc.as_ptr(),
        closure: std::ptr::null_mut(),
    };
    Box::leak(Box::new([
        getter(
            c"number",
            number,
            c"The number of the frame.

The first frame of a ring has the number 1, and each later one the number after that of the
frame before.",
        ),
        getter(
            c"time",
            time,
            c"When the frame was published, in seconds since 1970, as ``time.time()`` does.",
        ),
        getter(
            c"time_ns",
            time_ns,
            c"When the frame was published, in nanoseconds since 1970, as ``time.time_ns()`` does.",
        ),
        getter(
            c"info",
            info,
            c"The information that the producer put beside the frame, as a NumPy scalar or record.

Zeros where it put none; ``None`` if the ring has no information.",
        ),
        ffi::PyGetSetDef::default(),
    ]))
}

/// Makes the ndarray of a frame.
pub(super) fn of<'py>(
    py: Python<'py>,
    ring: &Ring,
    frame: AnyFrame,
) -> PyResult<Bound<'py, PyAny>> {
    let shape = ring.numpy_shape(&frame.shape());
    let bytes = frame.bytes();
    let dtype = ring.element_type(py);
    let itemsize: usize = dtype.getattr(intern!(py, "itemsize"))?.extract()?;
    assert_eq!(
        shape.iter().product::<usize>() * itemsize,
        bytes.len(),
        "the bytes of a frame"
    );
    let address = bytes.as_ptr().cast_mut();
    FRAMES.fetch_add(1, SeqCst);
    let pinned = Pinned {
        frame,
        info: ring.info.as_ref().map(|info| info.clone_ref(py)),
    };
    let base = Py::new(py, pinned)?.into_any();
    // SAFETY: the valid elements lie side by side from `address`, as many as the shape says. The
    // base keeps the frame, which stays mapped and is not written while it lives.
    let plain = unsafe { export::contiguous(py, &shape, dtype, address, false, base) }?;
    view_as(&plain, class(py)?.as_ptr().cast())
}

/// The frame that an ndarray is a view of.
fn pinned<'py>(ndarray: &Bound<'py, PyAny>) -> Option<Bound<'py, Pinned>> {
    last_base(ndarray)?.cast_into().ok()
}

/// `__array_finalize__`: NumPy calls it on every new object of the class.
unsafe extern "C" fn finalize(
    made: *mut ffi::PyObject,
    parent: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    run_for_object(|py| {
        // SAFETY: the interpreter keeps both during the call.
        let (made, _) = unsafe { both(py, made, parent) };
        // SAFETY: the object is an ndarray.
        let flags = unsafe { (*fields(made.as_ptr())).flags };
        let is_view = flags & NPY_ARRAY_OWNDATA == 0 && pinned(&made).is_some();
        if !is_view && made.get_type().is(class(py)?) {
            // SAFETY: the object is a new one of the class, with nothing behind NumPy's struct.
            unsafe { become_plain(py, made.as_ptr()) };
        }
        Ok(py.None().into_bound(py))
    })
}

/// `__reduce_ex__(protocol)`: the elements.
unsafe extern "C" fn reduce_ex(
    this: *mut ffi::PyObject,
    protocol: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    run_for_object(|py| {
        // SAFETY: the interpreter keeps both during the call.
        let (this, protocol) = unsafe { both(py, this, protocol) };
        plain_view(&this)?.call_method1(intern!(py, "__reduce_ex__"), (protocol,))
    })
}

/// Runs a getter with the frame; `None` for an ndarray that is a view of none.
///
/// # Safety
///
/// `this` is an object of the class.
unsafe fn get(
    this: *mut ffi::PyObject,
    value: impl for<'py> FnOnce(Python<'py>, &Pinned) -> PyResult<Bound<'py, PyAny>>,
) -> *mut ffi::PyObject {
    run_for_object(|py| {
        // SAFETY: the interpreter keeps it during the call.
        let this = unsafe { argument(py, this) };
        match pinned(&this) {
            Some(pinned) => value(py, pinned.get()),
            None => Ok(py.None().into_bound(py)),
        }
    })
}

unsafe extern "C" fn number(this: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls the getters of a class with its objects.
    unsafe {
        get(this, |py, pinned| {
            Ok(pinned.frame.number().into_pyobject(py)?.into_any())
        })
    }
}

unsafe extern "C" fn time(this: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe {
        get(this, |py, pinned| {
            Ok(pinned.time().as_secs_f64().into_pyobject(py)?.into_any())
        })
    }
}

unsafe extern "C" fn time_ns(this: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe {
        get(this, |py, pinned| {
            Ok(pinned.time().as_nanos().into_pyobject(py)?.into_any())
        })
    }
}

unsafe extern "C" fn info(this: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe {
        get(this, |py, pinned| {
            let Some(dtype) = &pinned.info else {
                return Ok(py.None().into_bound(py));
            };
            Ring::info_of(dtype.bind(py), pinned.frame.info())
        })
    }
}

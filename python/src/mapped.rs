//! The class `MappedArray`: a subclass of `numpy.ndarray` for the memory of frozen arrays, and for
//! memory without a lock. Its objects are pickled as references.
//!
//! What NumPy computes with them, and every copy, is an object of NumPy's own class: an object of
//! this one has a [`Keeper`] as the last of its bases.

use crate::{
    export::Keeper,
    slots::{
        array_wrap, become_plain, both, class_of_ndarrays, fields, last_base, method, plain_view,
        run_for_object, slot, view_as, with_keywords,
    },
};
use numpy::npyffi::{NPY_ARRAY_OWNDATA, NPY_ARRAY_WRITEABLE};
use pyo3::{ffi, intern, prelude::*, sync::PyOnceLock, types::PyType};
use std::ffi::{CStr, c_void};

const DOC: &CStr =
    c"The memory of a frozen array, or memory without a lock: an ndarray that is pickled by
reference.

A pickle of it, or of a view of it, has less than 300 bytes, and opens the same memory. What is
computed with it is a plain ndarray. ``numpy.array(x)`` is a copy whose pickle has the elements.";

static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// The class.
pub(crate) fn class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    let class = CLASS.get_or_try_init(py, || {
        let slots = vec![
            slot(ffi::Py_tp_doc, DOC.as_ptr().cast_mut().cast()),
            slot(ffi::Py_tp_methods, methods().as_mut_ptr().cast::<c_void>()),
        ];
        let (class, _) = class_of_ndarrays(py, c"ndshm.MappedArray", slots, 0)?;
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

/// Makes an ndarray that has a keeper as its base one of the class.
pub(crate) fn of<'py>(plain: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    view_as(plain, class(plain.py())?.as_ptr().cast())
}

/// The last of the bases of an ndarray, if it is a keeper.
fn keeper<'py>(ndarray: &Bound<'py, PyAny>) -> Option<Bound<'py, Keeper>> {
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
        let is_view = flags & NPY_ARRAY_OWNDATA == 0 && keeper(&made).is_some();
        if !is_view && made.get_type().is(class(py)?) {
            // SAFETY: the object is a new one of the class, with nothing behind NumPy's struct.
            unsafe { become_plain(py, made.as_ptr()) };
        }
        Ok(py.None().into_bound(py))
    })
}

/// `__reduce_ex__(protocol)`: a reference, or the elements where no reference names them.
unsafe extern "C" fn reduce_ex(
    this: *mut ffi::PyObject,
    protocol: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    run_for_object(|py| {
        // SAFETY: the interpreter keeps both during the call.
        let (this, protocol) = unsafe { both(py, this, protocol) };
        if let Some(keeper) = keeper(&this) {
            // SAFETY: the object is an ndarray.
            let parts = unsafe { &*fields(this.as_ptr()) };
            let is_writable = parts.flags & NPY_ARRAY_WRITEABLE != 0;
            let reduced = py
                .import(intern!(py, "ndshm._ndshm"))?
                .getattr(intern!(py, "reduce_mapped"))?
                .call1((keeper, &this, is_writable))?;
            if !reduced.is_none() {
                return Ok(reduced);
            }
        }
        plain_view(&this)?.call_method1(intern!(py, "__reduce_ex__"), (protocol,))
    })
}

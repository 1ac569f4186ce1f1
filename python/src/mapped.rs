//! The class `MappedArray`: a subclass of `numpy.ndarray` for the memory of frozen arrays, and for
//! memory without a lock. Its objects are pickled as references.
//!
//! What NumPy computes with them, and every copy, is an object of NumPy's own class: an object of
//! this one has a [`Keeper`] as the last of its bases.

use crate::{
    export::Keeper,
    slots::{
        arguments, become_plain, both, class_of_ndarrays, fields, method, plain_type,
        run_for_object, slot, with_keywords,
    },
};
use numpy::{
    PY_ARRAY_API,
    npyffi::{NPY_ARRAY_OWNDATA, NPY_ARRAY_WRITEABLE},
};
use pyo3::{
    ffi, intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyTuple, PyType},
};
use std::{
    ffi::{CStr, c_void},
    ptr,
};

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
    let py = plain.py();
    let class = class(py)?.as_ptr();
    // SAFETY: the object is an ndarray, and the class a subclass of its own. No type of elements is
    // given.
    let made = unsafe {
        PY_ARRAY_API.PyArray_View(py, plain.as_ptr().cast(), ptr::null_mut(), class.cast())
    };
    // SAFETY: it is a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, made) }
}

/// The last of the bases of an ndarray, if it is a keeper.
fn keeper<'py>(ndarray: &Bound<'py, PyAny>) -> Option<Bound<'py, Keeper>> {
    let py = ndarray.py();
    let mut last = ndarray.clone();
    while last.is_instance_of::<numpy::PyUntypedArray>() {
        // SAFETY: the object is an ndarray.
        let base = unsafe { (*fields(last.as_ptr())).base };
        // SAFETY: it is a live object that the ndarray keeps, or null.
        last = unsafe { Bound::from_borrowed_ptr_or_opt(py, base) }?;
    }
    last.cast_into().ok()
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

/// `__array_wrap__(array, context, return_scalar)`: what NumPy computed stays as it is, or is a
/// scalar where an ndarray gives one.
unsafe extern "C" fn array_wrap(
    _this: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    run_for_object(|py| {
        // SAFETY: these are the arguments of such a method.
        let (args, keywords) = unsafe { arguments(py, args, keywords)? };
        let made = args.get_item(0)?;
        let named = match &keywords {
            Some(keywords) => keywords.get_item(intern!(py, "return_scalar"))?,
            None => None,
        };
        let wants_scalar = match named.or_else(|| args.get_item(2).ok()) {
            Some(wanted) => wanted.is_truthy()?,
            None => false,
        };
        match wants_scalar && made.getattr(intern!(py, "ndim"))?.eq(0)? {
            true => made.get_item(PyTuple::empty(py)),
            false => Ok(made),
        }
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
        // SAFETY: the object is an ndarray, and the class NumPy's own.
        let plain = unsafe {
            PY_ARRAY_API.PyArray_View(py, this.as_ptr().cast(), ptr::null_mut(), plain_type(py))
        };
        // SAFETY: it is a new reference, or null with an exception set.
        let plain = unsafe { Bound::from_owned_ptr_or_err(py, plain) }?;
        plain.call_method1(intern!(py, "__reduce_ex__"), (protocol,))
    })
}

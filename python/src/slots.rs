//! Classes that are made from slots at run time: what their slots have in common.
//!
//! PyO3 cannot derive classes from NumPy's, because only the NumPy that is installed knows the size
//! of its struct.

use numpy::{
    PY_ARRAY_API,
    npyffi::{NpyTypes, PyArrayObject, PyArrayObject_fields, get_type_object},
};
use pyo3::{
    ffi, intern,
    prelude::*,
    types::{PyDict, PyTuple, PyType},
};
use std::{
    ffi::{CStr, c_int, c_uint, c_void},
    ptr,
};

/// A subclass of `numpy.ndarray` without a dictionary and without subclasses. Its objects have
/// `more` bytes behind NumPy's struct, at the place that is returned.
pub(crate) fn class_of_ndarrays<'py>(
    py: Python<'py>,
    name: &'static CStr,
    slots: Vec<ffi::PyType_Slot>,
    more: usize,
) -> PyResult<(Bound<'py, PyType>, usize)> {
    let base = py.import("numpy")?.getattr("ndarray")?;
    let size: usize = base.getattr("__basicsize__")?.extract()?;
    let more_at = size.next_multiple_of(align_of::<usize>());
    let mut slots = slots;
    slots.push(slot(0, ptr::null_mut()));
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: (more_at + more) as c_int,
        itemsize: 0,
        flags: ffi::Py_TPFLAGS_DEFAULT as c_uint,
        // The class lives as long as the process.
        slots: slots.leak().as_mut_ptr(),
    };
    let bases = PyTuple::new(py, [base])?;
    // SAFETY: the specification is complete, and what it refers to is never freed. The base is a
    // class, and the objects are as large as its own at least.
    let class = unsafe { ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr()) };
    // SAFETY: it is a new reference, or null with an exception set.
    let class = unsafe { Bound::from_owned_ptr_or_err(py, class) }?;
    Ok((class.cast_into()?, more_at))
}

/// NumPy's own class.
pub(crate) fn plain_type(py: Python<'_>) -> *mut ffi::PyTypeObject {
    // SAFETY: the thread is attached, and NumPy is imported by this call.
    unsafe { get_type_object(py, NpyTypes::PyArray_Type) }
}

/// NumPy's part of an ndarray.
pub(crate) fn fields(ndarray: *mut ffi::PyObject) -> *mut PyArrayObject_fields {
    let ndarray = ndarray.cast::<PyArrayObject>();
    // SAFETY: the object is an ndarray, so this stays inside of its struct.
    unsafe { &raw mut (*ndarray).fields }
}

/// Makes an object of a class from slots one of NumPy's own class. Both have NumPy's struct, and
/// both are freed alike.
///
/// # Safety
///
/// The object is a live ndarray of such a class, and needs nothing that is behind NumPy's struct.
/// The thread is attached to the interpreter.
pub(crate) unsafe fn become_plain(py: Python<'_>, ndarray: *mut ffi::PyObject) {
    // SAFETY: it is a live object.
    let class = unsafe { std::mem::replace(&mut (*ndarray).ob_type, plain_type(py)) };
    // An object of a class from slots has a reference to the class.
    // SAFETY: the class lives as long as the process.
    unsafe { ffi::Py_DECREF(class.cast()) };
}

pub(crate) fn slot(slot: c_int, function: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot {
        slot,
        pfunc: function,
    }
}

pub(crate) fn method(
    name: &'static CStr,
    function: ffi::PyMethodDefPointer,
    flags: c_int,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: function,
        ml_flags: flags,
        ml_doc: ptr::null(),
    }
}

/// A method that takes arguments and keywords.
macro_rules! with_keywords {
    ($name:literal, $function:ident) => {
        $crate::slots::method(
            $name,
            pyo3::ffi::PyMethodDefPointer {
                PyCFunctionWithKeywords: $function,
            },
            pyo3::ffi::METH_VARARGS | pyo3::ffi::METH_KEYWORDS,
        )
    };
}

/// Runs the body of a slot: an error becomes the exception of the thread, and `failed` the result.
pub(crate) fn run<R>(failed: R, body: impl FnOnce(Python<'_>) -> PyResult<R>) -> R {
    // SAFETY: the interpreter calls slots in threads that are attached to it.
    let py = unsafe { Python::assume_attached() };
    body(py).unwrap_or_else(|error| {
        error.restore(py);
        failed
    })
}

pub(crate) fn run_for_object(
    body: impl FnOnce(Python<'_>) -> PyResult<Bound<'_, PyAny>>,
) -> *mut ffi::PyObject {
    run(ptr::null_mut(), |py| body(py).map(Bound::into_ptr))
}

/// Two arguments of a slot.
///
/// # Safety
///
/// They are live objects, which the caller of the slot keeps.
pub(crate) unsafe fn both<'py>(
    py: Python<'py>,
    one: *mut ffi::PyObject,
    other: *mut ffi::PyObject,
) -> (Bound<'py, PyAny>, Bound<'py, PyAny>) {
    // SAFETY: the caller's promise.
    let one = unsafe { argument(py, one) };
    // SAFETY: the same.
    (one, unsafe { argument(py, other) })
}

/// An argument of a slot.
///
/// # Safety
///
/// It is a live object, which the caller of the slot keeps.
pub(crate) unsafe fn argument<'py>(
    py: Python<'py>,
    object: *mut ffi::PyObject,
) -> Bound<'py, PyAny> {
    // SAFETY: the caller's promise.
    unsafe { Bound::from_borrowed_ptr(py, object) }
}

/// The tuple and the dictionary of a call, which may be null.
///
/// # Safety
///
/// They are those of a method with arguments and keywords.
pub(crate) unsafe fn arguments<'py>(
    py: Python<'py>,
    args: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> PyResult<(Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>)> {
    // SAFETY: the interpreter gives a tuple.
    let args = unsafe { argument(py, args) };
    // SAFETY: the interpreter gives a dictionary or null.
    let keywords = unsafe { Bound::from_borrowed_ptr_or_opt(py, keywords) };
    let keywords = keywords.map(Bound::cast_into).transpose();
    Ok((args.cast_into()?, keywords?))
}

/// The last of the bases of an ndarray: an object that keeps its memory. `None` where the ndarrays
/// have elements of their own.
pub(crate) fn last_base<'py>(ndarray: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = ndarray.py();
    let mut last = ndarray.clone();
    while last.is_instance_of::<numpy::PyUntypedArray>() {
        // SAFETY: the object is an ndarray.
        let base = unsafe { (*fields(last.as_ptr())).base };
        // SAFETY: it is a live object that the ndarray keeps, or null.
        last = unsafe { Bound::from_borrowed_ptr_or_opt(py, base) }?;
    }
    Some(last)
}

/// A view of an ndarray that is an object of a class from slots.
pub(crate) fn view_as<'py>(
    ndarray: &Bound<'py, PyAny>,
    class: *mut ffi::PyTypeObject,
) -> PyResult<Bound<'py, PyAny>> {
    let py = ndarray.py();
    // SAFETY: the object is an ndarray, and the class NumPy's or a subclass of it. No type of
    // elements is given.
    let made =
        unsafe { PY_ARRAY_API.PyArray_View(py, ndarray.as_ptr().cast(), ptr::null_mut(), class) };
    // SAFETY: it is a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, made) }
}

/// A view of an ndarray that is an object of NumPy's own class.
pub(crate) fn plain_view<'py>(ndarray: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    view_as(ndarray, plain_type(ndarray.py()))
}

/// `__array_wrap__(array, context, return_scalar)`: what NumPy computed stays as it is, or is a
/// scalar where an ndarray gives one.
pub(crate) unsafe extern "C" fn array_wrap(
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

pub(crate) use with_keywords;

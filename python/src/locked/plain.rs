//! Plain ndarrays of the views of a lease, and views of plain ndarrays.
//!
//! A plain ndarray has the root as its base: an object that keeps it keeps the lock.

use super::{Lease, class::Class, list};
use crate::slots::{fields, plain_type};
use numpy::{
    PY_ARRAY_API,
    npyffi::{NPY_ARRAY_OWNDATA, NPY_ARRAY_WRITEABLE, NpyTypes, get_type_object},
};
use pyo3::{
    ffi,
    prelude::*,
    types::{PyBool, PyEllipsis, PyInt, PySlice, PyString, PyTuple},
};
use std::{ffi::c_int, ptr, sync::atomic::Ordering::Relaxed};

/// A plain ndarray of a view: writable if the view may be written.
pub(super) fn of<'py>(class: &Class, view: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = view.py();
    let (base, is_writable) = match class.lease(view) {
        Some((lease, is_read_only)) => (
            lease.root.load(Relaxed),
            lease.is_writable.load(Relaxed) && !is_read_only,
        ),
        // An ndarray of the class that is no view of a lease.
        None => {
            // SAFETY: the object is an ndarray.
            let flags = unsafe { (*fields(view.as_ptr())).flags };
            (view.as_ptr(), flags & NPY_ARRAY_WRITEABLE != 0)
        }
    };
    // SAFETY: the view keeps the root.
    let base = unsafe { Bound::from_borrowed_ptr(py, base) };
    // SAFETY: the base keeps the memory of the view.
    unsafe { over(view, plain_type(py), is_writable, Some(base)) }
}

/// A plain ndarray of a read-only kind, whatever the view is.
pub(super) fn read_only<'py>(
    class: &Class,
    view: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let plain = of(class, view)?;
    // SAFETY: the object is an ndarray that no other code has yet.
    unsafe { (*fields(plain.as_ptr())).flags &= !NPY_ARRAY_WRITEABLE };
    Ok(plain)
}

/// A plain ndarray of all elements.
pub(super) fn of_root<'py>(
    py: Python<'py>,
    root: &Bound<'py, PyAny>,
    is_writable: bool,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the root keeps its own memory.
    unsafe { over(root, plain_type(py), is_writable, Some(root.clone())) }
}

/// A view with the layout of a plain ndarray, or of the root, on the list of the lease.
pub(super) fn locked_over<'py>(
    py: Python<'py>,
    plain: &Bound<'py, PyAny>,
    lease: &Lease,
    is_read_only: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let class = Class::get(py)?;
    // SAFETY: the base is set below.
    let view = unsafe { over(plain, class.as_type(), false, None) }?;
    // SAFETY: the object is a new one of the class, over memory of the root, which the plain
    // ndarray keeps.
    unsafe { list::add(class, view.as_ptr(), lease, is_read_only) };
    Ok(view)
}

/// An ndarray with the layout and the memory of another one.
///
/// # Safety
///
/// `base` keeps the memory, or the caller sets such a base at once.
unsafe fn over<'py>(
    of: &Bound<'py, PyAny>,
    class: *mut ffi::PyTypeObject,
    is_writable: bool,
    base: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = of.py();
    // SAFETY: the object is an ndarray.
    let parts = unsafe { &*fields(of.as_ptr()) };
    // NumPy takes over a reference to the type of the elements.
    // SAFETY: an ndarray has one.
    unsafe { ffi::Py_INCREF(parts.descr.cast()) };
    let flags = if is_writable { NPY_ARRAY_WRITEABLE } else { 0 };
    // SAFETY: class, type, lengths and strides are those of NumPy's own objects.
    let made = unsafe {
        PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            class,
            parts.descr,
            parts.nd as c_int,
            parts.dimensions,
            parts.strides,
            parts.data.cast(),
            flags,
            ptr::null_mut(),
        )
    };
    // SAFETY: it is a new reference, or null with an exception set.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, made) }?;
    if let Some(base) = base {
        // SAFETY: the new ndarray has no base yet, and takes over the reference.
        unsafe { (*fields(made.as_ptr())).base = base.into_ptr() };
    }
    Ok(made)
}

/// Whether NumPy answers an index by numbers alone: with a view or one element.
pub(super) fn is_basic(index: &Bound<'_, PyAny>) -> bool {
    let is_part = |part: &Bound<'_, PyAny>| {
        part.is_exact_instance_of::<PyInt>()
            || part.is_exact_instance_of::<PySlice>()
            || part.is_none()
            || part.is_exact_instance_of::<PyEllipsis>()
            || is_integer_scalar(part)
    };
    match index.cast_exact::<PyTuple>() {
        Ok(parts) => parts.iter_borrowed().all(|part| is_part(&part)),
        Err(_) => index.is_exact_instance_of::<PyString>() || is_part(index),
    }
}

/// Whether an object is an integer of NumPy's, which is no array.
fn is_integer_scalar(part: &Bound<'_, PyAny>) -> bool {
    // SAFETY: it is a live object.
    let is_index = unsafe { ffi::PyIndex_Check(part.as_ptr()) } != 0;
    is_index
        && !part.is_instance_of::<PyBool>()
        // SAFETY: the classes are NumPy's and the object lives.
        && unsafe { ffi::PyObject_TypeCheck(part.as_ptr(), integer_type(part.py())) } != 0
}

fn integer_type(py: Python<'_>) -> *mut ffi::PyTypeObject {
    // SAFETY: the thread is attached, and NumPy is imported by this call.
    unsafe { get_type_object(py, NpyTypes::PyIntegerArrType_Type) }
}

/// What NumPy made of the plain ndarray of a view: a plain ndarray over the same root becomes a
/// view, which is as writable as `like`.
pub(super) fn wrapped<'py>(
    class: &Class,
    made: Bound<'py, PyAny>,
    like: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = made.py();
    let Some((lease, is_read_only)) = class.lease(like) else {
        return Ok(made);
    };
    match is_over(py, &made, lease) {
        true => locked_over(py, &made, lease, is_read_only),
        false => Ok(made),
    }
}

/// Whether an object is a plain ndarray over memory of a lease, by its base or by its address.
pub(super) fn is_over(py: Python<'_>, object: &Bound<'_, PyAny>, lease: &Lease) -> bool {
    // SAFETY: it is a live object.
    let is_plain = unsafe { ffi::Py_TYPE(object.as_ptr()) } == plain_type(py);
    if !is_plain {
        return false;
    }
    // SAFETY: the object is an ndarray.
    let parts = unsafe { &*fields(object.as_ptr()) };
    parts.base == lease.root.load(Relaxed)
        || parts.flags & NPY_ARRAY_OWNDATA == 0 && lease.memory.contains(&parts.data.addr())
}

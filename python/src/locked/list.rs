//! The views of a lease: a list through the objects themselves, so that a view costs no memory of
//! its own there. The interpreter's lock guards it.

use super::{Lease, Remains, class::Class};
use crate::slots::fields;
use ndshm::MappedMemory;
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::{ffi, prelude::*};
use std::{ptr, sync::atomic::Ordering::Relaxed};

/// What an object of the class `LockedArray` has behind NumPy's struct.
#[repr(C)]
pub(super) struct Extra {
    /// Null for an ndarray that is no view of a lease: one that was emptied, or has its own
    /// elements. The lease lives as long as the root does, which the view keeps.
    pub(super) lease: *const Lease,
    previous: *mut ffi::PyObject,
    next: *mut ffi::PyObject,
    /// Whether the view refuses to be written, though its lease may be.
    pub(super) is_read_only: bool,
}

/// The address of an ndarray's first element.
pub(super) fn address(ndarray: *mut ffi::PyObject) -> *mut u8 {
    // SAFETY: the object is an ndarray.
    unsafe { (*fields(ndarray)).data.cast() }
}

/// Puts a view of the root on the list of its lease, and makes the root its base.
///
/// # Safety
///
/// `view` is a live object of the class that is on no list, over memory of the lease's root, which
/// lives. The thread is attached to the interpreter.
pub(super) unsafe fn add(class: &Class, view: *mut ffi::PyObject, lease: &Lease, read_only: bool) {
    let extra = class.extra(view);
    let first = lease.views.swap(view, Relaxed);
    let made = Extra {
        lease,
        previous: ptr::null_mut(),
        next: first,
        is_read_only: read_only,
    };
    // SAFETY: the object has this part behind NumPy's struct.
    unsafe { extra.write(made) };
    if !first.is_null() {
        let first = class.extra(first);
        // SAFETY: the objects on the list live: they take themselves off when they are deallocated.
        unsafe { (*first).previous = view };
    }
    let root = lease.root.load(Relaxed);
    // SAFETY: the root lives (the caller's promise).
    unsafe { ffi::Py_INCREF(root) };
    // SAFETY: the view and the root are live objects, and the new reference is the view's.
    unsafe { set_base(view, root) };
}

/// Sets the base of an ndarray, which takes over the reference.
///
/// # Safety
///
/// `view` is a live ndarray, and `base` an owned reference or null.
unsafe fn set_base(view: *mut ffi::PyObject, base: *mut ffi::PyObject) {
    // SAFETY: the ndarray lives (the caller's promise), so it has this field.
    let parts = unsafe { &mut *fields(view) };
    let former = std::mem::replace(&mut parts.base, base);
    // SAFETY: the reference was the ndarray's, and is ours now. The thread is attached.
    unsafe { ffi::Py_XDECREF(former) };
}

/// Takes a view off the list of its lease, if it is on one. Its base stays.
///
/// # Safety
///
/// `view` is an object of the class, live or about to be deallocated. The thread is attached to the
/// interpreter.
pub(super) unsafe fn remove(class: &Class, view: *mut ffi::PyObject) {
    let extra = class.extra(view);
    // SAFETY: the object has this part behind NumPy's struct.
    let extra = unsafe { &mut *extra };
    // SAFETY: the view keeps the root, and so the lease, until its base goes.
    let Some(lease) = (unsafe { extra.lease.as_ref() }) else {
        return;
    };
    match extra.previous.is_null() {
        true => lease.views.store(extra.next, Relaxed),
        false => {
            let previous = class.extra(extra.previous);
            // SAFETY: the objects on the list live.
            unsafe { (*previous).next = extra.next };
        }
    }
    if !extra.next.is_null() {
        let next = class.extra(extra.next);
        // SAFETY: the objects on the list live.
        unsafe { (*next).previous = extra.previous };
    }
    extra.lease = ptr::null();
}

/// Empties all views of a lease: all their axes get the length 0, and one without axes shows a
/// zero. Their addresses stay mapped by what `memory` returns.
pub(super) fn empty_all(
    py: Python<'_>,
    lease: &Lease,
    memory: impl FnOnce() -> MappedMemory,
) -> PyResult<()> {
    let class = Class::get(py)?;
    let mut next = lease.views.load(Relaxed);
    if next.is_null() {
        return Ok(());
    }
    let mut itemsize = 0;
    while !next.is_null() {
        // SAFETY: the objects on the list live.
        let view = unsafe { Bound::from_borrowed_ptr(py, next) };
        let view = view.cast::<PyUntypedArray>()?;
        if view.ndim() == 0 {
            itemsize = itemsize.max(view.dtype().itemsize());
        }
        // SAFETY: an object of the class has this part.
        next = unsafe { (*class.extra(next)).next };
    }
    let remains = Remains {
        _memory: memory(),
        blank: vec![0; itemsize.div_ceil(16).max(1)],
    };
    let blank = remains.blank.as_ptr().cast_mut().cast();
    let remains = Py::new(py, remains)?.into_any();
    loop {
        let view = lease.views.load(Relaxed);
        if view.is_null() {
            return Ok(());
        }
        // SAFETY: the object is on the list, so it lives.
        unsafe { remove(class, view) };
        // SAFETY: an ndarray has these fields, and the thread is attached to the interpreter, so no
        // other code uses them now.
        let parts = unsafe { &mut *fields(view) };
        if parts.nd == 0 {
            parts.data = blank;
        } else {
            // SAFETY: an ndarray has `nd` dimensions.
            let shape =
                unsafe { std::slice::from_raw_parts_mut(parts.dimensions, parts.nd as usize) };
            shape.fill(0);
        }
        let base = remains.clone_ref(py).into_ptr();
        // SAFETY: the view lives, and takes over the reference. The root has another reference, of
        // the block that ends.
        unsafe { set_base(view, base) };
    }
}

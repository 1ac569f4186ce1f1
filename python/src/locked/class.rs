//! The class `LockedArray`: a subclass of `numpy.ndarray` for the views of a lease.
//!
//! It has no subclasses and no dictionary.

use super::{
    Lease, Way,
    list::{self, Extra},
    methods, plain,
};
use crate::slots::{
    argument, become_plain, both, class_of_ndarrays, fields, run, run_for_object, slot,
};
use numpy::npyffi::{NPY_ARRAY_OWNDATA, NPY_ARRAY_WRITEABLE};
use pyo3::{
    exceptions::{PyAttributeError, PySystemError},
    ffi,
    prelude::*,
    sync::PyOnceLock,
    types::{PyFrozenSet, PyString, PyType},
};
use std::{
    ffi::{CStr, c_int, c_void},
    mem,
};

/// The attributes that a view answers itself. All other public ones, and [`BY_PLAIN`], are those of
/// a plain ndarray.
const OWN: [&str; 34] = [
    "shape",
    "ndim",
    "size",
    "dtype",
    "itemsize",
    "nbytes",
    "strides",
    "base",
    "device",
    "T",
    "mT",
    "real",
    "transpose",
    "reshape",
    "ravel",
    "swapaxes",
    "squeeze",
    "diagonal",
    "getfield",
    "view",
    "setflags",
    "flags",
    "resize",
    "argmax",
    "argmin",
    "choose",
    "compress",
    "dot",
    "take",
    "imag",
    "astype",
    "conj",
    "conjugate",
    "to_device",
];

const BY_PLAIN: [&str; 12] = [
    "__array__",
    "__array_interface__",
    "__array_struct__",
    "__array_wrap__",
    "__dlpack__",
    "__reduce__",
    "__reduce_ex__",
    "__copy__",
    "__deepcopy__",
    "__setstate__",
    "__format__",
    "__buffer__",
];

/// The attributes that hand out memory which can be written later, or write it themselves.
const WRITING: [&str; 15] = [
    "data",
    "ctypes",
    "flat",
    "__array_interface__",
    "__array_struct__",
    "__dlpack__",
    "__array__",
    "fill",
    "sort",
    "partition",
    "put",
    "setfield",
    "byteswap",
    "itemset",
    "__setstate__",
];

static CLASS: PyOnceLock<Class> = PyOnceLock::new();

/// The class, and what it takes from NumPy's.
pub(super) struct Class {
    pub(super) class: Py<PyType>,
    /// Where an object has its [`Extra`].
    extra_at: usize,
    dealloc: ffi::destructor,
    subscript: ffi::binaryfunc,
    assign: ffi::objobjargproc,
    assign_item: ffi::ssizeobjargproc,
    pub(super) view: Py<PyAny>,
    pub(super) flags: Py<PyAny>,
    by_plain: Py<PyFrozenSet>,
    writing: Py<PyFrozenSet>,
}

/// Whether an object is one of the class.
pub(crate) fn is_locked(object: &Bound<'_, PyAny>) -> bool {
    CLASS
        .get(object.py())
        .is_some_and(|class| class.is_of(object.as_ptr()))
}

/// Adds the class to the package's compiled module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let class = Class::get(module.py())?;
    module.add("LockedArray", class.class.clone_ref(module.py()))
}

impl Class {
    pub(super) fn get(py: Python<'_>) -> PyResult<&Self> {
        CLASS.get_or_try_init(py, || Self::make(py))
    }

    #[inline]
    pub(super) fn is_of(&self, object: *mut ffi::PyObject) -> bool {
        // SAFETY: the caller has a live object.
        unsafe { ffi::Py_TYPE(object) == self.class.as_ptr().cast() }
    }

    pub(super) fn as_type(&self) -> *mut ffi::PyTypeObject {
        self.class.as_ptr().cast()
    }

    /// The part behind NumPy's struct.
    #[inline]
    pub(super) fn extra(&self, view: *mut ffi::PyObject) -> *mut Extra {
        view.cast::<u8>().wrapping_add(self.extra_at).cast()
    }

    /// The lease of a view; `None` for other objects, and for ndarrays of this class that are no
    /// views of a lease.
    #[inline]
    pub(super) fn lease<'a>(&self, object: &'a Bound<'_, PyAny>) -> Option<(&'a Lease, bool)> {
        self.lease_of(object.as_ptr())
    }

    /// The same for an object that lives for `'a`.
    #[inline]
    fn lease_of<'a>(&self, object: *mut ffi::PyObject) -> Option<(&'a Lease, bool)> {
        if !self.is_of(object) {
            return None;
        }
        let extra = self.extra(object);
        // SAFETY: an object of the class has this part.
        let extra = unsafe { &*extra };
        // SAFETY: a view keeps the root, and so the lease, which is there unless it is null.
        let lease = unsafe { extra.lease.as_ref() }?;
        Some((lease, extra.is_read_only))
    }

    fn make(py: Python<'_>) -> PyResult<Self> {
        let base = py.import("numpy")?.getattr("ndarray")?;
        let slots = vec![
            slot(ffi::Py_tp_doc, DOC.as_ptr().cast_mut().cast()),
            slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
            slot(ffi::Py_tp_getattro, getattr as *mut c_void),
            slot(ffi::Py_tp_setattro, setattr as *mut c_void),
            slot(ffi::Py_tp_repr, repr as *mut c_void),
            slot(ffi::Py_tp_str, str as *mut c_void),
            slot(ffi::Py_mp_subscript, subscript as *mut c_void),
            slot(ffi::Py_mp_ass_subscript, assign as *mut c_void),
            slot(ffi::Py_sq_ass_item, assign_item as *mut c_void),
            slot(ffi::Py_bf_getbuffer, buffer as *mut c_void),
            slot(ffi::Py_tp_methods, methods::all().as_mut_ptr().cast()),
            slot(ffi::Py_tp_getset, methods::getters().as_mut_ptr().cast()),
        ];
        let more = size_of::<Extra>();
        let (class, extra_at) = class_of_ndarrays(py, c"ndshm.LockedArray", slots, more)?;
        let public = base.dir()?;
        let names = public
            .iter()
            .filter_map(|name| name.extract::<String>().ok());
        let by_plain: Vec<_> = names
            .filter(|name| !name.starts_with('_') && !OWN.contains(&name.as_str()))
            .chain(BY_PLAIN.map(String::from))
            .collect();
        let base = base.cast::<PyType>()?;
        Ok(Self {
            class: class.unbind(),
            extra_at,
            // SAFETY: the slot of a class has this type.
            dealloc: unsafe { inherited(base, ffi::Py_tp_dealloc)? },
            // SAFETY: the same.
            subscript: unsafe { inherited(base, ffi::Py_mp_subscript)? },
            // SAFETY: the same.
            assign: unsafe { inherited(base, ffi::Py_mp_ass_subscript)? },
            // SAFETY: the same.
            assign_item: unsafe { inherited(base, ffi::Py_sq_ass_item)? },
            view: base.getattr("view")?.unbind(),
            flags: base.getattr("flags")?.unbind(),
            by_plain: PyFrozenSet::new(py, by_plain)?.unbind(),
            writing: PyFrozenSet::new(py, WRITING)?.unbind(),
        })
    }
}

const DOC: &CStr =
    c"The elements of a guard: an ndarray that shows nothing once its block has ended.

NumPy's functions and methods work on it without a copy, and what they compute is a plain
ndarray. Its views are emptied with it, wherever they are kept.

To code that takes it for a plain ndarray it is read-only, ``numpy.asarray(x)`` too. Use
``x.view(numpy.ndarray)`` for a function that writes a plain ndarray: that one keeps the lock.";

/// The function in a slot of NumPy's class.
///
/// # Safety
///
/// `F` is the type of functions in this slot.
unsafe fn inherited<F: Copy>(base: &Bound<'_, PyType>, slot: c_int) -> PyResult<F> {
    // SAFETY: it is a live class.
    let found = unsafe { ffi::PyType_GetSlot(base.as_ptr().cast(), slot) };
    if found.is_null() {
        let text = format!("numpy.ndarray has nothing in slot {slot}");
        return Err(PySystemError::new_err(text));
    }
    // SAFETY: it is a function of that type (the caller's promise), as large as a pointer.
    Ok(unsafe { mem::transmute_copy(&found) })
}

unsafe extern "C" fn dealloc(view: *mut ffi::PyObject) {
    // SAFETY: the interpreter deallocates objects in threads that are attached to it.
    let py = unsafe { Python::assume_attached() };
    // The class exists, because this is an object of it.
    let Some(class) = CLASS.get(py) else { return };
    // SAFETY: the object is one of the class, about to be deallocated.
    unsafe { list::remove(class, view) };
    // SAFETY: the same, and NumPy's function frees it.
    unsafe { (class.dealloc)(view) };
    // An object of a class from slots has a reference to the class.
    // SAFETY: the class lives as long as the process.
    unsafe { ffi::Py_DECREF(class.class.as_ptr()) };
}

/// `__array_finalize__`: NumPy calls it on every new object of the class. `parent` is the ndarray
/// that it was made from, or `None`.
///
/// A view of a lease goes on the list. Any other one, such as the result of a computation, becomes
/// an object of NumPy's own class.
pub(super) unsafe extern "C" fn finalize(
    view: *mut ffi::PyObject,
    parent: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls slots in threads that are attached to it.
    let py = unsafe { Python::assume_attached() };
    // The usual case first: it is the larger part of what a view costs.
    if let Some(class) = CLASS.get(py)
        && let Some((lease, read_only)) = class.lease_of(parent)
        && class.is_of(view)
        && class.lease_of(view).is_none()
    {
        // SAFETY: the object is an ndarray.
        let parts = unsafe { &mut *fields(view) };
        if parts.flags & NPY_ARRAY_OWNDATA == 0 && lease.has(parts.data.addr()) {
            parts.flags &= !NPY_ARRAY_WRITEABLE;
            // SAFETY: the view is on no list, and lies in the memory of the lease, whose root the
            // parent keeps.
            unsafe { list::add(class, view, lease, read_only) };
            return py.None().into_ptr();
        }
    }
    finalize_other(view, parent)
}

/// What has another parent than a view of the same lease.
#[cold]
fn finalize_other(view: *mut ffi::PyObject, parent: *mut ffi::PyObject) -> *mut ffi::PyObject {
    run_for_object(|py| {
        let class = Class::get(py)?;
        // SAFETY: the interpreter keeps both during the call.
        let (view, parent) = unsafe { both(py, view, parent) };
        if parent.is_none() || !class.is_of(view.as_ptr()) || class.lease(&view).is_some() {
            return Ok(py.None().into_bound(py));
        }
        // SAFETY: the object is an ndarray.
        let parts = unsafe { &mut *fields(view.as_ptr()) };
        // Such as a view by a number for the address, as `as_strided` makes it.
        let lease = match parts.flags & NPY_ARRAY_OWNDATA {
            0 => Lease::at(parts.data.addr()),
            _ => None,
        };
        match lease {
            Some(lease) => {
                parts.flags &= !NPY_ARRAY_WRITEABLE;
                // SAFETY: the view is on no list, and lies in the memory of the lease, whose root
                // lives until the lease ends.
                unsafe { list::add(class, view.as_ptr(), &lease, true) };
            }
            // SAFETY: the object is a new one of the class, on no list.
            None => unsafe { become_plain(py, view.as_ptr()) },
        }
        Ok(py.None().into_bound(py))
    })
}

unsafe extern "C" fn getattr(
    view: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls slots in threads that are attached to it.
    let py = unsafe { Python::assume_attached() };
    let is_by_plain = CLASS.get(py).is_some_and(|class| {
        // SAFETY: the set and the name are live objects, and a name is a text, which can be hashed.
        unsafe { ffi::PySet_Contains(class.by_plain.as_ptr(), name) == 1 }
    });
    if !is_by_plain {
        // SAFETY: both are live objects.
        return unsafe { ffi::PyObject_GenericGetAttr(view, name) };
    }
    run_for_object(|py| {
        let class = Class::get(py)?;
        // SAFETY: the interpreter keeps both during the call.
        let (view, name) = unsafe { both(py, view, name) };
        if let Some((lease, _)) = class.lease(&view) {
            if class.writing.bind(py).contains(&name)? {
                lease.note_write();
            }
            lease.note_way(way_of(&name)?);
        }
        plain::of(class, &view)?.getattr(name.cast::<PyString>()?)
    })
}

fn way_of(name: &Bound<'_, PyAny>) -> PyResult<Way> {
    let name = name.cast::<PyString>()?.to_cow()?;
    Ok(match name.as_ref() {
        "data" | "__buffer__" => Way::Buffer,
        "ctypes" => Way::Ctypes,
        "flat" => Way::Iterator,
        "__dlpack__" => Way::Dlpack,
        "__array_interface__" | "__array_struct__" => Way::Interface,
        _ => Way::Method,
    })
}

unsafe extern "C" fn setattr(
    view: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
) -> c_int {
    run(-1, |py| {
        let class = Class::get(py)?;
        // SAFETY: the interpreter keeps both during the call.
        let (object, known) = unsafe { both(py, view, name) };
        let known = known.cast::<PyString>()?.to_cow()?.into_owned();
        if known == "data" {
            // NumPy would put other memory under the view, and drop what keeps its own.
            return Err(PyAttributeError::new_err(
                "the data of a guard's array cannot be set",
            ));
        }
        if !matches!(known.as_str(), "flat" | "real" | "imag") || value.is_null() {
            // SAFETY: they are live objects, the value perhaps null to delete.
            return match unsafe { ffi::PyObject_GenericSetAttr(view, name, value) } {
                0 => Ok(0),
                _ => Err(PyErr::fetch(py)),
            };
        }
        if let Some((lease, _)) = class.lease(&object) {
            lease.note_write();
        }
        // SAFETY: the interpreter keeps it during the call.
        let value = unsafe { argument(py, value) };
        plain::of(class, &object)?.setattr(known, value)?;
        Ok(0)
    })
}

unsafe extern "C" fn repr(view: *mut ffi::PyObject) -> *mut ffi::PyObject {
    run_for_object(|py| {
        // SAFETY: the interpreter keeps it during the call.
        let view = unsafe { argument(py, view) };
        Ok(plain::of(Class::get(py)?, &view)?.repr()?.into_any())
    })
}

unsafe extern "C" fn str(view: *mut ffi::PyObject) -> *mut ffi::PyObject {
    run_for_object(|py| {
        // SAFETY: the interpreter keeps it during the call.
        let view = unsafe { argument(py, view) };
        Ok(plain::of(Class::get(py)?, &view)?.str()?.into_any())
    })
}

/// `x[index]`: a view for a basic index; any other is taken of a plain ndarray, because NumPy lets
/// other threads run while it copies.
unsafe extern "C" fn subscript(
    view: *mut ffi::PyObject,
    index: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    run_for_object(|py| {
        let class = Class::get(py)?;
        // SAFETY: the interpreter keeps both during the call.
        let (object, at) = unsafe { both(py, view, index) };
        if plain::is_basic(&at) {
            // SAFETY: both are live objects, the first one an ndarray.
            let made = unsafe { (class.subscript)(view, index) };
            // SAFETY: it is a new reference, or null with an exception set.
            return unsafe { Bound::from_owned_ptr_or_err(py, made) };
        }
        let from = plain::of(class, &object)?;
        // SAFETY: both are live objects, the first one an ndarray.
        let made = unsafe { (class.subscript)(from.as_ptr(), index) };
        // SAFETY: it is a new reference, or null with an exception set.
        let made = unsafe { Bound::from_owned_ptr_or_err(py, made) }?;
        plain::wrapped(class, made, &object)
    })
}

unsafe extern "C" fn assign(
    view: *mut ffi::PyObject,
    index: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
) -> c_int {
    run(-1, |py| {
        let class = Class::get(py)?;
        // SAFETY: the interpreter keeps it during the call.
        let plain = unsafe { writing(class, py, view)? };
        // SAFETY: they are live objects, the value perhaps null to delete.
        match unsafe { (class.assign)(plain.as_ptr(), index, value) } {
            0 => Ok(0),
            _ => Err(PyErr::fetch(py)),
        }
    })
}

unsafe extern "C" fn assign_item(
    view: *mut ffi::PyObject,
    index: ffi::Py_ssize_t,
    value: *mut ffi::PyObject,
) -> c_int {
    run(-1, |py| {
        let class = Class::get(py)?;
        // SAFETY: the interpreter keeps it during the call.
        let plain = unsafe { writing(class, py, view)? };
        // SAFETY: they are live objects, the value perhaps null to delete.
        match unsafe { (class.assign_item)(plain.as_ptr(), index, value) } {
            0 => Ok(0),
            _ => Err(PyErr::fetch(py)),
        }
    })
}

/// The plain ndarray of a view that is going to be written.
///
/// # Safety
///
/// `view` is a live object of the class, which the caller of the slot keeps.
unsafe fn writing<'py>(
    class: &Class,
    py: Python<'py>,
    view: *mut ffi::PyObject,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the caller's promise.
    let view = unsafe { argument(py, view) };
    if let Some((lease, _)) = class.lease(&view) {
        lease.note_write();
    }
    plain::of(class, &view)
}

/// The buffer of a plain ndarray, which the consumer keeps.
unsafe extern "C" fn buffer(
    view: *mut ffi::PyObject,
    buffer: *mut ffi::Py_buffer,
    flags: c_int,
) -> c_int {
    run(-1, |py| {
        let class = Class::get(py)?;
        // SAFETY: the interpreter keeps it during the call.
        let object = unsafe { argument(py, view) };
        let plain = plain::of(class, &object)?;
        if let Some((lease, _)) = class.lease(&object) {
            lease.note_write();
            lease.note_way(Way::Buffer);
        }
        // SAFETY: the ndarray is a live object, and the buffer structure the caller's.
        match unsafe { ffi::PyObject_GetBuffer(plain.as_ptr(), buffer, flags) } {
            0 => Ok(0),
            _ => Err(PyErr::fetch(py)),
        }
    })
}

//! The methods that the class `LockedArray` has instead of NumPy's.

use super::{
    Way, calls,
    class::{Class, finalize},
    plain,
};
use crate::slots::{argument, arguments, fields, method, run_for_object, with_keywords};
use numpy::npyffi::NPY_ARRAY_WRITEABLE;
use pyo3::{
    exceptions::PyValueError,
    ffi, intern,
    prelude::*,
    types::{PyDict, PyTuple, PyType},
};
use std::{ffi::c_void, ptr, sync::atomic::Ordering::Relaxed};

pub(super) fn all() -> &'static mut [ffi::PyMethodDef] {
    let finalize = ffi::PyMethodDefPointer {
        PyCFunction: finalize,
    };
    Box::leak(Box::new([
        method(c"__array_finalize__", finalize, ffi::METH_O),
        with_keywords!(c"__array_ufunc__", array_ufunc),
        with_keywords!(c"__array_function__", array_function),
        with_keywords!(c"view", view),
        with_keywords!(c"setflags", setflags),
        with_keywords!(c"argmax", argmax),
        with_keywords!(c"argmin", argmin),
        with_keywords!(c"choose", choose),
        with_keywords!(c"compress", compress),
        with_keywords!(c"dot", dot),
        with_keywords!(c"take", take),
        with_keywords!(c"astype", astype),
        with_keywords!(c"conj", conj),
        with_keywords!(c"conjugate", conjugate),
        with_keywords!(c"to_device", to_device),
        ffi::PyMethodDef::zeroed(),
    ]))
}

pub(super) fn getters() -> &'static mut [ffi::PyGetSetDef] {
    Box::leak(Box::new([
        ffi::PyGetSetDef {
            name: c"base".as_ptr(),
            get: Some(no_base),
            set: None,
            doc: ptr::null(),
            closure: ptr::null_mut(),
        },
        ffi::PyGetSetDef {
            name: c"flags".as_ptr(),
            get: Some(flags),
            set: None,
            doc: ptr::null(),
            closure: ptr::null_mut(),
        },
        ffi::PyGetSetDef::default(),
    ]))
}

/// Runs a method that takes arguments and keywords.
///
/// # Safety
///
/// The arguments are those of such a method, of an object of the class.
unsafe fn with_arguments(
    view: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
    method: impl for<'py> FnOnce(
        &Class,
        &Bound<'py, PyAny>,
        &Bound<'py, PyTuple>,
        Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>>,
) -> *mut ffi::PyObject {
    run_for_object(|py| {
        // SAFETY: the caller's promise.
        let (args, keywords) = unsafe { arguments(py, args, keywords)? };
        // SAFETY: the interpreter keeps it during the call.
        let view = unsafe { argument(py, view) };
        method(Class::get(py)?, &view, &args, keywords.as_ref())
    })
}

/// `base`: nothing. What keeps the memory is for the lease alone.
unsafe extern "C" fn no_base(_view: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    run_for_object(|py| Ok(py.None().into_bound(py)))
}

/// `view`: as another class of a plain ndarray, which may be written uncounted.
unsafe extern "C" fn view(
    view: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: these are the arguments of such a method.
    unsafe { with_arguments(view, args, keywords, view_as) }
}

fn view_as<'py>(
    class: &Class,
    view: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = view.py();
    let named = keywords.into_iter().flat_map(|keywords| keywords.values());
    let has_other_class = args.iter().chain(named).any(|value| {
        let is_own = value.as_ptr() == class.class.as_ptr();
        let array = class.class.bind(py).getattr(intern!(py, "__base__"));
        let value = value.cast::<PyType>();
        !is_own
            && array.is_ok_and(|array| {
                value.is_ok_and(|value| value.is_subclass(&array).unwrap_or(false))
            })
    });
    if !has_other_class {
        let args = calls::with_first(view, args)?;
        return class.view.bind(py).call(args, keywords);
    }
    if let Some((lease, _)) = class.lease(view) {
        lease.note_write();
        lease.note_way(Way::OtherClass);
    }
    let plain = plain::of(class, view)?;
    plain.call_method(intern!(py, "view"), args, keywords)
}

/// `flags`: NumPy's object, which calls `setflags` of the view when a flag is set.
unsafe extern "C" fn flags(view: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    run_for_object(|py| {
        let class = Class::get(py)?;
        // SAFETY: the interpreter keeps the object during the call.
        let view = unsafe { Bound::from_borrowed_ptr(py, view) };
        let is_writable = class
            .lease(&view)
            .is_some_and(|(lease, is_read_only)| lease.is_writable.load(Relaxed) && !is_read_only);
        // The object copies the flags. It is to say whether the view can be written, and NumPy's
        // flag of the view says no in every block.
        // SAFETY: the object is an ndarray.
        let parts = unsafe { &raw mut (*fields(view.as_ptr())).flags };
        // SAFETY: the field of a live object; no other code runs meanwhile.
        let before = unsafe { *parts };
        if is_writable {
            // SAFETY: the same.
            unsafe { *parts = before | NPY_ARRAY_WRITEABLE };
        }
        let found = class.flags.bind(py).call_method1("__get__", (&view,));
        // SAFETY: the same.
        unsafe { *parts = before };
        found
    })
}

/// `setflags`: a view can refuse to be written, and be written again if its guard may write.
unsafe extern "C" fn setflags(
    view: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: these are the arguments of such a method.
    unsafe { with_arguments(view, args, keywords, set_flags) }
}

fn set_flags<'py>(
    class: &Class,
    view: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = view.py();
    let Some((lease, _)) = class.lease(view) else {
        return plain::of(class, view)?.call_method(intern!(py, "setflags"), args, keywords);
    };
    let write = match (args.get_item(0), keywords) {
        (Ok(write), _) => Some(write),
        (_, Some(keywords)) => keywords.get_item(intern!(py, "write"))?,
        _ => None,
    };
    if let Some(write) = write.filter(|write| !write.is_none()) {
        let is_read_only = !write.is_truthy()?;
        if !is_read_only && !lease.is_writable.load(Relaxed) {
            return Err(PyValueError::new_err(
                "cannot set WRITEABLE flag to True of this array: its guard is one to read",
            ));
        }
        let extra = class.extra(view.as_ptr());
        // SAFETY: an object of the class has this part.
        unsafe { (*extra).is_read_only = is_read_only };
    }
    Ok(py.None().into_bound(py))
}

/// Methods that NumPy computes without its functions, with the place of the argument `out`. A view
/// there is read-only to NumPy, so they get plain ndarrays.
macro_rules! computing {
    ($($name:ident $out_at:literal;)*) => {$(
        unsafe extern "C" fn $name(
            view: *mut ffi::PyObject,
            args: *mut ffi::PyObject,
            keywords: *mut ffi::PyObject,
        ) -> *mut ffi::PyObject {
            // SAFETY: these are the arguments of such a method.
            unsafe {
                with_arguments(view, args, keywords, |class, view, args, keywords| {
                    let name = intern!(view.py(), stringify!($name));
                    calls::method(class, view, (name, $out_at), args, keywords)
                })
            }
        }
    )*};
}

// The last four may give their own ndarray. Two of them have no `out`, and fewer arguments.
computing! {
    argmax 1;
    argmin 1;
    choose 1;
    compress 2;
    dot 1;
    take 2;
    astype 9;
    conj 0;
    conjugate 0;
    to_device 9;
}

unsafe extern "C" fn array_ufunc(
    view: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: these are the arguments of such a method.
    unsafe {
        with_arguments(view, args, keywords, |class, _, args, keywords| {
            calls::ufunc(class, args, keywords)
        })
    }
}

unsafe extern "C" fn array_function(
    view: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: these are the arguments of such a method.
    unsafe {
        with_arguments(view, args, keywords, |class, _, args, _| {
            calls::function(class, args)
        })
    }
}

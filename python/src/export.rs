//! NumPy arrays over shared memory: the only place that makes them and empties them.
//!
//! Each ndarray has a base object that keeps its resources: a [`Lease`] keeps the lock, a
//! [`Keeper`] the mapping. NumPy's views of an ndarray refer to it (`view.base`). So do
//! memoryviews, iterators and capsules of it, and all objects that are derived from those.

use crate::{error::Raise, strides::numpy_strides};
use ndarray::IxDyn;
use ndshm::{AnyArray, ReadGuard, WriteGuard};
use numpy::{
    PY_ARRAY_API,
    npyffi::{NPY_ARRAY_WRITEABLE, NpyTypes, PyArrayObject, get_type_object},
};
use pyo3::{ffi, prelude::*};
use std::{
    ffi::{c_int, c_void},
    ptr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// A guard of the library.
pub(crate) enum Held {
    Read(ReadGuard<u8, IxDyn>),
    Write(WriteGuard<u8, IxDyn>),
}

impl Held {
    /// The address of the first element.
    pub(crate) fn address(&mut self) -> *mut u8 {
        match self {
            Held::Read(guard) => guard.as_ptr().cast_mut(),
            Held::Write(guard) => guard.as_mut_ptr(),
        }
    }

    /// Binds the guard to the calling thread until the end of its wait, or says that any thread may
    /// give it back: see `enclosing`.
    pub(crate) fn bind(&self, is_bound: bool) {
        match (self, is_bound) {
            (Held::Read(guard), true) => guard.bind(),
            (Held::Read(guard), false) => guard.unbind(),
            (Held::Write(guard), true) => guard.bind(),
            (Held::Write(guard), false) => guard.unbind(),
        }
    }
}

/// A guard that may be dropped in another thread than the one that took it.
pub(crate) struct Carried(pub(crate) Held);

// SAFETY: the library documents that only the check for deadlocks depends on a guard's thread. The
// elements are bytes in shared memory.
unsafe impl Send for Carried {}

/// The base of an ndarray over locked memory. It keeps the lock until the block ends, or until the
/// last reference to the ndarray is gone.
#[pyclass(frozen, module = "ndshm._ndshm")]
pub(crate) struct Lease {
    held: Mutex<Option<Carried>>,
    /// Whether the end of the lease poisons the elements.
    poisons: AtomicBool,
    /// The zeros that an emptied ndarray without axes shows.
    blank: Mutex<Vec<u128>>,
}

impl Lease {
    /// Releases the lock, unless that happened before.
    pub(crate) fn end(&self) {
        let held = self
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match held {
            Some(Carried(Held::Write(guard))) if self.poisons.load(Relaxed) => guard.poison(),
            held => drop(held),
        }
    }

    /// [`Held::bind`], if the lock was not released.
    pub(crate) fn bind(&self, is_bound: bool) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Carried(held)) = &*held {
            held.bind(is_bound);
        }
    }

    pub(crate) fn poison_at_end(&self) {
        self.poisons.store(true, Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end();
    }
}

/// The base of an ndarray without a lock: it keeps the array, and so its mapping and a local
/// array's file.
#[pyclass(frozen, module = "ndshm._ndshm")]
pub(crate) struct Keeper {
    pub(crate) array: AnyArray,
    pub(crate) address: usize,
    _guard: Option<Mutex<Carried>>,
}

/// Makes an ndarray over the memory of a guard, and its base.
pub(crate) fn leased<'py>(
    py: Python<'py>,
    array: &AnyArray,
    dtype: &Bound<'py, PyAny>,
    mut held: Held,
) -> PyResult<(Bound<'py, PyAny>, Py<Lease>)> {
    let (address, is_writable) = (held.address(), matches!(held, Held::Write(_)));
    let lease = Lease {
        held: Mutex::new(Some(Carried(held))),
        poisons: AtomicBool::new(false),
        blank: Mutex::new(Vec::new()),
    };
    let lease = Py::new(py, lease)?;
    // SAFETY: the guard's view has its first element at `address`, and the shape, strides and item
    // size of `array`. All of it is mapped and locked until the lease ends. The lease ends when no
    // object refers to the ndarray, or after the ndarray was emptied.
    let made = unsafe {
        over(
            py,
            array,
            dtype,
            address,
            is_writable,
            lease.clone_ref(py).into_any(),
        )
    }?;
    Ok((made, lease))
}

/// Makes a read-only ndarray over a frozen array.
pub(crate) fn frozen<'py>(
    py: Python<'py>,
    array: AnyArray,
    dtype: &Bound<'py, PyAny>,
    guard: ReadGuard<u8, IxDyn>,
) -> PyResult<Bound<'py, PyAny>> {
    let address = guard.as_ptr().cast_mut();
    let view = array.view().raise(py)?;
    let keeper = Py::new(
        py,
        Keeper {
            array: view,
            address: address.addr(),
            _guard: Some(Mutex::new(Carried(Held::Read(guard)))),
        },
    )?;
    // SAFETY: the guard's view starts at `address` and has the layout of `array`. The base keeps
    // the guard, and so the mapping. No process writes a frozen array.
    unsafe { over(py, &array, dtype, address, false, keeper.into_any()) }
}

/// Makes an ndarray over the array's memory without a lock: writable if the array is.
pub(crate) fn unlocked<'py>(
    py: Python<'py>,
    array: &AnyArray,
    dtype: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let is_writable = array.is_writable();
    // SAFETY: only the address of the view is used.
    let address = unsafe { array.view_unlocked() }.as_ptr().cast_mut();
    let keeper = Py::new(
        py,
        Keeper {
            array: array.view().raise(py)?,
            address: address.addr(),
            _guard: None,
        },
    )?;
    // SAFETY: the base keeps the mapping. The caller of Python's `unlocked` promises that no thread
    // or process uses the elements in a conflicting way.
    unsafe { over(py, array, dtype, address, is_writable, keeper.into_any()) }
}

/// Makes an ndarray of the array's shape and strides at `address`.
///
/// # Safety
///
/// The elements are mapped for as long as `base` lives, and writable if `is_writable` is set.
unsafe fn over<'py>(
    py: Python<'py>,
    array: &AnyArray,
    dtype: &Bound<'py, PyAny>,
    address: *mut u8,
    is_writable: bool,
    base: Py<PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut shape: Vec<isize> = array.shape().iter().map(|&n| n as isize).collect();
    let mut strides = numpy_strides(array);
    let flags = if is_writable { NPY_ARRAY_WRITEABLE } else { 0 };
    // SAFETY: the thread is attached, and NumPy is imported by this call.
    let class = unsafe { get_type_object(py, NpyTypes::PyArray_Type) };
    // SAFETY: class and type are NumPy's, and NumPy takes over the reference to the type. Shape and
    // strides have the same length, and the elements that they address lie in mapped memory (the
    // caller's promise).
    let made = unsafe {
        PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            class,
            dtype.clone().into_ptr().cast(),
            shape.len() as c_int,
            shape.as_mut_ptr(),
            strides.as_mut_ptr(),
            address.cast::<c_void>(),
            flags,
            ptr::null_mut(),
        )
    };
    // SAFETY: `made` is a new reference, or null with an exception set.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, made) }?;
    // SAFETY: `made` is an ndarray without a base, and NumPy takes over the reference to `base`.
    match unsafe { PY_ARRAY_API.PyArray_SetBaseObject(py, made.as_ptr().cast(), base.into_ptr()) } {
        0 => Ok(made),
        _ => Err(PyErr::fetch(py)),
    }
}

/// The memory that an emptied ndarray with axes points to.
#[repr(align(64))]
struct Blank([u8; 64]);
static BLANK: Blank = Blank([0; 64]);

/// Empties an ndarray that [`leased`] made: all its axes get the length 0, and its address is
/// outside of shared memory. An ndarray without axes shows zeros.
///
/// The caller has checked that no other object holds the address of its memory: see `names`.
pub(crate) fn empty(made: &Bound<'_, PyAny>, lease: &Lease, itemsize: usize) {
    let object = made.as_ptr().cast::<PyArrayObject>();
    // SAFETY: `made` is an ndarray, so this is its struct. The thread is attached to the
    // interpreter, so no other thread uses the ndarray now.
    let fields = unsafe { &mut (*object).fields };
    let mut address = BLANK.0.as_ptr().cast_mut();
    if fields.nd == 0 {
        let mut blank = lease.blank.lock().unwrap_or_else(PoisonError::into_inner);
        *blank = vec![0; itemsize.div_ceil(16).max(1)];
        address = blank.as_mut_ptr().cast();
    }
    if fields.nd > 0 {
        // SAFETY: an ndarray has `nd` dimensions.
        let shape =
            unsafe { std::slice::from_raw_parts_mut(fields.dimensions, fields.nd as usize) };
        shape.fill(0);
    }
    fields.data = address.cast();
    fields.flags &= !NPY_ARRAY_WRITEABLE;
}

/// The number of references to an object.
pub(crate) fn references(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: `object` is a live object, and the thread is attached to the interpreter.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

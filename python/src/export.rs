//! Where shared memory becomes a NumPy array, and where such an array stops being one.
//!
//! The ndarrays made here have a base of ours that keeps what they need: a [`Lease`] the lock, a
//! [`Keeper`] the mapping. NumPy's views of an ndarray refer to it (`view.base`), and so do
//! memoryviews, iterators and capsules of it; so does what is made of those.

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
    /// Where the first element lies.
    pub(crate) fn address(&mut self) -> *mut u8 {
        match self {
            Held::Read(guard) => guard.as_ptr().cast_mut(),
            Held::Write(guard) => guard.as_mut_ptr(),
        }
    }
}

/// A guard that may end in another thread than it began in.
pub(crate) struct Carried(pub(crate) Held);

// SAFETY: the library says of its guards that nothing but the check for deadlocks depends on their
// thread; the elements are bytes in shared memory.
unsafe impl Send for Carried {}

/// What an ndarray over locked memory has as its base: the lock, until the block is left, or else
/// until the last that refers to the ndarray is gone.
#[pyclass(frozen, module = "ndshm._ndshm")]
pub(crate) struct Lease {
    held: Mutex<Option<Carried>>,
    /// Whether what was written is poison when the lock goes back.
    poisons: AtomicBool,
    /// What an ndarray without axes shows after it was emptied.
    blank: Mutex<Vec<u128>>,
}

impl Lease {
    /// Gives the lock back, if that was not done before.
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

/// An ndarray over the memory of a guard, and its base.
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
    // size of `array`, all of it mapped and locked until the lease ends: which is when nothing
    // refers to the ndarray, or after it was emptied.
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

/// A read-only ndarray over a frozen array.
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
    // SAFETY: as above; the base keeps the guard, and nobody writes a frozen array.
    unsafe { over(py, &array, dtype, address, false, keeper.into_any()) }
}

/// An ndarray over the array's memory without a lock: writable if the array is.
pub(crate) fn unlocked<'py>(
    py: Python<'py>,
    array: &AnyArray,
    dtype: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let is_writable = array.is_writable();
    // SAFETY: the view is used for its address only.
    let address = unsafe { array.view_unlocked() }.as_ptr().cast_mut();
    let keeper = Py::new(
        py,
        Keeper {
            array: array.view().raise(py)?,
            address: address.addr(),
            _guard: None,
        },
    )?;
    // SAFETY: the base keeps the mapping. That nobody else uses the elements in a way that
    // conflicts is what the caller of Python's `unlocked` promises.
    unsafe { over(py, array, dtype, address, is_writable, keeper.into_any()) }
}

/// An ndarray of the array's shape and strides at `address`.
///
/// # Safety
///
/// For as long as `base` lives the elements are mapped, writable if that is asked for.
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
    // SAFETY: class and type are NumPy's (the reference to the type is given away), shape and
    // strides have one length, and the elements that they name lie in mapped memory (the caller's
    // promise).
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
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, made) }?;
    // SAFETY: `made` is an ndarray without a base; the reference to `base` is given away.
    match unsafe { PY_ARRAY_API.PyArray_SetBaseObject(py, made.as_ptr().cast(), base.into_ptr()) } {
        0 => Ok(made),
        _ => Err(PyErr::fetch(py)),
    }
}

/// Elements that are seen where there are none.
#[repr(align(64))]
struct Blank([u8; 64]);
static BLANK: Blank = Blank([0; 64]);

/// Empties an ndarray that [`leased`] made: all its axes get the length 0, and its address is no
/// shared memory any more. One without axes shows zeros.
///
/// The caller knows that nothing holds the address of its memory: see `names`.
pub(crate) fn empty(made: &Bound<'_, PyAny>, lease: &Lease, itemsize: usize) {
    let object = made.as_ptr().cast::<PyArrayObject>();
    // SAFETY: `made` is an ndarray, so this is its struct; the thread is attached, so nobody else
    // looks at it now.
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

/// How many references there are to an object.
pub(crate) fn references(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: a live object, and the thread is attached.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

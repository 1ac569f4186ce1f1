//! NumPy arrays over shared memory.
//!
//! Each ndarray has a base object that keeps its resources: here a [`Keeper`] of the mapping, in
//! `locked` one of the lock. NumPy's views of an ndarray refer to it (`view.base`). So do
//! memoryviews, iterators and capsules of it, and all objects that are derived from those.

use crate::{error::Raise, room, strides::numpy_strides, turn::Lent};
use ndarray::IxDyn;
use ndshm::{AnyArray, ReadGuard, WriteGuard};
use numpy::{
    PY_ARRAY_API,
    npyffi::{NPY_ARRAY_WRITEABLE, NpyTypes, get_type_object},
};
use pyo3::prelude::*;
use std::{
    ffi::{c_int, c_void},
    ops::Range,
    ptr,
    sync::Mutex,
};

/// A guard of the library, or memory that is being written and no other process sees.
pub(crate) enum Held {
    Read(ReadGuard<u8, IxDyn>),
    Write(WriteGuard<u8, IxDyn>),
    /// A frame of a ring.
    Frame(Lent),
    /// Rows of an array that grows.
    Rows(room::Lent),
}

impl Held {
    /// The address of the first element.
    pub(crate) fn address(&mut self) -> *mut u8 {
        match self {
            Held::Read(guard) => guard.as_ptr().cast_mut(),
            Held::Write(guard) => guard.as_mut_ptr(),
            Held::Frame(frame) => frame.address(),
            Held::Rows(rows) => rows.address(),
        }
    }

    /// Whether the elements may be written.
    pub(crate) fn is_writable(&self) -> bool {
        !matches!(self, Held::Read(_))
    }

    /// Binds the guard to the calling thread until the end of its wait, or says that any thread may
    /// give it back: see `enclosing`.
    pub(crate) fn bind(&self, is_bound: bool) {
        match (self, is_bound) {
            (Held::Read(guard), true) => guard.bind(),
            (Held::Read(guard), false) => guard.unbind(),
            (Held::Write(guard), true) => guard.bind(),
            (Held::Write(guard), false) => guard.unbind(),
            // The library searches for no deadlocks by these.
            (Held::Frame(_) | Held::Rows(_), _) => {}
        }
    }
}

/// A guard that may be dropped in another thread than the one that took it.
pub(crate) struct Carried(pub(crate) Held);

// SAFETY: the library documents that only the check for deadlocks depends on a guard's thread. The
// elements are bytes in shared memory.
unsafe impl Send for Carried {}

/// The base of an ndarray without a lock: it keeps the array, and so its mapping and a local
/// array's file.
#[pyclass(frozen, module = "ndshm._ndshm")]
pub(crate) struct Keeper {
    pub(crate) array: AnyArray,
    pub(crate) address: usize,
    _guard: Option<Mutex<Carried>>,
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

/// The addresses of the elements of an array whose first element is at `address`.
pub(crate) fn extent(array: &AnyArray, address: *mut u8) -> Range<usize> {
    let (mut start, mut end) = (address.addr(), address.addr());
    if array.is_empty() {
        return start..end;
    }
    for (&length, stride) in array.shape().iter().zip(array.byte_strides()) {
        let reach = (length - 1) * stride.unsigned_abs();
        match stride < 0 {
            true => start -= reach,
            false => end += reach,
        }
    }
    start..end + array.dtype().itemsize()
}

/// Makes an ndarray of the array's shape and strides at `address`.
///
/// # Safety
///
/// The elements are mapped for as long as `base` lives, and writable if `is_writable` is set.
pub(crate) unsafe fn over<'py>(
    py: Python<'py>,
    array: &AnyArray,
    dtype: &Bound<'py, PyAny>,
    address: *mut u8,
    is_writable: bool,
    base: Py<PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let (shape, strides) = (array.shape(), numpy_strides(array));
    // SAFETY: the shape and the strides are those of the array, whose elements are mapped and
    // writable as the caller promises.
    unsafe { with_layout(py, shape, strides, dtype, address, is_writable, base) }
}

/// Makes an ndarray at `address` whose elements lie side by side, in the order C.
///
/// # Safety
///
/// As of [`over`], for all elements of the shape.
pub(crate) unsafe fn contiguous<'py>(
    py: Python<'py>,
    shape: &[usize],
    dtype: &Bound<'py, PyAny>,
    address: *mut u8,
    is_writable: bool,
    base: Py<PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut step: isize = dtype.getattr("itemsize")?.extract()?;
    let mut strides = vec![0; shape.len()];
    for (stride, &length) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step *= length.max(1) as isize;
    }
    // SAFETY: the strides are those of elements side by side, which the caller promises.
    unsafe { with_layout(py, shape, strides, dtype, address, is_writable, base) }
}

/// Makes an ndarray of this shape and these strides at `address`.
///
/// # Safety
///
/// As of [`over`], for all elements that the shape and the strides address. Both have the same
/// length.
unsafe fn with_layout<'py>(
    py: Python<'py>,
    shape: &[usize],
    mut strides: Vec<isize>,
    dtype: &Bound<'py, PyAny>,
    address: *mut u8,
    is_writable: bool,
    base: Py<PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut shape: Vec<isize> = shape.iter().map(|&n| n as isize).collect();
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

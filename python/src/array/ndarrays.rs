//! Elements as plain ndarrays and buffers: copies under the lock, and the memory of frozen arrays.

use super::{Array, open::open};
use crate::{
    error::{self, Raise},
    export::{self, Held, Keeper},
    lock::Mode,
    locked::Leased,
    mapped,
};
use ndshm::Error;
use pyo3::{
    exceptions::{PyBufferError, PyValueError},
    ffi, intern,
    prelude::*,
    types::PyDict,
};
use std::ffi::c_int;

/// The error for consumers that would hold the memory of an array that is not frozen.
const NEEDS_LOCK: &str =
    "other processes may write this memory: use `with a.read() as x`, or a.freeze(), for its lock";

/// The arguments of `__dlpack__` that select the consumer's version and device.
pub(crate) struct DlpackOptions {
    pub(crate) stream: Option<Py<PyAny>>,
    pub(crate) max_version: Option<(u32, u32)>,
    pub(crate) dl_device: Option<Py<PyAny>>,
}

/// How elements are shown.
#[derive(Clone, Copy)]
pub(crate) enum Shown {
    /// As `str` of an ndarray shows them.
    AsText,
    /// With commas, as its `repr` does, behind a prefix of so many columns.
    AsList { prefix: &'static str },
}

/// The elements as a person sees them.
pub(crate) enum Preview {
    Elements(String),
    /// They cannot be read now, for a reason.
    Unreadable(&'static str),
}

impl Array {
    /// The elements as text, the first and last ones of a large array, as [`Shown`] says. It waits
    /// for no lock.
    pub(crate) fn preview(&self, py: Python<'_>, shown: Shown) -> PyResult<Preview> {
        let held = match self.any.try_read() {
            Ok(guard) => Held::Read(guard),
            Err(Error::WouldBlock { .. } | Error::WouldDeadlock { .. }) => {
                return Ok(Preview::Unreadable("locked"));
            }
            Err(Error::Poisoned { .. }) => return Ok(Preview::Unreadable("poisoned")),
            Err(error) => return Err(error::raised(py, &error)),
        };
        let leased = Leased::new(py, &self.any, self.element_type(py), held)?;
        let ndarray = leased.plain(py)?;
        let text = match shown {
            Shown::AsText => ndarray.str().and_then(|text| text.extract()),
            Shown::AsList { prefix } => {
                let options = PyDict::new(py);
                options.set_item("separator", ", ")?;
                options.set_item("prefix", prefix)?;
                py.import("numpy")?
                    .call_method("array2string", (&ndarray,), Some(&options))
                    .and_then(|text| text.extract())
            }
        };
        drop(ndarray);
        leased.end(py, &self.any)?;
        Ok(Preview::Elements(text?))
    }

    /// A private copy, made while the elements are locked.
    pub(crate) fn copied<'py>(&self, py: Python<'py>, order: &str) -> PyResult<Bound<'py, PyAny>> {
        // NumPy lets other threads run while it copies.
        self.locked(py, Mode::Read, |ndarray| {
            ndarray.call_method1(intern!(py, "copy"), (order,))
        })
    }

    /// A read-only ndarray over the memory of this array, which is frozen.
    pub(crate) fn frozen_ndarray<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (view, guard) = (self.any.view().raise(py)?, self.any.read().raise(py)?);
        mapped::of(&export::frozen(py, view, self.element_type(py), guard)?)
    }

    /// An ndarray over the memory of this array, without a lock.
    pub(crate) fn unlocked_ndarray<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        mapped::of(&export::unlocked(py, &self.any, self.element_type(py))?)
    }

    /// `__array__`: the memory of a frozen array, else a copy.
    pub(crate) fn to_array<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let made = match copy {
            None | Some(false) if self.any.is_frozen() => self.frozen_ndarray(py)?,
            Some(false) => {
                return Err(PyValueError::new_err(
                    "an ndarray that is no copy needs a lock: use `with a.read() as x`, or \
                     a.freeze(), or a.unlocked()",
                ));
            }
            Some(true) => self.copied(py, "K")?,
            // What is written to it would be lost, so it cannot be written.
            _ => read_only(self.copied(py, "K")?)?,
        };
        match dtype {
            Some(dtype) if !dtype.eq(self.element_type(py))? => {
                let options = PyDict::new(py);
                options.set_item("copy", copy.unwrap_or(false))?;
                let converted = made.call_method("astype", (dtype,), Some(&options))?;
                match copy {
                    Some(true) => Ok(converted),
                    _ => read_only(converted),
                }
            }
            _ => Ok(made),
        }
    }

    /// `__dlpack__`: a capsule of a frozen array's memory, or of a copy on request.
    pub(crate) fn to_dlpack<'py>(
        &self,
        py: Python<'py>,
        options: DlpackOptions,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if options.max_version.is_none_or(|version| version < (1, 0)) {
            return Err(PyBufferError::new_err(
                "memory can be marked read-only only since DLPack version 1.0: ask for it by \
                 max_version",
            ));
        }
        let ndarray = match copy {
            Some(true) => self.copied(py, "K")?,
            _ if self.any.is_frozen() => self.frozen_ndarray(py)?,
            _ => return Err(PyBufferError::new_err(NEEDS_LOCK)),
        };
        let keywords = PyDict::new(py);
        keywords.set_item("stream", options.stream)?;
        keywords.set_item("max_version", options.max_version)?;
        keywords.set_item("dl_device", options.dl_device)?;
        ndarray.call_method("__dlpack__", (), Some(&keywords))
    }

    /// `__buffer__`: exports the memory of a frozen array.
    ///
    /// # Safety
    ///
    /// `view` points to a buffer structure that the call may fill.
    pub(crate) unsafe fn fill_buffer(
        &self,
        py: Python<'_>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if !self.any.is_frozen() {
            return Err(PyBufferError::new_err(NEEDS_LOCK));
        }
        let ndarray = self.frozen_ndarray(py)?;
        // SAFETY: the ndarray is a live object, and `view` may be filled (the caller's promise).
        // The ndarray becomes the exporter in `view`, which keeps it, and so the array.
        match unsafe { ffi::PyObject_GetBuffer(ndarray.as_ptr(), view, flags) } {
            0 => Ok(()),
            _ => Err(PyErr::fetch(py)),
        }
    }
}

fn read_only(made: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    made.call_method1("setflags", (false,))?;
    Ok(made)
}

/// The function and the arguments of a pickle of mapped memory: a reference to the view that an
/// ndarray is of a keeper's memory. `None` where the elements have another type there.
#[pyfunction]
pub(crate) fn reduce_mapped<'py>(
    keeper: &Bound<'py, Keeper>,
    ndarray: &Bound<'py, PyAny>,
    is_writable: bool,
) -> PyResult<Option<(Bound<'py, PyAny>, (String,))>> {
    let (py, keeper) = (ndarray.py(), keeper.get());
    let whole = Array::new(py, keeper.array.view().raise(py)?)?;
    let dtype = ndarray.getattr(intern!(py, "dtype"))?;
    if !whole.element_type(py).eq(dtype)? {
        return Ok(None);
    }
    let Ok(view) = whole.placed(keeper.address as isize, ndarray) else {
        return Ok(None);
    };
    let view = match is_writable || view.any.is_frozen() {
        true => view.any,
        false => view.any.read_only().raise(py)?,
    };
    let module = py.import(intern!(py, "ndshm._ndshm"))?;
    let unpickle = module.getattr(intern!(py, "unpickle_mapped"))?;
    Ok(Some((unpickle, (view.hand_over().to_string(),))))
}

/// Open the memory of a pickle, which consists of its handle.
#[pyfunction]
pub(crate) fn unpickle_mapped<'py>(py: Python<'py>, handle: &str) -> PyResult<Bound<'py, PyAny>> {
    let array = open(py, handle)?;
    match array.any.is_frozen() {
        true => array.frozen_ndarray(py),
        false => array.unlocked_ndarray(py),
    }
}

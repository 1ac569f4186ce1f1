//! Calls of NumPy with shared arrays in the place of ndarrays.
//!
//! # Guards of a call
//!
//! A call takes the guards of all its arrays at once, in the order that all threads and processes
//! share, and holds them until it returns. Views of one array, some of which the call writes, have
//! one guard over all of them: two guards would exclude each other.
//!
//! # Results
//!
//! NumPy computes on the memory itself. A result that is a view of an array becomes a shared view,
//! an array given as `out` is itself the result, and anything else is what NumPy made.

mod arrays;

use crate::{
    array::{Array, foreign},
    locked::{Call, WRITERS, is_locked},
};
use arrays::{Arrays, Ndarrays};
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::{
    exceptions::PyTypeError,
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyBool, PyDict, PyString, PyTuple, PyType},
};

/// The functions that look at shapes and types only, or at addresses: they need no lock.
const WITHOUT_LOCK: [&str; 14] = [
    "shape",
    "ndim",
    "size",
    "result_type",
    "can_cast",
    "common_type",
    "shares_memory",
    "may_share_memory",
    "zeros_like",
    "ones_like",
    "empty_like",
    "full_like",
    "iscomplexobj",
    "isrealobj",
];

/// NumPy's module.
pub(crate) fn numpy(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static NUMPY: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let numpy = NUMPY.get_or_try_init(py, || Ok::<_, PyErr>(py.import("numpy")?.unbind()))?;
    Ok(numpy.bind(py))
}

/// `__array_ufunc__(ufunc, method, *inputs, **keywords)`.
pub(crate) fn ufunc<'py>(
    args: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = args.py();
    let (function, method) = (
        args.get_item(0)?,
        args.get_item(1)?.cast_into::<PyString>()?,
    );
    let is_at = method.to_cow()? == "at";
    let mut arrays = Arrays::default();
    for (at, input) in args.iter().skip(2).enumerate() {
        if !is_known(&input)? {
            return left_to(&input, || {
                let inputs = args.get_slice(2, args.len());
                match method.to_cow()?.as_ref() {
                    "__call__" => function.call(inputs, keywords),
                    _ => function.getattr(&method)?.call(inputs, keywords),
                }
            });
        }
        arrays.add(&input, is_at && at == 0)?;
    }
    for (key, value) in keywords.into_iter().flatten() {
        arrays.add(&value, key.cast::<PyString>()?.to_cow()? == "out")?;
    }
    arrays.locked(py, |ndarrays| {
        let inputs: Vec<_> = (args.iter().skip(2))
            .map(|input| ndarrays.replace(&input))
            .collect::<PyResult<_>>()?;
        let inputs = PyTuple::new(py, inputs)?;
        let keywords = replaced(ndarrays, keywords)?;
        match method.to_cow()?.as_ref() {
            "__call__" => function.call(inputs, keywords.as_ref()),
            _ => function.getattr(&method)?.call(inputs, keywords.as_ref()),
        }
    })
}

/// What a call gives where another library's object computes: `NotImplemented`, so that the object
/// is asked.
fn left_to<'py>(
    other: &Bound<'py, PyAny>,
    again: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = other.py();
    // Those of pint compute with an array, those of astropy do not.
    if foreign::has_unit(other)? && other.hasattr(intern!(py, "to_value"))? {
        return Err(PyTypeError::new_err(
            "units and shared arrays do not mix: give numpy.asarray(a), or the ndarray of a block",
        ));
    }
    let module = other.get_type().module()?;
    if module.to_cow()?.starts_with("dask.") {
        // Dask computes with the classes that it knows.
        static KNOWN: PyOnceLock<()> = PyOnceLock::new();
        let mut is_new = false;
        KNOWN.get_or_try_init(py, || {
            is_new = true;
            let dask = py.import("dask.array")?;
            dask.call_method1("register_chunk_type", (py.get_type::<Array>(),))
                .map(drop)
        })?;
        if is_new {
            return again();
        }
    }
    Ok(py.NotImplemented().into_bound(py))
}

fn replaced<'py>(
    ndarrays: &Ndarrays<'py>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(keywords) = keywords else {
        return Ok(None);
    };
    let replaced = ndarrays.replace(keywords.as_any())?;
    Ok(Some(replaced.cast_into()?))
}

/// Whether this class knows how to compute with an object. One of another library computes itself.
fn is_known(input: &Bound<'_, PyAny>) -> PyResult<bool> {
    if input.is_exact_instance_of::<Array>() || is_locked(input) {
        return Ok(true);
    }
    foreign::refuse_masked(input)?;
    let py = input.py();
    let class = input.get_type();
    let Ok(own) = class.getattr(intern!(py, "__array_ufunc__")) else {
        return Ok(true);
    };
    let ndarrays = numpy(py)?.getattr(intern!(py, "ndarray"))?;
    Ok(own.is(&ndarrays.getattr(intern!(py, "__array_ufunc__"))?))
}

/// `__array_function__(function, types, args, keywords)`.
pub(crate) fn function<'py>(
    function: &Bound<'py, PyAny>,
    types: &Bound<'py, PyAny>,
    given: &Bound<'py, PyTuple>,
    keywords: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    let ndarray = numpy(py)?.getattr(intern!(py, "ndarray"))?;
    for class in types.try_iter()? {
        let class = class?.cast_into::<PyType>()?;
        if !class.is_subclass_of::<Array>()? && !class.is_subclass(&ndarray)? {
            return Ok(py.NotImplemented().into_bound(py));
        }
    }
    let name = function.getattr(intern!(py, "__name__"))?;
    let name = name.cast::<PyString>()?.to_cow()?.into_owned();
    let call = Call {
        function,
        name: &name,
        given,
        keywords,
    };
    let mut arrays = Arrays::default();
    let writes = call.writes()?;
    if writes {
        match call.argument("out")?.filter(|out| !out.is_none()) {
            Some(out) if !WRITERS.contains(&name.as_str()) => arrays.add(&out, true)?,
            // Its first argument, which may be one by keyword.
            _ => match given.get_item(0) {
                Ok(first) => arrays.add(&first, true)?,
                Err(_) => arrays.add(keywords.as_any(), true)?,
            },
        }
    }
    for value in given.iter().chain(keywords.values()) {
        foreign::refuse_masked(&value)?;
        arrays.add(&value, false)?;
    }
    let call = |ndarrays: &Ndarrays<'py>| {
        let given = ndarrays.replace(given.as_any())?.cast_into::<PyTuple>()?;
        function.call(given, replaced(ndarrays, Some(keywords))?.as_ref())
    };
    match WITHOUT_LOCK.contains(&name.as_str()) {
        true if name == "may_share_memory" && has_copy(given, &arrays)? => {
            Ok(PyBool::new(py, true).to_owned().into_any())
        }
        true => arrays.unlocked(py, call),
        false => arrays.locked(py, call),
    }
}

/// Whether one of the arguments may be what `numpy.asarray` made of an array: a copy that cannot be
/// written. A caller that asks whether they share memory, as `permutation` does, wants to know
/// whether it may write.
fn has_copy(given: &Bound<'_, PyTuple>, arrays: &Arrays<'_>) -> PyResult<bool> {
    for value in given {
        if let Ok(ndarray) = value.cast::<PyUntypedArray>() {
            let flags = ndarray.getattr(intern!(given.py(), "flags"))?;
            let is_writable = flags
                .getattr(intern!(given.py(), "writeable"))?
                .is_truthy()?;
            let is_alike = |(array, _): &(Bound<'_, Array>, bool)| {
                array.get().any().shape() == ndarray.shape()
            };
            if !is_writable && arrays.found.iter().any(is_alike) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// One of the methods of an ndarray, on the elements of an array while they are locked.
pub(crate) fn method<'py>(
    array: &Bound<'py, Array>,
    name: &Bound<'py, PyString>,
    writes: bool,
    args: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = array.py();
    let mut arrays = Arrays::default();
    arrays.add(array.as_any(), writes)?;
    for value in args {
        arrays.add(&value, false)?;
    }
    for (key, value) in keywords.into_iter().flatten() {
        arrays.add(&value, key.cast::<PyString>()?.to_cow()? == "out")?;
    }
    arrays.locked(py, |ndarrays| {
        let ndarray = ndarrays.replace(array.as_any())?;
        let args = ndarrays.replace(args.as_any())?.cast_into::<PyTuple>()?;
        let keywords = replaced(ndarrays, keywords)?;
        let made = ndarray.call_method(name, args, keywords.as_ref())?;
        // What refers to the memory by other means than a view would outlive the lock.
        Ok(made)
    })
}

/// The real or the imaginary parts: an array if they are a view of the elements' type. Others are
/// copies, and cannot be written in vain.
pub(crate) fn part<'py>(
    array: &Bound<'py, Array>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut arrays = Arrays::default();
    arrays.add(array.as_any(), false)?;
    let made = arrays.locked(array.py(), |ndarrays| {
        ndarrays.replace(array.as_any())?.getattr(name)
    })?;
    if !made.is_exact_instance_of::<Array>() {
        made.call_method1(intern!(array.py(), "setflags"), (false,))?;
    }
    Ok(made)
}

/// Sets the real or the imaginary parts.
pub(crate) fn set_part(
    array: &Bound<'_, Array>,
    name: &Bound<'_, PyString>,
    value: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = array.py();
    foreign::refuse(value)?;
    let mut arrays = Arrays::default();
    arrays.add(array.as_any(), true)?;
    arrays.add(value, false)?;
    let done = arrays.locked(py, |ndarrays| {
        let value = ndarrays.replace(value)?;
        ndarrays.replace(array.as_any())?.setattr(name, value)?;
        Ok(py.None().into_bound(py))
    });
    done.map(drop)
}

/// `numpy.<name>(one, other)`, or `NotImplemented` for an object that computes with arrays itself.
pub(crate) fn binary<'py>(
    one: &Bound<'py, PyAny>,
    other: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = one.py();
    for operand in [one, other] {
        if !operand.is_exact_instance_of::<Array>() && computes_itself(operand)? {
            return Ok(py.NotImplemented().into_bound(py));
        }
    }
    let numpy = numpy(py)?;
    if name == "multiply" {
        // A matrix multiplies as a matrix.
        let matrix = numpy.getattr(intern!(py, "matrix"))?;
        if one.is_instance(&matrix)? || other.is_instance(&matrix)? {
            return numpy.call_method1(intern!(py, "dot"), (one, other));
        }
    }
    numpy.getattr(name)?.call1((one, other))
}

/// Whether an ndarray leaves an operator to the other operand.
fn computes_itself(operand: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = operand.py();
    match operand.getattr_opt(intern!(py, "__array_ufunc__"))? {
        Some(protocol) => Ok(protocol.is_none()),
        None => match operand.getattr_opt(intern!(py, "__array_priority__"))? {
            Some(priority) => priority.gt(0.0),
            None => Ok(false),
        },
    }
}

/// `numpy.<name>(array, other, out=array)`: one guard to write for all of it.
pub(crate) fn in_place<'py>(
    array: &Bound<'py, Array>,
    other: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<()> {
    let py = array.py();
    foreign::refuse(other)?;
    let keywords = PyDict::new(py);
    keywords.set_item(intern!(py, "out"), array)?;
    let function = numpy(py)?.getattr(name)?;
    function.call((array, other), Some(&keywords)).map(drop)
}

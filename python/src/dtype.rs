//! Element types: conversion between the library's and NumPy's.

use crate::error::Raise;
use ndshm::{AnyArray, DType, Element};
use pyo3::{
    exceptions::PyTypeError,
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyModule, PyTuple},
};
use std::collections::BTreeMap;

/// The attribute with NumPy's type of elements that are stored as integers: `<M8[ns]` for times.
pub(crate) const NUMPY_DTYPE: &str = "numpy.dtype";

static NUMPY: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// NumPy's types that were made before, by the text of the library's.
static MADE: PyOnceLock<Py<PyDict>> = PyOnceLock::new();

/// NumPy's type of the array's elements, as its attribute [`NUMPY_DTYPE`] says or else as
/// [`to_numpy`] makes it.
pub(crate) fn of_array<'py>(py: Python<'py>, array: &AnyArray) -> PyResult<Bound<'py, PyAny>> {
    match stored_as_integers(array) {
        Some(text) => numpy_dtype(py, text),
        None => to_numpy(py, array.dtype()),
    }
}

fn stored_as_integers(array: &AnyArray) -> Option<String> {
    if *array.dtype() != i64::DTYPE {
        return None;
    }
    let attrs: BTreeMap<String, ciborium::Value> = array.attrs().ok()?;
    attrs.get(NUMPY_DTYPE)?.as_text().map(str::to_owned)
}

/// `numpy.dtype(of)`.
fn numpy_dtype<'py>(py: Python<'py>, of: impl IntoPyObject<'py>) -> PyResult<Bound<'py, PyAny>> {
    NUMPY
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("numpy")?.unbind()))?
        .bind(py)
        .getattr(intern!(py, "dtype"))?
        .call1((of,))
}

/// NumPy's type for the library's.
///
/// NumPy has no integers of 128 bits: they become 16 raw bytes.
fn to_numpy<'py>(py: Python<'py>, of: &DType) -> PyResult<Bound<'py, PyAny>> {
    let known = MADE.get_or_init(py, || PyDict::new(py).unbind()).bind(py);
    let text = of.to_string();
    if let Some(found) = known.get_item(&text)? {
        return Ok(found);
    }
    let made = make(py, of, &text)?;
    known.set_item(text, &made)?;
    Ok(made)
}

fn make<'py>(py: Python<'py>, of: &DType, text: &str) -> PyResult<Bound<'py, PyAny>> {
    if !of.fields().is_empty() {
        return make_struct(py, of);
    }
    match text {
        "bfloat16" => numpy_dtype(py, bfloat16(py)?),
        "int128" | "uint128" => numpy_dtype(py, "V16"),
        _ if text.starts_with('(') => make_subarray(py, of, text),
        _ => numpy_dtype(py, text),
    }
}

fn make_struct<'py>(py: Python<'py>, of: &DType) -> PyResult<Bound<'py, PyAny>> {
    let (mut names, mut formats, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
    for field in of.fields() {
        names.push(field.name());
        formats.push(to_numpy(py, field.dtype())?);
        offsets.push(field.offset());
    }
    let description = PyDict::new(py);
    description.set_item("names", names)?;
    description.set_item("formats", formats)?;
    description.set_item("offsets", offsets)?;
    description.set_item("itemsize", of.itemsize())?;
    numpy_dtype(py, description)
}

fn make_subarray<'py>(py: Python<'py>, of: &DType, text: &str) -> PyResult<Bound<'py, PyAny>> {
    let Some((len, mut part)) = of.subarray() else {
        return numpy_dtype(py, text);
    };
    let mut shape = vec![len];
    while let Some((len, inner)) = part
        .subarray()
        .filter(|_| part.to_string().starts_with('('))
    {
        shape.push(len);
        part = inner;
    }
    numpy_dtype(py, (to_numpy(py, &part)?, PyTuple::new(py, shape)?))
}

fn bfloat16(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let module = py.import("ml_dtypes").map_err(|_| {
        PyTypeError::new_err(
            "the elements are bfloat16, which NumPy does not have: pip install ml_dtypes",
        )
    })?;
    module.getattr("bfloat16")
}

/// The library's type for NumPy's, and the value of [`NUMPY_DTYPE`] if the elements are stored as
/// another type.
pub(crate) fn from_numpy(of: &Bound<'_, PyAny>) -> PyResult<(DType, Option<String>)> {
    let (kind, text) = kind_and_text(of)?;
    match kind {
        'M' | 'm' if text.starts_with('<') => {
            Ok(("<i8".parse::<DType>().raise(of.py())?, Some(text)))
        }
        _ => plain(of).map(|dtype| (dtype, None)),
    }
}

/// The `kind` and `str` of one of NumPy's types.
fn kind_and_text(of: &Bound<'_, PyAny>) -> PyResult<(char, String)> {
    let py = of.py();
    Ok((
        of.getattr(intern!(py, "kind"))?.extract()?,
        of.getattr(intern!(py, "str"))?.extract()?,
    ))
}

/// The library's type for one of NumPy's that is stored as it is.
fn plain(of: &Bound<'_, PyAny>) -> PyResult<DType> {
    let py = of.py();
    let (kind, text) = kind_and_text(of)?;
    if text.starts_with('>') {
        return Err(PyTypeError::new_err(format!(
            "elements of {text} are in another byte order than this machine's: convert them first"
        )));
    }
    if matches!(kind, 'b' | 'i' | 'u' | 'f' | 'c') {
        return text.parse::<DType>().map_err(|_| {
            PyTypeError::new_err(format!("elements of type {text} cannot be shared"))
        });
    }
    if kind != 'V' {
        return Err(refused(of));
    }
    if let Ok((part, shape)) = of
        .getattr(intern!(py, "subdtype"))?
        .extract::<(Bound<'_, PyAny>, Vec<usize>)>()
    {
        return subarray(of, &part, &shape);
    }
    let fields = of.getattr(intern!(py, "fields"))?;
    if !fields.is_none() {
        return structure(of, &fields);
    }
    let name: String = of.getattr(intern!(py, "name"))?.extract()?;
    match name.as_str() {
        "bfloat16" => "bfloat16".parse::<DType>().raise(py),
        name if name.starts_with("void") => text.parse::<DType>().map_err(|_| refused(of)),
        _ => Err(refused(of)),
    }
}

fn subarray(of: &Bound<'_, PyAny>, part: &Bound<'_, PyAny>, shape: &[usize]) -> PyResult<DType> {
    let part = plain(part)?;
    let lengths = match shape {
        [length] => format!("{length},"),
        _ => shape
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(","),
    };
    format!("({lengths}){part}")
        .parse::<DType>()
        .map_err(|_| refused(of))
}

fn structure(of: &Bound<'_, PyAny>, fields: &Bound<'_, PyAny>) -> PyResult<DType> {
    let py = of.py();
    let names: Vec<String> = of.getattr(intern!(py, "names"))?.extract()?;
    let mut described = Vec::with_capacity(names.len());
    for name in names {
        let field = fields.get_item(&name)?;
        let offset: usize = field.get_item(1)?.extract()?;
        described.push((name, plain(&field.get_item(0)?)?, offset));
    }
    DType::structure(described, of.getattr(intern!(py, "itemsize"))?.extract()?).raise(py)
}

fn refused(of: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!(
        "elements of type {of} cannot be shared: only numbers, booleans, raw bytes and structs of \
         these"
    ))
}

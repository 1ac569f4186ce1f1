//! Element types: conversion between the library's and NumPy's.

use crate::error::Raise;
use ndshm::{AnyArray, DType, NumpyDType};
use pyo3::{
    exceptions::PyTypeError,
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyList, PyModule, PyString, PyTuple},
};

/// The attribute with NumPy's type of elements that are stored as another type: `<M8[ns]` for
/// times.
pub(crate) const NUMPY_DTYPE: &str = "numpy.dtype";

static NUMPY: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// NumPy's types that were made before, by the text of the library's.
static MADE: PyOnceLock<Py<PyDict>> = PyOnceLock::new();

/// NumPy's type of the array's elements as its attribute [`NUMPY_DTYPE`] says it; `None` where it
/// says nothing credible.
///
/// Other programs write the attribute, and NumPy would read outside of the array with a type of
/// another size, or take bytes for pointers. The library believes only types of its own grammar,
/// for elements that are stored so. What NumPy makes of them is checked here once more.
pub(crate) fn claimed<'py>(
    py: Python<'py>,
    array: &AnyArray,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    believed(py, array.numpy_dtype(), array.dtype().itemsize())
}

/// The same for a type that the library believes, of elements that have so many bytes.
pub(crate) fn believed<'py>(
    py: Python<'py>,
    claimed: Option<NumpyDType>,
    stored: usize,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(claimed) = claimed else {
        return Ok(None);
    };
    let known = known(py);
    let key = format!("numpy: {claimed}");
    if let Some(found) = known.get_item(&key)? {
        return Ok(Some(found));
    }
    // This NumPy may lack the type: `longdouble` differs between machines.
    let Ok(made) = from_text(py, &claimed.to_string()) else {
        return Ok(None);
    };
    let has_parts = !made.getattr(intern!(py, "subdtype"))?.is_none();
    let has_objects = made.getattr(intern!(py, "hasobject"))?.is_truthy()?;
    let itemsize: usize = made.getattr(intern!(py, "itemsize"))?.extract()?;
    if has_parts || has_objects || itemsize != stored {
        return Ok(None);
    }
    known.set_item(key, &made)?;
    Ok(Some(made))
}

/// The type of a text that the library has parsed: a name, or the literal of a dictionary.
fn from_text<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    if !text.starts_with('{') {
        return from_literal(py, PyString::new(py, text).as_any());
    }
    let literal = py
        .import("ast")?
        .call_method1(intern!(py, "literal_eval"), (text,))?;
    from_literal(py, &literal)
}

fn from_literal<'py>(py: Python<'py>, literal: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(text) = literal.cast::<PyString>() {
        return scalar(py, text.to_cow()?.as_ref());
    }
    if let Ok((part, shape)) = literal.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>() {
        return numpy_dtype(py, (from_literal(py, &part)?, shape));
    }
    let description = literal.cast::<PyDict>()?.copy()?;
    let formats = literal.get_item("formats")?.try_iter()?;
    let formats: Vec<_> = formats
        .map(|format| from_literal(py, &format?))
        .collect::<PyResult<_>>()?;
    description.set_item("formats", formats)?;
    numpy_dtype(py, description)
}

/// NumPy's type for a name, which may be one of the library's for a type that NumPy lacks.
fn scalar<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    match text {
        "bfloat16" => numpy_dtype(py, bfloat16(py)?),
        "int128" | "uint128" => numpy_dtype(py, "V16"),
        _ => numpy_dtype(py, text),
    }
}

/// `numpy.dtype(of)`.
fn numpy_dtype<'py>(py: Python<'py>, of: impl IntoPyObject<'py>) -> PyResult<Bound<'py, PyAny>> {
    NUMPY
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("numpy")?.unbind()))?
        .bind(py)
        .getattr(intern!(py, "dtype"))?
        .call1((of,))
}

fn known(py: Python<'_>) -> &Bound<'_, PyDict> {
    MADE.get_or_init(py, || PyDict::new(py).unbind()).bind(py)
}

/// NumPy's type for the library's.
///
/// NumPy has no integers of 128 bits: they become 16 raw bytes.
pub(crate) fn to_numpy<'py>(py: Python<'py>, of: &DType) -> PyResult<Bound<'py, PyAny>> {
    let known = known(py);
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
    match text.starts_with('(') {
        true => make_subarray(py, of, text),
        false => scalar(py, text),
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
    let error = match plain(of) {
        Ok(dtype) => return Ok((dtype, None)),
        Err(error) => error,
    };
    if !of.getattr(intern!(of.py(), "subdtype"))?.is_none() {
        return Err(error);
    }
    let text = literal_of(of)?.str()?;
    let parsed = text.to_cow()?.parse::<NumpyDType>();
    let stored = |parsed: NumpyDType| Some((parsed.stored()?, Some(parsed.to_string())));
    parsed.ok().and_then(stored).ok_or(error)
}

/// One of NumPy's types as the literal of Python that makes it: a text, or a dictionary.
fn literal_of<'py>(of: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = of.py();
    let subdtype = of.getattr(intern!(py, "subdtype"))?;
    if let Ok((part, shape)) = subdtype.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>() {
        return Ok((literal_of(&part)?, shape).into_pyobject(py)?.into_any());
    }
    let names = of.getattr(intern!(py, "names"))?;
    if names.is_none() {
        let name: String = of.getattr(intern!(py, "name"))?.extract()?;
        return match name.as_str() {
            "bfloat16" => Ok(PyString::new(py, "bfloat16").into_any()),
            _ => of.getattr(intern!(py, "str")),
        };
    }
    let fields = of.getattr(intern!(py, "fields"))?;
    let (formats, offsets) = (PyList::empty(py), PyList::empty(py));
    for name in names.try_iter()? {
        let field = fields.get_item(name?)?;
        formats.append(literal_of(&field.get_item(0)?)?)?;
        offsets.append(field.get_item(1)?)?;
    }
    let description = PyDict::new(py);
    description.set_item(
        "names",
        PyList::new(py, names.try_iter()?.collect::<PyResult<Vec<_>>>()?)?,
    )?;
    description.set_item("formats", formats)?;
    description.set_item("offsets", offsets)?;
    description.set_item("itemsize", of.getattr(intern!(py, "itemsize"))?)?;
    Ok(description.into_any())
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
        "elements of type {of} cannot be shared: only numbers, booleans, text of fixed width, \
         times, raw bytes and structs of these"
    ))
}

//! Element types: the library's and NumPy's.

use crate::error::Raise;
use ndshm::DType;
use pyo3::{
    exceptions::PyTypeError,
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyModule, PyTuple},
};

/// The attribute that says how NumPy takes the elements where they are integers that stand for
/// something else: `<M8[ns]` for times.
pub(crate) const NUMPY_DTYPE: &str = "numpy.dtype";

static NUMPY: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
static KNOWN: PyOnceLock<Py<PyDict>> = PyOnceLock::new();

pub(crate) fn numpy(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    Ok(NUMPY
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("numpy")?.unbind()))?
        .bind(py))
}

/// `numpy.dtype(of)`.
pub(crate) fn dtype<'py>(
    py: Python<'py>,
    of: impl IntoPyObject<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    numpy(py)?.getattr(intern!(py, "dtype"))?.call1((of,))
}

/// NumPy's type for elements of this one.
///
/// Integers of 128 bits, which NumPy does not have, are 16 raw bytes.
pub(crate) fn to_numpy<'py>(py: Python<'py>, of: &DType) -> PyResult<Bound<'py, PyAny>> {
    let known = KNOWN.get_or_init(py, || PyDict::new(py).unbind()).bind(py);
    let text = of.to_string();
    if let Some(found) = known.get_item(&text)? {
        return Ok(found);
    }
    let made = make(py, of, &text)?;
    known.set_item(text, &made)?;
    Ok(made)
}

fn make<'py>(py: Python<'py>, of: &DType, text: &str) -> PyResult<Bound<'py, PyAny>> {
    let fields = of.fields();
    if !fields.is_empty() {
        let description = PyDict::new(py);
        description.set_item(
            "names",
            fields.iter().map(|field| field.name()).collect::<Vec<_>>(),
        )?;
        description.set_item(
            "formats",
            fields
                .iter()
                .map(|field| to_numpy(py, field.dtype()))
                .collect::<PyResult<Vec<_>>>()?,
        )?;
        description.set_item(
            "offsets",
            fields
                .iter()
                .map(|field| field.offset())
                .collect::<Vec<_>>(),
        )?;
        description.set_item("itemsize", of.itemsize())?;
        return dtype(py, description);
    }
    match text {
        "bfloat16" => {
            let missing = |_| {
                PyTypeError::new_err(
                    "the elements are bfloat16, which NumPy does not have: pip install ml_dtypes",
                )
            };
            dtype(
                py,
                py.import("ml_dtypes")
                    .map_err(missing)?
                    .getattr("bfloat16")?,
            )
        }
        "int128" | "uint128" => dtype(py, "V16"),
        _ if text.starts_with('(') => match of.subarray() {
            Some((len, mut part)) => {
                let mut shape = vec![len];
                while let Some((len, inner)) = part
                    .subarray()
                    .filter(|_| part.to_string().starts_with('('))
                {
                    shape.push(len);
                    part = inner;
                }
                dtype(py, (to_numpy(py, &part)?, PyTuple::new(py, shape)?))
            }
            None => dtype(py, text),
        },
        _ => dtype(py, text),
    }
}

/// The library's type for elements of NumPy's, and what [`NUMPY_DTYPE`] says where the elements are
/// stored as another type.
pub(crate) fn from_numpy(of: &Bound<'_, PyAny>) -> PyResult<(DType, Option<String>)> {
    let py = of.py();
    let kind: char = of.getattr(intern!(py, "kind"))?.extract()?;
    let text: String = of.getattr(intern!(py, "str"))?.extract()?;
    match kind {
        'M' | 'm' if text.starts_with('<') => Ok(("<i8".parse::<DType>().raise(py)?, Some(text))),
        _ => plain(of, kind, &text).map(|dtype| (dtype, None)),
    }
}

fn plain(of: &Bound<'_, PyAny>, kind: char, text: &str) -> PyResult<DType> {
    let py = of.py();
    if text.starts_with('>') {
        return Err(PyTypeError::new_err(format!(
            "elements of {text} are in another byte order than this machine's: convert them first"
        )));
    }
    if matches!(kind, 'b' | 'i' | 'u' | 'f' | 'c') {
        let unknown = |_| PyTypeError::new_err(format!("elements of type {text} cannot be shared"));
        return text.parse::<DType>().map_err(unknown);
    }
    let refused = || {
        PyTypeError::new_err(format!(
            "elements of type {of} cannot be shared: only numbers, booleans, raw bytes and structs of these"
        ))
    };
    if kind != 'V' {
        return Err(refused());
    }
    if let Ok((part, shape)) = of
        .getattr(intern!(py, "subdtype"))?
        .extract::<(Bound<'_, PyAny>, Vec<usize>)>()
    {
        let part_text: String = part.getattr(intern!(py, "str"))?.extract()?;
        let part = plain(
            &part,
            part.getattr(intern!(py, "kind"))?.extract()?,
            &part_text,
        )?;
        let lengths: String = shape.iter().map(|n| format!("{n},")).collect();
        let lengths = if shape.len() == 1 {
            lengths.as_str()
        } else {
            lengths.trim_end_matches(',')
        };
        return format!("({lengths}){part}")
            .parse::<DType>()
            .map_err(|_| refused());
    }
    let fields = of.getattr(intern!(py, "fields"))?;
    if !fields.is_none() {
        let names: Vec<String> = of.getattr(intern!(py, "names"))?.extract()?;
        let field = |name: String| {
            let field = fields.get_item(&name)?;
            let (dtype, offset) = (field.get_item(0)?, field.get_item(1)?.extract::<usize>()?);
            let text: String = dtype.getattr(intern!(py, "str"))?.extract()?;
            Ok((
                name,
                plain(
                    &dtype,
                    dtype.getattr(intern!(py, "kind"))?.extract()?,
                    &text,
                )?,
                offset,
            ))
        };
        let fields = names.into_iter().map(field).collect::<PyResult<Vec<_>>>()?;
        return DType::structure(fields, of.getattr(intern!(py, "itemsize"))?.extract()?).raise(py);
    }
    match of
        .getattr(intern!(py, "name"))?
        .extract::<String>()?
        .as_str()
    {
        "bfloat16" => "bfloat16".parse::<DType>().raise(py),
        name if name.starts_with("void") => text.parse::<DType>().map_err(|_| refused()),
        _ => Err(refused()),
    }
}

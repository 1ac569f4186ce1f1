//! Attributes of arrays: conversion between Python's values and CBOR.

use crate::dtype;
use ciborium::Value;
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    intern,
    prelude::*,
    types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};
use std::collections::BTreeMap;

/// How deep lists and dictionaries may be nested: a list may also be its own item.
const DEPTH: usize = 100;

/// Converts a Python value to CBOR.
pub(crate) fn to_value(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    nested(value, 0)
}

fn nested(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    let to_value = |value: &Bound<'_, PyAny>| nested(value, depth + 1);
    if depth > DEPTH {
        Err(PyValueError::new_err(format!(
            "attributes can be nested {DEPTH} deep, or a value is a part of itself"
        )))
    } else if value.is_none() {
        Ok(Value::Null)
    } else if let Ok(flag) = value.cast::<PyBool>() {
        Ok(Value::Bool(flag.is_true()))
    } else if value.is_instance_of::<PyInt>() {
        match value.extract::<i64>() {
            Ok(number) => Ok(number.into()),
            Err(_) => Ok(value.extract::<u64>()?.into()),
        }
    } else if value.is_instance_of::<PyFloat>() {
        Ok(Value::Float(value.extract()?))
    } else if value.is_instance_of::<PyString>() {
        Ok(Value::Text(value.extract()?))
    } else if let Ok(bytes) = value.cast::<PyBytes>() {
        Ok(Value::Bytes(bytes.as_bytes().to_vec()))
    } else if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        Ok(Value::Array(
            value
                .try_iter()?
                .map(|item| to_value(&item?))
                .collect::<PyResult<_>>()?,
        ))
    } else if let Ok(map) = value.cast::<PyDict>() {
        Ok(Value::Map(
            map.iter()
                .map(|(key, item)| Ok((to_value(&key)?, to_value(&item)?)))
                .collect::<PyResult<_>>()?,
        ))
    } else if let Ok(item) = value.call_method0("item") {
        // One of NumPy's scalars.
        to_value(&item)
    } else {
        let name = value.get_type().name()?;
        Err(PyTypeError::new_err(format!(
            "attributes must be None, bool, int, float, str, bytes, or lists and dictionaries of \
             these, not {name}"
        )))
    }
}

/// The attributes of an array that a user gave it, without those of this package.
pub(crate) fn of_user<'py>(
    py: Python<'py>,
    map: &BTreeMap<String, Value>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in map.iter().filter(|(key, _)| *key != dtype::NUMPY_DTYPE) {
        dict.set_item(key, to_python(py, value)?)?;
    }
    Ok(dict)
}

/// The same dictionary as one that refuses changes, which would reach no array.
pub(crate) fn fixed<'py>(map: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
    let py = map.py();
    let class = py.import(intern!(py, "ndshm._attrs"))?;
    class.getattr(intern!(py, "FixedDict"))?.call1((map,))
}

/// Converts CBOR to a Python value, whose dictionaries refuse changes.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Bool(flag) => PyBool::new(py, *flag).to_owned().into_any(),
        Value::Integer(number) => i128::from(*number).into_pyobject(py)?.into_any(),
        Value::Float(number) => PyFloat::new(py, *number).into_any(),
        Value::Text(text) => PyString::new(py, text).into_any(),
        Value::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            items
                .iter()
                .try_for_each(|item| list.append(to_python(py, item)?))?;
            list.into_any()
        }
        Value::Map(entries) => {
            let map = PyDict::new(py);
            entries.iter().try_for_each(|(key, item)| {
                map.set_item(to_python(py, key)?, to_python(py, item)?)
            })?;
            fixed(&map)?
        }
        Value::Tag(_, inner) => to_python(py, inner)?,
        _ => py.None().into_bound(py),
    })
}

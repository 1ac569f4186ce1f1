//! Values in the tuples, lists and dictionaries of a call's arguments and results.

use pyo3::{
    prelude::*,
    types::{PyDict, PyList, PyTuple},
};

/// What stands in the place of a value, if anything does.
pub(crate) type Other<'py> = PyResult<Option<Bound<'py, PyAny>>>;

/// The value with others in the place of those for which `other` gives one. It is asked for the
/// value itself, and where it gives nothing, for what a container has.
pub(crate) fn replaced<'py>(
    value: &Bound<'py, PyAny>,
    other: &mut dyn FnMut(&Bound<'py, PyAny>) -> Other<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    if let Some(found) = other(value)? {
        return Ok(found);
    }
    let is_same = |items: &[Bound<'py, PyAny>],
                   was: &mut dyn Iterator<Item = Bound<'py, PyAny>>| {
        was.zip(items).all(|(was, is)| was.is(is))
    };
    if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        let items = tuple.iter().map(|item| replaced(&item, other));
        let items = items.collect::<PyResult<Vec<_>>>()?;
        return match is_same(&items, &mut tuple.iter()) {
            true => Ok(value.clone()),
            false => Ok(PyTuple::new(py, items)?.into_any()),
        };
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        let items = list.iter().map(|item| replaced(&item, other));
        let items = items.collect::<PyResult<Vec<_>>>()?;
        return match is_same(&items, &mut list.iter()) {
            true => Ok(value.clone()),
            false => Ok(PyList::new(py, items)?.into_any()),
        };
    }
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        let made = PyDict::new(py);
        for (key, item) in dict {
            made.set_item(key, replaced(&item, other)?)?;
        }
        return Ok(made.into_any());
    }
    Ok(value.clone())
}

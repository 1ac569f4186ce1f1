//! The keywords of all functions that create an array: name, scope, attributes, axis names.

use crate::{arguments::ScopeArgument, attrs, dtype, error::Raise};
use ciborium::Value;
use ndshm::{ArrayOptions, DType, NumpyDType};
use pyo3::{exceptions::PyValueError, prelude::*, types::PyDict};
use std::collections::BTreeMap;

pub(super) struct Labels<'a, 'py> {
    pub(super) name: Option<String>,
    pub(super) scope: ScopeArgument,
    pub(super) attrs: Option<&'a Bound<'py, PyDict>>,
    pub(super) axis_names: Option<Vec<String>>,
    /// The value of [`dtype::NUMPY_DTYPE`], if the elements are stored as another type.
    pub(super) numpy_dtype: Option<String>,
}

impl Labels<'_, '_> {
    pub(super) fn apply<'m>(
        self,
        py: Python<'_>,
        mut options: ArrayOptions<'m>,
        stored: &DType,
    ) -> PyResult<ArrayOptions<'m>> {
        if let Some(name) = self.name {
            options = options.name(name);
        }
        if let ScopeArgument::Given(scope) = self.scope {
            options = options.scope(scope);
        }
        if let Some(names) = self.axis_names {
            options = options.axis_names(names);
        }
        if self.attrs.is_none() && self.numpy_dtype.is_none() {
            return Ok(options);
        }
        let mut map = BTreeMap::new();
        for (key, value) in self.attrs.into_iter().flatten() {
            map.insert(key.extract::<String>()?, attrs::to_value(&value)?);
        }
        check(stored, map.get(dtype::NUMPY_DTYPE))?;
        if let Some(text) = self.numpy_dtype {
            map.insert(dtype::NUMPY_DTYPE.to_owned(), Value::Text(text));
        }
        options.attrs(&map).raise(py)
    }
}

/// Refuses a type from the caller that the elements of the new array do not have.
fn check(stored: &DType, claim: Option<&Value>) -> PyResult<()> {
    let Some(claim) = claim else { return Ok(()) };
    let parsed = claim
        .as_text()
        .and_then(|text| text.parse::<NumpyDType>().ok());
    match parsed.is_some_and(|dtype| dtype.is_stored_as(stored)) {
        true => Ok(()),
        false => Err(PyValueError::new_err(format!(
            "the attribute {} is no type of elements that are stored as {stored}: leave it out",
            dtype::NUMPY_DTYPE
        ))),
    }
}

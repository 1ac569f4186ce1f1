//! The library's reports about a store, as dictionaries for the dataclasses in `ndshm/_reports.py`.

use crate::arguments::order_name;
use ndshm::{ArrayInfo, Swept, Usage};
use pyo3::{
    prelude::*,
    types::{PyDict, PyTuple},
};
use std::time::UNIX_EPOCH;

pub(super) fn array<'py>(py: Python<'py>, info: &ArrayInfo) -> PyResult<Bound<'py, PyDict>> {
    let created = info.created.duration_since(UNIX_EPOCH);
    let map = PyDict::new(py);
    map.set_item("name", &info.name)?;
    map.set_item("id", info.id.to_string())?;
    map.set_item("kind", info.kind.to_string())?;
    map.set_item("path", info.path.to_string_lossy())?;
    map.set_item("shape", PyTuple::new(py, &info.shape)?)?;
    map.set_item("dtype", info.dtype.to_string())?;
    map.set_item("order", order_name(info.order))?;
    map.set_item("nbytes", info.byte_len)?;
    map.set_item("created", created.map_or(0.0, |time| time.as_secs_f64()))?;
    map.set_item("pid", info.pid)?;
    map.set_item("software", &info.software)?;
    Ok(map)
}

pub(super) fn usage<'py>(py: Python<'py>, usage: &Usage) -> PyResult<Bound<'py, PyDict>> {
    let map = PyDict::new(py);
    map.set_item("arrays", usage.arrays)?;
    map.set_item("nbytes", usage.byte_len)?;
    map.set_item("allocated", usage.allocated)?;
    map.set_item("kept", usage.kept)?;
    map.set_item("available", usage.available)?;
    Ok(map)
}

pub(super) fn swept<'py>(py: Python<'py>, swept: &Swept) -> PyResult<Bound<'py, PyDict>> {
    let skipped: Vec<String> = swept.skipped.iter().map(ToString::to_string).collect();
    let map = PyDict::new(py);
    map.set_item("stores", swept.stores)?;
    map.set_item("arrays", swept.arrays)?;
    map.set_item("half_made", swept.half_made)?;
    map.set_item("nbytes", swept.bytes)?;
    map.set_item("skipped", skipped)?;
    Ok(map)
}

//! Basic indexing, as NumPy defines it: integers, slices, `...` and `None` name a view by numbers
//! alone.

use pyo3::{
    exceptions::PyIndexError,
    ffi,
    prelude::*,
    types::{PyBool, PyEllipsis, PyInt, PySlice, PyTuple},
};

/// Where a view lies: bytes from the start of the array's data, lengths, strides in bytes.
pub(crate) struct Place {
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<isize>,
}

enum Part<'py> {
    Index(isize),
    Slice(Bound<'py, PySlice>),
    NewAxis,
    Rest,
}

/// A part of a basic index; `None` for what is something else, an array or a list of indices say.
fn part<'py>(item: &Bound<'py, PyAny>) -> PyResult<Option<Part<'py>>> {
    if item.is_exact_instance_of::<PyInt>() {
        return Ok(Some(Part::Index(item.extract()?)));
    }
    if let Ok(slice) = item.cast::<PySlice>() {
        return Ok(Some(Part::Slice(slice.clone())));
    }
    if item.is_none() {
        return Ok(Some(Part::NewAxis));
    }
    if item.is_instance_of::<PyEllipsis>() {
        return Ok(Some(Part::Rest));
    }
    // Booleans are masks. Arrays and sequences, which have a length, are fancy, even those without
    // axes; NumPy's integers are neither.
    if item.is_instance_of::<PyBool>() || item.hasattr("__len__")? && !item.hasattr("dtype")? {
        return Ok(None);
    }
    // SAFETY: a live object, and the thread is attached.
    if unsafe { ffi::PyIndex_Check(item.as_ptr()) } == 0
        || item.getattr("dtype").is_ok_and(|dtype| {
            dtype
                .getattr("kind")
                .is_ok_and(|kind| kind.eq("b").unwrap_or(true))
        })
    {
        return Ok(None);
    }
    match item.call_method0("__index__") {
        Ok(index) => Ok(Some(Part::Index(index.extract()?))),
        Err(_) => Ok(None),
    }
}

/// Where a basic index leads from a view; `None` where the index is not basic.
pub(crate) fn place(
    index: &Bound<'_, PyAny>,
    offset: usize,
    shape: &[usize],
    strides: &[isize],
) -> PyResult<Option<Place>> {
    let mut parts = Vec::new();
    if let Ok(tuple) = index.cast::<PyTuple>() {
        for item in tuple.iter() {
            let Some(part) = part(&item)? else {
                return Ok(None);
            };
            parts.push(part);
        }
    } else {
        let Some(part) = part(index)? else {
            return Ok(None);
        };
        parts.push(part);
    }
    let named = parts
        .iter()
        .filter(|part| matches!(part, Part::Index(_) | Part::Slice(_)))
        .count();
    if named > shape.len() {
        return Err(PyIndexError::new_err(format!(
            "too many indices: the array has {} axes, and {named} were indexed",
            shape.len()
        )));
    }
    match parts
        .iter()
        .filter(|part| matches!(part, Part::Rest))
        .count()
    {
        0 => parts.push(Part::Rest),
        1 => {}
        _ => {
            return Err(PyIndexError::new_err(
                "an index can only have one ellipsis ('...')",
            ));
        }
    }
    let mut place = Place {
        offset,
        shape: Vec::with_capacity(shape.len()),
        strides: Vec::with_capacity(shape.len()),
    };
    let is_empty = shape.contains(&0);
    let mut first = offset as isize;
    let mut axis = 0;
    for part in parts {
        match part {
            Part::NewAxis => {
                place.shape.push(1);
                place.strides.push(0);
            }
            Part::Rest => {
                let rest = shape.len() - named;
                place.shape.extend(&shape[axis..axis + rest]);
                place.strides.extend(&strides[axis..axis + rest]);
                axis += rest;
            }
            Part::Index(index) => {
                let length = shape[axis] as isize;
                let at = if index < 0 { index + length } else { index };
                if !(0..length).contains(&at) {
                    return Err(PyIndexError::new_err(format!(
                        "index {index} is out of bounds for axis {axis} with size {length}"
                    )));
                }
                first += at * strides[axis];
                axis += 1;
            }
            Part::Slice(slice) => {
                let bounds = slice.indices(shape[axis] as isize)?;
                if bounds.slicelength > 0 {
                    first += bounds.start * strides[axis];
                }
                place.shape.push(bounds.slicelength);
                place.strides.push(bounds.step.wrapping_mul(strides[axis]));
                axis += 1;
            }
        }
    }
    if !is_empty && !place.shape.contains(&0) {
        place.offset = first as usize;
    }
    Ok(Some(place))
}

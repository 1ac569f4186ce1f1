//! Basic indexing as NumPy defines it: integers, slices, `...` and `None` select a view by numbers
//! alone.

use pyo3::{
    exceptions::PyIndexError,
    ffi,
    prelude::*,
    types::{PyBool, PyEllipsis, PyInt, PySlice, PyTuple},
};

/// The layout of a view: its start in bytes from the start of the array's data, its lengths, and
/// its strides in bytes.
pub(crate) struct Place {
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<isize>,
}

enum Part<'py> {
    Index(isize),
    Slice(Bound<'py, PySlice>),
    NewAxis,
    Ellipsis,
}

/// The place that a basic index selects in a view; `None` if the index is not basic.
pub(crate) fn place(
    index: &Bound<'_, PyAny>,
    offset: usize,
    shape: &[usize],
    strides: &[isize],
) -> PyResult<Option<Place>> {
    let Some(mut parts) = parts(index)? else {
        return Ok(None);
    };
    let indexed = indexed_axes(&mut parts, shape.len())?;
    let mut place = Place {
        offset,
        shape: Vec::with_capacity(shape.len()),
        strides: Vec::with_capacity(shape.len()),
    };
    let mut start = offset as isize;
    let mut axis = 0;
    for part in parts {
        match part {
            Part::NewAxis => {
                place.shape.push(1);
                place.strides.push(0);
            }
            Part::Ellipsis => {
                let end = axis + shape.len() - indexed;
                place.shape.extend(&shape[axis..end]);
                place.strides.extend(&strides[axis..end]);
                axis = end;
            }
            Part::Index(index) => {
                start += position(index, axis, shape[axis] as isize)? * strides[axis];
                axis += 1;
            }
            Part::Slice(slice) => {
                let bounds = slice.indices(shape[axis] as isize)?;
                if bounds.slicelength > 0 {
                    start += bounds.start * strides[axis];
                }
                place.shape.push(bounds.slicelength);
                place.strides.push(bounds.step.wrapping_mul(strides[axis]));
                axis += 1;
            }
        }
    }
    // A view without elements keeps the offset: its start may lie outside of the data.
    if !shape.contains(&0) && !place.shape.contains(&0) {
        place.offset = start as usize;
    }
    Ok(Some(place))
}

/// Whether a basic index has an integer for each of `ndim` axes, and nothing else.
pub(crate) fn is_element(index: &Bound<'_, PyAny>, ndim: usize) -> bool {
    let parts = parts(index).ok().flatten().unwrap_or_default();
    parts.len() == ndim && parts.iter().all(|part| matches!(part, Part::Index(_)))
}

/// The place of one element, for an index that has an integer for each axis.
pub(crate) fn element(index: &Bound<'_, PyAny>, shape: &[usize]) -> PyResult<Vec<usize>> {
    let mut place = Vec::with_capacity(shape.len());
    for (axis, part) in parts(index)?.iter().flatten().enumerate() {
        match (part, shape.get(axis)) {
            (Part::Index(index), Some(&length)) => {
                place.push(position(*index, axis, length as isize)? as usize);
            }
            _ => return Err(no_element(index, shape.len())),
        }
    }
    // An index that is not basic has no parts; the only other one is an empty tuple.
    let is_empty = place.is_empty() && !index.cast::<PyTuple>().is_ok_and(|tuple| tuple.is_empty());
    match place.len() == shape.len() && !is_empty {
        true => Ok(place),
        false => Err(no_element(index, shape.len())),
    }
}

fn no_element(index: &Bound<'_, PyAny>, ndim: usize) -> PyErr {
    PyIndexError::new_err(format!(
        "{index} is no index of one element: the array has {ndim} axes, and each needs an integer"
    ))
}

/// The parts of a basic index; `None` if the index is not basic.
fn parts<'py>(index: &Bound<'py, PyAny>) -> PyResult<Option<Vec<Part<'py>>>> {
    match index.cast::<PyTuple>() {
        Ok(tuple) => tuple.iter().map(|item| part(&item)).collect(),
        Err(_) => Ok(part(index)?.map(|part| vec![part])),
    }
}

/// One part of a basic index; `None` for anything else, such as an array or a list of indices.
fn part<'py>(item: &Bound<'py, PyAny>) -> PyResult<Option<Part<'py>>> {
    if item.is_exact_instance_of::<PyInt>() {
        return Ok(Some(Part::Index(number(item)?)));
    }
    if let Ok(slice) = item.cast::<PySlice>() {
        return Ok(Some(Part::Slice(slice.clone())));
    }
    if item.is_none() {
        return Ok(Some(Part::NewAxis));
    }
    if item.is_instance_of::<PyEllipsis>() {
        return Ok(Some(Part::Ellipsis));
    }
    if is_advanced(item)? {
        return Ok(None);
    }
    match item.call_method0("__index__") {
        Ok(index) => Ok(Some(Part::Index(number(&index)?))),
        Err(_) => Ok(None),
    }
}

/// An integer as an index. One of more than 64 bits lies outside of every array.
fn number(item: &Bound<'_, PyAny>) -> PyResult<isize> {
    item.extract()
        .map_err(|_| PyIndexError::new_err(format!("index {item} is out of bounds")))
}

/// Whether an item is a mask, a sequence, or an object that cannot be an integer.
///
/// Booleans, NumPy's too, are masks. NumPy's scalars and other arrays pass: `__index__` then
/// refuses all but integers without axes.
fn is_advanced(item: &Bound<'_, PyAny>) -> PyResult<bool> {
    if item.is_instance_of::<PyBool>() || item.hasattr("__len__")? && !item.hasattr("dtype")? {
        return Ok(true);
    }
    // SAFETY: `item` is a live object, and the thread is attached to the interpreter.
    if unsafe { ffi::PyIndex_Check(item.as_ptr()) } == 0 {
        return Ok(true);
    }
    Ok(item
        .getattr("dtype")
        .and_then(|dtype| dtype.getattr("kind"))
        .is_ok_and(|kind| kind.eq("b").unwrap_or(true)))
}

/// Counts the parts that consume an axis, and adds the ellipsis that ends an index without one.
fn indexed_axes(parts: &mut Vec<Part<'_>>, ndim: usize) -> PyResult<usize> {
    let indexed = parts
        .iter()
        .filter(|part| matches!(part, Part::Index(_) | Part::Slice(_)))
        .count();
    if indexed > ndim {
        return Err(PyIndexError::new_err(format!(
            "too many indices: the array has {ndim} axes, and {indexed} were indexed"
        )));
    }
    let ellipses = parts
        .iter()
        .filter(|part| matches!(part, Part::Ellipsis))
        .count();
    match ellipses {
        0 => parts.push(Part::Ellipsis),
        1 => {}
        _ => {
            return Err(PyIndexError::new_err(
                "an index can only have one ellipsis ('...')",
            ));
        }
    }
    Ok(indexed)
}

/// The position of an index from the start of its axis: a negative one counts from the end.
fn position(index: isize, axis: usize, length: isize) -> PyResult<isize> {
    let position = if index < 0 { index + length } else { index };
    if (0..length).contains(&position) {
        Ok(position)
    } else {
        Err(PyIndexError::new_err(format!(
            "index {index} is out of bounds for axis {axis} with size {length}"
        )))
    }
}

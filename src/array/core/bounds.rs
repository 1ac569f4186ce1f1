//! The bounds of indices, slices and axes: errors where ndarray panics.

use crate::error::{Error, Result};
use ndarray::{Axis, Dimension, SliceArg, SliceInfoElem};

pub(super) fn axis_length(operation: &'static str, shape: &[usize], axis: Axis) -> Result<usize> {
    shape.get(axis.index()).copied().ok_or_else(|| {
        Error::layout(
            operation,
            format!("axis {} of {}", axis.index(), shape.len()),
        )
    })
}

/// Checks a slice against the axes of an array.
pub(crate) fn check_slice_info<D: Dimension>(
    info: &impl SliceArg<D>,
    shape: &[usize],
) -> Result<()> {
    let operation = "slice";
    let mut lengths = shape.iter();
    for element in info.as_ref() {
        match *element {
            SliceInfoElem::NewAxis => {}
            SliceInfoElem::Index(index) => check_index(operation, index, length(&mut lengths)?)?,
            SliceInfoElem::Slice { start, end, step } => {
                check_slice(operation, start, end, step, length(&mut lengths)?)?
            }
        }
    }
    if lengths.next().is_some() || info.in_ndim() != shape.len() {
        return Err(Error::layout(
            operation,
            format!(
                "{} axes are named, the array has {}",
                info.in_ndim(),
                shape.len()
            ),
        ));
    }
    if info.out_ndim() > crate::layout::MAX_NDIM {
        return Err(Error::layout(
            operation,
            format!("{} axes come out, at most 32 are possible", info.out_ndim()),
        ));
    }
    Ok(())
}

/// Checks one index of an axis.
pub(crate) fn check_axis_index(shape: &[usize], axis: Axis, index: usize) -> Result<()> {
    let operation = "index an axis";
    let length = axis_length(operation, shape, axis)?;
    if index >= length {
        return Err(Error::layout(
            operation,
            format!("index {index} of axis {} of length {length}", axis.index()),
        ));
    }
    Ok(())
}

/// The length of the next axis of a slice.
fn length<'a>(lengths: &mut impl Iterator<Item = &'a usize>) -> Result<usize> {
    lengths
        .next()
        .copied()
        .ok_or_else(|| Error::layout("slice", "more axes are named than the array has"))
}

/// Checks an index as ndarray counts it: from the end where it is negative.
fn check_index(operation: &'static str, index: isize, length: usize) -> Result<()> {
    let fits = if index < 0 {
        index.unsigned_abs() <= length
    } else {
        index.unsigned_abs() < length
    };
    if fits {
        Ok(())
    } else {
        Err(Error::layout(
            operation,
            format!("index {index} of an axis of length {length}"),
        ))
    }
}

/// Checks a range as ndarray counts it: from the end where a bound is negative; an empty one where
/// the end comes first.
pub(super) fn check_slice(
    operation: &'static str,
    start: isize,
    end: Option<isize>,
    step: isize,
    length: usize,
) -> Result<()> {
    if step == 0 || step == isize::MIN {
        return Err(Error::layout(operation, format!("a step of {step}")));
    }
    let fits = |bound: isize| bound.unsigned_abs() <= length;
    if !fits(start) || !end.is_none_or(fits) {
        let end = end.map_or(String::new(), |end| end.to_string());
        return Err(Error::layout(
            operation,
            format!("range {start}..{end} of an axis of length {length}"),
        ));
    }
    Ok(())
}

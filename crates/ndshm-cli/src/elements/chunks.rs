//! Arrays piece by piece: a guard covers one piece at a time, and an array of several GB is never
//! copied whole.

use crate::failure::Failure;
use ndarray::{IxDyn, SliceInfo, SliceInfoElem};
use ndshm::AnyArray;
use std::ops::Range;

/// Bytes of a piece: large enough that the cost of a guard is negligible, small enough that writers
/// hardly wait.
pub(crate) const PIECE: usize = 16 << 20;

/// A piece: a range of each axis.
pub(crate) type Piece = Vec<Range<usize>>;

/// The pieces of an array, each contiguous in memory if the array is.
pub(crate) fn of(array: &AnyArray, most: usize) -> Vec<Piece> {
    let whole: Piece = array.shape().iter().map(|&length| 0..length).collect();
    within(array, &whole, most)
}

/// Divides a piece of an array into smaller ones.
pub(crate) fn within(array: &AnyArray, piece: &[Range<usize>], most: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    if piece.iter().all(|range| !range.is_empty()) {
        // By decreasing strides: the outermost axis in memory is cut first.
        let strides = array.byte_strides();
        let mut axes: Vec<usize> = (0..array.ndim())
            .filter(|axis| piece[*axis].len() > 1)
            .collect();
        axes.sort_by_key(|axis| std::cmp::Reverse(strides[*axis].unsigned_abs()));
        cut(
            &mut pieces,
            piece.to_vec(),
            &axes,
            array.dtype().itemsize(),
            most,
        );
    }
    pieces
}

/// The pieces of an array of this shape in C order. The elements of each follow each other in it.
pub(crate) fn in_order(shape: &[usize], itemsize: usize, most: usize) -> Vec<Piece> {
    let whole: Piece = shape.iter().map(|&length| 0..length).collect();
    let mut pieces = Vec::new();
    if !shape.contains(&0) {
        let axes: Vec<usize> = (0..shape.len()).filter(|&axis| shape[axis] > 1).collect();
        cut(&mut pieces, whole, &axes, itemsize, most);
    }
    pieces
}

fn cut(pieces: &mut Vec<Piece>, piece: Piece, axes: &[usize], itemsize: usize, most: usize) {
    let size = piece
        .iter()
        .map(Range::len)
        .product::<usize>()
        .saturating_mul(itemsize);
    let Some((&axis, inner)) = axes.split_first().filter(|_| size > most) else {
        return pieces.push(piece);
    };
    let (length, one) = (piece[axis].len(), size / piece[axis].len());
    let step = (most / one.max(1)).clamp(1, length);
    for start in (0..length).step_by(step) {
        let mut part = piece.clone();
        part[axis] = start..(start + step).min(length);
        cut(pieces, part, inner, itemsize, most);
    }
}

/// The view of a piece of an array.
pub(crate) fn view(array: &AnyArray, piece: &[Range<usize>]) -> Result<AnyArray, Failure> {
    let elements = piece.iter().map(|range| SliceInfoElem::Slice {
        start: range.start as isize,
        end: Some(range.end as isize),
        step: 1,
    });
    let elements: Vec<_> = elements.collect();
    let info = SliceInfo::<_, IxDyn, IxDyn>::try_from(elements)
        .map_err(|error| Failure::usage(error.to_string()))?;
    Ok(array.slice(info)?)
}

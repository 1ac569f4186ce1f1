//! Spans of bytes as slices of an array, for people: `[3]`, `[2:5, 128:256]`.

use super::{Order, span::Span};
use std::fmt::Write;

/// The slice of an array that a span covers, in NumPy's notation and without the axes that are
/// whole at the end; `[:]` for all of it. `None` if no slice says it.
pub(crate) fn slice_of(
    span: &Span,
    shape: &[usize],
    order: Order,
    itemsize: usize,
) -> Option<String> {
    // From the axis with the largest stride to the one with the smallest.
    let axes: Vec<usize> = match order {
        Order::C => (0..shape.len()).collect(),
        Order::F => (0..shape.len()).rev().collect(),
    };
    let mut strides = vec![0u64; shape.len()];
    let mut stride = itemsize as u64;
    for &axis in axes.iter().rev() {
        strides[axis] = stride;
        stride = stride.checked_mul(shape[axis] as u64)?;
    }
    let (mut start, mut end) = (span.start, span.end);
    if end > stride || start >= end {
        return None;
    }
    let mut indices: Vec<Indices> = shape.iter().map(|&len| Indices::all(len)).collect();
    let mut is_inside_pitch = false;
    for &axis in &axes {
        let stride = strides[axis];
        let (first, last) = (start / stride, (end - 1) / stride);
        let (pitch, width) = (u64::from(span.pitch), u64::from(span.width));
        let is_pitch = !is_inside_pitch && pitch >= stride && pitch.is_multiple_of(stride);
        if is_pitch {
            // The same part of each index, or of each second one, and so on. Of a damaged lane the
            // part may be empty, or reach into the next index.
            let (within, step) = (start % stride, pitch / stride);
            let is_in_one = width > 0 && within + width <= stride;
            if !is_in_one || (end - start) % pitch != width {
                return None;
            }
            indices[axis] = Indices {
                first,
                end: last + 1,
                step,
            };
            (start, end) = (within, within + width);
            is_inside_pitch = true;
        } else if first == last {
            indices[axis] = Indices::one(first);
            (start, end) = (start - first * stride, end - first * stride);
        } else {
            indices[axis] = Indices {
                first,
                end: last + 1,
                step: 1,
            };
            let is_whole = start == first * stride && end == (last + 1) * stride;
            let is_settled = span.pitch == 0 || is_inside_pitch;
            return (is_whole && is_settled).then(|| text(&indices, shape));
        }
    }
    let is_whole = (start, end) == (0, itemsize as u64);
    (is_whole && (span.pitch == 0 || is_inside_pitch)).then(|| text(&indices, shape))
}

/// Indices of an axis.
#[derive(Clone, Copy, PartialEq)]
struct Indices {
    first: u64,
    end: u64,
    step: u64,
}

impl Indices {
    fn all(len: usize) -> Self {
        Self {
            first: 0,
            end: len as u64,
            step: 1,
        }
    }

    fn one(index: u64) -> Self {
        Self {
            first: index,
            end: index + 1,
            step: 1,
        }
    }
}

fn text(indices: &[Indices], shape: &[usize]) -> String {
    let is_all = |axis: usize| indices[axis] == Indices::all(shape[axis]);
    let len = (0..shape.len())
        .rev()
        .find(|&axis| !is_all(axis))
        .map_or(0, |axis| axis + 1);
    let mut text = String::from("[");
    for (axis, &Indices { first, end, step }) in indices[..len].iter().enumerate() {
        if axis > 0 {
            text.push_str(", ");
        }
        // Writing to a String cannot fail.
        let _ = match first {
            _ if is_all(axis) => write!(text, ":"),
            _ if end == first + 1 => write!(text, "{first}"),
            _ if step == 1 => write!(text, "{first}:{end}"),
            // No further index of this step would be one of the axis.
            0 if end + step > shape[axis] as u64 => write!(text, "::{step}"),
            _ if end + step > shape[axis] as u64 => write!(text, "{first}::{step}"),
            _ => write!(text, "{first}:{end}:{step}"),
        };
    }
    if len == 0 {
        text.push(':');
    }
    text + "]"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use ndarray::{Array, ArrayD, IxDyn, ShapeBuilder, SliceInfo, SliceInfoElem};

    fn span(start: u64, end: u64, pitch: u32, width: u32) -> Span {
        Span {
            start,
            end,
            pitch,
            width,
        }
    }

    #[test]
    fn ranges_of_bytes_are_slices_where_they_fit() {
        let slice = |span: Span| slice_of(&span, &[4, 6], Order::C, 8);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(slice(span(0, 192, 0, 0)), text("[:]"));
        assert_eq!(slice(span(48, 96, 0, 0)), text("[1]"));
        assert_eq!(slice(span(48, 144, 0, 0)), text("[1:3]"));
        assert_eq!(slice(span(64, 80, 0, 0)), text("[1, 2:4]"));
        assert_eq!(slice(span(64, 72, 0, 0)), text("[1, 2]"));
        assert_eq!(slice(span(16, 16 + 48 * 3 + 16, 48, 16)), text("[:, 2:4]"));
        assert_eq!(slice(span(64, 64 + 48 + 8, 48, 8)), text("[1:3, 2]"));
        // Every second row, a column of these, every third element of a row.
        assert_eq!(slice(span(0, 96 + 48, 96, 48)), text("[::2]"));
        assert_eq!(slice(span(48, 48 + 96 + 48, 96, 48)), text("[1::2]"));
        assert_eq!(slice(span(56, 56 + 96 + 8, 96, 8)), text("[1::2, 1]"));
        assert_eq!(slice(span(48, 48 + 24 + 8, 24, 8)), text("[1, ::3]"));
        assert_eq!(slice(span(56, 56 + 16 + 8, 16, 8)), text("[1, 1:4:2]"));
        // Over the end of a row, a part of an element, beyond the array, and an empty range.
        for other in [
            span(40, 56, 0, 0),
            span(4, 8, 0, 0),
            span(0, 200, 0, 0),
            span(8, 8, 0, 0),
            span(0, 192, 16, 8),
            // Two rows of three, and an end amid a row.
            span(0, 192, 144, 96),
            span(0, 120, 96, 48),
            // Damaged lanes.
            span(0, 192, 48, 0),
            span(0, 144, 48, 96),
            span(8, 192, u32::MAX, u32::MAX),
            span(u64::MAX - 1, u64::MAX, 1, 1),
        ] {
            assert_eq!(slice(other), None, "{other:?}");
        }
        assert_eq!(
            slice_of(&span(32, 64, 0, 0), &[4, 6], Order::F, 8),
            text("[:, 1]")
        );
        assert_eq!(slice_of(&span(0, 8, 0, 0), &[], Order::C, 8), text("[:]"));
        assert_eq!(slice_of(&span(0, 0, 0, 0), &[0], Order::C, 8), None);
    }

    /// Whatever text a view's span gives: a view of that text has the bytes that the lock covers.
    #[test]
    fn the_text_of_a_view_covers_its_bytes() {
        let shape = [3usize, 4, 5];
        let s = |first, step| SliceInfoElem::Slice {
            start: first,
            end: None,
            step,
        };
        let mut told = 0;
        for order in [Order::C, Order::F] {
            let array: ArrayD<u32> = match order {
                Order::C => Array::zeros(IxDyn(&shape)),
                Order::F => Array::zeros(IxDyn(&shape).f()),
            };
            for (a, b, c) in [(0, 3, 0), (1, 2, 1), (0, 2, 2), (1, 3, 3), (2, 3, 4)] {
                for step in 0..5 {
                    let parts: [SliceInfoElem; 3] = match step {
                        0 => [(a..b).into(), (..).into(), (..).into()],
                        1 => [(..).into(), (a..b).into(), (c..c + 1).into()],
                        2 => [s(0, 2), (..).into(), (c..c + 1).into()],
                        3 => [a.into(), s(a, 2), (..c + 1).into()],
                        _ => [(a..b).into(), (1..3).into(), (..c + 1).into()],
                    };
                    let info = SliceInfo::<_, IxDyn, IxDyn>::try_from(&parts[..]).unwrap();
                    let view = array.slice(&info);
                    let offset = view.as_ptr().addr() - array.as_ptr().addr();
                    let strides: Vec<_> = view.strides().iter().map(|stride| stride * 4).collect();
                    let view = Layout::from_bytes(offset, view.raw_dim(), &strides, 4);
                    let span = Span::of(&view, 4, 4);
                    let Some(text) = slice_of(&span, &shape, order, 4) else {
                        continue;
                    };
                    told += 1;
                    // More than the view where its steps leave no pitch.
                    let bytes = covered(&text, &shape) * 4;
                    assert_eq!(bytes, span.byte_len(), "{text} of {parts:?} {order:?}");
                }
            }
        }
        assert!(told > 15, "{told}");
    }

    /// The number of elements of a slice in NumPy's notation.
    fn covered(text: &str, shape: &[usize]) -> u64 {
        let mut lens: Vec<u64> = shape.iter().map(|&len| len as u64).collect();
        let inner = text.trim_start_matches('[').trim_end_matches(']');
        for (axis, part) in inner.split(", ").enumerate() {
            lens[axis] = match part.split_once(':') {
                Some(("", "")) => lens[axis],
                Some((first, rest)) => {
                    let (end, step) = rest.split_once(':').unwrap_or((rest, "1"));
                    let first = first.parse::<u64>().unwrap_or(0);
                    let end = end.parse::<u64>().unwrap_or(lens[axis]);
                    (end - first).div_ceil(step.parse().unwrap())
                }
                None => 1,
            };
        }
        lens.iter().product()
    }
}

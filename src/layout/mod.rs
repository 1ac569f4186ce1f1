//! Geometry: checked arithmetic of shapes and strides, and the bytes of a view in a payload.
//!
//! Numbers are in bytes unless a name says elements. [`check`] promises that every element of an
//! accepted view lies inside its payload, and [`disjoint`] that no two elements share a byte;
//! unsafe code relies on both. The spans of guards are in [`span`], their texts in
//! [`text`]. Nothing here touches memory,
//! files or the state block, and nothing knows an element type but by its size and alignment.

pub(crate) mod span;
pub(crate) mod text;

use ndarray::Dimension;
use std::ops::Range;

/// Largest number of dimensions.
pub(crate) const MAX_NDIM: usize = 32;

/// The order in which the elements of a contiguous array lie in memory.
///
/// # Examples
///
/// ```
/// use ndarray::ShapeBuilder;
/// use ndshm::Order;
///
/// let manager = ndshm::Manager::new()?;
/// assert_eq!(manager.zeros::<f64, _>((3, 4).f())?.order(), Some(Order::F));
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Row-major: the last axis varies fastest.
    C,
    /// Column-major: the first axis varies fastest.
    F,
}

/// The strides of a contiguous array, in units of `unit`. A zero-sized dimension counts as one.
/// `None` if they overflow.
pub(crate) fn contiguous_strides(shape: &[usize], order: Order, unit: usize) -> Option<Vec<isize>> {
    let mut strides = vec![0; shape.len()];
    set_contiguous(shape, order, unit, |axis, stride| strides[axis] = stride)?;
    Some(strides)
}

/// Calls `set` with each axis and its stride, as by [`contiguous_strides`].
fn set_contiguous(
    shape: &[usize],
    order: Order,
    unit: usize,
    mut set: impl FnMut(usize, isize),
) -> Option<()> {
    let mut step = isize::try_from(unit).ok()?;
    let mut next = |axis: usize| -> Option<()> {
        set(axis, step);
        step = step.checked_mul(isize::try_from(shape[axis].max(1)).ok()?)?;
        Some(())
    };
    match order {
        Order::C => (0..shape.len()).rev().try_for_each(&mut next),
        Order::F => (0..shape.len()).try_for_each(&mut next),
    }
}

/// The number of bytes of a contiguous array. `None` if it overflows, even if a zero-sized
/// dimension hides the overflow.
pub(crate) fn byte_len(shape: &[usize], itemsize: usize) -> Option<usize> {
    let nonzero = shape
        .iter()
        .filter(|&&n| n != 0)
        .try_fold(itemsize, |product, &n| product.checked_mul(n))?;
    isize::try_from(nonzero).ok()?;
    Some(if shape.contains(&0) { 0 } else { nonzero })
}

/// Whether an array can have this shape: few enough axes, and elements that can be counted.
pub(crate) fn is_countable(shape: &[usize]) -> bool {
    shape.len() <= MAX_NDIM && byte_len(shape, 1).is_some()
}

/// The order of these strides: C if both fit, `None` if neither does. Axes of length 0 and 1 do not
/// count.
pub(crate) fn order_of(shape: &[usize], strides: &[isize], unit: usize) -> Option<Order> {
    [Order::C, Order::F]
        .into_iter()
        .find(|&order| is_contiguous(shape, strides, order, unit))
}

/// Whether these are the strides of a contiguous array, and do not overflow.
fn is_contiguous(shape: &[usize], strides: &[isize], order: Order, unit: usize) -> bool {
    let is_empty = shape.contains(&0);
    let mut fits = true;
    let set = |axis: usize, stride| fits &= is_empty || shape[axis] == 1 || strides[axis] == stride;
    set_contiguous(shape, order, unit, set).is_some() && fits
}

/// The payload that a typed view must fit into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of the payload.
    pub(crate) len: usize,
    /// Bytes of one element.
    pub(crate) itemsize: usize,
    /// Alignment of one element, in bytes.
    pub(crate) align: usize,
}

/// Checks that a view lies inside its payload, and returns the range from its first byte to its
/// last.
///
/// `offset` is that of the element at index zero. Strides are in bytes, and those of axes of length
/// 0 and 1 do not count. The range is empty if the view has no elements. All arithmetic is checked.
pub(crate) fn check(
    bounds: Bounds,
    offset: usize,
    shape: &[usize],
    strides: &[isize],
) -> Result<Range<usize>, String> {
    let Bounds {
        len,
        itemsize,
        align,
    } = bounds;
    if shape.len() != strides.len() {
        return Err(format!(
            "{} dimensions but {} strides",
            shape.len(),
            strides.len()
        ));
    }
    if shape.len() > MAX_NDIM {
        return Err(format!(
            "{} dimensions, at most {MAX_NDIM} are allowed",
            shape.len()
        ));
    }
    byte_len(shape, 1).ok_or("the product of the dimensions overflows")?;
    if !offset.is_multiple_of(align) {
        return Err(format!(
            "offset {offset} is not a multiple of the alignment {align}"
        ));
    }
    let (mut below, mut above) = (0usize, 0usize);
    let empty = shape.contains(&0);
    for (&n, &stride) in shape.iter().zip(strides).filter(|(n, _)| **n > 1) {
        let size = stride.unsigned_abs();
        if stride == isize::MIN || !size.is_multiple_of(align) || !size.is_multiple_of(itemsize) {
            return Err(format!(
                "stride {stride} is not a multiple of the element's {itemsize} bytes and of its \
                 alignment {align}"
            ));
        }
        let side = if stride < 0 { &mut below } else { &mut above };
        *side = (n - 1)
            .checked_mul(size)
            .and_then(|reach| side.checked_add(reach))
            .ok_or("the strides overflow")?;
    }
    below
        .checked_add(above)
        .filter(|&reach| isize::try_from(reach).is_ok())
        .ok_or("the strides overflow")?;
    if empty {
        return if offset <= len {
            Ok(offset..offset)
        } else {
            Err(format!(
                "offset {offset} lies beyond the array's {len} bytes"
            ))
        };
    }
    let start = offset
        .checked_sub(below)
        .ok_or_else(|| format!("negative strides reach {below} bytes below offset {offset}"))?;
    let end = offset
        .checked_add(above)
        .and_then(|last| last.checked_add(itemsize));
    match end {
        Some(end) if end <= len => Ok(start..end),
        _ => Err(format!("the view reaches beyond the array's {len} bytes")),
    }
}

/// Whether no two elements of a view share a byte. Sufficient and cheap: a few unusual disjoint
/// layouts are refused.
pub(crate) fn disjoint(shape: &[usize], strides: &[isize], itemsize: usize) -> bool {
    if shape.contains(&0) {
        return true;
    }
    let mut reach = itemsize;
    by_stride(shape, strides).into_iter().all(|(size, n)| {
        let fits = size >= reach;
        reach = reach.saturating_add((n - 1).saturating_mul(size));
        fits
    })
}

/// The axes longer than one, as (absolute stride, length), smallest stride first.
fn by_stride(shape: &[usize], strides: &[isize]) -> Vec<(usize, usize)> {
    let mut axes: Vec<_> = shape
        .iter()
        .zip(strides)
        .filter(|(n, _)| **n > 1)
        .map(|(&n, s)| (s.unsigned_abs(), n))
        .collect();
    axes.sort_unstable();
    axes
}

/// The place of a view: the byte offset of its element at index zero, its dimensions, and its
/// strides in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout<D> {
    /// Bytes from the start of the payload.
    pub(crate) offset: usize,
    /// The lengths of the axes.
    pub(crate) dim: D,
    /// The strides in elements, as `isize` in ndarray's wrapping representation.
    pub(crate) strides: D,
}

impl<D: Dimension> Layout<D> {
    /// The strides in elements.
    pub(crate) fn element_strides(&self) -> &[isize] {
        bytemuck::cast_slice(self.strides.slice())
    }

    /// The strides in bytes. They were checked, so they do not overflow for axes longer than one.
    /// Other axes have stride zero.
    pub(crate) fn byte_strides(&self, itemsize: usize) -> Vec<isize> {
        let sizes = self.dim.slice().iter().zip(self.element_strides());
        sizes
            .map(|(&n, &stride)| {
                if n > 1 {
                    stride.wrapping_mul(itemsize as isize)
                } else {
                    0
                }
            })
            .collect()
    }

    /// The range from the view's first byte to its last in the payload; its strides count `unit`
    /// bytes each. Empty if the view has no elements.
    pub(crate) fn extent(&self, unit: usize, itemsize: usize) -> Range<usize> {
        if self.dim.slice().contains(&0) {
            return self.offset..self.offset;
        }
        let (mut below, mut above) = (0, 0);
        for (&n, &stride) in self.dim.slice().iter().zip(self.element_strides()) {
            let side = if stride < 0 { &mut below } else { &mut above };
            // The layout was checked, so nothing overflows. The stride of an axis of length 1 does
            // not count.
            *side += (n - 1)
                * if n > 1 {
                    stride.unsigned_abs() * unit
                } else {
                    0
                };
        }
        self.offset - below..self.offset + above + itemsize
    }

    /// The layout of a whole array in this order, whose elements take `itemsize` units. The caller
    /// has checked its size.
    pub(crate) fn whole(dim: D, order: Order, itemsize: usize) -> Self {
        let mut strides = D::zeros(dim.ndim());
        if !dim.slice().contains(&0) {
            // Without an allocation: frames of a ring get their layout each time.
            let words = strides.slice_mut();
            let set = |axis: usize, stride: isize| words[axis] = stride as usize;
            if set_contiguous(dim.slice(), order, itemsize, set).is_none() {
                strides = D::zeros(dim.ndim());
            }
        }
        Self {
            offset: 0,
            dim,
            strides,
        }
    }

    /// Whether this is the layout of the whole array of this shape and order.
    pub(crate) fn is_whole(&self, shape: &[usize], order: Order, itemsize: usize) -> bool {
        self.dim.slice() == shape
            && (shape.contains(&0) || self.offset == 0)
            && is_contiguous(shape, self.element_strides(), order, itemsize)
    }

    /// The same layout with another dimension type; `None` if the number of dimensions differs.
    pub(crate) fn to_dimensionality<E: Dimension>(&self) -> Option<Layout<E>> {
        Some(Layout {
            offset: self.offset,
            dim: E::from_dimension(&self.dim)?,
            strides: E::from_dimension(&self.strides)?,
        })
    }

    /// The layout with these strides in bytes; axes of length 0 and 1 get a stride of zero.
    pub(crate) fn from_bytes(
        offset: usize,
        dim: D,
        byte_strides: &[isize],
        itemsize: usize,
    ) -> Self {
        let mut strides = D::zeros(dim.ndim());
        for ((stride, &bytes), &n) in strides
            .slice_mut()
            .iter_mut()
            .zip(byte_strides)
            .zip(dim.slice())
        {
            *stride = if n > 1 {
                (bytes / itemsize as isize) as usize
            } else {
                0
            };
        }
        Self {
            offset,
            dim,
            strides,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F64: Bounds = Bounds {
        len: 80,
        itemsize: 8,
        align: 8,
    };

    #[test]
    fn contiguous_strides_count_zero_dimensions_as_one() {
        assert_eq!(
            contiguous_strides(&[2, 0, 3], Order::C, 8),
            Some(vec![24, 24, 8])
        );
        assert_eq!(
            contiguous_strides(&[2, 0, 3], Order::F, 8),
            Some(vec![8, 16, 16])
        );
        assert_eq!(contiguous_strides(&[usize::MAX, 2], Order::C, 8), None);
    }

    #[test]
    fn an_overflow_hidden_by_a_zero_is_found() {
        assert_eq!(byte_len(&[1 << 40, 0, 1 << 40], 8), None);
        assert_eq!(byte_len(&[0, usize::MAX], 1), None);
        assert_eq!(byte_len(&[0, 5], 8), Some(0));
        assert_eq!(byte_len(&[], 8), Some(8));
    }

    #[test]
    fn a_view_must_lie_inside_the_payload() {
        assert_eq!(check(F64, 0, &[10], &[8]), Ok(0..80));
        assert_eq!(check(F64, 72, &[10], &[-8]), Ok(0..80));
        assert_eq!(check(F64, 80, &[0], &[8]), Ok(80..80));
        for (offset, shape, strides) in [
            (8, vec![10], vec![8]),
            (64, vec![10], vec![-8]),
            (4, vec![1], vec![8]),
            (0, vec![2], vec![12]),
            (0, vec![2], vec![isize::MIN]),
            (0, vec![3], vec![isize::MAX & !7]),
            (88, vec![0], vec![8]),
            (0, vec![2, 2], vec![8]),
            (0, vec![1; 33], vec![0; 33]),
            (0, vec![0, usize::MAX, 2], vec![8, 0, 0]),
        ] {
            assert!(
                check(F64, offset, &shape, &strides).is_err(),
                "{offset} {shape:?} {strides:?}"
            );
        }
    }

    #[test]
    fn a_broadcast_and_a_sliding_window_are_not_disjoint() {
        assert!(disjoint(&[3, 4], &[32, 8], 8));
        assert!(disjoint(&[3, 4], &[-8, 24], 8));
        assert!(disjoint(&[0, 4], &[0, 0], 8));
        assert!(!disjoint(&[3], &[0], 8));
        assert!(!disjoint(&[3, 4], &[8, 8], 8));
    }

    #[test]
    fn the_order_of_ambiguous_strides_is_c() {
        assert_eq!(order_of(&[4], &[8], 8), Some(Order::C));
        assert_eq!(order_of(&[2, 3], &[8, 16], 8), Some(Order::F));
        assert_eq!(order_of(&[2, 3], &[48, 8], 8), None);
        assert_eq!(order_of(&[1, 3], &[0, 8], 8), Some(Order::C));
    }
}

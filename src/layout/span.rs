//! The bytes that a guard covers: a range, or the same residues of a pitch within it.

use crate::layout::Layout;
use ndarray::Dimension;

/// The span of a view with at most this many axes needs no allocation.
const FEW: usize = 6;

/// Bytes of a payload: each `r` of the range with `(r - start) mod pitch < width`, or the whole
/// range if the pitch is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) pitch: u32,
    pub(crate) width: u32,
}

/// Sorts some axes by their strides. The sort of the standard library is made for more values, and
/// takes longer.
fn sort_few(values: &mut [(usize, usize)]) {
    for end in 1..values.len() {
        let mut at = end;
        while at > 0 && values[at].0 < values[at - 1].0 {
            values.swap(at, at - 1);
            at -= 1;
        }
    }
}

impl Span {
    /// All bytes of any payload.
    pub(crate) const ALL: Self = Self::range(0, u64::MAX);
    /// No byte.
    pub(crate) const NOTHING: Self = Self::range(0, 0);

    #[inline]
    pub(crate) const fn range(start: u64, end: u64) -> Self {
        Self {
            start,
            end,
            pitch: 0,
            width: 0,
        }
    }

    /// The smallest span that covers a view. Its elements have `itemsize` bytes, and its strides
    /// count `unit` bytes each.
    ///
    /// A stride qualifies as pitch if every larger stride is a multiple of it; the one that leaves
    /// out the most bytes is chosen. Every view computes its span, so few axes need no allocation.
    pub(crate) fn of<D: Dimension>(layout: &Layout<D>, unit: usize, itemsize: usize) -> Self {
        let extent = layout.extent(unit, itemsize);
        let mut best = Self::range(extent.start as u64, extent.end as u64);
        if layout.dim.size().checked_mul(itemsize) == Some(extent.len()) {
            // Contiguous, in any order: no byte is left out. (The byte count of a broadcast may
            // overflow.)
            return best;
        }
        let (mut few, mut many) = ([(0, 0); FEW], Vec::new());
        let axes = match layout.dim.ndim() {
            0..=FEW => &mut few[..layout.dim.ndim()],
            ndim => {
                many.resize(ndim, (0, 0));
                &mut many[..]
            }
        };
        let mut count = 0;
        // Most layouts have their smallest stride last: then nothing is to be sorted.
        for (&n, &stride) in (layout.dim.slice().iter())
            .zip(layout.element_strides())
            .rev()
        {
            if n > 1 {
                axes[count] = (stride.unsigned_abs() * unit, n);
                count += 1;
            }
        }
        let axes = &mut axes[..count];
        sort_few(axes);
        let mut width = itemsize;
        for position in 0..axes.len() {
            let (stride, n) = axes[position];
            // A stride that leaves no byte out is no pitch. Contiguous axes take this path and need
            // no division.
            if stride > width {
                let larger_are_multiples = axes[position + 1..]
                    .iter()
                    .all(|(larger, _)| larger.is_multiple_of(stride));
                if let (true, Ok(pitch), Ok(width)) = (
                    larger_are_multiples,
                    u32::try_from(stride),
                    u32::try_from(width),
                ) && best.leaves_out_less_than(pitch, width)
                {
                    (best.pitch, best.width) = (pitch, width);
                }
            }
            width = width.saturating_add((n - 1).saturating_mul(stride));
        }
        best
    }

    /// Whether `width` bytes of each `pitch` are a smaller part than the bytes of this span.
    fn leaves_out_less_than(&self, pitch: u32, width: u32) -> bool {
        let product = |one, other| u64::from(one) * u64::from(other);
        self.pitch == 0 || product(width, self.pitch) < product(self.width, pitch)
    }

    /// Whether both spans may have a byte in common. Spans of different pitches count as their
    /// whole ranges.
    #[inline]
    pub(crate) fn overlaps(&self, other: &Span) -> bool {
        if self.start >= other.end || other.start >= self.end {
            return false;
        }
        if self.pitch != other.pitch || self.pitch == 0 {
            return true;
        }
        let pitch = u64::from(self.pitch);
        let distance = (other.start % pitch + pitch - self.start % pitch) % pitch;
        distance < u64::from(self.width) || distance + u64::from(other.width) > pitch
    }

    /// The range from the first to the last byte of two ranges, if it has less than 4 GiB. `None`
    /// where one of them is no range.
    #[inline]
    pub(crate) fn union(&self, other: &Span) -> Option<Span> {
        let (start, end) = (self.start.min(other.start), self.end.max(other.end));
        let is_range = self.pitch == 0 && other.pitch == 0;
        let is_short = end.saturating_sub(start) <= u64::from(u32::MAX);
        (is_range && is_short).then_some(Span::range(start, end))
    }

    /// The bytes of this span that are not in `cut`, exactly, as at most three spans. `None` if the
    /// two interleave so that three spans do not suffice.
    pub(crate) fn without(&self, cut: &Span) -> Option<[Option<Span>; 3]> {
        if !self.overlaps(cut) {
            return Some([Some(*self), None, None]);
        }
        if cut.pitch != 0 && !self.is_inside_windows_of(cut) {
            return None;
        }
        // `cut` takes all bytes of this span between its first and its last byte. The bytes before
        // and after remain.
        let before = (self.start < cut.start).then_some(Span {
            end: cut.start,
            ..*self
        });
        if self.end <= cut.end {
            return Some([before, None, None]);
        }
        if self.pitch == 0 {
            return Some([
                before,
                None,
                Some(Span {
                    start: cut.end,
                    ..*self
                }),
            ]);
        }
        // The window that reaches across the end of `cut`, if any, and the windows after it.
        let (pitch, width) = (u64::from(self.pitch), u64::from(self.width));
        let into = (cut.end - self.start) % pitch;
        let next = cut.end - into + if into == 0 { 0 } else { pitch };
        let reaching = (into != 0 && into < width)
            .then(|| Span::range(cut.end, (cut.end - into + width).min(self.end)));
        let behind = (next < self.end).then_some(Span {
            start: next,
            ..*self
        });
        Some([before, reaching, behind])
    }

    /// Whether `other` contains every byte of this span that lies between the first and the last
    /// byte of `other`.
    fn is_inside_windows_of(&self, other: &Span) -> bool {
        let (pitch, width) = (u64::from(other.pitch), u64::from(other.width));
        let into = (self.start % pitch + pitch - other.start % pitch) % pitch;
        let own_width = if self.pitch == other.pitch {
            u64::from(self.width)
        } else {
            self.end.saturating_sub(self.start)
        };
        // The table may hold any numbers. A sum that overflows is not inside.
        into.saturating_add(own_width) <= width
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The number of covered bytes. More than the view has if no pitch describes it exactly.
    pub(crate) fn byte_len(&self) -> u64 {
        let len = self.end - self.start;
        match u64::from(self.pitch) {
            0 => len,
            pitch => len / pitch * u64::from(self.width) + (len % pitch).min(u64::from(self.width)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::IxDyn;

    /// The span of a view of elements of 8 bytes, from its first byte and strides in bytes.
    fn view(first: usize, shape: &[usize], strides: &[isize]) -> Span {
        Span::of(&Layout::from_bytes(first, IxDyn(shape), strides, 1), 1, 8)
    }

    fn bytes(span: Span) -> Vec<u64> {
        let covered = |r: &u64| {
            span.pitch == 0 || (r - span.start) % u64::from(span.pitch) < u64::from(span.width)
        };
        (span.start..span.end).filter(covered).collect()
    }

    #[test]
    fn columns_of_one_array_do_not_overlap() {
        let column = |j: usize| view(j * 8, &[10], &[64]);
        assert_eq!(
            column(3),
            Span {
                start: 24,
                end: 608,
                pitch: 64,
                width: 8
            }
        );
        assert!(!column(3).overlaps(&column(4)));
        assert!(column(3).overlaps(&column(3)));
        let left = view(0, &[10, 4], &[64, 8]);
        let right = view(32, &[10, 4], &[64, 8]);
        assert!(!left.overlaps(&right) && !right.overlaps(&left));
        assert!(
            left.overlaps(&column(3)) && right.overlaps(&column(4)) && !right.overlaps(&column(3))
        );
    }

    #[test]
    fn even_and_odd_elements_do_not_overlap() {
        let even = view(0, &[5], &[16]);
        let odd = view(72, &[5], &[-16]);
        assert!(!even.overlaps(&odd));
        assert!(even.overlaps(&view(0, &[10], &[8])));
    }

    /// Cutting a span over the whole address range that starts inside a window of the cut used to
    /// overflow. With overflow checks it panicked under the lock word; without, it lost poison.
    #[test]
    fn spans_with_any_numbers_are_compared_and_cut() {
        let numbers = [0, 1, 7, 8, 4096, u64::MAX - 1, u64::MAX];
        let widths = [0, 1, 8, 64, u32::MAX];
        let cuts = [
            Span {
                start: 24,
                end: 608,
                pitch: 64,
                width: 8,
            },
            Span::range(0, 4096),
        ];
        for (start, end) in numbers
            .iter()
            .flat_map(|&start| numbers.iter().map(move |&end| (start, end)))
        {
            for (pitch, width) in widths
                .iter()
                .flat_map(|&pitch| widths.iter().map(move |&width| (pitch, width)))
            {
                let span = Span {
                    start,
                    end,
                    pitch,
                    width,
                };
                cuts.iter().for_each(|cut| {
                    _ = (span.overlaps(cut), cut.overlaps(&span), span.without(cut))
                });
            }
        }
        let everything = Span::range(1, u64::MAX);
        assert_eq!(
            everything.without(&cuts[0]),
            None,
            "it is wider than the windows of the cut"
        );
    }

    /// The byte count of a broadcast view may overflow, and counting it used to.
    #[test]
    fn a_broadcast_view_of_any_size_covers_one_element() {
        assert_eq!(view(8, &[1 << 62], &[0]), Span::range(8, 16));
    }

    #[test]
    fn a_span_covers_every_element_and_overlap_is_never_missed() {
        let layouts: Vec<(Vec<usize>, Vec<isize>)> = vec![
            (vec![3, 4], vec![32, 8]),
            (vec![3, 2], vec![32, 8]),
            (vec![3, 2], vec![-32, 16]),
            (vec![2, 3], vec![24, 8]),
            (vec![5], vec![-16]),
            (vec![2, 2, 2], vec![64, 16, 8]),
            (vec![3], vec![0]),
            (vec![1, 1], vec![0, 0]),
        ];
        let mut all = Vec::new();
        for (shape, strides) in &layouts {
            for first in (0..64usize).step_by(8) {
                let below: usize = shape
                    .iter()
                    .zip(strides)
                    .map(|(&n, &s)| if s < 0 { (n - 1) * s.unsigned_abs() } else { 0 })
                    .sum();
                let span = view(first + below, shape, strides);
                let covered = bytes(span);
                assert_eq!(span.byte_len(), covered.len() as u64);
                for index in ndarray::indices(ndarray::IxDyn(shape)) {
                    let at = (0..shape.len()).fold((first + below) as isize, |at, axis| {
                        at + index[axis] as isize * strides[axis]
                    }) as u64;
                    assert!(
                        (at..at + 8).all(|byte| covered.contains(&byte)),
                        "{shape:?} {strides:?} {span:?} {at}"
                    );
                }
                all.push((span, covered));
            }
        }
        for (a, in_a) in &all {
            for (b, in_b) in &all {
                let share = in_a.iter().any(|byte| in_b.contains(byte));
                assert!(a.overlaps(b) || !share, "{a:?} {b:?}");
                if a.pitch == b.pitch
                    && a.start < b.end
                    && b.start < a.end
                    && a.pitch != 0
                    && a.end - a.start >= 64
                    && b.end - b.start >= 64
                {
                    assert_eq!(a.overlaps(b), b.overlaps(a));
                }
            }
        }
    }
}

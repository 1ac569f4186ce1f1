//! Elements inside elements of another type: fields of structs, parts of `[T; N]`.

use super::{DType, Kind, Scalar};
use std::ops::Range;

impl DType {
    /// Whether every element of a view in an array of this type is a field or part of type
    /// `wanted`.
    ///
    /// `offset` is that of the view's first element, and `strides` are in bytes. The view lies
    /// inside the array.
    pub(crate) fn has_view(
        &self,
        wanted: &DType,
        offset: usize,
        shape: &[usize],
        strides: &[isize],
    ) -> bool {
        if self.is_made_of(wanted) {
            // In phase: an element that began in the middle of another would mix their fields.
            let part = wanted.itemsize();
            let mut axes = shape.iter().zip(strides);
            let is_in_phase = |(&n, &stride): (&usize, &isize)| {
                n < 2 || stride.unsigned_abs().is_multiple_of(part)
            };
            return shape.contains(&0) || offset.is_multiple_of(part) && axes.all(is_in_phase);
        }
        let mut runs = Vec::new();
        self.runs(wanted, 0, &mut runs);
        if shape.contains(&0) {
            return !runs.is_empty();
        }
        let (size, part) = (self.itemsize(), wanted.itemsize());
        // Axes that step over whole elements stay at one place inside them. The others must stay
        // within one run.
        let (mut below, mut above) = (0usize, 0usize);
        for (&n, &stride) in shape.iter().zip(strides) {
            let step = stride.unsigned_abs();
            if n < 2 || step.is_multiple_of(size) {
                continue;
            }
            if !step.is_multiple_of(part) {
                return false;
            }
            let side = if stride < 0 { &mut below } else { &mut above };
            *side = side.saturating_add((n - 1).saturating_mul(step));
        }
        let Some(start) = (offset % size).checked_sub(below) else {
            return false;
        };
        let end = start
            .saturating_add(below)
            .saturating_add(above)
            .saturating_add(part);
        runs.into_iter().any(|run| {
            run.start <= start && end <= run.end && (start - run.start).is_multiple_of(part)
        })
    }

    /// The type with this fingerprint, among this type and its fields and parts.
    pub(crate) fn find(&self, fingerprint: u64) -> Option<DType> {
        if self.fingerprint() == fingerprint {
            return Some(self.clone());
        }
        match self.subarray() {
            Some((_, part)) => part.find(fingerprint),
            None => self
                .fields()
                .iter()
                .find_map(|field| field.dtype().find(fingerprint)),
        }
    }

    /// Whether elements of this type consist of `wanted`s from the first byte to the last.
    fn is_made_of(&self, wanted: &DType) -> bool {
        self == wanted
            || match &self.0 {
                Kind::Bytes(_) => *wanted == DType::scalar(Scalar::U8),
                Kind::Array { element, .. } => element.is_made_of(wanted),
                _ => false,
            }
    }

    /// Adds the byte ranges of an element at `base` that consist of adjacent `wanted`s.
    fn runs(&self, wanted: &DType, base: usize, runs: &mut Vec<Range<usize>>) {
        if self.is_made_of(wanted) {
            runs.push(base..base + self.itemsize());
        } else {
            self.fields()
                .iter()
                .for_each(|field| field.dtype().runs(wanted, base + field.offset(), runs));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Element;

    /// A struct of 48 bytes: x at 0, m at 8 (three pairs), inner at 32 (n at 32, x at 40).
    fn outer() -> DType {
        let inner = DType::structure([("n", u64::DTYPE, 0), ("x", f64::DTYPE, 8)], 16).unwrap();
        DType::structure(
            [
                ("x", f64::DTYPE, 0),
                ("m", <[[f32; 2]; 3]>::DTYPE, 8),
                ("inner", inner, 32),
            ],
            48,
        )
        .unwrap()
    }

    #[test]
    fn a_view_is_found_in_a_field_and_nowhere_else() {
        let dtype = outer();
        for (wanted, offset, shape, strides, expected) in [
            (f64::DTYPE, 0, vec![5], vec![48], true),
            (f64::DTYPE, 96, vec![5], vec![-48], true),
            (f64::DTYPE, 40, vec![5], vec![48], true),
            (f64::DTYPE, 8, vec![5], vec![48], false),
            (f64::DTYPE, 32, vec![5], vec![48], false),
            (f64::DTYPE, 0, vec![5, 2], vec![48, 40], false),
            (f64::DTYPE, 0, vec![5], vec![40], false),
            (u64::DTYPE, 32, vec![2, 5], vec![96, 48], true),
            (f32::DTYPE, 8, vec![5, 3, 2], vec![48, 8, 4], true),
            (f32::DTYPE, 28, vec![5, 3, 2], vec![48, -8, -4], true),
            (f32::DTYPE, 12, vec![5, 3], vec![48, 8], true),
            (f32::DTYPE, 8, vec![6], vec![4], true),
            (f32::DTYPE, 8, vec![7], vec![4], false),
            (f32::DTYPE, 4, vec![1], vec![0], false),
            (f32::DTYPE, 10, vec![5], vec![48], false),
            (f32::DTYPE, 8, vec![2], vec![6], false),
            (<[f32; 2]>::DTYPE, 8, vec![5, 3], vec![48, 8], true),
            (<[f32; 2]>::DTYPE, 12, vec![5, 2], vec![48, 8], false),
            (<[[f32; 2]; 3]>::DTYPE, 8, vec![5], vec![48], true),
            (i32::DTYPE, 8, vec![5], vec![48], false),
            (i32::DTYPE, 0, vec![0], vec![48], false),
            (f32::DTYPE, 0, vec![0], vec![48], true),
            (f32::DTYPE, 8, vec![usize::MAX], vec![4], false),
            (f32::DTYPE, 8, vec![2], vec![isize::MIN], false),
        ] {
            assert_eq!(
                dtype.has_view(&wanted, offset, &shape, &strides),
                expected,
                "{wanted} {offset} {shape:?} {strides:?}"
            );
        }
        assert!(
            <[[f32; 2]; 3]>::DTYPE.has_view(&f32::DTYPE, 4, &[17], &[4]),
            "elements that are all of one part"
        );
        // Whole elements in phase only, or an element would mix the fields of two.
        for (offset, shape, strides, expected) in [
            (48, vec![3], vec![48], true),
            (96, vec![3], vec![-48], true),
            (8, vec![3], vec![48], false),
            (0, vec![3], vec![56], false),
            (8, vec![0], vec![48], true),
            (8, vec![1], vec![8], false),
            (0, vec![1], vec![8], true),
        ] {
            let is_view = dtype.has_view(&dtype, offset, &shape, &strides);
            assert_eq!(is_view, expected, "{offset} {shape:?} {strides:?}");
        }
        assert!(!<[f32; 2]>::DTYPE.has_view(&<[f32; 2]>::DTYPE, 4, &[2], &[8]));
        assert!(!u64::DTYPE.has_view(&u64::DTYPE, 4, &[2], &[8]));
        assert!(!u64::DTYPE.has_view(&u64::DTYPE, 0, &[2], &[12]));
        assert!(<[[f32; 2]; 3]>::DTYPE.has_view(&<[f32; 2]>::DTYPE, 8, &[4], &[16]));
        assert!(!<[[f32; 2]; 3]>::DTYPE.has_view(&<[f32; 2]>::DTYPE, 4, &[4], &[16]));
        assert!(<[u8; 5]>::DTYPE.has_view(&u8::DTYPE, 3, &[7], &[1]));
        assert!(!u16::DTYPE.has_view(&u8::DTYPE, 0, &[2], &[1]));
    }

    #[test]
    fn a_part_is_found_by_its_fingerprint() {
        let dtype = outer();
        for part in [
            dtype.clone(),
            f64::DTYPE,
            u64::DTYPE,
            f32::DTYPE,
            <[f32; 2]>::DTYPE,
            dtype.fields()[2].dtype().clone(),
        ] {
            assert_eq!(dtype.find(part.fingerprint()), Some(part));
        }
        assert_eq!(dtype.find(i32::DTYPE.fingerprint()), None);
        assert_eq!(
            <[u8; 5]>::DTYPE.find(u8::DTYPE.fingerprint()),
            Some(u8::DTYPE)
        );
    }
}

//! Compares the elements of two arrays of one shape, piece by piece.

use super::{
    close::{self, Distance, Tolerance},
    side::Side,
};
use crate::{
    elements::{
        chunks::{self, Piece},
        columns::{self, Column},
        number::Style,
    },
    failure::Failure,
};
use std::cmp::Ordering;

/// Bytes of a piece of each array.
const PIECE: usize = 1 << 20;
/// Elements whose bytes are compared at once: where they are equal, no number is read.
const TOGETHER: usize = 1024;

/// A pair of elements that differ.
pub(super) struct Difference {
    pub(super) index: Vec<usize>,
    /// The field of a struct or the item of `[T; N]`; empty for a scalar.
    pub(super) field: String,
    pub(super) texts: (String, String),
    pub(super) absolute: Distance,
    pub(super) relative: f64,
}

/// The result of the comparison of elements.
pub(super) struct Differences {
    pub(super) elements: u64,
    /// Elements that differ, a struct as one.
    pub(super) different: u64,
    /// The number of different values of each field or item.
    pub(super) fields: Vec<(String, u64)>,
    pub(super) first: Option<Difference>,
    pub(super) worst_absolute: Option<Difference>,
    pub(super) worst_relative: Option<Difference>,
}

/// Compares two arrays.
pub(super) struct Comparison<'a> {
    tolerance: &'a Tolerance,
    columns: Vec<(Column, Column)>,
    sizes: (usize, usize),
    /// Whether equal bytes are equal elements.
    has_equal_bytes: bool,
    /// Whether to end at the first difference.
    is_brief: bool,
    found: Differences,
}

/// The differences of two arrays of one shape; the reason if their types have no common parts.
pub(super) fn compare(
    a: &mut Side,
    b: &mut Side,
    tolerance: &Tolerance,
    is_brief: bool,
) -> Result<Result<Differences, String>, Failure> {
    let (one, other) = (a.dtype(), b.dtype());
    let columns = match paired(columns::of(one)?, columns::of(other)?) {
        Ok(columns) => columns,
        Err(reason) => return Ok(Err(reason)),
    };
    let fields = columns.iter().map(|(column, _)| (column.name.clone(), 0));
    let comparison = Comparison {
        found: Differences {
            elements: a.shape().iter().product::<usize>() as u64,
            different: 0,
            fields: fields.collect(),
            first: None,
            worst_absolute: None,
            worst_relative: None,
        },
        tolerance,
        columns,
        sizes: (one.itemsize(), other.itemsize()),
        has_equal_bytes: one == other && tolerance.has_equal_nan,
        is_brief,
    };
    comparison.of(a, b).map(Ok)
}

/// The numbers of both types by name.
fn paired(a: Vec<Column>, b: Vec<Column>) -> Result<Vec<(Column, Column)>, String> {
    if let ([one], [other]) = (&a[..], &b[..]) {
        return Ok(vec![(one.clone(), other.clone())]);
    }
    let only = |these: &[Column], those: &[Column]| {
        let is_missing = |column: &&Column| !those.iter().any(|other| other.name == column.name);
        these
            .iter()
            .find(is_missing)
            .map(|column| column.name.clone())
    };
    let in_words = |name: String| match name.is_empty() {
        true => "the elements are numbers".to_owned(),
        false => format!("the elements have {name}"),
    };
    if let Some(name) = only(&a, &b) {
        return Err(format!("only in the first array {}", in_words(name)));
    }
    if let Some(name) = only(&b, &a) {
        return Err(format!("only in the second array {}", in_words(name)));
    }
    let mut others: std::collections::HashMap<_, _> = b
        .into_iter()
        .map(|column| (column.name.clone(), column))
        .collect();
    let pairs = a.into_iter().filter_map(|column| {
        let other = others.remove(&column.name)?;
        Some((column, other))
    });
    Ok(pairs.collect())
}

impl Comparison<'_> {
    fn of(mut self, a: &mut Side, b: &mut Side) -> Result<Differences, Failure> {
        let itemsize = self.sizes.0.max(self.sizes.1);
        // A piece that is gathered from distant bytes has to be larger.
        let most = match a.is_contiguous() && b.is_contiguous() {
            true => PIECE,
            false => chunks::PIECE,
        };
        let pieces = chunks::in_order(a.shape(), itemsize, most);
        let (mut a, mut b) = (a.pieces(), b.pieces());
        for piece in pieces {
            let (one, other) = (a.copied(&piece)?, b.copied(&piece)?);
            self.piece(&piece, one, other);
            if self.is_brief && self.found.different > 0 {
                break;
            }
        }
        Ok(self.found)
    }

    fn piece(&mut self, piece: &Piece, a: &[u8], b: &[u8]) {
        let blocks = a
            .chunks(self.sizes.0 * TOGETHER)
            .zip(b.chunks(self.sizes.1 * TOGETHER));
        for (number, (a, b)) in blocks.enumerate() {
            if self.has_equal_bytes && a == b {
                continue;
            }
            let elements = a
                .chunks_exact(self.sizes.0)
                .zip(b.chunks_exact(self.sizes.1));
            for (at, (a, b)) in elements.enumerate() {
                if !(self.has_equal_bytes && a == b) {
                    self.element(piece, number * TOGETHER + at, a, b);
                }
            }
        }
    }

    /// Compares two elements, at this position in the piece.
    fn element(&mut self, piece: &Piece, at: usize, a: &[u8], b: &[u8]) {
        let mut is_different = false;
        for (number, (one, other)) in self.columns.iter().enumerate() {
            let (a, b) = (&a[one.offset..], &b[other.offset..]);
            let values = (one.number.value(a), other.number.value(b));
            if self.tolerance.accepts(values.0, values.1) {
                continue;
            }
            is_different = true;
            self.found.fields[number].1 += 1;
            let absolute = close::distance(values.0, values.1);
            let relative = close::relative(absolute, values.1);
            let difference = || Difference {
                index: index_of(piece, at),
                field: one.name.clone(),
                texts: (text(one, a), text(other, b)),
                absolute,
                relative,
            };
            let found = &mut self.found;
            if found.first.is_none() {
                found.first = Some(difference());
            }
            let worst = found.worst_absolute.as_ref();
            if worst.is_none_or(|worst| absolute.exceeds(worst.absolute)) {
                found.worst_absolute = Some(difference());
            }
            let worst = found.worst_relative.as_ref();
            if worst.is_none_or(|worst| close::order(relative, worst.relative) == Ordering::Greater)
            {
                found.worst_relative = Some(difference());
            }
        }
        self.found.different += u64::from(is_different);
    }
}

fn text(column: &Column, bytes: &[u8]) -> String {
    let mut text = Vec::new();
    column.number.write(bytes, &mut text, Style::Plain);
    String::from_utf8(text).unwrap_or_default()
}

/// The index in the array of the element at this position of a piece, in C order.
fn index_of(piece: &Piece, mut at: usize) -> Vec<usize> {
    let mut index = vec![0; piece.len()];
    for axis in (0..piece.len()).rev() {
        index[axis] = piece[axis].start + at % piece[axis].len();
        at /= piece[axis].len();
    }
    index
}

//! Statistics of arrays of any size: a few threads stream them through read guards piece by piece.

use crate::{
    elements::chunks,
    elements::reading::Reading,
    elements::scalar::{Scalar, Whole},
    failure::Failure,
};
use ndarray::{ArrayRef, IxDyn};
use ndshm::{AnyArray, Error};
use std::{
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Bytes of the pieces in which the readable elements of a poisoned piece are found.
const SMALL_PIECE: usize = 64 << 10;
/// Elements that are summed side by side, so that the compiler can vectorize the sums.
const LANES: usize = 8;
/// Elements of a batch: it is read twice, the second time from the cache.
const SOME: usize = 4096;

/// Statistics of an array's elements; minimum, maximum and mean are those of the finite ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    pub(crate) finite: u64,
    pub(crate) nan: u64,
    pub(crate) infinite: u64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) sum: f64,
    /// The minimum and maximum of integers: `f64` cannot represent all of those above 2^53.
    pub(crate) exact: Option<(Whole, Whole)>,
    /// Elements that could not be read because they are poisoned, or near poisoned ones.
    pub(crate) unread: u64,
}

/// An array of one or two axes, reduced to fewer cells.
pub(crate) struct Grid {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) cells: Vec<Cell>,
}

#[derive(Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Cell {
    const EMPTY: Self = Self {
        count: 0,
        sum: 0.0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
    };

    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    fn add(&mut self, x: f64) {
        if x.is_finite() {
            self.merge(Self {
                count: 1,
                sum: x,
                min: x,
                max: x,
            });
        }
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

impl Tally {
    const EMPTY: Self = Self {
        finite: 0,
        nan: 0,
        infinite: 0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        sum: 0.0,
        exact: None,
        unread: 0,
    };

    /// The statistics of all elements; `None` if the elements are no numbers.
    pub(crate) fn of(array: &AnyArray, reading: Reading) -> Result<Option<Self>, Failure> {
        if !is_number(array)? {
            return Ok(None);
        }
        let (parts, unread) = scan(
            array,
            || Self::EMPTY,
            |tally, _, view| tally.add_view(view, reading),
        )?;
        let mut total = Self {
            unread,
            ..Self::EMPTY
        };
        parts.into_iter().for_each(|part| total.merge(part));
        Ok(Some(total))
    }

    pub(crate) fn mean(&self) -> Option<f64> {
        (self.finite > 0).then(|| self.sum / self.finite as f64)
    }

    /// Adds the elements of a view, if they are numbers.
    fn add_view(&mut self, view: &AnyArray, reading: Reading) -> ndshm::Result<()> {
        ndshm::dispatch!(view, xs: T => self.add_all::<T>(&reading.elements(&xs)?), else => ())
    }

    fn add_all<T: Scalar>(&mut self, elements: &ArrayRef<T, IxDyn>) {
        match elements.as_slice_memory_order() {
            Some(slice) => slice.chunks(SOME).for_each(|some| self.add_slice(some)),
            None => {
                let mut some = Vec::with_capacity(SOME);
                // `for_each` and not `for`: ndarray's own loop is faster.
                elements.iter().for_each(|element| {
                    some.push(*element);
                    if some.len() == SOME {
                        self.add_slice(&some);
                        some.clear();
                    }
                });
                self.add_slice(&some);
            }
        }
    }

    fn add_slice<T: Scalar>(&mut self, elements: &[T]) {
        let (chunks, rest) = elements.as_chunks::<LANES>();
        let (mut nan, mut infinite) = ([0u64; LANES], [0u64; LANES]);
        let (mut min, mut max, mut sum) = (
            [f64::INFINITY; LANES],
            [f64::NEG_INFINITY; LANES],
            [0.0; LANES],
        );
        let mut add = |lane: usize, element: T| {
            let x = element.to_f64();
            let is_finite = x.abs() < f64::INFINITY;
            nan[lane] += u64::from(x.is_nan());
            infinite[lane] += u64::from(x.abs() == f64::INFINITY);
            min[lane] = if is_finite && x < min[lane] {
                x
            } else {
                min[lane]
            };
            max[lane] = if is_finite && x > max[lane] {
                x
            } else {
                max[lane]
            };
            sum[lane] += if is_finite { x } else { 0.0 };
        };
        for chunk in chunks {
            chunk
                .iter()
                .enumerate()
                .for_each(|(lane, element)| add(lane, *element));
        }
        rest.iter()
            .enumerate()
            .for_each(|(lane, element)| add(lane, *element));
        let (nan, infinite): (u64, u64) = (nan.iter().sum(), infinite.iter().sum());
        self.merge(Self {
            finite: elements.len() as u64 - nan - infinite,
            nan,
            infinite,
            min: min.into_iter().fold(f64::INFINITY, f64::min),
            max: max.into_iter().fold(f64::NEG_INFINITY, f64::max),
            sum: sum.iter().sum(),
            exact: T::extremes(elements),
            unread: 0,
        });
    }

    fn merge(&mut self, other: Self) {
        self.finite += other.finite;
        self.nan += other.nan;
        self.infinite += other.infinite;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.exact = match (self.exact, other.exact) {
            (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
            (one, other) => one.or(other),
        };
        self.unread += other.unread;
    }
}

/// Whether the elements are numbers. An error if they are, and are not aligned.
pub(crate) fn is_number(array: &AnyArray) -> ndshm::Result<bool> {
    ndshm::dispatch!(array, _xs: T => size_of::<T>() > 0, else => false)
}

/// The numbers inside the elements, each as a view: the fields of structs by name, the items of
/// `[T; N]` as a further axis. `Err` has the reason why a part has no statistics.
pub(crate) fn parts(array: AnyArray, name: &str) -> Vec<(String, Result<AnyArray, String>)> {
    let dtype = array.dtype();
    if !dtype.fields().is_empty() {
        let part = |field: &ndshm::Field| {
            let inner = if name.is_empty() {
                field.name().to_owned()
            } else {
                format!("{name}.{}", field.name())
            };
            let has_parts = field.dtype().to_string().starts_with('(');
            match if has_parts {
                array.field_array(field.name())
            } else {
                array.field(field.name())
            } {
                Ok(view) => parts(view, &inner),
                Err(error) => vec![(inner, Err(error.to_string()))],
            }
        };
        return dtype.fields().iter().flat_map(part).collect();
    }
    if dtype.to_string().starts_with('(') {
        return match array.unpack() {
            Ok(view) => parts(view, name),
            Err(error) => vec![(name.to_owned(), Err(error.to_string()))],
        };
    }
    let view = match is_number(&array) {
        Ok(true) => Ok(array),
        Ok(false) => Err(format!("elements of type {dtype} are no numbers")),
        Err(error) => Err(error.to_string()),
    };
    vec![(name.to_owned(), view)]
}

/// The number of elements in each of `bins` equal parts of the range.
pub(crate) fn histogram(
    array: &AnyArray,
    reading: Reading,
    range: Range<f64>,
    bins: usize,
) -> Result<Vec<u64>, Failure> {
    let scale = bins as f64 / (range.end - range.start);
    let (parts, _) = scan(
        array,
        || vec![0u64; bins],
        |counts, _, view| {
            let mut note = |x: f64| {
                if x.is_finite() {
                    // Elements may have changed since the range was computed.
                    counts[(((x - range.start) * scale) as usize).min(bins - 1)] += 1;
                }
            };
            ndshm::dispatch!(view, xs: T => {
            let elements = reading.elements(&xs)?;
            match elements.as_slice_memory_order() {
                Some(slice) => slice.iter().for_each(|x| note(x.to_f64())),
                None => elements.iter().for_each(|x| note(x.to_f64())),
            }
        }, else => ())
        },
    )?;
    Ok(parts
        .into_iter()
        .reduce(|sums, part| sums.into_iter().zip(part).map(|(a, b)| a + b).collect())
        .unwrap_or_else(|| vec![0; bins]))
}

impl Grid {
    /// Reduces an array of one axis (a row) or two to at most `rows` by `columns` cells.
    pub(crate) fn of(
        array: &AnyArray,
        reading: Reading,
        rows: usize,
        columns: usize,
    ) -> Result<Self, Failure> {
        let (height, width) = match *array.shape() {
            [width] => (1, width),
            [height, width] => (height, width),
            _ => {
                return Err(Failure::usage(format!(
                    "an array of {} axes cannot be drawn: take a slice of one or two, \
                     'name[0, ...]'",
                    array.ndim()
                )));
            }
        };
        let (rows, columns) = (rows.min(height), columns.min(width));
        let (parts, _) = scan(
            array,
            || vec![Cell::EMPTY; rows * columns],
            |cells, piece, view| {
                let (top, left) = if piece.len() == 1 {
                    (0, piece[0].start)
                } else {
                    (piece[0].start, piece[1].start)
                };
                ndshm::dispatch!(view, xs: T => {
                let elements = reading.elements(&xs)?;
                let width_here = *elements.shape().last().unwrap_or(&1);
                for (row, lane) in elements.rows().into_iter().enumerate() {
                    let base = (top + row) * rows / height * columns;
                    let mut at = 0;
                    while at < width_here {
                        // All elements of one cell at once.
                        let column = (left + at) * columns / width;
                        let end = ((column + 1) * width)
                            .div_ceil(columns)
                            .saturating_sub(left)
                            .clamp(at + 1, width_here);
                        let mut cell = Cell::EMPTY;
                        (at..end).for_each(|index| cell.add(lane[index].to_f64()));
                        cells[base + column].merge(cell);
                        at = end;
                    }
                }
            }, else => ())
            },
        )?;
        let mut cells = vec![Cell::EMPTY; rows * columns];
        parts
            .into_iter()
            .flat_map(|part| part.into_iter().enumerate())
            .for_each(|(at, cell)| cells[at].merge(cell));
        Ok(Self {
            rows,
            columns,
            cells,
        })
    }

    /// The smallest and the largest mean of the cells.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        let means = || self.cells.iter().filter_map(Cell::mean);
        means().next()?;
        Some((
            means().fold(f64::INFINITY, f64::min),
            means().fold(f64::NEG_INFINITY, f64::max),
        ))
    }
}

/// Visits all pieces of an array in a few threads, each with a value of its own. Returns these
/// values, and the number of elements that could not be read because of poison.
fn scan<A: Send>(
    array: &AnyArray,
    make: impl Fn() -> A + Sync,
    visit: impl Fn(&mut A, &chunks::Piece, &AnyArray) -> ndshm::Result<()> + Sync,
) -> Result<(Vec<A>, u64), Failure> {
    let pieces = chunks::of(array, chunks::PIECE);
    let (next, failed, unread) = (AtomicUsize::new(0), Mutex::new(None), AtomicUsize::new(0));
    let attempt = |value: &mut A, piece: &chunks::Piece| match visit(
        value,
        piece,
        &chunks::view(array, piece)?,
    ) {
        Err(Error::Poisoned { .. }) => {
            for small in chunks::within(array, piece, SMALL_PIECE) {
                match visit(value, &small, &chunks::view(array, &small)?) {
                    Err(Error::Poisoned { .. }) => {
                        unread.fetch_add(small.iter().map(Range::len).product(), Relaxed);
                    }
                    result => result?,
                }
            }
            Ok(())
        }
        result => Ok::<_, Failure>(result?),
    };
    let work = || {
        let mut value = make();
        while let Some(piece) = pieces.get(next.fetch_add(1, Relaxed)) {
            if let Err(failure) = attempt(&mut value, piece) {
                next.store(pieces.len(), Relaxed);
                *failed
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(failure);
            }
        }
        value
    };
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .clamp(1, 8)
        .min(pieces.len().max(1));
    let values = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut values = vec![work()];
        values.extend(others.into_iter().filter_map(|other| other.join().ok()));
        values
    });
    match failed
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
    {
        Some(failure) => Err(failure),
        None => Ok((values, unread.into_inner() as u64)),
    }
}

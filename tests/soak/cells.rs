//! Arrays of cells: every guard covers whole cells, and a writer sets all elements of a cell to
//! values that no other write has.
//!
//! The first element of a cell counts how often it was written; each other one has a number that
//! only one write had, and a hash of that number and of its own place. So under a guard a cell is
//! uniform, or another writer was in it.

use ndarray::{ArrayRef, Ix2, ShapeBuilder, s};
use ndshm::{Manager, SharedArray2};

const HASH_BITS: u32 = 20;

/// An array of cells.
pub(crate) struct Grid {
    pub(crate) name: &'static str,
    rows: usize,
    columns: usize,
    /// Of a cell, in elements.
    height: usize,
    width: usize,
    is_f: bool,
}

/// The arrays that all workers read and write: few cells and many, whole rows and columns, every
/// other row.
pub(crate) const GRIDS: [Grid; 4] = [
    Grid {
        name: "narrow",
        rows: 2,
        columns: 2,
        height: 2,
        width: 4,
        is_f: false,
    },
    Grid {
        name: "columns",
        rows: 4,
        columns: 6,
        height: 3,
        width: 5,
        is_f: false,
    },
    Grid {
        name: "rows",
        rows: 24,
        columns: 1,
        height: 1,
        width: 48,
        is_f: false,
    },
    Grid {
        name: "stripes",
        rows: 10,
        columns: 4,
        height: 1,
        width: 8,
        is_f: true,
    },
];

/// A rectangle of cells, or every other row of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    rows: (usize, usize),
    columns: (usize, usize),
    step: usize,
}

impl Grid {
    pub(crate) fn create(&self, manager: &Manager) -> SharedArray2<u64> {
        let shape = (self.rows * self.height, self.columns * self.width).set_f(self.is_f);
        manager
            .options()
            .name(self.name)
            .from_shape_fn(shape, |(i, j)| {
                if self.is_counter(i, j) {
                    0
                } else {
                    pattern(0, i, j)
                }
            })
            .unwrap()
    }

    pub(crate) fn cells(&self) -> usize {
        self.rows * self.columns
    }

    pub(crate) fn whole(&self) -> Part {
        Part {
            rows: (0, self.rows),
            columns: (0, self.columns),
            step: 1,
        }
    }

    pub(crate) fn cell(&self, cell: usize) -> Part {
        let (row, column) = (cell / self.columns, cell % self.columns);
        Part {
            rows: (row, row + 1),
            columns: (column, column + 1),
            step: 1,
        }
    }

    /// A random part.
    pub(crate) fn part(&self, below: &mut impl FnMut(usize) -> usize) -> Part {
        let mut range = |count: usize| {
            let start = below(count);
            // Mostly short, sometimes all that is left.
            let longest = if below(4) == 0 {
                count - start
            } else {
                (count - start).min(3)
            };
            (start, start + 1 + below(longest))
        };
        let (rows, columns) = (range(self.rows), range(self.columns));
        let step = if self.height == 1 && below(3) == 0 {
            2
        } else {
            1
        };
        Part {
            rows,
            columns,
            step,
        }
    }

    pub(crate) fn view(&self, array: &SharedArray2<u64>, part: &Part) -> SharedArray2<u64> {
        let (rows, columns) = (
            part.rows.0 * self.height..part.rows.1 * self.height,
            part.columns.0 * self.width..part.columns.1 * self.width,
        );
        match part.step {
            1 => array.slice(s![rows, columns]).unwrap(),
            step => array.slice(s![rows; step, columns]).unwrap(),
        }
    }

    /// The cells of a part, as bits.
    pub(crate) fn bits(&self, part: &Part) -> u64 {
        self.cells_of(part).fold(0, |bits, (row, column)| {
            bits | 1 << (row * self.columns + column)
        })
    }

    fn cells_of(&self, part: &Part) -> impl Iterator<Item = (usize, usize)> + use<> {
        let columns = part.columns.0..part.columns.1;
        (part.rows.0..part.rows.1)
            .step_by(part.step)
            .flat_map(move |row| columns.clone().map(move |column| (row, column)))
    }

    /// The elements of a cell: their places in the view, and in the array.
    fn places(
        &self,
        part: &Part,
        (row, column): (usize, usize),
    ) -> impl Iterator<Item = ((usize, usize), (usize, usize))> + use<> {
        let (height, width) = (self.height, self.width);
        let (top, left) = (
            (row - part.rows.0) / part.step * height,
            (column - part.columns.0) * width,
        );
        let places = (0..height).flat_map(move |i| (0..width).map(move |j| (i, j)));
        places.map(move |(i, j)| ((top + i, left + j), (row * height + i, column * width + j)))
    }

    fn is_counter(&self, row: usize, column: usize) -> bool {
        row.is_multiple_of(self.height) && column.is_multiple_of(self.width)
    }

    /// How often the first cell of a part was written.
    pub(crate) fn counter(&self, elements: &ArrayRef<u64, Ix2>) -> u64 {
        elements[[0, 0]]
    }

    /// The fault in the elements of a guard, if any.
    pub(crate) fn check(&self, part: &Part, elements: &ArrayRef<u64, Ix2>) -> Result<(), String> {
        for cell in self.cells_of(part) {
            let mut places = self.places(part, cell).skip(1).peekable();
            let number = places
                .peek()
                .map_or(0, |(place, _)| elements[*place] >> HASH_BITS);
            if let Some((place, (i, j))) =
                places.find(|(place, (i, j))| elements[*place] != pattern(number, *i, *j))
            {
                let found: Vec<_> = self
                    .places(part, cell)
                    .skip(1)
                    .map(|(place, _)| elements[place] >> HASH_BITS)
                    .collect();
                return Err(format!(
                    "{}: cell {cell:?} is torn at {i} {j}: {:x}; the writes are {found:x?}",
                    self.name, elements[place]
                ));
            }
        }
        Ok(())
    }

    /// Writes a half of the last cell of a part.
    pub(crate) fn tear(&self, part: &Part, elements: &mut ArrayRef<u64, Ix2>, number: u64) {
        let Some(cell) = self.cells_of(part).last() else {
            return;
        };
        let half = (self.height * self.width).div_ceil(2);
        self.places(part, cell)
            .skip(half)
            .for_each(|(place, (i, j))| elements[place] = pattern(number, i, j));
    }

    /// Writes all cells of a part, and pauses in the middle of it.
    pub(crate) fn fill(
        &self,
        part: &Part,
        elements: &mut ArrayRef<u64, Ix2>,
        number: u64,
        mut pause: impl FnMut(),
    ) {
        let cells: Vec<_> = self.cells_of(part).collect();
        let first = |cell| {
            self.places(part, cell)
                .next()
                .map(|(place, _)| place)
                .unwrap()
        };
        let counts: Vec<_> = cells.iter().map(|&cell| elements[first(cell)]).collect();
        let middle = cells.len() * (self.height * self.width - 1) / 2;
        let mut written = 0;
        for (&cell, count) in cells.iter().zip(counts) {
            for (place, (i, j)) in self.places(part, cell).skip(1) {
                elements[place] = pattern(number, i, j);
                written += 1;
                if written == middle {
                    pause();
                }
            }
            elements[first(cell)] = count + 1;
        }
    }
}

/// The element that the write with this number puts there.
fn pattern(number: u64, row: usize, column: usize) -> u64 {
    let place = (row * 4096 + column + 1) as u64;
    let hash = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ place.wrapping_mul(0xbf58_476d_1ce4_e5b9))
    .wrapping_mul(0x94d0_49bb_1331_11eb);
    number << HASH_BITS | hash >> (64 - HASH_BITS)
}

/// Random numbers that need no library.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % limit as u64) as usize
    }
}

//! The chunks of an array: slabs along the axis that is slowest in memory.

use crate::layout::{self, Order};

/// Bytes that the chunks of a growing array have at least, for rows to come.
const FEWEST: usize = 4 << 10;

/// An array in its order of memory, cut into chunks of one shape. Each chunk is contiguous in
/// memory: its lengths are 1 along the slowest axes, then some rows, then all of the rest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grid {
    order: Order,
    /// In the order of memory, slowest first.
    shape: Vec<usize>,
    chunk: Vec<usize>,
    /// The axis that is cut into rows, if there is any axis.
    cut: usize,
}

impl Grid {
    /// Chunks of about `target` bytes, and of at most twice as many where one row allows it. The
    /// rows are shared out evenly, so that the last chunk has few zeros.
    pub(super) fn new(shape: &[usize], order: Order, itemsize: usize, target: usize) -> Self {
        let shape = in_memory(shape, order);
        // The bytes of one index of each axis.
        let mut rows = vec![itemsize; shape.len()];
        for axis in (1..shape.len()).rev() {
            rows[axis - 1] = rows[axis].saturating_mul(shape[axis].max(1));
        }
        let most = target.saturating_mul(2);
        let fits = |bytes: &usize| *bytes <= most;
        let cut = rows
            .iter()
            .position(fits)
            .unwrap_or(shape.len().saturating_sub(1));
        let mut chunk: Vec<usize> = shape.iter().map(|&len| len.max(1)).collect();
        chunk.iter_mut().take(cut).for_each(|len| *len = 1);
        if let Some(len) = chunk.get_mut(cut) {
            let most_rows = (target / rows[cut]).max(1);
            *len = len.div_ceil(len.div_ceil(most_rows));
        }
        Self {
            order,
            shape,
            chunk,
            cut,
        }
    }

    /// Chunks of whole rows, for an array that grows to at most `max_len` rows and keeps its chunks
    /// then: about `target` bytes each. Fewer rows have one chunk, of a power of two, so that not
    /// more than half of it is padding, and that rows are sent again only when their number
    /// doubles.
    pub(super) fn of_rows(shape: &[usize], max_len: usize, itemsize: usize, target: usize) -> Self {
        let row = shape.iter().skip(1).product::<usize>() * itemsize;
        let mut grid = Self::new(shape, Order::C, itemsize, usize::MAX / 4);
        if let Some(rows) = grid.chunk.first_mut() {
            let most = (target / row.max(1)).clamp(1, max_len.max(1));
            let few = (FEWEST / row.max(1)).clamp(1, most);
            *rows = shape[0].max(few).next_power_of_two().min(most);
        }
        grid
    }

    /// The grid of these chunks, if the elements that each has of an array are contiguous in the
    /// memory of the array, and stand at the start of the chunk.
    pub(super) fn of_chunks(shape: &[usize], order: Order, chunk: &[usize]) -> Option<Self> {
        let are_countable = [shape, chunk].map(|lens| layout::byte_len(lens, 1).is_some());
        if shape.len() != chunk.len()
            || shape.contains(&0)
            || chunk.contains(&0)
            || are_countable != [true; 2]
        {
            return None;
        }
        let (shape, chunk) = (in_memory(shape, order), in_memory(chunk, order));
        // Along the axes before it a chunk has one index of the array, and may have padding.
        let cut = (0..shape.len())
            .find(|&axis| chunk[axis].min(shape[axis]) > 1)
            .unwrap_or(shape.len().saturating_sub(1));
        let are_whole = (cut + 1..shape.len()).all(|axis| chunk[axis] == shape[axis]);
        are_whole.then_some(Self {
            order,
            shape,
            chunk,
            cut,
        })
    }

    /// Makes the chunks shards of inner chunks of about `target` bytes, which are contiguous too.
    /// Returns the lengths of an inner chunk, in the order of the array's axes; `None` where there
    /// is nothing to cut.
    pub(super) fn shard(&mut self, itemsize: usize, target: usize) -> Option<Vec<usize>> {
        let row = self.row_len().saturating_mul(itemsize).max(1);
        let rows = self.chunk.get_mut(self.cut)?;
        let inner = (target / row).clamp(1, *rows);
        *rows = rows.next_multiple_of(inner);
        let mut shape = self.chunk.clone();
        shape[self.cut] = inner;
        Some(in_memory(&shape, self.order))
    }

    /// The lengths of a chunk, in the order of the array's axes.
    pub(super) fn chunk_shape(&self) -> Vec<usize> {
        in_memory(&self.chunk, self.order)
    }

    /// The number of chunks.
    pub(super) fn len(&self) -> usize {
        if self.shape.contains(&0) {
            return 0;
        }
        let outer: usize = self.shape[..self.cut.min(self.shape.len())]
            .iter()
            .product();
        outer * self.blocks()
    }

    fn blocks(&self) -> usize {
        match self.shape.get(self.cut) {
            Some(len) => len.div_ceil(self.chunk[self.cut]),
            None => 1,
        }
    }

    /// The elements of one index of the axis that is cut.
    fn row_len(&self) -> usize {
        self.shape.iter().skip(self.cut + 1).product()
    }

    /// The elements of a whole chunk, with those that only pad it.
    pub(super) fn chunk_len(&self) -> usize {
        self.chunk.iter().product()
    }

    /// The first element of a chunk, and the number of its elements in the array.
    pub(super) fn range(&self, number: usize) -> (usize, usize) {
        let Some(&len) = self.shape.get(self.cut) else {
            return (0, 1);
        };
        let (outer, block) = (number / self.blocks(), number % self.blocks());
        let (rows, row) = (self.chunk[self.cut], self.row_len());
        let first = outer * len + block * rows;
        (first * row, rows.min(len - block * rows) * row)
    }

    /// The place of a chunk among the chunks, in the order of the array's axes.
    pub(super) fn coordinates(&self, number: usize) -> Vec<usize> {
        let mut coordinates = vec![0; self.shape.len()];
        if let Some(cut) = coordinates.get_mut(self.cut) {
            *cut = number % self.blocks();
        }
        let mut outer = number / self.blocks();
        for axis in (0..self.cut.min(self.shape.len())).rev() {
            coordinates[axis] = outer % self.shape[axis];
            outer /= self.shape[axis];
        }
        in_memory(&coordinates, self.order)
    }
}

/// From the order of the axes to that of memory, and back.
pub(super) fn in_memory(values: &[usize], order: Order) -> Vec<usize> {
    match order {
        Order::C => values.to_vec(),
        Order::F => values.iter().rev().copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: &[usize], order: Order, itemsize: usize, target: usize) -> Grid {
        let grid = Grid::new(shape, order, itemsize, target);
        let mut next = 0;
        for number in 0..grid.len() {
            let (first, len) = grid.range(number);
            assert_eq!(first, next, "{shape:?} {number}");
            assert!(len > 0 && len <= grid.chunk_len());
            next += len;
        }
        assert_eq!(next, shape.iter().product::<usize>(), "{shape:?}");
        check_again(shape, order, &grid);
        grid
    }

    /// Checks that the chunks are the same for a reader, which knows their shape alone.
    fn check_again(shape: &[usize], order: Order, grid: &Grid) {
        if !shape.contains(&0) {
            let again = Grid::of_chunks(shape, order, &grid.chunk_shape()).unwrap();
            assert_eq!(again.len(), grid.len());
            for number in 0..grid.len() {
                assert_eq!(again.range(number), grid.range(number));
                assert_eq!(again.coordinates(number), grid.coordinates(number));
            }
        }
    }

    /// A reader once took the rows of an array with one row for damaged.
    #[test]
    fn chunks_of_rows_are_the_same_for_a_reader() {
        for rows in 0..20 {
            for rest in [&[][..], &[1], &[2], &[3, 1], &[1, 3], &[2, 3]] {
                for target in [1, 100, 100_000] {
                    let shape = [&[rows], rest].concat();
                    let grid = Grid::of_rows(&shape, 1000, 4, target);
                    check_again(&shape, Order::C, &grid);
                    let mut sharded = grid.clone();
                    if rows > 0 && sharded.shard(4, 50).is_some() {
                        check_again(&shape, Order::C, &sharded);
                    }
                }
            }
        }
    }

    #[test]
    fn few_rows_have_little_padding_and_never_more_than_the_maximum() {
        let rows = |len, max_len, target| Grid::of_rows(&[len, 2], max_len, 8, target).chunk[0];
        assert_eq!(rows(7, 1 << 40, 64 << 20), 256);
        assert_eq!(rows(7, 10, 64 << 20), 10);
        assert_eq!(rows(300, 1 << 40, 64 << 20), 512);
        assert_eq!(rows(1 << 30, 1 << 40, 64 << 20), 4 << 20);
        assert_eq!(rows(7, 100, 1), 1);
    }

    #[test]
    fn chunks_of_a_hostile_manifest_have_no_grid() {
        let many = usize::MAX / 2;
        for (shape, chunk) in [
            (&[4][..], &[0][..]),
            (&[4, 4], &[4]),
            (&[4], &[4, 4]),
            (&[many, many, 5], &[1, 1, 5]),
            (&[2, 2], &[many, many]),
            (&[0], &[1]),
        ] {
            assert_eq!(
                Grid::of_chunks(shape, Order::C, chunk),
                None,
                "{shape:?} {chunk:?}"
            );
        }
    }

    #[test]
    fn the_chunks_of_every_shape_cover_it_once_in_the_order_of_memory() {
        for order in [Order::C, Order::F] {
            for target in [1, 7, 64, 1 << 20] {
                for shape in [
                    &[][..],
                    &[0],
                    &[1],
                    &[17],
                    &[5, 0, 3],
                    &[4, 5, 6],
                    &[1, 1, 9],
                    &[9, 1, 1],
                    &[2, 3, 1, 7],
                ] {
                    check(shape, order, 4, target);
                }
            }
        }
    }

    #[test]
    fn slabs_run_along_the_slowest_axis_of_memory() {
        let grid = check(&[10, 8, 4], Order::C, 1, 100);
        assert_eq!(grid.chunk_shape(), [3, 8, 4]);
        assert_eq!(grid.coordinates(2), [2, 0, 0]);
        let grid = check(&[4, 8, 10], Order::F, 1, 100);
        assert_eq!(grid.chunk_shape(), [4, 8, 3]);
        assert_eq!(grid.coordinates(2), [0, 0, 2]);
        // One row is larger than a chunk: the next axis is cut.
        let grid = check(&[2, 100], Order::C, 8, 80);
        assert_eq!(grid.chunk_shape(), [1, 10]);
        assert_eq!(grid.coordinates(13), [1, 3]);
    }

    #[test]
    fn rows_are_shared_out_evenly() {
        let grid = check(&[101], Order::C, 1, 100);
        assert_eq!(grid.chunk_shape(), [51]);
    }

    #[test]
    fn shards_have_whole_inner_chunks() {
        let mut grid = Grid::new(&[101, 4], Order::C, 1, 200);
        assert_eq!(grid.shard(1, 30), Some(vec![7, 4]));
        assert_eq!(grid.chunk_shape(), [35, 4]);
        assert_eq!((grid.len(), grid.range(2)), (3, (280, 124)));
        assert_eq!(Grid::new(&[], Order::C, 8, 100).shard(8, 10), None);
    }

    #[test]
    fn chunks_that_are_apart_in_memory_have_no_grid() {
        assert_eq!(Grid::of_chunks(&[4, 4], Order::C, &[2, 2]), None);
        assert_eq!(Grid::of_chunks(&[4, 4], Order::F, &[2, 4]), None);
        assert!(Grid::of_chunks(&[4, 4], Order::F, &[4, 2]).is_some());
    }
}

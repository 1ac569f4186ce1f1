//! The chunks of an array: slabs along the axis that is slowest in memory.

use crate::layout::Order;

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

    /// Chunks of whole rows, as many for every number of rows: an array that grows keeps its
    /// chunks.
    pub(super) fn of_rows(shape: &[usize], itemsize: usize, target: usize) -> Self {
        let row = shape.iter().skip(1).product::<usize>() * itemsize;
        let mut grid = Self::new(shape, Order::C, itemsize, usize::MAX / 4);
        if let Some(rows) = grid.chunk.first_mut() {
            *rows = (target / row.max(1)).max(1);
        }
        grid
    }

    /// The grid of these chunks, if each of them is contiguous in the memory of an array of this
    /// order.
    pub(super) fn of_chunks(shape: &[usize], order: Order, chunk: &[usize]) -> Option<Self> {
        let (shape, chunk) = (in_memory(shape, order), in_memory(chunk, order));
        let is_one = |axis: usize| chunk[axis] == 1 || shape[axis] == 1;
        let cut = (0..shape.len())
            .find(|&axis| !is_one(axis))
            .unwrap_or(shape.len().saturating_sub(1));
        let are_whole = (cut + 1..shape.len()).all(|axis| chunk[axis] == shape[axis]);
        let are_short = (0..cut).all(|axis| chunk[axis] == 1);
        (are_whole && are_short && !shape.contains(&0)).then_some(Self {
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
        if !shape.contains(&0) {
            let again = Grid::of_chunks(shape, order, &grid.chunk_shape()).unwrap();
            for number in 0..grid.len() {
                assert_eq!(again.range(number), grid.range(number));
                assert_eq!(again.coordinates(number), grid.coordinates(number));
            }
        }
        grid
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

//! Gathers elements that are not contiguous, block by block, in the order of the output.
//!
//! They are copied as words of a fixed size, so that a copy is a loop over loads and stores. Memory
//! is read along its smallest stride, whatever the order of the output: a block of a transposed
//! array is copied in tiles that fit the nearest cache.

use ndarray::{ArrayView, ArrayViewMut, Axis, Ix1, Ix2, IxDyn, Zip};

/// Bytes of a block, which fits a processor's cache.
const BLOCK: usize = 1 << 20;
/// Bytes of the largest block, for arrays where only a large block uses all bytes of each cache
/// line that it reads.
const LARGEST: usize = 16 << 20;
/// Bytes of a cache line, which are read from memory at once.
const LINE: usize = 64;
/// Words of a tile of a transposed block, along the axis with the smallest stride.
const ALONG: usize = 64;
/// Words of such a tile along the last axis, in the direction of the output.
const ACROSS: usize = 16;
/// Rows shorter than this are copied column by column, in tiles of [`NARROW`] words.
const SHORT: usize = 32;
const NARROW: usize = 4096;

/// The same words with as few axes as possible: axes that continue each other in memory are merged,
/// axes of length 1 are removed.
pub(super) fn merged<const N: usize>(
    mut words: ArrayView<'_, [u8; N], IxDyn>,
) -> ArrayView<'_, [u8; N], IxDyn> {
    let mut inner = words.ndim() - 1;
    for axis in (0..inner).rev() {
        if !words.merge_axes(Axis(axis), Axis(inner)) {
            inner = axis;
        }
    }
    for axis in (0..words.ndim()).rev() {
        if words.ndim() > 1 && words.len_of(Axis(axis)) == 1 {
            words = words.index_axis_move(Axis(axis), 0);
        }
    }
    words
}

/// Words that become one block.
pub(super) type Part<'a, const N: usize> = ArrayView<'a, [u8; N], IxDyn>;

/// All words in parts of one block, in C order, each with the number of words before it.
pub(super) fn parts<'a, const N: usize>(
    words: &'a ArrayView<'_, [u8; N], IxDyn>,
) -> Vec<(usize, Part<'a, N>)> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let Ok(()) = cut(words.view(), block_len(words), &mut |part| {
        let len = part.len();
        parts.push((start, part));
        start += len;
        Ok::<(), std::convert::Infallible>(())
    });
    parts
}

/// The words of a part in C order, in a block that is as long as it needs to be.
pub(super) fn gather<'b, const N: usize>(
    part: Part<'_, N>,
    block: &'b mut Vec<[u8; N]>,
) -> &'b mut [[u8; N]] {
    if block.len() < part.len() {
        block.resize(part.len(), [0; N]);
    }
    let block = &mut block[..part.len()];
    if let Ok(to) = ArrayViewMut::from_shape(part.raw_dim(), &mut *block) {
        copy(part, to);
    }
    block
}

/// Passes all words to `take` in C order, in blocks.
pub(super) fn blocks<const N: usize, E>(
    words: &ArrayView<'_, [u8; N], IxDyn>,
    mut take: impl FnMut(&mut [[u8; N]]) -> Result<(), E>,
) -> Result<(), E> {
    let mut block = Vec::new();
    cut(words.view(), block_len(words), &mut |part| {
        take(gather(part, &mut block))
    })
}

/// The number of words of a block.
fn block_len<const N: usize>(words: &ArrayView<'_, [u8; N], IxDyn>) -> usize {
    let usual = BLOCK / N;
    let near = near_axis(words);
    let row: usize = words.shape()[near + 1..].iter().product();
    // Each step along this axis writes a row; one block takes all steps within a cache line.
    match (LARGEST / N / row).min(LINE / N) {
        rows @ 2.. => usual.max(row * rows),
        _ => usual,
    }
}

/// The axis with the smallest stride.
fn near_axis<const N: usize>(words: &ArrayView<'_, [u8; N], IxDyn>) -> usize {
    let stride = |axis: &usize| words.strides()[*axis].unsigned_abs();
    let axes = (0..words.ndim())
        .rev()
        .filter(|axis| words.len_of(Axis(*axis)) > 1 && stride(axis) > 0);
    axes.min_by_key(stride).unwrap_or(words.ndim() - 1)
}

/// Cuts words along the outer axes into parts of at most `most` words, and visits them in C order.
fn cut<'a, const N: usize, E>(
    words: Part<'a, N>,
    most: usize,
    visit: &mut impl FnMut(Part<'a, N>) -> Result<(), E>,
) -> Result<(), E> {
    let outer = words.shape().iter().position(|&len| len > 1);
    let Some(axis) = outer.filter(|_| words.len() > most) else {
        return visit(words);
    };
    let one = words.len() / words.len_of(Axis(axis));
    let (step, mut rest) = ((most / one).max(1), words);
    while rest.len_of(Axis(axis)) > step {
        let (part, after) = rest.split_at(Axis(axis), step);
        cut(part, most, visit)?;
        rest = after;
    }
    cut(rest, most, visit)
}

/// Copies a block, two axes at a time: the last one, along which the output is contiguous, and the
/// one with the smallest stride, or else the longest one.
fn copy<const N: usize>(from: ArrayView<'_, [u8; N], IxDyn>, to: ArrayViewMut<'_, [u8; N], IxDyn>) {
    let len = |axis: usize| from.len_of(Axis(axis));
    let last = (0..from.ndim())
        .rev()
        .find(|&axis| len(axis) > 1)
        .unwrap_or(from.ndim() - 1);
    let near = near_axis(&from);
    let is_across = near != last && len(near) * len(last) >= ALONG * ACROSS;
    let longest = (0..from.ndim())
        .filter(|&axis| axis != last)
        .max_by_key(|&axis| len(axis));
    let Some(other) = (if is_across { Some(near) } else { longest }) else {
        return planes(
            from.insert_axis(Axis(0)),
            to.insert_axis(Axis(0)),
            (1, usize::MAX),
            Axis(1),
        );
    };
    let (tile, inner) = match len(last) {
        _ if is_across => ((ALONG, ACROSS), Axis(0)),
        SHORT.. => ((usize::MAX, usize::MAX), Axis(1)),
        short => ((NARROW / short, short), Axis(0)),
    };
    let mut axes: Vec<usize> = (0..from.ndim())
        .filter(|&axis| axis != last && axis != other)
        .collect();
    axes.extend([other, last]);
    planes(
        from.permuted_axes(IxDyn(&axes)),
        to.permuted_axes(IxDyn(&axes)),
        tile,
        inner,
    );
}

/// Copies all planes of the last two axes, in tiles of `tile` words, lane by lane along `inner`,
/// one of these two axes.
fn planes<const N: usize>(
    from: ArrayView<'_, [u8; N], IxDyn>,
    mut to: ArrayViewMut<'_, [u8; N], IxDyn>,
    tile: (usize, usize),
    inner: Axis,
) {
    if from.ndim() > 2 {
        from.outer_iter()
            .zip(to.outer_iter_mut())
            .for_each(|(from, to)| planes(from, to, tile, inner));
    } else if let (Ok(from), Ok(mut to)) = (
        from.into_dimensionality::<Ix2>(),
        to.into_dimensionality::<Ix2>(),
    ) {
        let (rows, columns) = (tile.0.min(from.nrows()), tile.1.min(from.ncols()));
        for (from, mut to) in from
            .axis_chunks_iter(Axis(0), rows)
            .zip(to.axis_chunks_iter_mut(Axis(0), rows))
        {
            for (from, mut to) in from
                .axis_chunks_iter(Axis(1), columns)
                .zip(to.axis_chunks_iter_mut(Axis(1), columns))
            {
                from.lanes(inner)
                    .into_iter()
                    .zip(to.lanes_mut(inner))
                    .for_each(|(from, to)| lane(from, to));
            }
        }
    }
}

fn lane<const N: usize>(from: ArrayView<'_, [u8; N], Ix1>, to: ArrayViewMut<'_, [u8; N], Ix1>) {
    Zip::from(to).and(from).for_each(|to, from| *to = *from);
}

//! The elements of a transfer: from a guard to a file, or from a file to a draft, in pieces.

use super::{failure::Failure, gather, input::Source, meter::Meter, outlet::Drain};
use crate::{
    array::view,
    element::numpy::Swap,
    layout::{Layout, Order},
    segment::draft::Draft,
    sys::{
        region::Region,
        share::{share, threads},
    },
};
use crc32fast::Hasher;
use ndarray::{ArrayView, ArrayViewMut, Axis, Ix1, IxDyn};
use std::{
    io,
    os::unix::fs::FileExt,
    sync::{Mutex, PoisonError},
};

/// Bytes that are moved between two reports of progress.
const PIECE: usize = 4 << 20;
/// From this many bytes on, several threads share a transfer.
const SHARED_FROM: usize = 8 << 20;
/// Contiguous runs of at least this many bytes go from the mapping into the file directly. Shorter
/// ones are gathered first.
const DIRECT_FROM: usize = 64 << 10;

/// Writes elements, whose last axis is that of their bytes, in C or F order. The bytes of booleans
/// become 0 and 1.
pub(super) fn write(
    elements: ArrayView<'_, u8, IxDyn>,
    order: Order,
    are_bools: bool,
    meter: &mut Meter<'_>,
    out: &mut dyn Drain,
) -> Result<(), Failure> {
    let last = elements.ndim() - 1;
    let mut axes: Vec<usize> = (0..last).collect();
    if order == Order::F {
        axes.reverse();
    }
    axes.push(last);
    let elements = elements.permuted_axes(IxDyn(&axes));
    if elements.is_empty() {
        return Ok(());
    }
    // In words that are as wide as the elements and their strides allow.
    macro_rules! by_width {
        ($($width:literal)*) => {$(
            if let Some(words) = view::in_words::<$width>(elements.view()) {
                return write_words(words, are_bools, meter, out);
            }
        )*};
    }
    by_width!(16 8 4 2 1);
    unreachable!("the bytes of an element are contiguous")
}

fn write_words<const N: usize>(
    words: ArrayView<'_, [u8; N], IxDyn>,
    are_bools: bool,
    meter: &mut Meter<'_>,
    out: &mut dyn Drain,
) -> Result<(), Failure> {
    let words = gather::merged(words);
    let last = Axis(words.ndim() - 1);
    let is_direct =
        words.len_of(last) * N >= DIRECT_FROM && words.stride_of(last) == 1 && !are_bools;
    let len = words.len() * N;
    if len >= SHARED_FROM
        && let Some(region) = out.region(len)?
    {
        let report = &mut |bytes| meter.add(bytes);
        match is_direct {
            true => write_runs(&words, &region, report)?,
            false => write_gathered(&words, are_bools, &region, report)?,
        }
        let sum = region.into_sum();
        out.add_region(sum, len);
        return Ok(());
    }
    let mut put = |bytes: &[u8]| {
        bytes.chunks(PIECE).try_for_each(|piece| {
            out.write_all(piece)?;
            meter.add(piece.len());
            Ok(())
        })
    };
    if is_direct {
        return runs(&words).try_for_each(&mut put);
    }
    gather::blocks(&words, |block| {
        let bytes = block.as_flattened_mut();
        if are_bools {
            normalize(bytes);
        }
        put(bytes)
    })
}

/// The contiguous runs along the last axis.
fn runs<'a, const N: usize>(
    words: &'a ArrayView<'_, [u8; N], IxDyn>,
) -> impl Iterator<Item = &'a [u8]> + Send {
    let last = Axis(words.ndim() - 1);
    let lanes = words.lanes(last).into_iter();
    lanes.filter_map(|run| run.to_slice().map(<[_]>::as_flattened))
}

/// Writes contiguous runs into a region, straight from the mapping.
fn write_runs<const N: usize>(
    words: &ArrayView<'_, [u8; N], IxDyn>,
    region: &Region<'_>,
    report: &mut dyn FnMut(usize),
) -> io::Result<()> {
    let mut end = 0;
    let pieces = runs(words).flat_map(move |run| {
        let start = end;
        end += run.len();
        region.pieces(start, run, PIECE)
    });
    let write = |_: &mut (), (offset, bytes): (usize, &[u8])| {
        region.write(offset, bytes)?;
        Ok(bytes.len())
    };
    let threads = if region.is_parallel() { threads() } else { 1 };
    share(threads, pieces, || (), write, report)
}

/// Gathers blocks and writes them into a region.
fn write_gathered<const N: usize>(
    words: &ArrayView<'_, [u8; N], IxDyn>,
    are_bools: bool,
    region: &Region<'_>,
    report: &mut dyn FnMut(usize),
) -> io::Result<()> {
    let write = |block: &mut Vec<[u8; N]>, (offset, part): (usize, gather::Part<'_, N>)| {
        let bytes = gather::gather(part, block).as_flattened_mut();
        if are_bools {
            normalize(bytes);
        }
        region.write(offset * N, bytes)?;
        Ok(bytes.len())
    };
    let parts = gather::parts(words).into_iter();
    share(threads(), parts, Vec::new, write, report)
}

/// Makes 0 and 1 of the bytes of booleans.
fn normalize(bools: &mut [u8]) {
    bools
        .iter_mut()
        .for_each(|byte| *byte = u8::from(*byte != 0));
}

/// Fills a draft of `len` bytes with the bytes that come next in `input`.
pub(super) fn read(
    draft: &mut Draft,
    len: usize,
    itemsize: usize,
    swaps: &[Swap],
    meter: &mut Meter<'_>,
    input: &mut dyn Source,
) -> Result<(), Failure> {
    let mut result = Ok(());
    let fill = |mut bytes: ArrayViewMut<'_, u8, Ix1>| {
        let Some(bytes) = bytes.as_slice_mut() else {
            unreachable!("the bytes of a draft are contiguous")
        };
        let piece_len = PIECE.next_multiple_of(itemsize.max(1));
        let swap = |piece: &mut [u8]| {
            if !swaps.is_empty() {
                piece
                    .chunks_exact_mut(itemsize)
                    .for_each(|item| swaps.iter().for_each(|swap| swap_bytes(item, *swap)));
            }
        };
        let mut report = |bytes| meter.add(bytes);
        result = read_shared(bytes, piece_len, &swap, &mut report, input).and_then(|is_read| {
            if is_read {
                return Ok(());
            }
            bytes.chunks_mut(piece_len).try_for_each(|piece| {
                input.read_exact(piece)?;
                swap(piece);
                report(piece.len());
                Ok(())
            })
        });
    };
    view::fill::<u8, Ix1>(draft, &Layout::whole(Ix1(len), Order::C, 1), fill);
    Ok(result?)
}

/// Reads many bytes by several threads, in pieces that are whole elements. False where the input
/// gives its bytes one after another, or has few.
fn read_shared(
    bytes: &mut [u8],
    piece_len: usize,
    swap: &(dyn Fn(&mut [u8]) + Sync),
    report: &mut dyn FnMut(usize),
    input: &mut dyn Source,
) -> io::Result<bool> {
    let len = bytes.len();
    if len < SHARED_FROM {
        return Ok(false);
    }
    let Some(stretch) = input.stretch(len)? else {
        return Ok(false);
    };
    let sums = Mutex::new(Vec::new());
    let read = |_: &mut (), (number, piece): (usize, &mut [u8])| {
        let start = stretch.start + (number * piece_len) as u64;
        stretch.file.read_exact_at(piece, start)?;
        if stretch.is_summed {
            let mut sum = Hasher::new();
            sum.update(piece);
            let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
            sums.push((number, sum));
        }
        swap(piece);
        Ok::<_, io::Error>(piece.len())
    };
    let pieces = bytes.chunks_mut(piece_len).enumerate();
    share(threads(), pieces, || (), read, report)?;
    let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    input.pass(len, in_order(sums))?;
    Ok(true)
}

/// The checksum of all pieces, from those of each with its number.
fn in_order(mut sums: Vec<(usize, Hasher)>) -> Hasher {
    sums.sort_unstable_by_key(|(number, _)| *number);
    sums.iter().fold(Hasher::new(), |mut all, (_, sum)| {
        all.combine(sum);
        all
    })
}

/// Swaps the bytes of consecutive numbers of one element.
fn swap_bytes(item: &mut [u8], swap: Swap) {
    let Swap {
        offset,
        width,
        count,
    } = swap;
    let numbers = &mut item[offset..offset + width * count];
    match width {
        2 => numbers
            .as_chunks_mut::<2>()
            .0
            .iter_mut()
            .for_each(|n| *n = u16::from_ne_bytes(*n).swap_bytes().to_ne_bytes()),
        4 => numbers
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .for_each(|n| *n = u32::from_ne_bytes(*n).swap_bytes().to_ne_bytes()),
        8 => numbers
            .as_chunks_mut::<8>()
            .0
            .iter_mut()
            .for_each(|n| *n = u64::from_ne_bytes(*n).swap_bytes().to_ne_bytes()),
        _ => numbers.chunks_exact_mut(width).for_each(<[u8]>::reverse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array, s};

    fn written(elements: ArrayView<'_, u8, IxDyn>, order: Order, are_bools: bool) -> Vec<u8> {
        let (mut out, mut meter) = (Vec::new(), Meter::new(None, 0));
        write(elements, order, are_bools, &mut meter, &mut out).unwrap();
        assert_eq!(meter.done(), out.len() as u64);
        out
    }

    #[test]
    fn every_view_is_written_in_the_requested_order() {
        let array = Array::from_shape_fn((3, 4, 5, 2), |(i, j, k, b)| {
            (i * 40 + j * 10 + k * 2 + b) as u8
        })
        .into_dyn();
        let one = array.slice(s![0, 0, 0..1, ..]);
        let wide = one.broadcast(IxDyn(&[7, 1, 2])).unwrap();
        let views = [
            array.view(),
            array.view().permuted_axes(IxDyn(&[2, 0, 1, 3])),
            array.slice(s![..;-1, 1..;2, .., ..]).into_dyn(),
            array.slice(s![.., .., 2..3, ..]).into_dyn(),
            array.slice(s![1..1, .., .., ..]).into_dyn(),
            array.slice(s![.., .., 3, 0..1]).into_dyn(),
            wide.view(),
        ];
        for view in views {
            assert_eq!(
                written(view.view(), Order::C, false),
                view.iter().copied().collect::<Vec<_>>()
            );
            let mut axes: Vec<_> = (0..view.ndim() - 1).rev().collect();
            axes.push(view.ndim() - 1);
            let reversed = view.view().permuted_axes(IxDyn(&axes));
            assert_eq!(
                written(view.view(), Order::F, false),
                reversed.iter().copied().collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn elements_of_every_size_are_gathered_across_tiles_and_blocks() {
        for itemsize in [1, 2, 3, 4, 8, 12, 16] {
            // More than a block; no side is a multiple of a tile's.
            let array = Array::from_shape_fn((67, 4, 41, 35, itemsize), |(i, j, k, l, b)| {
                (i * 3 + j * 5 + k * 7 + l * 11 + b * 13) as u8
            });
            let array = array.slice(s![..;2, .., .., .., ..]);
            for axes in [
                [0, 1, 2, 3],
                [3, 2, 1, 0],
                [0, 1, 3, 2],
                [2, 3, 0, 1],
                [1, 3, 0, 2],
            ] {
                let view = array.permuted_axes([axes[0], axes[1], axes[2], axes[3], 4]);
                for view in [view, view.slice_move(s![.., ..;-1, ..;2, 1..4, ..])] {
                    let expected: Vec<u8> = view.iter().copied().collect();
                    assert!(
                        written(view.into_dyn(), Order::C, false) == expected,
                        "{axes:?} of {itemsize} bytes"
                    );
                }
            }
        }
    }

    #[test]
    fn runs_longer_than_a_piece_and_gathered_blocks_are_written_completely() {
        let array =
            Array::from_shape_fn((3, PIECE + 5, 1), |(i, j, _)| (i * 7 + j) as u8).into_dyn();
        let strided = array.slice(s![.., ..;2, ..]).into_dyn();
        assert!(
            written(array.view(), Order::C, false) == array.iter().copied().collect::<Vec<_>>()
        );
        assert!(
            written(strided.view(), Order::C, false) == strided.iter().copied().collect::<Vec<_>>()
        );
        assert!(
            written(array.view(), Order::C, true)
                == array.iter().map(|&b| u8::from(b != 0)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn numbers_of_every_width_are_swapped_in_place() {
        for width in [2, 4, 8, 16] {
            let mut item: Vec<u8> = (0..1 + 2 * width as u8).collect();
            swap_bytes(
                &mut item,
                Swap {
                    offset: 1,
                    width,
                    count: 2,
                },
            );
            let expected: Vec<u8> = [0]
                .into_iter()
                .chain((1..=width as u8).rev())
                .chain((width as u8 + 1..=2 * width as u8).rev())
                .collect();
            assert_eq!(item, expected);
        }
    }
}

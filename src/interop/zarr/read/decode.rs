//! The elements of chunks, from the bytes of their objects.

use super::{
    pipeline::{ByteCodec, Pipeline, Shard},
    strided::{Axis, advance, contiguous, copy},
};
use crate::{interop::zarr::foreign::Foreign, sys::wait::is_interrupted};
use std::{borrow::Cow, io::Read};

/// The bytes that are reserved and decompressed between two looks whether the call has ended.
const STEP: usize = 1 << 26;

/// The elements of a chunk, with their strides in bytes along the axes of the array.
///
/// A chunk of a shard may lack the elements that lie outside of the array.
pub(in crate::interop::zarr) struct Decoded {
    pub(in crate::interop::zarr) bytes: Vec<u8>,
    pub(in crate::interop::zarr) strides: Vec<usize>,
}

/// Decodes the chunks of an array, and the inner chunks of its shards.
pub(super) struct Decoder<'a> {
    pub(super) itemsize: usize,
    pub(super) foreign: &'a Foreign,
    pub(super) fill: &'a [u8],
    /// The most bytes of a compressed chunk that is decoded.
    pub(super) most: usize,
}

impl Decoder<'_> {
    /// The elements of a chunk with their strides. Of a shard only those before `extent`, the
    /// lengths of what the array can have of the chunk: the others need no memory.
    pub(super) fn decode<'o>(
        &self,
        codecs: &Pipeline,
        mut object: Cow<'o, [u8]>,
        chunk: &[usize],
        extent: &[usize],
    ) -> Result<(Cow<'o, [u8]>, Vec<usize>), String> {
        let stored = codecs.stored(chunk);
        // Compressed data that grow beyond what any chunk needs are refused on the way.
        let bound = self.most.saturating_mul(2);
        let mut lens = vec![match &codecs.shard {
            Some(shard) => shard.most(&stored, self.itemsize).min(bound),
            None => stored.iter().product::<usize>() * self.itemsize,
        }];
        for codec in &codecs.bytes {
            lens.push(codec.most(lens[lens.len() - 1]));
        }
        // Of a chunk that is too large only the part before the end of the array is decompressed.
        let is_cut = codecs.can_be_cut() && lens[0] > self.most;
        if is_cut {
            lens.iter_mut().for_each(|len| *len = bound.min(*len));
            lens[0] = codecs.needed(chunk, extent, self.itemsize);
        }
        if codecs.shard.is_none() && !codecs.has_compressor() {
            // Nothing is read of an object of another length, not even for its checksum.
            let expected = lens[codecs.bytes.len()];
            if object.len() != expected {
                let len = object.len();
                return Err(format!("it has {len} bytes instead of {expected}"));
            }
        }
        for (at, codec) in codecs.bytes.iter().enumerate().rev() {
            object = unpacked(*codec, object, lens[at], is_cut && at == 0)?;
        }
        let (mut bytes, lens) = match &codecs.shard {
            Some(shard) => {
                let extent = codecs.stored(extent);
                let bytes = self.decode_shard(shard, &object, &stored, &extent)?;
                (Cow::Owned(bytes), extent)
            }
            None if object.len() != lens[0] => {
                let (len, expected) = (object.len(), lens[0]);
                return Err(format!("it has {len} bytes instead of {expected}"));
            }
            None => (object, stored),
        };
        if codecs.is_big_endian && codecs.shard.is_none() && !self.foreign.numbers.is_empty() {
            swap(bytes.to_mut(), self.itemsize, &self.foreign.numbers);
        }
        let mut strides = vec![0; chunk.len()];
        for (&axis, stride) in codecs.axes.iter().zip(contiguous(&lens, self.itemsize)) {
            strides[axis] = stride;
        }
        Ok((bytes, strides))
    }

    /// The elements of a shard before `extent`, in the order C.
    fn decode_shard(
        &self,
        shard: &Shard,
        object: &[u8],
        stored: &[usize],
        extent: &[usize],
    ) -> Result<Vec<u8>, String> {
        let counts = shard.counts(stored);
        let index_len = shard.index_len(stored);
        if object.len() < index_len {
            return Err("its shard is too short for its index".into());
        }
        let index = match shard.is_index_first {
            true => &object[..index_len],
            false => &object[object.len() - index_len..],
        };
        let mut index = Cow::Borrowed(index);
        for codec in shard.index.iter().rev() {
            index = unpacked(*codec, index, index_len, false)?;
        }
        let len = extent.iter().product::<usize>() * self.itemsize;
        let mut bytes = reserved(len)?;
        bytes.resize(len, 0);
        let is_filled = self.fill.iter().any(|&byte| byte != 0);
        // Several inner chunks may be the same bytes of the shard. A longer part than any inner
        // chunk needs would be read for each of them: the time would grow with the square.
        let most = shard.codecs.most(&shard.inner, self.itemsize);
        let strides = contiguous(extent, self.itemsize);
        let mut coordinates = vec![0; counts.len()];
        for entry in index.chunks_exact(16) {
            let starts: Vec<usize> = coordinates
                .iter()
                .zip(&shard.inner)
                .map(|(coordinate, len)| coordinate * len)
                .collect();
            advance(&mut coordinates, &counts);
            if starts.iter().zip(extent).any(|(start, end)| start >= end) {
                continue;
            }
            if is_interrupted() {
                return Err("the call that reads it ended".into());
            }
            let lens: Vec<usize> = (0..starts.len())
                .map(|axis| shard.inner[axis].min(extent[axis] - starts[axis]))
                .collect();
            let at: usize = starts.iter().zip(&strides).map(|(n, m)| n * m).sum();
            let axes = |from: &dyn Fn(usize) -> usize| {
                let axis = |axis| Axis {
                    len: lens[axis],
                    from: from(axis),
                    to: strides[axis],
                };
                (0..lens.len()).map(axis).collect::<Vec<_>>()
            };
            match shard.part(object, entry)? {
                Some(part) if part.len() > most => {
                    let len = part.len();
                    return Err(format!(
                        "an inner chunk of its shard has {len} bytes, its codecs yield at most \
                         {most}"
                    ));
                }
                Some(part) => {
                    let part = Cow::Borrowed(part);
                    let (decoded, from) = self.decode(&shard.codecs, part, &shard.inner, &lens)?;
                    let axes = axes(&|axis| from[axis]);
                    copy(&decoded, &mut bytes[at..], axes, self.itemsize);
                }
                None if is_filled => {
                    copy(self.fill, &mut bytes[at..], axes(&|_| 0), self.itemsize);
                }
                None => {}
            }
        }
        Ok(bytes)
    }
}

/// Room for so many bytes.
fn reserved(len: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    reserve(&mut bytes, len)?;
    Ok(bytes)
}

fn reserve(bytes: &mut Vec<u8>, len: usize) -> Result<(), String> {
    bytes.try_reserve_exact(len).map_err(|_| {
        format!(
            "there is no memory for {len} bytes of it: restore fewer chunks at a time with the \
             setting in_flight, or write the array anew with smaller chunks"
        )
    })
}

/// The bytes before a codec; where they are cut, those before `most`.
fn unpacked(
    codec: ByteCodec,
    bytes: Cow<'_, [u8]>,
    most: usize,
    is_cut: bool,
) -> Result<Cow<'_, [u8]>, String> {
    match codec {
        #[cfg(feature = "zstd")]
        ByteCodec::Zstd => {
            let decoder = zstd::Decoder::new(&bytes[..]);
            let mut decoder = decoder.map_err(|error| error.to_string())?;
            limited(&mut decoder, most, is_cut).map(Cow::Owned)
        }
        ByteCodec::Gzip => {
            let mut decoder = flate2::read::MultiGzDecoder::new(&bytes[..]);
            limited(&mut decoder, most, is_cut).map(Cow::Owned)
        }
        ByteCodec::Crc32c => {
            let Some(at) = bytes.len().checked_sub(4) else {
                return Err("it is too short for its checksum".into());
            };
            if crc32c::crc32c(&bytes[..at]).to_le_bytes()[..] != bytes[at..] {
                return Err("its checksum (CRC-32C) differs: it is damaged".into());
            }
            Ok(match bytes {
                Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[..at]),
                Cow::Owned(mut bytes) => {
                    bytes.truncate(at);
                    Cow::Owned(bytes)
                }
            })
        }
    }
}

/// All bytes of a decompression, if there are at most `most`; where they are cut, those before.
fn limited(reader: &mut dyn Read, most: usize, is_cut: bool) -> Result<Vec<u8>, String> {
    let failed = |error| format!("it cannot be decompressed: {error}");
    let mut unpacked = Vec::new();
    loop {
        // The room grows with what comes, so that a short object asks for little.
        let room = (unpacked.len().max(STEP)).min(most - unpacked.len());
        if unpacked.capacity() - unpacked.len() < room.min(STEP) {
            reserve(&mut unpacked, room)?;
        }
        let step = room.min(STEP);
        let mut part = (&mut *reader).take(step as u64);
        if part.read_to_end(&mut unpacked).map_err(failed)? < step {
            return Ok(unpacked);
        }
        if unpacked.len() == most && is_cut {
            return Ok(unpacked);
        }
        if unpacked.len() == most {
            // The end is behind the last byte, with a checksum that is compared there.
            return match reader.read(&mut [0]).map_err(failed)? {
                0 => Ok(unpacked),
                _ => Err(format!("it decompresses to more than {most} bytes")),
            };
        }
        if is_interrupted() {
            return Err("the call that reads it ended".into());
        }
    }
}

/// Swaps the bytes of the numbers of each element.
fn swap(bytes: &mut [u8], itemsize: usize, numbers: &[(usize, usize, usize)]) {
    for item in bytes.chunks_exact_mut(itemsize) {
        for &(at, width, count) in numbers {
            item[at..at + width * count]
                .chunks_exact_mut(width)
                .for_each(<[u8]>::reverse);
        }
    }
}

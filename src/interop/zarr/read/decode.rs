//! The elements of chunks, from the bytes of their objects.

use super::{
    MAX_CHUNK,
    pipeline::{ByteCodec, Pipeline, Shard},
    strided::{Axis, advance, contiguous, copy},
};
use crate::interop::zarr::foreign::Foreign;
use std::io::Read;

/// The elements of a chunk, with their strides in bytes along the axes of the array.
pub(in crate::interop::zarr) struct Decoded {
    pub(in crate::interop::zarr) bytes: Vec<u8>,
    pub(in crate::interop::zarr) strides: Vec<usize>,
}

/// Decodes the chunks of an array, and the inner chunks of its shards.
pub(super) struct Decoder<'a> {
    pub(super) itemsize: usize,
    pub(super) foreign: &'a Foreign,
    pub(super) fill: &'a [u8],
}

impl Decoder<'_> {
    pub(super) fn decode(
        &self,
        codecs: &Pipeline,
        mut object: Vec<u8>,
        chunk: &[usize],
    ) -> Result<Decoded, String> {
        let stored: Vec<usize> = codecs.axes.iter().map(|&axis| chunk[axis]).collect();
        let len = chunk.iter().product::<usize>() * self.itemsize;
        // Compressed data that grow beyond what any chunk needs are refused on the way.
        let most = match codecs.shard {
            Some(_) => MAX_CHUNK,
            None => len + 4 * codecs.bytes.len(),
        };
        for codec in codecs.bytes.iter().rev() {
            object = unpacked(*codec, object, most)?;
        }
        let bytes = match &codecs.shard {
            Some(shard) => self.decode_shard(shard, &object, &stored)?,
            None => object,
        };
        if bytes.len() != len {
            return Err(format!("it has {} bytes instead of {len}", bytes.len()));
        }
        let mut bytes = bytes;
        if codecs.is_big_endian && codecs.shard.is_none() {
            swap(&mut bytes, self.itemsize, &self.foreign.numbers);
        }
        let mut strides = vec![0; chunk.len()];
        let mut stride = self.itemsize;
        for (&axis, &len) in codecs.axes.iter().zip(&stored).rev() {
            strides[axis] = stride;
            stride *= len;
        }
        Ok(Decoded { bytes, strides })
    }

    /// The elements of a shard in the order C.
    fn decode_shard(
        &self,
        shard: &Shard,
        object: &[u8],
        stored: &[usize],
    ) -> Result<Vec<u8>, String> {
        let counts: Vec<usize> = stored
            .iter()
            .zip(&shard.inner)
            .map(|(n, k)| n / k)
            .collect();
        let count: usize = counts.iter().product();
        let index_len = 16 * count + 4 * shard.index.len();
        if object.len() < index_len {
            return Err("its shard is too short for its index".into());
        }
        let index = match shard.is_index_first {
            true => &object[..index_len],
            false => &object[object.len() - index_len..],
        };
        let mut index = index.to_vec();
        for codec in shard.index.iter().rev() {
            index = unpacked(*codec, index, index_len)?;
        }
        let len = stored.iter().product::<usize>() * self.itemsize;
        let mut bytes = vec![0; len];
        if self.fill.iter().any(|&byte| byte != 0) {
            bytes
                .chunks_exact_mut(self.itemsize)
                .for_each(|item| item.copy_from_slice(self.fill));
        }
        let strides = contiguous(stored, self.itemsize);
        let mut coordinates = vec![0; counts.len()];
        for entry in index.chunks_exact(16) {
            let word = |at: usize| {
                let mut word = [0; 8];
                word.copy_from_slice(&entry[at..at + 8]);
                match shard.index_is_big_endian {
                    true => u64::from_be_bytes(word),
                    false => u64::from_le_bytes(word),
                }
            };
            let (start, len) = (word(0), word(8));
            if (start, len) != (u64::MAX, u64::MAX) {
                let end = start
                    .checked_add(len)
                    .filter(|&end| end <= object.len() as u64);
                let Some(end) = end else {
                    return Err("the index of its shard leads outside of it".into());
                };
                let part = object[start as usize..end as usize].to_vec();
                let decoded = self.decode(&shard.codecs, part, &shard.inner)?;
                let at: usize = (coordinates.iter().zip(&shard.inner))
                    .zip(&strides)
                    .map(|((coordinate, len), stride)| coordinate * len * stride)
                    .sum();
                let axes: Vec<Axis> = (0..strides.len())
                    .map(|axis| Axis {
                        len: shard.inner[axis],
                        from: decoded.strides[axis],
                        to: strides[axis],
                    })
                    .collect();
                copy(&decoded.bytes, &mut bytes[at..], axes, self.itemsize);
            }
            advance(&mut coordinates, &counts);
        }
        Ok(bytes)
    }
}

fn unpacked(codec: ByteCodec, bytes: Vec<u8>, most: usize) -> Result<Vec<u8>, String> {
    let limited = |reader: &mut dyn Read| {
        let mut unpacked = Vec::new();
        let read = reader.take(most as u64 + 1).read_to_end(&mut unpacked);
        read.map_err(|error| format!("it cannot be decompressed: {error}"))?;
        match unpacked.len() > most {
            true => Err(format!("it decompresses to more than {most} bytes")),
            false => Ok(unpacked),
        }
    };
    match codec {
        #[cfg(feature = "zstd")]
        ByteCodec::Zstd => {
            let decoder = zstd::Decoder::new(&bytes[..]);
            limited(&mut decoder.map_err(|error| error.to_string())?)
        }
        ByteCodec::Gzip => limited(&mut flate2::read::MultiGzDecoder::new(&bytes[..])),
        ByteCodec::Crc32c => {
            let mut bytes = bytes;
            let Some(at) = bytes.len().checked_sub(4) else {
                return Err("it is too short for its checksum".into());
            };
            let sum = bytes.split_off(at);
            match crc32c::crc32c(&bytes).to_le_bytes()[..] == sum[..] {
                true => Ok(bytes),
                false => Err("its checksum (CRC-32C) differs: it is damaged".into()),
            }
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

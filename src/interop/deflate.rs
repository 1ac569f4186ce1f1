//! Deflate by several threads: the bytes are cut into blocks, and each is compressed with the end
//! of the block before it as its dictionary, as pigz does. The result is one stream for any reader.

use super::outlet::Drain;
use crate::sys::share::{share, threads};
use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress, Status};
use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

/// Bytes that one thread compresses at once.
const BLOCK: usize = 1 << 20;
/// Blocks of one thread between two writes.
const BLOCKS: usize = 4;
/// Bytes that a block may refer back to.
const WINDOW: usize = 32 << 10;

/// Compresses all that is written to it into `out`.
pub(super) struct Deflater<'a, W> {
    out: &'a mut W,
    threads: usize,
    /// The end of the bytes that are compressed already, `kept` of them, and those that are not.
    bytes: Vec<u8>,
    kept: usize,
    sum: Hasher,
    len: u64,
}

/// A compressed block.
struct Packed {
    number: usize,
    bytes: Vec<u8>,
    sum: Hasher,
}

impl<'a, W: Write> Deflater<'a, W> {
    pub(super) fn new(out: &'a mut W) -> Self {
        Self::by_threads(out, threads())
    }

    fn by_threads(out: &'a mut W, threads: usize) -> Self {
        Self {
            out,
            threads,
            bytes: Vec::new(),
            kept: 0,
            sum: Hasher::new(),
            len: 0,
        }
    }

    /// Writes the rest. Returns the CRC-32 and the number of the bytes before compression.
    pub(super) fn finish(mut self) -> io::Result<(u32, u64)> {
        self.pack(true)?;
        Ok((self.sum.finalize(), self.len))
    }

    /// Compresses and writes the bytes at hand.
    fn pack(&mut self, is_last: bool) -> io::Result<()> {
        let (bytes, kept) = (&self.bytes, self.kept);
        let count = (bytes.len() - kept).div_ceil(BLOCK).max(1);
        let all = Mutex::new(Vec::with_capacity(count));
        let pack = |compress: &mut Compress, number: usize| {
            let start = kept + number * BLOCK;
            let block = &bytes[start..(start + BLOCK).min(bytes.len())];
            let before = &bytes[start.saturating_sub(WINDOW)..start];
            let ends = is_last && number + 1 == count;
            let packed = packed(compress, number, before, block, ends)?;
            all.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(packed);
            Ok::<_, io::Error>(block.len())
        };
        let compress = || Compress::new(Compression::default(), false);
        share(
            self.threads.min(count),
            0..count,
            compress,
            pack,
            &mut |_| (),
        )?;
        let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
        all.sort_unstable_by_key(|packed| packed.number);
        for Packed { bytes, sum, .. } in all {
            self.out.write_all(&bytes)?;
            self.sum.combine(&sum);
        }
        self.len += (self.bytes.len() - kept) as u64;
        self.kept = self.bytes.len().min(WINDOW);
        self.bytes.drain(..self.bytes.len() - self.kept);
        Ok(())
    }
}

/// Compresses a block that follows the bytes `before`. One that does not end the stream ends at a
/// whole byte.
fn packed(
    compress: &mut Compress,
    number: usize,
    before: &[u8],
    block: &[u8],
    ends: bool,
) -> io::Result<Packed> {
    compress.reset();
    if !before.is_empty() {
        compress.set_dictionary(before).map_err(io::Error::other)?;
    }
    let flush = if ends {
        FlushCompress::Finish
    } else {
        FlushCompress::Sync
    };
    let mut bytes = Vec::with_capacity(block.len() / 2 + 1024);
    loop {
        let read = compress.total_in() as usize;
        let status = compress
            .compress_vec(&block[read..], &mut bytes, flush)
            .map_err(io::Error::other)?;
        let is_full = bytes.len() == bytes.capacity();
        let is_read = compress.total_in() as usize == block.len();
        if status == Status::StreamEnd || (!ends && is_read && !is_full) {
            break;
        }
        bytes.reserve(block.len() / 4 + 1024);
    }
    let mut sum = Hasher::new();
    sum.update(block);
    Ok(Packed { number, bytes, sum })
}

impl<W: Write> Write for Deflater<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = self.kept + self.threads * BLOCKS * BLOCK;
        if self.bytes.len() == most {
            self.pack(false)?;
            return self.write(bytes);
        }
        let taken = bytes.len().min(most - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Drain for Deflater<'_, W> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn any_number_of_bytes_in_any_pieces_is_one_stream() {
        let whole = 2 * BLOCKS * BLOCK;
        for (len, piece) in [
            (0, 1),
            (1, 1),
            (WINDOW - 1, 1000),
            (BLOCK + 1, 300_007),
            (whole + 7, 4 << 20),
        ] {
            // Runs that repeat, with noise between them: blocks refer to the one before.
            let bytes: Vec<u8> = (0..len as u64)
                .map(|i| ((i / 7 % 1000).wrapping_mul(i % 5 * 0x9e37) >> 3) as u8)
                .collect();
            let mut out = Vec::new();
            let mut deflater = Deflater::by_threads(&mut out, 2);
            bytes
                .chunks(piece)
                .for_each(|piece| deflater.write_all(piece).unwrap());
            assert_eq!(
                deflater.finish().unwrap(),
                (crc32fast::hash(&bytes), len as u64)
            );
            let mut found = Vec::new();
            flate2::read::DeflateDecoder::new(&out[..])
                .read_to_end(&mut found)
                .unwrap();
            assert!(found == bytes, "{len} bytes in pieces of {piece}");
        }
    }

    #[test]
    fn bytes_that_cannot_be_compressed_grow_by_less_than_a_thousandth() {
        let mut state = 1_u64;
        let bytes: Vec<u8> = (0..3 * BLOCK)
            .map(|_| {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (state >> 33) as u8
            })
            .collect();
        let mut out = Vec::new();
        let mut deflater = Deflater::new(&mut out);
        deflater.write_all(&bytes).unwrap();
        deflater.finish().unwrap();
        assert!(
            out.len() < bytes.len() + bytes.len() / 1000,
            "{}",
            out.len()
        );
    }
}

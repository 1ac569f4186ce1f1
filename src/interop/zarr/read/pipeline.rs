//! The codecs of an array, from its metadata.

use super::{super::foreign::named, numbers, strided::contiguous};
use crate::layout;
use serde_json::Value;

/// The most bytes of a chunk, and of what the array has of a shard, that are decoded.
const MAX_CHUNK: usize = 1 << 32;
/// The most bytes of a chunk that is its object as it is.
const MAX_PLAIN: usize = 1 << 36;
/// The bytes of a chunk that are decoded though the array is smaller.
const ALWAYS: usize = 1 << 28;
/// The most shards in each other.
const MAX_NESTING: usize = 4;
/// The most codecs in a list: each passes over all bytes.
const MAX_CODECS: usize = 16;

/// From the bytes of an object to elements.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    /// The axes in the order in which the bytes have them.
    pub(super) axes: Vec<usize>,
    pub(super) is_big_endian: bool,
    pub(super) shard: Option<Box<Shard>>,
    /// In the order of encoding.
    pub(super) bytes: Vec<ByteCodec>,
}

#[derive(Clone, Debug)]
pub(super) struct Shard {
    pub(super) inner: Vec<usize>,
    pub(super) codecs: Pipeline,
    pub(super) index_is_big_endian: bool,
    pub(super) index: Vec<ByteCodec>,
    pub(super) is_index_first: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ByteCodec {
    #[cfg(feature = "zstd")]
    Zstd,
    Gzip,
    Crc32c,
}

impl ByteCodec {
    /// The most bytes that it makes of `len` bytes.
    pub(super) fn most(self, len: usize) -> usize {
        match self {
            Self::Crc32c => len.saturating_add(4),
            // Headers and the frames of what cannot be compressed. Writers that flush often have
            // more frames.
            _ => len.saturating_add(len / 16).saturating_add(1024),
        }
    }
}

/// The most bytes of a compressed chunk that is decoded for an array of so many bytes.
pub(super) fn most_decoded(array: usize) -> usize {
    // A chunk may be larger than its array, where a writer expects it to grow.
    array.saturating_mul(4).clamp(ALWAYS, MAX_CHUNK)
}

impl Pipeline {
    /// The lengths of a chunk, in the order of the bytes.
    pub(super) fn stored(&self, chunk: &[usize]) -> Vec<usize> {
        self.axes.iter().map(|&axis| chunk[axis]).collect()
    }

    pub(super) fn has_compressor(&self) -> bool {
        self.bytes.iter().any(|codec| *codec != ByteCodec::Crc32c)
    }

    /// Whether a chunk can be decompressed up to a byte.
    pub(super) fn can_be_cut(&self) -> bool {
        let first = self.bytes.first();
        self.shard.is_none() && first.is_some_and(|codec| *codec != ByteCodec::Crc32c)
    }

    /// The bytes of a chunk up to the last that the array has.
    pub(super) fn needed(&self, chunk: &[usize], extent: &[usize], itemsize: usize) -> usize {
        let strides = contiguous(&self.stored(chunk), itemsize);
        let last = self.stored(extent).into_iter().zip(strides);
        let at: usize = last.map(|(len, m)| len.saturating_sub(1) * m).sum();
        at + itemsize
    }

    /// The most bytes of the object of a chunk.
    pub(super) fn most(&self, chunk: &[usize], itemsize: usize) -> usize {
        let stored = self.stored(chunk);
        let len = match &self.shard {
            Some(shard) => shard.most(&stored, itemsize),
            None => layout::byte_len(&stored, itemsize).unwrap_or(usize::MAX),
        };
        self.bytes.iter().fold(len, |len, codec| codec.most(len))
    }

    /// Refuses chunks that need more memory than they should. `extent` has the lengths of what the
    /// array can have of a chunk, and `most` is that of [`most_decoded`].
    pub(super) fn check(
        &self,
        chunk: &[usize],
        extent: &[usize],
        itemsize: usize,
        most: usize,
    ) -> Result<(), String> {
        self.check_nested(chunk, extent, itemsize, most, 0)
    }

    fn check_nested(
        &self,
        chunk: &[usize],
        extent: &[usize],
        itemsize: usize,
        most: usize,
        depth: usize,
    ) -> Result<(), String> {
        let fits = |shape: &[usize], most: usize| match layout::byte_len(shape, itemsize) {
            Some(len) if len <= most => Ok(()),
            _ => Err(format!(
                "its chunks of shape {chunk:?} are too large: at most {most} bytes of a chunk are \
                 decoded, so write it anew with smaller chunks"
            )),
        };
        match self.has_compressor() {
            true if self.can_be_cut() && self.needed(chunk, extent, itemsize) <= most => {}
            true => fits(chunk, most)?,
            false if self.shard.is_none() => fits(chunk, MAX_PLAIN)?,
            false => {}
        }
        let Some(shard) = &self.shard else {
            return Ok(());
        };
        if depth == MAX_NESTING {
            return Err(format!(
                "it has more than {MAX_NESTING} shards in each other"
            ));
        }
        fits(extent, MAX_CHUNK)?;
        let extent: Vec<usize> = (self.stored(extent).into_iter().zip(&shard.inner))
            .map(|(extent, &inner)| extent.min(inner))
            .collect();
        let codecs = &shard.codecs;
        codecs.check_nested(&shard.inner, &extent, itemsize, most, depth + 1)
    }

    pub(super) fn parse(codecs: &Value, chunk: &[usize]) -> Result<Self, String> {
        let mut pipeline = Self {
            axes: (0..chunk.len()).collect(),
            is_big_endian: false,
            shard: None,
            bytes: Vec::new(),
        };
        let mut has_bytes = false;
        for codec in listed(codecs)? {
            let (name, configuration) = named(codec).ok_or("a codec has no name")?;
            match name {
                "transpose" if !has_bytes => {
                    let order = transposed(configuration, pipeline.axes.len())?;
                    pipeline.axes = order.iter().map(|&axis| pipeline.axes[axis]).collect();
                }
                "bytes" | "endian" if !has_bytes => {
                    pipeline.is_big_endian = is_big(configuration);
                    has_bytes = true;
                }
                "sharding_indexed" if !has_bytes => {
                    let stored: Vec<_> = pipeline.axes.iter().map(|&axis| chunk[axis]).collect();
                    pipeline.shard = Some(Shard::parse(configuration, &stored)?.into());
                    has_bytes = true;
                }
                name if has_bytes => pipeline.bytes.push(byte_codec(name)?),
                name => return Err(unknown_codec(name)),
            }
        }
        match has_bytes {
            true => Ok(pipeline),
            false => Err("its codecs do not say how elements become bytes".into()),
        }
    }
}

fn listed(codecs: &Value) -> Result<&[Value], String> {
    let codecs = codecs.as_array().ok_or("its codecs are no list")?;
    match codecs.len() {
        0..=MAX_CODECS => Ok(codecs),
        len => Err(format!(
            "it has {len} codecs, at most {MAX_CODECS} are possible"
        )),
    }
}

fn is_big(configuration: &Value) -> bool {
    configuration.get("endian").and_then(Value::as_str) == Some("big")
}

fn transposed(configuration: &Value, ndim: usize) -> Result<Vec<usize>, String> {
    let order = match configuration.get("order") {
        Some(Value::String(order)) if order == "C" => (0..ndim).collect(),
        Some(Value::String(order)) if order == "F" => (0..ndim).rev().collect(),
        Some(order) => numbers(order).unwrap_or_default(),
        None => Vec::new(),
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    match sorted == (0..ndim).collect::<Vec<_>>() {
        true => Ok(order),
        false => Err("its transposition is none of its axes".into()),
    }
}

fn byte_codec(name: &str) -> Result<ByteCodec, String> {
    match name {
        #[cfg(feature = "zstd")]
        "zstd" => Ok(ByteCodec::Zstd),
        #[cfg(not(feature = "zstd"))]
        "zstd" => Err(
            "its chunks are compressed by zstd, which this build lacks: build with the \
                       feature zstd"
                .into(),
        ),
        "gzip" => Ok(ByteCodec::Gzip),
        "crc32c" => Ok(ByteCodec::Crc32c),
        name => Err(unknown_codec(name)),
    }
}

fn unknown_codec(name: &str) -> String {
    format!(
        "its codec {name:?} is not known: write it anew with the codecs bytes, zstd, gzip, crc32c, \
         transpose and sharding_indexed"
    )
}

impl Shard {
    /// The inner chunks along each axis of a shard.
    pub(super) fn counts(&self, stored: &[usize]) -> Vec<usize> {
        let axes = stored.iter().zip(&self.inner);
        axes.map(|(len, inner)| len / inner).collect()
    }

    /// The bytes of the index of a shard; the largest number if that is larger than any object.
    pub(super) fn index_len(&self, stored: &[usize]) -> usize {
        layout::byte_len(&self.counts(stored), 16)
            .map_or(usize::MAX, |len| len + 4 * self.index.len())
    }

    /// The most bytes of a shard.
    pub(super) fn most(&self, stored: &[usize], itemsize: usize) -> usize {
        let inner = self.codecs.most(&self.inner, itemsize);
        let count: usize = self.counts(stored).iter().product();
        // Between its inner chunks may be bytes that are no more in use.
        let len = count.saturating_mul(inner);
        len.saturating_add(len / 8)
            .saturating_add(self.index_len(stored))
            .saturating_add(1024)
    }

    /// The bytes of an inner chunk by its entry in the index; `None` without one.
    pub(super) fn part<'o>(
        &self,
        object: &'o [u8],
        entry: &[u8],
    ) -> Result<Option<&'o [u8]>, String> {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&entry[at..at + 8]);
            match self.index_is_big_endian {
                true => u64::from_be_bytes(word),
                false => u64::from_le_bytes(word),
            }
        };
        let (start, len) = (word(0), word(8));
        if (start, len) == (u64::MAX, u64::MAX) {
            return Ok(None);
        }
        match start.checked_add(len) {
            Some(end) if end <= object.len() as u64 => {
                Ok(Some(&object[start as usize..end as usize]))
            }
            _ => Err("the index of its shard leads outside of it".into()),
        }
    }

    fn parse(configuration: &Value, chunk: &[usize]) -> Result<Self, String> {
        let get = |key: &str| configuration.get(key).unwrap_or(&Value::Null);
        let fits = |inner: &Vec<usize>| {
            inner.len() == chunk.len()
                && inner
                    .iter()
                    .zip(chunk)
                    .all(|(&inner, whole)| inner > 0 && whole.is_multiple_of(inner))
        };
        let inner = numbers(get("chunk_shape"))
            .filter(fits)
            .ok_or("the inner chunks of its shards do not fit into them")?;
        let (mut index, mut has_bytes, mut is_index_big) = (Vec::new(), false, false);
        let index_codecs = match get("index_codecs") {
            Value::Null => &[],
            codecs => listed(codecs)?,
        };
        for codec in index_codecs {
            match named(codec) {
                Some(("bytes" | "endian", configuration)) if !has_bytes => {
                    is_index_big = is_big(configuration);
                    has_bytes = true;
                }
                Some(("crc32c", _)) if has_bytes => index.push(ByteCodec::Crc32c),
                _ => return Err("the index of its shards has codecs of no fixed length".into()),
            }
        }
        Ok(Self {
            codecs: Pipeline::parse(get("codecs"), &inner)?,
            inner,
            index,
            index_is_big_endian: is_index_big,
            is_index_first: get("index_location") == "start",
        })
    }
}

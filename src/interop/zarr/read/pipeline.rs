//! The codecs of an array, from its metadata.

use super::{super::foreign::named, numbers};
use serde_json::Value;

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

impl Pipeline {
    pub(super) fn parse(codecs: &Value, chunk: &[usize]) -> Result<Self, String> {
        let mut pipeline = Self {
            axes: (0..chunk.len()).collect(),
            is_big_endian: false,
            shard: None,
            bytes: Vec::new(),
        };
        let mut has_bytes = false;
        for codec in codecs.as_array().ok_or("its codecs are no list")? {
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
        for codec in get("index_codecs").as_array().into_iter().flatten() {
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

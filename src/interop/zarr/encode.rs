//! The objects of chunks: elements as they are, or compressed, or in shards.

use super::{bucket::Part, grid::in_memory, types::Column};
use crate::layout::Order;
use serde_json::{Value, json};

/// The codecs of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Codecs {
    /// The level of zstd.
    pub(super) zstd: Option<i32>,
    /// About so many bytes of elements in each inner chunk of a shard.
    pub(super) shard: Option<usize>,
}

/// What follows the elements of a chunk that was encoded.
pub(super) struct Encoded {
    /// The bytes of the object, unless they are those of the elements.
    pub(super) bytes: Option<Vec<u8>>,
    /// Zeros after them.
    pub(super) padding: u64,
    /// The index of a shard, after the zeros.
    pub(super) index: Vec<u8>,
}

impl Encoded {
    pub(super) fn parts<'a>(&'a self, elements: &'a [u8]) -> [Part<'a>; 3] {
        [
            Part::Bytes(self.bytes.as_deref().unwrap_or(elements)),
            Part::Zeros(self.padding),
            Part::Bytes(&self.index),
        ]
    }
}

/// Encodes the elements of a chunk of `whole` bytes, of which `elements` has the first. An inner
/// chunk of a shard has `inner` bytes.
pub(super) fn encode(
    codecs: Codecs,
    elements: &[u8],
    whole: usize,
    inner: Option<usize>,
) -> Result<Encoded, String> {
    let padding = whole - elements.len();
    let Some(inner) = inner else {
        let Some(level) = codecs.zstd else {
            return Ok(Encoded {
                bytes: None,
                padding: padding as u64,
                index: Vec::new(),
            });
        };
        let bytes = compress(elements, padding, level)?;
        return Ok(Encoded {
            bytes: Some(bytes),
            padding: 0,
            index: Vec::new(),
        });
    };
    // The inner chunks that have elements, and an index of all of them.
    let (mut bytes, mut index) = (codecs.zstd.map(|_| Vec::new()), Vec::new());
    let (mut at, mut filled) = (0_u64, 0);
    for number in 0..whole / inner {
        let start = (number * inner).min(elements.len());
        let part = &elements[start..elements.len().min(start + inner)];
        if part.is_empty() {
            index.extend([u64::MAX; 2].map(u64::to_le_bytes));
            continue;
        }
        let len = match (&mut bytes, codecs.zstd) {
            (Some(bytes), Some(level)) => {
                let compressed = compress(part, inner - part.len(), level)?;
                bytes.extend_from_slice(&compressed);
                compressed.len()
            }
            _ => inner,
        };
        index.extend([at, len as u64].map(u64::to_le_bytes));
        at += len as u64;
        filled += inner;
    }
    let mut index = index.concat();
    index.extend(crc32c::crc32c(&index).to_le_bytes());
    Ok(Encoded {
        padding: match bytes {
            Some(_) => 0,
            None => (filled - elements.len()) as u64,
        },
        bytes,
        index,
    })
}

#[cfg(feature = "zstd")]
fn compress(elements: &[u8], padding: usize, level: i32) -> Result<Vec<u8>, String> {
    use super::bucket::zeros;
    use std::io::Write;
    let compressed = || {
        let mut encoder = zstd::Encoder::new(Vec::new(), level)?;
        // Readers take the length of the content from the frame.
        encoder.set_pledged_src_size(Some((elements.len() + padding) as u64))?;
        encoder.include_contentsize(true)?;
        encoder.write_all(elements)?;
        zeros(padding as u64, |piece| encoder.write_all(piece))?;
        encoder.finish()
    };
    compressed().map_err(|error: std::io::Error| error.to_string())
}

#[cfg(not(feature = "zstd"))]
fn compress(_: &[u8], _: usize, _: i32) -> Result<Vec<u8>, String> {
    unreachable!("only the feature zstd can ask for it")
}

/// The codecs of an array, as its metadata has them. `inner` are the lengths of an inner chunk
/// along the axes of the array.
pub(super) fn codecs_json(
    codecs: Codecs,
    column: &Column,
    order: Order,
    ndim: usize,
    inner: Option<&[usize]>,
) -> Value {
    let mut chain = Vec::new();
    if order == Order::F && ndim > 1 {
        let mut axes = in_memory(&(0..ndim).collect::<Vec<_>>(), order);
        axes.extend(ndim..ndim + column.inner.len());
        chain.push(json!({"name": "transpose", "configuration": {"order": axes}}));
    }
    chain.push(json!({"name": "bytes", "configuration": {"endian": "little"}}));
    if let Some(level) = codecs.zstd {
        let configuration = json!({"level": level, "checksum": false});
        chain.push(json!({"name": "zstd", "configuration": configuration}));
    }
    match inner {
        None => chain.into(),
        Some(inner) => {
            let chunk_shape = [inner, &column.inner].concat();
            let index_codecs = json!([
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "crc32c"}
            ]);
            json!([{"name": "sharding_indexed", "configuration": {
                "chunk_shape": chunk_shape,
                "codecs": chain,
                "index_codecs": index_codecs,
                "index_location": "end"
            }}])
        }
    }
}

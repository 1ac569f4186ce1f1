//! Zarr v3 arrays as anyone writes them: their metadata, and the elements of their chunks.
//!
//! This file has the metadata. `pipeline` has the codecs, `decode` the elements of chunks and
//! `strided` the copies of elements.

mod decode;
mod pipeline;
mod strided;

pub(super) use decode::Decoded;
#[cfg(test)]
pub(super) use strided::advance;
pub(super) use strided::{Axis, copy};

use super::foreign::{self, Foreign, named};
use crate::layout::{self, MAX_NDIM, Order};
use decode::Decoder;
use pipeline::Pipeline;
use serde_json::Value;

/// The most axes of a Zarr array: those of an array, those of arrays in its elements, and one for
/// the halves of wide integers or for bytes.
const MAX_AXES: usize = 2 * MAX_NDIM + 1;
/// The most bytes of a chunk that is decoded.
const MAX_CHUNK: usize = 1 << 36;

/// A Zarr array.
#[derive(Clone, Debug)]
pub(super) struct ZarrArray {
    pub(super) shape: Vec<usize>,
    pub(super) chunk: Vec<usize>,
    pub(super) foreign: Foreign,
    /// An element that no chunk has.
    pub(super) fill: Vec<u8>,
    pub(super) attributes: serde_json::Map<String, Value>,
    pub(super) dimension_names: Vec<Option<String>>,
    codecs: Pipeline,
    separator: char,
    /// Keys begin with `c`.
    has_c: bool,
}

impl ZarrArray {
    /// An array by its `zarr.json`.
    ///
    /// # Errors
    ///
    /// Why it cannot be an array here.
    pub(super) fn parse(metadata: &Value) -> Result<Self, String> {
        let get = |key: &str| metadata.get(key).unwrap_or(&Value::Null);
        if get("zarr_format") != 3 {
            return Err("its zarr.json is not of Zarr v3".into());
        }
        let shape = numbers(get("shape")).ok_or("its shape is no list of numbers")?;
        if shape.len() > MAX_AXES {
            return Err(too_many(shape.len(), MAX_AXES));
        }
        let chunk = match named(get("chunk_grid")) {
            Some(("regular", configuration)) => configuration.get("chunk_shape").and_then(numbers),
            _ => return Err("its chunks are not regular".into()),
        };
        let chunk = chunk
            .filter(|chunk| chunk.len() == shape.len() && !chunk.contains(&0))
            .ok_or("its chunk shape does not fit its shape")?;
        let (has_c, separator) = match named(get("chunk_key_encoding")) {
            Some(("default", configuration)) => (true, separator(configuration, '/')?),
            Some(("v2", configuration)) => (false, separator(configuration, '.')?),
            _ => return Err("the keys of its chunks have an encoding that is not known".into()),
        };
        if let Some(transformers) = get("storage_transformers").as_array()
            && !transformers.is_empty()
        {
            return Err("it has storage transformers, which are not known".into());
        }
        let data_type = get("data_type");
        let foreign = foreign::foreign(data_type)?;
        let fill = foreign::fill_bytes(&foreign, data_type, get("fill_value"))?;
        let bytes = layout::byte_len(&chunk, foreign.dtype.itemsize());
        if bytes.is_none_or(|bytes| bytes > MAX_CHUNK) {
            return Err(format!("its chunks of shape {chunk:?} are too large"));
        }
        let codecs = Pipeline::parse(get("codecs"), &chunk)?;
        let dimension_names = get("dimension_names").as_array().map(|names| {
            let name = |name: &Value| name.as_str().map(str::to_owned);
            names.iter().map(name).collect::<Vec<_>>()
        });
        Ok(Self {
            dimension_names: dimension_names
                .filter(|names| names.len() == shape.len())
                .unwrap_or_default(),
            attributes: get("attributes").as_object().cloned().unwrap_or_default(),
            shape,
            chunk,
            foreign,
            fill,
            codecs,
            separator,
            has_c,
        })
    }

    /// The order of memory in which its chunks come without a copy: that of the transposition.
    pub(super) fn order(&self) -> Order {
        let reversed: Vec<usize> = (0..self.shape.len()).rev().collect();
        match self.codecs.shard.is_none() && self.shape.len() > 1 && self.codecs.axes == reversed {
            true => Order::F,
            false => Order::C,
        }
    }

    /// Whether the objects are the elements of the chunks, in the order of `axes`, and no more.
    pub(super) fn is_plain(&self, axes: &[usize]) -> bool {
        self.codecs.shard.is_none()
            && self.codecs.bytes.is_empty()
            && self.codecs.axes == axes
            && (!self.codecs.is_big_endian || self.foreign.numbers.is_empty())
    }

    /// The key of a chunk below that of the array.
    pub(super) fn key(&self, coordinates: &[usize]) -> String {
        let mut parts: Vec<String> = coordinates.iter().map(usize::to_string).collect();
        if self.has_c {
            parts.insert(0, "c".into());
        } else if parts.is_empty() {
            parts.push("0".into());
        }
        parts.join(&self.separator.to_string())
    }

    /// The elements of a chunk, from its object.
    ///
    /// # Errors
    ///
    /// Why the object is not such a chunk.
    pub(super) fn decode(&self, object: Vec<u8>) -> Result<Decoded, String> {
        let decoder = Decoder {
            itemsize: self.foreign.dtype.itemsize(),
            foreign: &self.foreign,
            fill: &self.fill,
        };
        decoder.decode(&self.codecs, object, &self.chunk)
    }
}

/// The reason where there are more axes than possible.
pub(super) fn too_many(ndim: usize, most: usize) -> String {
    format!("it has {ndim} axes, at most {most} are possible")
}

fn numbers(value: &Value) -> Option<Vec<usize>> {
    let numbers = value.as_array()?.iter();
    numbers
        .map(|number| usize::try_from(number.as_u64()?).ok())
        .collect()
}

fn separator(configuration: &Value, default: char) -> Result<char, String> {
    match configuration.get("separator").and_then(Value::as_str) {
        None => Ok(default),
        Some("/") => Ok('/'),
        Some(".") => Ok('.'),
        Some(other) => Err(format!("the keys of its chunks are separated by {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(codecs: Value) -> Value {
        json!({
            "zarr_format": 3, "node_type": "array", "shape": [3, 4], "data_type": "int16",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 4]}},
            "chunk_key_encoding": {"name": "default"}, "fill_value": -1, "codecs": codecs,
        })
    }

    #[test]
    fn chunks_of_every_codec_are_decoded() {
        let array = ZarrArray::parse(&metadata(json!(["bytes"]))).unwrap();
        assert_eq!(array.key(&[1, 0]), "c/1/0");
        assert_eq!(array.fill, [255, 255]);
        let bytes: Vec<u8> = (0..16).collect();
        let decoded = array.decode(bytes.clone()).unwrap();
        assert_eq!(
            (decoded.bytes, decoded.strides),
            (bytes.clone(), vec![8, 2])
        );
        let big = json!([
            {"name": "transpose", "configuration": {"order": [1, 0]}},
            {"name": "bytes", "configuration": {"endian": "big"}},
            {"name": "crc32c"},
        ]);
        let array = ZarrArray::parse(&metadata(big)).unwrap();
        assert_eq!(array.order(), Order::F);
        let mut object = bytes.clone();
        object.extend(crc32c::crc32c(&bytes).to_le_bytes());
        let decoded = array.decode(object.clone()).unwrap();
        assert_eq!(decoded.strides, [2, 4]);
        assert_eq!(decoded.bytes[..4], [1, 0, 3, 2]);
        object[0] ^= 1;
        assert!(
            array
                .decode(object)
                .is_err_and(|reason| reason.contains("CRC-32C"))
        );
    }

    #[test]
    fn inner_chunks_of_a_shard_lie_where_its_index_says() {
        let shard = json!([{"name": "sharding_indexed", "configuration": {
            "chunk_shape": [1, 2], "codecs": ["bytes"],
            "index_codecs": ["bytes", "crc32c"],
        }}]);
        let array = ZarrArray::parse(&metadata(shard)).unwrap();
        let parts: [&[u8]; 2] = [&[1, 0, 2, 0], &[3, 0, 4, 0]];
        let mut object = parts.concat();
        let mut index = Vec::new();
        // The second and the third of four inner chunks.
        for (start, len) in [(u64::MAX, u64::MAX), (4, 4), (0, 4), (u64::MAX, u64::MAX)] {
            index.extend(start.to_le_bytes());
            index.extend(len.to_le_bytes());
        }
        index.extend(crc32c::crc32c(&index).to_le_bytes());
        object.extend(&index);
        let decoded = array.decode(object.clone()).unwrap();
        let values: Vec<i16> = decoded
            .bytes
            .chunks(2)
            .map(|two| i16::from_le_bytes([two[0], two[1]]))
            .collect();
        assert_eq!(values, [-1, -1, 3, 4, 1, 2, -1, -1]);
        object.truncate(10);
        assert!(array.decode(object).is_err());
    }

    #[test]
    fn bad_metadata_are_refused_with_the_reason() {
        for (key, value, reason) in [
            ("zarr_format", json!(2), "v3"),
            ("shape", json!([-1, 2]), "shape"),
            (
                "chunk_grid",
                json!({"name": "regular", "configuration": {"chunk_shape": [0, 4]}}),
                "chunk",
            ),
            (
                "chunk_grid",
                json!({"name": "regular", "configuration": {"chunk_shape": [1u64 << 40, 1 << 20]}}),
                "large",
            ),
            ("data_type", json!("string"), "data type"),
            ("codecs", json!(["bytes", "blosc"]), "blosc"),
            ("codecs", json!([]), "codecs"),
            (
                "codecs",
                json!([{"name": "transpose", "configuration": {"order": [0, 0]}}, "bytes"]),
                "transposition",
            ),
            ("fill_value", json!("x?"), "fill"),
            ("storage_transformers", json!([1]), "transformers"),
        ] {
            let mut metadata = metadata(json!(["bytes"]));
            metadata[key] = value;
            let refused = ZarrArray::parse(&metadata).unwrap_err();
            assert!(refused.contains(reason), "{key}: {refused}");
        }
    }
}

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
use pipeline::{Pipeline, most_decoded};
use serde_json::Value;
use std::borrow::Cow;

/// The most axes of a Zarr array: those of an array, those of arrays in its elements, and one for
/// the halves of wide integers or for bytes.
const MAX_AXES: usize = 2 * MAX_NDIM + 1;

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
    /// The most bytes of a compressed chunk that is decoded.
    most: usize,
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
        let itemsize = foreign.dtype.itemsize();
        let bytes = layout::byte_len(&shape, itemsize)
            .ok_or_else(|| format!("its shape {shape:?} has more elements than can be counted"))?;
        if layout::byte_len(&chunk, itemsize).is_none() {
            return Err(format!("its chunks of shape {chunk:?} are too large"));
        }
        let codecs = Pipeline::parse(get("codecs"), &chunk)?;
        let most = most_decoded(bytes);
        codecs.check(&chunk, &extent(&chunk, &shape), itemsize, most)?;
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
            most,
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
            most: self.most,
        };
        let extent = extent(&self.chunk, &self.shape);
        let object = Cow::Owned(object);
        let (bytes, strides) = decoder.decode(&self.codecs, object, &self.chunk, &extent)?;
        Ok(Decoded {
            bytes: bytes.into_owned(),
            strides,
        })
    }
}

/// The reason where there are more axes than possible.
pub(super) fn too_many(ndim: usize, most: usize) -> String {
    format!("it has {ndim} axes, at most {most} are possible")
}

/// The lengths of what an array can have of a chunk.
fn extent(chunk: &[usize], shape: &[usize]) -> Vec<usize> {
    let axes = chunk.iter().zip(shape);
    axes.map(|(&chunk, &len)| chunk.min(len)).collect()
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

    fn metadata_of(shape: &[usize], chunk: &[usize], codecs: Value) -> Value {
        let mut metadata = metadata(codecs);
        metadata["shape"] = json!(shape);
        metadata["chunk_grid"]["configuration"]["chunk_shape"] = json!(chunk);
        metadata["data_type"] = json!("uint8");
        metadata["fill_value"] = json!(7);
        metadata
    }

    fn sharded(inner: &[usize], codecs: Value) -> Value {
        json!({"name": "sharding_indexed", "configuration": {
            "chunk_shape": inner, "codecs": codecs, "index_codecs": ["bytes"],
        }})
    }

    fn index(entries: &[(u64, u64)]) -> Vec<u8> {
        let words = entries.iter().flat_map(|&(start, len)| [start, len]);
        words.flat_map(u64::to_le_bytes).collect()
    }

    const MISSING: (u64, u64) = (u64::MAX, u64::MAX);

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        use std::io::Read;
        let mut packed = Vec::new();
        let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::new(6));
        encoder.read_to_end(&mut packed).unwrap();
        packed
    }

    fn refused(array: &ZarrArray, object: Vec<u8>) -> String {
        array.decode(object).map(|_| ()).unwrap_err()
    }

    /// Bytes that no codec makes shorter.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..len).map(next).collect()
    }

    #[test]
    fn a_compressed_chunk_may_be_larger_than_its_array_but_not_by_any_amount() {
        let huge = 1 << 36;
        for codecs in [
            json!(["bytes", "crc32c", "gzip"]),
            json!([sharded(&[1], json!(["bytes"])), "gzip"]),
        ] {
            let reason = ZarrArray::parse(&metadata_of(&[1], &[huge], codecs)).unwrap_err();
            assert!(reason.contains("smaller chunks"), "{reason}");
        }
        // The second element is far behind the first.
        for codecs in [
            json!(["bytes", "gzip"]),
            json!([sharded(&[2, huge], json!(["bytes", "gzip"]))]),
            json!([sharded(
                &[2, huge],
                json!([sharded(&[2, huge], json!(["bytes", "gzip"]))])
            )]),
        ] {
            let reason = ZarrArray::parse(&metadata_of(&[2, 1], &[2, huge], codecs)).unwrap_err();
            assert!(reason.contains("smaller chunks"), "{reason}");
        }
        // The part of a shard that the array has is decoded at once.
        let codecs = json!([sharded(&[1 << 20], json!(["bytes"]))]);
        let reason = ZarrArray::parse(&metadata_of(&[huge], &[huge], codecs)).unwrap_err();
        assert!(reason.contains("smaller chunks"), "{reason}");

        let codecs = json!(["bytes", "gzip"]);
        let array = ZarrArray::parse(&metadata_of(&[3, 3], &[1000, 1000], codecs)).unwrap();
        let mut chunk = vec![0; 1_000_000];
        chunk[2002] = 9;
        let decoded = array.decode(gzip(&chunk)).unwrap();
        assert_eq!(decoded.bytes[2 * decoded.strides[0] + 2], 9);
        // A bomb ends at the length of the chunk.
        let reason = refused(&array, gzip(&vec![0; 1_000_001]));
        assert!(reason.contains("more than 1000000 bytes"), "{reason}");
        let reason = refused(&array, gzip(&vec![0; 999_999]));
        assert!(reason.contains("999999 bytes instead of"), "{reason}");
    }

    #[test]
    fn a_compressed_chunk_that_is_too_large_is_decoded_up_to_the_end_of_its_array() {
        let huge = 1 << 36;
        // The object has more than the array, and less than the chunk says.
        let object = gzip(&(0..100).collect::<Vec<u8>>());
        let bytes = json!(["bytes", "gzip"]);
        let sharded = json!([sharded(&[huge, 2], bytes.clone())]);
        for (codecs, object) in [
            (bytes.clone(), object.clone()),
            (json!(["bytes", "gzip", "gzip"]), gzip(&object)),
            (sharded, {
                let entry = (0, object.len() as u64);
                [object.clone(), index(&[entry])].concat()
            }),
        ] {
            let array = ZarrArray::parse(&metadata_of(&[3, 2], &[huge, 2], codecs)).unwrap();
            let decoded = array.decode(object).unwrap();
            assert_eq!(decoded.bytes, [0, 1, 2, 3, 4, 5]);
            assert_eq!(decoded.strides, [2, 1]);
        }
        let array = ZarrArray::parse(&metadata_of(&[51, 2], &[huge, 2], bytes)).unwrap();
        let reason = refused(&array, object);
        assert!(reason.contains("100 bytes instead of 102"), "{reason}");
    }

    #[test]
    fn a_shard_needs_memory_for_the_elements_of_the_array_only() {
        let huge = 1 << 36;
        let codecs = json!([sharded(&[huge], json!(["bytes"]))]);
        let array = ZarrArray::parse(&metadata_of(&[1], &[huge], codecs)).unwrap();
        let decoded = array.decode(index(&[MISSING])).unwrap();
        assert_eq!(decoded.bytes, [7]);

        // Two of nine inner chunks are within the array, and one of them is missing.
        let transpose = json!({"name": "transpose", "configuration": {"order": [1, 0]}});
        let codecs = json!([transpose, sharded(&[2, 3], json!(["bytes"]))]);
        let array = ZarrArray::parse(&metadata_of(&[2, 3], &[9, 6], codecs)).unwrap();
        let mut entries = [(9, 1 << 40); 9];
        (entries[0], entries[3]) = ((0, 6), MISSING);
        let object = [(1..7).collect(), index(&entries)].concat();
        let decoded = array.decode(object).unwrap();
        // The shard has the axes of length 6 and 9, of which the array has 3 and 2.
        assert_eq!(
            (decoded.bytes.len(), &decoded.strides[..]),
            (6, &[1, 2][..])
        );
        assert_eq!(decoded.bytes, [1, 2, 4, 5, 7, 7]);
    }

    #[test]
    fn what_is_compressed_around_a_shard_is_bounded_by_the_length_of_shards() {
        let codecs = json!([sharded(&[2], json!(["bytes"])), "gzip"]);
        let array = ZarrArray::parse(&metadata_of(&[4], &[4], codecs)).unwrap();
        let shard = [vec![1, 2], index(&[MISSING, (0, 2)])].concat();
        assert_eq!(array.decode(gzip(&shard)).unwrap().bytes, [7, 7, 1, 2]);
        let reason = refused(&array, gzip(&vec![0; 1 << 20]));
        assert!(reason.contains("decompresses to more than"), "{reason}");
    }

    #[test]
    fn compressors_in_a_row_are_undone_where_they_made_the_bytes_longer() {
        for len in [1, 16, 1 << 20] {
            let codecs = json!(["bytes", "gzip", "gzip", "crc32c", "gzip"]);
            let array = ZarrArray::parse(&metadata_of(&[len], &[len], codecs)).unwrap();
            let bytes = noise(len);
            let mut object = gzip(&gzip(&bytes));
            let sum = crc32c::crc32c(&object);
            object.extend(sum.to_le_bytes());
            assert!(array.decode(gzip(&object)).unwrap().bytes == bytes, "{len}");
        }
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn zstd_within_gzip_is_undone() {
        for len in [1, 16, 1 << 20] {
            let codecs = json!(["bytes", "zstd", "gzip"]);
            let array = ZarrArray::parse(&metadata_of(&[len], &[len], codecs)).unwrap();
            let bytes = noise(len);
            let object = gzip(&zstd::encode_all(&bytes[..], 3).unwrap());
            assert!(array.decode(object).unwrap().bytes == bytes, "{len}");
        }
    }

    #[test]
    fn entries_of_an_index_that_name_the_whole_shard_are_not_read_again_and_again() {
        let count = 1 << 12;
        let long = gzip(&noise(1 << 20));
        for (codecs, reason) in [
            (json!(["bytes", "gzip"]), "an inner chunk of its shard has"),
            (json!(["bytes"]), "an inner chunk of its shard has"),
            (
                json!(["bytes", "crc32c"]),
                "an inner chunk of its shard has",
            ),
        ] {
            let codecs = json!([sharded(&[1], codecs)]);
            let array = ZarrArray::parse(&metadata_of(&[count], &[count], codecs)).unwrap();
            let entry = (0, long.len() as u64);
            let object = [long.clone(), index(&vec![entry; count])].concat();
            let refused = refused(&array, object);
            assert!(refused.contains(reason), "{refused}");
        }
        // A writer may store inner chunks that are the same once.
        let codecs = json!([sharded(&[1], json!(["bytes", "gzip"]))]);
        let array = ZarrArray::parse(&metadata_of(&[count], &[count], codecs)).unwrap();
        let one = gzip(&[5]);
        let entry = (0, one.len() as u64);
        let object = [one, index(&vec![entry; count])].concat();
        assert_eq!(array.decode(object).unwrap().bytes, vec![5; count]);
    }

    #[test]
    fn shards_are_in_each_other_to_a_depth() {
        let nested = |depth| {
            let inner =
                (0..depth).fold(json!(["bytes"]), |codecs, _| json!([sharded(&[4], codecs)]));
            ZarrArray::parse(&metadata_of(&[4], &[4], inner))
        };
        let array = nested(2).unwrap();
        let shard = [vec![1, 2, 3, 4], index(&[(0, 4)])].concat();
        let object = [shard, index(&[(0, 20)])].concat();
        assert_eq!(array.decode(object).unwrap().bytes, [1, 2, 3, 4]);
        assert!(nested(4).is_ok());
        assert!(nested(5).is_err_and(|reason| reason.contains("4 shards")));
    }

    #[test]
    fn shapes_that_cannot_be_counted_are_refused() {
        for shape in [
            &[1 << 40, 1 << 40, 5][..],
            &[0, 1 << 40, 1 << 40],
            &[usize::MAX],
        ] {
            let chunk = vec![1; shape.len()];
            let reason = ZarrArray::parse(&metadata_of(shape, &chunk, json!(["bytes"])));
            assert!(reason.is_err_and(|reason| reason.contains("counted")));
        }
        let absurd = [1 << 62, 1 << 62];
        for codecs in [
            json!(["bytes"]),
            json!([sharded(&[1, 1], json!(["bytes"]))]),
        ] {
            let reason = ZarrArray::parse(&metadata_of(&[1, 1], &absurd, codecs)).unwrap_err();
            assert!(reason.contains("too large"), "{reason}");
        }
        // The index of such a shard is longer than any object.
        let codecs = json!([sharded(&[1], json!(["bytes", "gzip"]))]);
        let array = ZarrArray::parse(&metadata_of(&[1], &[1 << 62], codecs)).unwrap();
        assert!(refused(&array, vec![0; 64]).contains("too short"));
        assert!(ZarrArray::parse(&metadata_of(&[1; 66], &[1; 66], json!(["bytes"]))).is_err());
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
            ("codecs", json!(vec!["bytes"; 17]), "17 codecs"),
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

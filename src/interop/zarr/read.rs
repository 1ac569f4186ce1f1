//! Zarr v3 arrays as anyone writes them: their metadata, and the elements of their chunks.

use super::types::{self, Foreign, named};
use crate::layout::{self, MAX_NDIM, Order};
use serde_json::Value;
use std::io::Read;

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

/// From the bytes of an object to elements.
#[derive(Clone, Debug)]
struct Pipeline {
    /// The axes in the order in which the bytes have them.
    axes: Vec<usize>,
    is_big_endian: bool,
    shard: Option<Box<Shard>>,
    /// In the order of encoding.
    bytes: Vec<ByteCodec>,
}

#[derive(Clone, Debug)]
struct Shard {
    inner: Vec<usize>,
    codecs: Pipeline,
    index_is_big_endian: bool,
    index: Vec<ByteCodec>,
    is_index_first: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum ByteCodec {
    #[cfg(feature = "zstd")]
    Zstd,
    Gzip,
    Crc32c,
}

/// The elements of a chunk, with their strides in bytes along the axes of the array.
pub(super) struct Decoded {
    pub(super) bytes: Vec<u8>,
    pub(super) strides: Vec<usize>,
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
        if shape.len() > MAX_NDIM {
            let ndim = shape.len();
            return Err(format!(
                "it has {ndim} axes, at most {MAX_NDIM} are possible"
            ));
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
        let foreign = types::foreign(data_type)?;
        let fill = types::fill_bytes(&foreign, data_type, get("fill_value"))
            .filter(|fill| fill.len() == foreign.dtype.itemsize())
            .ok_or("its fill value is none of its type")?;
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

impl Pipeline {
    fn parse(codecs: &Value, chunk: &[usize]) -> Result<Self, String> {
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

struct Decoder<'a> {
    itemsize: usize,
    foreign: &'a Foreign,
    fill: &'a [u8],
}

impl Decoder<'_> {
    fn decode(
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

/// The next coordinates in the order C; the first after the last.
pub(super) fn advance(coordinates: &mut [usize], counts: &[usize]) {
    for (coordinate, &count) in coordinates.iter_mut().zip(counts).rev() {
        *coordinate += 1;
        if *coordinate < count {
            return;
        }
        *coordinate = 0;
    }
}

/// The strides of a contiguous array in the order C, in bytes.
fn contiguous(shape: &[usize], itemsize: usize) -> Vec<usize> {
    let mut strides = vec![itemsize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
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

/// An axis of a copy: its length, and its strides in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) len: usize,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// Copies items of `run` bytes along axes in any order.
pub(super) fn copy(from: &[u8], to: &mut [u8], mut axes: Vec<Axis>, mut run: usize) {
    if axes.iter().any(|axis| axis.len == 0) || run == 0 {
        return;
    }
    axes.retain(|axis| axis.len > 1);
    axes.sort_by_key(|axis| std::cmp::Reverse((axis.to, axis.from)));
    while let Some(last) = axes.last()
        && last.from == run
        && last.to == run
    {
        run *= last.len;
        axes.pop();
    }
    match run {
        1 => walk::<1>(from, to, &axes),
        2 => walk::<2>(from, to, &axes),
        4 => walk::<4>(from, to, &axes),
        8 => walk::<8>(from, to, &axes),
        16 => walk::<16>(from, to, &axes),
        _ => walk_runs(from, to, &axes, run),
    }
}

fn walk<const N: usize>(from: &[u8], to: &mut [u8], axes: &[Axis]) {
    match axes {
        [] => to[..N].copy_from_slice(&from[..N]),
        [axis] => {
            for index in 0..axis.len {
                to[index * axis.to..][..N].copy_from_slice(&from[index * axis.from..][..N]);
            }
        }
        [axis, rest @ ..] => {
            for index in 0..axis.len {
                walk::<N>(&from[index * axis.from..], &mut to[index * axis.to..], rest);
            }
        }
    }
}

fn walk_runs(from: &[u8], to: &mut [u8], axes: &[Axis], run: usize) {
    match axes {
        [] => to[..run].copy_from_slice(&from[..run]),
        [axis, rest @ ..] => {
            for index in 0..axis.len {
                walk_runs(
                    &from[index * axis.from..],
                    &mut to[index * axis.to..],
                    rest,
                    run,
                );
            }
        }
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

    #[test]
    fn copies_follow_the_strides_of_both_sides() {
        let from: Vec<u8> = (0..24).collect();
        let mut to = vec![0; 24];
        let axis = |len, from, to| Axis { len, from, to };
        copy(
            &from,
            &mut to,
            vec![axis(2, 12, 2), axis(3, 4, 4), axis(2, 2, 12)],
            2,
        );
        let expected: Vec<u8> = (0..2)
            .flat_map(|k| (0..3).flat_map(move |j| (0..2).map(move |i| i * 12 + j * 4 + k * 2)))
            .flat_map(|at| [at, at + 1])
            .collect();
        assert_eq!(to, expected);
    }
}

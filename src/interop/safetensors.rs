//! Safetensors files: a length, a header in JSON, and the elements of all tensors without gaps.
//!
//! Written by hand over `serde_json`, because the `safetensors` crate needs the whole file in
//! memory.

use super::{
    described::{Described, without_subarray},
    failure::Failure,
    input::Input,
    meter::{Meter, Progress},
    source::{byte_len, write_elements},
    target::Target,
};
use crate::{
    array::any::AnyArray,
    element::dtype::DType,
    layout::{self, MAX_NDIM, Order},
    segment::draft::Draft,
};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use std::{
    collections::HashSet,
    fmt,
    io::{Read, Write},
};

/// The longest header, by the format's own rule.
const MAX_HEADER_LEN: u64 = 100_000_000;
/// The header's key that names no tensor.
const METADATA: &str = "__metadata__";
/// The elements start at a multiple of this.
const ALIGN: usize = 8;

/// Every type that both sides have.
const TYPES: [(&str, &str); 14] = [
    ("BOOL", "|b1"),
    ("U8", "|u1"),
    ("I8", "|i1"),
    ("U16", "<u2"),
    ("I16", "<i2"),
    ("F16", "<f2"),
    ("BF16", "bfloat16"),
    ("U32", "<u4"),
    ("I32", "<i4"),
    ("F32", "<f4"),
    ("C64", "<c8"),
    ("U64", "<u8"),
    ("I64", "<i8"),
    ("F64", "<f8"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// The tensors of a file in the order of their elements, each with its key and its number of bytes.
type Tensors = Vec<(String, Described, u64)>;

/// The entries of the header, in the order of the file; `None` is the metadata.
struct Entries(Vec<(String, Option<Tensor>)>);

struct EntriesVisitor;

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let (mut entries, mut keys) = (Vec::new(), HashSet::new());
        while let Some(key) = map.next_key::<String>()? {
            let tensor = if key == METADATA {
                map.next_value::<de::IgnoredAny>()?;
                None
            } else {
                Some(map.next_value()?)
            };
            if !keys.insert(key.clone()) {
                return Err(de::Error::custom(format!("duplicate key {key:?}")));
            }
            entries.push((key, tensor));
        }
        Ok(Entries(entries))
    }
}

/// Sorts arrays as other libraries write them: the widest elements come first, so that each tensor
/// is aligned, and then the keys decide.
pub(super) fn sort(arrays: &mut [(&str, AnyArray)]) {
    arrays.sort_by_key(|(key, array)| {
        let itemsize = without_subarray(array.dtype(), &[]).0.itemsize();
        (usize::MAX - itemsize, key.to_string())
    });
}

/// All bytes before the elements, and the number of bytes of the elements.
pub(super) fn header(arrays: &[(&str, AnyArray)]) -> Result<(Vec<u8>, u64), Failure> {
    let mut entries = Vec::new();
    let mut end = 0;
    for (key, array) in arrays {
        if *key == METADATA {
            return Err(format!("{METADATA} cannot be the key of an array").into());
        }
        let (dtype, shape) = without_subarray(array.dtype(), array.shape());
        let text = dtype.to_string();
        let Some((name, _)) = TYPES.iter().find(|(_, known)| *known == text) else {
            return Err(format!(
                "safetensors has no type for the elements of {key:?}, {text}: export the array \
                 as .npy, or export its fields or parts"
            )
            .into());
        };
        let start = end;
        end += byte_len(array);
        let quoted = serde_json::Value::from(*key);
        let shape = serde_json::Value::from(shape);
        entries.push(format!(
            "{quoted}:{{\"dtype\":\"{name}\",\"shape\":{shape},\"data_offsets\":[{start},{end}]}}"
        ));
    }
    let mut json = format!("{{{}}}", entries.join(",")).into_bytes();
    json.resize(json.len().next_multiple_of(ALIGN), b' ');
    let len = (json.len() as u64).to_le_bytes();
    Ok(([&len[..], &json].concat(), end))
}

/// Writes a header and the elements of its arrays.
pub(super) fn write(
    header: &[u8],
    arrays: &[(&str, AnyArray)],
    meter: &mut Meter<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    out.write_all(header)?;
    arrays
        .iter()
        .try_for_each(|(_, array)| write_elements(array, Order::C, meter, out))
}

/// Reads all tensors into drafts, each with its key.
pub(super) fn read(
    target: &Target<'_>,
    progress: Progress<'_>,
    input: &mut Input<'_>,
) -> Result<Vec<(String, Draft)>, Failure> {
    let len = input.len();
    let (tensors, total) = read_header(input.reader(), len)?;
    let mut meter = Meter::new(progress, total);
    let mut drafts = Vec::new();
    for (key, described, len) in tensors {
        let draft = target
            .receive(Some(&key), described, len, &mut meter, input.reader())
            .map_err(|failure| match failure {
                Failure::Format(reason) => Failure::Format(format!("{key:?}: {reason}")),
                other => other,
            })?;
        drafts.push((key, draft));
    }
    input.finish()?;
    Ok(drafts)
}

/// Reads a header up to the first element. Returns its tensors and the number of bytes of all of
/// them.
///
/// A stream has no length: it ends where its tensors end.
fn read_header(input: &mut dyn Read, file_len: Option<u64>) -> Result<(Tensors, u64), Failure> {
    let mut len = [0; 8];
    input.read_exact(&mut len)?;
    let len = u64::from_le_bytes(len);
    let total = file_len.map(|file_len| file_len.checked_sub(8)?.checked_sub(len));
    if len > MAX_HEADER_LEN || total == Some(None) {
        return Err(
            "it is not a safetensors file: its header is longer than the file, or than 100 MB"
                .into(),
        );
    }
    let mut json = vec![0; len as usize];
    input.read_exact(&mut json)?;
    if json.first() != Some(&b'{') {
        return Err("it is not a safetensors file: its header does not start with a brace".into());
    }
    let Entries(entries) = serde_json::from_slice(&json)
        .map_err(|error| format!("its header is not that of a safetensors file: {error}"))?;
    let mut tensors: Vec<_> = entries
        .into_iter()
        .filter_map(|(key, tensor)| Some((key, tensor?)))
        .collect();
    tensors.sort_by_key(|(_, tensor)| tensor.data_offsets);
    let mut end = 0;
    let mut found = Vec::new();
    for (key, tensor) in tensors {
        let (described, len) = described(&key, tensor, end)?;
        end += len;
        found.push((key, described, len));
    }
    if let Some(total) = total.flatten().filter(|&total| total != end) {
        return Err(format!("its tensors have {end} bytes, the file has {total}").into());
    }
    Ok((found, end))
}

/// A tensor whose elements start at `start`, where the tensor before it ends, and the number of its
/// bytes.
fn described(key: &str, tensor: Tensor, start: u64) -> Result<(Described, u64), Failure> {
    let Tensor {
        dtype,
        shape,
        data_offsets: (from, to),
    } = tensor;
    let Some((_, text)) = TYPES.iter().find(|(name, _)| *name == dtype) else {
        return Err(format!("{key:?} has the unsupported element type {dtype:?}").into());
    };
    let dtype: DType = text.parse()?;
    if shape.len() > MAX_NDIM {
        let ndim = shape.len();
        return Err(format!("{key:?} has {ndim} axes, at most {MAX_NDIM} are possible").into());
    }
    let bytes = layout::byte_len(&shape, dtype.itemsize()).map(|bytes| bytes as u64);
    if from != start || to < from || bytes != Some(to - from) {
        return Err(format!(
            "{key:?} has the offsets {from} to {to}, which match neither its shape {shape:?} nor \
             the tensor before it"
        )
        .into());
    }
    Ok((Described::native(dtype, shape), to - from))
}

//! Safetensors files: a length, a header in JSON, and the elements of all tensors without gaps.
//!
//! Written by hand over `serde_json`, because the `safetensors` crate needs the whole file in
//! memory.

use super::{
    described::{Described, without_subarray},
    failure::Failure,
    input::Input,
    meter::{Meter, Progress},
    outlet::Drain,
    selection::{Left, Selection},
    source::{byte_len, write_elements},
    target::{Taken, Target},
};
use crate::{
    array::any::AnyArray,
    element::dtype::DType,
    layout::{self, MAX_NDIM, Order},
};
use ciborium::Value;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use std::{collections::HashSet, fmt, io::Read};

/// The longest header, by the format's own rule.
const MAX_HEADER_LEN: u64 = 100_000_000;
/// The header's key that names no tensor.
const METADATA: &str = "__metadata__";
/// The attribute with the file's metadata, for the way back.
const METADATA_ATTRIBUTE: &str = "safetensors.metadata";
/// The most bytes of metadata that become attributes, in each array's header.
const MAX_METADATA_LEN: usize = 32 << 10;
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

/// A tensor of a file, and its array here, or why it has none.
struct Found {
    key: String,
    len: u64,
    described: Result<Described, String>,
}

/// The entries of the header, in the order of the file, and the metadata.
struct Entries {
    tensors: Vec<(String, Tensor)>,
    metadata: Option<serde_json::Value>,
}

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
        let (mut tensors, mut keys, mut metadata) = (Vec::new(), HashSet::new(), None);
        while let Some(key) = map.next_key::<String>()? {
            if !keys.insert(key.clone()) {
                return Err(de::Error::custom(format!("duplicate key {key:?}")));
            }
            if key == METADATA {
                metadata = Some(map.next_value()?);
            } else {
                tensors.push((key, map.next_value()?));
            }
        }
        Ok(Entries { tensors, metadata })
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
    let metadata = metadata_of(arrays);
    if !metadata.is_empty() {
        let text = serde_json::Value::Object(metadata);
        entries.push(format!("\"{METADATA}\":{text}"));
    }
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
    out: &mut dyn Drain,
) -> Result<(), Failure> {
    out.write_all(header)?;
    arrays
        .iter()
        .try_for_each(|(_, array)| write_elements(array, Order::C, meter, out))
}

/// The metadata of the files that the arrays come from. Of arrays that disagree, the first decides.
fn metadata_of(arrays: &[(&str, AnyArray)]) -> serde_json::Map<String, serde_json::Value> {
    let mut all = serde_json::Map::new();
    let maps = arrays
        .iter()
        .filter_map(|(_, array)| array.attribute(METADATA_ATTRIBUTE)?.as_map());
    for (key, value) in maps.flatten() {
        if let (Some(key), Some(value)) = (key.as_text(), value.as_text()) {
            all.entry(key).or_insert_with(|| value.into());
        }
    }
    all
}

/// The attribute of the metadata. Values that are no texts, which the format does not allow, are
/// kept as JSON.
fn attribute_of(metadata: serde_json::Value) -> Result<Option<Value>, &'static str> {
    let serde_json::Value::Object(entries) = metadata else {
        return Err("it is not a map of texts");
    };
    if entries.is_empty() {
        return Ok(None);
    }
    let texts = entries.into_iter().map(|(key, value)| match value {
        serde_json::Value::String(text) => (key, text),
        other => (key, other.to_string()),
    });
    let texts: Vec<_> = texts.collect();
    let len: usize = texts.iter().map(|(key, text)| key.len() + text.len()).sum();
    if len > MAX_METADATA_LEN {
        return Err("it has more than 32 KiB, too many for the attributes of an array");
    }
    let map = texts
        .into_iter()
        .map(|(key, text)| (key.into(), text.into()));
    Ok(Some(Value::Map(map.collect())))
}

/// Reads the chosen tensors into drafts, each with its key, and lists those that were left.
pub(super) fn read(
    mut target: Target<'_>,
    selection: &Selection,
    progress: Progress<'_>,
    input: &mut Input<'_>,
) -> Result<Taken, Failure> {
    let len = input.len();
    let (found, metadata) = read_header(input, len)?;
    let mut left = Vec::new();
    let mut taken = Vec::new();
    for Found {
        key,
        len,
        described,
    } in &found
    {
        let accepted = match described {
            _ if !selection.takes(key) => None,
            Ok(described) => match target.accepted(described.clone()) {
                Ok(described) => Some(described),
                Err(Failure::Format(reason)) => {
                    left.push(Left::new(key, reason));
                    None
                }
                Err(other) => return Err(other),
            },
            Err(reason) => {
                left.push(Left::new(key, reason));
                None
            }
        };
        taken.push((key, *len, accepted));
    }
    selection.check(found.iter().map(|found| found.key.as_str()), &left)?;
    match metadata.map_or(Ok(None), attribute_of) {
        Ok(attribute) => target
            .extras
            .extend(attribute.map(|map| (METADATA_ATTRIBUTE, map))),
        Err(reason) => left.push(Left::new(METADATA, reason)),
    }
    let lens = taken.iter().filter(|(.., described)| described.is_some());
    let mut meter = Meter::new(progress, lens.map(|(_, len, _)| len).sum());
    let mut drafts = Vec::new();
    for (key, len, described) in taken {
        let Some(described) = described else {
            input.skip(len)?;
            continue;
        };
        let draft = target
            .receive(Some(key), described, len, &mut meter, input)
            .map_err(|failure| match failure {
                Failure::Format(reason) => Failure::Format(format!("{key:?}: {reason}")),
                other => other,
            })?;
        drafts.push((key.clone(), draft));
    }
    input.finish()?;
    Ok((drafts, left))
}

/// Reads a header up to the first element. Returns its tensors in the order of their elements, and
/// the metadata.
///
/// A stream has no length: it ends where its tensors end.
fn read_header(
    input: &mut dyn Read,
    file_len: Option<u64>,
) -> Result<(Vec<Found>, Option<serde_json::Value>), Failure> {
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
    let Entries {
        mut tensors,
        metadata,
    } = serde_json::from_slice(&json)
        .map_err(|error| format!("its header is not that of a safetensors file: {error}"))?;
    tensors.sort_by_key(|(_, tensor)| tensor.data_offsets);
    let (mut end, mut found) = (0, Vec::new());
    for (key, tensor) in tensors {
        let (from, to) = tensor.data_offsets;
        if from != end || to < from {
            return Err(mismatch(&key, &tensor).into());
        }
        let described = described(&key, tensor)?;
        let len = to - from;
        found.push(Found {
            key,
            len,
            described,
        });
        end = to;
    }
    if let Some(total) = total.flatten().filter(|&total| total != end) {
        return Err(format!("its tensors have {end} bytes, the file has {total}").into());
    }
    Ok((found, metadata))
}

fn mismatch(key: &str, tensor: &Tensor) -> String {
    let (from, to) = tensor.data_offsets;
    format!(
        "{key:?} has the offsets {from} to {to}, which match neither its shape {:?} nor the tensor \
         before it",
        tensor.shape
    )
}

/// The array that a tensor becomes, or the reason why it becomes none. Fails where its offsets do
/// not match its shape.
fn described(key: &str, tensor: Tensor) -> Result<Result<Described, String>, Failure> {
    let Some((_, text)) = TYPES.iter().find(|(name, _)| *name == tensor.dtype) else {
        let reason = format!("its element type {:?} is not supported", tensor.dtype);
        return Ok(Err(reason));
    };
    let dtype: DType = text.parse()?;
    let (from, to) = tensor.data_offsets;
    let ndim = tensor.shape.len();
    let elements = tensor
        .shape
        .iter()
        .try_fold(1u64, |n, &len| n.checked_mul(len as u64));
    let bytes = elements.and_then(|n| n.checked_mul(dtype.itemsize() as u64));
    // The product of many axes may overflow before a zero.
    let bytes = if tensor.shape.contains(&0) {
        Some(0)
    } else {
        bytes
    };
    if bytes != Some(to - from) {
        return Err(mismatch(key, &tensor).into());
    }
    if ndim > MAX_NDIM {
        return Ok(Err(format!(
            "it has {ndim} axes, at most {MAX_NDIM} are possible"
        )));
    }
    if layout::byte_len(&tensor.shape, dtype.itemsize()).is_none() {
        return Ok(Err(format!(
            "shape {:?} of {dtype} is too large",
            tensor.shape
        )));
    }
    Ok(Ok(Described::native(dtype, tensor.shape)))
}

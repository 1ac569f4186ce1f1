//! Safetensors files: a length, a header in JSON, and the elements of all tensors without gaps.
//!
//! Written by hand over `serde_json`, because the `safetensors` crate wants all of a file in
//! memory.

use super::{
    Described, Failure, Meter,
    export::{Export, check_keys, write_elements},
    import::Importer,
    without_subarray,
};
use crate::{
    array::any::AnyArray,
    element::dtype::DType,
    error::{Error, Result},
    layout::{self, MAX_NDIM, Order},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use std::{
    collections::HashSet,
    fmt,
    io::{Read, Write},
    path::Path,
};

/// Longest header, by the format's own rule.
const MAX_HEADER_LEN: u64 = 100_000_000;
/// The key that is no tensor's.
const METADATA: &str = "__metadata__";
/// The elements start at a multiple of this.
const ALIGN: usize = 8;

/// Every type that both have.
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

/// The tensors of a file in the order of their elements, each with its key and the number of its
/// bytes.
type Tensors = Vec<(String, Described, u64)>;

/// The entries of the header, in the order of the file; `None` is the metadata.
struct Entries(Vec<(String, Option<Tensor>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap;
        impl<'de> Visitor<'de> for OfMap {
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
                        return Err(de::Error::custom(format!("the key {key:?} is there twice")));
                    }
                    entries.push((key, tensor));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(OfMap)
    }
}

impl Export<'_> {
    /// Writes arrays into a safetensors file, each under its key; read under a guard of its own,
    /// one after another.
    ///
    /// The order is always C. The axes of `[T; N]` elements follow those of the array.
    ///
    /// # Errors
    ///
    /// Those of [`npy`](Self::npy); `Transfer` for types that the format does not have (structs,
    /// raw bytes, `complex128`, 128-bit integers), where two arrays have one key, and where a key
    /// is empty or `__metadata__`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("all.safetensors");
    /// let manager = ndshm::Manager::new()?;
    /// let (xs, ys) = (manager.zeros::<f64, _>(5)?.into_any()?, manager.ones::<u8, _>((2, 2))?.into_any()?);
    /// ndshm::Export::new().safetensors(&[("xs", &xs), ("ys", &ys)], &path)?;
    /// assert_eq!(manager.import_safetensors(&path)?.len(), 2);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn safetensors<N: AsRef<str>>(
        &self,
        arrays: &[(N, &AnyArray)],
        path: impl AsRef<Path>,
    ) -> Result<()> {
        let path = path.as_ref();
        check_keys(arrays, path)?;
        // The widest come first, so that each is aligned, and then by their keys: as others write
        // it.
        let mut arrays: Vec<_> = arrays
            .iter()
            .map(|(key, array)| (key.as_ref(), *array))
            .collect();
        arrays.sort_by_key(|(key, array)| {
            (
                usize::MAX - without_subarray(array.dtype(), &[]).0.itemsize(),
                key.to_string(),
            )
        });
        let (header, total) = header(&arrays, path)?;
        self.create(path, |output| {
            let mut meter = Meter::new(self.progress, total);
            output.file().write_all(&header)?;
            arrays.iter().try_for_each(|(_, array)| {
                write_elements(array, Order::C, &mut meter, output.file())
            })
        })
    }
}

/// All bytes before the elements, and the number of theirs.
fn header(arrays: &[(&str, &AnyArray)], path: &Path) -> Result<(Vec<u8>, u64)> {
    let mut entries = Vec::new();
    let mut end = 0;
    for (key, array) in arrays {
        let (dtype, shape) = without_subarray(array.dtype(), array.shape());
        let text = dtype.to_string();
        let Some((name, _)) = TYPES.iter().find(|(_, known)| *known == text) else {
            let reason = format!(
                "safetensors has no type for the elements of {key:?}, {text}: export it as .npy, or its fields or parts"
            );
            return Err(Error::transfer(path, reason));
        };
        if *key == METADATA {
            return Err(Error::transfer(
                path,
                format!("{METADATA} cannot be the key of an array"),
            ));
        }
        let start = end;
        end += array.byte_len();
        let quoted = serde_json::Value::from(*key);
        entries.push(format!(
            "{quoted}:{{\"dtype\":\"{name}\",\"shape\":{},\"data_offsets\":[{start},{end}]}}",
            serde_json::Value::from(shape)
        ));
    }
    let mut json = format!("{{{}}}", entries.join(",")).into_bytes();
    json.resize(json.len().next_multiple_of(ALIGN), b' ');
    Ok((
        [&(json.len() as u64).to_le_bytes()[..], &json].concat(),
        end,
    ))
}

pub(super) fn import(importer: &Importer<'_>) -> Result<Vec<(String, AnyArray)>, Failure> {
    let (mut file, file_len) = importer.open()?;
    let (tensors, total) = read_header(&mut file, file_len)?;
    let mut meter = Meter::new(importer.progress, total);
    let mut drafts = Vec::new();
    for (key, described, len) in tensors {
        let draft = importer
            .receive(Some(&key), described, len, &mut meter, &mut file)
            .map_err(|failure| match failure {
                Failure::Format(reason) => Failure::Format(format!("{key:?}: {reason}")),
                other => other,
            })?;
        drafts.push((key, draft));
    }
    Ok(Importer::publish(drafts)?)
}

/// Reads a header up to the first element: its tensors, and the number of all their bytes.
fn read_header(input: &mut dyn Read, file_len: u64) -> Result<(Tensors, u64), Failure> {
    let mut len = [0; 8];
    input.read_exact(&mut len)?;
    let len = u64::from_le_bytes(len);
    let Some(total) = file_len
        .checked_sub(8)
        .and_then(|rest| rest.checked_sub(len))
        .filter(|_| len <= MAX_HEADER_LEN)
    else {
        return Err(
            "it is not a safetensors file: its header is longer than the file, or than 100 MB"
                .into(),
        );
    };
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
    for (
        key,
        Tensor {
            dtype,
            shape,
            data_offsets: (from, to),
        },
    ) in tensors
    {
        let Some((_, text)) = TYPES.iter().find(|(name, _)| *name == dtype) else {
            return Err(format!(
                "{key:?} has elements of type {dtype:?}, which is no element type here"
            )
            .into());
        };
        let dtype: DType = text.parse()?;
        if shape.len() > MAX_NDIM {
            return Err(format!(
                "{key:?} has {} axes, at most {MAX_NDIM} are possible",
                shape.len()
            )
            .into());
        }
        let bytes = layout::byte_len(&shape, dtype.itemsize()).map(|bytes| bytes as u64);
        if from != end || to < from || bytes != Some(to - from) {
            return Err(format!("{key:?} is said to lie at {from} to {to}, which fits neither its shape {shape:?} nor what is before it").into());
        }
        end = to;
        found.push((
            key,
            Described {
                dtype,
                shape,
                order: Order::C,
                swaps: Vec::new(),
            },
            to - from,
        ));
    }
    if end != total {
        return Err(format!("its tensors have {end} bytes, and {total} are there").into());
    }
    Ok((found, total))
}

//! Types from text and from the CBOR of a header, with all checks.

use super::{DType, Field, Kind, MAX_ITEMSIZE, MAX_NESTING, SCALARS, Shared};
use crate::layout::MAX_NDIM;
use ciborium::Value;
use std::{str::FromStr, sync::Arc};

impl DType {
    /// The type of a header's CBOR value.
    pub(crate) fn from_value(value: &Value) -> Result<Self, String> {
        Self::from_nested(value, 1)
    }

    fn from_nested(value: &Value, depth: usize) -> Result<Self, String> {
        match value {
            Value::Text(text) => Self::from_text(text),
            Value::Map(_) if depth > MAX_NESTING => {
                Err(format!("structs are nested deeper than {MAX_NESTING}"))
            }
            Value::Map(entries) => Self::from_map(entries, depth),
            _ => Err("neither a text nor a map".into()),
        }
    }

    fn from_map(entries: &[(Value, Value)], depth: usize) -> Result<Self, String> {
        let get = |key: &str| {
            entries
                .iter()
                .find(|(k, _)| k.as_text() == Some(key))
                .map(|(_, value)| value)
                .ok_or(format!("no {key:?}"))
        };
        let list = |key: &str| get(key)?.as_array().ok_or(format!("{key:?} is not a list"));
        let (names, formats, offsets) = (list("names")?, list("formats")?, list("offsets")?);
        let itemsize = Self::size_from(get("itemsize")?)?;
        if entries.len() != 4
            || names.is_empty()
            || names.len() != formats.len()
            || names.len() != offsets.len()
        {
            return Err(
                "names, formats and offsets must be lists of one length, at least 1, \
                        with itemsize and nothing else"
                    .into(),
            );
        }
        let mut fields = Vec::with_capacity(names.len());
        for ((name, format), offset) in names.iter().zip(formats).zip(offsets) {
            let name = name
                .as_text()
                .ok_or("a field's name is not a text")?
                .to_owned();
            fields.push(Field {
                name: name.into(),
                dtype: Self::from_nested(format, depth + 1)?,
                offset: Self::size_from(offset)?,
            });
        }
        Self::checked_struct(fields, itemsize)
    }

    fn size_from(value: &Value) -> Result<usize, String> {
        value
            .as_integer()
            .and_then(|n| usize::try_from(n).ok())
            .ok_or("not a size".to_owned())
    }

    /// A struct type, if its fields are valid.
    pub(super) fn checked_struct(fields: Vec<Field>, itemsize: usize) -> Result<Self, String> {
        if itemsize == 0 || itemsize > MAX_ITEMSIZE {
            return Err(format!(
                "itemsize {itemsize} is not within 1 and {MAX_ITEMSIZE}"
            ));
        }
        if fields.is_empty() {
            return Err("a struct has at least one field".into());
        }
        let mut ranges = Vec::with_capacity(fields.len());
        for Field {
            name,
            dtype,
            offset,
        } in &fields
        {
            if name.is_empty() {
                return Err("a field's name is empty".into());
            }
            let end = offset
                .checked_add(dtype.itemsize())
                .filter(|&end| end <= itemsize);
            ranges.push((
                *offset,
                end.ok_or_else(|| format!("field {name:?} reaches past itemsize {itemsize}"))?,
            ));
        }
        ranges.sort_unstable();
        if ranges.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            return Err("fields overlap".into());
        }
        let mut names: Vec<_> = fields.iter().map(Field::name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("two fields have the same name".into());
        }
        let depth = 1 + fields
            .iter()
            .map(|field| field.dtype.depth())
            .max()
            .unwrap_or(0);
        if depth > MAX_NESTING {
            return Err(format!("structs are nested deeper than {MAX_NESTING}"));
        }
        Ok(DType(Kind::Struct {
            fields: Shared::Counted(fields.into()),
            itemsize,
            depth,
        }))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let invalid = || format!("{text:?} is no element type of this format");
        if let Some(rest) = text.strip_prefix('(') {
            let (dims, base) = rest.split_once(')').ok_or_else(invalid)?;
            let dims = match dims.strip_suffix(',') {
                Some(one) if !one.contains(',') => vec![one],
                None if dims.contains(',') => dims.split(',').collect(),
                _ => return Err(invalid()),
            };
            if dims.len() > MAX_NDIM || base.starts_with('(') || base == "|u1" {
                return Err(invalid());
            }
            let mut dtype = Self::from_text(base)?;
            for dim in dims.iter().rev() {
                let len = positive(dim).ok_or_else(invalid)?;
                let itemsize = dtype
                    .itemsize()
                    .checked_mul(len)
                    .filter(|&size| size <= MAX_ITEMSIZE);
                let itemsize = itemsize
                    .ok_or_else(|| format!("{text:?} is larger than {MAX_ITEMSIZE} bytes"))?;
                dtype = DType(Kind::Array {
                    len,
                    itemsize,
                    element: Shared::Counted(Arc::new(dtype)),
                });
            }
            return Ok(dtype);
        }
        if let Some(digits) = text.strip_prefix("|V") {
            let len = positive(digits)
                .filter(|&len| len <= MAX_ITEMSIZE)
                .ok_or_else(invalid)?;
            return Ok(DType(Kind::Bytes(len)));
        }
        SCALARS
            .iter()
            .find(|row| row.1 == text)
            .map(|row| Self::scalar(row.0))
            .ok_or_else(invalid)
    }
}

/// A canonical decimal above zero.
fn positive(digits: &str) -> Option<usize> {
    let canonical = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    if canonical { digits.parse().ok() } else { None }
}

impl FromStr for DType {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_text(text).map_err(|reason| crate::Error::Layout {
            operation: "parse an element type",
            reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Element;

    #[test]
    fn every_scalar_parses_from_its_name_and_stands_at_its_place_in_the_table() {
        for (position, (scalar, name, size, _)) in SCALARS.into_iter().enumerate() {
            assert_eq!(scalar as usize, position);
            let dtype: DType = name.parse().unwrap();
            assert_eq!((dtype.to_string().as_str(), dtype.itemsize()), (name, size));
        }
    }

    #[test]
    fn nested_arrays_have_one_pair_of_parentheses() {
        for (dtype, text) in [
            (<[f32; 3]>::DTYPE, "(3,)<f4"),
            (<[[f32; 2]; 3]>::DTYPE, "(3,2)<f4"),
            (<[[[u16; 4]; 2]; 3]>::DTYPE, "(3,2,4)<u2"),
            (<[u8; 5]>::DTYPE, "|V5"),
            (<[[u8; 5]; 2]>::DTYPE, "(2,)|V5"),
        ] {
            assert_eq!(dtype.to_string(), text);
            assert_eq!(text.parse::<DType>().unwrap(), dtype);
        }
        assert_eq!(<[[f32; 2]; 3]>::DTYPE.itemsize(), 24);
    }

    #[test]
    fn names_that_numpy_would_read_otherwise_or_not_at_all_are_refused() {
        let many = format!("({}2)<f4", "2,".repeat(40));
        for text in [
            "|O",
            "<f3",
            "=f8",
            "f8",
            "<f16",
            ">f8",
            "",
            "|V0",
            "|V01",
            "|V+1",
            "|V1048577",
            "(3)<f4",
            "(,)<f4",
            "()<f4",
            "(3,0)<f4",
            "(3, 2)<f4",
            "(3,2,)<f4",
            "(3,)(2,)<f4",
            "(3,)|u1",
            "(1048576,2)<f4",
            "(3,<f4",
            "(18446744073709551616,)<f4",
            &many,
        ] {
            assert!(text.parse::<DType>().is_err(), "{text}");
        }
    }

    fn structure(names: &[&str], formats: &[&str], offsets: &[u64], itemsize: u64) -> Value {
        let texts = |list: &[&str]| Value::Array(list.iter().map(|&text| text.into()).collect());
        Value::Map(vec![
            ("names".into(), texts(names)),
            ("formats".into(), texts(formats)),
            (
                "offsets".into(),
                Value::Array(offsets.iter().map(|&n| n.into()).collect()),
            ),
            ("itemsize".into(), itemsize.into()),
        ])
    }

    #[test]
    fn a_struct_keeps_its_fields_and_is_refused_where_they_collide() {
        let good = structure(&["x", "n"], &["<f8", "(2,)<i4"], &[0, 8], 16);
        let dtype = DType::from_value(&good).unwrap();
        assert_eq!((dtype.itemsize(), dtype.to_value()), (16, good));
        for bad in [
            structure(&["x", "x"], &["<f8", "<f8"], &[0, 8], 16),
            structure(&["x", ""], &["<f8", "<f8"], &[0, 8], 16),
            structure(&["x", "y"], &["<f8", "<f8"], &[0, 4], 16),
            structure(&["x", "y"], &["<f8", "<f8"], &[0, 9], 16),
            structure(&["x", "y"], &["<f8"], &[0, 8], 16),
            structure(&["x"], &["|O"], &[0], 8),
            structure(&["x"], &["<f8"], &[0], 0),
            structure(&["x"], &["<f8"], &[0], 1 << 40),
            structure(&[], &[], &[], 8),
        ] {
            assert!(DType::from_value(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn structs_nest_eight_deep_and_not_nine() {
        let wrap = |inner: Value| {
            Value::Map(vec![
                ("names".into(), Value::Array(vec!["x".into()])),
                ("formats".into(), Value::Array(vec![inner])),
                ("offsets".into(), Value::Array(vec![0.into()])),
                ("itemsize".into(), 8.into()),
            ])
        };
        let nested = |depth| (0..depth).fold(Value::from("<f8"), |inner, _| wrap(inner));
        assert!(DType::from_value(&nested(8)).is_ok());
        assert!(DType::from_value(&nested(9)).is_err());
    }

    #[test]
    fn the_fingerprint_is_fnv_1a_of_the_encoded_type() {
        // FNV-1a (64 bit) of the bytes 63 3c 66 38: the CBOR text "<f8".
        let expected = [0x63u8, 0x3c, 0x66, 0x38]
            .iter()
            .fold(14695981039346656037u64, |h, &b| {
                (h ^ u64::from(b)).wrapping_mul(1099511628211)
            });
        assert_eq!(f64::DTYPE.fingerprint(), expected);
        assert_ne!(f64::DTYPE.fingerprint(), i64::DTYPE.fingerprint());
    }
}

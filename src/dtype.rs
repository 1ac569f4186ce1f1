//! The run-time description of elements, in NumPy's words: typestrs, subarrays, structs.
//!
//! Reading one from text or CBOR checks it completely; a `DType` is always a valid one.

use crate::{
    cbor,
    format::{MAX_ITEMSIZE, MAX_NDIM},
};
use ciborium::Value;
use std::{fmt, ops::Deref, str::FromStr, sync::Arc};

/// Deepest nesting of structs.
const MAX_NESTING: usize = 8;

/// The type of an array's elements, known at run time.
///
/// Displays as NumPy writes it (`<f8`, `(3,2)<f4`, `|V16`) and parses from that. Two are equal if they are equal in structure, the
/// names of fields included.
///
/// ```
/// use ndshm::{DType, Element};
///
/// assert_eq!(<[f32; 3]>::DTYPE.to_string(), "(3,)<f4");
/// assert_eq!("<f8".parse::<DType>()?, f64::DTYPE);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct DType(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Scalar(Scalar),
    /// Raw bytes: `|VN`.
    Bytes(usize),
    /// `[T; N]`; nesting makes several dimensions.
    Array {
        len: usize,
        element: Shared<DType>,
    },
    Struct {
        fields: Shared<[Field]>,
        itemsize: usize,
    },
}

#[derive(Clone, PartialEq, Eq)]
struct Field {
    name: String,
    dtype: DType,
    offset: usize,
}

/// A value that a constant refers to, or that was made at run time.
enum Shared<T: ?Sized + 'static> {
    Constant(&'static T),
    Counted(Arc<T>),
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        match self {
            Shared::Constant(value) => Shared::Constant(value),
            Shared::Counted(value) => Shared::Counted(value.clone()),
        }
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Shared::Constant(value) => value,
            Shared::Counted(value) => value,
        }
    }
}

impl<T: ?Sized + PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: ?Sized + Eq> Eq for Shared<T> {}

/// The elements that have no parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    U128,
    I128,
    F16,
    Bf16,
    F32,
    F64,
    Complex32,
    Complex64,
}

/// Every scalar: its name, its bytes, its RFC 8746 typed-array tag.
const SCALARS: [(Scalar, &str, usize, Option<u64>); 17] = [
    (Scalar::Bool, "|b1", 1, Some(64)),
    (Scalar::U8, "|u1", 1, Some(64)),
    (Scalar::I8, "|i1", 1, Some(72)),
    (Scalar::U16, "<u2", 2, Some(69)),
    (Scalar::I16, "<i2", 2, Some(77)),
    (Scalar::U32, "<u4", 4, Some(70)),
    (Scalar::I32, "<i4", 4, Some(78)),
    (Scalar::U64, "<u8", 8, Some(71)),
    (Scalar::I64, "<i8", 8, Some(79)),
    (Scalar::U128, "uint128", 16, None),
    (Scalar::I128, "int128", 16, None),
    (Scalar::F16, "<f2", 2, Some(84)),
    (Scalar::Bf16, "bfloat16", 2, None),
    (Scalar::F32, "<f4", 4, Some(85)),
    (Scalar::F64, "<f8", 8, Some(86)),
    (Scalar::Complex32, "<c8", 8, None),
    (Scalar::Complex64, "<c16", 16, None),
];

impl Scalar {
    fn row(self) -> &'static (Scalar, &'static str, usize, Option<u64>) {
        &SCALARS[self as usize]
    }
}

impl DType {
    pub(crate) const fn scalar(scalar: Scalar) -> Self {
        DType(Kind::Scalar(scalar))
    }

    /// The type of `[T; len]`: raw bytes where `T` is `u8`.
    pub(crate) const fn array(element: &'static DType, len: usize) -> Self {
        match element.0 {
            Kind::Scalar(Scalar::U8) => DType(Kind::Bytes(len)),
            _ => DType(Kind::Array { len, element: Shared::Constant(element) }),
        }
    }

    /// The bytes of one element.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{DType, Element};
    ///
    /// assert_eq!(<[[f32; 2]; 3]>::DTYPE.itemsize(), 24);
    /// ```
    pub fn itemsize(&self) -> usize {
        match &self.0 {
            Kind::Scalar(scalar) => scalar.row().2,
            Kind::Bytes(len) => *len,
            Kind::Array { len, element } => len * element.itemsize(),
            Kind::Struct { itemsize, .. } => *itemsize,
        }
    }

    /// The RFC 8746 tag of a typed array of these elements.
    pub(crate) fn typed_array_tag(&self) -> Option<u64> {
        match &self.0 {
            Kind::Scalar(scalar) => scalar.row().3,
            _ => None,
        }
    }

    /// FNV-1a (64 bit) over the deterministic CBOR of the type.
    pub(crate) fn fingerprint(&self) -> u64 {
        let bytes = cbor::encode(&self.to_value());
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// The type as it stands in a header.
    pub(crate) fn to_value(&self) -> Value {
        let Kind::Struct { fields, itemsize } = &self.0 else { return Value::Text(self.to_string()) };
        let list = |of: &dyn Fn(&Field) -> Value| Value::Array(fields.iter().map(of).collect());
        Value::Map(vec![
            ("names".into(), list(&|field| field.name.as_str().into())),
            ("formats".into(), list(&|field| field.dtype.to_value())),
            ("offsets".into(), list(&|field| cbor::size(field.offset))),
            ("itemsize".into(), cbor::size(*itemsize)),
        ])
    }

    /// The type that stands in a header.
    pub(crate) fn from_value(value: &Value) -> Result<Self, String> {
        Self::from_nested(value, 1)
    }

    fn from_nested(value: &Value, depth: usize) -> Result<Self, String> {
        match value {
            Value::Text(text) => Self::from_text(text),
            Value::Map(_) if depth > MAX_NESTING => Err(format!("structs are nested deeper than {MAX_NESTING}")),
            Value::Map(entries) => Self::from_map(entries, depth),
            _ => Err("neither a text nor a map".into()),
        }
    }

    fn from_map(entries: &[(Value, Value)], depth: usize) -> Result<Self, String> {
        let get = |key: &str| entries.iter().find(|(k, _)| k.as_text() == Some(key)).map(|(_, value)| value).ok_or(format!("no {key:?}"));
        let list = |key: &str| get(key)?.as_array().ok_or(format!("{key:?} is not a list"));
        let size = |value: &Value| value.as_integer().and_then(|n| usize::try_from(n).ok()).ok_or("not a size".to_owned());
        let (names, formats, offsets) = (list("names")?, list("formats")?, list("offsets")?);
        let itemsize = size(get("itemsize")?)?;
        if entries.len() != 4 || names.is_empty() || names.len() != formats.len() || names.len() != offsets.len() {
            return Err("names, formats and offsets must be lists of one length, at least 1, with itemsize and nothing else".into());
        }
        if itemsize == 0 || itemsize > MAX_ITEMSIZE {
            return Err(format!("itemsize {itemsize} is not within 1 and {MAX_ITEMSIZE}"));
        }
        let mut fields = Vec::with_capacity(names.len());
        for ((name, format), offset) in names.iter().zip(formats).zip(offsets) {
            let name = name.as_text().filter(|name| !name.is_empty()).ok_or("a field's name is empty or no text")?.to_owned();
            let field = Field { name, dtype: Self::from_nested(format, depth + 1)?, offset: size(offset)? };
            if field.offset.checked_add(field.dtype.itemsize()).is_none_or(|end| end > itemsize) {
                return Err(format!("field {:?} reaches past itemsize {itemsize}", field.name));
            }
            fields.push(field);
        }
        let mut by_offset: Vec<_> = fields.iter().map(|field| (field.offset, field.offset + field.dtype.itemsize())).collect();
        by_offset.sort_unstable();
        if by_offset.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            return Err("fields overlap".into());
        }
        let mut names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("two fields have one name".into());
        }
        Ok(DType(Kind::Struct { fields: Shared::Counted(fields.into()), itemsize }))
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
                let itemsize = dtype.itemsize().checked_mul(len).filter(|&size| size <= MAX_ITEMSIZE);
                itemsize.ok_or_else(|| format!("{text:?} is larger than {MAX_ITEMSIZE} bytes"))?;
                dtype = DType(Kind::Array { len, element: Shared::Counted(Arc::new(dtype)) });
            }
            return Ok(dtype);
        }
        if let Some(digits) = text.strip_prefix("|V") {
            let len = positive(digits).filter(|&len| len <= MAX_ITEMSIZE).ok_or_else(invalid)?;
            return Ok(DType(Kind::Bytes(len)));
        }
        SCALARS.iter().find(|row| row.1 == text).map(|row| Self::scalar(row.0)).ok_or_else(invalid)
    }
}

/// A canonical decimal above zero.
fn positive(digits: &str) -> Option<usize> {
    let canonical = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    if canonical { digits.parse().ok() } else { None }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Scalar(scalar) => f.write_str(scalar.row().1),
            Kind::Bytes(len) => write!(f, "|V{len}"),
            Kind::Array { len, element } => {
                write!(f, "({len},")?;
                let mut inner: &DType = element;
                let mut dims = 1;
                while let Kind::Array { len, element } = &inner.0 {
                    write!(f, "{}{len}", if dims == 1 { "" } else { "," })?;
                    (inner, dims) = (element, dims + 1);
                }
                write!(f, "){inner}")
            }
            Kind::Struct { fields, itemsize } => {
                f.write_str("{")?;
                for field in fields.iter() {
                    write!(f, "{}: {} at {}, ", field.name, field.dtype, field.offset)?;
                }
                write!(f, "{itemsize} bytes}}")
            }
        }
    }
}

impl fmt::Debug for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DType({self})")
    }
}

impl FromStr for DType {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_text(text).map_err(|reason| crate::Error::Layout { operation: "parse an element type", reason })
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
            ("offsets".into(), Value::Array(offsets.iter().map(|&n| n.into()).collect())),
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
        let expected = [0x63u8, 0x3c, 0x66, 0x38].iter().fold(14695981039346656037u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(1099511628211));
        assert_eq!(f64::DTYPE.fingerprint(), expected);
        assert_ne!(f64::DTYPE.fingerprint(), i64::DTYPE.fingerprint());
    }
}

//! Element types as Zarr v3 has them.
//!
//! A type that a reader does not know breaks the whole group in zarr-python and xarray. So a
//! checkpoint has core types only: what Zarr lacks is written as another type of the same bytes, or
//! along a further axis, and an attribute says the type that is meant.

use crate::{
    element::{Bool, Element, dtype::DType},
    format::name,
};
use serde_json::{Value, json};

/// How structs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Structs {
    /// A group for each array, with an array for each field: every reader takes them.
    #[default]
    Fields,
    /// One array of the data type `struct`, which only zarr-python 3.4 and later read. Older
    /// versions, xarray with them and tensorstore cannot open the group at all then. Arrays whose
    /// structs have fields that the type lacks (arrays, `bfloat16`, 128-bit integers) are written
    /// by fields all the same.
    Struct,
}

/// The types that both sides have: the name in Zarr, the text here, the bytes.
pub(super) const CORE: [(&str, &str, usize); 14] = [
    ("bool", "|b1", 1),
    ("int8", "|i1", 1),
    ("uint8", "|u1", 1),
    ("int16", "<i2", 2),
    ("uint16", "<u2", 2),
    ("int32", "<i4", 4),
    ("uint32", "<u4", 4),
    ("int64", "<i8", 8),
    ("uint64", "<u8", 8),
    ("float16", "<f2", 2),
    ("float32", "<f4", 4),
    ("float64", "<f8", 8),
    ("complex64", "<c8", 8),
    ("complex128", "<c16", 16),
];

/// Bytes of an element that stand together in a column too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Run {
    /// The place in an element of the array.
    pub(super) at: usize,
    /// The place in an element of the column.
    pub(super) to: usize,
    pub(super) len: usize,
    /// The bytes are booleans, which become 0 and 1.
    pub(super) are_bools: bool,
}

/// One Zarr array: all elements of an array, or a field of each of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    /// The path of the field, if it is one.
    pub(super) field: Option<String>,
    pub(super) data_type: Value,
    pub(super) fill_value: Value,
    /// The axes that follow those of the array.
    pub(super) inner: Vec<usize>,
    /// Bytes of one of Zarr's elements.
    pub(super) word: usize,
    /// Bytes for each element of the array.
    pub(super) size: usize,
    pub(super) runs: Vec<Run>,
    /// The type here, where Zarr's type does not say it.
    pub(super) meant: Option<String>,
}

impl Column {
    /// Whether an element of the column has all bytes of an element of the array, as they are.
    pub(super) fn is_whole(&self, itemsize: usize) -> bool {
        matches!(self.runs[..], [Run { at: 0, to: 0, len, .. }] if len == itemsize)
    }

    pub(super) fn has_bools(&self) -> bool {
        self.runs.iter().any(|run| run.are_bools)
    }

    /// Copies elements of the array, of `itemsize` bytes each, to elements of the column.
    pub(super) fn gather(&self, elements: &[u8], itemsize: usize, into: &mut [u8]) {
        let items = elements
            .chunks_exact(itemsize)
            .zip(into.chunks_exact_mut(self.size));
        for (element, item) in items {
            for run in &self.runs {
                let bytes = &mut item[run.to..][..run.len];
                bytes.copy_from_slice(&element[run.at..][..run.len]);
                if run.are_bools {
                    bytes
                        .iter_mut()
                        .for_each(|byte| *byte = u8::from(*byte != 0));
                }
            }
        }
    }
}

/// The columns of an array with elements of this type.
pub(super) fn columns(dtype: &DType, structs: Structs) -> Vec<Column> {
    if dtype.fields().is_empty() {
        return vec![leaf(dtype, None, 0)];
    }
    if structs == Structs::Struct
        && let Some(whole) = whole_struct(dtype)
    {
        return vec![whole];
    }
    let mut columns = Vec::new();
    fields(dtype, "", 0, &mut columns);
    columns
}

fn fields(dtype: &DType, prefix: &str, offset: usize, columns: &mut Vec<Column>) {
    for field in dtype.fields() {
        // A dot in a name is none between names, or two fields could have one path.
        let name = field.name().replace('%', "%25").replace('.', "%2E");
        let path = match prefix {
            "" => name,
            _ => format!("{prefix}.{name}"),
        };
        let at = offset + field.offset();
        match field.dtype().fields() {
            [] => columns.push(leaf(field.dtype(), Some(path), at)),
            _ => fields(field.dtype(), &path, at, columns),
        }
    }
}

/// The column of a type without fields.
fn leaf(dtype: &DType, field: Option<String>, at: usize) -> Column {
    let (mut inner, mut base) = (Vec::new(), dtype.clone());
    while let Some((len, part)) = base.subarray() {
        inner.push(len);
        base = part;
    }
    let text = base.to_string();
    let (name, word) = match &*text {
        "bfloat16" => ("uint16", 2),
        "uint128" | "int128" => {
            inner.push(2);
            ("uint64", 8)
        }
        text => core(text).map_or(("uint8", 1), |(name, _, size)| (*name, *size)),
    };
    let is_said = dtype.subarray().is_none() && core(&text).is_some();
    Column {
        field,
        data_type: name.into(),
        fill_value: fill_value(name),
        inner,
        word,
        size: dtype.itemsize(),
        runs: vec![Run {
            at,
            to: 0,
            len: dtype.itemsize(),
            are_bools: base == Bool::DTYPE,
        }],
        meant: (!is_said).then(|| dtype.to_string()),
    }
}

fn core(text: &str) -> Option<&'static (&'static str, &'static str, usize)> {
    CORE.iter().find(|(_, known, _)| *known == text)
}

fn fill_value(name: &str) -> Value {
    match name {
        "bool" => false.into(),
        "complex64" | "complex128" => json!([0.0, 0.0]),
        _ if name.starts_with("float") => json!(0.0),
        _ => json!(0),
    }
}

/// The column of structs as they are, without padding. `None` where Zarr's type lacks a field.
fn whole_struct(dtype: &DType) -> Option<Column> {
    let mut column = Column {
        field: None,
        data_type: Value::Null,
        fill_value: Value::Null,
        inner: Vec::new(),
        word: 0,
        size: 0,
        runs: Vec::new(),
        meant: Some(dtype.to_string()),
    };
    (column.data_type, column.fill_value) = structure(dtype, 0, &mut column)?;
    column.word = column.size;
    Some(column)
}

fn structure(dtype: &DType, offset: usize, column: &mut Column) -> Option<(Value, Value)> {
    let (mut described, mut fill) = (Vec::new(), serde_json::Map::new());
    for field in dtype.fields() {
        let at = offset + field.offset();
        let (data_type, value) = if field.dtype().fields().is_empty() {
            let (name, _, len) = *core(&field.dtype().to_string())?;
            let are_bools = *field.dtype() == Bool::DTYPE;
            match column.runs.last_mut() {
                Some(last) if last.at + last.len == at && last.are_bools == are_bools => {
                    last.len += len
                }
                _ => column.runs.push(Run {
                    at,
                    to: column.size,
                    len,
                    are_bools,
                }),
            }
            column.size += len;
            (Value::from(name), fill_value(name))
        } else {
            structure(field.dtype(), at, column)?
        };
        described.push(json!({"name": field.name(), "data_type": data_type}));
        fill.insert(field.name().into(), value);
    }
    let described = json!({"name": "struct", "configuration": {"fields": described}});
    Some((described, fill.into()))
}

/// A segment of a key for a name: what other segments mean something is percent-encoded.
pub(super) fn node_of(name: &str) -> String {
    let is_reserved = name.starts_with("__")
        || name.starts_with("_ndshm")
        || name == "zarr.json"
        || name.ends_with(".ndshm-new");
    let name = name::of_key(name);
    match name.chars().next() {
        Some(first) if is_reserved => {
            let rest = &name[first.len_utf8()..];
            format!("%{:02X}{rest}", first as u32)
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::foreign::foreign, *};

    fn dtype(text: &str) -> DType {
        text.parse().unwrap()
    }

    #[test]
    fn every_scalar_has_a_type_that_every_reader_takes() {
        for (name, text, size) in CORE {
            let columns = columns(&dtype(text), Structs::Fields);
            assert_eq!(columns.len(), 1);
            assert_eq!(columns[0].data_type, name);
            assert_eq!((columns[0].word, columns[0].size), (size, size));
            assert_eq!(columns[0].meant, None);
            assert_eq!(foreign(&name.into()).unwrap().dtype, dtype(text));
        }
    }

    #[test]
    fn types_that_zarr_lacks_are_core_types_with_the_type_that_is_meant() {
        for (text, name, inner) in [
            ("bfloat16", "uint16", &[][..]),
            ("int128", "uint64", &[2]),
            ("|V5", "uint8", &[5]),
            ("(3,)<f4", "float32", &[3]),
        ] {
            let columns = columns(&dtype(text), Structs::Fields);
            assert_eq!(columns[0].data_type, name);
            assert_eq!(columns[0].inner, inner);
            assert_eq!(columns[0].meant.as_deref(), Some(text));
        }
    }

    fn particle() -> DType {
        let inner = DType::structure([("a", dtype("|u1"), 0), ("b", dtype("<i4"), 4)], 8).unwrap();
        DType::structure(
            [
                ("x", dtype("<f8"), 0),
                ("is", dtype("|b1"), 8),
                ("in", inner, 12),
            ],
            24,
        )
        .unwrap()
    }

    #[test]
    fn structs_become_fields_or_packed_structs_and_come_back() {
        let elements: Vec<u8> = (0..48).collect();
        for (structs, count, size) in [(Structs::Fields, 4, 8), (Structs::Struct, 1, 14)] {
            let columns = columns(&particle(), structs);
            assert_eq!((columns.len(), columns[0].size), (count, size));
            let mut back = [0; 48];
            for column in &columns {
                let mut items = vec![0; 2 * column.size];
                column.gather(&elements, 24, &mut items);
                for (item, element) in items.chunks(column.size).zip(back.chunks_mut(24)) {
                    for run in &column.runs {
                        element[run.at..][..run.len].copy_from_slice(&item[run.to..][..run.len]);
                    }
                }
            }
            for (at, byte) in back.iter().enumerate() {
                match at % 24 {
                    8 => assert_eq!(*byte, 1),
                    0..8 | 12 | 16..20 => assert_eq!(*byte, at as u8),
                    _ => assert_eq!(*byte, 0, "padding"),
                }
            }
        }
    }

    #[test]
    fn names_that_mean_something_else_are_encoded() {
        assert_eq!(node_of("xs"), "xs");
        for name in ["__x", "_ndshm", "zarr.json", "a.ndshm-new"] {
            let node = node_of(name);
            assert!(node.starts_with('%') && node != name, "{node}");
        }
    }
}

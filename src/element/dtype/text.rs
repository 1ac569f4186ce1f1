//! Types as text, as the CBOR of a header, and as fingerprints. `parse` is the way back.

use super::{DType, Field, Kind};
use crate::cbor;
use ciborium::Value;
use std::fmt;

impl DType {
    /// FNV-1a (64 bit) over the deterministic CBOR of the type.
    pub(crate) fn fingerprint(&self) -> u64 {
        let start = 0xcbf2_9ce4_8422_2325;
        match &self.0 {
            // Hash the short CBOR text without building it: every handle compares the fingerprint.
            Kind::Scalar(scalar) => hash(
                hash(start, &[0x60 | scalar.row().1.len() as u8]),
                scalar.row().1.as_bytes(),
            ),
            _ => hash(start, &cbor::encode(&self.to_value())),
        }
    }

    /// The type as a CBOR value in a header.
    pub(crate) fn to_value(&self) -> Value {
        let Kind::Struct {
            fields, itemsize, ..
        } = &self.0
        else {
            return Value::Text(self.to_string());
        };
        let list = |of: &dyn Fn(&Field) -> Value| Value::Array(fields.iter().map(of).collect());
        Value::Map(vec![
            ("names".into(), list(&|field| field.name.as_ref().into())),
            ("formats".into(), list(&|field| field.dtype.to_value())),
            ("offsets".into(), list(&|field| cbor::size(field.offset))),
            ("itemsize".into(), cbor::size(*itemsize)),
        ])
    }
}

/// Continues an FNV-1a hash with these bytes.
fn hash(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A Python literal of a text.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Scalar(scalar) => f.write_str(scalar.row().1),
            Kind::Bytes(len) => write!(f, "|V{len}"),
            Kind::Array { len, element, .. } => {
                write!(f, "({len},")?;
                let mut inner: &DType = element;
                let mut dims = 1;
                while let Kind::Array { len, element, .. } = &inner.0 {
                    write!(f, "{}{len}", if dims == 1 { "" } else { "," })?;
                    (inner, dims) = (element, dims + 1);
                }
                write!(f, "){inner}")
            }
            Kind::Struct {
                fields, itemsize, ..
            } => {
                let list = |of: &dyn Fn(&Field) -> String| {
                    fields.iter().map(of).collect::<Vec<_>>().join(", ")
                };
                let names = list(&|field| quoted(&field.name));
                let formats = list(&|field| {
                    if field.dtype.fields().is_empty() {
                        quoted(&field.dtype.to_string())
                    } else {
                        field.dtype.to_string()
                    }
                });
                let offsets = list(&|field| field.offset.to_string());
                write!(
                    f,
                    "{{'names': [{names}], 'formats': [{formats}], 'offsets': [{offsets}], \
                     'itemsize': {itemsize}}}"
                )
            }
        }
    }
}

impl fmt::Debug for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DType({self})")
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({} at {}: {})", self.name, self.offset, self.dtype)
    }
}

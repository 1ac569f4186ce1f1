//! Elements as JSON values, written piece by piece: an array is a list for each axis.
//!
//! Numbers are JSON numbers with all their digits. JSON has no number for the others: `nan`, `inf`
//! and `-inf` are strings, and so are integers of more than 64 bits. A complex number is a list of
//! its two parts, a struct an object, an element of any other type a string of hexadecimal digits.

use crate::{
    elements::{chunks::PIECE, reading::Reading, scalar::real},
    failure::Failure,
};
use ndarray::Axis;
use ndshm::{AnyArray, DType};
use std::io::Write;

/// Writes the elements of an array.
pub(crate) fn write(
    out: &mut impl Write,
    array: &AnyArray,
    reading: Reading,
) -> Result<(), Failure> {
    let len = array.len() * array.dtype().itemsize();
    if array.ndim() == 0 || len <= PIECE {
        let bytes = match array.is_empty() {
            true => Vec::new(),
            false => reading.bytes(array)?,
        };
        return write_bytes(out, array.dtype(), array.shape(), &bytes);
    }
    out.write_all(b"[")?;
    for index in 0..array.shape()[0] {
        if index > 0 {
            out.write_all(b",")?;
        }
        write(out, &array.index_axis(Axis(0), index)?, reading)?;
    }
    Ok(out.write_all(b"]")?)
}

/// Writes elements that lie in C order in these bytes.
pub(crate) fn write_bytes(
    out: &mut impl Write,
    dtype: &DType,
    shape: &[usize],
    bytes: &[u8],
) -> Result<(), Failure> {
    nested(out, &kind_of(dtype), shape, bytes)
}

/// A type, as its elements are written: looked up once for all of them.
enum Kind {
    Bool,
    Integer(fn(&[u8]) -> String),
    Large(fn(&[u8]) -> String),
    F32,
    F64,
    F16,
    Bf16,
    Complex(Box<Kind>),
    Struct(Vec<(String, usize, usize, Kind)>),
    List(usize, Box<Kind>),
    Other,
}

macro_rules! digits {
    ($integer:ty) => {
        |bytes| <$integer>::from_ne_bytes(bytes.try_into().unwrap_or_default()).to_string()
    };
}

fn kind_of(dtype: &DType) -> Kind {
    let part = |text: &str| Box::new(text.parse().map_or(Kind::Other, |part| kind_of(&part)));
    match dtype.to_string().as_str() {
        _ if !dtype.fields().is_empty() => {
            let fields = dtype.fields().iter().map(|field| {
                let name = field.name().to_owned();
                (
                    name,
                    field.offset(),
                    field.dtype().itemsize(),
                    kind_of(field.dtype()),
                )
            });
            Kind::Struct(fields.collect())
        }
        "|b1" => Kind::Bool,
        "|u1" => Kind::Integer(digits!(u8)),
        "|i1" => Kind::Integer(digits!(i8)),
        "<u2" => Kind::Integer(digits!(u16)),
        "<i2" => Kind::Integer(digits!(i16)),
        "<u4" => Kind::Integer(digits!(u32)),
        "<i4" => Kind::Integer(digits!(i32)),
        "<u8" => Kind::Integer(digits!(u64)),
        "<i8" => Kind::Integer(digits!(i64)),
        "uint128" => Kind::Large(digits!(u128)),
        "int128" => Kind::Large(digits!(i128)),
        "<f4" => Kind::F32,
        "<f8" => Kind::F64,
        "<f2" => Kind::F16,
        "bfloat16" => Kind::Bf16,
        "<c8" => Kind::Complex(part("<f4")),
        "<c16" => Kind::Complex(part("<f8")),
        _ => match dtype.subarray() {
            Some((length, part)) => Kind::List(length, Box::new(kind_of(&part))),
            None => Kind::Other,
        },
    }
}

fn nested(out: &mut impl Write, kind: &Kind, shape: &[usize], bytes: &[u8]) -> Result<(), Failure> {
    let Some((&length, inner)) = shape.split_first() else {
        return element(out, kind, bytes);
    };
    out.write_all(b"[")?;
    let step = bytes.len().checked_div(length).unwrap_or(0);
    for index in 0..length {
        if index > 0 {
            out.write_all(b",")?;
        }
        nested(out, kind, inner, &bytes[index * step..][..step])?;
    }
    Ok(out.write_all(b"]")?)
}

fn element(out: &mut impl Write, kind: &Kind, bytes: &[u8]) -> Result<(), Failure> {
    match kind {
        Kind::Bool => Ok(write!(out, "{}", bytes != [0])?),
        Kind::Integer(digits) => Ok(out.write_all(digits(bytes).as_bytes())?),
        Kind::Large(digits) => Ok(write!(out, "\"{}\"", digits(bytes))?),
        Kind::F32 => float32(out, f32::from_ne_bytes(array(bytes))),
        Kind::F64 => match f64::from_ne_bytes(array(bytes)) {
            x if x.is_finite() => Ok(serde_json::to_writer(out, &x)?),
            x => Ok(write!(out, "\"{}\"", real(x))?),
        },
        Kind::F16 => float32(out, half::f16::from_ne_bytes(array(bytes)).to_f32()),
        Kind::Bf16 => float32(out, half::bf16::from_ne_bytes(array(bytes)).to_f32()),
        Kind::Complex(part) => nested(out, part, &[2], bytes),
        Kind::List(length, part) => nested(out, part, &[*length], bytes),
        Kind::Struct(fields) => {
            out.write_all(b"{")?;
            for (at, (name, offset, len, kind)) in fields.iter().enumerate() {
                if at > 0 {
                    out.write_all(b",")?;
                }
                serde_json::to_writer(&mut *out, name)?;
                out.write_all(b":")?;
                element(out, kind, &bytes[*offset..][..*len])?;
            }
            Ok(out.write_all(b"}")?)
        }
        Kind::Other => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(write!(out, "\"{digits}\"")?)
        }
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

/// The shortest digits that give the number again: as an `f64` it would have more.
fn float32(out: &mut impl Write, x: f32) -> Result<(), Failure> {
    match x.is_finite() {
        true => Ok(serde_json::to_writer(out, &x)?),
        false => Ok(write!(out, "\"{}\"", real(f64::from(x)))?),
    }
}

//! The element types and fill values of Zarr arrays that others wrote.

use super::types::CORE;
use crate::element::{dtype::DType, numpy::NumpyDType};
use serde_json::Value;

/// An element type of a Zarr array that others wrote.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Foreign {
    pub(super) dtype: DType,
    /// NumPy's type, where the array's type does not say it.
    pub(super) numpy: Option<String>,
    /// The numbers of an element whose bytes depend on the byte order: place, width, count.
    pub(super) numbers: Vec<(usize, usize, usize)>,
}

/// Zarr's data type as a type here.
pub(super) fn foreign(data_type: &Value) -> Result<Foreign, String> {
    let (name, configuration) = named(data_type).ok_or("its data_type has no name")?;
    let unknown = || format!("its data type {data_type} is none that ndshm has");
    if let Some((_, text, size)) = CORE.iter().find(|(known, ..)| *known == name) {
        let (width, count) = match name {
            "complex64" | "complex128" => (size / 2, 2),
            _ => (*size, 1),
        };
        return Ok(plain(text, None, width, count));
    }
    let number = |key: &str| configuration.get(key)?.as_u64();
    let sized = |typestr: String| -> Result<Foreign, String> {
        let numpy: NumpyDType = typestr.parse().map_err(|_| unknown())?;
        let dtype = numpy.stored().ok_or_else(unknown)?;
        Ok(Foreign {
            dtype,
            numpy: numpy.attribute(),
            numbers: Vec::new(),
        })
    };
    match name {
        "bfloat16" => Ok(plain("bfloat16", None, 2, 1)),
        "numpy.datetime64" | "numpy.timedelta64" => {
            let letter = if name == "numpy.datetime64" { 'M' } else { 'm' };
            let unit = configuration.get("unit").and_then(Value::as_str);
            let text = match (unit, number("scale_factor").unwrap_or(1)) {
                (None | Some("generic"), _) => format!("<{letter}8"),
                (Some(unit), 1) => format!("<{letter}8[{unit}]"),
                (Some(unit), scale) => format!("<{letter}8[{scale}{unit}]"),
            };
            let numbers = vec![(0, 8, 1)];
            Ok(Foreign {
                numbers,
                ..sized(text)?
            })
        }
        "fixed_length_utf32" => {
            let len = number("length_bytes").ok_or_else(unknown)? as usize / 4;
            let numbers = vec![(0, 4, len)];
            Ok(Foreign {
                numbers,
                ..sized(format!("<U{len}"))?
            })
        }
        "null_terminated_bytes" => {
            sized(format!("|S{}", number("length_bytes").ok_or_else(unknown)?))
        }
        "raw_bytes" => sized(format!("|V{}", number("length_bytes").ok_or_else(unknown)?)),
        "struct" | "structured" => foreign_struct(configuration).ok_or_else(unknown)?,
        _ => match name.strip_prefix('r').map(str::parse::<usize>) {
            Some(Ok(bits)) if bits % 8 == 0 && bits > 0 => sized(format!("|V{}", bits / 8)),
            _ => Err(unknown()),
        },
    }
}

fn plain(text: &str, numpy: Option<String>, width: usize, count: usize) -> Foreign {
    let Ok(dtype) = text.parse() else {
        unreachable!("the list has types of this library")
    };
    Foreign {
        dtype,
        numpy,
        numbers: match width {
            1 => Vec::new(),
            _ => vec![(0, width, count)],
        },
    }
}

fn foreign_struct(configuration: &Value) -> Option<Result<Foreign, String>> {
    let mut parts = Vec::new();
    let (mut offset, mut numbers) = (0, Vec::new());
    for field in configuration.get("fields")?.as_array()? {
        let (name, data_type) = match field {
            Value::Array(pair) => (pair.first()?, pair.get(1)?),
            field => (field.get("name")?, field.get("data_type")?),
        };
        let part = match foreign(data_type) {
            Ok(part) => part,
            Err(reason) => return Some(Err(reason)),
        };
        numbers.extend(part.numbers.iter().map(|&(at, w, n)| (offset + at, w, n)));
        let size = part.dtype.itemsize();
        parts.push((name.as_str()?.to_owned(), part.dtype, offset));
        offset += size;
    }
    let made = DType::structure(parts, offset).map_err(|error| error.to_string());
    Some(made.map(|dtype| Foreign {
        dtype,
        numpy: None,
        numbers,
    }))
}

/// The name and the configuration of one of Zarr's extension points.
pub(super) fn named(value: &Value) -> Option<(&str, &Value)> {
    match value {
        Value::String(name) => Some((name, &Value::Null)),
        value => Some((
            value.get("name")?.as_str()?,
            value.get("configuration").unwrap_or(&Value::Null),
        )),
    }
}

/// The bytes of an element that no chunk has.
pub(super) fn fill_bytes(foreign: &Foreign, data_type: &Value, value: &Value) -> Option<Vec<u8>> {
    let size = foreign.dtype.itemsize();
    let (name, configuration) = named(data_type)?;
    let zeros = || vec![0; size];
    match (name, value) {
        (_, Value::Null) => Some(zeros()),
        ("bool", value) => Some(vec![u8::from(value.as_bool()?)]),
        ("complex64", Value::Array(parts)) | ("complex128", Value::Array(parts)) => {
            let part = if name == "complex64" {
                "float32"
            } else {
                "float64"
            };
            let mut bytes = Vec::new();
            for value in parts {
                bytes.extend(float_bytes(part, value)?);
            }
            (bytes.len() == size).then_some(bytes)
        }
        ("bfloat16" | "float16" | "float32" | "float64", value) => float_bytes(name, value),
        ("struct" | "structured", Value::Object(values)) => {
            let mut bytes = Vec::new();
            for field in configuration.get("fields")?.as_array()? {
                let field_name = field.get("name").or_else(|| field.get(0))?.as_str()?;
                let data_type = field.get("data_type").or_else(|| field.get(1))?;
                let part = self::foreign(data_type).ok()?;
                let value = values.get(field_name).unwrap_or(&Value::Null);
                bytes.extend(fill_bytes(&part, data_type, value)?);
            }
            (bytes.len() == size).then_some(bytes)
        }
        ("fixed_length_utf32", Value::String(text)) => {
            let mut bytes: Vec<u8> = text
                .chars()
                .flat_map(|letter| (letter as u32).to_le_bytes())
                .collect();
            (bytes.len() <= size).then(|| {
                bytes.resize(size, 0);
                bytes
            })
        }
        ("numpy.datetime64" | "numpy.timedelta64", Value::String(text)) if text == "NaT" => {
            Some(i64::MIN.to_le_bytes().to_vec())
        }
        (_, Value::Number(number)) => {
            let number = number
                .as_i64()
                .map(i128::from)
                .or(number.as_u64().map(i128::from))?;
            let bytes = number.to_le_bytes();
            (size <= bytes.len()).then(|| bytes[..size].to_vec())
        }
        // Bytes: base64, or a list of numbers.
        (_, Value::String(text)) => {
            use base64::Engine as _;
            let mut bytes = base64::engine::general_purpose::STANDARD
                .decode(text)
                .ok()?;
            (bytes.len() <= size).then(|| {
                bytes.resize(size, 0);
                bytes
            })
        }
        (_, Value::Array(numbers)) => {
            let bytes: Option<Vec<u8>> = numbers
                .iter()
                .map(|number| u8::try_from(number.as_u64()?).ok())
                .collect();
            bytes.filter(|bytes| bytes.len() == size)
        }
        _ => None,
    }
}

fn float_bytes(name: &str, value: &Value) -> Option<Vec<u8>> {
    let width = match name {
        "float64" => 8,
        "float32" => 4,
        _ => 2,
    };
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => match &**text {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            text => {
                let bits = u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()?;
                return Some(bits.to_le_bytes()[..width].to_vec());
            }
        },
        _ => return None,
    };
    Some(match name {
        "float64" => number.to_le_bytes().to_vec(),
        "float32" => (number as f32).to_le_bytes().to_vec(),
        "bfloat16" => ((number as f32).to_bits() >> 16).to_le_bytes()[..2].to_vec(),
        _ => f16_bits(number as f32).to_le_bytes().to_vec(),
    })
}

/// The nearest 16-bit float.
#[cfg(feature = "half")]
fn f16_bits(number: f32) -> u16 {
    half::f16::from_f32(number).to_bits()
}

/// Zero and NaN only, without the feature for such floats.
#[cfg(not(feature = "half"))]
fn f16_bits(number: f32) -> u16 {
    match number.is_nan() {
        true => 0x7e00,
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fill_values_of_every_form_have_bytes() {
        for (data_type, value, bytes) in [
            (
                json!("float32"),
                json!("NaN"),
                f32::NAN.to_le_bytes().to_vec(),
            ),
            (json!("float64"), json!(1.5), 1.5_f64.to_le_bytes().to_vec()),
            (
                json!("float32"),
                json!("0x7fc00000"),
                f32::NAN.to_le_bytes().to_vec(),
            ),
            (json!("int16"), json!(-2), (-2_i16).to_le_bytes().to_vec()),
            (
                json!("uint64"),
                json!(u64::MAX),
                u64::MAX.to_le_bytes().to_vec(),
            ),
            (json!("bool"), json!(true), vec![1]),
            (
                json!("complex64"),
                json!([0.0, "Infinity"]),
                [0_f32.to_le_bytes(), f32::INFINITY.to_le_bytes()].concat(),
            ),
            (json!("r16"), json!([1, 2]), vec![1, 2]),
        ] {
            let foreign = foreign(&data_type).unwrap();
            assert_eq!(
                fill_bytes(&foreign, &data_type, &value),
                Some(bytes),
                "{data_type}"
            );
        }
    }
}

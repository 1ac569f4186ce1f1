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
            let len = number("length_bytes").filter(|len| len.is_multiple_of(4));
            let len = usize::try_from(len.ok_or_else(unknown)? / 4).map_err(|_| unknown())?;
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
///
/// # Errors
///
/// Why the value is none of the type.
pub(super) fn fill_bytes(
    foreign: &Foreign,
    data_type: &Value,
    value: &Value,
) -> Result<Vec<u8>, String> {
    let size = foreign.dtype.itemsize();
    let bytes = match value {
        Value::Null => Ok(vec![0; size]),
        value => typed_bytes(size, data_type, value),
    };
    bytes.map_err(|reason| {
        let mut shown: String = value.to_string().chars().take(MAX_SHOWN + 1).collect();
        if shown.chars().count() > MAX_SHOWN {
            shown.pop();
            shown.push('…');
        }
        format!("its fill value {shown} is none of its type: {reason}")
    })
}

/// The characters of a bad value in a message.
const MAX_SHOWN: usize = 60;

fn typed_bytes(size: usize, data_type: &Value, value: &Value) -> Result<Vec<u8>, String> {
    let (name, configuration) = named(data_type).ok_or("its data_type has no name")?;
    match (name, value) {
        ("bool", value) => match value.as_bool() {
            Some(value) => Ok(vec![u8::from(value)]),
            None => Err("give true or false".into()),
        },
        ("complex64" | "complex128", value) => complex_bytes(name, value),
        ("bfloat16" | "float16" | "float32" | "float64", value) => float_bytes(name, value),
        ("numpy.datetime64" | "numpy.timedelta64", Value::String(text)) if text == "NaT" => {
            Ok(i64::MIN.to_le_bytes().to_vec())
        }
        ("numpy.datetime64" | "numpy.timedelta64", value) => integer_bytes(size, true, value),
        (name, value) if name.starts_with("int") => integer_bytes(size, true, value),
        (name, value) if name.starts_with("uint") => integer_bytes(size, false, value),
        ("struct" | "structured", Value::Object(values)) => {
            let fields = configuration.get("fields").and_then(Value::as_array);
            let mut bytes = Vec::new();
            for field in fields.into_iter().flatten() {
                let field_name = field.get("name").or_else(|| field.get(0));
                let data_type = field.get("data_type").or_else(|| field.get(1));
                let (Some(Value::String(field_name)), Some(data_type)) = (field_name, data_type)
                else {
                    return Err("a field of its type has no name".into());
                };
                let part = self::foreign(data_type)?;
                let value = values.get(field_name).unwrap_or(&Value::Null);
                bytes.extend(fill_bytes(&part, data_type, value)?);
            }
            of_size(bytes, size)
        }
        ("fixed_length_utf32", Value::String(text)) => padded(
            text.chars()
                .flat_map(|letter| u32::from(letter).to_le_bytes())
                .collect(),
            size,
        ),
        // All bytes of whatever type.
        (_, Value::Number(number)) if number.as_u64() == Some(0) => Ok(vec![0; size]),
        // Bytes: base64, or a list of numbers.
        (_, Value::String(text)) => {
            use base64::Engine as _;
            let decoded = base64::engine::general_purpose::STANDARD.decode(text);
            padded(decoded.map_err(|_| "it is no base64")?, size)
        }
        (_, Value::Array(numbers)) => {
            let bytes: Option<Vec<u8>> = numbers
                .iter()
                .map(|number| u8::try_from(number.as_u64()?).ok())
                .collect();
            of_size(bytes.ok_or("its bytes are no numbers below 256")?, size)
        }
        _ => Err("it is no value that the type can have".into()),
    }
}

fn of_size(bytes: Vec<u8>, size: usize) -> Result<Vec<u8>, String> {
    match bytes.len() {
        len if len == size => Ok(bytes),
        len => Err(format!("it has {len} bytes, an element has {size}")),
    }
}

/// The bytes with zeros behind.
fn padded(mut bytes: Vec<u8>, size: usize) -> Result<Vec<u8>, String> {
    if bytes.len() < size {
        bytes.resize(size, 0);
    }
    of_size(bytes, size)
}

fn integer_bytes(size: usize, is_signed: bool, value: &Value) -> Result<Vec<u8>, String> {
    let number = value.as_i64().map(i128::from);
    let number = number
        .or(value.as_u64().map(i128::from))
        .ok_or("it is no integer of 64 bits")?;
    let bits = 8 * size as u32;
    let (least, most) = match is_signed {
        true => (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1),
        false => (0, (1_i128 << bits) - 1),
    };
    match (least..=most).contains(&number) {
        true => Ok(number.to_le_bytes()[..size].to_vec()),
        false => Err(format!("the type has {least} to {most}")),
    }
}

fn complex_bytes(name: &str, value: &Value) -> Result<Vec<u8>, String> {
    let part = match name {
        "complex64" => "float32",
        _ => "float64",
    };
    let Some([real, imaginary]) = value.as_array().map(Vec::as_slice) else {
        return Err("give a list of the real and the imaginary part".into());
    };
    let mut bytes = float_bytes(part, real)?;
    bytes.extend(float_bytes(part, imaginary)?);
    Ok(bytes)
}

fn float_bytes(name: &str, value: &Value) -> Result<Vec<u8>, String> {
    let width = match name {
        "float64" => 8,
        "float32" => 4,
        _ => 2,
    };
    let unknown = "give a number, \"NaN\", \"Infinity\", \"-Infinity\" or the bits from 0x on";
    let number = match value {
        Value::Number(number) => number.as_f64().ok_or(unknown)?,
        Value::String(text) => match &**text {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            text => {
                let digits = text.strip_prefix("0x").ok_or(unknown)?;
                let bits = u64::from_str_radix(digits, 16).map_err(|_| unknown)?;
                return match bits >> (8 * width - 1) {
                    0 | 1 => Ok(bits.to_le_bytes()[..width].to_vec()),
                    _ => Err(format!("the type has {} bits", 8 * width)),
                };
            }
        },
        _ => return Err(unknown.into()),
    };
    let (bytes, is_finite) = match name {
        "float64" => (number.to_le_bytes().to_vec(), number.is_finite()),
        "float32" => {
            let number = number as f32;
            (number.to_le_bytes().to_vec(), number.is_finite())
        }
        "bfloat16" => {
            let bits = bf16_bits(number as f32);
            (bits.to_le_bytes().to_vec(), bits & 0x7f80 != 0x7f80)
        }
        _ => {
            let bits = f16_bits(number)?;
            (bits.to_le_bytes().to_vec(), bits & 0x7c00 != 0x7c00)
        }
    };
    match is_finite == number.is_finite() {
        true => Ok(bytes),
        false => Err(format!("{name} has no number as large")),
    }
}

/// The nearest `bfloat16`.
fn bf16_bits(number: f32) -> u16 {
    let bits = number.to_bits();
    let half = match number.is_finite() {
        true => 0x7fff + (bits >> 16 & 1),
        false => 0,
    };
    ((bits + half) >> 16) as u16
}

/// The nearest 16-bit float.
#[cfg(feature = "half")]
fn f16_bits(number: f64) -> Result<u16, String> {
    Ok(half::f16::from_f64(number).to_bits())
}

/// A 16-bit float: zero, infinite or NaN only, without the feature for the others.
#[cfg(not(feature = "half"))]
fn f16_bits(number: f64) -> Result<u16, String> {
    let sign = u16::from(number.is_sign_negative()) << 15;
    match number {
        _ if number.is_nan() => Ok(0x7e00),
        _ if number.is_infinite() => Ok(sign | 0x7c00),
        0.0 => Ok(sign),
        _ => Err("this build has no float16 numbers: build with the feature half".into()),
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
                Ok(bytes),
                "{data_type}"
            );
        }
    }

    #[test]
    fn fill_values_that_the_type_cannot_have_are_refused_with_the_reason() {
        for (data_type, value, reason) in [
            (json!("uint8"), json!(300), "0 to 255"),
            (json!("uint8"), json!(-1), "0 to 255"),
            (json!("int8"), json!(128), "-128 to 127"),
            (json!("int64"), json!(1_u64 << 63), "9223372036854775807"),
            (json!("uint32"), json!(1.5), "no integer"),
            (json!("int16"), json!("AAA="), "no integer"),
            (json!("complex64"), json!(1), "imaginary"),
            (json!("complex128"), json!([1.0]), "imaginary"),
            (json!("float32"), json!(1e300), "as large"),
            (json!("bfloat16"), json!(3.4e38), "as large"),
            (json!("float32"), json!("0x17fc00000"), "32 bits"),
            (json!("bool"), json!(2), "true or false"),
            (json!("r16"), json!([1, 2, 3]), "3 bytes"),
            (json!("r16"), json!(258), "no value"),
        ] {
            let foreign = foreign(&data_type).unwrap();
            let refused = fill_bytes(&foreign, &data_type, &value).unwrap_err();
            assert!(refused.contains(reason), "{data_type} {value}: {refused}");
        }
        let foreign = foreign(&json!("r8")).unwrap();
        let refused = fill_bytes(&foreign, &json!("r8"), &json!("A".repeat(1000))).unwrap_err();
        assert!(refused.len() < 200, "{refused}");
    }

    #[test]
    fn fill_values_of_16_bit_floats_are_exact_or_refused() {
        let data_type = json!("float16");
        let foreign = foreign(&data_type).unwrap();
        for (value, bits) in [
            (json!(0.0), 0_u16),
            (json!(-0.0), 0x8000),
            (json!("NaN"), 0x7e00),
            (json!("Infinity"), 0x7c00),
            (json!("-Infinity"), 0xfc00),
            (json!("0x3e00"), 0x3e00),
        ] {
            let bytes = fill_bytes(&foreign, &data_type, &value);
            assert_eq!(bytes, Ok(bits.to_le_bytes().to_vec()), "{value}");
        }
        let bytes = fill_bytes(&foreign, &data_type, &json!(1.5));
        match cfg!(feature = "half") {
            true => assert_eq!(bytes, Ok(vec![0, 0x3e])),
            false => assert!(bytes.is_err_and(|reason| reason.contains("feature half"))),
        }
        assert!(fill_bytes(&foreign, &data_type, &json!(70000.0)).is_err());
        let bfloat16 = json!("bfloat16");
        let foreign = self::foreign(&bfloat16).unwrap();
        // 1 + 2^-7 is nearer than 1.
        let bytes = fill_bytes(&foreign, &bfloat16, &json!(1.0 + 0.75 / 128.0));
        assert_eq!(bytes, Ok(0x3f81_u16.to_le_bytes().to_vec()));
    }

    #[test]
    fn types_of_absurd_lengths_are_refused() {
        for (name, configuration) in [
            ("fixed_length_utf32", json!({"length_bytes": u64::MAX})),
            ("fixed_length_utf32", json!({"length_bytes": 6})),
            ("raw_bytes", json!({"length_bytes": u64::MAX})),
            ("raw_bytes", json!({"length_bytes": 0})),
            ("fixed_length_utf32", json!({"length_bytes": 0})),
            ("null_terminated_bytes", json!({"length_bytes": 0})),
            ("struct", json!({"fields": []})),
            (
                "null_terminated_bytes",
                json!({"length_bytes": 1_u64 << 62}),
            ),
            (
                "numpy.datetime64",
                json!({"unit": "s", "scale_factor": u64::MAX}),
            ),
        ] {
            let data_type = json!({"name": name, "configuration": configuration});
            assert!(foreign(&data_type).is_err(), "{data_type}");
        }
        assert!(foreign(&json!(format!("r{}", u64::MAX - 7))).is_err());
    }
}

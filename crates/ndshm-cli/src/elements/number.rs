//! Numbers by their type at run time: written as the shortest text that gives them back, parsed,
//! and compared by value.

use crate::elements::scalar::{Scalar, Whole};
use ndshm::{Bool, DType};
use num_complex::Complex;

/// The form of a number as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `nan`, `-inf`, `1+2j` and 0 or 1 for booleans, which NumPy reads.
    Plain,
    /// `null` for NaN and infinities, `[1.0,2.0]` for complex numbers, `true` and `false`.
    Json,
}

/// The value of a number of any type, without loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    Whole(Whole),
    Real(f64),
    Complex(f64, f64),
}

/// A number of one of the types that Rust has at compile time.
trait Known: Scalar {
    fn read(bytes: &[u8]) -> Self;
    fn put(self, bytes: &mut Vec<u8>);
    fn write(self, text: &mut Vec<u8>, style: Style);
    fn value(self) -> Value;

    fn parse(text: &str) -> Option<Self> {
        Self::from_text(text)
    }
}

macro_rules! numbers {
    ($($number:ident $name:literal $type:ty;)*) => {
        /// The type of a number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Number {
            $($number,)*
        }

        impl Number {
            /// The number that the elements of this type are; `None` for structs and `[T; N]`.
            pub(crate) fn of(dtype: &DType) -> Option<Self> {
                match dtype.to_string().as_str() {
                    $($name => Some(Self::$number),)*
                    _ => None,
                }
            }

            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$number => $name,)*
                }
            }

            pub(crate) fn size(self) -> usize {
                match self {
                    $(Self::$number => size_of::<$type>(),)*
                }
            }

            /// Appends the shortest text that is parsed as this number.
            #[inline]
            pub(crate) fn write(self, bytes: &[u8], text: &mut Vec<u8>, style: Style) {
                match self {
                    $(Self::$number => <$type as Known>::read(bytes).write(text, style),)*
                }
            }

            #[inline]
            pub(crate) fn value(self, bytes: &[u8]) -> Value {
                match self {
                    $(Self::$number => <$type as Known>::read(bytes).value(),)*
                }
            }

            /// Appends the bytes of the number that a text is; `None` if it is none of this type.
            #[inline]
            pub(crate) fn parse(self, text: &str, bytes: &mut Vec<u8>) -> Option<()> {
                match self {
                    $(Self::$number => <$type as Known>::parse(text)?.put(bytes),)*
                }
                Some(())
            }
        }
    };
}

numbers! {
    Bool "|b1" Bool;
    U8 "|u1" u8;
    I8 "|i1" i8;
    U16 "<u2" u16;
    I16 "<i2" i16;
    U32 "<u4" u32;
    I32 "<i4" i32;
    U64 "<u8" u64;
    I64 "<i8" i64;
    U128 "uint128" u128;
    I128 "int128" i128;
    F16 "<f2" half::f16;
    Bf16 "bfloat16" half::bf16;
    F32 "<f4" f32;
    F64 "<f8" f64;
    Complex32 "<c8" Complex<f32>;
    Complex64 "<c16" Complex<f64>;
}

impl Number {
    /// Whether it is real or complex, so that it has NaN.
    pub(crate) fn is_float(self) -> bool {
        matches!(
            self,
            Self::F16 | Self::Bf16 | Self::F32 | Self::F64 | Self::Complex32 | Self::Complex64
        )
    }
}

/// The bytes of the first number, of as many bytes as it has.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl Known for $integer {
            #[inline]
            fn read(bytes: &[u8]) -> Self {
                Self::from_ne_bytes(array(bytes))
            }

            fn put(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_ne_bytes());
            }

            fn write(self, text: &mut Vec<u8>, _: Style) {
                text.extend_from_slice(itoa::Buffer::new().format(self).as_bytes());
            }

            fn value(self) -> Value {
                Value::Whole(
                    i128::try_from(self).map_or(Whole::Large(self as u128), Whole::Usual)
                )
            }
        }
    )*};
}

integers!(u8 i8 u16 i16 u32 i32 u64 i64 u128 i128);

impl Known for Bool {
    fn read(bytes: &[u8]) -> Self {
        (bytes[0] != 0).into()
    }

    fn put(self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(bool::from(self)));
    }

    fn write(self, text: &mut Vec<u8>, style: Style) {
        text.extend_from_slice(match (style, bool::from(self)) {
            (Style::Plain, false) => b"0",
            (Style::Plain, true) => b"1",
            (Style::Json, false) => b"false",
            (Style::Json, true) => b"true",
        });
    }

    fn value(self) -> Value {
        Value::Whole(Whole::Usual(i128::from(bool::from(self))))
    }
}

/// A real number with the shortest text that gives it back, and a point or an exponent, so that it
/// is no integer for the reader.
fn write_real<F: zmij::Float>(x: F, as_f64: f64, text: &mut Vec<u8>, style: Style) {
    text.extend_from_slice(match style {
        _ if as_f64.is_finite() => {
            return text.extend_from_slice(zmij::Buffer::new().format_finite(x).as_bytes());
        }
        Style::Json => b"null",
        Style::Plain if as_f64.is_nan() => b"nan",
        Style::Plain if as_f64 > 0.0 => b"inf",
        Style::Plain => b"-inf",
    });
}

macro_rules! floats {
    ($($float:ty)*) => {$(
        impl Known for $float {
            #[inline]
            fn read(bytes: &[u8]) -> Self {
                Self::from_ne_bytes(array(bytes))
            }

            fn put(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_ne_bytes());
            }

            fn write(self, text: &mut Vec<u8>, style: Style) {
                write_real(self, f64::from(self), text, style);
            }

            fn value(self) -> Value {
                Value::Real(f64::from(self))
            }
        }

        impl Known for Complex<$float> {
            fn read(bytes: &[u8]) -> Self {
                let (re, im) = bytes.split_at(size_of::<$float>());
                Self::new(<$float>::read(re), <$float>::read(im))
            }

            fn put(self, bytes: &mut Vec<u8>) {
                self.re.put(bytes);
                self.im.put(bytes);
            }

            fn write(self, text: &mut Vec<u8>, style: Style) {
                if style == Style::Json {
                    text.push(b'[');
                    self.re.write(text, style);
                    text.push(b',');
                    self.im.write(text, style);
                    return text.push(b']');
                }
                self.re.write(text, style);
                if self.im.is_nan() || self.im.is_sign_positive() {
                    text.push(b'+');
                }
                self.im.write(text, style);
                text.push(b'j');
            }

            fn value(self) -> Value {
                Value::Complex(f64::from(self.re), f64::from(self.im))
            }

            fn parse(text: &str) -> Option<Self> {
                let (re, im) = parts_of(text);
                Some(Self::new(
                    <$float>::from_text(re)?,
                    <$float>::from_text(im)?,
                ))
            }
        }
    )*};
}

floats!(f32 f64);

macro_rules! halves {
    ($($half:ty)*) => {$(
        impl Known for $half {
            fn read(bytes: &[u8]) -> Self {
                Self::from_ne_bytes(array(bytes))
            }

            fn put(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_ne_bytes());
            }

            fn write(self, text: &mut Vec<u8>, style: Style) {
                let exact = f64::from(self);
                let rounded = |digits| format!("{exact:.digits$e}").parse::<f64>().ok();
                // The text of the exact value has digits that the type does not need.
                let shortest = (0..8)
                    .filter_map(rounded)
                    .find(|&x| Self::from_f64(x) == self);
                write_real(shortest.unwrap_or(exact), exact, text, style);
            }

            fn value(self) -> Value {
                Value::Real(f64::from(self))
            }
        }
    )*};
}

halves!(half::f16 half::bf16);

/// The real and the imaginary part of `1+2j`, `(1+2j)`, `2j` or `1`.
fn parts_of(text: &str) -> (&str, &str) {
    let inner = text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'))
        .unwrap_or(text);
    let Some(inner) = inner.strip_suffix('j') else {
        return (inner, "0");
    };
    let bytes = inner.as_bytes();
    // The sign between the parts, and not that of an exponent.
    let is_between =
        |&at: &usize| matches!(bytes[at], b'+' | b'-') && !matches!(bytes[at - 1], b'e' | b'E');
    match (1..bytes.len()).rev().find(is_between) {
        Some(at) => inner.split_at(at),
        None => ("0", inner),
    }
}

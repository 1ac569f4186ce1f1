//! Elements as numbers: parsed from the command line, summed, printed.

use crate::failure::Failure;
use ndarray::{ArrayD, IxDyn};
use ndshm::{AnyArray, AtomicElement, Bool, Element, SharedArray};
use std::{fmt, sync::atomic::Ordering::Relaxed, time::Duration};

/// An element that is a real or complex number.
pub(crate) trait Scalar: Element {
    /// Parses a value of the command line.
    fn from_text(text: &str) -> Option<Self>;

    /// The value as a real number; for a complex one its absolute value.
    fn to_f64(self) -> f64;

    /// The bytes of the number, native-endian.
    fn to_bytes(self) -> Vec<u8>;

    /// A copy of the elements as atomics, for numbers that the library has as atomics.
    fn load(_: &SharedArray<Self, IxDyn>, _: Duration) -> Option<ndshm::Result<ArrayD<Self>>> {
        None
    }

    /// The exact minimum and maximum of integers.
    fn extremes(_: &[Self]) -> Option<(Whole, Whole)> {
        None
    }
}

/// An integer of any type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whole {
    Usual(i128),
    /// One above the range of `i128`.
    Large(u128),
}

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whole::Usual(integer) => integer.fmt(f),
            Whole::Large(integer) => integer.fmt(f),
        }
    }
}

macro_rules! integers {
    ($($integer:ty $(=> $load:ident)?;)*) => {$(
        impl Scalar for $integer {
            fn to_bytes(self) -> Vec<u8> {
                self.to_ne_bytes().to_vec()
            }

            $(fn load(
                xs: &SharedArray<Self, IxDyn>,
                patience: Duration,
            ) -> Option<ndshm::Result<ArrayD<Self>>> {
                Some($load(xs, patience, |atomic| atomic.load(Relaxed)))
            })?

            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            #[inline]
            fn to_f64(self) -> f64 {
                self as f64
            }

            fn extremes(elements: &[Self]) -> Option<(Whole, Whole)> {
                let whole = |integer: $integer| {
                    i128::try_from(integer).map_or(Whole::Large(integer as u128), Whole::Usual)
                };
                let first = *elements.first()?;
                let (least, greatest) = elements
                    .iter()
                    .fold((first, first), |(least, greatest), &x| (least.min(x), greatest.max(x)));
                Some((whole(least), whole(greatest)))
            }
        }
    )*};
}

/// A copy of elements that other processes change meanwhile.
fn load<T: AtomicElement>(
    xs: &SharedArray<T, IxDyn>,
    patience: Duration,
    load: impl Fn(&T::Atomic) -> T,
) -> ndshm::Result<ArrayD<T>> {
    Ok(xs.atomic_timeout(patience)?.map(load))
}

macro_rules! floats {
    ($($float:ty, $to_f64:expr, $from:expr;)*) => {$(
        impl Scalar for $float {
            fn to_bytes(self) -> Vec<u8> {
                self.to_ne_bytes().to_vec()
            }

            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok().map($from)
            }

            #[inline]
            fn to_f64(self) -> f64 {
                $to_f64(self)
            }
        }
    )*};
}

integers! {
    u8 => load; i8 => load; u16 => load; i16 => load; u32 => load; i32 => load; u64 => load;
    i64 => load; u128; i128;
}
floats! {
    f32, f64::from, |x: f32| x;
    f64, |x: f64| x, |x: f64| x;
}
floats! {
    half::f16, f64::from, half::f16::from_f64;
    half::bf16, f64::from, half::bf16::from_f64;
}

impl Scalar for Bool {
    fn to_bytes(self) -> Vec<u8> {
        vec![u8::from(bool::from(self))]
    }

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "1" | "true" | "True" => Some(true.into()),
            "0" | "false" | "False" => Some(false.into()),
            _ => None,
        }
    }

    #[inline]
    fn to_f64(self) -> f64 {
        f64::from(u8::from(bool::from(self)))
    }
}

macro_rules! complex {
    ($($complex:ty, $float:ty;)*) => {$(
        impl Scalar for $complex {
            fn to_bytes(self) -> Vec<u8> {
                [self.re.to_ne_bytes(), self.im.to_ne_bytes()].concat()
            }

            fn from_text(text: &str) -> Option<Self> {
                // 1.5, 2j, 1+2j
                text.replace('j', "i").parse().ok()
            }

            #[inline]
            fn to_f64(self) -> f64 {
                f64::from(self.re).hypot(f64::from(self.im))
            }
        }
    )*};
}

complex! {
    num_complex::Complex32, f32;
    num_complex::Complex64, f64;
}

/// A real number with six significant digits.
pub(crate) fn real(x: f64) -> String {
    let size = x.abs();
    match () {
        () if x.is_nan() => "nan".into(),
        () if x.is_infinite() => if x > 0.0 { "inf" } else { "-inf" }.into(),
        () if size != 0.0 && !(1e-4..1e9).contains(&size) => format!("{x:.5e}"),
        () => {
            let digits = 5 - (size.max(1e-4).log10().floor() as i32).clamp(-4, 5);
            let text = format!("{x:.*}", digits as usize);
            match text.contains('.') {
                true => format!(
                    "{}{}",
                    text.trim_end_matches('0').trim_end_matches('.'),
                    if text.trim_end_matches('0').ends_with('.') {
                        "."
                    } else {
                        ""
                    }
                ),
                false => text,
            }
        }
    }
}

/// A number with enough digits to tell it from its neighbours on an axis of this length.
pub(crate) fn on_scale(value: f64, range: f64) -> String {
    match range {
        1e-3..1e6 => format!(
            "{value:.*}",
            (3.0 - range.log10().floor()).clamp(0.0, 6.0) as usize
        ),
        _ => format!("{value:.3e}"),
    }
}

/// Sets all elements of a view to one value, poisoned or not.
pub(crate) fn recover(array: &AnyArray, fill: Option<&str>) -> Result<(), Failure> {
    let Some(text) = fill else {
        // The bytes stay as they are.
        drop(array.recover()?);
        return Ok(());
    };
    ndshm::dispatch!(array, xs: T => xs.recover()?.fill(parse::<T>(text)?), else => {
        zero_only(array, text)?;
        array.recover()?.fill(0);
    })?;
    Ok(())
}

/// An error if elements of the array's type cannot have this value.
pub(crate) fn check(array: &AnyArray, text: &str) -> Result<(), Failure> {
    Ok(ndshm::dispatch!(
        array,
        _xs: T => parse::<T>(text).map(|_| ())?,
        else => zero_only(array, text)?
    )?)
}

/// Sets all elements of a view to one value.
pub(crate) fn fill(array: &AnyArray, text: &str) -> Result<(), Failure> {
    ndshm::dispatch!(array, xs: T => {
        let value = parse::<T>(text)?;
        xs.write()?.fill(value);
    }, else => {
        zero_only(array, text)?;
        array.write_bytes(&vec![0; array.len() * array.dtype().itemsize()])?;
    })?;
    Ok(())
}

fn parse<T: Scalar>(text: &str) -> Result<T, Failure> {
    T::from_text(text)
        .ok_or_else(|| Failure::usage(format!("{text:?} is no value of type {}", T::DTYPE)))
}

fn zero_only(array: &AnyArray, text: &str) -> Result<(), Failure> {
    match text {
        "0" => Ok(()),
        _ => Err(Failure::usage(format!(
            "elements of type {} can be filled with 0 only{}",
            array.dtype(),
            match array.dtype().fields().first() {
                Some(field) => format!("; name a field of them: NAME[{:?}]", field.name()),
                None => String::new(),
            }
        ))),
    }
}

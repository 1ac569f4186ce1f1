//! Whether two numbers are equal, or close, and how far apart they are.

use crate::elements::{number::Value, scalar::Whole};
use std::{cmp::Ordering, fmt};

/// How far apart equal numbers may be, as in `numpy.isclose`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    pub(super) relative: f64,
    pub(super) absolute: f64,
    pub(super) has_equal_nan: bool,
}

/// The absolute difference of two numbers: exact for integers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Distance {
    Exact(u128),
    Real(f64),
}

impl Distance {
    pub(super) fn to_f64(self) -> f64 {
        match self {
            Self::Exact(distance) => distance as f64,
            Self::Real(distance) => distance,
        }
    }

    /// Whether it is larger than another one; NaN is larger than all numbers.
    pub(super) fn exceeds(self, other: Self) -> bool {
        match (self, other) {
            (Self::Exact(one), Self::Exact(other)) => one > other,
            _ => order(self.to_f64(), other.to_f64()) == Ordering::Greater,
        }
    }
}

/// The order of distances, with NaN above all others.
pub(super) fn order(one: f64, other: f64) -> Ordering {
    let is_nan = one.is_nan().cmp(&other.is_nan());
    one.partial_cmp(&other).unwrap_or(is_nan)
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(distance) => distance.fmt(f),
            Self::Real(distance) => f.write_str(&real(*distance)),
        }
    }
}

/// A real number with the fewest digits that give it back.
pub(super) fn real(x: f64) -> String {
    match x.is_finite() {
        true => zmij::Buffer::new().format_finite(x).to_owned(),
        false => x.to_string().replace("NaN", "nan"),
    }
}

impl Tolerance {
    /// Whether two numbers are equal, or as close as this allows.
    pub(super) fn accepts(&self, a: Value, b: Value) -> bool {
        if is_equal(a, b) {
            return true;
        }
        match (is_nan(a), is_nan(b)) {
            (false, false) => {}
            (is_nan, other) => return self.has_equal_nan && is_nan && other,
        }
        if self.relative == 0.0 && self.absolute == 0.0 {
            return false;
        }
        let size = size(b);
        let distance = distance(a, b).to_f64();
        size.is_finite() && distance.is_finite() && distance <= self.absolute + self.relative * size
    }
}

/// Whether two numbers have the same value: an integer equals only the real number that is exactly
/// it.
fn is_equal(a: Value, b: Value) -> bool {
    match (a, b) {
        (Value::Whole(a), Value::Whole(b)) => a == b,
        (Value::Real(a), Value::Real(b)) => a == b,
        (Value::Complex(re, im), Value::Complex(re_b, im_b)) => re == re_b && im == im_b,
        (Value::Whole(whole), Value::Real(real)) | (Value::Real(real), Value::Whole(whole)) => {
            to_whole(real) == Some(whole)
        }
        (Value::Complex(re, im), other) | (other, Value::Complex(re, im)) => {
            im == 0.0 && is_equal(Value::Real(re), other)
        }
    }
}

/// The integer that a real number is exactly.
fn to_whole(x: f64) -> Option<Whole> {
    /// 2^127, the first number above the range of `i128`.
    const USUAL: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;
    match x.trunc() == x {
        true if (-USUAL..USUAL).contains(&x) => Some(Whole::Usual(x as i128)),
        true if (USUAL..2.0 * USUAL).contains(&x) => Some(Whole::Large(x as u128)),
        _ => None,
    }
}

fn is_nan(value: Value) -> bool {
    match value {
        Value::Whole(_) => false,
        Value::Real(x) => x.is_nan(),
        Value::Complex(re, im) => re.is_nan() || im.is_nan(),
    }
}

/// The modulus.
fn size(value: Value) -> f64 {
    let (re, im) = parts(value);
    re.hypot(im)
}

fn parts(value: Value) -> (f64, f64) {
    match value {
        Value::Whole(Whole::Usual(whole)) => (whole as f64, 0.0),
        Value::Whole(Whole::Large(whole)) => (whole as f64, 0.0),
        Value::Real(x) => (x, 0.0),
        Value::Complex(re, im) => (re, im),
    }
}

/// The absolute difference.
pub(super) fn distance(a: Value, b: Value) -> Distance {
    let is_real = matches!((a, b), (Value::Real(_), Value::Real(_)));
    if let (false, Some(a), Some(b)) = (is_real, whole(a), whole(b)) {
        let exact = match (a, b) {
            (Whole::Usual(a), Whole::Usual(b)) => Some(a.abs_diff(b)),
            (Whole::Large(a), Whole::Large(b)) => Some(a.abs_diff(b)),
            (Whole::Large(large), Whole::Usual(usual))
            | (Whole::Usual(usual), Whole::Large(large)) => match u128::try_from(usual) {
                Ok(usual) => Some(large - usual),
                Err(_) => large.checked_add(usual.unsigned_abs()),
            },
        };
        if let Some(exact) = exact {
            return Distance::Exact(exact);
        }
    }
    let ((re, im), (re_b, im_b)) = (parts(a), parts(b));
    Distance::Real(match im == 0.0 && im_b == 0.0 {
        true => (re - re_b).abs(),
        false => (re - re_b).hypot(im - im_b),
    })
}

/// The integer that a value is exactly.
fn whole(value: Value) -> Option<Whole> {
    match value {
        Value::Whole(whole) => Some(whole),
        Value::Real(x) => to_whole(x),
        Value::Complex(..) => None,
    }
}

/// The absolute difference by the size of the second number.
pub(super) fn relative(distance: Distance, b: Value) -> f64 {
    distance.to_f64() / size(b)
}

//! NumPy's types without parts, by the names that `numpy.dtype` takes: `<f8`, `f8`, `d`, `float64`,
//! `<U10`, `<M8[ns]`.

use super::{Kind, NumpyDType, Swap};
use crate::element::dtype::{DType, MAX_ITEMSIZE};

/// NumPy's other names of types, on 64-bit Linux.
const NAMES: [(&str, &str); 55] = [
    ("?", "b1"),
    ("b", "i1"),
    ("B", "u1"),
    ("h", "i2"),
    ("H", "u2"),
    ("i", "i4"),
    ("I", "u4"),
    ("l", "i8"),
    ("L", "u8"),
    ("q", "i8"),
    ("Q", "u8"),
    ("p", "i8"),
    ("P", "u8"),
    ("e", "f2"),
    ("f", "f4"),
    ("d", "f8"),
    ("g", "f16"),
    ("F", "c8"),
    ("D", "c16"),
    ("G", "c32"),
    ("bool", "b1"),
    ("int8", "i1"),
    ("uint8", "u1"),
    ("int16", "i2"),
    ("uint16", "u2"),
    ("int32", "i4"),
    ("uint32", "u4"),
    ("int64", "i8"),
    ("uint64", "u8"),
    ("float16", "f2"),
    ("float32", "f4"),
    ("float64", "f8"),
    ("complex64", "c8"),
    ("complex128", "c16"),
    ("byte", "i1"),
    ("ubyte", "u1"),
    ("short", "i2"),
    ("ushort", "u2"),
    ("intc", "i4"),
    ("uintc", "u4"),
    ("int", "i8"),
    ("uint", "u8"),
    ("intp", "i8"),
    ("uintp", "u8"),
    ("long", "i8"),
    ("ulong", "u8"),
    ("longlong", "i8"),
    ("ulonglong", "u8"),
    ("half", "f2"),
    ("single", "f4"),
    ("float", "f8"),
    ("double", "f8"),
    ("longdouble", "f16"),
    ("complex", "c16"),
    ("clongdouble", "c32"),
];

/// The units of times.
const UNITS: [&str; 13] = [
    "Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as",
];

/// The type of a name, and its numbers that have the other byte order.
pub(super) fn parse(text: &str) -> Result<(NumpyDType, Option<Swap>), String> {
    let (order, rest) = match text.strip_prefix(['<', '>', '|', '=']) {
        Some(rest) => (text.chars().next(), rest),
        None => (None, text),
    };
    let name = NAMES.iter().find(|(name, _)| *name == rest);
    let rest = name
        .map_or(rest, |(_, sized)| sized)
        .replace("datetime64", "M8");
    let rest = rest.replace("timedelta64", "m8");
    let Some((kind, width, count)) = kind_of(&rest) else {
        return Err(refused(text, &rest));
    };
    let swap = Swap {
        offset: 0,
        width,
        count,
    };
    let is_swapped = order == Some('>') && width > 1 && count > 0;
    Ok((NumpyDType(kind), is_swapped.then_some(swap)))
}

/// The type of a typestr without its byte order; the width and the count of its numbers.
fn kind_of(text: &str) -> Option<(Kind, usize, usize)> {
    // The format's own names of types that NumPy lacks.
    if matches!(text, "bfloat16" | "int128" | "uint128") {
        return Some((Kind::Plain(text.parse().ok()?), 1, 0));
    }
    let kind = text.chars().next().filter(char::is_ascii)?;
    let rest = &text[1..];
    if matches!(kind, 'M' | 'm') {
        let unit = rest.strip_prefix('8')?;
        return is_unit(unit).then(|| (foreign(format!("<{kind}8{unit}"), "<i8"), 8, 1));
    }
    let size = match rest {
        // `numpy.dtype("S")` is one that has no bytes yet.
        "" if matches!(kind, 'S' | 'a' | 'U' | 'V') => 0,
        digits => decimal(digits)?,
    };
    Some(match (kind, size) {
        ('b' | 'i' | 'u', 1) => (plain(&format!("|{kind}1"))?, 1, 0),
        ('i' | 'u' | 'f', 2 | 4 | 8) => (plain(&format!("<{kind}{size}"))?, size, 1),
        ('c', 8 | 16) => (plain(&format!("<c{size}"))?, size / 2, 2),
        // The machines that have it write 10 bytes of it, in 12 or 16, or all 16.
        ('f', 12 | 16) => (foreign(format!("<f{size}"), &format!("|V{size}")), size, 1),
        ('c', 24 | 32) => (
            foreign(format!("<c{size}"), &format!("|V{size}")),
            size / 2,
            2,
        ),
        ('V', 1..=MAX_ITEMSIZE) => (plain(&format!("|V{size}"))?, 1, 0),
        ('V', _) => (unstored(format!("|V{size}"), size), 1, 0),
        ('S' | 'a', 1..=MAX_ITEMSIZE) => (foreign(format!("|S{size}"), &format!("|V{size}")), 1, 0),
        ('S' | 'a', _) => (unstored(format!("|S{size}"), size), 1, 0),
        ('U', _) => {
            let bytes = size.checked_mul(4)?;
            let kind = match bytes {
                1..=MAX_ITEMSIZE => foreign(format!("<U{size}"), &format!("({size},)<u4")),
                _ => unstored(format!("<U{size}"), bytes),
            };
            (kind, 4, size)
        }
        _ => return None,
    })
}

fn plain(text: &str) -> Option<Kind> {
    text.parse::<DType>().ok().map(Kind::Plain)
}

/// A type that is stored as the one with the name `stored`, which is an element type.
fn foreign(typestr: String, stored: &str) -> Kind {
    match stored.parse() {
        Ok(stored) => Kind::Foreign { typestr, stored },
        Err(_) => unreachable!("{stored} is an element type"),
    }
}

fn unstored(typestr: String, itemsize: usize) -> Kind {
    Kind::Unstored { typestr, itemsize }
}

/// A decimal without a sign and without zeros in front, of a size that NumPy can have.
fn decimal(digits: &str) -> Option<usize> {
    let size: usize = digits.parse().ok()?;
    (size.to_string() == digits && i32::try_from(size).is_ok()).then_some(size)
}

/// Whether a text is the unit of times: empty, `[ns]`, `[25s]`, `[D/2]`.
fn is_unit(text: &str) -> bool {
    let Some(inner) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    else {
        return text.is_empty();
    };
    let inner = match inner.split_once('/') {
        Some((inner, divisor)) if decimal(divisor).is_some_and(|n| n > 0) => inner,
        Some(_) => return false,
        None => inner,
    };
    let unit = inner.trim_start_matches(|c: char| c.is_ascii_digit());
    let count = &inner[..inner.len() - unit.len()];
    let is_counted = count.is_empty() || decimal(count).is_some_and(|n| n > 0);
    is_counted && (UNITS.contains(&unit) || unit == "generic" && count.is_empty())
}

/// Why elements of a type cannot be elements here, and the conversion that helps.
fn refused(text: &str, rest: &str) -> String {
    match rest {
        "object" => objects(),
        _ if rest.starts_with('O') => objects(),
        _ if rest.starts_with('T') => "its elements are text of any length, which is not in the \
                                       file: convert them with .astype('U') first"
            .into(),
        _ => format!("its element type {text:?} is not supported"),
    }
}

fn objects() -> String {
    "its elements are Python objects, which are never unpickled: convert them with .astype(..) \
     first"
        .into()
}

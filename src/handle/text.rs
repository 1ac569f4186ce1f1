//! A handle as one line of text. Each handle has exactly one: a text that would not print the same
//! is refused.

use super::{Handle, Placement, invalid};
use crate::{
    error::{Error, Result},
    format::id::ArrayId,
    scope::Scope,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_decode, percent_encode};
use std::{
    borrow::Cow,
    ffi::OsStr,
    fmt::{self, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    str::FromStr,
};

const PREFIX: &str = "ndshm1";
/// The bytes of a text of an array's handle before its path, without a view.
const HEAD_LEN: usize = PREFIX.len() + ":m=w:s=remote:i=:f=:p=".len() + 22 + 16;
const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Longest text.
const MAX_TEXT: usize = 16 * 1024;
/// The bytes of a path that stand for themselves are A-Z a-z 0-9 and these.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A formatter takes one piece faster than ten.
        let mut text = String::with_capacity(HEAD_LEN + self.path.as_os_str().len());
        text.push_str(PREFIX);
        text.push_str(if self.is_writable {
            ":m=w:s="
        } else {
            ":m=r:s="
        });
        text.push_str(self.scope.name());
        text.push_str(":i=");
        URL_SAFE_NO_PAD.encode_string(self.id.as_bytes(), &mut text);
        text.push_str(":f=");
        let nibbles = (0..16).rev().map(|place| self.fingerprint >> (4 * place));
        text.extend(nibbles.map(|nibble| char::from(HEX_DIGITS[nibble as usize % 16])));
        if let Some(view) = &self.view {
            write!(
                text,
                ":o={}:n={}:t={}",
                view.offset,
                Joined(&view.shape),
                Joined(&view.strides)
            )?;
        }
        text.push_str(":p=");
        text.extend(encoded(&self.path));
        f.write_str(&text)
    }
}

/// Numbers with commas between them.
struct Joined<'a, N>(&'a [N]);

impl<N: fmt::Display> fmt::Display for Joined<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .enumerate()
            .try_for_each(|(i, number)| write!(f, "{}{number}", if i == 0 { "" } else { "," }))
    }
}

impl FromStr for Handle {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() > MAX_TEXT {
            return Err(invalid(format!(
                "the text has {} bytes, at most {MAX_TEXT} are allowed",
                text.len()
            )));
        }
        if text.trim_ascii() != text {
            return Err(invalid("there is white space around it: trim it"));
        }
        let (version, mut rest) = text
            .split_once(':')
            .ok_or_else(|| invalid("it does not start with ndshm1:"))?;
        if version != PREFIX {
            return Err(invalid(format!(
                "it starts with {version:?}, this library reads {PREFIX}"
            )));
        }
        // Each field has one form, and is refused in any other: each handle has one text.
        let mode = field(&mut rest, "m=")?;
        let scope = field(&mut rest, "s=")?;
        let id = field(&mut rest, "i=")?;
        let fingerprint = field(&mut rest, "f=")?;
        let view = match rest.starts_with("o=") {
            false => None,
            true => Some(Placement {
                offset: number(field(&mut rest, "o=")?)?,
                shape: numbers(field(&mut rest, "n=")?)?,
                strides: numbers(field(&mut rest, "t=")?)?,
            }),
        };
        let path = rest.strip_prefix("p=").ok_or_else(|| {
            invalid("no field \"p=\" where it should be, or one that is not known")
        })?;
        Handle {
            id: id_of(id)?,
            fingerprint: fingerprint_of(fingerprint)?,
            path: decoded(path).ok_or_else(|| {
                invalid("its path is not percent-encoded in the one form that it has")
            })?,
            is_writable: match mode {
                "w" => true,
                "r" => false,
                _ => return Err(invalid("its mode is neither r nor w")),
            },
            scope: Scope::from_name(scope)
                .ok_or_else(|| invalid("its scope is not local, remote or store"))?,
            view,
        }
        .checked()
    }
}

fn id_of(text: &str) -> Result<ArrayId> {
    let mut bytes = [0; 16];
    match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
        Ok(16) => Ok(ArrayId::from_bytes(bytes)),
        _ => Err(invalid("its id is no id")),
    }
}

fn fingerprint_of(text: &str) -> Result<u64> {
    if text.len() != 16 || !text.bytes().all(is_hex_digit) {
        return Err(invalid("its fingerprint is not 16 digits"));
    }
    u64::from_str_radix(text, 16).map_err(|_| invalid("its fingerprint is not 16 digits"))
}

fn is_hex_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// A path as text.
pub(super) fn encoded(path: &Path) -> PercentEncode<'_> {
    percent_encode(path.as_os_str().as_bytes(), ENCODED)
}

/// The path that a text stands for, if it is percent-encoded where it has to be and only there.
pub(super) fn decoded(text: &str) -> Option<PathBuf> {
    let bytes = Cow::from(percent_decode(text.as_bytes()));
    let is_canonical =
        percent_encode(&bytes, ENCODED).try_fold(text, str::strip_prefix) == Some("");
    is_canonical.then(|| OsStr::from_bytes(&bytes).into())
}

/// Takes the next field off the text.
fn field<'a>(rest: &mut &'a str, key: &str) -> Result<&'a str> {
    let (value, behind) = rest
        .strip_prefix(key)
        .and_then(|tail| tail.split_once(':'))
        .ok_or_else(|| {
            invalid(format!(
                "no field {key:?} where it should be, or it is cut off"
            ))
        })?;
    *rest = behind;
    Ok(value)
}

fn number<N: FromStr + ToString>(text: &str) -> Result<N> {
    let canonical = |number: &N| number.to_string() == text;
    text.parse()
        .ok()
        .filter(canonical)
        .ok_or_else(|| invalid(format!("{text:?} is not a number in its shortest form")))
}

fn numbers<N: FromStr + ToString>(text: &str) -> Result<Vec<N>> {
    if text.is_empty() {
        Ok(Vec::new())
    } else {
        text.split(',').map(number).collect()
    }
}

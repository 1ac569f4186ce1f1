//! The names of arrays and stores: those that a user chooses, those that are made of an id, and
//! those that are made of the keys of files of other formats.

use crate::{
    error::{Error, Result},
    format::{constants::SUFFIX, id::ArrayId},
};
use percent_encoding::percent_decode_str;
use std::{
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
};

/// Most bytes of a chosen name.
const MAX_LEN: usize = 200;

/// The attribute with the whole key of an array whose name is a part of it.
pub(crate) const KEY_ATTRIBUTE: &str = "ndshm.key";
/// The name that stands for the empty key.
const EMPTY_KEY: &str = "%-";
/// Stands between the beginning of a long key and its hash.
const CUT: &str = "%~";

/// A name that a user chose for an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArrayName(String);

/// A name that a user chose for a store's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreName(String);

/// The name of an array's file without its suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stem<'a> {
    /// 32 hexadecimal digits: the array has no chosen name.
    Id(&'a str),
    /// A name that a user can choose.
    Chosen(&'a str),
    /// Neither: the file was renamed or copied by other means.
    Illegal(&'a OsStr),
}

impl ArrayName {
    /// # Errors
    ///
    /// `Name` if an array cannot have this name.
    pub(crate) fn parse(name: impl Into<String>) -> Result<Self> {
        checked(name.into()).map(Self)
    }

    /// The file of the array with this name, in the store in `directory`.
    pub(crate) fn file_in(&self, directory: &Path) -> PathBuf {
        directory.join(file_name(&self.0))
    }
}

impl StoreName {
    /// # Errors
    ///
    /// `Name` if a store cannot have this name.
    pub(crate) fn parse(name: impl Into<String>) -> Result<Self> {
        checked(name.into()).map(Self)
    }

    /// The directory of the store with this name, in `root`.
    pub(crate) fn directory_in(&self, root: &Path) -> PathBuf {
        root.join(&self.0)
    }
}

impl fmt::Display for ArrayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn checked(name: String) -> Result<String> {
    match defect(&name) {
        None => Ok(name),
        Some(reason) => Err(Error::Name { name, reason }),
    }
}

/// Why a user cannot choose this name, if so.
fn defect(name: &str) -> Option<&'static str> {
    match name {
        "" => {
            Some("a name is needed (ArrayOptions::name, Builder::name), and it must not be empty")
        }
        _ if name.len() > MAX_LEN => Some("it is longer than 200 bytes"),
        _ if name.starts_with('.') => Some("it starts with a dot"),
        _ if name.contains(['/', '\0']) => Some("it contains a slash or NUL"),
        _ if is_id(name) => Some("32 hexadecimal digits are for arrays without a chosen name"),
        _ => None,
    }
}

fn is_id(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The name for a key of a file of another format.
///
/// The bytes that a name cannot have are percent-encoded, and the percent sign. The name of a long
/// key is its beginning and a hash; such an array needs [`KEY_ATTRIBUTE`].
pub(crate) fn of_key(key: &str) -> String {
    if key.is_empty() {
        return EMPTY_KEY.into();
    }
    let has_bad_start = key.starts_with('.') || is_id(key);
    let mut name = String::with_capacity(key.len());
    let mut cut_at = 0;
    for (at, character) in key.char_indices() {
        if name.len() <= MAX_LEN - CUT.len() - 16 {
            cut_at = name.len();
        }
        match character {
            '%' | '/' | '\0' => name += &format!("%{:02X}", character as u32),
            _ if at == 0 && has_bad_start => name += &format!("%{:02X}", character as u32),
            _ => name.push(character),
        }
    }
    if name.len() > MAX_LEN {
        name.truncate(cut_at);
        name += &format!("{CUT}{:016x}", fnv(key.as_bytes()));
    }
    name
}

/// The key that [`of_key`] made this name of, or else the name. `claimed` is the attribute
/// [`KEY_ATTRIBUTE`]; it is believed only if it gives this name.
pub(crate) fn key_of(name: &str, claimed: Option<&str>) -> String {
    let decoded = percent_decode_str(name).decode_utf8().ok();
    let candidates = [claimed, Some(""), decoded.as_deref()];
    let mut candidates = candidates.into_iter().flatten();
    candidates
        .find(|key| of_key(key) == name)
        .unwrap_or(name)
        .into()
}

/// FNV-1a (64 bit).
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl<'a> Stem<'a> {
    pub(crate) fn of(stem: &'a OsStr) -> Self {
        match stem.to_str() {
            Some(digits) if is_id(digits) => Self::Id(digits),
            Some(name) if defect(name).is_none() => Self::Chosen(name),
            _ => Self::Illegal(stem),
        }
    }

    /// That of the file at a path, whatever suffix it has.
    pub(crate) fn at(path: &'a Path) -> Self {
        Self::of(path.file_stem().unwrap_or_default())
    }

    /// Whether the file is named after an id.
    pub(crate) fn is_id(self) -> bool {
        matches!(self, Self::Id(_))
    }

    /// Whether the file is named after this id: the array that has it has no chosen name.
    pub(crate) fn is_of(self, id: ArrayId) -> bool {
        matches!(self, Self::Id(digits) if *digits == *id.file_stem())
    }
}

/// The name of the file of an array with this stem.
pub(crate) fn file_name(stem: &str) -> String {
    format!("{stem}{SUFFIX}")
}

/// The name of an array at this path, if the file is not named after the array's id.
pub(crate) fn of(path: &Path, id: ArrayId) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    (!Stem::of(stem.as_ref()).is_of(id)).then(|| stem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_up_to_200_bytes_and_neither_a_slash_nor_a_dot_in_front() {
        let long = "x".repeat(200);
        for name in ["xs", "a b", "a.b", "x.", "ä", "0189", "-", "~", &long] {
            assert!(ArrayName::parse(name).is_ok(), "{name:?}");
            assert!(StoreName::parse(name).is_ok(), "{name:?}");
        }
        let (too_long, digits) = ("x".repeat(201), "0".repeat(32));
        let upper = "ABCDEF0123456789".repeat(2);
        for name in [
            "", ".", "..", ".x", "a/b", "/", "a\0b", &too_long, &digits, &upper,
        ] {
            let refused =
                |error: Error| matches!(error, Error::Name { name: found, .. } if found == name);
            assert!(ArrayName::parse(name).is_err_and(refused), "{name:?}");
            assert!(StoreName::parse(name).is_err_and(refused), "{name:?}");
        }
    }

    #[test]
    fn every_key_has_a_name_and_comes_back_from_it() {
        let long = "a/".repeat(300);
        let longer = format!("{long}b");
        let accents = "é".repeat(150);
        let digits = "0".repeat(32);
        let keys = [
            "xs",
            "a b",
            "model/layer.0/weight",
            "/",
            "//",
            "..",
            ".",
            ".ndshm-new-1",
            "100%",
            "%",
            "%2F",
            "%-",
            "%~",
            "a%2",
            "",
            "\0",
            "日本/語",
            &digits,
            &long,
            &longer,
            &accents,
            "a\\b",
        ];
        let mut names = Vec::new();
        for key in keys {
            let name = of_key(key);
            assert!(ArrayName::parse(&name).is_ok(), "{key:?}: {name:?}");
            assert_eq!(key_of(&name, Some(key)), key);
            if !name.contains(CUT) {
                assert_eq!(key_of(&name, None), key, "{name:?}");
            }
            names.push(name);
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), keys.len(), "no two keys have one name");
        assert_eq!(of_key("a/b.c"), "a%2Fb.c");
        // Names that no key has are keys themselves, and an attribute is not believed blindly.
        for name in ["50%", "%41", "%2f", "x%", "%FF"] {
            assert_eq!(key_of(name, None), name);
        }
        assert_eq!(key_of("x", Some("y")), "x");
    }

    #[test]
    fn a_file_is_of_an_id_where_it_has_its_digits_in_small_letters() {
        let id = ArrayId::from_bytes([0xab; 16]);
        let (digits, upper) = ("ab".repeat(16), "AB".repeat(16));
        assert!(Stem::of(digits.as_ref()).is_of(id) && Stem::of(digits.as_ref()).is_id());
        assert!(!Stem::of(upper.as_ref()).is_of(id) && Stem::of(upper.as_ref()).is_id());
        assert!(!Stem::of("xs".as_ref()).is_of(id) && !Stem::of("xs".as_ref()).is_id());
        assert_eq!(of(Path::new(&format!("/s/{digits}.ndshm")), id), None);
        assert_eq!(of(Path::new("/s/xs.ndshm"), id), Some("xs".into()));
        assert_eq!(of(Path::new("/s/.x.ndshm"), id), Some(".x".into()));
    }
}

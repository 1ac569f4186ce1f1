//! The names of arrays and stores: those that a user chooses, those that a member makes, and those
//! that are made of the keys of files of other formats.

use crate::{
    error::{Error, Result},
    format::{
        constants::{MAX_MEMBER, SUFFIX},
        words,
    },
};
use percent_encoding::percent_decode_str;
use std::{
    ffi::OsStr,
    fmt::{self, Write},
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
    /// 32 hexadecimal digits, made of the member that made the file and a number of its own: the
    /// array has no chosen name.
    Made { digits: &'a str, maker: u64 },
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
        file_in(directory, file_name(self.0.as_str()).as_ref())
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
        _ if has_digits(name) => Some("32 hexadecimal digits are for arrays without a chosen name"),
        _ => None,
    }
}

/// Whether a name has the form of one that a member makes.
pub(crate) fn has_digits(name: &str) -> bool {
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
    let has_bad_start = key.starts_with('.') || has_digits(key);
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
            Some(digits) if has_digits(digits) => match maker_in(digits) {
                Some(maker) => Self::Made { digits, maker },
                None => Self::Illegal(stem),
            },
            Some(name) if defect(name).is_none() => Self::Chosen(name),
            _ => Self::Illegal(stem),
        }
    }

    /// That of the file at a path, whatever suffix it has.
    pub(crate) fn at(path: &'a Path) -> Self {
        Self::of(path.file_stem().unwrap_or_default())
    }

    /// Whether the array has no chosen name.
    pub(crate) fn is_made(self) -> bool {
        self.maker().is_some()
    }

    /// The member that made the file of an array without a chosen name.
    pub(crate) fn maker(self) -> Option<u64> {
        match self {
            Self::Made { maker, .. } => Some(maker),
            Self::Chosen(_) | Self::Illegal(_) => None,
        }
    }
}

/// The name of the file of an array with this stem.
pub(crate) fn file_name(stem: impl Into<String>) -> String {
    stem.into() + SUFFIX
}

/// The file of a name in a directory, which is allocated once.
pub(crate) fn file_in(directory: &Path, name: &OsStr) -> PathBuf {
    let mut path = PathBuf::with_capacity(directory.as_os_str().len() + 1 + name.len());
    path.push(directory);
    path.push(name);
    path
}

/// The stem of the file of an array without a chosen name. No other file of the store ever has it:
/// a member's id is given once, and a member gives each number once.
pub(crate) fn made_stem(maker: u64, number: u64) -> String {
    // With room for the suffix. Nothing fails that is written to a string.
    let mut stem = String::with_capacity(32 + SUFFIX.len());
    let maker = words::seal(maker);
    let _ = write!(stem, "{maker:016x}{number:016x}");
    stem
}

/// The member in a stem of 32 digits. A sweep deletes the half-made files of dead makers, so it has
/// its check: digits of which one is damaged have no maker.
fn maker_in(digits: &str) -> Option<u64> {
    let is_lower = !digits.bytes().any(|byte| byte.is_ascii_uppercase());
    let word = u64::from_str_radix(digits.get(..16)?, 16).ok()?;
    words::unseal(word).filter(|maker| is_lower && (1..MAX_MEMBER).contains(maker))
}

/// The chosen name of the array at this path.
pub(crate) fn of(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    (!Stem::of(stem.as_ref()).is_made()).then(|| stem.to_owned())
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
    fn an_array_without_a_chosen_name_has_the_id_of_its_maker_in_its_files_name() {
        let digits = made_stem(7, 0xab);
        let stem = |text: &str| Stem::of(OsStr::new(text)).maker();
        assert_eq!(digits, "150000000000000700000000000000ab");
        assert_eq!(stem(&digits), Some(7));
        assert_eq!(stem(&digits.to_uppercase()), None);
        assert_eq!(stem("xs"), None);
        assert_eq!(stem(&"ab".repeat(16)), None);
        assert_eq!(stem(&made_stem(MAX_MEMBER, 1)), None);
        assert_eq!(stem(&made_stem(0, 1)), None);
        assert_eq!(of(Path::new(&format!("/s/{digits}.ndshm"))), None);
        assert_eq!(of(Path::new("/s/xs.ndshm")), Some("xs".into()));
        assert_eq!(of(Path::new("/s/.x.ndshm")), Some(".x".into()));
    }

    #[test]
    fn a_damaged_digit_of_the_maker_gives_no_other_maker() {
        for maker in [1, 7, 1 << 40, MAX_MEMBER - 1] {
            let digits = made_stem(maker, 5);
            for bit in 0..8 * 16 {
                let mut wrong = digits.clone().into_bytes();
                wrong[bit / 8] ^= 1 << (bit % 8);
                if let Ok(wrong) = std::str::from_utf8(&wrong)
                    && let Some(found) = Stem::of(OsStr::new(wrong)).maker()
                {
                    assert_eq!(found, maker, "{wrong}");
                }
            }
        }
    }
}

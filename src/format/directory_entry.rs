//! The names in a store's directory and in a root: what each stands for, and how each is made.
//!
//! The only place that compares names with the suffix and the prefixes of the format. It looks at
//! names alone. The caller must check that a file has the type, the owner and the content that its
//! name promises (`store::directory`).

use crate::format::{
    constants::{GONE_PREFIX, LOCK_NAME, NEW_PREFIX, SUFFIX},
    name::Stem,
    words,
};
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
};
use uuid::Uuid;

/// The start of the name of a store that is being made; random letters follow.
pub(crate) const HALF_BUILT_PREFIX: &str = NEW_PREFIX;

/// A name in a store's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreEntry<'a> {
    /// The lock file.
    LockFile,
    /// An array's file.
    Array(Stem<'a>),
    /// A file under a temporary name: an array that is being made, or the file of a released array
    /// that its owner keeps.
    Draft {
        /// The member that made the file. No version of the library makes a name without one.
        maker: Option<u64>,
    },
    /// Not a name of this library.
    Foreign,
}

/// A name in a root, the directory around stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RootEntry {
    /// A store that is being made, or whose maker died.
    HalfBuilt,
    /// A store that is being deleted, or whose closer died.
    Gone,
    /// Any other name: a store, or not of this library. The directory's content decides.
    Other,
}

impl<'a> StoreEntry<'a> {
    pub(crate) fn of(name: &'a OsStr) -> Self {
        let bytes = name.as_bytes();
        if name == LOCK_NAME {
            Self::LockFile
        } else if let Some(rest) = bytes.strip_prefix(NEW_PREFIX.as_bytes()) {
            Self::Draft {
                maker: maker_in(rest),
            }
        } else if let Some(stem) = bytes.strip_suffix(SUFFIX.as_bytes()) {
            Self::Array(Stem::of(OsStr::from_bytes(stem)))
        } else {
            Self::Foreign
        }
    }
}

impl RootEntry {
    pub(crate) fn of(name: &OsStr) -> Self {
        if name.as_bytes().starts_with(NEW_PREFIX.as_bytes()) {
            Self::HalfBuilt
        } else if name.as_bytes().starts_with(GONE_PREFIX.as_bytes()) {
            Self::Gone
        } else {
            Self::Other
        }
    }
}

/// The member id before the hyphen, if letters or digits follow it as in the names that are made.
///
/// A sweep deletes the files of dead makers, so the id has its check: a name in which one character
/// is damaged has no maker.
fn maker_in(rest: &[u8]) -> Option<u64> {
    let (maker, random) = std::str::from_utf8(rest).ok()?.split_once('-')?;
    let is_random = !random.is_empty() && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let word = u64::from_str_radix(maker, 16).ok()?;
    words::unseal(word).filter(|_| is_random && maker == maker_text(word))
}

fn maker_text(word: u64) -> String {
    format!("{word:016x}")
}

/// The start of the names of all files that this member makes under temporary names.
pub(crate) fn draft_prefix(maker: u64) -> String {
    format!("{NEW_PREFIX}{}-", maker_text(words::seal(maker)))
}

/// Bytes of a file name at most, on every file system.
const MAX_NAME: usize = 255;
/// Random digits in the name of a store that is being deleted.
const GONE_DIGITS: usize = 32;

/// The name of a store that is being deleted. It ends in the name that the store had, unless that
/// one is too long.
pub(crate) fn gone_name(random: Uuid, before: &OsStr) -> OsString {
    let mut name = OsString::from(format!("{GONE_PREFIX}{}", random.simple()));
    if name.len() + 1 + before.len() <= MAX_NAME {
        name.push("-");
        name.push(before);
    }
    name
}

/// The name that a store had before it was called `gone` to be deleted.
pub(crate) fn name_before(gone: &OsStr) -> Option<&OsStr> {
    let rest = gone.as_bytes().strip_prefix(GONE_PREFIX.as_bytes())?;
    let (digits, name) = rest.split_at_checked(GONE_DIGITS)?;
    let name = OsStr::from_bytes(name.strip_prefix(b"-")?);
    let is_place = !name.is_empty() && RootEntry::of(name) == RootEntry::Other;
    (is_place && digits.iter().all(u8::is_ascii_hexdigit)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{constants::MAX_MEMBER, name};

    const DIGITS: &str = "150000000000000700000000000000ab";

    fn bytes(name: &[u8]) -> &OsStr {
        OsStr::from_bytes(name)
    }

    #[test]
    fn every_name_in_a_store_stands_for_one_thing() {
        let draft = |maker| StoreEntry::Draft { maker };
        let illegal = |stem| StoreEntry::Array(Stem::Illegal(bytes(stem)));
        let long = [&[b'x'; 201], SUFFIX.as_bytes()].concat();
        let unnamed = name::file_name(DIGITS);
        for (name, expected) in [
            (&b".lock"[..], StoreEntry::LockFile),
            (b".lock.ndshm", illegal(b".lock")),
            (b"xs.ndshm", StoreEntry::Array(Stem::Chosen("xs"))),
            (b"a b.c.ndshm", StoreEntry::Array(Stem::Chosen("a b.c"))),
            (b"\xc3\xa4.ndshm", StoreEntry::Array(Stem::Chosen("ä"))),
            (
                unnamed.as_bytes(),
                StoreEntry::Array(Stem::Made {
                    digits: DIGITS,
                    maker: 7,
                }),
            ),
            // Names that a user cannot choose, and a file that has one all the same.
            (b".ndshm", illegal(b"")),
            (b".x.ndshm", illegal(b".x")),
            (b"\xff.ndshm", illegal(b"\xff")),
            (&long, illegal(&[b'x'; 201])),
            (b".ndshm-gone-1.ndshm", illegal(b".ndshm-gone-1")),
            (b".ndshm-new-1500000000000007-abc", draft(Some(7))),
            (b".ndshm-new-0000000000000000-abc", draft(Some(0))),
            (b".ndshm-new-0000000000000007-abc", draft(None)),
            (b".ndshm-new-1500000000000006-abc", draft(None)),
            (b".ndshm-new-+150000000000007-abc", draft(None)),
            (b".ndshm-new-7-abc", draft(None)),
            (b".ndshm-new-7-a-b", draft(None)),
            (b".ndshm-new-7", draft(None)),
            (b".ndshm-new-7-abc.ndshm", draft(None)),
            (b".ndshm-new-0cffffffffffffff-x", draft(Some(MAX_MEMBER))),
            (b".ndshm-new-0CFFFFFFFFFFFFFF-x", draft(None)),
            (b".ndshm-new-ffffffffffffffff-x", draft(None)),
            (b".ndshm-new-thesis", draft(None)),
            (b".ndshm-new-", draft(None)),
            (b".ndshm-new--7", draft(None)),
            (b".ndshm-new-\xff", draft(None)),
            (b".ndshm-new", StoreEntry::Foreign),
            (b".ndshm-gone-x", StoreEntry::Foreign),
            (b"xs.NDSHM", StoreEntry::Foreign),
            (b"xs.ndshm~", StoreEntry::Foreign),
            (b"ndshm", StoreEntry::Foreign),
            (b".LOCK", StoreEntry::Foreign),
            (b"lock", StoreEntry::Foreign),
            (b"notes.txt", StoreEntry::Foreign),
            (b"\xff\xfe", StoreEntry::Foreign),
            (b"", StoreEntry::Foreign),
        ] {
            assert_eq!(StoreEntry::of(bytes(name)), expected, "{:?}", bytes(name));
        }
    }

    #[test]
    fn every_name_in_a_root_stands_for_one_thing() {
        for (name, expected) in [
            (&b".ndshm-new-abcdef"[..], RootEntry::HalfBuilt),
            (b".ndshm-new-thesis", RootEntry::HalfBuilt),
            (b".ndshm-new-", RootEntry::HalfBuilt),
            (b".ndshm-new-\xff", RootEntry::HalfBuilt),
            (b".ndshm-gone-x", RootEntry::Gone),
            (b".ndshm-gone-\xff", RootEntry::Gone),
            (b".ndshm-gone", RootEntry::Other),
            (b".ndshm-export-abc", RootEntry::Other),
            (b".lock", RootEntry::Other),
            (b"run-7", RootEntry::Other),
            (b"\xff", RootEntry::Other),
            (b"", RootEntry::Other),
        ] {
            assert_eq!(RootEntry::of(bytes(name)), expected, "{:?}", bytes(name));
        }
    }

    #[test]
    fn a_name_that_is_made_stands_for_what_it_was_made_for() {
        let draft = draft_prefix(7) + "abc";
        let entry = StoreEntry::of(draft.as_ref());
        assert_eq!(entry, StoreEntry::Draft { maker: Some(7) });
        let array = name::file_name("xs");
        let entry = StoreEntry::of(array.as_ref());
        assert_eq!(entry, StoreEntry::Array(Stem::Chosen("xs")));
        let gone = gone_name(Uuid::from_bytes([7; 16]), "run-7".as_ref());
        assert_eq!(RootEntry::of(&gone), RootEntry::Gone);
        assert_eq!(name_before(&gone), Some("run-7".as_ref()));
        let half_built = format!("{HALF_BUILT_PREFIX}abcdef");
        assert_eq!(RootEntry::of(half_built.as_ref()), RootEntry::HalfBuilt);
    }

    #[test]
    fn the_name_of_a_store_that_is_deleted_says_which_name_it_had() {
        let gone = |before| gone_name(Uuid::from_bytes([7; 16]), before);
        for before in [&b"x"[..], b"a b-c.d", b"\xff", &[b'x'; 210]] {
            let gone = gone(bytes(before));
            assert!(gone.len() <= MAX_NAME);
            assert_eq!(name_before(&gone), Some(bytes(before)), "{gone:?}");
        }
        // Too long, none, or one that no store has.
        for before in [&[b'x'; 211][..], b"", b".ndshm-gone-x", b".ndshm-new-x"] {
            assert_eq!(name_before(&gone(bytes(before))), None, "{before:?}");
        }
        let digits = "0".repeat(GONE_DIGITS - 1);
        for name in [
            ".ndshm-gone-",
            ".ndshm-gone-0-x",
            &format!(".ndshm-gone-{digits}-x"),
            &format!(".ndshm-gone-{digits}0x"),
            &format!(".ndshm-gone-{digits}0"),
            &format!(".ndshm-gone-{digits}g-x"),
            &format!(".ndshm-new-{digits}0-x"),
            "run",
        ] {
            assert_eq!(name_before(name.as_ref()), None, "{name}");
        }
    }

    #[test]
    fn a_draft_s_name_with_a_wrong_bit_has_no_other_maker() {
        for maker in [1, 7, 1 << 40, MAX_MEMBER - 1] {
            let name = draft_prefix(maker) + "abc";
            for bit in 0..8 * name.len() {
                let mut wrong = name.clone().into_bytes();
                wrong[bit / 8] ^= 1 << (bit % 8);
                if let StoreEntry::Draft { maker: Some(found) } = StoreEntry::of(bytes(&wrong)) {
                    assert_eq!(found, maker, "{:?}", bytes(&wrong));
                }
            }
        }
    }
}

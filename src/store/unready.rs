//! Files that have the name of an array and no array: a member is making one there, or keeps the
//! file of a released array for reuse.
//!
//! No process can have a handle of an array without a chosen name before it is ready. So its file
//! is made under the name that it keeps, and one word of it says that it is ready: a rename would
//! cost as much as making the file. A file with a chosen name is never without its array: it is
//! made under a temporary name, and renamed.
//!
//! The maker's member id is in the name. If the maker is dead, a sweep deletes the file.

use crate::format::{
    constants::{GENERATION_AT, LIFECYCLE_AT, MAGIC},
    directory_entry::StoreEntry,
    words::lifecycle,
};
use std::{ffi::OsStr, fs::File, io, os::unix::fs::FileExt};

/// The bytes of a head that tell whether the file is ready.
const LEN: usize = GENERATION_AT + 8;

/// The member that makes or keeps this file of an array without a chosen name; `None` if the file
/// has an array, or is damaged.
pub(crate) fn maker_of(name: &OsStr, file: &File) -> io::Result<Option<u64>> {
    let StoreEntry::Array(stem) = StoreEntry::of(name) else {
        return Ok(None);
    };
    match stem.maker() {
        Some(maker) => Ok(is_unready(&read(file)?).then_some(maker)),
        None => Ok(None),
    }
}

/// Lifecycle and generation of a file; zeros where it has none.
pub(crate) fn words(file: &File) -> io::Result<(u32, u64)> {
    let head = read(file)?;
    Ok((lifecycle_in(&head), u64_at(&head, GENERATION_AT)))
}

/// A head is written at once, and has its lifecycle later. So the file is empty, or has zeros
/// there, or the magic and no lifecycle.
fn is_unready(head: &[u8; LEN]) -> bool {
    let found = lifecycle_in(head);
    match head.starts_with(&MAGIC) {
        true => matches!(found, lifecycle::UNREADY | lifecycle::RECYCLING),
        false => head.iter().all(|&byte| byte == 0),
    }
}

fn lifecycle_in(head: &[u8; LEN]) -> u32 {
    head[LIFECYCLE_AT..]
        .first_chunk()
        .map_or(0, |word| u32::from_ne_bytes(*word))
}

fn u64_at(head: &[u8; LEN], at: usize) -> u64 {
    head[at..]
        .first_chunk()
        .map_or(0, |word| u64::from_ne_bytes(*word))
}

/// The first bytes of a file; zeros behind its end.
fn read(file: &File) -> io::Result<[u8; LEN]> {
    let mut head = [0; LEN];
    let mut len = 0;
    while len < LEN {
        match file.read_at(&mut head[len..], len as u64) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::name::{file_name, made_stem};

    #[test]
    fn a_file_without_an_array_is_empty_zero_unready_or_recycled() {
        let file = tempfile::tempfile().unwrap();
        let made = file_name(made_stem(7, 1));
        let maker = |name: &str| maker_of(OsStr::new(name), &file).unwrap();
        assert_eq!((maker(&made), maker("xs.ndshm")), (Some(7), None));
        file.set_len(8192).unwrap();
        assert_eq!(maker(&made), Some(7));
        file.write_all_at(&[1], GENERATION_AT as u64).unwrap();
        assert_eq!(maker(&made), None, "damaged");
        file.write_all_at(&MAGIC, 0).unwrap();
        for (word, expected) in [
            (lifecycle::UNREADY, Some(7)),
            (lifecycle::RECYCLING, Some(7)),
            (lifecycle::READY, None),
            (lifecycle::RELEASED, None),
            (lifecycle::DELETED, None),
            (1, None),
        ] {
            file.write_all_at(&word.to_ne_bytes(), LIFECYCLE_AT as u64)
                .unwrap();
            assert_eq!(maker(&made), expected, "{word:#x}");
            assert_eq!(maker("xs.ndshm"), None);
            assert_eq!(words(&file).unwrap(), (word, 1));
        }
    }
}

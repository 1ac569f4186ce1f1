//! An array's file.

use super::{Severity, Verification, is_at, lock::Store, open, reason_of, state};
use crate::{
    error::{Error, HeaderError, Result},
    format::{
        header::{self, Header, Parsed},
        id::ArrayId,
    },
    segment,
    store::{permissions, unready},
    sys::file_system,
};
use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

/// How often a file is looked at that its owner keeps reusing.
const LOOKS: usize = 5;
/// How much of the padding is read at once.
const PIECE: usize = 64 << 10;

/// Notes the defects of a file. Returns its id, if it has one.
pub(super) fn check(
    path: &Path,
    store: Option<&Store>,
    found: &mut Verification,
) -> Result<Option<ArrayId>> {
    for look in 1..=LOOKS {
        let before = found.findings.len();
        let file = match open(path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(error) => {
                found.note(path, Severity::Damage, error.to_string());
                return Ok(None);
            }
        };
        let generation = || {
            segment::read_state(&file, path)
                .map(|state| state.generation)
                .ok()
        };
        let first = generation();
        let id = check_open(path, &file, store, found)?;
        if maker_of(path, &file)?.is_some() {
            // Its owner began to reuse it during the look.
            found.findings.truncate(before);
            return Ok(None);
        }
        // A file that is reused has another generation after, and one that was deleted has no name.
        // It may have changed in between, before the first look.
        if look == LOOKS || is_at(path, &file)? && generation() == first {
            found.arrays += 1;
            found.bytes += file.metadata().map_or(0, |metadata| metadata.len());
            return Ok(id);
        }
        found.findings.truncate(before);
    }
    unreachable!("the last look returns")
}

/// Whether a file has no array: a member makes one in it, or keeps it for reuse.
pub(super) fn is_unready(path: &Path) -> Result<bool> {
    match open(path) {
        Ok(Some(file)) => Ok(maker_of(path, &file)?.is_some()),
        // The check of the array says why.
        Ok(None) | Err(_) => Ok(false),
    }
}

fn maker_of(path: &Path, file: &File) -> Result<Option<u64>> {
    let name = path.file_name().unwrap_or_default();
    unready::maker_of(name, file).map_err(Error::io(path, "read the file"))
}

fn check_open(
    path: &Path,
    file: &File,
    store: Option<&Store>,
    found: &mut Verification,
) -> Result<Option<ArrayId>> {
    let metadata = match permissions::check_file(file, path) {
        Ok(metadata) => metadata,
        Err(error @ Error::Untrusted { .. }) => {
            found.note(path, Severity::Damage, reason_of(error));
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let len = metadata.len();
    let parsed = match Header::parse(file, len) {
        Ok(parsed) => parsed,
        Err(error @ HeaderError::Unreadable { .. }) => {
            return Err(segment::header_error(path, error));
        }
        Err(error) => {
            found.note(path, Severity::Damage, error.to_string());
            return Ok(None);
        }
    };
    let mut damage = |text: String| found.note(path, Severity::Damage, text);
    if let Some(at) =
        first_in_padding(file, &parsed, len).map_err(Error::io(path, "read the padding"))?
    {
        damage(format!("{}: byte {at} is not zero", HeaderError::Padding));
    }
    let id = parsed.header.id;
    if store.is_some_and(|store| store.uuid != parsed.header.created.store) {
        damage(HeaderError::ForeignStore.to_string());
    }
    let missing = file_system::missing(&metadata);
    if missing > 0 {
        damage(format!(
            "{missing} of its {len} bytes have no space: it was copied with holes; the next \
             opening reserves their space"
        ));
    }
    let of_rows = segment::defects_of_rows(file, &parsed, path)?;
    for text in of_rows {
        found.note(path, Severity::Damage, text);
    }
    let of_array = (parsed.data_len as u64, id.lane_key());
    state::check(path, file, of_array, store, found)?;
    Ok(Some(id))
}

/// The offset of the first byte of the padding that is not zero.
fn first_in_padding(file: &File, parsed: &Parsed, len: u64) -> io::Result<Option<usize>> {
    let Ok(ranges) = header::padding_of(file, len, parsed.work_range()) else {
        return Ok(None);
    };
    let mut piece = vec![0; PIECE];
    for range in ranges {
        for start in range.clone().step_by(PIECE) {
            let piece = &mut piece[..PIECE.min(range.end - start)];
            file.read_exact_at(piece, start as u64)?;
            if let Some(at) = piece.iter().position(|&byte| byte != 0) {
                return Ok(Some(start + at));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::constants::{STATE_AT, STATE_LEN};

    #[test]
    fn all_of_a_long_padding_is_looked_at() {
        let scratch = tempfile::tempdir().unwrap();
        let manager = crate::Manager::builder()
            .root(scratch.path())
            .create()
            .unwrap();
        let array = manager.options().name("xs").zeros::<u8, _>(100).unwrap();
        let source = File::open(array.path()).unwrap();
        let header = Header::parse(&source, source.metadata().unwrap().len())
            .unwrap()
            .header;
        let mut state = [0; STATE_LEN];
        source.read_exact_at(&mut state, STATE_AT as u64).unwrap();
        // As on a machine with pages of 256 KiB.
        let mut bytes = header.encode(256 << 10, &state).unwrap();
        bytes.resize(bytes.len() + 100, 0);
        let path = scratch.path().join("long.ndshm");
        let check = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let mut found = Verification::default();
            super::check(&path, None, &mut found).unwrap();
            found.findings
        };
        assert_eq!(check(&bytes), []);
        for at in [8000, 70_000, 200_000] {
            bytes[at] = 1;
            assert!(
                check(&bytes)[0]
                    .text
                    .contains(&format!("byte {at} is not zero"))
            );
            bytes[at] = 0;
        }
    }
}

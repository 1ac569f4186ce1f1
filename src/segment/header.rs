//! Reads an array's header without mapping the file, and the errors of files that are not the array
//! that was asked for.

use super::{header_error, rows_in_file};
use crate::{
    error::{Error, HeaderError, Result},
    format::{
        constants::{ENDIAN_PROBE, HEADER_AT, STATE_AT, STATE_LEN},
        header::{Header, Parsed},
        id::ArrayId,
        kind::Kind,
        name::Stem,
    },
    state::{block::lifecycle, snapshot::StateSnapshot},
    store::{permissions, unready},
    sys::fs::{open_file, open_to_read},
};
use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

/// The description of an array in its file.
pub(crate) struct Described {
    pub(crate) parsed: Parsed,
    /// That of the file, which may be reused for another array.
    pub(crate) generation: u64,
    /// The committed rows of an array that grows.
    pub(crate) rows: Option<usize>,
}

/// Reads the header of an array file without mapping it.
pub(crate) fn read_header(path: &Path, expected: Option<ArrayId>) -> Result<Described> {
    // Opening a FIFO or a device can have effects, and no check has looked at this directory.
    if fs::symlink_metadata(path)
        .is_ok_and(|metadata| !metadata.is_file() && !metadata.is_symlink())
    {
        return Err(Error::Untrusted {
            path: path.into(),
            reason: "it is not a regular file".into(),
        });
    }
    let file = open_file(path).map_err(|source| open_error(source, path, expected))?;
    let metadata = check_array_file(&file, path)?;
    if metadata.len() < HEADER_AT as u64 {
        check_begun(&file, path, expected)?;
        let parsed = Header::parse(&file, metadata.len());
        return Err(header_error(
            path,
            parsed.err().unwrap_or(HeaderError::Magic),
        ));
    }
    // This reader is not counted in, so the owner may reuse the file while it is read.
    let generation = read_state(&file, path)?.generation;
    let parsed = Header::parse(&file, metadata.len());
    // In this order: a file that is reused has another generation before it is ready again.
    let state = read_state(&file, path)?;
    let is_reused = is_unready(state.lifecycle, path)
        || read_state(&file, path)?.generation != generation
        || has_other_len(&file, &metadata) && !is_growing(&parsed);
    if is_reused {
        let id = expected.or(parsed.ok().map(|parsed| parsed.header.id));
        return Err(gone(path, id));
    }
    let parsed = parsed.map_err(|source| header_error(path, source))?;
    check_id(path, expected, parsed.header.id)?;
    if state.endian != ENDIAN_PROBE {
        return Err(header_error(path, HeaderError::Endian));
    }
    match state.lifecycle {
        lifecycle::READY => Ok(Described {
            rows: rows_in_file(&file, &parsed, path)?,
            parsed,
            generation,
        }),
        found if lifecycle::is_released(found) => Err(Error::Released {
            path: path.into(),
            id: parsed.header.id,
        }),
        found => Err(header_error(path, HeaderError::Lifecycle { found })),
    }
}

/// Whether a file with this lifecycle has no array: its maker has not finished it, or its owner
/// reuses it.
pub(super) fn is_unready(found: u32, path: &Path) -> bool {
    match found {
        lifecycle::RECYCLING => true,
        // A file gets a chosen name when its array is ready.
        lifecycle::UNREADY => Stem::at(path).is_made(),
        _ => false,
    }
}

/// An error if a process has just begun to make an array in this file.
pub(super) fn check_begun(file: &File, path: &Path, expected: Option<ArrayId>) -> Result<()> {
    let name = path.file_name().unwrap_or_default();
    match unready::maker_of(name, file).map_err(Error::io(path, "read the header"))? {
        Some(_) => Err(gone(path, expected)),
        None => Ok(()),
    }
}

fn is_growing(parsed: &Result<Parsed, HeaderError>) -> bool {
    let kind = parsed.as_ref().map(|parsed| &parsed.header.kind);
    kind == Ok(&Kind::Growing)
}

/// Checks that an open file is a regular file of this user that no other user can write. A file
/// that is no array is refused for that reason, whichever its owner and mode.
pub(super) fn check_array_file(file: &File, path: &Path) -> Result<Metadata> {
    permissions::check_file(file, path).map_err(|error| {
        let is_regular = file.metadata().is_ok_and(|found| found.is_file());
        if is_regular && !permissions::is_of_a_store(file) {
            header_error(path, HeaderError::Magic)
        } else {
            error
        }
    })
}

/// Copies the state block of an open array file.
pub(crate) fn read_state(file: &File, path: &Path) -> Result<StateSnapshot> {
    let mut block = [0; STATE_LEN];
    file.read_exact_at(&mut block, STATE_AT as u64)
        .map_err(Error::io(path, "read the state block"))?;
    Ok(StateSnapshot::of(&block))
}

/// An error if a file does not have the array that it was opened for. The file of an array without
/// a chosen name gets another array only after the first one was released.
pub(super) fn check_id(path: &Path, expected: Option<ArrayId>, found: ArrayId) -> Result<()> {
    match expected {
        Some(expected) if expected == found => Ok(()),
        Some(expected) if Stem::at(path).is_made() => Err(gone(path, Some(expected))),
        Some(expected) => Err(Error::PathReused {
            path: path.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        }),
        None => Ok(()),
    }
}

/// The error if a file has no array, or another one by now: the array that was at `path` is gone.
pub(super) fn gone(path: &Path, expected: Option<ArrayId>) -> Error {
    match expected {
        Some(id) => Error::Released {
            path: path.into(),
            id,
        },
        None => Error::NotFound {
            path: path.into(),
            what: "the array was released",
        },
    }
}

/// Whether advice on the mode of a file is justified: it is an array of this user.
fn is_readable_array(path: &Path) -> bool {
    open_to_read(path)
        .and_then(|file| Ok((file.metadata()?, permissions::is_of_a_store(&file))))
        .is_ok_and(|(metadata, is_of_a_store)| {
            is_of_a_store && metadata.uid() == rustix::process::geteuid().as_raw()
        })
}

pub(super) fn has_other_len(file: &File, before: &Metadata) -> bool {
    file.metadata().is_ok_and(|now| now.len() != before.len())
}

pub(super) fn open_error(source: io::Error, path: &Path, expected: Option<ArrayId>) -> Error {
    match (source.raw_os_error(), expected) {
        (Some(libc::ENOENT | libc::ENOTDIR), Some(id)) => Error::Released {
            path: path.into(),
            id,
        },
        (Some(libc::ENOENT | libc::ENOTDIR), None) => Error::NotFound {
            path: path.into(),
            what: "no such array; Manager::list has the arrays of a store",
        },
        (Some(libc::ELOOP), _) => Error::Untrusted {
            path: path.into(),
            reason: "it is a symbolic link: name the file itself".into(),
        },
        (Some(libc::EISDIR | libc::ENXIO), _) => Error::Untrusted {
            path: path.into(),
            reason: "it is not a regular file".into(),
        },
        (Some(libc::EACCES), _) if is_readable_array(path) => Error::ReadOnly {
            path: path.into(),
            reason: "its file may not be written, and every opener counts itself in it: chmod u+rw",
        },
        (Some(libc::EACCES), _) if open_to_read(path).is_ok() => {
            header_error(path, HeaderError::Magic)
        }
        _ => Error::Io {
            path: path.into(),
            action: "open the array file",
            source,
        },
    }
}

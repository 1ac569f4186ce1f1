//! Other names for arrays.
//!
//! # A name is an entry of the directory alone
//!
//! Nothing in an array's file has its name, and its guards, lanes and words know the file by its id
//! or its inode. So a rename is one call of the kernel, under the lock on the store's names: each
//! process finds the array by its old name or by its new one, never by both or by none.
//!
//! A process that has the array open keeps the path that it opened. Where it needs the name of the
//! file, to unlink it, it looks for the inode (`Segment::unlink`). A handle that was given out
//! before has the old path and the id: its opener looks for the id ([`moved`]).
//!
//! # In the place of another array
//!
//! [`replace`] first gives the array the name of the other one, whose file loses its only name by
//! that, and then marks the other one as released. A process that dies in between leaves an array
//! without a name, which its members can use and no process can open: its memory goes with its last
//! mapping.

use super::{
    Segment,
    draft::is_free,
    header::{gone, open_error, read_header},
};
use crate::{
    error::{Error, Result},
    format::{
        constants::{HEADER_AT, HEADER_KEY_AT},
        directory_entry::StoreEntry,
        id::ArrayId,
        name::{self, ArrayName, Stem},
    },
    state::{block::lifecycle, signals},
    store::{listing, member::Member},
    sys::{fs::open_file, mapping::Mapping},
};
use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes of the header in which its id stands: it is the first entry.
const ID_WITHIN: usize = 64;

/// Gives an array of the store another name, unless an array has it.
///
/// `from` is a name, or the 32 digits of the file of an array without one.
pub(crate) fn rename(member: &Arc<Member>, from: &str, to: &ArrayName) -> Result<()> {
    let (from, to) = places(member, from, to)?;
    if !is_free(member, &to)? {
        // An array that is not there is the clearer error.
        read_header(&from, None)?;
        return Err(Error::name_taken(to));
    }
    member.with_names(&member.deadline(), || {
        read_header(&from, None)?;
        keep_from_reuse(&from)?;
        let renamed = member.place().rename(file_name(&from), file_name(&to));
        renamed.map_err(|error| failure(member, error, &from, &to))
    })?;
    failpoint!(ArrayRenamed);
    published(member, &to)
}

/// The same in the place of the array that has the name, which is deleted, whichever process owns
/// it.
pub(crate) fn replace(member: &Arc<Member>, from: &str, to: &ArrayName) -> Result<()> {
    let other = match Segment::open(member, &to.file_in(member.directory()), None, false) {
        Ok(other) => other,
        Err(Error::NotFound { .. } | Error::Released { .. }) => return rename(member, from, to),
        Err(error) => return Err(error),
    };
    other.check_writable()?;
    let (from, to) = places(member, from, to)?;
    member.with_names(&member.deadline(), || {
        read_header(&from, None)?;
        keep_from_reuse(&from)?;
        let place = member.place();
        let named = place.inode_of(file_name(&to))?;
        let is_same = place.inode_of(file_name(&from))? == named;
        if is_same || named != Some(other.inode) {
            return Err(Error::name_taken(&to));
        }
        place
            .rename_over(file_name(&from), file_name(&to))
            .map_err(|error| failure(member, error, &from, &to))
    })?;
    failpoint!(ArrayReplaced);
    match other.release() {
        // Another process released it meanwhile.
        Ok(()) | Err(Error::Released { .. }) => published(member, &to),
        Err(error) => Err(error),
    }
}

/// Counts an array without a chosen name as open, for good: its owner, which is not told that it
/// has another name, does not reuse its file.
fn keep_from_reuse(path: &Path) -> Result<()> {
    if !Stem::at(path).is_made() {
        return Ok(());
    }
    let file = open_file(path).map_err(|source| open_error(source, path, None))?;
    let state = Mapping::new(&file, HEADER_KEY_AT, path)?;
    match state.state().count_in() {
        lifecycle::READY => Ok(()),
        _ => {
            state.state().count_out();
            Err(gone(path, None))
        }
    }
}

/// The paths of both names, in the store if it is not closed.
fn places(member: &Member, from: &str, to: &ArrayName) -> Result<(PathBuf, PathBuf)> {
    member.check_open()?;
    let directory = member.directory();
    let from = match name::has_digits(from) {
        true => directory.join(name::file_name(from)),
        false => ArrayName::parse(from)?.file_in(directory),
    };
    Ok((from, to.file_in(directory)))
}

fn file_name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

fn failure(member: &Member, error: io::Error, from: &Path, to: &Path) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::name_taken(to),
        _ if member.page().is_closing() => member.closed(),
        _ if member.is_at_its_path().is_ok_and(|is_there| !is_there) => member.closed(),
        io::ErrorKind::NotFound => open_error(error, from, None),
        _ => Error::io(from, "rename the array")(error),
    }
}

/// Tells the threads that wait for an array of this name. An error if the store is being closed:
/// the closer may have listed the store before the array got its name.
fn published(member: &Arc<Member>, path: &Path) -> Result<()> {
    if member.page().is_closing() {
        if let Ok(segment) = Segment::open_for_sweep(member, path) {
            segment.release()?;
        }
        return Err(member.closed());
    }
    signals::raise(member.page().published(path));
    Ok(())
}

/// The file of an array that is not at the path of its handle any more: another process renamed it.
/// `None` if its store has no array of this id. Looks at all named arrays of the store.
pub(crate) fn moved(path: &Path, id: ArrayId) -> Option<PathBuf> {
    let all = listing::arrays(path.parent()?).ok()?;
    all.into_iter()
        .filter(|other| other != path && matches!(Stem::at(other), Stem::Chosen(_)))
        .filter(|other| may_have(other, id))
        .find(|other| read_header(other, Some(id)).is_ok())
}

/// Whether the file may be the array of an id, by a look at a few bytes of it.
fn may_have(path: &Path, id: ArrayId) -> bool {
    let mut bytes = [0; ID_WITHIN];
    let read = open_file(path).and_then(|file| file.read_exact_at(&mut bytes, HEADER_AT as u64));
    read.is_ok() && bytes.windows(16).any(|window| window == id.as_bytes())
}

impl Segment {
    /// The result of a call with the name of the array's file; where the file does not have it any
    /// more (`Released`), with the one that it has.
    pub(super) fn by_its_name<R>(&self, call: impl Fn(&OsStr) -> Result<R>) -> Result<R> {
        match call(self.file_name()) {
            Err(released @ Error::Released { .. }) => match self.other_name()? {
                Some(name) => call(&name),
                None => Err(released),
            },
            outcome => outcome,
        }
    }

    /// The name of the array's file where another process has renamed it; `None` if it has none.
    pub(super) fn other_name(&self) -> Result<Option<OsString>> {
        let place = self.member.place();
        for name in place.names()? {
            if matches!(StoreEntry::of(&name), StoreEntry::Array(_))
                && place.inode_of(&name)? == Some(self.inode)
            {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

//! A directory that is held by its descriptor, and the question which of its files are a store's.
//!
//! # What may be deleted
//!
//! A name is no proof. A user may call a note `x.ndshm`, copy an array of another store here, or
//! put a link where a sweep expects a store. So a file counts as the store's only if its type, its
//! owner and its content say so ([`Directory::is_of_store`]): a regular file of this user; an array
//! whose header names this store; a draft that has a member's id in its name. Everything else
//! stays, and keeps the store from being deleted.
//!
//! Looks and deletions go through the descriptor and never follow a link: a directory or a link
//! that another process puts at the path meanwhile is not touched.

use crate::{
    error::{Error, Result},
    format::{
        constants::{HEADER_AT, LIFECYCLE_AT, LOCK_NAME, MAGIC, MAX_HEADER_END, MAX_MEMBER},
        directory_entry::StoreEntry,
    },
    state::block::lifecycle,
    store::lock_snapshot::LockPageSnapshot,
    sys::fs::{above_the_streams, is_at, unless_missing},
};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, statat, unlinkat},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// An open directory of this user.
pub(crate) struct Directory {
    file: File,
    path: PathBuf,
}

/// What the files of a store have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// The header of each array has it.
    uuid: Uuid,
}

impl Directory {
    /// Opens a directory, not through a link. `None` if nothing is there, or no directory, or one
    /// of another user.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = |errno: Errno| Error::io(path, "open the directory")(errno.into());
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        let file = above_the_streams(file).map_err(Error::io(path, "open the directory"))?;
        let found = rustix::fs::fstat(&file).map_err(failed)?;
        let directory = Self {
            file,
            path: path.into(),
        };
        Ok((found.st_uid == user()).then_some(directory))
    }

    /// Whether its path still names it.
    pub(crate) fn is_at_its_path(&self) -> Result<bool> {
        is_at(&self.path, &self.file).map_err(Error::io(&self.path, "look at the directory"))
    }

    /// The names in it.
    pub(crate) fn names(&self) -> Result<Vec<OsString>> {
        let failed = |errno: Errno| Error::io(&self.path, "list the directory")(errno.into());
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.file).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(&name).to_owned());
            }
        }
        Ok(names)
    }

    /// What the store's files have in common, as its lock file says; `None` without a sound one.
    pub(crate) fn identity(&self) -> Result<Option<Identity>> {
        let name = OsStr::new(LOCK_NAME);
        // Another kind of file, or one that is too short, is no lock file.
        let is_file = self.stat(name)?.is_some_and(|found| is_own_file(&found));
        let Some(lock) = (if is_file { self.open_file(name)? } else { None }) else {
            return Ok(None);
        };
        match LockPageSnapshot::read(&lock, &self.path) {
            Ok(page) if page.defect().is_none() => Ok(Some(Identity { uuid: page.uuid })),
            Ok(_) => Ok(None),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the library put this file into the store that has this identity. A file that is gone
    /// counts as the store's: it does not keep the store from being deleted.
    pub(crate) fn is_of_store(&self, name: &OsStr, store: &Identity) -> Result<bool> {
        let Some(found) = self.stat(name)? else {
            return Ok(true);
        };
        if !is_own_file(&found) {
            return Ok(false);
        }
        Ok(match StoreEntry::of(name) {
            StoreEntry::LockFile => true,
            // Its maker may be a member of a store that was at this path a moment ago.
            StoreEntry::Draft { maker } => {
                maker.is_some_and(|maker| (1..MAX_MEMBER).contains(&maker))
            }
            StoreEntry::Array(_) => match self.open_file(name)? {
                Some(file) => is_array_of(&file, store.uuid)
                    .map_err(Error::io(self.path.join(name), "read the file"))?,
                None => true,
            },
            StoreEntry::Foreign => false,
        })
    }

    /// Whether it has only what a store has that is being made: a lock file, or nothing.
    pub(crate) fn is_half_built(&self) -> Result<bool> {
        for name in self.names()? {
            let is_the_makers =
                name == LOCK_NAME && self.stat(&name)?.is_none_or(|found| is_own_file(&found));
            if !is_the_makers {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The first file that does not belong to the store that has this identity, or to none.
    pub(crate) fn foreign_entry(&self, store: Option<&Identity>) -> Result<Option<OsString>> {
        for name in self.names()? {
            let is_of_store = match store {
                Some(store) => self.is_of_store(&name, store)?,
                None => false,
            };
            if !is_of_store {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// The bytes that a file takes on its file system; none if it is gone.
    pub(crate) fn allocated(&self, name: &OsStr) -> u64 {
        // stat(2) counts in blocks of 512 bytes on every file system.
        let found = self.stat(name).ok().flatten();
        found.map_or(0, |found| found.st_blocks as u64 * 512)
    }

    /// Removes a file's name. Returns false if it is gone already.
    pub(crate) fn unlink(&self, name: &OsStr) -> Result<bool> {
        match unlinkat(&self.file, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(Error::io(self.path.join(name), "delete the file")(
                errno.into(),
            )),
        }
    }

    /// `None` if it is gone.
    fn stat(&self, name: &OsStr) -> Result<Option<Stat>> {
        unless_missing(statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW))
            .map_err(Error::io(self.path.join(name), "look at the file"))
    }

    /// `None` if it is gone.
    fn open_file(&self, name: &OsStr) -> Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        unless_missing(openat(&self.file, name, flags, Mode::empty()))
            .and_then(|file| file.map(File::from).map(above_the_streams).transpose())
            .map_err(Error::io(self.path.join(name), "open the file"))
    }
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn is_own_file(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile && found.st_uid == user()
}

/// Whether a file begins as an array does, and its header names this store. The header need not be
/// whole: a damaged array is still the store's.
fn is_array_of(file: &File, store: Uuid) -> io::Result<bool> {
    let mut head = vec![0; 4096];
    let mut len = read(file, &mut head)?;
    if !head.starts_with(&MAGIC) || len <= HEADER_AT {
        return Ok(false);
    }
    // A maker whose store was closed released the array that it had put into the next store, but
    // found no path to unlink it by: it is a leftover wherever it lies.
    if head[LIFECYCLE_AT..].starts_with(&lifecycle::RELEASED.to_ne_bytes()) {
        return Ok(true);
    }
    // The key "store" and a UUID, as deterministic CBOR has them.
    let entry = [&b"\x65store\xd8\x25\x50"[..], store.as_bytes()].concat();
    let has_entry = |head: &[u8]| head.windows(entry.len()).any(|part| part == entry);
    if len == head.len() && !has_entry(&head[HEADER_AT..]) {
        // A long header.
        head.resize(MAX_HEADER_END, 0);
        len = read(file, &mut head)?;
    }
    Ok(has_entry(head.get(HEADER_AT..len).unwrap_or_default()))
}

/// Reads from the start of a file; returns how many bytes there are.
fn read(file: &File, into: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < into.len() {
        match file.read_at(&mut into[len..], len as u64) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

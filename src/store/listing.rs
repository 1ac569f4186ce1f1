//! The files in a store's directory.
//!
//! [`StoreEntry::of`] says what a name stands for; [`Directory::is_of_store`] whether the library
//! made the file behind the name.

use crate::{
    error::{Error, Result},
    format::{
        constants::LOCK_NAME,
        directory_entry::{RootEntry, StoreEntry},
    },
    store::directory::Directory,
};
use rustix::{
    fs::{FileType, Stat},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The names in a directory; none if the directory is gone.
pub(crate) fn names(directory: &Path) -> Result<Vec<OsString>> {
    let failed = || Error::io(directory, "list the directory");
    match fs::read_dir(directory) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.file_name()).map_err(failed()))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed()(error)),
    }
}

/// The paths of the array files in a store's directory.
pub(crate) fn arrays(directory: &Path) -> Result<Vec<PathBuf>> {
    let names = names(directory)?.into_iter();
    Ok(names
        .filter(|name| matches!(StoreEntry::of(name), StoreEntry::Array(_)))
        .map(|name| directory.join(name))
        .collect())
}

/// The files in a store's directory.
#[derive(Debug, Default)]
pub(crate) struct Size {
    /// Array files.
    pub(crate) arrays: usize,
    /// Files under temporary names: half-made arrays, and files that are kept for reuse.
    pub(crate) drafts: usize,
    /// The bytes that these take.
    pub(crate) bytes: u64,
}

/// The number and size of the files in a store's directory that hold elements.
pub(crate) fn size(directory: &Path) -> Result<Size> {
    let mut size = Size::default();
    let opened = Directory::open(directory)?;
    let is_unready = |name: &OsStr| match &opened {
        Some(opened) => opened.is_unready(name),
        None => Ok(false),
    };
    for name in names(directory)? {
        match StoreEntry::of(&name) {
            StoreEntry::Array(_) if is_unready(&name)? => size.drafts += 1,
            StoreEntry::Array(_) => size.arrays += 1,
            StoreEntry::Draft { .. } => size.drafts += 1,
            StoreEntry::LockFile | StoreEntry::Foreign => continue,
        }
        size.bytes += allocated(&directory.join(name));
    }
    Ok(size)
}

/// The names in a store's directory of all that this library did not put there, in order.
pub(crate) fn strays(directory: &Path) -> Result<Vec<OsString>> {
    let Some(directory) = Directory::open(directory)? else {
        return Ok(Vec::new());
    };
    // In this order: another process that deletes the store unlinks the lock file last.
    let store = directory.identity()?;
    let mut strays = Vec::new();
    for name in directory.names()? {
        let is_of_store = match &store {
            Some(store) => directory.is_of_store(&name, store)?,
            None => false,
        };
        if !is_of_store {
            strays.push(name);
        }
    }
    strays.sort();
    Ok(strays)
}

fn is_regular(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}

/// The bytes that a file takes on its file system; none if it is gone.
pub(crate) fn allocated(path: &Path) -> u64 {
    // stat(2) counts in blocks of 512 bytes on every file system.
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}

/// The directories in a root that have a lock file, in the order of their names. A store that is
/// being made is none yet: a process that joined it would keep it from being swept.
pub(crate) fn stores(root: &Path) -> Result<Vec<PathBuf>> {
    let mut stores = Vec::new();
    for name in names(root)? {
        if RootEntry::of(&name) == RootEntry::HalfBuilt {
            continue;
        }
        let path = root.join(name);
        let lock = path.join(LOCK_NAME);
        match rustix::fs::stat(&lock) {
            Ok(found) if is_regular(&found) => stores.push(path),
            // A directory that this user may not enter is no store of this user.
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {}
            Err(errno) => return Err(Error::io(lock, "look for a store")(errno.into())),
        }
    }
    stores.sort();
    Ok(stores)
}

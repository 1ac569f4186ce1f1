//! Deletes whole stores.
//!
//! # How a store is deleted
//!
//! 1. *Mark.* The closer sets the closing flag in the lock page, and never clears it. From then on
//!    every join and every opening is refused. A process that publishes an array looks at the flag
//!    after its rename, so either the closer finds the new file, or its maker deletes it.
//! 2. *Rename away.* Under the closing lock of the marked store, a byte of its lock file, the
//!    closer compares device and inode of the lock file at the path with those of the store that it
//!    marked. Then one rename gives the directory the name `.ndshm-gone-` and random digits, in the
//!    same parent. Each process that renames a store away holds that store's lock, so between the
//!    look and the rename no other process moves the marked store, and no other store can take its
//!    path. Without the lock, a second closer could rename away a store that a third process made
//!    in between. Afterwards the path is free for another store.
//! 3. *Empty.* The closer unlinks the store's files, the lock file last, and removes the directory.
//!    Several processes may do this at once, so a file that is gone is no error. A file that
//!    arrives between the listing and the removal makes the closer list again.
//!
//! # A closer that dies
//!
//! After step 1 the marked store is still in its place: the next process that makes a store there
//! finishes the deletion ([`finish_closing`]), and so does a sweep or the janitor. The kernel frees
//! the closing lock of a dead closer. After step 2 the directory remains as `.ndshm-gone-*`, and a
//! sweep empties it.
//!
//! # A user who moves directories
//!
//! A user may rename another store to the path between the look and the rename of step 2. So the
//! closer compares once more after the rename, and renames the other store back. If it cannot, the
//! store in `.ndshm-gone-*` is not marked as closing, and a sweep does not empty it: it asks the
//! user to rename it back, unless the store is ephemeral and has no member.
//!
//! # Files of others
//!
//! A store that contains a file that this library did not put there is not deleted
//! ([`check_removable`]): the user moves that file away first. `store::directory` decides which
//! files these are.

use crate::{
    error::{Error, Result},
    format::{
        constants::LOCK_NAME,
        directory_entry::{self, StoreEntry},
    },
    store::{
        StoreReader,
        directory::{Directory, Identity},
        listing, member_locks,
        sweep::Swept,
    },
    sys::{
        fork::Private,
        fs::{inode_at, rename_without_replacing},
        process,
        wait::{Deadline, IN_PASSING},
    },
};
use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Deletes the store in a directory if it is marked as closing: its closer died, or has not come to
/// the rename yet. Returns false if no such store is there.
pub(crate) fn finish_closing(directory: &Path, deadline: &Deadline) -> Result<bool> {
    let store = match StoreReader::open(directory) {
        Ok(store) => store,
        Err(Error::NotFound { .. } | Error::Untrusted { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    if !store.page().is_closing() {
        return Ok(false);
    }
    check_removable(directory)?;
    remove(directory, store.lock_file(), store.inode(), deadline).map(|_| true)
}

/// How often a file is looked at before it counts as one of others.
const LOOKS: usize = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// An error if the store contains a file that this library did not put there.
///
/// A process that publishes an array while its store is closed may put it into the store that took
/// the path, and deletes it at once. So a file of others counts if it is there at every look.
pub(crate) fn check_removable(directory: &Path) -> Result<()> {
    for look in 1..=LOOKS {
        match listing::foreign_entry(directory)? {
            None => break,
            Some(foreign) if look == LOOKS => return Err(not_removable(directory, &foreign)),
            Some(_) => std::thread::sleep(BETWEEN_LOOKS),
        }
    }
    Ok(())
}

pub(super) fn not_removable(directory: &Path, foreign: &Path) -> Error {
    let foreign = foreign.display();
    Error::Untrusted {
        path: directory.into(),
        reason: format!("{foreign} is not the store's: move it away, then delete the store"),
    }
}

/// Deletes a store that was marked as closing, whose open lock file has this device and inode:
/// steps 2 and 3. Does nothing if another process renamed it away first.
pub(crate) fn remove(
    directory: &Path,
    lock: &Private,
    inode: (u64, u64),
    deadline: &Deadline,
) -> Result<Swept> {
    match rename_away(directory, lock, inode, deadline)? {
        Some(gone) => empty(&gone),
        None => Ok(Swept::default()),
    }
}

/// Step 2. Returns the directory's new path.
fn rename_away(
    directory: &Path,
    lock: &Private,
    inode: (u64, u64),
    deadline: &Deadline,
) -> Result<Option<PathBuf>> {
    let path = directory.join(LOCK_NAME);
    // The lock goes with its description, when this is dropped.
    let closing = lock
        .reopen()
        .map_err(Error::io(&path, "open the lock file again"))?;
    lock_closing(&closing, &path, deadline)?;
    let named = inode_at(&path).map_err(Error::io(&path, "look at the lock file"))?;
    if named != Some(inode) {
        return Ok(None);
    }
    failpoint!(RenameAwayWanted);
    let random = process::random_uuid().map_err(Error::io(directory, "take random bytes"))?;
    let gone = directory.with_file_name(directory_entry::gone_name(random));
    match rename_without_replacing(directory, &gone) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(directory, "rename the store away")(error)),
    }
    failpoint!(StoreRenamedAway);
    let moved = inode_at(&gone.join(LOCK_NAME)).map_err(Error::io(&gone, "look at the store"))?;
    if moved.is_some_and(|found| found != inode) {
        failpoint!(StorePutBack);
        return match rename_without_replacing(&gone, directory) {
            Ok(()) => Ok(None),
            Err(error) => Err(Error::io(gone, "put another store back into its place")(
                error,
            )),
        };
    }
    Ok(Some(gone))
}

/// Another closer holds the lock for a few system calls, unless it is stopped, so the wait has an
/// end also where the caller set none.
fn lock_closing(closing: &Private, path: &Path, deadline: &Deadline) -> Result<()> {
    let action = "lock the store to rename it away";
    let obstacle = "another process that deletes this store held its lock (if it is stopped: \
                    continue it by SIGCONT, or end it)";
    deadline
        .or(Some(IN_PASSING))
        .poll(path, action, obstacle, || {
            closing.file().and_then(member_locks::try_lock_closing)
        })
}

/// Unlinks the files of a store that was renamed away, and removes its directory: step 3.
pub(super) fn empty(gone: &Path) -> Result<Swept> {
    let mut swept = Swept::default();
    let Some(directory) = Directory::open(gone)? else {
        return Ok(swept);
    };
    let store = directory.identity()?;
    let mut looks = 1;
    loop {
        if let Some(store) = &store {
            unlink_files(&directory, store, &mut swept)?;
        }
        failpoint!(StoreEmptied);
        let removed = fs::remove_dir(gone);
        failpoint!(StoreRemoved);
        match removed {
            Ok(()) => return Ok(swept),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(swept),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) => return Err(Error::io(gone, "delete the directory")(error)),
        }
        match directory.foreign_entry(store.as_ref())? {
            None => {}
            Some(foreign) if looks == LOOKS => {
                return Err(not_removable(gone, Path::new(&foreign)));
            }
            Some(_) => {
                looks += 1;
                std::thread::sleep(BETWEEN_LOOKS);
            }
        }
    }
}

/// Unlinks all files of the store, the lock file last: while there are others, they are known by
/// it.
fn unlink_files(directory: &Directory, store: &Identity, swept: &mut Swept) -> Result<()> {
    for name in directory.names()? {
        let entry = StoreEntry::of(&name);
        if entry == StoreEntry::LockFile || !directory.is_of_store(&name, store)? {
            continue;
        }
        let bytes = directory.allocated(&name);
        let is_unlinked = directory.unlink(&name)?;
        failpoint!(StoreFileRemoved);
        if is_unlinked && matches!(entry, StoreEntry::Array(_)) {
            swept.arrays += 1;
            swept.bytes += bytes;
        }
    }
    let is_rest_foreign = directory.names()?.iter().any(|name| name != LOCK_NAME);
    if !is_rest_foreign {
        directory.unlink(OsStr::new(LOCK_NAME))?;
        failpoint!(StoreFileRemoved);
    }
    Ok(())
}

/// Removes a store that no process is making any more: a lock file and its directory. Returns false
/// if the directory has something else, and so is none.
pub(super) fn remove_half_built(path: &Path) -> Result<bool> {
    let Some(directory) = Directory::open(path)? else {
        return Ok(false);
    };
    if !directory.is_half_built()? {
        return Ok(false);
    }
    directory.unlink(OsStr::new(LOCK_NAME))?;
    failpoint!(StoreFileRemoved);
    let removed = fs::remove_dir(path);
    failpoint!(StoreRemoved);
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(path, "delete the directory")(error))
        }
        _ => Ok(true),
    }
}

//! Deletes whole stores.
//!
//! # How a store is deleted
//!
//! 1. *Mark.* The closer sets the closing flag in the lock page, and never clears it. From then on
//!    every join and every opening is refused. A process that publishes an array looks at the flag
//!    after its rename, so either the closer finds the new file, or its maker deletes it.
//! 2. *Rename away.* One rename gives the directory the name `.ndshm-gone-` and random digits, in
//!    the same parent. The path is free for another store at once.
//! 3. *Check.* The closer compares device and inode of the lock file in the renamed directory with
//!    those of the store that it marked. They differ if a user deleted the store by hand and made
//!    another one at its path: the closer renames that one back.
//! 4. *Empty.* The closer unlinks every file and removes the directory. Several processes may do
//!    this at once, so a file that is gone is no error. A file that arrives between the listing and
//!    the removal makes the closer list again.
//!
//! # A closer that dies
//!
//! After step 1 the marked store is still in its place: the next process that makes a store there
//! finishes the deletion ([`finish_closing`]), and so does a sweep or the janitor. After step 2 the
//! directory remains as `.ndshm-gone-*`, and a sweep empties it. If the closer dies between step 2
//! and the rename back, the store in `.ndshm-gone-*` is not marked as closing. A sweep does not
//! empty that store: it asks the user to rename it back, unless it is ephemeral and has no member.
//!
//! # Files of others
//!
//! A store that contains a file that this library did not put there is not deleted
//! ([`check_removable`]): the user moves that file away first.

use crate::{
    error::{Error, Result},
    format::{
        constants::LOCK_NAME,
        directory_entry::{self, StoreEntry},
    },
    store::{StoreReader, listing, sweep::Swept},
    sys::fs::inode_at,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::{fs, io, path::Path};
use uuid::Uuid;

/// Deletes the store in a directory if it is marked as closing: its closer died, or has not come to
/// the rename yet. Returns false if no such store is there.
pub(crate) fn finish_closing(directory: &Path) -> Result<bool> {
    let store = match StoreReader::open(directory) {
        Ok(store) => store,
        Err(Error::NotFound { .. } | Error::Untrusted { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    if !store.page().is_closing() {
        return Ok(false);
    }
    check_removable(directory)?;
    remove(directory, store.inode()).map(|_| true)
}

/// An error if the store contains a file that this library did not put there.
pub(crate) fn check_removable(directory: &Path) -> Result<()> {
    match listing::foreign_entry(directory)? {
        None => Ok(()),
        Some(foreign) => Err(Error::Untrusted {
            path: directory.into(),
            reason: format!(
                "{} is not the store's: move it away, then delete the store",
                foreign.display()
            ),
        }),
    }
}

/// Deletes a store that was marked as closing, whose lock file has this device and inode: steps 2
/// to 4.
pub(crate) fn remove(directory: &Path, inode: (u64, u64)) -> Result<Swept> {
    let gone = directory.with_file_name(directory_entry::gone_name(Uuid::new_v4()));
    match renameat_with(CWD, directory, CWD, &gone, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(rustix::io::Errno::NOENT) => return Ok(Swept::default()),
        Err(errno) => return Err(Error::io(directory, "rename the store away")(errno.into())),
    }
    failpoint!(StoreRenamedAway);
    if inode_at(&gone.join(LOCK_NAME)).is_some_and(|found| found != inode) {
        failpoint!(StorePutBack);
        return match renameat_with(CWD, &gone, CWD, directory, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(Swept::default()),
            Err(errno) => Err(Error::io(gone, "put another store back into its place")(
                errno.into(),
            )),
        };
    }
    empty(&gone)
}

/// Unlinks every file in a directory that was renamed away, and removes the directory.
pub(super) fn empty(gone: &Path) -> Result<Swept> {
    let mut swept = Swept::default();
    loop {
        unlink_files(gone, &mut swept)?;
        failpoint!(StoreEmptied);
        let removed = fs::remove_dir(gone);
        failpoint!(StoreRemoved);
        match removed {
            Ok(()) => return Ok(swept),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(swept),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) => return Err(Error::io(gone, "delete the directory")(error)),
        }
    }
}

fn unlink_files(directory: &Path, swept: &mut Swept) -> Result<()> {
    for name in listing::names(directory)? {
        let path = directory.join(&name);
        let bytes = listing::allocated(&path);
        let removed = fs::remove_file(&path);
        failpoint!(StoreFileRemoved);
        match removed {
            Ok(()) if matches!(StoreEntry::of(&name), StoreEntry::Array(_)) => {
                swept.arrays += 1;
                swept.bytes += bytes;
            }
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(path, "delete the file")(error)),
        }
    }
    Ok(())
}

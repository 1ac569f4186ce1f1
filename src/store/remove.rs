//! Deletes whole stores.
//!
//! # How a store is deleted
//!
//! 1. *Mark.* The closer sets the closing flag in the lock page, and never clears it. From then on
//!    every join and every opening is refused. A process that publishes an array looks at the flag
//!    after its rename, so either the closer finds the new file, or its maker deletes it.
//! 2. *Rename away.* The closer takes the closing lock of the marked store, a byte of its lock
//!    file. It compares device and inode of the lock file at the path with those of the store that
//!    it marked. Then one rename gives the directory the name `.ndshm-gone-`, random digits and its
//!    old name, in the same parent. Each process that renames a store away holds that store's lock,
//!    so between the look and the rename no other process moves the marked store, and no other
//!    store can take its path. Without the lock, a second closer could rename away a store that a
//!    third process made in between. Afterwards the path is free for another store.
//! 3. *Empty.* The closer unlinks the store's files, the lock file last, and removes the directory.
//!    Several processes may do this at once, so a file that is gone is no error. A file that
//!    arrives between the listing and the removal makes the closer list again. If the closer dies
//!    before that, the draft of a late maker is alone in the directory: a directory of that name
//!    that has drafts only, and no lock file, is emptied too.
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
//! closer compares once more after the rename, and renames the other store back. If it is killed
//! before, the store in `.ndshm-gone-*` is not marked as closing, and the name has the name of its
//! place at the end: a sweep renames it back ([`put_back`]), unless the store is ephemeral and has
//! no member. Where another store has the place, the sweep says how the user gives it another name.
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
        closing::{self, Inode},
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

/// An error if the store contains a file that this library did not put there.
pub(crate) fn check_removable(directory: &Path) -> Result<()> {
    match listing::strays(directory)?.first() {
        None => Ok(()),
        Some(stray) => Err(not_removable(directory, stray.as_ref())),
    }
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
    inode: Inode,
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
    inode: Inode,
    deadline: &Deadline,
) -> Result<Option<PathBuf>> {
    let random = process::random_uuid().map_err(Error::io(directory, "take random bytes"))?;
    let name = directory.file_name().unwrap_or_default();
    // A store that was renamed away before keeps the name of its first place.
    let name = directory_entry::name_before(name).unwrap_or(name);
    let away = Away {
        directory,
        lock,
        deadline,
        gone: directory.with_file_name(directory_entry::gone_name(random, name)),
    };
    Ok(closing::rename_away(&away, inode)?.then_some(away.gone))
}

/// The place of a store on a file system.
struct Away<'a> {
    directory: &'a Path,
    lock: &'a Private,
    deadline: &'a Deadline,
    gone: PathBuf,
}

impl closing::Place for Away<'_> {
    /// The lock goes with its description.
    type Lock = Private;
    type Error = Error;

    fn lock(&self) -> Result<Private> {
        let path = self.directory.join(LOCK_NAME);
        let closing = self
            .lock
            .reopen()
            .map_err(Error::io(&path, "open the lock file again"))?;
        lock_closing(&closing, &path, self.deadline)?;
        Ok(closing)
    }

    fn found(&self) -> Result<Option<Inode>> {
        let path = self.directory.join(LOCK_NAME);
        inode_at(&path).map_err(Error::io(&path, "look at the lock file"))
    }

    fn rename_away(&self) -> Result<bool> {
        match rename_without_replacing(self.directory, &self.gone) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io(self.directory, "rename the store away")(error)),
        }
    }

    fn found_away(&self) -> Result<Option<Inode>> {
        inode_at(&self.gone.join(LOCK_NAME)).map_err(Error::io(&self.gone, "look at the store"))
    }

    fn put_back(&self) -> Result<()> {
        put_back(&self.gone).map(|_| ())
    }
}

/// Renames a store back that is not closed and was renamed away in the place of another one.
/// Returns false if another process did so first. If the name of its place is not known, or another
/// directory has it, the error says how a user puts the store elsewhere.
pub(super) fn put_back(gone: &Path) -> Result<bool> {
    let place = place_before(gone).ok_or_else(|| displaced(gone))?;
    match rename_without_replacing(gone, &place) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(displaced(gone)),
        Err(error) => Err(Error::io(gone, "put the store back into its place")(error)),
    }
}

/// The path that a store had before it was renamed away.
fn place_before(gone: &Path) -> Option<PathBuf> {
    let name = directory_entry::name_before(gone.file_name()?)?;
    Some(gone.with_file_name(name))
}

/// The error for a store that is not closed and was renamed away: how it gets a name again.
pub(super) fn displaced(gone: &Path) -> Error {
    let is_free = |path: &PathBuf| fs::symlink_metadata(path).is_err();
    let place = place_before(gone);
    let reason = match place.filter(is_free) {
        Some(place) => format!(
            "it is a store that is not closed, renamed away where another one was: a sweep puts it \
             back as {}",
            place.display()
        ),
        None => {
            let base = place_before(gone).unwrap_or(gone.with_file_name("restored"));
            let name = base.file_name().unwrap_or_default().to_string_lossy();
            let free = (1..)
                .map(|n| base.with_file_name(format!("{name}-{n}")))
                .find(is_free)
                .unwrap_or(base.clone());
            format!(
                "it is a store that is not closed, renamed away where another one was, and its \
                 place is taken or not known: give it a name with mv -nT {} {}",
                quoted(gone),
                quoted(&free)
            )
        }
    };
    Error::Untrusted {
        path: gone.into(),
        reason,
    }
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
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
    loop {
        // Without a sound lock file a directory is a closed store's only if it has drafts alone.
        if store.is_some() || directory.foreign_entry(None)?.is_none() {
            unlink_files(&directory, store.as_ref(), &mut swept)?;
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
        if let Some(foreign) = directory.foreign_entry(store.as_ref())? {
            return Err(not_removable(gone, Path::new(&foreign)));
        }
    }
}

/// Unlinks all files of the store, the lock file last: while there are others, they are known by
/// it. `None` stands for a store that has lost its lock file.
fn unlink_files(directory: &Directory, store: Option<&Identity>, swept: &mut Swept) -> Result<()> {
    for name in directory.names()? {
        let entry = StoreEntry::of(&name);
        if entry == StoreEntry::LockFile || !directory.is_left_by(&name, store)? {
            continue;
        }
        let bytes = directory.allocated(&name);
        let is_array = matches!(entry, StoreEntry::Array(_)) && !directory.is_unready(&name)?;
        let is_unlinked = directory.unlink(&name)?;
        failpoint!(StoreFileRemoved);
        if is_unlinked {
            swept.arrays += usize::from(is_array);
            swept.half_made += usize::from(!is_array);
            swept.bytes += bytes;
        }
    }
    let is_rest_foreign = directory.names()?.iter().any(|name| name != LOCK_NAME);
    if store.is_some() && !is_rest_foreign {
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

//! Whole stores: made complete and renamed into place, deleted by renaming away, swept when all their processes are gone.

use crate::{
    error::{Error, Result},
    fork::Private,
    format::*,
    lock_file::{self, LockPage},
    mapping::Mapping,
    member::{self, Member},
    trust,
};
use rustix::fs::{CWD, RenameFlags};
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

/// What a sweep deleted.
///
/// # Examples
///
/// ```
/// let manager = ndshm::Manager::new()?;
/// let swept = manager.sweep()?;
/// println!("{} stores and {} arrays of the dead gave {} bytes back", swept.stores, swept.arrays, swept.bytes);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Stores whose processes were all gone.
    pub stores: usize,
    /// Arrays, those of the deleted stores included.
    pub arrays: usize,
    /// Bytes that their files took.
    pub bytes: u64,
    /// Stores of the dead that were left because files lie in them that are not theirs.
    pub skipped: Vec<PathBuf>,
}

/// Makes a store and joins it as its first member.
pub(crate) fn create(directory: &Path, persistent: bool, any_file_system: bool) -> Result<Arc<Member>> {
    let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
        return Err(Error::Untrusted { path: directory.into(), reason: "a store needs a directory of its own".into() });
    };
    let parent = fs::canonicalize(parent).map_err(Error::io(parent, "find the directory that the store shall be made in"))?;
    let directory = parent.join(name);
    let _creating = lock_builders(&parent)?;
    let failed = |source| trust::creation_error(source, &parent, LOCK_LEN as u64, "build a store here");
    let building = tempfile::Builder::new()
        .prefix(NEW_PREFIX)
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir_in(&parent)
        .map_err(failed)?;
    trust::check_directory(building.path(), any_file_system)?;
    let page = LockPage::initial(Uuid::new_v4(), member::boot_id()?, persistent);
    write_lock_file(&building.path().join(LOCK_NAME), &page).map_err(failed)?;
    let member = Member::join_new(building.path(), &directory)?;
    match rustix::fs::renameat_with(CWD, building.path(), CWD, &directory, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => return Err(Error::AlreadyExists { path: directory }),
        Err(errno) => return Err(Error::io(directory, "rename the new store into place")(errno.into())),
    }
    let _ = building.keep();
    Ok(member.enlist())
}

/// An error where something lies in a store that this library did not put there: it is not deleted.
pub(crate) fn check_removable(directory: &Path) -> Result<()> {
    match foreign_entry(directory)? {
        None => Ok(()),
        Some(foreign) => {
            let reason = format!("{} is not the store's: move it away, then delete the store", foreign.display());
            Err(Error::Untrusted { path: directory.into(), reason })
        }
    }
}

/// Deletes a store that was marked as closing. Whoever still publishes looks at that mark and takes its own away.
pub(crate) fn remove(directory: &Path) -> Result<Swept> {
    let gone = directory.with_file_name(format!("{GONE_PREFIX}{}", Uuid::new_v4().simple()));
    match rustix::fs::renameat_with(CWD, directory, CWD, &gone, RenameFlags::NOREPLACE) {
        Ok(()) => empty(&gone),
        Err(rustix::io::Errno::NOENT) => Ok(Swept::default()),
        Err(errno) => Err(Error::io(directory, "rename the store away")(errno.into())),
    }
}

/// Deletes the stores in a root whose processes are all gone, and what was left half-built or half-deleted there.
pub(crate) fn sweep(root: &Path) -> Result<Swept> {
    let mut swept = Swept::default();
    let mut half_built = Vec::new();
    for entry in entries(root)? {
        let path = root.join(&entry);
        let starts = |prefix: &str| entry.as_encoded_bytes().starts_with(prefix.as_bytes());
        if starts(GONE_PREFIX) {
            swept.add(empty(&path)?);
        } else if starts(NEW_PREFIX) {
            half_built.push(path);
        } else {
            match sweep_store(&path) {
                Ok(found) => swept.add(found),
                // Not a store, not ours, foreign files inside, or gone in the meantime.
                Err(Error::Untrusted { .. }) if path.join(LOCK_NAME).exists() => swept.skipped.push(path),
                Err(Error::NotFound { .. } | Error::Untrusted { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    if !half_built.is_empty() {
        let builders = open_directory(root)?;
        // Whoever builds a store holds this lock shared: nobody builds while it is held exclusively.
        if lock_file::try_exclude(builders.file()).map_err(Error::io(root, "lock the root"))? {
            for path in half_built {
                empty(&path)?;
            }
        }
    }
    Ok(swept)
}

impl Swept {
    pub(crate) fn add(&mut self, other: Swept) {
        self.stores += other.stores;
        self.arrays += other.arrays;
        self.bytes += other.bytes;
        self.skipped.extend(other.skipped);
    }
}

/// Deletes an ephemeral store if no process is its member any more.
fn sweep_store(directory: &Path) -> Result<Swept> {
    trust::check_directory(directory, true)?;
    let path = directory.join(LOCK_NAME);
    let lock = Private::open(|| trust::open_file(&path)).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NotFound { path: directory.into(), what: "no store is here" },
        _ => Error::Io { path: path.clone(), action: "open the lock file", source },
    })?;
    let metadata = trust::check_file(lock.file(), &path)?;
    if metadata.len() != LOCK_LEN as u64 {
        return Err(Error::Untrusted { path, reason: "it is not a lock file of a store".into() });
    }
    let page = Mapping::new(lock.file(), LOCK_LEN, &path)?;
    if let Some(defect) = page.lock_page().defect() {
        return Err(Error::Untrusted { path, reason: defect.into() });
    }
    let alone = || lock_file::try_exclude(lock.file()).map_err(Error::io(&path, "lock the lock file"));
    if page.lock_page().is_persistent() || !alone()? {
        return Ok(Swept::default());
    }
    let still_there = fs::symlink_metadata(&path).is_ok_and(|now| (now.dev(), now.ino()) == (metadata.dev(), metadata.ino()));
    if !still_there || page.lock_page().is_persistent() {
        return Ok(Swept::default());
    }
    check_removable(directory)?;
    page.lock_page().set_closing();
    Ok(Swept { stores: 1, ..remove(directory)? })
}

/// Unlinks everything in a directory that was renamed away, and the directory. Somebody else may be doing the same.
fn empty(gone: &Path) -> Result<Swept> {
    let mut swept = Swept::default();
    loop {
        for entry in entries(gone)? {
            let path = gone.join(&entry);
            let is_array = entry.as_encoded_bytes().ends_with(SUFFIX.as_bytes());
            let bytes = fs::symlink_metadata(&path).map_or(0, |metadata| metadata.blocks() * 512);
            match fs::remove_file(&path) {
                Ok(()) if is_array => swept.add(Swept { arrays: 1, bytes, ..Swept::default() }),
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::Io { path, action: "delete the file", source }),
            }
        }
        match fs::remove_dir(gone) {
            Ok(()) => return Ok(swept),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(swept),
            // Somebody's file arrived between the look and the removal: look again.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(source) => return Err(Error::Io { path: gone.into(), action: "delete the directory", source }),
        }
    }
}

/// The names in a directory; none where it is gone.
pub(crate) fn entries(directory: &Path) -> Result<Vec<OsString>> {
    let failed = || Error::io(directory, "list the directory");
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.file_name()).map_err(failed())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed()(error)),
    }
}

/// Something in the store's directory that this library did not put there.
fn foreign_entry(directory: &Path) -> Result<Option<PathBuf>> {
    let is_ours = |name: &OsStr| {
        let bytes = name.as_encoded_bytes();
        name == LOCK_NAME || bytes.ends_with(SUFFIX.as_bytes()) || bytes.starts_with(NEW_PREFIX.as_bytes())
    };
    let is_directory = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    Ok(entries(directory)?.into_iter().find(|name| !is_ours(name) || is_directory(&directory.join(name))).map(PathBuf::from))
}

fn write_lock_file(path: &Path, page: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, page.len() as u64)?;
    file.write_all(page)
}

/// Says that a store is being built in this directory, until it is dropped.
fn lock_builders(parent: &Path) -> Result<Private> {
    let builders = open_directory(parent)?;
    while !lock_file::try_share(builders.file()).map_err(Error::io(parent, "lock the directory"))? {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(builders)
}

fn open_directory(path: &Path) -> Result<Private> {
    Private::open(|| File::open(path)).map_err(Error::io(path, "open the directory"))
}

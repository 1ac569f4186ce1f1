//! Whole stores: made complete and renamed into place, deleted by renaming away, swept when all
//! their processes are gone.

pub(crate) mod janitor;
#[allow(unsafe_code)]
pub(crate) mod lock_page;
pub(crate) mod mapping_cache;
pub(crate) mod member;
pub(crate) mod member_locks;
pub(crate) mod permissions;
pub(crate) mod recycle_pool;
pub(crate) mod settings;
pub(crate) mod temporary;

use self::member::Member;
use crate::{
    error::{Error, Result},
    format::constants::*,
    store::lock_page::LockPage,
    sys::{
        file_lock,
        fork::Private,
        fs::{creation_error, inode_at, open_file},
        mapping::Mapping,
    },
};
use rustix::fs::{CWD, RenameFlags};
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// How long a maker waits for a sweep that deletes half-built stores in the same directory.
const PATIENCE: Duration = Duration::from_secs(10);

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
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Swept {
    /// Stores whose processes were all gone.
    pub stores: usize,
    /// Arrays, those of the deleted stores included.
    pub arrays: usize,
    /// Bytes that their files took, and those of arrays that were left half-made.
    pub bytes: u64,
    /// What was left because it could not be deleted, or cannot be told to be dead: for each an
    /// error with its path.
    pub skipped: Vec<Error>,
}

/// Makes a store and joins it as its first member.
pub(crate) fn create(
    directory: &Path,
    persistent: bool,
    any_file_system: bool,
) -> Result<Arc<Member>> {
    let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
        return Err(Error::Untrusted {
            path: directory.into(),
            reason: "a store needs a directory of its own".into(),
        });
    };
    if [NEW_PREFIX, GONE_PREFIX]
        .iter()
        .any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
    {
        let name = name.to_string_lossy().into_owned();
        return Err(Error::Name {
            name,
            reason: "so begin stores that are being made or deleted",
        });
    }
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let parent = fs::canonicalize(parent).map_err(Error::io(
        parent,
        "find the directory for the new store, which must exist",
    ))?;
    let directory = parent.join(name);
    let _creating = lock_builders(&parent)?;
    failpoint!(BuildersShared);
    let failed = |source| creation_error(source, &parent, LOCK_LEN as u64, "build a store here");
    let building = tempfile::Builder::new()
        .prefix(NEW_PREFIX)
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir_in(&parent)
        .map_err(failed)?;
    failpoint!(StoreBuilt);
    permissions::check_directory(building.path(), any_file_system)?;
    let page = LockPage::initial(Uuid::new_v4(), member::boot_id()?, persistent);
    write_lock_file(&building.path().join(LOCK_NAME), &page).map_err(failed)?;
    failpoint!(StoreLockWritten);
    let member = Member::join_new(building.path(), &directory)?;
    failpoint!(StoreJoined);
    let rename = || match rustix::fs::renameat_with(
        CWD,
        building.path(),
        CWD,
        &directory,
        RenameFlags::NOREPLACE,
    ) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => Err(Error::AlreadyExists {
            path: directory.clone(),
        }),
        Err(errno) => Err(Error::io(&directory, "rename the new store into place")(
            errno.into(),
        )),
    };
    match rename() {
        Err(Error::AlreadyExists { .. }) if finish_closing(&directory)? => rename()?,
        result => result?,
    }
    failpoint!(StoreInPlace);
    let _ = building.keep();
    Ok(member.enlist())
}

/// Deletes the store in a directory whose closer did not come to it. False where there is none that
/// is being closed.
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
    remove(directory, store.inode).map(|_| true)
}

/// An error where something lies in a store that this library did not put there: it is not deleted.
pub(crate) fn check_removable(directory: &Path) -> Result<()> {
    match foreign_entry(directory)? {
        None => Ok(()),
        Some(foreign) => {
            let reason = format!(
                "{} is not the store's: move it away, then delete the store",
                foreign.display()
            );
            Err(Error::Untrusted {
                path: directory.into(),
                reason,
            })
        }
    }
}

/// Deletes a store that was marked as closing, whose lock file has this device and inode. Whoever
/// still publishes looks at that mark and takes its own away.
pub(crate) fn remove(directory: &Path, inode: (u64, u64)) -> Result<Swept> {
    let gone = directory.with_file_name(format!("{GONE_PREFIX}{}", Uuid::new_v4().simple()));
    match rustix::fs::renameat_with(CWD, directory, CWD, &gone, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(rustix::io::Errno::NOENT) => return Ok(Swept::default()),
        Err(errno) => return Err(Error::io(directory, "rename the store away")(errno.into())),
    }
    failpoint!(StoreRenamedAway);
    if inode_at(&gone.join(LOCK_NAME)).is_some_and(|found| found != inode) {
        // Somebody deleted the store by hand and made another one here: that one goes back.
        failpoint!(StorePutBack);
        let put_back =
            rustix::fs::renameat_with(CWD, &gone, CWD, directory, RenameFlags::NOREPLACE);
        return put_back.map(|()| Swept::default()).map_err(|errno| {
            Error::io(gone, "put another store back into its place")(errno.into())
        });
    }
    empty(&gone)
}

/// Deletes the stores in a root whose processes are all gone, and what was left half-built or
/// half-deleted there.
pub(crate) fn sweep(root: &Path) -> Result<Swept> {
    Member::end_lingering(|member| member.directory().parent() == Some(root));
    let mut swept = Swept::default();
    let mut half_built = Vec::new();
    for entry in entries(root)? {
        let path = root.join(&entry);
        let starts = |prefix: &str| entry.as_encoded_bytes().starts_with(prefix.as_bytes());
        if starts(GONE_PREFIX) {
            failpoint!(SweepGoneFound);
            swept.note(sweep_gone(&path));
        } else if starts(NEW_PREFIX) {
            half_built.push(path);
        } else {
            match sweep_store(&path) {
                // Not a store, not ours, or gone in the meantime.
                Err(Error::NotFound { .. }) => {}
                Err(Error::Untrusted { .. }) if !path.join(LOCK_NAME).exists() => {}
                result => swept.note(result),
            }
        }
    }
    if !half_built.is_empty() {
        let builders = open_directory(root)?;
        // Whoever builds a store holds this lock shared: nobody builds while it is held
        // exclusively.
        let exclusive = builders
            .file()
            .and_then(file_lock::try_exclude)
            .map_err(Error::io(root, "lock the root"))?;
        if exclusive {
            failpoint!(SweepBuildersExcluded);
            half_built
                .into_iter()
                .for_each(|path| swept.note(empty(&path)));
        }
    }
    Ok(swept)
}

impl Swept {
    /// Adds what one part of a sweep did, or why it could not.
    pub(crate) fn note(&mut self, result: Result<Swept>) {
        match result {
            Ok(other) => self.add(other),
            Err(error) => self.skipped.push(error),
        }
    }

    fn add(&mut self, other: Swept) {
        self.stores += other.stores;
        self.arrays += other.arrays;
        self.bytes += other.bytes;
        self.skipped.extend(other.skipped);
    }
}

/// A store that is looked at without being joined.
pub(crate) struct StoreReader {
    lock: Private,
    path: PathBuf,
    page: Mapping,
    inode: (u64, u64),
}

impl StoreReader {
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        permissions::check_directory(directory, true)?;
        let path = directory.join(LOCK_NAME);
        let lock = Private::open(|| open_file(&path)).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NotFound {
                path: directory.into(),
                what: "no store is here",
            },
            _ => Error::Io {
                path: path.clone(),
                action: "open the lock file",
                source,
            },
        })?;
        let (page, inode) = member::map_lock_file(&lock, &path)?;
        Ok(Self {
            lock,
            path,
            page,
            inode,
        })
    }

    pub(crate) fn page(&self) -> &LockPage {
        self.page.lock_page()
    }

    /// The lock file, to ask the kernel who lives.
    pub(crate) fn lock(&self) -> Result<&File> {
        self.lock
            .file()
            .map_err(Error::io(&self.path, "use the lock file"))
    }

    /// Whether it stays when all its members are gone.
    fn stays(&self) -> bool {
        self.page().is_persistent() && !self.page().is_closing()
    }

    /// Whether nobody is a member; nobody can become one until this is dropped.
    fn is_deserted(&self) -> Result<bool> {
        let alone = self
            .lock
            .file()
            .and_then(file_lock::try_exclude)
            .map_err(Error::io(&self.path, "lock the lock file"))?;
        Ok(alone && inode_at(&self.path) == Some(self.inode))
    }
}

/// Deletes an ephemeral store if no process is its member any more, and any store whose closer was
/// killed.
fn sweep_store(directory: &Path) -> Result<Swept> {
    let store = StoreReader::open(directory)?;
    if store.stays() || !store.is_deserted()? {
        Ok(Swept::default())
    } else {
        sweep_deserted(&store, directory)
    }
}

/// Waits until no process is a member of a store any more, and deletes it if it is ephemeral then
/// and still in its place. `ready` is called when nothing is left to do before the wait.
pub(crate) fn sweep_when_deserted(
    directory: &Path,
    ready: impl FnOnce() -> Result<()>,
) -> Result<Swept> {
    let store = StoreReader::open(directory)?;
    ready()?;
    // The kernel gives shared locks also while somebody waits for the exclusive one: this keeps
    // nobody from joining.
    file_lock::exclude(store.lock()?).map_err(Error::io(&store.path, "wait for the lock file"))?;
    if inode_at(&store.path) == Some(store.inode) {
        return sweep_deserted(&store, directory);
    }
    // Somebody deleted it. If he was killed amid that, it lies beside its place under another name.
    let mut swept = Swept::default();
    if let Some(parent) = directory
        .parent()
        .filter(|parent| store.page().is_closing() && permissions::check_root(parent, true).is_ok())
    {
        let is_gone = |name: &OsString| name.as_encoded_bytes().starts_with(GONE_PREFIX.as_bytes());
        entries(parent)?
            .into_iter()
            .filter(is_gone)
            .for_each(|name| swept.note(sweep_gone(&parent.join(name))));
    }
    Ok(swept)
}

/// Deletes a store that nobody can join while this holds its lock.
fn sweep_deserted(store: &StoreReader, directory: &Path) -> Result<Swept> {
    if store.stays() {
        return Ok(Swept::default());
    }
    failpoint!(SweepStoreDeserted);
    check_removable(directory)?;
    store.page().set_closing();
    failpoint!(SweepStoreMarked);
    let swept = remove(directory, store.inode)?;
    Ok(Swept { stores: 1, ..swept })
}

/// Empties what a closer renamed away.
///
/// What is not marked as closing is another store, which was in the place of the closed one, and
/// which its closer has not put back yet, or was killed before it could: it is deleted under the
/// same conditions as in its place.
fn sweep_gone(gone: &Path) -> Result<Swept> {
    match StoreReader::open(gone) {
        Ok(store) if !store.page().is_closing() => {}
        _ => return empty(gone),
    }
    let swept = sweep_store(gone)?;
    if swept.stores == 0 && gone.exists() {
        let reason = "it is a store that is not closed, renamed away where another one was: rename it back into its place".into();
        return Err(Error::Untrusted {
            path: gone.into(),
            reason,
        });
    }
    Ok(swept)
}

/// Unlinks everything in a directory that was renamed away, and the directory. Somebody else may be
/// doing the same.
fn empty(gone: &Path) -> Result<Swept> {
    let mut swept = Swept::default();
    loop {
        for entry in entries(gone)? {
            let path = gone.join(&entry);
            let is_array = entry.as_encoded_bytes().ends_with(SUFFIX.as_bytes());
            let bytes = fs::symlink_metadata(&path).map_or(0, |metadata| metadata.blocks() * 512);
            let removed = fs::remove_file(&path);
            failpoint!(StoreFileRemoved);
            match removed {
                Ok(()) if is_array => swept.add(Swept {
                    arrays: 1,
                    bytes,
                    ..Swept::default()
                }),
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(Error::Io {
                        path,
                        action: "delete the file",
                        source,
                    });
                }
            }
        }
        failpoint!(StoreEmptied);
        let removed = fs::remove_dir(gone);
        failpoint!(StoreRemoved);
        match removed {
            Ok(()) => return Ok(swept),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(swept),
            // Somebody's file arrived between the look and the removal: look again.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(source) => {
                return Err(Error::Io {
                    path: gone.into(),
                    action: "delete the directory",
                    source,
                });
            }
        }
    }
}

/// The names in a directory; none where it is gone.
pub(crate) fn entries(directory: &Path) -> Result<Vec<OsString>> {
    let failed = || Error::io(directory, "list the directory");
    match fs::read_dir(directory) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.file_name()).map_err(failed()))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed()(error)),
    }
}

/// Something in the store's directory that this library did not put there.
fn foreign_entry(directory: &Path) -> Result<Option<PathBuf>> {
    let is_ours = |name: &OsStr| {
        let bytes = name.as_encoded_bytes();
        name == LOCK_NAME
            || bytes.ends_with(SUFFIX.as_bytes())
            || bytes.starts_with(NEW_PREFIX.as_bytes())
    };
    let is_directory =
        |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    Ok(entries(directory)?
        .into_iter()
        .find(|name| !is_ours(name) || is_directory(&directory.join(name)))
        .map(PathBuf::from))
}

fn write_lock_file(path: &Path, page: &[u8]) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    rustix::fs::fallocate(
        &file,
        rustix::fs::FallocateFlags::empty(),
        0,
        page.len() as u64,
    )?;
    file.write_all(page)
}

/// Says that a store is being built in this directory, until it is dropped.
fn lock_builders(parent: &Path) -> Result<Private> {
    let builders = open_directory(parent)?;
    let deadline = Instant::now() + PATIENCE;
    while !builders
        .file()
        .and_then(file_lock::try_share)
        .map_err(Error::io(parent, "lock the directory"))?
    {
        if Instant::now() > deadline {
            let action =
                "lock the directory: another process holds it with flock, choose another one";
            return Err(Error::io(parent, action)(io::ErrorKind::TimedOut.into()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(builders)
}

fn open_directory(path: &Path) -> Result<Private> {
    Private::open(|| File::open(path)).map_err(Error::io(path, "open the directory"))
}

//! The sweep of a root: deletes the stores that have no process any more.
//!
//! [`plan`] decides which these are, without a lock. [`sweep`] executes the plan and decides again,
//! for each store under the exclusive flock of its lock file, for half-built stores under that of
//! the root. `segment::sweep` does the same for the files in a store.

use crate::{
    error::{Error, Result},
    format::{constants::LOCK_NAME, directory_entry::RootEntry},
    store::{
        StoreReader,
        directory::Directory,
        listing,
        member::Member,
        permissions,
        plan::{Plan, PlannedDeletion, Reason},
        reader::open_directory,
        remove::{
            check_removable, displaced, empty, not_removable, put_back, remove, remove_half_built,
        },
    },
    sys::{
        file_lock,
        fs::inode_at,
        wait::{Deadline, Wait},
    },
};
use std::path::{Path, PathBuf};

/// The deletions of a sweep.
///
/// # Examples
///
/// ```
/// let manager = ndshm::Manager::new()?;
/// let swept = manager.sweep()?;
/// println!("deleted {} stores and {} arrays, {} bytes", swept.stores, swept.arrays, swept.bytes);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Swept {
    /// Deleted stores.
    pub stores: usize,
    /// Deleted arrays, those of the deleted stores included.
    pub arrays: usize,
    /// Deleted files without an array, those of the deleted stores included: half-made arrays, and
    /// files that their process kept for reuse.
    pub half_made: usize,
    /// Bytes that the files of these arrays and the files without one took.
    pub bytes: u64,
    /// Why other leftovers were not deleted, or could not be judged: an error with a path for each.
    pub skipped: Vec<Error>,
    /// The stores in the swept root that an error of `skipped` is about.
    pub(crate) skipped_stores: Vec<PathBuf>,
}

impl Swept {
    /// Adds the outcome of one part of a sweep.
    pub(crate) fn note(&mut self, result: Result<Swept>) {
        match result {
            Ok(other) => {
                self.stores += other.stores;
                self.arrays += other.arrays;
                self.half_made += other.half_made;
                self.bytes += other.bytes;
                self.skipped.extend(other.skipped);
                self.skipped_stores.extend(other.skipped_stores);
            }
            Err(error) => self.skipped.push(error),
        }
    }

    /// Adds the outcome of the sweep of a store.
    fn note_store(&mut self, store: PathBuf, result: Result<Swept>) {
        if result.is_err() {
            self.skipped_stores.push(store);
        }
        self.note(result);
    }

    /// Whether the sweep of the root noted an error of the store at this path.
    pub(crate) fn has_skipped(&self, store: &Path) -> bool {
        self.skipped_stores.iter().any(|skipped| skipped == store)
    }
}

/// The stores in a root that a sweep deletes.
pub(crate) fn plan(root: &Path) -> Result<Plan> {
    let mut plan = Plan::default();
    for name in listing::names(root)? {
        let path = root.join(&name);
        match judge(&path, RootEntry::of(&name)) {
            Ok(None) => {}
            Ok(Some(deletion)) => plan.deletions.push(deletion),
            Err(error) => plan.skipped.push((path, error)),
        }
    }
    Ok(plan)
}

fn judge(path: &Path, entry: RootEntry) -> Result<Option<PlannedDeletion>> {
    if entry == RootEntry::HalfBuilt {
        let is_half_built = match Directory::open(path)? {
            Some(directory) => directory.is_half_built()?,
            None => false,
        };
        return is_half_built
            .then(|| whole(path, Reason::HalfBuilt))
            .transpose();
    }
    if entry == RootEntry::Gone {
        let reason = match Gone::open(path)? {
            Gone::Store(store) => reason_to_delete(&store, path)?,
            Gone::Rest(directory) => match directory.foreign_entry(None)? {
                None => Some(Reason::RenamedAway),
                Some(foreign) => return Err(not_removable(path, foreign.as_ref())),
            },
            Gone::Nothing => None,
        };
        return reason.map(|reason| whole(path, reason)).transpose();
    }
    let reason = match StoreReader::open(path) {
        Ok(store) => reason_to_delete(&store, path)?,
        // Not a store, not of this user, or gone in the meantime.
        Err(Error::NotFound { .. }) => None,
        Err(Error::Untrusted { .. }) if !has_lock_file(path)? => None,
        Err(error) => return Err(error),
    };
    reason.map(|reason| whole(path, reason)).transpose()
}

fn has_lock_file(directory: &Path) -> Result<bool> {
    let path = directory.join(LOCK_NAME);
    match inode_at(&path) {
        // A directory of another user.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(false),
        found => Ok(found
            .map_err(Error::io(&path, "look for a lock file"))?
            .is_some()),
    }
}

/// Why a sweep deletes a store, if so. An error if the store is a leftover and must not be deleted
/// all the same.
pub(crate) fn reason_to_delete(store: &StoreReader, directory: &Path) -> Result<Option<Reason>> {
    let page = store.page();
    page.check_flags(directory)?;
    let is_gone = directory
        .file_name()
        .is_some_and(|name| RootEntry::of(name) == RootEntry::Gone);
    if is_gone && page.is_closing() {
        return Ok(Some(Reason::RenamedAway));
    }
    let has_members = !store.outlives_its_members() && store.has_members()?;
    let reason = Reason::of_store(page.is_persistent(), page.is_closing(), has_members);
    match reason {
        None if is_gone => Err(displaced(directory)),
        None => Ok(None),
        Some(reason) => {
            check_removable(directory)?;
            let reason = if is_gone { Reason::RenamedAway } else { reason };
            Ok(Some(reason))
        }
    }
}

/// The planned deletion of a whole store.
pub(crate) fn whole(directory: &Path, reason: Reason) -> Result<PlannedDeletion> {
    let listing::Size {
        arrays,
        drafts,
        bytes,
    } = listing::size(directory)?;
    Ok(PlannedDeletion {
        path: directory.into(),
        reason,
        arrays,
        drafts,
        bytes,
    })
}

/// Deletes the stores in a root whose processes are all gone, and the half-built and half-deleted
/// stores there.
pub(crate) fn sweep(root: &Path, deadline: &Deadline) -> Result<Swept> {
    Member::end_lingering(|member| member.directory().parent() == Some(root));
    put_back_displaced(root)?;
    let Plan { deletions, skipped } = plan(root)?;
    let (skipped_stores, skipped) = skipped.into_iter().unzip();
    let mut swept = Swept {
        skipped,
        skipped_stores,
        ..Swept::default()
    };
    let (half_built, stores): (Vec<_>, Vec<_>) = deletions
        .into_iter()
        .partition(|deletion| deletion.reason == Reason::HalfBuilt);
    for PlannedDeletion { path, reason, .. } in stores {
        if reason == Reason::RenamedAway {
            failpoint!(SweepGoneFound);
            let result = sweep_gone(&path, deadline);
            swept.note_store(path, result);
        } else {
            match sweep_store(&path, deadline) {
                // Deleted by another process since it was planned.
                Err(Error::NotFound { .. }) => {}
                result => swept.note_store(path, result),
            }
        }
    }
    if !half_built.is_empty() {
        sweep_half_built(root, &half_built, &mut swept)?;
    }
    Ok(swept)
}

/// The thing at the path of a store that was renamed away.
enum Gone {
    /// A store with its lock file.
    Store(StoreReader),
    /// A directory of this user without one. Its closer died just before it removed the directory,
    /// which may have drafts of late makers; or it is not of this library, whatever its name is.
    Rest(Directory),
    /// Nothing, a link, another file, or another user's directory.
    Nothing,
}

impl Gone {
    /// An error where a store is there that cannot be opened, for example for its mode, or where
    /// this cannot be told.
    fn open(path: &Path) -> Result<Self> {
        let error = match StoreReader::open(path) {
            Ok(store) => return Ok(Self::Store(store)),
            Err(error @ (Error::NotFound { .. } | Error::Untrusted { .. })) => error,
            Err(error) => return Err(error),
        };
        match Directory::open(path)? {
            Some(directory) if directory.identity()?.is_some() => Err(error),
            Some(directory) => Ok(Self::Rest(directory)),
            None => Ok(Self::Nothing),
        }
    }
}

/// Puts stores back that are not closed and were renamed away in the place of another one, if their
/// places are free. The plan has an error for each of the others.
fn put_back_displaced(root: &Path) -> Result<()> {
    let names = listing::names(root)?.into_iter();
    for name in names.filter(|name| RootEntry::of(name) == RootEntry::Gone) {
        let gone = root.join(name);
        let is_displaced = StoreReader::open(&gone).is_ok_and(|store| stays(&store));
        if is_displaced && put_back(&gone).is_ok_and(|was_put_back| was_put_back) {
            event!(DEBUG, path = %gone.display(), "put a store back into its place");
        }
    }
    Ok(())
}

/// Whether a store is neither closed nor deserted.
fn stays(store: &StoreReader) -> bool {
    let page = store.page();
    !page.is_closing() && (page.is_persistent() || store.has_members().unwrap_or(false))
}

/// Deletes half-built stores, if no process is building one: a builder holds the root's flock,
/// shared.
fn sweep_half_built(root: &Path, half_built: &[PlannedDeletion], swept: &mut Swept) -> Result<()> {
    let builders = open_directory(root)?;
    let is_exclusive = builders
        .file()
        .and_then(file_lock::try_exclude)
        .map_err(Error::io(root, "lock the root"))?;
    if is_exclusive {
        failpoint!(SweepBuildersExcluded);
        for deletion in half_built {
            swept.note(remove_half_built(&deletion.path).map(|_| Swept::default()));
        }
    }
    Ok(())
}

/// Deletes an ephemeral store if no process is its member any more, and any store whose closer was
/// killed.
fn sweep_store(directory: &Path, deadline: &Deadline) -> Result<Swept> {
    let store = StoreReader::open(directory)?;
    if store.is_read_only() {
        Err(Error::ReadOnly {
            path: directory.into(),
            reason: "its file system is mounted read-only: sweep it where it can be written",
        })
    } else if store.outlives_its_members() || !store.lock_if_deserted()? {
        Ok(Swept::default())
    } else {
        sweep_deserted(&store, directory, deadline)
    }
}

/// Waits until no process is a member of a store any more, and deletes it if it is ephemeral then
/// and still in its place. Calls `ready` just before the wait.
pub(crate) fn sweep_when_deserted(
    directory: &Path,
    wait: Wait,
    ready: impl FnOnce() -> Result<()>,
) -> Result<Swept> {
    let store = StoreReader::open(directory)?;
    ready()?;
    store.wait_until_deserted(wait)?;
    let deadline = wait.begin();
    if store.is_at_its_path()? {
        return sweep_deserted(&store, directory, &deadline);
    }
    // Another process deleted the store. If it was killed midway, the directory remains as
    // `.ndshm-gone-*`.
    let mut swept = Swept::default();
    if let Some(parent) = directory
        .parent()
        .filter(|parent| store.page().is_closing() && permissions::check_root(parent, true).is_ok())
    {
        for name in listing::names(parent)? {
            if RootEntry::of(&name) == RootEntry::Gone {
                swept.note(sweep_gone(&parent.join(name), &deadline));
            }
        }
    }
    Ok(swept)
}

/// Deletes a store that no process can join while `store` holds its lock.
fn sweep_deserted(store: &StoreReader, directory: &Path, deadline: &Deadline) -> Result<Swept> {
    if store.outlives_its_members() {
        return Ok(Swept::default());
    }
    failpoint!(SweepStoreDeserted);
    check_removable(directory)?;
    store.page().set_closing(directory)?;
    failpoint!(SweepStoreMarked);
    let swept = remove(directory, store.lock_file(), store.inode(), deadline)?;
    Ok(Swept { stores: 1, ..swept })
}

/// Deletes a store that a closer renamed away.
///
/// A store that is not marked as closing was in the place of the closed one: its closer has not put
/// it back yet, or was killed before it could. It is deleted under the same conditions as in its
/// place.
fn sweep_gone(gone: &Path, deadline: &Deadline) -> Result<Swept> {
    match Gone::open(gone)? {
        Gone::Store(store) if !store.page().is_closing() => {}
        Gone::Store(_) | Gone::Rest(_) => return empty(gone),
        Gone::Nothing => return Ok(Swept::default()),
    }
    let swept = sweep_store(gone, deadline)?;
    if swept.stores == 0 {
        put_back(gone)?;
    }
    Ok(swept)
}

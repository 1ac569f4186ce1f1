//! Makes stores: under a temporary name, complete with its lock file and its first member, then
//! renamed into place. No process sees a store without a lock file or without a member.

use crate::{
    error::{Error, Result},
    format::{
        constants::{LOCK_LEN, LOCK_NAME},
        directory_entry::{self, RootEntry},
    },
    store::{
        lock_page::LockPage,
        member::{self, Member},
        permissions,
        reader::{StoreReader, open_directory},
        remove,
    },
    sys::{
        file_lock,
        fork::Private,
        fs::{creation_error, rename_without_replacing, reserve},
        process,
        wait::{Deadline, IN_PASSING},
    },
};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Makes a store and joins it as its first member.
pub(crate) fn create(
    directory: &Path,
    persistent: bool,
    any_file_system: bool,
    deadline: &Deadline,
) -> Result<Arc<Member>> {
    let (parent, directory) = place_of(directory)?;
    if permissions::is_no_store(&directory) {
        // Before the directory around it is judged, which the user may not have meant at all.
        return Err(already_exists(&directory));
    }
    let _builders = lock_builders(&parent, deadline)?;
    failpoint!(BuildersShared);
    let failed = |source| creation_error(source, &parent, LOCK_LEN as u64, "build a store here");
    let building = tempfile::Builder::new()
        .prefix(directory_entry::HALF_BUILT_PREFIX)
        .permissions(PermissionsExt::from_mode(0o700))
        .tempdir_in(&parent)
        .map_err(failed)?;
    failpoint!(StoreBuilt);
    permissions::check_directory(building.path(), any_file_system)?;
    let page = LockPage::initial(
        process::random_uuid().map_err(Error::io(&parent, "take random bytes"))?,
        member::boot_id(),
        persistent,
    );
    write_lock_file(&building.path().join(LOCK_NAME), &page).map_err(failed)?;
    failpoint!(StoreLockWritten);
    let member = Member::join_new(building.path(), &directory, deadline)?;
    if any_file_system {
        member.page().accept_any_file_system();
    }
    failpoint!(StoreJoined);
    match put_in_place(building.path(), &directory) {
        // The store that is there was marked as closing by a closer that died.
        Err(Error::AlreadyExists { .. }) if remove::finish_closing(&directory, deadline)? => {
            put_in_place(building.path(), &directory)?;
        }
        result => result?,
    }
    failpoint!(StoreInPlace);
    let _ = building.keep();
    Ok(member.enlist())
}

/// The directory around a new store, without links, and the store's own path in it.
fn place_of(directory: &Path) -> Result<(PathBuf, PathBuf)> {
    let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
        return Err(Error::Untrusted {
            path: directory.into(),
            reason: "a store needs a directory of its own".into(),
        });
    };
    if RootEntry::of(name) != RootEntry::Other {
        return Err(Error::Name {
            name: name.to_string_lossy().into_owned(),
            reason: "names of stores that are being made or deleted begin like this",
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
    Ok((parent, directory))
}

/// Gives a complete store its name, unless something has it.
fn put_in_place(building: &Path, directory: &Path) -> Result<()> {
    rename_without_replacing(building, directory).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => already_exists(directory),
        _ => Error::io(directory, "rename the new store into place")(error),
    })
}

/// The error where a path of a new store is taken.
fn already_exists(directory: &Path) -> Error {
    let next = match StoreReader::open(directory) {
        Ok(store) if store.outlives_its_members() => {
            "open it with Manager::open or Manager::open_or_create, or choose another path"
        }
        Ok(store) => match store.has_members() {
            Ok(false) => {
                "its processes are gone: delete it with Manager::sweep_root on the directory \
                 around it"
            }
            _ => "open it with Manager::open, or choose another path",
        },
        Err(_) if permissions::is_no_store(directory) => {
            "it is no store: choose a path that does not exist yet, the directory is made with the \
             store"
        }
        Err(_) => "open it with Manager::open, or choose another path",
    };
    Error::AlreadyExists {
        path: directory.into(),
        next,
    }
}

fn write_lock_file(path: &Path, page: &[u8]) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    // Exceeding the limit would be a signal.
    if process::file_size_limit().is_some_and(|limit| limit < page.len() as u64) {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    reserve(&file, 0..page.len() as u64)?;
    file.write_all(page)
}

/// Locks the directory around a new store, shared: while the lock is held, no sweep deletes
/// half-built stores there. A sweep holds it for a few system calls, so the wait has an end also
/// where the caller set none.
fn lock_builders(parent: &Path, deadline: &Deadline) -> Result<Private> {
    let builders = open_directory(parent)?;
    let obstacle = "another process held the flock of this directory (if it is a sweep that is \
                    stopped: continue it by SIGCONT, or end it; else choose another directory)";
    deadline
        .or(Some(IN_PASSING))
        .poll(parent, "lock the directory", obstacle, || {
            builders.file().and_then(file_lock::try_share)
        })?;
    Ok(builders)
}

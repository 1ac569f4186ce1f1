//! Which directories, files and file systems a process may trust: those of its own user that no
//! other user can write.

use crate::{
    error::{Error, NO_STORE, Result},
    format::{
        constants::{KIND_LEN, LOCK_NAME, MAGIC},
        directory_entry::StoreEntry,
    },
    store::{directory::Directory, listing, lock_snapshot::LockPageSnapshot},
    sys::{file_system::FileSystem, fs, process::trusted_variable},
};
use std::{
    fs::{DirBuilder, File, Metadata},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt},
    path::{Path, PathBuf},
};

/// The environment variable that names the root.
const ROOT_VARIABLE: &str = "NDSHM_ROOT";

fn untrusted(path: &Path, reason: impl Into<String>) -> Error {
    Error::Untrusted {
        path: path.into(),
        reason: reason.into(),
    }
}

/// The directory in which stores are made: the given one, that of `NDSHM_ROOT`, or
/// `/dev/shm/ndshm-<uid>`. Makes it if `create` and it does not exist.
pub(crate) fn root(given: Option<&Path>, any_file_system: bool, create: bool) -> Result<PathBuf> {
    let variable = trusted_variable(ROOT_VARIABLE).map(PathBuf::from);
    let chosen = given.map(Path::to_path_buf).or(variable);
    let is_default = chosen.is_none();
    let root = chosen.unwrap_or_else(default_root);
    if !root.is_absolute() {
        return Err(untrusted(&root, "the store root must be an absolute path"));
    }
    if create
        && let Err(source) = DirBuilder::new().mode(0o700).create(&root)
        && source.kind() != io::ErrorKind::AlreadyExists
    {
        let action =
            "create the store root; set NDSHM_ROOT to a directory of yours, best on a tmpfs";
        return Err(Error::io(root, action)(source));
    }
    if is_default {
        check_root_of(&root, rustix::process::geteuid().as_raw())?;
    }
    let root = std::fs::canonicalize(&root).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NotFound {
            path: root.clone(),
            what: "no such directory",
        },
        _ => Error::Io {
            path: root.clone(),
            action: "resolve the store root",
            source,
        },
    })?;
    let advice = match is_default {
        true => "others may write it: chmod go-w",
        false => OTHERS_WRITE_ROOT,
    };
    // A store in it has its own choice of file systems.
    check(&root, any_file_system || !create, 0o022, advice)?;
    if is_default && !any_file_system && !FileSystem::of(&root)?.is_some_and(FileSystem::is_tmpfs) {
        return Err(untrusted(
            &root,
            "it is not on a tmpfs, so arrays would lie on a disk; set NDSHM_ROOT to the directory \
             that you want",
        ));
    }
    Ok(root)
}

/// The directory of the default roots, which every user may write.
pub(crate) const DEFAULT_ROOTS: &str = "/dev/shm";
/// The name of a default root before the user's number.
const DEFAULT_PREFIX: &str = "ndshm-";

fn default_root() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    Path::new(DEFAULT_ROOTS).join(format!("{DEFAULT_PREFIX}{user}"))
}

/// The default roots of all users, with the users' numbers, in their order. An error for each that
/// is not a directory of the user in its name.
pub(crate) fn default_roots() -> Result<Vec<Result<(u32, PathBuf)>>> {
    let mut found = Vec::new();
    for name in listing::names(Path::new(DEFAULT_ROOTS))? {
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(DEFAULT_PREFIX));
        // Only the text that a number is written as: no sign, no leading zero.
        let user = number.and_then(|number| {
            let user = number.parse::<u32>().ok()?;
            (user.to_string() == number).then_some(user)
        });
        if let Some(user) = user {
            found.push((user, Path::new(DEFAULT_ROOTS).join(name)));
        }
    }
    found.sort();
    Ok(found
        .into_iter()
        .filter_map(|(user, path)| match check_root_of(&path, user) {
            Ok(()) => Some(Ok((user, path))),
            Err(Error::NotFound { .. }) => None,
            Err(error) => Some(Err(error)),
        })
        .collect())
}

/// Checks that a default root is a directory of the user whose number is in its name. Any user can
/// make a file of any name beside it.
fn check_root_of(root: &Path, user: u32) -> Result<()> {
    let metadata = std::fs::symlink_metadata(root).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NotFound {
            path: root.into(),
            what: "no such directory",
        },
        _ => Error::io(root, "look at the store root")(source),
    })?;
    let what = if metadata.is_symlink() {
        "it is a symbolic link"
    } else if !metadata.is_dir() {
        "it is not a directory"
    } else if metadata.uid() != user {
        "it is not a directory of this user"
    } else {
        return Ok(());
    };
    let maker = metadata.uid();
    Err(untrusted(
        root,
        format!(
            "{what}: {} made it where user {user} has its arrays; ask that user, or root, to \
             remove it, or set NDSHM_ROOT to a directory of yours on a tmpfs",
            fs::user_name(maker)
        ),
    ))
}

/// Checks that a store's directory is this user's alone, and on a file system that keeps its
/// promises ([`FileSystem::of`]) unless `any_file_system`.
pub(crate) fn check_directory(path: &Path, any_file_system: bool) -> Result<Metadata> {
    check(
        path,
        any_file_system,
        0o077,
        "others may enter it: chmod 700",
    )
}

/// The path of a store's directory, absolute and without links.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf> {
    fs::resolve(path, NO_STORE)
}

/// Checks that a directory has a store in it, and is this user's alone as in [`check_directory`],
/// on any file system.
///
/// Advice on a directory is for stores alone: if the path is mistaken, the error says so, and never
/// how to make another directory accessible.
pub(crate) fn check_store(path: &Path) -> Result<Metadata> {
    check_directory(path, true).map_err(|error| match error {
        Error::Untrusted { .. } if path.is_dir() => absence(path).unwrap_or(error),
        error => error,
    })
}

/// The error where a directory certainly has no lock file of a store.
fn absence(directory: &Path) -> Option<Error> {
    let path = directory.join(LOCK_NAME);
    match fs::open_to_read(&path) {
        Ok(file) => match LockPageSnapshot::read(&file, &path) {
            Ok(page) => page.defect().map(|defect| untrusted(&path, defect)),
            Err(Error::Io { source, .. }) if source.kind() != io::ErrorKind::UnexpectedEof => None,
            Err(_) => Some(untrusted(&path, "it is not a lock file of a store")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(no_store(directory)),
        // Another user's directory may keep its files secret. A failed look says nothing.
        Err(_) => None,
    }
}

/// Whether a directory has a lock file of a store, or is another user's and does not say.
pub(crate) fn has_store(directory: &Path) -> bool {
    absence(directory).is_none()
}

/// The error where a directory has no lock file.
pub(crate) fn no_store(path: &Path) -> Error {
    if has_arrays_alone(path) {
        return untrusted(
            path,
            "it has arrays but no .lock: the store is damaged, or the files were copied here",
        );
    }
    Error::no_store(path)
}

/// Whether a directory has arrays and no lock file.
fn has_arrays_alone(directory: &Path) -> bool {
    let Ok(Some(directory)) = Directory::open(directory) else {
        return false;
    };
    let names = directory.names_without_a_store().unwrap_or_default();
    names
        .unwrap_or_default()
        .iter()
        .any(|name| matches!(StoreEntry::of(name), StoreEntry::Array(_)))
}

/// Whether a directory without a lock file, or another file, is at a path: never a store, which is
/// renamed into place and away with its lock file in it.
pub(crate) fn is_no_store(path: &Path) -> bool {
    let Ok(Some(directory)) = Directory::open(path) else {
        // No directory, or another user's, which may keep its files secret. A store that appears or
        // disappears meanwhile is another file before or after.
        let found = fs::inode_at(path);
        let lock = fs::unless_missing(rustix::fs::lstat(path.join(LOCK_NAME)));
        return lock.is_ok_and(|lock| lock.is_none())
            && matches!(
                (found, fs::inode_at(path)),
                (Ok(Some(before)), Ok(Some(after))) if before == after
            );
    };
    directory
        .names_without_a_store()
        .is_ok_and(|names| names.is_some())
}

/// Checks that no other user can put stores into a root.
pub(crate) fn check_root(path: &Path, any_file_system: bool) -> Result<Metadata> {
    check(path, any_file_system, 0o022, OTHERS_WRITE_ROOT)
}

/// Advice on a directory that a user chose as a root: it may be one that other users need.
const OTHERS_WRITE_ROOT: &str = "others may write it: choose a directory that only you can write, \
                                 or make one with mkdir -m 700";

fn check(path: &Path, any_file_system: bool, forbidden: u32, advice: &str) -> Result<Metadata> {
    let metadata = std::fs::symlink_metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NotFound {
            path: path.into(),
            what: "no such directory",
        },
        _ => Error::Io {
            path: path.into(),
            action: "look at the directory",
            source,
        },
    })?;
    if !metadata.is_dir() {
        return Err(untrusted(
            path,
            "it is not a directory, so no store is here",
        ));
    }
    check_owner(&metadata, path)?;
    if metadata.mode() & forbidden != 0 {
        return Err(untrusted(
            path,
            format!("its mode is {:03o}, {advice}", metadata.mode() & 0o777),
        ));
    }
    check_file_system(path, any_file_system)?;
    Ok(metadata)
}

/// Checks that a directory is on a file system that keeps its promises, unless `any_file_system`.
pub(crate) fn check_file_system(path: &Path, any_file_system: bool) -> Result<()> {
    if !any_file_system && FileSystem::of(path)?.is_none() {
        let reason = "its file system is not tmpfs, ext4 or xfs, nor an overlay with an upper \
                      layer that is known to be on one of them, so locks and reserved space may \
                      not hold; choose a directory on one of them (in a container: a volume), or \
                      Builder::any_file_system allows it at your own risk";
        return Err(untrusted(path, reason));
    }
    Ok(())
}

/// Checks that an open file is a regular file of this user that no other user can write.
pub(crate) fn check_file(file: &File, path: &Path) -> Result<Metadata> {
    let metadata = file
        .metadata()
        .map_err(Error::io(path, "look at the file"))?;
    if !metadata.is_file() {
        return Err(untrusted(path, "it is not a regular file"));
    }
    check_owner(&metadata, path)?;
    if metadata.mode() & 0o022 != 0 {
        let advice = match is_of_a_store(file) {
            true => ": chmod 600",
            false => "",
        };
        return Err(untrusted(
            path,
            format!(
                "its mode is {:03o}, others may write it{advice}",
                metadata.mode() & 0o777
            ),
        ));
    }
    Ok(metadata)
}

/// Whether a regular file begins as an array or a lock file does.
pub(crate) fn is_of_a_store(file: &File) -> bool {
    let mut start = [0; KIND_LEN];
    let is_array = file.read_exact_at(&mut start, 0).is_ok() && MAGIC.starts_with(&start);
    is_array
        || LockPageSnapshot::read(file, Path::new(LOCK_NAME))
            .is_ok_and(|page| page.defect().is_none())
}

fn check_owner(metadata: &Metadata, path: &Path) -> Result<()> {
    if metadata.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let reason = format!(
        "it belongs to {}, not to the user of this process",
        fs::user_name(metadata.uid())
    );
    Err(untrusted(path, reason))
}

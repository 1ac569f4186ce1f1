//! Which directories, files and file systems a process may trust: those of its own user that no
//! other user can write.

use crate::{
    error::{Error, Result},
    format::{
        constants::{KIND_LEN, LOCK_NAME, MAGIC},
        directory_entry::StoreEntry,
    },
    store::{directory::Directory, lock_snapshot::LockPageSnapshot},
    sys::{fs, process::trusted_variable},
};
use std::{
    fs::{DirBuilder, File, Metadata},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt},
    path::{Path, PathBuf},
};

/// The environment variable that names the root.
const ROOT_VARIABLE: &str = "NDSHM_ROOT";

/// File systems on which flock, byte locks and reserved space keep their promises: tmpfs, ext4,
/// xfs, and overlays over them.
const FILE_SYSTEMS: [u64; 4] = [fs::TMPFS, 0xef53, 0x5846_5342, 0x794c_7630];

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
    if is_default && root.is_symlink() {
        return Err(untrusted(
            &root,
            "it is a symbolic link, which any user could have made: remove it, or set NDSHM_ROOT",
        ));
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
    check(&root, any_file_system, 0o022, advice)?;
    if is_default && !any_file_system && fs::file_system(&root)? != fs::TMPFS {
        return Err(untrusted(
            &root,
            "it is not on a tmpfs, so arrays would lie on a disk; set NDSHM_ROOT to the directory \
             that you want",
        ));
    }
    Ok(root)
}

fn default_root() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    PathBuf::from(format!("/dev/shm/ndshm-{user}"))
}

/// Checks that a store's directory is this user's alone, and on one of the file systems above
/// unless `any_file_system`.
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
    std::fs::canonicalize(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::no_store(path),
        _ => Error::io(path, "find the store's directory")(source),
    })
}

/// Checks that a directory has a store in it, and is this user's alone as in [`check_directory`].
///
/// Advice on a directory is for stores alone: if the path is mistaken, the error says so, and never
/// how to make another directory accessible.
pub(crate) fn check_store(path: &Path, any_file_system: bool) -> Result<Metadata> {
    check_directory(path, any_file_system).map_err(|error| match error {
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
            Err(_) => Some(untrusted(&path, "it is not a lock file of a store")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(no_store(directory)),
        // Another user's directory may keep its files secret.
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

/// Whether a directory has arrays and no lock file. One look through a descriptor: a store that is
/// deleted or made at this moment has both, or neither.
fn has_arrays_alone(directory: &Path) -> bool {
    let Ok(Some(directory)) = Directory::open(directory) else {
        return false;
    };
    let names = directory.names().unwrap_or_default();
    let has =
        |wanted: fn(StoreEntry<'_>) -> bool| names.iter().any(|name| wanted(StoreEntry::of(name)));
    has(|entry| matches!(entry, StoreEntry::Array(_)))
        && !has(|entry| entry == StoreEntry::LockFile)
        && directory.is_at_its_path()
}

/// Whether a directory without a lock file, or another file, is at a path: never a store, which is
/// renamed into place and away with its lock file in it.
pub(crate) fn is_no_store(path: &Path) -> bool {
    let Ok(Some(directory)) = Directory::open(path) else {
        // No directory, or another user's.
        return path.symlink_metadata().is_ok() && path.join(LOCK_NAME).symlink_metadata().is_err();
    };
    // A store that a closer empties has no lock file either, but is not at its path any more.
    let has_lock_file = directory
        .names()
        .is_ok_and(|names| names.iter().any(|name| name == LOCK_NAME));
    !has_lock_file && directory.is_at_its_path()
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
    if !any_file_system && !FILE_SYSTEMS.contains(&fs::file_system(path)?) {
        let reason = "its file system is not tmpfs, ext4, xfs or an overlay over them, so locks \
                      and reserved space may not hold; Builder::any_file_system allows it at your \
                      own risk";
        return Err(untrusted(path, reason));
    }
    Ok(metadata)
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
        "it belongs to user {}, not to the user of this process",
        metadata.uid()
    );
    Err(untrusted(path, reason))
}

//! Which directories, files and file systems a process may trust: those of its own user that no
//! other user can write.

use crate::{
    error::{Error, Result},
    store::listing,
    sys::{file_system::FileSystem, fs, process::trusted_variable},
};
use std::{
    fs::{DirBuilder, File, Metadata},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
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
    // A store in it has its own choice.
    check_root(&root, any_file_system || !create)?;
    let is_on_tmpfs =
        |root| Ok::<_, Error>(FileSystem::of(root)?.is_some_and(FileSystem::is_tmpfs));
    if is_default && !any_file_system && !is_on_tmpfs(&root)? {
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
/// What the user's number follows in the name of a default root.
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

/// Checks that no other user can put stores into a root.
pub(crate) fn check_root(path: &Path, any_file_system: bool) -> Result<Metadata> {
    check(
        path,
        any_file_system,
        0o022,
        "others may write it: chmod go-w",
    )
}

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
        return Err(untrusted(path, "it is not a directory"));
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

/// Checks that a directory is on one of the file systems above, unless `any_file_system`.
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
        return Err(untrusted(
            path,
            format!(
                "its mode is {:03o}, others may write it: chmod 600",
                metadata.mode() & 0o777
            ),
        ));
    }
    Ok(metadata)
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

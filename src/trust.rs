//! Which directories, files and file systems a process may trust: its own user's, where nobody else can write.

use crate::error::{Error, Result};
use rustix::fs::{Mode, OFlags};
use std::{
    fs::{self, File, Metadata},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

/// The environment variable that names the root.
const ROOT_VARIABLE: &str = "NDSHM_ROOT";

/// File systems where flock, byte locks and reserved space keep their promises: tmpfs, ext4, xfs, and overlays over them.
const FILE_SYSTEMS: [u64; 4] = [TMPFS, 0xef53, 0x5846_5342, 0x794c_7630];
const TMPFS: u64 = 0x0102_1994;

fn untrusted(path: &Path, reason: impl Into<String>) -> Error {
    Error::Untrusted { path: path.into(), reason: reason.into() }
}

/// The directory that stores are made in: the given one, that of `NDSHM_ROOT`, or `/dev/shm/ndshm-<uid>`; made where it does not exist, if
/// `create`.
pub(crate) fn root(given: Option<&Path>, any_file_system: bool, create: bool) -> Result<PathBuf> {
    let variable = std::env::var_os(ROOT_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let is_default = given.is_none() && variable.is_none();
    let default = || PathBuf::from(format!("/dev/shm/ndshm-{}", rustix::process::geteuid().as_raw()));
    let root = given.map(Path::to_path_buf).or(variable).unwrap_or_else(default);
    if !root.is_absolute() {
        return Err(untrusted(&root, "the store root must be an absolute path"));
    }
    if create {
        match fs::DirBuilder::new().mode(0o700).create(&root) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                let action = "create the store root; set NDSHM_ROOT to a directory of yours, best on a tmpfs";
                return Err(Error::Io { path: root, action, source });
            }
            _ => {}
        }
    }
    if is_default && root.is_symlink() {
        return Err(untrusted(&root, "it is a symbolic link, and anybody could have made it: remove it, or set NDSHM_ROOT"));
    }
    let root = fs::canonicalize(&root).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NotFound { path: root.clone(), what: "no such directory" },
        _ => Error::Io { path: root.clone(), action: "resolve the store root", source },
    })?;
    check_root(&root, any_file_system)?;
    if is_default && !any_file_system && file_system(&root)? != TMPFS {
        return Err(untrusted(&root, "it is not on a tmpfs, so arrays would lie on a disk; set NDSHM_ROOT to the directory that you want"));
    }
    Ok(root)
}

/// Checks that a store's directory is this user's alone, and on a file system that keeps its promises.
pub(crate) fn check_directory(path: &Path, any_file_system: bool) -> Result<Metadata> {
    check(path, any_file_system, 0o077, "others may enter it: chmod 700")
}

/// Checks that nobody else can put stores into a root.
pub(crate) fn check_root(path: &Path, any_file_system: bool) -> Result<Metadata> {
    check(path, any_file_system, 0o022, "others may write it: chmod go-w")
}

fn check(path: &Path, any_file_system: bool, forbidden: u32, advice: &str) -> Result<Metadata> {
    let metadata = fs::symlink_metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NotFound { path: path.into(), what: "no such directory" },
        _ => Error::Io { path: path.into(), action: "look at the directory", source },
    })?;
    if !metadata.is_dir() {
        return Err(untrusted(path, "it is not a directory"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(untrusted(path, format!("it belongs to user {}, not to the user of this process", metadata.uid())));
    }
    if metadata.mode() & forbidden != 0 {
        return Err(untrusted(path, format!("its mode is {:03o}, {advice}", metadata.mode() & 0o777)));
    }
    if !any_file_system && !FILE_SYSTEMS.contains(&file_system(path)?) {
        let reason = "its file system is not tmpfs, ext4, xfs or an overlay over them, so locks and reserved space may not hold; \
                      Builder::any_file_system allows it at your own risk";
        return Err(untrusted(path, reason));
    }
    Ok(metadata)
}

fn file_system(path: &Path) -> Result<u64> {
    let found = rustix::fs::statfs(path).map_err(|errno| Error::io(path, "ask for its file system")(errno.into()))?;
    Ok(found.f_type as u64)
}

/// Whether a directory is on a tmpfs.
pub(crate) fn is_on_tmpfs(path: &Path) -> bool {
    file_system(path).is_ok_and(|found| found == TMPFS)
}

/// Whether the file system with this device number was mounted with an option that gives its files huge pages. `/proc/self/mountinfo`, proc(5).
pub(crate) fn has_huge_mount(device: u64) -> bool {
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let options = mounts.lines().filter(|line| line.split(' ').nth(2) == Some(&number)).filter_map(|line| line.rsplit(' ').next());
    options.flat_map(|options| options.split(',')).any(|option| matches!(option, "huge=always" | "huge=within_size" | "huge=advise"))
}

/// Opens a file of a store, for reading and writing, without following a link or waiting for a FIFO.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    above_the_streams(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// The same open file under a number that is not of a standard stream: in a process that closed its streams, whatever prints would write into it.
pub(crate) fn above_the_streams(file: File) -> io::Result<File> {
    match file.as_raw_fd() {
        0..=2 => Ok(File::from(rustix::io::fcntl_dupfd_cloexec(&file, 3)?)),
        _ => Ok(file),
    }
}

/// Device and inode of an open file.
pub(crate) fn inode_of(file: &File) -> io::Result<(u64, u64)> {
    let found = rustix::fs::fstat(file)?;
    Ok((found.st_dev, found.st_ino))
}

/// Checks that an open file is a regular one of this user that no other can write.
pub(crate) fn check_file(file: &File, path: &Path) -> Result<Metadata> {
    let metadata = file.metadata().map_err(Error::io(path, "look at the file"))?;
    if !metadata.is_file() {
        return Err(untrusted(path, "it is not a regular file"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(untrusted(path, format!("it belongs to user {}, not to the user of this process", metadata.uid())));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(untrusted(path, format!("its mode is {:03o}, others may write it: chmod 600", metadata.mode() & 0o777)));
    }
    Ok(metadata)
}

/// Bytes that are left for this user on the file system of `path`.
pub(crate) fn available(path: &Path) -> Result<u64> {
    let found = rustix::fs::statvfs(path).map_err(|errno| Error::io(path, "ask for free space")(errno.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// The error of a file that could not be made: `NoSpace` where that is the reason.
pub(crate) fn creation_error(source: io::Error, path: &Path, needed: u64, action: &'static str) -> Error {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace {
            path: path.into(),
            needed,
            available: available(path).unwrap_or(0),
            limited_by: "the file system (its bytes, inodes or quota)",
        },
        _ => Error::Io { path: path.into(), action, source },
    }
}

//! Files and file systems: opening files, asking for their inode, type and free space, and the
//! error of a failed creation.

use crate::error::{Error, Result};
use rustix::fs::{Mode, OFlags};
use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd,
    path::Path,
};

/// The type that statfs returns for a tmpfs.
pub(crate) const TMPFS: u64 = 0x0102_1994;

/// The type of the file system that holds a path, as statfs returns it.
pub(crate) fn file_system(path: &Path) -> Result<u64> {
    let found = rustix::fs::statfs(path)
        .map_err(|errno| Error::io(path, "ask for its file system")(errno.into()))?;
    Ok(found.f_type as u64)
}

/// Whether a directory is on a tmpfs.
pub(crate) fn is_on_tmpfs(path: &Path) -> bool {
    file_system(path).is_ok_and(|found| found == TMPFS)
}

/// Whether the file system with this device number was mounted with an option that gives its files
/// huge pages. Reads `/proc/self/mountinfo`, proc(5).
pub(crate) fn has_huge_mount(device: u64) -> bool {
    let number = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let options = mounts
        .lines()
        .filter(|line| line.split(' ').nth(2) == Some(&number))
        .filter_map(|line| line.rsplit(' ').next());
    options
        .flat_map(|options| options.split(','))
        .any(|option| matches!(option, "huge=always" | "huge=within_size" | "huge=advise"))
}

/// Opens a file for reading and writing, without following a link or waiting for a FIFO.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    above_the_streams(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// The same open file under a number above those of the standard streams. A process that closed its
/// streams would otherwise print into the file.
pub(crate) fn above_the_streams(file: File) -> io::Result<File> {
    match file.as_raw_fd() {
        0..=2 => Ok(File::from(rustix::io::fcntl_dupfd_cloexec(&file, 3)?)),
        _ => Ok(file),
    }
}

/// Device and inode of an open file.
pub(crate) fn inode_of_file(file: &File) -> io::Result<(u64, u64)> {
    let found = rustix::fs::fstat(file)?;
    Ok((found.st_dev, found.st_ino))
}

/// Device and inode of the file at a path, of the link itself for a link. `None` if the path names
/// nothing.
pub(crate) fn inode_at(path: &Path) -> Option<(u64, u64)> {
    rustix::fs::lstat(path)
        .ok()
        .map(|found| (found.st_dev, found.st_ino))
}

/// Bytes that this user may still write on the file system of `path`.
pub(crate) fn available(path: &Path) -> Result<u64> {
    let found = rustix::fs::statvfs(path)
        .map_err(|errno| Error::io(path, "ask for free space")(errno.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// The error of a failed creation: `NoSpace` if the file system lacks space.
pub(crate) fn creation_error(
    source: io::Error,
    path: &Path,
    needed: u64,
    action: &'static str,
) -> Error {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace {
            path: path.into(),
            needed,
            available: available(path).unwrap_or(0),
            limited_by: "the file system (its bytes, inodes or quota)",
        },
        _ => Error::Io {
            path: path.into(),
            action,
            source,
        },
    }
}

//! Files: opening them, asking for their inode and for free space, reserving it, and the error of a
//! failed creation.

use crate::{
    error::{Error, Result},
    sys::memory::{self, Left},
};
use rustix::{
    fs::{
        AtFlags, CWD, FallocateFlags, Mode, OFlags, RenameFlags, fallocate, linkat, openat,
        renameat_with,
    },
    io::Errno,
};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    ops::Range,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
};

/// An absolute path without links. `NotFound`, of the thing `what`, only if nothing is there.
pub(crate) fn resolve(path: &Path, what: &'static str) -> Result<PathBuf> {
    fs::canonicalize(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NotFound {
            path: path.into(),
            what,
        },
        _ => Error::io(path, "resolve the path")(source),
    })
}

/// Opens a file for reading and writing, without following a link or waiting for a FIFO. On a file
/// system that is mounted read-only, opens it for reading.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    open_file_in(CWD, path.as_os_str())
}

/// Opens a file by its name in an open directory, as [`open_file`] does.
pub(crate) fn open_file_in(directory: impl AsFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let open = |access| openat(directory.as_fd(), name, flags | access, Mode::empty());
    let file = match open(OFlags::RDWR) {
        Err(Errno::ROFS) => open(OFlags::RDONLY),
        opened => opened,
    };
    above_the_streams(File::from(file?))
}

/// Whether an open file can be read only.
pub(crate) fn is_read_only(file: &File) -> bool {
    rustix::fs::fcntl_getfl(file).is_ok_and(|flags| flags & OFlags::ACCMODE == OFlags::RDONLY)
}

/// Opens a file for reading, without following a link or waiting for a FIFO.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
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
/// nothing. An error says nothing about the file: the caller must decide nothing by it.
pub(crate) fn inode_at(path: &Path) -> io::Result<Option<(u64, u64)>> {
    let found = unless_missing(rustix::fs::lstat(path))?;
    Ok(found.map(|found| (found.st_dev, found.st_ino)))
}

/// The answer of a call about a path; `None` if nothing is there.
pub(crate) fn unless_missing<T>(answer: Result<T, Errno>) -> io::Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether a path still names the file that was opened by it.
pub(crate) fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    Ok(inode_at(path)? == Some(inode_of_file(file)?))
}

/// The words for a user in an error: the number, and the name where `/etc/passwd` has it.
pub(crate) fn user_name(user: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(user)).then_some(name)
    });
    match name {
        Some(name) => format!("user {user} ({name})"),
        None => format!("user {user}"),
    }
}

/// Renames a file or a directory, unless something has the new name.
///
/// By renameat2. Where the kernel or the file system does not have it, a file gets its new name by
/// a link, and a directory by a rename that could only replace an empty directory.
pub(crate) fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(errno) if lacks_no_replace(errno) => {}
        renamed => return Ok(renamed?),
    }
    if !fs::symlink_metadata(from)?.is_dir() {
        fs::hard_link(from, to)?;
        return fs::remove_file(from);
    }
    if fs::symlink_metadata(to).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    match rustix::fs::rename(from, to) {
        Err(Errno::NOTEMPTY | Errno::NOTDIR) => Err(io::ErrorKind::AlreadyExists.into()),
        renamed => Ok(renamed?),
    }
}

/// Renames a file to a name in an open directory, unless something has the name there.
pub(crate) fn move_into(from: &Path, directory: &File, name: &OsStr) -> io::Result<()> {
    match renameat_with(CWD, from, directory, name, RenameFlags::NOREPLACE) {
        Err(errno) if lacks_no_replace(errno) => {}
        renamed => return Ok(renamed?),
    }
    linkat(CWD, from, directory, name, AtFlags::empty())?;
    fs::remove_file(from)
}

/// Whether renameat2 failed because the kernel or the file system does not have it.
fn lacks_no_replace(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOSYS | Errno::INVAL | Errno::PERM | Errno::OPNOTSUPP
    )
}

/// Bytes that one call reserves.
const PIECE: u64 = 64 << 20;

/// Reserves the space of a range of a file, which grows if need be.
///
/// In pieces, each tried again where a signal interrupts it: kernels before about 6.7 take back all
/// that an interrupted call reserved on a tmpfs, so that under a timer a large call never ends. A
/// piece that is interrupted is halved, down to one page.
pub(crate) fn reserve(file: &File, range: Range<u64>) -> io::Result<()> {
    reserve_with(file, range, FallocateFlags::empty())
}

/// The same with these flags.
pub(super) fn reserve_with(
    file: &File,
    range: Range<u64>,
    flags: FallocateFlags,
) -> io::Result<()> {
    let page = rustix::param::page_size() as u64;
    let (mut start, mut piece) = (range.start, PIECE);
    // An empty range is asked for too: the file system may refuse.
    loop {
        let len = piece.min(range.end - start);
        match fallocate(file, flags, start, len) {
            Ok(()) => start += len,
            Err(Errno::INTR) => piece = (piece / 2).max(page),
            Err(errno) => return Err(errno.into()),
        }
        if start >= range.end {
            return Ok(());
        }
    }
}

/// Bytes that this user may still write on the file system of `path`.
pub(crate) fn available(path: &Path) -> Result<u64> {
    let found = rustix::fs::statvfs(path)
        .map_err(|errno| Error::io(path, "ask for free space")(errno.into()))?;
    // Root may use the blocks that are kept for it.
    let blocks = if rustix::process::geteuid().is_root() {
        found.f_bfree
    } else {
        found.f_bavail
    };
    Ok(blocks.saturating_mul(found.f_frsize))
}

/// From so many bytes on the file system is asked first whether it has them: below, a call that
/// fails takes its pages back before another process misses them.
const ASK_FROM: u64 = 1 << 20;
/// From so many bytes on a tmpfs, the memory is asked for too.
const ASK_MEMORY_FROM: u64 = 32 << 20;

/// The bytes that are left for new pages of files below `path`, for this user and this process.
pub(crate) fn left(path: &Path, is_on_tmpfs: bool) -> Result<Left> {
    let of_files = Left {
        bytes: available(path)?,
        limited_by: OF_FILE_SYSTEM,
    };
    let of_memory = if is_on_tmpfs { memory::left() } else { None };
    Ok(of_memory
        .filter(|memory| memory.bytes < of_files.bytes)
        .unwrap_or(of_files))
}

/// An error where `needed` bytes cannot fit: before a page is asked for. A kernel that tries takes
/// memory that other processes need, and ends processes where none is left.
pub(crate) fn check_fits(path: &Path, needed: u64, is_on_tmpfs: bool) -> Result<()> {
    if needed < ASK_FROM {
        return Ok(());
    }
    let left = left(path, is_on_tmpfs && needed >= ASK_MEMORY_FROM)?;
    if needed <= left.bytes {
        return Ok(());
    }
    Err(Error::NoSpace {
        path: path.into(),
        needed,
        available: left.bytes,
        limited_by: left.limited_by,
    })
}

const OF_FILE_SYSTEM: &str = "the file system (its bytes, inodes or quota)";

/// The error of a failed creation: `NoSpace` if the file system lacks space.
pub(crate) fn creation_error(
    source: io::Error,
    path: &Path,
    needed: u64,
    action: &'static str,
) -> Error {
    let limited_by = match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OF_FILE_SYSTEM,
        io::ErrorKind::OutOfMemory => "the memory of the machine or of the control group",
        io::ErrorKind::FileTooLarge => "the largest file of the file system",
        _ => {
            return Error::Io {
                path: path.into(),
                action,
                source,
            };
        }
    };
    Error::NoSpace {
        path: path.into(),
        needed,
        available: available(path).unwrap_or(0),
        limited_by,
    }
}

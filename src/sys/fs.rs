//! Files and file systems: opening files, asking for their inode, type and free space, and the
//! error of a failed creation.

use crate::{
    error::{Error, Result},
    sys::memory::{self, Left},
};
use rustix::{
    fs::{CWD, FallocateFlags, Mode, OFlags, RenameFlags, fallocate, renameat_with},
    io::Errno,
};
use std::{
    fs::{self, File},
    io,
    ops::Range,
    os::fd::AsRawFd,
    path::Path,
};

/// The type that statfs returns for a tmpfs.
pub(crate) const TMPFS: u64 = 0x0102_1994;

/// The type of the file system that holds a path, as statfs returns it.
pub(crate) fn file_system(path: &Path) -> Result<u64> {
    let found = rustix::fs::statfs(path).map_err(|errno| match errno {
        // Deleted since the caller looked at it.
        Errno::NOENT => Error::NotFound {
            path: path.into(),
            what: "no such directory",
        },
        errno => Error::io(path, "ask for its file system")(errno.into()),
    })?;
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
/// nothing.
pub(crate) fn inode_at(path: &Path) -> Option<(u64, u64)> {
    rustix::fs::lstat(path)
        .ok()
        .map(|found| (found.st_dev, found.st_ino))
}

/// Renames a file or a directory, unless something has the new name.
///
/// By renameat2. Where the kernel or the file system does not have it, a file gets its new name by
/// a link, and a directory by a rename that could only replace an empty directory.
pub(crate) fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::NOSYS | Errno::INVAL | Errno::PERM | Errno::OPNOTSUPP) => {}
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

/// Bytes that one call reserves.
const PIECE: u64 = 64 << 20;

/// Reserves the space of a range of a file, which grows if need be.
///
/// In pieces, each tried again where a signal interrupts it: kernels before about 6.7 take back all
/// that an interrupted call reserved on a tmpfs, so that under a timer a large call never ends. A
/// piece that is interrupted is halved, down to one page.
pub(crate) fn reserve(file: &File, range: Range<u64>) -> io::Result<()> {
    let page = rustix::param::page_size() as u64;
    let (mut start, mut piece) = (range.start, PIECE);
    // An empty range is asked for too: the file system may refuse.
    loop {
        let len = piece.min(range.end - start);
        match fallocate(file, FallocateFlags::empty(), start, len) {
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

/// What is left for new pages of files below `path`, for this user and this process.
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

/// An error where `needed` bytes cannot fit: before a page is asked for, because a kernel that
/// tries takes what its neighbours need, and where memory runs out it ends other processes.
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

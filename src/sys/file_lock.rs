//! The kernel's file locks: flock, and byte-range locks of open file descriptions.
//!
//! No other module calls either. The kernel drops a byte lock of an open file description
//! (F_OFD_SETLK) when the last descriptor of the description that took it closes, and at no other
//! event.
//!
//! A module with unsafe code: only libc's `fcntl` reaches those locks.

use std::{fs::File, io, ops::Range, os::fd::AsRawFd};

/// Takes the shared flock without waiting. Returns false if another description holds it
/// exclusively.
pub(crate) fn try_share(file: &File) -> io::Result<bool> {
    attempt(|| fs2::FileExt::try_lock_shared(file))
}

/// Takes the exclusive flock without waiting. Returns false if another description holds it. For a
/// fresh descriptor only.
pub(crate) fn try_exclude(file: &File) -> io::Result<bool> {
    attempt(|| fs2::FileExt::try_lock_exclusive(file))
}

/// Waits for the exclusive flock in the kernel, without a limit, and takes it. Returns an error of
/// kind `Interrupted` after a signal. For a fresh descriptor only.
pub(crate) fn exclude(file: &File) -> io::Result<()> {
    fs2::FileExt::lock_exclusive(file)
}

/// Locks one byte without waiting. Returns false if another description holds the lock.
pub(crate) fn try_lock_byte(file: &File, at: u64) -> io::Result<bool> {
    set(file, libc::F_WRLCK, at)
}

/// Unlocks one byte.
pub(crate) fn unlock_byte(file: &File, at: u64) -> io::Result<()> {
    set(file, libc::F_UNLCK, at).map(|_| ())
}

/// The first lock that another open file description holds on any of these bytes, cut to the given
/// range. The kernel does not report the locks of the asking description.
pub(crate) fn first_locked(file: &File, bytes: Range<u64>) -> io::Result<Option<Range<u64>>> {
    let mut lock = flock(libc::F_WRLCK, bytes.start, bytes.end - bytes.start);
    // SAFETY: F_OFD_GETLK reads and writes the flock it is given; that one is valid and has a pid
    // of zero, and the descriptor is open.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } == -1 {
        return Err(told(io::Error::last_os_error()));
    }
    if i32::from(lock.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    // A length of zero means up to the largest offset.
    let start = (lock.l_start as u64).clamp(bytes.start, bytes.end);
    let len = if lock.l_len == 0 {
        u64::MAX
    } else {
        lock.l_len as u64
    };
    let end = (lock.l_start as u64)
        .saturating_add(len)
        .clamp(start, bytes.end);
    Ok(Some(start..end))
}

/// Tries a flock, again where a signal interrupts it. Returns false if another description holds
/// it.
fn attempt(lock: impl Fn() -> io::Result<()>) -> io::Result<bool> {
    loop {
        match lock() {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

fn set(file: &File, kind: i32, at: u64) -> io::Result<bool> {
    let lock = flock(kind, at, 1);
    loop {
        // SAFETY: F_OFD_SETLK reads the flock it is given; that one is valid and has a pid of zero,
        // and the descriptor is open.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } != -1 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            // Linux answers EAGAIN, never EACCES, where the lock is held. EACCES is the answer of a
            // security policy, and to try again would be an endless loop.
            Some(libc::EAGAIN) => return Ok(false),
            _ => return Err(told(error)),
        }
    }
}

/// The error of a refused byte lock, with the name of the call where this kernel or sandbox lacks
/// it.
fn told(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM | libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP) => {
            io::Error::new(
                error.kind(),
                format!(
                    "{error}: this kernel, the sandbox of this process (seccomp, gVisor, a \
                     security policy) or the file system lacks byte locks of open file \
                     descriptions (fcntl F_OFD_SETLK), which are needed"
                ),
            )
        }
        _ => error,
    }
}

fn flock(kind: i32, start: u64, len: u64) -> libc::flock {
    libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start as i64,
        l_len: len as i64,
        l_pid: 0,
    }
}

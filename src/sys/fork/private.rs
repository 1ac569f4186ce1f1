//! Descriptors that a forked child does not share with its parent, and descriptors in programs that
//! this process starts.

use super::{AtFork, Registration, register_new};
use crate::sys::fs::{above_the_streams, is_read_only};
use std::{
    ffi::CString,
    fs::File,
    io,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering::SeqCst},
    },
};

/// A descriptor that a child does not share: in the child it names the same file through a
/// description of its own, without the parent's locks.
///
/// A mapping keeps the description that made it alive, with its locks, and a child inherits the
/// mapping. So map through another description, that of [`reopen`](Self::reopen).
pub(crate) struct Private {
    // Drop order: the registration drops the last reference, inside the gate.
    inner: Arc<Descriptor>,
    _registration: Registration,
}

struct Descriptor {
    file: File,
    /// Its own path in /proc, made in advance because the child must not allocate.
    itself: CString,
    /// True in a child that could not reopen the file: the description is still the parent's.
    is_inherited: AtomicBool,
}

impl Private {
    /// Wraps the file that `open` opens for reading and writing.
    pub(crate) fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        let mut opened = None;
        let registration = register_new(|| {
            let file = above_the_streams(open()?)?;
            let itself = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
            let inner = Arc::new(Descriptor {
                file,
                itself,
                is_inherited: AtomicBool::new(false),
            });
            opened = Some(inner.clone());
            Ok::<_, io::Error>(inner)
        })?;
        match opened {
            Some(inner) => Ok(Private {
                inner,
                _registration: registration,
            }),
            None => unreachable!("registered without being opened"),
        }
    }

    /// Opens a second description of the same file.
    pub(crate) fn reopen(&self) -> io::Result<Self> {
        let path = format!("/proc/self/fd/{}", self.file()?.as_raw_fd());
        let is_read_only = is_read_only(self.file()?);
        Self::open(|| File::options().read(true).write(!is_read_only).open(path))
    }

    /// The file, or an error in a child that could not reopen it: through the parent's description
    /// the child would take the parent for dead.
    pub(crate) fn file(&self) -> io::Result<&File> {
        match self.inner.is_inherited.load(SeqCst) {
            false => Ok(&self.inner.file),
            true => Err(io::Error::other(
                "this forked process could not reopen the file; mount /proc",
            )),
        }
    }
}

impl AtFork for Descriptor {
    fn in_child(&self) {
        // SAFETY: `open` needs a NUL-terminated path, which a CString is; it is async-signal-safe.
        let open = |access| unsafe { libc::open(self.itself.as_ptr(), access | libc::O_CLOEXEC) };
        let mut own = open(libc::O_RDWR);
        if own < 0 {
            // A directory opens for reading only, and so does a file that is mounted read-only.
            own = open(libc::O_RDONLY);
        }
        if own < 0 {
            self.is_inherited.store(true, SeqCst);
            return;
        }
        // SAFETY: both descriptors are open: `own` was opened above, the other belongs to
        // `self.file`, which keeps its number and its right to close it; `dup3` makes that number
        // name the new description, and closes, never unlocks, the inherited one.
        unsafe { libc::dup3(own, self.file.as_raw_fd(), libc::O_CLOEXEC) };
        // SAFETY: `own` was opened above, and nothing else uses it.
        unsafe { libc::close(own) };
        self.is_inherited.store(false, SeqCst);
    }
}

/// Marks every descriptor but the standard streams close-on-exec, so programs that this process
/// starts do not inherit them.
pub(crate) fn close_on_exec() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        if let Some(number @ 3..) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            // SAFETY: F_SETFD takes an integer; the kernel refuses a number that is not open, and
            // an open descriptor stays usable.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// A spare descriptor. The child closes it, so that a process at its limit can reopen its files one
/// after the other.
static SPARE: AtomicI32 = AtomicI32::new(-1);

pub(super) fn open_spare() {
    // SAFETY: `open` needs a NUL-terminated path, which a C string literal is; it is
    // async-signal-safe.
    SPARE.store(
        unsafe { libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_CLOEXEC) },
        SeqCst,
    );
}

pub(super) fn close_spare() {
    // SAFETY: the number is one that nothing else uses, or -1, which the kernel refuses; `close` is
    // async-signal-safe.
    unsafe { libc::close(SPARE.swap(-1, SeqCst)) };
}

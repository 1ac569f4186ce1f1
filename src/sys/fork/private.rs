//! Descriptors that a forked child does not share with its parent, and descriptors in programs that
//! this process starts.

use super::{AtFork, Mutex, Registration, generation, register_new};
use crate::sys::{
    descriptor::OwnFile,
    fs::{above_the_streams, is_read_only},
};
use memmap2::{Advice, MmapOptions, MmapRaw};
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
///
/// Other code of the process may close the number of the descriptor ([`OwnFile`]).
/// [`hold`](Self::hold) keeps the locks all the same.
pub(crate) struct Private {
    // Drop order: the registration drops the last reference, inside the gate.
    inner: Arc<Descriptor>,
    _registration: Registration,
    hold: Mutex<Option<Hold>>,
}

struct Descriptor {
    file: OwnFile,
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
                file: OwnFile::new(file)?,
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
                hold: Mutex::new(None),
            }),
            None => unreachable!("registered without being opened"),
        }
    }

    /// Opens a second description of the same file.
    pub(crate) fn reopen(&self) -> io::Result<Self> {
        let path = format!("/proc/self/fd/{}", self.file()?.as_raw_fd());
        let is_read_only = is_read_only(self.file()?);
        let second = Self::open(|| File::options().read(true).write(!is_read_only).open(path))?;
        match second.inner.file.inode() == self.inner.file.inode() {
            true => Ok(second),
            false => Err(lost()),
        }
    }

    /// The file.
    ///
    /// # Errors
    ///
    /// In a child that could not reopen it: through the parent's description the child would take
    /// the parent for dead. In a process that closed the descriptor, or put another file in its
    /// place: on another file no member holds a lock, so all would look dead.
    pub(crate) fn file(&self) -> io::Result<&File> {
        if self.inner.is_inherited.load(SeqCst) {
            return Err(io::Error::other(
                "this forked process could not reopen the file; mount /proc",
            ));
        }
        self.inner.file.get().ok_or_else(lost)
    }

    /// Keeps the description, and so its locks, until this is dropped or the process ends, also if
    /// other code of the process closes the descriptor. A child does not inherit this.
    pub(crate) fn hold(&self) -> io::Result<()> {
        // Locked, so no fork comes between the mapping and the advice: a child that inherited the
        // mapping would keep its dead parent's locks alive.
        let mut hold = self.hold.lock();
        let pages = MmapOptions::new().len(1).map_raw(self.file()?)?;
        // A sandbox without this advice does without the hold.
        *hold = pages.advise(Advice::DontFork).ok().map(|()| Hold {
            pages: Some(pages),
            generation: generation(),
        });
        Ok(())
    }
}

/// A mapping that keeps the description that it was made through. Its bytes are never used.
struct Hold {
    /// `None` only while this is dropped.
    pages: Option<MmapRaw>,
    generation: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A child did not inherit the mapping, and may have another one at this address.
        if self.generation != generation() {
            std::mem::forget(self.pages.take());
        }
    }
}

/// The error of a process that no longer has its descriptor.
pub(crate) fn lost() -> io::Error {
    io::Error::other(
        "this process closed its descriptor of the file, or gave the number to another file: \
         close no descriptors that other code opened (os.closerange, closefrom), and open the \
         store again",
    )
}

impl AtFork for Descriptor {
    fn in_child(&self) {
        // A descriptor that the parent lost is not this file's to replace.
        let Some(file) = self.file.get() else {
            return;
        };
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
        unsafe { libc::dup3(own, file.as_raw_fd(), libc::O_CLOEXEC) };
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
    let number = SPARE.swap(-1, SeqCst);
    let stat = |look: &dyn Fn(*mut libc::stat) -> i32| {
        let mut found = std::mem::MaybeUninit::<libc::stat>::zeroed();
        // SAFETY: all bytes that are zero are a valid `stat`, and the kernel writes no other type.
        let found = (look(found.as_mut_ptr()) == 0).then(|| unsafe { found.assume_init() });
        found.map(|found| (found.st_dev, found.st_ino))
    };
    // SAFETY: the pointer is to a `stat`; the kernel refuses a number that is not open; `fstat` is
    // async-signal-safe.
    let own = stat(&|found| unsafe { libc::fstat(number, found) });
    // SAFETY: `stat` needs a NUL-terminated path, which a C string literal is, and a pointer to a
    // `stat`; it is async-signal-safe.
    let root = stat(&|found| unsafe { libc::stat(c"/".as_ptr(), found) });
    if own.is_some() && own == root {
        // SAFETY: the number is the descriptor that `open_spare` opened, and nothing else uses it;
        // `close` is async-signal-safe.
        unsafe { libc::close(number) };
    }
}

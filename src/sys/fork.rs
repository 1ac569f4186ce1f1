//! What happens to this library when the process forks.
//!
//! A child inherits descriptors and mappings, but it is another process: it owns nothing, and it
//! must not keep a dead parent alive. This module counts forks, keeps every short critical section
//! of the library out of a fork, and calls those who [`register`] in the child. A lock of the
//! standard library that another thread holds during a fork, a `Once` or `OnceLock` too, is held in
//! the child for ever: the library uses those of this module.
//!
//! One of the modules with unsafe code: it installs handlers with `pthread_atfork` and replaces
//! descriptors in the child.

use crate::sys::fs::above_the_streams;
use std::{
    cell::RefCell,
    collections::HashMap,
    ffi::CString,
    fs::File,
    io,
    ops::{Deref, DerefMut},
    os::fd::AsRawFd,
    sync::{
        Arc, Mutex as StdMutex, MutexGuard as StdMutexGuard, OnceLock as StdOnceLock, PoisonError,
        RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
};

/// Held for reading in every critical section, for writing while the process forks.
static GATE: RwLock<()> = RwLock::new(());
/// Forks between the first process that used this library and this one.
static GENERATION: AtomicU64 = AtomicU64::new(0);
/// Who is called in the child.
static REGISTERED: StdMutex<Option<HashMap<u64, Arc<dyn AtFork>>>> = StdMutex::new(None);
static NEXT_KEY: AtomicU64 = AtomicU64::new(0);
/// Whether the handlers are installed: [`DONE`], or the id of the process that does it just now, or
/// 0.
static INSTALLED: AtomicU32 = AtomicU32::new(0);
const DONE: u32 = u32::MAX;

thread_local! {
    static FORKING: RefCell<Option<RwLockWriteGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// The generation of this process: whatever carries another one was inherited over a fork.
#[inline]
pub(crate) fn generation() -> u64 {
    GENERATION.load(SeqCst)
}

/// A part of the library that has something to do in a forked child.
pub(crate) trait AtFork: Send + Sync {
    /// Called in the parent before the fork, which may fail after all. As
    /// [`in_child`](Self::in_child).
    fn before(&self) {}

    /// Called in the child before anything else runs there. Must not allocate, wait or panic.
    fn in_child(&self);
}

/// A registration: it ends when it is dropped.
pub(crate) struct Registration(u64);

/// Has `part` called in every child that is forked from now on.
pub(crate) fn register(part: Arc<dyn AtFork>) -> Registration {
    register_new(|| Ok::<_, std::convert::Infallible>(part)).unwrap_or_else(|never| match never {})
}

/// Has the part that `make` makes called in every child, also in one that is forked while it is
/// being made.
fn register_new<E>(make: impl FnOnce() -> Result<Arc<dyn AtFork>, E>) -> Result<Registration, E> {
    once(&INSTALLED, install);
    let key = NEXT_KEY.fetch_add(1, SeqCst);
    let _gate = GATE.read().unwrap_or_else(PoisonError::into_inner);
    let part = make()?;
    REGISTERED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert_default()
        .insert(key, part);
    Ok(Registration(key))
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _gate = GATE.read().unwrap_or_else(PoisonError::into_inner);
        // The part is dropped inside the gate: a descriptor is closed before a fork could copy it
        // without its handler.
        let _part = REGISTERED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .and_then(|parts| parts.remove(&self.0));
    }
}

/// A mutex that no fork finds locked. For short sections only: no waiting, no calls to user code,
/// and never two at once.
pub(crate) struct Mutex<T>(StdMutex<T>);

/// Access to what a [`Mutex`] holds.
pub(crate) struct Guard<'a, T> {
    // Dropped in this order: the mutex first, then the gate.
    value: StdMutexGuard<'a, T>,
    _gate: RwLockReadGuard<'static, ()>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(StdMutex::new(value))
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        let gate = GATE.read().unwrap_or_else(PoisonError::into_inner);
        Guard {
            value: self.0.lock().unwrap_or_else(PoisonError::into_inner),
            _gate: gate,
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// What is set once, and whose setting no fork finds half done. Not to be set with a [`Mutex`]
/// locked.
pub(crate) struct OnceLock<T>(StdOnceLock<T>);

impl<T> OnceLock<T> {
    pub(crate) const fn new() -> Self {
        Self(StdOnceLock::new())
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// Sets it, or gives the value back where it was set before.
    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        let _gate = GATE.read().unwrap_or_else(PoisonError::into_inner);
        self.0.set(value)
    }

    /// What it is set to, if need be now: of several threads that make a value at once, the first
    /// one's counts.
    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let _ = self.set(make());
        match self.get() {
            Some(value) => value,
            None => unreachable!("it was set"),
        }
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.get_mut()
    }

    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.take()
    }
}

/// A descriptor that a child does not share: there it names the same file through a description of
/// its own, without the parent's locks.
///
/// A mapping keeps the description alive that it was made through, locks and all, and a child
/// inherits it: map through another one, that of [`reopen`](Self::reopen).
pub(crate) struct Private {
    // Dropped in this order: the last reference goes with the registration, inside the gate.
    inner: Arc<Descriptor>,
    _registration: Registration,
}

struct Descriptor {
    file: File,
    /// Its own name in /proc, made before it is needed: the child must not allocate.
    itself: CString,
    /// The child could not open the file anew: the descriptor is still the parent's.
    is_inherited: AtomicBool,
}

impl Private {
    /// The file that `open` opens for reading and writing.
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

    /// A second description of the same file.
    pub(crate) fn reopen(&self) -> io::Result<Self> {
        let path = format!("/proc/self/fd/{}", self.file()?.as_raw_fd());
        Self::open(|| File::options().read(true).write(true).open(path))
    }

    /// The file. An error in a child that could not get a description of its own: with the parent's
    /// it would take the parent for dead.
    pub(crate) fn file(&self) -> io::Result<&File> {
        match self.inner.is_inherited.load(SeqCst) {
            false => Ok(&self.inner.file),
            true => Err(io::Error::other(
                "this process was forked and could not open the file anew: is /proc mounted?",
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
            // A directory can only be opened for reading.
            own = open(libc::O_RDONLY);
        }
        if own < 0 {
            self.is_inherited.store(true, SeqCst);
            return;
        }
        // SAFETY: both descriptors are open: `own` was opened above, the other belongs to
        // `self.file`, which keeps its number and its right to close it; `dup3` replaces what the
        // number means, and closes, never unlocks, the inherited description.
        unsafe { libc::dup3(own, self.file.as_raw_fd(), libc::O_CLOEXEC) };
        // SAFETY: `own` was opened above and nothing else knows it.
        unsafe { libc::close(own) };
        self.is_inherited.store(false, SeqCst);
    }
}

/// Keeps every descriptor of this process but its streams from the programs that it starts.
pub(crate) fn close_on_exec() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        if let Some(number @ 3..) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            // SAFETY: F_SETFD takes an integer; a number that is not open is refused, and an open
            // descriptor stays as usable as it was.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// A descriptor that is there to be closed in the child, so that a process at its limit can open
/// its files anew, one after the other.
static SPARE: AtomicI32 = AtomicI32::new(-1);

fn open_spare() {
    // SAFETY: `open` needs a NUL-terminated path, which a C string literal is; it is
    // async-signal-safe.
    SPARE.store(
        unsafe { libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_CLOEXEC) },
        SeqCst,
    );
}

fn close_spare() {
    // SAFETY: a number that nothing else knows, or -1, which is refused; `close` is
    // async-signal-safe.
    unsafe { libc::close(SPARE.swap(-1, SeqCst)) };
}

/// Runs `action` once, and again in a child that was forked while a thread of its parent did:
/// nothing there would ever finish that.
#[inline]
fn once(state: &AtomicU32, action: fn()) {
    if state.load(SeqCst) != DONE {
        once_or_wait(state, std::process::id(), action);
    }
}

#[cold]
fn once_or_wait(state: &AtomicU32, me: u32, action: fn()) {
    loop {
        match state.load(SeqCst) {
            DONE => return,
            found if found == me => std::thread::yield_now(),
            found if state.compare_exchange(found, me, SeqCst, SeqCst).is_ok() => {
                action();
                return state.store(DONE, SeqCst);
            }
            _ => {}
        }
    }
}

/// Installs the handlers. They may be installed twice: see [`once`].
fn install() {
    open_spare();
    // SAFETY: the three handlers are functions for the life of the process that do not unwind: what
    // they call does not panic.
    unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };
}

extern "C" fn before() {
    if FORKING
        .try_with(|forking| forking.borrow().is_some())
        .unwrap_or(false)
    {
        return;
    }
    let gate = GATE.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(parts) = REGISTERED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
    {
        parts.values().for_each(|part| part.before());
    }
    failpoint!(ForkCounted);
    let _ = FORKING.try_with(|forking| *forking.borrow_mut() = Some(gate));
}

extern "C" fn after_in_parent() {
    let _ = FORKING.try_with(|forking| forking.borrow_mut().take());
}

extern "C" fn after_in_child() {
    GENERATION.fetch_add(1, SeqCst);
    failpoint!(ForkBegun);
    close_spare();
    if let Some(parts) = REGISTERED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
    {
        for part in parts.values() {
            part.in_child();
            failpoint!(ForkPartDone);
        }
    }
    open_spare();
    failpoint!(ForkDone);
    let _ = FORKING.try_with(|forking| forking.borrow_mut().take());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Requires that a forked child comes to the end of `work` within a minute.
    fn in_child(work: impl FnOnce()) {
        // SAFETY: what the child does is what this module promises to be possible there; it ends
        // without returning.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: `alarm` may be called at any time.
                unsafe { libc::alarm(60) };
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                // SAFETY: `_exit` may be called at any time.
                unsafe { libc::_exit(i32::from(done.is_err())) }
            }
            pid => {
                let mut status = 0;
                // SAFETY: the status is written to an integer that outlives the call.
                assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
                assert_eq!(
                    status, 0,
                    "the status of the forked child: 14 is that of one that hangs"
                );
            }
        }
    }

    #[test]
    fn a_child_forked_while_a_value_is_made_makes_its_own() {
        static VALUE: OnceLock<u8> = OnceLock::new();
        let (begun, wait_for_begin) = mpsc::channel();
        let (go_on, wait_to_go_on) = mpsc::channel();
        std::thread::scope(move |scope| {
            scope.spawn(move || {
                let make = || {
                    begun.send(()).unwrap();
                    wait_to_go_on.recv().unwrap();
                    1
                };
                assert_eq!(*VALUE.get_or_init(make), 1);
            });
            wait_for_begin.recv().unwrap();
            in_child(|| assert_eq!(*VALUE.get_or_init(|| 2), 2));
            go_on.send(()).unwrap();
        });
        assert_eq!((VALUE.get(), VALUE.set(3)), (Some(&1), Err(3)));
    }

    #[test]
    fn what_is_done_once_is_done_again_where_a_fork_cut_it_off() {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let count = || _ = CALLS.fetch_add(1, SeqCst);
        let state = AtomicU32::new(0);
        once(&state, count);
        once(&state, count);
        assert_eq!(CALLS.load(SeqCst), 1);
        // As a child finds it whose parent, another process, had begun.
        let state = AtomicU32::new(std::process::id() + 1);
        once(&state, count);
        once(&state, count);
        assert_eq!(CALLS.load(SeqCst), 2);
    }

    #[test]
    fn handlers_that_were_installed_twice_let_a_process_fork() {
        drop(register(Arc::new(Nothing)));
        install();
        let before = generation();
        in_child(|| assert!(generation() > before));
        assert_eq!(generation(), before);
        drop(register(Arc::new(Nothing)));
    }

    struct Nothing;

    impl AtFork for Nothing {
        fn in_child(&self) {}
    }
}

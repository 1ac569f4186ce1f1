//! # Fork
//!
//! A forked child inherits descriptors and mappings, but it is another process: it owns nothing,
//! and it must not keep a dead parent alive. This module counts forks, keeps every short critical
//! section of the library out of a fork, and calls each [`register`]ed part in the child. Its
//! unsafe code installs handlers with `pthread_atfork` and replaces descriptors in the child.
//!
//! # Generations
//!
//! [`generation`] counts the forks between the first process that used the library and this one.
//! Managers, arrays and guards carry the generation that made them. In another generation their
//! drop touches no shared word: the parent still owns them.
//!
//! # The gate
//!
//! A lock of the standard library that another thread holds during a fork stays locked in the child
//! for ever, a `Once` and a `OnceLock` included. So the library uses [`Mutex`] and [`OnceLock`] of
//! this module. Each of their critical sections holds the gate for reading, and the prepare handler
//! takes it for writing, so no fork finds one of them locked. A section must not wait, call user
//! code or enter a second one. `OnceLock` makes its value outside the gate and only stores it
//! inside: a child would wait for ever for a value that a thread of its parent was making.
//!
//! # The handlers
//!
//! `pthread_atfork` calls three handlers, all in the thread that forks:
//!
//! 1. `before`, in the parent, calls the action of [`before_each`], closes the gate and calls
//!    [`AtFork::before`] of every part. Mappings count themselves in their file's openers once
//!    more, for good: otherwise the parent could find itself the only opener and reuse the file
//!    while the child still maps it.
//! 2. `after_in_parent` opens the gate.
//! 3. `after_in_child` raises the generation, calls [`AtFork::in_child`] of every part and opens
//!    the gate. The child has one thread then, so nothing may wait or allocate.
//!
//! # Descriptors
//!
//! The kernel keeps file locks with the open file description, which parent and child share. With
//! the parent's description a child would keep a dead parent's locks alive. So the child replaces
//! each [`Private`] descriptor by one of an open file description of its own, through
//! `/proc/self/fd`, and closes, never unlocks, the inherited one. A spare descriptor is closed
//! first, so this works at the limit of descriptors. Without `/proc` the child cannot use the
//! store. A mapping that no child inherits holds the description in its own process, whatever other
//! code does to the number of its descriptor.

mod private;
mod sync;

pub(crate) use private::{Private, close_on_exec, lost};
pub(crate) use sync::{Mutex, OnceLock};

use private::{close_spare, open_spare};
use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{
        Arc, Mutex as StdMutex, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
};

/// The gate: held for reading in every critical section, for writing while the process forks.
static GATE: RwLock<()> = RwLock::new(());
/// Forks between the first process that used this library and this one.
static GENERATION: AtomicU64 = AtomicU64::new(0);
/// The parts that the handlers call.
static REGISTERED: StdMutex<Option<HashMap<u64, Arc<dyn AtFork>>>> = StdMutex::new(None);
static NEXT_KEY: AtomicU64 = AtomicU64::new(0);
/// State of the installation of the handlers: [`DONE`], the id of the process that installs them
/// now, or 0.
static INSTALLED: AtomicU32 = AtomicU32::new(0);
const DONE: u32 = u32::MAX;

thread_local! {
    static FORKING: RefCell<Option<RwLockWriteGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// The generation of this process. A value that carries another one was inherited over a fork.
#[inline]
pub(crate) fn generation() -> u64 {
    GENERATION.load(SeqCst)
}

/// Makes sure that later forks raise the generation, for a value that is kept with the generation
/// in which it was made.
pub(crate) fn count_forks() {
    once(&INSTALLED, install);
}

/// Called before each fork of this process, while the gate is open.
static BEFORE: OnceLock<fn()> = OnceLock::new();

/// Calls `action` before each later fork, in the thread that forks, before any lock is taken for
/// it: it may wait and allocate. There is one such action.
pub(crate) fn before_each(action: fn()) {
    count_forks();
    BEFORE.get_or_init(|| action);
}

/// A part of the library that the fork handlers call.
pub(crate) trait AtFork: Send + Sync {
    /// Called in the parent before the fork, which may still fail. Must not allocate, wait or
    /// panic.
    fn before(&self) {}

    /// Called in the child before anything else runs there. Must not allocate, wait or panic.
    fn in_child(&self);
}

/// A registration of a part. It ends with the drop.
pub(crate) struct Registration(u64);

/// Registers a part: every later fork calls it.
pub(crate) fn register(part: Arc<dyn AtFork>) -> Registration {
    register_new(|| Ok::<_, std::convert::Infallible>(part)).unwrap_or_else(|never| match never {})
}

/// Registers the part that `make` returns. The gate is held throughout, so no fork comes between
/// making a part and registering it.
fn register_new<E>(make: impl FnOnce() -> Result<Arc<dyn AtFork>, E>) -> Result<Registration, E> {
    count_forks();
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
        // Drop the part inside the gate: a fork must not copy a descriptor that has no handler any
        // more.
        let _part = REGISTERED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .and_then(|parts| parts.remove(&self.0));
    }
}

/// Runs `action` once. A child whose parent was running it in another thread runs it again: no
/// thread of the child would finish it.
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

/// Installs the handlers. [`once`] may install them twice.
fn install() {
    open_spare();
    // SAFETY: the three handlers are functions that live as long as the process and do not unwind:
    // nothing they call panics.
    unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };
}

extern "C" fn before() {
    if FORKING
        .try_with(|forking| forking.borrow().is_some())
        .unwrap_or(false)
    {
        return;
    }
    if let Some(action) = BEFORE.get() {
        action();
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

    /// Asserts that a forked child finishes `work` within a minute.
    fn in_child(work: impl FnOnce()) {
        // SAFETY: the child makes only calls that this module promises to be possible there, and
        // ends without returning.
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
                    "status of the forked child; 14 means that it hung"
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
        // The state that a child finds if its parent, another process, had begun.
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

//! What a wait of the library does for Python: a Ctrl-C ends it, and garbage does not prolong it.
//!
//! Python runs the handlers of signals between two steps of its own code. A thread that waits in
//! the library therefore asks for them every 50 ms. The exception of a handler ends the wait: the
//! library reports `Interrupted`, and the caller raises that exception instead.
//!
//! A guard that only a reference cycle keeps would be in the way for ever in a process whose
//! threads all wait. So a wait of a process that has guards collects garbage once a second.
//!
//! The same holds for frames of rings, but processes that hold frames wait all the time. So a wait
//! for a frame collects garbage only if it lasts for a second or longer. Another thread can cancel
//! such a wait.

use pyo3::{intern, prelude::*};
use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// The guards that this process has in Python.
pub(crate) static GUARDS: AtomicUsize = AtomicUsize::new(0);

/// The frames of rings that this process holds in Python.
pub(crate) static FRAMES: AtomicUsize = AtomicUsize::new(0);

const COLLECT_EVERY: Duration = Duration::from_secs(1);

thread_local! {
    /// The exception that a handler raised in a wait of this thread.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
    /// The wait of this thread for a frame.
    static FOR_FRAME: RefCell<Option<ForFrame>> = const { RefCell::new(None) };
    /// Whether this thread runs handlers in the middle of a wait.
    static IN_CHECK: Cell<bool> = const { Cell::new(false) };
}

/// A wait for a frame of a ring.
struct ForFrame {
    is_cancelled: Arc<AtomicBool>,
    collect_at: Instant,
}

impl ForFrame {
    /// Whether it lasts so long that garbage is collected, the first time or once more.
    fn is_time_to_collect(&mut self) -> bool {
        let now = Instant::now();
        let is_time = self.collect_at <= now && FRAMES.load(SeqCst) + GUARDS.load(SeqCst) > 0;
        if is_time {
            self.collect_at = now + COLLECT_EVERY;
        }
        is_time
    }
}

/// Runs a wait for a frame. It is interrupted when `is_cancelled` becomes true.
pub(crate) fn wait_for_frame<R>(is_cancelled: Arc<AtomicBool>, wait: impl FnOnce() -> R) -> R {
    /// The wait around this one, of which a handler of a signal is a part.
    struct Outer(Option<ForFrame>);
    impl Drop for Outer {
        fn drop(&mut self) {
            FOR_FRAME.set(self.0.take());
        }
    }
    let inner = ForFrame {
        is_cancelled,
        collect_at: Instant::now() + COLLECT_EVERY,
    };
    let _outer = Outer(FOR_FRAME.replace(Some(inner)));
    wait()
}

/// Whether a handler runs in the middle of a wait of this thread.
pub(crate) fn is_in_check() -> bool {
    IN_CHECK.get()
}

/// Names [`is_raised`] as the library's check.
pub(crate) fn install() {
    ndshm::set_interrupt_check(is_raised);
}

/// Runs the handlers of pending signals. Only the main thread has any. True also if the wait was
/// cancelled, which leaves no exception.
fn is_raised() -> bool {
    let (is_cancelled, collects) = FOR_FRAME.with_borrow_mut(|wait| match wait {
        Some(wait) => (
            wait.is_cancelled.load(SeqCst),
            Some(wait.is_time_to_collect()),
        ),
        None => (false, None),
    });
    if is_cancelled {
        return true;
    }
    let before = IN_CHECK.replace(true);
    let checked = Python::try_attach(|py| {
        py.check_signals()?;
        let is_time = || GUARDS.load(SeqCst) > 0 && is_time_to_collect();
        match collects.unwrap_or_else(is_time) {
            true => collect_garbage(py),
            false => Ok(()),
        }
    });
    IN_CHECK.set(before);
    match checked {
        Some(Err(error)) => {
            RAISED.with(|raised| *raised.borrow_mut() = Some(error));
            true
        }
        // The interpreter is ending, or no handler raised an exception.
        None | Some(Ok(())) => false,
    }
}

/// Whether the last collection was so long ago; the first one comes a while after the first call.
fn is_time_to_collect() -> bool {
    static NEXT: Mutex<Option<Instant>> = Mutex::new(None);
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let is_time = next.is_some_and(|next| next <= now);
    if is_time || next.is_none() {
        *next = Some(now + COLLECT_EVERY);
    }
    is_time
}

pub(crate) fn collect_garbage(py: Python<'_>) -> PyResult<()> {
    py.import(intern!(py, "gc"))?
        .call_method0(intern!(py, "collect"))?;
    Ok(())
}

/// The exception that ended the last wait of this thread.
pub(crate) fn take() -> Option<PyErr> {
    RAISED.with(|raised| raised.borrow_mut().take())
}

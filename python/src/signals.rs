//! What a wait of the library does for Python: a Ctrl-C ends it, and garbage does not prolong it.
//!
//! Python runs the handlers of signals between two steps of its own code. A thread that waits in
//! the library therefore asks for them every 50 ms. The exception of a handler ends the wait: the
//! library reports `Interrupted`, and the caller raises that exception instead.
//!
//! A guard that only a reference cycle keeps would be in the way for ever in a process whose
//! threads all wait. So a wait of a process that has guards collects garbage once a second.

use pyo3::{intern, prelude::*};
use std::{
    cell::{Cell, RefCell},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// The guards that this process has in Python.
pub(crate) static GUARDS: AtomicUsize = AtomicUsize::new(0);

const COLLECT_EVERY: Duration = Duration::from_secs(1);

thread_local! {
    /// The exception that a handler raised in a wait of this thread.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
    /// Whether this thread runs handlers in the middle of a wait.
    static IN_CHECK: Cell<bool> = const { Cell::new(false) };
}

/// Whether a handler runs in the middle of a wait of this thread.
pub(crate) fn is_in_check() -> bool {
    IN_CHECK.get()
}

/// Names [`is_raised`] as the library's check.
pub(crate) fn install() {
    ndshm::set_interrupt_check(is_raised);
}

/// Runs the handlers of pending signals. Only the main thread has any.
fn is_raised() -> bool {
    let before = IN_CHECK.replace(true);
    let checked = Python::try_attach(|py| {
        py.check_signals()?;
        match GUARDS.load(SeqCst) > 0 && is_time_to_collect() {
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

//! Signals during waits: a Ctrl-C ends each wait of the library.
//!
//! Python runs the handlers of signals between two steps of its own code. A thread that waits in
//! the library therefore asks for them every 50 ms. The exception of a handler ends the wait: the
//! library reports `Interrupted`, and the caller raises that exception instead.

use pyo3::prelude::*;
use std::cell::{Cell, RefCell};

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
    let checked = Python::try_attach(|py| py.check_signals());
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

/// The exception that ended the last wait of this thread.
pub(crate) fn take() -> Option<PyErr> {
    RAISED.with(|raised| raised.borrow_mut().take())
}

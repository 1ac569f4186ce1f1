//! Signals during waits: a Ctrl-C ends each wait of the library.
//!
//! Python runs the handlers of signals between two steps of its own code. A thread that waits in
//! the library therefore asks for them every 50 ms. The exception of a handler ends the wait: the
//! library reports `Interrupted`, and the caller raises that exception instead.

use pyo3::prelude::*;
use std::cell::RefCell;

thread_local! {
    /// The exception that a handler raised in a wait of this thread.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Names [`is_raised`] as the library's check.
pub(crate) fn install() {
    ndshm::set_interrupt_check(is_raised);
}

/// Runs the handlers of pending signals. Only the main thread has any.
fn is_raised() -> bool {
    let checked = Python::try_attach(|py| py.check_signals());
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

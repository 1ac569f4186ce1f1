//! Waiting for a guard of the library, without holding the interpreter's lock.

pub(crate) use crate::arguments::Wait;
use crate::{
    enclosing::Enclosing,
    error::Raise,
    export::{Carried, Held},
    locked,
};
use ndshm::{AnyArray, Error};
use pyo3::prelude::*;

/// The kind of access.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Read,
    Write,
    Recover,
}

impl Mode {
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Mode::Read => "read",
            Mode::Write => "write",
            Mode::Recover => "recover",
        }
    }
}

/// Takes a guard: at once if it is free, else by waiting without the interpreter's lock. A signal
/// whose handler raises an exception ends the wait (`signals`).
pub(crate) fn take(py: Python<'_>, array: &AnyArray, mode: Mode, wait: Wait) -> PyResult<Held> {
    match try_take(array, mode) {
        Err(Error::WouldBlock { .. }) => {}
        taken => return taken.raise(py),
    }
    if locked::collect_left(py)? {
        match try_take(array, mode) {
            Err(Error::WouldBlock { .. }) => {}
            taken => return taken.raise(py),
        }
    }
    take_waiting(py, array, mode, wait)
}

fn try_take(array: &AnyArray, mode: Mode) -> ndshm::Result<Held> {
    match mode {
        Mode::Read => array.try_read().map(Held::Read),
        Mode::Write => array.try_write().map(Held::Write),
        Mode::Recover => {
            let [guard] = ndshm::try_lock([array.recovering()])?;
            Ok(Held::Write(guard))
        }
    }
}

#[cold]
fn take_waiting(py: Python<'_>, array: &AnyArray, mode: Mode, wait: Wait) -> PyResult<Held> {
    // A guard of the thread's own may be in the way.
    let enclosing = Enclosing::bind(py)?;
    let taken = py.detach(|| {
        let taken = match (mode, wait) {
            (_, Wait::Never) => try_take(array, mode),
            (Mode::Read, Wait::AtMost(time)) => array.read_timeout(time).map(Held::Read),
            (Mode::Read, _) => array.read().map(Held::Read),
            (Mode::Write, Wait::AtMost(time)) => array.write_timeout(time).map(Held::Write),
            (Mode::Write, _) => array.write().map(Held::Write),
            (Mode::Recover, _) => array.recover().map(Held::Write),
        };
        taken.map(Carried)
    });
    drop(enclosing);
    taken.map(|Carried(held)| held).raise(py)
}

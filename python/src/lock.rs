//! Waiting for a guard of the library, without holding the interpreter's lock.

use crate::{
    error::{Raise, raised},
    export::{Carried, Held},
};
use ndshm::{AnyArray, Error};
use pyo3::prelude::*;
use std::time::{Duration, Instant};

/// How often a waiting thread checks for signals.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(250);

/// The kind of access.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Read,
    Write,
    Recover,
}

/// How long to wait.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    /// Not at all.
    Never,
    /// For this time at most.
    AtMost(Duration),
    /// Without a limit, or as long as the store's `lock_timeout` allows.
    Forever,
}

impl Wait {
    /// Converts the argument `timeout`: seconds, or `None`.
    pub(crate) fn new(timeout: Option<f64>) -> PyResult<Self> {
        match timeout {
            None => Ok(Wait::Forever),
            Some(seconds) if seconds <= 0.0 => Ok(Wait::Never),
            Some(seconds) => Ok(Wait::AtMost(
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
            )),
        }
    }
}

/// Takes a guard: at once if it is free, else by waiting without the interpreter's lock.
pub(crate) fn take(py: Python<'_>, array: &AnyArray, mode: Mode, wait: Wait) -> PyResult<Held> {
    let taken = match mode {
        Mode::Read => array.try_read().map(Held::Read),
        Mode::Write => array.try_write().map(Held::Write),
        // The library has no form of `recover` that does not wait.
        Mode::Recover => {
            return py
                .detach(|| array.recover().map(Held::Write).map(Carried))
                .map(|Carried(held)| held)
                .raise(py);
        }
    };
    match (taken, wait) {
        (Err(Error::WouldBlock { .. }), Wait::AtMost(time)) => {
            take_waiting(py, array, mode, Some(time))
        }
        (Err(Error::WouldBlock { .. }), Wait::Forever) => {
            take_waiting(py, array, mode, array.manager().lock_timeout())
        }
        (taken, _) => taken.raise(py),
    }
}

#[cold]
fn take_waiting(
    py: Python<'_>,
    array: &AnyArray,
    mode: Mode,
    limit: Option<Duration>,
) -> PyResult<Held> {
    let start = Instant::now();
    loop {
        let left = limit.map(|limit| limit.saturating_sub(start.elapsed()));
        let slice = left.map_or(SIGNAL_INTERVAL, |left| left.min(SIGNAL_INTERVAL));
        let taken = py.detach(|| {
            let taken = match mode {
                Mode::Read => array.read_timeout(slice).map(Held::Read),
                Mode::Write | Mode::Recover => array.write_timeout(slice).map(Held::Write),
            };
            taken.map(Carried)
        });
        match taken {
            Err(Error::Timeout { path, obstacle, .. }) => {
                if let Some(waited) = limit.filter(|&limit| start.elapsed() >= limit) {
                    let error = Error::Timeout {
                        path,
                        obstacle,
                        waited,
                    };
                    return Err(raised(py, &error));
                }
                py.check_signals()?;
            }
            taken => return taken.map(|Carried(held)| held).raise(py),
        }
    }
}

//! How long a call waits, and how the wait ends early: one limit for all waits of a call.
//!
//! A call begins one [`Deadline`] and hands it to every step that may wait: for the kernel's file
//! locks here, for the slots of a lock table in `array::lock`. So a call with several waits takes
//! no longer than its limit. Without a limit a call waits for as long as it takes.
//!
//! # Signals
//!
//! A signal that interrupts a system call ends no wait: the handler has run by then, and the call
//! goes on. A runtime that defers its handlers, such as Python's, names a check
//! ([`set_interrupt_check`]). Each waiting thread calls the check every 50 ms, and the wait ends
//! with `Interrupted` if the check says so.
//!
//! # Threads that work for a call
//!
//! A check may have an answer in one thread alone, as Python's has in the main thread. Threads that
//! share the work of a call therefore end with it: the calling thread asks the check, and sets a
//! flag that each of them names once ([`work_until`]).

use crate::{
    error::{Error, Result},
    sys::fork,
};
use std::{
    cell::{Cell, RefCell},
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    Never,
    AtMost(Duration),
    Forever,
}

impl Wait {
    /// The limit of a setting; without one, no limit.
    pub(crate) fn limited(limit: Option<Duration>) -> Self {
        limit.map_or(Wait::Forever, Wait::AtMost)
    }

    /// The same, or at most `limit` where it has no limit of its own.
    pub(crate) fn or(self, limit: Option<Duration>) -> Self {
        match self {
            Wait::Forever => Self::limited(limit),
            wait => wait,
        }
    }

    /// Starts the clock.
    pub(crate) fn begin(self) -> Deadline {
        Deadline {
            wait: self,
            // A time that the clock cannot count is no limit.
            until: match self {
                Wait::Never => Some(Instant::now()),
                Wait::AtMost(time) => Instant::now().checked_add(time),
                Wait::Forever => None,
            },
            is_interruptible: true,
        }
    }
}

/// The end of all waits of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    wait: Wait,
    until: Option<Instant>,
    is_interruptible: bool,
}

/// How long a drop waits at most, and housekeeping beside the call that
/// a user made. A sweep does the rest.
pub(crate) const IN_PASSING: Duration = Duration::from_secs(10);
/// The shortest and the longest sleep between two tries. A running process holds these locks for a
/// few system calls.
const SHORTEST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_millis(1);

impl Deadline {
    /// For work that no caller waits for: at most `limit` and [`IN_PASSING`], and no check is
    /// called, because its answer would be lost.
    pub(crate) fn in_passing(limit: Option<Duration>) -> Self {
        let limit = limit.unwrap_or(IN_PASSING).min(IN_PASSING);
        Self {
            is_interruptible: false,
            ..Wait::AtMost(limit).begin()
        }
    }

    /// The same, or one after `limit` from now where this one has no end.
    pub(crate) fn or(self, limit: Option<Duration>) -> Self {
        match self.wait {
            Wait::Forever => Wait::limited(limit).begin(),
            _ => self,
        }
    }

    /// The time that is left, for a call with a limit of its own.
    pub(crate) fn rest(&self) -> Wait {
        match (self.wait, self.until) {
            (Wait::AtMost(_), Some(until)) => {
                Wait::AtMost(until.saturating_duration_since(Instant::now()))
            }
            (wait, _) => wait,
        }
    }

    /// The moment at which it is over; `None` without a limit.
    pub(crate) fn instant(&self) -> Option<Instant> {
        self.until
    }

    /// Tries until `attempt` returns true, and sleeps between the tries. `action` names a try that
    /// fails, `obstacle` the reason of an end without success.
    pub(crate) fn poll(
        &self,
        path: &Path,
        action: &'static str,
        obstacle: &'static str,
        mut attempt: impl FnMut() -> io::Result<bool>,
    ) -> Result<()> {
        let mut pause = SHORTEST;
        while !attempt().map_err(Error::io(path, action))? {
            self.sleep(path, obstacle, pause)?;
            pause = (pause * 2).min(LONGEST);
        }
        Ok(())
    }

    /// Sleeps before the next try of a caller's own loop.
    pub(crate) fn pause(&self, path: &Path, obstacle: &'static str) -> Result<()> {
        self.sleep(path, obstacle, LONGEST)
    }

    fn sleep(&self, path: &Path, obstacle: &'static str, longest: Duration) -> Result<()> {
        let left = self
            .until
            .map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(self.failed(path, obstacle));
        }
        if self.is_interruptible && is_interrupted() {
            return Err(Error::Interrupted { path: path.into() });
        }
        std::thread::sleep(left.map_or(longest, |left| left.min(longest)));
        Ok(())
    }

    /// The error of a wait that was in vain.
    pub(crate) fn failed(&self, path: &Path, obstacle: &'static str) -> Error {
        match self.wait {
            Wait::AtMost(waited) => Error::Timeout {
                path: path.into(),
                obstacle,
                waited,
                holders: Default::default(),
            },
            Wait::Never | Wait::Forever => Error::WouldBlock {
                path: path.into(),
                obstacle,
                holders: Default::default(),
            },
        }
    }
}

/// The check that [`set_interrupt_check`] names.
static CHECK: fork::Mutex<Option<fn() -> bool>> = fork::Mutex::new(None);
/// How often a waiting thread calls the check.
pub(crate) const BETWEEN_CHECKS: Duration = Duration::from_millis(50);

/// Names a check that every waiting thread calls every 50 ms; where several threads wait for one
/// guard, every 200 ms. Where it returns true, the waiting call fails with
/// [`Error::Interrupted`](crate::Error::Interrupted).
///
/// It is for bindings to languages whose signal handlers run between two steps of their own code:
/// a wait would keep them from running. Programs in Rust limit waits by
/// [`Builder::lock_timeout`](crate::Builder::lock_timeout) and the verbs with a timeout. The check
/// of the last call counts, for the whole process.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
///
/// static STOPPED: AtomicBool = AtomicBool::new(false); // set by a handler of SIGINT
/// ndshm::set_interrupt_check(|| STOPPED.load(Relaxed));
/// let manager = ndshm::Manager::new()?;
/// let xs = manager.zeros::<f64, _>(5)?;
/// let held = xs.write()?;
/// STOPPED.store(true, Relaxed);
/// let view = xs.view()?;
/// let waited = std::thread::spawn(move || view.read().map(drop)).join().unwrap();
/// assert!(matches!(waited, Err(ndshm::Error::Interrupted { .. })));
/// # drop(held);
/// # Ok::<(), ndshm::Error>(())
/// ```
pub fn set_interrupt_check(check: fn() -> bool) {
    *CHECK.lock() = Some(check);
}

/// Whether a check was set.
pub(crate) fn has_interrupt_check() -> bool {
    CHECK.lock().is_some()
}

/// What ends the waits of a thread beside the check.
#[derive(Clone, Default)]
struct Ends {
    /// Set when the call ends for which this thread works.
    flag: Option<Arc<AtomicBool>>,
    /// The end of the time that the calling thread has for a part of its work.
    until: Option<Instant>,
}

thread_local!(static ENDS: RefCell<Ends> = RefCell::default());

/// Names the flag that ends the waits of this thread, until the thread ends.
#[cfg(feature = "zarr")]
pub(crate) fn work_until(flag: &Arc<AtomicBool>) {
    ENDS.with_borrow_mut(|ends| ends.flag = Some(flag.clone()));
}

/// Calls a function whose waits end as interrupted after a time.
#[cfg(feature = "zarr")]
pub(crate) fn limited<T>(time: Duration, work: impl FnOnce() -> T) -> T {
    struct Before(Option<Instant>);
    impl Drop for Before {
        fn drop(&mut self) {
            ENDS.with_borrow_mut(|ends| ends.until = self.0);
        }
    }
    let until = Instant::now().checked_add(time);
    let _before = Before(ENDS.with_borrow_mut(|ends| std::mem::replace(&mut ends.until, until)));
    work()
}

/// Whether the waits of this thread shall end: because the check of [`set_interrupt_check`] says
/// so, or because the call ended for which this thread works.
///
/// It is for implementations of [`Bucket`](crate::Bucket), which ask it about every 50 ms while
/// they wait, and return an error of the kind [`Interrupted`](io::ErrorKind::Interrupted) when it
/// is true. A true answer of the check is given once.
///
/// # Examples
///
/// ```
/// use std::{io, sync::mpsc, time::Duration};
///
/// /// The answer of a server, for which another thread waits.
/// fn answer(from: &mpsc::Receiver<Vec<u8>>) -> io::Result<Vec<u8>> {
///     loop {
///         match from.recv_timeout(Duration::from_millis(50)) {
///             Ok(answer) => return Ok(answer),
///             Err(_) if ndshm::is_interrupted() => return Err(io::ErrorKind::Interrupted.into()),
///             Err(mpsc::RecvTimeoutError::Timeout) => {}
///             Err(error) => return Err(io::Error::other(error)),
///         }
///     }
/// }
/// # let (send, receive) = mpsc::channel();
/// # send.send(vec![1]).unwrap();
/// # assert_eq!(answer(&receive).unwrap(), [1]);
/// ```
#[cold]
pub fn is_interrupted() -> bool {
    let is_over = ENDS.with_borrow(|ends| match &ends.flag {
        // The calling thread asks the check.
        Some(flag) => Some(flag.load(Relaxed)),
        None => ends
            .until
            .is_some_and(|until| until <= Instant::now())
            .then_some(true),
    });
    is_over.unwrap_or_else(is_checked)
}

/// Asks the check, unless this thread asked it a moment ago.
fn is_checked() -> bool {
    thread_local!(static ASKED: Cell<Option<Instant>> = const { Cell::new(None) });
    let now = Instant::now();
    let is_time = ASKED.with(|asked| {
        let is_time = asked
            .get()
            .is_none_or(|asked| now.duration_since(asked) >= BETWEEN_CHECKS);
        if is_time {
            asked.set(Some(now));
        }
        is_time
    });
    if !is_time {
        return false;
    }
    // Not called under the mutex: the check runs code of its own.
    let check = *CHECK.lock();
    check.is_some_and(|check| check())
}

//! Work on several threads, which ends at the first error.

use crate::{
    error::{Error, Result},
    sys::wait::is_interrupted,
};
use std::{
    path::Path,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// The time between two looks whether the caller's check ends the work.
const BETWEEN_CHECKS: Duration = Duration::from_millis(50);

/// Calls `work` with each number below `count`, on up to `threads` threads, in the order of the
/// numbers. The calling thread waits, and asks the caller's check meanwhile.
///
/// # Errors
///
/// The first error of `work`; `Interrupted`. Then the numbers that are not begun are left out.
pub(super) fn for_each(
    place: &Path,
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> Result<()> + Sync,
) -> Result<()> {
    let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let failure = Mutex::new(None);
    let (running, ended) = (Mutex::new(threads.min(count)), Condvar::new());
    let lock = |mutex| match Mutex::lock(mutex) {
        Ok(guard) => guard,
        Err(poisoned) => PoisonError::into_inner(poisoned),
    };
    let fail = |error: Error| {
        is_over.store(true, Relaxed);
        let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
    };
    /// Counts a thread as ended, in a panic too.
    struct Ends<'a>(&'a Mutex<usize>, &'a Condvar);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
            self.1.notify_all();
        }
    }
    std::thread::scope(|scope| {
        for _ in 0..threads.min(count) {
            scope.spawn(|| {
                let _ends = Ends(&running, &ended);
                while !is_over.load(Relaxed) {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= count {
                        return;
                    }
                    if let Err(error) = work(number) {
                        fail(error);
                    }
                }
            });
        }
        let mut left = lock(&running);
        while *left > 0 {
            left = match ended.wait_timeout(left, BETWEEN_CHECKS) {
                Ok((left, _)) => left,
                Err(poisoned) => poisoned.into_inner().0,
            };
            if *left > 0 && is_interrupted() {
                fail(Error::Interrupted { path: place.into() });
            }
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

//! Work on several threads, which ends at the first error: what is not begun is left out, and waits
//! of what is begun end as interrupted.

use crate::{
    error::{Error, Result},
    sys::wait::{self, is_interrupted},
};
use std::{
    path::Path,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
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
/// The first error of `work`; `Interrupted`.
pub(super) fn for_each(
    place: &Path,
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> Result<()> + Sync,
) -> Result<()> {
    let (next, is_over) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
    let failure = Mutex::new(None);
    let (running, ended) = (Mutex::new(threads.min(count)), Condvar::new());
    let fail = |error: Error| {
        // The error comes first: the others fail because of the flag.
        let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
        is_over.store(true, Relaxed);
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
                wait::work_until(&is_over);
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
        let mut left = running.lock().unwrap_or_else(PoisonError::into_inner);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    /// Work that waits for as long as the call goes on.
    fn wait_until_interrupted() -> Result<()> {
        while !is_interrupted() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let path = "waited".into();
        Err(Error::Interrupted { path })
    }

    #[test]
    fn an_error_ends_the_waits_of_the_other_threads_and_is_returned_itself() {
        let begun = Barrier::new(3);
        let failed = for_each(Path::new("place"), 9, 3, |number| {
            assert!(number < 3, "{number} was begun after the error");
            begun.wait();
            match number {
                1 => Err(Error::transfer("broken", "it is broken")),
                _ => wait_until_interrupted(),
            }
        });
        let error = failed.unwrap_err();
        assert!(error.to_string().contains("it is broken"), "{error}");
        // The calling thread works on.
        assert!(!is_interrupted());
    }

    #[test]
    fn a_time_limit_of_the_calling_thread_ends_the_work_of_all() {
        let place = Path::new("place");
        let ended = wait::limited(Duration::from_millis(20), || {
            for_each(place, 4, 2, |_| wait_until_interrupted())
        });
        assert!(matches!(ended, Err(Error::Interrupted { .. })), "{ended:?}");
        for_each(place, 4, 2, |_| match is_interrupted() {
            true => wait_until_interrupted(),
            false => Ok(()),
        })
        .unwrap();
    }
}

//! Work on many bytes that several threads share.

use std::{
    num,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

/// The most threads of one transfer: with more, memory or the disk is the limit.
const MOST_THREADS: usize = 8;

/// Takes the bytes of a job that is done.
pub(crate) type Report<'a> = dyn FnMut(usize) + 'a;

/// The number of threads that this process may keep busy, at most [`MOST_THREADS`].
pub(crate) fn threads() -> usize {
    thread::available_parallelism()
        .map_or(1, num::NonZero::get)
        .min(MOST_THREADS)
}

/// Does all jobs, by this thread and up to `threads - 1` others, each with a `state` of its own.
///
/// Jobs are begun in their order. `work` returns the bytes that it did; `report` gets those of each
/// job, in this thread only. After an error no further job is begun, and the first error is
/// returned. Where the system refuses a thread, the others do the work.
pub(crate) fn share<J: Send, S, E: Send>(
    threads: usize,
    jobs: impl Iterator<Item = J> + Send,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, J) -> Result<usize, E> + Sync,
    report: &mut Report<'_>,
) -> Result<(), E> {
    let (jobs, failed) = (Mutex::new(jobs), Mutex::new(None));
    let ends = AtomicBool::new(false);
    let next = || {
        let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if ends.load(Relaxed) {
            None
        } else {
            jobs.next()
        }
    };
    let run = |done: &mut Report<'_>| {
        // Also where `work` or `report` panics, no further job is begun.
        let _end = End(&ends);
        let mut state = state();
        while let Some(job) = next() {
            match work(&mut state, job) {
                Ok(bytes) => done(bytes),
                Err(error) => {
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.get_or_insert(error);
                    return;
                }
            }
        }
    };
    spread(threads, &run, report);
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Calls `run` in all threads. `report` gets each number that any of them passes to its argument.
fn spread(threads: usize, run: &(dyn Fn(&mut Report<'_>) + Sync), report: &mut Report<'_>) {
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 1..threads {
            let sender = sender.clone();
            let started = thread::Builder::new()
                .spawn_scoped(scope, move || run(&mut |bytes| _ = sender.send(bytes)));
            if started.is_err() {
                break;
            }
        }
        drop(sender);
        run(&mut |bytes| {
            report(bytes);
            receiver.try_iter().for_each(&mut *report);
        });
        receiver.iter().for_each(report);
    });
}

/// Ends the work of all threads when it is dropped: when no job is left, or by a panic.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn every_job_is_done_once_and_every_byte_reported_by_the_caller() {
        for threads in [1, 3] {
            let mut seen = vec![0_u8; 1000];
            let (caller, mut reported) = (thread::current().id(), 0);
            let jobs = seen.iter_mut();
            let work = |state: &mut usize, job: &mut u8| {
                *state += 1;
                *job += 1;
                Ok::<_, ()>(*state / *state * 7)
            };
            let mut report = |bytes| {
                assert_eq!(thread::current().id(), caller);
                reported += bytes;
            };
            share(threads, jobs, || 0, work, &mut report).unwrap();
            assert_eq!(reported, 7000);
            assert!(seen.iter().all(|&count| count == 1));
        }
    }

    #[test]
    fn no_job_is_begun_after_an_error_or_a_panic() {
        let begun = AtomicUsize::new(0);
        let work = |_: &mut (), job: usize| {
            begun.fetch_add(1, Relaxed);
            if job == 2 { Err(job) } else { Ok(1) }
        };
        assert_eq!(share(1, 0..100, || (), work, &mut |_| ()), Err(2));
        assert_eq!(begun.load(Relaxed), 3);
        let panics = AssertUnwindSafe(|| {
            let mut report = |_| panic!("the caller's function");
            share(4, 0.., || (), |_, _: u64| Ok::<_, ()>(1), &mut report)
        });
        assert!(catch_unwind(panics).is_err());
    }
}

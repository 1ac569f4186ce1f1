//! Fail-points: steps at which the library's own tests kill or stop a process.
//!
//! `failpoint!(LanePublished);` marks a step of the list in `points`. Without the feature
//! `failpoints` it expands to nothing. With it, a process that armed the point dies there as by
//! kill -9, or stops there until it is killed or told to go on. A step that is not in the list does
//! not compile.
//!
//! Points stand under locks and in the fork handlers. So reaching an unarmed point costs three
//! operations on atomics, and dying one system call.

#[cfg(feature = "failpoints")]
mod points;

#[cfg(not(feature = "failpoints"))]
macro_rules! failpoint {
    ($point:ident) => {};
}

#[cfg(feature = "failpoints")]
macro_rules! failpoint {
    ($point:ident) => {
        $crate::failpoint::reached($crate::failpoint::Point::$point)
    };
}

#[cfg(feature = "failpoints")]
pub use armed::{die, hits, stand};
#[cfg(feature = "failpoints")]
pub use points::NAMES;
#[cfg(feature = "failpoints")]
pub(crate) use {armed::reached, points::Point};

#[cfg(feature = "failpoints")]
mod armed {
    use super::{NAMES, Point};
    use rustix::process::{Signal, getpid, kill_process};
    use std::{
        fs::File,
        path::{Path, PathBuf},
        sync::{
            Mutex, PoisonError,
            atomic::{AtomicU64, Ordering::SeqCst},
        },
        time::Duration,
    };

    /// The hits of each point.
    static HITS: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];
    /// Hits until the process dies at each point; 0 means never.
    static DEATHS: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];
    /// Hits until a thread stops at each point; 0 means never.
    static STOPS: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];
    /// The files that mark a stopped thread.
    static FILES: Mutex<Vec<(usize, PathBuf)>> = Mutex::new(Vec::new());

    fn index(name: &str) -> usize {
        match NAMES.iter().position(|known| *known == name) {
            Some(index) => index,
            None => panic!("no fail-point is called {name}"),
        }
    }

    /// Kills the process when it reaches the point for the n-th time from now.
    pub fn die(name: &str, nth: u64) {
        DEATHS[index(name)].store(nth, SeqCst);
    }

    /// Stops a thread when it reaches the point for the n-th time from now: it makes `file`, and
    /// waits as long as the file exists.
    pub fn stand(name: &str, nth: u64, file: &Path) {
        FILES
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((index(name), file.into()));
        STOPS[index(name)].store(nth, SeqCst);
    }

    /// How often this process has reached the point.
    pub fn hits(name: &str) -> u64 {
        HITS[index(name)].load(SeqCst)
    }

    pub(crate) fn reached(point: Point) {
        let point = point as usize;
        HITS[point].fetch_add(1, SeqCst);
        let is_due = |left: &AtomicU64| {
            left.load(SeqCst) > 0
                && left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) == Ok(1)
        };
        if is_due(&DEATHS[point]) {
            let _ = kill_process(getpid(), Signal::KILL);
            // Not reached: the kernel ends the process before the call returns.
            std::process::abort();
        }
        if is_due(&STOPS[point]) {
            let files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
            let file = files
                .iter()
                .rev()
                .find(|(at, _)| *at == point)
                .map(|(_, file)| file.clone());
            drop(files);
            if let Some(file) = file.filter(|file| File::create_new(file).is_ok()) {
                while file.exists() {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        }
    }
}

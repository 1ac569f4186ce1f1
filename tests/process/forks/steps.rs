//! The steps of the threads of a process that forks, in words that processes share.

use super::{
    exit,
    many::{STUCK, THREADS},
};
use std::{
    fs::File,
    path::Path,
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
    time::{Duration, Instant},
};

/// The steps of a thread.
const STEPS: [&str; 12] = [
    "nothing yet",
    "reading",
    "writing",
    "opening a handle",
    "making and dropping an array",
    "making and opening a named array",
    "opening a view by serde",
    "trying what the parent holds",
    "listing",
    "recovering",
    "forking",
    "waiting for a forked child",
];

/// Where the steps of the forking thread, and those of the forked child, stand.
pub(super) const FORKING: usize = THREADS;
pub(super) const CHILD: usize = THREADS + 1;

/// A file of shared words, without the library: what each thread is doing, and in the upper bits
/// how often it began something.
pub(super) struct Steps(memmap2::MmapRaw);

impl Steps {
    pub(super) fn create(path: &Path) {
        File::create_new(path).unwrap().set_len(4096).unwrap();
    }

    pub(super) fn open(path: &Path) -> Self {
        Self(
            memmap2::MmapRaw::map_raw(&File::options().read(true).write(true).open(path).unwrap())
                .unwrap(),
        )
    }

    fn word(&self, thread: usize) -> &AtomicU64 {
        assert!(thread <= CHILD);
        let word = self.0.as_mut_ptr().cast::<u64>().wrapping_add(thread);
        // SAFETY: the word lies inside the mapping, which starts on a page and lives as long as the
        // borrow; every process accesses it atomically.
        unsafe { AtomicU64::from_ptr(word) }
    }

    pub(super) fn begin(&self, thread: usize, step: &str) {
        let step = STEPS.iter().position(|known| *known == step).unwrap() as u64;
        self.word(thread).store(
            ((self.word(thread).load(Relaxed) >> 8) + 1) << 8 | step,
            SeqCst,
        );
    }

    pub(super) fn of(&self, thread: usize) -> &'static str {
        STEPS[self.word(thread).load(SeqCst) as usize & 0xff]
    }

    /// Ends the process where one of its threads does not move.
    pub(super) fn watch(&self, is_over: &AtomicBool) {
        let look = |thread: usize| self.word(thread).load(SeqCst);
        let mut seen: Vec<_> = (0..=FORKING)
            .map(|thread| (look(thread), Instant::now()))
            .collect();
        while !is_over.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
            for (thread, (word, since)) in seen.iter_mut().enumerate() {
                if *word != look(thread) {
                    (*word, *since) = (look(thread), Instant::now());
                } else if since.elapsed() > STUCK {
                    let all: Vec<_> = (0..=CHILD).map(|thread| self.of(thread)).collect();
                    eprintln!(
                        "thread {thread} of the parent hangs: {}; \
                         all of them, the forking one, the forked child: {all:?}",
                        self.of(thread)
                    );
                    exit(70);
                }
            }
        }
    }
}

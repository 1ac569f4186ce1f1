//! Gives back the files of small arrays that an idle process keeps for reuse.
//!
//! A process that stopped making arrays calls nothing of the library, so a thread of its own does
//! this. The thread starts when a file is kept, looks at the pools of the process once a second,
//! and ends when none has a file. A fork ends it before: a process that forks with several threads
//! is warned about that by some runtimes, Python's among them.

use crate::{
    store::member::Member,
    sys::{fork, process::block_signals},
};
use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// After so long without a use of its pool a process gives its files back.
const IDLE: Duration = Duration::from_secs(1);

/// One more than the fork generation whose thread runs; 0 where none runs.
static RUNS_IN: AtomicU64 = AtomicU64::new(0);
/// The thread that was started last.
static THREAD: fork::Mutex<Option<Thread>> = fork::Mutex::new(None);

struct Thread {
    handle: JoinHandle<()>,
    ends: Arc<AtomicBool>,
    /// The fork generation that started it.
    generation: u64,
}

/// Starts the thread if it does not run. Where the system gives no thread, files stay until the
/// process drops its last manager or needs their space.
pub(super) fn watch() {
    let here = fork::generation() + 1;
    if RUNS_IN.load(Relaxed) != here {
        start(here);
    }
}

#[cold]
fn start(here: u64) {
    fork::before_each(end);
    if RUNS_IN.swap(here, SeqCst) == here {
        return;
    }
    let ends = Arc::new(AtomicBool::new(false));
    let seen = ends.clone();
    let started = thread::Builder::new()
        .name("ndshm-idle".into())
        .stack_size(256 << 10)
        .spawn(move || run(&seen));
    let Ok(handle) = started else {
        RUNS_IN.store(0, SeqCst);
        return;
    };
    let thread = Thread {
        handle,
        ends,
        generation: here - 1,
    };
    let before = THREAD.lock().replace(thread);
    if let Some(thread) = before {
        thread.forget();
    }
}

impl Thread {
    /// A thread of a parent is none in a child: nothing may be done with its handle there.
    fn forget(self) {
        if self.generation != fork::generation() {
            mem::forget(self.handle);
        }
    }
}

fn run(ends: &AtomicBool) {
    // Signals are for the threads of the program.
    block_signals();
    let mut known = HashMap::new();
    loop {
        if has_to_end_within(ends, IDLE) {
            return;
        }
        known = look(&known);
        if !known.is_empty() {
            continue;
        }
        // A thread that keeps a file from now on starts another one.
        let here = RUNS_IN.swap(0, SeqCst);
        known = look(&known);
        // A file may have come in before that.
        let is_needed = !known.is_empty() && here != 0;
        if !is_needed || RUNS_IN.compare_exchange(0, here, SeqCst, SeqCst).is_err() {
            return;
        }
    }
}

/// Waits for so long, or until the thread has to end.
fn has_to_end_within(ends: &AtomicBool, wait: Duration) -> bool {
    let until = Instant::now() + wait;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || ends.load(SeqCst) {
            return ends.load(SeqCst);
        }
        thread::park_timeout(left);
    }
}

/// Gives back the files of the pools that were not used since the last look. Returns the uses of
/// the others, by the addresses of their members.
fn look(known: &HashMap<usize, u32>) -> HashMap<usize, u32> {
    let mut found = HashMap::new();
    for member in Member::all() {
        let Some(uses) = member.pool().uses() else {
            continue;
        };
        if !member.recycles().is_short() {
            continue;
        }
        let member_at = Arc::as_ptr(&member).addr();
        if known.get(&member_at) == Some(&uses) {
            member.pool().clear();
        } else {
            found.insert(member_at, uses);
        }
    }
    found
}

/// Gives all small files back and ends the thread, before a fork. The child would keep the pages of
/// the files mapped.
fn end() {
    let here = fork::generation() + 1;
    if RUNS_IN.compare_exchange(here, 0, SeqCst, SeqCst).is_err() {
        return;
    }
    let thread = THREAD.lock().take();
    if let Some(thread) = thread.filter(|thread| thread.generation + 1 == here) {
        thread.ends.store(true, SeqCst);
        thread.handle.thread().unpark();
        let _ = thread.handle.join();
    }
    let members = Member::all();
    for member in members.iter().filter(|member| member.recycles().is_short()) {
        member.pool().clear();
    }
}

//! Words that threads sleep on until an event: a change of an atomic element, or a new name.
//!
//! A thread that waits reads the word, looks whether the event has happened, and sleeps while the
//! word has the value that it read. A thread that causes the event does so first and raises the
//! word afterwards, then it wakes the sleepers. No wake-up is lost: a waiter that reads the new
//! value of the word sees the event, because the raise releases it; a waiter that reads the old one
//! is refused by the kernel once the word has changed, or is asleep and woken.
//!
//! Several events share a word. So a waiter looks again at every wake-up.

use crate::sync::{self, AtomicU32, Instant};
use std::{sync::atomic::Ordering::SeqCst, time::Duration};

/// The longest sleep before a waiter looks whether the process that it waits for lives. In tests it
/// is so long that a lost wake-up is noticed.
pub(crate) const LONGEST_SLEEP: Duration = if cfg!(test) {
    Duration::from_secs(3600)
} else {
    Duration::from_millis(20)
};

/// Raises a word after an event, and wakes the sleepers.
pub(crate) fn raise(word: &AtomicU32) {
    word.fetch_add(1, SeqCst);
    failpoint!(SignalRaised);
    sync::wake_all(word);
}

/// Waits until `has_happened` returns a value. Calls it at every wake-up, and every 20 to 40 ms
/// with `true`: then it also looks whether the wait is in vain. Returns `None` after the deadline.
pub(crate) fn wait_for<R>(
    word: &AtomicU32,
    deadline: Option<Instant>,
    has_happened: impl FnMut(bool) -> Option<R>,
) -> Option<R> {
    wait_announced(
        word,
        deadline,
        || (),
        has_happened,
        |seen, time| {
            failpoint!(SignalAwaited);
            sync::sleep_on(word, seen, time);
        },
    )
}

/// The same for a word that is raised only for waiters that announced themselves: `announce` is
/// called before each look, and `sleep` with the value of the word that is waited with.
pub(crate) fn wait_announced<R>(
    word: &AtomicU32,
    deadline: Option<Instant>,
    announce: impl Fn(),
    mut has_happened: impl FnMut(bool) -> Option<R>,
    mut sleep: impl FnMut(u32, Duration),
) -> Option<R> {
    let mut slept_from = None;
    let mut looked: Option<Instant> = None;
    loop {
        let seen = word.load(SeqCst);
        announce();
        // Other events of the word can come more often than every 20 ms.
        let is_due = slept_from == Some(seen)
            || looked.is_some_and(|looked| looked.elapsed() >= LONGEST_SLEEP);
        if let Some(result) = has_happened(is_due) {
            return Some(result);
        }
        if is_due || looked.is_none() {
            looked = Some(Instant::now());
        }
        let mut time = LONGEST_SLEEP;
        if let Some(deadline) = deadline {
            time = time.min(deadline.saturating_duration_since(Instant::now()));
            if time.is_zero() {
                return None;
            }
        }
        sleep(seen, time);
        slept_from = Some(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, atomic::AtomicU64};

    #[test]
    fn no_wake_up_is_lost() {
        const ROUNDS: u64 = 20_000;
        let shared = Arc::new((AtomicU32::new(0), AtomicU64::new(0)));
        let (done, finished) = std::sync::mpsc::channel();
        for side in 0..2 {
            let (shared, done) = (shared.clone(), done.clone());
            std::thread::spawn(move || {
                let (word, turn) = &*shared;
                for round in 0..ROUNDS {
                    let mine = 2 * round + side;
                    wait_for(word, None, |_| (turn.load(SeqCst) == mine).then_some(()));
                    turn.store(mine + 1, std::sync::atomic::Ordering::Relaxed);
                    raise(word);
                }
                done.send(()).unwrap();
            });
        }
        for _ in 0..2 {
            finished
                .recv_timeout(Duration::from_secs(60))
                .expect("a thread sleeps on, though it is its turn");
        }
    }
}

//! What the words of a state block are made of, and how threads wait for each other: the standard
//! library's, and the kernel's futex.
//!
//! `models` compiles `state`, `table` and `hold` with something else in this place, to run them in
//! all orders. So nothing that they do between threads goes past this module.

pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, AtomicU64, fence},
    thread::{sleep, yield_now},
    time::Instant,
};

use rustix::{io::Errno, thread::futex, time::Timespec};
use std::time::Duration;

/// How often a lock word is looked at before the processor is yielded, and then before it is asked
/// whether its holder lives.
pub(crate) const SPINS: u32 = 100;

/// Sleeps if the word has this value, until somebody wakes it or the time is over; sometimes less.
pub(crate) fn sleep_on(word: &AtomicU32, value: u32, longest: Duration) {
    let timeout = Timespec {
        tv_sec: longest.as_secs() as i64,
        tv_nsec: i64::from(longest.subsec_nanos()),
    };
    match futex::wait(word, futex::Flags::empty(), value, Some(&timeout)) {
        // Woken, changed before the sleep, interrupted, or over.
        Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
        // Nothing else is known to happen; where it does, the waiter looks now and then.
        Err(_) => sleep(longest.min(Duration::from_millis(1))),
    }
}

/// Wakes all that sleep on a word, in every process.
pub(crate) fn wake_all(word: &AtomicU32) {
    // The only failures are of the arguments, which are constant.
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
}

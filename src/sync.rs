//! The atomics of a state block, and waiting: those of the standard library, and the kernel's
//! futex.
//!
//! `models/` compiles `state` with its own replacement of this module, and runs it in every order.
//! So all communication between threads in `state` goes through this module.

pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, AtomicU64, fence},
    thread::{sleep, yield_now},
    time::Instant,
};

use rustix::{io::Errno, thread::futex, time::Timespec};
use std::time::Duration;

/// Tries for a lock word before the thread yields, and from then on between two checks that its
/// holder lives.
pub(crate) const SPINS: u32 = 100;

/// Sleeps while the word has this value, until a wake-up or the end of the time; may return early.
pub(crate) fn sleep_on(word: &AtomicU32, value: u32, longest: Duration) {
    let timeout = Timespec {
        tv_sec: longest.as_secs() as i64,
        tv_nsec: i64::from(longest.subsec_nanos()),
    };
    match futex::wait(word, futex::Flags::empty(), value, Some(&timeout)) {
        // Woken, changed before the sleep, interrupted, or timed out.
        Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
        // No other error is known. If one occurs, the waiter polls.
        Err(_) => sleep(longest.min(Duration::from_millis(1))),
    }
}

/// Wakes all sleepers on a word, in every process.
pub(crate) fn wake_all(word: &AtomicU32) {
    // It can only fail for bad arguments, and these are constant.
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
}

//! Waiting in the kernel on a word that processes share.
//!
//! One of the modules with unsafe code: the kernel waits on 32 bits, and some words have 64.

use rustix::{
    io::Errno,
    thread::futex,
    time::{ClockId, Timespec, clock_gettime},
};
use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU32, AtomicU64},
    thread::sleep,
    time::Duration,
};

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

/// Like [`sleep_on`], for [`wake_sleepers_before`]. Returns whether a wake-up ended the sleep.
pub(crate) fn sleep_on_value(word: &AtomicU32, value: u32, longest: Duration) -> bool {
    let now = clock_gettime(ClockId::Monotonic);
    let nanos = now.tv_nsec as u64 + u64::from(longest.subsec_nanos());
    let until = Timespec {
        tv_sec: now.tv_sec + longest.as_secs() as i64 + (nanos / 1_000_000_000) as i64,
        tv_nsec: (nanos % 1_000_000_000) as i64,
    };
    let flags = futex::Flags::empty();
    match futex::wait_bitset(word, flags, value, Some(&until), bit_of(value)) {
        Ok(()) => true,
        Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => false,
        // No other error is known. If one occurs, the waiter polls.
        Err(_) => {
            sleep(longest.min(Duration::from_millis(1)));
            false
        }
    }
}

/// Wakes at most so many threads that sleep on another value than the present one. A sleeper on a
/// value that equals the present one modulo 32 sleeps on.
pub(crate) fn wake_sleepers_before(word: &AtomicU32, present: u32, most: u32) {
    if let Some(others) = NonZeroU32::new(!bit_of(present).get()) {
        let _ = futex::wake_bitset(word, futex::Flags::empty(), most, others);
    }
}

/// The bit of a value: it and its neighbours have different ones.
fn bit_of(value: u32) -> NonZeroU32 {
    NonZeroU32::new(1 << (value % 32)).unwrap_or(NonZeroU32::MIN)
}

/// Wakes all sleepers on a word, in every process.
pub(crate) fn wake_all(word: &AtomicU32) {
    wake(word, i32::MAX as u32);
}

/// Wakes one of the sleepers on a word.
pub(crate) fn wake_one(word: &AtomicU32) {
    wake(word, 1);
}

fn wake(word: &AtomicU32, most: u32) {
    // It can only fail for bad arguments, and these are constant.
    let _ = futex::wake(word, futex::Flags::empty(), most);
}

/// Like [`sleep_on`], on the high 32 bits of a word.
pub(crate) fn sleep_on_high_half(word: &AtomicU64, value: u64, longest: Duration) {
    sleep_on(high_half(word), (value >> 32) as u32, longest);
}

/// Wakes all sleepers on the high 32 bits of a word, in every process.
pub(crate) fn wake_high_half(word: &AtomicU64) {
    wake_all(high_half(word));
}

/// Wakes one of the sleepers on the high 32 bits of a word.
pub(crate) fn wake_one_high_half(word: &AtomicU64) {
    wake(high_half(word), 1);
}

/// The high 32 bits of a word, for the kernel alone: no code of this library accesses them at this
/// width.
fn high_half(word: &AtomicU64) -> &AtomicU32 {
    let halves = std::ptr::from_ref(word).cast::<AtomicU32>();
    let high = halves.wrapping_add(usize::from(cfg!(target_endian = "little")));
    // SAFETY: the four bytes lie inside the eight that `word` borrows, at a multiple of 4; any
    // bytes are a valid atomic; the callers only pass the address to the kernel.
    unsafe { &*high }
}

//! The atomics of a state block, and waiting: those of the standard library, and the kernel's
//! futex.
//!
//! `models/` compiles `state` with its own replacement of this module, and runs it in every order.
//! So all communication between threads in `state` goes through this module.

pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU16, AtomicU32, AtomicU64, fence},
    thread::{sleep, yield_now},
    time::Instant,
};

pub(crate) use crate::sys::{
    fence::{after_write as fence_after_write, heavy as heavy_fence, light as light_fence},
    fork::{Mutex, OnceLock},
    futex::{
        sleep_on, sleep_on_high_half, sleep_on_value, wake_all, wake_high_half, wake_one,
        wake_one_high_half, wake_sleepers_before,
    },
};

/// The machine's monotonic clock, in milliseconds modulo 2^32: the same for all processes.
pub(crate) fn milliseconds() -> u32 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000) as u32
}

/// For how many milliseconds a question about the living that another waiter asked counts.
pub(crate) const QUESTION_LASTS: u32 = 20;

/// Tries for a lock word before the thread yields, and from then on between two checks that its
/// holder lives.
pub(crate) const SPINS: u32 = 100;

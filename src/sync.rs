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

pub(crate) use crate::sys::futex::{sleep_on, sleep_on_low_half, wake_all, wake_low_half};

/// Tries for a lock word before the thread yields, and from then on between two checks that its
/// holder lives.
pub(crate) const SPINS: u32 = 100;

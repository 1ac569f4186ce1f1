//! The time and the context switches of this process.
#![allow(unsafe_code, reason = "getrusage is a call of libc")]

use rustix::time::{ClockId, clock_gettime};
use std::mem::MaybeUninit;

/// What this process has used since it started.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Time of processors, of its own and in the kernel, in nanoseconds.
    pub cpu: f64,
    /// Voluntary context switches: the times that it slept.
    pub switches: i64,
}

impl Usage {
    /// Now.
    pub fn now() -> Self {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointer is to a place for an rusage.
        unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
        // SAFETY: any bytes are an rusage, and these were zeros at least.
        let usage = unsafe { usage.assume_init() };
        let of = |time: libc::timeval| time.tv_sec as f64 * 1e9 + time.tv_usec as f64 * 1e3;
        Self {
            cpu: of(usage.ru_utime) + of(usage.ru_stime),
            switches: usage.ru_nvcsw,
        }
    }

    /// What it has used since then.
    pub fn since(self) -> Self {
        let now = Self::now();
        Self {
            cpu: now.cpu - self.cpu,
            switches: now.switches - self.switches,
        }
    }
}

/// The monotonic clock that all processes of the machine share, in nanoseconds.
pub fn clock() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

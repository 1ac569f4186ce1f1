//! Two fences of which one costs nothing: for a protocol in which one side runs often and the other
//! seldom.
//!
//! In a protocol of two threads that each write a word and then read the other's, a fence must
//! stand between the two accesses of each, or both may miss the other's write. [`light`] stops
//! the compiler only. [`heavy`] makes the kernel run a full fence in every running thread of the
//! process (`MEMBARRIER_CMD_PRIVATE_EXPEDITED`, membarrier(2), since Linux 4.14), so that each
//! thread is either before its write, and reads later, or its write is visible. Where the kernel
//! or a sandbox refuses that call, both are full fences.

use rustix::{
    io::Errno,
    thread::{MembarrierCommand, MembarrierQuery, membarrier, membarrier_query},
};
use std::{
    sync::atomic::{
        AtomicU8,
        Ordering::{Relaxed, SeqCst},
        compiler_fence, fence,
    },
    thread::sleep,
    time::Duration,
};

/// Whether the kernel has the barrier: one of the three below.
static BARRIER: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const MISSING: u8 = 1;
const PRESENT: u8 = 2;

/// A full fence right after an atomic read-modify-write by the same thread. On x86 that is a full
/// fence itself, and a second one would cost 5 to 15 ns.
#[inline]
pub(crate) fn after_write() {
    match cfg!(target_arch = "x86_64") {
        true => compiler_fence(SeqCst),
        false => fence(SeqCst),
    }
}

/// The fence of the side that runs often.
#[inline]
pub(crate) fn light() {
    match BARRIER.load(Relaxed) == PRESENT {
        true => compiler_fence(SeqCst),
        false => full(),
    }
}

#[cold]
fn full() {
    if BARRIER.load(Relaxed) == UNKNOWN {
        let needed =
            MembarrierQuery::PRIVATE_EXPEDITED | MembarrierQuery::REGISTER_PRIVATE_EXPEDITED;
        let is_present = membarrier_query().contains(needed);
        let found = if is_present { PRESENT } else { MISSING };
        BARRIER.store(found, Relaxed);
    }
    fence(SeqCst);
}

/// The fence of the side that runs seldom: some microseconds, and some milliseconds the first time
/// in a process of several threads.
#[cold]
pub(crate) fn heavy() {
    fence(SeqCst);
    if BARRIER.load(Relaxed) == PRESENT && barrier().is_err() {
        // The query said that there is one. Without it a thread's write is visible once its
        // processor has written what it buffers, which takes far less.
        sleep(Duration::from_millis(1));
    }
    fence(SeqCst);
}

fn barrier() -> Result<(), Errno> {
    // A process registers itself before its first barrier: until then the kernel refuses.
    membarrier(MembarrierCommand::PrivateExpedited).or_else(|_| {
        membarrier(MembarrierCommand::RegisterPrivateExpedited)?;
        membarrier(MembarrierCommand::PrivateExpedited)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{
            Barrier,
            atomic::{AtomicU32, AtomicU64},
        },
        thread,
    };

    /// Two threads that write a word each and read the other's: one of them sees the other.
    #[test]
    fn one_of_two_threads_sees_the_other() {
        let words = [AtomicU32::new(0), AtomicU32::new(0)];
        let (begin, end, missed) = (Barrier::new(2), Barrier::new(2), AtomicU64::new(0));
        let side = |mine: usize, fence: fn()| {
            for round in 1..=2_000 {
                begin.wait();
                words[mine].store(round, Relaxed);
                fence();
                let is_missed = words[1 - mine].load(Relaxed) != round;
                missed.fetch_add(u64::from(is_missed) << (32 * mine), Relaxed);
                end.wait();
                if mine == 0 {
                    let missed = missed.swap(0, Relaxed);
                    assert!(
                        missed != 1 << 32 | 1,
                        "both missed the other in round {round}"
                    );
                }
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| side(0, light));
            side(1, heavy);
        });
        assert_ne!(BARRIER.load(Relaxed), UNKNOWN);
    }
}

//! Waking and sleeping: the wake word and the waiting flag.

use super::Refusal;
use crate::{
    state::block::StateBlock,
    sync::{self, Instant, fence},
};
use std::{sync::atomic::Ordering::SeqCst, time::Duration};

/// The longest sleep of a waiter before it checks that the holders in its way live. In tests it is
/// so long that a lost wake-up is noticed.
const LONGEST_SLEEP: Duration = if cfg!(test) {
    Duration::from_secs(3600)
} else {
    Duration::from_millis(20)
};

impl StateBlock {
    /// Waits until `is_done` returns a value. Looks again at every wake-up, and every 20 ms.
    pub(crate) fn wait_until<R>(
        &self,
        deadline: Option<Instant>,
        mut is_done: impl FnMut() -> Option<R>,
    ) -> Result<R, Refusal> {
        loop {
            let seen = self.expect_wake();
            if let Some(result) = is_done() {
                return Ok(result);
            }
            self.sleep(seen, deadline)?;
        }
    }

    /// Wakes all waiters, if there are any: for a guard, or for the array to be frozen.
    ///
    /// The caller changed the awaited state before, for instance swapped a tag. A waiter reads the
    /// tags after setting the flag and a fence. All of these accesses are in one order (SeqCst):
    /// this call sees the flag, or the waiter sees the tag.
    #[inline]
    pub(crate) fn wake(&self) {
        if self.waiting.load(SeqCst) != 0 {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        if self.waiting.swap(0, SeqCst) != 0 {
            failpoint!(WakeFlagCleared);
            self.wake.fetch_add(1, SeqCst);
            failpoint!(WakeBumped);
            sync::wake_all(&self.wake);
            failpoint!(WakeDone);
        }
    }

    /// Announces a waiter, before its last look at the awaited state. Returns the wake word for
    /// [`sleep`](Self::sleep).
    ///
    /// In this order: a waker that clears the flag after this also changes the word, and a waker
    /// whose change the last look misses sees the flag.
    pub(super) fn expect_wake(&self) -> u32 {
        let seen = self.wake.load(SeqCst);
        self.waiting.store(1, SeqCst);
        fence(SeqCst);
        failpoint!(WaitFlagged);
        seen
    }

    /// Sleeps until a wake-up after `seen` was read, the deadline, or 20 ms.
    pub(super) fn sleep(&self, seen: u32, deadline: Option<Instant>) -> Result<(), Refusal> {
        let mut time = LONGEST_SLEEP;
        if let Some(deadline) = deadline {
            time = time.min(deadline.saturating_duration_since(Instant::now()));
            if time.is_zero() {
                return Err(Refusal::WouldBlock);
            }
        }
        failpoint!(WaitSleeping);
        sync::sleep_on(&self.wake, seen, time);
        failpoint!(WaitWoken);
        Ok(())
    }
}

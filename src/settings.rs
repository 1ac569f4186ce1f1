//! What a process chose for its use of a store: one for each membership, whichever manager it was chosen with.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The choices; by default nothing was chosen. Whoever reads one sees it or the one before: nothing else depends on it.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// Nanoseconds and one; zero is no limit.
    lock_timeout: AtomicU64,
}

impl Settings {
    /// How long a guard is waited for that was asked for without a limit of its own.
    pub(crate) fn lock_timeout(&self) -> Option<Duration> {
        self.lock_timeout.load(Relaxed).checked_sub(1).map(Duration::from_nanos)
    }

    pub(crate) fn set_lock_timeout(&self, timeout: Duration) {
        // What does not fit is more than 500 years.
        let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.lock_timeout.store(nanos.saturating_add(1), Relaxed);
    }
}

//! A process's settings for a store: one set for each membership, shared by all managers of the
//! store in the process.

use crate::store::recycle_pool::Limit;
use std::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

/// Whether new arrays get huge pages. Arrays of less than 2 MiB never do.
///
/// Huge pages need a tmpfs and Linux 6.1. They need no privilege, even if the system has huge pages
/// for shared memory turned off.
///
/// # Examples
///
/// ```
/// use ndshm::{HugePages, Manager};
///
/// # let scratch = tempfile::tempdir().unwrap();
/// let manager = Manager::builder().root(scratch.path()).huge_pages(HugePages::Never).create()?;
/// let xs = manager.zeros::<f64, _>(1_000_000)?;
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum HugePages {
    /// Yes, if the kernel gives them.
    #[default]
    Auto,
    /// No. On a machine whose processors are all busy, the kernel can take milliseconds to make the
    /// first one.
    Never,
    /// Yes, or creating the array is an error.
    Require,
}

/// The settings; by default none was chosen. A thread that reads one sees the last choice or the
/// one before: nothing else is ordered by them.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// Nanoseconds plus one; zero is no limit.
    lock_timeout: AtomicU64,
    /// A [`HugePages`].
    huge_pages: AtomicU8,
    prefault: AtomicBool,
    core_dumps: AtomicBool,
    /// Bytes plus one; zero if none was chosen.
    recycle: AtomicUsize,
    /// Bytes plus one; zero if none was chosen.
    cache: AtomicUsize,
}

/// How many bytes of mappings are kept by default.
const CACHE: usize = 64 << 20;

impl Settings {
    /// How long a call waits that has no limit of its own.
    pub(crate) fn lock_timeout(&self) -> Option<Duration> {
        self.lock_timeout
            .load(Relaxed)
            .checked_sub(1)
            .map(Duration::from_nanos)
    }

    pub(crate) fn set_lock_timeout(&self, timeout: Duration) {
        // A longer time than fits is more than 500 years.
        let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.lock_timeout.store(nanos.saturating_add(1), Relaxed);
    }

    pub(crate) fn huge_pages(&self) -> HugePages {
        let chosen = self.huge_pages.load(Relaxed);
        [HugePages::Never, HugePages::Require]
            .into_iter()
            .find(|choice| *choice as u8 == chosen)
            .unwrap_or_default()
    }

    pub(crate) fn set_huge_pages(&self, choice: HugePages) {
        self.huge_pages.store(choice as u8, Relaxed);
    }

    /// Whether all pages of an array are mapped when it is created or opened.
    pub(crate) fn prefault(&self) -> bool {
        self.prefault.load(Relaxed)
    }

    pub(crate) fn set_prefault(&self) {
        self.prefault.store(true, Relaxed);
    }

    /// Whether core dumps of this process have the arrays, as far as the kernel's filter allows.
    pub(crate) fn core_dumps(&self) -> bool {
        self.core_dumps.load(Relaxed)
    }

    pub(crate) fn set_core_dumps(&self, core_dumps: bool) {
        self.core_dumps.store(core_dumps, Relaxed);
    }

    /// How many bytes of mappings are kept for arrays that are opened again.
    pub(crate) fn cache(&self) -> usize {
        self.cache.load(Relaxed).checked_sub(1).unwrap_or(CACHE)
    }

    pub(crate) fn set_cache(&self, bytes: usize) {
        self.cache.store(bytes.saturating_add(1), Relaxed);
    }

    /// Which files of released arrays are kept for reuse.
    pub(crate) fn recycle(&self) -> Limit {
        let chosen = self.recycle.load(Relaxed).checked_sub(1);
        chosen.map_or(Limit::SMALL, Limit::bytes)
    }

    pub(crate) fn set_recycle(&self, bytes: usize) {
        self.recycle.store(bytes.saturating_add(1), Relaxed);
    }
}

//! Files of released arrays that their owner keeps, to make the next arrays of them: with their
//! pages, and mapped.
//!
//! A file comes here when its array was released, lost its name, and nobody else has it mapped. It
//! has a name as files have that are being built, so that a sweep takes what a dead process kept.
//! Its lifecycle is "recycling": whoever opened the file before it lost its name is refused.

use crate::{
    state::block::lifecycle,
    store::temporary::TempName,
    sys::{fork, mapping::Mapping},
};
use std::sync::atomic::Ordering::SeqCst;

/// The files that one process keeps of one store.
pub(crate) struct Pool(fork::Mutex<Vec<Kept>>);

/// One file.
pub(crate) struct Kept {
    /// Counted, but not registered: a forked child has no array of it.
    pub(crate) mapping: Mapping,
    pub(crate) path: TempName,
    pub(crate) inode: (u64, u64),
}

impl Pool {
    pub(crate) const fn new() -> Self {
        Self(fork::Mutex::new(Vec::new()))
    }

    /// Keeps a file, and lets the oldest go that do not fit into `limit` bytes with it.
    pub(crate) fn keep(&self, kept: Kept, limit: usize) {
        self.0.lock().push(kept);
        self.shrink(limit);
    }

    /// Lets the oldest files go, so that no more than `limit` bytes are kept.
    pub(crate) fn shrink(&self, limit: usize) {
        let mut dropped = Vec::new();
        let mut pool = self.0.lock();
        let mut total: usize = pool.iter().map(|kept| kept.mapping.len()).sum();
        while total > limit {
            let oldest = pool.remove(0);
            total -= oldest.mapping.len();
            dropped.push(oldest);
        }
        // Unlocked before anything is unmapped.
        drop(pool);
        dropped.into_iter().for_each(Kept::forget);
    }

    /// A file that has as many pages as one of `len` bytes; the one that was used last, whose pages
    /// are the likeliest to be in a cache.
    pub(crate) fn take(&self, len: usize) -> Option<Kept> {
        let mut pool = self.0.lock();
        let at = pool
            .iter()
            .rposition(|kept| kept.path.is_own() && kept.mapping.has_pages_of(len))?;
        Some(pool.remove(at))
    }

    /// Lets all files go. False where there were none.
    pub(crate) fn clear(&self) -> bool {
        let kept = std::mem::take(&mut *self.0.lock());
        let had_any = !kept.is_empty();
        kept.into_iter().for_each(Kept::forget);
        had_any
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Kept {
    /// Deletes the file, unless it was inherited over a fork: then it is the parent's.
    fn forget(self) {
        if self.path.is_own() {
            // Who kept a mapping of it for later lets it go.
            self.mapping
                .state()
                .lifecycle
                .store(lifecycle::RELEASED, SeqCst);
        }
    }
}

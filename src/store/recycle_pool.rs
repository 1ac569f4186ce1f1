//! Files of released arrays that their owner keeps for reuse, with their pages and mapped.
//!
//! # Reusing a file
//!
//! Fresh pages cost more than the elements that are written into them. A process that asked for it
//! (`Builder::recycle`) keeps the files of arrays that it owned and released, and makes its next
//! arrays of them:
//!
//! 1. *Release.* The lifecycle of the array becomes "released".
//! 2. *Rename.* The file gets the name of a draft of this member, so that a sweep deletes it if the
//!    process dies. Arrays with a chosen name and frozen arrays are unlinked instead.
//! 3. *Take.* When the last use of the array in this process ends, the process sets the lifecycle
//!    to "recycling" and only then reads the number of openers (`StateBlock::begin_recycling`). If
//!    another mapping is counted, the lifecycle goes back to "released", and the file is unlinked.
//! 4. *Keep.* The file is in the [`Pool`], up to a limit of bytes. The oldest files go first.
//! 5. *Renew.* A new array of as many pages takes the file. Its header is written under the draft's
//!    name; then the generation grows, the lifecycle becomes "ready", and the rename publishes it.
//!
//! # Openers of the old array
//!
//! A process that opened the file by its old name counts itself in first, and then reads the
//! lifecycle. If it reads "recycling", or another generation than in the header that it read, the
//! array is gone for it (`segment::open`). A process that keeps an uncounted mapping in its
//! [mapping cache](crate::store::mapping_cache) does the same before it uses the mapping again.

use crate::{
    store::temporary::TempName,
    sys::{fork, mapping::Mapping},
};

/// The files that a process keeps of one store, the one that was used last behind.
pub(crate) struct Pool(fork::Mutex<Vec<Kept>>);

/// A kept file.
pub(crate) struct Kept {
    /// Counted, but not registered for forks: a child has no array of it.
    pub(crate) mapping: Mapping,
    pub(crate) path: TempName,
    pub(crate) inode: (u64, u64),
}

impl Pool {
    pub(crate) const fn new() -> Self {
        Self(fork::Mutex::new(Vec::new()))
    }

    /// Keeps a file, and deletes the oldest files that do not fit into `limit` bytes with it.
    pub(crate) fn keep(&self, kept: Kept, limit: usize) {
        self.0.lock().push(kept);
        self.shrink(limit);
    }

    /// Deletes the oldest files, so that no more than `limit` bytes are kept.
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

    /// Takes a file that has as many pages as one of `len` bytes: the one that was used last,
    /// because its pages are the likeliest to be in the processor's caches.
    pub(crate) fn take(&self, len: usize) -> Option<Kept> {
        let mut pool = self.0.lock();
        let at = pool
            .iter()
            .rposition(|kept| kept.path.is_own() && kept.mapping.has_pages_of(len))?;
        Some(pool.remove(at))
    }

    /// Deletes all files. Returns false if there were none.
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
    /// Deletes the file without making a new array of it, unless this process inherited it over a
    /// fork: then it is the parent's.
    pub(crate) fn forget(self) {
        if self.path.is_own() {
            // A process that has the file in its mapping cache unmaps it then.
            self.mapping.state().give_up_recycling();
        }
    }
}

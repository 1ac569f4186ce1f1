//! Files of released arrays that their owner keeps for reuse, with their pages and mapped.
//!
//! # Reusing a file
//!
//! Making a file costs ten times what a small array needs otherwise, and fresh pages cost more than
//! the elements that are written into them. So a process keeps the files of small arrays that it
//! owned and released, and makes its next arrays of them; of large ones if it asked for that
//! (`Builder::recycle`):
//!
//! 1. *Release.* The lifecycle of the array becomes "released". The file has its name still, if it
//!    may be reused: arrays with a chosen name, and those that other processes have open, are
//!    unlinked instead. A file that another member made gets a new name, with the id of this
//!    member.
//! 2. *Take.* When the last use of the array in this process ends, the process sets the lifecycle
//!    to "recycling" and only then reads the number of openers (`StateBlock::begin_recycling`). If
//!    another mapping is counted, the lifecycle goes back to "released", and the file is unlinked.
//!    A process that took the name away, as a sweep does, said so before by "deleted". The file of
//!    a frozen array must not be locked either: a reader on a read-only mount cannot count.
//!    Nor may this process keep the pages mapped for the owner of a frozen array's memory.
//! 3. *Keep.* The file is in the [`Pool`], up to a [`Limit`]. The oldest files go first. A sweep
//!    deletes the files whose keeper is dead, by the member id in their names.
//! 4. *Renew.* A new array of as many pages takes the file. Its header is written; then the process
//!    looks whether the file is at its path still, the generation grows, and the lifecycle becomes
//!    "ready". An array with a chosen name gets it after that, by a rename from a temporary name.
//!
//! # Openers of the old array
//!
//! A process that opened the file for the old array counts itself in first, and then reads the
//! lifecycle. If it reads "recycling", or another generation than in the header that it read, the
//! array is gone for it (`segment::open`). A process that keeps an uncounted mapping in its
//! [mapping cache](crate::store::mapping_cache) does the same before it uses the mapping again.
//!
//! # Idle pools
//!
//! Small files are kept for a moment: a thread gives them back when the process made and released
//! none of them for a second. A fork gives them back before, and ends the thread.

use crate::{
    store::{idle, temporary::TempName},
    sys::{fork, mapping::Mapping},
};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The files that a process keeps of one store.
pub(crate) struct Pool {
    /// The one that was used last is behind.
    files: fork::Mutex<Vec<Kept>>,
    /// Counts the files that were kept and taken.
    uses: AtomicU32,
}

/// Which files a process keeps of one store.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    /// Bytes of one file.
    of_file: usize,
    /// Bytes of all files.
    bytes: usize,
    files: usize,
    /// Whether they are given back when the process is idle.
    is_short: bool,
}

impl Limit {
    /// Nothing was chosen: files of arrays of 1 MiB and less. To write their bytes takes less than
    /// a tenth of the time for fresh pages.
    pub(crate) const SMALL: Self = Self {
        of_file: SMALL_FILE,
        bytes: 4 << 20,
        files: 256,
        is_short: true,
    };

    /// So many bytes of files of any size, until they are needed elsewhere.
    pub(crate) const fn bytes(bytes: usize) -> Self {
        Self {
            of_file: bytes,
            bytes,
            files: usize::MAX,
            is_short: false,
        }
    }

    pub(crate) fn is_short(self) -> bool {
        self.is_short
    }

    pub(crate) fn accept(self, file_len: usize) -> bool {
        0 < file_len && file_len <= self.of_file
    }
}

/// 1 MiB of elements and a header.
const SMALL_FILE: usize = (1 << 20) + (8 << 10);

/// A kept file.
pub(crate) struct Kept {
    /// Counted, but not registered for forks: a child has no array of it.
    pub(crate) mapping: Mapping,
    pub(crate) path: TempName,
    pub(crate) inode: (u64, u64),
}

impl Pool {
    pub(crate) const fn new() -> Self {
        Self {
            files: fork::Mutex::new(Vec::new()),
            uses: AtomicU32::new(0),
        }
    }

    /// Keeps a file, and deletes the oldest files that do not fit into the limit with it.
    pub(crate) fn keep(&self, kept: Kept, limit: Limit) {
        self.files.lock().push(kept);
        self.uses.fetch_add(1, Relaxed);
        self.shrink(limit);
        if limit.is_short {
            idle::watch();
        }
    }

    /// Deletes the oldest files, so that no more than `limit` are kept.
    pub(crate) fn shrink(&self, limit: Limit) {
        let mut dropped = Vec::new();
        let mut files = self.files.lock();
        let mut total: usize = files.iter().map(|kept| kept.mapping.len()).sum();
        while total > limit.bytes || files.len() > limit.files {
            let oldest = files.remove(0);
            total -= oldest.mapping.len();
            dropped.push(oldest);
        }
        // Unlocked before anything is unmapped.
        drop(files);
        dropped.into_iter().for_each(Kept::forget);
    }

    /// Takes a file that has as many pages as one of `len` bytes: the one that was used last,
    /// because its pages are the likeliest to be in the processor's caches.
    pub(crate) fn take(&self, len: usize) -> Option<Kept> {
        let mut files = self.files.lock();
        let at = files
            .iter()
            .rposition(|kept| kept.path.is_own() && kept.mapping.has_pages_of(len))?;
        self.uses.fetch_add(1, Relaxed);
        Some(files.remove(at))
    }

    /// A number that changes when a file is kept or taken; `None` if none is kept.
    pub(crate) fn uses(&self) -> Option<u32> {
        let is_empty = self.files.lock().is_empty();
        (!is_empty).then(|| self.uses.load(Relaxed))
    }

    /// Deletes all files. Returns false if there were none.
    pub(crate) fn clear(&self) -> bool {
        let kept = std::mem::take(&mut *self.files.lock());
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

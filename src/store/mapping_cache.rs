//! Mappings of arrays that this process does not use any more, kept for the next opening of the
//! same array.
//!
//! They are not counted in the file's openers, so the owner may delete the array or reuse its file
//! meanwhile. An opening that takes a mapping counts it in first, and then checks whether the file
//! still has the same array. Mappings of released arrays are unmapped when the process opens or
//! drops another array of the store.

use crate::{
    format::{header::Parsed, id::ArrayId},
    state::block::{StateBlock, lifecycle},
    sys::{fork, mapping::Mapping},
};
use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering::SeqCst,
};

/// How many mappings are kept at most, however small.
const MOST: usize = 64;

/// For how many files the cache remembers how often they were used; a power of two.
const MOST_SEEN: usize = 256;

/// After so many uses of a file its mapping is kept at the end of the next one.
const USES_BEFORE: u8 = 2;

/// The mappings that a process keeps of one store, the one that was used last behind.
///
/// It keeps only files that are used a third time. Most arrays are opened once or twice, and their
/// memory is given back at once.
pub(crate) struct Cache(fork::Mutex<Files>);

struct Files {
    kept: Vec<Cached>,
    /// Device and inode of files whose mappings were not kept, with the number of their uses. A
    /// file has its place by its inode; one with the same place takes it over. Empty before the
    /// first.
    seen: Vec<((u64, u64), u8)>,
}

pub(crate) struct Cached {
    pub(crate) path: PathBuf,
    pub(crate) parsed: Parsed,
    pub(crate) inode: (u64, u64),
    pub(crate) mapping: Mapping,
    /// Whether the payload may be written through it.
    pub(crate) is_writable: bool,
    /// Whether the array was seen frozen through it: the mapping may be protected.
    pub(crate) was_frozen: bool,
    /// The 64ths of the payload whose pages were mapped to be written.
    pub(crate) warm: u64,
    /// The file's generation when the mapping was counted.
    generation: u64,
}

impl Cache {
    pub(crate) const fn new() -> Self {
        Self(fork::Mutex::new(Files {
            kept: Vec::new(),
            seen: Vec::new(),
        }))
    }

    /// Counts a use of a file that ends now. Returns whether it was used often enough before.
    pub(crate) fn is_used_often(&self, inode: (u64, u64)) -> bool {
        let seen = &mut self.0.lock().seen;
        if seen.is_empty() {
            seen.resize(MOST_SEEN, ((0, 0), 0));
        }
        let (known, uses) = &mut seen[inode.1 as usize % MOST_SEEN];
        if *known != inode {
            (*known, *uses) = (inode, 0);
        }
        if *uses >= USES_BEFORE {
            return true;
        }
        *uses += 1;
        false
    }

    /// Keeps a mapping, in the place of an older one of the same file, and unmaps others; see
    /// [`shrink`](Self::shrink).
    pub(crate) fn keep(&self, cached: Cached, limit: usize) {
        if cached.mapping.len() > limit {
            return;
        }
        let mut files = self.0.lock();
        let before = files.kept.iter().position(|other| {
            other.inode == cached.inode && other.is_writable == cached.is_writable
        });
        let replaced = before.map(|at| files.kept.remove(at));
        files.kept.push(cached);
        drop(files);
        drop(replaced);
        self.shrink(limit);
    }

    /// Unmaps released arrays, and the oldest mappings, so that no more than `limit` bytes are
    /// kept.
    pub(crate) fn shrink(&self, limit: usize) {
        let mut files = self.0.lock();
        let (mut stay, mut dropped): (Vec<_>, Vec<_>) = std::mem::take(&mut files.kept)
            .into_iter()
            .partition(Cached::is_unreleased);
        let mut total: usize = stay.iter().map(|cached| cached.mapping.len()).sum();
        while total > limit || stay.len() > MOST {
            let oldest = stay.remove(0);
            total -= oldest.mapping.len();
            dropped.push(oldest);
        }
        files.kept = stay;
        // Unlocked before anything is unmapped.
        drop(files);
        drop(dropped);
    }

    /// Takes the mapping of the array with this path and id, writable or not.
    pub(crate) fn take(&self, path: &Path, id: ArrayId, writable: bool) -> Option<Cached> {
        let kept = &mut self.0.lock().kept;
        let at = kept.iter().rposition(|cached| {
            cached.parsed.header.id == id
                && cached.path.as_os_str() == path.as_os_str()
                && cached.is_writable == writable
        })?;
        Some(kept.remove(at))
    }

    /// Takes a mapping of a file with as many pages as one of `len` bytes, whichever array the file
    /// has by now: its owner may have reused it.
    pub(crate) fn take_file(
        &self,
        inode: (u64, u64),
        len: usize,
        writable: bool,
    ) -> Option<Cached> {
        let mut files = self.0.lock();
        // No other file gets the inode of a mapped one. The file of a frozen array is never reused,
        // and its mapping may be protected.
        let at = files.kept.iter().rposition(|cached| {
            cached.inode == inode
                && cached.mapping.has_pages_of(len)
                && cached.is_writable == writable
                && !cached.was_frozen
        })?;
        let mut cached = files.kept.remove(at);
        drop(files);
        cached.mapping.set_len(len);
        Some(cached)
    }

    /// Unmaps all. Returns false if there were none.
    pub(crate) fn clear(&self) -> bool {
        let kept = std::mem::take(&mut self.0.lock().kept);
        !kept.is_empty()
    }
}

impl Cached {
    /// For a mapping that is still counted.
    pub(crate) fn new(
        path: PathBuf,
        parsed: Parsed,
        inode: (u64, u64),
        mapping: Mapping,
        is_writable: bool,
    ) -> Self {
        let generation = mapping.state().generation.load(SeqCst);
        Self {
            path,
            parsed,
            inode,
            mapping,
            is_writable,
            was_frozen: false,
            warm: 0,
            generation,
        }
    }

    /// Whether the file may be opened again: its array was not released, or the file is being
    /// reused.
    fn is_unreleased(&self) -> bool {
        !lifecycle::is_released(self.mapping.state().lifecycle.load(SeqCst))
    }

    /// Whether the file still has the array and the array is ready, if this is its lifecycle.
    pub(crate) fn is_ready(&self, lifecycle: u32) -> bool {
        lifecycle == lifecycle::READY
            && self.generation == self.mapping.state().generation.load(SeqCst)
    }

    pub(crate) fn state(&self) -> &StateBlock {
        self.mapping.state()
    }
}

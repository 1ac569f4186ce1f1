//! Mappings of arrays that no array of this process uses any more, kept for the next opening of the
//! same array.
//!
//! They are not counted in the file's openers: the owner may delete the array, or use its file
//! again. So whoever takes one out counts it in first, and then looks whether it is still that
//! array. What is found to be gone is unmapped.

use crate::{
    format::{header::Parsed, id::ArrayId},
    state::block::{StateBlock, lifecycle},
    sys::{fork, mapping::Mapping},
};
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::atomic::Ordering::SeqCst,
};

/// How many mappings are kept at most, however small.
const MOST: usize = 64;

/// Of how many files it is known how often they were used.
const MOST_SEEN: usize = 256;

/// Uses of a file that end with its mapping: from the next one on it is kept.
const USES_BEFORE: u8 = 2;

/// The mappings that one process keeps of one store, the one that was used last behind.
///
/// Only of files that are used a third time: most arrays are opened once or twice, and to keep
/// those would only put off giving their memory back.
pub(crate) struct Cache(fork::Mutex<Files>);

struct Files {
    kept: Vec<Cached>,
    /// Device and inode of files that were used and not kept, with how often, the latest behind.
    seen: VecDeque<((u64, u64), u8)>,
}

pub(crate) struct Cached {
    pub(crate) path: PathBuf,
    pub(crate) parsed: Parsed,
    pub(crate) inode: (u64, u64),
    pub(crate) mapping: Mapping,
    /// Whether the payload may be written through it.
    pub(crate) is_writable: bool,
    /// Whether the array was seen frozen through it: the mapping may be protected for ever.
    pub(crate) was_frozen: bool,
    /// Parts of the payload whose pages were mapped to be written.
    pub(crate) warm: u64,
    /// That of the file when the mapping was counted.
    generation: u64,
}

impl Cache {
    pub(crate) const fn new() -> Self {
        Self(fork::Mutex::new(Files {
            kept: Vec::new(),
            seen: VecDeque::new(),
        }))
    }

    /// Counts a use of a file that ends now. Whether it was used often enough before.
    pub(crate) fn is_used_often(&self, inode: (u64, u64)) -> bool {
        let seen = &mut self.0.lock().seen;
        match seen.iter_mut().find(|(known, _)| *known == inode) {
            Some((_, uses)) if *uses >= USES_BEFORE => return true,
            Some((_, uses)) => *uses += 1,
            None => {
                if seen.len() == MOST_SEEN {
                    seen.pop_front();
                }
                seen.push_back((inode, 1));
            }
        }
        false
    }

    /// Keeps a mapping, and lets others go; see [`shrink`](Self::shrink).
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

    /// Lets go what is gone, and the oldest, so that no more than `limit` bytes are kept.
    pub(crate) fn shrink(&self, limit: usize) {
        let mut files = self.0.lock();
        let (mut stay, mut dropped): (Vec<_>, Vec<_>) = std::mem::take(&mut files.kept)
            .into_iter()
            .partition(Cached::is_there);
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

    /// The mapping of the array with this path and id, writable or not.
    pub(crate) fn take(&self, path: &Path, id: ArrayId, writable: bool) -> Option<Cached> {
        let kept = &mut self.0.lock().kept;
        let is_it = |cached: &Cached| {
            cached.parsed.header.id == id
                && cached.path.as_os_str() == path.as_os_str()
                && cached.is_writable == writable
        };
        let at = kept.iter().rposition(is_it)?;
        Some(kept.remove(at))
    }

    /// A mapping of a file, whatever array it has by now, of as many pages. Its owner may have used
    /// the file again.
    pub(crate) fn take_file(
        &self,
        inode: (u64, u64),
        len: usize,
        writable: bool,
    ) -> Option<Cached> {
        let mut files = self.0.lock();
        // A mapped file keeps its inode, so none else has it. What was frozen is never used again,
        // and may be protected.
        let is_it = |cached: &Cached| {
            cached.inode == inode
                && cached.mapping.has_pages_of(len)
                && cached.is_writable == writable
                && !cached.was_frozen
        };
        let at = files.kept.iter().rposition(is_it)?;
        let mut cached = files.kept.remove(at);
        drop(files);
        cached.mapping.set_len(len);
        Some(cached)
    }

    /// Lets all mappings go. False where there were none.
    pub(crate) fn clear(&self) -> bool {
        let kept = std::mem::take(&mut self.0.lock().kept);
        !kept.is_empty()
    }
}

impl Cached {
    /// Of a mapping that is counted still.
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

    /// Whether somebody may want the file still: it was not released, or is used again.
    fn is_there(&self) -> bool {
        self.mapping.state().lifecycle.load(SeqCst) != lifecycle::RELEASED
    }

    /// Whether the file is still that of the array and not released, if this is its lifecycle.
    pub(crate) fn is_ready(&self, lifecycle: u32) -> bool {
        lifecycle == lifecycle::READY
            && self.generation == self.mapping.state().generation.load(SeqCst)
    }

    pub(crate) fn state(&self) -> &StateBlock {
        self.mapping.state()
    }
}

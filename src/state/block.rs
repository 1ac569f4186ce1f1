//! # The state block
//!
//! The part of an array file that changes while it is mapped: 2112 bytes at offset 64. Every field
//! is atomic, in native byte order, and accessed at its full width. Any bytes are a valid block, so
//! a reader computes with the values that it finds, and trusts none.
//!
//! | field | meaning |
//! | --- | --- |
//! | `endian` | probe 0x01020304: a machine of the other byte order is refused |
//! | `lifecycle` | not ready yet, ready, released, deleted or recycling |
//! | `frozen` | frozen or not, never cleared while the array exists |
//! | `openers` | mappings of the file; may be too high after a crash, never too low |
//! | `generation` | one more each time the file is recycled |
//! | `owner` | the process that deletes the array, none, or claimable (`ownership`) |
//! | `producer` | member id that created the array |
//! | `heir` | the process that inherits the array from its owner (`ownership::heir`) |
//! | `lock`, `ticket` | the lock table (`lock_table`) |
//! | `used`, `list`, `overflown`, `groups` | this array's lanes (`lock_table::hints`) |
//! | `poisoned`, `records` | bytes that a writer left half-written (`lock_table::poison`) |
//! | `signals` | how a thread waits for a change of an atomic element (`signals`) |
//! | `wake`, `waiting` | how a thread waits for the array to be frozen (`lock_table::waiting`) |
//! | `stripe_len`, `whole`, `stripes`, `change`, `awaited` | numbers of writes, waits (`changes`) |
//!
//! The first 64 bytes change only when the array is made, released, frozen, claimed or handed
//! over; the words of openings and guards have lines of their own, so readers of a frozen array
//! share no line that is written.
//!
//! # Openers
//!
//! Every mapping in use is counted in `openers` before its opener trusts any word. A process
//! that dies leaves its count, and a fork counts the child's mappings for good. Both only keep the
//! file from being recycled. A mapping that is merely kept for the next opening is not counted: it
//! is counted in again first, and then lifecycle and generation are compared.
//!
//! # Recycling
//!
//! A released file may hold a new array later, if no other process has it open. The race is between
//! an opener, which still takes the file for the old array, and the recycler:
//!
//! ```text
//! opener     openers += 1, then reads lifecycle           count_in
//! recycler   lifecycle = RECYCLING, then reads openers    begin_recycling
//! ```
//!
//! Each writes its word before it reads the other's, and all four accesses are SeqCst. So at least
//! one sees the other: the recycler sees the count and gives up, or the opener sees the lifecycle
//! and refuses. The other order of the recycler's two steps would let both go on.
//!
//! The recycler then rewrites header and block ([`StateBlock::renew`]), raises the generation, and
//! sets the lifecycle to ready ([`StateBlock::finish_recycling`]). An opener that read the header
//! early compares the generation, so it is refused at each of these steps: by *released*, by
//! *recycling*, by the generation, or by the array's id.
//!
//! A process that takes a released array's name away in the place of its owner sets the lifecycle
//! from *released* to *deleted* first ([`StateBlock::begin_deletion`]), so the owner does not begin
//! to recycle a file that has no name.

use crate::{
    format::{
        constants::*,
        words::{NO_HEIR, frozen},
    },
    layout::span::Span,
    sync::{AtomicU16, AtomicU32, AtomicU64},
};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

pub(crate) use crate::format::words::lifecycle;

/// The state block as it lies in the file, 64 bytes from its start.
#[repr(C)]
pub(crate) struct StateBlock {
    pub(crate) endian: AtomicU32,
    pub(crate) lifecycle: AtomicU32,
    pub(crate) frozen: AtomicU32,
    pub(crate) zero: AtomicU32,
    pub(crate) generation: AtomicU64,
    pub(crate) owner: AtomicU64,
    pub(crate) producer: AtomicU64,
    pub(crate) heir: AtomicU64,
    pub(crate) reserved: [AtomicU64; 2],
    pub(crate) lock: AtomicU64,
    pub(crate) used: AtomicU64,
    pub(crate) poisoned: AtomicU64,
    pub(crate) openers: AtomicU32,
    pub(crate) wake: AtomicU32,
    pub(crate) waiting: AtomicU32,
    pub(crate) overflown: AtomicU32,
    pub(crate) ticket: AtomicU32,
    pub(crate) zero_too: AtomicU32,
    pub(crate) stripe_len: AtomicU64,
    pub(crate) whole: AtomicU64,
    pub(crate) signals: [AtomicU32; SIGNALS],
    pub(crate) change: AtomicU32,
    pub(crate) awaited: AtomicU32,
    pub(crate) asked: [AtomicU64; ASKED],
    pub(crate) list: [AtomicU16; LIST_LEN],
    pub(crate) groups: [AtomicU64; GROUP_WORDS],
    pub(crate) reserved_last: [AtomicU64; 3],
    pub(crate) records: [Record; RECORDS],
    pub(crate) stripes: [AtomicU64; STRIPES],
}

/// Bytes that a writer left half-written.
#[repr(C)]
pub(crate) struct Record {
    /// The mode *poisoned* and the writer.
    pub(crate) tag: AtomicU64,
    pub(crate) start: AtomicU64,
    pub(crate) end: AtomicU64,
    pub(crate) pitch: AtomicU32,
    pub(crate) width: AtomicU32,
}

impl StateBlock {
    /// The bytes of a new block with this owner word, of an array that is not ready yet.
    pub(crate) fn initial(owner: u64, producer: u64) -> [u8; STATE_LEN] {
        let mut bytes = [0; STATE_LEN];
        let mut put =
            |at: usize, value: &[u8]| bytes[at - STATE_AT..][..value.len()].copy_from_slice(value);
        put(STATE_AT, &ENDIAN_PROBE.to_ne_bytes());
        put(OWNER_AT, &owner.to_ne_bytes());
        put(PRODUCER_AT, &producer.to_ne_bytes());
        bytes
    }

    /// Counts a mapping in, and returns the lifecycle after that. If it is ready or released, the
    /// file is not recycled while the count stands.
    ///
    /// In this order: the recycler changes the lifecycle before it reads the openers, so it sees
    /// this count, or this call sees its lifecycle. All four accesses are SeqCst.
    pub(crate) fn count_in(&self) -> u32 {
        self.openers.fetch_add(1, SeqCst);
        self.lifecycle.load(SeqCst)
    }

    /// Counts out a mapping that is no longer used.
    pub(crate) fn count_out(&self) {
        self.openers.fetch_sub(1, SeqCst);
    }

    /// Takes a released file for recycling; the caller has `own` counted mappings of it. Returns
    /// false if other processes may have it open: the file then stays released, to be unlinked.
    pub(crate) fn begin_recycling(&self, own: u32) -> bool {
        if self
            .lifecycle
            .compare_exchange(lifecycle::RELEASED, lifecycle::RECYCLING, SeqCst, SeqCst)
            .is_err()
        {
            return false;
        }
        failpoint!(RecycleTaken);
        let is_alone = self.openers.load(SeqCst) == own;
        if !is_alone {
            self.lifecycle.store(lifecycle::RELEASED, SeqCst);
        }
        is_alone
    }

    /// Marks a file that was taken for recycling, and holds no new array, as released again. Other
    /// processes that keep a mapping of it unmap it then.
    pub(crate) fn give_up_recycling(&self) {
        let _ = self.lifecycle.compare_exchange(
            lifecycle::RECYCLING,
            lifecycle::DELETED,
            SeqCst,
            SeqCst,
        );
    }

    /// Marks a released array whose name the caller takes away: its owner reuses the file no more.
    /// Returns false if the array is not released, or its owner reuses the file already.
    pub(crate) fn begin_deletion(&self) -> bool {
        let marked = self.lifecycle.compare_exchange(
            lifecycle::RELEASED,
            lifecycle::DELETED,
            SeqCst,
            SeqCst,
        );
        matches!(marked, Ok(_) | Err(lifecycle::DELETED))
    }

    /// Publishes a new array: from now on processes open it.
    pub(crate) fn make_ready(&self) {
        self.lifecycle.store(lifecycle::READY, SeqCst);
    }

    /// Whether the array is frozen. A damaged flag says no: readers then take guards.
    #[inline]
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(SeqCst) == frozen::FROZEN
    }

    /// Whether the array may be written, as far as the frozen flag goes. A damaged flag says no:
    /// a process may have seen it before, and read without a guard.
    #[inline]
    pub(crate) fn is_unfrozen(&self) -> bool {
        self.frozen.load(SeqCst) == frozen::NOT_YET
    }

    /// Resets the block of a file that was taken for recycling to that of a new array. The openers
    /// are left alone: late openers of the old array still count themselves in and out.
    pub(crate) fn renew(&self, owner: u64, producer: u64) {
        self.frozen.store(frozen::NOT_YET, SeqCst);
        self.owner.store(owner, SeqCst);
        self.producer.store(producer, SeqCst);
        self.heir.store(NO_HEIR, SeqCst);
        self.lock.store(0, SeqCst);
        self.waiting.store(0, SeqCst);
        self.used.store(0, SeqCst);
        self.poisoned.store(0, SeqCst);
        if self.stripe_len.swap(0, SeqCst) != 0 {
            self.awaited.store(0, SeqCst);
            self.whole.store(0, SeqCst);
            self.stripes.iter().for_each(|word| word.store(0, SeqCst));
        }
        // The lanes of the file's former array have another key, so nothing leads to them any more.
        if self.overflown.swap(0, SeqCst) != 0 {
            self.groups.iter().for_each(|word| word.store(0, SeqCst));
        }
    }

    /// Marks a recycled file as ready, under the id that its header has now.
    pub(crate) fn finish_recycling(&self) {
        self.generation.fetch_add(1, SeqCst);
        self.make_ready();
    }
}

impl Record {
    /// Writes the span. Under the lock word, like every access to a span.
    #[inline]
    pub(crate) fn put(&self, span: Span) {
        self.start.store(span.start, Relaxed);
        self.end.store(span.end, Relaxed);
        self.pitch.store(span.pitch, Relaxed);
        self.width.store(span.width, Relaxed);
    }

    #[inline]
    pub(crate) fn span(&self) -> Span {
        let (start, end) = (self.start.load(Relaxed), self.end.load(Relaxed));
        Span {
            start,
            end,
            pitch: self.pitch.load(Relaxed),
            width: self.width.load(Relaxed),
        }
    }
}

//! The state block of an array: the part of a file that changes while it is mapped.
//!
//! Everything is atomic, any bytes are a valid block, and nothing here knows of files. What the
//! lock table in it means is the business of `table`.

use crate::{
    format::constants::*,
    layout::span::Span,
    sync::{AtomicU32, AtomicU64},
};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// Values of the lifecycle word.
pub(crate) mod lifecycle {
    pub(crate) const READY: u32 = 1;
    pub(crate) const RELEASED: u32 = 2;
    pub(crate) const RECYCLING: u32 = 3;
}

/// The state block as it lies in the file, 64 bytes from its start.
#[repr(C)]
pub(crate) struct StateBlock {
    pub(crate) endian: AtomicU32,
    pub(crate) lifecycle: AtomicU32,
    pub(crate) frozen: AtomicU32,
    pub(crate) openers: AtomicU32,
    pub(crate) generation: AtomicU64,
    pub(crate) owner: AtomicU64,
    pub(crate) lock: AtomicU64,
    pub(crate) wake: AtomicU32,
    pub(crate) waiting: AtomicU32,
    pub(crate) used: AtomicU64,
    pub(crate) producer: AtomicU64,
    pub(crate) slots: [Slot; SLOTS],
}

/// One guard, or what is left of one.
#[repr(C)]
pub(crate) struct Slot {
    /// Bits 0 to 55 member id, 56 to 63 mode; zero is free.
    pub(crate) tag: AtomicU64,
    pub(crate) start: AtomicU64,
    pub(crate) end: AtomicU64,
    pub(crate) pitch: AtomicU32,
    pub(crate) width: AtomicU32,
}

impl StateBlock {
    /// The bytes of a new block.
    pub(crate) fn initial(owner: u64, producer: u64) -> [u8; STATE_LEN] {
        let mut bytes = [0; STATE_LEN];
        let mut put =
            |at: usize, value: &[u8]| bytes[at - STATE_AT..][..value.len()].copy_from_slice(value);
        put(STATE_AT, &ENDIAN_PROBE.to_ne_bytes());
        put(LIFECYCLE_AT, &lifecycle::READY.to_ne_bytes());
        put(OWNER_AT, &owner.to_ne_bytes());
        put(PRODUCER_AT, &producer.to_ne_bytes());
        bytes
    }

    /// Counts a mapping in, and gives the lifecycle as it is from then on: the array's file is not
    /// used again while the count stands, if this is ready or released.
    ///
    /// In this order, and with one order of all four accesses (SeqCst): who recycles changes the
    /// lifecycle before it looks at the openers, so either it sees the count, or the lifecycle that
    /// is seen here tells of it.
    pub(crate) fn count_in(&self) -> u32 {
        self.openers.fetch_add(1, SeqCst);
        self.lifecycle.load(SeqCst)
    }

    /// Counts a mapping out that is not used any more.
    pub(crate) fn count_out(&self) {
        self.openers.fetch_sub(1, SeqCst);
    }

    /// Takes a released array, of which the caller has `own` mappings, for its file to be used
    /// again. False where others may have it open: then it is left released, to be unlinked.
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

    /// Makes the block of a file that was taken for recycling that of a new array. Whoever still
    /// opened the file is counting itself in and out.
    pub(crate) fn renew(&self, owner: u64, producer: u64) {
        self.frozen.store(0, SeqCst);
        self.owner.store(owner, SeqCst);
        self.producer.store(producer, SeqCst);
        self.lock.store(0, SeqCst);
        self.waiting.store(0, SeqCst);
        self.used.store(0, SeqCst);
        // Most are free: to look costs less than to write.
        self.slots
            .iter()
            .filter(|slot| slot.tag.load(SeqCst) != 0)
            .for_each(|slot| slot.tag.store(0, SeqCst));
    }

    /// Makes a file ready that was taken for recycling, under the id that its header has now.
    pub(crate) fn finish_recycling(&self) {
        self.generation.fetch_add(1, SeqCst);
        self.lifecycle.store(lifecycle::READY, SeqCst);
    }
}

impl Slot {
    /// Under the lock word, like every access to a span.
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

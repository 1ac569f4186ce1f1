//! The state block of an array: the part of a file that changes while it is mapped.
//!
//! Everything is atomic, any bytes are a valid block, and nothing here knows of files. What the lock table in it means is the business of `table`.

use crate::{format::*, span::Span};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Number of slots of the lock table.
pub(crate) const SLOTS: usize = 64;
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
    generation: AtomicU64,
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

const _: () = assert!(size_of::<StateBlock>() == STATE_LEN);
const _: () = assert!(std::mem::offset_of!(StateBlock, owner) == 88 - STATE_AT);
const _: () = assert!(std::mem::offset_of!(StateBlock, slots) == 128 - STATE_AT);

impl StateBlock {
    /// The bytes of a new block.
    pub(crate) fn initial(owner: u64, producer: u64) -> [u8; STATE_LEN] {
        let mut bytes = [0; STATE_LEN];
        let mut put = |at: usize, value: &[u8]| bytes[at - STATE_AT..][..value.len()].copy_from_slice(value);
        put(64, &ENDIAN_PROBE.to_ne_bytes());
        put(68, &lifecycle::READY.to_ne_bytes());
        put(88, &owner.to_ne_bytes());
        put(120, &producer.to_ne_bytes());
        bytes
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
        Span { start, end, pitch: self.pitch.load(Relaxed), width: self.width.load(Relaxed) }
    }
}

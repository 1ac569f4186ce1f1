//! A state block, and members that live and die.

use crate::{
    engine::sync::atomic::AtomicU64 as Bits,
    layout::span::Span,
    state::block::{Slot, StateBlock, lifecycle},
    state::lock_table::{Mode, Request, Liveness},
    sync::{self, AtomicU32, AtomicU64, Instant, Ordering::*},
};
use std::cell::Cell;

pub(crate) fn block(owner: u64) -> StateBlock {
    let slot = || Slot {
        tag: AtomicU64::new(0),
        start: AtomicU64::new(0),
        end: AtomicU64::new(0),
        pitch: AtomicU32::new(0),
        width: AtomicU32::new(0),
    };
    StateBlock {
        endian: AtomicU32::new(0),
        lifecycle: AtomicU32::new(lifecycle::READY),
        frozen: AtomicU32::new(0),
        openers: AtomicU32::new(0),
        generation: AtomicU64::new(0),
        owner: AtomicU64::new(owner),
        lock: AtomicU64::new(0),
        wake: AtomicU32::new(0),
        waiting: AtomicU32::new(0),
        used: AtomicU64::new(0),
        producer: AtomicU64::new(0),
        slots: std::array::from_fn(|_| slot()),
    }
}

pub(crate) fn span(start: u64, end: u64) -> Span {
    Span {
        start,
        end,
        pitch: 0,
        width: 0,
    }
}

/// Waits for ever.
pub(crate) fn patient(member: u64, span: Span, mode: Mode) -> Request {
    Request {
        member,
        span,
        mode,
        deadline: None,
    }
}

/// Waits for no guard.
pub(crate) fn at_once(member: u64, span: Span, mode: Mode) -> Request {
    Request {
        deadline: Some(Instant::now()),
        ..patient(member, span, mode)
    }
}

/// The members that died, as bits.
pub(crate) struct Deaths(Bits);

impl Deaths {
    pub(crate) fn none() -> Self {
        Self(Bits::new(0))
    }

    /// The kernel frees a dead member's lock after all that it wrote.
    pub(crate) fn add(&self, member: u64) {
        self.0.fetch_or(1 << member, Release);
        sync::let_time_pass();
    }

    pub(crate) fn has(&self, member: u64) -> bool {
        self.0.load(Acquire) & 1 << member != 0
    }
}

/// What a thread knows about the members and about its own slots.
pub(crate) struct View<'a> {
    pub(crate) deaths: &'a Deaths,
    pub(crate) own: Cell<u64>,
}

impl<'a> View<'a> {
    pub(crate) fn of(deaths: &'a Deaths) -> Self {
        Self {
            deaths,
            own: Cell::new(0),
        }
    }
}

impl Liveness for View<'_> {
    fn is_alive(&self, member: u64) -> bool {
        !self.deaths.has(member)
    }

    fn is_own(&self, slot: usize) -> bool {
        self.own.get() & 1 << slot != 0
    }
}

/// Nothing is left in the table, and nobody holds its word.
pub(crate) fn assert_empty(block: &StateBlock) {
    assert_eq!(block.lock.load(SeqCst), 0, "the lock word is held");
    for (i, slot) in block.slots.iter().enumerate() {
        assert_eq!(slot.tag.load(SeqCst), 0, "slot {i} is taken");
    }
}

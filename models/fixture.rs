//! The fixture of all models: a state block, requests, and the members that died.

use crate::{
    engine::sync::atomic::AtomicU64 as Bits,
    layout::span::Span,
    state::block::{Slot, StateBlock, lifecycle},
    state::lock_table::{Liveness, Mode, Refusal, Request},
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

/// A request without a deadline.
pub(crate) fn waiting(member: u64, span: Span, mode: Mode) -> Request {
    Request {
        member,
        span,
        mode,
        deadline: None,
    }
}

/// A request that waits for no guard.
pub(crate) fn at_once(member: u64, span: Span, mode: Mode) -> Request {
    Request {
        deadline: Some(Instant::now()),
        ..waiting(member, span, mode)
    }
}

/// The dead members, as bits.
pub(crate) struct Deaths(Bits);

impl Deaths {
    pub(crate) fn none() -> Self {
        Self(Bits::new(0))
    }

    /// Records a death. As the kernel does, it frees the dead member's lock after all of its
    /// writes.
    pub(crate) fn add(&self, member: u64) {
        self.0.fetch_or(1 << member, Release);
        sync::let_time_pass();
    }

    pub(crate) fn has(&self, member: u64) -> bool {
        self.0.load(Acquire) & 1 << member != 0
    }
}

/// The members as one thread sees them, and the slots that it holds.
pub(crate) struct Members<'a> {
    pub(crate) deaths: &'a Deaths,
    pub(crate) own: Cell<u64>,
}

impl<'a> Members<'a> {
    pub(crate) fn of(deaths: &'a Deaths) -> Self {
        Self {
            deaths,
            own: Cell::new(0),
        }
    }
}

impl Liveness for Members<'_> {
    fn is_alive(&self, member: u64) -> bool {
        !self.deaths.has(member)
    }

    fn is_own(&self, slot: usize) -> bool {
        self.own.get() & 1 << slot != 0
    }
}

/// Takes a guard as the library does: at once if nothing is in the way, else the long way.
pub(crate) fn take(
    block: &StateBlock,
    request: Request,
    members: &Members<'_>,
) -> Result<usize, Refusal> {
    block
        .acquire_at_once(request.member, request.span, request.mode)
        .map_or_else(|| block.acquire(request, members), Ok)
}

/// Asserts that every slot and the lock word are free.
pub(crate) fn assert_empty(block: &StateBlock) {
    assert_eq!(block.lock.load(SeqCst), 0, "the lock word is held");
    for (i, slot) in block.slots.iter().enumerate() {
        assert_eq!(slot.tag.load(SeqCst), 0, "slot {i} is taken");
    }
}

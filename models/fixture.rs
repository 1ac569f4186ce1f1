//! The fixture of all models: a pool of lanes, state blocks, requests, and the members that died.

use crate::{
    LANES,
    engine::sync::atomic::AtomicU64 as Bits,
    layout::span::Span,
    state::block::{Record, StateBlock, lifecycle},
    state::lanes::{self, Lane, Lanes, Mode, member_of},
    state::lock_table::{LockTable, Request, Surroundings},
    sync::{self, AtomicU16, AtomicU32, AtomicU64, Instant, Ordering::*},
};

pub(crate) fn block(owner: u64) -> StateBlock {
    let word = || AtomicU64::new(0);
    let half = || AtomicU32::new(0);
    let record = || Record {
        tag: word(),
        start: word(),
        end: word(),
        pitch: half(),
        width: half(),
    };
    StateBlock {
        endian: half(),
        lifecycle: AtomicU32::new(lifecycle::READY),
        frozen: half(),
        zero: half(),
        generation: word(),
        owner: AtomicU64::new(owner),
        producer: word(),
        heir: word(),
        reserved: std::array::from_fn(|_| word()),
        lock: word(),
        used: word(),
        poisoned: word(),
        openers: half(),
        wake: half(),
        waiting: half(),
        overflown: half(),
        ticket: half(),
        zero_too: half(),
        stripe_len: word(),
        whole: word(),
        signals: std::array::from_fn(|_| AtomicU32::new(0)),
        change: half(),
        awaited: half(),
        asked: std::array::from_fn(|_| word()),
        list: std::array::from_fn(|_| AtomicU16::new(0)),
        groups: std::array::from_fn(|_| word()),
        reserved_last: std::array::from_fn(|_| word()),
        records: std::array::from_fn(|_| record()),
        stripes: std::array::from_fn(|_| word()),
    }
}

/// The lanes of a store.
pub(crate) struct Pool(Vec<Lane>);

impl Pool {
    /// A pool of `count` lanes. The first ones are leased, by members 1, 2, 3 ...
    pub(crate) fn new(count: u32, leased: u64) -> Self {
        let lane = |index: u32| {
            let member = u64::from(index) + 1;
            let tag = match member <= leased {
                true => Mode::Leased.tag(member),
                false => 0,
            };
            Lane {
                tag: AtomicU64::new(tag),
                key: AtomicU64::new(0),
                start: AtomicU64::new(0),
                end: AtomicU64::new(0),
                pitch: AtomicU32::new(0),
                width: AtomicU32::new(0),
                thread: AtomicU32::new(0),
                epoch: AtomicU32::new(0),
                turn: AtomicU64::new(0),
                process: AtomicU32::new(0),
                since: AtomicU32::new(0),
            }
        };
        Self((0..count).map(lane).collect())
    }

    /// A lane that exists.
    pub(crate) fn at(&self, index: u32) -> &Lane {
        &self.0[index as usize]
    }

    /// Asserts that no lane has a guard, a wait or poison, and that the dead have none.
    pub(crate) fn assert_empty(&self, deaths: &Deaths) {
        lanes::clear_dead(self, |member| !deaths.has(member));
        for (index, lane) in self.0.iter().enumerate() {
            let tag = lane.tag.load(SeqCst);
            assert!(
                tag == lanes::freed_by(member_of(tag))
                    || tag == Mode::Leased.tag(member_of(tag)) && !deaths.has(member_of(tag)),
                "lane {index} has the tag {tag:#x}"
            );
        }
    }
}

impl Lanes for Pool {
    fn lane(&self, index: u32) -> Option<&Lane> {
        self.0.get(index as usize)
    }

    fn count(&self) -> u32 {
        self.0.len() as u32
    }

    fn total(&self) -> u32 {
        self.count()
    }
}

/// The lane that a member has leased before a model begins.
pub(crate) fn lane_of(member: u64) -> u32 {
    member as u32 - 1
}

/// The lane of a request that needs none.
pub(crate) const NO_LANE: u32 = u32::MAX;

pub(crate) fn span(start: u64, end: u64) -> Span {
    Span::range(start, end)
}

/// A request without a deadline, with the member's first lane.
pub(crate) fn waiting(member: u64, span: Span, mode: Mode) -> Request {
    Request {
        member,
        thread: 1,
        lane: lane_of(member),
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

/// The members and the pool as a member sees them.
pub(crate) struct Members<'a> {
    pub(crate) member: u64,
    pub(crate) pool: &'a Pool,
    pub(crate) deaths: &'a Deaths,
}

impl Surroundings for Members<'_> {
    fn is_alive(&self, member: u64) -> bool {
        !self.deaths.has(member)
    }

    fn reach_lanes(&self) -> bool {
        true
    }

    /// As the library does, but that its pools grow.
    fn lease(&self) -> Option<u32> {
        let start = self.member as u32 * 2;
        lanes::lease(self.pool, self.member, start).or_else(|| {
            lanes::clear_dead(self.pool, |other| {
                other == self.member || self.is_alive(other)
            });
            lanes::lease(self.pool, self.member, start)
        })
    }

    /// A search needs time, which stands still here.
    fn is_deadlocked(&self, _: u32) -> bool {
        false
    }

    /// A death unwinds its thread. As a process that has nothing of the request, it gives nothing
    /// back.
    fn has_forked(&self) -> bool {
        std::thread::panicking()
    }
}

/// An array's table in a store's lanes.
pub(crate) fn lock_table<'a>(
    block: &'a StateBlock,
    lanes: &'a Pool,
    key: u64,
) -> LockTable<'a, Pool> {
    LockTable { block, lanes, key }
}

const _: () = assert!(LANES <= 64, "the dead are bits");

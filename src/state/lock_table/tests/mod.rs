//! The table without files: a block and lanes in plain memory, with members that live and die as
//! the test decides.

mod changes;
mod checks;
mod deadlocks;
mod hints;
mod history;
mod leases;
mod poison;
mod rests;
mod scribble;
mod threads;
mod turns;

use super::{waiting::Wait, *};
use crate::format::constants::{GROUP, LIST_LEN, MOST_LANES, RECORDS};
use crate::state::lanes::{self, AWAITED, member_of};
use crate::sync::{AtomicU32, AtomicU64};
use std::{
    collections::HashSet,
    sync::{Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

const ME: u64 = 7;
const OTHER: u64 = 8;
const KEY: u64 = 0x5eed;
/// A recovery of all bytes of its span, which clears their poison.
const AT_ONCE: Recovery = Recovery {
    is_exact: true,
    clears: true,
};
/// The key of another array.
const ELSEWHERE: u64 = 0xfeed;

fn block() -> Box<StateBlock> {
    // SAFETY: the block consists of atomic integers, for which zeros are valid.
    unsafe { Box::<StateBlock>::new_zeroed().assume_init() }
}

fn free_lane() -> Lane {
    let zero = || AtomicU64::new(0);
    let half = || AtomicU32::new(0);
    Lane {
        tag: zero(),
        key: zero(),
        start: zero(),
        end: zero(),
        pitch: half(),
        width: half(),
        thread: half(),
        epoch: half(),
        turn: zero(),
        process: half(),
        since: half(),
    }
}

/// The lanes of a store.
struct Pool {
    lanes: Vec<Lane>,
    /// Lanes that this member may touch.
    reached: AtomicU32,
    /// The number of lanes that the store has.
    added: AtomicU32,
}

impl Pool {
    fn new(lanes: u32) -> Self {
        Self {
            lanes: (0..lanes).map(|_| free_lane()).collect(),
            reached: AtomicU32::new(lanes),
            added: AtomicU32::new(lanes),
        }
    }

    fn used(&self) -> usize {
        self.with_mode(|tag| !is_free(tag)).len()
    }

    /// The lanes whose tag is of a kind.
    fn with_mode(&self, is_such: impl Fn(u64) -> bool) -> Vec<u32> {
        (0..self.lanes.len() as u32)
            .filter(|&index| is_such(self.tag(index)))
            .collect()
    }

    fn tag(&self, index: u32) -> u64 {
        self.lanes[index as usize].tag.load(SeqCst)
    }
}

impl Lanes for Pool {
    fn lane(&self, index: u32) -> Option<&Lane> {
        (index < self.reached.load(SeqCst)).then(|| &self.lanes[index as usize])
    }

    fn count(&self) -> u32 {
        self.reached.load(SeqCst)
    }

    fn total(&self) -> u32 {
        self.added.load(SeqCst)
    }
}

fn is_free(tag: u64) -> bool {
    tag & 0xf == 0
}

/// A store with one array, whose members die as the test decides.
struct Fixture {
    block: Box<StateBlock>,
    pool: Pool,
    dead: Mutex<HashSet<u64>>,
    key: u64,
}

/// A member's view of the fixture.
struct Around<'a> {
    fixture: &'a Fixture,
    member: u64,
}

impl Surroundings for Around<'_> {
    fn is_alive(&self, member: u64) -> bool {
        self.fixture.is_alive(member)
    }

    fn reach_lanes(&self) -> bool {
        let pool = &self.fixture.pool;
        pool.reached.store(pool.added.load(SeqCst), SeqCst);
        true
    }

    fn lease(&self) -> Option<u32> {
        self.fixture.lease(self.member)
    }

    fn is_deadlocked(&self, _: u32) -> bool {
        false
    }
}

impl Fixture {
    fn new(lanes: u32) -> Self {
        Self {
            block: block(),
            pool: Pool::new(lanes),
            dead: Mutex::new(HashSet::new()),
            key: KEY,
        }
    }

    fn table(&self) -> LockTable<'_, Pool> {
        LockTable {
            block: &self.block,
            lanes: &self.pool,
            key: self.key,
        }
    }

    fn around(&self, member: u64) -> Around<'_> {
        Around {
            fixture: self,
            member,
        }
    }

    fn kill(&self, member: u64) {
        self.dead.lock().unwrap().insert(member);
    }

    fn is_alive(&self, member: u64) -> bool {
        !self.dead.lock().unwrap().contains(&member)
    }

    fn lane(&self, index: u32) -> &Lane {
        self.pool.lane(index).unwrap()
    }

    /// Leases a lane as a store does: those of dead members are cleared first if none is free.
    fn lease(&self, member: u64) -> Option<u32> {
        lanes::lease(&self.pool, member, 0).or_else(|| {
            lanes::clear_dead(&self.pool, |other| self.is_alive(other));
            lanes::lease(&self.pool, member, 0)
        })
    }

    /// Takes a guard in a lane of its own, and frees the lane again if it is refused.
    fn request(&self, request: Request) -> Result<u32, Refusal> {
        self.with_lane(request, |request| {
            match self.table().acquire_at_once(&request, &mut None) {
                true => Ok(()),
                false => self.table().acquire(request, &self.around(request.member)),
            }
        })
    }

    fn with_lane(
        &self,
        request: Request,
        take: impl FnOnce(Request) -> Result<(), Refusal>,
    ) -> Result<u32, Refusal> {
        let lane = self.lease(request.member).ok_or(Refusal::TooManyGuards)?;
        let taken = take(Request { lane, ..request });
        if taken.is_err() {
            let is_freed = lanes::free(self.lane(lane), request.member);
            assert!(is_freed, "a refused request left a guard: {taken:?}");
        }
        taken.map(|()| lane)
    }

    /// Takes a guard that does not wait.
    fn take(&self, member: u64, span: Span, mode: Mode) -> Result<u32, Refusal> {
        self.request(now(member, span, mode))
    }

    /// Takes a guard to recover bytes, without waiting.
    fn recover(&self, member: u64, span: Span) -> Result<u32, Refusal> {
        self.with_lane(now(member, span, Mode::Write), |request| {
            let around = self.around(member);
            self.table().recover(request, AT_ONCE, &around)
        })
    }

    fn give_back(&self, lane: u32) {
        let member = member_of(self.pool.tag(lane));
        withdraw(self.lane(lane));
        assert!(lanes::free(self.lane(lane), member));
    }

    /// Puts a guard, a wait or poison into a lane, as its member did it without a conflict.
    fn put(&self, member: u64, span: Span, mode: Mode) -> u32 {
        let lane = self.lease(member).unwrap();
        self.put_in(Request {
            lane,
            ..now(member, span, mode)
        });
        lane
    }

    fn put_in(&self, request: Request) {
        let table = self.table();
        let mut hints = table.each_lane(request.lane, |_, _, _| {});
        assert!(table.publish(&request, request.mode, 0, &mut hints));
    }

    fn poisoned(&self, member: u64, span: Span) -> Vec<Poison> {
        let request = now(member, span, Mode::Read);
        self.table()
            .poisoned(&request, &self.around(member))
            .unwrap()
    }

    /// The lanes to which the hints lead, each as often as a hint does.
    fn visited(&self) -> Vec<u32> {
        let mut visited = Vec::new();
        self.table()
            .each_lane_at_any_time(|index, _, _| visited.push(index));
        visited
    }

    /// The entries of the list that are used.
    fn listed(&self) -> Vec<u32> {
        let used = self.block.used.load(SeqCst);
        let entries = (0..LIST_LEN).filter(|entry| used >> entry & 1 != 0);
        entries
            .map(|entry| u32::from(self.block.list[entry].load(SeqCst)))
            .collect()
    }

    /// Lets the waiter in a lane look again, as the end of 20 ms does.
    fn poke(&self, lane: u32) {
        crate::sync::wake_high_half(&self.lane(lane).turn);
    }
}

fn span(start: u64, end: u64) -> Span {
    Span::range(start, end)
}

fn now(member: u64, span: Span, mode: Mode) -> Request {
    Request {
        member,
        thread: 0,
        lane: u32::MAX,
        span,
        mode,
        deadline: Some(Instant::now()),
    }
}

fn soon(member: u64, span: Span, mode: Mode) -> Request {
    Request {
        deadline: Some(Instant::now() + Duration::from_millis(5)),
        ..now(member, span, mode)
    }
}

fn forever(member: u64, span: Span, mode: Mode) -> Request {
    Request {
        deadline: None,
        ..now(member, span, mode)
    }
}

fn poison_of(start: u64, end: u64, member: u64) -> Poison {
    Poison {
        span: span(start, end),
        member,
    }
}

fn bytes(span: Span) -> impl Iterator<Item = u64> {
    (span.start..span.end).filter(move |byte| {
        span.pitch == 0 || (byte - span.start) % u64::from(span.pitch) < u64::from(span.width)
    })
}

/// A column of eight rows of 256 bytes.
fn column(j: u64) -> Span {
    Span {
        start: 8 * j,
        end: 8 * j + 256 * 7 + 8,
        pitch: 256,
        width: 8,
    }
}

/// Waits until something is so that another thread brings about.
#[track_caller]
fn until(is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "it never came");
        std::thread::yield_now();
    }
}

#[test]
fn writers_exclude_overlapping_readers_and_writers_only() {
    let store = Fixture::new(70);
    let first = store.take(ME, span(0, 10), Mode::Write).unwrap();
    assert!(store.take(ME, span(10, 20), Mode::Write).is_ok());
    assert_eq!(
        store.take(ME, span(9, 11), Mode::Read),
        Err(Refusal::WouldBlock)
    );
    assert_eq!(
        store.take(OTHER, span(0, 1), Mode::Write),
        Err(Refusal::WouldBlock)
    );
    store.give_back(first);
    assert!(store.take(ME, span(0, 5), Mode::Read).is_ok());
    assert!(store.take(OTHER, span(0, 5), Mode::Read).is_ok());
    assert_eq!(
        store.take(ME, span(0, 5), Mode::Write),
        Err(Refusal::WouldBlock)
    );
}

#[test]
fn atomic_access_coexists_with_its_own_kind_only() {
    let store = Fixture::new(70);
    let guards = [ME, OTHER].map(|member| store.take(member, span(0, 10), Mode::Atomic).unwrap());
    for mode in [Mode::Read, Mode::Write] {
        assert_eq!(
            store.take(ME, span(9, 11), mode),
            Err(Refusal::WouldBlock),
            "{mode:?}"
        );
        let beside = store.take(ME, span(20, 30), mode).unwrap();
        assert_eq!(
            store.take(ME, span(20, 21), Mode::Atomic),
            Err(Refusal::WouldBlock)
        );
        store.give_back(beside);
    }
    guards.into_iter().for_each(|lane| store.give_back(lane));
    assert!(store.take(ME, span(0, 10), Mode::Read).is_ok());
}

#[test]
fn guards_on_another_array_of_the_store_exclude_nothing() {
    let (store, block) = (Fixture::new(70), block());
    let elsewhere = LockTable {
        block: &block,
        lanes: &store.pool,
        key: ELSEWHERE,
    };
    store.take(ME, span(0, 10), Mode::Write).unwrap();
    let lane = store.lease(OTHER).unwrap();
    let request = Request {
        lane,
        ..now(OTHER, span(0, 10), Mode::Write)
    };
    assert!(elsewhere.acquire_at_once(&request, &mut None));
    assert_eq!(store.visited().len(), 1);
    // A bit of the groups leads to lanes of all arrays.
    store.block.overflown.store(1, SeqCst);
    store.block.groups[0].store(1, SeqCst);
    let request = Request {
        lane,
        ..now(OTHER, span(20, 30), Mode::Write)
    };
    withdraw(store.lane(lane));
    assert!(elsewhere.acquire_at_once(&request, &mut None));
    assert!(store.take(ME, span(20, 30), Mode::Write).is_ok());
}

#[test]
fn a_pool_without_a_free_lane_refuses_guards_on_any_bytes() {
    for lanes in [1, 3, 70, 1100] {
        let store = Fixture::new(lanes);
        let guards: Vec<_> = (0..u64::from(lanes))
            .map(|i| store.take(ME, span(i, i + 1), Mode::Write).unwrap())
            .collect();
        assert_eq!(
            store.take(ME, span(9999, 10_000), Mode::Read),
            Err(Refusal::TooManyGuards)
        );
        let given_back = guards[guards.len() / 2];
        store.give_back(given_back);
        assert_eq!(
            store.take(ME, span(9999, 10_000), Mode::Read),
            Ok(given_back)
        );
    }
}

#[test]
fn a_waiting_writer_keeps_new_readers_out_and_gets_the_bytes_in_its_lane() {
    let store = Fixture::new(70);
    let reader = store.take(OTHER, span(0, 10), Mode::Read).unwrap();
    assert_eq!(
        store.request(soon(ME, span(0, 10), Mode::Write)),
        Err(Refusal::WouldBlock)
    );
    assert_eq!(
        store.visited(),
        [reader],
        "a writer that gives up withdraws its wait"
    );
    let mut wait = Wait::new();
    let lane = store.lease(ME).unwrap();
    let waiting = Request {
        lane,
        ..forever(ME, span(0, 10), Mode::Write)
    };
    assert!(store.table().place(&waiting, &mut wait).is_err());
    assert!(Mode::WriteWait.is(store.pool.tag(lane)));
    assert_eq!(
        store.take(9, span(5, 6), Mode::Read),
        Err(Refusal::WouldBlock)
    );
    assert!(
        store.take(9, span(10, 11), Mode::Read).is_ok(),
        "other bytes are free"
    );
    store.give_back(reader);
    assert!(store.table().place(&waiting, &mut wait).is_ok());
    assert!(Mode::Write.is(store.pool.tag(lane)));
}

#[test]
fn dead_readers_and_waiters_are_removed_and_a_dead_writer_is_poison() {
    let store = Fixture::new(70);
    store.take(OTHER, span(0, 10), Mode::Read).unwrap();
    for waits in [Mode::WriteWait, Mode::ReadWait, Mode::AtomicWait] {
        store.put(OTHER, span(0, 10), waits);
    }
    store.take(OTHER, span(10, 20), Mode::Write).unwrap();
    assert_eq!(
        store.take(ME, span(0, 10), Mode::Write),
        Err(Refusal::WouldBlock)
    );
    store.kill(OTHER);
    let mine = store.take(ME, span(0, 10), Mode::Write).unwrap();
    assert_eq!(
        store.take(ME, span(15, 16), Mode::Read),
        Err(Refusal::Poisoned(poison_of(10, 20, OTHER)))
    );
    assert!(
        store.take(ME, span(20, 30), Mode::Write).is_ok(),
        "the rest stays usable"
    );
    store.give_back(mine);
    assert_eq!(store.poisoned(ME, span(0, 100)), [poison_of(10, 20, OTHER)]);
    assert_eq!(store.poisoned(ME, span(0, 10)), []);
}

#[test]
fn the_word_of_a_dead_holder_is_taken_over_and_that_of_a_living_one_is_not() {
    let store = Fixture::new(70);
    store.block.lock.store(OTHER, SeqCst);
    assert_eq!(
        store.take(ME, span(0, 10), Mode::Read),
        Err(Refusal::WordHeld)
    );
    store.kill(OTHER);
    assert!(store.take(ME, span(0, 10), Mode::Read).is_ok());
    assert_eq!(store.block.lock.load(SeqCst), 0);
}

//! Lanes that change hands: leased and freed, cleared, given back by another thread, and left for
//! another array while a scan goes on. One thread at a time has a lane.

use crate::{
    ALL, Model, UNORDERED,
    deaths::victim,
    engine::thread,
    fixture::{at_once, lane_of, span, waiting},
    payload::Payload,
    spawn,
    state::{
        lanes::{self, Mode},
        lock_table::{Request, Surroundings, poison},
    },
    sync::{Ordering::SeqCst, slowly},
    table::{DEAD, Table, beside},
};
use std::sync::Arc;

pub(crate) const MODELS: &[Model] = &[
    Model::new("one of two gets the only lane", one_lane, UNORDERED, ALL),
    Model::new("two get two lanes", two_lanes, UNORDERED, ALL),
    Model::new(
        "the lane of a dead member has one lessee",
        lane_of_the_dead,
        UNORDERED,
        ALL,
    ),
    Model::new("a lessee dies anywhere", lessee, UNORDERED, 4).with_a_victim(),
    Model::new(
        "a lane that another thread gives back is its owner's",
        given_back_elsewhere,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "a lane that became poison is its thread's no more",
        lost_to_poison,
        UNORDERED,
        3,
    ),
    Model::new(
        "a thread that ends does not free a lane that became poison",
        left_after_poison,
        UNORDERED,
        3,
    ),
    Model::new(
        "a lane that goes to another array leaves the first ordered",
        gone_to_another_array,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "a lane that goes to another array excludes there",
        in_both_arrays,
        UNORDERED,
        1,
    ),
    Model::new(
        "a waiter sleeps on no guard that came into the lane later",
        sleeper_on_a_later_guard,
        UNORDERED,
        2,
    ),
    Model::new(
        "a lane that another member leases wakes its waiter",
        leased_anew,
        UNORDERED,
        ALL,
    ),
];

/// Lanes, and bytes that the lessee of each may use.
struct Lessees {
    table: Arc<Table>,
    lanes: Vec<Payload>,
}

impl Lessees {
    /// A pool of free lanes.
    fn new(lanes: u32) -> Arc<Self> {
        Arc::new(Self {
            table: Table::with_lanes(lanes, 0, false),
            lanes: (0..lanes).map(|_| Payload::new(false)).collect(),
        })
    }

    /// Leases a lane, uses it and frees it. Returns false if none was free.
    fn lease(&self, member: u64) -> bool {
        let Some(lane) = self.table.members(member).lease() else {
            return false;
        };
        self.lanes[lane as usize].write();
        assert!(lanes::free(self.table.pool.at(lane), member));
        true
    }
}

fn one_lane(_: u32) {
    let lessees = Lessees::new(1);
    let other = lessees.clone();
    let other = spawn(move || other.lease(1));
    let mine = lessees.lease(2);
    assert!(other.join().unwrap() || mine);
}

fn two_lanes(_: u32) {
    let lessees = Lessees::new(2);
    let other = lessees.clone();
    let other = spawn(move || other.lease(1));
    assert!(lessees.lease(2));
    assert!(other.join().unwrap());
}

fn lane_of_the_dead(_: u32) {
    let lessees = Lessees::new(1);
    lessees.table.members(DEAD).lease();
    lessees.table.deaths.add(DEAD);
    let other = lessees.clone();
    let other = spawn(move || other.lease(1));
    let mine = lessees.lease(2);
    assert!(other.join().unwrap() || mine);
}

fn lessee(step: u32) {
    let table = Table::with_lanes(1, 0, false);
    let victim = victim(&table, step, |table| {
        if let Some(lane) = table.members(1).lease() {
            let request = Request {
                lane,
                ..waiting(1, span(0, 8), Mode::Write)
            };
            table.write(request).unwrap();
            assert!(lanes::free(table.pool.at(lane), 1));
        }
    });
    let lease = || table.members(2).lease();
    let early = lease();
    victim.join().unwrap();
    // The dead member's lane has poison, or it is free.
    match early.or_else(lease) {
        Some(lane) => assert!(lanes::free(table.pool.at(lane), 2)),
        None => table.assert_poisoned(span(0, 8)),
    }
}

/// The guard was moved into the other thread.
fn given_back_elsewhere(_: u32) {
    let table = Table::new(false);
    table.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let other = beside(&table, |table| {
        table.payload.write();
        table.give_back(lane_of(1));
    });
    if lanes::is_idle(table.pool.at(lane_of(1)), 1, 0) {
        table.payload.write();
        table.write(at_once(1, span(20, 28), Mode::Write)).unwrap();
    }
    other.join().unwrap();
    table.assert_empty();
}

/// Beside a thread that had the lane: its guard was moved into another thread, where it becomes
/// poison; a reader moves that into a record, and a third thread of the same process leases the
/// lane. Each returns whether it leased one.
fn poisoned_and_leased_anew(table: &Arc<Table>) -> [thread::JoinHandle<bool>; 2] {
    let lane = lane_of(1);
    table.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let panicking = beside(table, move |table| {
        poison(table.pool.at(lane), 1);
        false
    });
    let third = beside(table, move |table| {
        assert!(table.take(at_once(2, span(0, 8), Mode::Read)).is_err());
        lanes::lease(&*table.pool, 1, lane).is_some()
    });
    [panicking, third]
}

fn lost_to_poison(_: u32) {
    let table = Table::with_lanes(2, 2, false);
    let others = poisoned_and_leased_anew(&table);
    let is_mine = slowly(|| lanes::is_idle(table.pool.at(lane_of(1)), 1, 0));
    assert!(!is_mine, "another thread has the lane");
    others
        .into_iter()
        .for_each(|other| _ = other.join().unwrap());
}

fn left_after_poison(_: u32) {
    let table = Table::with_lanes(2, 2, false);
    let others = poisoned_and_leased_anew(&table);
    slowly(|| lanes::leave(table.pool.at(lane_of(1)), 1, 0));
    let leases = others.map(|other| other.join().unwrap());
    let is_leased = Mode::Leased.is(table.pool.at(lane_of(1)).tag.load(SeqCst));
    assert_eq!(
        is_leased,
        leases.contains(&true),
        "another thread has the lane"
    );
}

fn gone_to_another_array(_: u32) {
    let table = Table::new(false);
    let another = table.another();
    table.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let other = beside(&table, move |table| {
        table.payload.write();
        table.give_back(lane_of(1));
        another
            .write(at_once(1, span(20, 28), Mode::Write))
            .unwrap();
    });
    table.write(waiting(2, span(4, 12), Mode::Write)).unwrap();
    other.join().unwrap();
    table.assert_empty();
}

fn in_both_arrays(_: u32) {
    let table = Table::new(false);
    let another = table.another();
    table.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let third = beside(&another, |another| {
        another.write(waiting(3, span(0, 8), Mode::Write)).unwrap();
    });
    let other = beside(&table, move |table| {
        table.payload.write();
        table.give_back(lane_of(1));
        another.write(waiting(1, span(4, 12), Mode::Write)).unwrap();
    });
    table.write(waiting(2, span(4, 12), Mode::Write)).unwrap();
    other.join().unwrap();
    third.join().unwrap();
    table.assert_empty();
}

/// A waiter announces itself in a lane and falls asleep late. Meanwhile the lane holds a guard on
/// another array, whose tag is the same, and which its member keeps until the waiter is done.
fn sleeper_on_a_later_guard(_: u32) {
    let table = Table::new(false);
    let another = table.another();
    table.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let waiter = beside(&table, |table| {
        table.write(waiting(2, span(0, 8), Mode::Write)).unwrap();
    });
    table.give_back(lane_of(1));
    another.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let waiter_there = beside(&another, |another| {
        another.write(waiting(3, span(0, 8), Mode::Write)).unwrap();
    });
    waiter.join().unwrap();
    another.payload.write();
    another.give_back(lane_of(1));
    waiter_there.join().unwrap();
    table.assert_empty();
}

fn leased_anew(_: u32) {
    let table = Table::with_lanes(3, 2, false);
    let lane = table.members(1).lease().unwrap();
    let request = Request {
        lane,
        ..at_once(1, span(0, 8), Mode::Write)
    };
    table.take(request).unwrap();
    let waiter = beside(&table, |table| {
        table.write(waiting(2, span(0, 8), Mode::Write)).unwrap();
    });
    table.payload.write();
    table.give_back(lane);
    assert!(lanes::free(table.pool.at(lane), 1));
    let request = Request {
        lane: table.members(3).lease().unwrap(),
        ..waiting(3, span(4, 12), Mode::Write)
    };
    table.write(request).unwrap();
    assert_eq!(request.lane, lane);
    waiter.join().unwrap();
    assert_eq!(table.block.lock.load(SeqCst), 0);
}

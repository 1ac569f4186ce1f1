//! The numbers of writes: a consumer asks for the number, tries to read, and waits for another
//! number. It misses no write, whatever the writers and the dead do.

use crate::{
    ALL, Model, ORDERED,
    deaths::{VICTIM, victim},
    engine::cell::Cell,
    fixture::{at_once, lane_of, span, waiting},
    layout::span::Span,
    state::{
        changes::stripe_len,
        lanes::{Mode, clear_dead},
        lock_table::Refusal,
        rests::{Reservation, end_rest},
    },
    table::{DEAD, Table, beside},
};
use std::sync::Arc;

pub(crate) const MODELS: &[Model] = &[
    Model::new(
        "a write wakes the consumer, which can read",
        wakes,
        ORDERED,
        4,
    ),
    Model::new(
        "a write that began before the array was watched is counted",
        began_before,
        ORDERED,
        3,
    ),
    Model::new(
        "a consumer misses no write of two writers",
        two_writers,
        ORDERED,
        1,
    ),
    Model::new(
        "a writer that waited is counted",
        waiting_writer,
        ORDERED,
        2,
    ),
    Model::new(
        "a write that is counted dies anywhere",
        dying_writer,
        ORDERED,
        1,
    )
    .with_a_victim(),
    Model::new(
        "a write that began before the array was watched dies anywhere",
        dying_earlier,
        ORDERED,
        1,
    )
    .with_a_victim(),
    Model::new(
        "a writer that panics on a watched array dies anywhere",
        dying_panic,
        ORDERED,
        1,
    )
    .with_a_victim(),
    Model::new(
        "a member that watches an array dies anywhere",
        dying_watcher,
        ORDERED,
        2,
    )
    .with_a_victim(),
    Model::new(
        "a member that counts a dead writer dies anywhere",
        dying_counter,
        ORDERED,
        2,
    )
    .with_a_victim(),
    Model::new(
        "a dead writer is cleared and counted at once",
        dead_cleared,
        ORDERED,
        ALL,
    ),
    Model::new("a move of poison and a count of it", fold, ORDERED, ALL),
];

/// The member that consumes.
const CONSUMER: u64 = 3;
const DATA: Span = Span::range(0, 16);

/// A table, and how often its bytes were written.
struct Shared {
    table: Arc<Table>,
    version: Cell<u32>,
}

// SAFETY: threads of a model run one at a time, and the cell reports accesses that are not ordered.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            table: Table::new(false),
            version: Cell::new(0),
        })
    }

    fn watched() -> Arc<Self> {
        let shared = Self::new();
        shared.table.watch(CONSUMER);
        shared
    }

    /// Writes bytes, so often, resting between where that is possible.
    fn write(&self, member: u64, span: Span, times: u32) {
        let table = &self.table;
        let lane = table.pool.at(lane_of(member));
        let reserved = Reservation {
            mode: Mode::Write,
            span,
            has_parts: false,
        };
        let mut rests = false;
        for _ in 0..times {
            let is_resumed = rests && lane.resume(member, 0, &reserved, Mode::Write, &span);
            let request = waiting(member, span, Mode::Write);
            let may_rest = is_resumed || table.lock_table().acquire_at_once(&request, &mut None);
            if !may_rest {
                table.take(request).unwrap();
            }
            self.change();
            rests = may_rest && lane.rest();
            if !rests {
                table.give_back(lane_of(member));
            }
        }
        end_rest(lane, member);
    }

    fn change(&self) {
        self.table.payload.write();
        self.version.set(self.version.get() + 1);
    }

    /// Consumes until it has read a version, or is told of poison. Returns false if the victim died
    /// and left both as they were.
    fn consume(&self, span: Span, version: u32) -> bool {
        let table = &self.table;
        table.watch(CONSUMER);
        loop {
            let seen = table.block.changes(&span).unwrap();
            match table.take(at_once(CONSUMER, span, Mode::Read)) {
                Ok(()) => {
                    let found = self.version.get();
                    table.payload.read();
                    table.give_back(lane_of(CONSUMER));
                    if found == version {
                        return true;
                    }
                }
                Err(Refusal::Poisoned(_)) => return true,
                Err(Refusal::WouldBlock | Refusal::WordHeld) => {}
                Err(refusal) => panic!("{refusal:?}"),
            }
            if self.wait(span, seen).is_none() {
                return false;
            }
        }
    }

    /// Waits as the library does. Returns `None` if the victim died without a change.
    fn wait(&self, span: Span, seen: u64) -> Option<u64> {
        let table = &self.table;
        let look = |is_due: bool| {
            let is_dead = table.deaths.has(VICTIM);
            if is_due {
                let members = table.members(CONSUMER);
                table.lock_table().count_the_dead(CONSUMER, &members);
            }
            is_dead.then_some(())
        };
        let waited = table.block.wait_changed(&span, seen, None, look);
        waited.unwrap().ok()
    }

    /// Asserts that no write was missed: the bytes are those of the first version, and no poison.
    fn assert_untouched(&self, span: Span) {
        let request = waiting(CONSUMER, span, Mode::Read);
        self.table.take(request).unwrap();
        assert_eq!(self.version.get(), 0, "a write is missed");
        self.table.give_back(lane_of(CONSUMER));
    }
}

impl Table {
    fn watch(&self, member: u64) {
        let request = waiting(member, DATA, Mode::Read);
        let members = self.members(member);
        let table = self.lock_table();
        table
            .watch(&request, stripe_len(DATA.end), &members)
            .unwrap();
    }

    fn number(&self) -> u64 {
        self.block.changes(&DATA).unwrap()
    }

    fn count_the_dead(&self, member: u64) {
        let members = self.members(member);
        self.lock_table().count_the_dead(member, &members);
    }
}

fn wakes(_: u32) {
    let shared = Shared::watched();
    let writer = {
        let shared = shared.clone();
        beside(&shared.table.clone(), move |_| {
            shared.write(1, span(0, 8), 1)
        })
    };
    let seen = shared.table.block.changes(&span(0, 4)).unwrap();
    let number = shared.wait(span(0, 4), 0).unwrap();
    assert!(seen <= number && number == 1, "{seen} {number}");
    // The number includes no guard that still excludes others.
    let request = at_once(CONSUMER, span(0, 4), Mode::Read);
    shared.table.read(request).unwrap();
    writer.join().unwrap();
    shared.table.assert_empty();
}

fn began_before(_: u32) {
    let shared = Shared::new();
    let writer = {
        let shared = shared.clone();
        beside(&shared.table.clone(), move |_| {
            shared.write(1, span(0, 8), 2)
        })
    };
    assert!(shared.consume(span(4, 12), 2));
    writer.join().unwrap();
    shared.table.assert_empty();
}

fn two_writers(_: u32) {
    let shared = Shared::watched();
    let writers = [1, 2].map(|member| {
        let shared = shared.clone();
        beside(&shared.table.clone(), move |_| {
            // One of them writes to both stripes.
            shared.write(member, span(0, 8 * member), 1)
        })
    });
    assert!(shared.consume(span(4, 12), 2));
    writers
        .into_iter()
        .for_each(|writer| writer.join().unwrap());
    shared.table.assert_empty();
}

fn waiting_writer(_: u32) {
    let shared = Shared::new();
    let table = &shared.table;
    table.take(at_once(2, span(0, 8), Mode::Read)).unwrap();
    let writer = {
        let shared = shared.clone();
        beside(table, move |_| shared.write(1, span(0, 8), 1))
    };
    table.watch(CONSUMER);
    table.give_back(lane_of(2));
    assert!(shared.consume(span(4, 12), 1));
    writer.join().unwrap();
    table.assert_empty();
}

/// A victim does something to the bytes, while a consumer waits.
fn consumer_and_victim(shared: Arc<Shared>, step: u32, life: fn(&Shared)) {
    let victim = {
        let shared = shared.clone();
        victim(&shared.table.clone(), step, move |_| life(&shared))
    };
    if !shared.consume(span(4, 12), 1) {
        shared.assert_untouched(span(4, 12));
    }
    victim.join().unwrap();
    shared.table.end();
}

fn dying_writer(step: u32) {
    consumer_and_victim(Shared::watched(), step, |shared| {
        shared.write(VICTIM, span(0, 8), 1)
    });
}

fn dying_earlier(step: u32) {
    consumer_and_victim(Shared::new(), step, |shared| {
        shared.write(VICTIM, span(0, 8), 1)
    });
}

fn dying_panic(step: u32) {
    consumer_and_victim(Shared::watched(), step, |shared| {
        let table = &shared.table;
        table
            .take(waiting(VICTIM, span(0, 8), Mode::Write))
            .unwrap();
        shared.change();
        let lane = table.pool.at(lane_of(VICTIM));
        table.lock_table().poison(lane, VICTIM);
    });
}

fn dying_watcher(step: u32) {
    let shared = Shared::new();
    let table = &shared.table;
    let victim = victim(table, step, |table| table.watch(VICTIM));
    shared.write(2, span(0, 8), 2);
    let before = table.block.changes(&DATA);
    table.watch(CONSUMER);
    let seen = table.number();
    assert!(before.is_none_or(|before| before <= seen));
    shared.write(2, span(0, 8), 1);
    assert!(table.number() > seen);
    victim.join().unwrap();
    table.end();
}

fn dying_counter(step: u32) {
    let shared = Shared::watched();
    let table = &shared.table;
    let seen = table.number();
    table.left_by_the_dead(lane_of(DEAD), span(0, 8), Mode::Write);
    let victim = victim(table, step, |table| table.count_the_dead(VICTIM));
    table.count_the_dead(CONSUMER);
    assert!(table.number() > seen);
    let other = table.number();
    victim.join().unwrap();
    assert!(table.number() >= other);
    table.assert_poisoned(span(0, 8));
    table.end();
}

fn dead_cleared(_: u32) {
    let shared = Shared::watched();
    let table = &shared.table;
    let seen = table.number();
    table.left_by_the_dead(lane_of(DEAD), span(0, 8), Mode::Write);
    let clearer = beside(table, |table| {
        clear_dead(&*table.pool, |member| !table.deaths.has(member));
    });
    // It may come before the clearing, and lose its race against it.
    table.count_the_dead(CONSUMER);
    clearer.join().unwrap();
    table.count_the_dead(CONSUMER);
    assert!(table.number() > seen);
    table.assert_poisoned(span(0, 8));
    table.end();
}

fn fold(_: u32) {
    let shared = Shared::watched();
    let table = &shared.table;
    let seen = table.number();
    table.left_by_the_dead(lane_of(DEAD), span(0, 8), Mode::Write);
    clear_dead(&*table.pool, |member| !table.deaths.has(member));
    let reader = beside(table, |table| _ = table.assert_refused(2, span(4, 12)));
    table.count_the_dead(CONSUMER);
    reader.join().unwrap();
    assert!(table.number() > seen);
    table.assert_poisoned(span(0, 8));
    table.end();
}

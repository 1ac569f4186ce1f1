//! Guards of living members: they exclude each other, and no thread sleeps on that could go on. A
//! sleep ends by a wake-up only.

use crate::{
    ALL, LANES, Model, ORDERED, UNORDERED,
    fixture::{at_once, lane_of, span, waiting},
    state::{
        lanes::{Mode, lease},
        lock_table::{Refusal, Request, poison},
    },
    sync::{Instant, Ordering::SeqCst},
    table::{Table, beside},
};
use std::{sync::Arc, time::Duration};

pub(crate) const MODELS: &[Model] = &[
    Model::new(
        "writers exclude each other, without waiting",
        writers_at_once,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "a reader and a writer exclude each other, without waiting",
        reader_and_writer_at_once,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "a guard that is given back wakes its waiter",
        handover,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "two guards that are given back wake the waiter for both",
        two_guards,
        UNORDERED,
        5,
    ),
    Model::new("two writers take turns", two_writers, UNORDERED, ALL),
    Model::new(
        "a reader and a writer take turns",
        reader_and_writer,
        UNORDERED,
        ALL,
    ),
    Model::new("three writers take turns", three_writers, UNORDERED, 1),
    Model::new(
        "a guard that is given back wakes all of its waiters",
        two_waiters,
        UNORDERED,
        2,
    ),
    Model::new("waiters sleep on one another", chain, UNORDERED, 2),
    Model::new(
        "a reader between two writers that wait gets its turn",
        mixed_chain,
        UNORDERED,
        1,
    ),
    Model::new(
        "a waiter that gives up wakes the one behind it",
        link_withdrawn,
        UNORDERED,
        2,
    ),
    Model::new(
        "a waiter does not sleep on one that waits for its own guard",
        own_guard_before,
        UNORDERED,
        2,
    ),
    Model::new(
        "a waiting writer goes before a new reader, or after it",
        intent_and_new_reader,
        UNORDERED,
        4,
    ),
    Model::new(
        "a waiting writer that gives up wakes the readers it kept out",
        intent_withdrawn,
        UNORDERED,
        3,
    ),
    Model::new(
        "a reader that sleeps on a waiting writer reads after it",
        sleeper_on_a_waiter,
        UNORDERED,
        2,
    ),
    Model::new(
        "two waiting writers and two readers have no cycle",
        four_turns,
        UNORDERED,
        1,
    ),
    Model::new(
        "a panic wakes the waiter, which is refused",
        panic_wakes,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "a panic is told from waiter to waiter",
        panic_in_front_of_a_chain,
        UNORDERED,
        2,
    ),
    Model::new(
        "an acquirer sees the poison, or the recovered bytes",
        recovery_and_acquirer,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "two recoveries of one record take turns",
        two_recoveries,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "recoveries sleep on one another",
        chain_of_recoveries,
        UNORDERED,
        1,
    ),
    Model::new("freezing wakes its waiter", freezing, ORDERED, ALL),
];

fn writers_at_once(_: u32) {
    let table = Table::new(false);
    let other = beside(&table, |table| {
        table.write(at_once(1, span(0, 8), Mode::Write))
    });
    let mine = table.write(at_once(2, span(4, 12), Mode::Write));
    let other = other.join().unwrap();
    assert!(mine.is_ok() || other.is_ok(), "{mine:?} {other:?}");
    table.assert_empty();
}

fn reader_and_writer_at_once(_: u32) {
    let table = Table::new(false);
    let other = beside(&table, |table| {
        table.read(at_once(1, span(0, 8), Mode::Read))
    });
    let mine = table.write(at_once(2, span(4, 12), Mode::Write));
    let other = other.join().unwrap();
    assert!(mine.is_ok() || other.is_ok(), "{mine:?} {other:?}");
    table.assert_empty();
}

fn handover(_: u32) {
    let table = Table::new(false);
    table.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let waiter = beside(&table, |table| {
        table.write(waiting(2, span(0, 8), Mode::Write))
    });
    table.payload.write();
    table.give_back(lane_of(1));
    waiter.join().unwrap().unwrap();
    table.assert_empty();
}

fn two_guards(_: u32) {
    let table = Table::new(false);
    // The first wake-up may come too early, while the waiter is still preparing to sleep.
    let free = lease(&*table.pool, 1, LANES - 1).unwrap();
    let lanes = [(lane_of(1), span(0, 4)), (free, span(4, 8))].map(|(lane, span)| {
        let request = Request {
            lane,
            ..at_once(1, span, Mode::Write)
        };
        table.take(request).unwrap();
        lane
    });
    let waiter = beside(&table, |table| {
        table.write(waiting(2, span(0, 8), Mode::Write))
    });
    table.payload.write();
    lanes.into_iter().for_each(|lane| table.give_back(lane));
    waiter.join().unwrap().unwrap();
    table.assert_empty();
}

fn two_writers(_: u32) {
    let table = Table::new(false);
    let other = beside(&table, |table| {
        table.write(waiting(1, span(0, 8), Mode::Write))
    });
    table.write(waiting(2, span(4, 12), Mode::Write)).unwrap();
    other.join().unwrap().unwrap();
    table.assert_empty();
}

fn reader_and_writer(_: u32) {
    let table = Table::new(false);
    let other = beside(&table, |table| {
        table.read(waiting(1, span(0, 8), Mode::Read))
    });
    table.write(waiting(2, span(4, 12), Mode::Write)).unwrap();
    other.join().unwrap().unwrap();
    table.assert_empty();
}

fn three_writers(_: u32) {
    let table = Table::new(false);
    let others = [1, 2].map(|member| {
        beside(&table, move |table| {
            table.write(waiting(member, span(0, 8), Mode::Write))
        })
    });
    table.write(waiting(3, span(4, 12), Mode::Write)).unwrap();
    others
        .into_iter()
        .for_each(|other| other.join().unwrap().unwrap());
    table.assert_empty();
}

fn two_waiters(_: u32) {
    let table = Table::new(false);
    table.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let readers = [2, 3].map(|member| {
        beside(&table, move |table| {
            table.read(waiting(member, span(0, 8), Mode::Read))
        })
    });
    table.payload.write();
    table.give_back(lane_of(1));
    readers
        .into_iter()
        .for_each(|reader| reader.join().unwrap().unwrap());
    table.assert_empty();
}

/// A guard, and two writers of which the later one sleeps on the wait of the other.
fn chain(_: u32) {
    let table = Table::new(false);
    table.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let writers = [2, 3].map(|member| {
        beside(&table, move |table| {
            table.write(waiting(member, span(0, 8), Mode::Write))
        })
    });
    table.payload.write();
    table.give_back(lane_of(1));
    writers
        .into_iter()
        .for_each(|writer| writer.join().unwrap().unwrap());
    table.assert_empty();
}

fn mixed_chain(_: u32) {
    let table = Table::new(false);
    table.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let writers = [2, 3].map(|member| {
        beside(&table, move |table| {
            table.write(waiting(member, span(0, 8), Mode::Write))
        })
    });
    let reader = beside(&table, |table| {
        table.read(waiting(4, span(0, 8), Mode::Read))
    });
    table.payload.write();
    table.give_back(lane_of(1));
    for other in writers.into_iter().chain([reader]) {
        other.join().unwrap().unwrap();
    }
    table.assert_empty();
}

fn link_withdrawn(_: u32) {
    let table = Table::new(false);
    table.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let link = beside(&table, |table| {
        let soon = Request {
            deadline: Some(Instant::now() + Duration::from_millis(1)),
            ..waiting(2, span(0, 8), Mode::Write)
        };
        table.write(soon)
    });
    let last = beside(&table, |table| {
        table.write(waiting(3, span(0, 8), Mode::Write))
    });
    table.payload.write();
    table.give_back(lane_of(1));
    let link = link.join().unwrap();
    assert!(
        matches!(link, Ok(()) | Err(Refusal::WouldBlock)),
        "{link:?}"
    );
    last.join().unwrap().unwrap();
    table.assert_empty();
}

/// The waiter for all bytes can have them only after the thread that waits for half of them.
fn own_guard_before(_: u32) {
    let table = Table::new(false);
    table.take(at_once(1, span(0, 4), Mode::Write)).unwrap();
    table.take(at_once(2, span(4, 8), Mode::Write)).unwrap();
    let before = beside(&table, |table| {
        table.write(waiting(3, span(0, 8), Mode::Write))
    });
    let thread = beside(&table, |table| {
        let request = Request {
            lane: lease(&*table.pool, 1, LANES - 1).unwrap(),
            ..waiting(1, span(4, 8), Mode::Write)
        };
        let written = table.write(request);
        table.give_back(lane_of(1));
        written
    });
    table.payload.write();
    table.give_back(lane_of(2));
    thread.join().unwrap().unwrap();
    before.join().unwrap().unwrap();
    table.assert_empty();
}

fn intent_and_new_reader(_: u32) {
    let table = Table::new(false);
    table.take(at_once(1, span(0, 8), Mode::Read)).unwrap();
    let writer = beside(&table, |table| {
        table.write(waiting(2, span(0, 8), Mode::Write))
    });
    table.payload.read();
    table.give_back(lane_of(1));
    table.read(waiting(1, span(0, 8), Mode::Read)).unwrap();
    writer.join().unwrap().unwrap();
    table.assert_empty();
}

/// The lane of the wait becomes that of the guard, and wakes the reader only when it is given back.
fn sleeper_on_a_waiter(_: u32) {
    let table = Table::new(false);
    table.take(at_once(1, span(0, 8), Mode::Read)).unwrap();
    let writer = beside(&table, |table| {
        table.write(waiting(2, span(0, 8), Mode::Write))
    });
    let reader = beside(&table, |table| {
        table.read(waiting(3, span(0, 8), Mode::Read))
    });
    table.payload.read();
    table.give_back(lane_of(1));
    reader.join().unwrap().unwrap();
    writer.join().unwrap().unwrap();
    table.assert_empty();
}

fn four_turns(_: u32) {
    let table = Table::new(false);
    table.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let writers = [2, 3].map(|member| {
        beside(&table, move |table| {
            table.write(waiting(member, span(0, 8), Mode::Write))
        })
    });
    let reader = beside(&table, |table| {
        table.read(waiting(4, span(4, 12), Mode::Read))
    });
    table.payload.write();
    table.give_back(lane_of(1));
    table.read(waiting(1, span(0, 8), Mode::Read)).unwrap();
    for other in writers.into_iter().chain([reader]) {
        other.join().unwrap().unwrap();
    }
    table.assert_empty();
}

fn intent_withdrawn(_: u32) {
    let table = Table::new(false);
    // Held until the other threads are done: the writer gets nothing, and then the reader must not
    // wait for it any longer.
    table.take(at_once(1, span(0, 8), Mode::Read)).unwrap();
    let writer = beside(&table, |table| {
        let soon = Request {
            deadline: Some(Instant::now() + Duration::from_millis(1)),
            ..waiting(2, span(0, 8), Mode::Write)
        };
        table.write(soon)
    });
    let reader = beside(&table, |table| {
        table.read(waiting(3, span(0, 8), Mode::Read))
    });
    assert_eq!(writer.join().unwrap(), Err(Refusal::WouldBlock));
    reader.join().unwrap().unwrap();
    table.give_back(lane_of(1));
    table.assert_empty();
}

fn panic_wakes(_: u32) {
    let table = Table::new(false);
    table.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let reader = beside(&table, |table| {
        table.read(waiting(2, span(0, 8), Mode::Read))
    });
    poison(table.pool.at(lane_of(1)), 1);
    let refused = reader.join().unwrap();
    assert!(
        matches!(refused, Err(Refusal::Poisoned(record)) if record.span == span(0, 8)),
        "{refused:?}"
    );
}

fn panic_in_front_of_a_chain(_: u32) {
    let table = Table::new(false);
    table.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let writers = [2, 3].map(|member| {
        beside(&table, move |table| {
            table.write(waiting(member, span(0, 8), Mode::Write))
        })
    });
    poison(table.pool.at(lane_of(1)), 1);
    for writer in writers {
        let refused = writer.join().unwrap();
        assert!(matches!(refused, Err(Refusal::Poisoned(_))), "{refused:?}");
    }
}

/// A table with a record of poison that covers the half-written bytes.
fn poisoned() -> Arc<Table> {
    let table = Table::new(true);
    table.poison(span(0, 16));
    table
}

fn recovery_and_acquirer(_: u32) {
    let table = poisoned();
    let other = beside(&table, |table| {
        table.write(waiting(2, span(4, 12), Mode::Write))
    });
    table.rewrite(3, span(4, 12));
    let other = other.join().unwrap();
    assert!(
        matches!(other, Ok(()) | Err(Refusal::Poisoned(_))),
        "{other:?}"
    );
    // Bytes that the recovery did not cover stay poisoned.
    for rest in [span(0, 4), span(12, 16)] {
        let refused = table.take(at_once(3, rest, Mode::Read));
        assert!(
            matches!(refused, Err(Refusal::Poisoned(record)) if record.span == rest),
            "{refused:?}"
        );
    }
}

fn two_recoveries(_: u32) {
    let table = poisoned();
    let other = beside(&table, |table| table.rewrite(2, span(0, 16)));
    table.rewrite(3, span(0, 16));
    other.join().unwrap();
    table.assert_empty();
}

fn chain_of_recoveries(_: u32) {
    let table = poisoned();
    let others =
        [1, 2].map(|member| beside(&table, move |table| table.rewrite(member, span(0, 16))));
    table.rewrite(3, span(0, 16));
    others.into_iter().for_each(|other| other.join().unwrap());
    table.assert_empty();
}

fn freezing(_: u32) {
    let table = Table::new(false);
    let waiter = beside(&table, |table| {
        table.block.wait_until(None, || {
            (table.block.frozen.load(SeqCst) == 1).then_some(())
        })
    });
    table.block.frozen.store(1, SeqCst);
    table.block.wake();
    assert_eq!(waiter.join().unwrap(), Ok(()));
}

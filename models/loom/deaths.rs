//! A member dies before each of its accesses in turn, while another goes on. The bytes that it was
//! writing are poison, and all other bytes stay usable.

use crate::{
    ALL, Model, UNORDERED,
    engine::thread,
    fixture::{NO_LANE, at_once, lane_of, span, waiting},
    layout::span::Span,
    spawn,
    state::{
        lanes::{self, Mode},
        lock_table::{Poison, Refusal, Request},
    },
    sync::{Ordering::SeqCst, dying},
    table::{DEAD, Table, beside},
};
use std::sync::Arc;

pub(crate) const MODELS: &[Model] = &[
    Model::new("a writer dies anywhere", writer, UNORDERED, 4).with_a_victim(),
    Model::new(
        "a waiting writer dies anywhere",
        waiting_writer,
        UNORDERED,
        3,
    )
    .with_a_victim(),
    Model::new("a reader dies anywhere", reader, UNORDERED, 4).with_a_victim(),
    Model::new(
        "a waiting reader dies anywhere",
        waiting_reader,
        UNORDERED,
        3,
    )
    .with_a_victim(),
    Model::new(
        "a waiter before another one dies anywhere",
        waiter_before_another,
        UNORDERED,
        2,
    )
    .with_a_victim(),
    Model::new("a recovery dies anywhere", recovery, UNORDERED, 4).with_a_victim(),
    Model::new(
        "a recovery with spare lanes dies anywhere",
        recovery_with_spare_lanes,
        UNORDERED,
        1,
    )
    .with_a_victim(),
    Model::new(
        "a recovery that merges records dies anywhere",
        recovery_that_merges,
        UNORDERED,
        1,
    )
    .with_a_victim(),
    Model::new(
        "a member that moves poison into a record dies anywhere",
        folder,
        UNORDERED,
        4,
    )
    .with_a_victim(),
    Model::new(
        "a member that frees the lanes of poison dies anywhere",
        settler,
        UNORDERED,
        3,
    )
    .with_a_victim(),
    Model::new(
        "a member that clears a dead writer dies anywhere",
        clearer,
        UNORDERED,
        1,
    )
    .with_a_victim(),
    Model::new(
        "a member that clears all of the dead dies anywhere",
        dead_clearer,
        UNORDERED,
        3,
    )
    .with_a_victim(),
    Model::new(
        "a member that takes over the word dies anywhere",
        second_takeover,
        UNORDERED,
        3,
    )
    .with_a_victim(),
    Model::new(
        "two take over the word of a dead holder",
        takeover,
        UNORDERED,
        4,
    ),
    Model::new(
        "two members clear the same dead member",
        two_clearers,
        UNORDERED,
        1,
    ),
    Model::new(
        "poison that two members move is in a record",
        two_folders,
        UNORDERED,
        ALL,
    ),
];

pub(crate) const VICTIM: u64 = 1;

/// Runs the victim in another thread, up to an access. Its thread returns whether the victim lived.
pub(crate) fn victim(
    table: &Arc<Table>,
    step: u32,
    life: impl FnOnce(&Table) + 'static,
) -> thread::JoinHandle<bool> {
    let table = table.clone();
    spawn(move || {
        let lived = dying(step, || life(&table)).is_some();
        if !lived {
            table.deaths.add(VICTIM);
        }
        lived
    })
}

fn writer(step: u32) {
    let table = Table::new(false);
    let victim = victim(&table, step, |table| {
        table
            .write(waiting(VICTIM, span(0, 8), Mode::Write))
            .unwrap()
    });
    table.write_or_recover(2, span(4, 12));
    victim.join().unwrap();
    table.end();
}

fn waiting_writer(step: u32) {
    let table = Table::new(false);
    table.take(at_once(2, span(0, 8), Mode::Read)).unwrap();
    let victim = victim(&table, step, |table| {
        table
            .write(waiting(VICTIM, span(0, 8), Mode::Write))
            .unwrap()
    });
    table.payload.read();
    table.give_back(lane_of(2));
    match table.read(waiting(2, span(0, 8), Mode::Read)) {
        Ok(()) => {}
        Err(refusal) => assert!(
            matches!(refusal, Refusal::Poisoned(record) if record.member == VICTIM),
            "{refusal:?}"
        ),
    }
    victim.join().unwrap();
    table.end();
}

fn reader(step: u32) {
    let table = Table::new(false);
    let victim = victim(&table, step, |table| {
        table.read(waiting(VICTIM, span(0, 8), Mode::Read)).unwrap();
    });
    // A reader's death poisons nothing.
    table.write(waiting(2, span(4, 12), Mode::Write)).unwrap();
    victim.join().unwrap();
    table.end();
}

/// The writer may sleep on the lane of the reader's wait.
fn waiting_reader(step: u32) {
    let table = Table::new(false);
    table.take(at_once(2, span(0, 8), Mode::Write)).unwrap();
    let victim = victim(&table, step, |table| {
        table.read(waiting(VICTIM, span(0, 8), Mode::Read)).unwrap();
    });
    table.payload.write();
    table.give_back(lane_of(2));
    table.write(waiting(2, span(4, 12), Mode::Write)).unwrap();
    victim.join().unwrap();
    table.end();
}

/// The other writer may sleep on the victim's wait, and is the only one to notice the death.
fn waiter_before_another(step: u32) {
    let table = Table::new(false);
    table.take(at_once(3, span(0, 8), Mode::Write)).unwrap();
    let victim = victim(&table, step, |table| {
        table
            .write(waiting(VICTIM, span(0, 8), Mode::Write))
            .unwrap();
    });
    let other = beside(&table, |table| table.write_or_recover(2, span(0, 8)));
    table.payload.write();
    table.give_back(lane_of(3));
    victim.join().unwrap();
    other.join().unwrap();
    table.end();
}

fn recovery(step: u32) {
    let table = Table::new(true);
    table.poison_record(span(0, 8));
    recover_beside_a_reader(&table, step, span(4, 8), span(0, 4));
    table.assert_poisoned(span(0, 4));
    table.end();
}

/// The block has room for one of the two parts beside the recovery: the other goes into a lane.
fn recovery_with_spare_lanes(step: u32) {
    let table = Table::new(true);
    table.poison_record(span(20, 30));
    table.poison_record(span(0, 12));
    recover_beside_a_reader(&table, step, span(4, 8), span(8, 12));
    table.assert_poisoned(span(0, 4));
    table.assert_poisoned(span(8, 12));
    table.assert_poisoned(span(20, 30));
    table.end();
}

/// No lane and no record is free for the part beside the recovery, so two records become one.
fn recovery_that_merges(step: u32) {
    let table = Table::new(true);
    table.poison_record(span(20, 30));
    table.poison_record(span(0, 12));
    let others: Vec<_> = std::iter::from_fn(|| lanes::lease(&*table.pool, 3, 0)).collect();
    recover_beside_a_reader(&table, step, span(0, 8), span(8, 12));
    table.assert_poisoned(span(8, 12));
    table.assert_poisoned(span(20, 30));
    for lane in others {
        lanes::free(table.pool.at(lane), 3);
    }
    table.end();
}

/// `rest` is poisoned at any time: the recovery does not cover it.
fn recover_beside_a_reader(table: &Arc<Table>, step: u32, recovered: Span, rest: Span) {
    let victim = victim(table, step, move |table| table.rewrite(VICTIM, recovered));
    table.assert_refused(2, rest);
    _ = table.read(waiting(2, recovered, Mode::Read));
    victim.join().unwrap();
}

fn folder(step: u32) {
    let table = Table::new(true);
    table.poison(span(0, 8));
    let victim = victim(&table, step, |table| {
        table.assert_refused(VICTIM, span(4, 12));
    });
    table.assert_refused(2, span(0, 8));
    victim.join().unwrap();
    table.assert_poisoned(span(0, 8));
    table.end();
}

/// The records are full, so two are merged for the poison of a lane.
fn settler(step: u32) {
    let table = Table::new(true);
    table.poison_record(span(20, 30));
    table.poison_record(span(10, 12));
    table.poison(span(0, 8));
    let victim = victim(&table, step, |table| {
        let request = Request {
            lane: NO_LANE,
            ..waiting(VICTIM, span(0, 1000), Mode::Read)
        };
        let members = table.members(VICTIM);
        table.lock_table().settle_poison(&request, &members);
    });
    table.assert_refused(2, span(0, 8));
    victim.join().unwrap();
    for poisoned in [span(0, 8), span(10, 12), span(20, 30)] {
        table.assert_poisoned(poisoned);
    }
    table.end();
}

fn clearer(step: u32) {
    let table = Table::new(true);
    table.left_by_the_dead(lane_of(DEAD), span(0, 8), Mode::Write);
    let victim = victim(&table, step, |table| {
        assert_eq!(table.assert_refused(VICTIM, span(0, 8)).member, DEAD);
    });
    assert_eq!(table.assert_refused(2, span(0, 8)).member, DEAD);
    victim.join().unwrap();
    table.end();
}

/// The clearing member holds no lock word. Another member uses the table meanwhile.
fn dead_clearer(step: u32) {
    let table = Table::new(false);
    let reader = lanes::lease(&*table.pool, DEAD, 0).unwrap();
    table.left_by_the_dead(lane_of(DEAD), span(0, 8), Mode::Write);
    table.left_by_the_dead(reader, span(20, 30), Mode::Read);
    let victim = victim(&table, step, |table| {
        lanes::clear_dead(&*table.pool, |member| !table.deaths.has(member));
    });
    table.write(waiting(2, span(20, 28), Mode::Write)).unwrap();
    assert_eq!(table.assert_refused(2, span(0, 8)).member, DEAD);
    victim.join().unwrap();
    table.assert_poisoned(span(0, 8));
    table.end();
}

fn second_takeover(step: u32) {
    let table = Table::new(false);
    table.block.lock.store(DEAD, SeqCst);
    table.deaths.add(DEAD);
    let victim = victim(&table, step, |table| {
        table
            .write(waiting(VICTIM, span(0, 8), Mode::Write))
            .unwrap()
    });
    table.write_or_recover(2, span(4, 12));
    victim.join().unwrap();
    table.end();
}

fn takeover(_: u32) {
    let table = Table::new(false);
    table.block.lock.store(DEAD, SeqCst);
    table.deaths.add(DEAD);
    let other = beside(&table, |table| {
        table.write(waiting(2, span(0, 8), Mode::Write))
    });
    table.write(waiting(3, span(4, 12), Mode::Write)).unwrap();
    other.join().unwrap().unwrap();
    table.assert_empty();
}

fn two_clearers(_: u32) {
    let table = Table::new(false);
    let reader = lanes::lease(&*table.pool, DEAD, 0).unwrap();
    table.left_by_the_dead(lane_of(DEAD), span(0, 8), Mode::Write);
    table.left_by_the_dead(reader, span(20, 30), Mode::Read);
    let other = beside(&table, |table| clear_the_dead(table, 2));
    clear_the_dead(&table, 3);
    other.join().unwrap();
    assert_eq!(table.poisoned(span(0, 100)).len(), 1);
    table.end();
}

fn clear_the_dead(table: &Table, member: u64) {
    // A dead reader's bytes are written at once, also if another member cleared its lane.
    table
        .write(waiting(member, span(20, 28), Mode::Write))
        .unwrap();
    let expected = Poison {
        span: span(0, 8),
        member: DEAD,
    };
    assert_eq!(table.assert_refused(member, span(0, 8)), expected);
}

fn two_folders(_: u32) {
    let table = Table::new(true);
    table.poison(span(0, 8));
    let other = beside(&table, |table| {
        table.assert_refused(2, span(0, 4));
    });
    table.assert_refused(3, span(4, 8));
    other.join().unwrap();
    assert_eq!(table.poisoned(span(0, 100)).len(), 1);
    table.end();
}

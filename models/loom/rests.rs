//! Guards that rest: their thread takes them again without the lock word, unless another request
//! revoked them.

use crate::{
    ALL, Model, UNORDERED,
    deaths::victim,
    fixture::{at_once, lane_of, span, waiting},
    layout::span::Span,
    state::lanes::{Mode, end_rest},
    table::{Table, beside},
};

pub(crate) const MODELS: &[Model] = &[
    Model::new(
        "a writer that rests excludes a writer when it writes again",
        writer_and_writer,
        UNORDERED,
        4,
    ),
    Model::new(
        "a reader that rests excludes a writer when it reads again",
        reader_and_writer,
        UNORDERED,
        4,
    ),
    Model::new(
        "a writer that rests excludes a reader when it writes again",
        writer_and_reader,
        UNORDERED,
        4,
    ),
    Model::new(
        "two writers that rest exclude each other",
        two_writers,
        UNORDERED,
        2,
    ),
    Model::new(
        "readers that rest do not pass a writer that waits",
        readers_and_waiter,
        UNORDERED,
        2,
    ),
    Model::new(
        "a guard that rests is no obstacle for a call that does not wait",
        no_obstacle,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "a guard that rests is void where records of poison grow over it",
        merging,
        UNORDERED,
        3,
    ),
    Model::new(
        "a recovery revokes a guard that rests",
        recovery,
        UNORDERED,
        3,
    ),
    Model::new(
        "a writer that rests dies anywhere",
        dying_writer,
        UNORDERED,
        2,
    )
    .with_a_victim(),
    Model::new(
        "a reader that rests dies anywhere",
        dying_reader,
        UNORDERED,
        2,
    )
    .with_a_victim(),
    Model::new(
        "a writer that revokes a guard dies anywhere",
        dying_revoker,
        UNORDERED,
        2,
    )
    .with_a_victim(),
];

/// Accesses the bytes under a guard, gives it back at rest where that is possible, and takes it
/// again, `times` times.
fn access(table: &Table, member: u64, span: Span, mode: Mode, times: u32) {
    let lane = table.pool.at(lane_of(member));
    let mut rests = false;
    for _ in 0..times {
        let is_resumed = rests && lane.resume(mode, member);
        let may_rest = is_resumed
            || table
                .lock_table()
                .acquire_at_once(&waiting(member, span, mode));
        if !may_rest {
            table.take(waiting(member, span, mode)).unwrap();
        }
        match mode {
            Mode::Write => table.payload.write(),
            _ => table.payload.read(),
        }
        rests = may_rest && lane.rest();
        if !rests {
            table.give_back(lane_of(member));
        }
    }
}

/// The thread leaves: its lane is free of the guard.
fn leave(table: &Table, member: u64) {
    end_rest(table.pool.at(lane_of(member)), member);
}

/// One member takes its guard twice, another one once or twice.
fn beside_each_other(mine: Mode, other: Mode, times: u32) {
    let table = Table::new(false);
    let first = beside(&table, move |table| {
        access(table, 1, span(0, 8), mine, 2);
        leave(table, 1);
    });
    access(&table, 2, span(4, 12), other, times);
    leave(&table, 2);
    first.join().unwrap();
    table.assert_empty();
}

fn writer_and_writer(_: u32) {
    beside_each_other(Mode::Write, Mode::Write, 1);
}

fn reader_and_writer(_: u32) {
    beside_each_other(Mode::Read, Mode::Write, 1);
}

fn writer_and_reader(_: u32) {
    beside_each_other(Mode::Write, Mode::Read, 1);
}

fn two_writers(_: u32) {
    beside_each_other(Mode::Write, Mode::Write, 2);
}

/// The writer waits for a reader whose guard cannot rest. The other one's could: it must neither go
/// on past the writer for ever nor be missed by it.
fn readers_and_waiter(_: u32) {
    let table = Table::new(false);
    table.take(at_once(3, span(0, 8), Mode::Read)).unwrap();
    let reader = beside(&table, |table| {
        access(table, 1, span(0, 8), Mode::Read, 2);
        leave(table, 1);
    });
    let writer = beside(&table, |table| {
        table.write(waiting(2, span(4, 12), Mode::Write)).unwrap();
    });
    table.payload.read();
    table.give_back(lane_of(3));
    reader.join().unwrap();
    writer.join().unwrap();
    table.assert_empty();
}

fn no_obstacle(_: u32) {
    let table = Table::new(false);
    access(&table, 1, span(0, 8), Mode::Write, 1);
    let other = beside(&table, |table| {
        table.write(at_once(2, span(4, 12), Mode::Write)).unwrap();
    });
    other.join().unwrap();
    assert!(!table.pool.at(lane_of(1)).resume(Mode::Write, 1));
    table.assert_empty();
}

/// Records of poison on both sides grow over the guard between them.
fn merging(_: u32) {
    let table = Table::new(false);
    access(&table, 1, span(32, 36), Mode::Write, 1);
    table.poison_record(span(20, 30));
    table.poison_record(span(40, 50));
    // Both records are used; this one is in a lane.
    table.poison(span(60, 70));
    let owner = beside(&table, |table| {
        let lane = table.pool.at(lane_of(1));
        if lane.resume(Mode::Write, 1) && !lane.rest() {
            table.give_back(lane_of(1));
        }
    });
    let request = waiting(2, span(0, 1000), Mode::Read);
    let members = table.members(2);
    assert!(table.lock_table().yield_lane(&request, &members).unwrap());
    owner.join().unwrap();
    table.assert_poisoned(span(20, 50));
    assert!(!table.pool.at(lane_of(1)).resume(Mode::Write, 1));
    leave(&table, 1);
    table.end();
}

fn recovery(_: u32) {
    let table = Table::new(false);
    let owner = beside(&table, |table| {
        access(table, 1, span(0, 8), Mode::Write, 2);
        leave(table, 1);
    });
    table.rewrite(2, span(4, 12));
    owner.join().unwrap();
    table.assert_empty();
}

fn dying_writer(step: u32) {
    let table = Table::new(false);
    let victim = victim(&table, step, |table| {
        access(table, 1, span(0, 8), Mode::Write, 2);
        leave(table, 1);
    });
    table.write_or_recover(2, span(4, 12));
    victim.join().unwrap();
    table.end();
}

fn dying_reader(step: u32) {
    let table = Table::new(false);
    let victim = victim(&table, step, |table| {
        access(table, 1, span(0, 8), Mode::Read, 2);
        leave(table, 1);
    });
    // A reader's death poisons nothing.
    table.write(waiting(2, span(4, 12), Mode::Write)).unwrap();
    victim.join().unwrap();
    table.end();
}

fn dying_revoker(step: u32) {
    let table = Table::new(false);
    access(&table, 2, span(4, 12), Mode::Read, 1);
    let victim = victim(&table, step, |table| {
        table.write(waiting(1, span(0, 8), Mode::Write)).unwrap();
    });
    let lane = table.pool.at(lane_of(2));
    if lane.resume(Mode::Read, 2) {
        table.payload.read();
        table.give_back(lane_of(2));
    }
    table.write_or_recover(2, span(4, 12));
    victim.join().unwrap();
    table.end();
}

//! Guards that rest: their thread takes them again without the lock word, unless another request
//! revoked them.

use crate::{
    ALL, Model, UNORDERED,
    deaths::victim,
    fixture::{at_once, lane_of, span, waiting},
    layout::span::Span,
    state::{
        lanes::Mode,
        rests::{Reservation, end_rest},
    },
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
        "a row of a range excludes a writer",
        row_and_writer,
        UNORDERED,
        3,
    ),
    Model::new(
        "a row of a range excludes a reader",
        row_and_reader,
        UNORDERED,
        3,
    ),
    Model::new(
        "two members that reserve the same range write the same row",
        two_ranges,
        UNORDERED,
        2,
    ),
    Model::new(
        "a row of a range is no obstacle for a writer of another one",
        other_row,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "rows of a range do not pass a writer that waits",
        rows_and_waiter,
        UNORDERED,
        2,
    ),
    Model::new(
        "a reader where a writer rested lets readers pass and no writer",
        exclusive_reader,
        UNORDERED,
        1,
    ),
    Model::new(
        "a reader where a writer rested does not write beside another reader",
        exclusive_reader_and_reader,
        UNORDERED,
        3,
    ),
    Model::new(
        "a writer of rows dies anywhere, and leaves poison on its row only",
        dying_writer_of_rows,
        UNORDERED,
        2,
    )
    .with_a_victim(),
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

/// A guard, or parts of a range, that a thread has taken at once and takes again.
#[derive(Clone, Copy)]
struct Own {
    member: u64,
    reserved: Reservation,
}

impl Own {
    fn guard(member: u64, span: Span, mode: Mode) -> Self {
        let has_parts = false;
        Self {
            member,
            reserved: Reservation {
                mode,
                span,
                has_parts,
            },
        }
    }

    fn range(member: u64, span: Span, mode: Mode) -> Self {
        let mut own = Self::guard(member, span, mode);
        own.reserved.has_parts = true;
        own
    }

    /// Takes a guard on bytes that no other member uses, and gives it back at rest.
    fn rest_on(&self, table: &Table, span: Span) -> bool {
        let request = waiting(self.member, span, self.reserved.mode);
        let mut range = Some(self.reserved.span);
        if !table.lock_table().acquire_at_once(&request, &mut range) {
            table.take(request).unwrap();
        }
        let rests = range.is_some() && table.pool.at(lane_of(self.member)).rest();
        if !rests {
            table.give_back(lane_of(self.member));
        }
        rests
    }

    fn resume(&self, table: &Table, mode: Mode, span: Span) -> bool {
        let lane = table.pool.at(lane_of(self.member));
        lane.resume(self.member, 0, &self.reserved, mode, &span)
    }

    /// Accesses the bytes under a guard of this mode, and gives it back at rest where that is
    /// possible. `rests` is whether the one before does.
    fn access(&self, table: &Table, mode: Mode, span: Span, rests: bool) -> bool {
        let mut range = self.reserved.has_parts.then_some(self.reserved.span);
        let is_resumed = rests && self.resume(table, mode, span);
        let may_rest = is_resumed || {
            let request = waiting(self.member, span, mode);
            let is_taken = table.lock_table().acquire_at_once(&request, &mut range);
            if !is_taken {
                table.take(request).unwrap();
            }
            is_taken && mode == self.reserved.mode && range.is_some() == self.reserved.has_parts
        };
        match mode {
            Mode::Write => table.payload.write(),
            _ => table.payload.read(),
        }
        let rests = may_rest && table.pool.at(lane_of(self.member)).rest();
        if !rests {
            table.give_back(lane_of(self.member));
        }
        rests
    }
}

/// Accesses the bytes under a guard, gives it back at rest where that is possible, and takes it
/// again, `times` times.
fn access(table: &Table, member: u64, span: Span, mode: Mode, times: u32) {
    let own = Own::guard(member, span, mode);
    (0..times).fold(false, |rests, _| own.access(table, mode, span, rests));
}

/// Takes the lane of a guard that is to rest again. Returns false if it was revoked.
fn resume(table: &Table, member: u64, span: Span, mode: Mode) -> bool {
    Own::guard(member, span, mode).resume(table, mode, span)
}

/// Writes a row of its range, and then another one, which are the bytes that others use.
fn write_rows(table: &Table, member: u64) {
    let own = Own::range(member, span(0, 100), Mode::Write);
    let rests = own.rest_on(table, span(90, 98));
    own.access(table, Mode::Write, span(0, 8), rests);
    leave(table, member);
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
    assert!(!resume(&table, 1, span(0, 8), Mode::Write));
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
        let is_resumed = resume(table, 1, span(32, 36), Mode::Write);
        if is_resumed && !table.pool.at(lane_of(1)).rest() {
            table.give_back(lane_of(1));
        }
    });
    let request = waiting(2, span(0, 1000), Mode::Read);
    let members = table.members(2);
    assert!(table.lock_table().yield_lane(&request, &members).unwrap());
    owner.join().unwrap();
    table.assert_poisoned(span(20, 50));
    assert!(!resume(&table, 1, span(32, 36), Mode::Write));
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
    if resume(&table, 2, span(4, 12), Mode::Read) {
        table.payload.read();
        table.give_back(lane_of(2));
    }
    table.write_or_recover(2, span(4, 12));
    victim.join().unwrap();
    table.end();
}

fn row_and_writer(_: u32) {
    let table = Table::new(false);
    let rows = beside(&table, |table| write_rows(table, 1));
    table.write(waiting(2, span(4, 12), Mode::Write)).unwrap();
    rows.join().unwrap();
    table.assert_empty();
}

fn row_and_reader(_: u32) {
    let table = Table::new(false);
    let rows = beside(&table, |table| write_rows(table, 1));
    table.read(waiting(2, span(4, 12), Mode::Read)).unwrap();
    rows.join().unwrap();
    table.assert_empty();
}

fn two_ranges(_: u32) {
    let table = Table::new(false);
    let rows = beside(&table, |table| write_rows(table, 1));
    let own = Own::range(2, span(0, 100), Mode::Write);
    let rests = own.rest_on(&table, span(80, 88));
    own.access(&table, Mode::Write, span(4, 12), rests);
    leave(&table, 2);
    rows.join().unwrap();
    table.assert_empty();
}

/// The guards of the owner are on other bytes of its range all the time.
fn other_row(_: u32) {
    let table = Table::new(false);
    let own = Own::range(1, span(0, 100), Mode::Write);
    let rests = own.rest_on(&table, span(90, 98));
    let owner = beside(&table, move |table| {
        let is_resumed = rests && own.resume(table, Mode::Write, span(40, 48));
        if is_resumed && !table.pool.at(lane_of(1)).rest() {
            table.give_back(lane_of(1));
        }
    });
    // At once, or after a second look where the owner gave a guard back meanwhile.
    table.write(at_once(2, span(4, 12), Mode::Write)).unwrap();
    owner.join().unwrap();
    assert!(!own.resume(&table, Mode::Write, span(90, 98)));
    table.assert_empty();
}

fn rows_and_waiter(_: u32) {
    let table = Table::new(false);
    table.take(at_once(3, span(50, 58), Mode::Read)).unwrap();
    let rows = beside(&table, |table| {
        let own = Own::range(1, span(0, 100), Mode::Read);
        let rests = own.rest_on(table, span(90, 98));
        own.access(table, Mode::Read, span(0, 8), rests);
        leave(table, 1);
    });
    let writer = beside(&table, |table| {
        table.write(waiting(2, span(4, 58), Mode::Write)).unwrap();
    });
    table.payload.read();
    table.give_back(lane_of(3));
    rows.join().unwrap();
    writer.join().unwrap();
    table.assert_empty();
}

fn exclusive_reader(_: u32) {
    let table = Table::new(false);
    let own = Own::guard(1, span(0, 8), Mode::Write);
    assert!(own.access(&table, Mode::Write, span(0, 8), false));
    let owner = beside(&table, move |table| {
        own.access(table, Mode::Read, span(0, 8), true);
        leave(table, 1);
    });
    let reader = beside(&table, |table| {
        table.read(waiting(3, span(0, 8), Mode::Read)).unwrap();
    });
    table.write(waiting(2, span(4, 12), Mode::Write)).unwrap();
    owner.join().unwrap();
    reader.join().unwrap();
    table.assert_empty();
}

fn exclusive_reader_and_reader(_: u32) {
    let table = Table::new(false);
    let own = Own::guard(1, span(0, 8), Mode::Write);
    assert!(own.access(&table, Mode::Write, span(0, 8), false));
    let owner = beside(&table, move |table| {
        let rests = own.access(table, Mode::Read, span(0, 8), true);
        own.access(table, Mode::Write, span(0, 8), rests);
        leave(table, 1);
    });
    table.read(waiting(2, span(4, 12), Mode::Read)).unwrap();
    owner.join().unwrap();
    table.assert_empty();
}

fn dying_writer_of_rows(step: u32) {
    let table = Table::new(false);
    let victim = victim(&table, step, |table| write_rows(table, 1));
    table.write_or_recover(2, span(4, 12));
    // The rest of the range was never half-written by the guard on the first row.
    let poison = table.poisoned(span(8, 90));
    assert!(poison.iter().all(|poison| poison.member != 1), "{poison:?}");
    victim.join().unwrap();
    table.end();
}

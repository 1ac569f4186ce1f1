//! A member dies before each of its accesses in turn, while another goes on. The bytes that it was
//! writing are poison, and all other bytes stay usable.

use crate::{
    Model, ORDERED,
    engine::thread,
    fixture::{Members, assert_empty, at_once, span, waiting},
    layout::span::Span,
    state::lock_table::{Mode, Poison, Refusal},
    sync::{Ordering::SeqCst, dying},
    table::{Table, beside},
};
use std::sync::Arc;

pub(crate) const MODELS: &[Model] = &[
    Model::new("a writer dies anywhere", writer, ORDERED, 4).with_a_victim(),
    Model::new("a waiting writer dies anywhere", waiting_writer, ORDERED, 3).with_a_victim(),
    Model::new("a reader dies anywhere", reader, ORDERED, 4).with_a_victim(),
    Model::new("a recovery dies anywhere", recovery, ORDERED, 4).with_a_victim(),
    Model::new(
        "a member that merges records dies anywhere",
        merge,
        ORDERED,
        4,
    )
    .with_a_victim(),
    Model::new(
        "a member that clears a dead writer dies anywhere",
        clearer,
        ORDERED,
        3,
    )
    .with_a_victim(),
    Model::new(
        "a member that takes over the word dies anywhere",
        second_takeover,
        ORDERED,
        3,
    )
    .with_a_victim(),
    Model::new(
        "two take over the word of a dead holder",
        takeover,
        ORDERED,
        4,
    ),
    Model::new(
        "two members clear the same dead member",
        two_clearers,
        ORDERED,
        3,
    ),
];

const VICTIM: u64 = 1;
/// A member that died before the model began.
const DEAD: u64 = 9;

/// Runs the victim in another thread, up to an access. Its thread returns whether the victim lived.
fn victim(
    table: &Arc<Table>,
    step: u32,
    life: impl FnOnce(&Table) + 'static,
) -> thread::JoinHandle<bool> {
    let table = table.clone();
    thread::spawn(move || {
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
    let slot = table.take(at_once(2, span(0, 8), Mode::Read)).unwrap();
    let victim = victim(&table, step, |table| {
        table
            .write(waiting(VICTIM, span(0, 8), Mode::Write))
            .unwrap()
    });
    table.payload.read();
    table.block.withdraw(slot);
    match table.take(waiting(2, span(0, 8), Mode::Read)) {
        Ok(slot) => {
            table.payload.read();
            table.block.withdraw(slot);
        }
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
        let slot = table.take(waiting(VICTIM, span(0, 8), Mode::Read)).unwrap();
        table.payload.read();
        table.block.withdraw(slot);
    });
    // A reader's death poisons nothing.
    table.write(waiting(2, span(4, 12), Mode::Write)).unwrap();
    victim.join().unwrap();
    table.end();
}

/// Leaves a record of poison of a dead member.
fn poison(table: &Table, span: Span) {
    table.poison(at_once(DEAD, span, Mode::Write));
}

fn recovery(step: u32) {
    let table = Table::new(true);
    poison(&table, span(0, 12));
    let victim = victim(&table, step, |table| {
        table.rewrite(VICTIM, span(4, 8));
    });
    // Bytes that the recovery does not cover are poisoned at any time.
    let refused = table.take(waiting(2, span(0, 4), Mode::Read));
    assert!(matches!(refused, Err(Refusal::Poisoned(_))), "{refused:?}");
    if let Ok(slot) = table.take(waiting(2, span(4, 8), Mode::Read)) {
        table.payload.read();
        table.block.withdraw(slot);
    }
    victim.join().unwrap();
    table.assert_poisoned(span(0, 4));
    table.assert_poisoned(span(8, 12));
    table.end();
}

fn merge(step: u32) {
    let table = Table::new(true);
    let records = [span(4, 8), span(40, 48), span(10, 20)];
    records
        .into_iter()
        .for_each(|record| poison(&table, record));
    let victim = victim(&table, step, |table| {
        let slot = table
            .take(waiting(VICTIM, span(100, 108), Mode::Read))
            .unwrap();
        table.block.withdraw(slot);
    });
    let refused = table.take(waiting(2, span(4, 8), Mode::Read));
    assert!(matches!(refused, Err(Refusal::Poisoned(_))), "{refused:?}");
    victim.join().unwrap();
    records
        .into_iter()
        .for_each(|record| table.assert_poisoned(record));
    table.end();
}

/// Leaves the slot of a dead writer.
fn left_by_the_dead(table: &Table) {
    table.take(at_once(DEAD, span(0, 8), Mode::Write)).unwrap();
    table.deaths.add(DEAD);
}

fn clearer(step: u32) {
    let table = Table::new(true);
    left_by_the_dead(&table);
    let victim = victim(&table, step, |table| {
        let refused = table.take(waiting(VICTIM, span(0, 8), Mode::Read));
        assert!(
            matches!(refused, Err(Refusal::Poisoned(record)) if record.member == DEAD),
            "{refused:?}"
        );
    });
    let refused = table.take(waiting(2, span(0, 8), Mode::Read));
    assert!(
        matches!(refused, Err(Refusal::Poisoned(record)) if record.member == DEAD),
        "{refused:?}"
    );
    victim.join().unwrap();
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
    assert_empty(&table.block);
}

fn two_clearers(_: u32) {
    let table = Table::new(false);
    left_by_the_dead(&table);
    table.take(at_once(DEAD, span(20, 30), Mode::Read)).unwrap();
    let other = beside(&table, |table| clear_the_dead(table, 2));
    clear_the_dead(&table, 3);
    other.join().unwrap();
    let records = table
        .block
        .poisoned(
            waiting(3, span(0, 100), Mode::Read),
            &Members::of(&table.deaths),
        )
        .unwrap();
    assert_eq!(records.len(), 1);
    table.end();
}

fn clear_the_dead(table: &Table, member: u64) {
    // A dead reader's bytes are written at once, also if another member cleared its slot and took
    // it.
    table
        .write(waiting(member, span(20, 28), Mode::Write))
        .unwrap();
    let refused = table.take(waiting(member, span(0, 8), Mode::Read));
    let expected = Poison {
        span: span(0, 8),
        member: DEAD,
    };
    assert_eq!(refused, Err(Refusal::Poisoned(expected)));
}

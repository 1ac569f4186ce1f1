//! The table without files: in a plain box, with members that live and die as the test decides.

mod scribble;
mod threads;

use super::*;
use proptest::{prelude::*, test_runner::TestRunner};
use std::{cell::RefCell, collections::HashSet, time::Duration};

const ME: u64 = 7;
const OTHER: u64 = 8;

fn block() -> Box<StateBlock> {
    // SAFETY: the block consists of atomic integers, for which zeros are valid.
    unsafe { Box::<StateBlock>::new_zeroed().assume_init() }
}

/// The dead members, and the slots that the calling thread holds.
#[derive(Default)]
struct Members {
    dead: RefCell<HashSet<u64>>,
    own: RefCell<u64>,
}

impl Members {
    fn kill(&self, member: u64) {
        self.dead.borrow_mut().insert(member);
    }
}

impl Liveness for Members {
    fn is_alive(&self, member: u64) -> bool {
        !self.dead.borrow().contains(&member)
    }

    fn is_own(&self, slot: usize) -> bool {
        *self.own.borrow() & 1 << slot != 0
    }
}

fn span(start: u64, end: u64) -> Span {
    Span {
        start,
        end,
        pitch: 0,
        width: 0,
    }
}

fn now(member: u64, span: Span, mode: Mode) -> Request {
    Request {
        member,
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

fn poison(start: u64, end: u64, member: u64) -> Poison {
    Poison {
        span: span(start, end),
        member,
    }
}

#[test]
fn writers_exclude_overlapping_readers_and_writers_only() {
    let (block, members) = (block(), Members::default());
    let take = |member, span, mode| block.acquire(now(member, span, mode), &members);
    let first = take(ME, span(0, 10), Mode::Write).unwrap();
    assert!(take(ME, span(10, 20), Mode::Write).is_ok());
    assert_eq!(take(ME, span(9, 11), Mode::Read), Err(Refusal::WouldBlock));
    assert_eq!(
        take(OTHER, span(0, 1), Mode::Write),
        Err(Refusal::WouldBlock)
    );
    block.withdraw(first);
    assert!(take(ME, span(0, 5), Mode::Read).is_ok());
    assert!(take(OTHER, span(0, 5), Mode::Read).is_ok());
    assert_eq!(take(ME, span(0, 5), Mode::Write), Err(Refusal::WouldBlock));
}

#[test]
fn a_thread_that_would_wait_for_itself_is_told() {
    let (block, members) = (block(), Members::default());
    *members.own.borrow_mut() = 1
        << block
            .acquire(now(ME, span(0, 10), Mode::Read), &members)
            .unwrap();
    assert_eq!(
        block.acquire(now(ME, span(5, 6), Mode::Write), &members),
        Err(Refusal::WouldDeadlock)
    );
    // A writer waits for the guard of this thread, which then wants to read again.
    let waiting = block.publish(!*members.own.borrow(), span(9, 20), Mode::Intent.tag(OTHER));
    assert_eq!(
        block.acquire(now(ME, span(12, 13), Mode::Read), &members),
        Err(Refusal::WouldDeadlock)
    );
    assert_eq!(
        block.acquire(now(OTHER, span(12, 13), Mode::Read), &members),
        Err(Refusal::WouldBlock),
        "a thread that holds no guard waits"
    );
    block.withdraw(waiting);
    assert!(
        block
            .acquire(now(ME, span(12, 13), Mode::Read), &members)
            .is_ok()
    );
}

#[test]
fn a_full_table_refuses_a_thread_that_holds_a_slot() {
    let (block, members) = (block(), Members::default());
    let slots: Vec<_> = (0..64)
        .map(|i| {
            block
                .acquire(now(ME, span(i, i + 1), Mode::Write), &members)
                .unwrap()
        })
        .collect();
    assert_eq!(
        block.acquire(now(ME, span(99, 100), Mode::Read), &members),
        Err(Refusal::WouldBlock)
    );
    *members.own.borrow_mut() = 1 << slots[3];
    assert_eq!(
        block.acquire(now(ME, span(99, 100), Mode::Read), &members),
        Err(Refusal::TooManyGuards)
    );
    block.withdraw(slots[40]);
    assert_eq!(
        block.acquire(now(ME, span(99, 100), Mode::Read), &members),
        Ok(slots[40])
    );
}

#[test]
fn a_waiting_writer_keeps_new_readers_out_and_gets_the_bytes_in_its_slot() {
    let (block, members) = (block(), Members::default());
    let reader = block
        .acquire(now(OTHER, span(0, 10), Mode::Read), &members)
        .unwrap();
    assert_eq!(
        block.acquire(soon(ME, span(0, 10), Mode::Write), &members),
        Err(Refusal::WouldBlock)
    );
    assert_eq!(
        block.slots_where(|_, _| true),
        1 << reader,
        "a writer that gives up withdraws its intent"
    );
    let mut intent = None;
    let forever = Request {
        deadline: None,
        ..now(ME, span(0, 10), Mode::Write)
    };
    assert!(block.place(forever, &mut intent, &members).is_err());
    assert_eq!(
        block.acquire(now(9, span(5, 6), Mode::Read), &members),
        Err(Refusal::WouldBlock)
    );
    assert!(
        block
            .acquire(now(9, span(10, 11), Mode::Read), &members)
            .is_ok(),
        "other bytes are free"
    );
    block.withdraw(reader);
    let slot = intent.unwrap();
    assert!(matches!(block.place(forever, &mut intent, &members), Ok(taken) if taken == slot));
    assert!(Mode::Write.is(block.slots[slot].tag.load(Acquire)));
}

#[test]
fn eight_slots_are_never_given_to_waiting_writers() {
    let (block, members) = (block(), Members::default());
    let forever = |member| Request {
        deadline: None,
        ..now(member, span(0, 10), Mode::Write)
    };
    block
        .acquire(now(ME, span(0, 10), Mode::Write), &members)
        .unwrap();
    for member in 100..200 {
        assert!(block.place(forever(member), &mut None, &members).is_err());
    }
    assert_eq!(
        block
            .slots_where(|_, tag| Mode::Intent.is(tag))
            .count_ones(),
        64 - 8 - 1
    );
    assert!(
        block
            .acquire(now(ME, span(20, 30), Mode::Read), &members)
            .is_ok()
    );
}

#[test]
fn dead_readers_and_waiters_are_removed_and_a_dead_writer_is_poison() {
    let (block, members) = (block(), Members::default());
    block
        .acquire(now(OTHER, span(0, 10), Mode::Read), &members)
        .unwrap();
    block.publish(!1, span(0, 10), Mode::Intent.tag(OTHER));
    block
        .acquire(now(OTHER, span(10, 20), Mode::Write), &members)
        .unwrap();
    assert_eq!(
        block.acquire(now(ME, span(0, 10), Mode::Write), &members),
        Err(Refusal::WouldBlock)
    );
    members.kill(OTHER);
    let mine = block
        .acquire(now(ME, span(0, 10), Mode::Write), &members)
        .unwrap();
    assert_eq!(
        block.acquire(now(ME, span(15, 16), Mode::Read), &members),
        Err(Refusal::Poisoned(poison(10, 20, OTHER)))
    );
    assert!(
        block
            .acquire(now(ME, span(20, 30), Mode::Write), &members)
            .is_ok(),
        "the rest stays usable"
    );
    block.withdraw(mine);
    assert_eq!(
        block.poisoned(now(ME, span(0, 100), Mode::Read), &members),
        Ok(vec![poison(10, 20, OTHER)])
    );
    assert_eq!(
        block.poisoned(now(ME, span(0, 10), Mode::Read), &members),
        Ok(vec![])
    );
}

#[test]
fn the_word_of_a_dead_holder_is_taken_over_and_that_of_a_living_one_is_not() {
    let (block, members) = (block(), Members::default());
    block.lock.store(OTHER, SeqCst);
    assert_eq!(
        block.acquire(now(ME, span(0, 10), Mode::Read), &members),
        Err(Refusal::WordHeld)
    );
    members.kill(OTHER);
    assert!(
        block
            .acquire(now(ME, span(0, 10), Mode::Read), &members)
            .is_ok()
    );
    assert_eq!(block.lock.load(SeqCst), 0);
}

#[test]
fn a_recovery_ends_the_poison_of_its_bytes_and_leaves_the_rest() {
    let (block, members) = (block(), Members::default());
    members.kill(OTHER);
    block
        .acquire(now(OTHER, span(10, 50), Mode::Write), &members)
        .unwrap();
    block
        .acquire(now(OTHER, span(60, 70), Mode::Write), &members)
        .unwrap();
    let all = || {
        block
            .poisoned(now(ME, span(0, 100), Mode::Read), &members)
            .unwrap()
    };
    assert_eq!(all(), [poison(10, 50, OTHER), poison(60, 70, OTHER)]);
    let recovery = block
        .recover(now(ME, span(20, 30), Mode::Write), true, &members)
        .unwrap();
    assert_eq!(
        block.acquire(now(9, span(20, 21), Mode::Read), &members),
        Err(Refusal::WouldBlock),
        "exclusive"
    );
    assert_eq!(
        all(),
        [
            poison(10, 20, OTHER),
            poison(30, 50, OTHER),
            poison(60, 70, OTHER)
        ]
    );
    block.withdraw(recovery);
    block.withdraw(
        block
            .acquire(now(ME, span(20, 30), Mode::Write), &members)
            .unwrap(),
    );
    // A recovery that panics or dies leaves its bytes poisoned.
    block.poison(
        block
            .recover(now(ME, span(10, 20), Mode::Write), true, &members)
            .unwrap(),
        ME,
    );
    assert!(
        block
            .acquire(now(ME, span(15, 16), Mode::Write), &members)
            .is_err()
    );
    block
        .recover(now(9, span(0, 100), Mode::Write), true, &members)
        .unwrap();
    members.kill(9);
    assert!(
        block
            .acquire(now(ME, span(65, 66), Mode::Read), &members)
            .is_err()
    );
    block.withdraw(
        block
            .recover(now(ME, span(0, 100), Mode::Write), true, &members)
            .unwrap(),
    );
    assert_eq!(all(), []);
    assert_eq!(block.slots_where(|_, _| true), 0);
}

#[test]
fn a_thousand_deaths_do_not_jam_the_table() {
    let (block, members) = (block(), Members::default());
    for death in 0..1000u64 {
        let bytes = span(100 * death, 100 * death + 10);
        members.kill(1000 + death);
        block
            .acquire(now(1000 + death, bytes, Mode::Write), &members)
            .unwrap();
        assert!(matches!(
            block.acquire(now(ME, bytes, Mode::Read), &members),
            Err(Refusal::Poisoned(_))
        ));
    }
    block.withdraw(
        block
            .acquire(now(ME, span(200_000, 200_001), Mode::Write), &members)
            .unwrap(),
    );
    let records = block
        .poisoned(now(ME, span(0, u64::MAX), Mode::Read), &members)
        .unwrap();
    assert!(records.len() <= MAX_POISONED as usize, "{}", records.len());
    for death in 0..1000u64 {
        let bytes = span(100 * death, 100 * death + 10);
        assert!(
            records
                .iter()
                .any(|record| record.span.start <= bytes.start && bytes.end <= record.span.end),
            "{death}"
        );
    }
    block.withdraw(
        block
            .recover(now(ME, span(0, 200_000), Mode::Write), true, &members)
            .unwrap(),
    );
    assert_eq!(block.slots_where(|_, _| true), 0);
}

/// A killed process that held all slots leaves a record in each. Acquiring merges records only for
/// bytes that are not poisoned. A recovery did not merge, and waited for a slot that no process
/// would give back.
#[test]
fn records_in_all_slots_do_not_keep_a_recovery_out() {
    let (block, members) = (block(), Members::default());
    (0..SLOTS as u64).for_each(|i| {
        _ = block
            .acquire(now(OTHER, span(8 * i, 8 * i + 8), Mode::Write), &members)
            .unwrap()
    });
    members.kill(OTHER);
    assert!(
        block
            .acquire(now(ME, span(0, 8), Mode::Read), &members)
            .is_err()
    );
    let recovery = block
        .recover(now(ME, span(20, 44), Mode::Write), true, &members)
        .unwrap();
    let records = block
        .poisoned(now(ME, span(0, 512), Mode::Read), &members)
        .unwrap();
    let is_poisoned = |byte| {
        records
            .iter()
            .any(|record| (record.span.start..record.span.end).contains(&byte))
    };
    assert!(
        (0..512).all(|byte| is_poisoned(byte) != (20..44).contains(&byte)),
        "{records:?}"
    );
    block.withdraw(recovery);
    block.withdraw(
        block
            .recover(now(ME, span(0, 512), Mode::Write), true, &members)
            .unwrap(),
    );
    assert_eq!(block.slots_where(|_, _| true), 0);
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

/// The rest of 31 columns around a row needs 62 slots beside the 31 and the guard's: more than the
/// table has.
#[test]
fn a_recovery_that_leaves_more_than_fits_merges_what_is_poisoned() {
    let (block, members) = (block(), Members::default());
    (0..31).for_each(|j| {
        block.poison(
            block
                .acquire(now(ME, column(j), Mode::Write), &members)
                .unwrap(),
            ME,
        )
    });
    let row = block
        .recover(now(ME, span(512, 768), Mode::Write), true, &members)
        .unwrap();
    let records = block
        .poisoned(now(ME, span(0, 2048), Mode::Read), &members)
        .unwrap();
    let is_poisoned = |byte| {
        records
            .iter()
            .any(|record| bytes(record.span).any(|poisoned| poisoned == byte))
    };
    assert!(
        (0..31)
            .flat_map(|j| bytes(column(j)))
            .all(|byte| is_poisoned(byte) != (512..768).contains(&byte)),
        "{records:?}"
    );
    block.withdraw(row);
}

/// Recoveries that all wait for slots keep their intents meanwhile. Counting the intents as slots
/// that will be given back kept all of them out.
#[test]
fn recoveries_do_not_wait_for_each_other_s_intents() {
    let (block, members) = (block(), Members::default());
    (0..20).for_each(|j| {
        block.poison(
            block
                .acquire(now(ME, column(j), Mode::Write), &members)
                .unwrap(),
            ME,
        )
    });
    (0..20).for_each(|_| {
        let free = !block.slots_where(|_, _| true);
        _ = block.publish(free, span(512, 768), Mode::Intent.tag(OTHER));
    });
    assert!(
        block
            .recover(now(ME, span(512, 768), Mode::Write), true, &members)
            .is_ok()
    );
}

#[test]
fn any_bytes_are_a_table_that_is_left_in_time() {
    let property = |(words, start, len): (Vec<u64>, u64, u64)| {
        let (block, members) = (block(), Members::default());
        block.used.store(u64::MAX, SeqCst);
        for (i, chunk) in words.chunks(4).enumerate().take(SLOTS) {
            if let [tag, first, second, third] = *chunk {
                block.slots[i].tag.store(tag, SeqCst);
                block.slots[i].start.store(first, SeqCst);
                block.slots[i].end.store(second, SeqCst);
                block.slots[i].pitch.store(third as u32, SeqCst);
                block.slots[i].width.store((third >> 32) as u32, SeqCst);
            }
        }
        let bytes = span(start, start + len);
        for mode in [Mode::Read, Mode::Write] {
            let _ = block.acquire(now(ME, bytes, mode), &members);
            let _ = block.poisoned(now(ME, bytes, mode), &members);
            let _ = block.recover(now(ME, bytes, Mode::Write), true, &members);
        }
        members.kill(ME);
        let _ = block.acquire(
            now(
                OTHER,
                Span {
                    pitch: 16,
                    width: 8,
                    ..bytes
                },
                Mode::Write,
            ),
            &members,
        );
        let _ = block.recover(
            now(
                OTHER,
                Span {
                    pitch: 16,
                    width: 8,
                    ..bytes
                },
                Mode::Write,
            ),
            true,
            &members,
        );
        Ok(())
    };
    let word = || {
        prop_oneof![
            any::<u64>(),
            0..64u64,
            (0..7u64, 0..10u64).prop_map(|(mode, member)| mode << 56 | member)
        ]
    };
    let strategy = (
        prop::collection::vec(word(), 0..256),
        0..1u64 << 40,
        1..1u64 << 20,
    );
    TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })
    .run(&strategy, property)
    .unwrap();
}

/// The expected content of the table: the guards, and the poisoned bytes.
#[derive(Default)]
struct Model {
    guards: Vec<(usize, Span, Mode, u64)>,
    poison: HashSet<u64>,
}

fn bytes(span: Span) -> impl Iterator<Item = u64> {
    (span.start..span.end).filter(move |byte| {
        span.pitch == 0 || (byte - span.start) % u64::from(span.pitch) < u64::from(span.width)
    })
}

#[test]
fn long_random_histories_agree_with_a_simple_model() {
    #[derive(Clone, Debug)]
    enum Step {
        Take(u64, usize, bool),
        Recover(u64, usize),
        Drop(usize),
        Panic(usize),
        Kill(u64),
    }
    let step = prop_oneof![
        6 => (0..6u64, 0..12usize, any::<bool>())
            .prop_map(|(member, view, writes)| Step::Take(member, view, writes)),
        2 => (0..6u64, 0..12usize).prop_map(|(member, view)| Step::Recover(member, view)),
        6 => (0..8usize).prop_map(Step::Drop),
        1 => (0..8usize).prop_map(Step::Panic),
        1 => (0..6u64).prop_map(Step::Kill),
    ];
    let property = |steps: Vec<Step>| {
        // Rows, halves and columns of a table of 8 rows of 64 bytes, the columns of one pitch.
        let view = |number: usize| match number {
            0..4 => span(128 * number as u64, 128 * number as u64 + 128),
            4..8 => Span {
                start: 16 * (number as u64 - 4),
                end: 448 + 16 * (number as u64 - 3),
                pitch: 64,
                width: 16,
            },
            8 => span(0, 512),
            9 => span(0, 256),
            10 => span(100, 300),
            _ => span(64, 128),
        };
        let (block, members) = (block(), Members::default());
        let mut model = Model::default();
        let mut ids: Vec<u64> = (1..7).collect();
        let mut next = 7;
        for step in steps {
            match step {
                Step::Take(member, number, writes) => {
                    let (member, span) = (ids[member as usize], view(number));
                    let mode = if writes { Mode::Write } else { Mode::Read };
                    let excluded = model.guards.iter().any(|(_, other, held, _)| {
                        other.overlaps(&span) && (writes || *held == Mode::Write)
                    });
                    let poisoned = bytes(span).any(|byte| model.poison.contains(&byte));
                    let taken = block.acquire_at_once(member, span, mode);
                    match taken.map_or_else(|| block.acquire(now(member, span, mode), &members), Ok)
                    {
                        Ok(slot) => {
                            prop_assert!(
                                !excluded && !poisoned,
                                "given though excluded {excluded} poisoned {poisoned}"
                            );
                            model.guards.push((slot, span, mode, member));
                        }
                        Err(Refusal::Poisoned(record)) => {
                            // Merged records may be wider than the guards were, but never without
                            // poison.
                            prop_assert!(record.span.overlaps(&span) && !model.poison.is_empty());
                        }
                        Err(refusal) => {
                            prop_assert!(refusal == Refusal::WouldBlock && excluded, "{refusal:?}")
                        }
                    }
                }
                Step::Recover(member, number) => {
                    let (member, span) = (ids[member as usize], view(number));
                    match block.recover(now(member, span, Mode::Write), true, &members) {
                        Ok(slot) => {
                            prop_assert!(
                                !model
                                    .guards
                                    .iter()
                                    .any(|(_, other, ..)| other.overlaps(&span))
                            );
                            bytes(span).for_each(|byte| _ = model.poison.remove(&byte));
                            model.guards.push((slot, span, Mode::Write, member));
                        }
                        Err(Refusal::Interleaved(record)) => {
                            prop_assert!(record.span.overlaps(&span))
                        }
                        Err(refusal) => prop_assert_eq!(refusal, Refusal::WouldBlock),
                    }
                }
                Step::Drop(which) if !model.guards.is_empty() => {
                    let (slot, ..) = model.guards.swap_remove(which % model.guards.len());
                    block.withdraw(slot);
                }
                Step::Panic(which) if !model.guards.is_empty() => {
                    let (slot, span, mode, member) =
                        model.guards.swap_remove(which % model.guards.len());
                    if mode == Mode::Write {
                        block.poison(slot, member);
                        model.poison.extend(bytes(span));
                    } else {
                        block.withdraw(slot);
                    }
                }
                Step::Kill(member) => {
                    let dead = std::mem::replace(&mut ids[member as usize], next);
                    next += 1;
                    members.kill(dead);
                    model.guards.retain(|(_, span, mode, holder)| {
                        if *holder == dead && *mode == Mode::Write {
                            model.poison.extend(bytes(*span));
                        }
                        *holder != dead
                    });
                }
                _ => {}
            }
            // Every poisoned byte is in a record.
            let records = block
                .poisoned(now(1 << 40, span(0, 512), Mode::Read), &members)
                .unwrap();
            for &byte in &model.poison {
                prop_assert!(
                    records
                        .iter()
                        .any(|record| bytes(record.span).any(|covered| covered == byte)),
                    "byte {byte} of {records:?}"
                );
            }
        }
        Ok(())
    };
    let histories = prop::collection::vec(step, 0..60);
    TestRunner::new(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })
    .run(&histories, property)
    .unwrap();
}

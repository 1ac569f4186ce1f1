//! Any table, and long histories beside a simple model.

use super::*;
use proptest::{prelude::*, test_runner::TestRunner};

fn run<S: Strategy>(
    cases: u32,
    strategy: S,
    property: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })
    .run(&strategy, property)
    .unwrap();
}

#[test]
fn any_bytes_are_a_table_that_is_left_in_time() {
    let property = |(lanes, words, hints, start, len): (u32, Vec<u64>, Vec<u64>, u64, u64)| {
        let store = Fixture::new(lanes);
        let hint = |i: usize| hints.get(i).copied().unwrap_or(i as u64);
        store.block.used.store(hint(0) | hint(1), SeqCst);
        store.block.poisoned.store(hint(1), SeqCst);
        store.block.overflown.store(hint(2) as u32, SeqCst);
        for (i, entry) in store.block.list.iter().enumerate() {
            entry.store(hint(i + 3) as u16, SeqCst);
        }
        for (i, word) in store.block.groups.iter().enumerate() {
            word.store(hint(i + 70), SeqCst);
        }
        for (i, chunk) in words.chunks(4).enumerate() {
            let &[tag, first, second, third] = chunk else {
                continue;
            };
            let span = Span {
                start: first,
                end: second,
                pitch: third as u32,
                width: (third >> 32) as u32,
            };
            if let Some(lane) = store.pool.lanes.get(i) {
                lane.put(KEY, span);
                lane.turn.store(third, SeqCst);
                lane.tag.store(tag, SeqCst);
            }
            if let Some(record) = store.block.records.get(i) {
                record.put(span);
                record.tag.store(tag, SeqCst);
            }
        }
        let bytes = span(start, start + len);
        for mode in [Mode::Read, Mode::Write, Mode::Atomic] {
            // Lanes that the bytes take for leased ones are freed by the fixture, or not.
            let request = Request {
                lane: store.lease(ME).unwrap_or(0),
                ..now(ME, bytes, mode)
            };
            let around = store.around(ME);
            let table = store.table();
            let _ = table.acquire_at_once(&request, &mut None)
                || table.acquire(request, &around).is_ok();
            let _ = table.poisoned(&request, &around);
            let request = Request {
                mode: Mode::Write,
                ..request
            };
            let _ = table.recover(request, AT_ONCE, &around);
        }
        store.kill(ME);
        let request = Request {
            lane: store.lease(OTHER).unwrap_or(0),
            ..now(
                OTHER,
                Span {
                    pitch: 16,
                    width: 8,
                    ..bytes
                },
                Mode::Write,
            )
        };
        let around = store.around(OTHER);
        let _ = store.table().acquire(request, &around);
        let _ = store.table().recover(request, AT_ONCE, &around);
        Ok(())
    };
    let word = || {
        prop_oneof![
            any::<u64>(),
            0..64u64,
            (0..256u64, 0..10u64).prop_map(|(mode, member)| member << 8 | mode)
        ]
    };
    let strategy = (
        prop_oneof![Just(1u32), Just(3), Just(70), Just(1100)],
        prop::collection::vec(word(), 0..512),
        prop::collection::vec(prop_oneof![any::<u64>(), 0..1100u64], 0..90),
        0..1u64 << 40,
        1..1u64 << 20,
    );
    run(300, strategy, property);
}

/// The expected content of the table: the guards, and the poisoned bytes.
#[derive(Default)]
struct Model {
    guards: Vec<(u32, Span, Mode, u64)>,
    poison: HashSet<u64>,
}

impl Model {
    fn excludes(&self, span: &Span, mode: Mode) -> bool {
        self.guards
            .iter()
            .any(|(_, other, held, _)| other.overlaps(span) && excludes(mode, *held))
    }
}

fn excludes(mode: Mode, held: Mode) -> bool {
    mode != held || mode == Mode::Write
}

#[derive(Clone, Debug)]
enum Step {
    Take(u64, usize, Mode),
    Recover(u64, usize),
    Drop(usize),
    Panic(usize),
    Kill(u64),
}

/// Rows, halves and columns of a table of 8 rows of 64 bytes, the columns of one pitch.
fn view(number: usize) -> Span {
    match number {
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
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let mode = prop_oneof![Just(Mode::Read), Just(Mode::Write), Just(Mode::Atomic)];
    prop_oneof![
        6 => (0..6u64, 0..12usize, mode)
            .prop_map(|(member, view, mode)| Step::Take(member, view, mode)),
        2 => (0..6u64, 0..12usize).prop_map(|(member, view)| Step::Recover(member, view)),
        6 => (0..8usize).prop_map(Step::Drop),
        1 => (0..8usize).prop_map(Step::Panic),
        1 => (0..6u64).prop_map(Step::Kill),
    ]
}

/// The lanes before the pool's last ones hold readers of bytes behind the table, so that its list
/// and its records are more or less full.
fn follows_the_model((lanes, others, steps): (u32, u32, Vec<Step>)) -> Result<(), TestCaseError> {
    let store = Fixture::new(lanes);
    let mut model = Model::default();
    for i in 0..u64::from(others.min(lanes.saturating_sub(3))) {
        let far = span(10_000 + 2 * i, 10_001 + 2 * i);
        let mode = if i % 2 == 0 {
            Mode::Read
        } else {
            Mode::Poisoned
        };
        store.put(1 << 30, far, mode);
    }
    let mut ids: Vec<u64> = (1..7).collect();
    let mut next = 7;
    for step in steps {
        match step {
            Step::Take(member, number, mode) => {
                let (member, span) = (ids[member as usize], view(number));
                let is_excluded = model.excludes(&span, mode);
                let is_poisoned = bytes(span).any(|byte| model.poison.contains(&byte));
                match store.take(member, span, mode) {
                    Ok(lane) => {
                        prop_assert!(
                            !is_excluded && !is_poisoned,
                            "given though excluded {is_excluded} poisoned {is_poisoned}"
                        );
                        model.guards.push((lane, span, mode, member));
                    }
                    Err(Refusal::Poisoned(record)) => {
                        // Spans of other pitches count as their ranges, and merged records may be
                        // wider than the guards were, but never without poison.
                        prop_assert!(record.span.overlaps(&span) && !model.poison.is_empty());
                    }
                    Err(Refusal::TooManyGuards) => {
                        prop_assert!(store.pool.used() as u32 == lanes, "lanes are free");
                    }
                    Err(refusal) => {
                        prop_assert!(refusal == Refusal::WouldBlock && is_excluded, "{refusal:?}")
                    }
                }
            }
            Step::Recover(member, number) => {
                let (member, span) = (ids[member as usize], view(number));
                match store.recover(member, span) {
                    Ok(lane) => {
                        prop_assert!(!model.excludes(&span, Mode::Write));
                        bytes(span).for_each(|byte| _ = model.poison.remove(&byte));
                        model.guards.push((lane, span, Mode::Write, member));
                    }
                    Err(Refusal::Interleaved(record)) => {
                        prop_assert!(record.span.overlaps(&span))
                    }
                    Err(Refusal::TooManyGuards) => {
                        prop_assert!(store.pool.used() as u32 == lanes, "lanes are free");
                    }
                    Err(refusal) => {
                        prop_assert_eq!(refusal, Refusal::WouldBlock);
                        prop_assert!(model.excludes(&span, Mode::Write));
                    }
                }
            }
            Step::Drop(which) if !model.guards.is_empty() => {
                let (lane, ..) = model.guards.swap_remove(which % model.guards.len());
                store.give_back(lane);
            }
            Step::Panic(which) if !model.guards.is_empty() => {
                let (lane, span, mode, member) =
                    model.guards.swap_remove(which % model.guards.len());
                if mode == Mode::Write {
                    super::super::poison(store.lane(lane), member);
                    model.poison.extend(bytes(span));
                } else {
                    store.give_back(lane);
                }
            }
            Step::Kill(member) => {
                let dead = std::mem::replace(&mut ids[member as usize], next);
                next += 1;
                store.kill(dead);
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
        let records = store.poisoned(1 << 40, span(0, 512));
        for &byte in &model.poison {
            prop_assert!(
                records
                    .iter()
                    .any(|record| bytes(record.span).any(|covered| covered == byte)),
                "byte {byte} of {records:?}"
            );
        }
        // Hints lead to every guard, and the list names no lane twice.
        let visited = store.visited();
        for (lane, ..) in &model.guards {
            prop_assert!(visited.contains(lane), "no hint leads to lane {lane}");
        }
        let listed = store.listed();
        let different: HashSet<_> = listed.iter().collect();
        prop_assert!(different.len() == listed.len(), "{listed:?}");
    }
    Ok(())
}

#[test]
fn long_random_histories_agree_with_a_simple_model() {
    let lanes = prop_oneof![Just(1u32), Just(3), Just(12), Just(70), Just(1100)];
    let others = prop_oneof![Just(0u32), Just(50), Just(64), Just(200)];
    let histories = (lanes, others, prop::collection::vec(any_step(), 0..60));
    run(400, histories, follows_the_model);
}

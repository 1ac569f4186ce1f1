//! The numbers of writes, and threads that wait for one. In tests a sleep is so long that a lost
//! wake-up is noticed.

use super::*;
use crate::state::{changes::stripe_len, lanes::COUNTED, rests::Reservation};
use std::sync::{Arc, atomic::AtomicU64, mpsc};

const DATA_LEN: u64 = 80;

impl Fixture {
    fn watch(&self, member: u64) -> Result<(), Refusal> {
        let request = now(member, span(0, DATA_LEN), Mode::Read);
        let around = self.around(member);
        self.table().watch(&request, stripe_len(DATA_LEN), &around)
    }

    fn number(&self, start: u64, end: u64) -> u64 {
        self.block.changes(&span(start, end)).unwrap()
    }

    fn end(&self, lane: u32) {
        self.table().give_back(self.lane(lane), true);
    }

    fn count_the_dead(&self) {
        self.table().count_the_dead(ME, &self.around(ME));
    }
}

fn watched() -> Fixture {
    let store = Fixture::new(16);
    store.watch(ME).unwrap();
    store
}

#[test]
fn a_guard_that_writes_raises_the_numbers_of_its_stripes() {
    let store = watched();
    for (start, end, expected) in [
        (0, 8, [1, 0]),
        (8, 12, [2, 1]),
        (0, 80, [3, 2]),
        (79, 80, [3, 2]),
    ] {
        let lane = store.take(ME, span(start, end), Mode::Write).unwrap();
        let before = store.number(0, 80);
        store.end(lane);
        assert!(store.number(0, 80) > before);
        let numbers = [(0, 10), (10, 20)].map(|(start, end)| store.number(start, end));
        assert_eq!(numbers, expected, "{start}..{end}");
    }
    assert_eq!(store.number(0, 0), 0);
    assert!(store.pool.with_mode(|tag| !is_free(tag)).is_empty());
}

#[test]
fn other_guards_and_waits_raise_no_number() {
    let store = watched();
    for mode in [Mode::Read, Mode::Atomic] {
        let lane = store.take(ME, span(0, 8), mode).unwrap();
        let waits = store.request(soon(OTHER, span(0, 8), Mode::Write));
        assert_eq!(waits, Err(Refusal::WouldBlock));
        store.end(lane);
    }
    assert_eq!(store.number(0, 80), 0);
    // The dead too.
    store.put(20, span(0, 8), Mode::Read);
    store.put(20, span(0, 8), Mode::WriteWait);
    store.kill(20);
    store.count_the_dead();
    let lane = store.take(ME, span(0, 8), Mode::Write).unwrap();
    assert_eq!(store.number(0, 80), 0);
    store.end(lane);
    assert_eq!(store.number(0, 80), 1);
}

#[test]
fn an_array_that_is_not_watched_counts_nothing() {
    let store = Fixture::new(4);
    let lane = store.take(ME, span(0, 80), Mode::Write).unwrap();
    store.end(lane);
    assert_eq!(store.block.changes(&span(0, 80)), None);
    assert_eq!(store.block.whole.load(SeqCst), 0);
}

#[test]
fn guards_that_rest_or_are_held_when_the_array_is_watched_are_counted() {
    let store = Fixture::new(8);
    let resting = store.take(ME, span(0, 8), Mode::Write).unwrap();
    assert!(store.lane(resting).rest());
    let held = store.take(ME, span(10, 18), Mode::Write).unwrap();
    let read = store.take(ME, span(20, 28), Mode::Read).unwrap();
    assert!(store.lane(read).rest());
    store.watch(OTHER).unwrap();
    assert!(!store.resume(resting, ME, Mode::Write));
    assert!(!store.lane(held).rest());
    store.end(held);
    assert_eq!((store.number(0, 10), store.number(10, 20)), (0, 1));
    // Guards that read go on resting; those that write do not begin to.
    assert!(store.resume(read, ME, Mode::Read));
    assert!(store.lane(read).rest());
    let written = store.take(ME, span(0, 8), Mode::Write).unwrap();
    assert!(!store.lane(written).rest());
    store.end(written);
    assert_eq!(store.number(0, 10), 1);
}

#[test]
fn the_part_of_a_range_is_counted_and_not_the_range() {
    let store = Fixture::new(8);
    let all = span(0, 80);
    let (lane, reserves) = store.take_within(ME, span(10, 18), all, Mode::Write);
    assert!(reserves);
    store.watch(OTHER).unwrap();
    store.end(lane);
    assert_eq!((store.number(0, 10), store.number(10, 20)), (0, 1));
    let (lane, _) = store.take_within(ME, span(20, 28), all, Mode::Write);
    store.table().poison(store.lane(lane), ME);
    assert_eq!((store.number(0, 10), store.number(20, 30)), (0, 1));
    let (lane, _) = store.take_within(20, span(30, 38), span(30, 80), Mode::Write);
    store.kill(20);
    store.count_the_dead();
    assert!(Mode::Poisoned.is(store.pool.tag(lane)));
    assert_eq!((store.number(30, 40), store.number(70, 80)), (1, 0));
}

// It would rest as a guard to write, and then write without being counted.
#[test]
fn a_guard_to_read_where_one_to_write_rested_does_not_rest_in_an_array_that_is_watched() {
    let store = Fixture::new(8);
    let bytes = span(0, 8);
    let lane = store.take(ME, bytes, Mode::Write).unwrap();
    assert!(store.lane(lane).rest());
    let reserved = Reservation {
        mode: Mode::Write,
        span: bytes,
        has_parts: false,
    };
    assert!(
        store
            .lane(lane)
            .resume(ME, 0, &reserved, Mode::Read, &bytes)
    );
    store.watch(OTHER).unwrap();
    assert!(!store.lane(lane).rest());
    store.end(lane);
    assert_eq!(store.number(0, 10), 0);
}

#[test]
fn lanes_out_of_reach_are_reached_before_the_array_is_watched() {
    let store = Fixture::new(8);
    let lanes = [0; 3].map(|_| store.take(ME, span(0, 8), Mode::Read).unwrap());
    let far = store.take(ME, span(10, 18), Mode::Write).unwrap();
    store.pool.reached.store(far, SeqCst);
    store.watch(OTHER).unwrap();
    assert!(store.pool.reached.load(SeqCst) > far);
    lanes.iter().for_each(|&lane| store.end(lane));
    store.end(far);
    assert_eq!(store.number(10, 20), 1);
}

#[test]
fn a_panic_and_a_death_are_counted_once_and_leave_poison() {
    for is_cleared in [false, true] {
        let store = watched();
        let panicked = store.take(20, span(0, 8), Mode::Write).unwrap();
        store.table().poison(store.lane(panicked), 20);
        assert_eq!(store.number(0, 10), 1);
        store.take(20, span(10, 18), Mode::Write).unwrap();
        store.count_the_dead();
        assert_eq!(store.number(10, 20), 0, "it lives");
        store.kill(20);
        if is_cleared {
            lanes::clear_dead(&store.pool, |other| store.is_alive(other));
            assert_eq!(
                store.number(10, 20),
                0,
                "a clearing does not know the array"
            );
        }
        store.count_the_dead();
        store.count_the_dead();
        assert_eq!((store.number(0, 10), store.number(10, 20)), (1, 1));
        assert_eq!(store.poisoned(ME, span(0, 80)).len(), 2);
        let read = store.take(ME, span(12, 14), Mode::Read);
        assert!(matches!(read, Err(Refusal::Poisoned(_))), "{read:?}");
        let recovered = store.recover(ME, span(0, 20)).unwrap();
        store.end(recovered);
        assert_eq!((store.number(0, 10), store.number(10, 20)), (2, 2));
        assert_eq!(store.pool.used(), 0);
    }
}

#[test]
fn whichever_call_finds_a_dead_writer_counts_it() {
    type Find = fn(&Fixture);
    let finds: [Find; 5] = [
        |store| _ = store.take(ME, span(0, 8), Mode::Read),
        |store| _ = store.take(ME, span(0, 8), Mode::Write),
        |store| _ = store.poisoned(ME, span(0, 8)),
        |store| _ = store.recover(ME, span(0, 8)).unwrap(),
        |store| {
            let request = now(ME, span(0, 8), Mode::Read);
            store.table().settle_poison(&request, &store.around(ME));
        },
    ];
    for find in finds {
        for is_cleared in [false, true] {
            let store = watched();
            store.take(20, span(0, 8), Mode::Write).unwrap();
            store.kill(20);
            if is_cleared {
                lanes::clear_dead(&store.pool, |other| store.is_alive(other));
            }
            find(&store);
            assert_eq!(store.number(0, 10), 1);
        }
    }
}

#[test]
fn a_writer_that_died_before_it_was_counted_is_counted() {
    let store = watched();
    let lane = store.put(20, span(0, 8), Mode::Written);
    store.lane(lane).tag.fetch_or(COUNTED, SeqCst);
    store.count_the_dead();
    assert_eq!(store.number(0, 10), 0, "its thread does that");
    store.kill(20);
    lanes::clear_dead(&store.pool, |other| store.is_alive(other));
    assert_eq!(store.pool.used(), 1);
    // Its bytes are sound.
    let read = store.take(ME, span(0, 8), Mode::Read).unwrap();
    store.end(read);
    store.count_the_dead();
    assert_eq!((store.number(0, 10), store.pool.used()), (1, 0));
}

#[test]
fn a_guard_on_a_frozen_array_is_not_counted() {
    let store = watched();
    let freezer = store.take(ME, span(0, 80), Mode::Write).unwrap();
    let frozen = crate::format::words::frozen::FROZEN;
    store.block.frozen.store(frozen, SeqCst);
    store.end(freezer);
    assert_eq!((store.number(0, 80), store.pool.used()), (0, 0));
}

#[test]
fn only_a_wait_for_a_stripe_that_is_written_costs_a_wake_up() {
    let store = watched();
    let wait = |seen| {
        let deadline = Some(Instant::now());
        store
            .block
            .wait_changed(&span(0, 8), seen, deadline, |_| None::<()>)
    };
    assert_eq!(wait(0), None);
    assert_eq!(wait(1), Some(Ok(0)));
    let write = |start| {
        let before = store.block.change.load(SeqCst);
        let lane = store.take(ME, span(start, start + 1), Mode::Write).unwrap();
        store.end(lane);
        store.block.change.load(SeqCst) - before
    };
    assert_eq!([write(20), write(0), write(0)], [0, 1, 0]);
}

#[test]
fn no_wake_up_is_lost() {
    const ROUNDS: u64 = 20_000;
    let shared = Arc::new((watched(), AtomicU64::new(0)));
    let (done, finished) = mpsc::channel();
    for side in 0..2u64 {
        let (shared, done) = (shared.clone(), done.clone());
        std::thread::spawn(move || {
            let (store, turn) = &*shared;
            let (mine, other) = (span(40 * side, 40 * side + 4), 40 - 40 * side);
            for round in 0..ROUNDS {
                // Until the other side has written.
                loop {
                    let seen = store.number(other, other + 4);
                    if turn.load(SeqCst) == 2 * round + side {
                        break;
                    }
                    let waited = store.block.wait_changed(
                        &span(other, other + 4),
                        seen,
                        None,
                        |_| None::<()>,
                    );
                    assert!(waited.is_some());
                }
                let lane = store.take(ME + side, mine, Mode::Write).unwrap();
                turn.store(2 * round + side + 1, SeqCst);
                store.end(lane);
            }
            done.send(()).unwrap();
        });
    }
    for _ in 0..2 {
        finished
            .recv_timeout(Duration::from_secs(60))
            .expect("a thread sleeps on, though it is its turn");
    }
}

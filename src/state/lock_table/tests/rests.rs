//! Guards that rest in their lanes.

use super::*;
use crate::state::lanes::is_resting;

impl Fixture {
    /// Takes a guard at once and gives it back at rest.
    fn rest(&self, member: u64, span: Span, mode: Mode) -> u32 {
        let lane = self.take(member, span, mode).unwrap();
        assert!(self.lane(lane).rest());
        lane
    }

    fn rests(&self, lane: u32) -> bool {
        is_resting(self.pool.tag(lane))
    }
}

const MODES: [Mode; 3] = [Mode::Read, Mode::Write, Mode::Atomic];

#[test]
fn a_guard_that_rests_is_taken_again_with_its_lane_and_span() {
    let store = Fixture::new(4);
    for mode in MODES {
        let lane = store.rest(ME, span(0, 8), mode);
        assert!(store.lane(lane).resume(mode, ME));
        assert_eq!(store.pool.tag(lane), mode.tag(ME));
        assert_eq!(store.lane(lane).span(), span(0, 8));
        let other = store.take(OTHER, span(4, 12), Mode::Write);
        assert_eq!(other, Err(Refusal::WouldBlock), "{mode:?}");
        store.give_back(lane);
    }
}

#[test]
fn a_request_revokes_what_it_excludes_and_nothing_else() {
    for mine in MODES {
        for wanted in MODES {
            let store = Fixture::new(8);
            let beside = store.rest(ME, span(100, 108), mine);
            let lane = store.rest(ME, span(0, 8), mine);
            let taken = store.take(OTHER, span(4, 12), wanted).unwrap();
            let excludes = mine == Mode::Write || wanted == Mode::Write || mine != wanted;
            assert_eq!(store.rests(lane), !excludes, "{mine:?} {wanted:?}");
            assert_eq!(store.lane(lane).resume(mine, ME), !excludes);
            if excludes {
                assert_eq!(store.pool.tag(lane), Mode::Leased.tag(ME));
            }
            assert!(store.rests(beside));
            store.give_back(taken);
        }
    }
}

// The own one would be beside the new one: a guard to read and one to write.
#[test]
fn a_thread_revokes_its_own_guards_too() {
    let store = Fixture::new(4);
    let lane = store.rest(ME, span(0, 8), Mode::Read);
    store.take(ME, span(0, 8), Mode::Write).unwrap();
    assert!(!store.lane(lane).resume(Mode::Read, ME));
}

#[test]
fn no_guard_rests_that_a_waiter_waits_for_or_that_excludes_it() {
    let store = Fixture::new(8);
    let lanes: Vec<_> = [(0, Mode::Read), (1, Mode::Read), (9, Mode::Read)]
        .map(|(start, mode)| store.take(ME, span(start, start + 1), mode).unwrap())
        .into();
    let waits = store.request(soon(OTHER, span(0, 2), Mode::Write));
    assert_eq!(waits, Err(Refusal::WouldBlock));
    let rest: Vec<_> = lanes.iter().map(|&lane| store.lane(lane).rest()).collect();
    // The waiter sleeps on the first one only.
    assert_eq!(rest, [false, false, true]);
}

#[test]
fn a_request_with_a_waiter_in_its_way_is_not_taken_at_once() {
    for (waits, mode) in [
        (Mode::WriteWait, Mode::Read),
        (Mode::WriteWait, Mode::Atomic),
        (Mode::WriteWait, Mode::Write),
        (Mode::ReadWait, Mode::Write),
        (Mode::ReadWait, Mode::Atomic),
        (Mode::AtomicWait, Mode::Read),
        (Mode::AtomicWait, Mode::Write),
    ] {
        let store = Fixture::new(4);
        store.put(OTHER, span(0, 8), waits);
        let request = Request {
            lane: store.lease(ME).unwrap(),
            ..now(ME, span(4, 5), mode)
        };
        assert!(
            !store.table().acquire_at_once(&request),
            "{waits:?} {mode:?}"
        );
    }
}

#[test]
fn a_dead_writer_whose_guard_rests_leaves_no_poison() {
    let store = Fixture::new(4);
    let lane = store.rest(ME, span(0, 8), Mode::Write);
    store.kill(ME);
    assert_eq!(store.poisoned(OTHER, span(0, 100)), []);
    assert!(is_free(store.pool.tag(lane)));
    store.take(OTHER, span(0, 8), Mode::Read).unwrap();
}

#[test]
fn a_recovery_revokes_what_rests_in_its_bytes() {
    let store = Fixture::new(4);
    let lane = store.rest(ME, span(0, 8), Mode::Read);
    store.recover(OTHER, span(0, 4)).unwrap();
    assert!(!store.lane(lane).resume(Mode::Read, ME));
}

// Its thread would have written poisoned bytes.
#[test]
fn records_of_poison_that_grow_revoke_what_rests_between_them() {
    let store = Fixture::new(2 * RECORDS as u32);
    let (resting, held) = (
        store.rest(ME, span(104, 106), Mode::Write),
        store.take(ME, span(106, 107), Mode::Read).unwrap(),
    );
    let far = store.rest(ME, span(100_000, 100_001), Mode::Read);
    // Lanes give their records from the last one on, so the two that lie closest come first.
    for record in (0..=RECORDS as u64).rev() {
        let start = match record {
            0 | 1 => 100 + 10 * record,
            _ => 1000 * record,
        };
        store.put(99, span(start, start + 1), Mode::Poisoned);
    }
    while !store
        .pool
        .with_mode(|tag| Mode::Poisoned.is(tag))
        .is_empty()
    {
        assert!(
            store
                .table()
                .yield_lane(&now(OTHER, span(0, 1), Mode::Read), &store.around(OTHER))
                .unwrap()
        );
    }
    assert_eq!(store.poisoned(OTHER, span(104, 106)).len(), 1, "merged");
    assert!(!store.lane(resting).resume(Mode::Write, ME));
    assert!(!store.lane(held).rest());
    assert!(store.lane(far).resume(Mode::Read, ME));
}

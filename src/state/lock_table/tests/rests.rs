//! Guards that rest in their lanes.

use super::{turns::Waiter, *};
use crate::state::rests::{PART, Reservation, is_resting};

impl Fixture {
    /// Takes a guard at once and gives it back at rest.
    fn rest(&self, member: u64, span: Span, mode: Mode) -> u32 {
        let lane = self.take(member, span, mode).unwrap();
        assert!(self.lane(lane).rest());
        lane
    }

    /// Takes a guard again that `rest` gave back.
    pub(super) fn resume(&self, lane: u32, member: u64, mode: Mode) -> bool {
        let span = self.lane(lane).words();
        let reserved = Reservation {
            mode,
            span,
            has_parts: false,
        };
        self.lane(lane).resume(member, 0, &reserved, mode, &span)
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
        assert!(store.resume(lane, ME, mode));
        assert_eq!(store.pool.tag(lane), mode.tag(ME));
        assert_eq!(store.lane(lane).hold(mode.tag(ME)), span(0, 8));
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
            assert_eq!(store.resume(lane, ME, mine), !excludes);
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
    assert!(!store.resume(lane, ME, Mode::Read));
}

#[test]
fn no_guard_rests_that_a_waiter_waits_for_or_that_excludes_it() {
    let store = Fixture::new(8);
    let lanes: Vec<_> = [(0, Mode::Read), (1, Mode::Read), (9, Mode::Read)]
        .map(|(start, mode)| store.take(ME, span(start, start + 1), mode).unwrap())
        .into();
    let _waiter = Waiter::new(&store, OTHER, span(0, 2), Mode::Write);
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
            !store.table().acquire_at_once(&request, &mut None),
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
    assert!(!store.resume(lane, ME, Mode::Read));
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
    assert!(!store.resume(resting, ME, Mode::Write));
    assert!(!store.lane(held).rest());
    assert!(store.resume(far, ME, Mode::Read));
}

/// The reservation of `range` for this mode.
fn of(range: Span, mode: Mode) -> Reservation {
    Reservation {
        mode,
        span: range,
        has_parts: true,
    }
}

impl Fixture {
    /// Takes a guard whose lane reserves `range`, if it may. Returns the lane and whether it does.
    pub(super) fn take_within(
        &self,
        member: u64,
        part: Span,
        range: Span,
        mode: Mode,
    ) -> (u32, bool) {
        let lane = self.lease(member).unwrap();
        let request = Request {
            lane,
            thread: 5,
            ..now(member, part, mode)
        };
        let mut reserve = Some(range);
        assert!(self.table().acquire_at_once(&request, &mut reserve));
        let reserves = self.pool.tag(lane) & PART != 0;
        assert_eq!(reserves, reserve.is_some());
        assert_eq!(self.lane(lane).hold(self.pool.tag(lane)), part);
        (lane, reserves)
    }

    /// Takes another part of the range, after the first one was given back.
    fn take_part(&self, lane: u32, range: Span, part: Span, mode: Mode, wanted: Mode) -> bool {
        self.lane(lane)
            .resume(ME, 0, &of(range, mode), wanted, &part)
    }
}

#[test]
fn a_thread_takes_parts_of_its_range_in_turn() {
    let store = Fixture::new(4);
    let all = span(0, 80);
    for mode in MODES {
        let (lane, reserves) = store.take_within(ME, span(0, 8), all, mode);
        assert!(reserves && store.lane(lane).rest());
        for part in [span(8, 16), all, span(79, 80), span(0, 1)] {
            assert!(store.take_part(lane, all, part, mode, mode));
            assert_eq!(store.lane(lane).hold(store.pool.tag(lane)), part);
            assert!(store.lane(lane).rest());
        }
        // Another reservation does not rest there.
        assert!(!store.take_part(lane, span(0, 81), span(0, 8), Mode::WriteWait, mode));
        assert!(lanes::leave(store.lane(lane), ME, 0) || store.pool.tag(lane) & 0xf == 0);
    }
}

#[test]
fn a_part_excludes_its_own_bytes_only_and_does_not_rest_again() {
    for mine in MODES {
        for wanted in MODES {
            let excludes = mine == Mode::Write || wanted == Mode::Write || mine != wanted;
            for (start, is_inside) in [(8, true), (12, true), (0, false), (16, false), (72, false)]
            {
                let store = Fixture::new(8);
                let all = span(0, 80);
                let (lane, _) = store.take_within(ME, span(0, 8), all, mine);
                assert!(store.lane(lane).rest());
                assert!(store.take_part(lane, all, span(8, 16), mine, mine));
                let other = store.take(OTHER, span(start, start + 4), wanted);
                let case = format!("{mine:?} {wanted:?} {start}");
                assert_eq!(other.is_err(), excludes && is_inside, "{case}");
                assert_eq!(store.lane(lane).rest(), !excludes, "{case}");
            }
        }
    }
}

#[test]
fn a_range_with_others_in_it_is_not_reserved() {
    let all = span(0, 80);
    for mode in MODES {
        for (other, at, reserves) in [
            (Mode::Write, 40, false),
            (Mode::WriteWait, 40, false),
            (Mode::Poisoned, 40, false),
            (Mode::Write, 80, true),
        ] {
            let store = Fixture::new(8);
            store.put(OTHER, span(at, at + 8), other);
            let found = store.take_within(ME, span(0, 8), all, mode).1;
            assert_eq!(found, reserves, "{mode:?} {other:?}");
        }
        // A guard at rest there stays: its thread uses it again, as this one does.
        let store = Fixture::new(8);
        let resting = store.rest(OTHER, span(40, 48), Mode::Write);
        assert!(!store.take_within(ME, span(0, 8), all, mode).1, "{mode:?}");
        assert!(store.rests(resting));
    }
}

#[test]
fn a_thread_reserves_a_range_over_what_it_reserved_before() {
    let store = Fixture::new(8);
    let (first, _) = store.take_within(ME, span(40, 48), span(0, 80), Mode::Read);
    assert!(store.lane(first).rest());
    assert!(
        store
            .take_within(ME, span(0, 8), span(0, 80), Mode::Write)
            .1
    );
    assert_eq!(store.pool.tag(first), Mode::Leased.tag(ME));
}

#[test]
fn a_guard_to_read_where_one_to_write_rested_lets_readers_pass_and_no_writer() {
    for has_parts in [false, true] {
        let store = Fixture::new(8);
        let bytes = span(0, 8);
        let lane = match has_parts {
            true => store.take_within(ME, bytes, span(0, 80), Mode::Write).0,
            false => store.take(ME, bytes, Mode::Write).unwrap(),
        };
        let reserved = Reservation {
            mode: Mode::Write,
            span: if has_parts { span(0, 80) } else { bytes },
            has_parts,
        };
        let line = store.lane(lane);
        for mode in [Mode::Read, Mode::Write, Mode::Read] {
            assert!(line.rest());
            assert!(line.resume(ME, 0, &reserved, mode, &bytes));
            assert_eq!(Mode::Write.is(store.pool.tag(lane)), mode == Mode::Write);
        }
        let write = store.take(OTHER, bytes, Mode::Write);
        assert_eq!(write, Err(Refusal::WouldBlock));
        store.take(OTHER, bytes, Mode::Read).unwrap();
        // A guard to write would rest beside the reader's.
        assert!(!line.rest());
        store.give_back(lane);
        let write = store.take(ME, bytes, Mode::Write);
        assert_eq!(write, Err(Refusal::WouldBlock));
    }
}

#[test]
fn the_dead_leave_poison_on_the_part_that_they_wrote() {
    let (all, part) = (span(0, 80), span(8, 16));
    for (mode, poison) in [(Mode::Write, vec![part]), (Mode::Read, vec![])] {
        for panics in [false, true] {
            let store = Fixture::new(8);
            let (lane, _) = store.take_within(ME, span(0, 8), all, Mode::Write);
            assert!(store.lane(lane).rest());
            assert!(store.take_part(lane, all, part, Mode::Write, mode));
            match panics {
                true if mode == Mode::Read => withdraw(store.lane(lane)),
                true => poison_lane(&store, lane),
                false => store.kill(ME),
            }
            let found: Vec<_> = store
                .poisoned(OTHER, all)
                .iter()
                .map(|poison| poison.span)
                .collect();
            assert_eq!(found, poison, "{mode:?} {panics}");
            store.take(OTHER, span(0, 8), Mode::Write).unwrap();
            let over = store.take(OTHER, part, Mode::Write);
            assert_eq!(over.is_err(), mode == Mode::Write);
        }
    }
}

fn poison_lane(store: &Fixture, lane: u32) {
    poison(store.lane(lane), ME);
}

#[test]
fn a_waiter_lets_no_range_rest_that_reaches_its_bytes() {
    for waits in MODES {
        let store = Fixture::new(8);
        let all = span(0, 80);
        let (lane, _) = store.take_within(ME, span(0, 8), all, Mode::Write);
        let other = store.take(ME, span(40, 48), Mode::Write).unwrap();
        // The range was void with that.
        assert!(!store.lane(lane).rest());
        store.give_back(other);
        store.give_back(lane);
        let (lane, reserves) = store.take_within(ME, span(0, 8), all, Mode::Write);
        assert!(reserves);
        let far = store.put(20, span(100, 108), Mode::Write);
        let _waiter = Waiter::new(&store, OTHER, span(70, 108), waits);
        assert!(!store.lane(lane).rest(), "{waits:?}");
        store.give_back(far);
    }
}

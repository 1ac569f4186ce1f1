//! The order in which waiters and new requests get their bytes.

use super::*;
use crate::{
    format::constants::ASKED,
    sync::{QUESTION_LASTS, milliseconds},
};

/// Of the waiters on a guard one asks whether its member lives. The others count on it as long as
/// its question is young.
#[test]
fn a_question_of_one_waiter_counts_for_the_others_for_a_while() {
    let store = Fixture::new(8);
    let block = store.table().block;
    let is_due = |lane| Wait::new().is_due(block, lane, false);
    assert!(is_due(1) && !is_due(1));
    assert!(is_due(2) && !is_due(1), "a question about another holder");
    assert!(is_due(1 + ASKED as u32) && is_due(1), "one word for both");
    let word = &block.asked[1];
    for age in [QUESTION_LASTS, 1 << 31, u32::MAX] {
        let asked = milliseconds().wrapping_sub(age);
        word.store(1 << 32 | u64::from(asked), SeqCst);
        assert!(is_due(1), "{age}");
    }
}

/// A request that waits, without a thread that sleeps.
pub(super) struct Waiter<'a> {
    store: &'a Fixture,
    request: Request,
    wait: Wait,
}

impl<'a> Waiter<'a> {
    pub(super) fn new(store: &'a Fixture, member: u64, span: Span, mode: Mode) -> Self {
        let lane = store.lease(member).unwrap();
        let mut waiter = Self {
            store,
            request: Request {
                lane,
                ..forever(member, span, mode)
            },
            wait: Wait::new(),
        };
        assert!(!waiter.tries(), "it has to wait");
        waiter
    }

    /// Tries as a waiter does that was woken. Returns whether it has the guard.
    fn tries(&mut self) -> bool {
        self.wait.begin();
        let placed = self.store.table().place(&self.request, &mut self.wait);
        self.wait.note_look();
        placed.is_ok()
    }

    /// Tries until it is ripe.
    fn ripens(&mut self) {
        for _ in 0..2 {
            assert!(!self.tries());
        }
    }

    fn gives_back(self) {
        self.store.give_back(self.request.lane);
    }
}

#[test]
fn waiters_go_in_the_order_of_their_tickets() {
    // Tickets wrap around.
    for first_ticket in [0, u32::MAX - 1, u32::MAX / 2] {
        let store = Fixture::new(70);
        store.block.ticket.store(first_ticket, SeqCst);
        let guard = store.take(OTHER, span(0, 10), Mode::Write).unwrap();
        let modes = [
            Mode::Write,
            Mode::Read,
            Mode::Write,
            Mode::Atomic,
            Mode::Read,
        ];
        let mut waiters: Vec<_> = modes
            .into_iter()
            .zip(20..)
            .map(|(mode, member)| Waiter::new(&store, member, span(0, 10), mode))
            .collect();
        store.give_back(guard);
        while !waiters.is_empty() {
            for later in (1..waiters.len()).rev() {
                assert!(!waiters[later].tries(), "{later} of {}", waiters.len());
            }
            assert!(waiters[0].tries());
            waiters.remove(0).gives_back();
        }
    }
}

#[test]
fn waiters_that_do_not_exclude_each_other_go_at_once() {
    let store = Fixture::new(70);
    let guard = store.take(OTHER, span(0, 100), Mode::Write).unwrap();
    let mut waiters = [
        Waiter::new(&store, 20, span(0, 10), Mode::Write),
        Waiter::new(&store, 21, span(10, 20), Mode::Write),
        Waiter::new(&store, 22, span(20, 30), Mode::Read),
        Waiter::new(&store, 23, span(20, 30), Mode::Read),
        Waiter::new(&store, 24, span(30, 40), Mode::Atomic),
        Waiter::new(&store, 25, span(30, 40), Mode::Atomic),
    ];
    store.give_back(guard);
    for waiter in waiters.iter_mut().rev() {
        assert!(waiter.tries(), "member {}", waiter.request.member);
    }
}

fn is_awaited(store: &Fixture, lane: u32) -> bool {
    store.pool.tag(lane) & AWAITED != 0
}

/// So a guard that is given back wakes those whose turn it is, not all.
#[test]
fn a_waiter_sleeps_on_the_last_one_before_it_that_excludes_it() {
    // Tickets wrap around.
    for first_ticket in [0, u32::MAX - 2] {
        let store = Fixture::new(70);
        store.block.ticket.store(first_ticket, SeqCst);
        let guard = store.take(OTHER, span(0, 20), Mode::Write).unwrap();
        let waits = |member, span, mode| Waiter::new(&store, member, span, mode).request.lane;
        let mut lanes = vec![guard];
        let mut expected = Vec::new();
        for (mode, bytes, sleeps_on) in [
            (Mode::Read, span(0, 10), 0),
            (Mode::Read, span(0, 10), 0),
            (Mode::Write, span(0, 10), 2),
            (Mode::Read, span(5, 20), 3),
            (Mode::Write, span(10, 20), 4),
            (Mode::Write, span(0, 10), 4),
            (Mode::Atomic, span(0, 20), 6),
            (Mode::Atomic, span(0, 20), 6),
            (Mode::Read, span(15, 20), 8),
        ] {
            lanes.push(waits(20 + lanes.len() as u64, bytes, mode));
            expected.push(lanes[sleeps_on]);
            for (at, &lane) in lanes.iter().enumerate() {
                let is_expected = expected.contains(&lane);
                assert_eq!(
                    is_awaited(&store, lane),
                    is_expected,
                    "{at} of {}",
                    lanes.len()
                );
            }
        }
    }
}

#[test]
fn recoveries_sleep_on_one_another() {
    let store = Fixture::new(70);
    let guard = store.take(OTHER, span(0, 10), Mode::Write).unwrap();
    let recoveries = [20, 21].map(|member| {
        let request = Request {
            lane: store.lease(member).unwrap(),
            ..forever(member, span(0, 10), Mode::Write)
        };
        let (mut wait, around) = (Wait::new(), store.around(member));
        let table = store.table();
        let placed = table.place_recovery(&request, AT_ONCE, &around, &mut wait, &mut Vec::new());
        assert!(matches!(placed, Err(Obstacle::Ahead(_))));
        request.lane
    });
    assert!(is_awaited(&store, guard) && is_awaited(&store, recoveries[0]));
    assert!(!is_awaited(&store, recoveries[1]));
}

/// A waiter may wait for a guard of the thread itself.
#[test]
fn a_thread_that_has_a_guard_sleeps_on_no_waiter() {
    let store = Fixture::new(70);
    let own = |lane, span| Request {
        thread: 3,
        lane,
        ..forever(ME, span, Mode::Write)
    };
    store.request(own(0, span(0, 2))).unwrap();
    let guard = store.take(OTHER, span(5, 10), Mode::Write).unwrap();
    let before = Waiter::new(&store, 20, span(0, 10), Mode::Write);
    let lane = store.lease(ME).unwrap();
    let (request, mut wait) = (own(lane, span(5, 10)), Wait::new());
    let is_blocked = |placed| matches!(placed, Err(Obstacle::Ahead(_)));
    assert!(is_blocked(store.table().place(&request, &mut wait)));
    let (table, around) = (store.table(), store.around(ME));
    let placed = table.place_recovery(&request, AT_ONCE, &around, &mut wait, &mut Vec::new());
    assert!(is_blocked(placed));
    assert!(!is_awaited(&store, before.request.lane));
    store.give_back(guard);
    assert!(table.place(&request, &mut wait).is_ok());
}

#[test]
fn a_new_request_that_finds_its_way_free_goes_before_waiters_that_are_not_ripe() {
    for (waits, new) in [
        (Mode::Write, Mode::Write),
        (Mode::Read, Mode::Write),
        (Mode::Atomic, Mode::Write),
        (Mode::Read, Mode::Atomic),
        (Mode::Atomic, Mode::Read),
    ] {
        let store = Fixture::new(70);
        let guard = store.take(OTHER, span(0, 2), Mode::Write).unwrap();
        let mut waiter = Waiter::new(&store, 20, span(0, 10), waits);
        let newcomer = || store.take(ME, span(5, 8), new);
        for _ in 0..2 {
            store.give_back(newcomer().unwrap());
            assert!(!waiter.tries());
        }
        assert_eq!(
            newcomer(),
            Err(Refusal::WouldBlock),
            "{new:?} before a ripe {waits:?}"
        );
        assert!(
            store.take(ME, span(10, 20), new).is_ok(),
            "other bytes are free"
        );
        store.give_back(guard);
        assert!(waiter.tries());
        waiter.gives_back();
        store.give_back(newcomer().unwrap());
    }
}

#[test]
fn new_requests_go_before_a_ripe_waiter_of_their_own_kind() {
    for mode in [Mode::Read, Mode::Atomic] {
        let store = Fixture::new(70);
        let guard = store.take(OTHER, span(0, 2), Mode::Write).unwrap();
        let mut waiter = Waiter::new(&store, 20, span(0, 10), mode);
        waiter.ripens();
        let beside = store.take(ME, span(5, 8), mode).unwrap();
        store.give_back(guard);
        assert!(waiter.tries());
        store.give_back(beside);
    }
}

#[test]
fn new_readers_and_atomic_accesses_wait_while_any_writer_waits() {
    let store = Fixture::new(70);
    let guard = store.take(OTHER, span(0, 2), Mode::Read).unwrap();
    let mut waiter = Waiter::new(&store, 20, span(0, 10), Mode::Write);
    for mode in [Mode::Read, Mode::Atomic] {
        assert_eq!(
            store.take(ME, span(5, 8), mode),
            Err(Refusal::WouldBlock),
            "{mode:?}"
        );
        assert!(store.take(ME, span(10, 20), mode).is_ok() || mode == Mode::Atomic);
    }
    store.give_back(guard);
    assert!(waiter.tries());
}

#[test]
fn a_reader_that_waited_before_a_writer_goes_first() {
    let store = Fixture::new(70);
    let guard = store.take(OTHER, span(0, 10), Mode::Write).unwrap();
    let mut reader = Waiter::new(&store, 20, span(0, 10), Mode::Read);
    let mut writer = Waiter::new(&store, 21, span(0, 10), Mode::Write);
    store.give_back(guard);
    assert!(!writer.tries() && reader.tries() && !writer.tries());
    reader.gives_back();
    assert!(writer.tries());
}

#[test]
fn only_a_request_that_waits_announces_itself() {
    let store = Fixture::new(70);
    let guard = store.take(OTHER, span(0, 10), Mode::Read).unwrap();
    assert!(store.take(ME, span(0, 10), Mode::Write).is_err());
    assert_eq!(store.pool.tag(guard), Mode::Read.tag(OTHER));
    assert_eq!(store.block.ticket.load(SeqCst), 0);
    let _writer = Waiter::new(&store, 20, span(0, 10), Mode::Write);
    assert_eq!(store.pool.tag(guard), Mode::Read.tag(OTHER) | AWAITED);
    store.give_back(guard);
    assert_eq!(store.pool.tag(guard), 0);
}

#[test]
fn a_waiter_that_becomes_a_guard_keeps_the_bit_of_those_that_wait_for_it() {
    let store = Fixture::new(70);
    let guard = store.take(OTHER, span(0, 5), Mode::Write).unwrap();
    let mut first = Waiter::new(&store, 20, span(0, 10), Mode::Write);
    first.ripens();
    let mut second = Waiter::new(&store, 21, span(6, 10), Mode::Write);
    let lane = first.request.lane;
    assert_eq!(store.pool.tag(lane), Mode::WriteWait.tag(20) | AWAITED);
    store.give_back(guard);
    assert!(first.tries());
    assert_eq!(store.pool.tag(lane), Mode::Write.tag(20) | AWAITED);
    first.gives_back();
    assert!(second.tries());
}

/// Runs `acquire` in a thread, and returns the result when the waiter was poked until then: in
/// tests a sleep does not end after 20 ms.
fn poked(store: &Fixture, request: Request, obstacle: u32) -> (Result<(), Refusal>, Duration) {
    let began = std::time::Instant::now();
    let result = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            store
                .table()
                .acquire(request, &store.around(request.member))
        });
        while !waiter.is_finished() && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
            store.poke(obstacle);
        }
        let is_stuck = !waiter.is_finished();
        // Ends a wait that would last for ever.
        if is_stuck {
            store.lane(obstacle).replace(0);
        }
        let result = waiter.join().unwrap();
        assert!(!is_stuck, "it waits for ever");
        result
    });
    (result, began.elapsed())
}

/// A ripe waiter may wait for a guard of a thread that waits here, so it binds a request for one
/// second only.
#[test]
fn a_request_waits_a_second_for_a_ripe_waiter_and_not_longer() {
    let store = Fixture::new(70);
    store.take(OTHER, span(0, 2), Mode::Write).unwrap();
    let mut ripe = Waiter::new(&store, 20, span(0, 10), Mode::Read);
    ripe.ripens();
    let request = Request {
        lane: store.lease(ME).unwrap(),
        ..forever(ME, span(5, 8), Mode::Write)
    };
    let (result, waited) = poked(&store, request, ripe.request.lane);
    assert_eq!(result, Ok(()));
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    assert!(Mode::Write.is(store.pool.tag(request.lane)));
}

/// Patience ends neither the wait for guards nor that of readers for a writer that waits.
#[test]
fn a_reader_waits_for_a_waiting_writer_however_long_it_takes() {
    let store = Fixture::new(70);
    store.take(OTHER, span(0, 2), Mode::Read).unwrap();
    let writer = Waiter::new(&store, 20, span(0, 10), Mode::Write);
    let request = Request {
        lane: store.lease(ME).unwrap(),
        deadline: Some(Instant::now() + Duration::from_millis(1500)),
        ..now(ME, span(5, 8), Mode::Read)
    };
    let (result, _) = poked(&store, request, writer.request.lane);
    assert_eq!(result, Err(Refusal::WouldBlock));
    assert!(lanes::free(store.lane(request.lane), ME));
}

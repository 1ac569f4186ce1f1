//! Waits that would never end, and those that only look so.

use super::*;
use crate::state::lanes::turns;

const THREAD: u32 = 3;

fn of(thread: u32, request: Request) -> Request {
    Request { thread, ..request }
}

fn own(span: Span, mode: Mode) -> Request {
    of(THREAD, now(ME, span, mode))
}

#[test]
fn a_thread_that_would_wait_for_itself_is_told() {
    let store = Fixture::new(70);
    store.request(own(span(0, 10), Mode::Read)).unwrap();
    assert_eq!(
        store.request(own(span(5, 6), Mode::Write)),
        Err(Refusal::WouldDeadlock)
    );
    // A writer waits for the guard of this thread, which then wants to read again.
    let waiting = store.put(OTHER, span(9, 20), Mode::WriteWait);
    for mode in [Mode::Read, Mode::Atomic] {
        assert_eq!(
            store.request(own(span(12, 13), mode)),
            Err(Refusal::WouldDeadlock),
            "{mode:?}"
        );
    }
    assert_eq!(
        store.take(OTHER, span(12, 13), Mode::Read),
        Err(Refusal::WouldBlock),
        "a thread that holds no guard waits"
    );
    store.give_back(waiting);
    assert!(store.request(own(span(12, 13), Mode::Read)).is_ok());
}

#[test]
fn every_pair_of_modes_of_one_thread_that_exclude_each_other_is_a_deadlock() {
    let modes = [Mode::Read, Mode::Write, Mode::Atomic];
    for held in modes {
        for wanted in modes {
            let store = Fixture::new(70);
            store.request(own(span(0, 10), held)).unwrap();
            let expected = if held == wanted && held != Mode::Write {
                None
            } else {
                Some(Refusal::WouldDeadlock)
            };
            assert_eq!(
                store.request(own(span(9, 11), wanted)).err(),
                expected,
                "{held:?} and {wanted:?}"
            );
        }
        let store = Fixture::new(70);
        store.request(own(span(0, 10), held)).unwrap();
        let recovery = store.with_lane(own(span(9, 11), Mode::Write), |request| {
            store.table().recover(request, AT_ONCE, &store.around(ME))
        });
        assert_eq!(
            recovery,
            Err(Refusal::WouldDeadlock),
            "recovery of {held:?}"
        );
    }
}

#[test]
fn threads_of_one_process_exclude_each_other_and_wait() {
    let store = Fixture::new(70);
    let guard = store.request(own(span(0, 10), Mode::Write)).unwrap();
    for thread in [THREAD + 1, 0] {
        assert_eq!(
            store.request(of(thread, now(ME, span(0, 10), Mode::Read))),
            Err(Refusal::WouldBlock)
        );
    }
    // The same number in another process is another thread.
    assert_eq!(
        store.request(of(THREAD, now(OTHER, span(0, 10), Mode::Read))),
        Err(Refusal::WouldBlock)
    );
    store.give_back(guard);
    // A guard of thread 0 may be given back by any thread.
    store
        .request(of(0, now(ME, span(0, 10), Mode::Write)))
        .unwrap();
    assert_eq!(
        store.request(of(0, now(ME, span(0, 10), Mode::Write))),
        Err(Refusal::WouldBlock)
    );
}

#[test]
fn a_reader_waits_for_a_writer_that_waits_for_another_thread() {
    let store = Fixture::new(70);
    store.request(own(span(0, 10), Mode::Read)).unwrap();
    store.take(OTHER, span(30, 40), Mode::Read).unwrap();
    store.put(OTHER, span(20, 35), Mode::WriteWait);
    assert_eq!(
        store.request(own(span(20, 25), Mode::Read)),
        Err(Refusal::WouldBlock)
    );
}

/// A waiter that waits for a guard of this thread cannot go first.
#[test]
fn a_thread_goes_before_a_ripe_waiter_that_waits_for_its_guard() {
    let store = Fixture::new(70);
    store.request(own(span(0, 10), Mode::Write)).unwrap();
    let ripe = store.put(OTHER, span(5, 20), Mode::ReadWait);
    store.lane(ripe).turn.fetch_or(turns::RIPE, SeqCst);
    assert_eq!(
        store.take(9, span(12, 15), Mode::Write),
        Err(Refusal::WouldBlock)
    );
    assert!(store.request(own(span(12, 15), Mode::Write)).is_ok());
}

#[test]
fn a_thread_with_many_guards_is_told_of_a_deadlock_by_any_of_them() {
    for guards in [1, 7, 8, 9, 30] {
        for waited_for in 0..guards {
            let store = Fixture::new(70);
            for i in 0..guards {
                let guard = own(span(100 * i, 100 * i + 10), Mode::Read);
                store.request(guard).unwrap();
            }
            let at = 100 * waited_for;
            store.put(OTHER, span(at + 5, at + 50), Mode::WriteWait);
            assert_eq!(
                store.request(own(span(at + 40, at + 45), Mode::Read)),
                Err(Refusal::WouldDeadlock),
                "guard {waited_for} of {guards}"
            );
        }
    }
}

/// The ninth guard of a thread and those after it counted as the range from the first to the last
/// of them, so a wait between two of them was taken for one for this thread.
#[test]
fn a_thread_with_many_guards_waits_for_a_writer_that_waits_for_none_of_them() {
    for guards in [1, 8, 9, 10, 30] {
        for gap in 0..guards {
            let store = Fixture::new(70);
            for i in 0..guards {
                let guard = own(span(100 * i, 100 * i + 10), Mode::Read);
                store.request(guard).unwrap();
            }
            let at = 100 * gap;
            store
                .take(OTHER, span(at + 45, at + 50), Mode::Read)
                .unwrap();
            let waiting = store.put(OTHER, span(at + 15, at + 50), Mode::WriteWait);
            let request = own(span(at + 20, at + 25), Mode::Read);
            assert_eq!(
                store.request(request),
                Err(Refusal::WouldBlock),
                "gap {gap} of {guards}"
            );
            store.give_back(waiting);
            assert!(store.request(request).is_ok());
        }
    }
}

/// A waiter that does not exclude the own guard does not wait for it, and goes first if it is ripe.
#[test]
fn a_ripe_waiter_that_shares_the_bytes_of_an_own_guard_goes_first() {
    let store = Fixture::new(70);
    store.request(own(span(0, 10), Mode::Read)).unwrap();
    let ripe = store.put(OTHER, span(5, 20), Mode::ReadWait);
    store.lane(ripe).turn.fetch_or(turns::RIPE, SeqCst);
    let request = own(span(12, 15), Mode::Write);
    assert_eq!(store.request(request), Err(Refusal::WouldBlock));
    store.give_back(ripe);
    assert!(store.request(request).is_ok());
}

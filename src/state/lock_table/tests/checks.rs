//! The caller's check, which may do anything, and other answers of the caller.

use super::*;
use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// A member whose check does as the test wants.
struct Caller<'a> {
    around: Around<'a>,
    check: &'a dyn Fn() -> bool,
    has_forked: Cell<bool>,
    has_companions: bool,
    may_write: bool,
}

impl<'a> Caller<'a> {
    fn new(store: &'a Fixture, check: &'a dyn Fn() -> bool) -> Self {
        Self {
            around: store.around(ME),
            check,
            has_forked: Cell::new(false),
            has_companions: false,
            may_write: true,
        }
    }
}

impl Surroundings for Caller<'_> {
    fn is_alive(&self, member: u64) -> bool {
        self.around.is_alive(member)
    }

    fn reach_lanes(&self) -> bool {
        self.around.reach_lanes()
    }

    fn lease(&self) -> Option<u32> {
        self.around.lease()
    }

    fn is_deadlocked(&self, _: u32) -> bool {
        false
    }

    fn is_interrupted(&self) -> bool {
        (self.check)()
    }

    fn has_forked(&self) -> bool {
        self.has_forked.get()
    }

    fn has_companions(&self) -> bool {
        self.has_companions
    }

    fn may_be_written(&self) -> bool {
        self.may_write
    }
}

/// A request of this member that another member's guard keeps waiting.
fn kept_waiting(store: &Fixture) -> Request {
    store.take(OTHER, span(0, 2), Mode::Read).unwrap();
    Request {
        lane: store.lease(ME).unwrap(),
        deadline: Some(Instant::now() + Duration::from_secs(60)),
        ..now(ME, span(0, 10), Mode::Write)
    }
}

/// Calls `take` in a thread, and wakes its waiter until it ends.
fn woken<R: Send>(store: &Fixture, take: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let waiter = scope.spawn(take);
        until(|| {
            (0..store.pool.count()).for_each(|lane| store.poke(lane));
            waiter.is_finished()
        });
        waiter.join().unwrap()
    })
}

fn no_check() -> bool {
    false
}

/// The lane of the wait stayed, and new readers waited for it for ever.
#[test]
fn a_check_that_panics_leaves_no_wait() {
    for is_recovery in [false, true] {
        let store = Fixture::new(70);
        let request = kept_waiting(&store);
        let panicked = woken(&store, || {
            let check = || panic!("as the test wants");
            let caller = Caller::new(&store, &check);
            catch_unwind(AssertUnwindSafe(|| match is_recovery {
                false => store.table().acquire(request, &caller),
                true => store.table().recover(request, AT_ONCE, &caller),
            }))
            .is_err()
        });
        assert!(panicked);
        assert_eq!(store.pool.tag(request.lane), Mode::Leased.tag(ME));
        assert!(store.take(OTHER, span(0, 10), Mode::Read).is_ok());
    }
}

/// The wait and its lane are the parent's.
#[test]
fn a_child_that_a_check_forked_leaves_the_wait_to_its_parent() {
    let store = Fixture::new(70);
    let request = kept_waiting(&store);
    let result = woken(&store, || {
        let caller = Caller::new(&store, &no_check);
        caller.has_forked.set(true);
        store.table().acquire(request, &caller)
    });
    assert_eq!(result, Err(Refusal::Forked));
    assert!(Mode::WriteWait.is(store.pool.tag(request.lane)));
}

#[test]
fn a_child_that_a_check_forked_does_not_take_the_lock_word() {
    let store = Fixture::new(70);
    store.block.lock.store(OTHER, SeqCst);
    let check = || {
        store.block.lock.store(0, SeqCst);
        false
    };
    let caller = Caller::new(&store, &check);
    caller.has_forked.set(true);
    let request = Request {
        lane: store.lease(ME).unwrap(),
        ..forever(ME, span(0, 10), Mode::Read)
    };
    let result = store.table().acquire(request, &caller);
    assert_eq!(result, Err(Refusal::Forked));
    assert_eq!(store.block.lock.load(SeqCst), 0);
    assert_eq!(store.pool.tag(request.lane), Mode::Leased.tag(ME));
}

#[test]
fn a_wait_for_the_lock_word_ends_by_the_check_whatever_it_is_for() {
    let store = Fixture::new(70);
    store.put(OTHER, span(0, 10), Mode::Poisoned);
    store.block.lock.store(OTHER, SeqCst);
    let check = || true;
    let caller = Caller::new(&store, &check);
    let request = Request {
        lane: store.lease(ME).unwrap(),
        ..forever(ME, span(20, 30), Mode::Write)
    };
    let table = store.table();
    let interrupted = Refusal::Interrupted;
    assert_eq!(table.acquire(request, &caller), Err(Refusal::Interrupted));
    assert_eq!(
        table.recover(request, AT_ONCE, &caller),
        Err(Refusal::Interrupted)
    );
    assert_eq!(table.yield_lane(&request, &caller), Err(interrupted));
    assert_eq!(table.poisoned(&request, &caller), Err(Refusal::Interrupted));
}

/// Nothing reports the end of this work, so an interruption was lost.
#[test]
fn poison_is_settled_without_a_check() {
    let store = Fixture::new(70);
    let lane = store.put(OTHER, span(0, 10), Mode::Poisoned);
    store.block.lock.store(OTHER, SeqCst);
    let asked = Cell::new(0);
    let check = || {
        asked.set(asked.get() + 1);
        true
    };
    let caller = Caller::new(&store, &check);
    let request = now(ME, span(0, 10), Mode::Read);
    store.table().settle_poison(&request, &caller);
    assert!(Mode::Poisoned.is(store.pool.tag(lane)), "the word was held");
    store.block.lock.store(0, SeqCst);
    store.table().settle_poison(&request, &caller);
    assert!(is_free(store.pool.tag(lane)));
    assert_eq!(asked.get(), 0);
}

/// A request of a set goes before a writer that waits for a guard of its thread, and before no
/// other one.
#[test]
fn a_request_with_companions_goes_before_a_writer_that_waits_for_one() {
    const THREAD: u32 = 3;
    for mode in [Mode::Read, Mode::Atomic] {
        for waits_for_own in [true, false] {
            let store = Fixture::new(70);
            let own = |span| Request {
                thread: THREAD,
                ..now(ME, span, Mode::Read)
            };
            store.request(own(span(0, 10))).unwrap();
            store.take(OTHER, span(30, 40), Mode::Read).unwrap();
            let waiting = match waits_for_own {
                true => span(5, 25),
                false => span(15, 35),
            };
            store.put(OTHER, waiting, Mode::WriteWait);
            let caller = Caller {
                has_companions: true,
                ..Caller::new(&store, &no_check)
            };
            let second = Request {
                mode,
                ..own(span(20, 22))
            };
            let result = store.with_lane(second, |request| store.table().acquire(request, &caller));
            match waits_for_own {
                true => assert!(result.is_ok(), "{mode:?} {result:?}"),
                false => assert_eq!(result, Err(Refusal::WouldBlock), "{mode:?}"),
            }
        }
    }
}

#[test]
fn a_recovery_of_an_array_that_may_not_be_written_clears_no_poison() {
    let store = Fixture::new(70);
    let poison = poison_of(0, 10, OTHER);
    store.put(OTHER, poison.span, Mode::Poisoned);
    let caller = Caller {
        may_write: false,
        ..Caller::new(&store, &no_check)
    };
    let result = store.with_lane(now(ME, span(0, 20), Mode::Write), |request| {
        store.table().recover(request, AT_ONCE, &caller)
    });
    assert_eq!(result, Err(Refusal::NotWritable));
    assert_eq!(store.poisoned(ME, span(0, 20)), [poison]);
}

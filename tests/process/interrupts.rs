//! Checks that are called in the middle of a wait, and do anything: panic, take guards, fork.
//!
//! The check belongs to the whole process, so each test runs in a process of its own.
#![allow(
    unsafe_code,
    reason = "forking, and ending a forked child, are calls of libc"
)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Root, words};
use ndarray::s;
use ndshm::{Error, Manager, SharedArray1, WriteGuard};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::{
    cell::RefCell,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

type Xs = SharedArray1<u64>;

fn manager() -> Manager {
    Manager::builder()
        .root(common::arguments().remove(0))
        .create()
        .unwrap()
}

#[track_caller]
fn run(child: impl Fn()) {
    let root = Root::new();
    common::run(child, &[root.path()]);
}

#[track_caller]
fn until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "it never came");
        std::thread::yield_now();
    }
}

/// Whether the next call of the check does what the test wants.
static IS_ARMED: AtomicBool = AtomicBool::new(false);

#[test]
fn a_check_that_panics_withdraws_the_wait() {
    run(child_check_panics);
}

#[test]
#[ignore = "runs in a child"]
fn child_check_panics() {
    ndshm::set_interrupt_check(|| match IS_ARMED.swap(false, SeqCst) {
        true => panic!("as the test wants"),
        false => false,
    });
    let manager = manager();
    let xs = manager.zeros::<u64, _>(10).unwrap();
    let reader = xs.read().unwrap();
    // With a lane that the thread keeps, and one that it frees with its guard.
    for others in [0, 6] {
        let panicked = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let ys = manager.zeros::<u64, _>(10).unwrap();
                let held: Vec<_> = (0..others).map(|_| ys.read().unwrap()).collect();
                IS_ARMED.store(true, SeqCst);
                let written =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| xs.write().map(drop)));
                let is_free = common::elsewhere(|| xs.try_read().map(drop));
                assert!(is_free.is_ok(), "{others}: a writer waits still");
                drop(held);
                written.is_err()
            });
            waiter.join().unwrap()
        });
        assert!(panicked);
    }
    drop(reader);
    assert!(xs.try_write().is_ok());
    // What a set had taken was poisoned, though nothing was written.
    let [first, last] = [s![..5], s![5..]].map(|part| xs.slice(part).unwrap());
    let reader = last.read().unwrap();
    let panicked = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            IS_ARMED.store(true, SeqCst);
            ndshm::lock([first.writing(), last.writing()]).map(drop)
        });
        waiter.join().is_err()
    });
    assert!(panicked);
    drop(reader);
    assert!(xs.try_write().is_ok());
    common::done();
}

thread_local! {
    static KEPT: RefCell<Option<WriteGuard<u64, ndarray::Ix1>>> = const { RefCell::new(None) };
}

/// The array whose guard the check takes, and the file whose lock word it frees.
static WANTED: Mutex<Option<(Xs, PathBuf)>> = Mutex::new(None);

/// The check's guard got the lane of the request that waited for the lock word, and the request's
/// guard took its place: the check's bytes were free.
#[test]
fn a_check_that_takes_a_guard_amid_a_wait_keeps_it() {
    run(child_check_takes_a_guard);
}

#[test]
#[ignore = "runs in a child"]
fn child_check_takes_a_guard() {
    ndshm::set_interrupt_check(|| {
        if let Some((ys, path)) = WANTED.lock().unwrap().take() {
            let guard = ys.write().unwrap();
            KEPT.with(|kept| *kept.borrow_mut() = Some(guard));
            words::set(&path, words::LOCK_AT, 0);
        }
        false
    });
    let manager = manager();
    let (xs, ys) = (
        manager.zeros::<u64, _>(10).unwrap(),
        manager.zeros::<u64, _>(10).unwrap(),
    );
    let me = words::get(xs.path(), words::PRODUCER_AT);
    for is_recovery in [false, true] {
        // Its lane is leased.
        drop(xs.write().unwrap());
        *WANTED.lock().unwrap() = Some((ys.view().unwrap(), xs.path().into()));
        words::set(xs.path(), words::LOCK_AT, me);
        let guard = match is_recovery {
            false => xs.write().unwrap(),
            true => xs.recover().unwrap(),
        };
        for array in [&xs, &ys] {
            let tried = common::elsewhere(|| array.try_read().map(drop));
            assert!(matches!(tried, Err(Error::WouldBlock { .. })), "{tried:?}");
        }
        drop(guard);
        let tried = common::elsewhere(|| ys.try_read().map(drop));
        assert!(matches!(tried, Err(Error::WouldBlock { .. })), "{tried:?}");
        drop(KEPT.take());
        assert!(common::elsewhere(|| ys.try_write().map(drop)).is_ok());
    }
    // A guard on other bytes of the same array, while the wait stands in the lane.
    let [left, right] = [s![..5], s![5..]].map(|part| xs.slice(part).unwrap());
    let (held, is_held) = (left.view().unwrap(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // Before the thread starts, which goes on once the check took it.
        *WANTED.lock().unwrap() = Some((right.view().unwrap(), xs.path().into()));
        scope.spawn(|| {
            let guard = held.read().unwrap();
            is_held.store(true, SeqCst);
            until(|| WANTED.lock().unwrap().is_none());
            drop(guard);
        });
        until(|| is_held.load(SeqCst));
        drop(left.write().unwrap());
        let tried = common::elsewhere(|| right.try_read().map(drop));
        assert!(matches!(tried, Err(Error::WouldBlock { .. })), "{tried:?}");
        drop(KEPT.take());
    });
    assert!(xs.try_write().is_ok());
    common::done();
}

/// The child, if the check forked one: 0 in the child itself.
static FORKED: AtomicU64 = AtomicU64::new(u64::MAX);

fn forks() -> bool {
    if IS_ARMED.swap(false, SeqCst) {
        // SAFETY: as in the tests of forks: the child uses this library only, and `alarm` ends it
        // if it waits for ever.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: `alarm` may be called at any time.
            unsafe { libc::alarm(60) };
        }
        FORKED.store(pid as u64, SeqCst);
    }
    false
}

/// The child went on with its parent's wait: both got the guard, in one lane.
#[test]
fn a_child_that_a_check_forks_waits_for_itself() {
    run(child_check_forks);
}

#[test]
#[ignore = "runs in a child"]
fn child_check_forks() {
    ndshm::set_interrupt_check(forks);
    let manager = manager();
    let xs = manager.zeros::<u64, _>(10).unwrap();
    let me = words::get(xs.path(), words::PRODUCER_AT);
    for (round, waits_for_word) in [(1, false), (2, true)] {
        let view = xs.view().unwrap();
        // A guard that rests would be taken again without the lock word: another thread revokes it.
        std::thread::scope(|scope| _ = scope.spawn(|| drop(view.read().unwrap())).join());
        let (holds, goes_on) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let guard = (!waits_for_word).then(|| view.write().unwrap());
                if waits_for_word {
                    words::set(view.path(), words::LOCK_AT, me);
                }
                holds.store(true, SeqCst);
                until(|| goes_on.load(SeqCst) || FORKED.load(SeqCst) != u64::MAX);
                drop(guard);
                if waits_for_word {
                    words::set(view.path(), words::LOCK_AT, 0);
                }
            });
            until(|| holds.load(SeqCst));
            IS_ARMED.store(true, SeqCst);
            let mut guard = xs.write().unwrap();
            let before = guard[0];
            // The other process would change it meanwhile.
            std::thread::sleep(Duration::from_millis(300));
            guard[0] = before + 1;
            drop(guard);
            if FORKED.load(SeqCst) == 0 {
                // SAFETY: `_exit` may be called at any time; it ends the process.
                unsafe { libc::_exit(0) };
            }
            goes_on.store(true, SeqCst);
        });
        let pid = FORKED.swap(u64::MAX, SeqCst);
        let pid = Pid::from_raw(pid as i32).unwrap();
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0), "status of the forked child");
        assert_eq!(xs.read().unwrap()[0], 2 * round, "both wrote at once");
        assert!(xs.try_write().is_ok());
    }
    common::done();
}

/// The child kept the guards that its parent had taken so far.
#[test]
fn a_child_that_is_forked_amid_a_set_takes_all_of_it() {
    run(child_forks_amid_a_set);
}

#[test]
#[ignore = "runs in a child"]
fn child_forks_amid_a_set() {
    ndshm::set_interrupt_check(forks);
    let manager = manager();
    let xs = manager.zeros::<u64, _>(10).unwrap();
    let [first, last] = [s![..5], s![5..]].map(|part| xs.slice(part).unwrap());
    let (view, holds) = (last.view().unwrap(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let guard = view.write().unwrap();
            holds.store(true, SeqCst);
            until(|| FORKED.load(SeqCst) != u64::MAX);
            drop(guard);
        });
        until(|| holds.load(SeqCst));
        IS_ARMED.store(true, SeqCst);
        let guards = ndshm::lock([first.writing(), last.writing()]).unwrap();
        let tried = first.try_read().map(drop);
        let is_own = matches!(tried, Err(Error::WouldDeadlock { .. }));
        for mut guard in guards {
            guard[0] += 1;
        }
        if FORKED.load(SeqCst) == 0 {
            // SAFETY: `_exit` may be called at any time; it ends the process.
            unsafe { libc::_exit(i32::from(!is_own)) };
        }
        assert!(is_own, "{tried:?}");
    });
    let pid = Pid::from_raw(FORKED.load(SeqCst) as i32).unwrap();
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.exit_status(), Some(0), "status of the forked child");
    let read = xs.read().unwrap();
    assert_eq!((read[0], read[5]), (2, 2));
    common::done();
}

/// The check's answer came when the array had just been frozen: the reader got its guard, and the
/// interruption was lost.
#[test]
fn a_check_that_ends_a_wait_for_an_array_that_is_frozen_by_now_is_heard() {
    run(child_check_ends_a_wait_for_a_frozen_array);
}

#[test]
#[ignore = "runs in a child"]
fn child_check_ends_a_wait_for_a_frozen_array() {
    static IS_FROZEN: AtomicBool = AtomicBool::new(false);
    static IS_ASKED: AtomicBool = AtomicBool::new(false);
    ndshm::set_interrupt_check(|| {
        if !IS_ARMED.swap(false, SeqCst) {
            return false;
        }
        IS_ASKED.store(true, SeqCst);
        until(|| IS_FROZEN.load(SeqCst));
        true
    });
    let manager = manager();
    let xs = manager.zeros::<u64, _>(10).unwrap();
    let view = xs.view().unwrap();
    let held = xs.write().unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            IS_ARMED.store(true, SeqCst);
            view.read().map(drop)
        });
        until(|| IS_ASKED.load(SeqCst));
        drop(held);
        // A waiting reader does not keep the freezer out.
        xs.freeze().unwrap();
        IS_FROZEN.store(true, SeqCst);
        let read = reader.join().unwrap();
        assert!(matches!(read, Err(Error::Interrupted { .. })), "{read:?}");
    });
    common::done();
}

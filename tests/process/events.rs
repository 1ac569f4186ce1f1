//! Waits for a change of atomics and for a name, in one process for another one.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Peer, Root};
use ndarray::Ix1;
use ndshm::{Error, Handle, Manager, SharedArray1};
use std::{
    sync::atomic::{
        AtomicBool,
        Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_process_is_woken_by_a_change_in_another_one() {
    let root = Root::new();
    let manager = root.manager();
    let steps = manager.zeros::<u64, _>(2).unwrap();
    let mut peer = Peer::start(child_answers_each_step, &[steps.handle().to_string()]);
    let atomics = steps.atomic().unwrap();
    for step in 1..=1000 {
        atomics[0].store(step, Relaxed);
        atomics.notify(0);
        assert_eq!(atomics.wait(1, step - 1, MINUTE).unwrap(), step);
    }
    peer.hear("answered");
    peer.finish();
}

#[test]
#[ignore = "runs in a child"]
fn child_answers_each_step() {
    let steps: SharedArray1<u64> = opened(&common::arguments()[0]);
    let atomics = steps.atomic().unwrap();
    for step in 1..=1000 {
        assert_eq!(atomics.wait(0, step - 1, MINUTE).unwrap(), step);
        atomics[1].store(step, Relaxed);
        atomics.notify(1);
    }
    println!("answered");
    common::done();
}

fn opened(handle: &str) -> SharedArray1<u64> {
    handle
        .parse::<Handle>()
        .unwrap()
        .open::<u64, Ix1>()
        .unwrap()
}

#[test]
fn the_death_of_the_producer_ends_a_wait_for_a_change() {
    let root = Root::new();
    let manager = Manager::create(root.path().join("run")).unwrap();
    let mut peer = Peer::start(
        child_makes_and_stays,
        &[manager.path().display().to_string()],
    );
    let steps: SharedArray1<u64> = opened(&peer.hear("made "));
    let atomics = steps.atomic().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| steps.atomic().unwrap().wait(0, 0, MINUTE));
        // Two waits, so that the first one has looked at the producer when the second one ends.
        let late = atomics.wait(1, 0, Duration::from_millis(100));
        assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
        peer.kill();
        let told = waiter.join().unwrap();
        assert!(matches!(told, Err(Error::Abandoned { .. })), "{told:?}");
    });
    // An array of an earlier run: its producer was dead before.
    let late = atomics.wait(1, 0, Duration::from_millis(50));
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    manager.close().unwrap();
}

#[test]
#[ignore = "runs in a child"]
fn child_makes_and_stays() {
    let manager = Manager::open(&common::arguments()[0]).unwrap();
    let steps = manager.options().name("steps").zeros::<u64, _>(2).unwrap();
    println!("made {}", steps.handle());
    std::io::stdin().lines().next();
    common::done();
}

// A wait that was woken by others more often than every 20 ms never looked for the dead.
#[test]
fn the_death_of_the_producer_is_noticed_while_others_notify() {
    let root = Root::new();
    let manager = Manager::create(root.path().join("run")).unwrap();
    let mut peer = Peer::start(
        child_makes_and_stays,
        &[manager.path().display().to_string()],
    );
    let steps: SharedArray1<u64> = opened(&peer.hear("made "));
    let atomics = steps.atomic().unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Whether the wait ended before the notifications did.
        let notifier = scope.spawn(|| {
            (0..10_000).any(|_| {
                atomics.notify(0);
                std::thread::sleep(Duration::from_millis(1));
                is_over.load(SeqCst)
            })
        });
        let waiter = scope.spawn(|| steps.atomic().unwrap().wait(0, 0, MINUTE));
        // As above, the other wait has looked at the producer when this one ends.
        let late = atomics.wait(1, 0, Duration::from_millis(100));
        peer.kill();
        let told = waiter.join().unwrap();
        is_over.store(true, SeqCst);
        assert!(notifier.join().unwrap(), "noticed only afterwards");
        assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
        assert!(matches!(told, Err(Error::Abandoned { .. })), "{told:?}");
    });
}

// The end of the process that made a store said that no array would come, also where the store had
// become persistent and goes on without it.
#[test]
fn a_name_is_waited_for_after_the_owner_of_a_store_that_became_persistent() {
    let root = Root::new();
    let mut owner = Peer::start(child_owns_a_store, &[root.path().display().to_string()]);
    for persists in [true, false] {
        let manager = Manager::open(owner.hear("owns ")).unwrap();
        std::thread::scope(|scope| {
            let timeout = if persists { 1000 } else { 60_000 };
            let (timeout, waiting) = (Duration::from_millis(timeout), &manager);
            let waiter = scope.spawn(move || waiting.wait_for("missing", timeout));
            let late = manager.wait_for("other", Duration::from_millis(100));
            if persists {
                owner.tell("persist");
                owner.hear("persists");
            }
            owner.kill();
            let told = waiter.join().unwrap();
            assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
            match persists {
                true => assert!(matches!(told, Err(Error::Timeout { .. })), "{told:?}"),
                false => assert!(matches!(told, Err(Error::Abandoned { .. })), "{told:?}"),
            }
        });
        if persists {
            manager.close().unwrap();
        }
        owner = Peer::start(child_owns_a_store, &[root.path().display().to_string()]);
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_owns_a_store() {
    let root = common::arguments().remove(0);
    let manager = Manager::builder().root(root).create().unwrap();
    println!("owns {}", manager.path().display());
    while let Some(Ok(_)) = std::io::stdin().lines().next() {
        manager.persist().unwrap();
        println!("persists");
    }
    common::done();
}

#[test]
fn a_name_is_waited_for() {
    let root = Root::new();
    let manager = Manager::create(root.path().join("run")).unwrap();
    let late = manager.wait_for("steps", Duration::from_millis(30));
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| manager.wait_for("steps", MINUTE));
        let mut peer = Peer::start(
            child_makes_and_stays,
            &[manager.path().display().to_string()],
        );
        peer.hear("made ");
        let found = waiter.join().unwrap().unwrap();
        assert_eq!(
            (found.name.as_deref(), &found.shape[..]),
            (Some("steps"), &[2][..])
        );
        peer.tell("end");
        peer.finish();
    });
    assert!(matches!(
        manager.wait_for(".bad", MINUTE),
        Err(Error::Name { .. })
    ));
    // The store is closed meanwhile.
    let other = Manager::open(manager.path()).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| manager.wait_for("missing", MINUTE));
        // Before the wait or amid it: the answer is the same.
        other.close().unwrap();
        let told = waiter.join().unwrap();
        assert!(matches!(told, Err(Error::Closed { .. })), "{told:?}");
    });
}

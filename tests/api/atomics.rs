//! Views of atomics, beside each other and beside guards.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Peer, Root, elsewhere};
use ndarray::s;
use ndshm::{Error, Handle, SharedArray1};
use std::{sync::atomic::Ordering::Relaxed, time::Duration};

#[test]
fn processes_count_in_one_array_without_a_lock_between_them() {
    let root = Root::new();
    let manager = root.manager();
    let counts = manager.zeros::<u64, _>(3).unwrap();
    let mut children: Vec<_> = (0..2)
        .map(|_| Peer::start(child_counts, &[counts.handle().to_string()]))
        .collect();
    children
        .iter_mut()
        .for_each(|child| drop(child.hear("holding")));
    {
        let atomics = counts.atomic().unwrap();
        assert_eq!(
            atomics[2].load(Relaxed),
            2,
            "both children have their views of it"
        );
        assert!(matches!(
            elsewhere(|| counts.try_read().map(drop)),
            Err(Error::WouldBlock { .. })
        ));
        assert!(matches!(
            elsewhere(|| counts.try_write().map(drop)),
            Err(Error::WouldBlock { .. })
        ));
        assert!(matches!(counts.read(), Err(Error::WouldDeadlock { .. })));
        (0..10_000).for_each(|_| _ = atomics[0].fetch_add(1, Relaxed));
    }
    children.into_iter().for_each(Peer::finish);
    assert_eq!(counts.read().unwrap().to_vec(), [30_000, 0, 2]);
}

#[test]
#[ignore = "runs in a child"]
fn child_counts() {
    let counts: SharedArray1<u64> = common::arguments()[0]
        .parse::<Handle>()
        .unwrap()
        .open()
        .unwrap();
    let atomics = counts.atomic().unwrap();
    atomics[2].fetch_add(1, Relaxed);
    println!("holding");
    (0..10_000).for_each(|_| _ = atomics[0].fetch_add(1, Relaxed));
    std::io::stdin().lines().for_each(drop);
    drop(atomics);
    common::done();
}

#[test]
fn atomics_and_guards_wait_for_each_other_where_they_overlap() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<i32, _>(10).unwrap();
    let (left, right) = (xs.slice(s![..5]).unwrap(), xs.slice(s![5..]).unwrap());
    let reading = left.read().unwrap();
    assert!(matches!(left.atomic(), Err(Error::WouldDeadlock { .. })));
    right.atomic().unwrap()[0].store(7, Relaxed);
    drop(reading);
    let every_other = xs.slice(s![..;-2]).unwrap();
    every_other
        .atomic()
        .unwrap()
        .iter()
        .for_each(|x| _ = x.fetch_add(1, Relaxed));
    assert_eq!(xs.read().unwrap().to_vec(), [0, 1, 0, 1, 0, 8, 0, 1, 0, 1]);
    assert!(matches!(
        xs.read_only().unwrap().atomic(),
        Err(Error::ReadOnly { .. })
    ));
    let frozen = xs.freeze().unwrap();
    assert!(matches!(xs.atomic(), Err(Error::Frozen { .. })) && frozen.sum() == 12);
}

#[test]
fn a_killed_process_leaves_no_poison_where_it_used_atomics() {
    let root = Root::new();
    let manager = root.manager();
    let counts = manager.zeros::<u64, _>(3).unwrap();
    let mut child = Peer::start(child_counts, &[counts.handle().to_string()]);
    child.hear("holding");
    child.kill();
    assert_eq!(counts.read_timeout(Duration::from_secs(60)).unwrap()[2], 1);
    assert!(!counts.is_poisoned().unwrap());
}

/// Two threads that take turns, for every type: each waits for the other one's value.
fn takes_turns<T>(values: [T; 2])
where
    T: ndshm::AtomicElement + PartialEq + std::fmt::Debug,
    T: StoreInto,
{
    let root = Root::new();
    let manager = root.manager();
    let shared = manager.from_elem((2, 3), values[0]).unwrap();
    let minute = Duration::from_secs(60);
    std::thread::scope(|scope| {
        for side in 0..2 {
            let shared = &shared;
            scope.spawn(move || {
                let atomics = shared.atomic().unwrap();
                for _ in 0..500 {
                    let seen = atomics.wait([1, 2], values[1 - side], minute).unwrap();
                    assert_eq!(seen, values[side]);
                    T::store(&atomics[[1, 2]], values[1 - side]);
                    atomics.notify([1, 2]);
                }
            });
        }
    });
    assert_eq!(shared.read().unwrap()[[1, 2]], values[0]);
}

trait StoreInto: ndshm::AtomicElement {
    fn store(atomic: &Self::Atomic, value: Self);
}

macro_rules! store_into {
    ($($type:ty)*) => {$(
        impl StoreInto for $type {
            fn store(atomic: &Self::Atomic, value: Self) {
                atomic.store(value, Relaxed);
            }
        }
    )*};
}
store_into!(u8 i8 u16 i16 u32 i32 u64 i64);

#[test]
fn threads_wait_for_a_change_of_atomics_of_every_type() {
    takes_turns([1u8, 2]);
    takes_turns([-1i8, 2]);
    takes_turns([1u16, 300]);
    takes_turns([-1i16, 2]);
    takes_turns([1u32, 2]);
    takes_turns([-1i32, 2]);
    // Values that agree in their lower half.
    takes_turns([1u64 << 40, 1 << 41]);
    takes_turns([-1i64, 2]);
}

#[test]
fn a_wait_for_a_change_ends_in_time() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.from_elem(5, 7u64).unwrap();
    let atomics = xs.atomic().unwrap();
    assert_eq!(atomics.wait(3, 6, Duration::ZERO).unwrap(), 7, "at once");
    for time in [Duration::ZERO, Duration::from_millis(40)] {
        let late = atomics.wait(3, 7, time);
        assert!(
            matches!(late, Err(Error::Timeout { waited, .. }) if waited == time),
            "{late:?}"
        );
    }
    // A change without a notification is seen too.
    std::thread::scope(|scope| {
        scope.spawn(|| xs.atomic().unwrap()[3].store(8, Relaxed));
        assert_eq!(atomics.wait(3, 7, Duration::from_secs(60)).unwrap(), 8);
    });
    let other = xs.view().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| other.release().unwrap());
        let gone = atomics.wait(3, 8, Duration::from_secs(60));
        assert!(matches!(gone, Err(Error::Released { .. })), "{gone:?}");
    });
}

#[test]
fn atomics_are_waited_for_no_longer_than_the_caller_says() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>(4).unwrap();
    let atomics = xs.try_atomic().unwrap();
    assert_eq!(
        common::elsewhere(|| xs.try_atomic().map(|xs| xs.len()).unwrap()),
        4
    );
    drop(atomics);
    let guard = xs.read().unwrap();
    common::elsewhere(|| {
        assert!(matches!(xs.try_atomic(), Err(Error::WouldBlock { .. })));
        let wait = std::time::Duration::from_millis(1);
        assert!(matches!(
            xs.atomic_timeout(wait),
            Err(Error::Timeout { .. })
        ));
    });
    drop(guard);
}

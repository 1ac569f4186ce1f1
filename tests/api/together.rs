//! Several guards at once.

use crate::common::Root;
use ndarray::s;
use ndshm::{Error, Manager};
use std::{sync::Barrier, time::Duration};

#[test]
fn guards_come_back_in_the_order_of_the_call() {
    let root = Root::new();
    let manager = root.manager();
    let arrays: Vec<_> = (0..5)
        .map(|i| manager.from_elem(3, i as f64).unwrap())
        .collect();
    // Neither in the order of the ids nor against it.
    let order = [3, 0, 4, 1, 2];
    let guards = ndshm::lock(order.map(|i| arrays[i].reading())).unwrap();
    assert_eq!(guards.map(|guard| guard[0]), order.map(|i| i as f64));
    let wanted: Vec<_> = order.iter().map(|&i| arrays[i].writing()).collect();
    let mut guards = ndshm::lock(wanted).unwrap();
    for (guard, i) in guards.iter_mut().zip(order) {
        assert_eq!(guard[0], i as f64);
        guard[1] = 9.0;
    }
    drop(guards);
    let (first, (second, [third])) = ndshm::lock((
        arrays[4].reading(),
        (arrays[0].writing(), [arrays[1].reading()]),
    ))
    .unwrap();
    assert_eq!((first[0], second[0], third[0]), (4.0, 0.0, 1.0));
    assert!(first[1] == 9.0 && second[1] == 9.0 && third[1] == 9.0);
}

#[test]
fn views_of_one_array_are_locked_together_and_other_stores_too() {
    let (root, other) = (Root::new(), Root::new());
    let (manager, stranger) = (root.manager(), other.manager());
    let table = manager.zeros::<u32, _>((4, 4)).unwrap();
    let away = stranger.zeros::<u32, _>(4).unwrap();
    let column = |i: usize| table.slice(s![.., i]).unwrap();
    let (mut left, right, mut far) =
        ndshm::lock((column(3).writing(), column(0).reading(), away.writing())).unwrap();
    left.fill(1);
    far.assign(&right);
    assert!(column(1).try_write().is_ok(), "other columns are free");
    let tried = std::thread::scope(|scope| {
        scope
            .spawn(|| column(3).try_read().map(drop))
            .join()
            .unwrap()
    });
    assert!(matches!(tried, Err(Error::WouldBlock { .. })));
    drop((left, right, far));
    assert!(table.try_write().is_ok(), "all are given back");
}

#[test]
fn views_that_exclude_each_other_are_refused_before_any_is_locked() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u32, _>((4, 4)).unwrap();
    let (row, column) = (xs.slice(s![1, ..]).unwrap(), xs.slice(s![.., 2]).unwrap());
    for result in [
        ndshm::lock((xs.writing(), xs.reading())).map(drop),
        ndshm::lock((row.reading(), column.writing())).map(drop),
        ndshm::try_lock((row.writing(), row.writing())).map(drop),
        ndshm::lock_timeout([xs.writing(), xs.writing()], Duration::from_secs(9)).map(drop),
    ] {
        assert!(
            matches!(result, Err(Error::WouldDeadlock { .. })),
            "{result:?}"
        );
    }
    assert!(
        ndshm::lock((row.reading(), column.reading(), xs.reading())).is_ok(),
        "readers share"
    );
    assert!(xs.try_write().is_ok(), "nothing stays locked");
}

#[test]
fn all_or_none_is_taken() {
    let root = Root::new();
    let manager = root.manager();
    let xs: Vec<_> = (0..4)
        .map(|_| manager.zeros::<u32, _>(4).unwrap())
        .collect();
    let all = || xs.iter().map(|x| x.writing()).collect::<Vec<_>>();
    for held in &xs {
        let held = held.view().unwrap();
        std::thread::scope(|scope| {
            let guard = held.read().unwrap();
            scope
                .spawn(|| {
                    let refused = ndshm::try_lock(all()).map(drop);
                    assert!(
                        matches!(refused, Err(Error::WouldBlock { .. })),
                        "{refused:?}"
                    );
                    let time = Duration::from_millis(30);
                    let late = ndshm::lock_timeout(all(), time).map(drop);
                    assert!(
                        matches!(late, Err(Error::Timeout { waited, .. }) if waited == time),
                        "{late:?}"
                    );
                    for x in xs.iter().filter(|x| x.id() != held.id()) {
                        assert!(x.try_write().is_ok(), "one is still locked");
                    }
                })
                .join()
                .unwrap();
            drop(guard);
        });
    }
    assert!(ndshm::try_lock(all()).is_ok());
    // A frozen array and a read-only view are refused, and nothing stays locked.
    let frozen = manager.zeros::<u32, _>(4).unwrap();
    frozen.freeze().unwrap();
    let refused = ndshm::lock((xs[0].writing(), frozen.writing())).map(drop);
    assert!(matches!(refused, Err(Error::Frozen { .. })), "{refused:?}");
    assert!(ndshm::lock((xs[0].writing(), frozen.reading())).is_ok());
    let refused = ndshm::lock((xs[0].writing(), xs[1].read_only().unwrap().writing()));
    assert!(matches!(refused, Err(Error::ReadOnly { .. })));
    assert!(xs[0].try_write().is_ok());
    // Poison of one.
    xs[2].write().unwrap().poison();
    let refused = ndshm::lock(all()).map(drop);
    assert!(
        matches!(refused, Err(Error::Poisoned { .. })),
        "{refused:?}"
    );
    assert!(xs[0].try_write().is_ok() && xs[3].try_write().is_ok());
}

#[test]
fn none_of_nothing_is_taken() {
    let nothing: Vec<ndshm::Reading<f64, ndarray::Ix1>> = Vec::new();
    assert!(ndshm::lock(nothing).unwrap().is_empty());
}

/// Each thread names its arrays in an order of its own. Taken one by one, this hangs.
#[test]
fn threads_that_name_arrays_in_opposite_orders_do_not_deadlock() {
    const ROUNDS: u64 = 2000;
    let root = Root::new();
    let manager: Manager = root.manager();
    let (a, b) = (
        manager.zeros::<u64, _>(1).unwrap(),
        manager.zeros::<u64, _>(1).unwrap(),
    );
    let start = Barrier::new(4);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (a, b, start) = (&a, &b, &start);
            scope.spawn(move || {
                start.wait();
                for _ in 0..ROUNDS {
                    let (mut first, mut second) = match thread % 2 {
                        0 => ndshm::lock((a.writing(), b.writing())).unwrap(),
                        _ => ndshm::lock((b.writing(), a.writing())).unwrap(),
                    };
                    first[0] += 1;
                    second[0] += 1;
                }
            });
        }
    });
    assert_eq!(a.read().unwrap()[0], 4 * ROUNDS);
    assert_eq!(b.read().unwrap()[0], 4 * ROUNDS);
}

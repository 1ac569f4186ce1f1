//! Which calls change the number of an array or a view.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::Root;
use ndarray::{Axis, s};
use ndshm::{Error, SharedArray2};
use std::{sync::atomic::Ordering::Relaxed, time::Duration};

/// How far a call raises the number of an array.
#[track_caller]
fn raised(xs: &SharedArray2<u64>, call: impl FnOnce()) -> u64 {
    let before = xs.changed().unwrap();
    call();
    xs.changed().unwrap() - before
}

#[test]
fn every_guard_that_writes_is_counted_when_it_ends() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((8, 10)).unwrap();
    let ys = manager.zeros::<u64, _>((8, 10)).unwrap();
    let any = xs.view().unwrap().into_any().unwrap();
    assert_eq!(xs.changed().unwrap(), 0);
    let calls: [(&str, &dyn Fn()); 10] = [
        ("write", &|| xs.write().unwrap().fill(1)),
        ("try_write", &|| drop(xs.try_write().unwrap())),
        ("write_timeout", &|| {
            drop(xs.write_timeout(Duration::from_secs(1)).unwrap())
        }),
        ("assign", &|| xs.assign(&ys).unwrap()),
        ("a set", &|| {
            let (mut xs, ys) = ndshm::lock((xs.writing(), ys.reading())).unwrap();
            xs.assign(&ys);
        }),
        ("any", &|| any.write().unwrap().fill(1)),
        ("write_bytes", &|| any.write_bytes(&[0; 640]).unwrap()),
        ("poison", &|| xs.write().unwrap().poison()),
        ("recover", &|| xs.recover().unwrap().fill(1)),
        ("a panic", &|| {
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _guard = xs.write().unwrap();
                panic!("on purpose");
            }));
            assert!(panicked.is_err());
        }),
    ];
    for (what, call) in calls {
        assert_eq!(raised(&xs, call), 1, "{what}");
    }
    xs.recover().unwrap().fill(1);
    // Only when they end.
    let guard = xs.write().unwrap();
    assert_eq!(raised(&xs, || {}), 0);
    assert_eq!(raised(&xs, move || drop(guard)), 1);
}

#[test]
fn nothing_else_is_counted() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((8, 10)).unwrap();
    xs.changed().unwrap();
    let calls: [(&str, &dyn Fn()); 8] = [
        ("read", &|| drop(xs.read().unwrap())),
        ("to_ndarray", &|| drop(xs.to_ndarray().unwrap())),
        ("atomic", &|| xs.atomic().unwrap()[[0, 0]].store(1, Relaxed)),
        ("updating", &|| {
            drop(ndshm::lock(xs.updating()).unwrap());
        }),
        ("an empty view", &|| {
            drop(xs.slice(s![3..3, ..]).unwrap().write().unwrap())
        }),
        ("a guard that is refused", &|| {
            let _guard = xs.read().unwrap();
            assert!(matches!(xs.write(), Err(Error::WouldDeadlock { .. })));
        }),
        ("a guard that is leaked", &|| {
            std::mem::forget(xs.slice(s![7, ..]).unwrap().write().unwrap())
        }),
        ("a view", &|| drop(xs.view().unwrap())),
    ];
    for (what, call) in calls {
        assert_eq!(raised(&xs, call), 0, "{what}");
    }
}

#[test]
fn a_view_has_the_writes_to_its_part() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((8, 10)).unwrap();
    let rows: Vec<_> = (0..8).map(|at| xs.slice(s![at, ..]).unwrap()).collect();
    let column = xs.slice(s![.., 3]).unwrap();
    let numbers = || rows.iter().map(|row| row.changed().unwrap());
    assert!(numbers().eq([0; 8]));
    rows[2].write().unwrap().fill(1);
    assert!(numbers().eq([0, 0, 1, 0, 0, 0, 0, 0]));
    // A column is counted everywhere.
    column.write().unwrap().fill(1);
    assert!(numbers().eq([1, 1, 2, 1, 1, 1, 1, 1]));
    xs.slice(s![3..5, ..]).unwrap().write().unwrap().fill(2);
    assert!(numbers().eq([1, 1, 2, 2, 2, 1, 1, 1]));
    assert_eq!(column.changed().unwrap(), xs.changed().unwrap());
    let reversed = rows[2].slice(s![..;-1]).unwrap();
    reversed.write().unwrap().fill(3);
    assert_eq!(reversed.changed().unwrap(), 3);
    let any = rows[2].view().unwrap().into_any().unwrap();
    assert_eq!(any.changed().unwrap(), 3);
    let empty = xs.slice(s![3..3, ..]).unwrap();
    assert_eq!(empty.changed().unwrap(), 0);
    let late = empty.wait_changed(0, Duration::ZERO);
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    // Other arrays have their own numbers.
    let ys = manager.zeros::<u64, _>((8, 10)).unwrap();
    assert_eq!(ys.changed().unwrap(), 0);
    assert_eq!(ys.index_axis(Axis(0), 2).unwrap().changed().unwrap(), 0);
}

#[test]
fn arrays_of_any_length_have_numbers() {
    let root = Root::new();
    let manager = root.manager();
    for len in [0, 1, 2, 7, 8, 9, 63, 64, 65, 1000] {
        let xs = manager.zeros::<u8, _>(len).unwrap();
        let before = xs.changed().unwrap();
        xs.write().unwrap().fill(1);
        assert_eq!(xs.changed().unwrap() > before, len > 0, "{len}");
        for at in 0..len.min(100) {
            let element = xs.slice(s![at..=at]).unwrap();
            let before = element.changed().unwrap();
            element.write().unwrap()[0] = 2;
            assert_eq!(element.changed().unwrap(), before + 1, "{at} of {len}");
        }
    }
}

#[test]
fn the_wait_returns_at_once_where_the_number_is_another_one() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((8, 10)).unwrap();
    // Not watched before.
    assert_eq!(xs.wait_changed(7, Duration::ZERO).unwrap(), 0);
    let late = xs.wait_changed(0, Duration::ZERO);
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    xs.write().unwrap().fill(1);
    assert_eq!(xs.wait_changed(0, Duration::ZERO).unwrap(), 1);
    assert_eq!(xs.wait_changed(u64::MAX, Duration::ZERO).unwrap(), 1);
    // A guard of this thread does not end while it waits.
    let _guard = xs.write().unwrap();
    let late = xs.wait_changed(1, Duration::from_millis(1));
    let Err(Error::Timeout {
        obstacle, waited, ..
    }) = late
    else {
        panic!("{late:?}");
    };
    assert_eq!(
        (obstacle, waited),
        ("no write guard was given back", Duration::from_millis(1))
    );
}

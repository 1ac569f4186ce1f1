//! Several guards at once, beside other threads that want the same bytes.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Peer, Root, words};
use ndarray::{Ix2, s};
use ndshm::{Error, Handle, Scope, SharedArray, SharedArray1, SharedArray2};
use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// Waits until so many requests have waited for a guard on an array.
#[track_caller]
fn until_waited<D: ndarray::Dimension>(xs: &SharedArray<u64, D>, count: u32) {
    let began = Instant::now();
    while words::waits(xs.path()) < count {
        assert!(began.elapsed() < Duration::from_secs(60), "no thread waits");
        std::thread::yield_now();
    }
}

/// Does some work while other threads repeat theirs; each of them gets its number.
#[track_caller]
fn beside_threads(
    count: usize,
    repeated: impl Fn(usize) + Sync,
    work: impl FnOnce() -> Result<(), Error>,
) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..count {
            let (over, repeated) = (&over, &repeated);
            scope.spawn(move || {
                while !over.load(SeqCst) {
                    repeated(thread);
                }
            });
        }
        let result = work();
        over.store(true, SeqCst);
        result.unwrap();
    });
}

/// A writer waited for the first guard of a set, and the second one was refused as a deadlock.
#[test]
fn a_set_that_reads_bytes_twice_goes_on_beside_a_writer_of_them() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>(40).unwrap();
    let part = |from: usize, to: usize| xs.slice(s![from..to]).unwrap();
    let (first, second, third) = (part(0, 30), part(20, 40), part(10, 12));
    let write = |_| drop(xs.write().unwrap());
    beside_threads(2, write, || {
        for _ in 0..2000 {
            drop(ndshm::lock((xs.reading(), xs.reading()))?);
            drop(ndshm::lock((first.reading(), second.reading()))?);
            drop(ndshm::lock((third.writing(), second.reading()))?);
            drop(ndshm::lock((part(0, 5).reading(), part(7, 9).writing()))?);
            drop(ndshm::lock(
                [&first, &second, &third].map(|one| one.reading()),
            )?);
        }
        Ok(())
    });
}

/// The writer is older than the wait of the set for its last guard, and waits for its first one. So
/// the set goes before it, and waits for the other thread only.
#[test]
fn a_set_that_waits_before_a_writer_that_waits_for_it_is_in_no_circle() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>(60).unwrap();
    let part = |from: usize, to: usize| xs.slice(s![from..to]).unwrap();
    let (b, c) = (part(22, 24).write().unwrap(), part(42, 44).write().unwrap());
    std::thread::scope(|scope| {
        let set = scope.spawn(|| {
            let wanted = [part(0, 10), part(20, 30), part(40, 50)].map(|part| part.reading());
            ndshm::lock(wanted).map(drop)
        });
        until_waited(&xs, 1);
        let writer = scope.spawn(|| part(5, 45).write().map(drop));
        until_waited(&xs, 2);
        drop(b);
        until_waited(&xs, 3);
        // Longer than a wait is when it first searches for a circle.
        std::thread::sleep(Duration::from_millis(500));
        assert!(!set.is_finished() && !writer.is_finished());
        drop(c);
        set.join().unwrap().unwrap();
        writer.join().unwrap().unwrap();
    });
}

/// A table, and two sets of its columns that begin in different rows: by the first byte, they come
/// in opposite orders.
fn columns(xs: &SharedArray2<u64>) -> [[SharedArray1<u64>; 2]; 2] {
    let column = |from: usize, j: usize| xs.slice(s![from.., j]).unwrap();
    [[column(0, 0), column(0, 3)], [column(0, 3), column(1, 0)]]
}

/// Each set had its first column and waited for the other one.
#[test]
fn sets_of_interleaving_columns_do_not_wait_in_a_circle() {
    let root = Root::new();
    let manager = root.manager();
    for timeout in [None, Some(Duration::from_secs(20))] {
        let xs = manager.zeros::<u64, _>((8, 4)).unwrap();
        let [first, second] = columns(&xs);
        let take = |set: &[SharedArray1<u64>; 2]| {
            let wanted = [set[0].writing(), set[1].writing()];
            match timeout {
                None => ndshm::lock(wanted).map(drop),
                Some(timeout) => ndshm::lock_timeout(wanted, timeout).map(drop),
            }
        };
        let held = xs.slice(s![.., 3]).unwrap().write().unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| take(&second));
            until_waited(&xs, 1);
            let first = scope.spawn(|| take(&first));
            until_waited(&xs, 2);
            drop(held);
            let both = (first.join().unwrap(), second.join().unwrap());
            assert!(matches!(both, (Ok(()), Ok(()))), "{timeout:?}: {both:?}");
        });
        assert!(xs.try_write().is_ok(), "nothing stays locked");
    }
}

#[test]
fn threads_that_take_sets_of_interleaving_views_all_go_on() {
    const THREADS: usize = 4;
    const ROUNDS: u64 = 500;
    let root = Root::new();
    let manager = root.manager();
    let (xs, ys) = (
        manager.zeros::<u64, _>((8, 4)).unwrap(),
        manager.zeros::<u64, _>((8, 4)).unwrap(),
    );
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (start, xs, ys) = (&start, &xs, &ys);
            scope.spawn(move || {
                let (of_xs, of_ys) = (columns(xs), columns(ys));
                start.wait();
                for round in 0..ROUNDS as usize {
                    let [a, b] = &of_xs[(thread + round) % 2];
                    let [c, d] = &of_ys[(thread + round / 2) % 2];
                    let mut wanted = vec![c.writing(), a.writing(), d.writing(), b.writing()];
                    wanted.rotate_left(thread);
                    for mut guard in ndshm::lock(wanted).unwrap() {
                        let last = guard.len() - 1;
                        guard[last] += 1;
                    }
                    let rows = [
                        xs.slice(s![2.., 1..3]).unwrap(),
                        xs.slice(s![..1, ..]).unwrap(),
                    ];
                    drop(ndshm::lock(rows.each_ref().map(|part| part.reading())).unwrap());
                }
            });
        }
    });
    for table in [xs, ys] {
        let sums = table.read().unwrap().sum_axis(ndarray::Axis(0));
        let expected = THREADS as u64 * ROUNDS;
        assert_eq!(sums.as_slice().unwrap(), [expected, 0, 0, expected]);
    }
}

/// How often each of two processes takes both sets.
const ROUNDS_OF_A_PROCESS: u64 = 400;

#[test]
fn processes_that_take_sets_of_interleaving_columns_both_go_on() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((8, 4)).unwrap();
    let handle = xs.handle().to_string();
    let mut peers: Vec<_> = ["0", "1"]
        .map(|first| Peer::start(child_takes_sets_of_columns, &[handle.as_str(), first]))
        .into();
    peers.iter_mut().for_each(|peer| _ = peer.hear("ready"));
    peers.iter_mut().for_each(|peer| peer.tell("go on"));
    peers.into_iter().for_each(Peer::finish);
    let sums = xs.read().unwrap().sum_axis(ndarray::Axis(0));
    let expected = 2 * ROUNDS_OF_A_PROCESS;
    assert_eq!(sums.as_slice().unwrap(), [expected, 0, 0, expected]);
}

#[test]
#[ignore = "runs in a child"]
fn child_takes_sets_of_columns() {
    let arguments = common::arguments();
    let handle: Handle = arguments[0].parse().unwrap();
    let xs = handle.open::<u64, Ix2>().unwrap();
    let sets = columns(&xs);
    let first: usize = arguments[1].parse().unwrap();
    println!("ready");
    std::io::stdin().lines().next();
    for round in 0..ROUNDS_OF_A_PROCESS as usize {
        let [a, b] = &sets[(first + round) % 2];
        let mut guards = ndshm::lock([a.writing(), b.writing()]).unwrap();
        std::thread::yield_now();
        for guard in &mut guards {
            let last = guard.len() - 1;
            guard[last] += 1;
        }
    }
    common::done();
}

/// At each moment one of the columns is held by another thread.
#[test]
fn a_set_is_not_starved_by_streams_of_guards_on_its_parts() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((8, 4)).unwrap();
    let [set, _] = columns(&xs);
    let guards = AtomicU64::new(0);
    let write = |thread: usize| {
        let guard = set[thread % 2].write().unwrap();
        std::thread::sleep(Duration::from_millis(2));
        guards.fetch_add(1, SeqCst);
        drop(guard);
    };
    beside_threads(4, write, || {
        while guards.load(SeqCst) < 10 {
            std::thread::yield_now();
        }
        for _ in 0..5 {
            drop(ndshm::lock_timeout(
                [set[0].writing(), set[1].writing()],
                Duration::from_secs(60),
            )?);
        }
        Ok(())
    });
}

/// They have one id, and were taken for one array.
#[test]
fn a_set_of_two_copies_of_a_file_is_a_set_of_two_arrays() {
    let root = Root::new();
    let manager = root.manager();
    let options = manager.options().name("xs").scope(Scope::Store);
    let xs = options.zeros::<u64, _>((4, 4)).unwrap();
    let path = xs.path().with_file_name("ys.ndshm");
    std::fs::copy(xs.path(), &path).unwrap();
    let ys = SharedArray::<u64, Ix2>::open_path(&path).unwrap();
    for _ in 0..2 {
        let (mut first, second) = ndshm::lock((xs.writing(), ys.reading())).unwrap();
        first[[0, 0]] += 1;
        assert_eq!(second[[0, 0]], 0);
    }
    let (left, right) = (xs.slice(s![.., 0]).unwrap(), ys.slice(s![1.., 0]).unwrap());
    drop(ndshm::lock((right.writing(), left.writing())).unwrap());
    let twice = ndshm::lock((xs.writing(), xs.reading())).map(drop);
    assert!(matches!(twice, Err(Error::WouldDeadlock { .. })));
}

#[test]
fn atomic_views_belong_to_sets() {
    let root = Root::new();
    let manager = root.manager();
    let (xs, ys) = (
        manager.zeros::<u64, _>((4, 4)).unwrap(),
        manager.ones::<u64, _>(4).unwrap(),
    );
    let column = |j: usize| xs.slice(s![.., j]).unwrap();
    let (left, right) = (column(0), column(2));
    let (counts, again, mut written, read) = ndshm::lock((
        left.updating(),
        left.updating(),
        right.writing(),
        ys.reading(),
    ))
    .unwrap();
    counts[1].fetch_add(read.sum(), SeqCst);
    again[1].fetch_add(1, SeqCst);
    written.fill(7);
    let refused = common::elsewhere(|| left.try_read().map(drop));
    assert!(matches!(refused, Err(Error::WouldBlock { .. })));
    assert!(common::elsewhere(|| left.try_atomic().map(drop)).is_ok());
    drop((counts, again, written, read));
    assert_eq!(left.read().unwrap().sum(), 5);
    for refused in [
        ndshm::lock((left.updating(), left.reading())).map(drop),
        ndshm::lock((left.updating(), xs.writing())).map(drop),
    ] {
        assert!(matches!(refused, Err(Error::WouldDeadlock { .. })));
    }
    let refused = ndshm::lock([left.read_only().unwrap().updating()]).map(drop);
    assert!(matches!(refused, Err(Error::ReadOnly { .. })));
    assert!(xs.try_write().is_ok());
}

/// A set with atomic access beside a thread that writes all of the array.
#[test]
fn a_set_with_an_atomic_view_goes_on_beside_a_writer() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((8, 4)).unwrap();
    let column = |j: usize| xs.slice(s![.., j]).unwrap();
    let (left, right) = (column(0), column(2));
    let write = |_| drop(xs.write().unwrap());
    beside_threads(1, write, || {
        for _ in 0..2000 {
            drop(ndshm::lock((left.reading(), right.updating()))?);
            drop(ndshm::lock((left.updating(), right.reading()))?);
        }
        Ok(())
    });
}

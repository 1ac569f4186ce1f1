//! Guards: which of them exclude each other in one thread, in several threads and in several
//! processes.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Root, elsewhere};
use ndarray::{ArrayRef, Axis, Ix1, Ix2, s};
use ndshm::{
    Error, Handle, Manager, ReadGuard, SharedArray, SharedArray1, SharedArray2, WriteGuard,
};
use std::{
    fs,
    io::{BufRead, BufReader},
    process::Child,
    time::Duration,
};

#[test]
fn guards_on_disjoint_views_are_held_at_once_in_one_thread() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>((6, 6)).unwrap();
    let part = |view: ndshm::Result<SharedArray2<f64>>| view.unwrap();
    for (a, b) in [
        (part(xs.slice(s![..3, ..])), part(xs.slice(s![3.., ..]))),
        (part(xs.slice(s![.., ..3])), part(xs.slice(s![.., 3..]))),
        (part(xs.slice(s![.., ..;2])), part(xs.slice(s![.., 1..;2]))),
        (part(xs.slice(s![..;-2, ..])), part(xs.slice(s![..;2, ..]))),
        (part(xs.slice(s![.., 2..4])), part(xs.slice(s![.., ..2]))),
    ] {
        let (mut first, mut second) = (a.write().unwrap(), b.write().unwrap());
        first.mapv_inplace(|x| x + 1.0);
        second.mapv_inplace(|x| x + 1.0);
    }
    let counts = xs.to_ndarray().unwrap();
    assert!(
        counts.iter().all(|&count| (4.0..=5.0).contains(&count)),
        "{counts}"
    );
    let (_r, _s) = (
        xs.read().unwrap(),
        xs.slice(s![1, ..]).unwrap().read().unwrap(),
    );
}

#[test]
fn overlapping_guards_exclude_each_other_and_say_how() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>(10).unwrap();
    let (left, right) = (xs.slice(s![..6]).unwrap(), xs.slice(s![4..]).unwrap());
    let writing = left.write().unwrap();
    assert!(
        matches!(right.write(), Err(Error::WouldDeadlock { .. })),
        "this thread holds it"
    );
    assert!(matches!(right.try_read(), Err(Error::WouldDeadlock { .. })));
    assert!(matches!(
        elsewhere(|| right.try_read().map(drop)),
        Err(Error::WouldBlock { .. })
    ));
    assert!(matches!(
        elsewhere(|| right.try_write().map(drop)),
        Err(Error::WouldBlock { .. })
    ));
    let waited = Duration::from_millis(20);
    assert!(matches!(
        elsewhere(|| right.read_timeout(waited).map(drop)),
        Err(Error::Timeout { waited: said, .. }) if said == waited
    ));
    assert!(matches!(
        elsewhere(|| right.write_timeout(waited).map(drop)),
        Err(Error::Timeout { .. })
    ));
    elsewhere(|| xs.slice(s![6..]).unwrap().try_write().map(drop)).unwrap();
    drop(writing);
    let _reading = left.read().unwrap();
    elsewhere(|| right.try_read().map(drop)).unwrap();
    assert!(matches!(
        elsewhere(|| right.try_write().map(drop)),
        Err(Error::WouldBlock { .. })
    ));
    assert!(matches!(xs.write(), Err(Error::WouldDeadlock { .. })));
}

#[test]
fn the_lock_timeout_of_a_store_limits_whatever_waits_without_a_limit_of_its_own() {
    let root = Root::new();
    let manager = Manager::builder()
        .root(root.path())
        .lock_timeout(Duration::from_millis(5))
        .create()
        .unwrap();
    let xs: SharedArray1<f64> = manager.zeros(10).unwrap();
    let opened: SharedArray1<f64> = xs.handle().open().unwrap();
    let guard = xs.write().unwrap();
    let limit = Duration::from_millis(5);
    let waited = |error: Error| matches!(error, Error::Timeout { waited, .. } if waited == limit);
    assert!(elsewhere(|| waited(opened.read().unwrap_err())));
    assert!(elsewhere(|| waited(opened.write().unwrap_err())));
    assert!(elsewhere(|| waited(opened.freeze().unwrap_err())));
    assert!(elsewhere(|| waited(opened.recover().unwrap_err())));
    assert!(elsewhere(|| waited(opened.to_ndarray().unwrap_err())));
    assert!(elsewhere(|| matches!(
        opened.try_read(),
        Err(Error::WouldBlock { .. })
    )));
    let limit = Duration::from_millis(1);
    assert!(elsewhere(|| matches!(
        opened.read_timeout(limit),
        Err(Error::Timeout { waited, .. }) if waited == limit
    )));
    drop(guard);
    assert_eq!(elsewhere(|| opened.read().unwrap().sum()), 0.0);
}

#[test]
fn two_arrays_that_were_opened_twice_in_one_process_still_exclude_each_other() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>(10).unwrap();
    let again: SharedArray1<f64> = xs.handle().open().unwrap();
    let read_only: SharedArray1<f64> = xs.read_only().unwrap().handle().open().unwrap();
    let _writing = xs.write().unwrap();
    assert!(matches!(
        elsewhere(|| again.try_write().map(drop)),
        Err(Error::WouldBlock { .. })
    ));
    assert!(matches!(
        elsewhere(|| read_only.try_read().map(drop)),
        Err(Error::WouldBlock { .. })
    ));
}

#[test]
fn a_guard_owns_what_it_needs() {
    let root = Root::new();
    let manager = root.manager();
    let guard = manager
        .from_shape_fn::<f64, _>((4, 5), |(i, j)| (10 * i + j) as f64)
        .unwrap()
        .slice(s![1.., 2])
        .unwrap()
        .read()
        .unwrap();
    assert_eq!(
        manager.list().unwrap().len(),
        1,
        "a guard keeps a local array"
    );
    drop(manager);
    assert_eq!(
        (guard.to_vec(), guard.sum()),
        (vec![12.0, 22.0, 32.0], 66.0)
    );
    assert_eq!(root.contents(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_guard_is_an_ndarray_array_for_functions_and_operators() {
    fn total(array: &ArrayRef<f64, Ix1>) -> f64 {
        array.sum()
    }
    fn assert_sync<T: Sync>(_: &T) {}
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.from_shape_fn::<f64, _>(4, |i| i as f64).unwrap();
    {
        let mut guard: WriteGuard<f64, Ix1> = xs.write().unwrap();
        assert_sync(&guard);
        let mut view = guard.view_mut();
        view *= 2.0;
        guard.slice_mut(s![..2]).fill(7.0);
        guard.view_mut().into_iter().for_each(|x| *x += 1.0);
    }
    let guard: ReadGuard<f64, Ix1> = xs.read().unwrap();
    assert_sync(&guard);
    assert_eq!(total(&guard), 8.0 + 8.0 + 5.0 + 7.0);
    let plain: ndarray::Array1<f64> = &*guard + &*guard;
    assert_eq!(plain, ndarray::array![16.0, 16.0, 10.0, 14.0]);
    assert_eq!(guard.axis_iter(Axis(0)).len(), 4);
    let sums: Vec<f64> = std::thread::scope(|scope| {
        let shared: &ArrayRef<f64, Ix1> = &guard;
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(move || total(shared))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(sums, [28.0; 3]);
}

#[test]
fn a_panic_gives_the_lock_back() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>(10).unwrap();
    let panicked = std::panic::catch_unwind(|| {
        let _reading = xs.read().unwrap();
        panic!("while the array is read");
    });
    assert!(panicked.is_err() && elsewhere(|| xs.try_write().map(drop)).is_ok());
}

/// Runs a piece of code when it is dropped.
struct AtDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn caught(panics: impl FnOnce()) {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics));
    assert!(outcome.is_err());
}

#[test]
fn a_guard_that_was_taken_before_a_panic_poisons_whichever_panic_drops_it() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>(40).unwrap();
    let any = manager.zeros::<f64, _>(40).unwrap().into_any().unwrap();
    let part = |i: usize| xs.slice(s![i..i + 1]).unwrap();
    // By the panic itself, by a panic inside of it, and by the end of a Drop that it runs.
    caught(|| {
        let _guard = part(0).write().unwrap();
        panic!("the first");
    });
    let mut guards = vec![part(1).write().unwrap()];
    let mut recovered = vec![part(0).recover().unwrap()];
    let mut bytes = vec![any.write().unwrap()];
    caught(|| {
        let _last = AtDrop(|| {
            caught(|| {
                let _guards = (guards.pop(), recovered.pop(), bytes.pop());
                panic!("the second");
            });
        });
        panic!("the first");
    });
    let mut guards = vec![part(2).write().unwrap()];
    caught(|| {
        let _last = AtDrop(|| drop(guards.pop()));
        panic!("the first");
    });
    for i in 0..3 {
        assert!(part(i).is_poisoned().unwrap(), "{i}");
    }
    assert!(matches!(any.read(), Err(Error::Poisoned { .. })));
}

/// The standard library does not tell a second panic from the end of a `Drop` that a first one
/// runs: the documentation of `WriteGuard` says so, and names `poison`.
#[test]
fn a_guard_that_was_taken_amid_a_panic_poisons_by_its_own_call_only() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>(10).unwrap();
    let part = |i: usize| xs.slice(s![i..i + 1]).unwrap();
    caught(|| {
        let _last = AtDrop(|| {
            // Written whole, amid the panic.
            part(0).write().unwrap().fill(1.0);
            caught(|| {
                let _guard = part(1).write().unwrap();
                panic!("the second");
            });
            let mut guard = part(2).write().unwrap();
            let write = || {
                guard[0] = 2.0;
                panic!("the second")
            };
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(write)).is_err() {
                guard.poison();
            }
        });
        panic!("the first");
    });
    let poisoned: Vec<_> = (0..3).map(|i| part(i).is_poisoned().unwrap()).collect();
    assert_eq!(poisoned, [false, false, true]);
    assert_eq!(part(0).read().unwrap()[0], 1.0);
}

/// An array had 64 slots, and the next guard failed or waited for ever.
#[test]
fn a_thread_holds_thousands_of_guards_on_one_small_array() {
    let root = Root::new();
    let manager = root.manager();
    let (xs, ys) = (
        manager.zeros::<u8, _>(4096).unwrap(),
        manager.zeros::<u8, _>(1).unwrap(),
    );
    let lock = manager.path().join(".lock");
    let len = || fs::metadata(&lock).unwrap().len();
    let view = |i: usize| xs.slice(s![i..i + 1]).unwrap();
    let mut guards: Vec<_> = (0..60).map(|i| view(i).write().unwrap()).collect();
    assert_eq!(len(), 4096);
    guards.extend((60..4096).map(|i| view(i).write().unwrap()));
    assert_eq!(len(), 4096 + 4 * 65_536);
    for i in [0, 63, 64, 1023, 4095] {
        let taken = elsewhere(|| view(i).try_read().map(drop));
        assert!(matches!(taken, Err(Error::WouldBlock { .. })), "{i}");
    }
    drop(ys.write().unwrap());
    guards.swap_remove(1000);
    elsewhere(|| view(1000).try_write().map(drop)).unwrap();
    drop(guards);
    elsewhere(|| xs.try_write().map(drop)).unwrap();
    // The lanes are used again.
    let guards: Vec<_> = (0..4096).map(|i| view(i).read().unwrap()).collect();
    assert_eq!((guards.len(), len()), (4096, 4096 + 4 * 65_536));
}

#[test]
fn the_limit_of_guards_in_a_store_is_named() {
    let root = Root::new();
    let manager = root.manager();
    // On many arrays: a guard looks at all others on its own.
    let arrays: Vec<_> = (0..64)
        .map(|_| manager.zeros::<u8, _>(1).unwrap())
        .collect();
    let mut guards = Vec::new();
    let refused = loop {
        match arrays[guards.len() % 64].read() {
            Ok(guard) => guards.push(guard),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(refused, Error::TooManyGuards { limit: 16_446, .. }),
        "{refused:?}"
    );
    assert_eq!(guards.len(), 16_446);
    guards.pop();
    assert!(arrays[0].read().is_ok());
}

#[test]
fn a_row_at_a_time_is_filled_by_many_threads_and_no_increment_is_lost() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((4, 8)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let xs = &xs;
            scope.spawn(move || {
                for round in 0..500 {
                    xs.index_axis(Axis(0), (thread + round) % 4)
                        .unwrap()
                        .write()
                        .unwrap()
                        .mapv_inplace(|x| x + 1);
                    xs.slice(s![.., thread]).unwrap().write().unwrap()[0] += 1;
                }
            });
        }
    });
    assert_eq!(xs.read().unwrap().sum(), 8 * 500 * (8 + 1));
}

/// Starts a child that takes a write guard on a view, and waits until it has it.
fn holder(view: &SharedArray<f64, Ix1>) -> (Child, impl Iterator<Item = String>) {
    let mut child = common::start(child_holds_a_write_guard, &[view.handle().to_string()]);
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.any(|line| line == "holding"));
    (child, lines)
}

#[test]
fn guards_on_disjoint_views_are_held_at_once_in_two_processes() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>(10).unwrap();
    let (left, right) = (xs.slice(s![..;2]).unwrap(), xs.slice(s![1..;2]).unwrap());
    let (mut child, mut lines) = holder(&left);
    {
        let mut mine = right.try_write().unwrap();
        assert!(
            matches!(left.try_write(), Err(Error::WouldBlock { .. })),
            "the child holds it"
        );
        assert!(matches!(
            left.read_timeout(Duration::from_millis(10)),
            Err(Error::Timeout { .. })
        ));
        assert!(matches!(
            xs.slice(s![2..4]).unwrap().try_read(),
            Err(Error::WouldDeadlock { .. } | Error::WouldBlock { .. })
        ));
        mine.fill(2.0);
    }
    // Waits until the child, which is told to go on, drops its guard.
    drop(child.stdin.take());
    assert_eq!(xs.read().unwrap().to_vec(), [1.0, 2.0].repeat(5));
    assert!(lines.any(|line| line == common::MARKER));
    assert!(child.wait().unwrap().success());
}

#[test]
#[ignore = "runs in a child"]
fn child_holds_a_write_guard() {
    let view: SharedArray1<f64> = common::arguments()[0]
        .parse::<Handle>()
        .unwrap()
        .open()
        .unwrap();
    let mut guard = view.write().unwrap();
    println!("holding");
    std::io::stdin().lines().for_each(drop);
    guard.fill(1.0);
    drop(guard);
    common::done();
}

#[test]
fn two_processes_that_count_in_one_array_lose_nothing() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((2, 3)).unwrap();
    let workers: Vec<_> = (0..2)
        .map(|_| common::start(child_counts, &[xs.handle().to_string()]))
        .collect();
    workers
        .into_iter()
        .for_each(|worker| drop(common::finish(worker)));
    assert!(
        xs.read().unwrap().iter().all(|&count| count == 2 * 2000),
        "{:?}",
        xs.read().unwrap()
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_counts() {
    let xs: SharedArray<u64, Ix2> = common::arguments()[0]
        .parse::<Handle>()
        .unwrap()
        .open()
        .unwrap();
    (0..2000).for_each(|_| xs.write().unwrap().mapv_inplace(|x| x + 1));
    common::done();
}

/// A tool that looks at an array waited for the worker that held it, and failed.
#[test]
fn a_copy_without_a_lock_waits_for_no_guard_and_has_every_element_of_every_view() {
    use ndarray::{Axis, ShapeBuilder};
    let root = Root::new();
    let manager = root.manager();
    for order_f in [false, true] {
        let shape = (7, 300, 5).set_f(order_f);
        let xs = manager
            .from_shape_fn::<u32, _>(shape, |(i, j, k)| (i * 10_000 + j * 10 + k) as u32)
            .unwrap();
        let expected = xs.to_ndarray().unwrap();
        let guard = xs.write().unwrap();
        assert_eq!(xs.to_ndarray_unlocked().unwrap(), expected);
        let view = xs.slice(s![..;-2, 3..200;7, 1..]).unwrap();
        assert_eq!(
            view.to_ndarray_unlocked().unwrap(),
            expected.slice(s![..;-2, 3..200;7, 1..])
        );
        assert_eq!(xs.t().unwrap().to_ndarray_unlocked().unwrap(), expected.t());
        let row = xs.index_axis(Axis(0), 3).unwrap();
        assert_eq!(
            row.to_ndarray_unlocked().unwrap(),
            expected.index_axis(Axis(0), 3)
        );
        let none = xs.slice(s![3..3, .., ..]).unwrap();
        assert!(none.to_ndarray_unlocked().unwrap().is_empty());
        let bytes = xs.into_any().unwrap().read_bytes_unlocked().unwrap();
        let elements: Vec<u8> = expected.iter().flat_map(|x| x.to_ne_bytes()).collect();
        assert_eq!(bytes, elements);
        drop(guard);
    }
    // Elements so far apart that the bytes between them are not read.
    let wide = manager
        .from_shape_fn::<u8, _>((40, 100_000), |(i, _)| i as u8)
        .unwrap();
    let column = wide.slice(s![..;-3, 5]).unwrap();
    assert_eq!(
        column.to_ndarray_unlocked().unwrap(),
        column.to_ndarray().unwrap()
    );
    let gone = manager.zeros::<u8, _>(3).unwrap();
    gone.release().unwrap();
    assert!(matches!(
        gone.to_ndarray_unlocked(),
        Err(Error::Released { .. })
    ));
}

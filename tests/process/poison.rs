//! Writers that die or panic with their guards held: the errors of other processes, and the
//! recovery of the bytes.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges are what is compared"
)]

use crate::common::{self, Peer, Root, elsewhere, words};
use ndarray::{Axis, Ix2, ShapeBuilder, s};
use ndshm::{Error, Handle, Manager, Observer, SharedArray, SharedArray1, SharedArray2};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// A child that holds a guard of this kind on this view, until it is killed or told to end.
fn holder(view: &SharedArray2<f64>, kind: &str) -> Peer {
    let mut peer = Peer::start(
        child_holds_a_guard,
        &[kind.to_owned(), view.handle().to_string()],
    );
    peer.hear("holding");
    peer
}

#[test]
#[ignore = "runs in a child"]
fn child_holds_a_guard() {
    let arguments = common::arguments();
    let view: SharedArray<f64, Ix2> = arguments[1].parse::<Handle>().unwrap().open().unwrap();
    let wait = || std::io::stdin().lines().for_each(drop);
    match arguments[0].as_str() {
        "read" => {
            let _guard = view.read().unwrap();
            println!("holding");
            wait();
        }
        "write" => {
            let mut guard = view.write().unwrap();
            guard.fill(1.0);
            println!("holding");
            wait();
        }
        "recover" => {
            let _guard = view.recover().unwrap();
            println!("holding");
            wait();
        }
        "tell" => {
            println!("holding");
            println!("told: {}", view.read().unwrap_err());
        }
        // Waits for a guard that the parent holds: the lines after it are never reached.
        _ => {
            println!("holding");
            drop(view.write());
        }
    }
    common::done();
}

/// Of many waiters few ask whether the holder lives. They may die with it.
#[test]
fn one_of_many_waiters_is_told_of_a_death_though_the_others_died_too() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>((4, 8)).unwrap();
    let mut writer = holder(&xs, "write");
    let mut waiters: Vec<_> = (0..8).map(|_| holder(&xs, "tell")).collect();
    let observer = Observer::open(manager.path()).unwrap();
    let are_waiting = || {
        let locks = observer.locks().unwrap();
        locks.iter().filter(|lock| lock.holder.is_waiting).count() == 8
    };
    while !are_waiting() {
        std::thread::yield_now();
    }
    let mut last = waiters.swap_remove(3);
    waiters.iter_mut().for_each(|one| _ = one.kill());
    writer.kill();
    last.hear("told: ");
    last.finish();
}

#[test]
fn what_a_killed_writer_held_is_poisoned_and_the_rest_stays_usable() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>((4, 8)).unwrap();
    let row = xs.slice(s![1..2, ..]).unwrap();
    let mut child = holder(&row, "write");
    assert!(matches!(row.try_read(), Err(Error::WouldBlock { .. })));
    child.kill();
    let began = Instant::now();
    let error = row.read().unwrap_err();
    println!("told of the death after {:?}", began.elapsed());
    assert!(
        matches!(
            &error,
            Error::Poisoned { range, member, .. } if *range == (64..128) && *member > 1
        ),
        "{error}"
    );
    assert!(
        error.to_string().contains("bytes 64..128") && error.to_string().contains("recover"),
        "{error}"
    );
    assert!(matches!(row.try_write(), Err(Error::Poisoned { .. })));
    assert!(matches!(xs.read(), Err(Error::Poisoned { .. })));
    assert!(
        matches!(
            xs.slice(s![.., 3]).unwrap().write(),
            Err(Error::Poisoned { .. })
        ),
        "a column crosses the row"
    );
    assert_eq!(xs.poisoned().unwrap(), [64..128]);
    assert!(row.is_poisoned().unwrap() && !xs.slice(s![2.., ..]).unwrap().is_poisoned().unwrap());
    xs.slice(s![2.., ..]).unwrap().write().unwrap().fill(2.0);
    assert!(matches!(xs.to_ndarray(), Err(Error::Poisoned { .. })));
    assert!(matches!(xs.copy(), Err(Error::Poisoned { .. })));
    {
        let mut guard = row.recover().unwrap();
        assert_eq!(guard[[0, 0]], 1.0, "what the writer left can be seen");
        guard.fill(3.0);
        assert!(
            matches!(
                elsewhere(|| row.try_read().map(drop)),
                Err(Error::WouldBlock { .. })
            ),
            "a recovery is exclusive"
        );
    }
    assert_eq!(
        (xs.poisoned().unwrap().len(), xs.read().unwrap().sum()),
        (0, 8.0 * 3.0 + 16.0 * 2.0)
    );
}

#[test]
fn a_part_of_the_poison_is_recovered_and_the_rest_stays() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>((4, 8)).unwrap();
    holder(&xs, "write").kill();
    let rows: Vec<SharedArray2<f64>> = xs.axis_chunks(Axis(0), 1).unwrap().collect();
    rows[2].recover().unwrap().fill(0.0);
    assert_eq!(xs.poisoned().unwrap(), [0..128, 192..256]);
    rows[2].write().unwrap().fill(5.0);
    assert!(matches!(rows[1].read(), Err(Error::Poisoned { .. })));
    let error = xs
        .slice(s![.., ..4])
        .unwrap()
        .recover()
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(error, Error::Layout { .. }) && error.to_string().contains("interleave"),
        "{error}"
    );
    assert_eq!(
        xs.poisoned().unwrap(),
        [0..128, 192..256],
        "a recovery that is refused changes nothing"
    );
    drop((rows[0].recover().unwrap(), rows[1].recover().unwrap()));
    rows[3].recover().unwrap().fill(1.0);
    assert_eq!(
        (
            xs.poisoned().unwrap().len(),
            xs.slice(s![2.., ..]).unwrap().read().unwrap().sum()
        ),
        (0, 8.0 * 6.0)
    );
    assert!(matches!(
        xs.read_only().unwrap().recover(),
        Err(Error::ReadOnly { .. })
    ));
    xs.recover().unwrap().fill(0.0);
    assert_eq!(
        xs.read().unwrap().sum(),
        0.0,
        "recovering what is not poisoned is writing"
    );
}

#[test]
fn columns_and_fields_are_poisoned_and_recovered_for_themselves() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>((5, 8)).unwrap();
    let (left, right) = (
        xs.slice(s![.., ..4]).unwrap(),
        xs.slice(s![.., 4..]).unwrap(),
    );
    holder(&left, "write").kill();
    assert!(matches!(left.read(), Err(Error::Poisoned { .. })));
    right.write().unwrap().fill(1.0);
    left.recover().unwrap().fill(0.0);
    assert_eq!(xs.read().unwrap().sum(), 20.0);
    holder(&xs.slice(s![2..3, 1..2]).unwrap(), "write").kill();
    assert!(matches!(xs.read(), Err(Error::Poisoned { .. })));
    xs.slice(s![.., 1]).unwrap().recover().unwrap().fill(0.0);
    assert_eq!(
        xs.read().unwrap().sum(),
        20.0,
        "one element, through its column"
    );
}

/// The lock on every other element of every other row covers whole stretches of those rows. A
/// recovery of such a view used to take the poison of all bytes that its lock covers. The bytes
/// between its elements stayed half-written and could be read.
#[test]
fn a_recovery_takes_no_poison_from_between_its_elements() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>((8, 8)).unwrap();
    holder(&xs.slice(s![2..3, 1..4]).unwrap(), "write").kill();
    let sparse = xs.slice(s![..;2, ..;2]).unwrap();
    let error = sparse.recover().map(drop).unwrap_err();
    assert!(
        matches!(error, Error::Layout { .. }) && error.to_string().contains("interleave"),
        "{error}"
    );
    assert_eq!(xs.poisoned().unwrap(), [136..160]);
    assert!(matches!(
        xs.slice(s![2, 1]).unwrap().read(),
        Err(Error::Poisoned { .. })
    ));
    // Neither do three of four even rows take the poison of the fourth, in an array whose columns
    // are contiguous.
    let ys = manager.zeros::<f64, _>((8, 4).f()).unwrap();
    holder(&ys.slice(s![6..7, 1..2]).unwrap(), "write").kill();
    let even = ys.slice(s![..5;2, ..]).unwrap();
    assert!(matches!(even.recover(), Err(Error::Layout { .. })) && ys.is_poisoned().unwrap());
    xs.recover().unwrap().fill(1.0);
    ys.recover().unwrap().fill(1.0);
    sparse.recover().unwrap().fill(2.0);
    assert_eq!(
        (xs.read().unwrap().sum(), ys.read().unwrap().sum()),
        (64.0 + 16.0, 32.0)
    );
}

#[test]
fn a_killed_reader_and_a_killed_waiter_leave_nothing() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>((4, 8)).unwrap();
    let mut reader = holder(&xs, "read");
    assert!(matches!(xs.try_write(), Err(Error::WouldBlock { .. })));
    reader.kill();
    xs.write().unwrap().fill(1.0);
    let reading = xs.read().unwrap();
    let mut waiter = holder(&xs, "wait");
    // Its intent keeps new readers out: seen from another thread, because this one would be told
    // that it waits for itself.
    while elsewhere(|| xs.try_read().map(drop)).is_ok() {
        std::thread::yield_now();
    }
    assert!(matches!(xs.try_read(), Err(Error::WouldDeadlock { .. })));
    waiter.kill();
    elsewhere(|| xs.read_timeout(Duration::from_secs(60)).map(drop)).unwrap();
    drop(reading);
    assert_eq!(
        (xs.write().unwrap().sum(), xs.is_poisoned().unwrap()),
        (32.0, false)
    );
}

/// A recovery used to wait without saying so: as long as one reader of healthy bytes in its view
/// took the place of another, it never came.
#[test]
fn a_recovery_that_waits_keeps_new_readers_out() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>((4, 8)).unwrap();
    let healthy = xs.slice(s![..2, ..]).unwrap();
    holder(&xs.slice(s![3.., ..]).unwrap(), "write").kill();
    let reading = healthy.read().unwrap();
    std::thread::scope(|scope| {
        let recovery = scope.spawn(|| xs.recover().unwrap().fill(1.0));
        let began = Instant::now();
        let keeps_out = loop {
            match elsewhere(|| healthy.try_read().map(drop)) {
                Err(Error::WouldBlock { .. }) => break true,
                _ if began.elapsed() > Duration::from_secs(10) => break false,
                _ => std::thread::yield_now(),
            }
        };
        drop(reading);
        recovery.join().unwrap();
        assert!(keeps_out);
    });
    assert_eq!(xs.read().unwrap().sum(), 32.0);
}

#[test]
fn a_killed_recovery_leaves_the_poison() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>((4, 8)).unwrap();
    let row = xs.slice(s![1..2, ..]).unwrap();
    holder(&xs, "write").kill();
    holder(&row, "recover").kill();
    assert!(matches!(row.read(), Err(Error::Poisoned { .. })));
    xs.recover().unwrap().fill(0.0);
    assert!(!xs.is_poisoned().unwrap());
}

#[test]
fn a_panic_poisons_what_was_being_written_and_nothing_else() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>((4, 8)).unwrap();
    let panics = |work: &dyn Fn()| {
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err())
    };
    panics(&|| {
        let _read = xs.slice(s![3.., ..]).unwrap().read().unwrap();
        let mut guard = xs.slice(s![..2, ..]).unwrap().write().unwrap();
        guard[[0, 0]] = 1.0;
        panic!("half-way");
    });
    assert_eq!(xs.poisoned().unwrap(), [0..128]);
    xs.slice(s![3.., ..]).unwrap().write().unwrap().fill(1.0);
    panics(&|| {
        let _recovery = xs.slice(s![..1, ..]).unwrap().recover().unwrap();
        panic!("again");
    });
    assert_eq!(
        xs.poisoned().unwrap(),
        [0..64, 64..128],
        "the part that was being recovered, and the rest of the record"
    );
    xs.recover().unwrap().fill(0.0);
    // A guard that is taken and dropped while a thread unwinds was not interrupted.
    struct Tidy<'a>(&'a SharedArray2<f64>);
    impl Drop for Tidy<'_> {
        fn drop(&mut self) {
            self.0.write().unwrap().fill(7.0);
        }
    }
    panics(&|| {
        let _tidy = Tidy(&xs);
        panic!("elsewhere");
    });
    assert_eq!(xs.read().unwrap().sum(), 7.0 * 32.0);
}

#[test]
fn poison_outlives_all_processes_of_a_persistent_store() {
    let root = Root::new();
    let path = root.path().join("run-7");
    common::start(child_is_killed_in_the_middle_of_its_store, &[&path])
        .wait_with_output()
        .unwrap();
    let manager = Manager::open(&path).unwrap();
    let xs = manager.array::<f64, Ix2>("xs").unwrap();
    assert!(matches!(
        xs.slice(s![1, ..]).unwrap().read(),
        Err(Error::Poisoned { range, .. }) if range == (64..128)
    ));
    assert_eq!(xs.slice(s![0, ..]).unwrap().read().unwrap().sum(), 8.0);
    let handle = xs.handle();
    drop((xs, manager));
    let xs: SharedArray2<f64> = handle.open().unwrap();
    assert_eq!(xs.poisoned().unwrap(), [64..128]);
    xs.recover().unwrap();
    Manager::open(&path).unwrap().close().unwrap();
}

#[test]
#[ignore = "runs in a child"]
fn child_is_killed_in_the_middle_of_its_store() {
    let manager = Manager::create(Path::new(&common::arguments()[0])).unwrap();
    let xs = manager.options().name("xs").ones::<f64, _>((4, 8)).unwrap();
    let _guard = xs.slice(s![1, ..]).unwrap().write().unwrap();
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
        .unwrap();
}

#[test]
fn deaths_without_recovery_do_not_jam_the_array() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>(1000).unwrap();
    let mut children: Vec<_> = (0..4)
        .map(|_| Peer::start(child_forks_writers_that_die, &[xs.handle().to_string()]))
        .collect();
    for death in 0..200 {
        children[death % 4].tell(&death.to_string());
    }
    children.into_iter().for_each(Peer::finish);
    let ranges = xs.poisoned().unwrap();
    assert!((1..=64).contains(&ranges.len()), "{ranges:?}");
    for death in 0..200 {
        assert!(
            matches!(
                xs.slice(s![4 * death..4 * death + 2]).unwrap().read(),
                Err(Error::Poisoned { .. })
            ),
            "{death}"
        );
    }
    let free = xs.slice(s![900..]).unwrap();
    assert_eq!(free.read().unwrap().sum(), 0.0);
    free.write().unwrap().fill(1.0);
    xs.recover().unwrap().fill(1.0);
    assert_eq!(xs.read().unwrap().sum(), 1000.0);
}

/// Each line it reads is a death: a process of its own takes a write guard on two elements and is
/// killed.
#[test]
#[ignore = "runs in a child"]
fn child_forks_writers_that_die() {
    let handle = common::arguments().remove(0);
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let status = common::child_command(child_dies_writing, &[&line, &handle])
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9)
        );
    }
    common::done();
}

#[test]
#[ignore = "runs in a child"]
fn child_dies_writing() {
    let arguments = common::arguments();
    let death: usize = arguments[0].parse().unwrap();
    let xs: SharedArray1<f64> = arguments[1].parse::<Handle>().unwrap().open().unwrap();
    // Where the others were faster, a record that was merged of theirs may cover these elements
    // already.
    let guard = xs.slice(s![4 * death..4 * death + 2]).unwrap().write();
    assert!(
        matches!(guard, Ok(_) | Err(Error::Poisoned { .. })),
        "{guard:?}"
    );
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
        .unwrap();
}

/// The recovery had cleared the poison when it found the damage, and gave its guard back.
#[test]
fn poison_stays_where_the_frozen_flag_is_damaged_amid_a_recovery() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>(8).unwrap();
    let (left, right) = (xs.slice(s![..4]).unwrap(), xs.slice(s![4..]).unwrap());
    left.write().unwrap().poison();
    let before = words::get(xs.path(), words::FROZEN_AT);
    let held = right.read().unwrap();
    std::thread::scope(|scope| {
        let recovery = scope.spawn(|| xs.recover().map(drop));
        let began = Instant::now();
        while words::waits(xs.path()) == 0 {
            assert!(began.elapsed() < Duration::from_secs(60));
            std::thread::yield_now();
        }
        words::set(xs.path(), words::FROZEN_AT, before ^ 1);
        drop(held);
        let refused = recovery.join().unwrap();
        assert!(matches!(refused, Err(Error::Header { .. })), "{refused:?}");
    });
    words::set(xs.path(), words::FROZEN_AT, before);
    assert_eq!(xs.poisoned().unwrap(), [0..32]);
    xs.recover().unwrap().fill(1.0);
    assert_eq!(xs.read().unwrap().sum(), 8.0);
}

//! Frozen arrays: no process may write them, consumers wait for them, and a producer may die before
//! it freezes them.
#![allow(unsafe_code, reason = "one child writes to a frozen array by force")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Peer, Root};
use ndarray::{Ix1, Ix2, s};
use ndshm::{Error, FrozenArray, Handle, Scope, SharedArray1, SharedArray2};
use std::{
    os::unix::{fs::FileExt, process::ExitStatusExt},
    time::Duration,
};

const LONG: Duration = Duration::from_secs(60);

fn handle(index: usize) -> Handle {
    common::arguments()[index].parse().unwrap()
}

#[test]
fn a_frozen_array_is_read_without_a_guard_and_cannot_be_written() {
    fn assert_send_and_sync<T: Send + Sync>(_: &T) {}
    let root = Root::new();
    let manager = root.manager();
    let xs = manager
        .from_shape_fn::<f64, _>((4, 5), |(i, j)| (10 * i + j) as f64)
        .unwrap();
    let (row, handle, any) = (
        xs.slice(s![1, ..]).unwrap(),
        xs.handle(),
        xs.into_any().unwrap(),
    );
    let frozen = row.freeze().unwrap();
    assert_send_and_sync(&frozen);
    assert_eq!(*frozen, ndarray::array![10.0, 11.0, 12.0, 13.0, 14.0]);
    let is_frozen = |error: Error| assert!(matches!(error, Error::Frozen { .. }), "{error}");
    is_frozen(xs.write().map(drop).unwrap_err());
    is_frozen(xs.try_write().map(drop).unwrap_err());
    is_frozen(xs.recover().map(drop).unwrap_err());
    is_frozen(xs.assign(&xs.copy().unwrap()).unwrap_err());
    is_frozen(any.write_bytes(&[0; 160]).unwrap_err());
    is_frozen(
        handle
            .open::<f64, Ix2>()
            .unwrap()
            .write()
            .map(drop)
            .unwrap_err(),
    );
    assert!(
        xs.is_frozen() && !xs.is_writable() && !xs.handle().is_writable() && handle.is_writable()
    );
    assert_eq!(
        (xs.read().unwrap().sum(), xs.freeze().unwrap().sum()),
        (340.0, 340.0),
        "reading, and freezing again"
    );
    let printed = common::run(
        child_reads_what_is_frozen,
        &[handle.to_string(), serde_json::to_string(&frozen).unwrap()],
    );
    assert!(printed.contains("sums 340 60"), "{printed}");
    let copy = xs.copy().unwrap();
    copy.write().unwrap().fill(0.0);
    assert!(!copy.is_frozen(), "a copy is not frozen");
    drop((xs, row, any));
    assert!(
        frozen.shared().path().exists() && frozen[4] == 14.0,
        "a frozen view keeps its array"
    );
    drop(frozen);
    assert_eq!(manager.list().unwrap().len(), 1);
}

#[test]
#[ignore = "runs in a child"]
fn child_reads_what_is_frozen() {
    let whole: FrozenArray<f64, Ix2> = handle(0).open_frozen().unwrap();
    let row: FrozenArray<f64, Ix1> = serde_json::from_str(&common::arguments()[1]).unwrap();
    println!("sums {} {}", whole.sum(), row.sum());
    let open: SharedArray2<f64> = handle(0).open().unwrap();
    assert!(matches!(open.write(), Err(Error::Frozen { .. })) && !open.is_writable());
    common::done();
}

#[test]
fn freezing_waits_for_guards_and_is_refused_on_poison() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>(10).unwrap();
    let reading = xs.slice(s![9..]).unwrap().read().unwrap();
    assert!(
        matches!(
            xs.slice(s![..2]).unwrap().freeze(),
            Err(Error::WouldDeadlock { .. })
        ),
        "it is the whole array that is frozen"
    );
    drop(reading);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = xs.slice(s![3..5]).unwrap().write().unwrap();
        panic!("half-way");
    }));
    assert!(
        panicked.is_err() && matches!(xs.freeze(), Err(Error::Poisoned { .. })) && !xs.is_frozen()
    );
    xs.recover().unwrap().fill(1.0);
    assert!(matches!(
        xs.read_only().unwrap().freeze(),
        Err(Error::ReadOnly { .. })
    ));
    // A writer that waits while the array is frozen is told so when its turn comes.
    let writing = xs.write().unwrap();
    std::thread::scope(|scope| {
        let freezer = scope.spawn(|| xs.freeze().unwrap().sum());
        let writer = scope.spawn(|| xs.slice(s![..1]).unwrap().write_timeout(LONG).map(drop));
        drop(writing);
        assert_eq!(freezer.join().unwrap(), 10.0);
        assert!(matches!(
            writer.join().unwrap(),
            Ok(()) | Err(Error::Frozen { .. })
        ));
    });
    assert!(matches!(xs.write(), Err(Error::Frozen { .. })));
    assert!(
        matches!(manager.zeros::<f64, _>((0, 3)).unwrap().freeze(), Ok(frozen) if frozen.is_empty())
    );
}

/// Every process of the store can write the flag. A process that had protected its pages used to
/// believe a process that cleared it, and its next write faulted.
#[test]
fn a_process_that_saw_an_array_frozen_does_not_write_it_when_the_flag_is_cleared() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.options().name("xs").zeros::<f64, _>(1000).unwrap();
    let handle = xs.handle();
    let set = |flag: u32| {
        std::fs::File::options()
            .write(true)
            .open(xs.path())
            .unwrap()
            .write_all_at(&flag.to_ne_bytes(), 72)
            .unwrap()
    };
    let frozen = xs.freeze().unwrap();
    set(0);
    assert!(
        xs.is_frozen() && matches!(xs.write(), Err(Error::Frozen { .. })) && frozen.sum() == 0.0
    );
    // One that opened it while it was frozen.
    set(common::words::FROZEN);
    let mut child = Peer::start(child_opens_what_is_thawed, &[handle.to_string()]);
    child.hear("opened");
    set(0);
    child.tell("thawed");
    child.finish();
}

#[test]
#[ignore = "runs in a child"]
fn child_opens_what_is_thawed() {
    let xs: SharedArray1<f64> = handle(0).open().unwrap();
    println!("opened");
    std::io::stdin().lines().next().unwrap().unwrap();
    assert!(
        matches!(xs.try_write(), Err(Error::Frozen { .. })),
        "it was mapped without the right to write"
    );
    common::done();
}

#[test]
fn writing_to_a_frozen_array_by_force_faults_in_the_writer() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.ones::<f64, _>(10).unwrap();
    let child = common::start(child_writes_by_force, &[xs.handle().to_string()]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
    assert!(xs.is_frozen() && xs.read().unwrap().iter().all(|&x| x == 1.0));
}

#[test]
#[ignore = "runs in a child"]
fn child_writes_by_force() {
    let xs: SharedArray1<f64> = handle(0).open().unwrap();
    // SAFETY: no other thread or process uses the elements now.
    let first = unsafe { xs.view_mut_unlocked() }.unwrap().as_mut_ptr();
    let _frozen = xs.freeze().unwrap();
    // SAFETY: the address is mapped; this library takes away the right to write there, and the
    // write ends this process.
    unsafe { first.write_volatile(2.0) };
    common::done();
}

#[test]
fn consumers_wait_for_their_producer_and_learn_of_its_end() {
    let root = Root::new();
    let manager = root.manager();
    // One that freezes.
    let mut producer = Peer::start(child_produces, &[manager.path()]);
    let frames: Handle = producer.hear("made ").parse().unwrap();
    assert!(matches!(
        frames.open_frozen::<f64, Ix1>(),
        Err(Error::NotFrozen { .. })
    ));
    let waited = Duration::from_millis(30);
    assert!(matches!(
        frames.open_frozen_timeout::<f64, Ix1>(waited),
        Err(Error::Timeout { waited: said, .. }) if said == waited
    ));
    let consumers: Vec<_> = (0..3)
        .map(|_| common::start(child_consumes, &[frames.to_string()]))
        .collect();
    producer.tell("freeze");
    assert_eq!(
        frames.open_frozen_timeout::<f64, Ix1>(LONG).unwrap().sum(),
        7.0 * 1000.0
    );
    consumers
        .into_iter()
        .for_each(|consumer| assert!(common::finish(consumer).contains("sum 7000")));
    producer.tell("end");
    producer.finish();
    assert_eq!(
        frames.open_frozen_timeout::<f64, Ix1>(LONG).unwrap()[0],
        7.0,
        "frozen is frozen, though its producer has ended"
    );
    // One that is killed before: while others wait, and before others wait.
    let mut producer = Peer::start(child_produces, &[manager.path()]);
    let frames: Handle = producer.hear("made ").parse().unwrap();
    let consumer = common::start(child_consumes, &[frames.to_string()]);
    producer.kill();
    assert!(common::finish(consumer).contains("abandoned"));
    assert!(matches!(
        frames.open_frozen_timeout::<f64, Ix1>(LONG),
        Err(Error::Abandoned { member, .. }) if member > 1
    ));
    // One that gives up.
    let xs = manager.zeros::<f64, _>(1000).unwrap();
    let consumer = common::start(child_consumes, &[xs.handle().to_string()]);
    xs.release().unwrap();
    assert!(common::finish(consumer).contains("released"));
}

#[test]
#[ignore = "runs in a child"]
fn child_produces() {
    let manager = ndshm::Manager::open(common::arguments().remove(0)).unwrap();
    let xs = manager
        .options()
        .scope(Scope::Store)
        .zeros::<f64, _>(1000)
        .unwrap();
    println!("made {}", xs.handle());
    let mut lines = std::io::stdin().lines();
    lines.next().unwrap().unwrap();
    xs.write().unwrap().fill(7.0);
    xs.freeze().unwrap();
    lines.next().unwrap().unwrap();
    common::done();
}

#[test]
#[ignore = "runs in a child"]
fn child_consumes() {
    match handle(0).open_frozen_timeout::<f64, Ix1>(LONG) {
        Ok(frozen) => println!("sum {}", frozen.sum()),
        Err(Error::Abandoned { .. }) => println!("abandoned"),
        Err(Error::Released { .. }) => println!("released"),
        Err(error) => panic!("{error}"),
    }
    common::done();
}

#[test]
fn a_frozen_array_that_is_handed_over_belongs_to_its_first_opener() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager
        .options()
        .scope(Scope::Remote)
        .ones::<f64, _>(5)
        .unwrap();
    let handle = xs.handle();
    assert!(matches!(
        handle.open_frozen::<f64, Ix1>(),
        Err(Error::NotFrozen { .. })
    ));
    xs.freeze().unwrap();
    drop(xs);
    let frozen = handle.open_frozen::<f64, Ix1>().unwrap();
    assert_eq!(
        (frozen.shared().scope(), frozen.sum()),
        (Scope::Local, 5.0),
        "the opening that failed had claimed nothing"
    );
    drop(frozen);
    assert!(manager.list().unwrap().is_empty());
}

#[test]
fn an_array_stays_frozen_when_its_store_is_opened_again() {
    let root = Root::new();
    let path = root.path().join("run-7");
    let manager = ndshm::Manager::create(&path).unwrap();
    manager
        .options()
        .name("xs")
        .ones::<f64, _>(5)
        .unwrap()
        .freeze()
        .unwrap();
    drop(manager);
    let manager = ndshm::Manager::open(&path).unwrap();
    let xs = manager.array::<f64, Ix1>("xs").unwrap();
    assert!(xs.is_frozen() && matches!(xs.write(), Err(Error::Frozen { .. })));
    assert_eq!(xs.freeze().unwrap().sum(), 5.0);
    manager.close().unwrap();
}

/// A process that died between setting the flag and giving its guard back used to leave an array
/// that could neither be read, because the guard was taken for poison, nor recovered, because it
/// was frozen.
#[test]
fn a_freezer_that_dies_at_once_leaves_an_array_that_can_be_read() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.ones::<f64, _>(5).unwrap();
    let mut freezer = Peer::start(child_holds_all_of_it, &[xs.handle().to_string()]);
    freezer.hear("holding");
    let reads = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| xs.read().map(|guard| guard.sum()));
        std::thread::sleep(Duration::from_millis(5));
        let file = std::fs::File::options()
            .write(true)
            .open(xs.path())
            .unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &common::words::FROZEN.to_ne_bytes(), 72)
            .unwrap();
        freezer.kill();
        waiting.join().unwrap()
    });
    assert_eq!((reads.unwrap(), xs.read().unwrap().sum()), (5.0, 5.0));
    assert!(xs.is_frozen() && !xs.is_poisoned().unwrap());
    assert_eq!(xs.freeze().unwrap().sum(), 5.0);
    assert!(matches!(xs.write(), Err(Error::Frozen { .. })));
}

#[test]
#[ignore = "runs in a child"]
fn child_holds_all_of_it() {
    let xs: SharedArray1<f64> = handle(0).open().unwrap();
    let _guard = xs.write().unwrap();
    println!("holding");
    std::io::stdin().lines().for_each(drop);
}

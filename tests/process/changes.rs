//! The numbers of writes, and waits for the next one: in one process for the writes of others.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Peer, Root};
use ndarray::s;
use ndshm::{Error, Handle, Manager, Scope, SharedArray1, SharedArray2};
use std::{os::unix::fs::MetadataExt, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(30);

/// Elements so many that each of eight rows is a stripe of its own.
const ROWS: usize = 8;
const COLUMNS: usize = 100;

fn opened(handle: &str) -> SharedArray2<u64> {
    handle.parse::<Handle>().unwrap().open().unwrap()
}

fn row(xs: &SharedArray2<u64>, at: usize) -> SharedArray1<u64> {
    xs.slice(s![at, ..]).unwrap()
}

fn assert_timeout(late: ndshm::Result<u64>) {
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
}

/// Reads what a row has, and waits until it has `expected`.
fn consume(row: &SharedArray1<u64>, expected: u64) {
    loop {
        let seen = row.changed().unwrap();
        if row.read().unwrap()[0] == expected {
            return;
        }
        row.wait_changed(seen, MINUTE).unwrap();
    }
}

#[test]
fn two_processes_wake_each_other_by_their_writes() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((ROWS, COLUMNS)).unwrap();
    let mut peer = Peer::start(child_answers_each_step, &[xs.handle().to_string()]);
    let (first, last) = (row(&xs, 0), row(&xs, ROWS - 1));
    for step in 1..=1000 {
        first.write().unwrap().fill(step);
        consume(&last, step);
    }
    peer.hear("answered");
    peer.finish();
}

#[test]
#[ignore = "runs in a child"]
fn child_answers_each_step() {
    let xs = opened(&common::arguments()[0]);
    let (first, last) = (row(&xs, 0), row(&xs, ROWS - 1));
    for step in 1..=1000 {
        consume(&first, step);
        last.write().unwrap().fill(step);
    }
    println!("answered");
    common::done();
}

/// Writes to one row on demand, and ends as it is told.
#[test]
#[ignore = "runs in a child"]
fn child_writes_on_demand() {
    let arguments = common::arguments();
    let xs = opened(&arguments[0]);
    let mut held = Vec::new();
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (verb, at) = line.split_once(' ').unwrap();
        let row = row(&xs, at.parse().unwrap());
        match verb {
            "write" => row.write().unwrap()[0] += 1,
            "read" => _ = row.read().unwrap().sum(),
            "hold" => held.push(row.write().unwrap()),
            "drop" => held.clear(),
            "freeze" => _ = xs.freeze().unwrap(),
            "release" => xs.release().unwrap(),
            _ => panic!("{line}"),
        }
        println!("did {line}");
    }
    common::done();
}

fn writer(xs: &SharedArray2<u64>) -> Peer {
    let mut peer = Peer::start(child_writes_on_demand, &[xs.handle().to_string()]);
    peer.hear("ready");
    peer
}

fn order(peer: &mut Peer, line: &str) {
    peer.tell(line);
    peer.hear(&format!("did {line}"));
}

#[test]
fn a_write_elsewhere_in_the_array_ends_no_wait() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((ROWS, COLUMNS)).unwrap();
    let mut peer = writer(&xs);
    let rows: Vec<_> = (0..ROWS).map(|at| row(&xs, at)).collect();
    let before: Vec<_> = rows.iter().map(|row| row.changed().unwrap()).collect();
    order(&mut peer, "write 2");
    order(&mut peer, "write 2");
    order(&mut peer, "read 3");
    for (at, (row, before)) in rows.iter().zip(before).enumerate() {
        let expected = before + if at == 2 { 2 } else { 0 };
        assert_eq!(row.changed().unwrap(), expected, "row {at}");
        if at != 2 {
            assert_timeout(row.wait_changed(before, Duration::ZERO));
        }
    }
    // While it waits.
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| rows[3].wait_changed(0, SHORT));
        while !waiter.is_finished() {
            order(&mut peer, "write 2");
        }
        assert_timeout(waiter.join().unwrap());
    });
    peer.finish();
}

const WRITERS: u64 = 4;
const WRITES: u64 = 500;

#[test]
fn no_write_of_many_processes_is_lost() {
    let root = Root::new();
    let manager = root.manager();
    for is_watched_first in [true, false] {
        let xs = manager.zeros::<u64, _>((ROWS, COLUMNS)).unwrap();
        if is_watched_first {
            assert_eq!(xs.changed().unwrap(), 0);
        }
        let handle = xs.handle().to_string();
        let mut peers: Vec<_> = (0..WRITERS)
            .map(|seed| Peer::start(child_writes_a_lot, &[handle.clone(), seed.to_string()]))
            .collect();
        peers.iter_mut().for_each(|peer| _ = peer.hear("ready"));
        peers.iter_mut().for_each(|peer| peer.tell("go"));
        // All of them write to the first element.
        let cell = xs.slice(s![..1, ..1]).unwrap();
        let before = cell.changed().unwrap();
        let read = cell.read().unwrap()[[0, 0]];
        let mut last = before;
        loop {
            let seen = cell.changed().unwrap();
            assert!(seen >= last, "{seen} after {last}");
            if cell.read().unwrap()[[0, 0]] == WRITERS * WRITES {
                break;
            }
            last = cell.wait_changed(seen, MINUTE).unwrap();
            assert_ne!(last, seen);
        }
        peers.into_iter().for_each(Peer::finish);
        let counted = cell.changed().unwrap() - before;
        assert!(
            counted >= WRITERS * WRITES - read,
            "{counted} of {} writes after {read}",
            WRITERS * WRITES
        );
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_writes_a_lot() {
    let arguments = common::arguments();
    let (xs, seed) = (opened(&arguments[0]), arguments[1].parse::<u64>().unwrap());
    println!("ready");
    std::io::stdin().lines().next();
    for write in 0..WRITES {
        let rows = 1 + (seed + write / 20) as usize % ROWS;
        let part = xs.slice(s![..rows, ..]).unwrap();
        part.write().unwrap()[[0, 0]] += 1;
    }
    common::done();
}

#[test]
fn the_death_of_a_writer_is_a_change() {
    let root = Root::new();
    let manager = root.manager();
    for is_watched_first in [true, false] {
        let xs = manager.zeros::<u64, _>((ROWS, COLUMNS)).unwrap();
        let (first, second) = (row(&xs, 1), row(&xs, 2));
        let mut peer = writer(&xs);
        if is_watched_first {
            first.changed().unwrap();
        } else {
            // A guard that rests when the array is watched.
            (0..4).for_each(|_| order(&mut peer, "write 1"));
        }
        order(&mut peer, "hold 1");
        let (seen, other) = (first.changed().unwrap(), second.changed().unwrap());
        assert_timeout(first.wait_changed(seen, SHORT));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| first.wait_changed(seen, MINUTE));
            peer.kill();
            assert!(waiter.join().unwrap().unwrap() > seen);
        });
        assert!(matches!(first.read(), Err(Error::Poisoned { .. })));
        assert_timeout(second.wait_changed(other, Duration::ZERO));
        // Once only, and the recovery is a write.
        let seen = first.changed().unwrap();
        assert_timeout(first.wait_changed(seen, SHORT));
        first.recover().unwrap().fill(0);
        assert_eq!(first.wait_changed(seen, SHORT).unwrap(), seen + 1);
    }
}

// Another process clears the dead without knowing the array, when the lanes of the store are used
// up: the count was lost.
#[test]
fn a_dead_writer_that_others_cleared_is_counted() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((ROWS, COLUMNS)).unwrap();
    let others = manager.zeros::<u64, _>(100).unwrap();
    let seen = xs.changed().unwrap();
    let mut peer = writer(&xs);
    order(&mut peer, "hold 1");
    peer.kill();
    // More than there are lanes in the first page.
    let views: Vec<_> = (0..70)
        .map(|at| others.slice(s![at..=at]).unwrap())
        .collect();
    let guards: Vec<_> = views.iter().map(|view| view.write().unwrap()).collect();
    assert!(xs.wait_changed(seen, MINUTE).unwrap() > seen);
    drop(guards);
    assert!(matches!(xs.read(), Err(Error::Poisoned { .. })));
}

#[test]
#[ignore = "runs in a child"]
fn child_writes_until_it_is_killed() {
    let xs = opened(&common::arguments()[0]);
    println!("ready");
    let part = xs.slice(s![..2, ..]).unwrap();
    loop {
        part.write().unwrap()[[0, 0]] += 1;
    }
}

/// Where a writer is killed anywhere, the number differs from one that was asked for before the
/// last read, or the read saw the last write.
#[test]
fn a_writer_that_is_killed_anywhere_leaves_no_write_unnoticed() {
    let root = Root::new();
    let manager = root.manager();
    for round in 0..40 {
        let xs = manager.zeros::<u64, _>((ROWS, COLUMNS)).unwrap();
        let mut peer = Peer::start(child_writes_until_it_is_killed, &[xs.handle().to_string()]);
        peer.hear("ready");
        let cell = xs.slice(s![1, ..1]).unwrap();
        let mut seen = 0;
        for _ in 0..round * 5 {
            seen = cell.wait_changed(seen, MINUTE).unwrap();
        }
        peer.kill();
        let mut read = None;
        while read != Some(u64::MAX) {
            let seen = cell.changed().unwrap();
            let found = match xs.read() {
                Ok(guard) => guard[[0, 0]],
                Err(Error::Poisoned { .. }) => u64::MAX,
                Err(error) => panic!("{error:?}"),
            };
            match cell.wait_changed(seen, Duration::from_millis(50)) {
                Ok(_) => read = Some(found),
                Err(Error::Timeout { .. }) => {
                    // Nothing changed since.
                    let again = xs.read().map_or(u64::MAX, |guard| guard[[0, 0]]);
                    assert_eq!(again, found, "round {round}");
                    break;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

#[test]
fn the_end_of_the_array_ends_a_wait() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((ROWS, COLUMNS)).unwrap();
    let mut peer = writer(&xs);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| xs.wait_changed(0, MINUTE));
        order(&mut peer, "release 0");
        let told = waiter.join().unwrap();
        assert!(matches!(told, Err(Error::Released { .. })), "{told:?}");
    });
    // Processes that have it open go on using it.
    order(&mut peer, "write 0");
    assert_eq!(xs.wait_changed(0, MINUTE).unwrap(), 1);
    peer.finish();
}

#[test]
fn a_freeze_ends_a_wait() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((ROWS, COLUMNS)).unwrap();
    let mut peer = writer(&xs);
    order(&mut peer, "write 0");
    assert_eq!(xs.changed().unwrap(), 0);
    order(&mut peer, "write 0");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| xs.wait_changed(1, MINUTE));
        order(&mut peer, "freeze 0");
        let told = waiter.join().unwrap();
        assert!(matches!(told, Err(Error::Frozen { .. })), "{told:?}");
    });
    // Neither the freezer's guard nor one that is refused is a write.
    assert!(matches!(xs.write(), Err(Error::Frozen { .. })));
    assert_eq!(xs.changed().unwrap(), 1);
    assert_eq!(xs.wait_changed(0, MINUTE).unwrap(), 1);
    let told = xs.wait_changed(1, Duration::MAX);
    assert!(matches!(told, Err(Error::Frozen { .. })), "{told:?}");
    // One that no process asked about before.
    let ys = manager.ones::<u64, _>(4).unwrap();
    ys.freeze().unwrap();
    assert_eq!(ys.changed().unwrap(), 0);
    assert!(matches!(
        ys.wait_changed(0, Duration::MAX),
        Err(Error::Frozen { .. })
    ));
    assert_eq!(ys.wait_changed(5, Duration::MAX).unwrap(), 0);
    peer.finish();
}

#[test]
fn the_death_of_the_producer_ends_a_wait() {
    let root = Root::new();
    let manager = Manager::create(root.path().join("run")).unwrap();
    let mut peer = Peer::start(
        child_makes_and_stays,
        &[manager.path().display().to_string()],
    );
    let xs = opened(&peer.hear("made "));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| xs.wait_changed(0, MINUTE));
        // Two waits, so that the first one has looked at the producer when the second one ends.
        assert_timeout(xs.wait_changed(0, Duration::from_millis(100)));
        peer.kill();
        let told = waiter.join().unwrap();
        assert!(matches!(told, Err(Error::Abandoned { .. })), "{told:?}");
    });
    // Its producer was dead before.
    assert_timeout(xs.wait_changed(0, SHORT));
    xs.write().unwrap().fill(1);
    assert_eq!(row(&xs, 0).wait_changed(0, MINUTE).unwrap(), 1);
    manager.close().unwrap();
}

#[test]
#[ignore = "runs in a child"]
fn child_makes_and_stays() {
    let manager = Manager::open(&common::arguments()[0]).unwrap();
    let xs = manager.options().name("xs");
    let xs = xs.zeros::<u64, _>((ROWS, COLUMNS)).unwrap();
    println!("made {}", xs.handle());
    std::io::stdin().lines().next();
    common::done();
}

#[test]
fn an_array_in_a_recycled_file_begins_at_zero() {
    let root = Root::new();
    let manager = Manager::builder().root(root.path()).recycle(1 << 30);
    let manager = manager.create().unwrap();
    let make = || {
        let options = manager.options().scope(Scope::Local);
        options.zeros::<u64, _>((ROWS, COLUMNS)).unwrap()
    };
    let xs = make();
    xs.changed().unwrap();
    xs.write().unwrap().fill(1);
    assert!(row(&xs, 5).changed().unwrap() == 1);
    let file = std::fs::metadata(xs.path()).unwrap().ino();
    drop(xs);
    let xs = make();
    assert_eq!(std::fs::metadata(xs.path()).unwrap().ino(), file);
    // Not watched: this write is not counted.
    xs.write().unwrap().fill(1);
    assert_eq!(xs.changed().unwrap(), 0);
    let mut peer = writer(&xs);
    order(&mut peer, "write 5");
    assert_eq!(xs.changed().unwrap(), 1);
    peer.finish();
}

//! Threads and processes that wait for each other's guards.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Peer, Root};
use ndarray::{Ix1, s};
use ndshm::{Error, Handle, Manager, Observer, SharedArray1};
use rustix::process::{Signal, kill_process};
use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

type Xs = SharedArray1<u64>;

fn arrays(manager: &Manager, count: usize) -> Vec<Xs> {
    (0..count)
        .map(|_| manager.zeros::<u64, _>(10).unwrap())
        .collect()
}

/// Each of `n` threads takes its own array and then the next one's: a circle. Returns how many of
/// them were told; the others go on.
fn circle(xs: &[Xs], first: fn(&Xs) -> Held<'_>, second: fn(&Xs) -> Held<'_>) -> usize {
    let all_hold = Barrier::new(xs.len());
    let told = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for i in 0..xs.len() {
            let (all_hold, told) = (&all_hold, &told);
            scope.spawn(move || {
                let held = first(&xs[i]).unwrap();
                all_hold.wait();
                match second(&xs[(i + 1) % xs.len()]) {
                    Ok(_) => {}
                    Err(Error::WouldDeadlock { .. }) => _ = told.fetch_add(1, SeqCst),
                    Err(error) => panic!("{error:?}"),
                }
                drop(held);
            });
        }
    });
    told.into_inner()
}

/// A guard of any kind.
type Held<'a> = Result<Box<dyn Drop2 + 'a>, Error>;
trait Drop2 {}
impl<T> Drop2 for T {}

fn reads(x: &Xs) -> Held<'_> {
    x.read().map(|guard| Box::new(guard) as Box<dyn Drop2>)
}

fn writes(x: &Xs) -> Held<'_> {
    x.write().map(|guard| Box::new(guard) as Box<dyn Drop2>)
}

fn is_atomic(x: &Xs) -> Held<'_> {
    x.atomic().map(|guard| Box::new(guard) as Box<dyn Drop2>)
}

// Two arrays that were locked in opposite orders hung for ever.
#[test]
fn one_of_the_threads_of_a_circle_is_told_and_the_others_go_on() {
    let root = Root::new();
    let manager = root.manager();
    for count in [2, 3, 7] {
        let xs = arrays(&manager, count);
        assert_eq!(circle(&xs, writes, writes), 1, "{count} writers");
        assert_eq!(circle(&xs, reads, writes), 1, "{count} readers that write");
        assert_eq!(circle(&xs, writes, reads), 1, "{count} writers that read");
        assert_eq!(circle(&xs, is_atomic, writes), 1, "{count} atomic views");
        assert_eq!(
            circle(&xs, reads, is_atomic),
            1,
            "{count} atomic views last"
        );
        for x in &xs {
            assert!(x.try_write().is_ok(), "nothing stays locked");
        }
    }
}

#[test]
fn a_circle_through_two_stores_is_found() {
    let (root, other) = (Root::new(), Root::new());
    let (a, b) = (root.manager(), other.manager());
    let xs = [arrays(&a, 1).remove(0), arrays(&b, 1).remove(0)];
    assert_eq!(circle(&xs, writes, writes), 1);
}

/// A process finds its memberships by the paths of the stores. One whose path belonged to another
/// store by now was not found, and neither were circles through its guards.
#[test]
fn a_circle_in_a_store_that_was_moved_and_joined_again_is_found() {
    let root = Root::new();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    let create = || {
        Manager::builder()
            .path(&from)
            .persistent()
            .create()
            .unwrap()
    };
    let before = create();
    let mut xs = arrays(&before, 2);
    assert_eq!(circle(&xs, writes, writes), 1);
    std::fs::rename(&from, &to).unwrap();
    assert_eq!(circle(&xs, writes, writes), 1, "moved");
    let after = Manager::open(&to).unwrap();
    assert_eq!(circle(&xs, writes, writes), 1, "joined again");
    let _other = create();
    assert_eq!(
        circle(&xs, writes, writes),
        1,
        "another store is at its path"
    );
    for count in [3, 4] {
        xs.extend(arrays(&after, 1));
        assert_eq!(circle(&xs, writes, writes), 1, "{count} by two memberships");
        assert_eq!(
            circle(&xs[1..], reads, writes),
            1,
            "{count} by two memberships"
        );
    }
}

/// A waiting writer keeps new readers out, so a reader may wait for a thread that holds nothing
/// that it wants.
#[test]
fn a_circle_through_a_waiting_writer_is_found() {
    let root = Root::new();
    let xs = arrays(&root.manager(), 2);
    let (x, y) = (&xs[0], &xs[1]);
    let hold = Barrier::new(2);
    let told = AtomicUsize::new(0);
    let tell = |result: Result<(), Error>| match result {
        Ok(()) => {}
        Err(Error::WouldDeadlock { .. }) => _ = told.fetch_add(1, SeqCst),
        Err(error) => panic!("{error:?}"),
    };
    std::thread::scope(|scope| {
        // Reads x, and then wants y, which the last thread holds.
        scope.spawn(|| {
            let held = x.read().unwrap();
            hold.wait();
            tell(y.write().map(drop));
            drop(held);
        });
        scope.spawn(|| {
            let held = y.write().unwrap();
            hold.wait();
            // A writer waits for x; until then a reader would be let in.
            let writer = scope.spawn(|| tell(x.write().map(drop)));
            while x.try_read().is_ok() {
                std::thread::yield_now();
            }
            tell(x.read().map(drop));
            drop(held);
            writer.join().unwrap();
        });
    });
    assert_eq!(told.into_inner(), 1);
}

#[test]
fn a_wait_that_ends_by_itself_just_waits() {
    let root = Root::new();
    let xs = arrays(&root.manager(), 2);
    let (all_hold, tried) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        for i in 0..2 {
            let (xs, all_hold, tried) = (&xs, &all_hold, &tried);
            scope.spawn(move || {
                let _held = xs[i].write().unwrap();
                all_hold.wait();
                let late = xs[1 - i]
                    .write_timeout(Duration::from_millis(500))
                    .map(drop);
                assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
                tried.wait();
            });
        }
    });
}

#[test]
fn processes_of_a_circle_are_told_too() {
    let root = Root::new();
    let manager = root.manager();
    let xs = arrays(&manager, 3);
    let handles: Vec<_> = xs.iter().map(|x| x.handle().to_string()).collect();
    let mut peers: Vec<_> = (0..3)
        .map(|i| {
            Peer::start(
                child_takes_two_guards,
                &[&handles[i], &handles[(i + 1) % 3]],
            )
        })
        .collect();
    for peer in &mut peers {
        peer.hear("holds");
    }
    for peer in &mut peers {
        peer.tell("go on");
    }
    let ends: Vec<_> = peers.iter_mut().map(|peer| peer.hear("end ")).collect();
    let told = ends.iter().filter(|end| *end == "told").count();
    assert_eq!(told, 1, "{ends:?}");
    peers.into_iter().for_each(Peer::finish);
}

#[test]
#[ignore = "runs in a child"]
fn child_takes_two_guards() {
    takes_two(writes);
}

/// Holds the first array by a guard of this kind, and then writes the second one.
fn takes_two(first: fn(&Xs) -> Held<'_>) {
    let [first_array, second_array] = &common::arguments()[..] else {
        panic!()
    };
    let open = |handle: &str| {
        handle
            .parse::<Handle>()
            .unwrap()
            .open::<u64, Ix1>()
            .unwrap()
    };
    let (first_array, second_array) = (open(first_array), open(second_array));
    let held = first(&first_array).unwrap();
    println!("holds");
    std::io::stdin().lines().next();
    let end = match second_array.write() {
        Ok(_) => "given",
        Err(Error::WouldDeadlock { .. }) => "told",
        Err(error) => panic!("{error:?}"),
    };
    drop(held);
    println!("end {end}");
    common::done();
}

// A process that was killed stayed in the circle until the one that waited for it looked.
#[test]
fn a_circle_through_a_dead_process_is_none() {
    let root = Root::new();
    let manager = root.manager();
    let xs = arrays(&manager, 3);
    let observer = Observer::open(manager.path()).unwrap();
    let waiting = || {
        let locks = observer.locks().unwrap();
        locks.iter().filter(|lock| lock.holder.is_waiting).count()
    };
    let start = |i: usize| {
        let handles = [i, (i + 1) % 3].map(|i| xs[i].handle().to_string());
        let mut peer = Peer::start(child_reads_and_then_writes, &handles);
        peer.hear("holds");
        peer
    };
    let [mut first, mut second, mut third] = [0, 1, 2].map(start);
    for (peer, waits) in [(&mut second, 1), (&mut third, 2)] {
        peer.tell("go on");
        while waiting() < waits {
            std::thread::sleep(Duration::from_millis(1));
        }
        if waits == 1 {
            kill_process(peer.pid(), Signal::STOP).unwrap();
        }
    }
    third.kill();
    first.tell("go on");
    // Time for several searches: it can only be told falsely.
    std::thread::sleep(Duration::from_millis(600));
    kill_process(second.pid(), Signal::CONT).unwrap();
    assert_eq!(second.hear("end "), "given");
    assert_eq!(first.hear("end "), "given");
    second.finish();
    first.finish();
}

#[test]
#[ignore = "runs in a child"]
fn child_reads_and_then_writes() {
    takes_two(reads);
}

/// Threads that take one or two guards in order, of whole arrays and of parts: no circle is there,
/// and none may be reported, however long they wait.
#[test]
fn no_thread_is_told_of_a_circle_that_is_none() {
    const THREADS: usize = 6;
    let root = Root::new();
    let xs = arrays(&root.manager(), 3);
    let end = std::time::Instant::now() + Duration::from_secs(3);
    let pairs = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (xs, pairs) = (&xs, &pairs);
            scope.spawn(move || {
                let mut round = thread;
                while std::time::Instant::now() < end {
                    round += 7;
                    let (i, part) = (round % 2, round / 2 % 5);
                    let first = xs[i].slice(s![part..part + 5]).unwrap();
                    let second = xs[i + 1].slice(s![part..part + 3]).unwrap();
                    let held = first.write().unwrap();
                    // Long enough for searches now and then.
                    if round % 11 == 0 {
                        std::thread::sleep(Duration::from_millis(60));
                    }
                    match round % 3 {
                        0 => drop(second.read().unwrap()),
                        _ => drop(second.write().unwrap()),
                    }
                    drop(held);
                    pairs.fetch_add(1, SeqCst);
                }
            });
        }
    });
    assert!(pairs.into_inner() > THREADS);
}

//! Hundreds of guards on one array.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Peer, Root, words};
use ndarray::{Ix2, s};
use ndshm::{Handle, SharedArray2};
use std::{sync::Barrier, time::Duration};

/// Processes, and threads of each: as many guards at once as their product.
const PROCESSES: usize = 20;
const THREADS: usize = 20;

// An array had 64 slots. Of 100 processes that each held a read guard until all had one, 36 waited
// for ever.
#[test]
fn hundreds_of_threads_hold_read_guards_on_a_small_array_at_once() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.ones::<u32, _>((8, 8)).unwrap();
    let mut peers: Vec<_> = (0..PROCESSES)
        .map(|_| Peer::start(child_holds_read_guards, &[xs.handle().to_string()]))
        .collect();
    for peer in &mut peers {
        peer.hear("all hold");
    }
    let observer = ndshm::Observer::open(manager.path()).unwrap();
    let state = observer.state(&xs.handle().info().unwrap()).unwrap();
    assert_eq!(state.guards.len(), PROCESSES * THREADS);
    assert!(xs.try_read().is_ok() && xs.try_write().is_err());
    // Killed, they leave nothing.
    for peer in &mut peers {
        peer.kill();
    }
    xs.write().unwrap().fill(2);
    assert!(!xs.is_poisoned().unwrap());
}

#[test]
#[ignore = "runs in a child"]
fn child_holds_read_guards() {
    let xs: SharedArray2<u32> = opened();
    let all_hold = Barrier::new(THREADS + 1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let guard = xs.read().unwrap();
                all_hold.wait();
                assert_eq!(guard.sum(), 64);
                // Until the process is killed.
                all_hold.wait();
            });
        }
        all_hold.wait();
        println!("all hold");
        std::io::stdin().lines().next();
    });
}

/// A waiter sleeps on the one before it. Those behind it go on though it is killed, or gives up.
#[test]
fn a_crowd_of_waiters_is_served_though_some_die_and_some_give_up() {
    const EACH: usize = 8;
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u32, _>((8, 8)).unwrap();
    let held = xs.write().unwrap();
    let mut peers = Vec::new();
    for kind in ["waits", "dies", "gives up"].repeat(EACH) {
        let arguments = [xs.handle().to_string(), kind.to_owned()];
        peers.push((kind, Peer::start(child_adds_one, &arguments)));
        while words::waits(xs.path()) < peers.len() as u32 {
            std::thread::yield_now();
        }
    }
    for (kind, peer) in &mut peers {
        match *kind {
            "dies" => _ = peer.kill(),
            "gives up" => _ = peer.hear("gives up"),
            _ => {}
        }
    }
    drop(held);
    peers.retain(|(kind, _)| *kind != "dies");
    peers.into_iter().for_each(|(_, peer)| peer.finish());
    assert_eq!(xs.read().unwrap()[[0, 0]], EACH as u32);
}

#[test]
#[ignore = "runs in a child"]
fn child_adds_one() {
    let xs: SharedArray2<u32> = opened();
    let limit = match &*common::arguments()[1] {
        "gives up" => Duration::from_millis(300),
        _ => Duration::MAX,
    };
    match xs.write_timeout(limit) {
        Ok(mut guard) => guard[[0, 0]] += 1,
        Err(ndshm::Error::Timeout { .. }) => println!("gives up"),
        Err(error) => panic!("{error:?}"),
    }
    common::done();
}

fn opened() -> SharedArray2<u32> {
    common::arguments()[0]
        .parse::<Handle>()
        .unwrap()
        .open::<u32, Ix2>()
        .unwrap()
}

// 70 workers that each wrote a row and met at a barrier were a deadlock.
#[test]
fn more_writers_than_an_array_had_slots_meet_at_a_barrier() {
    const WORKERS: usize = 300;
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((WORKERS, 4)).unwrap();
    let all_hold = Barrier::new(WORKERS);
    std::thread::scope(|scope| {
        for i in 0..WORKERS {
            let row = xs.slice(s![i, ..]).unwrap();
            let all_hold = &all_hold;
            scope.spawn(move || {
                let mut guard = row.write().unwrap();
                all_hold.wait();
                guard.fill(i as u64);
            });
        }
    });
    let sum: u64 = (0..WORKERS as u64).sum();
    assert_eq!(xs.read().unwrap().sum(), 4 * sum);
}

/// One thread that holds thousands of guards: it keeps few of their lanes afterwards.
#[test]
fn one_thread_holds_four_thousand_guards() {
    const GUARDS: usize = 4096;
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u8, _>(GUARDS).unwrap();
    let parts: Vec<_> = (0..GUARDS)
        .map(|i| xs.slice(s![i..i + 1]).unwrap())
        .collect();
    for _ in 0..2 {
        let mut guards =
            ndshm::lock(parts.iter().map(|part| part.writing()).collect::<Vec<_>>()).unwrap();
        for guard in &mut guards {
            guard[0] += 1;
        }
        let other = xs.slice(s![GUARDS - 1..]).unwrap();
        assert!(common::elsewhere(|| other.try_read().is_err()));
    }
    assert_eq!(
        xs.read()
            .unwrap()
            .iter()
            .map(|&x| u32::from(x))
            .sum::<u32>(),
        2 * GUARDS as u32
    );
    let lock = manager.path().join(".lock");
    let len = std::fs::metadata(lock).unwrap().len();
    assert!(len > 4096 * 64 && len <= 4096 + (1 << 20), "{len}");
}

/// On a full file system a guard that needs a longer lock file is an error, and no SIGBUS.
#[test]
fn a_full_file_system_refuses_more_lanes() {
    common::run(child_limits_its_files, &[""; 0]);
}

#[test]
#[ignore = "runs in a child"]
fn child_limits_its_files() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u8, _>(100).unwrap();
    // No file may become longer than the lock file is now.
    rustix::process::setrlimit(
        rustix::process::Resource::Fsize,
        rustix::process::Rlimit {
            current: Some(4096),
            maximum: None,
        },
    )
    .unwrap();
    let mut guards = Vec::new();
    let error = loop {
        match xs.try_read() {
            Ok(guard) => guards.push(guard),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ndshm::Error::NoSpace { .. }), "{error:?}");
    assert!((50..64).contains(&guards.len()), "{}", guards.len());
    guards.pop();
    assert!(xs.try_read().is_ok(), "the others can go on");
    drop(guards);
    xs.write().unwrap().fill(1);
    common::done();
}

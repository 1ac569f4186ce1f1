//! Worker processes that are killed at random while they do everything at once, and the properties
//! that hold all the same.
//!
//! Workers read, write, create, open, claim, release and sweep in one store; the test kills them
//! with SIGKILL and starts new ones. Under every guard each cell of an array is as one writer left
//! it; no write is lost; no process waits for a dead one; and in the end nothing is left that
//! should not be.
//!
//! `NDSHM_SOAK_KILLS=5000 cargo test --release --test soak -- --nocapture` is the long run,
//! `NDSHM_SOAK_PROCESSES=300` beside it a crowd; `NDSHM_SOAK_SEED` repeats a choice of operations.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(unsafe_code, reason = "words that processes share without the library")]

mod cells;
mod circles;
#[path = "../common/mod.rs"]
mod common;
mod killer;
mod shared;
mod streams;
mod worker;

use killer::Killer;
use shared::SharedWords;
use std::{
    io::Read,
    path::{Path, PathBuf},
};
use worker::{Places, Worker};

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap())
}

#[test]
fn kills_at_any_moment_tear_nothing_lose_nothing_and_block_no_process() {
    let kills = number_from("NDSHM_SOAK_KILLS").unwrap_or(100);
    let seed = number_from("NDSHM_SOAK_SEED").unwrap_or_else(|| {
        u64::from(std::process::id()) << 20
            | u64::from(rustix::thread::gettid().as_raw_nonzero().get() as u32)
    });
    let workers = number_from("NDSHM_SOAK_PROCESSES").unwrap_or(6) as usize;
    let root = common::Root::new();
    let mut killer = Killer::new(root.path(), seed, workers);
    while killer.kills() < kills {
        killer.kill_one();
    }
    killer.stop();
    killer.verify();
    killer.report();
    killer.close();
    let stores: Vec<PathBuf> = common::files_below(&root.path().join("stores"));
    assert_eq!(stores, Vec::<PathBuf>::new());
}

#[test]
#[ignore = "runs in a child"]
fn child_works() {
    let arguments = common::arguments();
    let number = |argument: usize| arguments[argument].parse::<u64>().unwrap();
    let (first_thread, threads, incarnation, seed) =
        (number(1) as usize, number(2) as usize, number(3), number(4));
    let places = Places::in_directory(Path::new(&arguments[0]));
    // A thread that finds a fault ends the whole process at once: its output names the fault.
    let report = std::panic::take_hook();
    let shared = SharedWords::open(&places.shared);
    std::panic::set_hook(Box::new(move |info| {
        shared.count_fault();
        report(info);
        std::process::exit(70);
    }));
    end_with_the_test();
    let shared = SharedWords::open(&places.shared);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (shared, places) = (&shared, &places);
            scope.spawn(move || {
                Worker::join(
                    shared,
                    shared.thread(first_thread + thread),
                    places,
                    incarnation + thread as u64,
                    threads > 1,
                    seed,
                )
                .run();
            });
        }
    });
    common::done();
}

/// Ends this process when the test is gone, whatever its threads wait for.
fn end_with_the_test() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(71);
    });
}

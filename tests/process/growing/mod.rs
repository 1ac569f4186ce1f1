//! Arrays whose rows several processes append, and the deaths of appenders.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod limits;

use crate::common::{self, Peer, Root, words};
use ndarray::{Array, Array2, Ix1, Ix2, array};
use ndshm::{Error, GrowingArray, Handle, Manager, Scope};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const LONG: Duration = Duration::from_secs(60);
/// A row that is one number, so often that half a row would be seen.
const WIDTH: usize = 100;

fn log_in(manager: &Manager) -> GrowingArray<u64, Ix2> {
    manager
        .options()
        .name("log")
        .open_or_growing(1 << 30, WIDTH)
        .unwrap()
}

/// The numbers of the rows, each of which is whole.
#[track_caller]
fn numbers(log: &GrowingArray<u64, Ix2>) -> Vec<u64> {
    let all = log.all().unwrap();
    let whole = all.outer_iter().map(|row| {
        assert!(row.iter().all(|&x| x == row[0]), "half a row: {row:?}");
        row[0]
    });
    whole.collect()
}

#[test]
fn processes_append_every_row_once_and_a_reader_sees_whole_rows() {
    const PROCESSES: u64 = 3;
    const EACH: u64 = 2000;
    let root = Root::new();
    let manager = root.manager();
    let log = log_in(&manager);
    let handle = log.handle().to_string();
    let peers: Vec<_> = (0..PROCESSES)
        .map(|number| {
            let arguments = [handle.clone(), number.to_string(), EACH.to_string()];
            Peer::start(child_appends, &arguments)
        })
        .collect();
    let mut next = [0; PROCESSES as usize];
    let mut seen = 0;
    while seen < (PROCESSES * EACH) as usize {
        let len = log.wait_grown(seen, LONG).unwrap();
        for row in log.rows(seen..len).unwrap().outer_iter() {
            assert!(row.iter().all(|&x| x == row[0]), "half a row: {row:?}");
            let (process, number) = (row[0] / EACH, row[0] % EACH);
            assert_eq!(number, next[process as usize], "of process {process}");
            next[process as usize] += 1;
        }
        seen = len;
    }
    peers.into_iter().for_each(Peer::finish);
    assert_eq!(next, [EACH; PROCESSES as usize]);
}

#[test]
#[ignore = "runs in a child"]
fn child_appends() {
    let [handle, number, each] = common::arguments().try_into().unwrap();
    let log: GrowingArray<u64, Ix2> = handle.parse::<Handle>().unwrap().open_growing().unwrap();
    let (number, each): (u64, u64) = (number.parse().unwrap(), each.parse().unwrap());
    for row in number * each..(number + 1) * each {
        log.append_row(&Array::from_elem(WIDTH, row)).unwrap();
    }
    common::done();
}

#[test]
fn an_appender_that_is_killed_with_its_turn_leaves_nothing_and_is_taken_over() {
    let root = Root::new();
    let manager = root.manager();
    let log = log_in(&manager);
    log.append(&Array2::zeros((2, WIDTH))).unwrap();
    let mut peer = Peer::start(child_reserves, &[log.handle().to_string()]);
    peer.hear("reserved");
    let refused = log.try_append(&Array2::ones((1, WIDTH))).unwrap_err();
    assert!(matches!(refused, Error::WouldBlock { .. }), "{refused}");
    let holder = &refused.holders()[0];
    assert_eq!(holder.pid, Some(peer.pid().as_raw_nonzero().get() as u32));
    assert!(
        refused.to_string().contains("log[2:] to write"),
        "{refused}"
    );
    let late = log.append_timeout(&Array2::ones((1, WIDTH)), Duration::from_millis(50));
    assert!(matches!(late, Err(Error::Timeout { .. })));

    std::thread::scope(|scope| {
        let waits = scope.spawn(|| log.append(&Array2::ones((1, WIDTH))).unwrap());
        std::thread::sleep(Duration::from_millis(30));
        assert!(!waits.is_finished());
        peer.kill();
        let killed = Instant::now();
        assert_eq!(waits.join().unwrap(), 2);
        assert!(killed.elapsed() < Duration::from_secs(5));
    });
    assert_eq!(numbers(&log), [0, 0, 1]);
}

#[test]
#[ignore = "runs in a child"]
fn child_reserves() {
    let handle: Handle = common::arguments()[0].parse().unwrap();
    let log: GrowingArray<u64, Ix2> = handle.open_growing().unwrap();
    let mut rows = log.reserve(10).unwrap();
    // Half a row.
    rows.as_slice_mut().unwrap()[..WIDTH / 2].fill(7);
    println!("reserved");
    std::io::stdin().lines().for_each(drop);
    unreachable!("it is killed");
}

#[test]
fn appenders_that_are_killed_at_any_time_leave_no_gap_and_no_half_of_a_row() {
    const KILLED: usize = 30;
    let root = Root::new();
    let manager = root.manager();
    let log = log_in(&manager);
    for round in 0..KILLED {
        let seen = log.len();
        let mut peer = Peer::start(child_goes_on, &[manager.path()]);
        // After some rows, at any of its steps.
        log.wait_grown(seen + round % 7, LONG).unwrap();
        std::thread::sleep(Duration::from_micros(137 * round as u64));
        peer.kill();
        let found = numbers(&log);
        let expected: Vec<u64> = (0..found.len() as u64).collect();
        assert_eq!(found, expected);
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_goes_on() {
    let manager = Manager::open(common::arguments().remove(0)).unwrap();
    let log = log_in(&manager);
    loop {
        let number = log.len() as u64;
        log.append_row(&Array::from_elem(WIDTH, number)).unwrap();
    }
}

/// Sets the words to those of another boot.
fn forge_another_boot(path: &Path) {
    words::set(path, words::growth_at(path) + words::BOOT, 77);
}

#[test]
fn after_another_boot_exactly_the_flushed_rows_are_there() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    let log = log_in(&manager);
    for row in 0..5 {
        log.append_row(&Array::from_elem(WIDTH, row)).unwrap();
        if row == 2 {
            log.flush().unwrap();
        }
    }
    let path = log.path().to_path_buf();
    // A turn that the loss of power interrupted.
    words::set(&path, words::growth_at(&path) + words::APPENDER, 1 << 40);
    drop(log);
    forge_another_boot(&path);
    assert_eq!(manager.list().unwrap()[0].shape, [3, WIDTH]);
    let log = log_in(&manager);
    assert_eq!(numbers(&log), [0, 1, 2]);
    log.append_row(&Array::from_elem(WIDTH, 9)).unwrap();
    // Another opener of the same boot changes nothing.
    drop(log);
    assert_eq!(numbers(&log_in(&manager)), [0, 1, 2, 9]);
    // A file whose end did not reach the disk has fewer.
    forge_another_boot(&path);
    words::set(&path, words::growth_at(&path) + words::FLUSHED, 4);
    let page = common::page();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len((page + 2 * 8 * WIDTH + 17) as u64).unwrap();
    let log = log_in(&manager);
    assert_eq!(numbers(&log), [0, 1]);
    log.append(&Array2::zeros((5000, WIDTH))).unwrap();
    assert_eq!(ndshm::verify(manager.path()).unwrap().findings, []);
}

#[test]
fn of_many_openers_after_another_boot_one_starts_again() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    for _ in 0..5 {
        let log = manager.options().growing::<u64, _>(1 << 20, WIDTH).unwrap();
        log.set_scope(Scope::Store).unwrap();
        log.append(&Array2::zeros((2, WIDTH))).unwrap();
        log.flush().unwrap();
        log.append(&Array2::from_elem((3, WIDTH), 5)).unwrap();
        let (handle, path) = (log.handle().to_string(), log.path().to_path_buf());
        drop(log);
        forge_another_boot(&path);
        let peers: Vec<_> = (1..4u64)
            .map(|number| {
                let arguments = [handle.clone(), number.to_string(), "1".into()];
                Peer::start(child_appends, &arguments)
            })
            .collect();
        peers.into_iter().for_each(Peer::finish);
        let log: GrowingArray<u64, Ix2> = handle.parse::<Handle>().unwrap().open_growing().unwrap();
        let mut found = numbers(&log);
        found.sort();
        assert_eq!(found, [0, 0, 1, 2, 3]);
        log.release().unwrap();
    }
}

#[test]
fn rows_open_in_other_processes_by_their_handles() {
    let root = Root::new();
    let manager = root.manager();
    let log = manager.options().growing::<f64, _>(1 << 30, ()).unwrap();
    log.append(&array![1.0, 2.0, 3.0]).unwrap();
    let rows = log.rows(1..).unwrap();
    common::run(child_sums, &[rows.handle().to_string(), "5".into()]);
    log.push(4.0).unwrap();
    common::run(
        child_sums,
        &[log.all().unwrap().handle().to_string(), "10".into()],
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_sums() {
    let [handle, sum] = common::arguments().try_into().unwrap();
    let rows = handle
        .parse::<Handle>()
        .unwrap()
        .open_frozen::<f64, Ix1>()
        .unwrap();
    assert_eq!(rows.sum(), sum.parse::<f64>().unwrap());
    common::done();
}

//! Producers and subscribers of a ring, and appenders and readers of an array that grows, that are
//! killed at random.
//!
//! No frame is torn and none changes while it is held; numbers have no gap; a lossless subscriber
//! misses nothing. Each row is there once and whole, in the order of its appender. No process waits
//! for a dead one. `NDSHM_SOAK_KILLS` and `NDSHM_SOAK_PROCESSES` as of the other soak.

use crate::{
    cells::Random,
    common::{self, Peer},
    number_from,
};
use ndarray::{ArrayView1, Ix1, Ix2};
use ndshm::{Error, GrowingArray, Handle, Ring};
use std::{
    collections::HashMap,
    os::unix::process::ExitStatusExt,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(60);
const LEN: usize = 2048;

const PARTS: [&str; 4] = ["produce", "newest", "lossless", "produce"];

#[test]
fn kills_of_producers_and_subscribers_tear_no_frame_and_block_no_process() {
    let kills = number_from("NDSHM_SOAK_KILLS").unwrap_or(60);
    let processes = number_from("NDSHM_SOAK_PROCESSES").unwrap_or(6);
    let seed = number_from("NDSHM_SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let root = common::Root::new();
    let manager = root.manager();
    let options = manager.options().max_subscribers(processes as usize + 1);
    let ring: Ring<u64, Ix1> = options.ring((LEN,), 8).unwrap();
    let mut choices = Random(seed);
    let start = |number: u64, choices: &mut Random| {
        let part = PARTS[(number % PARTS.len() as u64) as usize];
        let words = [
            part.to_owned(),
            ring.handle().to_string(),
            (choices.below(1 << 30) + 1).to_string(),
        ];
        Peer::start(child_of_a_stream, &words)
    };
    let mut children: Vec<_> = (0..processes).map(|n| start(n, &mut choices)).collect();
    let mut subscriber = ring.subscribe().unwrap();
    let (mut last, mut told, mut longest) = (0, 0u64, Duration::ZERO);
    for kill in 0..kills {
        let victim = choices.below(processes as usize);
        // The moment of the kill is what the test leaves to chance.
        std::thread::sleep(Duration::from_micros(choices.below(10_000) as u64));
        killed(&mut children[victim]);
        let began = Instant::now();
        // A frame that was published after the kill.
        let newest = ring.newest();
        while last <= newest {
            match subscriber.next_timeout(SOON) {
                Ok(frame) => last = checked(&frame.unwrap(), last),
                Err(Error::Abandoned { .. }) => told += 1,
                Err(error) => panic!("kill {kill}, seed {seed}: {error}"),
            }
        }
        longest = longest.max(began.elapsed());
        children[victim] = start(victim as u64, &mut choices);
    }
    children.iter_mut().for_each(killed);
    // All are dead: the turn, the seats and all frames can be had.
    let mut producer = ring.produce_timeout(SOON).unwrap();
    for _ in 0..20 {
        let number = ring.newest() + 1;
        let mut frame = producer.next_timeout(SOON).unwrap();
        frame.fill(number);
        assert_eq!(frame.publish().unwrap(), number);
    }
    let rest: Vec<_> = (0..processes).map(|_| ring.subscribe().unwrap()).collect();
    assert_eq!(ring.subscribers().len(), rest.len() + 1);
    println!(
        "rings: {kills} kills of {processes} processes, {last} frames, {told} deaths of producers \
         told; longest until another frame came: {longest:?}"
    );
}

/// Kills a process, which found no fault before.
fn killed(child: &mut Peer) {
    let status = child.kill();
    assert_eq!(status.signal(), Some(9), "it found a fault: {status}");
}

/// The number of a frame, which is whole and later than the last one.
fn checked(frame: &ndshm::Frame<u64, Ix1>, last: u64) -> u64 {
    let number = frame.number();
    assert!(number > last, "{number} after {last}");
    assert!(frame.iter().all(|&x| x == number), "frame {number} is torn");
    number
}

#[test]
#[ignore = "runs in a child"]
fn child_of_a_stream() {
    let [part, handle, seed] = common::arguments().try_into().unwrap();
    crate::end_with_the_test();
    let ring: Ring<u64, Ix1> = handle.parse::<Handle>().unwrap().open_ring().unwrap();
    let mut choices = Random(seed.parse().unwrap());
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match part.as_str() {
        "produce" => produce(&ring, &mut choices),
        "newest" => take_newest(&ring, &mut choices),
        _ => take_all(&ring, &mut choices),
    }));
    // Its output names the fault; the test finds that it ended by itself.
    std::process::exit(if result.is_err() { 70 } else { 0 });
}

fn produce(ring: &Ring<u64, Ix1>, choices: &mut Random) {
    loop {
        let Ok(mut producer) = ring.produce_timeout(SOON) else {
            continue;
        };
        for _ in 0..choices.below(100) {
            let number = ring.newest() + 1;
            let mut frame = producer.next_timeout(SOON).unwrap();
            frame.fill(number);
            if choices.below(5) > 0 {
                assert_eq!(frame.publish().unwrap(), number);
            }
        }
    }
}

fn take_newest(ring: &Ring<u64, Ix1>, choices: &mut Random) {
    loop {
        let mut subscriber = ring.subscribe().unwrap();
        let (mut last, mut held) = (ring.newest(), Vec::new());
        for _ in 0..choices.below(200) {
            match subscriber.next_timeout(SOON) {
                Ok(frame) => {
                    let frame = frame.unwrap();
                    last = checked(&frame, last.min(frame.number() - 1));
                    held.push(frame);
                }
                Err(Error::Abandoned { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            if held.len() > choices.below(2) {
                checked(&held.remove(0), 0);
            }
        }
    }
}

fn take_all(ring: &Ring<u64, Ix1>, choices: &mut Random) {
    loop {
        let mut subscriber = ring.subscribe_lossless().unwrap();
        let mut last = None;
        for _ in 0..choices.below(200) {
            match subscriber.next_timeout(SOON) {
                Ok(frame) => {
                    let frame = frame.unwrap();
                    let number = checked(&frame, 0);
                    assert!(
                        last.is_none_or(|last| number == last + 1),
                        "{number} after {last:?}"
                    );
                    last = Some(number);
                }
                Err(Error::Abandoned { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(subscriber.missed(), 0);
    }
}

/// Elements of a row.
const ROW: usize = 64;

const PARTS_OF_A_LOG: [&str; 3] = ["append", "reserve", "read"];

#[test]
fn kills_of_appenders_lose_no_row_and_leave_no_half_of_one() {
    let kills = number_from("NDSHM_SOAK_KILLS").unwrap_or(60);
    let processes = number_from("NDSHM_SOAK_PROCESSES").unwrap_or(6);
    let seed = number_from("NDSHM_SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let root = common::Root::new();
    let manager = root.manager();
    // 512 MiB at most.
    let log: GrowingArray<u64, Ix2> = manager.options().growing(1 << 20, ROW).unwrap();
    let mut random = Random(seed);
    let mut appender = 0;
    let mut start = |number: u64, random: &mut Random| {
        appender += 1;
        let part = PARTS_OF_A_LOG[(number % PARTS_OF_A_LOG.len() as u64) as usize];
        let words = [
            part.to_owned(),
            log.handle().to_string(),
            (random.below(1 << 30) + 1).to_string(),
            appender.to_string(),
        ];
        Peer::start(child_of_a_log, &words)
    };
    let mut children: Vec<_> = (0..processes).map(|n| start(n, &mut random)).collect();
    let mut rows = Rows::default();
    let mut longest = Duration::ZERO;
    for kill in 0..kills {
        let victim = random.below(processes as usize);
        // The moment of the kill is what the test leaves to chance.
        std::thread::sleep(Duration::from_micros(random.below(10_000) as u64));
        killed(&mut children[victim]);
        let began = Instant::now();
        // A row that was appended after the kill; a full array has none.
        if log.len() + 2000 < log.max_len() {
            let len = log.wait_grown(log.len(), SOON);
            let len = len.unwrap_or_else(|error| panic!("kill {kill}, seed {seed}: {error}"));
            rows.check(&log, len);
        }
        longest = longest.max(began.elapsed());
        children[victim] = start(victim as u64, &mut random);
    }
    children.iter_mut().for_each(killed);
    rows.check(&log, log.len());
    // All are dead: the turn can be had.
    let (before, row) = (log.len(), ndarray::Array1::from_elem(ROW, 0));
    if before < log.max_len() {
        assert_eq!(log.append_row(&row).unwrap(), before);
    }
    println!(
        "growing arrays: {kills} kills of {processes} processes, {before} rows of {} appenders; \
         longest until another row came: {longest:?}",
        rows.next.len()
    );
}

/// The rows that were checked, and the next number of each appender.
#[derive(Default)]
struct Rows {
    len: usize,
    next: HashMap<u64, u64>,
}

impl Rows {
    /// Checks the rows up to a length.
    fn check(&mut self, log: &GrowingArray<u64, Ix2>, len: usize) {
        let rows = log.rows(self.len..len).unwrap();
        for row in rows.rows() {
            let (appender, number) = content_of(row);
            let next = self.next.entry(appender).or_default();
            assert_eq!(number, *next, "of appender {appender}");
            *next += 1;
        }
        self.len = len;
    }
}

/// The appender and its number in a row, which is whole.
fn content_of(row: ArrayView1<'_, u64>) -> (u64, u64) {
    let first = row[0];
    let is_whole = (0..).zip(row).all(|(at, &x)| x == first.wrapping_add(at));
    assert!(is_whole, "{row} is torn");
    (first >> 40, first >> 8 & 0xffff_ffff)
}

/// The elements of a row.
fn content(appender: u64, number: u64) -> impl Iterator<Item = u64> {
    let first = appender << 40 | number << 8;
    (0..ROW as u64).map(move |at| first + at)
}

#[test]
#[ignore = "runs in a child"]
fn child_of_a_log() {
    let [part, handle, seed, appender] = common::arguments().try_into().unwrap();
    crate::end_with_the_test();
    let handle: Handle = handle.parse().unwrap();
    let log: GrowingArray<u64, Ix2> = handle.open_growing().unwrap();
    let mut random = Random(seed.parse().unwrap());
    let appender: u64 = appender.parse().unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match part.as_str() {
        "read" => read_rows(&log, &mut random),
        part => append(&log, appender, part == "reserve", &mut random),
    }));
    // Its output names the fault; the test finds that it ended by itself.
    std::process::exit(if result.is_err() { 70 } else { 0 });
}

fn append(log: &GrowingArray<u64, Ix2>, appender: u64, reserves: bool, random: &mut Random) {
    let mut next = 0;
    loop {
        let count = 1 + random.below(5);
        // Others append too: room for a row of each of them stays.
        if log.len() + 1000 > log.max_len() {
            std::thread::sleep(SOON);
            continue;
        }
        let fill = |row: usize| content(appender, next + row as u64);
        if reserves {
            let Ok(mut rows) = log.reserve_timeout(count, SOON) else {
                continue;
            };
            for (at, mut row) in rows.rows_mut().into_iter().enumerate() {
                row.iter_mut()
                    .zip(fill(at))
                    .for_each(|(x, value)| *x = value);
            }
            // Some are dropped, and never were.
            let kept = random.below(count + 1);
            rows.commit_rows(kept).unwrap();
            next += kept as u64;
        } else {
            let rows: Vec<u64> = (0..count).flat_map(fill).collect();
            let rows = ndarray::Array2::from_shape_vec((count, ROW), rows).unwrap();
            log.append(&rows).unwrap();
            next += count as u64;
        }
        if random.below(50) == 0 {
            log.flush().unwrap();
        }
        // So that the array is not full before the last kill.
        std::thread::sleep(Duration::from_micros(random.below(300) as u64));
    }
}

fn read_rows(log: &GrowingArray<u64, Ix2>, random: &mut Random) {
    let mut rows = Rows::default();
    loop {
        match log.wait_grown(rows.len, SOON) {
            Ok(len) => rows.check(log, len),
            Err(Error::Timeout { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        if random.below(20) == 0 {
            // From the start, as a reader that comes late.
            rows = Rows::default();
        }
    }
}

//! Appending rows: one process, and four processes at once, beside `Mutex<Vec>` with `extend` in as
//! many threads, in the same round. Both write fresh pages: the vector has its capacity from the
//! start, so it copies nothing.
//!
//! Prints the nanoseconds of a row, all appenders together, their ratio, and the longest of all
//! appends of another run that takes the time of each.
#![allow(
    clippy::unwrap_used,
    reason = "a bench that fails has nothing to measure"
)]

#[allow(unused, reason = "this bench has times of its own")]
mod ratios;

use ndarray::{Array1, Ix2};
use ndshm::{GrowingArray, Handle, Manager};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::{Barrier, Mutex},
    time::{Duration, Instant},
};

const ROUNDS: usize = 5;
const APPENDERS: [usize; 2] = [1, 4];
/// Bytes of a row, and rows of each appender.
const SIZES: [(usize, usize); 2] = [(64, 1_000_000), (64 << 10, 1500)];

fn main() {
    if let Ok(side) = std::env::var("NDSHM_BENCH_SIDE") {
        return serve(&side);
    }
    let (rounds, share) = match ratios::is_test() {
        true => (1, 100),
        false => (ROUNDS, 1),
    };
    println!(
        "{:>8} {:>10} {:>14} {:>14} {:>7} {:>14} {:>14}",
        "row", "appenders", "growing", "Mutex<Vec>", "ratio", "worst append", "worst extend"
    );
    for (bytes, rows) in SIZES {
        for appenders in APPENDERS {
            measure(bytes, rows / share, appenders, rounds);
        }
    }
}

/// The time of a row in each round, and the longest single call.
fn measure(bytes: usize, rows: usize, appenders: usize, rounds: usize) {
    let mut found: Vec<[f64; 3]> = Vec::new();
    for _ in 0..rounds {
        let grown = growing(bytes, rows, appenders, false).as_nanos() as f64;
        let vector = vector(bytes, rows, appenders, false).as_nanos() as f64;
        let all = (rows * appenders) as f64;
        found.push([grown / all, vector / all, grown / vector]);
    }
    let [grown, in_vector, ratio] = std::array::from_fn(|column| {
        let mut values: Vec<_> = found.iter().map(|round| round[column]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    });
    println!(
        "{bytes:>8} {appenders:>10} {grown:>11.1} ns {in_vector:>11.1} ns {ratio:>7.2} {:>14?} \
         {:>14?}",
        growing(bytes, rows, appenders, true),
        vector(bytes, rows, appenders, true),
    );
}

fn row_of(bytes: usize) -> Array1<u64> {
    Array1::from_iter(0..bytes as u64 / 8)
}

/// Appends rows, and returns the time of all or, of a run that takes each time, the longest.
fn append(mut one: impl FnMut(), rows: usize, takes_each: bool) -> Duration {
    if takes_each {
        let times = (0..rows).map(|_| {
            let began = Instant::now();
            one();
            began.elapsed()
        });
        return times.max().unwrap_or_default();
    }
    let began = Instant::now();
    (0..rows).for_each(|_| one());
    began.elapsed()
}

/// By processes. The time from the start to the end of the last, or the longest of an append.
fn growing(bytes: usize, rows: usize, appenders: usize, takes_each: bool) -> Duration {
    let manager = Manager::new().unwrap();
    let log: GrowingArray<u64, Ix2> = manager.options().growing(1 << 30, bytes / 8).unwrap();
    if appenders == 1 {
        let row = row_of(bytes);
        return append(|| _ = log.append_row(&row).unwrap(), rows, takes_each);
    }
    let mut sides: Vec<_> = (0..appenders)
        .map(|_| Side::start(&format!("{} {bytes} {rows} {takes_each}", log.handle())))
        .collect();
    sides.iter_mut().for_each(|side| _ = side.hear());
    let began = Instant::now();
    sides.iter_mut().for_each(Side::go);
    let worst = sides.iter_mut().map(|side| side.hear().parse().unwrap());
    let worst = Duration::from_nanos(worst.max().unwrap());
    let all = began.elapsed();
    assert_eq!(log.len(), rows * appenders);
    sides.into_iter().for_each(Side::end);
    if takes_each { worst } else { all }
}

fn serve(side: &str) {
    let [handle, bytes, rows, takes_each] = side.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let log: GrowingArray<u64, Ix2> = handle.parse::<Handle>().unwrap().open_growing().unwrap();
    let row = row_of(bytes.parse().unwrap());
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let (rows, takes_each) = (rows.parse().unwrap(), takes_each == "true");
    let time = append(|| _ = log.append_row(&row).unwrap(), rows, takes_each);
    println!("{}", time.as_nanos());
}

/// By threads of this process, into a vector.
fn vector(bytes: usize, rows: usize, appenders: usize, takes_each: bool) -> Duration {
    let vector = Mutex::new(Vec::<u64>::with_capacity(rows * appenders * bytes / 8));
    let row = row_of(bytes);
    let barrier = Barrier::new(appenders + 1);
    let extend = || vector.lock().unwrap().extend(row.as_slice().unwrap());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..appenders)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    append(extend, rows, takes_each)
                })
            })
            .collect();
        barrier.wait();
        let began = Instant::now();
        let times = threads.into_iter().map(|thread| thread.join().unwrap());
        let worst = times.max().unwrap();
        if takes_each { worst } else { began.elapsed() }
    })
}

/// A process that appends.
struct Side {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Side {
    fn start(side: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env("NDSHM_BENCH_SIDE", side)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn hear(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    fn go(&mut self) {
        self.child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"go\n")
            .unwrap();
    }

    fn end(mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

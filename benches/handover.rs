//! The time of a hand-over: two processes that write the same array in turn, to and fro.
//!
//! Each side writes the array only when it sees that the other one has written, so every guard is
//! taken by the process that did not have the last one.
#![allow(
    clippy::unwrap_used,
    reason = "a bench that fails has nothing to measure"
)]

#[allow(unused, reason = "this bench has medians of its own")]
mod ratios;

use ndarray::Ix1;
use ndshm::{AtomicArray, Handle, Manager, SharedArray1};
use std::{
    io::Read,
    process::{Child, Command, Stdio},
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

/// Elements of the array; the first one has the turn.
const LEN: usize = 1000;
const ROUNDS: usize = 101;
/// Hand-overs of a round, for each form: so few that some rounds find both processors free.
const AWAKE: u64 = 500;
const ASLEEP: u64 = 20;
/// How long the holder of a guard keeps it after the other side began to wait for it: until it
/// sleeps.
const UNTIL_ASLEEP: Duration = Duration::from_micros(500);

// The words beside the array.
const ROUND: usize = 0;
const TURN: usize = 8;
const WAITS: usize = 16;
const GIVEN_BACK: usize = 24;

const FORMS: [(&str, u64); 4] = [
    ("a word in turn, without a guard", AWAKE),
    ("a write guard each, the turn beside it", AWAKE),
    ("the turn under the guard", AWAKE),
    ("asleep in write, until given back", ASLEEP),
];

struct Side {
    number: u64,
    array: SharedArray1<u64>,
    words: AtomicArray<u64, Ix1>,
}

impl Side {
    /// Does a form of so many hand-overs; returns the time of one.
    fn run(&self, form: usize, count: u64) -> Duration {
        let begin = Instant::now();
        match form {
            0 => self.pass(count, || {}),
            1 => self.pass(count, || drop(self.array.write().unwrap())),
            2 => self.pass_under_the_guard(count),
            _ => return self.pass_asleep(count),
        }
        begin.elapsed() / count as u32
    }

    /// Passes the turn by the word beside the array, and does `action` with each turn.
    fn pass(&self, count: u64, action: impl Fn()) {
        let turn = &self.words[TURN];
        for step in (self.number..count).step_by(2) {
            while turn.load(SeqCst) != step {
                std::hint::spin_loop();
            }
            action();
            turn.store(step + 1, SeqCst);
        }
        while turn.load(SeqCst) < count {
            std::hint::spin_loop();
        }
    }

    fn pass_under_the_guard(&self, count: u64) {
        let mut step = self.number;
        while step < count {
            let mut guard = self.array.write().unwrap();
            if guard[0] == step {
                guard[0] += 1;
                step += 2;
            }
        }
    }

    /// Each side holds the guard until the other one sleeps in `write`. Returns the median time
    /// from the return of the guard to the end of the other side's `write`.
    fn pass_asleep(&self, count: u64) -> Duration {
        let (waits, given_back) = (&self.words[WAITS], &self.words[GIVEN_BACK]);
        let mut times = Vec::new();
        for step in (self.number..=count).step_by(2) {
            if step > 0 {
                // The turn of a step before, plus one: a round begins with zero, which is no turn.
                while self.words[TURN].load(SeqCst) != step {
                    std::thread::yield_now();
                }
                waits.store(step, SeqCst);
            }
            let guard = self.array.write().unwrap();
            if step > 0 {
                times.push(now().saturating_sub(given_back.load(SeqCst)));
            }
            self.words[TURN].store(step + 1, SeqCst);
            if step < count {
                while waits.load(SeqCst) != step + 1 {
                    std::thread::yield_now();
                }
                std::thread::sleep(UNTIL_ASLEEP);
                given_back.store(now(), SeqCst);
            }
            drop(guard);
        }
        times.sort_unstable();
        Duration::from_nanos(times[times.len() / 2])
    }
}

/// Nanoseconds of a clock that all processes have in common.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The other process does each round that the word names: the form, and how many hand-overs.
fn serve(handles: &str) {
    // The first process is gone: this one must not spin on.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    let (array, words) = handles.split_once(' ').unwrap();
    let (array, words) = (array.parse::<Handle>().unwrap(), words.parse::<Handle>());
    let side = Side {
        number: 1,
        array: array.open().unwrap(),
        words: words.unwrap().open().unwrap().atomic().unwrap(),
    };
    let mut last = 0;
    loop {
        let round = side.words[ROUND].load(SeqCst);
        if round == last {
            std::thread::yield_now();
            continue;
        }
        last = round;
        let Some((_, count)) = FORMS.get(round as usize % 8) else {
            return;
        };
        side.run(round as usize % 8, *count);
        side.words[ROUND + 1].store(round, SeqCst);
    }
}

fn start(array: &SharedArray1<u64>, words: &SharedArray1<u64>) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env(
            "NDSHM_BENCH_SIDE",
            format!("{} {}", array.handle(), words.handle()),
        )
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

fn main() {
    if let Ok(handles) = std::env::var("NDSHM_BENCH_SIDE") {
        return serve(&handles);
    }
    let manager = Manager::new().unwrap();
    let array: SharedArray1<u64> = manager.zeros(LEN).unwrap();
    let words: SharedArray1<u64> = manager.zeros(32).unwrap();
    let mut other = start(&array, &words);
    let side = Side {
        number: 0,
        words: words.atomic().unwrap(),
        array,
    };
    let rounds = if ratios::is_test() { 1 } else { ROUNDS };
    println!("{:<44} {:>12} {:>12}", "hand-over", "median", "least");
    let mut number = 0;
    for (form, (name, count)) in FORMS.into_iter().enumerate() {
        let mut times = Vec::new();
        for _ in 0..rounds {
            side.array.write().unwrap()[0] = 0;
            for word in [TURN, WAITS, GIVEN_BACK] {
                side.words[word].store(0, SeqCst);
            }
            number += 8;
            side.words[ROUND].store(number + form as u64, SeqCst);
            times.push(side.run(form, count));
            while side.words[ROUND + 1].load(SeqCst) != number + form as u64 {
                std::thread::yield_now();
            }
        }
        times.sort_unstable();
        println!(
            "{name:<44} {:>12.3?} {:>12.3?}",
            times[times.len() / 2],
            times[0]
        );
    }
    side.words[ROUND].store(7, SeqCst);
    let input = other.stdin.take();
    other.wait().unwrap();
    drop(input);
}

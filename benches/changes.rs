//! The cost of a write guard that is counted, and how fast a write wakes another process: beside a
//! guard that is not counted, and a futex alone.
#![allow(
    clippy::unwrap_used,
    reason = "a bench that fails has nothing to measure"
)]
#![allow(unsafe_code, reason = "the floor is a futex, a call of libc")]

mod ratios;

use ndarray::{Ix1, s};
use ndshm::{AtomicArray, Handle, Manager, SharedArray1, SharedArray2};
use ratios::{is_test, medians, report, title};
use std::{
    hint::black_box,
    process::{Child, Command},
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    time::{Duration, Instant},
};

const MINUTE: Duration = Duration::from_secs(60);
const ROUNDS: u32 = 20_000;

/// One of two that wake each other.
struct Side {
    mine: SharedArray1<u64>,
    other: SharedArray1<u64>,
    words: AtomicArray<u32, Ix1>,
    number: usize,
}

impl Side {
    fn new(handles: [&str; 2], number: usize) -> Self {
        let [array, words] = handles.map(|handle| handle.parse::<Handle>().unwrap());
        let array: SharedArray2<u64> = array.open().unwrap();
        let row = |number: usize| array.slice(s![7 * number, ..]).unwrap();
        Self {
            mine: row(number),
            other: row(1 - number),
            words: words.open::<u32, Ix1>().unwrap().atomic().unwrap(),
            number,
        }
    }

    /// Writes, or waits until the other one has written so often.
    fn write(&self, round: u32) {
        self.mine.write().unwrap()[0] = round.into();
    }

    fn wait(&self, round: u32) {
        loop {
            let seen = self.other.changed().unwrap();
            if self.other.read().unwrap()[0] >= round.into() {
                return;
            }
            self.other.wait_changed(seen, MINUTE).unwrap();
        }
    }

    /// The same by a futex alone.
    fn raise(&self, round: u32) {
        let word = &self.words[16 * self.number];
        word.store(round, SeqCst);
        futex(word, libc::FUTEX_WAKE, i32::MAX as u32);
    }

    fn await_word(&self, round: u32) {
        let word = &self.words[16 * (1 - self.number)];
        loop {
            let found = word.load(SeqCst);
            if found >= round {
                return;
            }
            futex(word, libc::FUTEX_WAIT, found);
        }
    }

    fn rounds(&self, rounds: u32) {
        for round in 1..=rounds {
            self.wait(round);
            self.write(round);
        }
        for round in 1..=rounds {
            self.await_word(round);
            self.raise(round);
        }
    }
}

fn futex(word: &AtomicU32, operation: i32, value: u32) {
    let no_time = std::ptr::null::<libc::timespec>();
    // SAFETY: the word is borrowed for the call, and the other arguments are values.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, no_time) };
}

/// Half of the times there and back, sorted.
fn one_way(rounds: u32, mut round: impl FnMut(u32)) -> Vec<Duration> {
    let mut times: Vec<_> = (1..=rounds)
        .map(|number| {
            let start = Instant::now();
            round(number);
            start.elapsed() / 2
        })
        .collect();
    times.sort();
    times
}

fn start(handles: [&str; 2], rounds: u32) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", handles[0], handles[1], &rounds.to_string()]);
    command.spawn().unwrap()
}

fn wake(manager: &Manager, rounds: u32) -> [Vec<Duration>; 2] {
    let array = manager.zeros::<u64, _>((8, 100)).unwrap();
    let words = manager.zeros::<u32, _>(32).unwrap();
    let handles = [array.handle().to_string(), words.handle().to_string()];
    let handles = [&*handles[0], &*handles[1]];
    let mut child = start(handles, rounds);
    let side = Side::new(handles, 0);
    let counted = one_way(rounds, |round| {
        side.write(round);
        side.wait(round);
    });
    let futex = one_way(rounds, |round| {
        side.raise(round);
        side.await_word(round);
    });
    assert!(child.wait().unwrap().success());
    [counted, futex]
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let ["child", array, words, rounds] =
        *arguments.iter().skip(1).map(|a| &**a).collect::<Vec<_>>()
    {
        Side::new([array, words], 1).rounds(rounds.parse().unwrap());
        return;
    }
    let manager = Manager::new().unwrap();
    let shape = (8, 1000);
    let arrays = [0; 2].map(|_| manager.zeros::<f64, _>(shape).unwrap());
    let [plain, watched] = &arrays;
    watched.changed().unwrap();
    let rows = arrays.each_ref().map(|array| {
        let row = |at: usize| array.slice(s![at, ..]).unwrap();
        [row(0), row(7)]
    });
    let mut write = || drop(black_box(plain.write().unwrap()));
    let mut write_counted = || drop(black_box(watched.write().unwrap()));
    let mut at = [0; 2];
    let [mut row, mut row_counted] = {
        let [first, second] = &mut at;
        [(first, &rows[0]), (second, &rows[1])].map(|(at, rows)| {
            move || {
                *at ^= 1;
                drop(black_box(rows[*at].write().unwrap()));
            }
        })
    };
    let mut ask = || _ = black_box(watched.changed().unwrap());
    if is_test() {
        write();
        write_counted();
        row();
        row_counted();
        ask();
        wake(&manager, 10);
        return;
    }
    title();
    report(
        "write guard of a watched array",
        "not watched, rests",
        &medians(&mut [&mut write_counted, &mut write]),
    );
    report(
        "two rows in turn, of a watched array",
        "not watched, does not rest",
        &medians(&mut [&mut row_counted, &mut row]),
    );
    report(
        "changed",
        "write guard, not watched",
        &medians(&mut [&mut ask, &mut write]),
    );
    let [counted, futex] = wake(&manager, ROUNDS);
    for (what, at) in [("median", ROUNDS / 2), ("99th of 100", ROUNDS / 100 * 99)] {
        let at = at as usize;
        report(
            &format!("a write until another process reads, {what}"),
            "futex alone",
            &[counted[at], futex[at]],
        );
    }
}

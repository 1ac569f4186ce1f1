//! Crowds of processes at one array: what they cost while they wait for one guard, and how soon
//! all of them go on when it is given back, or are told when its holder is killed.
#![allow(
    clippy::unwrap_used,
    reason = "a bench that fails has nothing to measure"
)]

#[allow(unused, reason = "this bench has times of its own")]
mod ratios;

use ndarray::Ix1;
use ndshm::{AtomicArray, Handle, Manager, Observer, SharedArray1};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::Ordering::SeqCst,
    time::Duration,
};

const CROWDS: [usize; 3] = [10, 226, 1000];
/// How long the waiting processes are watched.
const WATCHED: Duration = Duration::from_secs(5);
/// How long a process works with its guard: long enough for those to wait again that are woken too
/// early.
const WORK: Duration = Duration::from_micros(200);
/// How long each process takes guards in a loop.
const LOOP: Duration = Duration::from_secs(2);

// The words beside the array; further ones count the guards of each process.
const DONE: usize = 0;
const LAST: usize = 8;
const COUNTS: usize = 16;

fn main() {
    if let Ok(side) = std::env::var("NDSHM_BENCH_SIDE") {
        return serve(&side);
    }
    let (mut crowds, watched) = match ratios::is_test() {
        true => (vec![3], Duration::from_millis(50)),
        false => (CROWDS.to_vec(), WATCHED),
    };
    let asked: Vec<usize> = std::env::args()
        .filter_map(|one| one.parse().ok())
        .collect();
    if !asked.is_empty() {
        crowds = asked;
    }
    println!(
        "{:<10} {:<6} {:>10} {:>14} {:>14} {:>14} {:>10} {:>15}",
        "processes",
        "want",
        "waiting",
        "served in",
        "cost of one",
        "told in",
        "in a loop",
        "least - most"
    );
    for count in crowds {
        for want in ["write", "read"] {
            Crowd::start(count).measure(want, watched);
        }
    }
}

/// The processes, and the array that all of them want.
struct Crowd {
    manager: Manager,
    array: SharedArray1<u64>,
    words: AtomicArray<u64, Ix1>,
    children: Vec<Side>,
    holder: Side,
}

impl Crowd {
    fn start(count: usize) -> Self {
        let manager = Manager::new().unwrap();
        let array: SharedArray1<u64> = manager.zeros(1000).unwrap();
        let words: SharedArray1<u64> = manager.zeros(COUNTS + count).unwrap();
        let handles = format!("{} {}", array.handle(), words.handle());
        let start = |number: usize| Side::start(&format!("{handles} {number}"));
        Self {
            children: (0..count).map(start).collect(),
            holder: start(0),
            words: words.atomic().unwrap(),
            manager,
            array,
        }
    }

    fn measure(mut self, want: &str, watched: Duration) {
        let count = self.children.len();
        let held = self.array.write().unwrap();
        self.send(want);
        self.await_waiters();
        let before = self.processor_time();
        std::thread::sleep(watched);
        let after = self.processor_time();
        let share = (after - before) as f64 / watched.as_nanos() as f64;
        let served = self.all_done(|_| drop(held));
        let spent = Duration::from_nanos(self.processor_time() - after);

        self.holder.send("hold");
        self.holder.hear();
        self.send(want);
        self.await_waiters();
        let told = self.all_done(|crowd| crowd.holder.child.kill().unwrap());
        self.holder.child.wait().unwrap();
        self.array.recover().unwrap();

        self.send(&format!("loop {want}"));
        self.all_done(|_| {});
        let counts = (0..count).map(|i| self.words[COUNTS + i].load(SeqCst));
        let (total, least, most) = (
            counts.clone().sum::<u64>() as f64 / LOOP.as_secs_f64(),
            counts.clone().min().unwrap(),
            counts.max().unwrap(),
        );
        println!(
            "{count:<10} {want:<6} {:>8.1} % {served:>14.3?} {:>14.3?} {told:>14.3?} \
             {total:>8.0}/s {least:>7} - {most:<6}",
            share * 100.0,
            (spent / count as u32).saturating_sub(WORK),
        );
    }

    fn send(&mut self, action: &str) {
        self.words[DONE].store(0, SeqCst);
        self.words[LAST].store(0, SeqCst);
        self.children.iter_mut().for_each(|side| side.send(action));
    }

    /// Waits until all processes sleep in their calls.
    fn await_waiters(&self) {
        let observer = Observer::open(self.manager.path()).unwrap();
        let are_waiting = || {
            let locks = observer.locks().unwrap();
            locks.iter().filter(|lock| lock.holder.is_waiting).count() >= self.children.len()
        };
        while !are_waiting() {
            std::thread::sleep(Duration::from_millis(50));
        }
        // Until they sleep as long as they do in a long wait.
        std::thread::sleep(Duration::from_secs(1));
    }

    /// The processor time of all processes so far, in nanoseconds.
    fn processor_time(&self) -> u64 {
        let time_of = |side: &Side| {
            let line = fs::read_to_string(format!("/proc/{}/schedstat", side.child.id())).unwrap();
            line.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        self.children.iter().map(time_of).sum()
    }

    /// Begins by an action; returns the time until the last process was done.
    fn all_done(&mut self, begin: impl FnOnce(&mut Self)) -> Duration {
        let began = now();
        begin(self);
        while self.words[DONE].load(SeqCst) < self.children.len() as u64 {
            std::thread::sleep(Duration::from_millis(5));
        }
        Duration::from_nanos(self.words[LAST].load(SeqCst).saturating_sub(began))
    }
}

struct Side {
    child: Child,
    input: ChildStdin,
}

impl Side {
    fn start(side: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env("NDSHM_BENCH_SIDE", side)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        Self { child, input }
    }

    fn send(&mut self, action: &str) {
        writeln!(self.input, "{action}").unwrap();
    }

    fn hear(&mut self) {
        let output = self.child.stdout.as_mut().unwrap();
        BufReader::new(output)
            .read_line(&mut String::new())
            .unwrap();
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

/// Nanoseconds of a clock that all processes have in common.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn work() {
    let end = now() + WORK.as_nanos() as u64;
    while now() < end {
        std::hint::spin_loop();
    }
}

/// Does each action that the first process asks for.
fn serve(side: &str) {
    let [array, words, number] = side.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let array: SharedArray1<u64> = array.parse::<Handle>().unwrap().open().unwrap();
    let words: SharedArray1<u64> = words.parse::<Handle>().unwrap().open().unwrap();
    let words: AtomicArray<u64, Ix1> = words.atomic().unwrap();
    let number: usize = number.parse().unwrap();
    for line in std::io::stdin().lines() {
        match &*line.unwrap() {
            "write" => _ = array.write().map(|_guard| work()),
            "read" => _ = array.read().map(|_guard| work()),
            "hold" => {
                let _held = array.write().unwrap();
                println!("holds");
                std::thread::sleep(Duration::MAX);
            }
            of_loop => {
                let writes = of_loop.ends_with("write");
                let (end, mut count) = (now() + LOOP.as_nanos() as u64, 0);
                while now() < end {
                    match writes {
                        true => drop(array.write().unwrap()),
                        false => drop(array.read().unwrap()),
                    }
                    count += 1;
                }
                words[COUNTS + number].store(count, SeqCst);
            }
        }
        words[LAST].fetch_max(now(), SeqCst);
        words[DONE].fetch_add(1, SeqCst);
    }
}

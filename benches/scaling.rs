//! How much of its rate alone each of two keeps that use one array at the same time: two processes,
//! and two threads of one, beside locks of the standard library, the C library and the kernel.
//!
//! A round measures one side alone and then both. It counts only if each of them had nine tenths of
//! its processor: otherwise the machine, not the lock, took the time.
#![allow(
    clippy::unwrap_used,
    reason = "a bench that fails has nothing to measure"
)]
#![allow(
    unsafe_code,
    reason = "locks of the C library in shared memory, and of the kernel, are calls of libc"
)]

#[allow(unused, reason = "this bench has medians of its own")]
mod ratios;

use ndarray::{Ix1, Ix2, s};
use ndshm::{AtomicArray, Handle, Manager, SharedArray, SharedArray2};
use std::{
    fs::File,
    hint::black_box,
    io::{BufRead, BufReader, Write},
    os::fd::AsRawFd,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, RwLock, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

/// How long a side runs in a round.
const TIME: Duration = Duration::from_millis(20);
const ROUNDS: usize = 31;
/// How much of its processor a side must have had.
const SHARE: f64 = 0.9;
/// The array: rows, of which each side uses half, and columns.
const SHAPE: (usize, usize) = (1000, 125);
/// Where the locks of the C library lie in the array.
const RWLOCK_AT: usize = 0;
const MUTEX_AT: usize = 2048;

/// What a side does again and again.
const ACTIONS: [&str; 10] = [
    "nothing shared",
    "read all",
    "read rows in turn",
    "write the own half",
    "write rows of the own half in turn",
    "write every other row in turn",
    "read and write the own half in turn",
    "pthread_rwlock (PSHARED), read",
    "robust pthread_mutex (PSHARED)",
    "F_OFD_SETLK, own byte",
];
/// Only for threads.
const STD: &str = "std's RwLock, read";

struct Side {
    array: SharedArray2<f64>,
    parts: Vec<SharedArray2<f64>>,
    half: SharedArray2<f64>,
    locks: AtomicArray<u64, Ix1>,
    file: File,
    std: Arc<RwLock<u64>>,
    number: usize,
}

impl Side {
    fn new(array: &SharedArray2<f64>, locks: &SharedArray<u64, Ix1>, number: usize) -> Self {
        let half = SHAPE.0 / 2;
        let path = array.path().to_path_buf();
        Self {
            array: array.slice(s![.., ..]).unwrap(),
            parts: (0..SHAPE.0)
                .map(|row| array.slice(s![row..row + 1, ..]).unwrap())
                .collect(),
            half: array
                .slice(s![number * half..(number + 1) * half, ..])
                .unwrap(),
            locks: locks.atomic().unwrap(),
            file: File::options().read(true).write(true).open(path).unwrap(),
            std: Arc::default(),
            number,
        }
    }

    fn lock_at<T>(&self, offset: usize) -> *mut T {
        std::ptr::from_ref(&self.locks[offset / 8])
            .cast_mut()
            .cast()
    }

    /// Does an action for a time; returns its rate and the share of the processor.
    fn run(&self, action: &str) -> (f64, f64) {
        let half = SHAPE.0 / 2;
        let own = self.number * half;
        match action {
            "nothing shared" => {
                let mut x = 1u64;
                repeat(|_| (0..8).for_each(|_| x = black_box(x.wrapping_mul(3))))
            }
            "read all" => repeat(|_| drop(black_box(self.array.read().unwrap()))),
            "read rows in turn" => {
                repeat(|i| drop(black_box(self.parts[i % SHAPE.0].read().unwrap())))
            }
            "write the own half" => repeat(|_| drop(black_box(self.half.write().unwrap()))),
            "write rows of the own half in turn" => {
                repeat(|i| drop(black_box(self.parts[own + i % half].write().unwrap())))
            }
            "write every other row in turn" => repeat(|i| {
                let row = i % half * 2 + self.number;
                drop(black_box(self.parts[row].write().unwrap()));
            }),
            "read and write the own half in turn" => repeat(|i| match i % 2 {
                0 => drop(black_box(self.half.read().unwrap())),
                _ => drop(black_box(self.half.write().unwrap())),
            }),
            "pthread_rwlock (PSHARED), read" => {
                let lock = self.lock_at(RWLOCK_AT);
                repeat(|_| {
                    // SAFETY: the lock was made in shared memory, which the atomic view keeps.
                    let taken = unsafe { libc::pthread_rwlock_rdlock(lock) };
                    // SAFETY: as above, and this thread has it.
                    let freed = unsafe { libc::pthread_rwlock_unlock(lock) };
                    assert_eq!((taken, freed), (0, 0));
                })
            }
            "robust pthread_mutex (PSHARED)" => {
                let lock = self.lock_at(MUTEX_AT);
                repeat(|_| {
                    // SAFETY: the lock was made in shared memory, which the atomic view keeps.
                    let taken = unsafe { libc::pthread_mutex_lock(lock) };
                    // SAFETY: as above, and this thread has it.
                    let freed = unsafe { libc::pthread_mutex_unlock(lock) };
                    assert_eq!((taken, freed), (0, 0));
                })
            }
            "F_OFD_SETLK, own byte" => repeat(|_| self.lock_by_kernel()),
            STD => repeat(|_| drop(black_box(self.std.read().unwrap()))),
            other => panic!("no action {other}"),
        }
    }

    fn lock_by_kernel(&self) {
        for kind in [libc::F_WRLCK, libc::F_UNLCK] {
            let lock = libc::flock {
                l_type: kind as i16,
                l_whence: libc::SEEK_SET as i16,
                l_start: 1 << 40 | self.number as i64,
                l_len: 1,
                l_pid: 0,
            };
            // SAFETY: F_OFD_SETLK reads the flock that it is given; the descriptor is open.
            let answer =
                unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
            assert_eq!(answer, 0);
        }
    }
}

/// Repeats an action; returns its rate per second and the share of a processor that it had.
fn repeat(mut action: impl FnMut(usize)) -> (f64, f64) {
    let (begin, begin_busy) = (Instant::now(), busy());
    let mut times = 0;
    let elapsed = loop {
        for _ in 0..100 {
            action(times);
            times += 1;
        }
        let elapsed = begin.elapsed();
        if elapsed >= TIME {
            break elapsed;
        }
    };
    let share = (busy() - begin_busy).as_secs_f64() / elapsed.as_secs_f64();
    (times as f64 / elapsed.as_secs_f64(), share)
}

/// The processor time of this thread.
fn busy() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Makes the locks of the C library.
fn make_locks(locks: &AtomicArray<u64, Ix1>) {
    let at = |offset: usize| std::ptr::from_ref(&locks[offset / 8]).cast_mut();
    let mut rwlock = std::mem::MaybeUninit::uninit();
    let mut mutex = std::mem::MaybeUninit::uninit();
    // SAFETY: each call initializes or changes the attributes that it is given, in this order.
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one argument for all")]
    unsafe {
        libc::pthread_rwlockattr_init(rwlock.as_mut_ptr());
        libc::pthread_rwlockattr_setpshared(rwlock.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
        libc::pthread_rwlock_init(at(RWLOCK_AT).cast(), rwlock.as_ptr());
        libc::pthread_mutexattr_init(mutex.as_mut_ptr());
        libc::pthread_mutexattr_setpshared(mutex.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
        libc::pthread_mutexattr_setrobust(mutex.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
        libc::pthread_mutex_init(at(MUTEX_AT).cast(), mutex.as_ptr());
    }
}

/// The other process: does what it is told, and answers with its rate and share.
struct Other {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Other {
    fn start(handles: [Handle; 2]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(
                "NDSHM_BENCH_SIDE",
                handles.map(|handle| handle.to_string()).join(" "),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn begin(&mut self, action: &str) {
        writeln!(self.input, "{action}").unwrap();
    }

    fn end(&mut self) -> (f64, f64) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let (rate, share) = line.trim().split_once(' ').unwrap();
        (rate.parse().unwrap(), share.parse().unwrap())
    }
}

fn serve(handles: &str) {
    let (array, locks) = handles.split_once(' ').unwrap();
    let array = array.parse::<Handle>().unwrap().open::<f64, Ix2>().unwrap();
    let locks = locks.parse::<Handle>().unwrap().open::<u64, Ix1>().unwrap();
    let side = Side::new(&array, &locks, 1);
    for action in std::io::stdin().lines() {
        start_together(&side.locks);
        let (rate, share) = side.run(&action.unwrap());
        println!("{rate} {share}");
    }
}

/// Waits for the other side: a word counts the sides that have come.
fn start_together(words: &AtomicArray<u64, Ix1>) {
    let word = &words[1000];
    let mine = word.fetch_add(1, SeqCst);
    while word.load(SeqCst) < mine / 2 * 2 + 2 {
        std::hint::spin_loop();
    }
}

/// The rate of one side alone, and the part of it that each keeps beside the other; the medians of
/// the rounds that count, and their number.
fn measure(side: &Side, action: &str, mut both: impl FnMut() -> [(f64, f64); 2]) -> String {
    let (mut rates, mut parts) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (alone, share) = side.run(action);
        let sides = both();
        if share < SHARE || sides.iter().any(|side| side.1 < SHARE) {
            continue;
        }
        rates.push(1e9 / alone);
        parts.push((sides[0].0 + sides[1].0) / 2.0 / alone);
    }
    if rates.is_empty() {
        return format!("{action:<38} no round counts: the machine is busy");
    }
    rates.sort_by(f64::total_cmp);
    parts.sort_by(f64::total_cmp);
    let middle = rates.len() / 2;
    let (rate, part) = (rates[middle], parts[middle]);
    format!(
        "{action:<38} {rate:>8.1} ns {part:>7.2}  {:>3} rounds",
        rates.len()
    )
}

fn main() {
    if let Ok(handles) = std::env::var("NDSHM_BENCH_SIDE") {
        return serve(&handles);
    }
    let manager = Manager::new().unwrap();
    let array: SharedArray2<f64> = manager.zeros(SHAPE).unwrap();
    let locks: SharedArray<u64, Ix1> = manager.zeros(1024).unwrap();
    make_locks(&locks.atomic().unwrap());
    let side = Side::new(&array, &locks, 0);
    let mut other = Other::start([array.handle(), locks.handle()]);
    let actions: Vec<_> = match ratios::is_test() {
        true => Vec::new(),
        false => ACTIONS.to_vec(),
    };
    println!("{:<38} {:>11} {:>7}", "two processes", "alone", "kept");
    for &action in &actions {
        let both = || {
            other.begin(action);
            start_together(&side.locks);
            [side.run(action), other.end()]
        };
        println!("{}", measure(&side, action, both));
    }
    println!("{:<38} {:>11} {:>7}", "two threads", "alone", "kept");
    let second = Side {
        std: side.std.clone(),
        ..Side::new(&array, &locks, 1)
    };
    for &action in actions.iter().chain(actions.first().map(|_| &STD)) {
        let both = || {
            std::thread::scope(|scope| {
                let second = scope.spawn(|| {
                    start_together(&second.locks);
                    second.run(action)
                });
                start_together(&side.locks);
                [side.run(action), second.join().unwrap()]
            })
        };
        println!("{}", measure(&side, action, both));
    }
    drop(other.input);
    other.child.wait().unwrap();
}

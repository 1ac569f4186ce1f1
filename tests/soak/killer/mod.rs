//! The killer: starts workers, kills them at moments that it chooses by their states, and checks
//! their leftovers.

mod end;
mod held;

use crate::{
    cells::{GRIDS, Random},
    common,
    shared::{COUNTERS, SharedWords, State},
    worker::{COUNTERS_NAME, Places},
};
use held::Tally;
use ndshm::{Error, Manager, Observer, SharedArray1, SharedArray2};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::{fs::DirBuilderExt, process::ExitStatusExt},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// A thread that does not move for so long is stuck: this long, and a part more for each worker,
/// because all of them want the same arrays and share the processors.
const WATCHDOG: Duration = Duration::from_secs(30);
const WATCHDOG_OF_A_WORKER: Duration = Duration::from_millis(500);
/// Threads of each worker, again and again.
const THREADS: [usize; 6] = [1, 1, 1, 1, 2, 2];

/// The state of a worker that the killer waits for.
#[derive(Clone, Copy)]
enum Target {
    Any,
    In(&'static [State]),
    /// A writer whose bytes the test waits to read.
    BlockingWriter,
    /// A holder of the lock word of a table.
    InsideTheTable,
    /// One that freezes an array, and waits for its readers.
    Freezing,
}

pub(crate) struct Killer {
    random: Random,
    seed: u64,
    places: Places,
    directory: std::path::PathBuf,
    shared: SharedWords,
    manager: Manager,
    grids: Vec<SharedArray2<u64>>,
    counters: SharedArray1<u64>,
    /// Of the grids, and of the counters.
    files: Vec<File>,
    workers: Vec<Running>,
    incarnations: u64,
    began: Instant,
    /// Writes of each cell that may or may not have happened when their writer died.
    in_doubt: Vec<[u64; 64]>,
    /// Additions to each counter, likewise.
    adds_in_doubt: [u64; COUNTERS],
    /// Of the counters in the end, and of the additions that were told.
    sums: (u64, u64),
    /// Frozen and abandoned.
    frames_left: (usize, usize),
    by_state: BTreeMap<State, usize>,
    tally: Tally,
    /// How long the test waited for the bytes that a dead writer held.
    waits: Vec<Duration>,
    waits_without_poison: usize,
    beats: Vec<(u64, Option<Instant>)>,
    watchdog: Duration,
    load: f64,
}

/// A worker, killed when this is dropped.
struct Running {
    child: Child,
    first_thread: usize,
    threads: usize,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn threads(&self) -> std::ops::Range<usize> {
        self.first_thread..self.first_thread + self.threads
    }
}

impl Killer {
    pub(crate) fn new(directory: &Path, seed: u64, workers: usize) -> Self {
        let places = Places::in_directory(directory);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(places.store.parent().unwrap())
            .unwrap();
        fs::create_dir(&places.offers).unwrap();
        fs::create_dir(&places.frames).unwrap();
        // Two for each worker, if it has two threads or not.
        let shared = SharedWords::create(&places.shared, workers * 2);
        let manager = Manager::create(&places.store).unwrap();
        let grids: Vec<_> = GRIDS.iter().map(|grid| grid.create(&manager)).collect();
        let counters = manager
            .options()
            .name(COUNTERS_NAME)
            .zeros::<u64, _>(COUNTERS)
            .unwrap();
        let files = grids
            .iter()
            .map(SharedArray2::path)
            .chain([counters.path()])
            .map(|path| File::open(path).unwrap())
            .collect();
        let mut killer = Self {
            random: Random(seed),
            seed,
            places,
            directory: directory.into(),
            shared,
            manager,
            grids,
            counters,
            files,
            workers: Vec::new(),
            incarnations: 1,
            began: Instant::now(),
            in_doubt: vec![[0; 64]; GRIDS.len()],
            adds_in_doubt: [0; COUNTERS],
            sums: (0, 0),
            frames_left: (0, 0),
            by_state: BTreeMap::new(),
            tally: Tally::default(),
            waits: Vec::new(),
            waits_without_poison: 0,
            beats: vec![(0, None); workers * 2],
            watchdog: WATCHDOG + WATCHDOG_OF_A_WORKER * workers as u32,
            load: 0.0,
        };
        println!("seed {seed}");
        for worker in 0..workers {
            let running = killer.start(worker * 2, THREADS[worker % THREADS.len()]);
            killer.workers.push(running);
        }
        killer
    }

    pub(crate) fn kills(&self) -> u64 {
        self.shared.kills()
    }

    fn start(&mut self, first_thread: usize, threads: usize) -> Running {
        let arguments = [
            self.directory.to_str().unwrap().to_owned(),
            first_thread.to_string(),
            threads.to_string(),
            self.incarnations.to_string(),
            self.seed.to_string(),
        ];
        self.incarnations += threads as u64;
        let mut command = common::child_command(crate::child_works, &arguments);
        // A worker's error output goes to that of the test.
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Running {
            child,
            first_thread,
            threads,
        }
    }

    /// Kills one worker and starts another in its place.
    pub(crate) fn kill_one(&mut self) {
        std::thread::sleep(Duration::from_millis(self.random.below(70) as u64));
        self.watch();
        use State::*;
        let target = match self.random.below(100) {
            0..11 => Target::In(&[Reading]),
            11..20 => Target::In(&[Writing]),
            20..31 => Target::BlockingWriter,
            31..41 => Target::InsideTheTable,
            41..45 => Target::In(&[WaitingToRead]),
            45..51 => Target::In(&[WaitingToWrite]),
            51..54 => Target::In(&[WaitingToRecover]),
            54..61 => Target::In(&[Recovering]),
            61..64 => Target::In(&[Leaving]),
            64..67 => Target::In(&[Creating]),
            67..69 => Target::In(&[Dropping]),
            69..72 => Target::In(&[Opening]),
            72..75 => Target::In(&[Claiming]),
            75..78 => Target::In(&[Releasing]),
            78..81 => Target::In(&[Sweeping]),
            81..83 => Target::In(&[Joining]),
            83..87 => Target::In(&[Filling]),
            87..90 => Target::Freezing,
            90..92 => Target::In(&[HoldingFrozen]),
            92..94 => Target::In(&[Awaiting]),
            94..96 => Target::In(&[Counting]),
            96 => Target::In(&[AwaitingCount, Watching]),
            97 => Target::In(&[Resting, WaitingForSet]),
            98 => Target::In(&[WaitingToCount]),
            _ => Target::Any,
        };
        // Some states need a death before them.
        let before = match target {
            Target::In([Recovering | WaitingToRecover]) => Some(Target::BlockingWriter),
            Target::In([Joining]) => Some(Target::Any),
            _ => None,
        };
        if let Some(before) = before {
            let (victim, is_stopped) = self.find(before);
            self.kill(victim, is_stopped, false);
        }
        let reader = if matches!(target, Target::Freezing) {
            self.hold_a_reader()
        } else {
            None
        };
        let (victim, is_stopped) = self.find(target);
        drop(reader);
        self.kill(victim, is_stopped, matches!(target, Target::BlockingWriter));
    }

    /// Waits, not for long, until a worker is in the wanted state. Returns which one, and whether
    /// it is stopped; it may have gone on otherwise.
    fn find(&mut self, target: Target) -> (usize, bool) {
        let is_rare = matches!(
            target,
            Target::Freezing
                | Target::In([State::Filling | State::HoldingFrozen | State::Awaiting])
        );
        let deadline = Instant::now() + Duration::from_millis(if is_rare { 200 } else { 60 });
        let mut victim = self.random.below(self.workers.len());
        while Instant::now() < deadline {
            victim = (victim + 1) % self.workers.len();
            let is_in = |states: &[State]| {
                self.workers[victim]
                    .threads()
                    .any(|thread| states.contains(&self.shared.thread(thread).state()))
            };
            match target {
                Target::Any => return (victim, false),
                Target::In(states) if is_in(states) => return (victim, false),
                Target::BlockingWriter if is_in(&[State::Writing, State::Recovering]) => {
                    self.suspend(victim);
                    if self.held_by(victim).lanes[held::WRITE] > 0 {
                        return (victim, true);
                    }
                    self.resume(victim);
                }
                Target::InsideTheTable if is_in(&[State::InTheTable, State::Leaving]) => {
                    self.suspend(victim);
                    if self.held_by(victim).lock_words > 0 {
                        return (victim, true);
                    }
                    self.resume(victim);
                }
                Target::Freezing if is_in(&[State::Freezing]) => {
                    self.suspend(victim);
                    if self.workers[victim]
                        .threads()
                        .any(|thread| self.shared.thread(thread).state() == State::Freezing)
                    {
                        return (victim, true);
                    }
                    self.resume(victim);
                }
                // Joining is too short to be found by a look now and then.
                Target::In([State::Joining]) => {}
                _ if victim == 0 => std::thread::yield_now(),
                _ => {}
            }
        }
        (victim, false)
    }

    /// Stops a process without ending it, so that its words stay as they are; a kill then finds it
    /// as it was.
    fn suspend(&self, worker: usize) {
        let pid = self.workers[worker].pid();
        kill_process(pid, Signal::STOP).unwrap();
        let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(
            status.stopped(),
            "worker {worker} ended by itself: {status:?}"
        );
    }

    fn resume(&self, worker: usize) {
        kill_process(self.workers[worker].pid(), Signal::CONT).unwrap();
    }

    fn kill(&mut self, victim: usize, mut is_stopped: bool, is_waited_for: bool) {
        let threads = self.workers[victim].threads();
        // Stopped first, in two of three cases, so that its locks can be counted.
        if !is_stopped && self.random.below(3) > 0 {
            self.suspend(victim);
            is_stopped = true;
        }
        let held = self.held_by(victim);
        let waiter = (is_waited_for && held.lanes[held::WRITE] > 0)
            .then(|| self.wait_for_writer(threads.clone()))
            .flatten();
        // Before it happens: the first process that finds the poison must find the kill that made
        // it.
        self.shared.count_kill();
        self.workers[victim].child.kill().unwrap();
        let status = self.workers[victim].child.wait().unwrap();
        let died = Instant::now();
        assert_eq!(
            status.signal(),
            Some(9),
            "a worker ended by itself: {status}"
        );
        if let Some(waiter) = waiter {
            match waiter.recv_timeout(self.watchdog) {
                Ok((told, is_poisoned)) => {
                    self.waits.push(told.saturating_duration_since(died));
                    self.waits_without_poison += usize::from(!is_poisoned);
                }
                Err(_) => self.stuck("the test still waits for a dead writer", None),
            }
        }
        for thread in threads {
            let thread = self.shared.thread(thread);
            *self.by_state.entry(thread.state()).or_default() += 1;
            let (grid, cells) = thread.in_flight();
            (0..64)
                .filter(|cell| cells >> cell & 1 == 1)
                .for_each(|cell| self.in_doubt[grid][cell] += 1);
            thread
                .adding()
                .into_iter()
                .for_each(|counter| self.adds_in_doubt[counter] += 1);
            thread.wrote_nothing();
            thread.added_nothing();
            thread.set_frame(0);
            thread.set(State::Nothing);
            thread.set_member(0);
        }
        if is_stopped {
            self.tally.add(&held);
        }
        let (first_thread, threads) = (
            self.workers[victim].first_thread,
            self.workers[victim].threads,
        );
        self.workers[victim] = self.start(first_thread, threads);
    }

    /// Starts to read a cell that this worker holds for writing. The answer comes with its time,
    /// and whether it was poison.
    fn wait_for_writer(
        &mut self,
        mut threads: std::ops::Range<usize>,
    ) -> Option<mpsc::Receiver<(Instant, bool)>> {
        let writes = |thread: &usize| {
            matches!(
                self.shared.thread(*thread).state(),
                State::Writing | State::Recovering
            ) && self.shared.thread(*thread).in_flight().1 != 0
        };
        let (grid, cells) = self.shared.thread(threads.find(writes)?).in_flight();
        let part = GRIDS[grid].cell(cells.trailing_zeros() as usize);
        let view = GRIDS[grid].view(&self.grids[grid], &part);
        let (sender, receiver) = mpsc::channel();
        let (starting, started) = mpsc::channel();
        std::thread::spawn(move || {
            starting.send(()).unwrap();
            let result = view.read();
            let told = Instant::now();
            match result {
                Ok(guard) => GRIDS[grid].check(&part, &guard).unwrap(),
                Err(Error::Poisoned { .. }) => {
                    let _ = sender.send((told, true));
                    return;
                }
                Err(error) => panic!("{error}"),
            }
            let _ = sender.send((told, false));
        });
        started.recv().unwrap();
        std::thread::sleep(Duration::from_micros(self.random.below(3000) as u64));
        Some(receiver)
    }

    /// Fails where a worker ended by itself, or does not move.
    fn watch(&mut self) {
        self.load = self.load.max(load());
        if self.shared.faults() > 0 {
            // The thread that found the fault prints it.
            std::thread::sleep(Duration::from_secs(1));
            panic!("a worker found a fault");
        }
        for worker in 0..self.workers.len() {
            if let Some(status) = self.workers[worker].child.try_wait().unwrap() {
                panic!("worker {worker} ended by itself: {status}");
            }
            for thread in self.workers[worker].threads() {
                let beats = self.shared.thread(thread).beats();
                let since = *self.beats[thread].1.get_or_insert_with(Instant::now);
                if self.beats[thread].0 != beats {
                    self.beats[thread] = (beats, Some(Instant::now()));
                } else if since.elapsed() > self.watchdog {
                    self.stuck(
                        &format!(
                            "thread {thread} is stuck: {:?}",
                            self.shared.thread(thread).state()
                        ),
                        Some(worker),
                    );
                }
            }
        }
    }

    /// Fails with the stack of a worker, or of the test itself.
    fn stuck(&self, what: &str, worker: Option<usize>) -> ! {
        let observer = Observer::open(&self.places.store).unwrap();
        for (at, lock) in observer.locks().unwrap().iter().enumerate() {
            println!("{at}: {lock:?}");
        }
        for file in &self.files {
            println!("lock word {}", held::lock_word(file));
        }
        let pid = worker.map_or(std::process::id(), |worker| self.workers[worker].child.id());
        let gdb = Command::new("gdb")
            .args([
                "-batch",
                "-ex",
                "thread apply all bt",
                "-p",
                &pid.to_string(),
            ])
            .output();
        let stack = gdb.map_or_else(
            |error| format!("no gdb: {error}"),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        );
        panic!("{what}\n{stack}");
    }
}

/// Processes that run or want to, over the last minute.
fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

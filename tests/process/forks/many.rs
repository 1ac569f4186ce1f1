//! A process with ten busy threads that forks again and again, and that is killed itself now and
//! then, with a forked child left alive.
//!
//! `NDSHM_FORKS` is the number of forks.

use super::{
    Fork, exit, fork,
    steps::{CHILD, FORKING, Steps},
};
use crate::common::{self, Peer, Root};
use ndarray::{Ix1, s};
use ndshm::{Error, Handle, Manager, Result, Scope, SharedArray1};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getppid, kill_process, waitpid};
use std::{
    fs::{self},
    ops::{ControlFlow, Range},
    path::Path,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::{Duration, Instant},
};

const FORKS: usize = 1000;
/// Forks of one parent; but for the last parent it is killed after the last of them.
const FORKS_OF_A_PARENT: usize = 40;
pub(super) const THREADS: usize = 10;
const SHARED: usize = 3;
const LEN: usize = 200;
/// A thread of the parent that has not moved for so long is stuck.
pub(super) const STUCK: Duration = Duration::from_secs(40);
/// A forked child that has not ended after so many seconds is killed by its alarm.
const ALARM: u32 = STUCK.as_secs() as u32 / 2;

/// A thread of the parent, or a forked child.
struct Worker<'a> {
    thread: usize,
    random: u64,
    steps: &'a Steps,
    manager: &'a Manager,
    shared: &'a [SharedArray1<u64>],
    /// Held for writing by the parent, from before its first fork on.
    held: &'a SharedArray1<u64>,
}

impl Worker<'_> {
    fn below(&mut self, limit: usize) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % limit
    }

    fn begin(&self, step: &str) {
        self.steps.begin(self.thread, step);
    }

    fn work(&mut self) {
        let index = self.below(SHARED);
        let (manager, array) = (self.manager, &self.shared[index]);
        match self.below(8) {
            0 => {
                self.begin("reading");
                let result = array.read().map(|guard| uniform(guard.iter()));
                self.settle(array, result);
            }
            1 => {
                self.begin("writing");
                let number = self.random;
                let result = match self.below(4) {
                    0 => array.try_write(),
                    1 => array.write_timeout(Duration::from_millis(1)),
                    _ => array.write(),
                };
                let result = result.map(|mut guard| {
                    uniform(guard.iter());
                    guard.slice_mut(s![..LEN / 2]).fill(number);
                    std::thread::yield_now();
                    guard.fill(number);
                });
                self.settle(array, result);
            }
            2 => {
                self.begin("opening a handle");
                let opened: SharedArray1<u64> = array
                    .handle()
                    .to_string()
                    .parse::<Handle>()
                    .unwrap()
                    .open()
                    .unwrap();
                let result = opened.read().map(|guard| uniform(guard.iter()));
                self.settle(array, result);
            }
            3 => {
                self.begin("making and dropping an array");
                let made = manager.from_elem(LEN, self.random).unwrap();
                assert_eq!(
                    (made.scope(), made.read().unwrap()[LEN - 1]),
                    (Scope::Local, self.random)
                );
                let handle = made.handle();
                assert!(made.path().exists());
                drop(made);
                // Its file may hold the next array of another thread by now.
                let again = handle.open::<u64, Ix1>();
                assert!(
                    matches!(again, Err(Error::Released { .. })),
                    "a local array outlives its only process: {again:?}"
                );
            }
            4 => {
                self.begin("making and opening a named array");
                let name = format!("own-{}-{}", std::process::id(), self.thread);
                let made = manager
                    .options()
                    .name(&name)
                    .scope(Scope::Local)
                    .ones::<u64, _>(LEN)
                    .unwrap();
                made.write().unwrap().fill(2);
                assert_eq!(
                    manager
                        .array::<u64, Ix1>(&name)
                        .unwrap()
                        .read()
                        .unwrap()
                        .sum(),
                    2 * LEN as u64
                );
                drop(made);
                assert!(matches!(
                    manager.array::<u64, Ix1>(&name),
                    Err(Error::NotFound { .. })
                ));
            }
            5 => {
                self.begin("opening a view by serde");
                let text = serde_json::to_string(&array.slice(s![..; 3]).unwrap()).unwrap();
                let view: SharedArray1<u64> = serde_json::from_str(&text).unwrap();
                let result = view
                    .read_timeout(Duration::from_millis(2))
                    .map(|guard| uniform(guard.iter()));
                self.settle(array, result);
            }
            6 => {
                self.begin("trying what the parent holds");
                let (read, write) = (
                    self.held.try_read().map(drop),
                    self.held.try_write().map(drop),
                );
                assert!(
                    matches!(
                        (&read, &write),
                        (Err(Error::WouldBlock { .. }), Err(Error::WouldBlock { .. }))
                    ),
                    "{read:?} {write:?}"
                );
            }
            _ => {
                self.begin("listing");
                assert!(manager.list().unwrap().len() > SHARED);
            }
        }
        if self.below(4) == 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Recovers elements that a killed child left half-written. A call that does not wait may find
    /// them locked.
    fn settle(&self, array: &SharedArray1<u64>, result: Result<()>) {
        match result {
            Ok(()) | Err(Error::WouldBlock { .. } | Error::Timeout { .. }) => {}
            Err(Error::Poisoned { .. }) => {
                self.begin("recovering");
                array.recover().unwrap().fill(self.random);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn uniform<'a>(mut elements: impl Iterator<Item = &'a u64>) {
    let first = elements.next().unwrap();
    assert!(
        elements.all(|element| element == first),
        "a reader or writer finds a torn write"
    );
}

/// The work of a forked child.
#[derive(Clone, Copy)]
enum Kind {
    Exits,
    Works,
    IsKilled,
}

const KINDS: [Kind; 3] = [Kind::Exits, Kind::Works, Kind::IsKilled];

#[test]
fn forks_amid_ten_busy_threads_hang_no_process_lose_no_lock_and_leak_nothing() {
    let forks = std::env::var("NDSHM_FORKS").map_or(FORKS, |text| text.parse().unwrap());
    let root = Root::new();
    let (steps, store) = (root.path().join("steps"), root.path().join("run"));
    Steps::create(&steps);
    let manager = Manager::create(&store).unwrap();
    let shared: Vec<_> = (0..SHARED)
        .map(|index| {
            manager
                .options()
                .name(format!("shared-{index}"))
                .zeros::<u64, _>(LEN)
                .unwrap()
        })
        .collect();
    let held = manager.options().name("held").zeros::<u64, _>(LEN).unwrap();
    let names = ["held", "shared-0", "shared-1", "shared-2"]
        .map(|name| store.join(format!("{name}.ndshm")));
    let require_files = |orphan: Option<&Path>| {
        let mut found = common::files_below(&store);
        found.retain(|path| {
            Some(path.as_path()) != orphan && path.file_name().is_some_and(|name| name != ".lock")
        });
        found.sort();
        assert_eq!(found, names, "files of the dead");
    };
    let (mut done, mut slowest, began) = (0, Duration::ZERO, Instant::now());
    while done < forks {
        let count = FORKS_OF_A_PARENT.min(forks - done);
        let fate = if done + count == forks {
            "ends"
        } else {
            "is killed"
        };
        let arguments = [
            store.to_str().unwrap(),
            steps.to_str().unwrap(),
            &done.to_string(),
            &count.to_string(),
            fate,
        ];
        let mut parent = Peer::start(child_forks_amid_ten_threads, &arguments);
        done += count;
        if fate == "ends" {
            parent.finish();
            continue;
        }
        let orphan = parent.hear("orphan ");
        std::thread::sleep(Duration::from_micros(done as u64 * 997 % 3000));
        parent.kill();
        let killed = Instant::now();
        // While the forked child lives, all other processes learn that the parent is dead, and so
        // does the child.
        let read = held.read_timeout(STUCK).map(drop);
        assert!(matches!(read, Err(Error::Poisoned { .. })), "{read:?}");
        slowest = slowest.max(killed.elapsed());
        parent.hear("the orphan was told");
        assert!(manager.sweep().unwrap().skipped.is_empty());
        assert!(
            Path::new(&orphan).exists(),
            "the living child's array was swept"
        );
        require_files(Some(Path::new(&orphan)));
        assert_eq!(parent.wait_for_descendants(), ["the orphan ends"]);
    }
    println!(
        "{forks} forks in {:.1?}; a dead parent was noticed after {slowest:.1?} at most",
        began.elapsed()
    );
    manager.sweep().unwrap();
    require_files(None);
    for array in shared.iter().chain([&held]) {
        match array.read_timeout(STUCK) {
            Ok(guard) => uniform(guard.iter()),
            Err(error) => assert!(
                matches!(error, Error::Poisoned { .. }),
                "a lock was never given back: {error}"
            ),
        }
        array.recover().unwrap().fill(0);
        assert!(array.try_write().is_ok());
    }
    drop((shared, held));
    manager.close().unwrap();
    assert_eq!(root.contents(), [steps]);
}

#[test]
#[ignore = "runs in a child"]
fn child_forks_amid_ten_threads() {
    let arguments = common::arguments();
    let number = |index: usize| arguments[index].parse::<usize>().unwrap();
    let (rounds, fate) = (number(2)..number(2) + number(3), arguments[4].as_str());
    // A thread that finds a fault ends its whole process at once, the parent or the forked child.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        exit(70);
    }));
    let manager = Manager::builder()
        .path(&arguments[0])
        .recycle(1 << 20)
        .open()
        .unwrap();
    let steps = Steps::open(Path::new(&arguments[1]));
    let held: SharedArray1<u64> = manager.array("held").unwrap();
    let guard = held.recover().unwrap();
    let shared: Vec<SharedArray1<u64>> = (0..SHARED)
        .map(|index| manager.array(&format!("shared-{index}")).unwrap())
        .collect();
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let is_over = AtomicBool::new(false);
    let worker = |thread: usize, round: usize| {
        let random = (round as u64) << 32 | u64::from(std::process::id()) << 8 | thread as u64;
        Worker {
            thread,
            random,
            steps: &steps,
            manager: &manager,
            shared: &shared,
            held: &held,
        }
    };
    let guard = std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let mut worker = worker(thread, rounds.start);
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(SeqCst) {
                    worker.work();
                }
            });
        }
        scope.spawn(|| steps.watch(&is_over));
        match fork_in_rounds(rounds, fate, &steps, worker) {
            ControlFlow::Continue(()) => {}
            ControlFlow::Break(mut orphan) => {
                drop(guard);
                outlive_the_parent(&mut orphan)
            }
        }
        is_over.store(true, SeqCst);
        guard
    });
    assert_eq!(descriptors(), before, "descriptors of the parent");
    drop(guard);
    common::done();
}

/// Forks once for each round; where the parent is to be killed, the last child gets a worker to go
/// on with.
fn fork_in_rounds<'a>(
    rounds: Range<usize>,
    fate: &str,
    steps: &Steps,
    worker: impl Fn(usize, usize) -> Worker<'a>,
) -> ControlFlow<Worker<'a>> {
    for round in rounds.clone() {
        steps.begin(FORKING, "forking");
        let is_orphan = fate == "is killed" && round + 1 == rounds.end;
        let kind = KINDS[round % KINDS.len()];
        let child = match fork() {
            Fork::Child(end) => {
                // SAFETY: `alarm` may be called at any time. Sooner than in `fork`: before the
                // parent counts as stuck.
                unsafe { libc::alarm(ALARM) };
                let mut worker = worker(CHILD, round);
                if is_orphan {
                    std::mem::forget(end);
                    return ControlFlow::Break(worker);
                }
                match kind {
                    Kind::Exits => {}
                    Kind::Works => (0..6).for_each(|_| worker.work()),
                    Kind::IsKilled => loop {
                        worker.work();
                    },
                }
                end.done()
            }
            Fork::Parent(pid) => pid,
        };
        steps.begin(FORKING, "waiting for a forked child");
        if is_orphan {
            std::thread::sleep(STUCK);
            kill_process(child, Signal::KILL).unwrap();
            panic!(
                "this parent was not killed; its forked child was last seen {}",
                steps.of(CHILD)
            );
        }
        if matches!(kind, Kind::IsKilled) {
            std::thread::sleep(Duration::from_micros(round as u64 * 613 % 4000));
            kill_process(child, Signal::KILL).unwrap();
        }
        let status = wait(child, steps);
        let ended_as_told = status.exit_status() == Some(0)
            || matches!(kind, Kind::IsKilled) && status.terminating_signal() == Some(libc::SIGKILL);
        assert!(
            ended_as_told,
            "a forked child ended with {status:?}, last seen {}",
            steps.of(CHILD)
        );
    }
    ControlFlow::Continue(())
}

/// Waits for a forked child, which may hang already in the handlers of the fork, before it sets its
/// alarm.
fn wait(pid: Pid, steps: &Steps) -> WaitStatus {
    let began = Instant::now();
    loop {
        match waitpid(Some(pid), WaitOptions::NOHANG).unwrap() {
            Some((_, status)) => return status,
            None if began.elapsed() < STUCK / 2 + Duration::from_secs(5) => {
                std::thread::sleep(Duration::from_micros(200))
            }
            None => {
                kill_process(pid, Signal::KILL).unwrap();
                panic!(
                    "a forked child hangs in the fork itself: the last one to say so was {}",
                    steps.of(CHILD)
                );
            }
        }
    }
}

/// The forked child of a parent that is killed: it uses the library before, and after.
fn outlive_the_parent(worker: &mut Worker<'_>) -> ! {
    let parent = getppid();
    (0..3).for_each(|_| worker.work());
    let made = worker.manager.from_elem(LEN, 7u64).unwrap();
    println!("orphan {}", made.path().display());
    while getppid() == parent {
        std::thread::sleep(Duration::from_micros(200));
    }
    let read = worker.held.read_timeout(STUCK).map(drop);
    assert!(matches!(read, Err(Error::Poisoned { .. })), "{read:?}");
    println!("the orphan was told");
    std::io::stdin().lines().for_each(drop);
    let path = made.path().to_path_buf();
    drop(made);
    assert!(!crate::common::words::has_array(&path));
    println!("the orphan ends");
    exit(0)
}

//! The processes that die: each sets a scenario, arms a point, and goes on until it comes there.
//!
//! The scenarios of guards stand here, those of files and stores in `files`.

mod files;

use crate::{
    common,
    setup::{
        COLUMNS, FREE, MANY, PARTS, POISONED_ROWS, RECOVERED, REST, VIEW, lane_key, log_rows, part,
        rows, soon, word,
    },
};
use ndarray::{Axis, Ix1};
use ndshm::{Error, Handle, Manager, SharedArray2, failpoint};
use rustix::process::{Signal, getpid, kill_process};
use std::{
    cell::RefCell,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

const LONG: Duration = Duration::from_secs(60);
/// Where the word stands whose upper half is the waiting flag of an array that grows.
const WAITING_IN_GROWTH: u64 = 48;
/// Where the waiting flag stands, and above it another one.
const WAITING_AT: u64 = 160;

struct Victim {
    point: String,
    nth: u64,
    /// The file to stand with, or none: to die.
    marker: String,
    store: PathBuf,
    work: String,
    given: String,
    markers: PathBuf,
    /// How often each point was reached before one was armed.
    before: RefCell<Vec<u64>>,
}

pub(crate) fn child() {
    let [scenario, point, nth, marker, store, work, given, markers] =
        common::arguments().try_into().unwrap();
    // The test is gone: so is whatever stands here and waits.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(71);
    });
    let victim = Victim {
        point,
        nth: nth.parse().unwrap(),
        marker,
        store: store.into(),
        work,
        given,
        markers: markers.into(),
        before: RefCell::default(),
    };
    victim.run(&scenario);
    let before = victim.before.into_inner();
    for (name, before) in failpoint::NAMES.iter().zip(before) {
        println!("reached {name} {}", failpoint::hits(name) - before);
    }
    common::done();
}

impl Victim {
    fn arm(&self) {
        *self.before.borrow_mut() = failpoint::NAMES
            .iter()
            .map(|name| failpoint::hits(name))
            .collect();
        match (self.point.as_str(), self.marker.as_str()) {
            ("", _) => {}
            (point, "") => failpoint::die(point, self.nth),
            (point, marker) => failpoint::stand(point, self.nth, Path::new(marker)),
        }
    }

    fn manager(&self) -> Manager {
        Manager::open(&self.store).unwrap()
    }

    fn manager_that_caches(&self, bytes: usize) -> Manager {
        Manager::builder()
            .path(&self.store)
            .cache(bytes)
            .open()
            .unwrap()
    }

    fn work(&self) -> SharedArray2<u64> {
        self.work.parse::<Handle>().unwrap().open().unwrap()
    }

    fn view(&self) -> SharedArray2<u64> {
        rows(&self.work(), VIEW)
    }

    fn given(&self) -> Handle {
        self.given.parse().unwrap()
    }

    /// Appends rows to an array of its own, which has three.
    fn append(&self, scenario: &str) {
        let manager = self.manager();
        let options = manager.options().name("log");
        let log = options.growing::<u64, _>(1 << 20, 1024).unwrap();
        log.append(&log_rows(3, 1)).unwrap();
        let path = log.path().to_path_buf();
        match scenario {
            "append" => {
                self.arm();
                // More than the step that is reserved.
                log.append(&log_rows(300, 2)).unwrap();
                log.flush().unwrap();
                log.freeze().unwrap();
            }
            "append for a waiter" => {
                let waiter = log.clone();
                let waits = std::thread::spawn(move || waiter.wait_grown(3, LONG).unwrap());
                let file = File::open(&path).unwrap();
                let at = common::words::growth_at(&path) + WAITING_IN_GROWTH;
                soon("a thread waits", || word(&file, at) >> 32 != 0);
                self.arm();
                log.append(&log_rows(1, 2)).unwrap();
                assert_eq!(waits.join().unwrap(), 4);
            }
            "wait for rows" => {
                self.arm();
                log.wait_grown(3, LONG).unwrap();
            }
            _ => {
                log.flush().unwrap();
                log.append(&log_rows(1, 2)).unwrap();
                drop(log);
                let boot = common::words::growth_at(&path) + common::words::BOOT;
                common::words::set(&path, boot, 77);
                self.arm();
                let log = manager.growing::<u64, ndarray::Ix2>("log").unwrap();
                assert_eq!(log.len(), 3);
            }
        }
    }

    fn run(&self, scenario: &str) {
        match scenario {
            "write" => self.write(&self.view()),
            "write the poisoned rows" => self.write(&rows(&self.work(), POISONED_ROWS)),
            "write a part of the poisoned rows" => {
                self.write(&rows(&self.work(), POISONED_ROWS.start..RECOVERED.end - 1))
            }
            "wait" | "convert" | "take over" => self.write(&self.view()),
            "read" => {
                let view = self.view();
                self.arm();
                drop(view.read().unwrap());
            }
            "atomic" => {
                let view = self.view();
                self.arm();
                let atomic = view.atomic().unwrap();
                atomic[[0, 0]].store(9, std::sync::atomic::Ordering::SeqCst);
            }
            "panic" => {
                let view = self.view();
                self.arm();
                let panicking = std::thread::spawn(move || {
                    let mut guard = view.write().unwrap();
                    guard.fill(9);
                    panic!("on purpose");
                });
                assert!(panicking.join().is_err());
            }
            "rest" => {
                let view = self.view();
                self.arm();
                for _ in 0..5 {
                    drop(view.write().unwrap());
                }
            }
            "rows" => {
                let rows: Vec<_> = self.view().axis_chunks(Axis(0), 1).unwrap().collect();
                self.arm();
                for _ in 0..3 {
                    for row in &rows {
                        drop(row.write().unwrap());
                    }
                }
            }
            "revoke" => {
                let view = self.view();
                for _ in 0..3 {
                    drop(view.read().unwrap());
                }
                self.arm();
                drop(view.write().unwrap());
            }
            "wake" => self.wake(),
            "clear the dead" => {
                let view = self.view();
                self.arm();
                assert!(matches!(view.read(), Err(Error::Poisoned { .. })));
            }
            "merge" => {
                let work = self.work();
                let records = work.poisoned().unwrap().len();
                assert_eq!(records, PARTS);
                // The lock file cannot grow, so a thread that needs more lanes than it has takes
                // those of the poison.
                let lock = std::fs::metadata(self.store.join(".lock")).unwrap();
                let limit = rustix::process::Rlimit {
                    current: Some(lock.len()),
                    maximum: None,
                };
                rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
                let (free, read) = (rows(&work, FREE), rows(&work, REST..REST + 1));
                self.arm();
                let mut guards = Vec::new();
                let error = loop {
                    match read.read() {
                        Ok(guard) => guards.push(guard),
                        Err(error) => break error,
                    }
                };
                assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
                drop(guards);
                free.write().unwrap().fill(9);
            }
            "take many guards" => {
                let view = self.view();
                self.arm();
                let guards: Vec<_> = (0..80).map(|_| view.read().unwrap()).collect();
                drop(guards);
            }
            "wait for a name" => {
                let manager = self.manager();
                self.arm();
                let late = manager.wait_for("missing", Duration::from_millis(50));
                assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
            }
            "watch" => {
                let view = self.view();
                self.arm();
                // The others may have written by now.
                assert!(view.changed().unwrap() < 1000);
            }
            "write what is watched" => {
                let view = self.view();
                let seen = view.changed().unwrap();
                // So that a waiter is to be woken.
                let late = view.wait_changed(seen, Duration::ZERO);
                assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
                self.write(&view);
            }
            "wait for a change" => {
                let view = self.view();
                let seen = view.changed().unwrap();
                self.arm();
                _ = view.wait_changed(seen, Duration::from_millis(50));
            }
            "die with many guards" | "die with more guards" => {
                let work = self.work();
                let numbers = match scenario {
                    "die with many guards" => 0..MANY,
                    _ => MANY..PARTS,
                };
                let _guards: Vec<_> = numbers
                    .map(|number| part(&work, number).write().unwrap())
                    .collect();
                die();
            }
            "recover" | "recover after a wait" => {
                let view = rows(&self.work(), RECOVERED);
                // A dead writer's lane becomes a record only when a process looks, and the recovery
                // would wait for it first.
                assert!(scenario != "recover" || view.is_poisoned().unwrap());
                self.arm();
                view.recover().unwrap().fill(9);
            }
            "freeze" | "freeze for a waiter" => {
                let frozen = self
                    .manager()
                    .options()
                    .name("frozen")
                    .from_elem(10, 3u64)
                    .unwrap();
                if scenario == "freeze for a waiter" {
                    let block = File::open(frozen.path()).unwrap();
                    soon("a process waits", || word(&block, WAITING_AT) as u32 != 0);
                }
                self.arm();
                assert_eq!(frozen.freeze().unwrap().sum(), 30);
            }
            "append" | "append for a waiter" | "wait for rows" | "append after a boot" => {
                self.append(scenario)
            }
            "await" => {
                let given = self.given();
                self.arm();
                assert_eq!(
                    given
                        .open_frozen_timeout::<u64, Ix1>(Duration::from_secs(60))
                        .unwrap()
                        .sum(),
                    20
                );
            }
            "fork" | "be forked" => self.fork(scenario),
            _ => self.run_with_files(scenario),
        }
    }

    fn write(&self, view: &SharedArray2<u64>) {
        self.arm();
        let mut guard = view.write().unwrap();
        guard.iter_mut().take(COLUMNS + 3).for_each(|x| *x = 9);
        guard.fill(9);
    }

    /// Gives guards back while a process waits.
    fn wake(&self) {
        let view = self.view();
        let key = lane_key(&view);
        // Another process sleeps on the tag of the lane, or is about to.
        let is_awaited = || {
            let lanes = std::fs::read(self.store.join(".lock")).unwrap();
            lanes[128..].chunks_exact(64).any(|lane| {
                let word = |at: usize| u64::from_ne_bytes(lane[at..at + 8].try_into().unwrap());
                word(0) & 0x4f == 0x42 && word(8) == key
            })
        };
        self.arm();
        for _ in 0..1000 {
            let guard = view.write().unwrap();
            soon("a process waits", is_awaited);
            drop(guard);
        }
    }

    /// Forks a child that may die before `fork` returns there, and goes on.
    fn fork(&self, scenario: &str) {
        let view = self.view();
        let mut guard = view.write().unwrap();
        guard.fill(1);
        self.arm();
        // SAFETY: the child ends at once, by its own signal or by `_exit`, and runs nothing before.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends the process without running anything of it.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: `waitpid` writes the status that it is given.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        let was_killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
        assert!(was_killed == (scenario == "fork"), "the child: {status}");
        assert!(
            matches!(
                common::elsewhere(|| view.try_read().map(drop)),
                Err(Error::WouldBlock { .. })
            ),
            "the guard is this process's still"
        );
        guard.fill(2);
        drop(guard);
        assert!(scenario != "fork" || view.read().unwrap().iter().all(|&x| x == 2));
    }
}

fn die() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    unreachable!("killed");
}

//! The processes that die: each sets a scenario, arms a point, and goes on until it comes there.

use crate::{
    common,
    setup::{
        COLUMNS, FREE, GIVEN, MANY, PARTS, POISONED_ROWS, RECOVERED, REST, VIEW, lane_key, part,
        rows, soon, word,
    },
};
use ndarray::Ix1;
use ndshm::{Error, Handle, Manager, Scope, SharedArray1, SharedArray2, failpoint};
use rustix::process::{Signal, getpid, kill_process};
use std::{
    cell::RefCell,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

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

    /// An array of a manager that uses files again, which another process is about to open.
    fn recyclable(&self) -> (Manager, SharedArray1<u64>) {
        let manager = Manager::builder()
            .path(&self.store)
            .recycle(1 << 20)
            .open()
            .unwrap();
        let array = manager.from_elem(10, 3u64).unwrap();
        std::fs::write(self.markers.join("written"), array.handle().to_string()).unwrap();
        std::fs::rename(self.markers.join("written"), self.markers.join("old")).unwrap();
        soon("the opener stands", || self.markers.join("opener").exists());
        (manager, array)
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

    /// A store beside the one that others work in.
    fn another_store(&self, name: &str) -> Manager {
        let manager = Manager::builder()
            .root(self.store.parent().unwrap())
            .name(name)
            .create()
            .unwrap();
        for name in ["one", "two"] {
            manager.options().name(name).zeros::<u64, _>(100).unwrap();
        }
        manager
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
            "wake" => self.wake(),
            "bury" => {
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

    fn run_with_files(&self, scenario: &str) {
        match scenario {
            "join" | "join after a boot" => {
                self.arm();
                self.manager();
            }
            "open" => {
                let _member = self.manager_that_caches(0);
                let protected = (self.point == "OpenWritableMapped").then(|| {
                    self.given()
                        .open::<u64, Ix1>()
                        .unwrap()
                        .read_only()
                        .unwrap()
                        .handle()
                });
                // An array that was opened for reading is opened for writing.
                let opened = protected.map(|handle| handle.open::<u64, Ix1>().unwrap());
                self.arm();
                assert_eq!(
                    self.given()
                        .open::<u64, Ix1>()
                        .unwrap()
                        .read()
                        .unwrap()
                        .sum(),
                    20
                );
                drop(opened);
            }
            "claim" => {
                let _member = self.manager();
                self.arm();
                let claimed: SharedArray1<u64> = self.given().open().unwrap();
                assert_eq!(claimed.scope(), Scope::Local);
            }
            "scope" => {
                let array = self
                    .manager()
                    .options()
                    .name(GIVEN)
                    .scope(Scope::Local)
                    .from_elem(10, 3u64)
                    .unwrap();
                self.arm();
                array.set_scope(Scope::Remote).unwrap();
            }
            "create" => {
                let manager = self.manager();
                self.arm();
                let made = manager.options().name(GIVEN).from_elem(10, 3u64);
                assert!(
                    matches!(made, Ok(_) | Err(Error::AlreadyExists { .. })),
                    "{made:?}"
                );
            }
            "create unnamed" => {
                let manager = self.manager();
                self.arm();
                manager.from_elem(10, 3u64).unwrap();
            }
            "create while closing" => {
                let manager = self.manager();
                failpoint::stand("PublishWanted", 1, &self.markers.join("publishes"));
                self.arm();
                assert!(matches!(
                    manager.options().name(GIVEN).from_elem(10, 3u64),
                    Err(Error::Closed { .. })
                ));
            }
            "release" => {
                let array = self.given().open::<u64, Ix1>().unwrap();
                self.arm();
                array.release().unwrap();
            }
            "drop" => {
                let array = self
                    .manager()
                    .options()
                    .name(GIVEN)
                    .scope(Scope::Local)
                    .from_elem(10, 3u64)
                    .unwrap();
                self.arm();
                drop(array);
            }
            "drop and keep" | "release and keep" => {
                let (_manager, array) = self.recyclable();
                self.arm();
                if scenario == "release and keep" {
                    array.release().unwrap();
                }
                drop(array);
            }
            "make of a kept file" | "make of a kept file, named" => {
                let (manager, array) = self.recyclable();
                drop(array);
                self.arm();
                let options = manager.options();
                let options = if scenario.ends_with("named") {
                    options.name(GIVEN)
                } else {
                    options
                };
                let made = options.from_elem(10, 5u64);
                assert!(
                    matches!(made, Ok(_) | Err(Error::AlreadyExists { .. })),
                    "{made:?}"
                );
            }
            "open the old one" => {
                let _member = self.manager();
                let old: Handle = std::fs::read_to_string(self.markers.join("old"))
                    .unwrap()
                    .parse()
                    .unwrap();
                self.arm();
                match old.open::<u64, Ix1>() {
                    Ok(array) => assert!(
                        array.read().unwrap().iter().all(|&x| x == 3),
                        "another array"
                    ),
                    Err(Error::Released { .. }) => println!("released"),
                    Err(error) => panic!("{error:?}"),
                }
            }
            "open what is dropped" | "open what is released" | "open what is frozen" => {
                let is_from_cache = ["OpenFromCache", "MappingKept"].contains(&self.point.as_str());
                let _member = self.manager_that_caches(if is_from_cache { 1 << 20 } else { 0 });
                if is_from_cache {
                    // Kept from the third use on.
                    (0..3).for_each(|_| drop(self.given().open::<u64, Ix1>().unwrap()));
                }
                self.arm();
                match self.given().open::<u64, Ix1>() {
                    Ok(array) => match array.write() {
                        // This write reaches no process if the array was released; the owner of
                        // another array would notice it.
                        Ok(mut guard) => {
                            assert!(guard.iter().all(|&x| x == 2), "another array: {guard:?}");
                            guard.fill(7);
                        }
                        Err(Error::Frozen { .. }) => assert_eq!(array.read().unwrap().sum(), 20),
                        Err(error) => panic!("{error:?}"),
                    },
                    Err(Error::Released { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            "make a store" => {
                let root = self.store.parent().unwrap();
                self.arm();
                Manager::builder()
                    .root(root)
                    .name("other")
                    .create()
                    .unwrap();
            }
            "persist" => {
                let other = self.another_store("other");
                self.arm();
                other.persist().unwrap();
            }
            "sweep" | "sweep after a dead sweeper" => {
                let manager = self.manager();
                self.arm();
                let swept = manager.sweep().unwrap();
                assert!(swept.skipped.is_empty(), "{swept:?}");
            }
            "leave all kinds of things" => self.leave(),
            "drop a store" => {
                let other = self.another_store("other");
                self.arm();
                drop(other);
            }
            "close another's place" => {
                let manager = self.manager();
                failpoint::stand("RenameAwayWanted", 1, &self.markers.join("closes"));
                self.arm();
                manager.close().unwrap();
            }
            close if close.starts_with("close") => {
                let manager = self.manager();
                self.arm();
                manager.close().unwrap();
            }
            other => panic!("no scenario is called {other:?}"),
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

    /// Dies while it makes an array and a store, deletes an array and a store, and owns arrays and
    /// a store.
    fn leave(&self) {
        let manager = self.manager();
        let _owned = manager
            .options()
            .name("left")
            .scope(Scope::Local)
            .zeros::<u64, _>(10)
            .unwrap();
        let _unnamed = manager.zeros::<u64, _>(10).unwrap();
        let _dead = self.another_store("dead");
        let _renamed_away = self.another_store("closing");
        let released = manager
            .options()
            .name("released")
            .zeros::<u64, _>(10)
            .unwrap();
        let marker = |point: &str| {
            let file = self.markers.join(point);
            failpoint::stand(point, 1, &file);
            file
        };
        std::thread::scope(|scope| {
            let root = self.store.parent().unwrap();
            let stands = |file: PathBuf| soon("a thread stands", || file.exists());
            let file = marker("CreateHeaderWritten");
            scope.spawn(|| manager.zeros::<u64, _>(10));
            stands(file);
            let file = marker("StoreLockWritten");
            scope.spawn(move || Manager::builder().root(root).name("never").create());
            stands(file);
            let file = marker("StoreFileRemoved");
            scope.spawn(|| _renamed_away.close());
            stands(file);
            let file = marker("UnlinkWanted");
            scope.spawn(|| released.release());
            stands(file);
            die();
        });
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

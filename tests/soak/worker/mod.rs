//! A worker: a process that does random operations until it is killed or told to stop, and checks
//! all that it sees.

mod counters;
mod frames;
mod lifecycle;
mod rows;
mod sets;
mod watching;

pub(crate) use counters::NAME as COUNTERS_NAME;
pub(crate) use frames::{name as frame_name, number_of as frame_number_of};

use crate::{
    cells::{GRIDS, Part, Random},
    common::words,
    shared::{COUNTERS, Op, SharedWords, State, ThreadWords},
};
use ndarray::Ix1;
use ndshm::{Error, FrozenArray, Handle, Manager, SharedArray1, SharedArray2};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The names of arrays that are released and made again.
pub(crate) const NAMES: [&str; 3] = ["reused-a", "reused-b", "reused-c"];
/// Elements of an array that is not a grid.
const LEN: usize = 300;

/// Where things are.
#[derive(Clone)]
pub(crate) struct Places {
    pub(crate) shared: PathBuf,
    pub(crate) store: PathBuf,
    /// Texts of handles that wait for a claimant.
    pub(crate) offers: PathBuf,
    /// Texts of handles to arrays that are frozen, or will be.
    pub(crate) frames: PathBuf,
}

pub(crate) struct Worker<'a> {
    words: ThreadWords<'a>,
    shared: &'a SharedWords,
    places: &'a Places,
    /// Whether other threads of this process share its arrays.
    shares_process: bool,
    random: Random,
    /// Of the next write: unique, and never zero.
    number: u64,
    manager: Manager,
    grids: Vec<SharedArray2<u64>>,
    handles: Vec<String>,
    locals: Vec<SharedArray1<u64>>,
    named: Vec<(&'static str, SharedArray1<u64>)>,
    frozen: Vec<(u64, FrozenArray<u64, Ix1>)>,
    /// The counters at the last look.
    counted: [u64; COUNTERS],
}

/// Every second process uses the files of its arrays again.
fn open_store(places: &Places, incarnation: u64) -> Manager {
    Manager::builder()
        .path(&places.store)
        .recycle(if incarnation.is_multiple_of(2) {
            1 << 20
        } else {
            0
        })
        .open()
        .unwrap()
}

impl<'a> Worker<'a> {
    /// Joins the store. `incarnation` is a number that no other thread of the test has.
    pub(crate) fn join(
        shared: &'a SharedWords,
        words: ThreadWords<'a>,
        places: &'a Places,
        incarnation: u64,
        shares_process: bool,
        seed: u64,
    ) -> Self {
        words.set(State::Joining);
        let manager = open_store(places, incarnation);
        let mut worker = Self {
            words,
            shared,
            places,
            shares_process,
            random: Random(seed ^ incarnation << 32),
            number: incarnation << 24,
            manager,
            grids: Vec::new(),
            handles: Vec::new(),
            locals: Vec::new(),
            named: Vec::new(),
            frozen: Vec::new(),
            counted: [0; COUNTERS],
        };
        worker.open_grids();
        worker
    }

    fn open_grids(&mut self) {
        let probe = self.manager.zeros::<u8, _>(1).unwrap();
        self.words
            .set_member(words::get(probe.path(), words::PRODUCER_AT));
        drop(probe);
        self.words.set(State::Opening);
        self.grids = GRIDS
            .iter()
            .map(|grid| self.manager.array(grid.name).unwrap())
            .collect();
        self.handles = self
            .grids
            .iter()
            .map(|grid| grid.handle().to_string())
            .collect();
    }

    /// Leaves the store, with all that it has of it, and joins it as another member.
    fn join_again(&mut self) {
        self.words.set(State::Dropping);
        while let Some(local) = self.locals.pop() {
            self.drop_local(local);
        }
        self.named.clear();
        self.frozen.clear();
        self.grids.clear();
        self.words.set(State::Joining);
        // In an ephemeral store meanwhile: nothing of the old membership is left when the new one
        // begins.
        self.manager = Manager::builder()
            .root(self.places.store.parent().unwrap())
            .create()
            .unwrap();
        let passing = self.manager.ones::<u64, _>(LEN).unwrap();
        self.manager = open_store(self.places, self.number >> 24);
        assert!(
            !passing.path().exists(),
            "{} outlives its store",
            passing.path().display()
        );
        self.open_grids();
        self.words.count(Op::Join);
    }

    pub(crate) fn run(mut self) {
        while !self.shared.is_stopped() {
            self.words.set(State::Nothing);
            self.words.beat();
            match self.random.below(140) {
                0..30 => self.read(),
                30..58 => self.write(),
                58..64 => self.burst(),
                64..67 => self.hold_many(),
                67 => self.panic(),
                68 => self.join_again(),
                69..72 => self.open_again(),
                72..79 => self.create_or_drop(),
                79..83 => self.hand_on(),
                83..88 => self.claim(),
                88..95 => self.use_a_name(),
                95..98 => self.release(),
                98 => self.sweep(),
                99 => self.list(),
                100..104 => self.produce(),
                104..110 => self.consume(),
                110..112 => self.look_at_frozen(),
                112..118 => self.count_up(),
                118 => self.count_by_writing(),
                119 => self.read_counters(),
                120..123 => self.wait_for_a_count(),
                123..131 => self.come_back(),
                131..136 => self.lock_a_set(),
                _ => self.watch(),
            }
        }
        self.words.set(State::Dropping);
        while let Some(local) = self.locals.pop() {
            self.drop_local(local);
        }
    }

    fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.random.below(one_in) == 0
    }

    /// A random pause: mostly none, sometimes so long that others queue up.
    fn pause(&mut self) {
        match self.random.below(20) {
            0..8 => {}
            8..14 => {
                let until = Instant::now() + Duration::from_micros(self.random.below(50) as u64);
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
            }
            14..19 => std::thread::sleep(Duration::from_micros(self.random.below(500) as u64)),
            _ => std::thread::sleep(Duration::from_millis(3)),
        }
    }

    fn pick(&mut self) -> (usize, Part, SharedArray2<u64>) {
        let grid = self.random.below(GRIDS.len());
        let part = GRIDS[grid].part(&mut |limit| self.random.below(limit));
        let mut view = GRIDS[grid].view(&self.grids[grid], &part);
        if self.chance(8) {
            // The same view by a handle.
            view = view
                .handle()
                .to_string()
                .parse::<Handle>()
                .unwrap()
                .open()
                .unwrap();
        }
        (grid, part, view)
    }

    fn read(&mut self) {
        let (grid, part, view) = self.pick();
        self.words.set(State::WaitingToRead);
        let guard = match self.random.below(8) {
            0 => view.try_read(),
            1 => view.read_timeout(Duration::from_micros(self.random.below(3000) as u64)),
            _ => view.read(),
        };
        match guard {
            Ok(guard) => {
                self.words.set(State::Reading);
                check(GRIDS[grid].check(&part, &guard));
                self.pause();
                check(GRIDS[grid].check(&part, &guard));
                self.words.set(State::Leaving);
                drop(guard);
                self.words.count(Op::Read);
            }
            Err(error) => self.refused(grid, part, error),
        }
    }

    fn write(&mut self) {
        let (grid, part, view) = self.pick();
        self.words.about_to_write(grid, GRIDS[grid].bits(&part));
        self.words.set(State::WaitingToWrite);
        let guard = match self.random.below(8) {
            0 => view.try_write(),
            1 => view.write_timeout(Duration::from_micros(self.random.below(3000) as u64)),
            _ => view.write(),
        };
        match guard {
            Ok(mut guard) => {
                self.words.set(State::Writing);
                check(GRIDS[grid].check(&part, &guard));
                let number = self.number();
                GRIDS[grid].fill(&part, &mut guard, number, || self.pause());
                self.words.set(State::Leaving);
                drop(guard);
                self.words.wrote();
                self.words.count(Op::Write);
            }
            Err(error) => {
                self.words.wrote_nothing();
                self.refused(grid, part, error);
            }
        }
    }

    /// After a guard that was not given: recovers the poison, or leaves it to others.
    fn refused(&mut self, grid: usize, part: Part, error: Error) {
        match error {
            Error::WouldBlock { .. } | Error::Timeout { .. } => self.words.count(Op::TooLate),
            Error::Poisoned { .. } => {
                assert!(
                    self.shared.kills() + self.shared.counted(Op::Panic) > 0,
                    "no process died: {error}"
                );
                self.words.count(Op::Poisoned);
                if self.chance(2) {
                    self.recover(grid, part);
                }
            }
            error => panic!("{part:?} of {}: {error}", GRIDS[grid].name),
        }
    }

    fn recover(&mut self, grid: usize, part: Part) {
        let view = GRIDS[grid].view(&self.grids[grid], &part);
        self.words.about_to_write(grid, GRIDS[grid].bits(&part));
        self.words.set(State::WaitingToRecover);
        match view.recover() {
            Ok(mut guard) => {
                self.words.set(State::Recovering);
                let number = self.number();
                GRIDS[grid].fill(&part, &mut guard, number, || {
                    self.pause();
                    std::thread::sleep(Duration::from_micros(self.random.below(3000) as u64));
                });
                self.words.set(State::Leaving);
                drop(guard);
                self.words.wrote();
                self.words.count(Op::Recover);
            }
            Err(Error::Layout { .. }) => {
                self.words.wrote_nothing();
                self.words.count(Op::RecoverAll);
                self.recover(grid, GRIDS[grid].whole());
            }
            Err(error) => panic!("{part:?} of {}: {error}", GRIDS[grid].name),
        }
    }

    /// Guards taken and dropped without pause.
    fn burst(&mut self) {
        let views: Vec<_> = (0..4).map(|_| self.pick()).collect();
        self.words.set(State::InTheTable);
        for step in 0..1000 {
            let (grid, part, view) = &views[step % views.len()];
            let result = match step % 3 {
                0 => view
                    .try_read()
                    .map(|guard| check(GRIDS[*grid].check(part, &guard))),
                1 => view.try_write().map(drop),
                _ => view.is_poisoned().map(drop),
            };
            match result {
                Ok(()) | Err(Error::WouldBlock { .. } | Error::Poisoned { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        self.words.count(Op::Burst);
    }

    /// Many guards at once, often of one array.
    fn hold_many(&mut self) {
        let mut held = Vec::new();
        let crowded = self.chance(3).then(|| self.random.below(GRIDS.len()));
        let count = if crowded.is_some() {
            70
        } else {
            1 + self.random.below(24)
        };
        for _ in 0..count {
            let (grid, part, view) = match crowded {
                None => self.pick(),
                Some(grid) => {
                    let part = GRIDS[grid].cell(self.random.below(GRIDS[grid].cells()));
                    (grid, part, GRIDS[grid].view(&self.grids[grid], &part))
                }
            };
            self.words.set(State::WaitingToRead);
            match view.try_read() {
                Ok(guard) => held.push((grid, part, guard)),
                Err(Error::TooManyGuards { .. }) => {
                    self.words.count(Op::TableFull);
                    break;
                }
                Err(
                    Error::WouldBlock { .. } | Error::WouldDeadlock { .. } | Error::Poisoned { .. },
                ) => {}
                Err(error) => panic!("{error}"),
            }
        }
        self.words.set(State::Reading);
        self.pause();
        held.iter()
            .for_each(|(grid, part, guard)| check(GRIDS[*grid].check(part, guard)));
        self.words.set(State::Leaving);
        drop(held);
        self.words.count(Op::ManyGuards);
    }

    /// A writer that unwinds in the middle of a cell, and changes no counter.
    fn panic(&mut self) {
        let (grid, part, view) = self.pick();
        let number = self.number();
        self.words.count(Op::Panic);
        self.words.set(State::WaitingToWrite);
        let thread = self.words;
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut guard = view.write()?;
            thread.set(State::Writing);
            GRIDS[grid].tear(&part, &mut guard, number);
            // Without the hook that reports a fault.
            std::panic::resume_unwind(Box::new("half-way"));
            #[allow(unreachable_code, reason = "gives the closure its type")]
            Ok(())
        }));
        if let Ok(Err(error)) = unwound {
            self.refused(grid, part, error);
        }
    }

    /// The only array of a grid in this thread goes, and another one comes.
    fn open_again(&mut self) {
        let grid = self.random.below(GRIDS.len());
        self.words.set(State::Opening);
        let old = self.grids.remove(grid);
        if self.chance(2) {
            drop(old);
        }
        let new = match self.random.below(3) {
            0 => self.manager.array(GRIDS[grid].name).unwrap(),
            1 => SharedArray2::open_path(self.handles[grid].parse::<Handle>().unwrap().path())
                .unwrap(),
            _ => self.handles[grid]
                .parse::<Handle>()
                .unwrap()
                .open()
                .unwrap(),
        };
        self.grids.insert(grid, new);
        self.words.count(Op::Open);
    }
}

fn check(result: Result<(), String>) {
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn check_uniform(elements: &[u64]) {
    assert!(
        elements.iter().all(|element| *element == elements[0]),
        "torn: {elements:x?}"
    );
}

impl Places {
    pub(crate) fn in_directory(directory: &Path) -> Self {
        Self {
            shared: directory.join("shared"),
            store: directory.join("stores/run"),
            offers: directory.join("offers"),
            frames: directory.join("frames"),
        }
    }
}

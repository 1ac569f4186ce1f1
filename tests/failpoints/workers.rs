//! The others: processes that read, write, open and create in the store and the array that the
//! victim works on.

use crate::{
    common::{self, Peer},
    setup::{OVERLAP, OWN, REST, SHARED, STILL, is_gone},
};
use ndarray::{Ix2, s};
use ndshm::{Error, Handle, Manager, Scope, SharedArray2};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub(crate) const WORKERS: usize = 2;
const HANG: Duration = Duration::from_secs(30);

/// The counts: writes of the own row, of the row that all share, openings, creations, guards that
/// overlap the victim's view, and how many of those were refused because of poison.
pub(crate) const COUNTS: usize = 6;
pub(crate) const POISONED: usize = 5;

pub(crate) type Counts = [u64; COUNTS];

pub(crate) struct Workers(Vec<Peer>);

impl Workers {
    pub(crate) fn start() -> Self {
        Self(
            (0..WORKERS)
                .map(|number| Peer::start(crate::child_works, &[number.to_string()]))
                .collect(),
        )
    }

    /// Has all of them work on an array, without touching the victim's view; returns when they do.
    pub(crate) fn work(&mut self, manager: &Manager, work: &SharedArray2<u64>, may_close: bool) {
        let line = format!(
            "work\t{}\t{}\t{may_close}",
            manager.path().display(),
            work.handle()
        );
        self.0.iter_mut().for_each(|peer| peer.tell(&line));
        self.0
            .iter_mut()
            .for_each(|peer| drop(peer.hear("working")));
    }

    /// Has them use a view that overlaps the victim's, too.
    pub(crate) fn overlap(&mut self) {
        self.0.iter_mut().for_each(|peer| peer.tell("overlap"));
    }

    fn counts(&mut self, question: &str) -> Vec<Counts> {
        self.0.iter_mut().for_each(|peer| peer.tell(question));
        let parse = |line: String| {
            line.split(' ')
                .map(|word| word.parse().unwrap())
                .collect::<Vec<u64>>()
                .try_into()
                .unwrap()
        };
        self.0
            .iter_mut()
            .map(|peer| parse(peer.hear("counts ")))
            .collect()
    }

    /// Requires that each of them does each thing a few times more.
    pub(crate) fn require_progress(&mut self, what: &str) {
        let (before, began) = (self.counts("count"), Instant::now());
        loop {
            let now = self.counts("count");
            if before
                .iter()
                .zip(&now)
                .all(|(before, now)| (0..POISONED).all(|count| now[count] >= before[count] + 2))
            {
                return;
            }
            assert!(
                began.elapsed() < HANG,
                "{what}: the others are stuck: {before:?} {now:?}"
            );
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Has them leave the array, and returns the counts of each.
    pub(crate) fn stop(&mut self) -> Vec<Counts> {
        self.counts("stop")
    }

    pub(crate) fn finish(self) {
        self.0.into_iter().for_each(Peer::finish);
    }
}

/// The state that the threads of one worker share.
struct Job {
    number: usize,
    manager: Manager,
    work: SharedArray2<u64>,
    may_close: bool,
    stop: AtomicBool,
    counts: [AtomicU64; COUNTS],
}

pub(crate) fn child() {
    let number = common::arguments()[0].parse().unwrap();
    // A thread that finds a fault ends the whole process at once: its output names the fault.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::exit(70);
    }));
    let mut current: Option<(Arc<Job>, Vec<JoinHandle<()>>)> = None;
    for line in std::io::stdin().lines().map(Result::unwrap) {
        let words: Vec<&str> = line.split('\t').collect();
        match (words[0], &mut current) {
            ("work", _) => {
                let work = words[2].parse::<Handle>().unwrap().open().unwrap();
                let counts = [const { AtomicU64::new(0) }; COUNTS];
                let manager = Manager::open(words[1]).unwrap();
                let job = Arc::new(Job {
                    number,
                    manager,
                    work,
                    may_close: words[3] == "true",
                    stop: AtomicBool::new(false),
                    counts,
                });
                let thread = job.clone();
                current = Some((job, vec![std::thread::spawn(move || thread.work_on())]));
                println!("working");
            }
            ("overlap", Some((job, threads))) => {
                let job = job.clone();
                threads.push(std::thread::spawn(move || job.overlap()));
            }
            ("count", Some((job, _))) => println!("counts {}", job.counted()),
            ("stop", Some((job, threads))) => {
                job.stop.store(true, SeqCst);
                threads.drain(..).for_each(|thread| thread.join().unwrap());
                let counted = job.counted();
                // The process leaves the store before it says so.
                current = None;
                println!("counts {counted}");
            }
            (word, _) => panic!("{word}"),
        }
    }
    common::done();
}

impl Job {
    fn counted(&self) -> String {
        self.counts
            .each_ref()
            .map(|count| count.load(SeqCst).to_string())
            .join(" ")
    }

    fn count(&self, what: usize) -> u64 {
        self.counts[what].fetch_add(1, SeqCst) + 1
    }

    fn goes_on(&self) -> bool {
        std::thread::sleep(Duration::from_micros(50));
        !self.stop.load(SeqCst)
    }

    /// An attempt that may fail only once the store is being closed.
    fn attempt<R>(&self, attempt: impl FnOnce() -> Result<R, Error>) -> Option<R> {
        match attempt() {
            Ok(result) => Some(result),
            Err(error) if self.may_close && is_gone(&error) => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    fn work_on(&self) {
        let row = |row: usize| self.work.slice(s![row..row + 1, ..]).unwrap();
        let (own, shared, rest) = (row(OWN + self.number), row(SHARED), row(REST));
        let add = |row: &SharedArray2<u64>| {
            let mut guard = row.write().unwrap();
            let before = guard[[0, 0]];
            assert!(
                guard.iter().all(|&x| x == before),
                "a row is torn: {guard:?}"
            );
            guard.fill(before + 1);
            before + 1
        };
        while self.goes_on() {
            let written = add(&own);
            assert_eq!(written, self.count(0), "another process wrote the own row");
            assert!(
                own.read().unwrap().iter().all(|&x| x == written),
                "another process wrote the own row"
            );
            add(&shared);
            self.count(1);
            assert!(
                rest.read().unwrap().iter().all(|&x| x == REST as u64),
                "the row that is never written was written"
            );
            self.attempt(|| {
                let still = self.manager.array::<u64, Ix2>(STILL)?;
                assert_eq!(still.read()?[[1, 1]], 4);
                Ok(())
            });
            self.count(2);
            self.attempt(|| {
                let array = self.manager.from_elem((2, 2), 5u64)?;
                let named = self
                    .manager
                    .options()
                    .name(format!("workers-{}", self.number))
                    .scope(Scope::Local)
                    .from_elem(3, 6u64)?;
                array.write()?.fill(7);
                assert_eq!((array.read()?.sum(), named.read()?.sum()), (28, 18));
                Ok(())
            });
            self.count(3);
        }
    }

    fn overlap(&self) {
        let view = self.work.slice(s![OVERLAP, ..]).unwrap();
        let mut stamp = 1000 * (self.number as u64 + 1);
        while self.goes_on() {
            stamp += 1;
            let is_uniform = |guard: &ndarray::ArrayRef<u64, Ix2>| {
                guard
                    .rows()
                    .into_iter()
                    .all(|row| row.iter().all(|&x| x == row[0]))
            };
            let outcome = match stamp % 2 {
                0 => view.read().map(|guard| {
                    assert!(
                        is_uniform(&guard),
                        "half-written elements were read: {guard:?}"
                    )
                }),
                _ => view.write().map(|mut guard| {
                    assert!(
                        is_uniform(&guard),
                        "half-written elements were met: {guard:?}"
                    );
                    guard.fill(stamp);
                }),
            };
            match outcome {
                Ok(()) => {}
                Err(Error::Poisoned { .. }) => drop(self.count(POISONED)),
                Err(error) => panic!("{error:?}"),
            }
            self.count(4);
        }
    }
}

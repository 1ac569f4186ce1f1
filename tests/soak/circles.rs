//! The search for circles of waits: threads that take their guards in one order are never in one,
//! and each real circle has one victim.
//!
//! `NDSHM_SOAK_PAIRS=5000000` and `NDSHM_SOAK_CIRCLES=500` are the long runs.

use crate::{cells::Random, common, end_with_the_test, number_from};
use ndarray::{Ix1, Ix2, s};
use ndshm::{AtomicArray, Error, Manager, SharedArray, SharedArray2};
use std::{
    process::{Child, Stdio},
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

const PROCESSES: u64 = 4;
const THREADS: u64 = 4;
/// Of each of the two arrays.
const ROWS: usize = 5;
const NAMES: [&str; 2] = ["a", "b"];
const WORDS_NAME: &str = "words";

// The words beside the arrays.
const STOP: usize = 0;
const PAIRS: usize = 1;
const WAITED: usize = 2;
const ARRIVED: usize = 3;
const VICTIMS: usize = 4;
/// The nanoseconds after which the victim of the round was told.
const TOLD_AFTER: usize = 5;
const WORDS: usize = 8;

struct Arrays {
    rows: [SharedArray2<u64>; 2],
    words: AtomicArray<u64, Ix1>,
}

impl Arrays {
    fn create(manager: &Manager) -> Self {
        let options = |name: &str| manager.options().name(name);
        let rows = NAMES.map(|name| options(name).zeros((ROWS, 8)).unwrap());
        let words: SharedArray<u64, Ix1> = options(WORDS_NAME).zeros(WORDS).unwrap();
        Self {
            rows,
            words: words.atomic().unwrap(),
        }
    }

    /// The rows are in the order in which a set of guards takes them.
    fn open(store: &str) -> Self {
        let manager = Manager::open(store).unwrap();
        let words: SharedArray<u64, Ix1> = manager.array(WORDS_NAME).unwrap();
        let mut rows = NAMES.map(|name| manager.array::<u64, Ix2>(name).unwrap());
        rows.sort_by_key(|array| array.id());
        Self {
            rows,
            words: words.atomic().unwrap(),
        }
    }

    /// A row of either array, by its place in the order of all.
    fn row(&self, place: usize) -> SharedArray<u64, Ix1> {
        let (array, row) = (place / ROWS, place % ROWS);
        self.rows[array].slice(s![row, ..]).unwrap()
    }
}

/// In a child: a thread that finds a fault ends the whole process.
fn begin() -> Vec<String> {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::exit(70);
    }));
    end_with_the_test();
    common::arguments()
}

/// A child whose faults are seen by its exit code and told in the output of the test.
fn start(test: impl Fn(), arguments: &[String]) -> Child {
    common::child_command(test, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Without closing its input: it would take that for the end of the test.
fn until_it_ends(mut child: Child) {
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    assert!(status.success(), "a child found a fault: {status}");
}

#[test]
fn guards_that_are_taken_in_one_order_are_never_taken_for_a_circle() {
    let wanted = number_from("NDSHM_SOAK_PAIRS").unwrap_or(20_000);
    let root = common::Root::new();
    let manager = root.manager();
    let arrays = Arrays::create(&manager);
    let store = manager.path().to_str().unwrap();
    let mut seeds = 0..;
    let mut next = || {
        let seed = seeds.next().map(|seed: u64| seed.to_string());
        start(child_takes_pairs, &[store.to_owned(), seed.unwrap()])
    };
    let mut children: Vec<_> = (0..PROCESSES).map(|_| next()).collect();
    let (began, mut kills, mut random) = (Instant::now(), 0, Random(1));
    while arrays.words[PAIRS].load(SeqCst) < wanted || kills < 3 {
        std::thread::sleep(Duration::from_millis(random.below(400) as u64));
        for child in &mut children {
            let status = child.try_wait().unwrap();
            assert!(status.is_none(), "a child found a fault: {status:?}");
        }
        let victim = random.below(children.len());
        children[victim].kill().unwrap();
        children[victim].wait().unwrap();
        children[victim] = next();
        kills += 1;
    }
    arrays.words[STOP].store(1, SeqCst);
    children.into_iter().for_each(until_it_ends);
    println!(
        "{} pairs and sets in one order, {} of them after more than 100 ms, {kills} kills, in \
         {:.1?}: no false alarm",
        arrays.words[PAIRS].load(SeqCst),
        arrays.words[WAITED].load(SeqCst),
        began.elapsed()
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_takes_pairs() {
    let arguments = begin();
    let arrays = Arrays::open(&arguments[0]);
    let seed = arguments[1].parse::<u64>().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let arrays = &arrays;
            scope.spawn(move || take_pairs(arrays, Random(seed << 8 | thread)));
        }
    });
    common::done();
}

fn take_pairs(arrays: &Arrays, mut random: Random) {
    while arrays.words[STOP].load(SeqCst) == 0 {
        let first = random.below(2 * ROWS - 1);
        let second = first + 1 + random.below(2 * ROWS - 1 - first);
        let views = [first, second].map(|place| arrays.row(place));
        let begin = Instant::now();
        let outcome = match random.below(6) {
            0 => ndshm::lock(views.each_ref().map(|view| view.writing()))
                .map(|guards| hold(&mut random, guards)),
            1 => ndshm::lock((views[0].reading(), views[1].writing()))
                .map(|guards| hold(&mut random, guards)),
            2 => (views[0].read())
                .and_then(|read| Ok((read, views[1].read()?)))
                .map(|guards| hold(&mut random, guards)),
            3 => (views[0].read())
                .and_then(|read| Ok((read, views[1].write()?)))
                .map(|guards| hold(&mut random, guards)),
            _ => (views[0].write())
                .and_then(|write| Ok((write, views[1].write()?)))
                .map(|guards| hold(&mut random, guards)),
        };
        match outcome {
            Ok(held) => {
                arrays.words[PAIRS].fetch_add(1, SeqCst);
                if begin.elapsed().saturating_sub(held) > Duration::from_millis(100) {
                    arrays.words[WAITED].fetch_add(1, SeqCst);
                }
            }
            // The other process was killed.
            Err(Error::Poisoned { .. }) => {
                views.iter().for_each(|view| drop(view.recover().unwrap()));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Holds guards, and now and then so long that others wait until they search for circles.
fn hold<G>(random: &mut Random, guards: G) -> Duration {
    let begin = Instant::now();
    match random.below(2000) {
        0 => std::thread::sleep(Duration::from_millis(150)),
        1..100 => std::thread::sleep(Duration::from_micros(random.below(300) as u64)),
        _ => {}
    }
    drop(guards);
    begin.elapsed()
}

#[test]
fn each_circle_of_waits_has_one_victim_and_the_others_go_on() {
    let rounds = number_from("NDSHM_SOAK_CIRCLES").unwrap_or(6) as usize;
    let root = common::Root::new();
    let manager = root.manager();
    let arrays = Arrays::create(&manager);
    let store = manager.path().to_str().unwrap();
    let mut times = Vec::new();
    for length in [2, 3, ROWS] {
        arrays.words[STOP].store(0, SeqCst);
        arrays.words[ARRIVED].store(0, SeqCst);
        let arguments = |place: usize| [store.into(), place.to_string(), length.to_string()];
        let children: Vec<_> = (0..length)
            .map(|place| start(child_waits_in_circles, &arguments(place)))
            .collect();
        let until = |arrivals: usize| {
            while arrays.words[ARRIVED].load(SeqCst) < (arrivals * length) as u64 {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        for round in 0..rounds {
            // Twice the children: with their first guards, and without any. Then the test.
            until(3 * round + 2);
            let victims = arrays.words[VICTIMS].swap(0, SeqCst);
            assert_eq!(victims, 1, "round {round} of {length} threads");
            times.push(Duration::from_nanos(arrays.words[TOLD_AFTER].load(SeqCst)));
            arrays.words[STOP].store(u64::from(round + 1 == rounds), SeqCst);
            arrays.words[ARRIVED].fetch_add(length as u64, SeqCst);
        }
        children.into_iter().for_each(until_it_ends);
    }
    times.sort_unstable();
    println!(
        "{} circles, one victim each, told after {:.1?} (least), {:.1?} (median), {:.1?} (90 %), \
         {:.1?} (longest)",
        times.len(),
        times[0],
        times[times.len() / 2],
        times[times.len() * 9 / 10],
        times[times.len() - 1]
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_waits_in_circles() {
    let arguments = begin();
    let arrays = Arrays::open(&arguments[0]);
    let [place, length] = [1, 2].map(|at: usize| arguments[at].parse::<usize>().unwrap());
    let rows = [place, (place + 1) % length].map(|place| arrays.row(place));
    let mut arrived = 0;
    let mut meet = |comes: bool| {
        arrived += length as u64;
        if comes {
            arrays.words[ARRIVED].fetch_add(1, SeqCst);
        }
        while arrays.words[ARRIVED].load(SeqCst) < arrived {
            std::thread::sleep(Duration::from_micros(100));
        }
    };
    while arrays.words[STOP].load(SeqCst) == 0 {
        let first = rows[0].write().unwrap();
        meet(true);
        let begin = Instant::now();
        match rows[1].write() {
            Ok(second) => drop(second),
            Err(Error::WouldDeadlock { .. }) => {
                let nanoseconds = begin.elapsed().as_nanos() as u64;
                arrays.words[TOLD_AFTER].store(nanoseconds, SeqCst);
                arrays.words[VICTIMS].fetch_add(1, SeqCst);
            }
            Err(error) => panic!("{error}"),
        }
        drop(first);
        meet(true);
        // Until the test has looked.
        meet(false);
    }
    common::done();
}

//! Processes with several threads each that make, open, drop, release and freeze arrays all the
//! time, half of them with files that are used again; some are killed. Every array has a unique
//! pattern. A process that opens one finds it whole, or gets the error that the array was released.
//!
//! `NDSHM_CHURN_SECONDS` is the duration, 2 by default; `NDSHM_CHURN_SEED` repeats a run, as far as
//! threads allow.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(unsafe_code, reason = "forking")]

use crate::common::{self, Peer, Root};
use ndarray::{Array1, Ix1};
use ndshm::{AnyArray, Error, FrozenArray, Handle, Manager, Scope, SharedArray1};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

const PEERS: u64 = 4;
const THREADS: u64 = 3;
/// Files in which makers announce the handles of their arrays.
const HANDLES: u64 = 12;
/// Two that end in one page, one in the next, a larger one, and one that has huge pages where there
/// are any.
const LENS: [usize; 5] = [600, 610, 1000, 8000, 300_000];

/// Small and good enough: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

fn element(seed: u64, i: usize) -> u64 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ i as u64
}

/// Of an array that is whole, and the one with this seed.
fn require(elements: &ndarray::ArrayRef<u64, Ix1>, seed: u64, what: &str) {
    let wrong = elements
        .iter()
        .enumerate()
        .find(|&(i, &x)| x != element(seed, i));
    assert!(
        wrong.is_none(),
        "{what}: {wrong:?} in an array of {} with the seed {seed}",
        elements.len()
    );
}

/// An array that a thread holds.
struct Held {
    array: SharedArray1<u64>,
    frozen: Option<FrozenArray<u64, Ix1>>,
    seed: u64,
    is_own: bool,
}

impl Held {
    fn check(&self, what: &str) {
        match self.array.read() {
            Ok(elements) => require(&elements, self.seed, what),
            // A writer was killed.
            Err(Error::Poisoned { .. }) => {}
            Err(error) => panic!("{what}: {error:?}"),
        }
        self.frozen
            .iter()
            .for_each(|frozen| require(frozen, self.seed, what));
    }

    /// Writes the same elements again.
    fn rewrite(&self, what: &str) {
        match self.array.write() {
            Ok(mut elements) => {
                require(&elements, self.seed, what);
                elements
                    .iter_mut()
                    .enumerate()
                    .for_each(|(i, x)| *x = element(self.seed, i));
            }
            Err(Error::Poisoned { .. } | Error::Frozen { .. } | Error::ReadOnly { .. }) => {}
            Err(error) => panic!("{what}: {error:?}"),
        }
    }
}

struct Worker<'a> {
    manager: Manager,
    handles: PathBuf,
    number: u64,
    made: u64,
    random: Random,
    held: Vec<Held>,
    stop: &'a AtomicBool,
    counts: &'a [AtomicU64; 4],
}

impl Worker<'_> {
    fn run(&mut self) {
        while !self.stop.load(SeqCst) {
            self.step();
        }
        self.held.clear();
    }

    fn step(&mut self) {
        while self.held.len() > 4 {
            let held = self.held.remove(0);
            self.drop_or_delete(held);
        }
        match self.random.below(24) {
            0..7 => self.make(),
            7..16 => self.open(),
            16 => self.look(),
            17 => std::mem::take(&mut self.held)
                .into_iter()
                .for_each(|held| self.drop_or_delete(held)),
            18 => self.fork(),
            19 => drop(
                Manager::open(self.manager.path())
                    .unwrap()
                    .zeros::<u64, _>(600)
                    .unwrap(),
            ),
            _ => self.end_one(),
        }
        if self.random.below(4) == 0 {
            self.held.iter().for_each(|held| held.check("held"));
        }
    }

    fn make(&mut self) {
        self.made += 1;
        let seed = self.number << 40 | self.made;
        let scope = [
            Scope::Local,
            Scope::Local,
            Scope::Local,
            Scope::Remote,
            Scope::Store,
        ][self.random.below(5) as usize];
        let len = if self.random.below(60) == 0 {
            LENS[4]
        } else {
            LENS[self.random.below(4) as usize]
        };
        let options = self.manager.options().scope(scope);
        let options = match self.random.below(12) {
            0 => options.name(format!("name-{}", self.random.below(3))),
            1 => options.axis_names(["x"]),
            _ => options,
        };
        let made = match self.random.below(4) {
            0 => options.from_shape_fn(len, |i| element(seed, i)),
            1 => options.from_ndarray(&Array1::from_shape_fn(len, |i| element(seed, i))),
            how => {
                let made = if how == 2 {
                    options.zeros(len)
                } else {
                    options.empty(len)
                };
                if let Ok(made) = &made {
                    let mut elements = made.write().unwrap();
                    assert!(
                        how == 3 || elements.iter().all(|&x| x == 0),
                        "zeros are not zero"
                    );
                    elements
                        .iter_mut()
                        .enumerate()
                        .for_each(|(i, x)| *x = element(seed, i));
                }
                made
            }
        };
        let array = match made {
            Ok(array) => array,
            Err(Error::AlreadyExists { .. }) => return,
            Err(error) => panic!("{error:?}"),
        };
        let handle = if self.random.below(4) == 0 {
            array.read_only().unwrap().handle()
        } else {
            array.handle()
        };
        let temporary = self.handles.join(format!("new-{}", self.number));
        fs::write(&temporary, format!("{seed} {handle}")).unwrap();
        fs::rename(
            &temporary,
            self.handles.join(self.random.below(HANDLES).to_string()),
        )
        .unwrap();
        self.counts[0].fetch_add(1, SeqCst);
        self.held.push(Held {
            array,
            frozen: None,
            seed,
            is_own: true,
        });
    }

    fn open(&mut self) {
        let Ok(text) =
            fs::read_to_string(self.handles.join(self.random.below(HANDLES).to_string()))
        else {
            return;
        };
        let (seed, handle) = text.split_once(' ').unwrap();
        let (seed, handle) = (seed.parse().unwrap(), handle.parse::<Handle>().unwrap());
        if self.random.below(4) == 0 {
            match handle.info() {
                Ok(info) => assert_eq!(info.id, handle.id()),
                Err(Error::Released { .. } | Error::PathReused { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        match handle.open() {
            Ok(array) => {
                self.counts[1].fetch_add(1, SeqCst);
                let held = Held {
                    array,
                    frozen: None,
                    seed,
                    is_own: false,
                };
                if self.random.below(3) == 0 {
                    held.rewrite("opened")
                } else {
                    held.check("opened")
                }
                if self.random.below(3) == 0 {
                    self.held.push(held);
                }
            }
            // By a chosen name another array may be found.
            Err(Error::Released { .. } | Error::PathReused { .. }) => {
                self.counts[2].fetch_add(1, SeqCst);
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Ends a held array in one way or the other.
    fn end_one(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let at = self.random.below(self.held.len() as u64) as usize;
        let held = &mut self.held[at];
        match self.random.below(5) {
            0 if held.is_own && held.array.is_writable() => match held.array.freeze() {
                Ok(frozen) => held.frozen = Some(frozen),
                Err(Error::Poisoned { .. }) => {}
                Err(error) => panic!("{error:?}"),
            },
            1 if held.is_own => {
                let released = held.array.release();
                assert!(
                    matches!(released, Ok(()) | Err(Error::Released { .. })),
                    "{released:?}"
                );
                held.rewrite("released");
            }
            2 => {
                let changed = held.array.set_scope(
                    [Scope::Local, Scope::Store, Scope::Remote][self.random.below(3) as usize],
                );
                assert!(
                    matches!(
                        changed,
                        Ok(()) | Err(Error::Released { .. } | Error::NotOwner { .. })
                    ),
                    "{changed:?}"
                );
            }
            _ => {
                let held = self.held.swap_remove(at);
                self.drop_or_delete(held);
            }
        }
    }

    /// The maker usually deletes an array that would stay: else the store would grow without end.
    fn drop_or_delete(&mut self, held: Held) {
        if held.is_own && held.array.scope() != Scope::Local && self.random.below(20) != 0 {
            let _ = held.array.release();
        }
    }

    /// Looks at all that is there.
    fn look(&mut self) {
        let list = self.manager.list().unwrap();
        let has_digits = |path: &Path| path.file_stem().unwrap().len() == 32;
        assert!(
            list.iter()
                .all(|info| info.name.is_some() != has_digits(&info.path))
        );
        match self.random.below(4) {
            0 => drop(self.manager.usage().unwrap()),
            1 => {
                let swept = self.manager.sweep().unwrap();
                assert!(swept.skipped.is_empty(), "{swept:?}");
            }
            2 => match self.manager.remove("name-1") {
                Ok(()) | Err(Error::NotFound { .. } | Error::Released { .. }) => {}
                Err(error) => panic!("{error:?}"),
            },
            _ => {}
        }
    }

    /// A forked child keeps its parent's arrays, also when the parent drops them.
    fn fork(&mut self) {
        if self.random.below(8) != 0 {
            return;
        }
        // SAFETY: the child calls this library and then ends without running anything else.
        match unsafe { libc::fork() } {
            0 => {
                let is_whole = |held: &Held| match held.array.read() {
                    Ok(elements) => elements
                        .iter()
                        .enumerate()
                        .all(|(i, &x)| x == element(held.seed, i)),
                    Err(error) => matches!(error, Error::Poisoned { .. }),
                };
                let is_kept = (0..10).all(|_| self.held.iter().all(is_whole));
                // SAFETY: always sound.
                unsafe { libc::_exit(if is_kept { 0 } else { 1 }) };
            }
            child => {
                assert!(child > 0);
                self.held.clear();
                (0..10).for_each(|_| self.make());
                let mut status = 0;
                // SAFETY: the child above, and a place for its status.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                assert_eq!(status, 0, "a child lost its elements");
                self.counts[3].fetch_add(1, SeqCst);
            }
        }
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_churns() {
    let [store, handles, process, seed] = common::arguments().try_into().unwrap();
    let (process, seed): (u64, u64) = (process.parse().unwrap(), seed.parse().unwrap());
    // One thread's fault ends all.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::exit(70);
    }));
    let recycle = if process.is_multiple_of(2) {
        1 << 30
    } else {
        0
    };
    let cache = [0, 100 << 10, 64 << 20][(process % 3) as usize];
    let manager = Manager::builder()
        .path(&store)
        .recycle(recycle)
        .cache(cache)
        .open()
        .unwrap();
    let (stop, counts) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 4]);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let number = process * THREADS + thread + 1;
            let random = Random((seed + number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let (manager, handles, stop, counts) =
                (manager.clone(), PathBuf::from(&handles), &stop, &counts);
            scope.spawn(move || {
                Worker {
                    manager,
                    handles,
                    number,
                    made: 0,
                    random,
                    held: Vec::new(),
                    stop,
                    counts,
                }
                .run()
            });
        }
        let _ = std::io::stdin().lines().next();
        stop.store(true, SeqCst);
    });
    println!(
        "counts {}",
        counts.map(|count| count.into_inner().to_string()).join(" ")
    );
    let _ = std::io::stdin().lines().count();
    drop(manager);
    common::done();
}

/// Deletes all arrays, also those without an owner.
fn delete_all(manager: &Manager) {
    for info in manager.list().unwrap() {
        match AnyArray::open_path(&info.path).and_then(|array| array.release()) {
            Ok(()) | Err(Error::NotFound { .. } | Error::Released { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn arrays_that_are_made_and_dropped_all_the_time_open_with_the_right_elements() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
    };
    let seconds = Duration::from_secs(number("NDSHM_CHURN_SECONDS", 2));
    let mut seed = number("NDSHM_CHURN_SEED", u64::from(std::process::id()));
    println!("seed {seed}");
    let root = Root::new();
    let handles = Root::new();
    let manager = Manager::builder()
        .root(root.path())
        .recycle(1 << 20)
        .create()
        .unwrap();
    let mut next = 0;
    let mut start = |manager: &Manager, handles: &Path| {
        (next, seed) = (next + 1, seed + 1000);
        Peer::start(
            child_churns,
            &[
                manager.path().to_str().unwrap(),
                handles.to_str().unwrap(),
                &next.to_string(),
                &seed.to_string(),
            ],
        )
    };
    let mut peers: Vec<_> = (0..PEERS)
        .map(|_| start(&manager, handles.path()))
        .collect();
    let began = Instant::now();
    while began.elapsed() < seconds {
        std::thread::sleep(Duration::from_secs(1));
        let mut killed = peers.remove(0);
        killed.kill();
        drop(killed);
        peers.push(start(&manager, handles.path()));
        delete_all(&manager);
    }
    let mut counts = [0; 4];
    for mut peer in peers {
        peer.tell("stop");
        let words = peer.hear("counts ");
        words
            .split(' ')
            .zip(&mut counts)
            .for_each(|(word, count)| *count += word.parse::<u64>().unwrap());
        peer.finish();
    }
    println!(
        "made {}, opened {}, gone {}, forked {} by those that were not killed",
        counts[0], counts[1], counts[2], counts[3]
    );
    assert!(counts[..3].iter().all(|&count| count > 0));
    assert!(manager.sweep().unwrap().skipped.is_empty());
    delete_all(&manager);
    let usage = manager.usage().unwrap();
    assert_eq!((usage.arrays, usage.kept), (0, 0), "{:?}", root.contents());
    drop(manager);
    assert_eq!(root.contents(), Vec::<PathBuf>::new());
}

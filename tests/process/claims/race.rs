//! Two processes that claim the same arrays at the same time.

use super::*;

const ROUNDS: usize = 10_000;
/// Arrays that wait for their round at the same time.
const BATCH: usize = 250;

#[test]
fn of_two_processes_that_race_for_a_remote_array_one_claims_it_in_ten_thousand_rounds() {
    let root = Root::new();
    let manager = root.manager();
    let barrier = root.path().join("barrier");
    File::create_new(&barrier).unwrap().set_len(4096).unwrap();
    let mut racers = ["0", "1"]
        .map(|side| Peer::start(child_races_for_claims, &[side, barrier.to_str().unwrap()]));
    let (mut wins, mut overlapping, begun) = ([0, 0], 0, Instant::now());
    for batch in 0..ROUNDS / BATCH {
        let handles: Vec<_> = (0..BATCH)
            .map(|_| remote(&manager).handle().to_string())
            .collect();
        let mut results = [Vec::new(), Vec::new()];
        for racer in &mut racers {
            handles.iter().for_each(|handle| racer.tell(handle));
        }
        for (racer, results) in racers.iter_mut().zip(&mut results) {
            results.extend((0..BATCH).map(|_| racer.hear("round ")));
        }
        for (round, (first, second)) in results[0].iter().zip(&results[1]).enumerate() {
            let [first, second] =
                [first, second].map(|result| result.split(' ').collect::<Vec<_>>());
            match (first[0], second[0]) {
                ("local", "store") => wins[0] += 1,
                ("store", "local") => wins[1] += 1,
                other => panic!("round {}: {other:?}", batch * BATCH + round),
            }
            let time = |result: &[&str], at: usize| result[at].parse::<u64>().unwrap();
            overlapping += usize::from(
                time(&first, 1) < time(&second, 2) && time(&second, 1) < time(&first, 2),
            );
        }
        assert_eq!(manager.list().unwrap().len(), 0, "after batch {batch}");
    }
    racers.into_iter().for_each(Peer::finish);
    println!(
        "claims won: {wins:?} of {ROUNDS}, {overlapping} of them while both were opening, in {:?}",
        begun.elapsed()
    );
    assert!(
        wins.iter().sum::<usize>() == ROUNDS && wins.iter().all(|&won| won >= ROUNDS / 20),
        "{wins:?}"
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_races_for_claims() {
    let arguments = common::arguments();
    let mut barrier = Barrier::new(arguments[0].parse().unwrap(), Path::new(&arguments[1]));
    let mut lines = std::io::stdin().lines().map(Result::unwrap).peekable();
    let mut round = 0;
    while lines.peek().is_some() {
        // The whole batch is read before the first round: no process comes late to one because of
        // the pipe.
        let batch: Vec<Handle> = lines
            .by_ref()
            .take(BATCH)
            .map(|line| line.parse().unwrap())
            .collect();
        let mut opened = Vec::new();
        for handle in &batch {
            round += 1;
            // The process that sees the other one arrive goes first, by the time that a word needs
            // from processor to processor: the sides take turns.
            barrier.pass(round % 2);
            let start = now();
            let xs: SharedArray1<f64> = handle.open().unwrap();
            opened.push((start, now(), xs));
        }
        barrier.pass(0);
        let (mut won, mut lost, mut results) = (Vec::new(), Vec::new(), Vec::new());
        for (start, end, xs) in opened {
            results.push(format!("round {} {start} {end}", xs.scope()));
            assert_eq!(xs.read().unwrap().sum(), 3.0);
            if xs.scope() == Scope::Local {
                won.push(xs)
            } else {
                lost.push(xs)
            }
        }
        let paths = |arrays: Vec<SharedArray1<f64>>| {
            arrays
                .iter()
                .map(|array| array.path().to_path_buf())
                .collect::<Vec<_>>()
        };
        let lost = paths(lost);
        assert!(
            lost.iter().all(|path| path.exists()),
            "the loser deleted it"
        );
        barrier.pass(0);
        let won = paths(won);
        assert!(
            !won.iter().any(|path| path.exists()),
            "the winner did not delete it"
        );
        barrier.pass(0);
        println!("{}", results.join("\n"));
    }
    common::done();
}

fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Where two processes meet: a word that says how often one of them came, and one how often the
/// other let both go.
struct Barrier {
    page: MmapRaw,
    side: usize,
    passes: u32,
}

impl Barrier {
    fn new(side: usize, path: &Path) -> Self {
        Self {
            page: MmapRaw::map_raw(&File::options().read(true).write(true).open(path).unwrap())
                .unwrap(),
            side,
            passes: 0,
        }
    }

    /// Waits for the other side; `first` is the side that goes first.
    fn pass(&mut self, first: usize) {
        self.passes += 1;
        let (came, go) = (self.word(0), self.word(1));
        if self.side == first {
            self.wait_for(came);
            self.set(go);
        } else {
            self.set(came);
            self.wait_for(go);
        }
    }

    fn set(&self, word: &AtomicU32) {
        word.store(self.passes, SeqCst);
        futex::wake(word, futex::Flags::empty(), 1).unwrap();
    }

    /// Spins for longer than a round takes, then sleeps: on a busy machine the other side may wait
    /// for a processor.
    fn wait_for(&self, word: &AtomicU32) {
        let mut looks = 0;
        loop {
            let seen = word.load(SeqCst);
            looks += 1;
            if seen >= self.passes {
                break;
            } else if looks < 2000 {
                std::hint::spin_loop();
            } else {
                // Woken, changed before the sleep, or interrupted: in any case it looks again.
                let _ = futex::wait(word, futex::Flags::empty(), seen, None);
            }
        }
    }

    fn word(&self, index: usize) -> &AtomicU32 {
        assert!(index < 2);
        // SAFETY: the file has a page, which is mapped for reading and writing while `self` lives;
        // the word lies at its start or 64 bytes after it, so inside and aligned; it is an atomic,
        // for which any bytes are valid, and no process accesses it otherwise.
        unsafe { AtomicU32::from_ptr(self.page.as_mut_ptr().wrapping_add(64 * index).cast()) }
    }
}

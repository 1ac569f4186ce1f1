//! The end of a soak: the workers stop, the test checks their leftovers, and prints a report.

use super::Killer;
use crate::{
    cells::GRIDS,
    common::words::{self, claimable},
    shared::{COUNTERS, OPS, STATES},
    worker::{COUNTERS_NAME, NAMES, frame_number_of},
};
use ndarray::Ix1;
use ndshm::{Error, Manager, SharedArray1};
use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

impl Killer {
    /// Tells all workers to stop, and requires that they do.
    pub(crate) fn stop(&mut self) {
        self.shared.stop();
        let deadline = Instant::now() + self.watchdog;
        for worker in 0..self.workers.len() {
            loop {
                match self.workers[worker].child.try_wait().unwrap() {
                    Some(status) if status.success() => break,
                    Some(status) => panic!("worker {worker} failed at its end: {status}"),
                    None if Instant::now() > deadline => {
                        self.stuck("a worker does not end", Some(worker))
                    }
                    None => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        }
        self.workers.clear();
        assert_eq!(
            self.shared.faults(),
            0,
            "a worker found a fault, and was killed before it ended"
        );
    }

    /// Recovers all poison and looks at every cell; then a sweep leaves nothing of the dead
    /// members.
    pub(crate) fn verify(&mut self) {
        for (grid, array) in GRIDS.iter().zip(&self.grids) {
            for cell in 0..grid.cells() {
                let part = grid.cell(cell);
                match grid.view(array, &part).read_timeout(self.watchdog) {
                    Ok(guard) => grid.check(&part, &guard).unwrap(),
                    Err(Error::Poisoned { .. }) => {}
                    Err(error) => panic!("{}: {error}", grid.name),
                }
            }
        }
        for (index, (grid, array)) in GRIDS.iter().zip(&self.grids).enumerate() {
            grid.fill(
                &grid.whole(),
                &mut array.recover().unwrap(),
                self.incarnations << 24,
                || {},
            );
            assert!(!array.is_poisoned().unwrap());
            for cell in 0..grid.cells() {
                // The recovery was one more.
                let count = grid.counter(&grid.view(array, &grid.cell(cell)).read().unwrap()) - 1;
                let (done, doubt) = (self.shared.done(index, cell), self.in_doubt[index][cell]);
                assert!(
                    (done..=done + doubt).contains(&count),
                    "{} cell {cell}: {count} writes, {done} done and {doubt} in doubt",
                    grid.name
                );
            }
        }
        self.verify_counters();
        self.manager.sweep().unwrap();
        self.verify_frames();
        // The store owns an array that was handed on and never claimed; any process may take it.
        for info in self
            .manager
            .list()
            .unwrap()
            .into_iter()
            .filter(|info| info.name.is_none())
        {
            assert_eq!(
                words::get(&info.path, words::OWNER_AT),
                claimable(),
                "{} was left",
                info.path.display()
            );
            SharedArray1::<u64>::open_path(&info.path)
                .unwrap()
                .set_scope(ndshm::Scope::Local)
                .unwrap();
        }
        let list: BTreeSet<_> = self
            .manager
            .list()
            .unwrap()
            .into_iter()
            .map(|info| info.name.unwrap())
            .collect();
        let is_known = |name: &str| {
            NAMES.contains(&name)
                || name == COUNTERS_NAME
                || GRIDS.iter().any(|grid| grid.name == name)
        };
        assert!(list.iter().all(|name| is_known(name)), "{list:?}");
        list.iter()
            .filter(|name| NAMES.contains(&name.as_str()))
            .for_each(|name| drop(self.manager.array::<u64, Ix1>(name).unwrap()));
        // This process keeps no files any more.
        let none = Manager::builder().path(&self.places.store).recycle(0);
        drop(none.open().unwrap());
        let files: BTreeSet<_> = fs::read_dir(&self.places.store)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let expected = list
            .iter()
            .map(|name| format!("{name}.ndshm"))
            .chain([".lock".to_owned()]);
        assert_eq!(files, expected.collect());
    }

    /// Nothing that was added is lost, and no more was added than may have been by the killed.
    fn verify_counters(&mut self) {
        let counts = self.counters.recover().unwrap().to_vec();
        for (counter, &count) in counts.iter().enumerate() {
            let (added, doubt) = (self.shared.added(counter), self.adds_in_doubt[counter]);
            assert!(
                (added..=added + doubt).contains(&count),
                "counter {counter} is {count}, {added} were added and {doubt} are in doubt"
            );
        }
        let (sum, added) = (
            counts.iter().sum::<u64>(),
            (0..COUNTERS)
                .map(|counter| self.shared.added(counter))
                .sum::<u64>(),
        );
        self.sums = (sum, added);
    }

    /// The remaining frames were frozen as their producer filled them, or their producer died; they
    /// are deleted now.
    fn verify_frames(&mut self) {
        for name in self
            .manager
            .list()
            .unwrap()
            .into_iter()
            .filter_map(|info| info.name)
        {
            let Some(number) = frame_number_of(&name) else {
                continue;
            };
            let array = self.manager.array::<u64, Ix1>(&name).unwrap();
            match array
                .handle()
                .open_frozen_timeout::<u64, Ix1>(self.watchdog)
            {
                Ok(frozen) => {
                    assert!(
                        frozen.iter().all(|element| *element == number),
                        "frozen as {number:x}: {frozen:x?}"
                    );
                    self.frames_left.0 += 1;
                }
                Err(Error::Abandoned { .. }) => self.frames_left.1 += 1,
                Err(error) => panic!("{name}: {error}"),
            }
            array.release().unwrap();
        }
    }

    pub(crate) fn report(&mut self) {
        let elapsed = self.began.elapsed();
        println!(
            "{} kills in {elapsed:.1?}, load up to {:.1} on {} processors",
            self.kills(),
            self.load,
            std::thread::available_parallelism().unwrap()
        );
        println!("what the threads of the killed did:");
        STATES.iter().for_each(|state| {
            println!(
                "  {:24} {}",
                format!("{state:?}"),
                self.by_state.get(state).unwrap_or(&0)
            )
        });
        self.tally.print();
        // Else the look at their lanes finds nothing any more.
        assert!(self.kills() < 100 || self.tally.is_of_all_kinds());
        println!("operations:");
        OPS.iter()
            .for_each(|&op| println!("  {:24} {}", format!("{op:?}"), self.shared.counted(op)));
        let (sum, added) = self.sums;
        println!(
            "the counters' sum is {sum}: {added} additions that were told, {} of {} in doubt",
            sum - added,
            self.adds_in_doubt.iter().sum::<u64>()
        );
        println!(
            "frames that were left: {} frozen, {} abandoned",
            self.frames_left.0, self.frames_left.1
        );
        self.waits.sort_unstable();
        if let Some(longest) = self.waits.last() {
            let count = self.waits.len();
            let part = |of_thousand: usize| self.waits[(count * of_thousand / 1000).min(count - 1)];
            println!(
                "{count} readers waited for a writer that died: told after {:.1?} (median), {:.1?} \
                 (90 %), {:.1?} (99 %), {longest:.1?} (longest)",
                part(500),
                part(900),
                part(990)
            );
            println!(
                "  {} of them by a lock, because others were faster to recover",
                self.waits_without_poison
            );
        }
    }

    pub(crate) fn close(self) {
        self.manager.close().unwrap();
    }
}

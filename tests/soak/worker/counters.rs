//! The operations of a worker on the counters: integers that all workers add to, as atomics and
//! otherwise.

use super::Worker;
use crate::shared::{COUNTERS, Op, State};
use ndarray::{Ix1, s};
use ndshm::{Error, SharedArray1};
use std::{sync::atomic::Ordering::Relaxed, time::Duration};

/// The name of their array.
pub(crate) const NAME: &str = "counters";

impl Worker<'_> {
    /// Some of the counters, with the number of the first.
    fn some_counters(&mut self) -> (usize, SharedArray1<u64>) {
        self.words.set(State::Opening);
        let first = self.random.below(COUNTERS);
        let end = first + 1 + self.random.below(COUNTERS - first);
        (
            first,
            self.manager
                .array::<u64, Ix1>(NAME)
                .unwrap()
                .slice(s![first..end])
                .unwrap(),
        )
    }

    pub(super) fn count_up(&mut self) {
        let (first, counters) = self.some_counters();
        self.words.set(State::WaitingToCount);
        match counters.atomic() {
            Ok(atomics) => {
                self.words.set(State::Counting);
                for _ in 0..1 + self.random.below(40) {
                    let index = self.random.below(atomics.len());
                    self.words.about_to_add(first + index);
                    atomics[index].fetch_add(1, Relaxed);
                    if self.chance(10) {
                        // Killed here, it has added and did not say so.
                        self.pause();
                    }
                    self.words.added();
                    if self.chance(4) {
                        atomics.notify(index);
                    }
                }
                self.words.set(State::Leaving);
                drop(atomics);
                self.words.count(Op::Count);
            }
            Err(error) => self.settle_counters(&counters, error),
        }
    }

    /// Waits until another thread adds to a counter, for a while.
    pub(super) fn wait_for_a_count(&mut self) {
        let (_, counters) = self.some_counters();
        self.words.set(State::WaitingToCount);
        match counters.atomic() {
            Ok(atomics) => {
                self.words.set(State::AwaitingCount);
                let index = self.random.below(atomics.len());
                let old = atomics[index].load(Relaxed);
                let patience = Duration::from_micros(self.random.below(5000) as u64);
                match atomics.wait(index, old, patience) {
                    Ok(new) => {
                        assert!(new > old, "a counter was {old} and is {new}");
                        self.words.count(Op::CountSeen);
                    }
                    Err(Error::Timeout { .. }) => self.words.count(Op::TooLate),
                    Err(error) => panic!("{error}"),
                }
                self.words.set(State::Leaving);
                drop(atomics);
            }
            Err(error) => self.settle_counters(&counters, error),
        }
    }

    /// Adds one, not atomically: no other process may add meanwhile.
    pub(super) fn count_by_writing(&mut self) {
        let (first, counters) = self.some_counters();
        self.words.set(State::WaitingToWrite);
        match counters.write() {
            Ok(mut guard) => {
                self.words.set(State::Writing);
                let index = self.random.below(guard.len());
                let before = guard[index];
                self.words.about_to_add(first + index);
                self.pause();
                guard[index] = before + 1;
                self.words.added();
                self.words.set(State::Leaving);
                drop(guard);
                self.words.count(Op::CountByWriting);
            }
            Err(error) => self.settle_counters(&counters, error),
        }
    }

    /// They stand still while they are read, and never shrink.
    pub(super) fn read_counters(&mut self) {
        let (first, counters) = self.some_counters();
        self.words.set(State::WaitingToRead);
        match counters.read() {
            Ok(guard) => {
                self.words.set(State::Reading);
                let before = guard.to_vec();
                self.pause();
                assert_eq!(
                    guard.to_vec(),
                    before,
                    "another process adds while they are read"
                );
                for (seen, now) in self.counted[first..].iter_mut().zip(before) {
                    assert!(now >= *seen, "a counter was {seen} and is {now}");
                    *seen = now;
                }
                self.words.set(State::Leaving);
                drop(guard);
                self.words.count(Op::ReadCounters);
            }
            Err(error) => self.settle_counters(&counters, error),
        }
    }

    /// A writer that died added one or did not: there is nothing to make good.
    fn settle_counters(&mut self, counters: &SharedArray1<u64>, error: Error) {
        assert!(matches!(error, Error::Poisoned { .. }), "{error}");
        assert!(self.shared.kills() > 0, "no process died: {error}");
        self.words.count(Op::Poisoned);
        self.words.set(State::WaitingToRecover);
        let guard = counters.recover().unwrap();
        self.words.set(State::Recovering);
        drop(guard);
        self.words.count(Op::Recover);
    }
}

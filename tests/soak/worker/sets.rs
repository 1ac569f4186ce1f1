//! Several guards at once, of two arrays.

use super::{Worker, check};
use crate::{
    cells::GRIDS,
    shared::{Op, State},
};
use ndshm::Error;
use std::time::Duration;

impl Worker<'_> {
    /// Writes two cells of an array and reads a part of another one.
    pub(super) fn lock_a_set(&mut self) {
        let (read_from, read_part, reading) = self.pick();
        let grid = (read_from + 1 + self.random.below(GRIDS.len() - 1)) % GRIDS.len();
        let cells = GRIDS[grid].cells();
        let first = self.random.below(cells);
        let second = (first + 1 + self.random.below(cells - 1)) % cells;
        let parts = [first, second].map(|cell| GRIDS[grid].cell(cell));
        let views = parts.map(|part| GRIDS[grid].view(&self.grids[grid], &part));
        self.words.about_to_write(grid, 1 << first | 1 << second);
        self.words.set(State::WaitingForSet);
        let set = (reading.reading(), views.map(|view| view.writing()));
        let taken = match self.random.below(4) {
            0 => ndshm::try_lock(set),
            1 => ndshm::lock_timeout(set, Duration::from_micros(self.random.below(3000) as u64)),
            _ => ndshm::lock(set),
        };
        match taken {
            Ok((read, mut written)) => {
                self.words.set(State::Writing);
                check(GRIDS[read_from].check(&read_part, &read));
                for (part, guard) in parts.iter().zip(&mut written) {
                    check(GRIDS[grid].check(part, guard));
                    let number = self.number();
                    GRIDS[grid].fill(part, guard, number, || self.pause());
                }
                check(GRIDS[read_from].check(&read_part, &read));
                self.words.set(State::Leaving);
                drop(written);
                self.words.wrote();
                drop(read);
                self.words.count(Op::Set);
            }
            Err(error) => {
                self.words.wrote_nothing();
                // The error may be of any part of the set.
                match error {
                    Error::Poisoned { .. } => {
                        let (grid, part) = match self.random.below(3) {
                            0 => (read_from, read_part),
                            which => (grid, parts[which - 1]),
                        };
                        self.refused(grid, part, error);
                    }
                    error => self.refused(grid, parts[0], error),
                }
            }
        }
    }
}

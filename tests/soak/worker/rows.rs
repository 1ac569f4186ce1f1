//! A thread that comes back to its guards: it takes cells in turn, and the same cell again and
//! again, so that its guards rest and reserve ranges.

use super::{Worker, check};
use crate::{
    cells::GRIDS,
    shared::{Op, State},
};

impl Worker<'_> {
    pub(super) fn come_back(&mut self) {
        let grid = self.random.below(GRIDS.len());
        let cells = GRIDS[grid].cells();
        let (first, count) = (self.random.below(cells), 1 + self.random.below(6));
        // So that a kill finds the thread in the lock table, in a row or between two.
        let (is_writing, also_reads) = (self.chance(2), self.chance(2));
        for step in 0..40 {
            // In a crowd each guard takes its time.
            self.words.beat();
            let part = GRIDS[grid].cell((first + step % count) % cells);
            let view = GRIDS[grid].view(&self.grids[grid], &part);
            let outcome = if is_writing && !(also_reads && step % 2 == 1) {
                self.words.about_to_write(grid, GRIDS[grid].bits(&part));
                self.words.set(State::WaitingToWrite);
                view.write().map(|mut guard| {
                    self.words.set(State::Writing);
                    check(GRIDS[grid].check(&part, &guard));
                    let number = self.number();
                    GRIDS[grid].fill(&part, &mut guard, number, || {});
                    drop(guard);
                    self.words.wrote();
                })
            } else {
                self.words.set(State::WaitingToRead);
                view.read().map(|guard| {
                    self.words.set(State::Reading);
                    check(GRIDS[grid].check(&part, &guard));
                })
            };
            self.words.set(State::Resting);
            if let Err(error) = outcome {
                self.words.wrote_nothing();
                return self.refused(grid, part, error);
            }
            if self.chance(20) {
                self.pause();
            }
        }
        self.words.count(Op::ComeBack);
    }
}

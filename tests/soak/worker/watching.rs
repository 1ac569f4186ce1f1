//! The wait for a change of an array.

use super::{Worker, check};
use crate::{
    cells::GRIDS,
    shared::{Op, State},
};
use ndshm::Error;
use std::time::Duration;

/// The grids that are watched. Guards of a watched array that write do not rest, and those of the
/// others shall.
const WATCHED: [usize; 2] = [1, 3];

impl Worker<'_> {
    /// Reads a part twice: where it changed in between, its number goes up.
    pub(super) fn watch(&mut self) {
        let grid = WATCHED[self.random.below(WATCHED.len())];
        let part = GRIDS[grid].part(&mut |limit| self.random.below(limit));
        let view = GRIDS[grid].view(&self.grids[grid], &part);
        self.words.set(State::Watching);
        let before = view.changed().unwrap();
        let mut contents = [None, None];
        for content in &mut contents {
            self.words.set(State::WaitingToRead);
            match view.read() {
                Ok(guard) => {
                    self.words.set(State::Reading);
                    check(GRIDS[grid].check(&part, &guard));
                    *content = Some(guard.to_owned());
                }
                Err(error) => return self.refused(grid, part, error),
            }
            self.words.set(State::Watching);
            self.pause();
        }
        let has_changed = contents[0] != contents[1];
        let patience = match has_changed {
            // The number goes up, at the latest where the death of the writer is noticed.
            true => Duration::from_secs(60),
            false => Duration::from_micros(self.random.below(5000) as u64),
        };
        match view.wait_changed(before, patience) {
            Ok(now) => {
                assert!(now > before, "{before} changes, and later {now}");
                self.words.count(Op::ChangeSeen);
            }
            Err(Error::Timeout { .. }) => {
                assert!(!has_changed, "a change of {part:?} was not counted");
            }
            Err(error) => panic!("{error}"),
        }
        self.words.count(Op::Watch);
    }
}

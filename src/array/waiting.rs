//! A call that waits for a lock: its answers to the questions of the lock table.

use crate::{
    array::{obstacles::Blocker, open_array::OpenArray},
    error::Error,
    state::lock_table::{Surroundings, Watched},
    store::{
        deadlock::{self, Link},
        thread_lanes,
    },
    sync::Instant,
    sys::{
        fork,
        wait::{has_interrupt_check, is_interrupted},
    },
};
use std::cell::Cell;

/// The answers to the questions of the table while a call waits.
pub(super) struct Waiting<'a> {
    pub(super) array: &'a OpenArray,
    /// The generation of the process that made the request.
    pub(super) generation: u64,
    /// A lane that this thread keeps, and that has no guard yet: no guard that the caller's check
    /// takes may get it.
    pub(super) lane: Option<u32>,
    pub(super) has_companions: bool,
    /// Why lanes that other members added could not be reached.
    pub(super) unreached: Cell<Option<Error>>,
    /// The obstacle at the end of the call's time.
    pub(super) blocker: Cell<Option<Blocker>>,
    /// The circle of waits of which the call's own is the youngest.
    pub(super) circle: Cell<Option<Vec<Link>>>,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(array: &'a OpenArray) -> Self {
        Self {
            array,
            generation: fork::generation(),
            lane: None,
            has_companions: false,
            unreached: Cell::new(None),
            blocker: Cell::new(None),
            circle: Cell::new(None),
        }
    }
}

impl Surroundings for Waiting<'_> {
    fn is_alive(&self, member: u64) -> bool {
        self.array.is_alive(member)
    }

    fn reach_lanes(&self) -> bool {
        match self.array.member().reach_lanes() {
            Ok(()) => true,
            Err(error) => {
                self.unreached.set(Some(error));
                false
            }
        }
    }

    fn lease(&self) -> Option<u32> {
        self.array.lease()
    }

    fn is_deadlocked(&self, lane: u32) -> bool {
        let circle = deadlock::circle_of_victim(self.array.member(), lane);
        let is_victim = circle.is_some();
        self.circle.set(circle);
        is_victim
    }

    fn note_blocker(&self, lane: u32, watched: Option<Watched>) {
        self.blocker
            .set(Blocker::of_lane(self.array, lane, watched));
    }

    fn note_word_holder(&self, member: u64, since: Instant) {
        let since = Instant::now().saturating_duration_since(since);
        self.blocker.set(Some(Blocker::Word { member, since }));
    }

    fn is_cut_off(&self) -> bool {
        self.array.is_cut_off()
    }

    fn is_interrupted(&self) -> bool {
        match self.lane {
            Some(lane) => thread_lanes::set_aside(self.array.member(), lane, is_interrupted),
            None => is_interrupted(),
        }
    }

    fn has_check(&self) -> bool {
        has_interrupt_check()
    }

    fn has_companions(&self) -> bool {
        self.has_companions
    }

    fn has_forked(&self) -> bool {
        self.generation != fork::generation()
    }

    fn may_be_written(&self) -> bool {
        self.array.may_be_written()
    }
}

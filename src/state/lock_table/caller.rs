//! The caller of the table: its answers, and the check that it runs in the middle of a wait.
//!
//! # The check
//!
//! A waiting thread calls a check of its caller ([`Surroundings::is_interrupted`]), which runs any
//! code: it takes guards, panics, or forks. It is called without the lock word, and the table looks
//! at everything again afterwards. A panic withdraws the wait. A forked child that returns from the
//! check has neither lane nor wait, which are its parent's: it gets [`Refusal::Forked`].

use super::{Refusal, Watched};
use crate::sync::Instant;

/// Answers that the table needs from its caller, and lanes.
pub(crate) trait Surroundings {
    /// Whether the member lives. Called without the lock word, and only about others.
    fn is_alive(&self, member: u64) -> bool;
    /// Makes the lanes touchable that other processes added. Returns false if it cannot.
    fn reach_lanes(&self) -> bool;
    /// Leases one more lane. Returns `None` if no lane can be had.
    fn lease(&self) -> Option<u32>;
    /// Whether the wait in this lane belongs to a circle of waits, and is the one that is to give
    /// up. Called now and then, without the lock word.
    fn is_deadlocked(&self, lane: u32) -> bool;
    /// Notes the lane that is in the way of a request whose time is over, and the one that it slept
    /// on last. Called without the lock word.
    fn note_blocker(&self, _lane: u32, _watched: Option<Watched>) {}
    /// Notes the member that holds the lock word when the time of a request is over, and since when
    /// the request has seen it there. Called without the lock word.
    fn note_word_holder(&self, _member: u64, _since: Instant) {}
    /// Whether this process can no longer learn which members live. A wait ends then.
    fn is_cut_off(&self) -> bool {
        false
    }
    /// Whether the calling thread has to end its wait. Called without the lock word, between two
    /// sleeps.
    fn is_interrupted(&self) -> bool {
        false
    }
    /// Whether [`is_interrupted`](Self::is_interrupted) may end a wait.
    fn has_check(&self) -> bool {
        false
    }
    /// Whether the call holds other guards on this array, which it takes together with this one.
    fn has_companions(&self) -> bool {
        false
    }
    /// Whether this process is a child that was forked since the request was made: the lanes of the
    /// request are its parent's.
    fn has_forked(&self) -> bool {
        false
    }
    /// Whether the array may be written. A recovery asks under the lock word, before it clears
    /// poison.
    fn may_be_written(&self) -> bool {
        true
    }
}

/// Surroundings for work without a caller that could be interrupted.
pub(super) struct Uninterrupted<'a, S>(pub(super) &'a S);

impl<S: Surroundings> Surroundings for Uninterrupted<'_, S> {
    fn is_alive(&self, member: u64) -> bool {
        self.0.is_alive(member)
    }

    fn reach_lanes(&self) -> bool {
        self.0.reach_lanes()
    }

    fn lease(&self) -> Option<u32> {
        self.0.lease()
    }

    fn is_deadlocked(&self, lane: u32) -> bool {
        self.0.is_deadlocked(lane)
    }

    fn is_cut_off(&self) -> bool {
        self.0.is_cut_off()
    }
}

/// Calls the caller's check. A child that it forked is told so first: nothing of the wait is its
/// own.
pub(super) fn ask_caller(surroundings: &impl Surroundings) -> Result<(), Refusal> {
    let is_interrupted = surroundings.is_interrupted();
    if surroundings.has_forked() {
        Err(Refusal::Forked)
    } else if is_interrupted {
        Err(Refusal::Interrupted)
    } else {
        Ok(())
    }
}

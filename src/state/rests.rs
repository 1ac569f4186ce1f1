//! # Reservations
//!
//! A thread that took a guard at once, with nothing in the way, may give it back so that it
//! *rests*: the mode says so, and key and span stay. To take the same guard again is then one
//! compare-and-swap of the tag ([`Lane::resume`]), without the lock word and without a line that
//! threads share. A request that a resting guard excludes *revokes* it, under the lock word of the
//! array, by a compare-and-swap to mode *leased*. One word decides which of the two comes first. A
//! guard with a flag of others in its tag does not rest: the swap of its owner fails. One flag says
//! that a waiter sleeps on the guard, the other that it must not rest.
//!
//! # Parts
//!
//! A thread that uses row after row reserves all of them: start and end are those of the
//! *reservation*, and pitch and width say which part of it the guard has ([`PART`]). The owner
//! writes the part while the guard rests, and then takes it by the tag. So a request that meets
//! such a guard makes it restless first: after that its owner writes no other part, and the part
//! can be read. If the two have bytes in common, the request waits.
//! Otherwise it goes on at once, though the reservation covered its bytes.
//!
//! # Guards to read in a reservation to write
//!
//! A thread that writes and reads in turn reads where its guard to write rested
//! ([`Mode::ReadExclusive`]). For others this is a guard to read: its death leaves no poison, and
//! readers go on beside it. They make it restless before, because it must not rest as a guard to
//! write beside them.

use super::lanes::{
    COUNTED, Conflicts, FLAGS, Lane, Mode, READING, is_in, make_restless, member_of,
};
use crate::layout::span::Span;
use std::sync::atomic::{
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    compiler_fence,
};

/// The guard has a part of its lane's reservation.
pub(crate) const PART: u64 = 1 << 5;

/// The modes of guards.
pub(crate) const HELD: u32 = READING | Mode::Write.bit() | Mode::Atomic.bit();
/// The modes of guards that rest.
pub(crate) const RESTING: u32 =
    Mode::ReadRest.bit() | Mode::WriteRest.bit() | Mode::AtomicRest.bit();

/// The bit by which the mode of a guard differs from that of the same guard at rest.
pub(crate) const REST: u64 = 1 << 3;

/// Whether a guard rests in a lane with this tag.
#[inline]
pub(crate) fn is_resting(tag: u64) -> bool {
    is_in(tag, RESTING)
}

/// The bytes of the guard, the wait or the poison in a lane with this tag, of which `span` are the
/// words.
#[inline]
pub(crate) fn held_by(tag: u64, span: Span) -> Span {
    if tag & PART == 0 {
        return span;
    }
    let start = span.start.saturating_add(u64::from(span.pitch));
    Span::range(start, start.saturating_add(u64::from(span.width)))
}

/// The bytes and the access that a thread gets back without the lock word, where its guard rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) mode: Mode,
    pub(crate) span: Span,
    /// Whether it gives any range within the span, or nothing but the span.
    pub(crate) has_parts: bool,
}

impl Reservation {
    /// Whether it gives a guard of this mode on these bytes.
    #[inline]
    pub(crate) fn gives(&self, mode: Mode, span: &Span) -> bool {
        let gives_mode = self.mode == mode || self.mode == Mode::Write && mode == Mode::Read;
        gives_mode
            && if self.has_parts {
                span.pitch == 0 && self.span.start <= span.start && span.end <= self.span.end
            } else {
                self.span == *span
            }
    }

    /// The words that say which part of `reserved` a range is, if they can.
    #[inline]
    pub(crate) fn part(reserved: &Span, span: &Span) -> Option<(u32, u32)> {
        let offset = span.start.checked_sub(reserved.start)?;
        let len = span.end.checked_sub(span.start)?;
        Some((offset.try_into().ok()?, len.try_into().ok()?))
    }
}

/// The finding of a request in a lane.
pub(crate) enum Met {
    /// Nothing that is in its way.
    Nothing,
    /// A guard, a wait or poison that is in its way, with the lane's tag.
    Obstacle(u64),
    /// The lane was changed meanwhile.
    Changed,
}

impl Lane {
    /// The bytes of the guard, the wait or the poison in the lane, which has this tag.
    ///
    /// Those of a guard that has a part change when its thread takes another part. They stay while
    /// the guard is restless.
    #[inline]
    pub(crate) fn hold(&self, tag: u64) -> Span {
        held_by(tag, self.words())
    }

    /// The bytes that the thread of the lane, which has this tag, may take without the lock word,
    /// and those that it has.
    #[inline]
    pub(crate) fn reach(&self, tag: u64) -> Span {
        let span = self.words();
        match tag & PART != 0 && is_in(tag, HELD | RESTING) {
            true => Span::range(span.start, span.end),
            false => held_by(tag, span),
        }
    }

    /// Looks whether the lane, which has this tag, is in the way of a request for these bytes, and
    /// revokes its reservation if that is. Under the lock word.
    #[inline]
    pub(crate) fn meet(&self, tag: u64, span: &Span, obstacles: Conflicts) -> Met {
        if !obstacles.has_reserved(tag) || !self.reach(tag).overlaps(span) {
            return Met::Nothing;
        }
        let is_guard_to_fix = is_in(tag, HELD) && tag & PART != 0;
        if !is_resting(tag) && !is_guard_to_fix && !Mode::ReadExclusive.is(tag) {
            return Met::Obstacle(tag);
        }
        self.meet_reserved(tag, span, obstacles)
    }

    fn meet_reserved(&self, tag: u64, span: &Span, obstacles: Conflicts) -> Met {
        if is_resting(tag) {
            return match self.revoke(tag) {
                true => Met::Nothing,
                false => Met::Changed,
            };
        }
        match make_restless(self, tag) {
            None => Met::Changed,
            Some(tag) if obstacles.has(tag) && self.hold(tag).overlaps(span) => Met::Obstacle(tag),
            Some(_) => Met::Nothing,
        }
    }

    /// Gives a guard back so that it rests, for the thread that took it at once. Returns false if
    /// it is restless, or counted.
    #[inline]
    pub(crate) fn rest(&self) -> bool {
        let tag = self.tag.load(Relaxed);
        let change = match Mode::ReadExclusive.is(tag) {
            true => Mode::ReadExclusive as u64 ^ Mode::WriteRest as u64,
            false => REST,
        };
        let rests = tag & (FLAGS | COUNTED) == 0
            && self
                .tag
                .compare_exchange(tag, tag ^ change, AcqRel, Relaxed)
                .is_ok();
        failpoint!(GuardRests);
        rests
    }

    /// Takes a guard from the reservation that rests in a lane of the calling thread, which leased
    /// it at this epoch. Returns false if it was revoked.
    ///
    /// The reservation [gives](Reservation::gives) the guard.
    #[inline]
    pub(crate) fn resume(
        &self,
        member: u64,
        epoch: u32,
        reserved: &Reservation,
        mode: Mode,
        span: &Span,
    ) -> bool {
        let part = if reserved.has_parts { PART } else { 0 };
        let at_rest = (reserved.mode.tag(member) | REST) | part;
        let taken = match mode == reserved.mode {
            true => mode,
            false => Mode::ReadExclusive,
        };
        // In this order: a lane that became poison, and that another thread of the process leased
        // since, has the same tag and another epoch.
        if self.tag.load(Acquire) != at_rest || self.epoch.load(Relaxed) != epoch {
            return false;
        }
        if reserved.has_parts {
            let Some((offset, len)) = Reservation::part(&reserved.span, span) else {
                return false;
            };
            self.pitch.store(offset, Release);
            self.width.store(len, Release);
            failpoint!(GuardPartWritten);
        }
        let is_resumed = self
            .tag
            .compare_exchange(at_rest, taken.tag(member) | part, AcqRel, Relaxed)
            .is_ok();
        // Against a death only the order of the instructions counts: the elements must not be
        // written before the lane says so.
        compiler_fence(SeqCst);
        failpoint!(GuardResumed);
        is_resumed
    }

    /// Revokes a guard that rests: the lane stays leased by its thread. Returns false if the thread
    /// has taken the guard again, or revoked it itself.
    pub(crate) fn revoke(&self, tag: u64) -> bool {
        let leased = Mode::Leased.tag(member_of(tag));
        let is_revoked = self
            .tag
            .compare_exchange(tag, leased, AcqRel, Acquire)
            .is_ok();
        failpoint!(GuardRevoked);
        is_revoked
    }
}

impl Conflicts {
    /// Whether a lane with this tag may keep a request from its guard, or reserves one that may.
    #[inline]
    pub(crate) fn has_reserved(self, tag: u64) -> bool {
        self.has(tag) || Mode::ReadExclusive.is(tag)
    }
}

/// Revokes the guard that rests in a lane of the calling thread, or of a member that leaves, if
/// one does.
pub(crate) fn end_rest(lane: &Lane, member: u64) {
    let tag = lane.tag.load(Relaxed);
    if is_resting(tag) && member_of(tag) == member {
        lane.revoke(tag);
    }
}

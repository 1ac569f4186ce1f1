//! # Changes
//!
//! Numbers of writes: how often a guard to write was given back, and threads that wait for that.
//!
//! # Stripes
//!
//! The payload has eight stripes of equal length, and the block a number for each, and one for the
//! whole. A guard raises the numbers of all stripes that it touches, from its first to its last
//! byte; where these are all, it raises that of the whole instead. The number of a view is the sum
//! of that and those of its stripes, so it never goes down, and it also counts writes close by.
//!
//! # Watching
//!
//! The guards of an array that no process has asked about count nothing. The first call that asks
//! for the number *watches* the array, for ever: under the lock word it marks the guards that write
//! ([`COUNTED`](super::lanes::COUNTED)), revokes those that rest, and then sets `stripe_len`. A
//! guard that is published later finds `stripe_len` and has the mark from the start. A marked guard
//! never rests.
//!
//! # Counting
//!
//! A marked guard is counted when it ends, in three steps:
//!
//! 1. Its lane gets another mode and keeps the mark: *written*, or *poisoned* after a panic. So no
//!    number includes a guard that still excludes others.
//! 2. The numbers of its stripes are raised.
//! 3. The mark goes. Only then the thread wakes the sleepers.
//!
//! So a mark on a lane of a dead member says that its guard may not be counted yet. A process that
//! finds one counts it and then takes the mark away ([`LockTable::count_the_dead`]). A death never
//! loses a number. Two processes may count the same guard: then the number goes up twice.
//!
//! # Waiting
//!
//! All waiters of an array sleep on one word, `change`. Each sets the bits of its stripes in
//! `awaited` before its last look at the numbers. A thread that raised a number looks at the bits
//! afterwards. All of these accesses are in one order (SeqCst): the waiter sees the number, or the
//! thread sees the bit, changes the word and wakes the sleepers. A thread that finds no bit of its
//! stripes makes no system call.
//!
//! [`LockTable::count_the_dead`]: super::lock_table::LockTable::count_the_dead

use crate::{
    format::constants::STRIPES,
    layout::span::Span,
    state::{block::StateBlock, signals},
    sync::{Instant, fence},
};
use std::sync::atomic::Ordering::{Acquire, SeqCst};

/// Some of the stripes of an array, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stripes(u32);

impl Stripes {
    const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self((1 << STRIPES) - 1);

    /// The stripes from the first to the last byte of a span; none where the array is not watched.
    fn of(span: &Span, stripe_len: u64) -> Self {
        if stripe_len == 0 || span.start >= span.end {
            return Self::NONE;
        }
        let stripe = |byte: u64| (byte / stripe_len).min(STRIPES as u64 - 1) as u32;
        let (first, last) = (stripe(span.start), stripe(span.end - 1));
        Self((1 << (last + 1)) - (1 << first))
    }

    fn indices(self) -> impl Iterator<Item = usize> {
        (0..STRIPES).filter(move |stripe| self.0 >> stripe & 1 != 0)
    }
}

/// The length of the stripes of a payload of so many bytes.
pub(crate) fn stripe_len(data_len: u64) -> u64 {
    data_len.div_ceil(STRIPES as u64).max(1)
}

impl StateBlock {
    /// Whether guards that write are counted. Under the lock word.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.stripe_len.load(Acquire) != 0
    }

    /// How often a guard wrote to the stripes of a span; `None` where the array is not watched.
    pub(crate) fn changes(&self, span: &Span) -> Option<u64> {
        let stripe_len = self.stripe_len.load(SeqCst);
        (stripe_len != 0).then(|| self.sum(Stripes::of(span, stripe_len)))
    }

    fn sum(&self, stripes: Stripes) -> u64 {
        if stripes == Stripes::NONE {
            return 0;
        }
        let numbers = stripes.indices().map(|at| self.stripes[at].load(SeqCst));
        numbers.fold(self.whole.load(SeqCst), u64::wrapping_add)
    }

    /// Counts a guard that wrote, and returns its stripes for [`wake_changed`](Self::wake_changed).
    ///
    /// Nothing writes a frozen array: a guard that ends there is the freezer's, or was refused.
    pub(super) fn count(&self, span: &Span) -> Stripes {
        let stripes = match self.is_frozen() {
            true => Stripes::NONE,
            false => Stripes::of(span, self.stripe_len.load(SeqCst)),
        };
        if stripes == Stripes::ALL {
            self.whole.fetch_add(1, SeqCst);
            failpoint!(ChangeCounted);
            return stripes;
        }
        for at in stripes.indices() {
            self.stripes[at].fetch_add(1, SeqCst);
            failpoint!(ChangeCounted);
        }
        stripes
    }

    /// Wakes the threads that wait for a change of one of these stripes, if there are any.
    #[inline]
    pub(crate) fn wake_changed(&self, stripes: Stripes) {
        if self.awaited.load(SeqCst) & stripes.0 != 0 {
            self.wake_all_changed();
        }
    }

    /// All of them sleep on one word, so all are woken. Those that sleep on set their bits anew.
    #[cold]
    fn wake_all_changed(&self) {
        if self.awaited.swap(0, SeqCst) != 0 {
            failpoint!(ChangeBitsCleared);
            signals::raise(&self.change);
        }
    }

    /// Waits until the number of a span in a watched array differs from `seen`, or `look` returns a
    /// value. Calls `look` at every wake-up, and with `true` at the first one and every 20 to 40
    /// ms: then it also looks whether the wait is in vain. Returns `None` after the deadline.
    pub(crate) fn wait_changed<R>(
        &self,
        span: &Span,
        seen: u64,
        deadline: Option<Instant>,
        mut look: impl FnMut(bool) -> Option<R>,
    ) -> Option<Result<u64, R>> {
        let mut is_first = true;
        let stripes = Stripes::of(span, self.stripe_len.load(SeqCst));
        let changed = || Some(self.sum(stripes)).filter(|&number| number != seen);
        signals::wait_for(&self.change, deadline, |is_due| {
            self.awaited.fetch_or(stripes.0, SeqCst);
            fence(SeqCst);
            failpoint!(ChangeAwaited);
            if let Some(number) = changed() {
                return Some(Ok(number));
            }
            let found = look(is_due | std::mem::take(&mut is_first));
            // It may have changed just before.
            match changed() {
                Some(number) => Some(Ok(number)),
                None => found.map(Err),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u64, end: u64) -> Span {
        Span::range(start, end)
    }

    #[test]
    fn a_span_touches_the_stripes_from_its_first_to_its_last_byte() {
        for (data_len, start, end, expected) in [
            (800, 0, 1, 0b1),
            (800, 99, 101, 0b11),
            (800, 700, 800, 0b1000_0000),
            (800, 0, 800, 0b1111_1111),
            (800, 0, 0, 0),
            (801, 800, 801, 0b1000_0000),
            (1, 0, 1, 0b1),
            (8, 0, 8, 0b1111_1111),
            // Of a hostile lane.
            (800, 0, u64::MAX, 0b1111_1111),
            (800, u64::MAX - 1, u64::MAX, 0b1000_0000),
            (800, u64::MAX, 0, 0),
            (u64::MAX, 0, u64::MAX, 0b1111_1111),
        ] {
            let stripes = Stripes::of(&span(start, end), stripe_len(data_len));
            assert_eq!(stripes, Stripes(expected), "{start}..{end} of {data_len}");
        }
        assert_eq!(Stripes::of(&span(0, 8), 0), Stripes::NONE, "not watched");
    }
}

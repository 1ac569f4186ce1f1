//! # Holds
//!
//! Counts the guards that keep a mapping, without a word that all threads write.
//!
//! A reference count in one word costs two atomic changes for each guard, and with several threads
//! the line of that word moves between their processors. Here the thread that takes the first hold
//! becomes the *owner*. It counts its holds by plain loads and stores in a word that no other
//! thread writes. Any other thread counts in one of [`SHARES`] words, chosen by its number, by
//! atomic changes. A hold may be given back by another thread than took it: only the sum of all
//! words means something, and single words may go below zero.
//!
//! # The end
//!
//! The caller takes no hold after [`close`](Holds::close), so from then on words only fall, and a
//! sum of zero stays zero, though the words are read one after the other. A thread that gives a
//! hold back lowers its word and then asks whether the holds are closed; the closer says so and
//! then adds the words up. One of the two sees the other. That needs a fence between the two
//! accesses of each. The thread that gives back runs for every guard, the closer seldom, so the
//! cost is on the closer's side: where it finds holds, the kernel runs a barrier in all threads of
//! the process ([`heavy_fence`]).
//!
//! The closer leaves the value under a lock, and one of the threads that find no hold takes it from
//! there. From then on the holds serve another value. They are never freed: a thread reads
//! `is_closed` after it gave its hold back. It may find that the next value is closed, and then
//! asks for that one.

use crate::sync::{AtomicU32, AtomicU64, Mutex, OnceLock, heavy_fence, light_fence};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// How many words the threads beside the owner count in.
const SHARES: usize = 16;

/// The holds of one value.
pub(crate) struct Holds<T> {
    common: Common,
    /// The owner's.
    owned: Share,
    /// The value, from its close until its last hold is given back.
    closed: Mutex<Option<T>>,
}

/// Words that every thread reads, and that change seldom. Some processors fetch lines in pairs.
#[repr(align(128))]
struct Common {
    /// The number of the thread that owns `owned`; 0 as long as no hold was taken.
    owner: AtomicU32,
    is_closed: AtomicU32,
    /// Made when a second thread takes a hold.
    shares: OnceLock<Box<[Share]>>,
}

/// A number of holds modulo 2^64.
#[repr(align(128))]
struct Share(AtomicU64);

impl<T> Holds<T> {
    pub(crate) fn new() -> Self {
        Self {
            common: Common {
                owner: AtomicU32::new(0),
                is_closed: AtomicU32::new(0),
                shares: OnceLock::new(),
            },
            owned: Share(AtomicU64::new(0)),
            closed: Mutex::new(None),
        }
    }

    /// Counts a hold of the thread with this number, which no other thread of the process has; 0 is
    /// a thread without a number.
    #[inline]
    pub(crate) fn take(&self, thread: u32) {
        // The closer sees it, because it closes after the caller: no fence is needed.
        match self.is_owner(thread) {
            true => self.owned.0.store(self.owned().wrapping_add(1), Relaxed),
            false => self.take_beside(thread),
        }
    }

    /// Gives a hold back. Returns the value if it is closed and this was its last hold.
    #[inline]
    pub(crate) fn give_back(&self, thread: u32) -> Option<T> {
        match self.is_owner(thread) {
            true => self.owned.0.store(self.owned().wrapping_sub(1), Release),
            false => _ = self.share(thread).0.fetch_sub(1, SeqCst),
        }
        light_fence();
        match self.common.is_closed.load(SeqCst) {
            0 => None,
            _ => self.take_closed(),
        }
    }

    #[inline]
    fn is_owner(&self, thread: u32) -> bool {
        self.common.owner.load(Relaxed) == thread && thread != 0
    }

    #[inline]
    fn owned(&self) -> u64 {
        self.owned.0.load(Relaxed)
    }

    #[inline(never)]
    fn take_beside(&self, thread: u32) {
        let owner = &self.common.owner;
        let is_first = thread != 0 && owner.load(Relaxed) == 0;
        match is_first && owner.compare_exchange(0, thread, Relaxed, Relaxed).is_ok() {
            true => self.take(thread),
            false => _ = self.share(thread).0.fetch_add(1, Relaxed),
        }
    }

    #[inline]
    fn share(&self, thread: u32) -> &Share {
        let make = || (0..SHARES).map(|_| Share(AtomicU64::new(0))).collect();
        &self.common.shares.get_or_init(make)[thread as usize % SHARES]
    }

    /// Says that no further hold is taken. Returns the value if it has no hold; otherwise the last
    /// [`give_back`](Self::give_back) returns it.
    pub(crate) fn close(&self, value: T) -> Option<T> {
        self.common.is_closed.store(1, SeqCst);
        if self.is_free() {
            self.reset();
            return Some(value);
        }
        *self.closed.lock() = Some(value);
        // Each thread that gave a hold back and did not see the close has lowered its word now.
        heavy_fence();
        self.take_closed()
    }

    /// Takes the closed value, if it has no hold.
    #[cold]
    fn take_closed(&self) -> Option<T> {
        let mut closed = self.closed.lock();
        // The sum is that of this value only while it cannot be taken.
        if closed.is_none() || !self.is_free() {
            return None;
        }
        self.reset();
        closed.take()
    }

    /// Whether a closed value has no hold.
    fn is_free(&self) -> bool {
        let shares = self.common.shares.get();
        let beside = shares.into_iter().flatten();
        let sum = beside.fold(self.owned.0.load(Acquire), |sum, share| {
            sum.wrapping_add(share.0.load(Acquire))
        });
        sum == 0
    }

    /// Makes the holds ready for another value.
    fn reset(&self) {
        for share in self.common.shares.get().into_iter().flatten() {
            share.0.store(0, Relaxed);
        }
        self.owned.0.store(0, Relaxed);
        self.common.owner.store(0, Relaxed);
        self.common.is_closed.store(0, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hold_of_all_threads_returns_the_closed_value() {
        let holds = Holds::new();
        for value in ["first", "second"] {
            (1..=40).for_each(|thread| holds.take(thread));
            assert_eq!(holds.give_back(7), None);
            assert_eq!(holds.close(value), None);
            for thread in (1..=40).filter(|&thread| thread != 7) {
                let last = (thread == 40).then_some(value);
                assert_eq!(holds.give_back(thread), last, "{thread}");
            }
        }
        holds.take(3);
        assert_eq!(holds.give_back(3), None);
        assert_eq!(holds.close("third"), Some("third"));
    }

    #[test]
    fn a_hold_may_be_given_back_by_another_thread() {
        let beside = 2 + SHARES as u32;
        for (taker, giver) in [(1, 2), (2, 1), (2, 3), (2, beside), (1, 0), (0, 1), (0, 0)] {
            let holds = Holds::new();
            holds.take(1);
            holds.take(taker);
            assert_eq!((holds.give_back(giver), holds.close(7)), (None, None));
            assert_eq!(holds.give_back(1), Some(7), "{taker} {giver}");
        }
    }

    #[test]
    fn threads_count_beside_their_owner_only_where_there_are_several() {
        let holds = Holds::<()>::new();
        let count = |share: &Share| share.0.load(Relaxed);
        holds.take(5);
        holds.take(5);
        assert!(holds.common.shares.get().is_none());
        holds.take(6);
        let shares = holds.common.shares.get().unwrap();
        assert_eq!(count(&holds.owned), 2);
        assert_eq!(shares.iter().map(count).sum::<u64>(), 1);
    }
}

//! # The words of an array that grows
//!
//! 64 bytes before the payload of an array file of the kind *growing*:
//!
//! | word | meaning |
//! | --- | --- |
//! | `appender` | the member that appends now, 0 if none: its *turn* |
//! | `committed` | the rows that every process may read: they never change |
//! | `reserved` | bytes of the file whose space is reserved; never more than the file has |
//! | `flushed` | the rows that [a flush](Growth::flushed_up_to) put on the disk |
//! | `boot` | the boot of the machine in which the words were written |
//! | `waiting` | flags: a thread waits for growth, a thread waits for its turn |
//! | `grown`, `freed` | what they sleep on |
//! | `pid` | the process of the appender, for the words of errors |
//!
//! # Appending
//!
//! One member appends at a time. It takes the turn by compare-and-swap from 0, or from a member
//! that died. It writes rows behind the committed ones, stores the new length (Release), and gives
//! the turn back. A reader loads the length (Acquire), so it sees whole rows only. An appender that
//! dies before it stores the length leaves nothing, because its successor writes over its rows. One
//! that dies after that leaves the rows, and its successor finds their number under the turn.
//!
//! # Waiting
//!
//! A waiter reads the word that it will sleep on, sets its flag, loads `appender`, and then looks
//! at the other words. An appender gives its turn back by a swap, and then loads `waiting`. These
//! accesses are SeqCst, so they have one order:
//!
//! - If the waiter's load of `appender` follows the swap, it reads the swapped value or one that a
//!   later turn wrote over it. Both were released after the rows were committed: the waiter's look
//!   finds them.
//! - Otherwise the waiter set the flag before the swap, and the appender finds it set. Then it
//!   clears the flag, raises the word and wakes a sleeper.
//!
//! So the usual append makes no system call, and its only full barrier is the swap.
//!
//! However many sleep, an appender wakes one of each kind. A reader that is woken wakes two others
//! before it looks. A waiting appender that is woken sets the flag again before it tries: so it
//! wakes the next when it gives the turn back, and if another appender was faster, that one wakes
//! it. A sleeper that is killed after it was woken delays the others by [`LONGEST_SLEEP`] at most.
//!
//! [`LONGEST_SLEEP`]: super::signals::LONGEST_SLEEP
//!
//! # Another boot
//!
//! After a loss of power, the pages of the file are of different ages. The first process that opens
//! it after another boot sets the length to `flushed` ([`Growth::restart`]). It does so under the
//! turn, and only if the boot is still another one there: so the second opener changes nothing. The
//! boot is written last. If the opener dies before, the next one starts again.

use crate::{
    state::signals,
    sync::{self, AtomicU32, AtomicU64, Instant, SPINS},
};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// The id of a boot, as two words.
pub(crate) type Boot = [u64; 2];

/// The words as they lie in the file.
#[repr(C)]
pub(crate) struct Growth {
    pub(crate) appender: AtomicU64,
    pub(crate) committed: AtomicU64,
    pub(crate) reserved: AtomicU64,
    pub(crate) flushed: AtomicU64,
    pub(crate) boot: [AtomicU64; 2],
    pub(crate) grown: AtomicU32,
    pub(crate) waiting: AtomicU32,
    pub(crate) pid: AtomicU32,
    pub(crate) freed: AtomicU32,
}

/// A flag of `waiting`: a thread waits until there are more rows.
const FOR_GROWTH: u32 = 1;
/// A thread waits for its turn.
const FOR_TURN: u32 = 2;

/// Why a member did not get its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// This member had it until the end of the time.
    Held(u64),
    /// The caller's look ended the wait.
    Ended,
}

impl Growth {
    /// The bytes of new words, in a file with so many reserved bytes.
    pub(crate) fn initial(reserved: u64, boot: Boot) -> [u8; 64] {
        let mut bytes = [0; 64];
        for (at, word) in [(16, reserved), (32, boot[0]), (40, boot[1])] {
            bytes[at..at + 8].copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// Takes the turn if no member has it.
    ///
    /// # Errors
    ///
    /// The member that has it.
    #[inline]
    pub(crate) fn take_free(&self, me: u64) -> Result<(), u64> {
        self.replace(0, me)
    }

    #[inline]
    fn replace(&self, from: u64, me: u64) -> Result<(), u64> {
        self.appender
            .compare_exchange(from, me, Acquire, Relaxed)
            .map(|_| ())
    }

    /// Takes the turn now, or not at all. A dead member's turn is taken over.
    pub(crate) fn try_take(&self, me: u64, is_alive: impl Fn(u64) -> bool) -> Result<(), u64> {
        let mut holder = match self.take_free(me) {
            Ok(()) => return Ok(()),
            Err(holder) => holder,
        };
        loop {
            // The turn of another thread of this process is a living member's.
            if holder != 0 && (holder == me || is_alive(holder)) {
                return Err(holder);
            }
            // The ids of the dead do not return, so this takes no living member's turn.
            match self.replace(holder, me) {
                Ok(()) => return Ok(()),
                Err(other) => holder = other,
            }
        }
    }

    /// Waits for the turn. `look` is called before each sleep; it ends the wait by returning false.
    pub(crate) fn take(
        &self,
        me: u64,
        deadline: Option<Instant>,
        is_alive: impl Fn(u64) -> bool,
        mut look: impl FnMut(u64) -> bool,
    ) -> Result<(), NoTurn> {
        self.spin();
        if self.take_free(me).is_ok() {
            return Ok(());
        }
        let mut last = 0;
        let attempt = |_| match self.try_take(me, &is_alive) {
            Ok(()) => Some(Ok(())),
            Err(holder) => {
                last = holder;
                (!look(holder)).then_some(Err(NoTurn::Ended))
            }
        };
        let announce = || self.announce(FOR_TURN);
        let sleep = |seen, time| {
            sync::sleep_on(&self.freed, seen, time);
            // It announces itself again only where this is in vain: else each append of another
            // thread would wake it in between.
            self.spin();
        };
        let taken = signals::wait_announced(&self.freed, deadline, announce, attempt, sleep)
            .unwrap_or(Err(NoTurn::Held(last)));
        if taken.is_err() {
            // It may have been woken, in another's place.
            sync::wake_one(&self.freed);
        }
        taken
    }

    /// Spins until no member has the turn, for a short time. It only loads: the appender's stores
    /// need no other processor's permission meanwhile.
    fn spin(&self) {
        for _ in 0..SPINS {
            if self.appender.load(Relaxed) == 0 {
                break;
            }
            sync::spin_loop();
        }
    }

    /// Makes rows behind the committed ones visible. The caller has the turn, and wrote them.
    #[inline]
    pub(crate) fn commit(&self, rows: u64) {
        self.committed.store(rows, Release);
    }

    /// Gives the turn back, and wakes the waiters.
    #[inline]
    pub(crate) fn give_back(&self) {
        self.appender.swap(0, SeqCst);
        failpoint!(GrowthGivenBack);
        if self.waiting.load(SeqCst) != 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        let waiting = self.waiting.swap(0, SeqCst);
        failpoint!(GrowthFlagCleared);
        if waiting & FOR_TURN != 0 {
            self.freed.fetch_add(1, SeqCst);
            sync::wake_one(&self.freed);
        }
        if waiting & FOR_GROWTH != 0 {
            let present = self.grown.fetch_add(1, SeqCst).wrapping_add(1);
            sync::wake_sleepers_before(&self.grown, present, 1);
        }
    }

    /// Sets a flag, before its thread looks at the other words.
    fn announce(&self, flag: u32) {
        self.waiting.fetch_or(flag, SeqCst);
        self.appender.load(SeqCst);
        failpoint!(GrowthAwaited);
    }

    /// Waits until `look` finds what it looks for behind an append; see [`signals::wait_for`].
    pub(crate) fn wait_for<R>(
        &self,
        deadline: Option<Instant>,
        look: impl FnMut(bool) -> Option<R>,
    ) -> Option<R> {
        let announce = || self.announce(FOR_GROWTH);
        signals::wait_announced(&self.grown, deadline, announce, look, |seen, time| {
            if sync::sleep_on_value(&self.grown, seen, time) {
                sync::wake_sleepers_before(&self.grown, self.grown.load(SeqCst), 2);
            }
        })
    }

    /// Notes that the rows before this one are on the disk. Several processes may flush at once,
    /// each up to the length that it saw.
    pub(crate) fn flushed_up_to(&self, rows: u64) {
        let raise = |flushed| (flushed < rows).then_some(rows);
        let _ = self.flushed.fetch_update(SeqCst, SeqCst, raise);
    }

    /// Whether the words were written in this boot of the machine.
    pub(crate) fn is_of(&self, boot: Boot) -> bool {
        self.boot.each_ref().map(|word| word.load(Acquire)) == boot
    }

    /// Starts again after another boot: the flushed rows are left, of those that fit. The caller
    /// has the turn.
    pub(crate) fn restart(&self, boot: Boot, reserved: u64, fitting: u64) {
        if self.is_of(boot) {
            return;
        }
        let rows = self.flushed.load(SeqCst).min(fitting);
        self.flushed.store(rows, SeqCst);
        self.reserved.store(reserved, SeqCst);
        self.committed.store(rows, SeqCst);
        failpoint!(GrowthRestarting);
        for (word, value) in self.boot.iter().zip(boot) {
            word.store(value, Release);
        }
    }
}

#[cfg(test)]
mod tests;

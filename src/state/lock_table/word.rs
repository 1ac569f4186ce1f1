//! The lock word: taken by compare-and-swap, and taken over from a dead holder.

use super::{LockTable, Refusal, Request, Surroundings, caller::ask_caller};
use crate::{
    state::lanes::Lanes,
    sync::{self, Instant, SPINS},
};
use std::{
    sync::atomic::Ordering::{Acquire, Relaxed, Release},
    time::Duration,
};

/// How long a call whose deadline is over still waits for the lock word. A running holder keeps the
/// word for less than a microsecond.
const WORD_PATIENCE: Duration = Duration::from_millis(50);

impl<L: Lanes> LockTable<'_, L> {
    /// Runs `section` with the lock word held.
    pub(super) fn locked<R>(
        &self,
        request: &Request,
        surroundings: &impl Surroundings,
        section: impl FnOnce() -> R,
    ) -> Result<R, Refusal> {
        self.take_word(request, surroundings)?;
        failpoint!(WordTaken);
        let result = section();
        failpoint!(WordFreeing);
        self.block.lock.store(0, Release);
        Ok(result)
    }

    fn take_word(
        &self,
        request: &Request,
        surroundings: &impl Surroundings,
    ) -> Result<(), Refusal> {
        match self
            .block
            .lock
            .compare_exchange(0, request.member, Acquire, Relaxed)
        {
            Ok(_) => Ok(()),
            Err(_) => self.wait_for_word(request, surroundings),
        }
    }

    #[cold]
    fn wait_for_word(
        &self,
        &Request {
            member, deadline, ..
        }: &Request,
        surroundings: &impl Surroundings,
    ) -> Result<(), Refusal> {
        let mut tries = 0;
        let (mut since, mut seen) = (None, None);
        loop {
            let Err(holder) = self
                .block
                .lock
                .compare_exchange(0, member, Acquire, Relaxed)
            else {
                return Ok(());
            };
            tries += 1;
            if tries < SPINS {
                sync::spin_loop();
                continue;
            }
            // All threads of a process have one member id, so a holder with the own id lives. A
            // thread that sleeps between its tries asks at each try.
            let is_time = tries % SPINS == 0
                || since.is_some_and(|since: Instant| {
                    Instant::now() > since + Duration::from_millis(1)
                });
            let is_dead =
                holder != 0 && holder != member && is_time && !surroundings.is_alive(holder);
            if is_dead
                && self
                    .block
                    .lock
                    .compare_exchange(holder, member, Acquire, Relaxed)
                    .is_ok()
            {
                failpoint!(WordTakenOver);
                return Ok(());
            }
            if surroundings.is_cut_off() {
                return Err(Refusal::CutOff);
            }
            let now = Instant::now();
            let since = *since.get_or_insert(now);
            let seen_since = match seen {
                Some((last, since)) if last == holder => since,
                _ => seen.insert((holder, now)).1,
            };
            if deadline.is_some_and(|deadline| now >= deadline.max(since + WORD_PATIENCE)) {
                surroundings.note_word_holder(holder, seen_since);
                return Err(Refusal::WordHeld);
            }
            if now < since + Duration::from_millis(1) {
                sync::yield_now()
            } else {
                ask_caller(surroundings)?;
                sync::sleep(Duration::from_micros(100))
            }
        }
    }
}

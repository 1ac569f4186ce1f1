//! Taking the locks of a set: all of them, in the order, or none.

use super::wanted::{Wanted, first_conflict, knot_len, shortest};
use crate::{
    array::{
        lock::{Access, Lock},
        refusal,
    },
    error::{Error, Result},
    inspect::holder::Holders,
    sys::{
        fork, process,
        wait::{Deadline, Wait},
    },
};
use std::time::{Duration, Instant};

/// How often a thread gives back what it has of a knot before it keeps that for a while.
const ROUNDS_AT_ONCE: u32 = 8;
/// The longest time for which it keeps it in the first round after these, and in any.
const FIRST_STAY: Duration = Duration::from_millis(1);
const LONGEST_STAY: Duration = Duration::from_secs(1);

/// The locks in the order in which they are wanted.
pub(super) fn take_all(wanted: &[Wanted], wait: Wait) -> Result<Vec<Lock>> {
    let mut order: Vec<_> = (0..wanted.len()).collect();
    order.sort_by_cached_key(|&index| wanted[index].place());
    if let Some(path) = first_conflict(wanted, &order) {
        return Err(Error::WouldDeadlock {
            path,
            holders: Holders::default(),
        });
    }
    let wait = shortest(wanted, wait);
    let deadline = wait.begin();
    loop {
        let generation = fork::generation();
        let mut taken = InOrder(Vec::with_capacity(order.len()));
        let mut rest = &order[..];
        while !rest.is_empty() {
            let (knot, behind) = rest.split_at(knot_len(wanted, rest));
            taken
                .take_knot(wanted, knot, &deadline)
                .map_err(|error| with_whole_time(error, wait))?;
            rest = behind;
        }
        taken
            .clear_poison(wanted, &deadline)
            .map_err(|error| with_whole_time(error, wait))?;
        // A child that the caller's check forked has its parent's locks of before: not its own.
        if generation == fork::generation() {
            let mut all = std::mem::take(&mut taken.0);
            all.sort_unstable_by_key(|taken| taken.index);
            return Ok(all.into_iter().map(|taken| taken.lock).collect());
        }
    }
}

/// Locks that are given back in the reverse order.
struct InOrder(Vec<Taken>);

/// A lock of a set.
struct Taken {
    /// Its place in the call.
    index: usize,
    lock: Lock,
    /// The poison of its bytes is cleared: without the guard they are poison again.
    is_cleared: bool,
}

impl InOrder {
    /// Takes the locks of a knot, or adds none of them.
    fn take_knot(&mut self, wanted: &[Wanted], knot: &[usize], deadline: &Deadline) -> Result<()> {
        let (before, mut first) = (self.0.len(), knot[0]);
        for round in 0.. {
            // Holding none of the knot.
            self.take(wanted, first, deadline.rest())?;
            let mut others = knot.iter().copied().filter(|&index| index != first);
            let blocked = others.find_map(|index| {
                let stay = shorter(stay(round), deadline.rest());
                Some((index, self.take(wanted, index, stay).err()?))
            });
            first = match blocked {
                None => break,
                Some((
                    index,
                    Error::WouldBlock { path, holders, .. } | Error::Timeout { path, holders, .. },
                )) => {
                    if deadline.instant().is_some_and(|end| Instant::now() >= end) {
                        return Err(refusal::held(&path, deadline, holders));
                    }
                    index
                }
                Some((_, error)) => return Err(error),
            };
            self.give_back_to(before);
        }
        Ok(())
    }

    fn take(&mut self, wanted: &[Wanted], index: usize, wait: Wait) -> Result<()> {
        let one = &wanted[index];
        let has_companions = (self.0.iter()).any(|taken| wanted[taken.index].is_beside(one));
        let lock = Lock::take_with(&one.array, one.span, one.access, wait, has_companions)?;
        self.0.push(Taken {
            index,
            lock,
            is_cleared: false,
        });
        Ok(())
    }

    /// Clears the poison of the parts that recover. All locks are taken.
    fn clear_poison(&mut self, wanted: &[Wanted], deadline: &Deadline) -> Result<()> {
        for taken in &mut self.0 {
            let one = &wanted[taken.index];
            if let Access::Recover { is_exact, .. } = one.access {
                taken
                    .lock
                    .clear_poison(&one.array, one.span, is_exact, deadline.rest())?;
                taken.is_cleared = true;
            }
        }
        Ok(())
    }

    fn give_back_to(&mut self, count: usize) {
        while self.0.len() > count {
            if let Some(mut taken) = self.0.pop() {
                if taken.is_cleared {
                    taken.lock.leave_poison();
                }
                taken.lock.give_back();
            }
        }
    }
}

impl Drop for InOrder {
    fn drop(&mut self) {
        self.give_back_to(0);
    }
}

/// How long a thread that has a part of a knot waits for the next one: at least half of a time that
/// doubles with each round, and at most all of it.
fn stay(round: u32) -> Wait {
    let Some(doublings) = round.checked_sub(ROUNDS_AT_ONCE) else {
        return Wait::Never;
    };
    let longest = FIRST_STAY
        .saturating_mul(1 << doublings.min(16))
        .min(LONGEST_STAY);
    let random = process::random_uuid().map_or(0, |id| id.as_fields().0);
    let part = f64::from(random) / f64::from(u32::MAX);
    Wait::AtMost(longest.mul_f64(0.5 + part / 2.0))
}

fn shorter(one: Wait, other: Wait) -> Wait {
    match (one, other) {
        (Wait::AtMost(one), Wait::AtMost(other)) => Wait::AtMost(one.min(other)),
        (Wait::Never, _) | (_, Wait::Never) => Wait::Never,
        (Wait::AtMost(time), Wait::Forever) | (Wait::Forever, Wait::AtMost(time)) => {
            Wait::AtMost(time)
        }
        (Wait::Forever, Wait::Forever) => Wait::Forever,
    }
}

/// A time-out names the time of the whole call.
fn with_whole_time(error: Error, wait: Wait) -> Error {
    match (error, wait) {
        (
            Error::Timeout {
                path,
                obstacle,
                holders,
                ..
            },
            Wait::AtMost(waited),
        ) => Error::Timeout {
            path,
            obstacle,
            waited,
            holders,
        },
        (error, _) => error,
    }
}

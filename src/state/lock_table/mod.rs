//! # The lock table
//!
//! Says which member may access which bytes of an array. It works between processes, and it stays
//! usable when a holder dies between any two instructions. Nothing here panics, nothing allocates
//! under the lock word, and nothing knows of files.
//!
//! # Guards
//!
//! A guard is a lane of the store ([`lanes`](super::lanes)) with the array's key, a mode and a
//! [`Span`] of bytes. Two guards conflict if their spans overlap and at least one of them writes;
//! atomic access conflicts with readers and writers, but not with other atomic access. A thread
//! that has leased a lane takes a guard so:
//!
//! 1. take the lock word of the array, by compare-and-swap from free to the own member id;
//! 2. scan the array's lanes for a conflict;
//! 3. write a hint that leads to the lane, then key, span and thread into the lane, and publish it
//!    by its tag;
//! 4. free the lock word.
//!
//! To give it back: swap the tag to *leased*, and wake the waiters if the old tag says that there
//! are any. This needs no lock word. Without contention neither makes a system call. A guard that
//! was taken at once may rest instead, and is taken again without the lock word:
//! [`lanes`](super::lanes).
//!
//! # Hints
//!
//! The block of the array lists its lanes: the first 64 by index, more by a bit for each 16 lanes
//! (`hints`). A hint is written before the lane is published and read under the lock word. One that
//! leads to a lane without a guard on this array is stale, and the next scan clears it. A lane
//! comes to an array only under the array's lock word. So a scan may see a lane that is just being
//! given back, but never misses one.
//!
//! # Waiting
//!
//! A waiter sleeps on *one* lane that is in its way: that of the last waiter before it, or else
//! that of a guard. So a guard that is given back wakes those whose turn it is, and not all. Under
//! the lock word the waiter reads the number of the lane's use ([`turns`](super::lanes::turns)) and
//! sets the bit [`AWAITED`] in the tag. Then it sleeps while the number is the same. The thread
//! that gives the guard back swaps the tag. It sees the bit if it was set before, raises the
//! number, and wakes the sleepers. If the bit would come later, the waiter sees that the guard is
//! gone. The tag decides, and the number never returns, so no wake-up is lost. On the tag itself a
//! waiter could fall asleep late, when the lane has the same tag again with another guard.
//!
//! After 20 ms the waiter that sleeps on the guard asks whether its member lives. Other waiters for
//! this guard sleep longer and do not ask: see [`Wait::is_due`]. A waiter that gets its guard wakes
//! one that sleeps on its lane ([`Lane::rouse_next`]), which asks from then on. A waiter that dies
//! or is stopped holds up those behind it until one of them looks by itself.
//!
//! A thread that has a guard on the array sleeps on no waiter if a guard is in its way: the waiter
//! may wait for that thread.
//!
//! While it waits, the waiter's own lane says so: mode *write-wait*, *read-wait* or *atomic-wait*.
//! The lane of the wait becomes the lane of the guard by one atomic operation.
//!
//! # Turns
//!
//! Waiters whose spans overlap and exclude each other go in the order of their tickets. A request
//! that finds no guard in its way goes before waiters, with two exceptions:
//!
//! - New readers and atomic accesses wait while a writer waits, so a stream of readers cannot
//!   starve a writer.
//! - A waiter that was awake twice and found its way blocked is *ripe*: new requests that exclude
//!   it wait until it had its turn, so a stream of writers starves no other thread.
//!
//! The second rule and the order of waiters bind a request for one second of waiting at most. They
//! serve fairness only, and a holder may be waiting for another thread that waits here.
//!
//! # Deadlock
//!
//! A thread that would wait for a guard of its own gets [`Refusal::WouldDeadlock`], and so does a
//! reader that would wait for a waiting writer that waits for a guard of this thread. A call that
//! takes several guards goes before such a writer instead: the writer waits for all of them anyway.
//!
//! # Death
//!
//! Every change of a lane or a record is one atomic access to its tag, and its span is written
//! before. So a death between any two instructions leaves nothing to repair, only lanes and
//! possibly the lock word of a dead member:
//!
//! - The lock word is taken over by compare-and-swap from the dead holder's id. A thread that waits
//!   for it asks whether the holder lives after every 100 tries, and after a millisecond at every
//!   try.
//! - A dead member's lane is cleared by the process that finds it in its way, by compare-and-swap
//!   of the tag and without the lock word. The lane of a writer becomes a record of poison; any
//!   other becomes free.
//!
//! # Poison
//!
//! Poisoned bytes may be half-written, and guards on them are refused. A record of poison stands in
//! a lane (mode *poisoned*) where a writer died or panicked, and a scan moves it into one of the 49
//! records of the array's block: the record is published first, then the lane is freed. If all
//! records are used, it stays in its lane. Only when no lane of the store can be had, an array that
//! has poison in lanes gives one ([`LockTable::yield_lane`]): if it has no free record, the two
//! records that lie closest together are merged. One grows word by word, covers more after each
//! write, and then the other is freed. So neither a move nor a merge loses poison by a death.
//!
//! # Recovery
//!
//! [`LockTable::recover`] takes poisoned bytes exclusively. It publishes its guard, then the parts
//! of the overlapping records that the guard does not cover, then frees those records. A death in
//! between leaves no byte less poisoned than before, because the guard of a dead member is poison
//! too. The recovery is refused if the rest of a record cannot be told in at most three spans, and
//! if its own span covers bytes that its view does not: their poison would be lost.
//!
//! A call that takes several guards recovers in two steps: the guard is published over the poison,
//! and the records go when the call has all of its guards. If it does not get them, the guard is
//! given back and the poison is as it was.
//!
//! # Freezing
//!
//! The freezer takes a guard on the whole array and sets the frozen flag. A writer checks the flag
//! while it holds its guard, so it precedes the freeze or is refused.
//!
//! # Memory orders
//!
//! - The bytes that a guard protects are ordered by tags: the swap that gives a lane back releases
//!   them, and a scan acquires them. If a scan finds another array's key or span in a lane, it
//!   reads these with acquire, and their writer leased the lane after the former guard was given
//!   back.
//! - A tag is published by a plain release store and a compiler fence. Other processes scan under
//!   the lock word, which orders the store for them. Against a death only the order of the
//!   instructions counts: no element may be written before the lane says so.
//!
//! # A hostile table
//!
//! Any process of the user can write any bytes into the block and the lanes at any time, without
//! the lock word. So values are copied before use, arithmetic does not overflow, nothing that was
//! counted is assumed to be still true, and looking again is bounded. Calls with a deadline return
//! in time. Only a call without a deadline waits as long as the table names a living member.
//!
//! `hints` finds lanes and `place` takes them. `attempt` tries until a request has its guard;
//! `waiting` has the state of its wait. `changes` gives back and counts guards that write. `poison`
//! and `recovery` handle poison, `word` is the lock word, and `caller` is the table's caller with
//! its check.

mod attempt;
mod caller;
mod changes;
mod hints;
mod place;
mod poison;
mod recovery;
#[cfg(test)]
mod tests;
mod waiting;
mod word;

pub(crate) use caller::Surroundings;
pub(crate) use waiting::Watched;

use crate::{
    layout::span::Span,
    state::{
        block::StateBlock,
        lanes::{Conflicts, Lane, Lanes, Mode, OF_ARRAYS, is_in},
        rests::{PART, RESTING},
    },
    sync::Instant,
};
use caller::Uninterrupted;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// How often a call that cleared or moved something looks again at once. More looks are needed only
/// if a foreign process keeps writing into the table.
const LOOKS: u32 = 256;

/// The lock table of one array.
pub(crate) struct LockTable<'a, L> {
    pub(crate) block: &'a StateBlock,
    pub(crate) lanes: &'a L,
    /// The array's key in the store's lanes.
    pub(crate) key: u64,
}

/// A request for a guard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) member: u64,
    /// The number of the thread in its process; 0 is no thread.
    pub(crate) thread: u32,
    /// A lane that the thread has leased.
    pub(crate) lane: u32,
    pub(crate) span: Span,
    /// Read, write or atomic.
    pub(crate) mode: Mode,
    /// The end of waiting; `None` waits for ever.
    pub(crate) deadline: Option<Instant>,
}

/// Bytes that a writer may have left half-written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Poison {
    pub(crate) span: Span,
    /// The writer.
    pub(crate) member: u64,
}

/// A guard on bytes that may be poisoned.
#[derive(Clone, Copy)]
pub(crate) struct Recovery {
    /// Whether its span covers the bytes of the view and no others.
    pub(crate) is_exact: bool,
    /// Whether the poison goes with the taking of the guard, not by
    /// [`clear_poison`](LockTable::clear_poison).
    pub(crate) clears: bool,
}

/// The reason for a final refusal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    WouldBlock,
    /// A living member holds the lock word, and the deadline is over.
    WordHeld,
    Interrupted,
    /// The caller's check forked, and this is the child.
    Forked,
    /// A recovery found that the array may not be written.
    NotWritable,
    /// This process can no longer learn which members live.
    CutOff,
    WouldDeadlock,
    /// No lane could be had.
    TooManyGuards,
    /// A guard is in a lane that this process cannot touch.
    OutOfReach,
    Poisoned(Poison),
    /// A record of poison cannot be split as a recovery needs it.
    Interleaved(Poison),
}

/// A lane with a guard or waiter that is in the way of a request.
#[derive(Clone, Copy)]
struct Occupied {
    index: u32,
    /// With the bit of waiters, if the request sleeps on the lane.
    tag: u64,
    /// The turn before that bit was set.
    turn: u64,
}

/// The guard and the waiter ahead of a request.
#[derive(Clone, Copy)]
struct Ahead {
    holder: Option<Occupied>,
    /// The last of the waiters that go first. If there is one, the request sleeps on it.
    waiter: Option<Occupied>,
}

/// The reason why one attempt gives no guard.
enum Obstacle {
    Ahead(Ahead),
    /// A hint leads to a lane that this process may not touch yet.
    OutOfReach,
    /// A recovery needs so many more lanes.
    Lanes(usize),
    /// The table changed meanwhile.
    Changed,
    Refused(Refusal),
}

impl<L: Lanes> LockTable<'_, L> {
    /// Takes a guard if the lock word is free and nothing is in the way, the usual case. If it
    /// returns false, call [`acquire`](Self::acquire).
    ///
    /// `reserve` is a range around the guard that its lane is to reserve. It becomes `None` where
    /// another guard or wait is in it.
    #[inline]
    pub(crate) fn acquire_at_once(&self, request: &Request, reserve: &mut Option<Span>) -> bool {
        let lock = &self.block.lock;
        if lock
            .compare_exchange(0, request.member, Acquire, Relaxed)
            .is_err()
        {
            return false;
        }
        failpoint!(WordTaken);
        let is_taken = self.place_at_once(request, reserve);
        failpoint!(WordFreeing);
        lock.store(0, Release);
        is_taken
    }

    /// Takes a guard.
    #[cold]
    pub(crate) fn acquire(
        &self,
        request: Request,
        surroundings: &impl Surroundings,
    ) -> Result<(), Refusal> {
        self.wait_for(request, surroundings, |wait, _| self.place(&request, wait))
    }

    /// Takes a guard on bytes that may be poisoned, and clears their poison. If the guard is
    /// dropped in a panic or its process dies, its own bytes are poisoned again.
    ///
    /// A span that is not exact covers bytes that are not written and whose poison must stay: it
    /// clears no record.
    pub(crate) fn recover(
        &self,
        request: Request,
        recovery: Recovery,
        surroundings: &impl Surroundings,
    ) -> Result<(), Refusal> {
        self.wait_for(request, surroundings, |wait, spare| {
            self.place_recovery(&request, recovery, surroundings, wait, spare)
        })
    }

    /// Clears the poison of a guard in the request's lane that was taken over it.
    pub(crate) fn clear_poison(
        &self,
        request: Request,
        is_exact: bool,
        surroundings: &impl Surroundings,
    ) -> Result<(), Refusal> {
        self.wait_for(request, surroundings, |_, spare| {
            self.clear_records(&request, is_exact, spare)
        })
    }

    /// Calls `visit` with each guard on this array that excludes the request, whether or not it is
    /// its own thread's. Without the lock word: it may miss guards, and see some that are gone.
    pub(crate) fn each_guard_against(&self, request: &Request, mut visit: impl FnMut(u32, &Lane)) {
        let conflicts = Conflicts::of(request.mode);
        self.each_lane_at_any_time(|index, lane, tag| {
            if conflicts.has(tag) && lane.hold(tag).overlaps(&request.span) {
                visit(index, lane);
            }
        });
    }

    /// Calls `visit` with each write on these bytes that a thread waits for, as
    /// [`each_guard_against`](Self::each_guard_against) does.
    pub(crate) fn each_waiting_writer(&self, request: &Request, mut visit: impl FnMut(&Lane)) {
        self.each_lane_at_any_time(|_, lane, tag| {
            if Mode::WriteWait.is(tag) && lane.hold(tag).overlaps(&request.span) {
                visit(lane);
            }
        });
    }

    /// Clears the lanes of dead members on this array: a writer's becomes poison. Needs no lock
    /// word: a tag names a dead member for ever, so one compare-and-swap is enough even if other
    /// processes do the same.
    fn clear_dead(&self, me: u64, surroundings: &impl Surroundings) {
        self.clear_dead_if(me, surroundings, |_| true);
    }

    /// The poison on these bytes, including that of writers whose death is noticed only now.
    pub(crate) fn poisoned(
        &self,
        request: &Request,
        surroundings: &impl Surroundings,
    ) -> Result<Vec<Poison>, Refusal> {
        self.clear_dead(request.member, surroundings);
        if surroundings.is_cut_off() {
            return Err(Refusal::CutOff);
        }
        let mut found = Vec::new();
        loop {
            // Allocate before taking the lock word.
            let room = found.capacity();
            found.clear();
            let count = self.locked(request, surroundings, || {
                let mut count = 0;
                self.each_poison(|_, poison| {
                    if poison.span.overlaps(&request.span) {
                        count += 1;
                        if found.len() < room {
                            found.push(poison);
                        }
                    }
                });
                count
            })?;
            if count <= room {
                break;
            }
            found.reserve(count + 16);
        }
        found.sort_unstable_by_key(|poison| (poison.span.start, poison.span.end));
        found.dedup();
        Ok(found)
    }

    /// Moves the poison of this array from its lanes into its block, that of writers whose death is
    /// noticed only now included, and merges records where they do not fit. Does nothing where the
    /// lock word cannot be had. It asks no check of the caller, because nothing could report the
    /// answer.
    pub(crate) fn settle_poison(&self, request: &Request, surroundings: &impl Surroundings) {
        self.clear_dead(request.member, surroundings);
        let mut count = 0;
        self.each_lane_at_any_time(|_, _, tag| count += u32::from(Mode::Poisoned.is(tag)));
        if count == 0 {
            return;
        }
        let _ = self.locked(request, &Uninterrupted(surroundings), || {
            (0..count).all(|_| self.free_a_lane());
        });
    }

    /// Frees a lane that has poison of this array, for a thread that finds no free one: the poison
    /// moves into a record, and where none is free, two records are merged. Returns false if it has
    /// no such lane.
    #[cold]
    pub(crate) fn yield_lane(
        &self,
        request: &Request,
        surroundings: &impl Surroundings,
    ) -> Result<bool, Refusal> {
        self.locked(request, surroundings, || self.free_a_lane())
    }

    fn lane(&self, index: u32) -> Option<&Lane> {
        self.lanes.lane(index)
    }

    /// Whether a tag and a key say that a lane is this array's.
    #[inline]
    fn is_of_this(&self, lane: &Lane, tag: u64) -> bool {
        is_in(tag, OF_ARRAYS | RESTING) && lane.key.load(Acquire) == self.key
    }
}

/// Gives the guard in a lane back, and wakes the waiters. The lane stays leased.
#[inline]
pub(crate) fn withdraw(lane: &Lane) {
    failpoint!(WithdrawWanted);
    lane.give_back();
    failpoint!(WithdrawDone);
}

/// Turns the lane of a writer that panicked into a record of poison: the thread has it no more. The
/// mark of a guard that is counted stays.
pub(crate) fn poison(lane: &Lane, member: u64) {
    failpoint!(PoisonWanted);
    lane.epoch.fetch_add(1, SeqCst);
    let poisoned = Mode::Poisoned.tag(member);
    lane.end(poisoned | lane.tag.load(Relaxed) & PART, poisoned);
    failpoint!(PoisonDone);
}

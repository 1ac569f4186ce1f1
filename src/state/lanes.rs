//! # Lanes
//!
//! A guard is a *lane*: a line of 64 bytes in the lock file of the store. It says which member
//! holds or awaits which bytes of which array. The lanes of a store are shared by all of its arrays
//! and processes, so one array can have thousands of guards, and an array without guards has none.
//!
//! # The tag
//!
//! All that is decided about a lane is decided by single accesses to its tag: bits 0 to 3 are the
//! [`Mode`], bit 4 says that the guard is counted when it ends ([`changes`](super::changes)), bit 5
//! that it has a part of the reserved range ([`rests`](super::rests)), bit 6 that a waiter sleeps
//! on the lane, bit 7 that its guard does not rest, and bits 8 to 63 are the member. Mode 0 is
//! free, whatever the other bits are. The other fields mean nothing while a lane is free or leased.
//! They are written before the tag that makes them valid, and with release: a process that reads a
//! new field sees everything that happened before it was written.
//!
//! # Leases
//!
//! A thread that wants a lane *leases* it: it swaps a free tag for mode *leased* and its own member
//! id. From then on no other thread or process writes the lane, but for its tag: other requests set
//! [`FLAGS`], revoke a guard that rests, and free the lane of a dead member. A lane
//! that is given back stays leased, and its thread uses it for the next guard. So a guard costs no
//! search, and its line stays in the cache of one processor.
//!
//! A lane may also reserve bytes that its thread takes again without the lock word:
//! [`rests`](super::rests).
//!
//! # Death
//!
//! A member id is never given twice, so a tag names a dead member for ever, and one
//! compare-and-swap by any process frees the lane. The lane of a dead writer becomes a record of
//! poison in place.
//!
//! # Keys
//!
//! A lane names its array by the last eight bytes of the array's id. If two arrays have the same
//! key, they wait for each other needlessly; exclusion never depends on keys being different.

use super::rests::{PART, REST, RESTING, end_rest};
use crate::{
    layout::span::Span,
    sync::{AtomicU32, AtomicU64, sleep_on_high_half, wake_high_half, wake_one_high_half},
};
use std::{
    sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    time::Duration,
};

/// One lane, as it lies in the lock file.
#[repr(C, align(64))]
pub(crate) struct Lane {
    pub(crate) tag: AtomicU64,
    pub(crate) key: AtomicU64,
    pub(crate) start: AtomicU64,
    pub(crate) end: AtomicU64,
    pub(crate) pitch: AtomicU32,
    pub(crate) width: AtomicU32,
    /// The number of the thread that holds or awaits the guard, in its process.
    pub(crate) thread: AtomicU32,
    /// Raised before the lane becomes poison: its thread then knows that it lost the lane.
    pub(crate) epoch: AtomicU32,
    /// The ticket of a waiter, and the number of this use of the lane: see [`turns`]. Waiters sleep
    /// on its high half.
    pub(crate) turn: AtomicU64,
    /// The process that leased the lane: its pid, and some bits of its pid namespace.
    pub(crate) process: AtomicU32,
    /// When the wait in this lane began: milliseconds of the machine's monotonic clock, modulo
    /// 2^32.
    pub(crate) since: AtomicU32,
}

/// The word `turn` of a lane: a ticket in bits 0 to 31, the flags *ripe* and *has a deadline*, and
/// from bit 34 on a number that no other recent use of the lane has. The number is raised when a
/// use begins, and when one ends that a waiter sleeps on.
pub(crate) mod turns {
    /// The waiter was awake twice without success.
    pub(crate) const RIPE: u64 = 1 << 32;
    /// The wait ends by itself.
    pub(crate) const ENDS: u64 = 1 << 33;
    /// The number of a use.
    pub(crate) const NUMBER: u64 = 1 << 34;

    /// The number of the use in a turn.
    pub(crate) fn number(turn: u64) -> u64 {
        turn / NUMBER
    }

    /// The turn of the next use of a lane.
    pub(crate) fn next(turn: u64, ticket_and_flags: u64) -> u64 {
        (turn & !(NUMBER - 1)).wrapping_add(NUMBER) | ticket_and_flags
    }
}

/// The purpose of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Mode {
    Read = 1,
    Write = 2,
    /// A writer waits: new readers of its bytes wait too.
    WriteWait = 3,
    /// A writer died or panicked.
    Poisoned = 4,
    /// Atomic access: coexists with its own kind, excludes readers and writers.
    Atomic = 5,
    /// A reader waits.
    ReadWait = 6,
    /// A thread has the lane, and no guard in it.
    Leased = 8,
    /// A guard to read rests: its thread may take it again.
    ReadRest = 9,
    /// A guard to write rests.
    WriteRest = 10,
    /// Atomic access waits.
    AtomicWait = 11,
    /// A guard to write was given back, and its thread is about to count it.
    Written = 12,
    /// A guard for atomic access rests.
    AtomicRest = 13,
    /// A guard to read stands where one to write rested, and rests as one to write.
    ReadExclusive = 14,
}

/// A waiter sleeps on the lane.
pub(crate) const AWAITED: u64 = 1 << 6;
/// The guard to write in the lane is counted when it ends: see [`changes`](super::changes). Goes
/// only after that.
pub(crate) const COUNTED: u64 = 1 << 4;
/// The guard in the lane does not rest.
const RESTLESS: u64 = 1 << 7;
/// Flags that other processes set in the tag of a guard. They do not make it another one.
pub(crate) const FLAGS: u64 = AWAITED | RESTLESS;
const MODE_BITS: u64 = 0xf;
const MEMBER_AT: u32 = 8;

impl Mode {
    pub(crate) fn tag(self, member: u64) -> u64 {
        member << MEMBER_AT | self as u64
    }

    pub(crate) fn is(self, tag: u64) -> bool {
        tag & MODE_BITS == self as u64
    }

    /// The bit of this mode in a set of modes.
    pub(crate) const fn bit(self) -> u32 {
        1 << self as u64
    }
}

pub(crate) fn member_of(tag: u64) -> u64 {
    tag >> MEMBER_AT
}

/// The tag of a free lane that still tells which member had it. The lane's `process` is then that
/// member's, so the process can be named until the lane is leased again.
pub(crate) fn freed_by(member: u64) -> u64 {
    member << MEMBER_AT
}

/// Whether the mode of a tag is in a set of modes.
#[inline]
pub(crate) fn is_in(tag: u64, modes: u32) -> bool {
    modes >> (tag & MODE_BITS) & 1 != 0
}

/// The modes of guards to read.
pub(crate) const READING: u32 = Mode::Read.bit() | Mode::ReadExclusive.bit();

/// The modes of lanes that belong to an array.
pub(crate) const OF_ARRAYS: u32 = READING
    | Mode::Write.bit()
    | Mode::WriteWait.bit()
    | Mode::Poisoned.bit()
    | Mode::Atomic.bit()
    | Mode::ReadWait.bit()
    | Mode::AtomicWait.bit()
    | Mode::Written.bit();

/// The modes of lanes that a process clears without knowing their array.
const CLEARED: u32 =
    (OF_ARRAYS | RESTING | Mode::Leased.bit()) & !(Mode::Written.bit() | Mode::Poisoned.bit());

/// How often the end of a guard tries to replace the tag.
const TRIES: u32 = 8;

const WAITERS: u32 = Mode::WriteWait.bit() | Mode::ReadWait.bit() | Mode::AtomicWait.bit();

/// Whether a lane with this tag waits for a guard.
#[inline]
pub(crate) fn is_waiting(tag: u64) -> bool {
    is_in(tag, WAITERS)
}

/// The mode of a lane that waits for a guard of this mode.
pub(crate) fn waiting_for(mode: Mode) -> Mode {
    match mode {
        Mode::Read => Mode::ReadWait,
        Mode::Atomic => Mode::AtomicWait,
        _ => Mode::WriteWait,
    }
}

/// The mode of the guard that a waiting lane waits for.
pub(crate) fn wanted_by(tag: u64) -> Mode {
    match tag {
        _ if Mode::ReadWait.is(tag) => Mode::Read,
        _ if Mode::AtomicWait.is(tag) => Mode::Atomic,
        _ => Mode::Write,
    }
}

/// The modes of lanes that keep a request from its guard.
#[derive(Clone, Copy)]
pub(crate) struct Conflicts(u32);

impl Conflicts {
    /// Guards that exclude one of this mode.
    pub(crate) const fn of(mode: Mode) -> Self {
        let (read, write, atomic) = (READING, Mode::Write.bit(), Mode::Atomic.bit());
        Self(match mode {
            Mode::Read => write | atomic,
            Mode::Atomic => write | read,
            _ => read | write | atomic,
        })
    }

    /// Guards at rest that would exclude one of this mode.
    const fn at_rest(mode: Mode) -> Self {
        Self(Self::of(mode).0 << REST)
    }

    /// Guards that exclude one of this mode, also at rest.
    pub(crate) const fn guards(mode: Mode) -> Self {
        Self(Self::of(mode).0 | Self::at_rest(mode).0)
    }

    /// Guards that exclude one of this mode, also at rest, poison, and all waiters that a request
    /// may have to let go first.
    pub(crate) const fn at_once(mode: Mode) -> Self {
        let waiters = match mode {
            Mode::Read => Mode::WriteWait.bit() | Mode::AtomicWait.bit(),
            Mode::Atomic => Mode::WriteWait.bit() | Mode::ReadWait.bit(),
            _ => WAITERS,
        };
        Self(Self::guards(mode).0 | Mode::Poisoned.bit() | waiters)
    }

    #[inline]
    pub(crate) fn has(self, tag: u64) -> bool {
        is_in(tag, self.0)
    }
}

/// The lanes of a store that this process may touch.
pub(crate) trait Lanes {
    /// A lane, or `None` if this process does not know that its page exists.
    fn lane(&self, index: u32) -> Option<&Lane>;
    /// The number of lanes that this process may touch.
    fn count(&self) -> u32;
    /// The number of lanes that there are. Raised before the first of the new ones is leased, so a
    /// hint to a lane beyond it is damaged, or left from before a crash of the machine.
    fn total(&self) -> u32;
}

impl Lane {
    /// Writes the span: for the thread that has the lane, or with the lock word of its array.
    #[inline]
    pub(crate) fn put(&self, key: u64, span: Span) {
        self.key.store(key, Release);
        self.start.store(span.start, Release);
        self.end.store(span.end, Release);
        self.pitch.store(span.pitch, Release);
        self.width.store(span.width, Release);
    }

    /// The words of the span. The tag tells their meaning.
    #[inline]
    pub(crate) fn words(&self) -> Span {
        Span {
            start: self.start.load(Acquire),
            end: self.end.load(Acquire),
            pitch: self.pitch.load(Acquire),
            width: self.width.load(Acquire),
        }
    }

    /// Replaces the mode by that of a leased lane, and wakes the sleepers. The caller holds or
    /// awaits a guard in the lane.
    #[inline]
    pub(crate) fn give_back(&self) {
        let member = member_of(self.tag.load(Relaxed));
        self.replace(Mode::Leased.tag(member));
    }

    /// Says that the guard to write in the lane is counted when it ends. Returns false if the lane
    /// has another tag by now.
    pub(super) fn mark(&self, tag: u64) -> bool {
        self.tag
            .compare_exchange(tag, tag | COUNTED, SeqCst, Acquire)
            .is_ok()
    }

    /// Replaces the tag when the guard ends: by `counted` and the mark if it has the mark, else by
    /// `after`. Wakes the sleepers, and returns the tag before.
    pub(super) fn end(&self, after: u64, counted: u64) -> u64 {
        let mut before = self.tag.load(Acquire);
        // A waiter and a process that watches the array set a bit each.
        for _ in 0..TRIES {
            let tag = match before & COUNTED {
                0 => after,
                _ => counted | COUNTED | before & PART,
            };
            match self.tag.compare_exchange(before, tag, SeqCst, Acquire) {
                Ok(_) => {
                    failpoint!(LaneReplaced);
                    if before & AWAITED != 0 {
                        self.wake();
                    }
                    return before;
                }
                Err(found) => before = found,
            }
        }
        // A foreign process keeps writing into the lane.
        self.replace(after);
        0
    }

    /// Swaps the tag, and wakes the sleepers.
    #[inline]
    pub(crate) fn replace(&self, tag: u64) {
        let old = self.tag.swap(tag, SeqCst);
        failpoint!(LaneReplaced);
        if old & AWAITED != 0 {
            self.wake();
        }
    }

    /// Replaces a tag by compare-and-swap, whatever flags other processes have set in it, and wakes
    /// the sleepers. Returns false if the lane has another tag by now.
    pub(crate) fn replace_if(&self, found: u64, tag: u64) -> bool {
        let mut expected = found;
        // Each flag is set once.
        for _ in 0..=FLAGS.count_ones() {
            match self.tag.compare_exchange(expected, tag, SeqCst, Acquire) {
                Ok(old) => {
                    if old & AWAITED != 0 {
                        self.wake();
                    }
                    return true;
                }
                Err(actual) if (actual ^ found) & !FLAGS == 0 => expected = actual,
                Err(_) => break,
            }
        }
        false
    }

    /// Sleeps until a use of the lane begins or ends after `turn` was read, or for a time. The
    /// caller found the bit of waiters in the tag after it had read the turn.
    pub(crate) fn sleep(&self, turn: u64, longest: Duration) {
        sleep_on_high_half(&self.turn, turn, longest);
    }

    /// Wakes one of those that sleep on a waiter which has its guard by now: one of them has to ask
    /// from now on whether its member lives. The use of the lane goes on.
    pub(crate) fn rouse_next(&self) {
        if self.tag.load(SeqCst) & AWAITED != 0 {
            wake_one_high_half(&self.turn);
        }
    }

    #[cold]
    fn wake(&self) {
        self.turn.fetch_add(turns::NUMBER, SeqCst);
        failpoint!(LaneTurned);
        wake_high_half(&self.turn);
        failpoint!(LaneWoken);
    }
}

/// Leases a free lane, looking from `start` on. Returns `None` if no lane is free.
pub(crate) fn lease(lanes: &impl Lanes, member: u64, start: u32) -> Option<u32> {
    let count = lanes.count();
    let start = start % count.max(1);
    let at = |step: u32| (start + step) % count.max(1);
    // Lanes of even index first: some processors fetch lines in pairs.
    let even = (0..count).map(at).filter(|index| index.is_multiple_of(2));
    let odd = (0..count).map(at).filter(|index| !index.is_multiple_of(2));
    even.chain(odd).find(|&index| {
        lanes
            .lane(index)
            .is_some_and(|lane| lease_one(lane, member))
    })
}

/// Leases a lane, if it is free.
#[inline]
pub(crate) fn lease_one(lane: &Lane, member: u64) -> bool {
    let tag = lane.tag.load(Relaxed);
    tag & MODE_BITS == 0
        && lane
            .tag
            .compare_exchange(tag, Mode::Leased.tag(member), AcqRel, Relaxed)
            .is_ok()
}

/// Frees a lane that the caller has leased. Returns false if a guard is in it.
pub(crate) fn free(lane: &Lane, member: u64) -> bool {
    lane.replace_if(Mode::Leased.tag(member), 0)
}

/// Whether a lane has no guard and is still that of a thread that leased it at this epoch.
///
/// The tag is read before the epoch. The epoch is raised before the lane becomes poison, so a
/// thread that sees a later lease of the lane sees the later epoch too.
#[inline]
pub(crate) fn is_idle(lane: &Lane, member: u64, epoch: u32) -> bool {
    lane.tag.load(Acquire) == Mode::Leased.tag(member) && lane.epoch.load(Relaxed) == epoch
}

/// Sets the bit of waiters in a lane's tag. Returns the new tag, or `None` if the lane has another
/// tag by now.
pub(super) fn announce(lane: &Lane, tag: u64) -> Option<u64> {
    set_flag(lane, tag, AWAITED)
}

/// Sees to it that the guard in a lane does not rest. Returns the new tag, or `None` if the lane
/// has another tag by now.
pub(super) fn make_restless(lane: &Lane, tag: u64) -> Option<u64> {
    // A guard that is awaited does not rest either. Its waiters know it by its tag.
    set_flag(lane, tag, if tag & FLAGS == 0 { RESTLESS } else { 0 })
}

fn set_flag(lane: &Lane, tag: u64, flag: u64) -> Option<u64> {
    let announced = tag | flag;
    if tag == announced {
        return (lane.tag.load(SeqCst) == tag).then_some(tag);
    }
    lane.tag
        .compare_exchange(tag, announced, SeqCst, Acquire)
        .ok()
        .map(|_| announced)
}

/// Frees a lane that a thread leased at this epoch: the thread ends. Returns true if a guard is
/// still in it, which another thread has.
pub(crate) fn leave(lane: &Lane, member: u64, epoch: u32) -> bool {
    end_rest(lane, member);
    if is_idle(lane, member, epoch) {
        // No other thread puts a guard into it, so it cannot become poison now.
        free(lane, member);
        return false;
    }
    lane.epoch.load(Acquire) == epoch
}

/// The tag that the lane of a dead member gets: that of poison if it wrote, else free. The mark of
/// a guard that is counted stays.
pub(crate) fn left_by_the_dead(tag: u64) -> u64 {
    if Mode::Write.is(tag) {
        Mode::Poisoned.tag(member_of(tag)) | tag & (PART | COUNTED)
    } else {
        0
    }
}

/// Clears the lanes of dead members: a writer's becomes poison, others become free. Returns whether
/// any was cleared. One whose guard was given back and may not be counted yet stays: only its array
/// has the number.
pub(crate) fn clear_dead(lanes: &impl Lanes, is_alive: impl Fn(u64) -> bool) -> bool {
    let mut answers = Answers::default();
    let mut any = false;
    for lane in (0..lanes.count()).filter_map(|index| lanes.lane(index)) {
        let tag = lane.tag.load(Acquire);
        let is_of_a_member = is_in(tag, CLEARED);
        if is_of_a_member && !answers.is_alive(member_of(tag), &is_alive) {
            failpoint!(ClearDeadWanted);
            any |= lane.replace_if(tag, left_by_the_dead(tag));
            failpoint!(DeadCleared);
        }
    }
    any
}

/// The last answers to the question whether a member lives: a round asks once for a member.
#[derive(Default)]
pub(crate) struct Answers {
    known: Vec<(u64, bool)>,
}

impl Answers {
    pub(crate) fn is_alive(&mut self, member: u64, ask: impl Fn(u64) -> bool) -> bool {
        if let Ok(at) = self.known.binary_search_by_key(&member, |known| known.0) {
            return self.known[at].1;
        }
        let is_alive = ask(member);
        let at = self.known.partition_point(|known| known.0 < member);
        self.known.insert(at, (member, is_alive));
        is_alive
    }
}

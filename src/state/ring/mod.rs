//! # Rings of frames
//!
//! One process at a time produces, many subscribe. The newest frame is never overwritten, and
//! neither is a frame that a subscriber holds, so a held frame is an ordinary shared reference.
//!
//! # Words
//!
//! | words | of | meaning |
//! | --- | --- | --- |
//! | [`Control`] | the ring | the newest frame, the producer, and the words to sleep on |
//! | [`FrameWords`] | each frame | its position and number, or that it is no whole frame |
//! | [`Seat`] | each subscriber | the frames that it holds, and the last one that it took |
//!
//! A frame has two numbers. Its **position** grows by at least one from frame to frame, and the
//! frame lies in the slot `position % frames`; positions have gaps where the producer skipped a
//! slot that a subscriber held. Its **number** has no gaps. Subscribers write their own seat only.
//!
//! # Pinning
//!
//! The producer hides a slot before it writes it, and a subscriber sets its bit before it believes
//! a slot. Between the two accesses of each is a full fence, so at least one sees the other:
//!
//! ```text
//! producer     position[s] = 0;    fence;   is bit s set in any seat?  then the slot is left alone
//! subscriber   set bit s;          fence;   is position[s] == p?       if not, the bit is cleared
//! ```
//!
//! # Publishing
//!
//! The elements, the number and the time are written before `position[s] = p` (Release), and that
//! before `newest = p`. So a subscriber that finds a position finds the whole frame.
//!
//! # Sleeping
//!
//! A subscriber sets `waiting` before it looks at `newest` for the last time, and the producer
//! publishes before it looks at `waiting`. The producer then raises `wake` and wakes one sleeper,
//! and each woken one wakes two more, so a publication costs one system call, however many sleep.
//! Only threads that sleep on an older value of `wake` are woken: the others have seen the frame.
//! The producer, and threads that wait for the turn, sleep on `freed` in the same way.
//!
//! # Deaths
//!
//! Every sleep ends after 20 ms, and the sleeper looks which members live.
//!
//! | dies | leaves | found by |
//! | --- | --- | --- |
//! | a producer before `position[s] = p` | a slot that no subscriber takes | successor, sleeper |
//! | before `newest = p` | an unannounced frame, whose position is used again | both |
//! | before the wake-up | a frame that sleepers find after 20 ms | themselves |
//! | a subscriber | its seat, with bits | a producer in whose way it is, or a joiner |
//!
//! A dead producer's turn is ended by the process that finds it dead, which notes the member in
//! `last_dead` first: each subscriber tells its caller once. A dead subscriber's seat is first
//! taken over, then cleared: a joiner that took it meanwhile must not lose its bits.
//!
//! Any bytes are sound here: indices are reduced, lengths clamped, loops bounded.

mod producing;
mod subscribing;

use crate::sync::{self, AtomicU32, AtomicU64, fence};
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

/// The words of the ring.
#[repr(C)]
pub(crate) struct Control {
    /// The position of the newest frame; 0 if there is none.
    pub(crate) newest: AtomicU64,
    /// The member whose turn it is to produce; 0 if it is no member's.
    pub(crate) producer: AtomicU64,
    /// A futex for subscribers that wait for a frame.
    pub(crate) wake: AtomicU32,
    /// Whether any may sleep on `wake`.
    pub(crate) waiting: AtomicU32,
    /// A futex for the producer that waits for a slot, and for others that wait for the turn.
    pub(crate) freed: AtomicU32,
    /// Whether any may sleep on `freed`.
    pub(crate) awaited: AtomicU32,
    /// Whether the stream has ended: 1 or 0.
    pub(crate) ended: AtomicU32,
    /// All seats from this one on were never used.
    pub(crate) seats_used: AtomicU32,
    /// The pid of the producer.
    pub(crate) pid: AtomicU32,
    pub(crate) zero: AtomicU32,
    /// The producer that died last.
    pub(crate) last_dead: AtomicU64,
    /// The number before that of the first frame of this boot.
    pub(crate) base: AtomicU64,
    /// The boot in which the words below are valid.
    pub(crate) boot: [AtomicU64; 2],
    pub(crate) zeros: [AtomicU64; 6],
}

/// The words of a frame.
#[repr(C)]
pub(crate) struct FrameWords {
    /// 0: not a whole frame.
    pub(crate) position: AtomicU64,
    pub(crate) number: AtomicU64,
    /// Nanoseconds since 1970.
    pub(crate) time: AtomicU64,
    /// The valid rows; those behind are of an older frame.
    pub(crate) rows: AtomicU64,
    pub(crate) zeros: [AtomicU64; 4],
}

/// The words of a subscriber.
#[repr(C)]
pub(crate) struct Seat {
    /// The mode in bits 0 to 7, the member above; 0 if the seat is free.
    pub(crate) tag: AtomicU64,
    /// The position of the last frame that it took.
    pub(crate) at: AtomicU64,
    /// A bit for each frame that it holds.
    pub(crate) held: [AtomicU64; 4],
    /// The pid of the subscriber.
    pub(crate) pid: AtomicU32,
    pub(crate) zero: AtomicU32,
    pub(crate) zeros: [AtomicU64; 1],
}

/// What a subscriber wants of the producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Mode {
    /// The seat is being taken: it counts for nothing yet.
    Joining = 1,
    /// The producer may overwrite frames that the subscriber has not seen.
    Newest = 2,
    /// The producer waits for the subscriber.
    Lossless = 3,
    /// Another process clears the seat of a dead subscriber.
    Clearing = 4,
}

fn tag_of(mode: Mode, member: u64) -> u64 {
    mode as u64 | member << 8
}

pub(crate) fn member_of(tag: u64) -> u64 {
    tag >> 8
}

fn is_lossless(tag: u64) -> bool {
    tag & 0xff == Mode::Lossless as u64
}

/// Whether a position is later than another one.
fn is_later(position: u64, than: u64) -> bool {
    position.wrapping_sub(than) as i64 > 0
}

/// All words of a ring.
#[derive(Clone, Copy)]
pub(crate) struct RingTable<'a> {
    pub(crate) control: &'a Control,
    /// At least 2.
    pub(crate) frames: &'a [FrameWords],
    pub(crate) seats: &'a [Seat],
}

/// Why no slot can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InTheWay {
    /// Subscribers hold all frames but the newest.
    Held,
    /// A lossless subscriber has not taken the oldest frame: the one in this seat.
    Behind(usize),
}

/// A subscriber's place in the ring, as its process knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) seat: usize,
    pub(crate) mode: Mode,
    /// The position of the last frame that it took, or the newest one when it came.
    pub(crate) at: u64,
}

impl<'a> RingTable<'a> {
    /// The slot of a position.
    pub(crate) fn slot(&self, position: u64) -> usize {
        let frames = self.frames.len() as u64;
        // A frame is looked up several times on its way, and a division takes some nanoseconds.
        let slot = match frames & (frames - 1) {
            0 => position & (frames - 1),
            _ => position % frames,
        };
        slot as usize
    }

    pub(crate) fn frame(&self, position: u64) -> &'a FrameWords {
        &self.frames[self.slot(position)]
    }

    fn used_seats(&self) -> &'a [Seat] {
        let used = self.control.seats_used.load(SeqCst) as usize;
        &self.seats[..used.min(self.seats.len())]
    }

    /// The number of the newest frame: the next one has the number after it.
    pub(crate) fn last_number(&self) -> u64 {
        self.newest_number()
            .unwrap_or_else(|| self.control.base.load(SeqCst))
    }

    fn newest_number(&self) -> Option<u64> {
        let newest = self.control.newest.load(SeqCst);
        let frame = self.frame(newest);
        let is_whole = newest != 0 && frame.position.load(Acquire) == newest;
        is_whole.then(|| frame.number.load(Relaxed))
    }

    /// Wakes the producer, and threads that wait for the turn, if any sleeps.
    fn slot_was_freed(&self) {
        fence(SeqCst);
        self.wake_producer();
    }

    /// The same, after a fence.
    fn wake_producer(&self) {
        let control = self.control;
        if control.awaited.load(SeqCst) != 0 && control.awaited.swap(0, SeqCst) != 0 {
            control.freed.fetch_add(1, SeqCst);
            sync::wake_all(&control.freed);
        }
    }

    /// Forgets all that processes of another boot left; pages of a frame may not have reached the
    /// disk. Numbers go on. Returns whether this call did it.
    pub(crate) fn renew(&self, boot: [u64; 2]) -> bool {
        let control = self.control;
        let is_of = |at: usize| control.boot[at].load(SeqCst) == boot[at];
        if is_of(0) && is_of(1) {
            return false;
        }
        // Without a newest frame, no published one had a larger number than any that is there.
        let numbers = self.frames.iter().map(|frame| frame.number.load(Relaxed));
        let last = self.newest_number().or(numbers.max()).unwrap_or(0);
        let larger = |base| (base < last).then_some(last);
        let _ = control.base.fetch_update(SeqCst, SeqCst, larger);
        control.newest.store(0, SeqCst);
        for frame in self.frames {
            frame.position.store(0, SeqCst);
        }
        for seat in self.seats {
            seat.tag.store(0, SeqCst);
            seat.held.iter().for_each(|word| word.store(0, SeqCst));
        }
        control.producer.store(0, SeqCst);
        control.waiting.store(0, SeqCst);
        control.awaited.store(0, SeqCst);
        control.ended.store(0, SeqCst);
        control.boot[0].store(boot[0], SeqCst);
        control.boot[1].store(boot[1], SeqCst);
        true
    }
}

/// The word and the bit of a slot in a seat.
fn bit_of(slot: usize) -> (usize, u64) {
    (slot / 64 % 4, 1 << (slot % 64))
}

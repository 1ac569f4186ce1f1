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
//! | a producer before `position[s] = p` | a slot that no subscriber takes | its successor, a sleeper |
//! | before `newest = p` | a frame that no subscriber was told of; its position is used again | both |
//! | before the wake-up | a frame that sleepers find after 20 ms | themselves |
//! | a subscriber | its seat, with bits | a producer in whose way it is, or a joiner |
//!
//! A dead producer's turn is ended by the process that finds it dead, which notes the member in
//! `last_dead` first: each subscriber tells its caller once. A dead subscriber's seat is first
//! taken over, then cleared: a joiner that took it meanwhile must not lose its bits.
//!
//! Any bytes are sound here: indices are reduced, lengths clamped, loops bounded.

use crate::{
    state::signals,
    sync::{self, AtomicU32, AtomicU64, Instant, fence, fence_after_write},
};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

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

    // The turn.

    /// Takes the turn to produce, also from a dead member. Fails with the member that has it.
    pub(crate) fn take_turn(&self, me: u64, is_alive: impl Fn(u64) -> bool) -> Result<(), u64> {
        loop {
            let noted = self.last_dead();
            match self
                .control
                .producer
                .compare_exchange(0, me, SeqCst, SeqCst)
            {
                Ok(_) => return Ok(()),
                Err(other) if is_alive(other) => return Err(other),
                Err(dead) => self.end_turn_of(dead, noted),
            }
        }
    }

    /// Gives the turn back.
    pub(crate) fn end_turn(&self, me: u64) {
        let _ = self
            .control
            .producer
            .compare_exchange(me, 0, SeqCst, SeqCst);
        self.slot_was_freed();
    }

    /// Ends the turn of a dead member, and notes it as the last one that died.
    ///
    /// In this order, so that each subscriber is told, whichever process dies. A slow process notes
    /// no member that another process noted before.
    pub(crate) fn end_turn_of(&self, dead: u64, noted: u64) {
        let (producer, last_dead) = (&self.control.producer, &self.control.last_dead);
        let _ = last_dead.compare_exchange(noted, dead, SeqCst, SeqCst);
        failpoint!(RingDeathNoted);
        if producer.compare_exchange(dead, 0, SeqCst, SeqCst).is_ok() {
            failpoint!(RingTurnTakenOver);
            self.slot_was_freed();
        }
    }

    /// The producer that died last. It is read before the producer is found dead: see
    /// [`end_turn_of`](Self::end_turn_of).
    pub(crate) fn last_dead(&self) -> u64 {
        self.control.last_dead.load(SeqCst)
    }

    // Producing.

    /// A position whose slot no subscriber holds: hidden, and the caller's to write until it is
    /// published. The caller has the turn.
    pub(crate) fn reserve(&self, me: u64, is_alive: impl Fn(u64) -> bool) -> Result<u64, InTheWay> {
        let newest = self.control.newest.load(SeqCst);
        // The slot of the newest frame is not among them.
        for step in 1..self.frames.len() as u64 {
            let position = newest.wrapping_add(step);
            let frame = self.frame(position);
            if position == 0 {
                continue;
            }
            // First without hiding it: a frame that is held stays visible to other subscribers.
            if let Some(seat) = self.waits_for(frame, newest, me, &is_alive) {
                return Err(InTheWay::Behind(seat));
            }
            if self.is_held(position, me, &is_alive) {
                continue;
            }
            let before = frame.position.load(Relaxed);
            frame.position.store(0, Relaxed);
            fence(SeqCst);
            failpoint!(RingFrameHidden);
            if self.is_held(position, me, &is_alive) {
                frame.position.store(before, Release);
                continue;
            }
            return Ok(position);
        }
        Err(InTheWay::Held)
    }

    /// The seat of a lossless subscriber that has not taken this frame yet.
    fn waits_for(
        &self,
        frame: &FrameWords,
        newest: u64,
        me: u64,
        is_alive: &impl Fn(u64) -> bool,
    ) -> Option<usize> {
        let position = frame.position.load(Relaxed);
        if position == 0 || is_later(position, newest) {
            return None;
        }
        self.used_seats().iter().position(|seat| {
            is_lossless(seat.tag.load(SeqCst))
                && is_later(position, seat.at.load(Acquire))
                && !self.clear_if_dead(seat, me, is_alive)
        })
    }

    /// Whether a living subscriber holds the slot of a position.
    fn is_held(&self, position: u64, me: u64, is_alive: &impl Fn(u64) -> bool) -> bool {
        let (word, bit) = bit_of(self.slot(position));
        self.used_seats().iter().any(|seat| {
            seat.held[word].load(Acquire) & bit != 0 && !self.clear_if_dead(seat, me, is_alive)
        })
    }

    /// Clears a seat if its subscriber is dead. Returns whether it did.
    fn clear_if_dead(&self, seat: &Seat, me: u64, is_alive: &impl Fn(u64) -> bool) -> bool {
        let tag = seat.tag.load(Acquire);
        if tag != 0 && is_alive(member_of(tag)) {
            return false;
        }
        // A joiner may take the seat at the same time: then its bits stay.
        let clearing = tag_of(Mode::Clearing, me);
        if seat
            .tag
            .compare_exchange(tag, clearing, SeqCst, SeqCst)
            .is_err()
        {
            return false;
        }
        failpoint!(RingSeatTakenOver);
        seat.held.iter().for_each(|word| word.store(0, SeqCst));
        seat.tag.store(0, SeqCst);
        true
    }

    /// Publishes a reserved position whose elements are written.
    pub(crate) fn publish(&self, position: u64, number: u64, time: u64, rows: u64) {
        let frame = self.frame(position);
        frame.number.store(number, Relaxed);
        frame.time.store(time, Relaxed);
        frame.rows.store(rows, Relaxed);
        frame.position.store(position, Release);
        failpoint!(RingFrameWhole);
        self.control.newest.swap(position, SeqCst);
        failpoint!(RingFramePublished);
        self.wake_subscribers();
    }

    /// Wakes the first of the subscribers that sleep, which wakes others.
    pub(crate) fn wake_subscribers(&self) {
        let control = self.control;
        if control.waiting.load(SeqCst) != 0 && control.waiting.swap(0, SeqCst) != 0 {
            let present = control.wake.fetch_add(1, SeqCst).wrapping_add(1);
            failpoint!(RingWakeRaised);
            sync::wake_sleepers_before(&control.wake, present, 1);
        }
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

    /// Ends the stream, or begins it anew.
    pub(crate) fn set_ended(&self, has_ended: bool) {
        self.control.ended.store(u32::from(has_ended), SeqCst);
        self.wake_subscribers();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.control.ended.load(SeqCst) == 1
    }

    // Subscribing.

    /// Takes a seat. `None` if living subscribers have all of them.
    pub(crate) fn join(
        &self,
        me: u64,
        pid: u32,
        mode: Mode,
        is_alive: impl Fn(u64) -> bool,
    ) -> Option<Place> {
        let joining = tag_of(Mode::Joining, me);
        let take = |seat: &Seat, found: u64| {
            let taken = seat.tag.compare_exchange(found, joining, SeqCst, SeqCst);
            taken.is_ok()
        };
        let free = |seat: &Seat| take(seat, 0);
        let dead = |seat: &Seat| {
            let found = seat.tag.load(Acquire);
            found != 0 && !is_alive(member_of(found)) && take(seat, found)
        };
        let found = self.seats.iter().position(free);
        let index = found.or_else(|| self.seats.iter().position(dead))?;
        failpoint!(RingSeatTaken);
        let seat = &self.seats[index];
        let used = index as u32 + 1;
        let _ = self
            .control
            .seats_used
            .fetch_update(SeqCst, SeqCst, |known| (known < used).then_some(used));
        // Bits of a dead subscriber block the producer for a moment, which is safe.
        seat.held.iter().for_each(|word| word.store(0, SeqCst));
        seat.pid.store(pid, Relaxed);
        seat.at.store(self.control.newest.load(SeqCst), Relaxed);
        seat.tag.store(tag_of(mode, me), SeqCst);
        // The producer waits for frames after this one, because it sees the tag from now on.
        fence(SeqCst);
        let at = self.control.newest.load(SeqCst);
        seat.at.store(at, Release);
        // The producer may wait for subscribers.
        self.slot_was_freed();
        Some(Place {
            seat: index,
            mode,
            at,
        })
    }

    /// Ends a subscription whose seat still holds frames: the producer no longer waits for it.
    pub(crate) fn stop_waiting_for(&self, seat: usize, me: u64) {
        self.seats[seat]
            .tag
            .store(tag_of(Mode::Newest, me), Release);
        self.slot_was_freed();
    }

    /// Gives a seat back that holds no frame.
    pub(crate) fn leave(&self, seat: usize) {
        self.seats[seat].tag.store(0, Release);
        self.slot_was_freed();
    }

    /// Pins the frame at a position in a seat, if it is there. The caller does not hold the slot.
    pub(crate) fn pin(&self, seat: usize, position: u64) -> bool {
        let (word, bit) = bit_of(self.slot(position));
        self.seats[seat].held[word].fetch_or(bit, SeqCst);
        fence_after_write();
        if position != 0 && self.frame(position).position.load(Acquire) == position {
            failpoint!(RingFramePinned);
            return true;
        }
        self.unpin(seat, self.slot(position));
        false
    }

    /// Gives a slot back that the seat held.
    pub(crate) fn unpin(&self, seat: usize, slot: usize) {
        let (word, bit) = bit_of(slot);
        self.seats[seat].held[word].fetch_and(!bit, SeqCst);
        fence_after_write();
        self.wake_producer();
    }

    /// Records that a subscriber took the frame at a position.
    pub(crate) fn advance(&self, place: &mut Place, position: u64) {
        place.at = position;
        self.seats[place.seat].at.store(position, Release);
        if place.mode == Mode::Lossless {
            self.slot_was_freed();
        }
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

    /// The next position after the one that a subscriber took last, pinned by `pin`. Without losses
    /// every whole frame comes; otherwise the newest one comes where the next was overwritten.
    pub(crate) fn next(&self, place: &Place, mut pin: impl FnMut(u64) -> bool) -> Option<u64> {
        let newest = self.control.newest.load(SeqCst);
        if !is_later(newest, place.at) {
            return None;
        }
        // In a sound ring the distance is less than two rounds.
        let rounds = 2 * self.frames.len() as u64;
        if newest.wrapping_sub(place.at) > rounds {
            return self.latest(pin);
        }
        let mut position = place.at;
        while position != newest {
            position = position.wrapping_add(1);
            if pin(position) {
                return Some(position);
            }
            let found = self.frame(position).position.load(Acquire);
            let was_skipped = found != 0 && is_later(position, found);
            // The producer overwrites no frame that a lossless subscriber lacks.
            if !was_skipped && place.mode != Mode::Lossless {
                return self.latest(pin);
            }
        }
        None
    }

    /// The newest position, pinned by `pin`; `None` if there is none.
    pub(crate) fn latest(&self, mut pin: impl FnMut(u64) -> bool) -> Option<u64> {
        let mut newest = self.control.newest.load(SeqCst);
        // It is not overwritten while it is the newest, so each failure means that there is
        // another one.
        while newest != 0 {
            if pin(newest) {
                return Some(newest);
            }
            let again = self.control.newest.load(SeqCst);
            if again == newest {
                return None;
            }
            newest = again;
        }
        None
    }

    /// Waits until `attempt` returns a value. Calls it at every wake-up, and every 20 to 40 ms with
    /// `true`: then it also looks whether the wait is in vain. Returns `None` after the deadline.
    pub(crate) fn wait_for_frame<R>(
        &self,
        deadline: Option<Instant>,
        attempt: impl FnMut(bool) -> Option<R>,
    ) -> Option<R> {
        let control = self.control;
        let announce = || {
            control.waiting.store(1, SeqCst);
            failpoint!(RingFrameAwaited);
        };
        signals::wait_announced(&control.wake, deadline, announce, attempt, |seen, time| {
            if sync::sleep_on_value(&control.wake, seen, time) && self.has_others() {
                // It passes the wake-up on before it looks at the frame itself.
                sync::wake_sleepers_before(&control.wake, control.wake.load(SeqCst), 2);
            }
        })
    }

    /// Whether more than one seat is taken. A subscriber that takes its seat later than this look
    /// finds the frame that was published before.
    fn has_others(&self) -> bool {
        let taken = |seat: &&Seat| seat.tag.load(SeqCst) != 0;
        self.used_seats().iter().filter(taken).nth(1).is_some()
    }

    /// How many frames were published that a subscriber did not take.
    pub(crate) fn lag(&self, seat: usize) -> u64 {
        let newest = self.control.newest.load(SeqCst);
        let at = self.seats[seat].at.load(Acquire);
        if is_later(newest, at) {
            newest.wrapping_sub(at)
        } else {
            0
        }
    }

    // After another boot.

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

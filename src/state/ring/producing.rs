//! The side of the producer: its turn, the slots that it may write, publishing.

use super::{
    FrameWords, InTheWay, Mode, RingTable, Seat, bit_of, is_later, is_lossless, member_of, tag_of,
};
use crate::sync::{self, fence};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

impl RingTable<'_> {
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

    /// Ends the stream, or begins it anew.
    pub(crate) fn set_ended(&self, has_ended: bool) {
        self.control.ended.store(u32::from(has_ended), SeqCst);
        self.wake_subscribers();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.control.ended.load(SeqCst) == 1
    }
}

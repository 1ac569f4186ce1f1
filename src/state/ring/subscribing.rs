//! The side of a subscriber: its seat, the frames that it pins, waiting.

use super::{Mode, Place, RingTable, Seat, bit_of, is_later, member_of, tag_of};
use crate::{
    state::signals,
    sync::{self, Instant, fence, fence_after_write},
};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

impl RingTable<'_> {
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
}

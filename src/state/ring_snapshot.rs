//! The words of a ring, from bytes that a reader copied out of the file instead of mapping it.
//!
//! The words may change while they are copied, so a lag may be off by the frames that were
//! published meanwhile. Any bytes are sound here, as in `ring`.

use crate::{
    format::kind::{CONTROL_LEN, FRAME_LEN, SEAT_LEN},
    state::{
        ring::{Control, FrameWords, Mode, Seat, member_of},
        snapshot::{long, word},
    },
};
use std::mem::offset_of;

/// The words of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RingSnapshot {
    /// The number of the newest frame; 0 before the first one.
    pub(crate) newest: u64,
    pub(crate) has_ended: bool,
    /// The member that has the turn to produce, and the number of its process.
    pub(crate) producer: Option<(u64, u32)>,
    pub(crate) seats: Vec<SeatSnapshot>,
}

/// The words of a seat that a subscriber has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeatSnapshot {
    pub(crate) member: u64,
    /// The number of its process.
    pub(crate) process: u32,
    pub(crate) is_lossless: bool,
    /// Positions from the last frame that it took to the newest one.
    pub(crate) lag: u64,
    /// The number of frames that it holds.
    pub(crate) held: usize,
}

impl RingSnapshot {
    /// The words in copies of the control words, the frames' words and the seats. After another
    /// boot than `boot` only the last number means something.
    pub(crate) fn of(control: &[u8], frames: &[u8], seats: &[u8], boot: [u64; 2]) -> Self {
        let at = |offset: usize| long(control, offset);
        let newest = at(offset_of!(Control, newest));
        let boot_at = offset_of!(Control, boot);
        let mut snapshot = Self {
            newest: last_number(frames, newest).unwrap_or(at(offset_of!(Control, base))),
            has_ended: false,
            producer: None,
            seats: Vec::new(),
        };
        if [at(boot_at), at(boot_at + 8)] != boot {
            return snapshot;
        }
        let producer = at(offset_of!(Control, producer));
        let number = word(control, offset_of!(Control, pid));
        snapshot.producer = (producer != 0).then_some((producer, number));
        snapshot.has_ended = word(control, offset_of!(Control, ended)) == 1;
        let seats = seats.chunks_exact(SEAT_LEN);
        snapshot.seats = seats
            .filter_map(|seat| SeatSnapshot::of(seat, newest))
            .collect();
        snapshot
    }

    /// How many seats were ever used, of `most`, by a copy of the control words.
    pub(crate) fn used_seats(control: &[u8; CONTROL_LEN], most: usize) -> usize {
        most.min(word(control, offset_of!(Control, seats_used)) as usize)
    }
}

impl SeatSnapshot {
    fn of(seat: &[u8], newest: u64) -> Option<Self> {
        let tag = long(seat, offset_of!(Seat, tag));
        let is_lossless = tag & 0xff == Mode::Lossless as u64;
        if !is_lossless && tag & 0xff != Mode::Newest as u64 {
            return None;
        }
        let held = (0..4).map(|at| long(seat, offset_of!(Seat, held) + 8 * at).count_ones());
        let behind = newest.wrapping_sub(long(seat, offset_of!(Seat, at)));
        Some(Self {
            member: member_of(tag),
            process: word(seat, offset_of!(Seat, pid)),
            is_lossless,
            // A frame that was published after the control words were copied.
            lag: if (behind as i64) < 0 { 0 } else { behind },
            held: held.sum::<u32>() as usize,
        })
    }
}

/// The number of the frame at the newest position. If it was overwritten while it was copied, the
/// largest number of a whole frame; `None` without any.
fn last_number(frames: &[u8], newest: u64) -> Option<u64> {
    let words = frames.chunks_exact(FRAME_LEN).map(|frame| {
        (
            long(frame, offset_of!(FrameWords, position)),
            long(frame, offset_of!(FrameWords, number)),
        )
    });
    let whole = || words.clone().filter(|(position, _)| *position != 0);
    if newest == 0 {
        return None;
    }
    let found = whole().find(|(position, _)| *position == newest);
    found
        .or_else(|| whole().max_by_key(|(_, number)| *number))
        .map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: [u64; 2] = [7, 8];

    fn bytes(len: usize, words: &[(usize, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for (at, word) in words {
            bytes[*at..at + 8].copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// Control words with this newest position, in this boot.
    fn control(newest: u64) -> Vec<u8> {
        let words = [(0, newest), (8, 3), (32, 1), (40, 42), (56, 5), (64, 7)];
        let mut bytes = bytes(CONTROL_LEN, &words);
        bytes[72..80].copy_from_slice(&BOOT[1].to_ne_bytes());
        bytes
    }

    fn frames(positions: &[(u64, u64)]) -> Vec<u8> {
        let frame =
            |&(position, number): &(u64, u64)| bytes(FRAME_LEN, &[(0, position), (8, number)]);
        positions.iter().flat_map(frame).collect()
    }

    #[test]
    fn a_snapshot_has_the_words_of_the_format() {
        let seat = |mode: u64| {
            bytes(
                SEAT_LEN,
                &[(0, 9 << 8 | mode), (8, 4), (16, 0b101), (40, 1), (48, 43)],
            )
        };
        let seats = [seat(2), seat(0), seat(1), seat(3), seat(4)].concat();
        let found = RingSnapshot::of(&control(6), &frames(&[(6, 66), (5, 65)]), &seats, BOOT);
        let seat = |is_lossless| SeatSnapshot {
            member: 9,
            process: 43,
            is_lossless,
            lag: 2,
            held: 3,
        };
        let expected = RingSnapshot {
            newest: 66,
            has_ended: true,
            producer: Some((3, 42)),
            seats: vec![seat(false), seat(true)],
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_newest_number_is_found_while_frames_are_published() {
        let newest = |at, positions: &[_]| {
            RingSnapshot::of(&control(at), &frames(positions), &[], BOOT).newest
        };
        assert_eq!(newest(0, &[(0, 0), (0, 0)]), 5, "the base without a frame");
        assert_eq!(newest(6, &[(8, 68), (0, 67)]), 68, "overwritten meanwhile");
        assert_eq!(newest(6, &[(0, 0), (0, 0)]), 5, "damaged");
    }

    #[test]
    fn after_another_boot_no_process_is_named() {
        let seat = bytes(SEAT_LEN, &[(0, 9 << 8 | 2)]);
        let found = RingSnapshot::of(&control(6), &frames(&[(6, 66)]), &seat, [7, 9]);
        assert_eq!((found.newest, found.has_ended), (66, false));
        assert_eq!((found.producer, found.seats.len()), (None, 0));
    }

    #[test]
    fn a_seat_that_is_ahead_of_the_copy_lags_by_nothing() {
        let seat = bytes(SEAT_LEN, &[(0, 9 << 8 | 2), (8, 7)]);
        let found = RingSnapshot::of(&control(6), &frames(&[(6, 66)]), &seat, BOOT);
        assert_eq!(found.seats[0].lag, 0);
    }
}

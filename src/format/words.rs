//! The shared words that decide over a deletion, in encodings that show damage.
//!
//! A flipped bit in such a word must not turn one valid value into another. Any two valid values of
//! a word here differ in at least four bits, so damage to one, two or three bits gives no valid
//! value. A word without a valid value deletes nothing.
//!
//! - *A sealed word* holds a number below 2^56 and a CRC-8 of it: one word, so that one
//!   compare-and-swap changes both.
//! - *A word of few values* (lifecycle, frozen) has constants that are far apart.
//! - *A word of flags* holds each flag four times, twice inverted.

use crate::format::constants::MAX_MEMBER;

/// The owner word of an array that no process owns.
pub(crate) const NO_OWNER: u64 = 0;
/// The owner word of an array that the next opener of a remote handle may claim. No member has the
/// number in it.
pub(crate) const CLAIMABLE: u64 = seal(MAX_MEMBER);

/// The heir word of an array that the end of its owner deletes.
pub(crate) const NO_HEIR: u64 = 0;
/// The heir word of an array that its owner offers to the next opener.
pub(crate) const OFFERED: u64 = seal(MAX_MEMBER);
/// The bit of the number in an heir word that says that a member passed the array on. No member has
/// so high an id.
const PASSED: u64 = 1 << (NUMBER_BITS - 1);

/// Bits of the number in a sealed word; the check has the rest.
const NUMBER_BITS: u32 = 56;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;

/// The lifecycle word. The values differ from each other and from all ones in 16 bits.
pub(crate) mod lifecycle {
    /// The array is being made.
    pub(crate) const UNREADY: u32 = 0;
    pub(crate) const READY: u32 = 0x5555_5555;
    pub(crate) const RELEASED: u32 = 0x3333_3333;
    /// Released, and a process is about to take its name away: its file is not reused.
    pub(crate) const DELETED: u32 = 0x6666_6666;
    /// The file has no array: its owner keeps it for reuse, or makes another array of it.
    pub(crate) const RECYCLING: u32 = 0x0f0f_0f0f;

    pub(crate) fn is_released(word: u32) -> bool {
        matches!(word, RELEASED | DELETED)
    }
}

/// The frozen word. The values differ in 16 bits.
pub(crate) mod frozen {
    pub(crate) const NOT_YET: u32 = 0;
    pub(crate) const FROZEN: u32 = 0x3c3c_3c3c;
}

/// The flags of a store.
pub(crate) mod flags {
    /// The store stays when it has no member any more.
    pub(crate) const PERSISTENT: u8 = 1;
    /// The store is being deleted, and nothing may be created or opened.
    pub(crate) const CLOSING: u8 = 2;
    /// The store may be on any file system; its maker chose that for all processes.
    pub(crate) const ANY_FILE_SYSTEM: u8 = 4;
    /// All flags that this library knows.
    pub(crate) const KNOWN: u8 = PERSISTENT | CLOSING | ANY_FILE_SYSTEM;

    /// The word for a set of flags: twice in the lower bytes, twice inverted in the upper ones.
    pub(crate) const fn encode(flags: u8) -> u32 {
        u32::from_le_bytes([flags, flags, !flags, !flags])
    }

    /// The flags in a word; `None` if it is damaged.
    pub(crate) const fn decode(word: u32) -> Option<u8> {
        let flags = word as u8;
        if word == encode(flags) {
            Some(flags)
        } else {
            None
        }
    }
}

/// The process that an owner word names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    None,
    Claimable,
    Member(u64),
}

impl Owner {
    /// The owner that a word names; `None` if the word is damaged.
    pub(crate) const fn of(word: u64) -> Option<Self> {
        match unseal(word) {
            None => None,
            Some(0) => Some(Self::None),
            Some(MAX_MEMBER) => Some(Self::Claimable),
            Some(member) => Some(Self::Member(member)),
        }
    }
}

/// The process that an heir word names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heir {
    None,
    /// The first opener.
    Offered,
    Member(u64),
    /// This member, then the owner, ended before any process had opened the array.
    Passed(u64),
}

impl Heir {
    /// The heir that a word names; `None` if the word is damaged.
    pub(crate) const fn of(word: u64) -> Option<Self> {
        match unseal(word) {
            None => None,
            Some(0) => Some(Self::None),
            Some(MAX_MEMBER) => Some(Self::Offered),
            // Of no member.
            Some(PASSED) => None,
            Some(number) if number & PASSED != 0 => Some(Self::Passed(number & !PASSED)),
            Some(member) => Some(Self::Member(member)),
        }
    }
}

/// The heir word of an array that this owner passed on.
pub(crate) const fn passed(member: u64) -> u64 {
    seal(member | PASSED)
}

/// The word for a number below 2^56: its check stands in the upper eight bits. 0 stays 0.
pub(crate) const fn seal(number: u64) -> u64 {
    let number = number & NUMBER;
    (check_of(number) as u64) << NUMBER_BITS | number
}

/// The number in a sealed word; `None` if the word is damaged.
pub(crate) const fn unseal(word: u64) -> Option<u64> {
    let number = word & NUMBER;
    if seal(number) == word {
        Some(number)
    } else {
        None
    }
}

/// The number in a sealed word of which one bit may be damaged; `None` if more are. Only one number
/// is one bit away, because any two sealed words differ in four.
pub(crate) fn unseal_corrected(word: u64) -> Option<u64> {
    unseal(word).or_else(|| (0..u64::BITS).find_map(|bit| unseal(word ^ 1 << bit)))
}

/// CRC-8 with the polynomial x^8 + x^2 + x + 1, the highest byte first. Up to 119 bits it tells any
/// three wrong bits, and any burst of eight.
const fn check_of(number: u64) -> u8 {
    let bytes = number.to_be_bytes();
    let (mut check, mut at) = (0, 1);
    while at < bytes.len() {
        check = CHECKS[(check ^ bytes[at]) as usize];
        at += 1;
    }
    check
}

const CHECKS: [u8; 256] = {
    let mut checks = [0; 256];
    let mut byte = 0;
    while byte < checks.len() {
        let (mut check, mut bit) = (byte as u8, 0);
        while bit < 8 {
            let carry = check >> 7;
            check = (check << 1) ^ (carry * 0x07);
            bit += 1;
        }
        checks[byte] = check;
        byte += 1;
    }
    checks
};

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: [u64; 8] = [0, 1, 2, 3, 77, 1 << 20, MAX_MEMBER - 1, MAX_MEMBER];

    /// Calls `try_one` with the masks of one, two and three bits.
    fn damages(bits: u32, mut try_one: impl FnMut(u64)) {
        for first in 0..bits {
            for second in first..bits {
                for third in second..bits {
                    let mask = 1u64 << first | 1 << second | 1 << third;
                    if mask.count_ones() % 2 == 1 || third == second {
                        try_one(mask);
                    }
                }
            }
        }
    }

    #[test]
    fn a_sealed_word_with_one_two_or_three_wrong_bits_has_no_number() {
        for number in NUMBERS {
            let word = seal(number);
            assert_eq!(unseal(word), Some(number));
            damages(u64::BITS, |mask| {
                assert_eq!(unseal(word ^ mask), None, "{number} {mask:#x}")
            });
        }
        assert_eq!((seal(0), seal(1)), (NO_OWNER, 7 << 56 | 1));
    }

    #[test]
    fn one_wrong_bit_is_corrected_and_two_are_not() {
        for number in NUMBERS {
            let word = seal(number);
            for first in 0..u64::BITS {
                let wrong = word ^ 1 << first;
                assert_eq!(unseal_corrected(wrong), Some(number), "{number} {first}");
                for second in first + 1..u64::BITS {
                    assert_eq!(unseal_corrected(wrong ^ 1 << second), None);
                }
            }
        }
    }

    #[test]
    fn flags_with_one_two_or_three_wrong_bits_are_none() {
        for flags in 0..=u8::MAX {
            let word = flags::encode(flags);
            assert_eq!(flags::decode(word), Some(flags));
            damages(u32::BITS, |mask| {
                assert_eq!(flags::decode(word ^ mask as u32), None, "{flags} {mask:#x}")
            });
        }
        assert_eq!(flags::decode(0), None);
        assert_eq!(flags::decode(u32::MAX), None);
    }

    #[test]
    fn the_constants_of_words_are_far_apart() {
        let lifecycles = [
            u32::MAX,
            lifecycle::UNREADY,
            lifecycle::READY,
            lifecycle::RELEASED,
            lifecycle::DELETED,
            lifecycle::RECYCLING,
        ];
        for (at, one) in lifecycles.iter().enumerate().skip(1) {
            for other in &lifecycles[..at] {
                let wanted = if (*one, *other) == (0, u32::MAX) {
                    32
                } else {
                    16
                };
                assert_eq!((one ^ other).count_ones(), wanted, "{one:#x} {other:#x}");
            }
        }
        assert_eq!((frozen::NOT_YET ^ frozen::FROZEN).count_ones(), 16);
    }

    #[test]
    fn an_heir_word_names_no_process_or_one() {
        assert_eq!(Heir::of(NO_HEIR), Some(Heir::None));
        assert_eq!(Heir::of(OFFERED), Some(Heir::Offered));
        assert_eq!(Heir::of(seal(7)), Some(Heir::Member(7)));
        assert_eq!(Heir::of(passed(7)), Some(Heir::Passed(7)));
        assert_eq!(Heir::of(passed(0)), None);
        assert_eq!(Heir::of(7), None);
        assert_eq!(Heir::of(u64::MAX), None);
    }

    #[test]
    fn an_owner_word_names_no_process_or_one() {
        assert_eq!(Owner::of(NO_OWNER), Some(Owner::None));
        assert_eq!(Owner::of(CLAIMABLE), Some(Owner::Claimable));
        assert_eq!(Owner::of(seal(7)), Some(Owner::Member(7)));
        assert_eq!(Owner::of(7), None);
        assert_eq!(Owner::of(u64::MAX), None);
    }
}

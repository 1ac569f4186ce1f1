//! The shared words that decide over a deletion, made by the words of the format, without the
//! library.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test binary uses another part"
)]

use std::{fs::File, os::unix::fs::FileExt, path::Path};

pub const READY: u32 = 0x5555_5555;
pub const RELEASED: u32 = 0x3333_3333;
pub const DELETED: u32 = 0x6666_6666;
pub const RECYCLING: u32 = 0x0f0f_0f0f;
pub const FROZEN: u32 = 0x3c3c_3c3c;

/// Flags of a store.
pub const PERSISTENT: u8 = 1;
pub const CLOSING: u8 = 2;

/// Where words stand in an array's file.
pub const LIFECYCLE_AT: u64 = 68;
pub const FROZEN_AT: u64 = 72;
pub const OWNER_AT: u64 = 88;
pub const PRODUCER_AT: u64 = 96;
pub const HEIR_AT: u64 = 104;
pub const LOCK_AT: u64 = 128;
const TICKET_AT: u64 = 168;
/// Where words stand in a lock file.
pub const FLAGS_AT: u64 = 32;

/// Whether a file has an array that can be opened: it is there, and its lifecycle says "ready".
pub fn has_array(path: &Path) -> bool {
    lifecycle(path) == Some(READY)
}

/// Whether a file is kept for reuse.
pub fn is_kept(path: &Path) -> bool {
    lifecycle(path) == Some(RECYCLING)
}

/// The lifecycle of an array's file; `None` without a whole one.
fn lifecycle(path: &Path) -> Option<u32> {
    let mut word = [0; 4];
    let file = File::open(path).ok()?;
    file.read_exact_at(&mut word, LIFECYCLE_AT).ok()?;
    Some(u32::from_le_bytes(word))
}

/// A word of 8 bytes.
pub fn get(path: &Path, at: u64) -> u64 {
    let mut word = [0; 8];
    let file = File::open(path).unwrap();
    file.read_exact_at(&mut word, at).unwrap();
    u64::from_le_bytes(word)
}

/// Sets a word of 8 bytes.
pub fn set(path: &Path, at: u64, word: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&word.to_le_bytes(), at).unwrap();
}

/// How many requests for guards on an array had to wait so far.
pub fn waits(path: &Path) -> u32 {
    get(path, TICKET_AT) as u32
}

/// The owner word of an array that the next opener may claim.
pub fn claimable() -> u64 {
    sealed((1 << 56) - 1)
}

/// A number with its CRC-8 in the upper eight bits, bit by bit.
pub fn sealed(number: u64) -> u64 {
    let mut rest = u128::from(number) << 8;
    for bit in (8..64).rev() {
        if rest >> bit & 1 == 1 {
            rest ^= 0x107 << (bit - 8);
        }
    }
    (rest as u64) << 56 | number
}

/// The member id in a sealed word.
pub fn unsealed(word: u64) -> u64 {
    let number = word & ((1 << 56) - 1);
    assert_eq!(sealed(number), word, "{word:#x} is damaged");
    number
}

/// The word with the flags of a store.
pub fn flags(flags: u8) -> u32 {
    u32::from_le_bytes([flags, flags, !flags, !flags])
}

/// The start of a draft's name.
pub fn draft(maker: u64) -> String {
    format!(".ndshm-new-{:016x}-", sealed(maker))
}

/// Where the words of an array that grows stand in its file.
pub fn growth_at(path: &Path) -> u64 {
    const DATA_OFFSET_AT: u64 = 26;
    // The work area of 64 bytes ends before the key of the payload and its empty byte string.
    (get(path, DATA_OFFSET_AT) - 9 - 64) / 64 * 64
}

/// Words of an array that grows, from the start of its work area.
pub const APPENDER: u64 = 0;
pub const COMMITTED: u64 = 8;
pub const RESERVED: u64 = 16;
pub const FLUSHED: u64 = 24;
pub const BOOT: u64 = 32;

//! The block as the hostile writer sees it: bytes of a file, at the offsets of docs/format.md.

use super::session::Input;
use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

pub const LEN: u64 = 2112;
const AT: u64 = 64;
const LOCK_WORD_AT: u64 = 128;
const USED_AT: u64 = 136;
const POISONED_AT: u64 = 144;
const RECORDS_AT: u64 = 544;
const RECORDS: u64 = 49;
/// In the lock file.
const LANES_AT: u64 = 128;
const LANES: u64 = 62;
const FROZEN: std::ops::Range<u64> = 72..76;

/// Member ids: this process, a living member and a dead one.
#[derive(Clone, Copy)]
pub struct Members {
    pub own: u64,
    pub living: u64,
    pub dead: u64,
}

impl Members {
    fn pick(&self, input: &mut Input) -> u64 {
        match input.byte() % 8 {
            0..2 => self.own,
            2..4 => self.living,
            4..6 => self.dead,
            6 => 0,
            _ => input.word(),
        }
    }
}

/// Writes bytes at an offset from the start of the file, unless they would touch a spared frozen
/// flag.
fn put(file: &File, at: u64, bytes: &[u8], spares_frozen: bool) {
    let touches_frozen = at < FROZEN.end && FROZEN.start < at + bytes.len() as u64;
    if !(spares_frozen && touches_frozen) {
        file.write_all_at(bytes, at).unwrap();
    }
}

/// Makes one change. `is_written` means that a write guard is held.
pub fn change(file: &File, members: Members, input: &mut Input, is_written: bool) {
    let word = |at: u64, value: u64| put(file, at, &value.to_ne_bytes(), is_written);
    let half = |at: u64, value: u32| put(file, at, &value.to_ne_bytes(), is_written);
    match input.byte() % 12 {
        0..3 => slot(file, u64::from(input.byte()) % 64, members, input),
        3 => {
            // Many slots at once, to fill the table, also with poison.
            let (first, last) = (u64::from(input.byte()) % 64, u64::from(input.byte()) % 64);
            let rest = input.clone();
            for index in first..=last.max(first) {
                *input = rest.clone();
                slot(file, index, members, input);
            }
        }
        4 => word(LOCK_WORD_AT, members.pick(input)),
        5 => word(
            [USED_AT, POISONED_AT][usize::from(input.byte()) % 2],
            if input.byte() % 2 == 0 {
                u64::MAX
            } else {
                input.word()
            },
        ),
        6 => {
            // Endian probe, lifecycle, frozen, openers, wake word, waiting flag, overflown flag,
            // ticket.
            let at = [64, 68, 72, 152, 156, 160, 164, 168][usize::from(input.byte()) % 8];
            half(
                at,
                match input.byte() {
                    byte @ 0..8 => u32::from(byte),
                    8 => u32::MAX,
                    _ => input.word() as u32,
                },
            );
        }
        // Generation, owner, producer.
        7 => word(
            [80, 88, 96][usize::from(input.byte()) % 3],
            members.pick(input),
        ),
        8..10 => {
            let at = AT + input.word() % (LEN - 8);
            put(file, at, &input.word().to_ne_bytes(), is_written);
        }
        10 => mend(file),
        _ => {
            let (at, bytes) = (AT + input.word() % LEN, input.rest(64));
            put(
                file,
                at,
                &bytes[..bytes.len().min((AT + LEN - at) as usize)],
                is_written,
            );
        }
    }
}

/// Writes a lane of the array, or a record of its poison, and the hint that leads there.
fn slot(file: &File, index: u64, members: Members, input: &mut Input) {
    let mode = match input.byte() {
        byte @ 0..224 => byte % 12,
        byte => byte,
    };
    let number = |input: &mut Input| match input.byte() {
        byte @ 0..192 => u64::from(byte) * 32,
        byte @ 192..224 => u64::MAX - u64::from(byte - 192),
        224..240 => 0,
        _ => input.word(),
    };
    let (start, end) = (number(input), number(input));
    let (pitch, width) = match input.byte() {
        0..96 => (0, 0),
        // The pitches of columns.
        byte @ 96..192 => (256, u32::from(byte % 32) * 8),
        192..224 => (u32::MAX, u32::MAX),
        _ => (input.word() as u32, input.word() as u32),
    };
    let tag = u64::from(mode) | members.pick(input) << 8;
    let words = [start, end, u64::from(width) << 32 | u64::from(pitch)];
    let put = |file: &File, at: u64, value: u64| {
        file.write_all_at(&value.to_ne_bytes(), at).unwrap();
    };
    let (target, at, span) = if input.byte() % 3 == 0 {
        let record = index % RECORDS;
        mark(file, POISONED_AT, record);
        let at = RECORDS_AT + 32 * record;
        (file.try_clone().unwrap(), at, at + 8)
    } else {
        let lane = index % LANES;
        let lock = lock_of(file);
        let at = LANES_AT + 64 * lane;
        put(&lock, at + 8, key_of(file));
        file.write_all_at(&(lane as u16).to_ne_bytes(), 256 + 2 * index)
            .unwrap();
        mark(file, USED_AT, index);
        (lock, at, at + 16)
    };
    for (offset, value) in (0..).step_by(8).zip(words) {
        put(&target, span + offset, value);
    }
    put(&target, at, tag);
}

/// Sets a bit of a map.
fn mark(file: &File, at: u64, bit: u64) {
    let mut used = [0; 8];
    file.read_exact_at(&mut used, at).unwrap();
    let used = u64::from_ne_bytes(used) | 1 << bit;
    file.write_all_at(&used.to_ne_bytes(), at).unwrap();
}

/// The lock file of the store that an array's file is in.
fn lock_of(file: &File) -> File {
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    let path = std::fs::read_link(link).unwrap();
    let lock = path.with_file_name(".lock");
    File::options().read(true).write(true).open(lock).unwrap()
}

/// The number by which lanes name the array: the last bytes of its id, the first entry of its
/// header.
fn key_of(file: &File) -> u64 {
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 2183).unwrap();
    let head = b"\x62id\xd8\x25\x50";
    let at = header.windows(head.len()).position(|part| part == head);
    let id = at.unwrap() + head.len();
    u64::from_be_bytes(header[id + 8..id + 16].try_into().unwrap())
}

/// Frees the table and its lock word.
pub fn mend(file: &File) {
    let lanes = [0; (64 * LANES) as usize];
    lock_of(file).write_all_at(&lanes, LANES_AT).unwrap();
    let records = [0; (32 * RECORDS) as usize];
    file.write_all_at(&records, RECORDS_AT).unwrap();
    // The lock word, the maps of hints and of records, and the flag of groups.
    file.write_all_at(&[0; 24], LOCK_WORD_AT).unwrap();
    file.write_all_at(&[0; 4], 164).unwrap();
}

pub fn free_the_word(file: &File) {
    file.write_all_at(&[0; 8], LOCK_WORD_AT).unwrap();
}

/// The file whose block is repaired, and the start of the wait for it.
static WAITING: Mutex<Option<(File, Instant)>> = Mutex::new(None);
/// Repairs the block of a call that has waited for more than two milliseconds.
static RESCUER: LazyLock<()> = LazyLock::new(|| {
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(Duration::from_millis(1));
            if let Some((file, _)) = WAITING
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
                .filter(|(_, since)| since.elapsed() > Duration::from_millis(2))
            {
                mend(file);
            }
        }
    });
});

/// Runs an action that may wait for ever by contract, and repairs the block if it does.
pub fn rescued<R>(file: &File, action: impl FnOnce() -> R) -> R {
    LazyLock::force(&RESCUER);
    let set = |waiting| *WAITING.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    set(Some((file.try_clone().unwrap(), Instant::now())));
    let result = action();
    set(None);
    result
}

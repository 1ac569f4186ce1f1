//! The locks that workers held when they were killed, by the state blocks of the arrays.

use super::Killer;
use crate::worker::frame_name;
use ndarray::Ix1;
use ndshm::{Handle, ReadGuard};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

/// Of a lane, by number.
const MODES: [&str; 16] = [
    "",
    "read",
    "write",
    "wait to write",
    "poisoned",
    "atomic",
    "wait to read",
    "",
    "",
    "rest as a reader",
    "rest as a writer",
    "wait for atomic access",
    "be counted",
    "rest as an atomic",
    "read in a writer's place",
    "",
];
pub(super) const WRITE: usize = 2;

/// The locks of one worker.
#[derive(Default)]
pub(super) struct Held {
    pub(super) lock_words: usize,
    /// Lanes by mode, of the grids and counters.
    pub(super) lanes: [usize; MODES.len()],
    frame: Option<Frame>,
}

/// How far the array is that a worker makes to freeze it.
#[derive(Clone, Copy, PartialEq)]
enum Frame {
    /// No guard on it.
    Free,
    /// Writes it, or freezes it.
    Written,
    /// Waits for its readers, to write or to freeze it.
    Waiting,
    Frozen,
}

/// The number of killed workers that held each kind.
#[derive(Default)]
pub(super) struct Tally {
    stopped: usize,
    lock_word: usize,
    nothing: usize,
    lanes: [usize; MODES.len()],
    frames: [usize; 4],
}

impl Tally {
    pub(super) fn add(&mut self, held: &Held) {
        self.stopped += 1;
        self.lock_word += usize::from(held.lock_words > 0);
        self.nothing += usize::from(
            held.lock_words + held.lanes.iter().sum::<usize>() == 0 && held.frame.is_none(),
        );
        (0..MODES.len()).for_each(|mode| self.lanes[mode] += usize::from(held.lanes[mode] > 0));
        held.frame
            .into_iter()
            .for_each(|frame| self.frames[frame as usize] += 1);
    }

    /// Whether any of the killed held a guard to write, and any a lock word or a guard at rest.
    pub(super) fn is_of_all_kinds(&self) -> bool {
        self.lanes[WRITE] > 0 && self.lock_word + self.lanes[9] + self.lanes[10] > 0
    }

    pub(super) fn print(&self) {
        println!(
            "{} of the killed were stopped before, and looked at. They held",
            self.stopped
        );
        let modes = MODES.iter().zip(self.lanes);
        for (mode, count) in modes.filter(|(mode, _)| !mode.is_empty()) {
            let what = format!("lanes to {mode}, of grids and counters");
            println!("  {what:42} {count}");
        }
        println!("  {:42} {}", "a lock word", self.lock_word);
        let frames = [
            "an unfrozen frame",
            "an unfrozen frame, exclusively",
            "an unfrozen frame, waiting for readers",
            "a frame that they had frozen",
        ];
        frames
            .iter()
            .zip(self.frames)
            .for_each(|(what, count)| println!("  {what:42} {count}"));
        println!("  {:42} {}", "nothing", self.nothing);
    }
}

/// A state block.
struct Block([u8; 2112]);

impl Block {
    fn read(file: &File) -> Self {
        let mut block = [0; 2112];
        file.read_exact_at(&mut block, 64).unwrap();
        Self(block)
    }

    fn word(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.0[at..at + 8].try_into().unwrap())
    }
}

/// The modes and keys of the lanes that a member has in a lock file.
fn lanes_of(lock: &Path, member: u64) -> Vec<(usize, u64)> {
    let lock = fs::read(lock).unwrap();
    let lanes = lock[128..].chunks_exact(64).map(|lane| {
        let word = |at: usize| u64::from_ne_bytes(lane[at..at + 8].try_into().unwrap());
        (word(0), word(8))
    });
    lanes
        .filter(|(tag, _)| tag >> 8 == member && !matches!(tag & 0xf, 0 | 8))
        .map(|(tag, key)| ((tag & 0xf) as usize, key))
        .collect()
}

/// The number by which lanes name the array of a file: the last bytes of its id, the first entry of
/// the header.
fn key_of(file: &File) -> u64 {
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 2183).unwrap();
    let head = b"\x62id\xd8\x25\x50";
    let at = header.windows(head.len()).position(|part| part == head);
    let id = at.unwrap() + head.len();
    u64::from_be_bytes(header[id + 8..id + 16].try_into().unwrap())
}

/// The member that holds the lock word of an array, or 0.
pub(super) fn lock_word(file: &File) -> u64 {
    Block::read(file).word(64)
}

impl Killer {
    pub(super) fn held_by(&self, worker: usize) -> Held {
        let mut held = Held::default();
        let member = self
            .shared
            .thread(self.workers[worker].first_thread)
            .member();
        let lanes = lanes_of(&self.places.store.join(".lock"), member);
        for file in &self.files {
            let (block, key) = (Block::read(file), key_of(file));
            held.lock_words += usize::from(block.word(64) == member);
            let own = lanes.iter().filter(|(_, of)| *of == key);
            own.for_each(|(mode, _)| held.lanes[*mode] += 1);
        }
        let frames = self.workers[worker]
            .threads()
            .map(|thread| self.shared.thread(thread).frame())
            .filter(|&number| number != 0);
        held.frame = frames
            .filter_map(|number| self.look_at_frame(number, member))
            .next();
        held
    }

    /// Reads a frame that is not frozen yet, if one is found in time: freezing it has to wait.
    pub(super) fn hold_a_reader(&self) -> Option<ReadGuard<u64, Ix1>> {
        let deadline = Instant::now() + Duration::from_millis(100);
        while Instant::now() < deadline {
            for entry in fs::read_dir(&self.places.frames).unwrap().flatten() {
                let Ok(text) = fs::read_to_string(entry.path()) else {
                    continue;
                };
                let Ok(array) = text
                    .parse()
                    .and_then(|handle: Handle| handle.open::<u64, Ix1>())
                else {
                    continue;
                };
                if let (false, Ok(guard)) = (array.is_frozen(), array.try_read()) {
                    return Some(guard);
                }
            }
        }
        None
    }

    /// A frame that is announced to be made may not be there.
    fn look_at_frame(&self, number: u64, member: u64) -> Option<Frame> {
        let name = format!("{}.ndshm", frame_name(number));
        let file = File::open(self.places.store.join(name)).ok()?;
        let (block, key) = (Block::read(&file), key_of(&file));
        let lanes = lanes_of(&self.places.store.join(".lock"), member);
        let modes: Vec<_> = lanes
            .iter()
            .filter(|(_, of)| *of == key)
            .map(|(mode, _)| *mode)
            .collect();
        Some(match () {
            () if block.word(8) as u32 != 0 => Frame::Frozen,
            () if modes.contains(&WRITE) => Frame::Written,
            () if modes.contains(&3) => Frame::Waiting,
            () => Frame::Free,
        })
    }
}

//! The floors: a shared word that is spun on, and one that is slept on. They carry a number and no
//! frame.
#![allow(unsafe_code, reason = "words of a mapped file are atomics")]

use super::link::{Options, Receiver, Sender};
use crate::peer::Result;
use rustix::{io::Errno, thread::futex};
use std::{
    fs::OpenOptions,
    hint::spin_loop,
    path::Path,
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, SeqCst},
    },
};

/// Bytes between two words: no two in a cache line, nor in a pair of them.
const STRIDE: usize = 128;

/// Words in a shared file.
pub struct Words {
    mapped: memmap2::MmapRaw,
    count: usize,
}

impl Words {
    /// Opens the file of words at a path, or makes it.
    pub fn open(path: &Path, count: usize) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.set_len((count * STRIDE) as u64)?;
        let mapped = memmap2::MmapOptions::new().map_raw(&file)?;
        Ok(Self { mapped, count })
    }

    /// A word.
    pub fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < self.count, "word {at} of {}", self.count);
        let place = self.mapped.as_mut_ptr().wrapping_add(at * STRIDE);
        // SAFETY: the place is inside the mapping, which lives as long as `self`, and aligned,
        // because a mapping starts at a page; all processes access it as atomics only.
        unsafe { AtomicU64::from_ptr(place.cast()) }
    }

    /// The lower half of a word, for the kernel.
    fn half(&self) -> &AtomicU32 {
        // SAFETY: as in `word`; processes that use halves use no whole words of the same file.
        unsafe { AtomicU32::from_ptr(self.mapped.as_mut_ptr().cast()) }
    }
}

/// The number that each frame begins with.
fn number_of(frame: &[u8]) -> u32 {
    let bytes = frame.first_chunk().copied().unwrap_or_default();
    u32::from_le_bytes(bytes)
}

/// One end of a word that carries a number.
pub struct Word<const SLEEPS: bool> {
    words: Words,
    seen: u32,
}

impl<const SLEEPS: bool> Word<SLEEPS> {
    fn new(options: &Options, stream: &str) -> Result<Self> {
        Ok(Self {
            words: Words::open(&options.path(stream), 1)?,
            seen: 0,
        })
    }
}

impl<const SLEEPS: bool> Sender for Word<SLEEPS> {
    fn open(options: &Options, stream: &str) -> Result<Self> {
        Self::new(options, stream)
    }

    fn send<T>(
        &mut self,
        ready: impl FnOnce() -> Result<T>,
        write: impl FnOnce(&mut [u8], &T),
    ) -> Result<T> {
        let value = ready()?;
        let mut frame = [0; 64];
        write(&mut frame, &value);
        let word = self.words.half();
        word.store(number_of(&frame), SeqCst);
        if SLEEPS {
            futex::wake(word, futex::Flags::empty(), i32::MAX as u32)?;
        }
        Ok(value)
    }
}

impl<const SLEEPS: bool> Receiver for Word<SLEEPS> {
    fn open(options: &Options, stream: &str) -> Result<Self> {
        Self::new(options, stream)
    }

    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let word = self.words.half();
        loop {
            let found = word.load(Acquire);
            if found != self.seen {
                self.seen = found;
                let mut frame = [0; 64];
                frame[..4].copy_from_slice(&found.to_le_bytes());
                return Ok(read(&frame));
            }
            if SLEEPS {
                match futex::wait(word, futex::Flags::empty(), found, None) {
                    Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            } else {
                spin_loop();
            }
        }
    }
}

/// The times at which the members of a crowd had a frame; 0 before that.
pub struct Arrivals {
    words: Words,
}

impl Arrivals {
    /// Opens the times of a crowd.
    pub fn open(options: &Options) -> Result<Self> {
        let words = Words::open(&options.path("arrivals"), options.consumers)?;
        Ok(Self { words })
    }

    /// Forgets all times.
    pub fn clear(&self) {
        (0..self.words.count).for_each(|at| self.words.word(at).store(0, SeqCst));
    }

    /// Notes the time of a member.
    pub fn note(&self, member: usize, time: u64) {
        self.words.word(member).store(time, SeqCst);
    }

    /// The time of the last member, if all have come.
    pub fn last(&self) -> Option<u64> {
        let times = (0..self.words.count).map(|at| self.words.word(at).load(Relaxed));
        times
            .into_iter()
            .try_fold(0, |last, time| (time != 0).then_some(last.max(time)))
    }
}

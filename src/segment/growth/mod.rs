//! Arrays that grow, as a process has them mapped: the rows that it believes, and the space behind
//! them.
//!
//! `state::growth` has the words that processes share. This module compares them with the file.
//!
//! # The rows that are believed
//!
//! All of the largest length is mapped with the first opening, and the file is shorter. An access
//! beyond the end of the file raises SIGBUS, so no length is believed before the file was seen to
//! have its last row: a page at the end of the reserved space is mapped by `MADV_POPULATE_READ`,
//! which fails where a page fault would raise the signal. The file never shrinks, so what was seen
//! once is not looked at again: an append of a few bytes costs no system call.
//!
//! The believed length never goes down. While a thread of this process has the turn, it does not go
//! up either: no other process commits rows then. So whatever stands in the words, no thread of
//! this process reads rows that another one of its threads writes. [`LocalRows`] holds both in one
//! word.
//!
//! [`space`] reserves room for more rows, [`in_file`] reads the words without a mapping.

mod in_file;
mod space;

pub(crate) use self::in_file::{defects_of_rows, rows_in_file};
pub(super) use self::in_file::{mapped_len, needed_len};

use super::{
    Segment,
    header::{gone, open_error},
    header_error,
};
use crate::{
    error::{Error, HeaderError, Result},
    format::{header::Parsed, kind::Kind},
    state::growth::{Boot, Growth},
    store::member,
    sys::fork,
};
use std::{
    fs::File,
    ops::Range,
    sync::atomic::{
        AtomicU32, AtomicU64, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    },
};

/// So many rows are counted: more bytes than any process can map.
pub(crate) const MOST_ROWS: usize = 1 << 47;

/// What a process knows of an array that grows.
pub(super) struct Grown {
    /// Where the words stand in the file.
    words_at: usize,
    /// Bytes of a row.
    row_len: usize,
    /// The most rows.
    max_rows: usize,
    rows: LocalRows,
    /// Bytes of the file that were seen to be there.
    verified: AtomicUsize,
    /// The number of the thread of this process that has reserved rows, 0 if none.
    reserver: AtomicU32,
}

impl Grown {
    /// Of a file that grows; `None` of another kind.
    pub(super) fn of(parsed: &Parsed) -> Option<Self> {
        let spec = &parsed.header.spec;
        let (Kind::Growing, Some(words)) = (&parsed.header.kind, parsed.work_range()) else {
            return None;
        };
        let max_rows = *spec.shape().first()?;
        Some(Self {
            words_at: words.start,
            row_len: spec.byte_len() / max_rows,
            max_rows,
            rows: LocalRows(AtomicU64::new(0)),
            verified: AtomicUsize::new(parsed.data_offset),
            reserver: AtomicU32::new(0),
        })
    }
}

/// The rows that this process believes, the generation of the process, and whether one of its
/// threads has the turn.
struct LocalRows(AtomicU64);

/// Bits of a generation that are kept: a child differs from its parent.
const GENERATION: u64 = 0x7fff;

impl LocalRows {
    fn word(rows: usize, is_turn: bool) -> u64 {
        (rows as u64) << 16 | (fork::generation() & GENERATION) << 1 | u64::from(is_turn)
    }

    fn rows(word: u64) -> usize {
        (word >> 16) as usize
    }

    /// Whether a thread of this process has the turn. That of a forked child's parent is another
    /// process's.
    fn is_turn(word: u64) -> bool {
        word & 1 == 1 && word >> 1 & GENERATION == fork::generation() & GENERATION
    }
}

/// The boot of the machine, as the words of a growing array have it.
pub(crate) fn this_boot() -> Boot {
    bytemuck::cast(member::boot_id().unwrap_or_default().into_bytes())
}

/// The bytes of the words of a new array, at their place in the file.
pub(super) fn initial_words(parsed: &Parsed) -> Option<(Range<usize>, [u8; 64])> {
    let place = parsed
        .work_range()
        .filter(|_| parsed.header.kind == Kind::Growing)?;
    let words = Growth::initial(parsed.data_offset as u64, this_boot());
    Some((place, words))
}

impl Segment {
    /// Whether it is an array that grows.
    #[inline]
    pub(crate) fn is_growing(&self) -> bool {
        self.grown.is_some()
    }

    /// Whether no element that an array over this file shows changes any more: the file was frozen,
    /// or it grows. Of a growing one arrays show committed rows only.
    #[inline]
    pub(crate) fn is_immutable(&self) -> bool {
        self.is_growing() || self.is_frozen()
    }

    fn grown(&self) -> &Grown {
        match &self.grown {
            Some(grown) => grown,
            None => unreachable!("the callers checked the kind of the file"),
        }
    }

    /// The words of an array that grows.
    ///
    /// # Panics
    ///
    /// Panics if the array is of another kind.
    #[inline]
    pub(crate) fn growth(&self) -> &Growth {
        self.any_mapping().atomics_at(self.grown().words_at)
    }

    /// The most rows of an array that grows.
    #[inline]
    pub(crate) fn max_rows(&self) -> usize {
        self.grown().max_rows
    }

    /// Bytes of a row.
    #[inline]
    pub(crate) fn row_len(&self) -> usize {
        self.grown().row_len
    }

    /// The rows that this process believes already.
    #[inline]
    pub(crate) fn rows_seen(&self) -> usize {
        LocalRows::rows(self.grown().rows.0.load(Acquire))
    }

    /// The committed rows. They are in the file, and no process writes them.
    ///
    /// # Errors
    ///
    /// `Header` if the length is wrong: the file has no such rows.
    #[inline]
    pub(crate) fn rows(&self) -> Result<usize> {
        let local = &self.grown().rows.0;
        loop {
            let word = local.load(Acquire);
            let seen = LocalRows::rows(word);
            let committed = self.committed_word();
            if committed <= seen as u64 || LocalRows::is_turn(word) {
                return Ok(seen);
            }
            let rows = self.believed(committed)?;
            let next = LocalRows::word(rows, false);
            if local.compare_exchange(word, next, AcqRel, Acquire).is_ok() {
                return Ok(rows);
            }
        }
    }

    /// The length as the words have it.
    #[inline]
    fn committed_word(&self) -> u64 {
        let growth = self.growth();
        // Here no process can start the words again after another boot.
        match self.is_read_only() && !growth.is_of(this_boot()) {
            true => growth.flushed.load(Acquire),
            false => growth.committed.load(Acquire),
        }
    }

    /// A length, if the file has so many rows.
    fn believed(&self, committed: u64) -> Result<usize> {
        let wrong = || header_error(&self.path, HeaderError::Rows { found: committed });
        let rows = usize::try_from(committed).map_err(|_| wrong())?;
        if rows > self.max_rows() {
            return Err(wrong());
        }
        match self.has_room(self.end_of(rows))? {
            true => Ok(rows),
            false => Err(wrong()),
        }
    }

    /// The fewest bytes that the file has: what was seen of it.
    pub(super) fn least_len(&self) -> u64 {
        self.grown().verified.load(Acquire) as u64
    }

    /// The offset in the file of the end of so many rows.
    fn end_of(&self, rows: usize) -> usize {
        self.parsed.data_offset + rows * self.row_len()
    }

    /// Begins the turn of a thread of this process, which has the shared one: returns the rows
    /// behind which it writes. No thread of this process believes more before
    /// [`end_turn`](Self::end_turn).
    #[inline]
    pub(crate) fn begin_turn(&self) -> Result<usize> {
        let local = &self.grown().rows.0;
        loop {
            let rows = self.rows()?;
            let word = local.load(Acquire);
            let next = LocalRows::word(rows.max(LocalRows::rows(word)), true);
            if local.compare_exchange(word, next, AcqRel, Acquire).is_ok() {
                return Ok(LocalRows::rows(next));
            }
        }
    }

    /// Notes which thread has reserved rows, until the end of its turn.
    pub(crate) fn note_reserver(&self, thread: u32) {
        self.grown().reserver.store(thread, Relaxed);
    }

    /// Whether this thread of this process has reserved rows.
    pub(crate) fn is_reserved_by(&self, thread: u32) -> bool {
        let grown = self.grown();
        LocalRows::is_turn(grown.rows.0.load(Acquire)) && grown.reserver.load(Relaxed) == thread
    }

    /// Ends it, with so many committed rows.
    #[inline]
    pub(crate) fn end_turn(&self, rows: usize) {
        self.note_reserver(0);
        let word = LocalRows::word(rows, false);
        self.grown().rows.0.store(word, Release);
    }

    /// Starts the words again if they are of another boot: of the rows only the flushed ones are
    /// believed. Waits for another opener that does the same.
    pub(super) fn restart_after_boot(&self, file: &File) -> Result<()> {
        let boot = this_boot();
        if !self.is_growing() || self.is_read_only() || self.growth().is_of(boot) {
            return Ok(());
        }
        let (me, growth) = (self.member.id()?, self.growth());
        let is_alive = |member| self.member.is_alive(member).unwrap_or(true);
        // A member that lives joined in this boot. It starts the words again, or did so.
        let mut has_turn = false;
        self.member.deadline().poll(
            &self.path,
            "start the words of the array again",
            "another process starts the words again after a boot",
            || {
                has_turn = growth.try_take(me, is_alive).is_ok();
                Ok(has_turn || growth.is_of(boot))
            },
        )?;
        if !has_turn {
            return Ok(());
        }
        failpoint!(GrowthBootTaken);
        let restart = || {
            let len = file.metadata()?.len();
            let fitting = self.grown().fitting(&self.parsed, len);
            growth.restart(boot, len.min(self.file_len() as u64), fitting);
            Ok(())
        };
        let restarted = restart().map_err(Error::io(&self.path, "look at the array file"));
        growth.give_back();
        restarted
    }

    /// Puts the committed rows and their number on the disk.
    pub(crate) fn flush_rows(&self) -> Result<()> {
        let flush = |range| {
            let flushed = self.any_mapping().flush_range(range);
            flushed.map_err(Error::io(&self.path, "write the pages to the disk"))
        };
        let rows = self.rows()?;
        let offset = self.parsed.data_offset;
        flush(offset..self.end_of(rows))?;
        failpoint!(GrowthFlushed);
        if !self.is_read_only() {
            self.growth().flushed_up_to(rows as u64);
        }
        failpoint!(GrowthFlushNoted);
        flush(0..offset)
    }

    /// Ends the growth for good. The caller has the turn.
    pub(crate) fn end_growth(&self) {
        self.state()
            .frozen
            .store(crate::format::words::frozen::FROZEN, SeqCst);
        failpoint!(GrowthFrozen);
        self.state().wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_word_keeps_the_rows_and_the_turn_apart() {
        for rows in [0, 1, MOST_ROWS] {
            for is_turn in [false, true] {
                let word = LocalRows::word(rows, is_turn);
                assert_eq!(
                    (LocalRows::rows(word), LocalRows::is_turn(word)),
                    (rows, is_turn)
                );
            }
        }
        // The turn of a parent's thread.
        let inherited = LocalRows::word(5, true) ^ 2;
        assert!(!LocalRows::is_turn(inherited));
    }
}

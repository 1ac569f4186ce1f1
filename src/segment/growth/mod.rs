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
//! # Space
//!
//! An appender that lacks space reserves the next 2 MiB. A longer step would save little, because
//! the kernel's time goes into clearing pages, and would make its one append longer, for which the
//! others wait. The appender opens the file anew in the store's directory, because a process keeps
//! no descriptors of its arrays, and compares the inode. A step that fails, or whose process dies,
//! leaves at most a longer file: what lies behind the noted space is no process's. Space that is
//! reserved twice costs nothing.

use super::{
    Segment,
    header::{gone, open_error},
    header_error,
};
use crate::{
    error::{Error, HeaderError, Result},
    format::{header::Parsed, kind::Kind},
    state::growth::{Boot, Growth},
    store::{
        member::{self, Member},
        settings::HugePages,
    },
    sys::{
        fork,
        fs::{check_fits, creation_error, inode_of_file, reserve},
        mapping::HUGE_PAGE,
        process::file_size_limit,
    },
};
use std::{
    ffi::OsStr,
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{
        AtomicU32, AtomicU64, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    },
};

/// Bytes of a step, and of the pieces in which space is reserved.
const STEP: usize = HUGE_PAGE;
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

/// Bytes to map of a file that is shorter than its array can become, by its first bytes and its
/// header; `None` of any other file.
pub(super) fn mapped_len(head: &[u8], file: &File, len: u64) -> Option<u64> {
    use crate::format::{
        constants::{DATA_LEN_AT, DATA_OFFSET_AT},
        header::Header,
    };
    let word = |at: usize| {
        head[at..]
            .first_chunk()
            .map(|word| u64::from_le_bytes(*word))
    };
    let whole = word(DATA_OFFSET_AT)?.checked_add(word(DATA_LEN_AT)?)?;
    if whole <= len {
        return None;
    }
    let parsed = Header::parse(file, len).ok()?;
    (parsed.header.kind == Kind::Growing).then_some(whole)
}

/// Bytes of a file whose space has to be there: of a growing array those that its words call
/// reserved, of any other file all.
pub(super) fn needed_len(file: &File, parsed: &Parsed, len: u64, path: &Path) -> Result<u64> {
    match Grown::of(parsed) {
        Some(grown) => Ok(grown.words_in(file, path)?.0.reserved.min(len)),
        None => Ok(len),
    }
}

/// The committed rows of a growing array, by its file alone; `None` of another kind.
pub(crate) fn rows_in_file(file: &File, parsed: &Parsed, path: &Path) -> Result<Option<usize>> {
    let Some(grown) = Grown::of(parsed) else {
        return Ok(None);
    };
    let (words, len) = grown.words_in(file, path)?;
    let rows = match words.boot == this_boot() {
        true => words.committed,
        false => words.flushed,
    };
    Ok(Some(rows.min(grown.fitting(parsed, len)) as usize))
}

/// What is wrong with the words of a growing array, by its file alone.
pub(crate) fn defects_of_rows(file: &File, parsed: &Parsed, path: &Path) -> Result<Vec<String>> {
    let Some(grown) = Grown::of(parsed) else {
        return Ok(Vec::new());
    };
    // An appender changes words and file one after the other: the words first.
    let (words, len) = grown.words_in(file, path)?;
    let mut found = Vec::new();
    if words.boot != this_boot() {
        // The next opening starts them again.
        return Ok(found);
    }
    if words.reserved > len || words.reserved < parsed.data_offset as u64 {
        found.push(format!(
            "its words say that {} of its {len} bytes are reserved",
            words.reserved
        ));
    }
    if words.committed > grown.fitting(parsed, len) {
        let source = HeaderError::Rows {
            found: words.committed,
        };
        found.push(source.to_string());
    }
    if words.flushed > words.committed {
        found.push(format!(
            "its words say that {} rows were flushed, of {}",
            words.flushed, words.committed
        ));
    }
    Ok(found)
}

/// Words of a growing array, from copied bytes.
struct CopiedWords {
    committed: u64,
    reserved: u64,
    flushed: u64,
    boot: Boot,
}

impl Grown {
    /// The words in a file, and its length after they were read.
    fn words_in(&self, file: &File, path: &Path) -> Result<(CopiedWords, u64)> {
        let mut bytes = [0; 64];
        file.read_exact_at(&mut bytes, self.words_at as u64)
            .map_err(Error::io(path, "read the words of the array"))?;
        let found = file.metadata();
        let len = found.map_err(Error::io(path, "look at the file"))?.len();
        let word = |at: usize| {
            let word = bytes[at..].first_chunk().copied();
            u64::from_ne_bytes(word.unwrap_or_default())
        };
        let words = CopiedWords {
            committed: word(8),
            reserved: word(16),
            flushed: word(24),
            boot: [word(32), word(40)],
        };
        Ok((words, len))
    }

    /// The rows that fit into a file of this length.
    fn fitting(&self, parsed: &Parsed, file_len: u64) -> u64 {
        let payload = file_len.saturating_sub(parsed.data_offset as u64);
        (payload / self.row_len as u64).min(self.max_rows as u64)
    }
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

    /// Whether the file has its bytes up to `end`.
    #[inline]
    fn has_room(&self, end: usize) -> Result<bool> {
        match end <= self.grown().verified.load(Acquire) {
            true => Ok(true),
            false => self.look_for_room(end),
        }
    }

    #[cold]
    fn look_for_room(&self, end: usize) -> Result<bool> {
        let reserved = self.reserved();
        if reserved < end {
            return Ok(false);
        }
        let is_there = match self.any_mapping().has_page_at(reserved - 1) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                let len = self.reopened()?.1;
                len >= reserved as u64
            }
            answer => answer.map_err(Error::io(&self.path, "look for the last row"))?,
        };
        if is_there {
            self.grown().verified.fetch_max(reserved, AcqRel);
        }
        Ok(is_there)
    }

    /// Bytes of the file that the words call reserved, at most those that it can have.
    fn reserved(&self) -> usize {
        let reserved = self.growth().reserved.load(Acquire);
        usize::try_from(reserved).map_or(self.file_len(), |noted| noted.min(self.file_len()))
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

    /// Makes sure that the file has so many rows. The caller has the turn.
    ///
    /// # Errors
    ///
    /// `NoSpace`; `Released`. Nothing has changed but the end of the file.
    #[inline]
    pub(crate) fn make_room(&self, rows: usize) -> Result<()> {
        let end = self.end_of(rows);
        match self.has_room(end)? {
            true => Ok(()),
            false => self.reserve_up_to(end),
        }
    }

    #[cold]
    fn reserve_up_to(&self, end: usize) -> Result<()> {
        self.check_ready()?;
        let (file, len) = self.reopened()?;
        // A word that says more than the file has is wrong, and so is one that leaves out rows.
        let start = self.reserved().min(len as usize);
        let start = start.max(self.end_of(self.rows_seen()));
        let reach = |range: Range<usize>| self.reserve(&file, range);
        let step = (start / STEP + 1) * STEP;
        let generous = end.max(step).next_multiple_of(STEP).min(self.file_len());
        let allowed = file_size_limit().map_or(usize::MAX, |limit| limit as usize);
        let reached = match generous <= allowed {
            true => reach(start..generous).map(|()| generous),
            false => Err(self.lacks(end, allowed as u64, "RLIMIT_FSIZE of this process")),
        };
        let reached = match reached {
            // What this process keeps for reuse gives way; and a smaller step may fit.
            Err(Error::NoSpace { .. }) if end <= allowed => {
                let _ = Member::give_way();
                reach(start..end).map(|()| end)?
            }
            reached => reached?,
        };
        failpoint!(GrowthReserved);
        self.growth().reserved.store(reached as u64, Release);
        failpoint!(GrowthReservedNoted);
        self.grown().verified.fetch_max(reached, AcqRel);
        event!(DEBUG, path = %self.path.display(), bytes = reached, "reserved space for rows");
        Ok(())
    }

    fn lacks(&self, end: usize, available: u64, limited_by: &'static str) -> Error {
        Error::NoSpace {
            path: self.member.directory().into(),
            needed: end as u64,
            available,
            limited_by,
        }
    }

    /// Reserves a range of the file, and maps its pages for the rows that will be written there.
    fn reserve(&self, file: &File, range: Range<usize>) -> Result<()> {
        let (path, needed) = (self.member.directory(), range.len() as u64);
        check_fits(path, needed, self.member.is_on_tmpfs())?;
        let wanted = self.member.settings().huge_pages();
        // The first step begins behind the head, in the middle of a huge page.
        let whole = range.start - range.start % HUGE_PAGE..range.end - range.end % HUGE_PAGE;
        if wanted != HugePages::Never && !whole.is_empty() {
            match self.make_huge(file, whole.clone(), range.start, wanted) {
                Ok(()) => event!(DEBUG, ?whole, "made huge pages for rows"),
                Err(source) if wanted == HugePages::Require => {
                    return Err(Error::io(
                        path,
                        "make huge pages for rows: they need a tmpfs, Linux 6.1, and free memory \
                         in one piece; HugePages::Auto does without them",
                    )(source));
                }
                Err(_error) => event!(DEBUG, error = %_error, "made no huge pages for rows"),
            }
        }
        // In pieces: other calls to the file wait for one piece at most. Where pages were made,
        // this finds them, and says that they stay.
        for start in range.clone().step_by(STEP) {
            let end = (start + STEP).min(range.end);
            reserve(file, start as u64..end as u64).map_err(|error| {
                creation_error(error, path, range.end as u64, "reserve space for rows")
            })?;
        }
        if self.member.is_on_tmpfs() {
            // If this fails, they are mapped one by one.
            let _ = self.any_mapping().populate(range);
        }
        Ok(())
    }

    /// Makes huge pages of a range of them, of which the file may have the first bytes, up to
    /// `start`. A huge page costs a quarter of its small ones, which would have to be made first
    /// and copied: so each piece gets one page, and the kernel makes the others.
    ///
    /// Moves the end of the file, before its space is reserved. No process accesses it before the
    /// words say that it is.
    fn make_huge(
        &self,
        file: &File,
        range: Range<usize>,
        start: usize,
        wanted: HugePages,
    ) -> io::Result<()> {
        if !self.member.is_on_tmpfs() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        for piece in range.clone().step_by(HUGE_PAGE) {
            if piece >= start {
                // Beyond the committed rows, under the turn: nothing is there.
                file.write_all_at(&[0], piece as u64)?;
            }
        }
        if file.metadata()?.len() < range.end as u64 {
            file.set_len(range.end as u64)?;
        }
        let mapping = self.any_mapping();
        if wanted != HugePages::Require {
            return mapping.collapse(range);
        }
        // The kernel's answer does not tell whether there are any.
        let before = mapping.huge_len()?;
        mapping.collapse(range.clone())?;
        mapping.populate(range.clone())?;
        let made = mapping.huge_len()?.saturating_sub(before);
        match made >= range.len() {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "{made} of {} bytes are on huge pages",
                range.len()
            ))),
        }
    }

    /// The array's file by its name in the store's own directory, with its length.
    fn reopened(&self) -> Result<(File, u64)> {
        self.by_its_name(|name| self.reopened_by(name))
    }

    fn reopened_by(&self, name: &OsStr) -> Result<(File, u64)> {
        let id = self.header().id;
        let missing = |source| match open_error(source, &self.path, Some(id)) {
            released @ Error::Released { .. } => self.member.check_open().err().unwrap_or(released),
            error => error,
        };
        let file = self.member.place().open_to_write(name).map_err(missing)?;
        let look = || Ok((inode_of_file(&file)?, file.metadata()?.len()));
        let (inode, len) = look().map_err(Error::io(&self.path, "look at the array file"))?;
        match inode == self.inode {
            true => Ok((file, len)),
            false => Err(gone(&self.path, Some(id))),
        }
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

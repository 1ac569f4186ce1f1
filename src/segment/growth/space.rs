//! Space for the rows of a growing array.
//!
//! An appender that lacks space reserves the next 2 MiB. A longer step would save little, because
//! the kernel's time goes into clearing pages, and would make its one append longer, for which the
//! others wait. The appender opens the file anew in the store's directory, because a process keeps
//! no descriptors of its arrays, and compares the inode. A step that fails, or whose process dies,
//! leaves at most a longer file: what lies behind the noted space is no process's. Space that is
//! reserved twice costs nothing.

use super::{super::Segment, gone, open_error};
use crate::{
    error::{Error, Result},
    store::{member::Member, settings::HugePages},
    sys::{
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
    sync::atomic::Ordering::{AcqRel, Acquire, Release},
};

/// Bytes of a step, and of the pieces in which space is reserved.
const STEP: usize = HUGE_PAGE;

impl Segment {
    /// Whether the file has its bytes up to `end`.
    #[inline]
    pub(super) fn has_room(&self, end: usize) -> Result<bool> {
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
    pub(super) fn reserved(&self) -> usize {
        let reserved = self.growth().reserved.load(Acquire);
        usize::try_from(reserved).map_or(self.file_len(), |noted| noted.min(self.file_len()))
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
}

//! How an array ends in a process, or for all: released, swept, its file unlinked, put by to be
//! used again, or its mapping kept.

use super::{SEGMENTS, Segment, inode_of};
use crate::{
    error::{Error, Result},
    format::{constants::*, name},
    scope::Scope,
    state::block::lifecycle,
    store::{mapping_cache::Cached, recycle_pool::Kept, temporary::TempName},
    sys::fork,
};
use std::{fs, io, sync::atomic::Ordering::SeqCst};

impl Segment {
    /// Deletes the array now, whoever owns it. Where it was released before, finishes what the
    /// deleter may not have come to.
    pub(crate) fn release(&self) -> Result<()> {
        let me = self.member.id()?;
        let was_owned = self.generation == fork::generation()
            && self.ownership.lock().scope() == Scope::Local
            && self.state().owner.load(SeqCst) == me;
        let released = self.ownership.lock().release(self.state(), me);
        failpoint!(ReleaseMarked);
        if !(released && was_owned && self.stash_for_reuse(me)) {
            self.unlink()?;
        }
        if released {
            event!(DEBUG, path = %self.path.display(), "released an array");
        }
        if released {
            Ok(())
        } else {
            Err(self.released())
        }
    }

    /// Deletes what a dead process owned, and what was released and still has its name. False where
    /// there is nothing to do.
    pub(crate) fn sweep(&self) -> Result<bool> {
        if self.finish_release()? {
            return Ok(true);
        }
        let owner = self.state().owner.load(SeqCst);
        if owner == 0 || owner == CLAIMABLE || self.member.is_alive(owner)? {
            return Ok(false);
        }
        failpoint!(SweepDeadOwnerFound);
        // Asked for before the hold is locked: in a child that has not joined yet, it takes another
        // lock.
        let me = self.member.id()?;
        self.ownership.lock().release(self.state(), me);
        failpoint!(ReleaseMarked);
        self.unlink().map(|()| true)
    }

    pub(super) fn finish_release(&self) -> Result<bool> {
        match self.state().lifecycle.load(SeqCst) {
            lifecycle::RELEASED => {
                failpoint!(SweepReleasedFound);
                self.unlink().map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// Takes the name of a released array away by renaming the file, if this process wants to use
    /// files like it again.
    fn stash_for_reuse(&self, me: u64) -> bool {
        let is_wanted = self.member.recycles() >= self.file_len()
            && !self.has_chosen_name()
            && !self.is_frozen();
        if !is_wanted || self.writable.get().is_none() {
            return false;
        }
        let path = self
            .member
            .directory()
            .join(format!("{NEW_PREFIX}{me}-{}", self.header().id.file_stem()));
        if fs::rename(&self.path, &path).is_err() {
            return false;
        }
        failpoint!(RecycleRenamed);
        // Of an absolute path, so it cannot fail.
        TempName::of(path).is_ok_and(|path| self.stash_for_reuse.set(path).is_ok())
    }

    /// Hands a file that was put by over to those that are used again, if nobody else has it open.
    fn keep(&mut self, path: TempName) {
        // After its release: then the mapping cannot be written any more.
        let is_frozen = self.is_frozen();
        drop(self.protected.take());
        let Some(mapping) = self.writable.take() else {
            return;
        };
        if !is_frozen && mapping.state().begin_recycling(1) {
            failpoint!(RecycleBegun);
            if let Some(mapping) = mapping.into_mapping() {
                self.member.pool().keep(
                    Kept {
                        mapping,
                        path,
                        inode: self.inode,
                    },
                    self.member.recycles(),
                );
                failpoint!(RecycleKept);
                event!(DEBUG, path = %self.path.display(), bytes = self.parsed.data_len, "kept a file to use it again");
            }
        }
    }

    /// Keeps the mapping for the next opening of the same array, or of the next one in the same
    /// file.
    fn cache(&mut self) {
        let limit = self.member.settings().cache();
        let is_there = || self.check_ready().is_ok() && self.member.check_open().is_ok();
        if self.file_len() > limit || !is_there() || !self.member.cache().is_used_often(self.inode)
        {
            return;
        }
        let is_writable = self.writable.get().is_some();
        let Some(counted) = self.writable.take().or(self.protected.take()) else {
            return;
        };
        if let Some(mapping) = counted.into_mapping() {
            let mut cached = Cached::new(
                self.path.clone(),
                self.parsed.clone(),
                self.inode,
                mapping,
                is_writable,
            );
            (cached.was_frozen, cached.warm) = (*self.was_frozen.get_mut(), *self.warm.get_mut());
            cached.state().count_out();
            self.member.cache().keep(cached, limit);
            failpoint!(MappingKept);
        }
    }

    fn has_chosen_name(&self) -> bool {
        !name::is_called(&self.path, self.header().id)
    }

    /// Removes the file's name if it is still this array's.
    fn unlink(&self) -> Result<()> {
        let remove = || {
            failpoint!(UnlinkWanted);
            let removed = fs::remove_file(&self.path);
            failpoint!(UnlinkDone);
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(Error::io(&self.path, "delete the file")(error))
                }
                _ => Ok(()),
            }
        };
        if !self.has_chosen_name() {
            return remove();
        }
        self.member
            .with_names(|| match fs::symlink_metadata(&self.path) {
                // An inode is not used again while it is mapped, so the file at this path is this
                // array.
                Ok(metadata) if inode_of(&metadata) == self.inode => remove(),
                _ => Ok(()),
            })
    }
}

impl Drop for Segment {
    /// Deletes the array if this process owns it; reports nothing.
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            return;
        }
        if let Ok(me) = self.member.id() {
            let deletes = self.ownership.lock().end(self.state(), me);
            if deletes {
                failpoint!(DropMarked);
                if !self.stash_for_reuse(me) {
                    let _ = self.unlink();
                }
                event!(DEBUG, path = %self.path.display(), "dropped an array that this process owned");
            }
        }
        SEGMENTS.lock().remove(self);
        match self.stash_for_reuse.take() {
            Some(path) => self.keep(path),
            None => self.cache(),
        }
    }
}

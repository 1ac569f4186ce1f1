//! The end of an array: for all processes, or in this one.
//!
//! # How an array is deleted
//!
//! A caller releases it, its owner drops the last use of it and no process inherits it, or a sweep
//! finds its owner dead. Each of them does the same three steps:
//!
//! 1. *Mark.* The lifecycle goes from "ready" to "released", by one compare-exchange, so exactly
//!    one process deletes the array. From then on every opening is refused. Processes that have the
//!    array open go on using its memory.
//! 2. *Take the name away.* `unlink` removes it. A chosen name can be another array's by now, so it
//!    is compared with the file's inode, under the lock on the store's names; the inode is not used
//!    again while this process maps the file. A name that a member made is no other file's. Where
//!    the file does not have its name any more, a process has renamed it, and its inode is looked
//!    for.
//!    A process that reuses files leaves the file its name (`stash_for_reuse`), until step 3 says
//!    whether it can.
//! 3. *Unmap.* When the last use of the array in this process is dropped, the mapping goes to the
//!    recycle pool if the file was stashed and no other process has it mapped (`keep`), to the
//!    mapping cache if the array still exists (`cache`), or away.
//!
//! # A process that dies on the way
//!
//! An array that is marked and still has its name cannot be opened. The next process that releases
//! it, makes an array with its name, or sweeps, finishes step 2 (`finish_release`), and marks the
//! array as deleted before: then its owner does not begin to reuse the file. A file in the recycle
//! pool has no array, and a sweep deletes it when its keeper is dead. An owner that dies before
//! step 1 leaves a ready array with a dead owner: a sweep does all steps.

use super::{SEGMENTS, Segment};
use crate::{
    error::Result,
    format::{kind::Kind, name::Stem},
    scope::Scope,
    state::{block::lifecycle, ownership},
    store::{
        directory::unnamed_file, mapping_cache::Cached, recycle_pool::Kept, temporary::TempName,
    },
    sys::{file_lock, fork, fs::inode_of_file, mapping::Mapping, wait::Deadline},
};
use std::{
    ffi::{OsStr, OsString},
    io,
    sync::atomic::Ordering::SeqCst,
};

impl Segment {
    /// Deletes the array now, whichever process owns it. If it was released before, finishes the
    /// deletion in the place of its deleter, and reports `Released`.
    pub(crate) fn release(&self) -> Result<()> {
        let me = self.member.id()?;
        self.check_writable()?;
        let was_owned = self.scope() == Scope::Local && ownership::is_owner(self.state(), me);
        let released = self.ownership.lock().release(self.state(), me);
        failpoint!(ReleaseMarked);
        if !(released && was_owned && self.stash_for_reuse(me)) {
            self.unlink(&self.member.deadline())?;
        }
        if !released {
            return Err(self.released());
        }
        self.settle_poison(me);
        event!(DEBUG, path = %self.path.display(), "released an array");
        Ok(())
    }

    /// Unlinks the file if the array was released and still has its name. Returns false if it was
    /// not released.
    pub(super) fn finish_release(&self, deadline: &Deadline) -> Result<bool> {
        if !self.state().begin_deletion() {
            return Ok(false);
        }
        failpoint!(SweepReleasedFound);
        self.unlink(deadline).map(|()| true)
    }

    /// Leaves a released array its file for reuse, if this process keeps files like it. A file that
    /// another member made gets a name of this one, by which a sweep finds its keeper. Returns
    /// false if the file is not kept.
    fn stash_for_reuse(&self, me: u64) -> bool {
        let is_wanted = self.member.recycles().accept(self.file_len())
            && !self.member.page().is_closing()
            && !self.has_chosen_name()
            && self.header().kind == Kind::Array;
        if !is_wanted || self.writable.get().is_none() || self.is_open_elsewhere() {
            return false;
        }
        let (mut name, place) = (self.file_name().to_owned(), self.member.place());
        if Stem::at(&self.path).maker() != Some(me) {
            let own = OsString::from(unnamed_file(me));
            if place.rename(&name, &own).is_err() {
                return false;
            }
            failpoint!(RecycleRenamed);
            name = own;
        }
        self.stash_for_reuse.set(TempName::new(place, name)).is_ok()
    }

    /// Whether other processes may have it open: its pages are theirs for as long.
    fn is_open_elsewhere(&self) -> bool {
        let own = [&self.writable, &self.protected]
            .into_iter()
            .filter(|mapping| mapping.get().is_some())
            .count();
        self.state().openers.load(SeqCst) > own as u32
    }

    /// Puts a stashed file into the recycle pool, if no other process has it open.
    fn keep(&mut self, path: TempName) {
        let is_frozen = self.is_frozen();
        drop(self.protected.take());
        let Some(mapping) = self.writable.take() else {
            return;
        };
        if !mapping.state().begin_recycling(1) {
            path.keep();
            // Another process may have renamed it.
            let _ = self.unlink(&self.member.deadline_in_passing());
            return;
        }
        failpoint!(RecycleBegun);
        let Some(mut mapping) = mapping.into_mapping() else {
            return;
        };
        let is_alone = match is_frozen {
            true => self.thaw(&mut mapping, &path).unwrap_or(false),
            false => mapping.is_unshared(),
        };
        let kept = Kept {
            mapping,
            path,
            inode: self.inode,
        };
        if !is_alone {
            return kept.forget();
        }
        self.member.pool().keep(kept, self.member.recycles());
        failpoint!(RecycleKept);
        event!(
            DEBUG,
            path = %self.path.display(),
            bytes = self.parsed.data_len,
            "kept a file to use it again"
        );
    }

    /// Makes the mapping of a frozen array writable for the next array of its file. Returns false
    /// if a process may read the frozen one still.
    ///
    /// A process that finds the file system mounted read-only cannot count itself in the file. It
    /// holds the flock of the file, shared, before it looks at the lifecycle, which says
    /// "recycling" by now.
    fn thaw(&self, mapping: &mut Mapping, path: &TempName) -> io::Result<bool> {
        let file = path.open()?;
        Ok(inode_of_file(&file)? == self.inode
            && file_lock::try_exclude(&file)?
            && mapping.unprotect()?)
    }

    /// Keeps the mapping for the next opening of the same array, or of the next array in the same
    /// file.
    fn cache(&mut self) {
        let limit = self.member.settings().cache();
        // A private mapping would not see that the array is released.
        if self.is_read_only()
            || self.header().kind != Kind::Array
            || self.file_len() > limit
            || !self.is_usable()
            || !self.member.cache().is_used_often(self.inode)
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
        !Stem::at(&self.path).is_made()
    }

    /// Removes the file's name if it is still this array's.
    pub(super) fn unlink(&self, deadline: &Deadline) -> Result<()> {
        if !self.has_chosen_name()
            && (self.unlink_now(self.file_name())? || self.other_name()?.is_none())
        {
            return Ok(());
        }
        self.member.with_names(deadline, || {
            match self.member.place().inode_of(self.file_name())? {
                Some(found) if found == self.inode => self.unlink_now(self.file_name())?,
                // A process may have renamed the array.
                _ => match self.other_name()? {
                    Some(name) => self.unlink_now(&name)?,
                    None => false,
                },
            };
            Ok(())
        })
    }

    pub(super) fn file_name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    /// Returns false if there is no such file.
    fn unlink_now(&self, name: &OsStr) -> Result<bool> {
        failpoint!(UnlinkWanted);
        // In the store's own directory, wherever it is by now.
        let removed = self.member.place().unlink(name);
        failpoint!(UnlinkDone);
        removed
    }
}

impl Drop for Segment {
    /// Deletes the array if this process owns it, or hands it over if it was offered and no process
    /// has opened and closed it since; reports nothing.
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            return;
        }
        if !self.is_read_only()
            && let Ok(me) = self.member.id()
        {
            // Where the kernel does not say whether an heir lives, nothing is deleted.
            let is_alive = |member| self.member.is_alive(member).unwrap_or(true);
            let deletes = (self.ownership.lock()).release_if_owned(self.state(), me, is_alive);
            if deletes {
                failpoint!(DropMarked);
                self.settle_poison(me);
                if !self.stash_for_reuse(me) {
                    // Where it fails, a sweep unlinks the released file, and its name is free.
                    let _ = self.unlink(&self.member.deadline_in_passing());
                }
                event!(
                    DEBUG,
                    path = %self.path.display(),
                    "dropped an array that this process owned"
                );
            } else if lifecycle::is_released(self.state().lifecycle.load(SeqCst)) {
                // Writers that were killed since the array was released have lanes still.
                self.settle_poison(me);
            }
        }
        SEGMENTS.lock().remove(self);
        match self.stash_for_reuse.take() {
            Some(path) => self.keep(path),
            None => self.cache(),
        }
    }
}

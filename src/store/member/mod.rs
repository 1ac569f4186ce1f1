//! A process's membership in a store: one descriptor of the lock file, one member id, however many
//! managers and arrays.
//!
//! # What a membership is
//!
//! A member holds two locks on the store's lock file, for as long as its process lives or until the
//! membership is dropped. The kernel releases both when the process ends, whatever ends it.
//!
//! - The file's *flock*, shared. A sweep or the janitor takes it exclusively to delete the store,
//!   so a store that has a member is never swept.
//! - The *byte* of its member id ([`member_locks`]). Owner words and
//!   lock tables of arrays contain member ids; the byte says whether the process behind an id still
//!   lives. Ids are never given twice.
//!
//! How a process takes both is described in `join`.
//!
//! # After a fork
//!
//! A child inherits the membership, but none of its locks: its descriptor names another open file
//! description. It is a member of its own from the first call that needs an id
//! ([`id`](Member::id)): it then shares the flock and takes an id that no process had before. That
//! call waits while a sweep holds the flock, for as long as its caller's limit or that of the store
//! allows, and fails if the store is being deleted.

mod join;

pub(crate) use join::{boot_id, map_lock_file};

use crate::{
    error::{Error, Result},
    format::constants::LOCK_NAME,
    store::{
        lock_page::LockPage, mapping_cache::Cache, member_locks, recycle_pool::Pool,
        settings::Settings,
    },
    sys::{
        fork::{self, Private},
        fs::{has_huge_mount, inode_at, is_on_tmpfs},
        mapping::Mapping,
        wait::{Deadline, Wait},
    },
};
use join::{MEMBERS, SWEEP_HOLDS_STORE, share, take_id};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
};

/// A membership: it lasts until this is dropped or the process ends.
pub(crate) struct Member {
    directory: PathBuf,
    lock: Private,
    page: Mapping,
    /// Device and inode of the lock file.
    inode: (u64, u64),
    id: AtomicU64,
    /// The fork generation in which `id` was taken: a child takes its own.
    generation: AtomicU64,
    settings: Settings,
    pool: Pool,
    /// Managers of the store in this process.
    managers: AtomicUsize,
    cache: Cache,
    is_on_tmpfs: fork::OnceLock<bool>,
    has_huge_mount: fork::OnceLock<bool>,
}

impl Member {
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn page(&self) -> &LockPage {
        self.page.lock_page()
    }

    /// This process's settings for the store.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Counts a manager in.
    pub(crate) fn begin_managing(&self) {
        self.managers.fetch_add(1, SeqCst);
    }

    /// Counts a manager out. A process that drops its last one keeps no files of the store for
    /// reuse and does not linger as a member: another process may be about to sweep the store.
    pub(crate) fn end_managing(&self) {
        if self.managers.fetch_sub(1, SeqCst) == 1 {
            self.pool.clear();
            Self::end_lingering(|member| std::ptr::eq(member, self));
        }
    }

    /// How many bytes of released arrays this process keeps for reuse: none without a manager.
    pub(crate) fn recycles(&self) -> usize {
        if self.managers.load(SeqCst) == 0 {
            0
        } else {
            self.settings.recycle()
        }
    }

    /// The files that this process keeps for reuse.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The mappings that this process keeps to open the same arrays again.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Gives back the files and mappings that this process keeps, of all its stores. Returns false
    /// if it kept none.
    pub(crate) fn give_way() -> bool {
        Self::all()
            .iter()
            .fold(false, |any, member| any | member.let_go())
    }

    /// Whether the store is on a tmpfs.
    pub(crate) fn is_on_tmpfs(&self) -> bool {
        *self
            .is_on_tmpfs
            .get_or_init(|| is_on_tmpfs(&self.directory))
    }

    /// Whether its tmpfs was mounted so that it gives huge pages by itself.
    pub(crate) fn has_huge_mount(&self) -> bool {
        *self
            .has_huge_mount
            .get_or_init(|| has_huge_mount(self.inode.0))
    }

    /// The end of all waits of a call that begins now and has no limit of its own.
    pub(crate) fn deadline(&self) -> Deadline {
        Wait::limited(self.settings.lock_timeout()).begin()
    }

    /// The end of the waits of a drop that begins now, or of other work in passing.
    pub(crate) fn deadline_in_passing(&self) -> Deadline {
        Deadline::in_passing(self.settings.lock_timeout())
    }

    /// The member id of this process; a forked child joins anew on first use.
    pub(crate) fn id(&self) -> Result<u64> {
        self.id_within(Wait::Forever)
    }

    /// The same, for a call with this limit.
    #[inline]
    pub(crate) fn id_within(&self, wait: Wait) -> Result<u64> {
        let generation = fork::generation();
        if self.generation.load(SeqCst) == generation {
            return Ok(self.id.load(SeqCst));
        }
        let deadline = wait.or(self.settings.lock_timeout()).begin();
        self.join_in_child(generation, &deadline)
    }

    #[cold]
    fn join_in_child(&self, generation: u64, deadline: &Deadline) -> Result<u64> {
        let path = self.directory.join(LOCK_NAME);
        while !share(&self.lock, &path)? {
            if self.page().is_closing() {
                return Err(self.closed());
            }
            deadline.pause(&path, SWEEP_HOLDS_STORE)?;
        }
        let id = take_id(&self.lock, self.page(), &path, deadline)?;
        // If two threads join at once, the id of the first one counts; that of the other stays
        // locked and is never used.
        static REJOIN: fork::Mutex<()> = fork::Mutex::new(());
        let _rejoin = REJOIN.lock();
        if self.generation.load(SeqCst) != generation {
            self.id.store(id, SeqCst);
            self.generation.store(generation, SeqCst);
        }
        Ok(self.id.load(SeqCst))
    }

    /// Whether the member with this id lives.
    pub(crate) fn is_alive(&self, member: u64) -> Result<bool> {
        if member == self.id()? {
            return Ok(true);
        }
        self.lock
            .file()
            .and_then(|file| member_locks::is_alive(file, member))
            .map_err(Error::io(&self.directory, "ask whether a member lives"))
    }

    /// An error if the store was closed; then this process also gives back the files and mappings
    /// that it kept of it.
    pub(crate) fn check_open(&self) -> Result<()> {
        if !self.page().is_closing() {
            return Ok(());
        }
        self.let_go();
        Err(self.closed())
    }

    /// Gives back the files and mappings that this process keeps. Returns false if it kept none.
    pub(crate) fn let_go(&self) -> bool {
        self.pool.clear() | self.cache.clear()
    }

    pub(crate) fn closed(&self) -> Error {
        Error::Closed {
            path: self.directory.clone(),
        }
    }

    /// The lock file, through the description that holds this process's locks.
    pub(crate) fn lock_file(&self) -> &Private {
        &self.lock
    }

    /// Device and inode of the lock file.
    pub(crate) fn inode(&self) -> (u64, u64) {
        self.inode
    }

    /// Whether the store's directory still has the lock file that was joined.
    pub(crate) fn is_at_its_path(&self) -> Result<bool> {
        self.is_at(&self.directory)
    }

    fn is_at(&self, directory: &Path) -> Result<bool> {
        let path = directory.join(LOCK_NAME);
        let named = inode_at(&path).map_err(Error::io(&path, "look at the lock file"))?;
        Ok(named == Some(self.inode))
    }

    /// Runs `section` while no other process or thread publishes or unlinks a chosen name.
    pub(crate) fn with_names<T>(
        &self,
        deadline: &Deadline,
        section: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let names = self
            .lock
            .reopen()
            .map_err(Error::io(&self.directory, "open the lock file again"))?;
        let file = names
            .file()
            .map_err(Error::io(&self.directory, "use the lock file"))?;
        deadline.poll(
            &self.directory,
            "lock the names",
            member_locks::NAMES_ARE_LOCKED,
            || member_locks::try_lock_names(file),
        )?;
        failpoint!(NamesLocked);
        // The lock goes with its description, when `names` is dropped.
        section()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        MEMBERS.lock().retain(|_, member| member.strong_count() > 0);
    }
}

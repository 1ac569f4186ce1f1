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
//! Other code of the process may close the descriptor, or give its number to another file, on which
//! no member holds a lock. So the file is compared before each question, and a process that no
//! longer has it gets an error instead of an answer. Its locks stay: a mapping holds them
//! ([`Private::hold`]), so other processes do not take it for dead. Opening the store again makes
//! another membership.
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
        directory::Directory,
        lane_pool::LanePool,
        lock_page::LockPage,
        mapping_cache::Cache,
        member_locks,
        recycle_pool::{Limit, Pool},
        settings::Settings,
    },
    sys::{
        file_system::{FileSystem, has_huge_mount},
        fork::{self, Private},
        fs::inode_at,
        mapping::Mapping,
        process,
        wait::{Deadline, Wait},
    },
};
use join::{EVERY, MEMBERS, SWEEP_HOLDS_STORE, share, take_id};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

/// From so many bytes on, arrays are left out of core dumps unless they are wanted there. Smaller
/// ones are a small part of a dump, and the call costs a tenth of their opening.
const LEFT_OUT_FROM: usize = 64 << 10;

/// A fork generation that no process has.
const NEVER: u64 = u64::MAX;

/// A membership: it lasts until this is dropped or the process ends.
pub(crate) struct Member {
    directory: PathBuf,
    /// The directory itself, wherever it is by now.
    place: Arc<Directory>,
    lock: Private,
    lanes: Arc<LanePool>,
    /// Device and inode of the lock file.
    inode: (u64, u64),
    id: AtomicU64,
    /// The number of the process that took `id`: see [`process::number`].
    process: AtomicU32,
    /// The fork generation in which `id` was taken: a child takes its own. [`NEVER`] without an id.
    generation: AtomicU64,
    settings: Settings,
    pool: Pool,
    /// Managers of the store in this process.
    managers: AtomicUsize,
    cache: Cache,
    file_system: Option<FileSystem>,
    /// This process found that it no longer has its descriptor of the lock file.
    is_lost: AtomicBool,
    has_huge_mount: fork::OnceLock<bool>,
}

impl Member {
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The store's directory by its descriptor: new files go into it, not into another store that
    /// has its path.
    pub(crate) fn place(&self) -> &Arc<Directory> {
        &self.place
    }

    pub(crate) fn page(&self) -> &LockPage {
        self.lanes.page()
    }

    /// The lanes of the store.
    #[inline]
    pub(crate) fn lanes(&self) -> &Arc<LanePool> {
        &self.lanes
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

    /// Which files of released arrays this process keeps for reuse: none without a manager.
    pub(crate) fn recycles(&self) -> Limit {
        match self.managers.load(SeqCst) {
            0 => Limit::bytes(0),
            _ => self.settings.recycle(),
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

    /// Maps the first `len` bytes of a file of the store.
    pub(crate) fn map(&self, file: &File, len: usize, path: &Path) -> Result<Mapping> {
        let mapping = Mapping::new(file, len, path)?;
        if len >= LEFT_OUT_FROM && !self.settings.core_dumps() {
            // A kernel that cannot leaves the array in.
            let _ = mapping.leave_out_of_dumps();
        }
        Ok(mapping)
    }

    /// Maps a file that will grow to `len` bytes. Core dumps never have it: the kernel walks over
    /// all that is mapped, a quarter of a second for each GiB.
    ///
    /// # Errors
    ///
    /// `AddressSpace` if this process may not map so much.
    pub(crate) fn map_beyond(&self, file: &File, len: usize, path: &Path) -> Result<Mapping> {
        let mapping = Mapping::new(file, len, path).map_err(|error| match error {
            Error::Io { source, .. } if source.kind() == io::ErrorKind::OutOfMemory => {
                Error::AddressSpace {
                    path: path.into(),
                    needed: len as u64,
                    limit: process::address_space_limit(),
                }
            }
            error => error,
        })?;
        let _ = mapping.leave_out_of_dumps();
        Ok(mapping)
    }

    /// The file system of the store, if it is one that keeps its promises.
    pub(crate) fn file_system(&self) -> Option<FileSystem> {
        self.file_system
    }

    /// Whether the store is on a tmpfs.
    pub(crate) fn is_on_tmpfs(&self) -> bool {
        self.file_system().is_some_and(FileSystem::is_tmpfs)
    }

    /// Whether its tmpfs was mounted so that it gives huge pages by itself.
    pub(crate) fn has_huge_mount(&self) -> bool {
        *self
            .has_huge_mount
            .get_or_init(|| has_huge_mount(self.inode.0))
    }

    /// Whether the store's file system is mounted read-only. Then this process is no member: it has
    /// no id, only reads frozen arrays, and writes nothing.
    pub(crate) fn is_read_only(&self) -> bool {
        self.lanes.is_private()
    }

    /// An error if the store's file system is mounted read-only.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.is_read_only() {
            return Err(Error::ReadOnly {
                path: self.directory.clone(),
                reason: "its file system is mounted read-only, so only its frozen arrays can be \
                         opened, and nothing can be made or deleted",
            });
        }
        Ok(())
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
    ///
    /// # Errors
    ///
    /// `ReadOnly` on a file system that is mounted read-only; `Closed`; `Io`.
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
        self.check_writable()?;
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
        self.lock
            .hold()
            .map_err(Error::io(&path, "map the lock file"))?;
        // If two threads join at once, the id of the first one counts; that of the other stays
        // locked and is never used.
        static REJOIN: fork::Mutex<()> = fork::Mutex::new(());
        let _rejoin = REJOIN.lock();
        if self.generation.load(SeqCst) != generation {
            self.process.store(process::number(), SeqCst);
            self.id.store(id, SeqCst);
            self.generation.store(generation, SeqCst);
        }
        Ok(self.id.load(SeqCst))
    }

    /// Whether an id is that of this process, which may have none.
    pub(crate) fn is_own_id(&self, member: u64) -> bool {
        self.generation.load(SeqCst) == fork::generation() && member == self.id.load(SeqCst)
    }

    /// The number of this process among those of the machine.
    pub(crate) fn process(&self) -> u32 {
        self.process.load(SeqCst)
    }

    /// Whether the member with this id lives. Does not wait: a forked child that has no id yet asks
    /// about its parent's as about any other.
    pub(crate) fn is_alive(&self, member: u64) -> Result<bool> {
        if self.is_own_id(member) {
            return Ok(true);
        }
        self.file()
            .and_then(|file| member_locks::is_alive(file, member))
            .map_err(Error::io(&self.directory, "ask whether a member lives"))
    }

    /// How many members live, this process included.
    pub(crate) fn count_living(&self) -> Result<usize> {
        let other = self
            .lock
            .reopen()
            .map_err(Error::io(&self.directory, "open the lock file again"))?;
        other
            .file()
            .and_then(member_locks::living)
            .map(|living| living.len())
            .map_err(Error::io(&self.directory, "ask which members live"))
    }

    /// The lock file, or an error if this process no longer has its descriptor: the membership is
    /// then used for nothing new.
    fn file(&self) -> io::Result<&File> {
        self.lock
            .file()
            .inspect_err(|_| self.is_lost.store(true, Relaxed))
    }

    /// Whether this process found that it no longer has its descriptor of the lock file.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Relaxed)
    }

    /// An error if this process no longer has its descriptors of the lock file and the directory.
    pub(crate) fn check_descriptors(&self) -> Result<()> {
        self.file()
            .map_err(Error::io(&self.directory, "use the lock file"))?;
        self.place.check_descriptor()
    }

    pub(crate) fn lost(&self) -> Error {
        Error::io(&self.directory, "use the lock file")(fork::lost())
    }

    /// An error if the store was closed; then this process also gives back the files and mappings
    /// that it kept of it. An error too if the process lost its descriptor of the lock file.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.page().is_closing() {
            self.let_go();
            return Err(self.closed());
        }
        match self.is_lost() {
            false => Ok(()),
            true => Err(self.lost()),
        }
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
            .file()
            .and_then(|_| self.lock.reopen())
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
        if *self.generation.get_mut() == fork::generation() {
            self.lanes.free_all(*self.id.get_mut());
        }
        MEMBERS.lock().retain(|_, member| member.strong_count() > 0);
        EVERY.lock().retain(|member| member.strong_count() > 0);
    }
}

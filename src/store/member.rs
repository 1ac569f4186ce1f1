//! A process's membership in a store: one descriptor of the lock file, one member id, however many
//! managers and arrays.

use crate::{
    error::{Error, Result},
    format::constants::{LOCK_LEN, LOCK_NAME, SUFFIX},
    store::{
        lock_page::LockPage, mapping_cache::Cache, member_locks, permissions, recycle_pool::Pool,
        settings::Settings,
    },
    sys::{
        file_lock,
        fork::{self, Private},
        fs::{has_huge_mount, inode_at, is_on_tmpfs, open_file},
        mapping::Mapping,
    },
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use uuid::Uuid;

/// The memberships of this process, by the store's directory.
static MEMBERS: fork::Mutex<BTreeMap<OsString, Weak<Member>>> = fork::Mutex::new(BTreeMap::new());
/// Memberships that nothing needs at the moment: a process that opens a handle, drops the array and
/// opens the next one stays a member between.
static LINGERING: fork::Mutex<Vec<Arc<Member>>> = fork::Mutex::new(Vec::new());
/// How many linger at most.
const MOST_LINGERING: usize = 4;
/// How long a join waits before it tries again, while a sweeper looks at the store.
const RETRY: Duration = Duration::from_millis(1);

/// A membership: it lasts until this is dropped or the process ends.
pub(crate) struct Member {
    directory: PathBuf,
    lock: Private,
    page: Mapping,
    /// Device and inode of the lock file.
    inode: (u64, u64),
    id: AtomicU64,
    /// The fork generation that `id` was taken in: a child takes its own.
    generation: AtomicU64,
    settings: Settings,
    pool: Pool,
    /// Managers of the store that this process has.
    managers: AtomicUsize,
    cache: Cache,
    is_on_tmpfs: fork::OnceLock<bool>,
    has_huge_mount: fork::OnceLock<bool>,
}

/// The kernel's id of this boot.
pub(crate) fn boot_id() -> Result<Uuid> {
    static BOOT: fork::OnceLock<Uuid> = fork::OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(*boot);
    }
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).map_err(Error::io(path, "read the boot id"))?;
    let boot = text
        .trim()
        .parse()
        .map_err(|error| Error::io(path, "parse the boot id")(io::Error::other(error)))?;
    Ok(*BOOT.get_or_init(|| boot))
}

impl Member {
    /// Joins the store in `directory`, an absolute path without links, or finds the membership that
    /// this process has.
    pub(crate) fn join(directory: &Path, any_file_system: bool) -> Result<Arc<Member>> {
        let known = Self::known(directory).filter(|known| known.is_at(directory));
        // Who joined once has accepted the file system; the directory's mode may have changed
        // since.
        permissions::check_directory(directory, any_file_system || known.is_some())?;
        if let Some(known) = known {
            known.id()?;
            return Ok(known);
        }
        Self::end_lingering(|member| member.page().is_closing() || !member.is_at_its_path());
        let joined = Arc::new(Self::join_anew(directory, directory)?);
        let mut members = MEMBERS.lock();
        // All of them, until the lock is given back: any may be the last reference by now.
        let others: Vec<_> = members.values().filter_map(Weak::upgrade).collect();
        // Another thread was faster, or links lead here by another path too: one membership for
        // each store.
        let is_it = |other: &&Arc<Member>| {
            other.inode == joined.inode && (other.directory == directory || other.is_at_its_path())
        };
        let member = others.iter().find(is_it).unwrap_or(&joined).clone();
        members.insert(directory.into(), Arc::downgrade(&member));
        // Unlocked before anything is dropped: the last reference to a membership locks them too.
        drop(members);
        let mut lingering = LINGERING.lock();
        let excess = (lingering.len() + 1).saturating_sub(MOST_LINGERING);
        let ended: Vec<_> = lingering.drain(..excess).collect();
        lingering.push(member.clone());
        drop(lingering);
        drop(ended);
        Ok(member)
    }

    /// Ends the memberships of which this is true and that nothing else needs. A sweep of the own
    /// process would find their stores in use.
    pub(crate) fn end_lingering(ends: impl Fn(&Member) -> bool) {
        let lingering = std::mem::take(&mut *LINGERING.lock());
        let (ended, staying): (Vec<_>, Vec<_>) =
            lingering.into_iter().partition(|member| ends(member));
        // Some may have come meanwhile.
        LINGERING.lock().extend(staying);
        drop(ended);
    }

    /// The membership that this process took in a store in this directory, be it there no more.
    pub(crate) fn known(directory: &Path) -> Option<Arc<Member>> {
        MEMBERS
            .lock()
            .get(directory.as_os_str())
            .and_then(Weak::upgrade)
    }

    /// Joins a store that is still being built in `building` and will be at `directory`.
    pub(crate) fn join_new(building: &Path, directory: &Path) -> Result<Member> {
        Self::join_anew(building, directory)
    }

    /// Makes a membership that was made by [`join_new`](Self::join_new) the one that this process
    /// finds.
    pub(crate) fn enlist(self) -> Arc<Member> {
        let member = Arc::new(self);
        MEMBERS
            .lock()
            .insert(member.directory.clone().into(), Arc::downgrade(&member));
        member
    }

    fn join_anew(at: &Path, directory: &Path) -> Result<Member> {
        let path = at.join(LOCK_NAME);
        loop {
            let lock = Private::open(|| open_file(&path)).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound if has_arrays(at) => {
                    let reason = "it has arrays but no .lock: the store is damaged, or the files were copied here".into();
                    Error::Untrusted { path: at.into(), reason }
                }
                io::ErrorKind::NotFound => Error::NotFound { path: at.into(), what: "no store is here" },
                _ => Error::Io { path: path.clone(), action: "open the lock file", source },
            })?;
            failpoint!(JoinOpened);
            if !share(&lock, &path)? {
                std::thread::sleep(RETRY);
                continue;
            }
            failpoint!(JoinShared);
            let (page, inode) = map_lock_file(&lock, &path)?;
            failpoint!(JoinMapped);
            if inode_at(&path) != Some(inode) {
                continue;
            }
            let id = AtomicU64::new(take_id(&lock, page.lock_page(), &path)?);
            let generation = AtomicU64::new(fork::generation());
            return Ok(Member {
                directory: directory.into(),
                lock,
                page,
                inode,
                id,
                generation,
                settings: Settings::default(),
                pool: Pool::new(),
                managers: AtomicUsize::new(0),
                cache: Cache::new(),
                is_on_tmpfs: fork::OnceLock::new(),
                has_huge_mount: fork::OnceLock::new(),
            });
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn page(&self) -> &LockPage {
        self.page.lock_page()
    }

    /// What this process chose for the store.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn begin_managing(&self) {
        self.managers.fetch_add(1, SeqCst);
    }

    /// Without a manager nothing is kept to be used again, and a process that drops its last one
    /// leaves the store: others may be about to sweep it.
    pub(crate) fn end_managing(&self) {
        if self.managers.fetch_sub(1, SeqCst) == 1 {
            self.pool.clear();
            Self::end_lingering(|member| std::ptr::eq(member, self));
        }
    }

    /// How many bytes of released arrays this process keeps to use them again.
    pub(crate) fn recycles(&self) -> usize {
        if self.managers.load(SeqCst) == 0 {
            0
        } else {
            self.settings.recycle()
        }
    }

    /// The files that this process keeps to use them again.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The mappings that this process keeps to open the same arrays again.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Gives back what this process keeps in all its stores to be used or opened again. False where
    /// that is nothing.
    pub(crate) fn give_way() -> bool {
        let members: Vec<_> = MEMBERS.lock().values().filter_map(Weak::upgrade).collect();
        members
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

    /// The member id of this process; a forked child joins anew on first use.
    pub(crate) fn id(&self) -> Result<u64> {
        let generation = fork::generation();
        if self.generation.load(SeqCst) == generation {
            return Ok(self.id.load(SeqCst));
        }
        let path = self.directory.join(LOCK_NAME);
        while !share(&self.lock, &path)? {
            if self.page().is_closing() {
                return Err(self.closed());
            }
            std::thread::sleep(RETRY);
        }
        let id = take_id(&self.lock, self.page(), &path)?;
        // Of two threads that join at once the first one's id counts; the other's stays locked and
        // is never used.
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

    /// An error where the store was closed. What was kept of it has no use any more.
    pub(crate) fn check_open(&self) -> Result<()> {
        if !self.page().is_closing() {
            return Ok(());
        }
        self.let_go();
        Err(self.closed())
    }

    /// Gives back what this process keeps to be used or opened again. False where that is nothing.
    pub(crate) fn let_go(&self) -> bool {
        self.pool.clear() | self.cache.clear()
    }

    pub(crate) fn closed(&self) -> Error {
        Error::Closed {
            path: self.directory.clone(),
        }
    }

    /// Device and inode of the lock file.
    pub(crate) fn inode(&self) -> (u64, u64) {
        self.inode
    }

    /// Whether the store's directory still has the lock file that was joined.
    pub(crate) fn is_at_its_path(&self) -> bool {
        self.is_at(&self.directory)
    }

    fn is_at(&self, directory: &Path) -> bool {
        inode_at(&directory.join(LOCK_NAME)) == Some(self.inode)
    }

    /// Runs `section` while no other process or thread publishes or unlinks a chosen name.
    pub(crate) fn with_names<T>(&self, section: impl FnOnce() -> Result<T>) -> Result<T> {
        let names = self
            .lock
            .reopen()
            .map_err(Error::io(&self.directory, "open the lock file again"))?;
        names
            .file()
            .and_then(member_locks::lock_names)
            .map_err(Error::io(&self.directory, "lock the names"))?;
        failpoint!(NamesLocked);
        // The lock goes with its description, when `names` is dropped.
        section()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        MEMBERS.lock().retain(|_, known| known.strong_count() > 0);
    }
}

/// Checks and maps a lock file. Its page, and its device and inode.
pub(crate) fn map_lock_file(lock: &Private, path: &Path) -> Result<(Mapping, (u64, u64))> {
    let file = lock.file().map_err(Error::io(path, "use the lock file"))?;
    let metadata = permissions::check_file(file, path)?;
    if metadata.len() != LOCK_LEN as u64 {
        return Err(Error::Untrusted {
            path: path.into(),
            reason: "it is not a lock file of a store".into(),
        });
    }
    // Through a description of its own: a forked child that inherits the mapping does not keep this
    // one and its locks.
    let other = lock
        .reopen()
        .map_err(Error::io(path, "open the lock file again"))?;
    let page = Mapping::new(
        other.file().map_err(Error::io(path, "map the lock file"))?,
        LOCK_LEN,
        path,
    )?;
    match page.lock_page().defect() {
        Some(defect) => Err(Error::Untrusted {
            path: path.into(),
            reason: defect.into(),
        }),
        None => Ok((page, (metadata.dev(), metadata.ino()))),
    }
}

fn share(lock: &Private, path: &Path) -> Result<bool> {
    lock.file()
        .and_then(file_lock::try_share)
        .map_err(Error::io(path, "lock the lock file"))
}

/// Takes a member id that lives from now on.
fn take_id(lock: &Private, page: &LockPage, path: &Path) -> Result<u64> {
    let failed = || Error::io(path, "lock a member id");
    let boot = boot_id()?;
    let file = lock.file().map_err(failed())?;
    if page.is_of_another_boot(boot) {
        member_locks::lock_names(file).map_err(failed())?;
        failpoint!(JoinBootLocked);
        page.note_boot(boot);
        failpoint!(JoinBootNoted);
        member_locks::unlock_names(file).map_err(failed())?;
    }
    loop {
        let exhausted = || Error::Untrusted {
            path: path.into(),
            reason: "its member ids are used up or damaged".into(),
        };
        let id = page.next_member().ok_or_else(exhausted)?;
        failpoint!(JoinIdTaken);
        if member_locks::try_live(file, id).map_err(failed())? {
            failpoint!(JoinAlive);
            return Ok(id);
        }
    }
}

fn has_arrays(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            entry
                .file_name()
                .as_encoded_bytes()
                .ends_with(SUFFIX.as_bytes())
        })
    })
}

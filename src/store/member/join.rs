//! How a process becomes a member of a store.
//!
//! # Joining
//!
//! 1. *Open* the directory, and the lock file in it, through a description that a forked child does
//!    not share. The directory's flock, shared, keeps programs off that delete old files.
//! 2. *Share* its flock. A sweep holds the flock exclusively while it deletes the store, so a join
//!    that does not get the lock waits and begins again.
//! 3. *Map* the lock page, and compare the file's inode with the one at the path. They differ if
//!    the store was deleted between steps 1 and 2: the join begins again, and finds no store or
//!    another one.
//! 4. *Note the boot.* The first join after the machine was started adds [`BOOT_STEP`] to the next
//!    member id: ids that were given before a crash and never reached the disk are not given again.
//!    Where the kernel does not tell its boot, every join counts as the first one.
//! 5. *Take an id* from the lock page, and lock its byte. From then on the process counts as alive,
//!    until the kernel frees the byte. If another process holds the byte, the join takes the next
//!    id.
//!
//! [`BOOT_STEP`]: crate::format::constants::BOOT_STEP
//!
//! # One membership for each store
//!
//! A process has at most one membership for each store, however many managers and arrays it has,
//! and at whatever paths it finds the store. `MEMBERS` finds it by the path, without keeping it
//! alive. `LINGERING` keeps the last few alive: a process that opens a handle, drops the array and
//! opens the next one stays a member in between.

use super::{Member, NEVER};
use crate::{
    error::{Error, Result},
    format::constants::{LOCK_LEN, LOCK_NAME},
    store::{
        directory::Directory,
        lane_pool::{LONGEST, LanePool},
        lock_page::LockPage,
        mapping_cache::Cache,
        member_locks, permissions,
        recycle_pool::Pool,
        settings::Settings,
    },
    sys::{
        file_lock,
        file_system::FileSystem,
        fork::{self, Private},
        fs::inode_at,
        mapping::Mapping,
        process,
        wait::{Deadline, Wait},
    },
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize},
    },
};
use uuid::Uuid;

/// The memberships of this process, by the store's directory.
pub(super) static MEMBERS: fork::Mutex<BTreeMap<OsString, Weak<Member>>> =
    fork::Mutex::new(BTreeMap::new());
/// All memberships of this process, those included whose path belongs to another store by now.
pub(super) static EVERY: fork::Mutex<Vec<Weak<Member>>> = fork::Mutex::new(Vec::new());
/// Memberships that this process keeps although nothing uses them at the moment.
static LINGERING: fork::Mutex<Vec<Arc<Member>>> = fork::Mutex::new(Vec::new());
/// How many linger at most.
const MOST_LINGERING: usize = 4;
/// Why a join did not get the flock of the lock file in time.
pub(super) const SWEEP_HOLDS_STORE: &str = "another process held the flock of the store's lock \
                                            file, as a sweep does (if it is stopped: continue it \
                                            by SIGCONT, or end it)";

/// The kernel's id of this boot; `None` where the kernel does not tell (WSL 1, a masked /proc).
pub(crate) fn boot_id() -> Option<Uuid> {
    static BOOT: fork::OnceLock<Option<Uuid>> = fork::OnceLock::new();
    *BOOT.get_or_init(|| {
        fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .ok()?
            .trim()
            .parse()
            .ok()
            .filter(|boot: &Uuid| !boot.is_nil())
    })
}

impl Member {
    /// Joins the store in `directory`, an absolute path without links, or finds the membership that
    /// this process has. It waits while a sweep looks at the store: for as long as `wait` allows,
    /// and without a limit there as long as this process allows for the store.
    pub(crate) fn join(directory: &Path, any_file_system: bool, wait: Wait) -> Result<Arc<Member>> {
        let existing = match Self::lookup(directory) {
            Some(member) if member.is_at(directory)? && member.check_descriptors().is_ok() => {
                Some(member)
            }
            _ => None,
        };
        // A process that joined once has accepted the file system; the directory's mode may have
        // changed since.
        permissions::check_store(directory)?;
        if let Some(member) = existing {
            if !member.is_read_only() {
                member.id_within(wait)?;
            }
            return Ok(member);
        }
        Self::end_lingering(|member| {
            member.page().is_closing()
                || member.is_lost()
                || member.is_at_its_path().is_ok_and(|is_there| !is_there)
        });
        let deadline = wait.begin();
        let joined = Self::join_anew(directory, directory, any_file_system, &deadline)?;
        let joined = Arc::new(joined);
        let member = register(directory, &joined);
        linger(&member);
        Ok(member)
    }

    /// Ends the lingering memberships for which `ends` is true. A sweep does this for the stores
    /// that it looks at: otherwise it would find them in use by its own process.
    pub(crate) fn end_lingering(ends: impl Fn(&Member) -> bool) {
        let lingering = std::mem::take(&mut *LINGERING.lock());
        let (ended, staying): (Vec<_>, Vec<_>) =
            lingering.into_iter().partition(|member| ends(member));
        // Other threads may have added some meanwhile.
        LINGERING.lock().extend(staying);
        drop(ended);
    }

    /// The membership that this process took in a store in this directory. The store may be gone by
    /// now, or another one may be in its place.
    pub(crate) fn lookup(directory: &Path) -> Option<Arc<Member>> {
        MEMBERS
            .lock()
            .get(directory.as_os_str())
            .and_then(Weak::upgrade)
    }

    /// All memberships of this process, each once. A store that was moved may have several.
    pub(in crate::store) fn all() -> Vec<Arc<Member>> {
        EVERY.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Joins a store that is still being built in `building` and will be at `directory`.
    pub(crate) fn join_new(
        building: &Path,
        directory: &Path,
        deadline: &Deadline,
    ) -> Result<Member> {
        Self::join_anew(building, directory, true, deadline)
    }

    /// Makes a membership from [`join_new`](Self::join_new) the one that this process finds.
    pub(crate) fn enlist(self) -> Arc<Member> {
        let member = Arc::new(self);
        EVERY.lock().push(Arc::downgrade(&member));
        MEMBERS
            .lock()
            .insert(member.directory.clone().into(), Arc::downgrade(&member));
        member
    }

    fn join_anew(
        at: &Path,
        directory: &Path,
        any_file_system: bool,
        deadline: &Deadline,
    ) -> Result<Member> {
        let path = at.join(LOCK_NAME);
        loop {
            let missing = || open_error(io::ErrorKind::NotFound.into(), at, &path);
            let place = Directory::open(at)?.ok_or_else(missing)?;
            place.keep_cleaners_off();
            let lock = Private::open(|| place.open_to_write(LOCK_NAME.as_ref()))
                .map_err(|source| open_error(source, at, &path))?;
            failpoint!(JoinOpened);
            if !share(&lock, &path)? {
                deadline.pause(&path, SWEEP_HOLDS_STORE)?;
                continue;
            }
            failpoint!(JoinShared);
            let (page, inode) = map_lock_file(&lock, &path, LONGEST)?;
            failpoint!(JoinMapped);
            let named = inode_at(&path).map_err(Error::io(&path, "look at the lock file"))?;
            if named != Some(inode) {
                continue;
            }
            // A store that is gone from here by now is closed.
            let file_system = FileSystem::of(at).ok().flatten();
            let (id, generation) = if page.is_private() {
                // This process writes nothing, so no process has to know whether it lives.
                (0, NEVER)
            } else {
                // The maker's choice holds for all.
                let accepts = any_file_system || page.lock_page().accepts_any_file_system();
                permissions::check_file_system(at, accepts)?;
                complete(&lock, file_system, &path)?;
                let id = take_id(&lock, page.lock_page(), &path, deadline)?;
                lock.hold().map_err(Error::io(&path, "map the lock file"))?;
                (id, fork::generation())
            };
            let (id, generation) = (AtomicU64::new(id), AtomicU64::new(generation));
            return Ok(Member {
                directory: directory.into(),
                place: Arc::new(place.renamed_to(directory)),
                lock,
                lanes: Arc::new(LanePool::new(page)),
                inode,
                id,
                process: AtomicU32::new(process::number()),
                generation,
                settings: Settings::default(),
                pool: Pool::new(),
                managers: AtomicUsize::new(0),
                cache: Cache::new(),
                file_system,
                is_lost: AtomicBool::new(false),
                has_huge_mount: fork::OnceLock::new(),
            });
        }
    }
}

/// Makes a membership the one that this process finds at `directory`, unless another thread was
/// faster, or the process found the same store at another path: then that one.
fn register(directory: &Path, joined: &Arc<Member>) -> Arc<Member> {
    let mut members = MEMBERS.lock();
    // All of them, until the mutex is unlocked: any may be the last reference by now.
    let others: Vec<_> = members.values().filter_map(Weak::upgrade).collect();
    let is_same_store = |other: &&Arc<Member>| {
        let is_at_its_path = || other.is_at_its_path().is_ok_and(|is_there| is_there);
        // Another mount of the same file system may be read-only.
        other.inode == joined.inode
            && other.is_read_only() == joined.is_read_only()
            && !other.is_lost()
            && (other.directory == directory || is_at_its_path())
    };
    let member = others.iter().find(is_same_store).unwrap_or(joined).clone();
    members.insert(directory.into(), Arc::downgrade(&member));
    // Unlocked before anything is dropped: the last reference to a membership locks it too.
    drop(members);
    if Arc::ptr_eq(&member, joined) {
        EVERY.lock().push(Arc::downgrade(&member));
    }
    member
}

/// Keeps a membership alive until others take its place.
fn linger(member: &Arc<Member>) {
    let mut lingering = LINGERING.lock();
    let excess = (lingering.len() + 1).saturating_sub(MOST_LINGERING);
    let ended: Vec<_> = lingering.drain(..excess).collect();
    lingering.push(member.clone());
    drop(lingering);
    drop(ended);
}

fn open_error(source: io::Error, directory: &Path, path: &Path) -> Error {
    match source.kind() {
        io::ErrorKind::NotFound => permissions::no_store(directory),
        _ => Error::Io {
            path: path.into(),
            action: "open the lock file",
            source,
        },
    }
}

/// Reserves the space that a copied lock file lacks, before it is written.
fn complete(lock: &Private, file_system: Option<FileSystem>, path: &Path) -> Result<()> {
    let Some(file_system) = file_system else {
        return Ok(());
    };
    let look = || Error::io(path, "look at the lock file");
    let file = lock.file().map_err(look())?;
    let metadata = file.metadata().map_err(look())?;
    file_system.complete(file, &metadata, 0..metadata.len(), path)
}

/// Checks a lock file and maps its first `len` bytes, of which only the first page need exist.
/// Gives the mapping, and its device and inode.
pub(crate) fn map_lock_file(
    lock: &Private,
    path: &Path,
    len: usize,
) -> Result<(Mapping, (u64, u64))> {
    let file = lock.file().map_err(Error::io(path, "use the lock file"))?;
    let metadata = permissions::check_file(file, path)?;
    if !(LOCK_LEN as u64..=LONGEST as u64).contains(&metadata.len()) {
        return Err(Error::Untrusted {
            path: path.into(),
            reason: "it is not a lock file of a store".into(),
        });
    }
    // Through a description of its own: a forked child inherits the mapping, and must not keep
    // `lock` and its locks alive by that.
    let other = lock
        .reopen()
        .map_err(Error::io(path, "open the lock file again"))?;
    let page = Mapping::new(
        other.file().map_err(Error::io(path, "map the lock file"))?,
        len,
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

/// Shares the lock file's flock. Returns false if a sweep holds it exclusively.
pub(super) fn share(lock: &Private, path: &Path) -> Result<bool> {
    lock.file()
        .and_then(file_lock::try_share)
        .map_err(Error::io(path, "lock the lock file"))
}

/// Takes a member id that counts as alive from now on: steps 4 and 5.
pub(super) fn take_id(
    lock: &Private,
    page: &LockPage,
    path: &Path,
    deadline: &Deadline,
) -> Result<u64> {
    let failed = || Error::io(path, "lock a member id");
    let boot = boot_id();
    let file = lock.file().map_err(failed())?;
    if page.is_of_another_boot(boot) {
        let obstacle = member_locks::NAMES_ARE_LOCKED;
        deadline.poll(path, "lock the names", obstacle, || {
            member_locks::try_lock_names(file)
        })?;
        failpoint!(JoinBootLocked);
        page.note_boot(boot);
        failpoint!(JoinBootNoted);
        member_locks::unlock_names(file).map_err(failed())?;
    }
    loop {
        let exhausted = || Error::Untrusted {
            path: path.into(),
            reason:
                "its counter of member ids is used up or damaged, so no process can join: export \
                     the arrays in a process that is a member, or move their files away and delete \
                     the directory"
                    .into(),
        };
        let id = page.next_member().ok_or_else(exhausted)?;
        failpoint!(JoinIdTaken);
        if member_locks::try_live(file, id).map_err(failed())? {
            failpoint!(JoinAlive);
            return Ok(id);
        }
    }
}

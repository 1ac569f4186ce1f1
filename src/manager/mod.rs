//! Managers: a process's access to a store.

mod arrays;
pub(crate) mod builder;
mod contents;
mod environment;
pub(crate) mod options;
mod root;

pub use contents::Usage;

use crate::{
    error::{Error, Result},
    handle::path_field,
    store::{self, member::Member},
    sys::{fork, wait::Wait},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use uuid::Uuid;

/// A process's access to a store: makes, opens, lists and deletes arrays.
///
/// Which one do you need?
///
/// | | made by | deleted |
/// | --- | --- | --- |
/// | an ephemeral store | [`Manager::new`] | when the last clone of the owner is dropped |
/// | a persistent store | [`Manager::create`], [`Manager::open_or_create`] | by [`Manager::close`] only |
///
/// Clones share one membership. A manager that was opened or deserialized is a member of the store,
/// never its owner.
///
/// # Deletion
///
/// The owner is the manager that made an ephemeral store, with its clones. When the last of them is
/// dropped, or at [`close`](Manager::close), the store is deleted with all its arrays. Other
/// managers then get [`Error::Closed`]; open arrays stay usable and cannot be opened again. Arrays
/// do not keep their store. A killed process leaves its store, until the next [`Manager::new`] in
/// the same root or the next [`sweep`](Manager::sweep) finds that all its processes are gone. A
/// forked child owns nothing.
///
/// # Examples
///
/// ```
/// use ndarray::Ix1;
/// use ndshm::Manager;
///
/// let manager = Manager::new()?;
/// manager.options().name("xs").zeros::<f64, _>(1000)?;
/// assert_eq!(manager.array::<f64, Ix1>("xs")?.len(), 1000);
/// let path = manager.path().to_path_buf();
/// drop(manager);
/// assert!(!path.exists());
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone)]
pub struct Manager {
    shared: Arc<Shared>,
}

/// The state that the clones of a manager share.
struct Shared {
    member: Arc<Member>,
    is_owner: AtomicBool,
    generation: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "Manager")]
struct Fields {
    version: u8,
    #[serde(with = "path_field")]
    path: PathBuf,
    store: Uuid,
}

impl Manager {
    pub(crate) fn from_member(member: Arc<Member>, is_owner: bool) -> Self {
        member.begin_managing();
        Self {
            shared: Arc::new(Shared {
                member,
                is_owner: AtomicBool::new(is_owner),
                generation: fork::generation(),
            }),
        }
    }

    /// Joins the store at this path.
    pub(crate) fn join(path: &Path, any_file_system: bool, wait: Wait) -> Result<Self> {
        let member = Member::join(&store::resolve(path)?, any_file_system, wait)?;
        member.check_open()?;
        Ok(Self::from_member(member, false))
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.shared.member
    }

    /// The store's directory.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(manager.path().is_dir());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        self.member().directory()
    }

    /// Whether the store is deleted when this manager and its clones are dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// let owner = ndshm::Manager::new()?;
    /// let member = ndshm::Manager::open(owner.path())?;
    /// assert!(owner.is_owner() && !member.is_owner());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_owner(&self) -> bool {
        self.shared.owns()
    }

    /// Deletes the store with all its arrays now, and reports whether that worked.
    ///
    /// Other managers get [`Error::Closed`] from then on. Arrays that are open stay usable. Takes
    /// `&self`: dropping the manager does nothing more.
    ///
    /// # Errors
    ///
    /// `NotOwner` for an ephemeral store that another manager made; `Closed` if it is gone already;
    /// `Untrusted` if the directory contains files that are not the store's: then nothing was
    /// deleted; `Io`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager.close()?;
    /// assert!(matches!(manager.zeros::<f64, _>(3), Err(ndshm::Error::Closed { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn close(&self) -> Result<()> {
        let member = self.member();
        member.check_writable()?;
        // A store that a killed closer marked is still at its path: this closer finishes the
        // deletion.
        if !member.is_at_its_path()? {
            return Err(member.closed());
        }
        if !member.page().is_persistent() && !self.is_owner() {
            return Err(self.not_owner());
        }
        member.check_descriptors()?;
        store::check_removable(self.path())?;
        member.page().set_closing(self.path())?;
        failpoint!(CloseMarked);
        member.let_go();
        let deadline = member.deadline();
        store::remove(self.path(), member.lock_file(), member.inode(), &deadline).map(|_| ())
    }

    /// Makes an ephemeral store persistent: from now on it outlives its processes. Returns its
    /// path.
    ///
    /// Where the store's flags are damaged, so that nothing deletes it, any process may call this:
    /// it writes them anew.
    ///
    /// # Errors
    ///
    /// `NotOwner` if another manager made it; `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let path = manager.persist()?;
    /// drop(manager);
    /// ndshm::Manager::open(&path)?.close()?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn persist(&self) -> Result<PathBuf> {
        let member = self.member();
        member.check_open()?;
        member.check_writable()?;
        let has_flags = member.page().check_flags(self.path()).is_ok();
        if !has_flags || !member.page().is_persistent() {
            if has_flags && !self.is_owner() {
                return Err(self.not_owner());
            }
            failpoint!(PersistWanted);
            member.page().set_persistent();
            failpoint!(PersistMarked);
            member.page().owner.store(0, SeqCst);
            failpoint!(PersistDisowned);
            self.shared.is_owner.store(false, SeqCst);
        }
        Ok(self.path().into())
    }

    /// Gives up this manager's ownership of an ephemeral store. No manager deletes the store then:
    /// it lasts until its last process is gone, and its janitor or the next sweep deletes it.
    ///
    /// It is for processes of one rank that share a store and end in any order. Give such a store
    /// a [`janitor`](crate::Builder::janitor). Does nothing if the manager does not own the store.
    ///
    /// # Errors
    ///
    /// `Closed`; `ReadOnly` where the store is mounted read-only.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let member = ndshm::Manager::open(manager.path())?;
    /// manager.disown()?;
    /// drop(manager);
    /// member.zeros::<f64, _>(3)?; // the store is still there
    /// # let path = member.path().to_path_buf();
    /// # drop(member);
    /// # ndshm::Manager::sweep_root(path.parent().unwrap())?;
    /// # assert!(!path.exists());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn disown(&self) -> Result<()> {
        let member = self.member();
        member.check_open()?;
        member.check_writable()?;
        if self.is_owner() {
            member.page().owner.store(0, SeqCst);
            self.shared.is_owner.store(false, SeqCst);
        }
        Ok(())
    }

    /// How long this process waits by default for guards on arrays of the store, and for the
    /// store's own locks; see
    /// [`Builder::lock_timeout`](crate::Builder::lock_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let manager = ndshm::Manager::builder().lock_timeout(Duration::from_secs(60)).create()?;
    /// assert_eq!(manager.lock_timeout(), Some(Duration::from_secs(60)));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn lock_timeout(&self) -> Option<Duration> {
        self.member().settings().lock_timeout()
    }

    fn not_owner(&self) -> Error {
        let reason = "only the manager that made an ephemeral store, and its clones, can close or \
                      persist it";
        Error::NotOwner {
            path: self.path().into(),
            reason,
        }
    }
}

impl Shared {
    fn owns(&self) -> bool {
        self.is_owner.load(SeqCst) && self.generation == fork::generation()
    }
}

impl Drop for Shared {
    /// Deletes an ephemeral store; reports nothing. If that fails, a sweep deletes the rest.
    fn drop(&mut self) {
        let (page, directory) = (self.member.page(), self.member.directory());
        let deletes = self.owns()
            && !page.is_persistent()
            && self.member.is_at_its_path().is_ok_and(|is_there| is_there)
            && self.member.check_descriptors().is_ok()
            && store::check_removable(directory).is_ok();
        if deletes && page.set_closing(directory).unwrap_or(false) {
            failpoint!(CloseMarked);
            self.member.let_go();
            let deadline = self.member.deadline_in_passing();
            let lock = self.member.lock_file();
            let _ = store::remove(directory, lock, self.member.inode(), &deadline);
        }
        self.member.end_managing();
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("path", &self.path())
            .field("is_owner", &self.is_owner())
            .finish()
    }
}

impl Serialize for Manager {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Fields {
            version: 1,
            path: self.path().into(),
            store: self.member().page().uuid(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Manager {
    /// Joins the store, never as its owner.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields {
            version,
            path,
            store,
        } = Fields::deserialize(deserializer)?;
        if version != 1 {
            return Err(de::Error::custom(format!(
                "a manager of version {version}, this library reads 1"
            )));
        }
        let manager = Self::join(&path, false, Wait::Forever).map_err(de::Error::custom)?;
        let found = manager.member().page().uuid();
        if found != store {
            let error = Error::PathReused {
                path: manager.path().into(),
                expected: store.to_string(),
                found: found.to_string(),
            };
            return Err(de::Error::custom(error));
        }
        Ok(manager)
    }
}

//! Settings for a store, and the constructors of managers for the usual ones.

mod tuning;
mod verbs;

use crate::{error::Result, manager::Manager, store::settings::HugePages};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Settings for a store: its place, and whether it is persistent. Made by [`Manager::builder`].
///
/// # Examples
///
/// ```
/// # let scratch = tempfile::tempdir().unwrap();
/// let manager = ndshm::Manager::builder()
///     .root(scratch.path())
///     .name("run-7")
///     .persistent()
///     .open_or_create()?;
/// manager.close()?;
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Builder {
    root: Option<PathBuf>,
    name: Option<String>,
    path: Option<PathBuf>,
    persistent: Option<bool>,
    any_file_system: bool,
    lock_timeout: Option<Duration>,
    huge_pages: Option<HugePages>,
    prefault: bool,
    core_dumps: Option<bool>,
    recycle: Option<usize>,
    cache: Option<usize>,
    janitor: bool,
    janitor_program: Option<PathBuf>,
}

impl Manager {
    /// Makes an ephemeral store in the default root, and owns it.
    ///
    /// The root is the directory in `NDSHM_ROOT`, else `/dev/shm/ndshm-<uid>`. Stores in it whose
    /// processes are all gone are deleted first.
    ///
    /// # Errors
    ///
    /// `Untrusted` if the root is not this user's alone, or if the default root is not on a tmpfs;
    /// `Io` if the store cannot be made. There is no fall-back to another place.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(manager.is_owner() && manager.path().exists());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn new() -> Result<Self> {
        Self::builder().create()
    }

    /// Makes a persistent store at `path`; it stays until [`close`](Self::close).
    ///
    /// # Errors
    ///
    /// `AlreadyExists`; `Io` if the parent directory does not exist; `Untrusted` if the file system
    /// cannot keep the promises of a store.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Manager;
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("run-7");
    /// let manager = Manager::create(&path)?;
    /// drop(manager);
    /// Manager::open(&path)?.close()?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().path(path).create()
    }

    /// Joins the store at `path`.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none; `Closed`; `Untrusted` if the directory is not this user's alone
    /// or not a store.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Manager;
    ///
    /// let owner = Manager::new()?;
    /// let member = Manager::open(owner.path())?;
    /// assert!(!member.is_owner());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().path(path).open()
    }

    /// Joins the store at `path`, or makes a persistent one there: the start of a workflow that may
    /// be resumed.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open) and [`create`](Self::create).
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Manager;
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("run-7");
    /// let manager = Manager::open_or_create(&path)?;
    /// assert_eq!(Manager::open_or_create(&path)?.path(), manager.path());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().path(path).open_or_create()
    }

    /// Settings for a store: another root, a name of its own, persistent or ephemeral.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder().root(scratch.path()).name("frames").create()?;
    /// assert!(manager.path().ends_with("frames"));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// The directory in which the store is made, instead of `NDSHM_ROOT` or `/dev/shm/ndshm-<uid>`.
    /// It is made if it does not exist.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder().root(scratch.path()).create()?;
    /// assert_eq!(
    ///     manager.path().parent(),
    ///     Some(std::fs::canonicalize(scratch.path()).unwrap().as_path())
    /// );
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn root(mut self, root: impl AsRef<Path>) -> Self {
        self.root = Some(root.as_ref().into());
        self
    }

    /// The name of the store's directory in the root, instead of one made of the program's name and
    /// random letters.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder().root(scratch.path()).name("frames").create()?;
    /// assert!(manager.path().ends_with("frames"));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The store's whole path, outside any root. A store that is made by its path is persistent
    /// unless [`ephemeral`](Self::ephemeral) is asked for.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder().path(scratch.path().join("run-7")).create()?;
    /// assert!(!manager.is_owner(), "a persistent store has no owner");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.path = Some(path.as_ref().into());
        self
    }

    /// The store stays until it is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder().root(scratch.path()).persistent().create()?;
    /// let path = manager.path().to_path_buf();
    /// drop(manager);
    /// ndshm::Manager::open(path)?.close()?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn persistent(mut self) -> Self {
        self.persistent = Some(true);
        self
    }

    /// The store is deleted when its owner ends.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let path = scratch.path().join("run-7");
    /// let manager = ndshm::Manager::builder().path(&path).ephemeral().create()?;
    /// drop(manager);
    /// assert!(!path.exists());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn ephemeral(mut self) -> Self {
        self.persistent = Some(false);
        self
    }

    /// Accepts file systems other than tmpfs, ext4, xfs and overlays, at your own risk.
    ///
    /// On NFS flock is a byte lock, so a living process may seem dead. A file system that copies on
    /// write can run out of space when a process writes to a reserved file: that is a signal
    /// (SIGBUS), not an error. A store that is made with this setting says so in its lock file:
    /// processes that open it, or its arrays, accept its file system without the setting.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder().root(scratch.path()).any_file_system().create()?;
    /// assert!(manager.is_owner());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn any_file_system(mut self) -> Self {
        self.any_file_system = true;
        self
    }
}

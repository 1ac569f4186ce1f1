//! Settings for a store, before it is made or joined.

use crate::{
    error::{Error, Result},
    format::LOCK_NAME,
    manager::Manager,
    member::Member,
    store, trust,
};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Longest part of an ephemeral store's name that comes from the program's name.
const PROGRAM_LEN: usize = 24;

/// Settings for a store: where it is, and whether it stays. Made by [`Manager::builder`].
///
/// # Examples
///
/// ```
/// # let scratch = tempfile::tempdir().unwrap();
/// let manager = ndshm::Manager::builder().root(scratch.path()).name("run-7").persistent().open_or_create()?;
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
}

impl Builder {
    /// The directory that the store is made in, instead of `NDSHM_ROOT` or `/dev/shm/ndshm-<uid>`; made where it does not exist.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder().root(scratch.path()).create()?;
    /// assert_eq!(manager.path().parent(), Some(std::fs::canonicalize(scratch.path()).unwrap().as_path()));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn root(mut self, root: impl AsRef<Path>) -> Self {
        self.root = Some(root.as_ref().into());
        self
    }

    /// The name of the store's directory in the root, instead of one made of the program's name and random letters.
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

    /// The store's whole path, outside any root. A store that is made by its path is persistent unless [`ephemeral`](Self::ephemeral) is asked for.
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
    /// On NFS flock is a byte lock, so that a process may seem dead that lives; file systems that copy on write can run out of space when
    /// a reserved file is written, which is a signal (SIGBUS), not an error. Other processes that open arrays from handles must first join
    /// the store with this setting too.
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

    /// Makes the store.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::new`] and [`Manager::create`]; `Name` where the name cannot be a directory's.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder().root(scratch.path()).name("run-7").persistent().create()?;
    /// assert!(!manager.is_owner());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn create(&self) -> Result<Manager> {
        let persistent = self.persistent.unwrap_or(self.path.is_some());
        let directory = match &self.path {
            Some(path) => path.clone(),
            None => {
                let root = trust::root(self.root.as_deref(), self.any_file_system, true)?;
                // Housekeeping for others: what fails here is not this caller's concern, `Manager::sweep` reports it.
                let _ = store::sweep(&root);
                root.join(self.directory_name()?)
            }
        };
        let member = store::create(&directory, persistent, self.any_file_system)?;
        Ok(Manager::from_member(member, !persistent))
    }

    /// Joins the store.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::open`]; `NotFound` where neither a path nor a name was given.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let settings = ndshm::Manager::builder().root(scratch.path()).name("run-7");
    /// let owner = settings.create()?;
    /// assert_eq!(settings.open()?.path(), owner.path());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open(&self) -> Result<Manager> {
        let directory = match (&self.path, &self.name) {
            (Some(path), _) => path.clone(),
            (None, Some(_)) => trust::root(self.root.as_deref(), self.any_file_system, false)?.join(self.directory_name()?),
            (None, None) => return Err(Error::NotFound { path: PathBuf::new(), what: "name the store to open: by Builder::path or Builder::name" }),
        };
        let missing = |_| Error::NotFound { path: directory.clone(), what: "no store is here" };
        let member = Member::join(&std::fs::canonicalize(&directory).map_err(missing)?, self.any_file_system)?;
        member.check_open()?;
        Ok(Manager::from_member(member, false))
    }

    /// Joins the store, or makes it where there is none.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open) and [`create`](Self::create).
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let settings = ndshm::Manager::builder().root(scratch.path()).name("run-7").persistent();
    /// assert_eq!(settings.open_or_create()?.path(), settings.open_or_create()?.path());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open_or_create(&self) -> Result<Manager> {
        loop {
            match self.open() {
                Err(Error::NotFound { .. }) => {}
                Err(Error::Closed { path }) => drop(store::finish_closing(&path)?),
                opened => return opened,
            }
            match self.create() {
                // Somebody was faster: open theirs. What is there and no store is an error of `open`.
                Err(Error::AlreadyExists { path }) if !path.join(LOCK_NAME).exists() && path.exists() => {
                    return Err(Error::Untrusted { path, reason: "the directory exists and is not a store".into() });
                }
                Err(Error::AlreadyExists { .. }) => {}
                created => return created,
            }
        }
    }

    fn directory_name(&self) -> Result<String> {
        match &self.name {
            Some(name) => check_name(name).map(|()| name.clone()),
            None => {
                let program = std::env::current_exe().ok().and_then(|path| Some(path.file_stem()?.to_str()?.to_owned()));
                let letters =
                    program.unwrap_or_default().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(PROGRAM_LEN).collect::<String>();
                let program = if letters.is_empty() { "store".to_owned() } else { letters };
                let random = Uuid::new_v4().simple().to_string();
                Ok(format!("{program}-{}-{}", std::process::id(), &random[..12]))
            }
        }
    }
}

/// An error where this cannot be the name of a file or a store.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let reason = match name {
        "" => "a name is needed, and it must not be empty",
        _ if name.len() > 200 => "it is longer than 200 bytes",
        _ if name.starts_with('.') => "it starts with a dot",
        _ if name.contains(['/', '\0']) => "it contains a slash or NUL",
        _ if name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) => "32 hexadecimal digits are what arrays without a name have",
        _ => return Ok(()),
    };
    Err(Error::Name { name: name.into(), reason })
}

//! Where managers come from: settings for a store, and the short ways to the usual ones.

mod tuning;

use crate::{
    error::{Error, Result},
    format::{constants::LOCK_NAME, name},
    manager::Manager,
    store::{self, janitor, permissions, settings::HugePages},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use uuid::Uuid;

/// Longest part of an ephemeral store's name that comes from the program's name.
const PROGRAM_LEN: usize = 24;
/// How many random names are tried.
const TRIES: usize = 10;

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
    lock_timeout: Option<Duration>,
    huge_pages: Option<HugePages>,
    prefault: bool,
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
    /// `Untrusted` where the root is not this user's alone, or by default not on a tmpfs; `Io`
    /// where it cannot be made. There is no fall-back to another place.
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
    /// `AlreadyExists`; `Io` where the parent directory does not exist; `Untrusted` where the file
    /// system cannot keep the promises of a store.
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
    /// `NotFound` where there is none; `Closed`; `Untrusted` where the directory is not this user's
    /// alone or not a store.
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

    /// Joins the store at `path`, or makes a persistent one there: what a workflow that may be
    /// resumed starts with.
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
    /// The directory that the store is made in, instead of `NDSHM_ROOT` or `/dev/shm/ndshm-<uid>`;
    /// made where it does not exist.
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
    /// On NFS flock is a byte lock, so that a process may seem dead that lives; file systems that
    /// copy on write can run out of space when a reserved file is written, which is a signal
    /// (SIGBUS), not an error. Other processes that open arrays from handles must first join the
    /// store with this setting too.
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
    /// Those of [`Manager::new`] and [`Manager::create`]; `Name` where the name cannot be a
    /// directory's.
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
        let janitor = if self.janitor && !persistent {
            Some(janitor::program(self.janitor_program.as_deref())?)
        } else {
            None
        };
        let create = |directory: &Path| {
            let member = store::create(directory, persistent, self.any_file_system)?;
            let manager = self.with_settings(Manager::from_member(member, !persistent));
            // Where it does not start, dropping the manager deletes the store.
            janitor
                .as_deref()
                .map_or(Ok(()), |program| janitor::start(program, manager.path()))?;
            Ok(manager)
        };
        if let Some(path) = &self.path {
            return create(path);
        }
        let root = permissions::root(self.root.as_deref(), self.any_file_system, true)?;
        // Housekeeping for others: what fails here is not this caller's concern, `Manager::sweep`
        // reports it.
        let _ = store::sweep(&root);
        match &self.name {
            Some(name) => name::check(name).and_then(|()| create(&root.join(name))),
            None => retried(random_name, |name| create(&root.join(name))),
        }
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
            (None, Some(name)) => {
                name::check(name)?;
                permissions::root(self.root.as_deref(), self.any_file_system, false)?.join(name)
            }
            (None, None) => {
                return Err(Error::NotFound {
                    path: PathBuf::new(),
                    what: "name the store to open: by Builder::path or Builder::name",
                });
            }
        };
        Manager::join(&directory, self.any_file_system).map(|manager| self.with_settings(manager))
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
        let no_store = |path| {
            let reason = "the directory exists and is not a store: name one that does not exist yet, it is made with the store";
            Err(Error::Untrusted {
                path,
                reason: reason.into(),
            })
        };
        loop {
            match self.open() {
                Err(Error::NotFound { .. }) => {}
                // Made by hand beforehand: to correct its mode would not help.
                Err(Error::Untrusted { path, .. })
                    if path
                        .read_dir()
                        .is_ok_and(|mut entries| entries.next().is_none()) =>
                {
                    return no_store(path);
                }
                Err(Error::Closed { path }) => drop(store::finish_closing(&path)?),
                opened => return opened,
            }
            match self.create() {
                // Somebody was faster: open theirs. What is there and no store is an error of
                // `open`.
                Err(Error::AlreadyExists { path })
                    if !path.join(LOCK_NAME).exists() && path.exists() =>
                {
                    return no_store(path);
                }
                Err(Error::AlreadyExists { .. }) => {}
                created => return created,
            }
        }
    }

    fn with_settings(&self, manager: Manager) -> Manager {
        let settings = manager.member().settings();
        self.lock_timeout
            .into_iter()
            .for_each(|timeout| settings.set_lock_timeout(timeout));
        if let Some(choice) = self
            .huge_pages
            .filter(|&choice| choice != settings.huge_pages())
        {
            settings.set_huge_pages(choice);
            // What is kept has the pages of the choice before.
            manager.member().pool().shrink(0);
        }
        if let Some(bytes) = self.cache {
            settings.set_cache(bytes);
            manager.member().cache().shrink(bytes);
        }
        if let Some(bytes) = self.recycle {
            settings.set_recycle(bytes);
            manager.member().pool().shrink(bytes);
        }
        if self.prefault {
            settings.set_prefault();
        }
        manager
    }
}

/// A name for a store that nobody chose one for: the program's, the process's and random letters.
fn random_name() -> String {
    let program = std::env::current_exe()
        .ok()
        .and_then(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .unwrap_or_default();
    let letters: String = program
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
        .take(PROGRAM_LEN)
        .collect();
    let program = if letters.is_empty() {
        "store"
    } else {
        &letters
    };
    let random = Uuid::new_v4().simple().to_string();
    format!("{program}-{}-{}", std::process::id(), &random[..12])
}

/// Makes something under a random name; under another one where the name is taken.
fn retried<T>(mut name: impl FnMut() -> String, make: impl Fn(&str) -> Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        match make(&name()) {
            Err(Error::AlreadyExists { .. }) => {}
            made => return made,
        }
    }
    make(&name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_name_that_is_taken_is_replaced_by_another() {
        let make = |name: &str| match name {
            "taken" => Err(Error::AlreadyExists { path: name.into() }),
            name => Ok(name.to_owned()),
        };
        let mut names = ["taken", "taken", "free"].into_iter().map(str::to_owned);
        assert_eq!(retried(|| names.next().unwrap(), make).unwrap(), "free");
        let mut tries = 0;
        let always_taken = || {
            tries += 1;
            "taken".to_owned()
        };
        assert!(
            matches!(
                retried(always_taken, make),
                Err(Error::AlreadyExists { .. })
            ) && tries == TRIES
        );
    }
}

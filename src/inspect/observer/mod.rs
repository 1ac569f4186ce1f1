//! A look at a store from outside: nothing is joined, mapped, counted or kept alive by it.
//!
//! Reads the lock file's page and asks the kernel about its byte locks; reads the state blocks of
//! arrays. Writes nothing.

mod leftovers;
mod state;

pub use leftovers::Leftovers;
pub use state::{ArrayState, GuardKind, GuardState, MemberState};

use crate::{
    error::{Error, Result},
    format::constants::{LOCK_NAME, SUFFIX},
    inspect::info::ArrayInfo,
    store::{self, StoreReader, member_locks},
};
use std::path::{Path, PathBuf};

/// A look at a store from outside, for tools that show what is there.
///
/// A [`Manager`](crate::Manager) is a member of its store and keeps it alive; an observer is none.
/// What it tells is true when it looks, and may have changed when it is read. One descriptor is
/// open for as long as it lives.
///
/// # Examples
///
/// ```
/// use ndshm::{Manager, Observer, Scope};
///
/// let manager = Manager::new()?;
/// let xs = manager.options().name("xs").zeros::<f64, _>((3, 4))?;
/// let guard = xs.write()?;
///
/// let observer = Observer::open(manager.path())?;
/// for info in observer.arrays()? {
///     let info = info?; // one damaged file is one error here, and the others are still listed
///     let state = observer.state(&info)?;
///     println!("{:?}: frozen {}, poisoned {:?}, guards {:?}", info.name, state.is_frozen, state.poisoned, state.guards);
///     assert_eq!((state.scope, state.guards.len()), (Scope::Store, 1));
/// }
/// # Ok::<(), ndshm::Error>(())
/// ```
pub struct Observer {
    directory: PathBuf,
    store: StoreReader,
}

impl Observer {
    /// Looks at the store at this path.
    ///
    /// # Errors
    ///
    /// `NotFound` where there is none; `Untrusted` where the directory is not this user's alone, or
    /// the lock file is none; `Io`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(ndshm::Observer::open(manager.path())?.path(), manager.path());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let missing = |_| Error::NotFound {
            path: path.into(),
            what: "no store is here",
        };
        let directory = std::fs::canonicalize(path).map_err(missing)?;
        Ok(Self {
            store: StoreReader::open(&directory)?,
            directory,
        })
    }

    /// The directories in a root that have a lock file, in the order of their names. Opening one
    /// may still be refused.
    ///
    /// # Errors
    ///
    /// `Io` where the root cannot be read; one that is not there has no stores.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Manager, Observer};
    ///
    /// let manager = Manager::new()?;
    /// assert!(Observer::stores(Manager::default_root()?)?.contains(&manager.path().into()));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn stores(root: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
        let root = root.as_ref();
        let mut stores: Vec<_> = store::entries(root)?
            .into_iter()
            .map(|name| root.join(name))
            .filter(|path| path.join(LOCK_NAME).is_file())
            .collect();
        stores.sort();
        Ok(stores)
    }

    /// The store's directory.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(ndshm::Observer::open(manager.path())?.path(), manager.path());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Whether the store stays when its processes are gone.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(!ndshm::Observer::open(manager.path())?.is_persistent());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_persistent(&self) -> bool {
        self.store.page().is_persistent()
    }

    /// Whether somebody began to delete the store. One that is still there then was left so by a
    /// process that died.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let observer = ndshm::Observer::open(manager.path())?;
    /// assert!(!observer.is_closing());
    /// manager.close()?;
    /// assert!(observer.is_closing());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_closing(&self) -> bool {
        self.store.page().is_closing()
    }

    /// The member that deletes the store when it ends; none has a persistent one.
    ///
    /// # Errors
    ///
    /// `Io` where it cannot be found out whether it lives.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(ndshm::Observer::open(manager.path())?.owner()?.is_some_and(|owner| owner.is_alive));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn owner(&self) -> Result<Option<MemberState>> {
        match self
            .store
            .page()
            .owner
            .load(std::sync::atomic::Ordering::SeqCst)
        {
            0 => Ok(None),
            id => Ok(Some(MemberState {
                id,
                is_alive: self.is_alive(id)?,
            })),
        }
    }

    /// The ids of the members that live, in their order. Each process that uses the store is one, a
    /// manager or an open array suffices.
    ///
    /// # Errors
    ///
    /// `Io` where the kernel does not say.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(ndshm::Observer::open(manager.path())?.members()?.len(), 1);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn members(&self) -> Result<Vec<u64>> {
        member_locks::living(self.store.lock()?)
            .map_err(Error::io(&self.directory, "ask which members live"))
    }

    /// The arrays, in the order of their creation. What cannot be read as one is an error that
    /// names the file, and comes last; the others are listed all the same.
    ///
    /// # Errors
    ///
    /// `Io` where the directory cannot be read.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Error, Manager, Observer};
    ///
    /// let manager = Manager::new()?;
    /// let xs = manager.options().name("xs").zeros::<f64, _>(5)?;
    /// std::fs::write(manager.path().join("ys.ndshm"), "no array").unwrap();
    /// let arrays = Observer::open(manager.path())?.arrays()?;
    /// assert_eq!(arrays[0].as_ref().unwrap().id, xs.id());
    /// assert!(matches!(arrays[1], Err(Error::Header { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn arrays(&self) -> Result<Vec<Result<ArrayInfo>>> {
        let mut paths: Vec<_> = store::entries(&self.directory)?
            .into_iter()
            .filter(|name| name.as_encoded_bytes().ends_with(SUFFIX.as_bytes()))
            .collect();
        paths.sort();
        let (mut infos, mut errors) = (Vec::new(), Vec::new());
        for name in paths {
            match ArrayInfo::at(self.directory.join(name)) {
                Ok(info) => infos.push(info),
                // Deleted since the directory was read, or about to be.
                Err(Error::NotFound { .. } | Error::Released { .. }) => {}
                Err(error) => errors.push(Err(error)),
            }
        }
        infos.sort_by_key(|info| (info.created, info.id));
        Ok(infos.into_iter().map(Ok).chain(errors).collect())
    }

    /// What is going on with an array of this store: who owns it, whether it is frozen or poisoned,
    /// and the guards on it.
    ///
    /// # Errors
    ///
    /// `Released` where it is gone, or its file is another array's by now; `Io`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<f64, _>(5)?;
    /// let observer = ndshm::Observer::open(manager.path())?;
    /// assert!(!observer.state(&xs.handle().info()?)?.is_frozen);
    /// xs.freeze()?;
    /// assert!(observer.state(&xs.handle().info()?)?.is_frozen);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn state(&self, info: &ArrayInfo) -> Result<ArrayState> {
        ArrayState::read(info, |member| self.is_alive(member))
    }

    /// What of the store a sweep would delete: all of it, or what the dead left in it. Nothing is
    /// deleted.
    ///
    /// # Errors
    ///
    /// `Io` where the directory cannot be read, or it cannot be found out who lives.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert!(ndshm::Observer::open(manager.path())?.leftovers()?.is_empty());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn leftovers(&self) -> Result<Vec<Leftovers>> {
        leftovers::of_store(self)
    }

    /// What of a root [`Manager::sweep_root`](crate::Manager::sweep_root) would delete. Half-built
    /// stores are not told: only a sweep finds out whether somebody is still building them.
    ///
    /// # Errors
    ///
    /// `Io` where a directory cannot be read, or it cannot be found out who lives.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder().root(scratch.path()).create()?;
    /// assert!(ndshm::Observer::leftovers_in(scratch.path())?.is_empty());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn leftovers_in(root: impl AsRef<Path>) -> Result<Vec<Leftovers>> {
        leftovers::of_root(root.as_ref())
    }

    fn is_alive(&self, member: u64) -> Result<bool> {
        member_locks::is_alive(self.store.lock()?, member)
            .map_err(Error::io(&self.directory, "ask whether a member lives"))
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer")
            .field("path", &self.directory)
            .finish_non_exhaustive()
    }
}

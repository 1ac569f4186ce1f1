//! A look at a store from outside: an observer joins no store, maps no array, counts itself in
//! nowhere and keeps nothing alive.
//!
//! It reads the lock page, asks the kernel about the byte locks on the lock file, and reads the
//! state blocks of arrays. It writes nothing.

mod leftovers;
pub(crate) mod locks;
pub(crate) mod ring;
mod state;
mod users;

pub use leftovers::Leftovers;
pub use locks::LockState;
pub use ring::{RingState, SubscriberState};
pub use state::{ArrayState, GuardKind, GuardState, MemberState};
pub use users::UserRoot;

use crate::{
    error::Result,
    inspect::info::{self, ArrayInfo},
    store::{self, StoreReader, listing},
};
use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering::SeqCst,
};

/// A look at a store from outside, for tools that show stores and arrays.
///
/// A [`Manager`](crate::Manager) is a member of its store and keeps it alive; an observer is not.
/// Its answers are true when it looks, and may have changed when the caller reads them. It holds
/// one descriptor open.
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
///     println!(
///         "{:?}: frozen {}, poisoned {:?}, guards {:?}",
///         info.name, state.is_frozen, state.poisoned, state.guards
///     );
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
    /// `NotFound` if there is none; `Untrusted` if the directory is not this user's alone, or its
    /// lock file is not one; `Io`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(ndshm::Observer::open(manager.path())?.path(), manager.path());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let directory = store::resolve(path.as_ref())?;
        Ok(Self {
            store: StoreReader::open(&directory)?,
            directory,
        })
    }

    /// The directories in a root that have a lock file, in the order of their names, but for stores
    /// that are being made. Opening one may still be refused. A root that does not exist has no
    /// stores.
    ///
    /// # Errors
    ///
    /// `Io` if the root cannot be read.
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
        listing::stores(root.as_ref())
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

    /// Whether the store stays when it has no process any more.
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

    /// Whether a process began to delete the store. A closing store that stays was left by a
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

    /// The member that deletes the store when it ends; `None` for a persistent store.
    ///
    /// # Errors
    ///
    /// `Io` if the kernel does not say whether it lives.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(
    ///     ndshm::Observer::open(manager.path())?
    ///         .owner()?
    ///         .is_some_and(|owner| owner.is_alive)
    /// );
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn owner(&self) -> Result<Option<MemberState>> {
        match self.store.page().owner.load(SeqCst) {
            0 => Ok(None),
            id => Ok(Some(MemberState {
                id,
                is_alive: self.store.is_alive(id)?,
            })),
        }
    }

    /// The ids of the living members, in ascending order. Each process that has a manager or an
    /// open array of the store is a member.
    ///
    /// # Errors
    ///
    /// `Io` if the kernel does not say.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(ndshm::Observer::open(manager.path())?.members()?.len(), 1);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn members(&self) -> Result<Vec<u64>> {
        self.store.living()
    }

    /// The arrays, in the order of their creation. An array of the store that cannot be read is an
    /// error that names it; the errors come last. [`strays`](Self::strays) has the files that are
    /// not the store's, whatever their names are.
    ///
    /// # Errors
    ///
    /// `Io` if the directory cannot be read.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Manager, Observer};
    ///
    /// let manager = Manager::new()?;
    /// let xs = manager.options().name("xs").zeros::<f64, _>(5)?;
    /// let arrays = Observer::open(manager.path())?.arrays()?;
    /// assert_eq!(arrays[0].as_ref().unwrap().id, xs.id());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn arrays(&self) -> Result<Vec<Result<ArrayInfo>>> {
        let (infos, errors) = info::of_store(&self.directory)?;
        let errors = errors.into_iter().map(Err);
        Ok(infos.into_iter().map(Ok).chain(errors).collect())
    }

    /// The files, directories and links in the store's directory that are not the store's, whatever
    /// their names are: notes, copies of other stores' arrays. They keep the store from being
    /// deleted until a user moves them away.
    ///
    /// # Errors
    ///
    /// `Io` if the directory cannot be read.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Manager, Observer};
    ///
    /// let manager = Manager::new()?;
    /// let note = manager.path().join("x.ndshm");
    /// std::fs::write(&note, "no array").unwrap();
    /// let observer = Observer::open(manager.path())?;
    /// assert_eq!(observer.strays()?, [note.clone()]);
    /// assert!(observer.arrays()?.is_empty());
    /// # std::fs::remove_file(note).unwrap();
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn strays(&self) -> Result<Vec<PathBuf>> {
        let names = listing::strays(&self.directory)?.into_iter();
        Ok(names.map(|name| self.directory.join(name)).collect())
    }

    /// The state of an array of this store: its owner, whether it is frozen or poisoned, and the
    /// guards on it.
    ///
    /// # Errors
    ///
    /// `Released` if it is gone, or its file is another array's by now; `Io`.
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
        ArrayState::read(info, &self.store)
    }

    /// The parts of the store that a sweep would delete: the whole store, or files of dead members.
    /// Deletes nothing.
    ///
    /// # Errors
    ///
    /// `Io` if the directory cannot be read, or the kernel does not say which members live.
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

    /// The stores and files that [`Manager::sweep_root`](crate::Manager::sweep_root) would delete.
    /// Half-built stores are left out: only a sweep finds out whether a process is building one.
    ///
    /// # Errors
    ///
    /// `Io` if a directory cannot be read, or the kernel does not say which members live.
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
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer")
            .field("path", &self.directory)
            .finish_non_exhaustive()
    }
}

//! Managers: a process's grip on a store.

use crate::{
    array::{self, SharedArray},
    builder::Builder,
    element::Element,
    error::{Error, Result},
    fork,
    format::{NEW_PREFIX, SUFFIX},
    handle::path_field,
    info::ArrayInfo,
    member::Member,
    options::ArrayOptions,
    segment::Segment,
    store::{self, Swept},
    trust,
};
use ndarray::{ArrayRef, Dimension, ShapeBuilder};
use num_traits::One;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{
    fmt, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};
use uuid::Uuid;

/// A process's grip on a store: makes, opens, lists and deletes arrays.
///
/// Which one do you need?
///
/// | | made by | deleted |
/// | --- | --- | --- |
/// | an ephemeral store | [`Manager::new`] | when the last clone of the owner is dropped |
/// | a persistent store | [`Manager::create`], [`Manager::open_or_create`] | by [`close`](Manager::close) only |
///
/// Clones share one grip. A manager that was opened or deserialized is a member of the store, never its owner.
///
/// # Deletion
///
/// The owner is the manager that made an ephemeral store, with its clones. When the last of them is dropped, or at [`close`](Manager::close),
/// the store is deleted with all its arrays. Other managers then get [`Error::Closed`]; arrays that are open stay usable and cannot be opened
/// again. Arrays do not keep their store. A process that is killed leaves its store, until the next [`Manager::new`] in the same root or
/// [`sweep`](Manager::sweep) finds that all its processes are gone. A forked child owns nothing.
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

/// What the clones of a manager share.
struct Shared {
    member: Arc<Member>,
    is_owner: AtomicBool,
    generation: u64,
}

/// How much a store holds. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Number of arrays.
    pub arrays: usize,
    /// Bytes of their elements.
    pub byte_len: u64,
    /// Bytes that the file system gave to their files, headers included.
    pub allocated: u64,
    /// Bytes that are left on the file system.
    pub available: u64,
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
    /// Makes an ephemeral store in the default root, and owns it.
    ///
    /// The root is the directory in `NDSHM_ROOT`, else `/dev/shm/ndshm-<uid>`. Stores in it whose processes are all gone are deleted first.
    ///
    /// # Errors
    ///
    /// `Untrusted` where the root is not this user's alone, or by default not on a tmpfs; `Io` where it cannot be made. There is no fall-back
    /// to another place.
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
    /// `AlreadyExists`; `Io` where the parent directory does not exist; `Untrusted` where the file system cannot keep the promises of a store.
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
    /// `NotFound` where there is none; `Closed`; `Untrusted` where the directory is not this user's alone or not a store.
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

    /// Joins the store at `path`, or makes a persistent one there: what a workflow that may be resumed starts with.
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

    pub(crate) fn from_member(member: Arc<Member>, is_owner: bool) -> Self {
        Self { shared: Arc::new(Shared { member, is_owner: AtomicBool::new(is_owner), generation: fork::generation() }) }
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.shared.member
    }

    /// The store's directory.
    pub fn path(&self) -> &Path {
        self.member().directory()
    }

    /// Whether the store is deleted when this manager and its clones are dropped.
    pub fn is_owner(&self) -> bool {
        self.shared.owns()
    }

    /// Settings for an array, to be followed by one of the verbs that make it.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix2;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let frames = manager.options().name("frames").axis_names(["row", "column"]).zeros::<u8, _>((480, 640))?;
    /// assert_eq!(manager.array::<u8, Ix2>("frames")?.id(), frames.id());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn options(&self) -> ArrayOptions<'_> {
        ArrayOptions::new(self.member())
    }

    /// A new array of zeros. The shape is any of ndarray's: `5`, `(2, 3)`, `[2, 3]`, `(2, 3).f()`, `()`, `IxDyn(&[2, 3])`.
    ///
    /// # Errors
    ///
    /// `NoSpace` where it does not fit, with nothing left behind; `Layout` where its size overflows; `Closed`; `TooManyMappings`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::ShapeBuilder;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros::<f32, _>((2, 3).f())?.strides(), [1, 2]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn zeros<T: Element, Sh: ShapeBuilder>(&self, shape: Sh) -> Result<SharedArray<T, Sh::Dim>> {
        self.options().zeros(shape)
    }

    /// A new array of ones.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.ones::<u64, _>(10)?.read()?.sum(), 10);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn ones<T: Element + One, Sh: ShapeBuilder>(&self, shape: Sh) -> Result<SharedArray<T, Sh::Dim>> {
        self.options().ones(shape)
    }

    /// A new array whose contents are unspecified, but initialised: for who writes all of it anyway.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.empty::<f64, _>(10)?;
    /// xs.write()?.fill(0.5);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn empty<T: Element, Sh: ShapeBuilder>(&self, shape: Sh) -> Result<SharedArray<T, Sh::Dim>> {
        self.options().empty(shape)
    }

    /// A new array of one value.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.from_elem((2, 2), 7i32)?.read()?.sum(), 28);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn from_elem<T: Element, Sh: ShapeBuilder>(&self, shape: Sh, element: T) -> Result<SharedArray<T, Sh::Dim>> {
        self.options().from_elem(shape, element)
    }

    /// A new array whose elements are computed from their indices, in the order in which they lie in memory.
    ///
    /// Nobody sees the array before it is complete; if `f` panics, nothing is left.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.from_shape_fn::<u64, _>((2, 2), |(i, j)| (2 * i + j) as u64)?;
    /// assert_eq!(xs.to_ndarray()?, ndarray::array![[0, 1], [2, 3]]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn from_shape_fn<T: Element, Sh: ShapeBuilder>(
        &self,
        shape: Sh,
        f: impl FnMut(<Sh::Dim as Dimension>::Pattern) -> T,
    ) -> Result<SharedArray<T, Sh::Dim>> {
        self.options().from_shape_fn(shape, f)
    }

    /// A new array with a copy of these elements: of an array, a view, or a guard (`&*guard`).
    ///
    /// The order of a contiguous source is kept, any other becomes C.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.from_ndarray(&ndarray::array![[1.0, 2.0], [3.0, 4.0]])?;
    /// assert_eq!(xs.read()?[[1, 0]], 3.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn from_ndarray<T: Element, D: Dimension>(&self, source: &ArrayRef<T, D>) -> Result<SharedArray<T, D>> {
        self.options().from_ndarray(source)
    }

    /// Opens the array with this name, for reading and writing.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Dtype` and `Rank` where it is of another type; the others of [`Handle::open`](crate::Handle::open).
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix1;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("xs").ones::<f64, _>(3)?;
    /// assert_eq!(manager.array::<f64, Ix1>("xs")?.read()?.sum(), 3.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn array<T: Element, D: Dimension>(&self, name: &str) -> Result<SharedArray<T, D>> {
        array::open_named(self.member(), &self.options().name(name).path()?)
    }

    /// The descriptions of all arrays in the store, in the order of their ids: oldest first.
    ///
    /// # Errors
    ///
    /// `Header` or `Untrusted` where a file is not an array; `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let _xs = manager.zeros::<f64, _>((2, 3))?;
    /// let list = manager.list()?;
    /// assert_eq!((list.len(), list[0].byte_len), (1, 48));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn list(&self) -> Result<Vec<ArrayInfo>> {
        self.member().check_open()?;
        let mut list = Vec::new();
        for path in self.files()? {
            match ArrayInfo::read(&path, None) {
                Ok(info) => list.push(info),
                // Deleted since the directory was read.
                Err(Error::NotFound { .. } | Error::Released { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        list.sort_by_key(|info| info.id);
        Ok(list)
    }

    /// How much the store holds, and what is left.
    ///
    /// # Errors
    ///
    /// `Header` or `Untrusted` where a file is not an array; `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let _xs = manager.zeros::<f64, _>(1000)?;
    /// assert_eq!(manager.usage()?.byte_len, 8000);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage { available: trust::available(self.path())?, ..Usage::default() };
        for info in self.list()? {
            usage.arrays += 1;
            usage.byte_len += info.byte_len as u64;
            usage.allocated += fs::symlink_metadata(&info.path).map_or(0, |metadata| metadata.blocks() * 512);
        }
        Ok(usage)
    }

    /// Whether there is an array with this name.
    ///
    /// # Errors
    ///
    /// `Name` for what cannot be a name; `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(!manager.contains("xs")?);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn contains(&self, name: &str) -> Result<bool> {
        self.member().check_open()?;
        Ok(fs::symlink_metadata(self.options().name(name).path()?).is_ok_and(|metadata| metadata.is_file()))
    }

    /// Deletes the array with this name, whoever owns it. Arrays that are open go on working.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Released` where somebody else is just doing it; `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("xs").zeros::<f64, _>(3)?;
    /// manager.remove("xs")?;
    /// assert!(!manager.contains("xs")?);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn remove(&self, name: &str) -> Result<()> {
        Segment::open(self.member(), &self.options().name(name).path()?, None, false)?.release()
    }

    /// Deletes what the dead left: in this store half-built arrays and those whose owner is gone; in the directory around it, if that is
    /// this user's alone, ephemeral stores whose processes are all gone. A persistent store is never deleted.
    ///
    /// # Errors
    ///
    /// `Io` where something cannot be read or deleted; `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let swept = manager.sweep()?;
    /// println!("{} stores, {} arrays, {} bytes", swept.stores, swept.arrays, swept.bytes);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn sweep(&self) -> Result<Swept> {
        let member = self.member();
        member.check_open()?;
        let mut swept = Swept::default();
        for path in self.files()? {
            let bytes = fs::symlink_metadata(&path).map_or(0, |metadata| metadata.blocks() * 512);
            match Segment::open_for_sweep(member, &path).and_then(|segment| segment.sweep()) {
                Ok(true) => swept.add(Swept { arrays: 1, bytes, ..Swept::default() }),
                Ok(false) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for entry in store::entries(self.path())? {
            let builder = entry.to_str().and_then(|name| name.strip_prefix(NEW_PREFIX)?.split('-').next()?.parse().ok());
            if let Some(builder) = builder
                && !member.is_alive(builder)?
            {
                let path = self.path().join(entry);
                fs::remove_file(&path).map_err(Error::io(&path, "delete a half-built array"))?;
            }
        }
        match self.path().parent() {
            Some(parent) if trust::check_root(parent, true).is_ok() => swept.add(store::sweep(parent)?),
            _ => {}
        }
        Ok(swept)
    }

    /// Deletes the store with all its arrays now, and reports whether that worked.
    ///
    /// Other managers get [`Error::Closed`] from then on. Arrays that are open stay usable. Takes `&self`: dropping the manager does nothing more.
    ///
    /// # Errors
    ///
    /// `NotOwner` for an ephemeral store that another manager made; `Closed` where somebody did it before; `Untrusted` where files lie in the
    /// directory that are not the store's: then nothing was deleted; `Io`.
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
        member.check_open()?;
        if !member.page().is_persistent() && !self.is_owner() {
            return Err(Error::NotOwner { path: self.path().into() });
        }
        store::check_removable(self.path())?;
        if !member.page().set_closing() {
            return Err(member.closed());
        }
        store::remove(self.path()).map(|_| ())
    }

    /// Keeps an ephemeral store: it is persistent from now on, and nobody's end deletes it. Returns its path.
    ///
    /// # Errors
    ///
    /// `NotOwner` where another manager made it; `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let path = manager.keep()?;
    /// drop(manager);
    /// ndshm::Manager::open(&path)?.close()?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn keep(&self) -> Result<PathBuf> {
        let member = self.member();
        member.check_open()?;
        if !member.page().is_persistent() {
            if !self.is_owner() {
                return Err(Error::NotOwner { path: self.path().into() });
            }
            member.page().set_persistent();
            member.page().owner.store(0, SeqCst);
            self.shared.is_owner.store(false, SeqCst);
        }
        Ok(self.path().into())
    }

    /// The array files in the store's directory.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let names = store::entries(self.path())?.into_iter();
        Ok(names.filter(|name| name.as_encoded_bytes().ends_with(SUFFIX.as_bytes())).map(|name| self.path().join(name)).collect())
    }
}

impl Shared {
    fn owns(&self) -> bool {
        self.is_owner.load(SeqCst) && self.generation == fork::generation()
    }
}

impl Drop for Shared {
    /// Deletes an ephemeral store; reports nothing. What could not be deleted is left to a sweep.
    fn drop(&mut self) {
        let page = self.member.page();
        if self.owns() && !page.is_persistent() && store::check_removable(self.member.directory()).is_ok() && page.set_closing() {
            let _ = store::remove(self.member.directory());
        }
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("path", &self.path()).field("is_owner", &self.is_owner()).finish()
    }
}

impl Serialize for Manager {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Fields { version: 1, path: self.path().into(), store: self.member().page().uuid() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Manager {
    /// Joins the store, never as its owner.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields { version, path, store } = Fields::deserialize(deserializer)?;
        if version != 1 {
            return Err(de::Error::custom(format!("a manager of version {version}, this library reads 1")));
        }
        let manager = Self::open(path).map_err(de::Error::custom)?;
        let found = manager.member().page().uuid();
        if found != store {
            let error = Error::PathReused { path: manager.path().into(), expected: store.to_string(), found: found.to_string() };
            return Err(de::Error::custom(error));
        }
        Ok(manager)
    }
}

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// A manager of the array's store, as a member: it does not keep the store from being deleted.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(3)?;
    /// assert_eq!(xs.manager().path(), manager.path());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn manager(&self) -> Manager {
        Manager::from_member(self.grip().member().clone(), false)
    }

    /// A new shared array in another store with a copy of the elements; see [`copy`](Self::copy).
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read) and of [`Manager::zeros`].
    ///
    /// # Examples
    ///
    /// ```
    /// let (here, there) = (ndshm::Manager::new()?, ndshm::Manager::new()?);
    /// let copy = here.ones::<f64, _>(3)?.copy_into(&there)?;
    /// assert_eq!(copy.manager().path(), there.path());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn copy_into(&self, manager: &Manager) -> Result<Self> {
        self.copy_to(manager.member())
    }
}

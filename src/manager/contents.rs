//! The contents of a store: listing, counting, removing, sweeping.

use super::Manager;
use crate::{
    error::{Error, Result},
    format::{directory_entry::StoreEntry, name::ArrayName},
    inspect::info::{self, ArrayInfo},
    segment::{self, Segment, sweep},
    store::{self, Swept, listing, permissions},
    sys::fs::left,
};
use std::collections::HashSet;

/// The size of a store.
///
/// # Examples
///
/// ```
/// let manager = ndshm::Manager::new()?;
/// let _xs = manager.zeros::<f64, _>(1000)?;
/// let usage = manager.usage()?;
/// println!(
///     "{} arrays, {} bytes; {} are available",
///     usage.arrays, usage.allocated, usage.available
/// );
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Number of arrays.
    pub arrays: usize,
    /// Bytes of their elements.
    pub byte_len: u64,
    /// Bytes that their files take on the file system, headers included.
    pub allocated: u64,
    /// Bytes of files without an array: kept for reuse
    /// ([`Builder::recycle`](crate::Builder::recycle)), being made, left half-made by a process
    /// that was killed, or released and not deleted yet. A sweep deletes those of dead processes.
    /// Files that cannot be read as arrays count here too.
    pub kept: u64,
    /// Bytes that are available: on the file system, and on a tmpfs in the memory of the machine
    /// and of this process's control group, whichever is least.
    pub available: u64,
}

impl Manager {
    /// The descriptions of all arrays in the store, oldest first. A damaged array is left out:
    /// [`damaged`](Self::damaged) has the reason. So are files that are not the store's:
    /// [`Observer::strays`](crate::Observer::strays) has their paths.
    ///
    /// # Errors
    ///
    /// `Closed`; `Io` if the directory cannot be read.
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
        Ok(info::of_store(self.path())?.0)
    }

    /// The reasons why arrays of the store cannot be read, in the order of their paths.
    /// [`list`](Self::list) leaves these files out; their names are taken, and opening them fails
    /// with these errors.
    ///
    /// # Errors
    ///
    /// `Closed`; `Io` if the directory cannot be read.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let _xs = manager.zeros::<f64, _>(3)?;
    /// let ys = manager.options().name("ys").zeros::<f64, _>(3)?;
    /// let file = std::fs::OpenOptions::new().write(true).open(ys.path()).unwrap();
    /// std::os::unix::fs::FileExt::write_all_at(&file, &[7], 68).unwrap(); // damages the array
    /// assert_eq!((manager.list()?.len(), manager.damaged()?.len()), (1, 1));
    /// for error in manager.damaged()? {
    ///     println!("{error}");
    /// }
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn damaged(&self) -> Result<Vec<Error>> {
        self.member().check_open()?;
        Ok(info::of_store(self.path())?.1)
    }

    /// The size of the store, and the space that is available. Files that cannot be read as arrays
    /// count as [`kept`](Usage::kept): see [`damaged`](Self::damaged).
    ///
    /// # Errors
    ///
    /// `Closed`; `Io` if the directory cannot be read.
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
        let list = self.list()?;
        // If this fails because the store was closed in between, that is the error.
        let left = left(self.path(), self.member().is_on_tmpfs());
        let available = left
            .or_else(|error| self.member().check_open().and(Err(error)))?
            .bytes;
        let mut usage = Usage {
            available,
            ..Usage::default()
        };
        let mut listed = HashSet::new();
        for info in list {
            usage.arrays += 1;
            usage.byte_len += info.byte_len as u64;
            usage.allocated += listing::allocated(&info.path);
            listed.insert(info.path);
        }
        for name in listing::names(self.path())? {
            let path = self.path().join(&name);
            if matches!(
                StoreEntry::of(&name),
                StoreEntry::Draft { .. } | StoreEntry::Array(_)
            ) && !listed.contains(&path)
            {
                usage.kept += listing::allocated(&path);
            }
        }
        Ok(usage)
    }

    /// Whether there is an array with this name. A damaged file has its name too; the name of an
    /// array that was released is free, also where a killed process has not removed the file.
    ///
    /// # Errors
    ///
    /// `Name` if an array cannot have this name; `Closed`; `Io` if the file cannot be read.
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
        let path = ArrayName::parse(name)?.file_in(self.path());
        match ArrayInfo::read(&path, None) {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. } | Error::Released { .. }) => Ok(false),
            Err(error @ Error::Io { .. }) => Err(error),
            Err(_) => Ok(true),
        }
    }

    /// Deletes the array with this name, whichever process owns it. Processes that have it open can
    /// go on using it.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Released` if another process is deleting it; `Closed`.
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
        let path = ArrayName::parse(name)?.file_in(self.path());
        match Segment::open(self.member(), &path, None, false) {
            Ok(segment) => segment.release(),
            Err(released @ Error::Released { .. }) => {
                Segment::finish_release_at(self.member(), &path).and(Err(released))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the array with the name `from` the name `to`. `from` may also be the 32 hexadecimal
    /// digits in the file name of an array without a name.
    ///
    /// One step: a process finds the array by one of the names at any time. Processes that have it
    /// open go on using it, and see the name that they opened in [`path`](crate::AnyArray::path)
    /// and [`name`](crate::AnyArray::name). Handles that were given out before find it by its id,
    /// as long as it is in the store; such an opening looks at all named arrays of the store.
    ///
    /// # Errors
    ///
    /// `NotFound`; `AlreadyExists` if an array has the name `to`, which may be this one; `Name` if
    /// an array cannot have it; `Closed`; `Timeout` if the names of the store are locked for too
    /// long.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let handle = manager.options().name("xs").ones::<f64, _>(3)?.handle();
    /// manager.rename("xs", "ys")?;
    /// assert!(!manager.contains("xs")? && manager.contains("ys")?);
    /// assert_eq!(handle.open::<f64, ndarray::Ix1>()?.read()?.sum(), 3.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        segment::rename(self.member(), from, &ArrayName::parse(to)?)
    }

    /// [`rename`](Self::rename) that deletes the array with the name `to`, if there is one,
    /// whichever process owns it.
    ///
    /// The name leads to one of the two arrays at any time. A process that is killed in between
    /// leaves nothing: the memory of the deleted array goes with its last user.
    ///
    /// # Errors
    ///
    /// Those of `rename`, with `AlreadyExists` only where both names are one, or another process
    /// gave the name away meanwhile; `Header` and `Untrusted` if the file with the name `to` is no
    /// array.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("xs").zeros::<f64, _>(3)?;
    /// manager.options().name("next").ones::<f64, _>(3)?;
    /// manager.replace("next", "xs")?;
    /// assert_eq!(manager.array::<f64, ndarray::Ix1>("xs")?.read()?.sum(), 3.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn replace(&self, from: &str, to: &str) -> Result<()> {
        segment::replace(self.member(), from, &ArrayName::parse(to)?)
    }

    /// Deletes the leftovers of dead processes: in this store half-built arrays and arrays whose
    /// owner is gone; in the directory around it, if only this user can write there, ephemeral
    /// stores whose processes are all gone. Never deletes a persistent store.
    ///
    /// # Errors
    ///
    /// `Closed`; `Io` if the store cannot be listed. A file that cannot be judged or deleted does
    /// not stop the sweep: see [`Swept::skipped`].
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
        let deadline = self.member().deadline();
        let mut swept = sweep::sweep_files(self.member(), &deadline)?;
        if let Some(parent) = self
            .path()
            .parent()
            .filter(|parent| permissions::check_root(parent, true).is_ok())
        {
            swept.note(store::sweep(parent, &deadline));
        } else if let Err(damage) = self.member().page().check_flags(self.path()) {
            swept.skipped.push(damage);
        }
        event!(
            INFO,
            path = %self.path().display(),
            stores = swept.stores,
            arrays = swept.arrays,
            half_made = swept.half_made,
            bytes = swept.bytes,
            "swept"
        );
        Ok(swept)
    }
}

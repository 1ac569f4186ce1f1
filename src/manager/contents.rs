//! What is in a store: listing, counting, removing, sweeping.

use super::Manager;
use crate::{
    error::{Error, Result},
    format::{directory_entry::StoreEntry, name::ArrayName},
    inspect::info::ArrayInfo,
    segment::{Segment, sweep},
    store::{self, Swept, listing, permissions},
    sys::fs::available,
};
use std::fs;

/// How much a store holds. Bytes.
///
/// # Examples
///
/// ```
/// let manager = ndshm::Manager::new()?;
/// let _xs = manager.zeros::<f64, _>(1000)?;
/// let usage = manager.usage()?;
/// println!("{} arrays, {} bytes; {} are left", usage.arrays, usage.allocated, usage.available);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Number of arrays.
    pub arrays: usize,
    /// Bytes of their elements.
    pub byte_len: u64,
    /// Bytes that the file system gave to their files, headers included.
    pub allocated: u64,
    /// Bytes of files without an array: kept to be used again
    /// ([`Builder::recycle`](crate::Builder::recycle)), or just being made.
    pub kept: u64,
    /// Bytes that are left on the file system.
    pub available: u64,
}

impl Manager {
    /// The descriptions of all arrays in the store, oldest first.
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
        for path in listing::arrays(self.path())? {
            match ArrayInfo::read(&path, None) {
                Ok(info) => list.push(info),
                // Deleted since the directory was read.
                Err(Error::NotFound { .. } | Error::Released { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        list.sort_by_key(|info| (info.created, info.id));
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
        let list = self.list()?;
        // Somebody may close the store in between: then that is the reason.
        let available =
            available(self.path()).or_else(|error| self.member().check_open().and(Err(error)))?;
        let mut usage = Usage {
            available,
            ..Usage::default()
        };
        for info in list {
            usage.arrays += 1;
            usage.byte_len += info.byte_len as u64;
            usage.allocated += listing::allocated(&info.path);
        }
        for name in listing::names(self.path())? {
            if matches!(StoreEntry::of(&name), StoreEntry::Draft { .. }) {
                usage.kept += listing::allocated(&self.path().join(name));
            }
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
        let path = ArrayName::parse(name)?.file_in(self.path());
        Ok(fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()))
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
        let path = ArrayName::parse(name)?.file_in(self.path());
        match Segment::open(self.member(), &path, None, false) {
            Ok(segment) => segment.release(),
            Err(released @ Error::Released { .. }) => {
                Segment::finish_release_at(self.member(), &path).and(Err(released))
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes what the dead left: in this store half-built arrays and those whose owner is gone;
    /// in the directory around it, if that is this user's alone, ephemeral stores whose processes
    /// are all gone. A persistent store is never deleted.
    ///
    /// # Errors
    ///
    /// `Closed`; `Io` where the store cannot be listed. What cannot be looked at or deleted does
    /// not stop the rest: see [`Swept::skipped`].
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
        let mut swept = sweep::sweep_files(self.member())?;
        if let Some(parent) = self
            .path()
            .parent()
            .filter(|parent| permissions::check_root(parent, true).is_ok())
        {
            swept.note(store::sweep(parent));
        }
        event!(INFO, path = %self.path().display(), stores = swept.stores, arrays = swept.arrays, bytes = swept.bytes, "swept");
        Ok(swept)
    }
}

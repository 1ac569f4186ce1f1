//! What is in a store: listing, counting, removing, sweeping.

use super::Manager;
use crate::{
    error::{Error, Result},
    format::constants::{NEW_PREFIX, SUFFIX},
    inspect::info::ArrayInfo,
    segment::Segment,
    store::{self, Swept, permissions},
    sys::fs::left,
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

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
    /// Bytes that are left: on the file system, and for a tmpfs of the memory of the machine and of
    /// this process's control group, whichever is least.
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
        for path in self.files()? {
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
        let left = left(self.path(), self.member().is_on_tmpfs());
        let available = left
            .or_else(|error| self.member().check_open().and(Err(error)))?
            .bytes;
        let allocated =
            |path: &Path| fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks() * 512);
        let mut usage = Usage {
            available,
            ..Usage::default()
        };
        for info in list {
            usage.arrays += 1;
            usage.byte_len += info.byte_len as u64;
            usage.allocated += allocated(&info.path);
        }
        for name in store::entries(self.path())? {
            if name.as_encoded_bytes().starts_with(NEW_PREFIX.as_bytes()) {
                usage.kept += allocated(&self.path().join(name));
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
        Ok(fs::symlink_metadata(self.options().name(name).path()?)
            .is_ok_and(|metadata| metadata.is_file()))
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
        let path = self.options().name(name).path()?;
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
        let mut swept = self.sweep_arrays()?;
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

    /// The part of [`sweep`](Self::sweep) that is about this store.
    pub(super) fn sweep_arrays(&self) -> Result<Swept> {
        let member = self.member();
        member.check_open()?;
        let mut swept = Swept::default();
        // Most arrays have one of few owners, and asking about one costs as much as looking at a
        // file.
        let mut dead = BTreeMap::new();
        let entries = store::entries(self.path())?;
        for path in entries
            .iter()
            .filter(|name| is_array(name))
            .map(|name| self.path().join(name))
        {
            let needs_sweep = Segment::needs_sweep(&path, |owner| match dead.get(&owner) {
                Some(&is_dead) => Ok(is_dead),
                None => member
                    .is_alive(owner)
                    .map(|is_alive| *dead.entry(owner).or_insert(!is_alive)),
            });
            if matches!(needs_sweep, Ok(false) | Err(Error::NotFound { .. })) {
                continue;
            }
            let bytes = fs::symlink_metadata(&path).map_or(0, |metadata| metadata.blocks() * 512);
            match Segment::open_for_sweep(member, &path).and_then(|segment| segment.sweep()) {
                Ok(true) => swept.note(Ok(Swept {
                    arrays: 1,
                    bytes,
                    ..Swept::default()
                })),
                Ok(false) | Err(Error::NotFound { .. }) => {}
                Err(error) => swept.note(Err(error)),
            }
        }
        for entry in entries {
            let builder = entry.to_str().and_then(|name| {
                name.strip_prefix(NEW_PREFIX)?
                    .split('-')
                    .next()?
                    .parse()
                    .ok()
            });
            if let Some(builder) = builder
                && !member.is_alive(builder)?
            {
                let path = self.path().join(entry);
                let bytes =
                    fs::symlink_metadata(&path).map_or(0, |metadata| metadata.blocks() * 512);
                failpoint!(SweepHalfMadeFound);
                let removed = fs::remove_file(&path);
                failpoint!(SweepHalfMadeRemoved);
                match removed {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        swept.note(Err(Error::io(path, "delete a half-built array")(error)))
                    }
                    Ok(()) => swept.bytes += bytes,
                    _ => {}
                }
            }
        }
        failpoint!(SweepStoreDone);
        Ok(swept)
    }

    /// The array files in the store's directory.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let names = store::entries(self.path())?.into_iter();
        Ok(names
            .filter(|name| is_array(name))
            .map(|name| self.path().join(name))
            .collect())
    }
}

fn is_array(name: &OsStr) -> bool {
    name.as_encoded_bytes().ends_with(SUFFIX.as_bytes())
}

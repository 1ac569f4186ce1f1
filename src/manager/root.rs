//! The directory in which ephemeral stores are made: where it is, and what the dead left in it.

use super::Manager;
use crate::{
    error::{Error, Result},
    observer::Observer,
    store::{self, Swept},
    trust,
};
use std::path::{Path, PathBuf};

impl Manager {
    /// The directory in which [`Manager::new`] makes its stores: that in `NDSHM_ROOT`, else `/dev/shm/ndshm-<uid>`.
    ///
    /// # Errors
    ///
    /// `NotFound` where it is not there yet; `Untrusted` where it is not this user's alone.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(manager.path().starts_with(ndshm::Manager::default_root()?));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn default_root() -> Result<PathBuf> {
        trust::root(None, false, false)
    }

    /// Deletes what the dead left in a root: stores whose processes are all gone, and in the others the arrays of dead processes. No store has
    /// to be joined for it; [`Observer::remains_in`] tells beforehand what would go.
    ///
    /// # Errors
    ///
    /// `Untrusted` where others may write the root, `Io` where it cannot be read. What cannot be deleted stands in [`Swept::skipped`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder().root(scratch.path()).create()?;
    /// assert_eq!(ndshm::Manager::sweep_root(scratch.path())?.stores, 0);
    /// assert!(manager.path().exists());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn sweep_root(root: impl AsRef<Path>) -> Result<Swept> {
        let root = root.as_ref();
        trust::check_root(root, true)?;
        let mut swept = store::sweep(root)?;
        for path in Observer::stores(root)? {
            match Self::join(&path, true).and_then(|manager| manager.sweep_arrays()) {
                // Its owner deleted it in the meantime.
                Err(Error::NotFound { .. } | Error::Closed { .. }) => {}
                result => swept.note(result),
            }
        }
        Ok(swept)
    }
}

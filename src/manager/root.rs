//! The root, the directory in which ephemeral stores are made: its path, and its sweep.

use super::Manager;
use crate::{
    error::{Error, Result},
    segment::sweep,
    store::{self, Swept, janitor, listing, member::Member, permissions},
    sys::wait::{IN_PASSING, Wait},
};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

impl Manager {
    /// The directory in which [`Manager::new`] makes its stores: that in `NDSHM_ROOT`, else
    /// `/dev/shm/ndshm-<uid>`.
    ///
    /// # Errors
    ///
    /// `NotFound` if it does not exist yet; `Untrusted` if it is not this user's alone.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(manager.path().starts_with(ndshm::Manager::default_root()?));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn default_root() -> Result<PathBuf> {
        permissions::root(None, false, false)
    }

    /// Deletes the leftovers of dead processes in a root: stores whose processes are all gone, and
    /// in the other stores the arrays of dead processes. The caller need not join a store. It waits
    /// at most 10 seconds for locks that other processes hold on the stores.
    /// [`Observer::leftovers_in`](crate::Observer::leftovers_in) shows beforehand what it deletes.
    ///
    /// # Errors
    ///
    /// `Untrusted` if others may write the root, `Io` if it cannot be read. Leftovers that cannot
    /// be deleted are in [`Swept::skipped`].
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
        Self::sweep_root_timeout(root, IN_PASSING)
    }

    /// [`sweep_root`](Self::sweep_root) that waits no longer than `timeout` for locks that other
    /// processes hold on the stores. Stores that it did not get in time are in
    /// [`Swept::skipped`].
    ///
    /// # Errors
    ///
    /// Those of `sweep_root`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let swept = ndshm::Manager::sweep_root_timeout(scratch.path(), std::time::Duration::ZERO)?;
    /// assert!(swept.skipped.is_empty());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn sweep_root_timeout(root: impl AsRef<Path>, timeout: Duration) -> Result<Swept> {
        let root = root.as_ref();
        permissions::check_root(root, true)?;
        let deadline = Wait::AtMost(timeout).begin();
        let mut swept = store::sweep(root, &deadline)?;
        for path in listing::stores(root)? {
            let joined = Self::join(&path, true, deadline.rest());
            match joined.and_then(|manager| sweep::sweep_files(manager.member(), &deadline)) {
                // Deleted by its owner in the meantime.
                Err(Error::NotFound { .. } | Error::Closed { .. }) => {}
                // Found in the sweep of the root already.
                Err(_) if swept.has_skipped(&path) => {}
                result => swept.note(result),
            }
        }
        Ok(swept)
    }

    /// Waits until no process is a member of the ephemeral store at `path` any more, and deletes it
    /// then. [`Builder::janitor`](crate::Builder::janitor) starts a process that does this, and so
    /// does `ndshm guard`.
    ///
    /// It waits in the kernel, without polling, and keeps no process from joining or leaving.
    /// Returns at once if all are gone already. It leaves a store that another process deleted or
    /// replaced meanwhile, and one that was [made persistent](Self::persist).
    ///
    /// # Errors
    ///
    /// `NotFound`; `Untrusted`, also if the store contains files that are not its own: then nothing
    /// was deleted; `Io`, also if this process itself is a member of the store.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// use ndshm::Manager;
    ///
    /// let path = Manager::new()?.persist()?; // persistent, so it is left as it is
    /// assert_eq!(Manager::sweep_when_deserted(&path)?.stores, 0);
    /// Manager::open(&path)?.close()?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn sweep_when_deserted(path: impl AsRef<Path>) -> Result<Swept> {
        Self::sweep_deserted(path.as_ref(), Wait::Forever)
    }

    /// [`sweep_when_deserted`](Self::sweep_when_deserted) that waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `Timeout` if a process is still a member of the store then; those of `sweep_when_deserted`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// use ndshm::Manager;
    /// use std::time::Duration;
    ///
    /// let path = Manager::new()?.persist()?; // persistent, so it is left as it is
    /// let swept = Manager::sweep_when_deserted_timeout(&path, Duration::from_secs(1))?;
    /// assert_eq!(swept.stores, 0);
    /// Manager::open(&path)?.close()?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn sweep_when_deserted_timeout(path: impl AsRef<Path>, timeout: Duration) -> Result<Swept> {
        Self::sweep_deserted(path.as_ref(), Wait::AtMost(timeout))
    }

    fn sweep_deserted(path: &Path, wait: Wait) -> Result<Swept> {
        let directory = store::resolve(path)?;
        Member::end_lingering(|member| member.directory() == directory);
        if Member::lookup(&directory).is_some() {
            return Err(Error::io(
                directory,
                "wait for the end of a store that this process is a member of",
            )(io::ErrorKind::Deadlock.into()));
        }
        store::sweep_when_deserted(&directory, wait, || Ok(()))
    }

    /// Makes this process the janitor of the store at `path`: the service of a program that
    /// [`Builder::janitor_program`](crate::Builder::janitor_program) or `NDSHM_JANITOR` names.
    ///
    /// The library starts that program as `PROGRAM guard --janitor=STAGE STORE`, with `detach` as
    /// `STAGE`, and the program passes both on to this function. It returns when the service is
    /// done, and the program ends then. In the stage `detach` it starts the same program again with
    /// the stage `wait`; that process waits for the end of the store, and answers on its standard
    /// output before it waits. It must not have joined a store. The tool `ndshm` does the same.
    ///
    /// # Errors
    ///
    /// `NotFound` where `stage` is another word, or where there is no such store; those of
    /// [`sweep_when_deserted`](Self::sweep_when_deserted).
    ///
    /// # Examples
    ///
    /// A program that is its own janitor:
    ///
    /// ```no_run
    /// use ndshm::Manager;
    ///
    /// let arguments: Vec<String> = std::env::args().collect();
    /// if let [_, verb, stage, store] = &arguments[..]
    ///     && verb == "guard"
    ///     && let Some(stage) = stage.strip_prefix("--janitor=")
    /// {
    ///     return Manager::serve_as_janitor(stage, store);
    /// }
    /// let program = std::env::current_exe().expect("the path of this program");
    /// let manager = Manager::builder().janitor(true).janitor_program(program).create()?;
    /// # drop(manager);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn serve_as_janitor(stage: &str, path: impl AsRef<Path>) -> Result<()> {
        janitor::serve(stage, path.as_ref())
    }
}

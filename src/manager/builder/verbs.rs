//! The verbs of a [`Builder`]: make the store, open it, or both.

use super::Builder;
use crate::{
    error::{Error, Result},
    format::name::StoreName,
    manager::Manager,
    store::{self, janitor, permissions},
    sys::{
        process::random_uuid,
        wait::{Deadline, Wait},
    },
};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Most letters of an ephemeral store's name that come from the program's name.
const PROGRAM_LEN: usize = 24;
/// How many random names are tried.
const TRIES: u32 = 10;

impl Builder {
    /// Makes the store.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::new`] and [`Manager::create`]; `Name` if a store cannot have the name.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder()
    ///     .root(scratch.path())
    ///     .name("run-7")
    ///     .persistent()
    ///     .create()?;
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
        let deadline = self.wait().begin();
        let create = |directory: &Path| {
            let member = store::create(directory, persistent, self.any_file_system, &deadline)?;
            let manager = self.with_settings(Manager::from_member(member, !persistent));
            // If the janitor does not start, dropping the manager deletes the store.
            janitor
                .as_deref()
                .map_or(Ok(()), |program| janitor::start(program, manager.path()))?;
            Ok(manager)
        };
        if let Some(path) = &self.path {
            return create(path);
        }
        let root = permissions::root(self.root.as_deref(), self.any_file_system, true)?;
        // Housekeeping for other processes: a failure does not concern this caller, and
        // `Manager::sweep` reports it.
        let _ = store::sweep(&root, &Deadline::in_passing(self.lock_timeout));
        match &self.name {
            Some(name) => create(&StoreName::parse(name)?.directory_in(&root)),
            None => {
                let random = random_uuid().map_err(Error::io(&root, "take random bytes"))?;
                let name = |nth| random_name(random, nth);
                retried(name, |name| create(&root.join(name)))
            }
        }
    }

    /// Joins the store.
    ///
    /// # Errors
    ///
    /// Those of [`Manager::open`]; `NotFound` if neither a path nor a name was given.
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
                let name = StoreName::parse(name)?;
                let root = permissions::root(self.root.as_deref(), self.any_file_system, false)?;
                name.directory_in(&root)
            }
            (None, None) => {
                return Err(Error::NotFound {
                    path: PathBuf::new(),
                    what: "name the store to open: by Builder::path or Builder::name",
                });
            }
        };
        let joined = Manager::join(&directory, self.any_file_system, self.wait());
        joined.map(|manager| self.with_settings(manager))
    }

    /// Joins the store, or makes it if there is none.
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
                Err(Error::NotFound { path, .. }) if permissions::is_no_store(&path) => {
                    return Err(not_a_store(path));
                }
                Err(Error::NotFound { .. }) => {}
                // The user made the directory beforehand. To correct its mode would not help.
                Err(Error::Untrusted { path, .. }) if permissions::is_no_store(&path) => {
                    return Err(not_a_store(path));
                }
                Err(Error::Closed { path }) => {
                    store::finish_closing(&path, &self.wait().begin())?;
                }
                opened => return opened,
            }
            match self.create() {
                Err(Error::AlreadyExists { path, .. }) if permissions::is_no_store(&path) => {
                    return Err(not_a_store(path));
                }
                // Another process was faster: open its store.
                Err(Error::AlreadyExists { .. }) => {}
                created => return created,
            }
        }
    }

    /// How long the calls of this builder wait for locks.
    fn wait(&self) -> Wait {
        Wait::limited(self.lock_timeout)
    }

    fn with_settings(&self, manager: Manager) -> Manager {
        let settings = manager.member().settings();
        if let Some(timeout) = self.lock_timeout {
            settings.set_lock_timeout(timeout);
        }
        if let Some(choice) = self
            .huge_pages
            .filter(|&choice| choice != settings.huge_pages())
        {
            settings.set_huge_pages(choice);
            // The files that are kept have pages of the choice before.
            manager.member().pool().clear();
        }
        if let Some(bytes) = self.cache {
            settings.set_cache(bytes);
            manager.member().cache().shrink(bytes);
        }
        if let Some(bytes) = self.recycle {
            settings.set_recycle(bytes);
            manager.member().pool().shrink(settings.recycle());
        }
        if let Some(core_dumps) = self.core_dumps {
            settings.set_core_dumps(core_dumps);
        }
        if self.prefault {
            settings.set_prefault();
        }
        manager
    }
}

fn not_a_store(path: PathBuf) -> Error {
    let reason = "it exists and is no store: choose a path that does not exist yet, the directory \
                  is made with the store";
    Error::Untrusted {
        path,
        reason: reason.into(),
    }
}

/// A name for a store without a chosen one: of the program's name, the process id and random
/// letters.
fn random_name(random: Uuid, nth: u32) -> String {
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
    // Other digits of the random number for each try.
    let random = random.as_u128().rotate_left(12 * nth);
    let digits = format!("{:012x}", random & 0xffff_ffff_ffff);
    format!("{program}-{}-{digits}", std::process::id())
}

/// Calls `make` with a random name, and with other ones while the name is taken.
fn retried<T>(mut name: impl FnMut(u32) -> String, make: impl Fn(&str) -> Result<T>) -> Result<T> {
    for nth in 1..TRIES {
        match make(&name(nth)) {
            Err(Error::AlreadyExists { .. }) => {}
            made => return made,
        }
    }
    make(&name(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_name_that_is_taken_is_replaced_by_another() {
        let make = |name: &str| match name {
            "taken" => Err(Error::AlreadyExists {
                path: name.into(),
                next: "",
            }),
            name => Ok(name.to_owned()),
        };
        let mut names = ["taken", "taken", "free"].into_iter().map(str::to_owned);
        assert_eq!(retried(|_| names.next().unwrap(), make).unwrap(), "free");
        let mut tries = 0;
        let always_taken = |_| {
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

//! A store that is looked at without being joined.

use crate::{
    error::{Error, Result},
    format::constants::{LOCK_LEN, LOCK_NAME},
    state::snapshot::LaneSnapshot,
    store::{lock_page::LockPage, lock_snapshot::read_lanes, member, member_locks, permissions},
    sys::{
        file_lock,
        fork::Private,
        fs::{inode_at, open_file},
        mapping::Mapping,
        wait::Wait,
    },
};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// A store's lock file, opened and mapped by a process that need not be a member.
pub(crate) struct StoreReader {
    lock: Private,
    path: PathBuf,
    page: Mapping,
    inode: (u64, u64),
}

impl StoreReader {
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        permissions::check_store(directory)?;
        let path = directory.join(LOCK_NAME);
        let lock = Private::open(|| open_file(&path)).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => permissions::no_store(directory),
            _ => Error::Io {
                path: path.clone(),
                action: "open the lock file",
                source,
            },
        })?;
        let (page, inode) = member::map_lock_file(&lock, &path, LOCK_LEN)?;
        Ok(Self {
            lock,
            path,
            page,
            inode,
        })
    }

    pub(crate) fn page(&self) -> &LockPage {
        self.page.lock_page()
    }

    /// Device and inode of the lock file.
    pub(crate) fn inode(&self) -> (u64, u64) {
        self.inode
    }

    /// Whether the store's file system is mounted read-only: then this process cannot delete it.
    pub(crate) fn is_read_only(&self) -> bool {
        self.page.is_private()
    }

    /// Whether the lock file still has its path.
    pub(crate) fn is_at_its_path(&self) -> Result<bool> {
        let named = inode_at(&self.path).map_err(Error::io(&self.path, "look at the lock file"))?;
        Ok(named == Some(self.inode))
    }

    /// The ids of the living members, in ascending order. A member of this process is one of them:
    /// it holds its byte through another description.
    pub(crate) fn living(&self) -> Result<Vec<u64>> {
        member_locks::living(self.lock()?).map_err(Error::io(&self.path, "ask which members live"))
    }

    /// Whether the store has a member, as [`living`](Self::living) would say.
    pub(crate) fn has_members(&self) -> Result<bool> {
        member_locks::is_any_alive(self.lock()?)
            .map_err(Error::io(&self.path, "ask which members live"))
    }

    pub(crate) fn is_alive(&self, member: u64) -> Result<bool> {
        member_locks::is_alive(self.lock()?, member)
            .map_err(Error::io(&self.path, "ask whether a member lives"))
    }

    /// Whether the store stays when it has no member any more.
    pub(crate) fn outlives_its_members(&self) -> bool {
        self.page().is_persistent() && !self.page().is_closing()
    }

    /// Takes the lock file's flock exclusively if the store has no member and is in its place: then
    /// no process can join until this is dropped.
    pub(crate) fn lock_if_deserted(&self) -> Result<bool> {
        let is_alone = self
            .lock
            .file()
            .and_then(file_lock::try_exclude)
            .map_err(Error::io(&self.path, "lock the lock file"))?;
        Ok(is_alone && self.is_at_its_path()?)
    }

    /// Waits for the lock file's flock, exclusively: until the store has no member. Without a limit
    /// it waits in the kernel.
    pub(crate) fn wait_until_deserted(&self, wait: Wait) -> Result<()> {
        let (action, obstacle) = (
            "wait for the lock file",
            "processes were members of the store",
        );
        let (file, deadline) = (self.lock()?, wait.begin());
        if deadline.instant().is_some() {
            return deadline.poll(&self.path, action, obstacle, || {
                file_lock::try_exclude(file)
            });
        }
        // The kernel grants shared locks while a process waits for the exclusive one, so this wait
        // keeps no process from joining.
        loop {
            match file_lock::exclude(file) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    deadline.pause(&self.path, obstacle)?;
                }
                result => return result.map_err(Error::io(&self.path, action)),
            }
        }
    }

    pub(super) fn lock_file(&self) -> &Private {
        &self.lock
    }

    /// Copies the lanes of the lock file.
    pub(crate) fn lanes(&self) -> Result<Vec<LaneSnapshot>> {
        read_lanes(self.lock()?, &self.path)
    }

    fn lock(&self) -> Result<&File> {
        self.lock
            .file()
            .map_err(Error::io(&self.path, "use the lock file"))
    }
}

/// Opens a directory to lock it.
pub(super) fn open_directory(path: &Path) -> Result<Private> {
    Private::open(|| File::open(path)).map_err(Error::io(path, "open the directory"))
}

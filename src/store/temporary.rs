//! The names of files that have no array yet: they are being built, or kept for reuse. A process
//! deletes the files that it made under such names.

use crate::{store::directory::Directory, sys::fork};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    sync::Arc,
};

/// The name of a file in a store's directory. Dropping it deletes the file, except in a forked
/// child: there the file is the parent's.
pub(crate) struct TempName {
    directory: Arc<Directory>,
    /// `None` only once it was published.
    name: Option<OsString>,
    /// The fork generation that made it.
    generation: u64,
}

impl TempName {
    /// The name of an existing file.
    pub(crate) fn new(directory: &Arc<Directory>, name: OsString) -> Self {
        Self {
            directory: directory.clone(),
            name: Some(name),
            generation: fork::generation(),
        }
    }

    /// Whether this process made it.
    pub(crate) fn is_own(&self) -> bool {
        self.generation == fork::generation()
    }

    pub(crate) fn name(&self) -> &OsStr {
        self.name.as_deref().unwrap_or_default()
    }

    /// Leaves the file to its array, which is ready.
    pub(crate) fn keep(mut self) {
        self.name = None;
    }

    /// Gives the file another name without an array.
    pub(crate) fn rename(&mut self, to: OsString) -> io::Result<()> {
        if let Some(name) = &self.name {
            self.directory.rename(name, &to)?;
            self.name = Some(to);
        }
        Ok(())
    }

    /// Opens the file for reading and writing.
    pub(crate) fn open(&self) -> io::Result<File> {
        let name = self.name.as_ref().ok_or(io::ErrorKind::NotFound)?;
        self.directory.open_to_write(name)
    }

    /// Moves the file to another name in its directory, unless another file has that name. If the
    /// directory has lost its path, the file is not found.
    pub(crate) fn publish(mut self, to: &OsStr) -> io::Result<()> {
        if !self.is_own() {
            return Err(io::Error::other(
                "the file belongs to the process that this one was forked from",
            ));
        }
        if let Some(name) = &self.name {
            self.directory.rename(name, to)?;
            self.name = None;
        }
        Ok(())
    }
}

impl Drop for TempName {
    fn drop(&mut self) {
        if let Some(name) = self.name.take().filter(|_| self.is_own()) {
            let _ = self.directory.unlink(&name);
        }
    }
}

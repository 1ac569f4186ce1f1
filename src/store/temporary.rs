//! Temporary names: of files that are being built or kept for reuse. A process deletes the files
//! that it made under such names.

use crate::{store::directory::Directory, sys::fork};
use std::{
    ffi::OsStr,
    io,
    ops::Deref,
    path::{Path, PathBuf},
};
use tempfile::TempPath;

/// The name of a file. Dropping it deletes the file, except in a forked child: there the file is
/// the parent's.
pub(crate) struct TempName {
    /// `None` only while this is dropped or published.
    path: Option<TempPath>,
    /// The fork generation that made it.
    generation: u64,
}

impl TempName {
    pub(crate) fn new(path: TempPath) -> Self {
        Self {
            path: Some(path),
            generation: fork::generation(),
        }
    }

    /// The name of an existing file, an absolute path.
    pub(crate) fn of(path: PathBuf) -> io::Result<Self> {
        TempPath::try_from_path(path).map(Self::new)
    }

    /// Whether this process made it.
    pub(crate) fn is_own(&self) -> bool {
        self.generation == fork::generation()
    }

    /// Moves the file to a name in its store's directory, unless another file has the name.
    pub(crate) fn publish(mut self, directory: &Directory, name: &OsStr) -> io::Result<()> {
        match self.path.take() {
            Some(temporary) if self.is_own() => {
                directory.take_in(&temporary, name)?;
                temporary.keep().map(|_| ()).map_err(|failed| failed.error)
            }
            inherited => {
                self.path = inherited;
                Err(io::Error::other(
                    "the file belongs to the process that this one was forked from",
                ))
            }
        }
    }
}

impl Deref for TempName {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }
}

impl Drop for TempName {
    fn drop(&mut self) {
        if !self.is_own() {
            let _ = self.path.take().map(TempPath::keep);
        }
    }
}

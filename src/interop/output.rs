//! Files that appear complete or not at all.

use crate::{
    error::{Error, Result},
    sys::fs::above_the_streams,
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
};
use tempfile::TempPath;
use uuid::Uuid;

/// Begins the names of files that are being written where the file system has no files without a
/// name.
const PREFIX: &str = ".ndshm-export-";

/// A new file that has no name yet, or a temporary one beside its place; gone when it is dropped.
///
/// Without a name nothing is left of it when the process is killed, whatever the moment. Where the
/// file system has no such files, a killed process leaves one that is called `.ndshm-export-` and
/// letters.
pub(super) struct Output {
    file: File,
    temporary: Option<TempPath>,
    path: PathBuf,
    replaces: bool,
}

impl Output {
    /// An empty file that will be at `path`. An error where there is one already, unless it
    /// `replaces` that.
    pub(super) fn create(path: &Path, replaces: bool) -> Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if replaces && (metadata.is_file() || metadata.is_symlink()) => {}
            Ok(_) => return Err(Error::AlreadyExists { path: path.into() }),
            Err(_) => {}
        }
        let failed = || Error::io(path, "create the file");
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        if path.file_name().is_none() {
            return Err(failed()(io::ErrorKind::InvalidInput.into()));
        }
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let (file, temporary) = match rustix::fs::open(parent, flags, Mode::from_raw_mode(0o666)) {
            // Its name will be made through /proc.
            Ok(file) if Path::new("/proc/self/fd").exists() => (File::from(file), None),
            _ => {
                let permissions = fs::Permissions::from_mode(0o666);
                let made = tempfile::Builder::new()
                    .prefix(PREFIX)
                    .permissions(permissions)
                    .tempfile_in(parent)
                    .map_err(failed())?;
                let (file, temporary) = made.into_parts();
                (file, Some(temporary))
            }
        };
        let file = above_the_streams(file).map_err(failed())?;
        Ok(Self {
            file,
            temporary,
            path: path.into(),
            replaces,
        })
    }

    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the complete file its name.
    pub(super) fn commit(self) -> Result<()> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::AlreadyExists {
                path: self.path.clone(),
            },
            _ => Error::io(&self.path, "give the new file its name")(error),
        };
        let Some(temporary) = self.temporary else {
            let unnamed = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let link = |path: &Path| {
                rustix::fs::linkat(CWD, &unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)
                    .map_err(io::Error::from)
            };
            return match link(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.replaces => {
                    // A name is replaced by a rename only.
                    let beside = self
                        .path
                        .with_file_name(format!("{PREFIX}{}", Uuid::new_v4().simple()));
                    link(&beside)
                        .and_then(|()| {
                            fs::rename(&beside, &self.path)
                                .inspect_err(|_| drop(fs::remove_file(&beside)))
                        })
                        .map_err(failed)
                }
                linked => linked.map_err(failed),
            };
        };
        let persisted = if self.replaces {
            temporary.persist(&self.path)
        } else {
            temporary.persist_noclobber(&self.path)
        };
        persisted.map_err(|error| failed(error.error))
    }
}

/// Writes a file that appears complete or not at all, and replaces one that exists. For the
/// command-line tool.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut output = Output::create(path, true)?;
    output
        .file()
        .write_all(bytes)
        .map_err(Error::io(path, "write the file"))?;
    output.commit()
}

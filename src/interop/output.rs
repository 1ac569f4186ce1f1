//! Files to export: they appear complete or not at all.

use crate::{
    error::{Error, Result},
    sys::{
        fs::above_the_streams,
        process::{Bounded, random_uuid},
    },
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
};
use tempfile::TempPath;

/// The prefix of temporary names, on file systems without unnamed files.
const PREFIX: &str = ".ndshm-export-";

/// A new file without a name, or with a temporary name beside its place; dropping it deletes it.
///
/// Without a name nothing remains when the process is killed, at whatever moment. On file systems
/// without unnamed files, a killed process leaves a file called `.ndshm-export-` and letters.
pub(super) struct Output {
    file: File,
    temporary: Option<TempPath>,
    path: PathBuf,
    replaces: bool,
}

impl Output {
    /// An empty file for `path`. Fails if there is a file already, unless this one `replaces` it.
    pub(super) fn create(path: &Path, replaces: bool) -> Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if replaces && (metadata.is_file() || metadata.is_symlink()) => {}
            Ok(_) => return Err(Error::AlreadyExists { path: path.into() }),
            Err(_) => {}
        }
        let failed = || Error::io(path, "create the file");
        if path.file_name().is_none() {
            return Err(failed()(io::ErrorKind::InvalidInput.into()));
        }
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let (file, temporary) = match unnamed_in(parent) {
            Some(file) => (file, None),
            None => {
                let (file, temporary) = temporary_in(parent).map_err(failed())?;
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

    /// The file, to be written from its start.
    pub(super) fn file(&mut self) -> Bounded<'_> {
        Bounded::new(&mut self.file)
    }

    /// Gives the complete file its name.
    pub(super) fn commit(self) -> Result<()> {
        let Self {
            file,
            temporary,
            path,
            replaces,
        } = self;
        let named = match temporary {
            None => name(&file, &path, replaces),
            Some(temporary) if replaces => temporary.persist(&path).map_err(|failed| failed.error),
            Some(temporary) => temporary
                .persist_noclobber(&path)
                .map_err(|failed| failed.error),
        };
        named.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::AlreadyExists { path },
            _ => Error::io(&path, "give the new file its name")(error),
        })
    }
}

/// A file without a name, where the file system has such files and the process can name them later.
fn unnamed_in(parent: &Path) -> Option<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = rustix::fs::open(parent, flags, Mode::from_raw_mode(0o666)).ok()?;
    // The file gets its name through /proc.
    Path::new("/proc/self/fd")
        .exists()
        .then(|| File::from(file))
}

/// A file with a temporary name.
fn temporary_in(parent: &Path) -> io::Result<(File, TempPath)> {
    let made = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(parent)?;
    Ok(made.into_parts())
}

/// Gives a file without a name the name `path`.
fn name(file: &File, path: &Path, replaces: bool) -> io::Result<()> {
    match link(file, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && replaces => {
            // Only a rename replaces a name.
            let beside = path.with_file_name(format!("{PREFIX}{}", random_uuid()?.simple()));
            link(file, &beside)?;
            fs::rename(&beside, path).inspect_err(|_| drop(fs::remove_file(&beside)))
        }
        linked => linked,
    }
}

fn link(file: &File, path: &Path) -> io::Result<()> {
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    let linked = rustix::fs::linkat(CWD, &unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW);
    linked.map_err(io::Error::from)
}

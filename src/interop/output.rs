//! Files to export: they appear complete or not at all. A pipe or a device gets the bytes as
//! they come.

use crate::{
    error::{Error, Result},
    sys::{
        fs::above_the_streams,
        process::{Bounded, random_uuid},
    },
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use std::{
    fs::{self, File, Metadata},
    io::{self, IsTerminal},
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};
use tempfile::TempPath;

/// The prefix of temporary names, on file systems without unnamed files.
const PREFIX: &str = ".ndshm-export-";
/// Most links that lead from one to another, as the kernel has it.
const MOST_LINKS: usize = 40;

/// The place of the bytes of an export.
pub(super) enum Output {
    File(NewFile),
    /// A pipe, a device, or a descriptor of this process.
    Stream(File),
}

/// A new file without a name, or with a temporary name beside its place; dropping it deletes it.
///
/// Without a name nothing remains when the process is killed, at whatever moment. On file systems
/// without unnamed files, a killed process leaves a file called `.ndshm-export-` and letters.
pub(super) struct NewFile {
    file: File,
    temporary: Option<TempPath>,
    path: PathBuf,
    replaces: bool,
}

/// The end of the links at a path.
enum Place {
    /// Nothing, or a regular file that may be replaced.
    File(PathBuf),
    Stream {
        path: PathBuf,
        /// A descriptor of a process, which may be a regular file that has bytes already.
        is_descriptor: bool,
    },
}

impl Output {
    /// An output for `path`, through links. Fails if there is a file already, unless this one
    /// `replaces` it. A stream exists already, and is not replaced.
    pub(super) fn create(path: &Path, replaces: bool) -> Result<Self> {
        match place_of(path, replaces)? {
            Place::File(path) => NewFile::create(&path, replaces).map(Self::File),
            Place::Stream {
                path,
                is_descriptor,
            } => {
                let failed = || Error::io(&path, "open it to write");
                let file = File::options()
                    .write(true)
                    .append(is_descriptor)
                    .open(&path)
                    .and_then(above_the_streams)
                    .map_err(failed())?;
                if file.is_terminal() {
                    let reason = "it is a terminal, which cannot show the bytes of arrays: name a \
                                  file, or pipe them into another program";
                    return Err(Error::transfer(path, reason));
                }
                Ok(Self::Stream(file))
            }
        }
    }

    /// Gives a complete file its name.
    pub(super) fn commit(self) -> Result<()> {
        match self {
            Self::File(file) => file.commit(),
            Self::Stream(_) => Ok(()),
        }
    }
}

impl NewFile {
    fn create(path: &Path, replaces: bool) -> Result<Self> {
        let failed = || Error::io(path, "create the file");
        if path.file_name().is_none() {
            return Err(failed()(io::ErrorKind::InvalidInput.into()));
        }
        let parent = parent_of(path);
        if !parent.is_dir() {
            let action = "create the file, whose directory must exist";
            return Err(Error::io(path, action)(io::ErrorKind::NotFound.into()));
        }
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

    fn commit(self) -> Result<()> {
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
            io::ErrorKind::AlreadyExists => already_exists(&path),
            _ => Error::io(&path, "give the new file its name")(error),
        })
    }
}

/// A file that the bytes of an archive go to, which need a second look at their beginning.
#[cfg(feature = "zip")]
pub(super) fn spool() -> io::Result<File> {
    above_the_streams(tempfile::tempfile()?)
}

/// Copies all bytes of a spooled file.
#[cfg(feature = "zip")]
pub(super) fn unspool(mut file: File, out: &mut dyn io::Write) -> io::Result<()> {
    io::Seek::rewind(&mut file)?;
    io::copy(&mut file, out).map(|_| ())
}

/// Follows the links at a path, and looks at the end of them.
fn place_of(path: &Path, replaces: bool) -> Result<Place> {
    let mut path = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        let failed = || Error::io(&path, "look at the file");
        // Such an entry looks like a link, but its target is no path.
        if is_descriptor(&path) {
            return Ok(Place::Stream {
                path,
                is_descriptor: true,
            });
        }
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Place::File(path)),
            Err(error) => return Err(failed()(error)),
        };
        if !found.is_symlink() {
            return end_of_links(path, &found, replaces);
        }
        if !may_follow(&path, &found) {
            let reason = "it is a link that another user put into a directory that all may write: \
                          name its target";
            return Err(Error::transfer(path, reason));
        }
        let target = fs::read_link(&path).map_err(failed())?;
        path = parent_of(&path).join(target);
    }
    Err(Error::transfer(path, "too many links lead to it"))
}

fn end_of_links(path: PathBuf, found: &Metadata, replaces: bool) -> Result<Place> {
    let kind = found.file_type();
    if kind.is_file() {
        return match replaces {
            true => Ok(Place::File(path)),
            false => Err(already_exists(&path)),
        };
    }
    // The bytes of a disk are as dear as those of a file.
    if kind.is_fifo() || kind.is_char_device() || (kind.is_block_device() && replaces) {
        return Ok(Place::Stream {
            path,
            is_descriptor: false,
        });
    }
    if kind.is_block_device() {
        return Err(already_exists(&path));
    }
    let reason = match kind.is_dir() {
        true => "it is a directory: name a file in it",
        false => "it is a socket: connect to it, and export to the connection",
    };
    Err(Error::transfer(path, reason))
}

/// Whether a path is an entry of a process's directory of descriptors, as /dev/stdout leads to.
fn is_descriptor(path: &Path) -> bool {
    let is_number = path
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    is_number
        && fs::canonicalize(parent_of(path))
            .is_ok_and(|parent| parent.starts_with("/proc") && parent.ends_with("fd"))
}

/// Whether the kernel would follow a link here (`fs.protected_symlinks`): not one that another user
/// put into a directory with the sticky bit that all may write.
fn may_follow(path: &Path, link: &Metadata) -> bool {
    let Ok(parent) = fs::metadata(parent_of(path)) else {
        return false;
    };
    let is_shared = parent.mode() & 0o1002 == 0o1002;
    let user = rustix::process::geteuid().as_raw();
    !is_shared || link.uid() == user || link.uid() == parent.uid()
}

fn parent_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn already_exists(path: &Path) -> Error {
    Error::AlreadyExists {
        path: path.into(),
        next: "replace it with Export::replace, or choose another path",
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

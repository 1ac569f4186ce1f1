//! Files that appear complete or not at all, of bytes that are in memory.

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use std::{
    fs::File,
    io::{self, Write},
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::Path,
};

/// Begins the names of files that are complete, but not yet where they shall be.
const PREFIX: &str = ".ndshm-plot-";

/// Puts a file of these bytes at `path`, in the place of one that is there.
///
/// It is written without a name, so that nothing is left of it where the process is killed; where the file system has no such files, under a temporary one.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(parent, flags, Mode::from_raw_mode(0o666)) else { return put_by_name(parent, path, bytes) };
    let mut file = File::from(file);
    file.write_all(bytes)?;
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = |path: &Path| rustix::fs::linkat(CWD, &unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from);
    match link(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // A name is replaced by a rename only.
            let beside = tempfile::Builder::new().prefix(PREFIX).make_in(parent, link)?;
            beside.into_temp_path().persist(path).map_err(|error| error.error)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => put_by_name(parent, path, bytes),
        linked => linked,
    }
}

fn put_by_name(parent: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let permissions = std::fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(PREFIX).permissions(permissions).tempfile_in(parent)?;
    file.write_all(bytes)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

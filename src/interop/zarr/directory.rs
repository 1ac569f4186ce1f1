//! Checkpoints in a directory.

use super::bucket::{Bucket, Object, PIECE, Part, Version, pieces};
use crate::sys::wait::is_interrupted;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// The file that a process locks while it compares an object and replaces it.
const LOCK: &str = ".ndshm-lock";
/// The time between two tries to take that lock.
const BETWEEN_TRIES: Duration = Duration::from_millis(5);
/// The suffix of a file that has not its name yet.
const NEW: &str = ".ndshm-new";

/// A directory as the place of checkpoints: a file for each object.
///
/// The directory is made when something is written. Files are written under another name beside
/// their place and renamed when they are whole, and cannot be written afterwards, because
/// checkpoints share them: [`copy`](Bucket::copy) makes a second name of a file (a hard link), and
/// a copy only where the file system has none.
///
/// # Examples
///
/// ```
/// use ndshm::{Checkpoint, DirectoryBucket, Restore};
///
/// # let scratch = tempfile::tempdir().unwrap();
/// let bucket = DirectoryBucket::new(scratch.path().join("checkpoints"));
/// let manager = ndshm::Manager::new()?;
/// manager.options().name("xs").ones::<f64, _>(3)?;
/// Checkpoint::new().write(&manager, &bucket)?;
///
/// let other = ndshm::Manager::new()?;
/// Restore::new().read(&other, &bucket)?;
/// assert_eq!(other.array::<f64, ndarray::Ix1>("xs")?.read()?.sum(), 3.0);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DirectoryBucket {
    path: PathBuf,
}

impl DirectoryBucket {
    /// The directory at a path, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn at(&self, key: &str) -> io::Result<PathBuf> {
        let is_plain = |segment: &str| !matches!(segment, "" | "." | "..");
        if !key.is_empty() && !key.split('/').all(is_plain) {
            let reason = format!("{key:?} is no key of an object");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        Ok(self.path.join(key))
    }

    /// Makes a file beside `path`, and the directories above it.
    fn new_file(&self, path: &Path) -> io::Result<(File, PathBuf)> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(NEW);
        let new = path.with_file_name(name);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o644);
        let open = || {
            // The file of a dead process may not be written any more.
            if let Err(error) = fs::remove_file(&new)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
            options.open(&new)
        };
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
                Ok((open()?, new))
            }
            opened => Ok((opened?, new)),
        }
    }

    fn write(
        &self,
        path: &Path,
        parts: &[Part<'_>],
        seen: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        let (mut file, new) = self.new_file(path)?;
        let mut write = || {
            pieces(parts, |piece| {
                check_interrupt()?;
                file.write_all(piece)?;
                seen(piece);
                io::Result::Ok(())
            })?;
            let mode = fs::Permissions::from_mode_of(0o444);
            file.set_permissions(mode)?;
            fs::rename(&new, path)
        };
        write().inspect_err(|_| drop(fs::remove_file(&new)))
    }

    fn walk(&self, directory: &Path, found: &mut Vec<(String, u64)>) -> io::Result<()> {
        for entry in entries(directory)? {
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            if metadata.is_dir() {
                self.walk(&entry.path(), found)?;
            } else if let Ok(key) = entry.path().strip_prefix(&self.path)
                && let Some(key) = key.to_str()
                && !key.ends_with(NEW)
                && key != LOCK
            {
                found.push((key.to_owned(), metadata.len()));
            }
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Option<Object>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(Object {
                version: version_of(&bytes),
                bytes,
            })),
            // A directory is no object, and neither is what lies below a file.
            Err(error) if is_nothing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

trait FromMode {
    fn from_mode_of(mode: u32) -> Self;
}

impl FromMode for fs::Permissions {
    fn from_mode_of(mode: u32) -> Self {
        std::os::unix::fs::PermissionsExt::from_mode(mode)
    }
}

/// Fails if the call shall end for which this thread works.
fn check_interrupt() -> io::Result<()> {
    match is_interrupted() {
        true => Err(io::ErrorKind::Interrupted.into()),
        false => Ok(()),
    }
}

fn try_lock(file: &File) -> io::Result<bool> {
    match fs2::FileExt::try_lock_exclusive(file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

fn version_of(bytes: &[u8]) -> Version {
    Version(format!("{:08x}-{}", crc32fast::hash(bytes), bytes.len()))
}

fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | IsADirectory | NotADirectory)
}

fn entries(directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(directory) {
        Err(error) if is_nothing(&error) => Ok(Vec::new()),
        listed => listed?.collect(),
    }
}

impl Bucket for DirectoryBucket {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn put(&self, key: &str, parts: &[Part<'_>]) -> io::Result<()> {
        self.put_with(key, parts, &mut |_| {})
    }

    fn put_with(
        &self,
        key: &str,
        parts: &[Part<'_>],
        seen: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        self.write(&self.at(key)?, parts, seen)
    }

    fn put_if(&self, key: &str, bytes: &[u8], seen: Option<&Version>) -> io::Result<bool> {
        let path = self.at(key)?;
        fs::create_dir_all(&self.path)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.path.join(LOCK))?;
        // Given back with the descriptor.
        while !try_lock(&lock)? {
            check_interrupt()?;
            thread::sleep(BETWEEN_TRIES);
        }
        let found = self.read(&path)?.map(|object| object.version);
        if found.as_ref() != seen {
            return Ok(false);
        }
        self.write(&path, &[Part::Bytes(bytes)], &mut |_| {})?;
        Ok(true)
    }

    fn get(&self, key: &str) -> io::Result<Option<Object>> {
        self.read(&self.at(key)?)
    }

    fn get_range(&self, key: &str, start: u64, into: &mut [u8]) -> io::Result<()> {
        self.get_range_with(key, start, into, &mut |_| {})
    }

    fn get_range_with(
        &self,
        key: &str,
        start: u64,
        into: &mut [u8],
        seen: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        let (file, mut at) = (File::open(self.at(key)?)?, start);
        into.chunks_mut(PIECE).try_for_each(|piece| {
            check_interrupt()?;
            file.read_exact_at(piece, at)?;
            seen(piece);
            at += piece.len() as u64;
            Ok(())
        })
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        self.walk(&self.at(prefix)?, &mut found)?;
        Ok(found)
    }

    fn children(&self, prefix: &str) -> io::Result<Vec<String>> {
        let entries = entries(&self.at(prefix)?)?;
        let names = entries.into_iter().filter_map(|entry| {
            let name = entry.file_name();
            let is_own = name.as_bytes().ends_with(NEW.as_bytes()) || name == LOCK;
            name.into_string().ok().filter(|_| !is_own)
        });
        Ok(names.collect())
    }

    fn copy(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.at(from)?, self.at(to)?);
        let link = || fs::hard_link(&from, &to);
        let linked = match link() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Whether the directory or the file is missing, the second try tells.
                fs::create_dir_all(to.parent().unwrap_or(Path::new(".")))?;
                link()
            }
            linked => linked,
        };
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // The file has too many names, or the file system has no second ones.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let (mut file, new) = self.new_file(&to)?;
                let mut copy = || {
                    io::copy(&mut File::open(&from)?.take(u64::MAX), &mut file)?;
                    fs::rename(&new, &to)
                };
                copy().inspect_err(|_| drop(fs::remove_file(&new)))
            }
            linked => linked,
        }
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        match fs::remove_file(self.at(key)?) {
            Err(error) if !is_nothing(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn delete_all(&self, prefix: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.at(prefix)?) {
            Err(error) if !is_nothing(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn sync(&self, prefix: &str) -> io::Result<()> {
        let directory = File::open(self.at(prefix)?)?;
        Ok(rustix::fs::syncfs(&directory)?)
    }
}

//! A directory that is held by its descriptor, and the question which of its files are a store's.
//!
//! # What may be deleted
//!
//! A name is no proof. A user may call a note `x.ndshm`, copy an array of another store here, or
//! put a link where a sweep expects a store. So a file counts as the store's only if its type, its
//! owner and its content say so ([`Directory::is_of_store`]): a regular file of this user; an array
//! whose header names this store; a draft that has a member's id in its name; a file that has one
//! in its name and is not ready to be opened (`store::unready`). Everything else
//! stays, and keeps the store from being deleted. A store that was renamed away loses its lock file
//! last; drafts may be left in it after that ([`Directory::is_left_by`]).
//!
//! Looks and deletions go through the descriptor and never follow a link: a directory or a link
//! that another process puts at the path meanwhile is not touched.

use crate::{
    error::{Error, Result},
    format::{
        constants::{
            HEADER_AT, HEADER_END_AT, LOCK_LEN, LOCK_MAGIC, LOCK_NAME, MAGIC, MAX_HEADER_END,
            MAX_MEMBER,
        },
        directory_entry::StoreEntry,
        header::Header,
        name,
    },
    store::{lock_snapshot::LockPageSnapshot, unready},
    sys::{
        descriptor::OwnFile,
        file_lock,
        fs::{above_the_streams, inode_of_file, is_at, move_into, open_file_in, unless_missing},
    },
};
use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, renameat, statat, unlinkat},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};
use uuid::Uuid;

/// How often a member tries to lock its directory, while a process that deletes old files holds it.
const CLEANER_LOOKS: usize = 500;
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// The words of reports for a file in a store's directory that is not the store's.
pub(crate) const STRAY: &str =
    "it is not the store's, and keeps it from being deleted: move it away";

/// An open directory of this user.
pub(crate) struct Directory {
    descriptor: OwnFile,
    path: PathBuf,
}

/// The marks that the files of a store share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// The header of each array has it.
    pub(crate) uuid: Uuid,
}

impl Directory {
    /// Opens a directory, not through a link. `None` if nothing is there, or no directory, or one
    /// of another user.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = |errno: Errno| Error::io(path, "open the directory")(errno.into());
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        let file = above_the_streams(file).map_err(Error::io(path, "open the directory"))?;
        let found = rustix::fs::fstat(&file).map_err(failed)?;
        let directory = Self {
            descriptor: OwnFile::new(file).map_err(Error::io(path, "open the directory"))?,
            path: path.into(),
        };
        Ok((found.st_uid == user()).then_some(directory))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same directory, which gets this path.
    pub(crate) fn renamed_to(self, path: &Path) -> Self {
        Self {
            path: path.into(),
            ..self
        }
    }

    /// Whether its path still names it.
    pub(crate) fn is_at_its_path(&self) -> Result<bool> {
        self.own()
            .and_then(|own| is_at(&self.path, own))
            .map_err(Error::io(&self.path, "look at the directory"))
    }

    /// Takes the flock of the directory, shared, for as long as it is open, and waits a moment for
    /// a process that holds the lock exclusively.
    ///
    /// It keeps programs off that delete old files: systemd-tmpfiles leaves a directory that is
    /// locked as it is, with all that it contains. No protocol of the library depends on it, so a
    /// file system without such locks is no error.
    pub(crate) fn keep_cleaners_off(&self) {
        for _ in 0..CLEANER_LOOKS {
            match self.own().and_then(file_lock::try_share) {
                Ok(false) => std::thread::sleep(BETWEEN_LOOKS),
                Ok(true) | Err(_) => return,
            }
        }
    }

    /// Opens a file in it, for reading and writing.
    pub(crate) fn open_to_write(&self, name: &OsStr) -> io::Result<File> {
        open_file_in(self.own()?, name)
    }

    /// Makes an empty file with a random name that begins with `prefix`. The file is in this
    /// directory, also where another one has its path by now.
    pub(crate) fn make_file(&self, prefix: &str) -> io::Result<(File, OsString)> {
        let directory = self.own()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let made = tempfile::Builder::new()
            .prefix(prefix)
            .make_in(&self.path, |path| {
                let name = path.file_name().unwrap_or_default();
                let file = openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
                Ok(File::from(file))
            })?;
        let (file, path) = made.into_parts();
        let file = above_the_streams(file)?;
        let path = path.keep().map_err(|failed| failed.error)?;
        Ok((file, path.file_name().unwrap_or_default().into()))
    }

    /// Makes an empty file for an array without a chosen name, under the name that it keeps. The
    /// file is in this directory, also where another one has its path by now.
    pub(crate) fn make_unnamed_file(&self, maker: u64) -> io::Result<(File, OsString)> {
        let directory = self.own()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        loop {
            let name = unnamed_file(maker);
            match openat(directory, &name, flags, Mode::RUSR | Mode::WUSR) {
                // Of a member with the same id, in a store that was put back from a copy.
                Err(Errno::EXIST) => {}
                made => return Ok((above_the_streams(File::from(made?))?, name.into())),
            }
        }
    }

    /// Renames a file in it, unless something has the name. The file is not found if the directory
    /// has lost its path; another directory that has the path by now does not get the file.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        move_into(&self.path.join(from), self.own()?, to)
    }

    /// Renames a file in it, in the place of the file that has the name.
    pub(crate) fn rename_over(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(CWD, self.path.join(from), self.own()?, to)?)
    }

    /// An error if the process lost the descriptor.
    pub(crate) fn check_descriptor(&self) -> Result<()> {
        self.own()
            .map(|_| ())
            .map_err(Error::io(&self.path, "use the directory"))
    }

    /// Its descriptor. An error if the process closed the descriptor, as `closerange` does: its
    /// number may be that of another directory by now.
    fn own(&self) -> io::Result<&File> {
        self.descriptor.get().ok_or_else(|| {
            io::Error::other(
                "this process closed the descriptor of the store's directory, with other files: \
                 open the store again, in a process that leaves the descriptors of others alone",
            )
        })
    }

    /// The names in it.
    pub(crate) fn names(&self) -> Result<Vec<OsString>> {
        let failed = |errno: Errno| Error::io(&self.path, "list the directory")(errno.into());
        let own = self
            .own()
            .map_err(Error::io(&self.path, "list the directory"))?;
        let mut names = Vec::new();
        for entry in Dir::read_from(own).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(&name).to_owned());
            }
        }
        Ok(names)
    }

    /// The names in it if it certainly is no store: it has no lock file, and its path names it. A
    /// store that a closer empties has no lock file either, but is not at its path any more.
    pub(crate) fn names_without_a_store(&self) -> Result<Option<Vec<OsString>>> {
        let names = self.names()?;
        let is_no_store = !names.iter().any(|name| name == LOCK_NAME) && self.is_at_its_path()?;
        Ok(is_no_store.then_some(names))
    }

    /// The marks of the store's files, from its lock file; `None` without a sound one.
    pub(crate) fn identity(&self) -> Result<Option<Identity>> {
        let name = OsStr::new(LOCK_NAME);
        // Another kind of file, or one that is too short, is no lock file.
        let is_file = self.stat(name)?.is_some_and(|found| is_own_file(&found));
        let Some(lock) = (if is_file { self.open_file(name)? } else { None }) else {
            return Ok(None);
        };
        match LockPageSnapshot::read(&lock, &self.path) {
            Ok(page) if page.defect().is_none() => Ok(Some(Identity { uuid: page.uuid })),
            Ok(_) => Ok(None),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the library put this file into the store that has this identity. A file that is gone
    /// counts as the store's: it does not keep the store from being deleted.
    pub(crate) fn is_of_store(&self, name: &OsStr, store: &Identity) -> Result<bool> {
        let Some(found) = self.stat(name)? else {
            return Ok(true);
        };
        if !is_own_file(&found) {
            return Ok(false);
        }
        Ok(match StoreEntry::of(name) {
            StoreEntry::LockFile => true,
            entry @ StoreEntry::Draft { .. } => is_draft(entry),
            StoreEntry::Array(_) => match self.open_file(name)? {
                Some(file) => is_array_or_unready(name, &file, store.uuid)
                    .map_err(Error::io(self.path.join(name), "read the file"))?,
                None => true,
            },
            StoreEntry::Foreign => false,
        })
    }

    /// Whether a file that is not the store's, as it stands, looks like an array with a damaged
    /// header: it begins as an array does and has no valid header, or has this store's id.
    pub(crate) fn looks_damaged(&self, name: &OsStr, store: &Identity) -> Result<bool> {
        if !self.stat(name)?.is_some_and(|found| is_own_file(&found)) {
            return Ok(false);
        }
        let Some(file) = self.open_file(name)? else {
            return Ok(false);
        };
        let looks = || {
            let len = file.metadata()?.len();
            let begins_as_array = read_head(&file, 4096)?.starts_with(&MAGIC);
            let is_damaged = begins_as_array && Header::parse(&file, len).is_err();
            Ok(is_damaged || names_store(&file, store.uuid)?)
        };
        looks().map_err(Error::io(self.path.join(name), "read the file"))
    }

    /// Whether it has no other entry than a store that is being made: a lock file, which may be
    /// unwritten yet, or none.
    pub(crate) fn is_half_built(&self) -> Result<bool> {
        for name in self.names()? {
            if name != LOCK_NAME || !self.may_be_a_makers(&name)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a file can be the lock file of a store that is being made. Its maker reserves the
    /// page, which is zero then, and writes it.
    fn may_be_a_makers(&self, name: &OsStr) -> Result<bool> {
        match self.stat(name)? {
            Some(found) if !is_own_file(&found) || found.st_size > LOCK_LEN as i64 => Ok(false),
            Some(_) => Ok(self.open_file(name)?.is_none_or(|file| {
                read_head(&file, LOCK_LEN).is_ok_and(|page| {
                    page.starts_with(&LOCK_MAGIC) || page.iter().all(|&byte| byte == 0)
                })
            })),
            None => Ok(true),
        }
    }

    /// The first file that does not belong to the store that has this identity. Without one, the
    /// first that the makers in a store without a lock file have not left there.
    pub(crate) fn foreign_entry(&self, store: Option<&Identity>) -> Result<Option<OsString>> {
        for name in self.names()? {
            if !self.is_left_by(&name, store)? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Whether the library put this file into a store that was renamed away. The closer unlinks the
    /// lock file last, and the draft of a maker may arrive after that: only its name is left to
    /// say what it is.
    pub(crate) fn is_left_by(&self, name: &OsStr, store: Option<&Identity>) -> Result<bool> {
        match store {
            Some(store) => self.is_of_store(name, store),
            None => match self.stat(name)? {
                Some(found) if !is_own_file(&found) => Ok(false),
                Some(_) => Ok(is_draft(StoreEntry::of(name)) || self.is_unready(name)?),
                None => Ok(true),
            },
        }
    }

    /// Whether a file with the name of an array has none: it is being made, kept or reused.
    pub(crate) fn is_unready(&self, name: &OsStr) -> Result<bool> {
        match self.open_file(name)? {
            Some(file) => unready::maker_of(name, &file)
                .map(|maker| maker.is_some())
                .map_err(Error::io(self.path.join(name), "read the file")),
            None => Ok(false),
        }
    }

    /// Whether a name is that of this open file.
    pub(crate) fn has(&self, name: &OsStr, file: &File) -> Result<bool> {
        let inode = inode_of_file(file)
            .map_err(Error::io(self.path.join(name), "look at the open file"))?;
        Ok(self.inode_of(name)? == Some(inode))
    }

    /// The bytes that a file takes on its file system; none if it is gone.
    pub(crate) fn allocated(&self, name: &OsStr) -> u64 {
        // stat(2) counts in blocks of 512 bytes on every file system.
        let found = self.stat(name).ok().flatten();
        found.map_or(0, |found| found.st_blocks as u64 * 512)
    }

    /// Removes a file's name. Returns false if it is gone already.
    pub(crate) fn unlink(&self, name: &OsStr) -> Result<bool> {
        let failed = |error| Error::io(self.path.join(name), "delete the file")(error);
        match unlinkat(self.own().map_err(failed)?, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Device and inode of a file in it. `None` if nothing has the name.
    pub(crate) fn inode_of(&self, name: &OsStr) -> Result<Option<(u64, u64)>> {
        Ok(self.stat(name)?.map(|found| (found.st_dev, found.st_ino)))
    }

    /// `None` if it is gone.
    fn stat(&self, name: &OsStr) -> Result<Option<Stat>> {
        let failed = || Error::io(self.path.join(name), "look at the file");
        let own = self.own().map_err(failed())?;
        unless_missing(statat(own, name, AtFlags::SYMLINK_NOFOLLOW)).map_err(failed())
    }

    /// Opens a file in it for reading. `None` if it is gone.
    pub(crate) fn open_file(&self, name: &OsStr) -> Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let failed = || Error::io(self.path.join(name), "open the file");
        let own = self.own().map_err(failed())?;
        unless_missing(openat(own, name, flags, Mode::empty()))
            .and_then(|file| file.map(File::from).map(above_the_streams).transpose())
            .map_err(failed())
    }
}

/// A name that no array of the store has yet.
pub(crate) fn unnamed_file(maker: u64) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    name::file_name(name::made_stem(maker, NEXT.fetch_add(1, Relaxed)))
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn is_own_file(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile && found.st_uid == user()
}

/// Whether a name is that of a draft, and a member can have its maker's id.
fn is_draft(entry: StoreEntry<'_>) -> bool {
    matches!(entry, StoreEntry::Draft { maker: Some(maker) } if (1..MAX_MEMBER).contains(&maker))
}

/// How often a file is looked at that its owner reuses meanwhile.
const LOOKS: usize = 10;

/// Whether a file is an array of this store, or one of its members makes or keeps it.
///
/// While a file is reused its header is neither the old nor the new one. Then its generation or its
/// lifecycle changes, which only a member of the store does.
fn is_array_or_unready(name: &OsStr, file: &File, store: Uuid) -> io::Result<bool> {
    for _ in 0..LOOKS {
        let before = unready::words(file)?;
        if unready::maker_of(name, file)?.is_some() || is_array_of(file, store)? {
            return Ok(true);
        }
        if unready::words(file)? == before {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a file begins as an array does, and its header names this store. The header need not be
/// whole: a damaged array is still the store's. A maker publishes into the directory that it holds,
/// so its array is in no other store.
fn is_array_of(file: &File, store: Uuid) -> io::Result<bool> {
    Ok(read_head(file, MAGIC.len())? == MAGIC && names_store(file, store)?)
}

/// Whether a file has this store's id where the header of an array has it. Elements may have it
/// too, for example those of an array that is a copy of a file of this store.
fn names_store(file: &File, store: Uuid) -> io::Result<bool> {
    // The key "store" and a UUID, as deterministic CBOR has them.
    let entry = [&b"\x65store\xd8\x25\x50"[..], store.as_bytes()].concat();
    // Most headers are short.
    let mut head = read_head(file, 4096)?;
    let end = head
        .get(HEADER_END_AT..HEADER_END_AT + 4)
        .map_or(0, |word| {
            u32::from_le_bytes(word.try_into().unwrap_or_default()) as usize
        });
    // A damaged length does not say where the header ends.
    let end = match end {
        HEADER_AT..=MAX_HEADER_END => end,
        _ => MAX_HEADER_END,
    };
    if end > head.len() {
        head = read_head(file, end)?;
    }
    let header = head.get(HEADER_AT..end.min(head.len())).unwrap_or_default();
    Ok(header.windows(entry.len()).any(|part| part == entry))
}

/// The first bytes of a file, `longest` at most.
fn read_head(file: &File, longest: usize) -> io::Result<Vec<u8>> {
    let mut head = vec![0; longest];
    let len = read(file, &mut head)?;
    head.truncate(len);
    Ok(head)
}

/// Reads from the start of a file; returns how many bytes there are.
fn read(file: &File, into: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < into.len() {
        match file.read_at(&mut into[len..], len as u64) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

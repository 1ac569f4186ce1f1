//! Every check of the file format on files as they lie there: nothing is joined, mapped, counted or
//! written.
//!
//! An opening checks what it must be able to rely on, and stops at the first thing that is wrong.
//! Here all is looked at that can be told from the bytes, and all that was found is told.
//! `docs/design.md` lists the checks.

mod array;
mod lock;
mod state;

use crate::{
    error::{Error, Result},
    format::{constants::*, id::ArrayId},
    store::{self, permissions},
    sys::fs::{above_the_streams, inode_at, inode_of_file},
};
use lock::Store;
use rustix::fs::{Mode, OFlags};
use std::{
    collections::HashMap,
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// What [`verify`] found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Verification {
    /// How many arrays were looked at.
    pub arrays: usize,
    /// Bytes of their files.
    pub bytes: u64,
    /// What is not as it should be, file by file.
    pub findings: Vec<Finding>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The file or directory.
    pub path: PathBuf,
    /// How bad it is.
    pub severity: Severity,
    /// What it is, and what to do where that is known.
    pub text: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// What processes leave that die: a sweep, a recovery or the next one that comes by deals with
    /// it.
    Leftover,
    /// What is not the store's: it keeps the store from being deleted.
    Stray,
    /// What contradicts the file format: no process of this library leaves it so.
    Damage,
}

impl Verification {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.severity != Severity::Damage)
    }

    fn note(&mut self, path: &Path, severity: Severity, text: impl Into<String>) {
        self.findings.push(Finding {
            path: path.into(),
            severity,
            text: text.into(),
        });
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Leftover => "leftover",
            Severity::Stray => "stray",
            Severity::Damage => "damage",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: {}",
            self.path.display(),
            self.severity,
            self.text
        )
    }
}

/// Checks an array's file, or a store with all that is in it, against the file format, and writes
/// nothing.
///
/// Headers, checksums, all of the padding, the state block and its lock table, whether all space is
/// reserved, names, and the lock file; of a store also that nothing else lies in it. What is used
/// meanwhile is no finding. Elements are not looked at: any bytes are elements.
///
/// # Errors
///
/// `NotFound` where neither is at the path; `Io` where something cannot be read. What is wrong with
/// a file is no error but a finding.
///
/// # Examples
///
/// ```
/// let manager = ndshm::Manager::new()?;
/// let xs = manager.zeros::<f64, _>(5)?;
/// assert!(ndshm::verify(manager.path())?.findings.is_empty());
/// assert_eq!(ndshm::verify(xs.path())?.arrays, 1);
/// std::fs::write(manager.path().join("notes.txt"), "mine").unwrap();
/// for finding in ndshm::verify(manager.path())?.findings {
///     println!("{finding}");
/// }
/// # std::fs::remove_file(manager.path().join("notes.txt")).unwrap();
/// # Ok::<(), ndshm::Error>(())
/// ```
pub fn verify(path: impl AsRef<Path>) -> Result<Verification> {
    let path = path.as_ref();
    let missing = |_| Error::NotFound {
        path: path.into(),
        what: "neither a store nor an array is here",
    };
    let mut found = Verification::default();
    if !fs::symlink_metadata(path).map_err(missing)?.is_dir() {
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        // Beside its store, what is wrong with that is of no interest here.
        let store = Store::look(parent, &mut Verification::default())?;
        array::check(path, store.as_ref(), &mut found)?;
        return Ok(found);
    }
    let directory = fs::canonicalize(path).map_err(missing)?;
    let names = store::entries(&directory)?;
    let is_array = |name: &std::ffi::OsStr| name.as_encoded_bytes().ends_with(SUFFIX.as_bytes());
    if !names.iter().any(|name| name == LOCK_NAME || is_array(name)) {
        return Err(Error::NotFound {
            path: path.into(),
            what: "no store is here",
        });
    }
    if let Err(error) = permissions::check_directory(&directory, true) {
        found.note(&directory, Severity::Damage, reason_of(error));
    }
    let store = Store::look(&directory, &mut found)?;
    let mut ids: HashMap<ArrayId, PathBuf> = HashMap::new();
    let mut names: Vec<_> = names.into_iter().filter(|name| name != LOCK_NAME).collect();
    names.sort();
    for name in names {
        let path = directory.join(&name);
        let is_file = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file());
        if is_array(&name) && is_file {
            if let Some(id) = array::check(&path, store.as_ref(), &mut found)?
                && let Some(other) = ids.insert(id, path.clone())
            {
                found.note(
                    &path,
                    Severity::Damage,
                    format!("it has the id of {}", other.display()),
                );
            }
        } else if path.symlink_metadata().is_ok() {
            check_other(
                &path,
                &name.to_string_lossy(),
                is_file,
                store.as_ref(),
                &mut found,
            )?;
        }
    }
    Ok(found)
}

/// What is no array: a file under construction, or something that is not the store's.
fn check_other(
    path: &Path,
    name: &str,
    is_file: bool,
    store: Option<&Store>,
    found: &mut Verification,
) -> Result<()> {
    let builder = name
        .strip_prefix(NEW_PREFIX)
        .and_then(|rest| rest.split('-').next()?.parse().ok());
    match (builder, store) {
        (Some(builder), Some(store)) if is_file => {
            if !store.is_alive(builder)? {
                found.note(
                    path,
                    Severity::Leftover,
                    "its maker died before it was complete: a sweep deletes it",
                );
            }
        }
        (Some(_), None) if is_file => {}
        _ => found.note(
            path,
            Severity::Stray,
            "it is not the store's, and keeps it from being deleted: move it away",
        ),
    }
    Ok(())
}

/// Opens a file for reading, without following a link or waiting for a FIFO. `None` where it is
/// gone.
fn open(path: &Path) -> Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => Ok(Some(
            above_the_streams(File::from(file)).map_err(Error::io(path, "open the file"))?,
        )),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io(path, "open the file")(io::Error::from(errno))),
    }
}

/// Whether a path still names the file that was opened by it.
fn is_at(path: &Path, file: &File) -> bool {
    inode_at(path).is_some_and(|named| inode_of_file(file).is_ok_and(|opened| opened == named))
}

/// The text of an error without its path.
fn reason_of(error: Error) -> String {
    match error {
        Error::Untrusted { reason, .. } => reason,
        Error::Header { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

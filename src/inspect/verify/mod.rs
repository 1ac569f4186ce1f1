//! Every check of the file format, on files as they are: `verify` joins no store, maps no file,
//! counts itself in nowhere and writes nothing.
//!
//! An opening checks the words that it relies on, and stops at the first defect. `verify` checks
//! every byte that the format fixes, and reports every defect. `docs/format.md` lists the checks.

mod array;
mod lock;
mod state;

use crate::{
    error::{Error, Result},
    format::{
        constants::{LOCK_NAME, MAX_MEMBER},
        directory_entry::StoreEntry,
        id::ArrayId,
    },
    store::{
        directory::{Directory, Identity, STRAY},
        listing, permissions,
        plan::Reason,
    },
    sys::fs::{self as files, open_to_read, resolve, unless_missing},
};
use lock::Store;
use rustix::fs::FileType;
use std::{
    collections::HashMap,
    ffi::OsStr,
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// The findings of [`verify`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Verification {
    /// How many arrays were checked.
    pub arrays: usize,
    /// Bytes of their files.
    pub bytes: u64,
    /// The findings, file by file.
    pub findings: Vec<Finding>,
}

/// A defect, a leftover or a stray file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The file or directory.
    pub path: PathBuf,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, and what to do if that is known.
    pub text: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// A process that died left it: a sweep, a recovery or the next process that needs the place
    /// deals with it.
    Leftover,
    /// A file that is not the store's: it keeps the store from being deleted.
    Stray,
    /// It contradicts the file format: no process of this library leaves it so.
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

/// Checks an array's file, or a store with all its files, against the file format. Writes nothing.
///
/// It checks headers, checksums, all of the padding, the state block with its lock table, whether
/// all space is reserved, names, and the lock file; in a store also that it has no other files.
/// Changes by processes that use the arrays meanwhile are no findings. Elements are not checked:
/// any bytes are elements.
///
/// # Errors
///
/// `NotFound` if neither an array nor a store is at the path; `Io` if something cannot be read. A
/// defect of a file is not an error but a finding.
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
    let what = "neither a store nor an array is here";
    let missing = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NotFound {
            path: path.into(),
            what,
        },
        _ => Error::io(path, "look at the path")(source),
    };
    let mut found = Verification::default();
    if !fs::symlink_metadata(path).map_err(missing)?.is_dir() {
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        // Defects of the store beside it are not reported here.
        let store = Store::look(parent, &mut Verification::default())?;
        let strays = Strays::look(parent)?;
        let is_stray = match path.file_name().filter(|name| is_array(name)) {
            Some(name) => strays.has(name)?,
            None => false,
        };
        match is_stray {
            true => found.note(path, Severity::Stray, STRAY),
            false => _ = array::check(path, store.as_ref(), &mut found)?,
        }
        return Ok(found);
    }
    check_store(&resolve(path, what)?, &mut found)?;
    Ok(found)
}

/// Checks a store and all its files.
fn check_store(directory: &Path, found: &mut Verification) -> Result<()> {
    let mut names = listing::names(directory)?;
    names.sort();
    let is_store = names.iter().any(|name| {
        matches!(
            StoreEntry::of(name),
            StoreEntry::LockFile | StoreEntry::Array(_)
        )
    });
    if !is_store {
        return Err(Error::no_store(directory));
    }
    if permissions::has_store(directory)
        && let Err(error) = permissions::check_directory(directory, true)
    {
        found.note(directory, Severity::Damage, reason_of(error));
    }
    let store = Store::look(directory, found)?;
    let strays = Strays::look(directory)?;
    let mut ids: HashMap<ArrayId, PathBuf> = HashMap::new();
    for name in names {
        let path = directory.join(&name);
        let found_there = unless_missing(rustix::fs::lstat(&path));
        let Some(metadata) = found_there.map_err(Error::io(&path, "look at the file"))? else {
            continue;
        };
        if strays.has(&name)? {
            found.note(&path, Severity::Stray, STRAY);
            continue;
        }
        let is_file = FileType::from_raw_mode(metadata.st_mode) == FileType::RegularFile;
        match StoreEntry::of(&name) {
            StoreEntry::LockFile => {}
            StoreEntry::Array(stem)
                if let Some(maker) = stem.maker().filter(|_| is_file)
                    && array::is_unready(&path)? =>
            {
                check_draft(&path, maker, store.as_ref(), found)?;
            }
            StoreEntry::Array(_) if is_file => {
                let id = array::check(&path, store.as_ref(), found)?;
                if let Some(other) = id.and_then(|id| ids.insert(id, path.clone())) {
                    let text = format!("it has the id of {}", other.display());
                    found.note(&path, Severity::Damage, text);
                }
            }
            StoreEntry::Draft { maker: Some(maker) }
                if is_file && (1..MAX_MEMBER).contains(&maker) =>
            {
                check_draft(&path, maker, store.as_ref(), found)?;
            }
            StoreEntry::Array(_) | StoreEntry::Draft { .. } | StoreEntry::Foreign => {
                found.note(&path, Severity::Stray, STRAY);
            }
        }
    }
    if let Some(store) = store {
        let keys = ids.keys().map(ArrayId::lane_key).collect();
        store.check_lanes(&directory.join(LOCK_NAME), &keys, found)?;
    }
    Ok(())
}

/// A store's directory, and the question which files in it are not the store's.
struct Strays(Option<(Directory, Identity)>);

impl Strays {
    fn look(directory: &Path) -> Result<Self> {
        let Some(opened) = Directory::open(directory)? else {
            return Ok(Self(None));
        };
        let store = opened.identity()?;
        Ok(Self(store.map(|store| (opened, store))))
    }

    /// Whether a file is not the store's, and no damaged array of it either. With a damaged lock
    /// file, only names tell files apart.
    fn has(&self, name: &OsStr) -> Result<bool> {
        let Some((directory, store)) = &self.0 else {
            return Ok(false);
        };
        Ok(!directory.is_of_store(name, store)? && !directory.looks_damaged(name, store)?)
    }
}

fn is_array(name: &OsStr) -> bool {
    matches!(StoreEntry::of(name), StoreEntry::Array(_))
}

fn check_draft(
    path: &Path,
    maker: u64,
    store: Option<&Store>,
    found: &mut Verification,
) -> Result<()> {
    if let Some(store) = store
        && let Some(reason) = Reason::of_draft(maker, |maker| store.is_alive(maker))?
    {
        found.note(path, Severity::Leftover, reason.to_string());
    }
    Ok(())
}

/// Opens a file for reading, without following a link or waiting for a FIFO. `None` if it is gone.
fn open(path: &Path) -> Result<Option<File>> {
    match open_to_read(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path, "open the file")(error)),
    }
}

/// Whether a path still names the file that was opened by it.
fn is_at(path: &Path, file: &File) -> Result<bool> {
    files::is_at(path, file).map_err(Error::io(path, "look at the file"))
}

/// The text of an error without its path.
fn reason_of(error: Error) -> String {
    match error {
        Error::Untrusted { reason, .. } => reason,
        Error::Header { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

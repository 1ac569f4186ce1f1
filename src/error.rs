//! The error type of the crate.

pub use crate::format::header_error::HeaderError;

use crate::{
    element::dtype::DType,
    format::{id::ArrayId, kind::ArrayKind},
    inspect::holder::{Holder, Holders, words},
};
use std::{fmt, io, ops::Range, path::PathBuf, time::Duration};
use thiserror::Error as ThisError;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error of every operation, with the path and the expected and found values.
///
/// The text says what to do if that is known. `Debug` prints the name of the variant and the same
/// text, because a `main` that returns an error prints `Debug`.
///
/// # Examples
///
/// ```
/// use ndarray::Ix1;
/// use ndshm::Error;
///
/// let manager = ndshm::Manager::new()?;
/// match manager.array::<f64, Ix1>("xs") {
///     Ok(xs) => println!("{xs:?}"),
///     Err(Error::NotFound { path, .. }) => println!("nothing at {} yet", path.display()),
///     Err(error) => return Err(error),
/// }
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The array does not fit. The failed call leaves nothing behind. Sizes are in bytes.
    #[error(
        "{}: no space for an array file of {needed} bytes: {limited_by} leaves {available}; free \
         some, choose another root with NDSHM_ROOT, or enlarge the file system (a container's \
         /dev/shm: start it with a larger --shm-size)",
        path.display()
    )]
    NoSpace {
        /// The store that has no space.
        path: PathBuf,
        /// Bytes of the whole array file.
        needed: u64,
        /// Bytes that are available.
        available: u64,
        /// The limit: the file system, or `RLIMIT_FSIZE` of this process.
        limited_by: &'static str,
    },
    /// An array that grows has no room for so many rows more.
    #[error(
        "{}: {wanted} rows do not fit behind the {len} rows: the array has at most {max_len}; make \
         one with a larger maximum (it takes address space, not memory) and go on there",
        path.display()
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// The most rows, which were chosen when the array was made.
        max_len: usize,
        /// The rows that it has.
        len: usize,
        /// The rows that were to be appended.
        wanted: usize,
    },
    /// This process cannot map all that an array may grow to. Sizes are in bytes.
    #[error(
        "{}: an array that grows to {needed} bytes does not fit into the address space of this \
         process{}; choose a smaller maximum, or raise the limit (ulimit -v)",
        path.display(), limit.map_or(String::new(), |limit| format!(" (RLIMIT_AS = {limit})"))
    )]
    AddressSpace {
        /// The file, or the store of a new one.
        path: PathBuf,
        /// Bytes of the file when all its rows are there.
        needed: u64,
        /// The limit of this process, if it has one.
        limit: Option<u64>,
    },
    /// The process has as many mappings as the kernel allows (vm.max_map_count).
    #[error(
        "{}: this process has as many memory mappings as vm.max_map_count = {limit} allows; drop \
         some arrays or raise the limit with sysctl",
        path.display()
    )]
    TooManyMappings {
        /// The array that could not be mapped.
        path: PathBuf,
        /// vm.max_map_count.
        limit: u64,
    },
    /// The processes of the store hold and await as many guards as it has room for.
    #[error(
        "{}: all {limit} guards of the store are taken: drop guards first, or use several stores; \
         ndshm locks shows them",
        path.display()
    )]
    TooManyGuards {
        /// The array or the store.
        path: PathBuf,
        /// The most guards that a store has room for.
        limit: usize,
    },
    /// Subscribers that live have all seats of a ring.
    #[error(
        "{}: all {limit} seats of the ring are taken: drop a subscriber, or make the ring with a \
         larger max_subscribers",
        path.display()
    )]
    TooManySubscribers {
        /// The ring.
        path: PathBuf,
        /// The number of its seats.
        limit: usize,
    },
    /// The array that a handle names was released, or its store was deleted.
    #[error(
        "{}: the array was released, or its store was deleted: keep the manager, and a local \
         array, until all handles are opened, or make the array with Scope::Remote or \
         Scope::Store",
        path.display()
    )]
    Released {
        /// Where the array was.
        path: PathBuf,
        /// The array's id.
        id: ArrayId,
    },
    /// There is no such store or array.
    #[error("{}: not found: {what}", path.display())]
    NotFound {
        /// The path of the missing store or array.
        path: PathBuf,
        /// The kind of thing that was expected there.
        what: &'static str,
    },
    /// The name is taken.
    #[error("{}: already exists; {next}", path.display())]
    AlreadyExists {
        /// The existing file or directory.
        path: PathBuf,
        /// What to do.
        next: &'static str,
    },
    /// The store was closed, or its owner ended.
    #[error(
        "{}: the store was closed: nothing can be created or opened in it; make or open another \
         manager",
        path.display()
    )]
    Closed {
        /// The store.
        path: PathBuf,
    },
    /// Only the owner of the store or array may do this.
    #[error("{}: {reason}", path.display())]
    NotOwner {
        /// The store or array.
        path: PathBuf,
        /// Why this process is not the owner.
        reason: &'static str,
    },
    /// Another array took the path of the array that a handle names, or another store the path of a
    /// manager's.
    #[error(
        "{}: another array or store took this path: found {found}, expected {expected}; take a \
         new handle from the process that made it, or open it by its name",
        path.display()
    )]
    PathReused {
        /// The path.
        path: PathBuf,
        /// The expected id.
        expected: String,
        /// The id at that path now.
        found: String,
    },
    /// The array has another element type.
    #[error(
        "{}: element type is {found}, expected {expected}{}",
        path.display(),
        dtype_advice(expected, found)
    )]
    Dtype {
        /// The array.
        path: PathBuf,
        /// The requested type.
        expected: DType,
        /// The type in the file.
        found: DType,
    },
    /// The file is a ring or a growing array, and was opened as another kind.
    #[error(
        "{}: it is a{} {found}, not a{} {expected}: {}",
        path.display(),
        article(*found),
        article(*expected),
        kind_advice(*found)
    )]
    Kind {
        /// The file.
        path: PathBuf,
        /// The requested kind.
        expected: ArrayKind,
        /// The kind of the file.
        found: ArrayKind,
    },
    /// The array or view has another number of dimensions.
    #[error(
        "{}: the array has {found} dimensions, not {expected}: open it with Ix{found}, or with \
         IxDyn for any number",
        path.display()
    )]
    Rank {
        /// The array.
        path: PathBuf,
        /// The requested number.
        expected: usize,
        /// The number of the array or view.
        found: usize,
    },
    /// A shape, a stride, an index or an axis does not fit.
    #[error("{operation}: {reason}")]
    Layout {
        /// The operation that failed.
        operation: &'static str,
        /// Why it is impossible.
        reason: String,
    },
    /// The view is not one of the shared array's memory.
    #[error(
        "{}: the given view does not lie in this array's memory; to share it, copy it with \
         Manager::from_ndarray",
        path.display()
    )]
    NotShared {
        /// The array that the view was compared with.
        path: PathBuf,
    },
    /// A guard on overlapping bytes is held, or a ring has no frame, and the caller does not wait.
    #[error(
        "{}: {obstacle}{}; wait for it with read, write, atomic, next or a time-out",
        path.display(),
        words::named(holders)
    )]
    WouldBlock {
        /// The array.
        path: PathBuf,
        /// The obstacle.
        obstacle: &'static str,
        /// The guards in the way, and the waits that go first.
        holders: Holders,
    },
    /// The wait ended before the obstacle was gone.
    #[error(
        "{}: {obstacle} for all of {waited:?}{}; wait longer, or look with Observer::locks or \
         ndshm locks at the guards that processes hold",
        path.display(),
        words::named(holders)
    )]
    Timeout {
        /// The array, the store, or the lock file.
        path: PathBuf,
        /// The obstacle.
        obstacle: &'static str,
        /// The time that was waited.
        waited: Duration,
        /// The guards that were in the way at last, and the waits that go first; or the process
        /// that held the array's lock word. None where all were given back just then, where the
        /// wait was for another lock of the store, and where it was for an event.
        holders: Holders,
    },
    /// The check of [`set_interrupt_check`](crate::set_interrupt_check) ended a wait.
    #[error("{}: the wait was interrupted", path.display())]
    Interrupted {
        /// The array, the store, or the lock file.
        path: PathBuf,
    },
    /// The thread would wait for its own guard, or its wait belongs to a circle of threads that
    /// wait for each other's guards and is the youngest of them.
    #[error(
        "{}: {}: drop its guards first, or take all of them by ndshm::lock",
        path.display(),
        words::deadlock(holders)
    )]
    WouldDeadlock {
        /// The array.
        path: PathBuf,
        /// The guard of this thread for which it would wait; or the other guards and waits of the
        /// circle, from the guard for which it would wait on. None where two views of one
        /// [`lock`](crate::lock()) share bytes.
        holders: Holders,
    },
    /// A writer died or panicked while it held a guard on some of the bytes. They may be
    /// half-written.
    #[error(
        "{}: the bytes {}..{} of the array's data may be half-written: {} died or panicked; \
         rewrite them through SharedArray::recover",
        path.display(),
        range.start,
        range.end,
        words::writer(*member, holders)
    )]
    Poisoned {
        /// The array.
        path: PathBuf,
        /// The range from the first poisoned byte to the last, counted from the start of the
        /// array's data.
        range: Range<usize>,
        /// The member id of the writer.
        member: u64,
        /// The writer, and its view. Its pid is known as long as a lane of the store has it.
        holders: Holders,
    },
    /// The array is frozen and never written again.
    #[error(
        "{}: the array is frozen and never written again; copy it to change it",
        path.display()
    )]
    Frozen {
        /// The array.
        path: PathBuf,
    },
    /// The array is not frozen.
    #[error(
        "{}: the array is not frozen yet; wait for its producer with Handle::open_frozen_timeout",
        path.display()
    )]
    NotFrozen {
        /// The array.
        path: PathBuf,
    },
    /// The process that was waited for has ended: the one that made the array, or, where an array
    /// of a name was waited for, the one that owns the store.
    #[error(
        "{}: its producer, member {member} of the store, ended before it froze, changed or made \
         what was waited for: release the array, and make it anew; a subscriber of a ring waits \
         for the next producer",
        path.display()
    )]
    Abandoned {
        /// The array.
        path: PathBuf,
        /// The member id of the process.
        member: u64,
    },
    /// The array or view cannot be written.
    #[error("{}: cannot be written: {reason}", path.display())]
    ReadOnly {
        /// The array.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// This process must not trust a directory or file.
    #[error("{}: refused: {reason}", path.display())]
    Untrusted {
        /// The refused directory or file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A text or value is not a handle.
    #[error("not a handle: {reason}")]
    Handle {
        /// The fault.
        reason: String,
    },
    /// A name cannot be the name of an array.
    #[error("{name:?} cannot be a name: {reason}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// Attributes or axis names cannot be stored or read as requested.
    #[error("attributes: {reason}")]
    Attrs {
        /// Why not.
        reason: String,
    },
    /// The file is not an array of this format, or it is damaged.
    #[error("{}: {source}{}", path.display(), source.advice())]
    Header {
        /// The file.
        path: PathBuf,
        /// The fault.
        source: HeaderError,
    },
    /// A file of another format cannot be imported, or an array cannot be exported to it.
    #[error("{}: {reason}", path.display())]
    Transfer {
        /// The file of the other format.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// A system call failed.
    #[error("{}: {action}: {source}{}", path.display(), lacking(source))]
    Io {
        /// The path of the operation.
        path: PathBuf,
        /// The step that failed.
        action: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
}

/// The words for a system call that the kernel does not have.
fn lacking(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::ENOSYS) => {
            "; this kernel, or the sandbox of this process (seccomp, gVisor), lacks the system \
             call: \"Where it runs\" in the guide lists the calls that are needed"
        }
        _ => "",
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Error::NoSpace { .. } => "NoSpace",
            Error::Full { .. } => "Full",
            Error::AddressSpace { .. } => "AddressSpace",
            Error::TooManyMappings { .. } => "TooManyMappings",
            Error::TooManyGuards { .. } => "TooManyGuards",
            Error::TooManySubscribers { .. } => "TooManySubscribers",
            Error::Released { .. } => "Released",
            Error::NotFound { .. } => "NotFound",
            Error::AlreadyExists { .. } => "AlreadyExists",
            Error::Closed { .. } => "Closed",
            Error::NotOwner { .. } => "NotOwner",
            Error::PathReused { .. } => "PathReused",
            Error::Dtype { .. } => "Dtype",
            Error::Kind { .. } => "Kind",
            Error::Rank { .. } => "Rank",
            Error::Layout { .. } => "Layout",
            Error::NotShared { .. } => "NotShared",
            Error::WouldBlock { .. } => "WouldBlock",
            Error::Timeout { .. } => "Timeout",
            Error::Interrupted { .. } => "Interrupted",
            Error::WouldDeadlock { .. } => "WouldDeadlock",
            Error::Poisoned { .. } => "Poisoned",
            Error::Frozen { .. } => "Frozen",
            Error::NotFrozen { .. } => "NotFrozen",
            Error::Abandoned { .. } => "Abandoned",
            Error::ReadOnly { .. } => "ReadOnly",
            Error::Untrusted { .. } => "Untrusted",
            Error::Handle { .. } => "Handle",
            Error::Name { .. } => "Name",
            Error::Attrs { .. } => "Attrs",
            Error::Header { .. } => "Header",
            Error::Transfer { .. } => "Transfer",
            Error::Io { .. } => "Io",
        };
        write!(f, "{variant}: {self}")
    }
}

impl Error {
    /// The guards and waits that were in the way of the call, of `WouldBlock`, `Timeout` and
    /// `WouldDeadlock`, and the writer that left the bytes, of `Poisoned`. At most 16, and none of
    /// another error.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.options().name("xs").zeros::<f64, _>(5)?;
    /// let _writing = xs.write()?;
    /// let refused = xs.read().unwrap_err();
    /// assert_eq!(refused.holders()[0].to_string(), "this thread holds xs to write");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn holders(&self) -> &[Holder] {
        match self {
            Error::WouldBlock { holders, .. }
            | Error::Timeout { holders, .. }
            | Error::WouldDeadlock { holders, .. }
            | Error::Poisoned { holders, .. } => holders,
            _ => &[],
        }
    }

    /// The same error with these holders, if it can have any.
    pub(crate) fn held_by(mut self, by: Holders) -> Self {
        if let Error::WouldBlock { holders, .. } | Error::Timeout { holders, .. } = &mut self {
            *holders = by;
        }
        self
    }

    pub(crate) fn io(
        path: impl Into<PathBuf>,
        action: &'static str,
    ) -> impl FnOnce(io::Error) -> Error {
        // Only an error pays for its path.
        move |source| Error::Io {
            path: path.into(),
            action,
            source,
        }
    }

    pub(crate) fn name_taken(path: impl Into<PathBuf>) -> Error {
        Error::AlreadyExists {
            path: path.into(),
            next: "open it, release it, or choose another name",
        }
    }

    pub(crate) fn no_store(path: impl Into<PathBuf>) -> Error {
        Error::NotFound {
            path: path.into(),
            what: NO_STORE,
        }
    }

    pub(crate) fn transfer(path: impl Into<PathBuf>, reason: impl Into<String>) -> Error {
        Error::Transfer {
            path: path.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn layout(operation: &'static str, reason: impl Into<String>) -> Error {
        Error::Layout {
            operation,
            reason: reason.into(),
        }
    }
}

/// The text of `NotFound` for a store.
pub(crate) const NO_STORE: &str =
    "no store is here; correct the path, or make a store with Manager::create";

/// The end of the article before a kind.
fn article(kind: ArrayKind) -> &'static str {
    match kind {
        ArrayKind::Array => "n",
        _ => "",
    }
}

/// The verb that opens a file of a kind.
fn kind_advice(found: ArrayKind) -> &'static str {
    match found {
        ArrayKind::Array => "open it as SharedArray or AnyArray",
        ArrayKind::Ring => "open it as Ring",
        ArrayKind::Growing => "open it as GrowingArray",
    }
}

/// The advice where an array, or a part of one, has the element type `found`.
fn dtype_advice(expected: &DType, found: &DType) -> String {
    match found.subarray() {
        Some((_, part)) if part == *expected => {
            "; to see its parts along a further axis, use field_array or unpack".into()
        }
        _ if expected.subarray().is_some_and(|(_, part)| part == *found) => {
            "; it is one number, not an array of them: use field".into()
        }
        _ => "; open it as that type, or as AnyArray".into(),
    }
}

//! The holder of a guard, as errors and observers name it, and its words.
//!
//! `array::obstacles` makes holders of the lanes that a refused call found in its way,
//! `observer::locks` of all lanes of a store.

use crate::inspect::observer::GuardKind;
use std::{
    fmt,
    ops::{Deref, Range},
    path::{Path, PathBuf},
    slice,
    time::Duration,
};

/// The most holders in the text of an error.
const MOST_IN_TEXT: usize = 4;
/// Letters of a command in the text of an error.
const LONGEST_COMMAND: usize = 80;

/// A guard on an array, or the wait for one, and its process.
///
/// [`Error::holders`](crate::Error::holders) gives those that kept a call from its guard, as the
/// call saw them when it gave up, or the writer that left bytes half-written.
/// [`Observer::locks`](crate::Observer::locks) gives all of a store.
///
/// Its text is a phrase: `process 4242 (python train.py) holds results[3] to write, for at least
/// 1.2s`.
///
/// # Examples
///
/// ```
/// use ndarray::s;
/// use ndshm::GuardKind;
///
/// let manager = ndshm::Manager::new()?;
/// let results = manager.options().name("results").zeros::<f64, _>((5, 100))?;
/// let row = results.slice(s![3, ..])?;
/// let _writing = row.write()?;
/// let refused = std::thread::scope(|scope| {
///     let reader = scope.spawn(|| results.try_read().map(drop));
///     reader.join().unwrap().unwrap_err()
/// });
///
/// let [holder] = refused.holders() else { panic!("{refused}") };
/// assert_eq!((holder.kind, holder.slice.as_deref()), (Some(GuardKind::Write), Some("[3]")));
/// assert_eq!(holder.pid, Some(std::process::id()));
/// assert_eq!(holder.to_string(), "this process holds results[3] to write");
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The file of the array; `None` if it is no longer in the store.
    pub path: Option<PathBuf>,
    /// Its access; `None` for the lock word of the array, which a process holds for less than a
    /// microsecond unless it is stopped.
    pub kind: Option<GuardKind>,
    /// Whether the guard is waited for, not held.
    pub is_waiting: bool,
    /// From the first byte of its view to the last, counted from the start of the array's data; the
    /// view need not have all bytes in between. Empty for the lock word.
    pub range: Range<usize>,
    /// Its view as a slice of the array in NumPy's notation, where one says it: `[3]`,
    /// `[:, 128:256]`, `[:]`, `[3]["mass"]`.
    pub slice: Option<String>,
    /// The member of the store that holds it or waits for it.
    pub member: u64,
    /// Whether that member lived at the time of the look. A guard to write of a dead member is
    /// poison.
    pub is_alive: bool,
    /// Its process, where the number is known and means something: in the same pid namespace.
    pub pid: Option<u32>,
    /// The command of the process with its arguments, if it lived and the command can be read.
    pub command: Option<String>,
    /// Whether it is the calling process.
    pub is_this_process: bool,
    /// Whether it is the calling thread.
    pub is_this_thread: bool,
    /// How long this wait has lasted, or how long the call saw this guard in its way. `None` for a
    /// guard that the call did not sleep on: a call that does not wait sees no time.
    pub since: Option<Duration>,
}

/// The holders that an error names: a slice of them. The text has their phrases, separated by
/// commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders(Box<[Holder]>);

impl Holder {
    /// The words for its process: `process 4242 (python train.py)`, `process 4242 (ended)`, `this
    /// thread`, `this process`, or `member 7 of the store` where no pid is known.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// let _reading = xs.read()?;
    /// let refused = xs.write().unwrap_err();
    /// assert_eq!(refused.holders()[0].process(), "this thread");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn process(&self) -> String {
        let end = match (self.is_alive, &self.command) {
            (false, _) => " (ended)".to_owned(),
            (true, Some(command)) => format!(" ({})", shortened(command)),
            (true, None) => String::new(),
        };
        match self.pid {
            _ if self.is_this_thread => "this thread".into(),
            _ if self.is_this_process => "this process".into(),
            Some(pid) => format!("process {pid}{end}"),
            None => format!("member {} of the store{end}", self.member),
        }
    }

    /// The words for its bytes: `results[3]`, `results`, `bytes 8..24 of results`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.options().name("xs").zeros::<f64, _>((5, 2))?;
    /// let column = xs.slice(ndarray::s![.., 1])?;
    /// let _reading = column.read()?;
    /// let refused = xs.write().unwrap_err();
    /// assert_eq!(refused.holders()[0].place(), "xs[:, 1]");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn place(&self) -> String {
        let name = match self.path.as_deref().and_then(Path::file_stem) {
            // Control characters of a name would move the cursor.
            Some(stem) => stem.to_string_lossy().replace(char::is_control, "\u{fffd}"),
            None => "an array that is gone".into(),
        };
        match (self.kind, self.slice.as_deref()) {
            (None, _) | (_, Some("[:]")) => name,
            (_, Some(slice)) => name + slice,
            (_, None) => format!("bytes {}..{} of {name}", self.range.start, self.range.end),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (process, place) = (self.process(), self.place());
        let Some(kind) = self.kind else {
            write!(f, "{process} holds the lock word of {place}")?;
            return self.write_since(f);
        };
        match (self.is_waiting, kind) {
            (true, GuardKind::Read) => write!(f, "{process} waits to read {place}"),
            (true, GuardKind::Atomic) => write!(f, "{process} waits for atomic access to {place}"),
            (true, _) => write!(f, "{process} waits to write {place}"),
            (false, kind) => {
                let holds = if self.is_alive { "holds" } else { "held" };
                let purpose = match kind {
                    GuardKind::Read => "to read",
                    GuardKind::Atomic => "for atomic access",
                    _ => "to write",
                };
                write!(f, "{process} {holds} {place} {purpose}")
            }
        }?;
        self.write_since(f)
    }
}

impl Holder {
    fn write_since(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(since) = self.since else {
            return Ok(());
        };
        let since = Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        match self.is_waiting {
            true => write!(f, ", for {since:?}"),
            false => write!(f, ", for at least {since:?}"),
        }
    }
}

impl Deref for Holders {
    type Target = [Holder];

    fn deref(&self) -> &[Holder] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Holders {
    type Item = &'a Holder;
    type IntoIter = slice::Iter<'a, Holder>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl FromIterator<Holder> for Holders {
    fn from_iter<I: IntoIterator<Item = Holder>>(holders: I) -> Self {
        Self(holders.into_iter().collect())
    }
}

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, holder) in self.iter().take(MOST_IN_TEXT).enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{holder}")?;
        }
        match self.len().saturating_sub(MOST_IN_TEXT) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

fn shortened(command: &str) -> String {
    match command.char_indices().nth(LONGEST_COMMAND) {
        Some((at, _)) => format!("{}...", &command[..at]),
        None => command.into(),
    }
}

/// The parts of errors' texts that name holders, for the library, the tool and the Python package:
/// these give other advice behind them.
pub mod words {
    use super::Holders;

    /// The holders as the end of a sentence; empty without holders.
    pub fn named(holders: &Holders) -> String {
        match holders.is_empty() {
            true => String::new(),
            false => format!(": {holders}"),
        }
    }

    /// Why a thread would wait for ever.
    pub fn deadlock(holders: &Holders) -> String {
        if holders.is_empty() {
            "this thread would wait for a guard of its own, or in a circle with other threads"
                .into()
        } else if holders.iter().all(|holder| holder.is_this_thread) {
            format!("{holders} and would wait for itself")
        } else {
            format!("this thread would wait in a circle, where {holders}")
        }
    }

    /// The writer that left bytes half-written. The caller adds the verb: died, or panicked.
    pub fn writer(member: u64, holders: &Holders) -> String {
        match holders.first() {
            Some(writer) if writer.slice.is_some() => {
                let (process, place) = (writer.process(), writer.place());
                format!("their writer, {process}, held {place} and")
            }
            Some(writer) => format!("their writer, {},", writer.process()),
            None => format!("their writer, member {member} of the store,"),
        }
    }
}

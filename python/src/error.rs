//! The library's errors as exceptions. The classes are in `ndshm/_errors.py` and have the names of
//! the library's variants.

use crate::signals;
use ndshm::{__private::words, Error, GuardKind, Holder};
use pyo3::{
    exceptions::PyRuntimeError,
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyModule, PyTuple},
};

static CLASSES: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// The functions that reasons of the library name, and the words for them in Python.
const RENAMED: [(&str, &str); 21] = [
    ("Manager::open or Manager::open_or_create", "Manager(path)"),
    ("Manager::open_or_create", "Manager(path)"),
    ("Manager::open", "Manager(path)"),
    ("Manager::create", "Manager(path)"),
    ("Manager::list", "Manager.list()"),
    (
        "with Manager::sweep_root on the directory around it",
        "with ndshm sweep",
    ),
    (
        "; open it as that type, or as AnyArray",
        "; open it as it is, or choose another name",
    ),
    ("use field_array or unpack", "take the field by its name"),
    (
        "wait for it with read, write, atomic, next or a time-out",
        "wait for it without timeout=0",
    ),
    (
        "open it, release it, or choose another name",
        "open it, remove it, or choose another name",
    ),
    ("ArrayOptions::name, Builder::name", "name="),
    ("Builder::any_file_system", "any_file_system=True"),
    ("Builder::path", "path"),
    ("Builder::name", "name="),
    ("the setting skip_unsupported", "skip_unsupported=True"),
    ("the setting only", "only=[..]"),
    (
        "open it as SharedArray or AnyArray",
        "open it as an array, by Manager.open() or ndshm.open()",
    ),
    (
        "open it as Ring",
        "open it with Manager.open_ring() or ndshm.open_ring()",
    ),
    (
        "open it as GrowingArray",
        "open it with Manager.open_growing() or ndshm.open_growing()",
    ),
    (
        "open it with open_frozen",
        "open it with ndshm.open_frozen()",
    ),
    (
        "drop a subscriber",
        "close a subscriber and delete its frames",
    ),
];

/// The exception for an error: of the class with the variant's name.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    with_text(py, error, || message(error))
}

/// The exception for an error of a ring, whose waits are for frames and not for guards. `missing`
/// says for what a call that does not wait would wait.
pub(crate) fn of_ring(py: Python<'_>, error: &Error, missing: &str) -> PyErr {
    with_text(py, error, || match error {
        Error::WouldBlock { path, holders, .. } => format!(
            "{}: {missing}{}; wait for it without timeout=0",
            path.display(),
            words::named(holders)
        ),
        Error::Timeout {
            path,
            obstacle,
            waited,
            holders,
            ..
        } => format!(
            "{}: {} for all of {waited:?}{}; wait longer (timeout=, lock_timeout=)",
            path.display(),
            obstacle.replace(HELD, HELD_IN_PYTHON),
            words::named(holders)
        ),
        Error::Released { path, .. } => format!(
            "{}: the ring was released, or its store was deleted: keep the manager, and a local \
             ring, until all handles are opened, or make the ring with scope='remote' or \
             scope=None",
            path.display()
        ),
        Error::Abandoned { path, member, .. } => format!(
            "{}: the producer, member {member} of the store, died; the next call waits for the \
             next producer",
            path.display()
        ),
        error => message(error),
    })
}

/// The exception for an error of an array that grows, whose waits are for an appender or for rows.
pub(crate) fn of_growing(py: Python<'_>, error: &Error) -> PyErr {
    with_text(py, error, || match error {
        Error::WouldBlock { path, holders, .. } => format!(
            "{}: another process or thread appends{}; wait for it without timeout=0",
            path.display(),
            words::named(holders)
        ),
        Error::Timeout {
            path,
            obstacle,
            waited,
            holders,
            ..
        } => format!(
            "{}: {obstacle} for all of {waited:?}{}; wait longer (timeout=, lock_timeout=)",
            path.display(),
            words::named(holders)
        ),
        Error::WouldDeadlock { path, .. } => format!(
            "{}: this thread has reserved rows of the array: leave the block of reserve() first",
            path.display()
        ),
        Error::Frozen { path, .. } => format!(
            "{}: the growth of the array has ended: append to a new one",
            path.display()
        ),
        error => message(error),
    })
}

/// What the library says where all frames are held.
const HELD: &str = "drop frames sooner, or make a ring of more frames";

/// The same for Python, where a frame is held longer than its reader may expect.
pub(crate) const HELD_IN_PYTHON: &str = "delete frames sooner: the variable of a loop, a view and \
     a memoryview each hold one; or make a ring of two frames more than subscribers hold at once";

fn with_text(py: Python<'_>, error: &Error, text: impl FnOnce() -> String) -> PyErr {
    if matches!(error, Error::Interrupted { .. })
        && let Some(exception) = signals::take()
    {
        return exception;
    }
    // The library promises that `Debug` begins with the name of the variant.
    let debug = format!("{error:?}");
    let variant = debug.split(':').next().unwrap_or_default();
    let exception = CLASSES
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("ndshm._errors")?.unbind()))
        .and_then(|module| {
            let module = module.bind(py);
            let class = module
                .getattr(variant)
                .or_else(|_| module.getattr("Error"))?;
            let exception = class.call1((text(),))?;
            if !error.holders().is_empty() {
                let holders: Vec<_> = error
                    .holders()
                    .iter()
                    .map(|holder| to_python(module, holder))
                    .collect::<PyResult<_>>()?;
                exception.setattr("holders", PyTuple::new(py, holders)?)?;
            }
            Ok(exception)
        });
    match exception {
        Ok(exception) => PyErr::from_value(exception),
        Err(_) => PyRuntimeError::new_err(debug),
    }
}

/// A holder as an object of the class `Holder`.
pub(crate) fn holder<'py>(py: Python<'py>, of: &Holder) -> PyResult<Bound<'py, PyAny>> {
    to_python(&py.import("ndshm._errors")?, of)
}

fn to_python<'py>(module: &Bound<'py, PyModule>, holder: &Holder) -> PyResult<Bound<'py, PyAny>> {
    let kind = holder.kind.map(|kind| match kind {
        GuardKind::Read => "read",
        GuardKind::Atomic => "atomic",
        _ => "write",
    });
    let fields = PyDict::new(module.py());
    fields.set_item("pid", holder.pid)?;
    fields.set_item("command", &holder.command)?;
    fields.set_item("path", &holder.path)?;
    fields.set_item("slice", &holder.slice)?;
    fields.set_item("start", holder.range.start)?;
    fields.set_item("stop", holder.range.end)?;
    fields.set_item("kind", kind)?;
    fields.set_item("is_waiting", holder.is_waiting)?;
    fields.set_item("since", holder.since.map(|since| since.as_secs_f64()))?;
    fields.set_item("member", holder.member)?;
    fields.set_item("is_alive", holder.is_alive)?;
    fields.set_item("is_this_process", holder.is_this_process)?;
    fields.set_item("is_this_thread", holder.is_this_thread)?;
    fields.set_item("_text", holder.to_string())?;
    module.getattr("Holder")?.call((), Some(&fields))
}

/// Whether an exception is a `WouldDeadlock`.
pub(crate) fn is_deadlock(py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let module = py.import("ndshm._errors")?;
    value.is_instance(&module.getattr("WouldDeadlock")?)
}

/// The text of an error, with advice for a Python program where the library's is for a Rust one.
fn message(error: &Error) -> String {
    match error {
        Error::Released { path, .. } => format!(
            "{}: the array was released, or its store was deleted: keep the manager, and a local \
             array, until all handles are opened, or make the array with scope='remote' or \
             scope=None",
            path.display()
        ),
        Error::TooManyMappings { path, limit, .. } => format!(
            "{}: this process has as many memory mappings as vm.max_map_count = {limit} allows; \
             delete references to arrays, or raise the limit with sysctl",
            path.display()
        ),
        Error::TooManyGuards { path, limit, .. } => format!(
            "{}: all {limit} guards of the store are taken: leave the block of a guard first",
            path.display()
        ),
        Error::WouldDeadlock { path, holders, .. } => format!(
            "{}: {}: leave the block of that guard first, or take all guards at once with \
             ndshm.lock()",
            path.display(),
            words::deadlock(holders)
        ),
        Error::Poisoned {
            path,
            range,
            member,
            holders,
            ..
        } => format!(
            "{}: the bytes {}..{} of the array's data may be half-written: {} died or raised an \
             exception; set them anew with Array.recover()",
            path.display(),
            range.start,
            range.end,
            words::writer(*member, holders)
        ),
        Error::NotFrozen { path, .. } => format!(
            "{}: the array was not frozen yet; wait for its producer with ndshm.open_frozen()",
            path.display()
        ),
        Error::Abandoned { path, member, .. } => format!(
            "{}: the process that this call waits for, member {member} of the store, ended",
            path.display()
        ),
        Error::NotShared { path, .. } => format!(
            "{}: the given view does not lie in this array's memory; to share it, copy it with \
             Manager.array()",
            path.display()
        ),
        Error::Transfer { .. } => renamed(&error.to_string()),
        Error::Untrusted { path, reason, .. } => {
            format!("{}: refused: {}", path.display(), renamed(reason))
        }
        Error::NotFound { path, what, .. } => {
            format!("{}: not found: {}", path.display(), renamed(what))
        }
        Error::Timeout {
            path,
            obstacle,
            waited,
            holders,
            ..
        } => format!(
            "{}: {obstacle} for all of {waited:?}{}; wait longer (timeout=, lock_timeout=), look \
             with ndshm locks at the guards that processes hold, or look without a lock: \
             Array.unlocked()",
            path.display(),
            words::named(holders)
        ),
        Error::Name { name, reason, .. } => {
            format!("{name:?} cannot be a name: {}", renamed(reason))
        }
        error => renamed(&error.to_string()),
    }
}

fn renamed(reason: &str) -> String {
    RENAMED
        .iter()
        .fold(reason.to_owned(), |reason, (rust, python)| {
            reason.replace(rust, python)
        })
}

/// A result of the library as one of Python.
pub(crate) trait Raise<T> {
    fn raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> Raise<T> for ndshm::Result<T> {
    #[inline]
    fn raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raised(py, &error))
    }
}

/// An exception of the base class.
pub(crate) fn plain(py: Python<'_>, text: &str) -> PyErr {
    let class = py
        .import("ndshm._errors")
        .and_then(|module| module.getattr("Error"));
    class
        .and_then(|class| class.call1((text,)))
        .map_or_else(|error| error, PyErr::from_value)
}

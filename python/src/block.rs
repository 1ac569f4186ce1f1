//! The block of a `with` statement over one guard or several: its start, and its end.

use crate::{error, lock::Mode, locked::Leased};
use ndshm::AnyArray;
use pyo3::{
    exceptions::{PyBufferError, PyGeneratorExit, PyRuntimeError, PySystemExit},
    intern,
    prelude::*,
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The block of a context manager: while it runs, it has its ndarrays and their leases, `E`.
pub(crate) struct Block<E>(Mutex<Option<E>>);

impl<E> Block<E> {
    /// No block runs yet.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Starts the block by `take`, which returns the value of `as` and the leases. An error with
    /// the text `in_use` if the block runs already.
    pub(crate) fn start<R>(
        &self,
        in_use: &'static str,
        take: impl FnOnce() -> PyResult<(R, E)>,
    ) -> PyResult<R> {
        if self.entered().is_some() {
            return Err(PyRuntimeError::new_err(in_use));
        }
        // Not under the mutex: it may wait for other threads, and runs Python code.
        let (value, entered) = take()?;
        *self.entered() = Some(entered);
        Ok(value)
    }

    /// Ends the block: the caller gives its leases back. An error with the text `not_in_use` if no
    /// block runs.
    pub(crate) fn end(&self, not_in_use: &'static str) -> PyResult<E> {
        let entered = self.entered().take();
        entered.ok_or_else(|| PyRuntimeError::new_err(not_in_use))
    }

    /// Calls `visit` with the leases, if the block runs.
    pub(crate) fn with_entered(&self, visit: impl FnOnce(&E)) {
        if let Some(entered) = &*self.entered() {
            visit(entered);
        }
    }

    fn entered(&self) -> MutexGuard<'_, Option<E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a block: the exception that ended it, an argument of `__exit__`.
pub(crate) struct End<'a, 'py> {
    value: Option<&'a Bound<'py, PyAny>>,
    kind: Kind,
    /// The ways by which the memory of the guards left the block, if it did.
    ways: Vec<String>,
}

/// What an end means for elements that the block could write.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// They are as the block wanted them.
    Normal,
    /// They may be half-written.
    Failed,
    /// They are half-written if the block wrote at all.
    Deadlock,
}

impl<'a, 'py> End<'a, 'py> {
    /// The end by the arguments `kind` and `value` of `__exit__`.
    ///
    /// A generator that is closed, and a program that exits, end a block as its last line does.
    pub(crate) fn new(
        py: Python<'py>,
        kind: Option<&Bound<'py, PyAny>>,
        value: Option<&'a Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let kind = match value {
            None if kind.is_none() => Kind::Normal,
            Some(value) if is_normal(value) => Kind::Normal,
            Some(value) if error::is_deadlock(py, value)? => Kind::Deadlock,
            _ => Kind::Failed,
        };
        let ways = Vec::new();
        Ok(Self { value, kind, ways })
    }

    /// Ends one lease: empties the ndarrays, and gives the lock back unless the memory left the
    /// block by other objects.
    pub(crate) fn give_back(
        &mut self,
        py: Python<'py>,
        leased: Leased,
        mode: Mode,
        array: &AnyArray,
    ) -> PyResult<()> {
        let poisons = match self.kind {
            Kind::Normal => false,
            Kind::Failed => true,
            // Poison that was there stays.
            Kind::Deadlock => leased.lease.is_written() || mode == Mode::Recover,
        };
        if poisons && mode != Mode::Read {
            leased.lease.poison_at_end();
        }
        if let Some(ways) = leased.end(py, array)? {
            self.ways.push(ways);
        }
        Ok(())
    }

    /// The result of `__exit__`: no exception is swallowed, and memory that left the block raises
    /// one.
    pub(crate) fn outcome(self, py: Python<'py>) -> PyResult<bool> {
        if self.ways.is_empty() {
            return Ok(false);
        }
        let text = format!(
            "the memory of the guard left its block, by {}: the lock is kept until the last object \
             that has it is gone. Delete it before the block ends, or let it have a copy \
             (x.copy(), a.to_numpy()) or a frozen array (a.freeze())",
            self.ways.join("; ")
        );
        match self.value {
            // The caller must see the exception that ended the block.
            Some(value) => {
                value.call_method1(intern!(py, "add_note"), (text,))?;
                Ok(false)
            }
            None => Err(PyBufferError::new_err(text)),
        }
    }
}

fn is_normal(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyGeneratorExit>() || value.is_instance_of::<PySystemExit>()
}

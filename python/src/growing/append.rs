//! How rows are appended: copies of what Python gives, and the end of a block that wrote some.

use super::GrowingArray;
use crate::{
    arguments::Wait,
    array::{Array, foreign},
    error,
    export::Held,
    locked::{self, Leased},
    ring,
    room::Room,
    slots::{fields, plain_type},
};
use ndshm::Error;
use numpy::npyffi::NPY_ARRAY_C_CONTIGUOUS;
use pyo3::{
    exceptions::{PyBufferError, PyRuntimeError, PyValueError},
    ffi, intern,
    prelude::*,
};
use std::{
    slice,
    sync::{MutexGuard, PoisonError},
};

/// So many bytes are copied without letting other threads run.
const SMALL: usize = 1 << 16;

/// How many rows the end of a block appends, of those that it reserved.
pub(super) struct Draft {
    pub(super) rows: usize,
    reserved: usize,
}

impl Draft {
    pub(super) fn all(reserved: usize) -> Self {
        Self {
            rows: reserved,
            reserved,
        }
    }

    pub(super) fn set(&mut self, rows: isize) -> PyResult<()> {
        let valid = usize::try_from(rows)
            .ok()
            .filter(|&rows| rows <= self.reserved);
        self.rows = valid.ok_or_else(|| {
            PyValueError::new_err(format!(
                "{rows} rows, of which {} were reserved",
                self.reserved
            ))
        })?;
        Ok(())
    }
}

impl GrowingArray {
    pub(super) fn draft(&self) -> MutexGuard<'_, Option<Draft>> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change_draft<R>(
        &self,
        change: impl FnOnce(&mut Draft) -> PyResult<R>,
    ) -> PyResult<R> {
        let mut draft = self.draft();
        let draft = draft.as_mut().ok_or_else(|| {
            PyRuntimeError::new_err(
                "no rows are being written: set this in the block of `with log.reserve(k) as rows` \
                 (log[:] has the rows that are there)",
            )
        })?;
        change(draft)
    }

    /// Appends a copy of one row or of several.
    pub(super) fn append_copy(
        &self,
        py: Python<'_>,
        given: &Bound<'_, PyAny>,
        wait: Wait,
    ) -> PyResult<usize> {
        foreign::refuse(given)?;
        // Copied before the turn is taken: to read a shared array may be to wait.
        let rows = match given.is_instance_of::<Array>() {
            true => given.call_method0(intern!(py, "to_numpy"))?,
            false => ring::source(given, self.element_type(py))?,
        };
        let count = self.count(&rows)?;
        if let Some(bytes) = self.plain_bytes(&rows)? {
            match self.any.try_append_bytes(bytes) {
                Err(Error::WouldBlock { .. } | Error::WouldDeadlock { .. }) => {}
                appended => return appended.map_err(|error| error::of_growing(py, &error)),
            }
        }
        let leased = self.begin(py, count, wait)?;
        let copied = leased
            .plain(py)
            .and_then(|plain| ring::copy(plain, &rows, None));
        match copied {
            Ok(()) => self.end(py, leased, count)?.map_err(PyBufferError::new_err),
            // The rows are dropped: they never were.
            Err(error) => {
                drop(self.close(py, leased)?);
                Err(error)
            }
        }
    }

    /// How many rows an array has.
    fn count(&self, rows: &Bound<'_, PyAny>) -> PyResult<usize> {
        let shape: Vec<usize> = rows.getattr(intern!(rows.py(), "shape"))?.extract()?;
        let row = self.numpy_row();
        match shape.split_first() {
            _ if shape == row => Ok(1),
            Some((&count, rest)) if rest == row => Ok(count),
            _ => Err(PyValueError::new_err(format!(
                "an array of shape {shape:?} is neither a row of shape {row:?} nor several of them"
            ))),
        }
    }

    /// The bytes of a small ndarray that has the elements as they lie in a row.
    ///
    /// They are valid as long as no other thread has the interpreter's lock.
    fn plain_bytes<'a>(&self, rows: &'a Bound<'_, PyAny>) -> PyResult<Option<&'a [u8]>> {
        let py = rows.py();
        // SAFETY: it is a live object.
        if unsafe { ffi::Py_TYPE(rows.as_ptr()) } != plain_type(py) {
            return Ok(None);
        }
        let len: usize = rows.getattr(intern!(py, "nbytes"))?.extract()?;
        // SAFETY: the object is an ndarray.
        let parts = unsafe { &*fields(rows.as_ptr()) };
        let is_alike = rows
            .getattr(intern!(py, "dtype"))?
            .eq(self.element_type(py))?;
        if len > SMALL || !is_alike || parts.flags & NPY_ARRAY_C_CONTIGUOUS == 0 {
            return Ok(None);
        }
        // SAFETY: the elements of a contiguous ndarray are so many bytes from this address on, no
        // other thread writes them while this one has the interpreter's lock, and the type has no
        // pointers, because it is that of a shared array.
        Ok(Some(unsafe {
            slice::from_raw_parts(parts.data.cast(), len)
        }))
    }

    /// Reserves rows, and lends them to a block.
    pub(super) fn begin(&self, py: Python<'_>, rows: usize, wait: Wait) -> PyResult<Leased> {
        let reserve = || match Room::reserve(&self.any, rows, Wait::Never) {
            Err(Error::WouldBlock { .. }) if !matches!(wait, Wait::Never) => {
                py.detach(|| Room::reserve(&self.any, rows, wait))
            }
            reserved => reserved,
        };
        let mut reserved = reserve();
        if matches!(reserved, Err(Error::WouldDeadlock { .. })) && locked::collect_left(py)? {
            reserved = reserve();
        }
        let room = reserved.map_err(|error| match error {
            Error::WouldDeadlock { .. } if self.home.is_kept() => PyBufferError::new_err(
                "an object still has the memory of rows that were not appended: delete it first",
            ),
            error => error::of_growing(py, &error),
        })?;
        let shape = self.numpy_rows(rows);
        let len =
            rows * self.any.row_shape().iter().product::<usize>() * self.any.dtype().itemsize();
        let lent = Held::Rows(self.home.lend(room));
        let leased = Leased::of_room(py, lent, len, &shape, self.element_type(py));
        // A room that no block gets would keep the turn.
        leased.inspect_err(|_| drop(self.home.take_back()))
    }

    /// Ends a block that wrote rows, and appends the first ones. Returns the index of the first, or
    /// the ways by which their memory left the block.
    pub(super) fn end(
        &self,
        py: Python<'_>,
        leased: Leased,
        rows: usize,
    ) -> PyResult<Result<usize, String>> {
        let room = match self.close(py, leased)? {
            Ok(room) => room,
            Err(ways) => return Ok(Err(ways)),
        };
        let appended = room.commit(rows).unwrap_or(Ok(0));
        appended
            .map(Ok)
            .map_err(|error| error::of_growing(py, &error))
    }

    /// Ends a block. Returns its rows, which are not appended yet.
    pub(super) fn close(&self, py: Python<'_>, leased: Leased) -> PyResult<Result<Room, String>> {
        if let Some(ways) = leased.end_with(py, || self.any.memory())? {
            self.home.keep();
            return Ok(Err(format!(
                "the memory of the rows left its block, by {ways}: nothing is appended, and no \
                 process can append until the last object that has it is gone. Delete it before \
                 the block ends, or let it have a copy (x.copy())"
            )));
        }
        let missing = || PyRuntimeError::new_err("the rows were given back before");
        self.home.take_back().ok_or_else(missing).map(Ok)
    }
}

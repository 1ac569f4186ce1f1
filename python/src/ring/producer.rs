//! The class `Producer`: the turn to produce, and how a frame is reserved and published.

use super::{FrameMut, Ring, content::copy, waiting};
use crate::{
    arguments::{Wait, limit},
    error::{self, HELD_IN_PYTHON, Raise},
    export::Held,
    locked::{self, Leased},
    turn::{Away, Reserved, Turn},
};
use ndshm::{AnyProducer, Error};
use pyo3::{
    exceptions::{PyBufferError, PyRuntimeError},
    prelude::*,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The turn to produce the frames of a ring: one process or thread has it at a time.
///
/// Made by :meth:`Ring.produce`. The end of its block gives the turn back, and ends nothing:
/// subscribers wait for the next producer. A producer that dies loses the turn; its subscribers get
/// :class:`Abandoned` once.
///
/// ``with producer.next() as frame`` writes a frame in place, and ``producer.publish(array)``
/// copies an array into one.
#[pyclass(frozen, weakref, module = "ndshm")]
pub(crate) struct Producer {
    pub(super) ring: Py<Ring>,
    turn: Arc<Turn>,
    /// What goes with the frame that a block writes; `None` where no block runs.
    draft: Mutex<Option<Draft>>,
    process: u32,
}

/// What goes with a frame.
#[derive(Default)]
pub(super) struct Draft {
    rows: Option<usize>,
    info: Option<Vec<u8>>,
}

impl Producer {
    pub(super) fn new(ring: Py<Ring>, producer: AnyProducer) -> Self {
        Self {
            ring,
            turn: Turn::new(producer),
            draft: Mutex::new(None),
            process: std::process::id(),
        }
    }

    pub(super) fn draft(&self) -> MutexGuard<'_, Option<Draft>> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the producer out of its place, or says why it cannot be used.
    fn take(&self, py: Python<'_>) -> PyResult<Box<AnyProducer>> {
        let mut taken = self.turn.take();
        if matches!(taken, Err(Away::Kept)) && locked::collect_left(py)? {
            taken = self.turn.take();
        }
        taken.map_err(unusable)
    }

    /// Reserves a frame, and lends it to a block.
    pub(super) fn begin(&self, py: Python<'_>, wait: Wait) -> PyResult<Leased> {
        let producer = self.take(py)?;
        let reserved = match Reserved::begin(producer, Wait::Never) {
            Err((producer, Error::WouldBlock { .. })) if !matches!(wait, Wait::Never) => {
                waiting(py, Arc::default(), || Reserved::begin(producer, wait))
            }
            reserved => reserved,
        };
        let reserved = reserved.map_err(|(producer, error)| {
            self.turn.put(producer);
            let missing = format!("no frame can be written now ({HELD_IN_PYTHON})");
            error::of_ring(py, &error, &missing)
        })?;
        let ring = self.ring.get();
        let shape = ring.numpy_shape(ring.any.frame_shape());
        let element = ring.any.dtype().itemsize();
        let len = ring.any.frame_shape().iter().product::<usize>() * element;
        let lent = Held::Frame(self.turn.lend(reserved));
        Leased::of_room(py, lent, len, &shape, ring.element_type(py))
    }

    /// Ends a block that wrote a frame. `is_whole` says that the frame can be published. Returns
    /// its number, or the ways by which its memory left the block.
    pub(super) fn end(
        &self,
        py: Python<'_>,
        leased: Leased,
        draft: Draft,
        is_whole: bool,
    ) -> PyResult<Result<u64, String>> {
        let memory = || self.ring.get().any.memory();
        if let Some(ways) = leased.end_with(py, memory)? {
            self.turn.keep();
            return Ok(Err(format!(
                "the memory of the frame left its block, by {ways}: the frame is not published, \
                 and no other one can be written until the last object that has it is gone. \
                 Delete it before the block ends, or let it have a copy (x.copy())"
            )));
        }
        let Some(reserved) = self.turn.take_back() else {
            return match is_whole {
                true => Err(unusable(Away::Ended)),
                false => Ok(Ok(0)),
            };
        };
        if !is_whole {
            self.turn.put(reserved.into_producer());
            return Ok(Ok(0));
        }
        if std::process::id() != self.process {
            // The frame is the parent's, its information too. The library says so.
            let refused = Reserved::begin(reserved.into_producer(), Wait::Never).err();
            return Err(refused.map_or_else(
                || unusable(Away::Ended),
                |(_, error)| error::of_ring(py, &error, ""),
            ));
        }
        let (producer, published) = reserved.publish(draft.rows, draft.info.as_deref());
        self.turn.put(producer);
        let published = published.ok_or_else(|| unusable(Away::Ended))?;
        published
            .map(Ok)
            .map_err(|error| error::of_ring(py, &error, ""))
    }

    /// Changes what goes with the frame that a block writes.
    fn change<R>(&self, change: impl FnOnce(&mut Draft) -> R) -> PyResult<R> {
        let mut draft = self.draft();
        let draft = draft.as_mut().ok_or_else(|| {
            PyRuntimeError::new_err(
                "no frame is being written: set this in the block of \
                 `with producer.next() as frame`",
            )
        })?;
        Ok(change(draft))
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.turn.end();
    }
}

/// Why the turn cannot be used, as an exception.
fn unusable(away: Away) -> PyErr {
    match away {
        Away::Waiting => PyRuntimeError::new_err("another thread waits by this producer"),
        Away::Written => PyRuntimeError::new_err("a frame of this producer is being written"),
        Away::Kept => PyBufferError::new_err(
            "an object still has the memory of a frame that was not published: delete it first",
        ),
        Away::Ended => {
            PyRuntimeError::new_err("the turn to produce was given back: call ring.produce() again")
        }
    }
}

#[pymethods]
impl Producer {
    /// The ring.
    #[getter]
    fn ring(&self, py: Python<'_>) -> Py<Ring> {
        self.ring.clone_ref(py)
    }

    /// The rows of the frame that is being written that are valid: all, unless it is set.
    ///
    /// Subscribers see a frame whose first axis is so long. Set it in the block of :meth:`next`.
    #[getter]
    fn rows(&self) -> PyResult<usize> {
        let most = self.ring.get().rows_of_frame();
        self.change(|draft| draft.rows.unwrap_or(most))
    }

    #[setter]
    fn set_rows(&self, rows: isize) -> PyResult<()> {
        let rows = self.ring.get().checked_rows(rows)?;
        self.change(|draft| draft.rows = Some(rows))
    }

    /// The information beside the frame that is being written; all zeros, unless it is set.
    ///
    /// Set it in the block of :meth:`next` to a value of the type that the ring was made with: a
    /// number, a tuple of all fields, or a dictionary of some of them. The others are zero.
    #[getter]
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let ring = self.ring.get();
        let (Some(dtype), Some(stored)) = (ring.info_type(py), ring.any.info_dtype()) else {
            return Ok(None);
        };
        let bytes = self.change(|draft| draft.info.clone())?;
        let bytes = bytes.unwrap_or_else(|| vec![0; stored.itemsize()]);
        Ring::info_of(dtype, &bytes).map(Some)
    }

    #[setter]
    fn set_info(&self, py: Python<'_>, info: &Bound<'_, PyAny>) -> PyResult<()> {
        let bytes = self.ring.get().info_bytes(py, info)?;
        self.change(|draft| draft.info = Some(bytes))
    }

    /// Return a block that writes the next frame: ``with producer.next() as frame``.
    ///
    /// The frame is the oldest one that no subscriber holds, and never the newest. ``frame`` is a
    /// writable ndarray over its memory, a :class:`LockedArray`, and has the elements of an older
    /// frame at first. The end of the block publishes it, and empties ``frame`` and all its views.
    /// An exception that ends the block leaves it unpublished: no subscriber sees it, and the next
    /// frame takes its place. Set :attr:`rows` and :attr:`info` in the block.
    ///
    /// Memory that left the block by other objects, such as a memoryview, raises ``BufferError``:
    /// then the frame is not published, and no other one can be written before they are gone.
    ///
    /// The block waits at most ``timeout`` seconds where subscribers hold all frames but the
    /// newest, or a lossless one has not taken the oldest; without ``timeout``, as long as the
    /// store's ``lock_timeout`` allows.
    ///
    /// Its start raises :class:`WouldBlock` (only with ``timeout=0``) and :class:`Timeout`, whose
    /// ``holders`` name the subscribers in the way; :class:`Released`; :class:`NotOwner` in a
    /// forked child.
    #[pyo3(signature = (timeout=None))]
    fn next(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<FrameMut> {
        Ok(FrameMut::new(slf.clone().unbind(), Wait::new(timeout)?))
    }

    /// Copy an array into the next frame, publish it, and return its number.
    ///
    /// The array has the shape of a frame, or fewer rows: then only these are valid. ``rows`` is
    /// their number where the array has more. ``info`` is as :attr:`info`, and ``timeout`` as for
    /// :meth:`next`.
    ///
    /// Raises ``ValueError`` for another shape, ``TypeError`` for elements that would lose more
    /// than precision (the casting ``'same_kind'``), and the exceptions of :meth:`next`. A list is
    /// converted as ``frame[...] = list`` converts it.
    #[pyo3(signature = (array, rows=None, info=None, timeout=None))]
    fn publish(
        &self,
        py: Python<'_>,
        array: &Bound<'_, PyAny>,
        rows: Option<isize>,
        info: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<u64> {
        let wait = Wait::new(timeout)?;
        let array = self.ring.get().array(py, array)?;
        let rows = self.ring.get().rows_of(&array, rows)?;
        let draft = Draft {
            rows: Some(rows),
            info: info
                .map(|info| self.ring.get().info_bytes(py, info))
                .transpose()?,
        };
        let leased = self.begin(py, wait)?;
        let plain = leased.plain(py)?;
        let copied = copy(plain, &array, self.ring.get().has_rows().then_some(rows));
        let is_whole = copied.is_ok();
        match (copied, self.end(py, leased, draft, is_whole)?) {
            (Ok(()), Ok(number)) => Ok(number),
            (Ok(()), Err(text)) => Err(PyBufferError::new_err(text)),
            (Err(error), _) => Err(error),
        }
    }

    /// Wait until at least so many subscribers are there: a frame that is published before one
    /// subscribes is lost to it.
    ///
    /// Waits at most ``timeout`` seconds, or without a limit for ``None``. Raises :class:`Timeout`;
    /// :class:`Released`; :class:`NotOwner` in a forked child.
    #[pyo3(signature = (count, timeout=None))]
    fn wait_subscribers(&self, py: Python<'_>, count: usize, timeout: Option<f64>) -> PyResult<()> {
        let timeout = limit("timeout", timeout)?;
        let mut producer = self.take(py)?;
        let (producer, waited) = waiting(py, Arc::default(), || {
            let waited = producer.wait_subscribers(count, timeout);
            (producer, waited)
        });
        self.turn.put(producer);
        waited.map_err(|error| error::of_ring(py, &error, "fewer subscribers are there"))
    }

    /// End the stream, and give the turn back.
    ///
    /// Subscribers get the frames that are there, and then none. The next producer begins it anew.
    ///
    /// Raises :class:`NotOwner` in a forked child.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        let producer = self.take(py)?;
        self.turn.end();
        producer.finish().raise(py)
    }

    /// Give the turn back, as the end of the block does.
    ///
    /// A frame that is being written is not published.
    fn close(&self) {
        self.turn.end();
    }

    fn __enter__(slf: &Bound<'_, Self>) -> PyResult<Py<Self>> {
        match slf.get().turn.away() {
            Some(Away::Ended) => Err(unusable(Away::Ended)),
            _ => Ok(slf.clone().unbind()),
        }
    }

    #[pyo3(signature = (kind=None, value=None, traceback=None))]
    fn __exit__(
        &self,
        kind: Option<&Bound<'_, PyAny>>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> bool {
        let _ = (kind, value, traceback);
        self.close();
        false
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "<ndshm.Producer of {}>",
            self.ring.bind(py).repr()?
        ))
    }
}

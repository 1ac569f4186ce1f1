//! The class `Ring`, and what belongs to it: `Producer` and `FrameMut`, `Subscriber`, `Frame`.

mod content;
mod frame;
mod frame_mut;
mod producer;
mod subscriber;

pub(crate) use content::{copy, source};
pub(crate) use frame::add_to;
pub(crate) use frame_mut::FrameMut;
pub(crate) use producer::Producer;
pub(crate) use subscriber::{Subscriber, Waiter};

use crate::{
    arguments::{ScopeArgument, Wait, scope_name, seconds},
    attrs, dtype,
    error::{self, Raise},
    signals,
};
use ndshm::{AnyRing, Handle};
use pyo3::{exceptions::PyTypeError, intern, prelude::*, types::PyTuple};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

/// A ring of frames: one process at a time publishes frames of one shape and type, and any
/// subscriber takes the newest or the next one, without a copy.
///
/// Made by :meth:`Manager.ring`, and opened by its name, path or handle, in any process of the
/// user, and only as a ring. A ring needs two frames more than its subscribers hold at once: the
/// newest, and one to write.
///
/// A producer that dies leaves the ring usable, and its unfinished frame is never seen. A
/// subscriber that dies blocks no process. The frames of a persistent ring outlive all processes,
/// but not the machine: after another boot the ring is empty, and its numbers go on.
///
/// A ring is deleted as an array is: see :class:`Manager`. Frames that are held stay valid. A
/// pickle of a ring is a reference of less than 300 bytes.
#[pyclass(frozen, weakref, module = "ndshm")]
pub(crate) struct Ring {
    any: AnyRing,
    dtype: Py<PyAny>,
    /// The axes of the elements themselves, which are the last ones of a frame in NumPy.
    inner: Vec<usize>,
    info: Option<Py<PyAny>>,
}

impl Ring {
    pub(crate) fn new(py: Python<'_>, any: AnyRing) -> PyResult<Self> {
        let whole = match dtype::believed(py, any.numpy_dtype(), any.dtype().itemsize())? {
            Some(claimed) => claimed,
            None => dtype::to_numpy(py, any.dtype())?,
        };
        let info = any.info_dtype().map(|info| dtype::to_numpy(py, info));
        Ok(Self {
            inner: whole.getattr(intern!(py, "shape"))?.extract()?,
            dtype: whole.getattr(intern!(py, "base"))?.unbind(),
            info: info.transpose()?.map(Bound::unbind),
            any,
        })
    }

    fn element_type<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.dtype.bind(py)
    }

    /// The shape of an ndarray over a frame of a shape in the library.
    fn numpy_shape(&self, shape: &[usize]) -> Vec<usize> {
        [shape, &self.inner].concat()
    }

    /// NumPy's type of the information beside a frame.
    fn info_type<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyAny>> {
        self.info.as_ref().map(|info| info.bind(py))
    }
}

/// Waits for a frame or a turn, without the interpreter's lock, until `is_cancelled` is true.
fn waiting<R: Send>(
    py: Python<'_>,
    is_cancelled: Arc<AtomicBool>,
    wait: impl FnOnce() -> R + Send,
) -> R {
    py.detach(|| signals::wait_for_frame(is_cancelled, wait))
}

/// The class that `ndshm/_ring.py` has for the states of subscribers.
fn state_class(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import(intern!(py, "ndshm._ring"))?
        .getattr(intern!(py, "SubscriberState"))
}

#[pymethods]
impl Ring {
    /// The shape of a frame.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.numpy_shape(self.any.frame_shape()))
    }

    /// NumPy's type of the elements.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.element_type(py).clone()
    }

    /// NumPy's type of the information beside each frame; ``None`` if there is none.
    #[getter]
    fn info<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.info_type(py).cloned()
    }

    /// The number of frames.
    #[getter]
    fn frames(&self) -> usize {
        self.any.frames()
    }

    /// The most subscribers.
    #[getter]
    fn max_subscribers(&self) -> usize {
        self.any.max_subscribers()
    }

    /// The number of the newest frame; 0 before the first one.
    #[getter]
    fn newest(&self) -> u64 {
        self.any.newest()
    }

    /// Whether the stream has ended.
    #[getter]
    fn has_ended(&self) -> bool {
        self.any.has_ended()
    }

    /// The process that has the turn to produce, if any has.
    #[getter]
    fn producer<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let found = self.any.producer();
        found.map(|holder| error::holder(py, &holder)).transpose()
    }

    /// The subscribers, in the order of their seats, dead ones included.
    #[getter]
    fn subscribers<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let class = state_class(py)?;
        let states = self.any.subscribers().into_iter().map(|state| {
            let process = error::holder(py, &state.process)?;
            class.call1((process, state.is_lossless, state.lag, state.held))
        });
        states.collect()
    }

    /// The name in the store, or ``None`` for a ring without a name.
    #[getter]
    fn name(&self) -> Option<String> {
        self.any.name()
    }

    /// The identity of the ring, in all processes.
    #[getter]
    fn id(&self) -> String {
        self.any.id().to_string()
    }

    /// The path of the ring's file.
    #[getter]
    fn path(&self) -> String {
        self.any.path().to_string_lossy().into_owned()
    }

    /// One line of text from which any process of the same user opens this ring.
    ///
    /// The process may be written in Rust or Python. See :func:`ndshm.open_ring`.
    #[getter]
    fn handle(&self) -> String {
        self.any.handle().to_string()
    }

    /// The ring's scope in this process: ``'local'``, ``'remote'`` or ``None``.
    ///
    /// It decides when the ring is deleted: see :class:`ndshm.Manager`.
    #[getter]
    fn scope(&self) -> Option<&'static str> {
        scope_name(self.any.scope())
    }

    #[setter]
    fn set_scope(&self, py: Python<'_>, scope: ScopeArgument) -> PyResult<()> {
        self.any.set_scope(scope.given()?).raise(py)
    }

    /// The attributes from the ring's creation, in a dict that refuses changes.
    #[getter]
    fn attrs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        attrs::fixed(&attrs::of_user(py, &self.any.attrs().raise(py)?)?)
    }

    /// The names of the axes of a frame: one for each axis, or none at all.
    #[getter]
    fn axis_names(&self) -> Vec<Option<String>> {
        self.any.axis_names().to_vec()
    }

    /// Take the turn to produce: ``with ring.produce() as producer``.
    ///
    /// Waits at most ``timeout`` seconds while another process or thread has it; without
    /// ``timeout``, as long as the store's ``lock_timeout`` allows. The turn is given back when the
    /// block ends, or by :meth:`Producer.close`.
    ///
    /// Raises :class:`WouldBlock` (only with ``timeout=0``) and :class:`Timeout`, whose ``holders``
    /// name the process; :class:`Released`.
    #[pyo3(signature = (timeout=None))]
    fn produce(slf: &Bound<'_, Self>, py: Python<'_>, timeout: Option<f64>) -> PyResult<Producer> {
        let wait = Wait::new(timeout)?;
        let any = &slf.get().any;
        let begun = waiting(py, Arc::default(), || match wait {
            Wait::Never => any.try_produce(),
            Wait::AtMost(time) => any.produce_timeout(time),
            Wait::Forever => any.produce(),
        });
        let missing = "another process or thread has the turn to produce";
        let begun = begun.map_err(|error| error::of_ring(py, &error, missing))?;
        Ok(Producer::new(slf.clone().unbind(), begun))
    }

    /// Subscribe to the frames that are published from now on:
    /// ``with ring.subscribe() as subscriber``.
    ///
    /// The producer does not wait: where it is faster, frames are missed. With ``lossless=True`` it
    /// waits until this subscriber has taken each frame, as long as its process lives. A stopped
    /// process stops the producer, whose :class:`Timeout` names it.
    ///
    /// Each wait spins for ``spin`` seconds before it sleeps: a frame is then seen some
    /// microseconds sooner, at the cost of a processor.
    ///
    /// Raises :class:`TooManySubscribers`; :class:`Released`.
    #[pyo3(signature = (lossless=false, spin=0.0))]
    fn subscribe(
        slf: &Bound<'_, Self>,
        py: Python<'_>,
        lossless: bool,
        spin: f64,
    ) -> PyResult<Subscriber> {
        let spin = seconds("spin", spin)?;
        let any = &slf.get().any;
        let begun = py.detach(|| match lossless {
            true => any.subscribe_lossless(),
            false => any.subscribe(),
        });
        let mut begun = begun.map_err(|error| error::of_ring(py, &error, ""))?;
        begun.spin(spin);
        Ok(Subscriber::new(slf.clone().unbind(), begun, any.newest()))
    }

    /// Return the frame of a number, or ``None`` if it was overwritten: for processes that send
    /// each other numbers of frames.
    ///
    /// Raises the exceptions of :meth:`subscribe`.
    fn frame<'py>(&self, py: Python<'py>, number: u64) -> PyResult<Option<Bound<'py, PyAny>>> {
        let found = self.any.frame(number);
        let found = found.map_err(|error| error::of_ring(py, &error, ""))?;
        found.map(|found| frame::of(py, self, found)).transpose()
    }

    /// Delete the ring now, whichever process owns it.
    ///
    /// Frames that are held stay valid. Producer and subscribers get :class:`Released`.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.any.release()).raise(py)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        let module = py.import(intern!(py, "ndshm._ndshm"))?;
        // The first process that opens the pickle inherits a ring that its maker drops.
        let handle = self.any.hand_over().to_string();
        Ok((module.getattr("unpickle_ring")?, (handle,)))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let name = self.any.name();
        let name = name.map(|name| format!(", name={name:?}"));
        Ok(format!(
            "<ndshm.Ring: {} frames, shape={}, dtype={}{}, newest={}>",
            self.frames(),
            self.shape(py)?,
            self.element_type(py),
            name.unwrap_or_default(),
            self.newest()
        ))
    }
}

/// Open the ring that the text of a handle names.
#[pyfunction]
pub(crate) fn open_ring(py: Python<'_>, handle: &str) -> PyResult<Ring> {
    let handle: Handle = handle.parse::<Handle>().raise(py)?;
    let opened = py.detach(|| handle.open_any_ring());
    Ring::new(py, opened.map_err(|error| error::of_ring(py, &error, ""))?)
}

/// Open the ring of a pickle, which consists of its handle.
#[pyfunction]
pub(crate) fn unpickle_ring(py: Python<'_>, handle: &str) -> PyResult<Ring> {
    let ring = open_ring(py, handle)?;
    // A use, so a claim is final: a ring that is dropped at once is deleted, not given back.
    drop(ring.any.memory());
    Ok(ring)
}

/// Open the ring in a file.
#[pyfunction]
pub(crate) fn open_ring_path(py: Python<'_>, path: PathBuf) -> PyResult<Ring> {
    let opened = py.detach(|| AnyRing::open_path(path));
    Ring::new(py, opened.raise(py)?)
}

/// The library's type of the information beside frames.
pub(crate) fn info_from_numpy(info: &Bound<'_, PyAny>) -> PyResult<ndshm::DType> {
    match dtype::from_numpy(info)? {
        (stored, None) => Ok(stored),
        (_, Some(_)) => Err(PyTypeError::new_err(format!(
            "information of type {info} cannot be stored: use numbers, booleans, raw bytes and \
             structs of these (a time as an integer, a text as V{{length}})"
        ))),
    }
}

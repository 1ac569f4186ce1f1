//! Several guards at once: the function `lock` and the classes `Request` and `Guards`.

use crate::{
    array::Array,
    atomics::{self, Atomics, Updated, Updates},
    block::{Block, End},
    enclosing::{self, Enclosing},
    error::Raise,
    export::{Carried, Held},
    lock::{Mode, Wait},
    locked::Leased,
};
use ndshm::Error;
use pyo3::{exceptions::PyTypeError, prelude::*, types::PyTuple};

/// A guard to be taken with others by :func:`ndshm.lock`: see :meth:`Array.reading`,
/// :meth:`Array.writing`, :meth:`Array.recovering` and :meth:`Array.updating`.
#[pyclass(frozen, module = "ndshm")]
pub(crate) struct Request {
    array: Py<Array>,
    access: Access,
}

#[derive(Clone, Copy)]
enum Access {
    Guard(Mode),
    /// By atomic operations.
    Update,
}

impl Request {
    pub(crate) fn guard(array: Py<Array>, mode: Mode) -> Self {
        let access = Access::Guard(mode);
        Self { array, access }
    }

    /// `TypeError` if the elements are no integers of up to 8 bytes.
    pub(crate) fn update(py: Python<'_>, array: Py<Array>) -> PyResult<Self> {
        atomics::check_integers(py, array.get(), "updating()")?;
        let access = Access::Update;
        Ok(Self { array, access })
    }

    fn verb(&self) -> &'static str {
        match self.access {
            Access::Guard(mode) => mode.verb(),
            Access::Update => "update",
        }
    }
}

#[pymethods]
impl Request {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "<ndshm.Request: {} of {}>",
            self.verb(),
            self.array.bind(py).repr()?
        ))
    }
}

/// Locks on several arrays or views, as a context manager: see :func:`ndshm.lock`.
#[pyclass(frozen, module = "ndshm")]
pub(crate) struct Guards {
    requests: Vec<Py<Request>>,
    wait: Wait,
    block: Block<Vec<Part>>,
}

/// What the block has of one request.
enum Part {
    Lease(Mode, Leased),
    Atomics(Py<Atomics>),
}

/// A lock that was taken for a request.
pub(crate) enum Taken {
    Guard(Mode, Carried),
    Atomics(atomics::Carried),
}

impl Taken {
    fn unbind(&self) {
        match self {
            Taken::Guard(_, Carried(held)) => held.bind(false),
            Taken::Atomics(view) => view.bind(false),
        }
    }
}

/// Take guards on several arrays or views at once, of any stores: all of them or none.
///
/// ``with ndshm.lock(a.reading(), b.writing()) as (x, y)`` gives their ndarrays in the order of the
/// call: read-only zero-copy ones for ``reading()``, writable ones for ``writing()`` and
/// ``recovering()``, and :class:`Atomics` for ``updating()``. The end of the block ends all of
/// them, as :class:`Guard` does for one.
///
/// Threads and processes that take all of their guards by ``lock`` do not deadlock, in whatever
/// order they name them: the guards are taken in one order that all of them share. The guards that
/// the thread has already are held while it waits for the next one.
///
/// The block waits at most ``timeout`` seconds for all guards together; without ``timeout``, as
/// long as the shortest ``lock_timeout`` of their stores allows.
///
/// Raises ``ValueError`` for a negative ``timeout`` or NaN, and ``TypeError`` for other arguments
/// than requests. The start of the block raises the exceptions of :meth:`Array.read` and
/// :meth:`Array.write`; :class:`WouldDeadlock` also where two views of the call share bytes and one
/// of them is to be written. Then no guard is held.
#[pyfunction]
#[pyo3(signature = (*requests, timeout=None))]
pub(crate) fn lock(requests: &Bound<'_, PyTuple>, timeout: Option<f64>) -> PyResult<Guards> {
    let requests = requests
        .iter()
        .map(|one| match one.cast_into::<Request>() {
            Ok(request) => Ok(request.unbind()),
            Err(error) => Err(PyTypeError::new_err(format!(
                "lock() takes a.reading(), a.writing(), a.recovering() and a.updating() of arrays, \
                 not {}",
                error.into_inner().get_type().name()?
            ))),
        })
        .collect::<PyResult<_>>()?;
    Ok(Guards::new(requests, Wait::new(timeout)?))
}

impl Guards {
    pub(crate) fn new(requests: Vec<Py<Request>>, wait: Wait) -> Self {
        let block = Block::new();
        Self {
            requests,
            wait,
            block,
        }
    }

    /// Takes all guards, in the order of the requests: at once if they are free, else by waiting
    /// without the interpreter's lock.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<Vec<Taken>> {
        match self.take_by(Wait::Never) {
            Err(Error::WouldBlock { .. }) => {
                // A guard of the thread's own may be in the way.
                let enclosing = Enclosing::bind(py)?;
                let taken = py.detach(|| self.take_by(self.wait));
                drop(enclosing);
                taken.raise(py)
            }
            taken => taken.raise(py),
        }
    }

    fn take_by(&self, wait: Wait) -> ndshm::Result<Vec<Taken>> {
        let (mut reading, mut writing) = (Vec::new(), Vec::new());
        let mut updates = Updates::default();
        for request in self.requests.iter().map(Py::get) {
            let array = request.array.get().any();
            match request.access {
                Access::Guard(Mode::Read) => reading.push(array.reading()),
                Access::Guard(Mode::Write) => writing.push(array.writing()),
                Access::Guard(Mode::Recover) => writing.push(array.recovering()),
                Access::Update => updates.push(array)?,
            }
        }
        let set = (reading, writing, updates.into_set());
        let (read, written, updated) = match wait {
            Wait::Never => ndshm::try_lock(set),
            Wait::AtMost(time) => ndshm::lock_timeout(set, time),
            Wait::Forever => ndshm::lock(set),
        }?;
        let (mut read, mut written) = (read.into_iter(), written.into_iter());
        let mut updated = Updated::new(updated);
        let guard = |mode, held| Taken::Guard(mode, Carried(held));
        let in_order = self.requests.iter().map(Py::get).map(|request| {
            let taken = match request.access {
                Access::Guard(Mode::Read) => {
                    read.next().map(|one| guard(Mode::Read, Held::Read(one)))
                }
                Access::Guard(mode) => written.next().map(|one| guard(mode, Held::Write(one))),
                Access::Update => updated.next(request.array.get().any()).map(Taken::Atomics),
            };
            taken.inspect(Taken::unbind)
        });
        Ok(in_order.flatten().collect())
    }
}

impl enclosing::Manager for Guards {
    fn bind(&self, is_bound: bool) {
        self.block.with_entered(|parts| {
            for part in parts {
                match part {
                    Part::Lease(_, leased) => leased.lease.bind(is_bound),
                    Part::Atomics(view) => view.get().bind_entered(is_bound),
                }
            }
        });
    }
}

#[pymethods]
impl Guards {
    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let (this, py) = (slf.get(), slf.py());
        let in_use = "the guards are in use: call ndshm.lock() again for others";
        let values = this.block.start(in_use, || {
            let (mut values, mut parts) = (Vec::new(), Vec::new());
            for (taken, request) in this.take(py)?.into_iter().zip(&this.requests) {
                let array = &request.get().array;
                let (value, part) = match taken {
                    Taken::Guard(mode, Carried(held)) => {
                        let element_type = array.get().element_type(py);
                        let leased = Leased::new(py, array.get().any(), element_type, held)?;
                        (leased.view(py)?, Part::Lease(mode, leased))
                    }
                    Taken::Atomics(view) => {
                        let view = Atomics::entered_with(array.clone_ref(py), view);
                        let view = Bound::new(py, view)?;
                        (view.clone().into_any(), Part::Atomics(view.unbind()))
                    }
                };
                values.push(value);
                parts.push(part);
            }
            Ok((PyTuple::new(py, values)?, parts))
        })?;
        enclosing::enter(slf);
        Ok(values)
    }

    #[pyo3(signature = (kind=None, value=None, traceback=None))]
    fn __exit__(
        slf: &Bound<'_, Self>,
        kind: Option<&Bound<'_, PyAny>>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let _ = traceback;
        let (this, py) = (slf.get(), slf.py());
        enclosing::leave(slf);
        let parts = this.block.end("the guards are not in use")?;
        let mut end = End::new(py, kind, value)?;
        let mut failed = Ok(());
        for (request, part) in this.requests.iter().zip(parts).rev() {
            match part {
                Part::Lease(mode, leased) => {
                    let array = request.get().array.get().any();
                    failed = failed.and(end.give_back(py, leased, mode, array));
                }
                Part::Atomics(view) => {
                    view.get().end();
                }
            }
        }
        failed?;
        end.outcome(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let requests = PyTuple::new(py, &self.requests)?;
        Ok(format!("<ndshm.Guards: {}>", requests.repr()?))
    }
}

//! Several guards at once: the function `lock` and the classes `Request` and `Guards`.

use crate::{
    array::Array,
    block::{Block, End},
    error::Raise,
    export::{self, Carried, Held, Lease},
    lock::{Mode, Wait},
};
use ndshm::Error;
use pyo3::{exceptions::PyTypeError, prelude::*, types::PyTuple};

/// A guard to be taken with others by :func:`ndshm.lock`: see :meth:`Array.reading` and
/// :meth:`Array.writing`.
#[pyclass(frozen, module = "ndshm")]
pub(crate) struct Request {
    array: Py<Array>,
    mode: Mode,
}

impl Request {
    pub(crate) fn new(array: Py<Array>, mode: Mode) -> Self {
        Self { array, mode }
    }
}

#[pymethods]
impl Request {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "<ndshm.Request: {} of {}>",
            self.mode.verb(),
            self.array.bind(py).repr()?
        ))
    }
}

/// Locks on several arrays or views, as a context manager: see :func:`ndshm.lock`.
#[pyclass(frozen, module = "ndshm")]
pub(crate) struct Guards {
    requests: Vec<Py<Request>>,
    wait: Wait,
    block: Block<Entered>,
}

struct Entered {
    /// The tuple of the block. It is kept, so that there is one reference to each ndarray beside
    /// those of the caller.
    ndarrays: Py<PyTuple>,
    leases: Vec<Py<Lease>>,
}

/// Take guards on several arrays or views at once, of any stores: all of them or none.
///
/// ``with ndshm.lock(a.reading(), b.writing()) as (x, y)`` gives their ndarrays in the order of the
/// call: read-only zero-copy ones for ``reading()``, writable ones for ``writing()``. The end of
/// the block ends all of them, as :class:`Guard` does for one.
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
                "lock() takes a.reading() and a.writing() of arrays, not {}",
                error.into_inner().get_type().name()?
            ))),
        })
        .collect::<PyResult<_>>()?;
    Ok(Guards {
        requests,
        wait: Wait::new(timeout)?,
        block: Block::new(),
    })
}

impl Guards {
    /// Takes all guards, in the order of the requests: at once if they are free, else by waiting
    /// without the interpreter's lock.
    fn take(&self, py: Python<'_>) -> PyResult<Vec<Held>> {
        match (self.take_by(Wait::Never), self.wait) {
            (Err(Error::WouldBlock { .. }), Wait::AtMost(_) | Wait::Forever) => {
                let taken = py.detach(|| {
                    let taken = self.take_by(self.wait)?;
                    Ok(taken.into_iter().map(Carried).collect::<Vec<_>>())
                });
                let taken: Vec<_> = taken.raise(py)?;
                Ok(taken.into_iter().map(|Carried(held)| held).collect())
            }
            (taken, _) => taken.raise(py),
        }
    }

    fn take_by(&self, wait: Wait) -> ndshm::Result<Vec<Held>> {
        let (mut reading, mut writing) = (Vec::new(), Vec::new());
        for request in self.requests.iter().map(Py::get) {
            let array = request.array.get().any();
            match request.mode {
                Mode::Read => reading.push(array.reading()),
                Mode::Write | Mode::Recover => writing.push(array.writing()),
            }
        }
        let set = (reading, writing);
        let (read, written) = match wait {
            Wait::Never => ndshm::try_lock(set),
            Wait::AtMost(time) => ndshm::lock_timeout(set, time),
            Wait::Forever => ndshm::lock(set),
        }?;
        let (mut read, mut written) = (read.into_iter(), written.into_iter());
        let in_order = self
            .requests
            .iter()
            .map(|request| match request.get().mode {
                Mode::Read => read.next().map(Held::Read),
                Mode::Write | Mode::Recover => written.next().map(Held::Write),
            });
        Ok(in_order.flatten().collect())
    }
}

#[pymethods]
impl Guards {
    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let in_use = "the guards are in use: call ndshm.lock() again for others";
        self.block.start(in_use, || {
            let (mut ndarrays, mut leases) = (Vec::new(), Vec::new());
            for (held, request) in self.take(py)?.into_iter().zip(&self.requests) {
                let array = request.get().array.get();
                let element_type = array.element_type(py);
                let (ndarray, lease) = export::leased(py, array.any(), element_type, held)?;
                ndarrays.push(ndarray);
                leases.push(lease);
            }
            let ndarrays = PyTuple::new(py, ndarrays)?;
            let entered = Entered {
                ndarrays: ndarrays.clone().unbind(),
                leases,
            };
            Ok((ndarrays, entered))
        })
    }

    #[pyo3(signature = (kind=None, value=None, traceback=None))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<&Bound<'_, PyAny>>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let end = End {
            has_failed: kind.is_some(),
            value,
            traceback,
        };
        let Entered { ndarrays, leases } = self.block.end("the guards are not in use")?;
        let ndarrays = ndarrays.bind(py);
        let mut are_ended = Ok(true);
        for (at, (request, lease)) in self.requests.iter().zip(&leases).enumerate().rev() {
            let request = request.get();
            let itemsize = request.array.get().any().dtype().itemsize();
            let ndarray = ndarrays.get_borrowed_item(at)?;
            match end.give_back(&ndarray, lease.get(), request.mode, itemsize) {
                Ok(is_ended) => are_ended = are_ended.map(|all| all && is_ended),
                Err(error) => are_ended = Err(error),
            }
        }
        end.outcome(py, are_ended?)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let requests = PyTuple::new(py, &self.requests)?;
        Ok(format!("<ndshm.Guards: {}>", requests.repr()?))
    }
}

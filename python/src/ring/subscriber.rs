//! The class `Subscriber`, and `Waiter`: a wait for its next frame in another thread.
//!
//! One thread at a time uses a subscription. A thread takes it out of its place to wait, without
//! the interpreter's lock; a thread that closes the subscriber meanwhile cancels the wait.
//!
//! A waiter puts the frame that it took beside the subscription, where the next call finds it. So a
//! task that is cancelled loses no frame.

use super::{Ring, frame, waiting};
use crate::{arguments::Wait, error};
use ndshm::{AnyFrame, AnySubscriber, Error};
use pyo3::{exceptions::PyRuntimeError, intern, prelude::*, types::PyTuple};
use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

/// A subscription to the frames of a ring.
///
/// Made by :meth:`Ring.subscribe`. It begins with the frame that is published next. Iterating over
/// it, by ``for`` or ``async for``, gives each frame in order until the stream ends: a
/// :class:`Frame`, which is held while any object has its memory. The variable of a loop names the
/// last frame while the next one is waited for. So a loop holds one frame, and a ring needs two
/// more than all subscribers hold.
///
/// The end of its block gives the seat back, when its frames are gone too. One thread at a time
/// uses a subscriber.
#[pyclass(frozen, weakref, module = "ndshm")]
pub(crate) struct Subscriber {
    ring: Py<Ring>,
    state: Mutex<State>,
    /// The number of the last frame that it took, or of the newest one when it came.
    last: AtomicU64,
    missed: AtomicU64,
    process: u32,
    /// The thread that waits for `async for`.
    executor: Mutex<Option<Py<PyAny>>>,
}

enum State {
    Idle(Box<Subscription>),
    /// A thread waits, and this cancels its wait.
    Waiting(Arc<AtomicBool>),
    Closed,
}

/// The library's answer to a call for the next frame.
type Answer = ndshm::Result<Option<AnyFrame>>;

struct Subscription {
    any: AnySubscriber,
    /// The answer that a waiter got.
    pending: Option<Answer>,
    /// Frames that a waiter took, and `latest` stepped over.
    skipped: u64,
}

impl Subscription {
    /// The next frame, or an error.
    fn next(&mut self, wait: Wait) -> Answer {
        if let Some(answer) = self.pending.take() {
            return answer;
        }
        match wait {
            Wait::Never => self.any.try_next(),
            Wait::AtMost(time) => self.any.next_timeout(time),
            Wait::Forever => self.any.next(),
        }
    }

    /// The newest frame.
    fn latest(&mut self) -> Answer {
        let found = self.any.latest()?;
        if let (Some(Ok(Some(pending))), Some(found)) = (&self.pending, &found) {
            self.skipped += u64::from(pending.number() != found.number());
            self.pending = None;
        }
        Ok(found)
    }
}

impl Subscriber {
    pub(super) fn new(ring: Py<Ring>, any: AnySubscriber, newest: u64) -> Self {
        let subscription = Subscription {
            any,
            pending: None,
            skipped: 0,
        };
        Self {
            ring,
            state: Mutex::new(State::Idle(Box::new(subscription))),
            last: AtomicU64::new(newest),
            missed: AtomicU64::new(0),
            process: std::process::id(),
            executor: Mutex::new(None),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the subscription out of its place. `None` if another thread has it.
    fn take(&self, is_cancelled: &Arc<AtomicBool>) -> PyResult<Option<Box<Subscription>>> {
        let mut state = self.state();
        match mem::replace(&mut *state, State::Closed) {
            State::Idle(subscription) => {
                *state = State::Waiting(is_cancelled.clone());
                Ok(Some(subscription))
            }
            State::Waiting(other) => {
                *state = State::Waiting(other);
                Ok(None)
            }
            State::Closed => Err(closed()),
        }
    }

    /// Puts the subscription back, unless the subscriber was closed meanwhile.
    fn put(&self, subscription: Box<Subscription>) -> PyResult<()> {
        let missed = subscription.any.missed() + subscription.skipped;
        self.missed.store(missed, Relaxed);
        let mut state = self.state();
        match &*state {
            State::Closed => Err(closed()),
            _ => {
                *state = State::Idle(subscription);
                Ok(())
            }
        }
    }

    /// Uses the subscription, with the interpreter's lock.
    fn with<R>(&self, use_it: impl FnOnce(&mut Subscription) -> R) -> PyResult<R> {
        let mut subscription = self.take(&Arc::default())?.ok_or_else(busy)?;
        let result = use_it(&mut subscription);
        self.put(subscription)?;
        Ok(result)
    }

    /// Whether a look at the ring is worth its cost: a frame or the end of the stream is there. In
    /// a forked child the library's answer is an error.
    fn may_have_next(&self) -> bool {
        let any = &self.ring.get().any;
        any.newest() != self.last.load(Relaxed)
            || any.has_ended()
            || std::process::id() != self.process
    }

    /// The next frame, which is waited for.
    fn next_until<'py>(&self, py: Python<'py>, wait: Wait) -> PyResult<Option<Bound<'py, PyAny>>> {
        let is_cancelled = Arc::default();
        let mut subscription = self.take(&is_cancelled)?.ok_or_else(busy)?;
        let is_there = subscription.pending.is_some() || self.may_have_next();
        let is_never = matches!(wait, Wait::Never);
        let mut answer = (is_there || is_never).then(|| subscription.next(Wait::Never));
        if !is_never && matches!(answer, None | Some(Err(Error::WouldBlock { .. }))) {
            let waited;
            (subscription, waited) = waiting(py, is_cancelled, || {
                let waited = subscription.next(wait);
                (subscription, waited)
            });
            answer = Some(waited);
        }
        self.put(subscription)?;
        answer.map_or(Ok(None), |answer| self.found(py, answer))
    }

    /// An answer of the library as Python sees it.
    fn found<'py>(&self, py: Python<'py>, answer: Answer) -> PyResult<Option<Bound<'py, PyAny>>> {
        let answer = answer.map_err(|error| error::of_ring(py, &error, "no frame is there yet"))?;
        let Some(found) = answer else { return Ok(None) };
        self.last.store(found.number(), Relaxed);
        frame::of(py, self.ring.get(), found).map(Some)
    }

    fn close_now(&self) -> Option<Py<PyAny>> {
        let former = mem::replace(&mut *self.state(), State::Closed);
        if let State::Waiting(is_cancelled) = &former {
            is_cancelled.store(true, SeqCst);
        }
        drop(former);
        let mut executor = self.executor.lock().unwrap_or_else(PoisonError::into_inner);
        executor.take()
    }
}

fn closed() -> PyErr {
    PyRuntimeError::new_err("the subscriber is closed: call ring.subscribe() again")
}

fn busy() -> PyErr {
    PyRuntimeError::new_err(
        "another thread waits by this subscriber: let each thread have a subscriber of its own",
    )
}

#[pymethods]
impl Subscriber {
    /// The ring.
    #[getter]
    fn ring(&self, py: Python<'_>) -> Py<Ring> {
        self.ring.clone_ref(py)
    }

    /// How many frames this subscription missed.
    ///
    /// They were published since it began, and not taken, because the producer was faster or
    /// :meth:`latest` stepped over them.
    #[getter]
    fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }

    /// Return the next frame in order; ``None`` at the end of the stream.
    ///
    /// Where it was overwritten, it is the newest one. Waits for it at most ``timeout`` seconds;
    /// without ``timeout``, as long as the store's ``lock_timeout`` allows.
    ///
    /// Raises :class:`Abandoned` once for each producer that died, within 100 ms: the next call
    /// waits for the next producer. :class:`WouldBlock` (only with ``timeout=0``);
    /// :class:`Timeout`, whose ``holders`` name the producer; :class:`Released`; :class:`NotOwner`
    /// in a forked child.
    #[pyo3(signature = (timeout=None))]
    fn next<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.next_until(py, Wait::new(timeout)?)
    }

    /// Return the newest frame, also if it was taken before; ``None`` if there is none yet.
    ///
    /// Does not wait. Raises :class:`Released`; :class:`NotOwner` in a forked child.
    fn latest<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let answer = self.with(Subscription::latest)?;
        self.found(py, answer)
    }

    /// Return the frame of a number, or ``None`` if it was overwritten.
    ///
    /// It counts as neither taken nor missed. Raises the exceptions of :meth:`latest`.
    fn frame<'py>(&self, py: Python<'py>, number: u64) -> PyResult<Option<Bound<'py, PyAny>>> {
        let answer = self.with(|subscription| subscription.any.frame(number))?;
        let found = answer.map_err(|error| error::of_ring(py, &error, ""))?;
        let ring = self.ring.get();
        found.map(|found| frame::of(py, ring, found)).transpose()
    }

    /// End the subscription, as the end of the block does.
    ///
    /// Frames that are held stay valid, and keep the seat. A thread that waits gets
    /// ``RuntimeError``.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(executor) = self.close_now() {
            executor.call_method1(py, intern!(py, "shutdown"), (false,))?;
        }
        Ok(())
    }

    fn __enter__(slf: &Bound<'_, Self>) -> PyResult<Py<Self>> {
        match &*slf.get().state() {
            State::Closed => Err(closed()),
            _ => Ok(slf.clone().unbind()),
        }
    }

    #[pyo3(signature = (kind=None, value=None, traceback=None))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<&Bound<'_, PyAny>>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let _ = (kind, value, traceback);
        self.close(py)?;
        Ok(false)
    }

    fn __iter__(slf: &Bound<'_, Self>) -> Py<Self> {
        slf.clone().unbind()
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.next_until(py, Wait::Forever)
    }

    fn __aiter__(slf: &Bound<'_, Self>) -> Py<Self> {
        slf.clone().unbind()
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let module = slf.py().import(intern!(slf.py(), "ndshm._ring"))?;
        module.call_method1(intern!(slf.py(), "next_frame"), (slf,))
    }

    /// The next frame, or the end of the stream, if it is there, in a tuple.
    fn _take<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let Some(mut subscription) = self.take(&Arc::default())? else {
            return Ok(None);
        };
        let is_there = subscription.pending.is_some() || self.may_have_next();
        let answer = is_there.then(|| subscription.next(Wait::Never));
        self.put(subscription)?;
        match answer {
            None | Some(Err(Error::WouldBlock { .. })) => Ok(None),
            Some(answer) => Ok(Some(PyTuple::new(py, [self.found(py, answer)?])?)),
        }
    }

    /// The executor of one thread that waits for frames.
    fn _executor(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let known = || self.executor.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known() {
            return Ok(known.clone_ref(py));
        }
        let module = py.import("concurrent.futures")?;
        let made = module.call_method1("ThreadPoolExecutor", (1, "ndshm-subscriber"))?;
        *known() = Some(made.clone().unbind());
        Ok(made.unbind())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "<ndshm.Subscriber of {}, missed={}>",
            self.ring.bind(py).repr()?,
            self.missed()
        ))
    }
}

/// A wait for the next frame of a subscriber, which then finds it at once.
#[pyclass(frozen, module = "ndshm._ndshm")]
pub(crate) struct Waiter {
    subscriber: Py<Subscriber>,
    is_cancelled: Arc<AtomicBool>,
}

#[pymethods]
impl Waiter {
    #[new]
    fn new(subscriber: Py<Subscriber>) -> Self {
        Self {
            subscriber,
            is_cancelled: Arc::default(),
        }
    }

    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let subscriber = self.subscriber.get();
        if self.is_cancelled.load(SeqCst) {
            return Ok(());
        }
        let mut subscription = subscriber.take(&self.is_cancelled)?.ok_or_else(busy)?;
        if subscription.pending.is_none() {
            let answer;
            (subscription, answer) = waiting(py, self.is_cancelled.clone(), || {
                let answer = subscription.next(Wait::Forever);
                (subscription, answer)
            });
            if !matches!(answer, Err(Error::Interrupted { .. })) {
                subscription.pending = Some(answer);
            }
        }
        subscriber.put(subscription)
    }

    /// End the wait, which then leaves the frame to the next call.
    fn cancel(&self) {
        self.is_cancelled.store(true, SeqCst);
    }
}

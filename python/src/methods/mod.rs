//! The Python methods of `Array` and `Keeper`. Their documentation repeats the type stubs in
//! `ndshm/_ndshm.pyi` (`python/tests/test_help.py` holds that).
//!
//! Here are its properties, views and guards; `protocols` has the protocols by which Python and
//! other libraries use it, `operators` Python's operators, and `computing` the methods of an
//! ndarray that compute.

mod computing;
#[allow(unsafe_op_in_unsafe_fn, reason = "what PyO3 generates for a macro")]
mod operators;
mod protocols;

use crate::{
    arguments::{self, ScopeArgument, order_name, scope_name},
    array::Array,
    atomics::Atomics,
    attrs, compute,
    enclosing::Enclosing,
    error::Raise,
    export::Keeper,
    guard::Guard,
    lock::{Mode, Wait},
    pickle,
    strides::numpy_strides,
    together::Request,
};
use pyo3::{
    exceptions::PyTypeError,
    intern,
    prelude::*,
    types::{PyDict, PyString, PyTuple},
};

#[pymethods]
impl Keeper {
    /// The array that owns the memory.
    #[getter]
    fn array(&self, py: Python<'_>) -> PyResult<Array> {
        Array::new(py, self.array.view().raise(py)?)
    }

    /// The address of the memory.
    #[getter]
    fn address(&self) -> usize {
        self.address
    }
}

#[pymethods]
impl Array {
    /// The lengths of the axes.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.any().shape())
    }

    /// The strides of the axes in bytes.
    #[getter]
    fn strides<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, numpy_strides(self.any()))
    }

    /// The number of axes.
    #[getter]
    fn ndim(&self) -> usize {
        self.any().ndim()
    }

    /// The number of elements.
    #[getter]
    fn size(&self) -> usize {
        self.any().len()
    }

    /// The size of one element in bytes.
    #[getter]
    fn itemsize(&self) -> usize {
        self.any().dtype().itemsize()
    }

    /// The size of all elements in bytes.
    #[getter]
    fn nbytes(&self) -> usize {
        self.size() * self.itemsize()
    }

    /// NumPy's type of the elements.
    #[getter]
    fn dtype(&self, py: Python<'_>) -> Py<PyAny> {
        self.element_type(py).clone().unbind()
    }

    /// The order of the elements in memory, or ``None`` if they are not contiguous.
    #[getter]
    fn order(&self) -> Option<&'static str> {
        self.any().order().map(order_name)
    }

    /// The name in the store, or ``None`` for an array without a name.
    #[getter]
    fn name(&self) -> Option<String> {
        self.any().name()
    }

    /// The identity of the array: the same for all its views, in all processes.
    #[getter]
    fn id(&self) -> String {
        self.any().id().to_string()
    }

    /// The path of the array's file.
    #[getter]
    fn path(&self) -> String {
        self.any().path().to_string_lossy().into_owned()
    }

    /// One line of text from which any process of the same user opens this array or view.
    ///
    /// The process may be written in Rust or Python. See :func:`ndshm.open`.
    #[getter]
    fn handle(&self) -> String {
        self.any().handle().to_string()
    }

    /// The array's scope in this process: ``'local'``, ``'remote'`` or ``None``.
    ///
    /// It decides when the array is deleted: see :class:`ndshm.Manager`.
    #[getter]
    fn scope(&self) -> Option<&'static str> {
        scope_name(self.any().scope())
    }

    #[setter]
    fn set_scope(&self, py: Python<'_>, scope: ScopeArgument) -> PyResult<()> {
        self.any().set_scope(scope.given()?).raise(py)
    }

    /// Whether this process may write the elements.
    #[getter]
    fn writable(&self) -> bool {
        self.any().is_writable()
    }

    /// Whether this is a part of the whole array, or has another layout.
    #[getter]
    fn is_view(&self) -> bool {
        self.any().is_view()
    }

    /// Whether the array is frozen: no process will ever write it again.
    #[getter]
    fn frozen(&self) -> bool {
        self.any().is_frozen()
    }

    /// The attributes from the array's creation, in a dict that refuses changes.
    ///
    /// They are fixed then. ``dict(a.attrs)`` is a copy that can be changed.
    #[getter]
    fn attrs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        attrs::fixed(&attrs::of_user(py, &self.any().attrs().raise(py)?)?)
    }

    /// The names of the whole array's axes: one for each axis, or none at all.
    #[getter]
    fn axis_names(&self) -> Vec<Option<String>> {
        self.any().axis_names().to_vec()
    }

    /// A new manager of the array's store, as a member.
    #[getter]
    fn manager<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        pickle::manager(py, &self.any().manager())
    }

    /// The view with its axes in the opposite order.
    #[getter(T)]
    fn transposed(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(self.derived(py, self.any().t().raise(py)?))
    }

    /// The view with its last two axes exchanged.
    #[getter(mT)]
    fn matrix_transposed(&self, py: Python<'_>) -> PyResult<Self> {
        self.viewed(py, |whole| whole.getattr("mT"))
    }

    /// The real parts: a view of real elements, a read-only copy of complex ones.
    ///
    /// Setting it writes the memory.
    #[getter]
    fn real<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        compute::part(slf, intern!(slf.py(), "real"))
    }

    #[setter]
    fn set_real(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        compute::set_part(slf, intern!(slf.py(), "real"), value)
    }

    /// Setting `flat` sets all elements, in the order of C. Getting it needs a lock.
    #[setter]
    fn set_flat(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        compute::set_part(slf, intern!(slf.py(), "flat"), value)
    }

    /// The imaginary parts, as a read-only copy. Setting it writes the memory.
    #[getter]
    fn imag<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        compute::part(slf, intern!(slf.py(), "imag"))
    }

    #[setter]
    fn set_imag(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        compute::set_part(slf, intern!(slf.py(), "imag"), value)
    }

    /// Return a view with its axes in another order, as ``numpy.transpose`` does.
    #[pyo3(signature = (*axes))]
    fn transpose(&self, py: Python<'_>, axes: &Bound<'_, PyTuple>) -> PyResult<Self> {
        self.viewed(py, |whole| whole.call_method1("transpose", axes.clone()))
    }

    /// Return a view with two axes exchanged.
    fn swapaxes(&self, py: Python<'_>, axis1: isize, axis2: isize) -> PyResult<Self> {
        self.viewed(py, |whole| whole.call_method1("swapaxes", (axis1, axis2)))
    }

    /// Return a view without the axes of length 1, or without the given ones of them.
    #[pyo3(signature = (axis=None))]
    fn squeeze(&self, py: Python<'_>, axis: Option<Py<PyAny>>) -> PyResult<Self> {
        self.viewed(py, |whole| whole.call_method1("squeeze", (axis,)))
    }

    /// Return a view of a diagonal of two axes, which becomes the last axis.
    #[pyo3(signature = (offset=0, axis1=0, axis2=1))]
    fn diagonal(
        &self,
        py: Python<'_>,
        offset: isize,
        axis1: isize,
        axis2: isize,
    ) -> PyResult<Self> {
        let axes = (offset, axis1, axis2);
        self.viewed(py, |whole| whole.call_method1("diagonal", axes))
    }

    /// Return a view of the same memory in another shape.
    ///
    /// Raises ``ValueError`` if the shape needs a copy.
    #[pyo3(signature = (*shape, order="C"))]
    fn reshape(&self, py: Python<'_>, shape: &Bound<'_, PyTuple>, order: &str) -> PyResult<Self> {
        self.reshaped(py, shape, order)
    }

    /// Return the same view without the right to write through it.
    fn read_only(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(self.derived(py, self.any().read_only().raise(py)?))
    }

    /// Return the same view as a new object.
    #[pyo3(signature = (*other, **keywords))]
    fn view(
        &self,
        py: Python<'_>,
        other: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        if !other.is_empty() || keywords.is_some() {
            return Err(PyTypeError::new_err(
                "a shared array has no view of another type or class: use `with a.read() as x` \
                 and x.view(...)",
            ));
        }
        Ok(self.derived(py, self.any().view().raise(py)?))
    }

    /// Return a guard for shared access: ``with a.read() as x``.
    ///
    /// The guard waits at most ``timeout`` seconds while overlapping bytes are written; without
    /// ``timeout``, as long as the store's ``lock_timeout`` allows.
    ///
    /// Raises :class:`WouldBlock` (only with ``timeout=0``), :class:`Timeout`, :class:`Poisoned`,
    /// and :class:`WouldDeadlock` if this thread itself holds the other guard. Their ``holders``
    /// name the processes in the way, with the slices that they hold: see :class:`Holder`.
    #[pyo3(signature = (timeout=None))]
    fn read(slf: Py<Self>, timeout: Option<f64>) -> PyResult<Guard> {
        Ok(Guard::new(slf, Mode::Read, Wait::new(timeout)?))
    }

    /// Return a guard for exclusive access: ``with a.write() as x``.
    ///
    /// The guard waits at most ``timeout`` seconds while overlapping bytes are read or written;
    /// without ``timeout``, as long as the store's ``lock_timeout`` allows. Guards on other bytes
    /// of the same array do not exclude each other.
    ///
    /// Raises the exceptions of :meth:`read`, and :class:`ReadOnly` and :class:`Frozen`.
    #[pyo3(signature = (timeout=None))]
    fn write(slf: Py<Self>, timeout: Option<f64>) -> PyResult<Guard> {
        Ok(Guard::new(slf, Mode::Write, Wait::new(timeout)?))
    }

    /// Return a guard for exclusive access to elements that may be poisoned.
    ///
    /// Set the elements anew in its block. The poison is gone when the block ends without an
    /// exception.
    fn recover(slf: Py<Self>) -> Guard {
        Guard::new(slf, Mode::Recover, Wait::Forever)
    }

    /// Return a request for :func:`ndshm.lock` to read, with other arrays or views.
    fn reading(slf: Py<Self>) -> Request {
        Request::guard(slf, Mode::Read)
    }

    /// Return a request for :func:`ndshm.lock` to write, with other arrays or views.
    ///
    /// An array that cannot be written is refused there.
    fn writing(slf: Py<Self>) -> Request {
        Request::guard(slf, Mode::Write)
    }

    /// Return a request for :func:`ndshm.lock` to recover, with other arrays or views.
    ///
    /// The elements may be poisoned, as for :meth:`recover`. The poison is gone when the block ends
    /// without an exception. If the call does not get all of its guards, it stays as it was.
    fn recovering(slf: Py<Self>) -> Request {
        Request::guard(slf, Mode::Recover)
    }

    /// Return a request for :func:`ndshm.lock` for atomic operations, with other arrays.
    ///
    /// The block gets :class:`Atomics`, as that of :meth:`atomic`. Raises ``TypeError`` for
    /// elements that are no integers of up to 8 bytes.
    fn updating(slf: Py<Self>, py: Python<'_>) -> PyResult<Request> {
        Request::update(py, slf)
    }

    /// Return the elements, integers of up to 8 bytes, for atomic operations:
    /// ``with a.atomic() as n``.
    ///
    /// Any number of such blocks may run at once, in any processes. The start of the block waits
    /// while overlapping bytes are read or written, as long as the store's ``lock_timeout`` allows.
    ///
    /// Raises ``TypeError`` for elements of another type. The start of the block raises the
    /// exceptions of :meth:`write`.
    fn atomic(slf: Py<Self>, py: Python<'_>) -> PyResult<Atomics> {
        Atomics::new(py, slf)
    }

    /// Return the poisoned ranges that touch this view.
    ///
    /// A range is its first byte and the byte after its last, from the start of the array's data.
    fn poisoned(&self, py: Python<'_>) -> PyResult<Vec<(usize, usize)>> {
        let ranges = py.detach(|| self.any().poisoned()).raise(py)?;
        Ok(ranges
            .into_iter()
            .map(|range| (range.start, range.end))
            .collect())
    }

    /// Return how often write guards on elements of this view were given back.
    ///
    /// The number goes up with each, in all processes, and never goes down. It goes up after the
    /// elements can be read. It also goes up where a block wrote nothing, where an exception ended
    /// it, and where the process of the writer died. It does not count operations of
    /// :meth:`atomic` and :meth:`unlocked`.
    ///
    /// The array is counted in eight parts of equal length, so the number may also go up by writes
    /// to elements close by. The first call by any process makes write guards of this array count,
    /// for ever; before it the number is 0.
    fn changed(&self, py: Python<'_>) -> PyResult<u64> {
        py.detach(|| self.any().changed()).raise(py)
    }

    /// Wait while :meth:`changed` is ``seen``, and return the new number.
    ///
    /// Returns at once if it is another one already. Ask for the number first, then read, then wait
    /// with that number: no change is missed. The end of a write guard wakes the thread, and the
    /// death of a writer counts as a change. It waits at most ``timeout`` seconds, or without a
    /// limit for ``None``.
    ///
    /// Raises :class:`Timeout` if the number was the same for so long; :class:`Frozen` if the array
    /// is frozen, which no write can change; :class:`Released` if it was released meanwhile;
    /// :class:`Abandoned` if the process that made it was alive when the wait began and ended
    /// since. The last two are noticed within 25 ms.
    #[pyo3(signature = (seen, timeout=None))]
    fn wait_changed(&self, py: Python<'_>, seen: u64, timeout: Option<f64>) -> PyResult<u64> {
        let time = arguments::limit("timeout", timeout)?;
        py.detach(|| self.any().wait_changed(seen, time)).raise(py)
    }

    /// Freeze the array, and return a read-only ndarray that needs no guard.
    ///
    /// No process ever writes a frozen array again. The ndarray is pickled by reference.
    fn freeze<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let enclosing = Enclosing::bind(py)?;
        py.detach(|| self.any().freeze()).raise(py)?;
        drop(enclosing);
        self.frozen_ndarray(py)
    }

    /// Return the memory as an ndarray without a lock, which is pickled by reference.
    ///
    /// Its users coordinate by other means. The ndarray keeps a local array from being deleted.
    /// Once the array is frozen, a write through it ends the process (SIGSEGV).
    fn unlocked<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.unlocked_ndarray(py)
    }

    /// Return a private copy of the elements, made under the lock.
    #[pyo3(signature = (order="K"))]
    fn to_numpy<'py>(&self, py: Python<'py>, order: &str) -> PyResult<Bound<'py, PyAny>> {
        self.copied(py, order)
    }

    /// Return a DataArray with the array's axis names and attributes.
    ///
    /// Its elements are ``data``, for example the ndarray of a guard; without ``data`` the memory
    /// of a frozen array, or a copy of any other.
    #[pyo3(signature = (data=None))]
    fn to_xarray<'py>(
        slf: &Bound<'py, Self>,
        data: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.py()
            .import("ndshm._xarray")?
            .getattr("to_xarray")?
            .call1((slf, data))
    }

    /// Return a new shared array with a copy of the elements.
    ///
    /// The copy is in the same store, or in the store of ``manager``. It takes the keywords of
    /// :meth:`ndshm.Manager.array`.
    #[pyo3(signature = (manager=None, **labels))]
    fn copy<'py>(
        slf: &Bound<'py, Self>,
        manager: Option<Bound<'py, PyAny>>,
        labels: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let manager = manager.map_or_else(|| slf.getattr("manager"), Ok)?;
        if manager.is_instance_of::<PyString>() {
            let text =
                "the first argument of copy is a manager: give an order by a.copy(order=...)";
            return Err(PyTypeError::new_err(text));
        }
        manager.call_method("array", (slf.get().copied(slf.py(), "K")?,), labels)
    }

    /// Delete the array now, whichever process owns it.
    ///
    /// Processes that have the array open continue to use it.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.any().release()).raise(py)
    }

    /// Write changed pages to the disk of a persistent store, and wait for the disk.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.any().flush()).raise(py)
    }
}

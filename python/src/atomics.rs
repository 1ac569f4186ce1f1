//! The class `Atomics`: the integers of an array by atomic operations.

use crate::{
    arguments,
    array::Array,
    enclosing::{self, Enclosing},
    error::Raise,
    index,
};
use ndarray::IxDyn;
use ndshm::{AnyArray, AtomicArray, Element, Updating};
use pyo3::{
    IntoPyObjectExt,
    exceptions::{PyOverflowError, PyRuntimeError, PyTypeError},
    intern,
    prelude::*,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::SeqCst},
    time::Duration,
    vec,
};

/// The integers of an array or view by atomic operations, as a context manager.
///
/// ``with a.atomic() as n`` lets any number of threads and processes change elements at once,
/// without a lock between them: ``n.add(3, 1)``. Guards on overlapping bytes wait until the block
/// ends. Threads may share ``n``.
///
/// An index is one integer for each axis, as in NumPy: ``3``, ``-1``, ``(2, 5)``, and ``()`` for an
/// array without axes. Any other raises ``IndexError``, and a value outside of the range of the
/// type ``OverflowError``. All operations are sequentially consistent.
///
/// An exception that ends the block poisons nothing.
#[pyclass(frozen, module = "ndshm")]
pub(crate) struct Atomics {
    array: Py<Array>,
    entered: Mutex<Option<Arc<Carried>>>,
}

/// A view of atomics that may be dropped in another thread than the one that took it.
pub(crate) struct Carried(Box<dyn Integers>);

// SAFETY: the library documents that only the check for deadlocks depends on the thread of a view
// of atomics. The elements are integers in shared memory.
unsafe impl Send for Carried {}

type Value<'py> = Bound<'py, PyAny>;

/// A view of atomics, whatever the type of its elements. An index lies in the array.
trait Integers: Sync {
    fn bind(&self, is_bound: bool);
    fn load<'py>(&self, py: Python<'py>, at: &[usize]) -> PyResult<Value<'py>>;
    fn store(&self, at: &[usize], value: &Value<'_>) -> PyResult<()>;
    fn add<'py>(&self, at: &[usize], value: &Value<'py>) -> PyResult<Value<'py>>;
    fn subtract<'py>(&self, at: &[usize], value: &Value<'py>) -> PyResult<Value<'py>>;
    fn exchange<'py>(&self, at: &[usize], value: &Value<'py>) -> PyResult<Value<'py>>;
    fn compare_exchange(&self, at: &[usize], old: &Value<'_>, new: &Value<'_>) -> PyResult<bool>;
    fn wait<'py>(&self, at: &[usize], old: &Value<'py>, time: Duration) -> PyResult<Value<'py>>;
    fn notify(&self, at: &[usize]);
}

/// An argument as an integer of this type.
fn integer<'py, T>(value: &Value<'py>) -> PyResult<T>
where
    T: Element + for<'a> FromPyObject<'a, 'py, Error = PyErr>,
{
    value.extract().map_err(|error: PyErr| {
        let py = value.py();
        if !error.is_instance_of::<PyOverflowError>(py) {
            return error;
        }
        PyOverflowError::new_err(format!("{value} is out of the range of {}", T::DTYPE))
    })
}

macro_rules! integers {
    ($($type:ident)*) => {
        $(impl Integers for AtomicArray<$type, IxDyn> {
            fn bind(&self, is_bound: bool) {
                match is_bound {
                    true => AtomicArray::bind(self),
                    false => AtomicArray::unbind(self),
                }
            }

            fn load<'py>(&self, py: Python<'py>, at: &[usize]) -> PyResult<Value<'py>> {
                self[at].load(SeqCst).into_bound_py_any(py)
            }

            fn store(&self, at: &[usize], value: &Value<'_>) -> PyResult<()> {
                self[at].store(integer(value)?, SeqCst);
                Ok(())
            }

            fn add<'py>(&self, at: &[usize], value: &Value<'py>) -> PyResult<Value<'py>> {
                let old = self[at].fetch_add(integer(value)?, SeqCst);
                old.into_bound_py_any(value.py())
            }

            fn subtract<'py>(&self, at: &[usize], value: &Value<'py>) -> PyResult<Value<'py>> {
                let old = self[at].fetch_sub(integer(value)?, SeqCst);
                old.into_bound_py_any(value.py())
            }

            fn exchange<'py>(&self, at: &[usize], value: &Value<'py>) -> PyResult<Value<'py>> {
                let old = self[at].swap(integer(value)?, SeqCst);
                old.into_bound_py_any(value.py())
            }

            fn compare_exchange(
                &self,
                at: &[usize],
                old: &Value<'_>,
                new: &Value<'_>,
            ) -> PyResult<bool> {
                let (old, new) = (integer(old)?, integer(new)?);
                Ok(self[at].compare_exchange(old, new, SeqCst, SeqCst).is_ok())
            }

            fn wait<'py>(
                &self,
                at: &[usize],
                old: &Value<'py>,
                time: Duration,
            ) -> PyResult<Value<'py>> {
                let (py, old) = (old.py(), integer(old)?);
                let new = py.detach(|| AtomicArray::wait(self, at, old, time));
                new.raise(py)?.into_bound_py_any(py)
            }

            fn notify(&self, at: &[usize]) {
                AtomicArray::notify(self, at);
            }
        })*

        /// Takes the view of atomics; `None` for elements that are no such integers.
        fn take(array: &AnyArray) -> Option<ndshm::Result<Carried>> {
            $(if *array.dtype() == <$type>::DTYPE {
                let atomic = array
                    .downcast::<$type, IxDyn>()
                    .and_then(|array| array.atomic());
                return Some(atomic.map(|atomic| Carried(Box::new(atomic))));
            })*
            None
        }

        fn are_integers(array: &AnyArray) -> bool {
            [$(<$type>::DTYPE),*].contains(array.dtype())
        }

        /// Parts of a set for atomic operations, by the types of their elements.
        #[derive(Default)]
        pub(crate) struct Updates {
            $($type: Vec<Updating<$type, IxDyn>>,)*
        }

        type Parts = ($(Vec<Updating<$type, IxDyn>>,)*);
        type Views = ($(Vec<AtomicArray<$type, IxDyn>>,)*);

        impl Updates {
            /// Adds an array of integers.
            pub(crate) fn push(&mut self, array: &AnyArray) -> ndshm::Result<()> {
                $(if *array.dtype() == <$type>::DTYPE {
                    self.$type.push(array.downcast::<$type, IxDyn>()?.updating());
                })*
                Ok(())
            }

            pub(crate) fn into_set(self) -> Parts {
                ($(self.$type,)*)
            }
        }

        /// The views of atomics of a set.
        pub(crate) struct Updated {
            $($type: vec::IntoIter<AtomicArray<$type, IxDyn>>,)*
        }

        impl Updated {
            pub(crate) fn new(($($type,)*): Views) -> Self {
                Self { $($type: $type.into_iter(),)* }
            }

            /// The view of the next array with these elements.
            pub(crate) fn next(&mut self, array: &AnyArray) -> Option<Carried> {
                $(if *array.dtype() == <$type>::DTYPE {
                    return self.$type.next().map(|atomic| Carried(Box::new(atomic)));
                })*
                None
            }
        }
    };
}

integers! { u8 i8 u16 i16 u32 i32 u64 i64 }

impl Atomics {
    /// `TypeError` if the elements are no integers of up to 8 bytes.
    pub(crate) fn new(py: Python<'_>, array: Py<Array>) -> PyResult<Self> {
        check_integers(py, array.get(), "atomic()")?;
        Ok(Self {
            array,
            entered: Mutex::new(None),
        })
    }

    /// Those of a set, which are in use until [`end`](Self::end).
    pub(crate) fn entered_with(array: Py<Array>, taken: Carried) -> Self {
        Self {
            array,
            entered: Mutex::new(Some(Arc::new(taken))),
        }
    }

    /// Ends the block. Returns false if it had ended.
    pub(crate) fn end(&self) -> bool {
        let taken = self.entered().take();
        taken.is_some()
    }

    /// Binds the view of atomics, if the block runs: see `enclosing`.
    pub(crate) fn bind_entered(&self, is_bound: bool) {
        if let Some(taken) = &*self.entered() {
            taken.bind(is_bound);
        }
    }

    fn entered(&self) -> MutexGuard<'_, Option<Arc<Carried>>> {
        self.entered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `operation` with the view of atomics and the place of the element.
    fn element<R>(
        &self,
        index: &Bound<'_, PyAny>,
        operation: impl FnOnce(&dyn Integers, &[usize]) -> PyResult<R>,
    ) -> PyResult<R> {
        let Some(view) = self.entered().clone() else {
            return Err(not_in_use());
        };
        let at = index::element(index, self.array.get().any().shape())?;
        operation(&*view.0, &at)
    }
}

impl Carried {
    /// Binds the view of atomics to the calling thread until the end of its wait, or says that any
    /// thread may give it back: see `enclosing`.
    pub(crate) fn bind(&self, is_bound: bool) {
        self.0.bind(is_bound);
    }
}

impl enclosing::Manager for Atomics {
    fn bind(&self, is_bound: bool) {
        self.bind_entered(is_bound);
    }
}

/// `TypeError` if the elements are no integers of up to 8 bytes.
pub(crate) fn check_integers(py: Python<'_>, array: &Array, verb: &str) -> PyResult<()> {
    let dtype = array.element_type(py);
    // Times are stored as integers.
    let kind: String = dtype.getattr(intern!(py, "kind"))?.extract()?;
    if !are_integers(array.any()) || !matches!(kind.as_str(), "i" | "u") {
        return Err(PyTypeError::new_err(format!(
            "{verb} is for integers of up to 8 bytes, not for elements of type {dtype}"
        )));
    }
    Ok(())
}

fn not_in_use() -> PyErr {
    PyRuntimeError::new_err("the atomics are not in use: `with a.atomic() as n` takes them")
}

#[pymethods]
impl Atomics {
    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let (this, py) = (slf.get(), slf.py());
        if this.entered().is_some() {
            return Err(PyRuntimeError::new_err(
                "the atomics are in use: ask the array for others",
            ));
        }
        let array = this.array.get().any();
        let around = Enclosing::bind(py)?;
        let taken = py.detach(|| take(array));
        drop(around);
        let taken = taken.ok_or_else(|| PyTypeError::new_err("the elements are no integers"))?;
        let taken = taken.raise(py)?;
        taken.bind(false);
        *this.entered() = Some(Arc::new(taken));
        enclosing::enter(slf);
        Ok(slf.clone())
    }

    #[pyo3(signature = (_kind=None, _value=None, _traceback=None))]
    fn __exit__(
        slf: &Bound<'_, Self>,
        _kind: Option<&Bound<'_, PyAny>>,
        _value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        enclosing::leave(slf);
        match slf.get().end() {
            true => Ok(false),
            false => Err(not_in_use()),
        }
    }

    /// Return the value of an element.
    fn load<'py>(&self, py: Python<'py>, index: &Value<'py>) -> PyResult<Value<'py>> {
        self.element(index, |view, at| view.load(py, at))
    }

    /// Set an element.
    fn store(&self, index: &Value<'_>, value: &Value<'_>) -> PyResult<()> {
        self.element(index, |view, at| view.store(at, value))
    }

    /// Add to an element, and return its old value.
    ///
    /// The sum wraps around at the ends of the type's range, as in NumPy's arrays.
    fn add<'py>(&self, index: &Value<'py>, value: &Value<'py>) -> PyResult<Value<'py>> {
        self.element(index, |view, at| view.add(at, value))
    }

    /// Subtract from an element, and return its old value.
    ///
    /// The difference wraps around at the ends of the type's range, as in NumPy's arrays.
    fn subtract<'py>(&self, index: &Value<'py>, value: &Value<'py>) -> PyResult<Value<'py>> {
        self.element(index, |view, at| view.subtract(at, value))
    }

    /// Set an element, and return its old value.
    fn exchange<'py>(&self, index: &Value<'py>, value: &Value<'py>) -> PyResult<Value<'py>> {
        self.element(index, |view, at| view.exchange(at, value))
    }

    /// Set an element to ``new`` if it has the value ``old``. Return whether it had.
    fn compare_exchange(
        &self,
        index: &Value<'_>,
        old: &Value<'_>,
        new: &Value<'_>,
    ) -> PyResult<bool> {
        self.element(index, |view, at| view.compare_exchange(at, old, new))
    }

    /// Wait while an element has the value ``old``, and return its new value.
    ///
    /// Returns at once if it has another value already. The thread sleeps until a thread of any
    /// process changes the element and calls :meth:`notify`; it sees a change without ``notify``
    /// within 20 ms. It waits at most ``timeout`` seconds, or without a limit for ``None``.
    ///
    /// Raises :class:`Timeout` if the element kept its value; :class:`Released` if the array was
    /// released meanwhile; :class:`Abandoned` if the process that made the array was alive when the
    /// wait began and ended since. These two are noticed within 25 ms.
    #[pyo3(signature = (index, old, timeout=None))]
    fn wait<'py>(
        &self,
        index: &Value<'py>,
        old: &Value<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Value<'py>> {
        let time = arguments::limit("timeout", timeout)?;
        self.element(index, |view, at| view.wait(at, old, time))
    }

    /// Wake all threads of all processes that :meth:`wait` for a change of an element.
    ///
    /// Call it after the change. It costs a system call.
    fn notify(&self, index: &Value<'_>) -> PyResult<()> {
        self.element(index, |view, at| {
            view.notify(at);
            Ok(())
        })
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "<ndshm.Atomics of {}>",
            self.array.bind(py).repr()?
        ))
    }
}

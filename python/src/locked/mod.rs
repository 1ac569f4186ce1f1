//! The ndarrays of guards: the class `LockedArray`, and how the lock of one ends.
//!
//! # What keeps a lock
//!
//! ```text
//! Lease (the lock) <- Root <- root <- x, x[1:], x.T, ...      views of the class LockedArray
//!                                  <- np.asarray(x), ...      plain ndarrays
//! ```
//!
//! The *root* is an ndarray over all elements of the guard that no code outside of this module
//! gets. Every other ndarray over the memory has it as its base. NumPy sees to that for plain
//! ndarrays: the base of a new ndarray is the last one of the chain that has the same type. For
//! views of `LockedArray`, `__array_finalize__` does it, and puts them on the list of their lease.
//!
//! When the block ends, the views on the list are emptied and lose the root, and the block drops
//! its own reference. **The deallocation of the root gives the lock back.** So the lock is held
//! exactly as long as an ndarray, a memoryview, a capsule or an operation can reach the memory. No
//! reference count and no frame is read.
//!
//! # Ways to the memory
//!
//! Objects that hold the memory by other means than NumPy's bases (memoryviews, capsules,
//! iterators, ctypes, a call of NumPy) get a plain ndarray in the place of the view, see `plain`.
//! To NumPy itself a view is read-only, and writes go by writable plain ndarrays: code that
//! respects the flag cannot write uncounted.
//!
//! Code in C that takes a view for an ndarray and keeps a reference to it, such as `numpy.nditer`
//! and `torch.from_numpy`, is not seen. Its address stays mapped for as long as it has the view.
//!
//! # Layers
//!
//! `class` is the class and its slots, `methods` its methods, `list` the views of a lease. `plain`
//! makes plain ndarrays of views and back. `calls` has NumPy's protocols for functions.

mod calls;
mod class;
mod list;
mod methods;
mod plain;

use crate::{
    export::{self, Carried, Held},
    signals::{GUARDS, collect_garbage},
};
use ndshm::{AnyArray, MappedMemory};
use pyo3::prelude::*;
use std::{
    ops::Range,
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicPtr, AtomicU32, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread,
    time::Duration,
};

pub(crate) use calls::{Call, WRITERS, without_trace};
pub(crate) use class::{add_to, is_locked};

/// The leases of all guards. A thread that locks this holds the interpreter's lock, so a
/// fork finds it unlocked.
static LEASES: Mutex<Vec<Arc<Lease>>> = Mutex::new(Vec::new());

/// The locks that are held though their blocks have ended.
static LEFT: AtomicUsize = AtomicUsize::new(0);

/// How often, and how long at a time, the end of a block waits for threads that look at the frames
/// of this one.
const LOOKS_OF_OTHERS: usize = 20;
const LOOK_OF_OTHERS: Duration = Duration::from_millis(5);

/// The lock of a guard, and the views of its elements.
pub(crate) struct Lease {
    held: Mutex<Option<Carried>>,
    /// Its place in [`LEASES`].
    at: AtomicUsize,
    memory: Range<usize>,
    /// Whether the elements may be written.
    is_writable: AtomicBool,
    /// Whether the end of the lease poisons the elements.
    poisons: AtomicBool,
    /// Whether the elements may have been written.
    is_written: AtomicBool,
    is_left: AtomicBool,
    /// The bits of the [`Way`]s that the memory was handed out by.
    ways: AtomicU32,
    /// The operations that run, in any thread.
    running: AtomicU32,
    /// The first of the views, see `list`.
    views: AtomicPtr<pyo3::ffi::PyObject>,
    /// The root, while it lives. Borrowed: a reader has a view that keeps it.
    root: AtomicPtr<pyo3::ffi::PyObject>,
}

/// A way on which memory leaves a view, for the texts of errors.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Way {
    Buffer = 1,
    Dlpack = 2,
    Ctypes = 4,
    Iterator = 8,
    Interface = 16,
    OtherClass = 32,
    Method = 64,
}

const WAYS: [(Way, &str); 7] = [
    (Way::Buffer, "the buffer protocol (a memoryview)"),
    (Way::Dlpack, "DLPack"),
    (Way::Ctypes, "ctypes"),
    (Way::Iterator, "the iterator `flat`"),
    (Way::Interface, "the array interface"),
    (Way::OtherClass, "`view` of another class"),
    (Way::Method, "a bound method"),
];

impl Lease {
    fn held(&self) -> MutexGuard<'_, Option<Carried>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the lock back.
    fn end(&self) {
        self.root.store(ptr::null_mut(), Relaxed);
        let Some(Carried(held)) = self.held().take() else {
            return;
        };
        let mut leases = leases();
        let at = self.at.load(Relaxed);
        drop(leases.swap_remove(at));
        if let Some(moved) = leases.get(at) {
            moved.at.store(at, Relaxed);
        }
        GUARDS.store(leases.len(), SeqCst);
        drop(leases);
        if self.is_left.load(SeqCst) {
            LEFT.fetch_sub(1, SeqCst);
        }
        match held {
            Held::Write(guard) if self.poisons.load(SeqCst) => guard.poison(),
            held => drop(held),
        }
    }

    /// The lease whose memory has an address.
    fn at(address: usize) -> Option<Arc<Self>> {
        let leases = leases();
        let found = leases.iter().find(|lease| lease.has(address));
        found
            .filter(|lease| !lease.root.load(Relaxed).is_null())
            .cloned()
    }

    /// Whether an address is in the memory, or at its end, where a view without elements may be.
    fn has(&self, address: usize) -> bool {
        self.memory.start <= address && address <= self.memory.end
    }

    fn is_held(&self) -> bool {
        self.held().is_some()
    }

    /// Binds the guard to the calling thread, or unbinds it, if the lock was not given back.
    pub(crate) fn bind(&self, is_bound: bool) {
        if let Some(Carried(held)) = &*self.held() {
            held.bind(is_bound);
        }
    }

    /// Whether the elements may have been written. False only where no code had the means to write
    /// them.
    pub(crate) fn is_written(&self) -> bool {
        self.is_written.load(SeqCst)
    }

    pub(crate) fn poison_at_end(&self) {
        self.poisons.store(true, SeqCst);
    }

    fn note_way(&self, way: Way) {
        self.ways.fetch_or(way as u32, Relaxed);
    }

    fn note_write(&self) {
        self.is_written.store(true, SeqCst);
    }

    /// The ways by which code may still have the memory.
    fn ways_out(&self) -> String {
        let ways = self.ways.load(Relaxed);
        let mut names: Vec<_> = (WAYS.iter())
            .filter(|(way, _)| ways & *way as u32 != 0)
            .map(|(_, name)| *name)
            .collect();
        if self.running.load(SeqCst) > 0 {
            names.push("an operation that still runs in another thread");
        }
        match names.is_empty() {
            true => "a plain ndarray, as numpy.asarray(x) makes one".into(),
            false => names.join(", ") + ", or a plain ndarray",
        }
    }
}

fn leases() -> MutexGuard<'static, Vec<Arc<Lease>>> {
    LEASES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In the child of a fork: the guards are the parent's, so their ndarrays can only be read.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    for lease in &*leases() {
        lease.is_writable.store(false, Relaxed);
    }
}

/// The base of a root.
#[pyclass(frozen, module = "ndshm._ndshm")]
struct Root(Arc<Lease>);

impl Drop for Root {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The base of an emptied view: its address stays mapped, and one without axes shows zeros.
#[pyclass(frozen, module = "ndshm._ndshm")]
struct Remains {
    _memory: MappedMemory,
    blank: Vec<u128>,
}

/// A lock with the elements it is on, as a block has them.
pub(crate) struct Leased {
    pub(crate) lease: Arc<Lease>,
    root: Py<PyAny>,
}

impl Leased {
    /// Puts the lock into a lease, and makes its root.
    pub(crate) fn new(
        py: Python<'_>,
        array: &AnyArray,
        dtype: &Bound<'_, PyAny>,
        mut held: Held,
    ) -> PyResult<Self> {
        let memory = export::extent(array, held.address());
        Self::with_root(py, memory, held, |address, base| {
            // SAFETY: the guard's view has its first element at `address`, and the shape, strides
            // and item size of `array`. All of it is mapped and locked until the lease ends, and
            // the lease ends when the last ndarray with this base is gone.
            unsafe { export::over(py, array, dtype, address, false, base) }
        })
    }

    /// Puts a frame of a ring, or rows of an array that grows, into a lease. `len` is their size in
    /// bytes.
    pub(crate) fn of_room(
        py: Python<'_>,
        mut held: Held,
        len: usize,
        shape: &[usize],
        dtype: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let start = held.address().addr();
        Self::with_root(py, start..start + len, held, |address, base| {
            // SAFETY: the room has `len` bytes at `address`, which are elements of this shape side
            // by side (the caller's promise). They are mapped and reserved until the lease ends, as
            // above.
            unsafe { export::contiguous(py, shape, dtype, address, false, base) }
        })
    }

    fn with_root<'py>(
        py: Python<'py>,
        memory: Range<usize>,
        mut held: Held,
        root: impl FnOnce(*mut u8, Py<PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let (address, is_writable) = (held.address(), held.is_writable());
        let lease = Arc::new(Lease {
            memory,
            held: Mutex::new(Some(Carried(held))),
            at: AtomicUsize::new(0),
            is_writable: AtomicBool::new(is_writable),
            poisons: AtomicBool::new(false),
            is_written: AtomicBool::new(false),
            is_left: AtomicBool::new(false),
            ways: AtomicU32::new(0),
            running: AtomicU32::new(0),
            views: AtomicPtr::new(ptr::null_mut()),
            root: AtomicPtr::new(ptr::null_mut()),
        });
        let mut all = leases();
        lease.at.store(all.len(), Relaxed);
        all.push(lease.clone());
        GUARDS.store(all.len(), SeqCst);
        drop(all);
        let base = Py::new(py, Root(lease.clone()))?.into_any();
        let root = root(address, base)?;
        lease.root.store(root.as_ptr(), Relaxed);
        let root = root.unbind();
        Ok(Self { lease, root })
    }

    /// A view of all elements, of the class `LockedArray`.
    pub(crate) fn view<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain::locked_over(py, self.root.bind(py), &self.lease, !self.is_writable())
    }

    /// A plain ndarray of all elements, which keeps the lock.
    pub(crate) fn plain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain::of_root(py, self.root.bind(py), self.is_writable())
    }

    /// A plain ndarray of another view of the array, which lies inside of the guarded one and
    /// begins `distance` bytes after it.
    pub(crate) fn part<'py>(
        &self,
        py: Python<'py>,
        array: &AnyArray,
        dtype: &Bound<'py, PyAny>,
        distance: isize,
        writes: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let address = list::address(self.root.as_ptr()).wrapping_offset(distance);
        let base = self.root.clone_ref(py);
        // SAFETY: the elements of the array lie in the guarded memory (the caller's promise), which
        // stays locked while the root lives, to be written if the guard is one to write.
        unsafe {
            export::over(
                py,
                array,
                dtype,
                address,
                writes && self.is_writable(),
                base,
            )
        }
    }

    fn is_writable(&self) -> bool {
        self.lease.is_writable.load(Relaxed)
    }

    /// Ends the lease: empties all views, and gives the lock back unless other objects keep it.
    /// Then the ways by which they may have the memory are returned.
    pub(crate) fn end(self, py: Python<'_>, array: &AnyArray) -> PyResult<Option<String>> {
        self.end_with(py, || array.memory())
    }

    /// The same, with what keeps the memory of emptied views mapped.
    pub(crate) fn end_with(
        self,
        py: Python<'_>,
        memory: impl FnOnce() -> MappedMemory,
    ) -> PyResult<Option<String>> {
        let Self { lease, root } = self;
        let emptied = list::empty_all(py, &lease, memory);
        root.drop_ref(py);
        emptied?;
        if !lease.is_held() {
            return Ok(None);
        }
        collect_garbage(py)?;
        // A profiler in another thread, such as that of Dask's workers, keeps the frames that it
        // looks at for some milliseconds, with the ndarrays of calls that are over by now.
        for _ in 0..LOOKS_OF_OTHERS {
            if !lease.is_held() {
                return Ok(None);
            }
            py.detach(|| thread::sleep(LOOK_OF_OTHERS));
        }
        if !lease.is_held() {
            return Ok(None);
        }
        let ways = lease.ways_out();
        if !lease.is_left.swap(true, SeqCst) {
            LEFT.fetch_add(1, SeqCst);
            // It may have ended meanwhile, without counting itself out.
            if !lease.is_held() && lease.is_left.swap(false, SeqCst) {
                LEFT.fetch_sub(1, SeqCst);
            }
        }
        Ok(Some(ways))
    }
}

/// Whether an ndarray is a plain one over the memory that another plain one has from a lease.
pub(crate) fn shares_root(made: &Bound<'_, PyAny>, plain: &Bound<'_, PyAny>) -> bool {
    let address = list::address(plain.as_ptr()).addr();
    let lease = Lease::at(address);
    lease.is_some_and(|lease| plain::is_over(made.py(), made, &lease))
}

/// Collects garbage if it may keep a lock whose block has ended. Returns whether it did.
pub(crate) fn collect_left(py: Python<'_>) -> PyResult<bool> {
    let is_any = LEFT.load(SeqCst) > 0;
    if is_any {
        collect_garbage(py)?;
    }
    Ok(is_any)
}

//! Views of atomics: many writers of one integer each, without a lock between them.
//!
//! One of the modules with unsafe code: integers are seen as atomics of the same size.

use crate::{
    array::{
        SharedArray,
        lock::{Access, Lock},
        open_array::OpenArray,
        together::Updating,
        view,
    },
    element::Element,
    error::{Error, Result},
    format::constants::SIGNALS,
    layout::Layout,
    state::signals,
    sync::AtomicU32 as Word,
    sys::wait::{Wait, is_interrupted},
};
use ndarray::{ArrayRef, ArrayView, Dimension, NdIndex};
use std::{
    fmt,
    ops::Deref,
    sync::atomic::{
        AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
        Ordering::Acquire,
    },
    time::{Duration, Instant},
};

/// Integers that can be changed atomically: those of up to 8 bytes.
///
/// # Safety
///
/// `Atomic` has the same size, alignment and representation as the type.
pub unsafe trait AtomicElement: Element {
    /// The atomic integer.
    type Atomic: Send + Sync + fmt::Debug;

    /// The value of an element, loaded with acquire.
    fn load(atomic: &Self::Atomic) -> Self;
}

macro_rules! atomic {
    ($($type:ty => $atomic:ty),* $(,)?) => {$(
        const _: () = assert!(
            size_of::<$type>() == size_of::<$atomic>()
                && align_of::<$type>() == align_of::<$atomic>()
        );

        // SAFETY: the standard library gives the atomic integers the size and representation of the
        // integers, and the assertion above compares the alignments.
        unsafe impl AtomicElement for $type {
            type Atomic = $atomic;

            fn load(atomic: &$atomic) -> $type {
                atomic.load(Acquire)
            }
        }
    )*};
}

atomic! {
    u8 => AtomicU8, i8 => AtomicI8, u16 => AtomicU16, i16 => AtomicI16,
    u32 => AtomicU32, i32 => AtomicI32, u64 => AtomicU64, i64 => AtomicI64,
}

/// The elements of an array or view as atomics: dereferences to an [`ndarray::ArrayRef`] of them.
///
/// Any number of these may exist at once, in any processes. While one exists,
/// [`read`](SharedArray::read) and [`write`](SharedArray::write) on overlapping bytes wait. It
/// stays in its thread, but may be shared from it. For bindings to other languages it is as a
/// [`ReadGuard`](crate::ReadGuard): only the check for deadlocks depends on the thread.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::Ordering::Relaxed;
///
/// let manager = ndshm::Manager::new()?;
/// let counts = manager.zeros::<u64, _>(10)?;
/// let atomics = counts.atomic()?;
/// std::thread::scope(|scope| {
///     let atomics = &*atomics;
///     (0..4).for_each(|_| _ = scope.spawn(|| atomics[3].fetch_add(1, Relaxed)));
/// });
/// drop(atomics);
/// assert_eq!(counts.read()?[3], 4);
/// # Ok::<(), ndshm::Error>(())
/// ```
pub struct AtomicArray<T: AtomicElement, D: Dimension> {
    // Private, and its lifetime never leaves this struct: it ends with the lock below.
    view: ArrayView<'static, T::Atomic, D>,
    pub(super) lock: Lock,
}

impl<T: AtomicElement, D: Dimension> SharedArray<T, D> {
    /// The elements as atomics, for counters and flags that many processes change at once.
    ///
    /// # Errors
    ///
    /// `ReadOnly`, `Frozen`, `Poisoned`; those of [`write`](Self::write).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::Ordering::Relaxed;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let done = manager.zeros::<u32, _>(100)?;
    /// done.atomic()?[7].store(1, Relaxed);
    /// assert_eq!(done.read()?.sum(), 1);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn atomic(&self) -> Result<AtomicArray<T, D>> {
        self.atomics(Wait::Forever)
    }

    /// [`atomic`](Self::atomic) without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it would have to wait; those of `atomic`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros::<u32, _>(5)?.try_atomic()?.len(), 5);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn try_atomic(&self) -> Result<AtomicArray<T, D>> {
        self.atomics(Wait::Never)
    }

    /// [`atomic`](Self::atomic) that waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `Timeout` if the elements were read or written all that time; those of `atomic`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let counts = manager.zeros::<u32, _>(5)?;
    /// assert_eq!(counts.atomic_timeout(std::time::Duration::from_secs(1))?.len(), 5);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn atomic_timeout(&self, timeout: Duration) -> Result<AtomicArray<T, D>> {
        self.atomics(Wait::AtMost(timeout))
    }

    fn atomics(&self, wait: Wait) -> Result<AtomicArray<T, D>> {
        let core = &self.core;
        core.check_writable()?;
        let lock = Lock::take(&core.opened, core.span(), Access::Atomic, wait)?;
        failpoint!(AtomicTaken);
        // SAFETY: `check_writable` says that the mapping is writable; the lock was taken for the
        // span of the layout, and the elements of this array have this type.
        Ok(unsafe { AtomicArray::locked(lock, &core.opened, &core.layout) })
    }

    /// An [`atomic`](Self::atomic) view to be taken together with guards of other arrays or parts,
    /// by [`lock`](crate::lock()). Where the view cannot be written, `lock` says so.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::Ordering::Relaxed;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let (xs, sums) = (manager.ones::<u64, _>(5)?, manager.zeros::<u64, _>(1)?);
    /// let (read, sums) = ndshm::lock((xs.reading(), sums.updating()))?;
    /// sums[0].fetch_add(read.sum(), Relaxed);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn updating(&self) -> Updating<T, D> {
        self.core.updating()
    }
}

impl<T: AtomicElement, D: Dimension> AtomicArray<T, D> {
    /// The view of a lock.
    ///
    /// # Safety
    ///
    /// The lock was taken on this array, for atomic access to all bytes of the layout. The elements
    /// of the array have this type, and the mapping is writable.
    pub(super) unsafe fn locked(lock: Lock, array: &OpenArray, layout: &Layout<D>) -> Self {
        // SAFETY: the mapping is writable (the caller's promise); the lock keeps readers and
        // writers away from all of the layout's bytes until it is dropped, and keeps the segment
        // mapped until then; other holders of such a lock use atomics of the same size, because the
        // array's elements have one type; the view, whose lifetime never leaves this struct, is
        // dropped before the lock.
        let view = unsafe { view::atomics::<T, D, T::Atomic>(array, layout) };
        Self { view, lock }
    }
}

impl<T: AtomicElement + PartialEq, D: Dimension> AtomicArray<T, D> {
    /// Waits while an element has the value `old`, and returns its new value: at once if it has
    /// another one already.
    ///
    /// The thread sleeps in the kernel until a thread of any process changes the element and calls
    /// [`notify`](Self::notify). A change without `notify` is seen within 20 ms.
    ///
    /// # Errors
    ///
    /// `Timeout` where the element still had the value after `timeout`; `Released` if the array was
    /// released meanwhile; `Abandoned` if the process that made the array was alive when the wait
    /// began and ended since. These two are noticed within 25 ms.
    ///
    /// # Panics
    ///
    /// If the index is out of bounds.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{sync::atomic::Ordering::Relaxed, time::Duration};
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let steps = manager.zeros::<u32, _>(4)?;
    /// std::thread::scope(|scope| {
    ///     let worker = scope.spawn(|| {
    ///         let steps = steps.atomic()?;
    ///         steps[2].store(7, Relaxed);
    ///         steps.notify(2);
    ///         Ok::<(), ndshm::Error>(())
    ///     });
    ///     assert_eq!(steps.atomic()?.wait(2, 0, Duration::from_secs(60))?, 7);
    ///     worker.join().unwrap()
    /// })?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn wait<I: NdIndex<D>>(&self, index: I, old: T, timeout: Duration) -> Result<T> {
        let element = &self.view[index];
        let array = self.lock.array();
        let deadline = Instant::now().checked_add(timeout);
        let mut producer_lived = None;
        let outcome = signals::wait_for(self.word(element), deadline, |slept| {
            let value = T::load(element);
            if value != old {
                return Some(Ok(value));
            }
            if is_interrupted() {
                return Some(Err(Error::Interrupted {
                    path: array.path().into(),
                }));
            }
            let lived = match producer_lived {
                Some(_) if !slept => return None,
                Some(lived) => lived,
                None => match array.has_producer() {
                    Ok(lives) => *producer_lived.insert(lives),
                    Err(error) => return Some(Err(error)),
                },
            };
            let is_in_vain =
                array
                    .check_ready()
                    .and_then(|()| match lived && !array.has_producer()? {
                        true => Err(Error::Abandoned {
                            path: array.path().into(),
                            member: array.producer(),
                        }),
                        false => Ok(()),
                    });
            // It may have changed just before.
            match T::load(element) {
                value if value != old => Some(Ok(value)),
                _ => is_in_vain.err().map(Err),
            }
        });
        outcome.unwrap_or_else(|| {
            Err(Error::Timeout {
                path: array.path().into(),
                obstacle: "the element kept its value",
                waited: timeout,
                holders: Default::default(),
            })
        })
    }

    /// Wakes all threads that [`wait`](Self::wait) for a change of an element, in all processes.
    /// Call it after the change. Costs a system call.
    ///
    /// # Panics
    ///
    /// If the index is out of bounds.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::Ordering::Relaxed;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let flags = manager.zeros::<u8, _>((2, 2))?;
    /// let flags = flags.atomic()?;
    /// flags[[0, 1]].store(1, Relaxed);
    /// flags.notify([0, 1]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn notify<I: NdIndex<D>>(&self, index: I) {
        signals::raise(self.word(&self.view[index]));
    }

    /// The word that threads sleep on which wait for this element: the same for every view of it.
    fn word(&self, element: &T::Atomic) -> &Word {
        let array = self.lock.array();
        let offset = array.offset_of(std::ptr::from_ref(element).addr());
        &array.state().signals[offset.unwrap_or(0) / 8 % SIGNALS]
    }
}

impl<T: AtomicElement, D: Dimension> Deref for AtomicArray<T, D> {
    type Target = ArrayRef<T::Atomic, D>;

    fn deref(&self) -> &ArrayRef<T::Atomic, D> {
        &self.view
    }
}

impl<T: AtomicElement, D: Dimension> fmt::Debug for AtomicArray<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view.fmt(f)
    }
}

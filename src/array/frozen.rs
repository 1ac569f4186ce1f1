//! Frozen arrays: no process writes them again, so readers need no lock.
//!
//! # How an array becomes frozen
//!
//! The state block of an array file has a frozen flag, which is set once and never cleared.
//!
//! 1. The freezer takes a lock to write on the whole array. It waits for all other guards, and is
//!    refused where a dead writer left poison.
//! 2. With the lock held it sets the flag, wakes the processes that wait for it, and gives the lock
//!    back. If it dies before it sets the flag, its slot becomes poison like that of any writer. If
//!    it dies after that, the array is frozen, and the slot means nothing.
//! 3. A writer looks at the flag after it got its slot (`lock`), so it precedes the freeze or is
//!    refused. A reader that sees the flag takes no slot.
//! 4. The freezing process and every later opener map the payload without the right to write. A bug
//!    that writes to it then faults, in the process that has the bug.
//!
//! A consumer that comes before the freeze can wait for it. It looks at the flag whenever the
//! waiting processes are woken, and every 20 ms, and gives up where the producer died or the array
//! was released.
//!
//! One of the modules with unsafe code: it keeps the promise that makes the view sound, that no
//! process writes a frozen array.

use crate::{
    array::{
        SharedArray,
        lock::{Access, Lock},
        open_array::OpenArray,
        view,
    },
    element::Element,
    error::{Error, Result},
    format::kind::ArrayKind,
    handle::Handle,
    layout::{Layout, span::Span},
    segment::Segment,
    sys::wait::Wait,
};
use ndarray::{ArrayRef, ArrayView, Dimension, IxDyn};
use std::{
    fmt,
    ops::Deref,
    sync::Arc,
    time::{Duration, Instant},
};

/// An array, or a view of one, that no process writes any more: dereferences to
/// [`ndarray::ArrayRef`] without a guard.
///
/// Made by [`SharedArray::freeze`] and [`Handle::open_frozen`]. From the moment of freezing,
/// writing is refused permanently and in every process. The pages are mapped without the right to
/// write them, so a bug that writes to them anyway faults in the writer.
///
/// # Deletion
///
/// As that of [`SharedArray`]: the [scope](crate::Scope) says which process deletes the memory.
///
/// # Examples
///
/// ```
/// use ndshm::Error;
///
/// let manager = ndshm::Manager::new()?;
/// let xs = manager.from_shape_fn::<f64, _>(4, |i| i as f64)?;
/// let frozen = xs.freeze()?;
/// assert_eq!((frozen.sum(), frozen[3]), (6.0, 3.0));
/// assert!(matches!(xs.write(), Err(Error::Frozen { .. })));
/// let received = xs.handle().open_frozen::<f64, ndarray::Ix1>()?;
/// assert_eq!(*received, *frozen);
/// # Ok::<(), Error>(())
/// ```
pub struct FrozenArray<T: Element, D: Dimension> {
    // Private, and its lifetime never leaves this struct: it ends with the array below.
    view: ArrayView<'static, T, D>,
    array: SharedArray<T, D>,
}

/// Freezes the whole array, if it is not frozen yet. `is_writable` says whether the caller's view
/// of it can be written.
pub(crate) fn freeze(array: &Arc<OpenArray>, is_writable: bool) -> Result<()> {
    if array.is_immutable() {
        return Ok(());
    }
    if !is_writable {
        return Err(Error::ReadOnly {
            path: array.path().into(),
            reason: "freezing is the last thing that a writer does",
        });
    }
    let spec = &array.header().spec;
    let itemsize = spec.dtype().itemsize();
    let whole = Layout::whole(IxDyn(spec.shape()), spec.order(), itemsize);
    match Lock::take(
        array,
        Span::of(&whole, 1, itemsize),
        Access::Write,
        Wait::Forever,
    ) {
        Ok(_lock) => {
            failpoint!(FreezeExclusive);
            // The step that can fail comes first: an array that could not be frozen is as it was.
            array.protect()?;
            array.freeze();
            Ok(())
        }
        // Another process or thread froze it first.
        Err(Error::Frozen { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Takes the right to write from this process's mapping of a frozen array.
pub(crate) fn protect(array: &Arc<OpenArray>) -> Result<()> {
    array.mark_used();
    failpoint!(FreezeProtecting);
    array.protect()?;
    failpoint!(FreezeProtected);
    Ok(())
}

impl<T: Element, D: Dimension> FrozenArray<T, D> {
    /// The frozen form of an array, if it was frozen, or shows committed rows.
    pub(super) fn new(array: SharedArray<T, D>) -> Result<Self> {
        if !array.is_frozen() {
            return Err(Error::NotFrozen {
                path: array.path().into(),
            });
        }
        protect(&array.core.opened)?;
        // SAFETY: either the array was frozen under an exclusive lock, so no guard to write existed
        // then, and none was given since (`Lock::take`), and the flag is never cleared; or it shows
        // committed rows of an array that grows, behind which every appender writes. `array` keeps
        // the segment mapped, and the view, whose lifetime never leaves this struct, is dropped
        // before it.
        let view = unsafe { view::elements(&array.core.opened, &array.core.layout) };
        Ok(Self { view, array })
    }

    /// The shared array behind it, with its name, views and scope. It has guards too, but
    /// refuses writing.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::s;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let frozen = manager.ones::<f64, _>((3, 4))?.freeze()?;
    /// let row = frozen.shared().slice(s![1, ..])?.freeze()?;
    /// assert_eq!(row.sum(), 4.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn shared(&self) -> &SharedArray<T, D> {
        &self.array
    }

    /// A value that names the array for another process; see [`Handle::open_frozen`].
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let frozen = manager.ones::<f64, _>(5)?.freeze()?;
    /// assert!(!frozen.handle().is_writable());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn handle(&self) -> Handle {
        self.array.handle()
    }
}

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// Ends all writing to the array, permanently and for all processes, and gives the elements of
    /// this view without a guard.
    ///
    /// Freezes the whole array, from any view of it. Waits until no other guard on it is held.
    ///
    /// # Errors
    ///
    /// `Poisoned` where a writer left some of it half-written: recover that first. `ReadOnly` for a
    /// read-only view of an array that is not frozen. `WouldDeadlock` where this thread holds a
    /// guard on it.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let frames = manager.zeros::<u8, _>((2, 480, 640))?;
    /// frames.write()?.fill(7);
    /// let frozen = frames.freeze()?;
    /// assert_eq!(frozen[[1, 0, 0]], 7);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn freeze(&self) -> Result<FrozenArray<T, D>> {
        self.core.freeze()?;
        FrozenArray::new(self.view()?)
    }
}

impl Handle {
    /// Opens the array or view that the handle names, if it was frozen.
    ///
    /// # Errors
    ///
    /// `NotFrozen`; those of [`open`](Self::open). An opening that fails claims nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix1;
    /// use ndshm::Error;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<f64, _>(5)?;
    /// assert!(matches!(xs.handle().open_frozen::<f64, Ix1>(), Err(Error::NotFrozen { .. })));
    /// xs.freeze()?;
    /// assert_eq!(xs.handle().open_frozen::<f64, Ix1>()?.sum(), 5.0);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn open_frozen<T: Element, D: Dimension>(&self) -> Result<FrozenArray<T, D>> {
        FrozenArray::new(self.open()?)
    }

    /// [`open_frozen`](Self::open_frozen), waiting until the array's producer has frozen it.
    ///
    /// # Errors
    ///
    /// `Abandoned` where the process that made the array ended before it was frozen, `Released`
    /// where the array was released; both are reported at once, without waiting for the timeout.
    /// `Timeout` where the array was not frozen in time. Those of `open`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix1;
    /// use std::time::Duration;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// let handle = xs.handle();
    /// let consumer = std::thread::spawn(move || {
    ///     handle
    ///         .open_frozen_timeout::<f64, Ix1>(Duration::from_secs(60))
    ///         .unwrap()
    ///         .sum()
    /// });
    /// xs.write()?.fill(1.0);
    /// xs.freeze()?;
    /// assert_eq!(consumer.join().unwrap(), 5.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open_frozen_timeout<T: Element, D: Dimension>(
        &self,
        timeout: Duration,
    ) -> Result<FrozenArray<T, D>> {
        self.wait_frozen(timeout)?;
        self.open_frozen()
    }

    /// Waits until the array's producer has frozen it, and opens nothing: for callers that open it
    /// afterwards with [`open_any`](Self::open_any).
    ///
    /// # Errors
    ///
    /// Those of [`open_frozen_timeout`](Self::open_frozen_timeout), without `Dtype` and `Rank`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert!(matches!(
    ///     xs.handle().wait_frozen(Duration::ZERO),
    ///     Err(ndshm::Error::Timeout { .. })
    /// ));
    /// xs.freeze()?;
    /// xs.handle().wait_frozen(Duration::from_secs(60))?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn wait_frozen(&self, timeout: Duration) -> Result<()> {
        let began = Instant::now();
        let segment = Segment::of_handle(self, Wait::AtMost(timeout))?;
        if segment.header().kind.public() == ArrayKind::Ring {
            segment.check_kind(ArrayKind::Array)?;
        }
        // Rows of an array that grows never change.
        if segment.is_growing() && self.view().is_some() {
            return Ok(());
        }
        segment.wait_until_frozen(timeout, began)
    }
}

impl<T: Element, D: Dimension> Deref for FrozenArray<T, D> {
    type Target = ArrayRef<T, D>;

    fn deref(&self) -> &ArrayRef<T, D> {
        &self.view
    }
}

impl<T: Element + fmt::Debug, D: Dimension> fmt::Debug for FrozenArray<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view.fmt(f)
    }
}

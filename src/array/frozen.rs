//! Frozen arrays: never written again, so that readers need no lock.
//!
//! One of the modules with unsafe code: what makes the view sound, that nobody writes a frozen
//! array, is promised here.

use crate::{
    array::{
        SharedArray,
        guard::{Access, Lock, Wait},
        open_array::OpenArray,
        view,
    },
    element::Element,
    error::{Error, Result},
    handle::Handle,
    layout::{Layout, span::Span},
    segment::Segment,
};
use ndarray::{ArrayRef, ArrayView, Dimension, IxDyn};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, ops::Deref, sync::Arc, time::Duration};

/// An array, or a view of one, that nobody writes any more: dereferences to [`ndarray::ArrayRef`]
/// without a guard.
///
/// Made by [`SharedArray::freeze`] and [`Handle::open_frozen`]. Writing is refused everywhere from
/// the moment of freezing, for ever, and the pages are mapped without the right to write them: a
/// bug that writes all the same faults in the writer.
///
/// # Deletion
///
/// As that of [`SharedArray`]: the [scope](crate::Scope) says who deletes the memory.
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
    // Private, and its lifetime never leaves: it ends with the array below.
    view: ArrayView<'static, T, D>,
    array: SharedArray<T, D>,
}

/// Freezes the whole array, if it is not yet; `is_writable` says whether the view from which that
/// is asked could be written.
pub(crate) fn freeze(open_array: &Arc<OpenArray>, is_writable: bool) -> Result<()> {
    if open_array.is_frozen() {
        return Ok(());
    }
    if !is_writable {
        return Err(Error::ReadOnly {
            path: open_array.path().into(),
            reason: "freezing is the last thing that a writer does",
        });
    }
    let header = open_array.header();
    let itemsize = header.dtype.itemsize();
    let whole = Layout::whole(IxDyn(&header.shape), header.order, itemsize);
    match Lock::take(
        open_array,
        Span::of(&whole, 1, itemsize),
        Access::Write,
        Wait::Forever,
    ) {
        Ok(_lock) => {
            failpoint!(FreezeExclusive);
            open_array.freeze();
            Ok(())
        }
        // Somebody was faster.
        Err(Error::Frozen { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Takes from this process's mapping of a frozen array the right to write.
pub(crate) fn protect(open_array: &Arc<OpenArray>) -> Result<()> {
    open_array.used();
    failpoint!(FreezeProtecting);
    open_array.protect()?;
    failpoint!(FreezeProtected);
    Ok(())
}

impl<T: Element, D: Dimension> FrozenArray<T, D> {
    /// The frozen form of an array, if it was frozen.
    fn new(array: SharedArray<T, D>) -> Result<Self> {
        let open_array = array.open_array();
        if !open_array.is_frozen() {
            return Err(Error::NotFrozen {
                path: array.path().into(),
            });
        }
        protect(open_array)?;
        // SAFETY: the array was frozen while it was held exclusively, so no guard that writes was
        // left, and none is given since (`Lock::take`); the flag is never cleared; `array` keeps
        // the segment mapped, and the view, whose lifetime never leaves this struct, goes before
        // it.
        let view = unsafe { view::elements(open_array, array.layout()) };
        Ok(Self { view, array })
    }

    /// The shared array behind it: for its name, its views, its scope. Its guards are there too,
    /// and writing is refused.
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
    /// Ends all writing to the array, for ever and for everybody, and gives the elements of this
    /// view without a guard.
    ///
    /// It is the whole array that is frozen, from any view of it. Waits until no other guard on it
    /// is held.
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
        freeze(self.open_array(), self.is_writable())?;
        FrozenArray::new(self.view()?)
    }

    /// Whether the array was frozen.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<f64, _>(5)?;
    /// assert!(!xs.is_frozen());
    /// xs.freeze()?;
    /// assert!(xs.is_frozen() && !xs.is_writable());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_frozen(&self) -> bool {
        self.open_array().is_frozen()
    }
}

impl Handle {
    /// Opens what the handle names, if it was frozen.
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
    /// where the array was released; both are told at once, not after the time. `Timeout` where it
    /// was not frozen in time. Those of `open`.
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
    /// let consumer = std::thread::spawn(move || handle.open_frozen_timeout::<f64, Ix1>(Duration::from_secs(60)).unwrap().sum());
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

    /// Waits until the array's producer has frozen it, and opens nothing: for who then opens it
    /// with [`open_any`](Self::open_any).
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
    /// assert!(matches!(xs.handle().wait_frozen(Duration::ZERO), Err(ndshm::Error::Timeout { .. })));
    /// xs.freeze()?;
    /// xs.handle().wait_frozen(Duration::from_secs(60))?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn wait_frozen(&self, timeout: Duration) -> Result<()> {
        Segment::of_handle(self)?.wait_until_frozen(timeout)
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

impl<T: Element, D: Dimension> Serialize for FrozenArray<T, D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.handle().serialize(serializer)
    }
}

impl<'de, T: Element, D: Dimension> Deserialize<'de> for FrozenArray<T, D> {
    fn deserialize<De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        Handle::deserialize(deserializer)?
            .open_frozen()
            .map_err(de::Error::custom)
    }
}

//! Access to the elements of an `AnyArray`: guards over their bytes, copies, poison, freezing.

use super::AnyArray;
use crate::{
    array::{
        frozen,
        guard::{ReadGuard, WriteGuard},
        together::{Reading, Writing},
    },
    error::{Error, Result},
    sys::wait::Wait,
};
use ndarray::{Array, ArrayView, IxDyn};
use std::{ops::Range, time::Duration};

impl AnyArray {
    /// Shared access to the bytes of the elements: their shape is that of the array, with one more
    /// axis for the bytes of an element.
    ///
    /// The lock is that of [`SharedArray::read`](crate::SharedArray::read), on the same bytes.
    /// Addresses and strides of the guard are those of the elements: code that passes them to
    /// another language keeps the guard for as long as that language uses them.
    ///
    /// # Errors
    ///
    /// Those of [`SharedArray::read`](crate::SharedArray::read).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.ones::<u16, _>(3)?.into_any()?;
    /// let guard = any.read()?;
    /// assert_eq!((guard.shape(), guard[[2, 0]]), (&[3, 2][..], 1));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn read(&self) -> Result<ReadGuard<u8, IxDyn>> {
        self.core.read(Wait::Forever)
    }

    /// [`read`](Self::read) without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where it would have to wait; those of `read`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros_any(&"<f4".parse()?, &[5])?.try_read()?.len(), 20);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn try_read(&self) -> Result<ReadGuard<u8, IxDyn>> {
        self.core.read(Wait::Never)
    }

    /// [`read`](Self::read) that waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `Timeout` where the guard was not free by then; those of `read`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.zeros_any(&"<f4".parse()?, &[5])?;
    /// assert_eq!(any.read_timeout(std::time::Duration::from_secs(1))?.shape(), [5, 4]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn read_timeout(&self, timeout: Duration) -> Result<ReadGuard<u8, IxDyn>> {
        self.core.read(Wait::AtMost(timeout))
    }

    /// A [`read`](Self::read) guard to be taken together with others, by [`lock`](crate::lock()).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<f64, _>(5)?.into_any()?;
    /// let ys = manager.zeros::<f64, _>(5)?.into_any()?;
    /// let (read, mut written) = ndshm::lock((xs.reading(), ys.writing()))?;
    /// written.assign(&read);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn reading(&self) -> Reading<u8, IxDyn> {
        self.core.reading()
    }

    /// A [`write`](Self::write) guard to be taken together with others, by [`lock`](crate::lock()).
    /// Where the view cannot be written, `lock` says so.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?.into_any()?;
    /// let [mut guard] = ndshm::lock([xs.writing()])?;
    /// guard.fill(1);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn writing(&self) -> Writing<u8, IxDyn> {
        self.core.writing()
    }

    /// A [`recover`](Self::recover) guard to be taken together with others, by
    /// [`lock`](crate::lock()). The poison is cleared when all guards of the call are taken; a call
    /// that is refused leaves it as it was. Where the view cannot be written, `lock` says so.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?.into_any()?;
    /// xs.write()?.poison();
    /// let [mut guard] = ndshm::lock([xs.recovering()])?;
    /// guard.fill(1);
    /// drop(guard);
    /// assert!(xs.poisoned()?.is_empty());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn recovering(&self) -> Writing<u8, IxDyn> {
        self.core.recovering()
    }

    /// Exclusive access to the bytes of the elements; their shape as with [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// Those of [`SharedArray::write`](crate::SharedArray::write).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<u16, _>(3)?;
    /// xs.into_any()?.write()?.fill(1);
    /// assert_eq!(xs.read()?[2], 257);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn write(&self) -> Result<WriteGuard<u8, IxDyn>> {
        self.core.write(Wait::Forever)
    }

    /// [`write`](Self::write) without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where it would have to wait; those of `write`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager.zeros_any(&"<f4".parse()?, &[5])?.try_write()?.fill(0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn try_write(&self) -> Result<WriteGuard<u8, IxDyn>> {
        self.core.write(Wait::Never)
    }

    /// [`write`](Self::write) that waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `Timeout` where the guard was not free by then; those of `write`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager
    ///     .zeros_any(&"<f4".parse()?, &[5])?
    ///     .write_timeout(std::time::Duration::from_secs(1))?
    ///     .fill(0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn write_timeout(&self, timeout: Duration) -> Result<WriteGuard<u8, IxDyn>> {
        self.core.write(Wait::AtMost(timeout))
    }

    /// Exclusive access to bytes that may be poisoned; see
    /// [`SharedArray::recover`](crate::SharedArray::recover).
    ///
    /// # Errors
    ///
    /// Those of [`SharedArray::recover`](crate::SharedArray::recover).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.ones::<f64, _>(5)?.into_any()?;
    /// any.write()?.poison();
    /// assert!(any.is_poisoned()?);
    /// any.recover()?.fill(0);
    /// assert!(!any.is_poisoned()?);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn recover(&self) -> Result<WriteGuard<u8, IxDyn>> {
        self.core.recover()
    }

    /// A copy of the elements' bytes, in C order, native-endian.
    ///
    /// # Errors
    ///
    /// Those of [`SharedArray::read`](crate::SharedArray::read).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.ones::<u16, _>(2)?.into_any()?.read_bytes()?, [1, 0, 1, 0]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn read_bytes(&self) -> Result<Vec<u8>> {
        let guard = self.read()?;
        let mut copy = Array::zeros(guard.raw_dim());
        copy.assign(&guard);
        Ok(copy.into_raw_vec_and_offset().0)
    }

    /// Sets all elements from their bytes, in C order, native-endian.
    ///
    /// # Errors
    ///
    /// `Layout` where the number of bytes differs; those of
    /// [`SharedArray::write`](crate::SharedArray::write).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<u16, _>(2)?;
    /// xs.into_any()?.write_bytes(&[7, 0, 0, 1])?;
    /// assert_eq!(xs.to_ndarray()?, ndarray::array![7, 256]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn write_bytes(&self, bytes: &[u8]) -> Result<()> {
        let mut guard = self.write()?;
        let expected = self.len() * self.dtype().itemsize();
        if bytes.len() != expected {
            return Err(Error::layout(
                "write bytes",
                format!("{} bytes for {expected}", bytes.len()),
            ));
        }
        let source = ArrayView::from_shape(guard.raw_dim(), bytes)
            .map_err(|error| Error::layout("write bytes", error.to_string()))?;
        guard.assign(&source);
        Ok(())
    }

    /// The poisoned ranges that touch this view; see
    /// [`SharedArray::poisoned`](crate::SharedArray::poisoned).
    ///
    /// # Errors
    ///
    /// Those of [`SharedArray::poisoned`](crate::SharedArray::poisoned).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.ones::<f64, _>(5)?.into_any()?;
    /// any.slice(ndarray::s![1..3].as_ref())?.write()?.poison();
    /// assert_eq!(any.poisoned()?, [8..24]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn poisoned(&self) -> Result<Vec<Range<usize>>> {
        self.core.poisoned()
    }

    /// Whether any element of this view is poisoned.
    ///
    /// # Errors
    ///
    /// As [`poisoned`](Self::poisoned).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(!manager.ones::<f64, _>(5)?.into_any()?.is_poisoned()?);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_poisoned(&self) -> Result<bool> {
        self.core.is_poisoned()
    }

    /// How often write guards on elements of this view were given back; see
    /// [`SharedArray::changed`](crate::SharedArray::changed).
    ///
    /// # Errors
    ///
    /// Those of [`SharedArray::changed`](crate::SharedArray::changed).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.ones::<f64, _>(5)?.into_any()?;
    /// let before = any.changed()?;
    /// any.write()?.fill(0);
    /// assert!(any.changed()? > before);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn changed(&self) -> Result<u64> {
        self.core.changed()
    }

    /// Waits while [`changed`](Self::changed) is `seen`, and returns the new number; see
    /// [`SharedArray::wait_changed`](crate::SharedArray::wait_changed).
    ///
    /// # Errors
    ///
    /// Those of [`SharedArray::wait_changed`](crate::SharedArray::wait_changed).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.ones::<f64, _>(5)?.into_any()?;
    /// let seen = any.changed()?;
    /// any.write()?.fill(0);
    /// assert_ne!(any.wait_changed(seen, Duration::from_secs(1))?, seen);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn wait_changed(&self, seen: u64, timeout: Duration) -> Result<u64> {
        self.core.wait_changed(seen, timeout)
    }

    /// Ends all writing to the array, permanently and for all processes; see
    /// [`SharedArray::freeze`](crate::SharedArray::freeze).
    ///
    /// From then on [`read`](Self::read) takes no lock, and its guard may be kept for any time.
    /// Freezing a frozen array maps it in this process without the right to write.
    ///
    /// # Errors
    ///
    /// Those of [`SharedArray::freeze`](crate::SharedArray::freeze).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.ones::<f64, _>(5)?.into_any()?;
    /// any.freeze()?;
    /// assert!(any.is_frozen() && matches!(any.write(), Err(ndshm::Error::Frozen { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn freeze(&self) -> Result<()> {
        self.core.freeze()?;
        frozen::protect(&self.core.opened)
    }

    /// Writes changed pages of the array's file to its disk; see
    /// [`SharedArray::flush`](crate::SharedArray::flush).
    ///
    /// # Errors
    ///
    /// `Io` where the kernel reports one.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager.ones::<f64, _>(5)?.into_any()?.flush()?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn flush(&self) -> Result<()> {
        self.core.flush()
    }
}

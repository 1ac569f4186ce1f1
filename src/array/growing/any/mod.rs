//! `AnyGrowing`: an array that grows, whose element type is known at run time only. The typed form
//! is a layer over it.

mod properties;

use super::{AnyReserved, GrowingArray, turn::Turn};
use crate::{
    array::{any::AnyArray, core::Core, open_array::OpenArray},
    element::Element,
    error::{Error, Result},
    layout::{Layout, Order},
    sys::wait::{Wait, is_interrupted},
};
use ndarray::{Dimension, IxDyn};
use std::{
    fmt,
    ops::{Bound, RangeBounds},
    sync::Arc,
    time::{Duration, Instant},
};

/// An array whose rows are appended and whose element type is known at run time: a
/// [`GrowingArray`] with bytes instead of elements.
///
/// [`downcast`](Self::downcast) makes it a typed array. [`Clone`] makes another handle of the same
/// array, not a copy.
///
/// # Deletion
///
/// As that of [`SharedArray`](crate::SharedArray).
///
/// # Examples
///
/// ```
/// use ndarray::Ix2;
///
/// let manager = ndshm::Manager::new()?;
/// let log = manager.options().growing_any(&"<u2".parse()?, &[2], 1000)?;
/// assert_eq!(log.append_bytes(&[1, 0, 2, 0, 3, 0, 4, 0])?, 0);
/// assert_eq!(log.rows(1..)?.read_bytes()?, [3, 0, 4, 0]);
/// assert_eq!(log.downcast::<u16, Ix2>()?.all()?[[0, 1]], 2);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone)]
pub struct AnyGrowing {
    pub(super) opened: Arc<OpenArray>,
    is_writable: bool,
}

impl AnyGrowing {
    /// The array of an opening whose kind was checked.
    pub(super) fn new(opened: Arc<OpenArray>, is_writable: bool) -> Self {
        Self {
            opened,
            is_writable,
        }
    }

    /// The typed array. Takes `&self`: a wrong type cannot lose the array.
    ///
    /// # Errors
    ///
    /// `Dtype` if the elements have another type; `Rank` if the whole has another number of axes.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::{Ix1, Ix2};
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[], 1000)?;
    /// assert_eq!(log.downcast::<f64, Ix1>()?.push(0.5)?, 0);
    /// assert!(matches!(log.downcast::<f32, Ix1>(), Err(ndshm::Error::Dtype { .. })));
    /// assert!(matches!(log.downcast::<f64, Ix2>(), Err(ndshm::Error::Rank { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn downcast<T: Element, D: Dimension>(&self) -> Result<GrowingArray<T, D>> {
        super::open::check_type::<T, D>(&self.opened)?;
        Ok(GrowingArray::new(self.clone()))
    }

    /// The number of rows that are there; see [`GrowingArray::len`].
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"|u1".parse()?, &[], 1000)?;
    /// log.append_bytes(b"ab")?;
    /// assert_eq!((log.len(), log.max_len()), (2, 1000));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.opened
            .rows()
            .unwrap_or_else(|_| self.opened.rows_seen())
    }

    /// Whether no row is there.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(manager.options().growing_any(&"|u1".parse()?, &[], 1000)?.is_empty());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows of a range, as an array that was frozen: it is read without waiting, and it keeps
    /// the array as every view does.
    ///
    /// # Errors
    ///
    /// Those of [`GrowingArray::rows`].
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"|u1".parse()?, &[2], 1000)?;
    /// log.append_bytes(b"abcdef")?;
    /// let last = log.rows(2..)?;
    /// assert_eq!((last.shape(), last.is_frozen()), (&[1, 2][..], true));
    /// assert_eq!(last.handle().open_any()?.read_bytes()?, b"ef");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn rows(&self, range: impl RangeBounds<usize>) -> Result<AnyArray> {
        let (start, count) = self.select(range)?;
        let dtype = self.dtype().clone();
        let mut layout = Layout::whole(IxDyn(&self.shape_of(count)), Order::C, dtype.itemsize());
        layout.offset = start * self.opened.row_len();
        Ok(AnyArray::new(Core::of_rows(
            dtype,
            self.opened.clone(),
            layout,
        )))
    }

    /// The shape of so many rows.
    fn shape_of(&self, rows: usize) -> Vec<usize> {
        [&[rows], self.row_shape()].concat()
    }

    /// The first of the rows of a range, and their number. They are there.
    pub(super) fn select(&self, range: impl RangeBounds<usize>) -> Result<(usize, usize)> {
        let len = self.opened.rows()?;
        let start = match range.start_bound() {
            Bound::Included(&start) => Some(start),
            Bound::Excluded(&before) => before.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.checked_add(1),
            Bound::Excluded(&end) => Some(end),
            Bound::Unbounded => Some(len),
        };
        let rows = start
            .zip(end)
            .filter(|&(start, end)| start <= end && end <= len);
        let Some((start, end)) = rows else {
            let asked = (range.start_bound(), range.end_bound());
            let reason = format!("there are {len} rows, so none from {asked:?}");
            return Err(Error::layout("take rows", reason));
        };
        self.opened.mark_used();
        Ok((start, end - start))
    }

    /// The turn to append, with room for so many rows.
    #[inline]
    pub(super) fn turn(&self, rows: usize, wait: Wait) -> Result<Turn<'_>> {
        Turn::take(&self.opened, self.is_writable, rows, wait)
    }

    /// Appends rows, as their bytes in the order C. Returns the index of the first of them.
    ///
    /// # Errors
    ///
    /// `Layout` if the bytes are no whole rows; those of [`GrowingArray::append`].
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<u2".parse()?, &[], 1000)?;
    /// assert_eq!(log.append_bytes(&[1, 0, 2, 0])?, 0);
    /// assert_eq!(log.append_bytes(&[3, 0])?, 2);
    /// assert!(matches!(log.append_bytes(&[4]), Err(ndshm::Error::Layout { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn append_bytes(&self, rows: &[u8]) -> Result<usize> {
        self.append_within(rows, Wait::Forever)
    }

    /// [`append_bytes`](Self::append_bytes), if no other process or thread appends now.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, with the appender's process; those of `append_bytes`, without `Timeout`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"|u1".parse()?, &[], 1000)?;
    /// log.try_append_bytes(b"ab")?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn try_append_bytes(&self, rows: &[u8]) -> Result<usize> {
        self.append_within(rows, Wait::Never)
    }

    /// [`append_bytes`](Self::append_bytes), with a limit of its own on the wait.
    ///
    /// # Errors
    ///
    /// Those of `append_bytes`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"|u1".parse()?, &[], 1000)?;
    /// log.append_bytes_timeout(b"ab", Duration::from_secs(1))?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn append_bytes_timeout(&self, rows: &[u8], timeout: Duration) -> Result<usize> {
        self.append_within(rows, Wait::AtMost(timeout))
    }

    fn append_within(&self, rows: &[u8], wait: Wait) -> Result<usize> {
        let row_len = self.opened.row_len();
        if !rows.len().is_multiple_of(row_len) {
            let reason = format!("a row has {row_len} bytes, and {} were given", rows.len());
            return Err(Error::layout("append rows", reason));
        }
        let count = rows.len() / row_len;
        let mut turn = self.turn(count, wait)?;
        turn.copy(rows);
        turn.commit(count)
    }

    /// Reserves room for rows, to be written in place; see [`GrowingArray::reserve`].
    ///
    /// # Errors
    ///
    /// Those of [`GrowingArray::append`].
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"|u1".parse()?, &[2], 1000)?;
    /// let mut rows = log.reserve(3)?;
    /// rows.bytes_mut()[..2].copy_from_slice(b"ab");
    /// assert_eq!(rows.commit_rows(1)?, 0);
    /// assert_eq!(log.rows(..)?.read_bytes()?, b"ab");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn reserve(&self, rows: usize) -> Result<AnyReserved<'_>> {
        Ok(AnyReserved::new(self.turn(rows, Wait::Forever)?))
    }

    /// [`reserve`](Self::reserve), if no other process or thread appends now.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, with the appender's process; those of `reserve`, without `Timeout`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"|u1".parse()?, &[], 1000)?;
    /// log.try_reserve(1)?.commit()?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn try_reserve(&self, rows: usize) -> Result<AnyReserved<'_>> {
        Ok(AnyReserved::new(self.turn(rows, Wait::Never)?))
    }

    /// [`reserve`](Self::reserve), with a limit of its own on the wait.
    ///
    /// # Errors
    ///
    /// Those of `reserve`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"|u1".parse()?, &[], 1000)?;
    /// log.reserve_timeout(1, Duration::from_secs(1))?.commit()?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn reserve_timeout(&self, rows: usize, timeout: Duration) -> Result<AnyReserved<'_>> {
        Ok(AnyReserved::new(self.turn(rows, Wait::AtMost(timeout))?))
    }

    /// Waits until there are more than `seen` rows, and returns how many there are; see
    /// [`GrowingArray::wait_grown`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"|u1".parse()?, &[], 1000)?;
    /// log.append_bytes(b"abc")?;
    /// assert_eq!(log.wait_grown(2, Duration::from_secs(60))?, 3);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn wait_grown(&self, seen: usize, timeout: Duration) -> Result<usize> {
        self.opened.mark_used();
        let deadline = Instant::now().checked_add(timeout);
        let array = &self.opened;
        // In this order: the last rows come before the end.
        let look = || {
            let is_frozen = array.is_frozen();
            let rows = array.rows();
            let is_over = is_frozen || !matches!(rows, Ok(rows) if rows <= seen);
            is_over.then_some(rows)
        };
        // On a read-only mount the array is frozen, and its words cannot be written.
        if let Some(rows) = look() {
            return rows;
        }
        let outcome = array.growth().wait_for(deadline, |is_due| {
            let found = look();
            if found.is_some() {
                return found;
            }
            if is_interrupted() {
                let path = array.path().into();
                return Some(Err(Error::Interrupted { path }));
            }
            let in_vain = || {
                array
                    .check_ready()
                    .and_then(|()| array.member().check_open())
            };
            is_due.then(in_vain).and_then(Result::err).map(Err)
        });
        outcome.unwrap_or_else(|| {
            Err(Error::Timeout {
                path: array.path().into(),
                obstacle: "no rows were appended",
                waited: timeout,
                holders: Default::default(),
            })
        })
    }

    /// Ends the growth for good, in every process; see [`GrowingArray::freeze`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"|u1".parse()?, &[], 1000)?;
    /// log.freeze()?;
    /// assert!(matches!(log.append_bytes(b"a"), Err(ndshm::Error::Frozen { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn freeze(&self) -> Result<()> {
        if self.opened.is_frozen() {
            return Ok(());
        }
        match self.turn(0, Wait::Forever) {
            Ok(turn) => turn.freeze(),
            // Another process or thread did so first.
            Err(Error::Frozen { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes the rows to the disk; see [`GrowingArray::flush`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"|u1".parse()?, &[], 1000)?;
    /// log.append_bytes(b"a")?;
    /// log.flush()?; // on tmpfs in vain
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn flush(&self) -> Result<()> {
        self.opened.mark_used();
        self.opened.flush_rows()
    }
}

impl fmt::Debug for AnyGrowing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrowingArray")
            .field("dtype", self.dtype())
            .field("row_shape", &self.row_shape())
            .field("len", &self.len())
            .field("max_len", &self.max_len())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

//! `GrowingArray`: an array whose rows are appended, by any number of processes.
//!
//! `state::growth` has the words and their protocol, `segment::growth` the space of the file and
//! the length that a process believes. `any` has what does not depend on the type of the elements,
//! as `AnyGrowing`. Around it are the typed form (`mod`, `properties`), the making and opening
//! (`open`), the turn of an appender (`turn`), and the rows that it writes (`reserved`).
//!
//! # Why rows need no guards
//!
//! Committed rows never change, and nothing is poisoned: an appender writes only behind them, and a
//! killed one leaves nothing. So the rows are [`FrozenArray`]s. Their soundness rests on three
//! facts: a length is believed only if the file has its rows, it never goes down, and while a
//! thread of this process has the turn it does not go up.

mod any;
mod open;
mod properties;
#[allow(unsafe_code)]
mod reserved;
#[allow(unsafe_code)]
mod turn;

pub use any::AnyGrowing;
pub use reserved::{AnyReserved, Reserved};

use crate::{
    array::{
        SharedArray,
        core::{Core, Typed},
        frozen::FrozenArray,
    },
    element::Element,
    error::{Error, Result},
    layout::{Layout, Order},
    sys::wait::Wait,
};
use ndarray::{ArrayRef, Dimension, Ix1};
use std::{fmt, marker::PhantomData, ops::RangeBounds, time::Duration};

/// An array whose first axis grows: rows are appended behind the others, by any number of
/// processes, one after the other.
///
/// `T` is the type of the elements, `D` the dimension of the whole: of a log of images, whose rows
/// have two axes, `Ix3`.
///
/// - **The maximum is address space, not memory.** [`ArrayOptions::growing`] takes the most rows
///   that the array can ever have. All of that is mapped at once, and memory is reserved in steps
///   of 2 MiB as rows come. So choose it large: a TiB costs nothing but address space, of
///   which a process has 128 TiB.
/// - **Appended rows never change.** [`rows`](Self::rows) and [`all`](Self::all) give
///   [`FrozenArray`]s: ndarray arrays without a guard, whose handles other processes open by
///   [`Handle::open_frozen`](crate::Handle::open_frozen). They show the rows that were there when
///   they were made.
/// - **A row is there as a whole, or not at all.** The length goes up after the rows were written.
///   A process that is killed while it appends leaves no gap, no half of a row and nothing to
///   recover: the next appender writes over what it left.
/// - **One appends at a time.** The others wait, for as long as the store's
///   [`lock_timeout`](crate::Builder::lock_timeout) allows; the forms with `try_` and `_timeout`
///   wait otherwise. Readers never wait.
///
/// [`Clone`] makes another handle of the same array, not a copy.
///
/// # Deletion
///
/// As that of [`SharedArray`]: the [scope](crate::Scope) says which process deletes the memory. The
/// rows that were taken from it keep it like other views.
///
/// # Power loss
///
/// After a loss of power the array has the rows of its last [`flush`](Self::flush). A death of
/// processes loses nothing.
///
/// # Examples
///
/// ```
/// use ndarray::{array, s};
///
/// let manager = ndshm::Manager::new()?;
/// let log = manager.options().name("log").growing::<f64, _>(1 << 40, 3)?;
/// log.append_row(&array![1.0, 2.0, 3.0])?;
/// log.append(&array![[4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])?;
/// assert_eq!(log.len(), 3);
/// assert_eq!(log.rows(1..)?.column(0), array![4.0, 7.0]);
///
/// // Written in place: a camera, a network card, NumPy.
/// let mut rows = log.reserve(10)?;
/// rows.slice_mut(s![..2, ..]).fill(0.5);
/// rows.commit_rows(2)?; // the other eight never were
/// assert_eq!(log.all()?.sum(), 48.0);
/// # Ok::<(), ndshm::Error>(())
/// ```
///
/// [`ArrayOptions::growing`]: crate::ArrayOptions::growing
pub struct GrowingArray<T, D> {
    any: AnyGrowing,
    element: PhantomData<(T, D)>,
}

impl<T, D> Clone for GrowingArray<T, D> {
    fn clone(&self) -> Self {
        Self {
            any: self.any.clone(),
            element: PhantomData,
        }
    }
}

impl<T: Element, D: Dimension> GrowingArray<T, D> {
    /// The typed form of an array whose element type and rank were checked.
    fn new(any: AnyGrowing) -> Self {
        Self {
            any,
            element: PhantomData,
        }
    }

    /// The same array with elements of any type.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<u8, _>(1000, 2)?;
    /// log.as_any().append_bytes(&[1, 2, 3, 4])?;
    /// assert_eq!(*log.all()?, ndarray::array![[1, 2], [3, 4]]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn as_any(&self) -> &AnyGrowing {
        &self.any
    }

    /// The number of rows that are there: at least as many as at the last question. A length that
    /// is damaged counts for nothing; [`rows`](Self::rows) has the error.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<u8, _>(1000, ())?;
    /// log.append(&ndarray::array![1, 2])?;
    /// assert_eq!((log.len(), log.max_len()), (2, 1000));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.any.len()
    }

    /// Whether no row is there.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(manager.options().growing::<u8, _>(1000, ())?.is_empty());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows of a range, without a guard: an ndarray array that never changes.
    ///
    /// # Errors
    ///
    /// `Layout` if there are no such rows (yet: see [`wait_grown`](Self::wait_grown)); `Header` if
    /// the length in the file is damaged.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<u32, _>(1000, 2)?;
    /// log.append(&ndarray::array![[1, 2], [3, 4], [5, 6]])?;
    /// let last = log.rows(1..)?;
    /// // In any other process:
    /// let same = last.handle().open_frozen::<u32, ndarray::Ix2>()?;
    /// assert_eq!(*same, ndarray::array![[3, 4], [5, 6]]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn rows(&self, range: impl RangeBounds<usize>) -> Result<FrozenArray<T, D>> {
        let (start, count) = self.any.select(range)?;
        let layout = self.layout(start, count);
        let core = Core::of_rows(Typed::new(), self.any.opened.clone(), layout);
        FrozenArray::new(SharedArray::new(core))
    }

    /// All rows that are there now.
    ///
    /// # Errors
    ///
    /// `Header` if the length in the file is damaged.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Export;
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("log.npy");
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<u32, _>(1000, 2)?;
    /// log.append(&ndarray::array![[1, 2], [3, 4]])?;
    /// assert_eq!(log.all()?.sum(), 10);
    /// Export::new().npy(&log.all()?, &path)?; // an ordinary file
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn all(&self) -> Result<FrozenArray<T, D>> {
        self.rows(..)
    }

    /// Where so many rows lie.
    fn layout(&self, first: usize, rows: usize) -> Layout<D> {
        let shape = self.any.opened.header().spec.shape();
        let mut dim = D::zeros(shape.len());
        dim.slice_mut().copy_from_slice(shape);
        dim[0] = rows;
        let mut layout = Layout::whole(dim, Order::C, 1);
        layout.offset = first * self.any.opened.row_len();
        layout
    }

    /// Appends rows: an array of `k` rows, `k` along its first axis. Returns the index of the first
    /// of them.
    ///
    /// All of them become visible at once. Waits while another process or thread appends.
    ///
    /// # Errors
    ///
    /// `Full` if they do not fit; `NoSpace`; `Layout` if rows have another shape; `Frozen`;
    /// `Released`; `ReadOnly` if the array was opened for reading only; `Timeout` after the store's
    /// [`lock_timeout`](crate::Builder::lock_timeout), with the appender's process; `WouldDeadlock`
    /// if this thread has [`Reserved`] rows of the array. Then nothing was appended.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f32, _>(1000, (2, 2))?;
    /// assert_eq!(log.append(&ndarray::Array3::ones((5, 2, 2)))?, 0);
    /// assert_eq!(log.append(&ndarray::Array3::zeros((1, 2, 2)))?, 5);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn append(&self, rows: &ArrayRef<T, D>) -> Result<usize> {
        self.append_within(rows, Wait::Forever)
    }

    /// [`append`](Self::append), if no other process or thread appends now.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, with the appender's process; those of `append`, without `Timeout`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f32, _>(1000, 2)?;
    /// log.try_append(&ndarray::array![[1.0, 2.0]])?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn try_append(&self, rows: &ArrayRef<T, D>) -> Result<usize> {
        self.append_within(rows, Wait::Never)
    }

    /// [`append`](Self::append), with a limit of its own on the wait.
    ///
    /// # Errors
    ///
    /// Those of `append`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f32, _>(1000, 2)?;
    /// log.append_timeout(&ndarray::array![[1.0, 2.0]], Duration::from_secs(1))?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn append_timeout(&self, rows: &ArrayRef<T, D>, timeout: Duration) -> Result<usize> {
        self.append_within(rows, Wait::AtMost(timeout))
    }

    fn append_within(&self, rows: &ArrayRef<T, D>, wait: Wait) -> Result<usize> {
        if rows.ndim() == 0 || rows.shape()[1..] != *self.row_shape() {
            return Err(self.wrong_shape("of whole rows", rows.shape()));
        }
        let count = rows.shape()[0];
        let mut turn = self.any.turn(count, wait)?;
        match rows.as_slice() {
            Some(elements) => turn.copy(elements),
            None => turn.elements(self.layout(turn.first(), count)).assign(rows),
        }
        turn.commit(count)
    }

    /// Appends one row. Returns its index.
    ///
    /// # Errors
    ///
    /// Those of [`append`](Self::append).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f32, _>(1000, 2)?;
    /// assert_eq!(log.append_row(&ndarray::array![1.0, 2.0])?, 0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn append_row(&self, row: &ArrayRef<T, D::Smaller>) -> Result<usize> {
        if row.shape() != self.row_shape() {
            return Err(self.wrong_shape("of one row", row.shape()));
        }
        let mut turn = self.any.turn(1, Wait::Forever)?;
        match row.as_slice() {
            Some(elements) => turn.copy(elements),
            None => turn.copy(&row.iter().copied().collect::<Vec<T>>()),
        }
        turn.commit(1)
    }

    /// Reserves room for rows, to be written in place: by ndarray, a camera, a network card. Other
    /// processes see them from [`Reserved::commit`] on, and never if the guard is dropped. Their
    /// elements are unspecified before.
    ///
    /// Until then no other process or thread appends.
    ///
    /// # Errors
    ///
    /// Those of [`append`](Self::append).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let frames = manager.options().growing::<u8, _>(1_000_000, (480, 640))?;
    /// let mut frame = frames.reserve(1)?;
    /// frame.fill(7);
    /// assert_eq!(frames.len(), 0);
    /// assert_eq!(frame.commit()?, 0);
    /// assert_eq!(frames.len(), 1);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn reserve(&self, rows: usize) -> Result<Reserved<'_, T, D>> {
        self.reserve_within(rows, Wait::Forever)
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
    /// let log = manager.options().growing::<u64, _>(1000, ())?;
    /// let mine = log.reserve(1)?;
    /// let refused = std::thread::scope(|scope| {
    ///     let other = scope.spawn(|| log.try_reserve(1).map(drop));
    ///     other.join().unwrap().unwrap_err()
    /// });
    /// assert!(matches!(refused, ndshm::Error::WouldBlock { .. }));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn try_reserve(&self, rows: usize) -> Result<Reserved<'_, T, D>> {
        self.reserve_within(rows, Wait::Never)
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
    /// let log = manager.options().growing::<u64, _>(1000, ())?;
    /// log.reserve_timeout(1, Duration::from_secs(1))?.commit()?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn reserve_timeout(&self, rows: usize, timeout: Duration) -> Result<Reserved<'_, T, D>> {
        self.reserve_within(rows, Wait::AtMost(timeout))
    }

    fn reserve_within(&self, rows: usize, wait: Wait) -> Result<Reserved<'_, T, D>> {
        let turn = self.any.turn(rows, wait)?;
        let layout = self.layout(turn.first(), rows);
        Ok(Reserved::new(turn, layout))
    }

    /// Waits until there are more than `seen` rows, and returns how many there are.
    ///
    /// Returns at once if the growth has [ended](Self::freeze), also without more rows: then
    /// [`is_frozen`](Self::is_frozen) says so, and no more will come. The thread sleeps in the
    /// kernel until an appender wakes it.
    ///
    /// # Errors
    ///
    /// `Timeout`; `Released` and `Closed`, within 25 ms; `Header` if the length in the file is
    /// damaged.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<u64, _>(1000, ())?;
    /// std::thread::scope(|scope| -> ndshm::Result<()> {
    ///     scope.spawn(|| {
    ///         for number in 0..100 {
    ///             log.push(number).unwrap();
    ///         }
    ///         log.freeze().unwrap();
    ///     });
    ///     let mut seen = 0;
    ///     loop {
    ///         let len = log.wait_grown(seen, Duration::from_secs(60))?;
    ///         for &number in log.rows(seen..len)?.iter() {
    ///             assert_eq!(number as usize, seen);
    ///             seen += 1;
    ///         }
    ///         if log.is_frozen() && seen == log.len() {
    ///             return Ok(());
    ///         }
    ///     }
    /// })?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn wait_grown(&self, seen: usize, timeout: Duration) -> Result<usize> {
        self.any.wait_grown(seen, timeout)
    }

    /// Ends the growth for good, in every process. Waits while another process or thread appends.
    ///
    /// From then on to append is an error, and the pages are mapped without the right to write
    /// them.
    ///
    /// # Errors
    ///
    /// `ReadOnly` if the array was opened for reading only; those of the wait of
    /// [`append`](Self::append). No error if the growth has ended before.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<u64, _>(1000, ())?;
    /// log.push(1)?;
    /// log.freeze()?;
    /// assert!(matches!(log.push(2), Err(ndshm::Error::Frozen { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn freeze(&self) -> Result<()> {
        self.any.freeze()
    }

    /// Writes the rows to the disk, waits for the end of the write, and notes how many there are.
    /// After a loss of power or another start of the machine exactly these are there.
    ///
    /// # Errors
    ///
    /// `Io`; `Header` if the length in the file is damaged.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<u64, _>(1000, ())?;
    /// log.push(1)?;
    /// log.flush()?; // on tmpfs in vain
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn flush(&self) -> Result<()> {
        self.any.flush()
    }

    #[cold]
    fn wrong_shape(&self, what: &str, found: &[usize]) -> Error {
        let row = self.row_shape();
        let reason = format!("a row has shape {row:?}, and the array {what} has {found:?}");
        Error::layout("append rows", reason)
    }
}

impl<T: Element> GrowingArray<T, Ix1> {
    /// Appends one element, to an array of numbers. Returns its index.
    ///
    /// # Errors
    ///
    /// Those of [`append`](Self::append).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let losses = manager.options().growing::<f32, _>(1 << 30, ())?;
    /// assert_eq!((losses.push(0.7)?, losses.push(0.4)?), (0, 1));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn push(&self, element: T) -> Result<usize> {
        let mut turn = self.any.turn(1, Wait::Forever)?;
        turn.copy(&[element]);
        turn.commit(1)
    }
}

impl<T: Element, D: Dimension> fmt::Debug for GrowingArray<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrowingArray")
            .field("dtype", &T::DTYPE)
            .field("row_shape", &self.row_shape())
            .field("len", &self.len())
            .field("max_len", &self.max_len())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

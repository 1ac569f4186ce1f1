//! Rows that are written in place, behind the committed ones.
//!
//! One of the modules with unsafe code: it keeps a view of the room beside the turn that it is of.

use crate::{
    array::growing::turn::Turn,
    element::Element,
    error::{Error, Result},
    layout::Layout,
    store::thread_lanes,
};
use ndarray::{ArrayRef, ArrayViewMut, Dimension};
use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

/// Rows of a [`GrowingArray`](crate::GrowingArray) that no other process sees yet: dereferences to
/// [`ndarray::ArrayRef`], to be written in place.
///
/// Made by [`GrowingArray::reserve`](crate::GrowingArray::reserve). Dropped without a commit, by a
/// panic or by the end of the process, the rows never were, and the next appender writes over them.
/// In the child of a fork the rows are the parent's.
///
/// # Examples
///
/// ```
/// let manager = ndshm::Manager::new()?;
/// let log = manager.options().growing::<f64, _>(1000, 2)?;
/// let mut rows = log.reserve(3)?;
/// rows.row_mut(0).fill(1.0);
/// rows.commit_rows(1)?;
/// drop(log.reserve(3)?);
/// assert_eq!(*log.all()?, ndarray::array![[1.0, 1.0]]);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[must_use = "rows that are not committed never were"]
pub struct Reserved<'a, T: Element, D: Dimension> {
    // Private, and its lifetime never leaves this struct: it ends with the turn below.
    view: ArrayViewMut<'a, T, D>,
    turn: Turn<'a>,
    /// The thread that waits for itself is found by its number.
    _not_send: PhantomData<*const ()>,
}

/// Rows of an [`AnyGrowing`](crate::AnyGrowing) that no other process sees yet, as bytes; see
/// [`Reserved`].
///
/// Made by [`AnyGrowing::reserve`](crate::AnyGrowing::reserve). Only the check for deadlocks
/// depends on its thread: another one may drop it, as long as one thread at a time uses it.
///
/// # Examples
///
/// ```
/// let manager = ndshm::Manager::new()?;
/// let log = manager.options().growing_any(&"|u1".parse()?, &[], 1000)?;
/// let mut rows = log.reserve(100)?;
/// rows.bytes_mut()[..2].copy_from_slice(b"ab");
/// rows.commit_rows(2)?;
/// assert_eq!(log.len(), 2);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[must_use = "rows that are not committed never were"]
pub struct AnyReserved<'a> {
    turn: Turn<'a>,
    /// The thread that waits for itself is found by its number.
    _not_send: PhantomData<*const ()>,
}

impl<'a> AnyReserved<'a> {
    /// All of the turn's room.
    pub(super) fn new(turn: Turn<'a>) -> Self {
        turn.array().note_reserver(thread_lanes::number());
        Self {
            turn,
            _not_send: PhantomData,
        }
    }

    /// The index that the first of these rows gets.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"|u1".parse()?, &[], 1000)?;
    /// log.append_bytes(b"a")?;
    /// assert_eq!(log.reserve(3)?.first(), 1);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn first(&self) -> usize {
        self.turn.first()
    }

    /// The bytes of the rows, in the order C. They are unspecified at first.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[2], 1000)?;
    /// assert_eq!(log.reserve(3)?.bytes_mut().len(), 3 * 2 * 8);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.turn.bytes_mut()
    }

    /// Appends the rows; see [`Reserved::commit`].
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
    /// let mut rows = log.reserve(3)?;
    /// rows.bytes_mut().fill(7);
    /// assert_eq!(rows.commit()?, 0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn commit(self) -> Result<usize> {
        let rows = self.turn.rows();
        self.commit_rows(rows)
    }

    /// Appends the first of the rows, and drops the others; see [`Reserved::commit_rows`].
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
    /// log.reserve(3)?.commit_rows(1)?;
    /// assert!(matches!(log.reserve(3)?.commit_rows(4), Err(ndshm::Error::Layout { .. })));
    /// assert_eq!(log.len(), 1);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn commit_rows(self, rows: usize) -> Result<usize> {
        commit(self.turn, rows)
    }
}

impl fmt::Debug for AnyReserved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyReserved")
            .field("first", &self.turn.first())
            .field("rows", &self.turn.rows())
            .finish_non_exhaustive()
    }
}

/// Makes the first rows of a room visible, to which no view is left.
fn commit(turn: Turn<'_>, rows: usize) -> Result<usize> {
    let reserved = turn.rows();
    if rows > reserved {
        let reason = format!("{rows} rows, of which {reserved} were reserved");
        return Err(Error::layout("commit rows", reason));
    }
    failpoint!(GrowthWritten);
    turn.commit(rows)
}

impl<'a, T: Element, D: Dimension> Reserved<'a, T, D> {
    /// All of the turn's room; `layout` is its place.
    pub(super) fn new(turn: Turn<'a>, layout: Layout<D>) -> Self {
        turn.array().note_reserver(thread_lanes::number());
        // SAFETY: view and turn end together, and the turn gives no other view: it is private.
        let view = unsafe { turn.elements_for(layout) };
        Self {
            view,
            turn,
            _not_send: PhantomData,
        }
    }

    /// The index that the first of these rows gets.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f64, _>(1000, ())?;
    /// log.push(1.0)?;
    /// assert_eq!(log.reserve(3)?.first(), 1);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn first(&self) -> usize {
        self.turn.first()
    }

    /// Appends the rows: all of them become visible at once. Returns the index of the first.
    ///
    /// # Errors
    ///
    /// `NotOwner` in a child that was forked since the rows were reserved.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f64, _>(1000, ())?;
    /// let mut rows = log.reserve(3)?;
    /// rows.fill(0.5);
    /// assert_eq!(rows.commit()?, 0);
    /// assert_eq!(log.all()?.sum(), 1.5);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn commit(self) -> Result<usize> {
        let rows = self.turn.rows();
        self.commit_rows(rows)
    }

    /// Appends the first of the rows, and drops the others. Returns the index of the first.
    ///
    /// # Errors
    ///
    /// `Layout` if there are fewer; `NotOwner` in a child that was forked since the rows were
    /// reserved. Then nothing is appended.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<u8, _>(1000, ())?;
    /// let mut room = log.reserve(100)?;
    /// let read = std::io::Read::read(&mut &b"12"[..], room.as_slice_mut().unwrap()).unwrap();
    /// room.commit_rows(read)?;
    /// assert_eq!(*log.all()?, ndarray::array![b'1', b'2']);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn commit_rows(self, rows: usize) -> Result<usize> {
        let Self { view, turn, .. } = self;
        drop(view);
        commit(turn, rows)
    }
}

impl<T: Element, D: Dimension> Deref for Reserved<'_, T, D> {
    type Target = ArrayRef<T, D>;

    fn deref(&self) -> &ArrayRef<T, D> {
        &self.view
    }
}

impl<T: Element, D: Dimension> DerefMut for Reserved<'_, T, D> {
    fn deref_mut(&mut self) -> &mut ArrayRef<T, D> {
        &mut self.view
    }
}

impl<T: Element + fmt::Debug, D: Dimension> fmt::Debug for Reserved<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view.fmt(f)
    }
}

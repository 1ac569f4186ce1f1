//! The turn of an appender: from the shared word that it takes to the length that it leaves.
//!
//! A drop without a commit gives the turn back, and the rows never were. In the child of a fork the
//! turn is the parent's: there a drop does nothing.
//!
//! One of the modules with unsafe code: it gives the rows behind the committed ones to one thread.

use crate::{
    array::{obstacles, open_array::OpenArray, view},
    element::Element,
    error::{Error, Result},
    inspect::holder::Holders,
    layout::Layout,
    state::growth::NoTurn,
    store::thread_lanes,
    sys::{
        copy, fork,
        wait::{Wait, is_interrupted},
    },
};
use ndarray::{ArrayViewMut, Dimension};
use std::sync::atomic::Ordering::Relaxed;

/// The turn of a thread, with room for rows behind the committed ones.
///
/// Invariant: until it ends, no process writes the bytes of these rows but through it, and no
/// thread of this process reads them. The file has them, and the mapping can be written.
pub(super) struct Turn<'a> {
    array: &'a OpenArray,
    /// The committed rows.
    first: usize,
    /// The rows that there is room for.
    rows: usize,
    generation: u64,
}

/// Why a call waits.
const APPENDS: &str = "another process or thread appends";

impl<'a> Turn<'a> {
    /// Takes the turn, with room for so many rows.
    #[inline]
    pub(super) fn take(
        array: &'a OpenArray,
        is_writable: bool,
        rows: usize,
        wait: Wait,
    ) -> Result<Self> {
        array.mark_used();
        if !is_writable {
            return Err(Error::ReadOnly {
                path: array.path().into(),
                reason: "it was opened by a handle for reading only",
            });
        }
        let generation = fork::generation();
        let me = array.member().id_within(wait)?;
        let growth = array.growth();
        if growth.take_free(me).is_err() {
            wait_for_turn(array, me, wait)?;
        }
        growth.pid.store(array.member().process(), Relaxed);
        failpoint!(GrowthTurnTaken);
        let first = array.begin_turn().inspect_err(|_| growth.give_back())?;
        let mut turn = Turn {
            array,
            first,
            rows: 0,
            generation,
        };
        // Looked at with the turn taken: a freezer takes it too.
        if !array.may_be_written() {
            return Err(array.not_writable());
        }
        array.check_ready()?;
        if rows > array.max_rows() - turn.first {
            return Err(turn.full(rows));
        }
        array.make_room(turn.first + rows)?;
        turn.rows = rows;
        Ok(turn)
    }

    #[cold]
    fn full(&self, wanted: usize) -> Error {
        Error::Full {
            path: self.array.path().into(),
            max_len: self.array.max_rows(),
            len: self.first,
            wanted,
        }
    }

    /// The index of the first row that there is room for.
    #[inline]
    pub(super) fn first(&self) -> usize {
        self.first
    }

    /// The rows that there is room for.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn array(&self) -> &'a OpenArray {
        self.array
    }

    /// Copies elements to the start of the room.
    ///
    /// # Panics
    ///
    /// Panics if there are more than the room has.
    #[inline]
    pub(super) fn copy<T: Element>(&mut self, elements: &[T]) {
        let bytes = bytemuck::cast_slice(elements);
        let room = self.bytes_mut();
        assert!(bytes.len() <= room.len(), "they lie outside of the room");
        copy::copy(&mut room[..bytes.len()], bytes);
        failpoint!(GrowthWritten);
    }

    /// The bytes of the room.
    #[inline]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        let row_len = self.array.row_len();
        let start = self.array.payload(self.first * row_len).as_ptr();
        // SAFETY: the room is mapped writable and initialised, and the file has it; no process
        // writes it but through this turn, which is borrowed exclusively, and no thread of this
        // one reads it (invariant).
        unsafe { std::slice::from_raw_parts_mut(start, self.rows * row_len) }
    }

    /// The elements of the room, or of a part of it.
    ///
    /// # Panics
    ///
    /// Panics if the layout, which is in C order, has more than the room.
    #[inline]
    pub(super) fn elements<T: Element, D: Dimension>(
        &mut self,
        layout: Layout<D>,
    ) -> ArrayViewMut<'_, T, D> {
        // SAFETY: the view borrows the turn exclusively, so this is the only one.
        unsafe { self.elements_for(layout) }
    }

    /// The elements of the room for as long as the array is borrowed.
    ///
    /// # Safety
    ///
    /// The turn lasts as long as the view, and gives no other view meanwhile.
    #[inline]
    pub(super) unsafe fn elements_for<T: Element, D: Dimension>(
        &self,
        layout: Layout<D>,
    ) -> ArrayViewMut<'a, T, D> {
        let row_len = self.array.row_len();
        let (start, len) = (layout.offset, layout.dim.size() * size_of::<T>());
        assert!(
            start >= self.first * row_len && start + len <= (self.first + self.rows) * row_len,
            "{len} bytes at {start} lie outside of the room"
        );
        // SAFETY: the elements lie in the room (asserted; the layout is contiguous), which is
        // mapped writable, and which the file has; no process writes it but through this turn, and
        // no thread of this one reads it (invariant). The caller keeps the turn, and has no other
        // view. The segment is borrowed for 'a, so it stays mapped.
        unsafe { view::elements_mut(self.array, &layout) }
    }

    /// Makes the first rows of the room visible, and ends the turn. Returns the index of the first.
    #[inline]
    pub(super) fn commit(mut self, rows: usize) -> Result<usize> {
        if self.generation != fork::generation() {
            return Err(Error::NotOwner {
                path: self.array.path().into(),
                reason: "the rows were reserved before this process was forked: the parent commits \
                         them",
            });
        }
        assert!(rows <= self.rows, "{rows} of {} rows", self.rows);
        let first = self.first;
        if rows > 0 {
            self.first += rows;
            self.array.growth().commit(self.first as u64);
            failpoint!(GrowthCommitted);
        }
        Ok(first)
    }

    /// Ends the growth, and the turn.
    pub(super) fn freeze(self) -> Result<()> {
        self.array.end_growth();
        self.array.protect()
    }
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.generation == fork::generation() {
            self.array.end_turn(self.first);
            self.array.growth().give_back();
        }
    }
}

#[cold]
fn wait_for_turn(array: &OpenArray, me: u64, wait: Wait) -> Result<()> {
    let growth = array.growth();
    let holders = |holder| obstacles::appender(array, holder, growth.pid.load(Relaxed));
    if array.is_reserved_by(thread_lanes::number()) {
        return Err(Error::WouldDeadlock {
            path: array.path().into(),
            holders: holders(me),
        });
    }
    let deadline = wait.or(array.member().settings().lock_timeout()).begin();
    let is_alive = |member| array.member().is_alive(member).unwrap_or(true);
    let failed = |holder: u64| {
        let holders = if holder == 0 {
            Holders::default()
        } else {
            holders(holder)
        };
        deadline.failed(array.path(), APPENDS).held_by(holders)
    };
    if matches!(wait, Wait::Never) {
        return growth.try_take(me, is_alive).map_err(failed);
    }
    let generation = fork::generation();
    let mut ended = None;
    let taken = growth.take(me, deadline.instant(), is_alive, |_| {
        ended = if generation != fork::generation() || is_interrupted() {
            Some(Error::Interrupted {
                path: array.path().into(),
            })
        } else if array.member().is_lost() {
            Some(array.member().lost())
        } else {
            array.check_ready().err()
        };
        ended.is_none()
    });
    taken.map_err(|refused| match (refused, ended) {
        (NoTurn::Ended, Some(error)) => error,
        (NoTurn::Held(holder), _) => failed(holder),
        (NoTurn::Ended, None) => failed(0),
    })
}

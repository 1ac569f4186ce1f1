//! Rows that are reserved in an array that grows, and where they are.
//!
//! The library's rows borrow their array. Python's block of them, and memory that left it, end at
//! any time and in any thread, so here a [`Room`] owns both.
//!
//! A room that is lent to a block comes back to its [`Home`] when no object has its memory any
//! more. Until then no other process or thread appends.

use crate::arguments::Wait;
use ndshm::{AnyGrowing, AnyReserved, Result};
use std::{
    mem,
    ptr::NonNull,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Reserved rows, with their array.
pub(crate) struct Room {
    /// They borrow the array. `None` only while the parts are taken apart.
    rows: Option<AnyReserved<'static>>,
    log: NonNull<AnyGrowing>,
}

// SAFETY: it owns the array, which may be sent, and the rows, of which the library needs only for
// the check for deadlocks that they stay in their thread. The elements are bytes in shared memory.
unsafe impl Send for Room where AnyGrowing: Send {}

impl Room {
    /// Waits for the turn to append, and reserves rows.
    pub(crate) fn reserve(log: &AnyGrowing, rows: usize, wait: Wait) -> Result<Self> {
        let mut made = Self {
            rows: None,
            log: NonNull::from(Box::leak(Box::new(log.clone()))),
        };
        // SAFETY: the array was leaked above, so it lives until `made` frees it, which drops the
        // rows before. It is only read meanwhile.
        let log: &'static AnyGrowing = unsafe { made.log.as_ref() };
        made.rows = Some(match wait {
            Wait::Never => log.try_reserve(rows)?,
            Wait::AtMost(time) => log.reserve_timeout(rows, time)?,
            Wait::Forever => log.reserve(rows)?,
        });
        Ok(made)
    }

    /// The address of the first element.
    pub(crate) fn address(&mut self) -> *mut u8 {
        let bytes = self.rows.as_mut().map(AnyReserved::bytes_mut);
        bytes.map_or(mem::align_of::<u128>() as *mut u8, <[u8]>::as_mut_ptr)
    }

    /// Appends the first rows. Returns the index of the first.
    pub(crate) fn commit(mut self, rows: usize) -> Option<Result<usize>> {
        self.rows.take().map(|reserved| reserved.commit_rows(rows))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.rows = None;
        // SAFETY: the pointer is that of a leaked box, and no rows borrow it any more.
        drop(unsafe { Box::from_raw(self.log.as_ptr()) });
    }
}

/// The place to which the room of a block comes back.
#[derive(Default)]
pub(crate) struct Home(Mutex<State>);

#[derive(Default)]
enum State {
    /// No room is lent.
    #[default]
    Empty,
    /// A block has one.
    Lent,
    /// It came back.
    Back(Room),
    /// The block of one has ended, and its memory has not come back.
    Kept,
}

impl Home {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends a room, which comes back when the result is dropped.
    pub(crate) fn lend(self: &Arc<Self>, room: Room) -> Lent {
        *self.state() = State::Lent;
        Lent {
            room: Some(room),
            home: self.clone(),
        }
    }

    /// The room that has come back.
    pub(crate) fn take_back(&self) -> Option<Room> {
        match mem::take(&mut *self.state()) {
            State::Back(room) => Some(room),
            _ => None,
        }
    }

    /// Says that the block of the room has ended, and its memory has not come back: its rows never
    /// were.
    pub(crate) fn keep(&self) {
        let mut state = self.state();
        let next = match &*state {
            State::Lent => State::Kept,
            _ => State::Empty,
        };
        let former = mem::replace(&mut *state, next);
        drop(state);
        drop(former);
    }

    /// Whether memory of a room is kept though its block has ended.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(&*self.state(), State::Kept)
    }
}

/// A room that is lent to a block.
pub(crate) struct Lent {
    /// `None` only while this is dropped.
    room: Option<Room>,
    home: Arc<Home>,
}

impl Lent {
    /// The address of the first element.
    pub(crate) fn address(&mut self) -> *mut u8 {
        match &mut self.room {
            Some(room) => room.address(),
            None => mem::align_of::<u128>() as *mut u8,
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(room) = self.room.take() else {
            return;
        };
        let mut state = self.home.state();
        match &*state {
            State::Lent => *state = State::Back(room),
            _ => {
                *state = State::Empty;
                drop(state);
                drop(room);
            }
        }
    }
}

//! The turn to produce the frames of a ring, and the frame that is reserved for writing.
//!
//! The library's frame borrows its producer. Python's block of a frame, and memory that left it,
//! end at any time and in any thread, so here a [`Reserved`] owns both.
//!
//! A frame that is lent to a block comes back to its [`Turn`] when no object has its memory any
//! more. Until then no other frame of the turn can be written, and the turn is not given back.

use crate::arguments::Wait;
use ndshm::{AnyFrameMut, AnyProducer, Error, Result};
use std::{
    mem,
    ptr::NonNull,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A frame that is reserved for writing, with its producer.
pub(crate) struct Reserved {
    /// It borrows the producer. `None` only while the parts are taken apart.
    frame: Option<AnyFrameMut<'static>>,
    producer: NonNull<AnyProducer>,
}

// SAFETY: it owns the producer, which may be sent, and the only borrow of it.
unsafe impl Send for Reserved where AnyProducer: Send {}

impl Reserved {
    /// Waits for a frame to write. The producer comes back with an error.
    pub(crate) fn begin(
        producer: Box<AnyProducer>,
        wait: Wait,
    ) -> Result<Self, (Box<AnyProducer>, Error)> {
        let mut made = Self {
            frame: None,
            producer: NonNull::from(Box::leak(producer)),
        };
        // SAFETY: the producer was leaked above, so it lives until `made` frees it, which drops the
        // frame before. Nothing else uses the pointer while the frame lives.
        let producer = unsafe { made.producer.as_mut() };
        let frame = match wait {
            Wait::Never => producer.try_next(),
            Wait::AtMost(time) => producer.next_timeout(time),
            Wait::Forever => producer.next(),
        };
        match frame {
            Ok(frame) => {
                made.frame = Some(frame);
                Ok(made)
            }
            Err(error) => Err((made.into_producer(), error)),
        }
    }

    /// The address of the first element.
    pub(crate) fn address(&mut self) -> *mut u8 {
        let bytes = self.frame.as_mut().map(AnyFrameMut::bytes_mut);
        bytes.map_or(mem::align_of::<u128>() as *mut u8, <[u8]>::as_mut_ptr)
    }

    /// Publishes the first rows, or all of them, with the information. The producer comes back.
    pub(crate) fn publish(
        mut self,
        rows: Option<usize>,
        info: Option<&[u8]>,
    ) -> (Box<AnyProducer>, Option<Result<u64>>) {
        let published = self.frame.take().map(|mut frame| {
            if let Some(info) = info {
                frame.set_info(info)?;
            }
            match rows {
                Some(rows) => frame.publish_rows(rows),
                None => frame.publish(),
            }
        });
        (self.into_producer(), published)
    }

    /// Drops the frame, which is not published.
    pub(crate) fn into_producer(mut self) -> Box<AnyProducer> {
        self.frame = None;
        let producer = self.producer;
        mem::forget(self);
        // SAFETY: the pointer is that of a leaked box, no frame borrows it any more, and `self`,
        // which would free it too, is forgotten.
        unsafe { Box::from_raw(producer.as_ptr()) }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.frame = None;
        // SAFETY: the pointer is that of a leaked box, and no frame borrows it any more.
        drop(unsafe { Box::from_raw(self.producer.as_ptr()) });
    }
}

/// The turn to produce, and where it is.
pub(crate) struct Turn(Mutex<State>);

enum State {
    /// No frame is reserved.
    Idle(Box<AnyProducer>),
    /// A thread waits for a frame, or a block writes one.
    Away(Away),
    /// The memory of a frame that was not published has come back.
    Back(Reserved),
    /// The turn was given back, or will be when the frame comes back.
    Ended,
}

/// Why the turn cannot be used.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Away {
    /// A thread waits for a frame.
    Waiting,
    /// A block writes a frame.
    Written,
    /// Objects have the memory of a frame whose block has ended.
    Kept,
    /// The turn has ended.
    Ended,
}

impl Turn {
    pub(crate) fn new(producer: AnyProducer) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State::Idle(Box::new(producer)))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the producer. The caller puts it back, or lends its frame.
    pub(crate) fn take(&self) -> Result<Box<AnyProducer>, Away> {
        let mut state = self.state();
        match mem::replace(&mut *state, State::Away(Away::Waiting)) {
            State::Idle(producer) => Ok(producer),
            State::Back(frame) => Ok(frame.into_producer()),
            State::Away(away) => {
                *state = State::Away(away);
                Err(away)
            }
            State::Ended => {
                *state = State::Ended;
                Err(Away::Ended)
            }
        }
    }

    /// Whether a wait, a block or memory has the turn.
    pub(crate) fn away(&self) -> Option<Away> {
        match &*self.state() {
            State::Idle(_) | State::Back(_) => None,
            State::Away(away) => Some(*away),
            State::Ended => Some(Away::Ended),
        }
    }

    /// Puts the producer back. A turn that ended meanwhile is given back.
    pub(crate) fn put(&self, producer: Box<AnyProducer>) {
        let mut state = self.state();
        if let State::Away(_) = &*state {
            *state = State::Idle(producer);
        }
    }

    /// Lends a frame, which comes back when the result is dropped.
    pub(crate) fn lend(self: &Arc<Self>, frame: Reserved) -> Lent {
        let mut state = self.state();
        if let State::Away(away) = &mut *state {
            *away = Away::Written;
        }
        drop(state);
        Lent {
            frame: Some(frame),
            home: self.clone(),
        }
    }

    /// The frame that has come back.
    pub(crate) fn take_back(&self) -> Option<Reserved> {
        let mut state = self.state();
        match mem::replace(&mut *state, State::Away(Away::Waiting)) {
            State::Back(frame) => Some(frame),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Says that the block of the frame has ended, and its memory has not come back.
    pub(crate) fn keep(&self) {
        if let State::Away(away) = &mut *self.state() {
            *away = Away::Kept;
        }
    }

    /// Ends the turn: now, or when the frame comes back.
    pub(crate) fn end(&self) {
        let former = mem::replace(&mut *self.state(), State::Ended);
        drop(former);
    }
}

/// A frame that is lent to a block.
pub(crate) struct Lent {
    /// `None` only while this is dropped.
    frame: Option<Reserved>,
    home: Arc<Turn>,
}

impl Lent {
    /// The address of the first element.
    pub(crate) fn address(&mut self) -> *mut u8 {
        match &mut self.frame {
            Some(frame) => frame.address(),
            None => mem::align_of::<u128>() as *mut u8,
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(frame) = self.frame.take() else {
            return;
        };
        let mut state = self.home.state();
        if let State::Away(_) = &*state {
            *state = State::Back(frame);
        }
    }
}

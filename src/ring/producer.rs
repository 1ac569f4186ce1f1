//! The producer of a ring, and the frame that it writes.
//!
//! One of the modules with unsafe code: a reserved slot becomes a view to write.

use super::{
    FrameInfo,
    opened::{Living, OpenRing, check_generation},
};
use crate::{
    array::view,
    element::{Element, dtype::DType},
    error::{Error, Result},
    layout::{Layout, Order},
    state::{ring::InTheWay, signals},
    sys::{
        fork,
        wait::{Deadline, Wait},
    },
};
use ndarray::{ArrayRef, ArrayViewMut, Dimension};
use std::{
    cell::RefCell,
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The turn to produce, with elements of any type; see [`Producer`].
pub struct AnyProducer {
    ring: Arc<OpenRing>,
    me: u64,
    generation: u64,
    living: Living,
}

/// The turn to produce the frames of a ring: one process has it at a time.
///
/// Made by [`Ring::produce`](crate::Ring::produce). Dropping it gives the turn back, and ends
/// nothing: subscribers wait for the next producer. A producer that dies loses the turn; its
/// subscribers get [`Error::Abandoned`] once.
///
/// # Examples
///
/// ```
/// let manager = ndshm::Manager::new()?;
/// let ring = manager.options().name("camera").ring::<u8, _>((480, 640), 4)?;
/// let mut producer = ring.produce()?;
/// let mut frame = producer.next()?;
/// frame.fill(7);
/// assert_eq!(frame.publish()?, 1);
/// # Ok::<(), ndshm::Error>(())
/// ```
pub struct Producer<T: Element, D: Dimension, I: FrameInfo = ()> {
    any: AnyProducer,
    dim: D,
    types: PhantomData<fn() -> (T, I)>,
}

/// A frame that is being written, with elements of any type; see [`FrameMut`].
pub struct AnyFrameMut<'a> {
    producer: &'a mut AnyProducer,
    position: u64,
    has_info: bool,
}

/// A frame that is being written: dereferences to [`ndarray::ArrayRef`].
///
/// It has the elements of an older frame at first. No subscriber sees it before it is published.
/// Dropped, it never was: the next frame takes its place.
pub struct FrameMut<'a, T: Element, D: Dimension, I: FrameInfo = ()> {
    // Private, and its lifetime never leaves this struct: it ends with the frame below.
    view: ArrayViewMut<'static, T, D>,
    any: AnyFrameMut<'a>,
    types: PhantomData<fn() -> I>,
}

impl AnyProducer {
    /// Takes the turn.
    pub(super) fn begin(ring: &Arc<OpenRing>, wait: Wait) -> Result<Self> {
        ring.check_writable()?;
        ring.opened.mark_used();
        ring.check_wait()?;
        let me = ring.opened.member().id()?;
        let (living, table) = (Living::default(), ring.table());
        let attempt = || {
            table
                .take_turn(me, |member| living.is_alive(&ring.opened, member))
                .ok()
        };
        let deadline = wait.begin();
        let first = attempt();
        failpoint!(RingTurnTaken);
        let taken = first.map(Ok).or_else(|| {
            let mut look = |is_due: bool| {
                table.control.awaited.store(1, SeqCst);
                let taken = attempt().map(Ok);
                taken.or_else(|| ring.check_wait().err().filter(|_| is_due).map(Err))
            };
            signals::wait_for(&table.control.freed, deadline.instant(), &mut look)
        });
        let Some(taken) = taken else {
            let holders = ring.producer();
            let obstacle = "another process or thread had the turn to produce";
            let error = deadline.failed(ring.opened.path(), obstacle);
            return Err(error.held_by(holders.into_iter().collect()));
        };
        taken?;
        table
            .control
            .pid
            .store(ring.opened.member().process(), Relaxed);
        if table.has_ended() {
            table.set_ended(false);
        }
        ring.warm_up();
        Ok(Self {
            ring: ring.clone(),
            me,
            generation: fork::generation(),
            living,
        })
    }

    /// The next frame to write; see [`Producer::next`].
    ///
    /// # Errors
    ///
    /// As there.
    #[allow(
        clippy::should_implement_trait,
        reason = "a frame borrows the producer"
    )]
    pub fn next(&mut self) -> Result<AnyFrameMut<'_>> {
        let deadline = self.ring.opened.member().deadline();
        self.next_until(&deadline)
    }

    /// The next frame to write, without a wait; see [`Producer::try_next`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_next(&mut self) -> Result<AnyFrameMut<'_>> {
        self.next_until(&Wait::Never.begin())
    }

    /// The next frame to write, within a time; see [`Producer::next_timeout`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<AnyFrameMut<'_>> {
        self.next_until(&Wait::AtMost(timeout).begin())
    }

    fn next_until(&mut self, deadline: &Deadline) -> Result<AnyFrameMut<'_>> {
        check_generation(&self.ring, self.generation)?;
        self.ring.opened.check_ready()?;
        let obstacle = RefCell::new(InTheWay::Held);
        let position = {
            let table = self.ring.table();
            let is_alive = |member| self.living.is_alive(&self.ring.opened, member);
            let attempt = || {
                let reserved = table.reserve(self.me, is_alive);
                reserved
                    .map_err(|found| *obstacle.borrow_mut() = found)
                    .ok()
            };
            // A subscriber that looks for a frame in vain sets its bit for a moment.
            let first = (0..3).find_map(|_| attempt()).map(Ok);
            first.or_else(|| {
                let mut look = |is_due: bool| {
                    table.control.awaited.store(1, SeqCst);
                    let found = attempt().map(Ok);
                    let in_vain = || self.ring.check_wait().err().filter(|_| is_due).map(Err);
                    found.or_else(in_vain)
                };
                signals::wait_for(&table.control.freed, deadline.instant(), &mut look)
            })
        };
        match position {
            Some(position) => Ok(AnyFrameMut {
                position: position?,
                has_info: false,
                producer: self,
            }),
            None => Err(self.blocked(deadline, obstacle.into_inner())),
        }
    }

    fn blocked(&self, deadline: &Deadline, obstacle: InTheWay) -> Error {
        let (text, holders) = match obstacle {
            InTheWay::Held => (
                "subscribers held all frames but the newest (drop frames sooner, or make a ring \
                 of more frames)",
                self.ring.holders(),
            ),
            InTheWay::Behind(seat) => {
                let subscriber = self.ring.subscriber(seat);
                (
                    "a lossless subscriber had not taken the oldest frame",
                    subscriber.map(|found| found.process).into_iter().collect(),
                )
            }
        };
        let error = deadline.failed(self.ring.opened.path(), text);
        error.held_by(holders.into_iter().collect())
    }

    /// Waits for subscribers; see [`Producer::wait_subscribers`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn wait_subscribers(&mut self, count: usize, timeout: Duration) -> Result<()> {
        check_generation(&self.ring, self.generation)?;
        let deadline = Wait::AtMost(timeout).begin();
        let table = self.ring.table();
        let has_them = || {
            let present =
                (0..self.ring.max_subscribers()).filter_map(|at| self.ring.subscriber(at));
            present.filter(|found| found.process.is_alive).count() >= count
        };
        let found = signals::wait_for(&table.control.freed, deadline.instant(), |is_due| {
            table.control.awaited.store(1, SeqCst);
            match has_them() {
                true => Some(Ok(())),
                false => self.ring.check_wait().err().filter(|_| is_due).map(Err),
            }
        });
        found.unwrap_or_else(|| {
            Err(deadline.failed(
                self.ring.opened.path(),
                "fewer subscribers than awaited came",
            ))
        })
    }

    /// Ends the stream; see [`Producer::finish`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn finish(self) -> Result<()> {
        check_generation(&self.ring, self.generation)?;
        self.ring.table().set_ended(true);
        Ok(())
    }
}

impl Drop for AnyProducer {
    /// In a forked child the turn is the parent's.
    fn drop(&mut self) {
        if self.generation == fork::generation() {
            self.ring.table().end_turn(self.me);
        }
    }
}

impl AnyFrameMut<'_> {
    fn slot(&self) -> usize {
        self.producer.ring.table().slot(self.position)
    }

    /// The type of the elements.
    pub fn dtype(&self) -> &DType {
        self.producer.ring.dtype()
    }

    /// The shape of the frame.
    pub fn shape(&self) -> &[usize] {
        self.producer.ring.shape()
    }

    /// The bytes of the elements, in C order.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: this frame reserved the slot and borrows the producer, so it is the only one; the
        // borrow of `self` makes this the only reference to the bytes; the producer keeps the ring.
        unsafe { self.producer.ring.bytes_mut(self.slot()) }
    }

    /// Sets the information beside the frame. What is not set is zero.
    ///
    /// # Errors
    ///
    /// `Layout` if it has another number of bytes than the ring's; `NotOwner` in a forked child.
    pub fn set_info(&mut self, info: &[u8]) -> Result<()> {
        check_generation(&self.producer.ring, self.producer.generation)?;
        // SAFETY: as in `bytes_mut`.
        let place = unsafe { self.producer.ring.info_mut(self.slot()) };
        if place.len() != info.len() {
            return Err(Error::layout(
                "set the information of a frame",
                format!(
                    "it has {} bytes, the ring's has {}",
                    info.len(),
                    place.len()
                ),
            ));
        }
        place.copy_from_slice(info);
        self.has_info = true;
        Ok(())
    }

    /// Publishes the frame; see [`FrameMut::publish`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn publish(self) -> Result<u64> {
        let rows = self.shape().first().copied().unwrap_or(1);
        self.publish_rows(rows)
    }

    /// Publishes the first rows; see [`FrameMut::publish_rows`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn publish_rows(self, rows: usize) -> Result<u64> {
        let ring = &self.producer.ring;
        check_generation(ring, self.producer.generation)?;
        let most = self.shape().first().copied().unwrap_or(1);
        if rows > most {
            return Err(Error::layout(
                "publish a frame",
                format!("{rows} rows, the frames of this ring have {most}"),
            ));
        }
        if !self.has_info {
            // SAFETY: as in `bytes_mut`.
            unsafe { ring.info_mut(self.slot()) }.fill(0);
        }
        let table = ring.table();
        let number = table.last_number().wrapping_add(1);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let time = since.map_or(0, |since| since.as_nanos() as u64);
        failpoint!(RingFrameWritten);
        table.publish(self.position, number, time, rows as u64);
        Ok(number)
    }
}

impl<T: Element, D: Dimension, I: FrameInfo> Producer<T, D, I> {
    pub(super) fn new(any: AnyProducer, dim: D) -> Self {
        Self {
            any,
            dim,
            types: PhantomData,
        }
    }

    /// The next frame to write: the oldest one that no subscriber holds, and never the newest.
    ///
    /// Waits where subscribers hold all frames but the newest, or a lossless one has not taken the
    /// oldest; for the manager's lock timeout at most, if it has one.
    ///
    /// # Errors
    ///
    /// `Timeout`, which names the subscribers in the way; `Released` if the ring was released,
    /// `Interrupted`; `NotOwner` in a forked child.
    #[allow(
        clippy::should_implement_trait,
        reason = "a frame borrows the producer"
    )]
    pub fn next(&mut self) -> Result<FrameMut<'_, T, D, I>> {
        let dim = self.dim.clone();
        self.any.next().map(|any| FrameMut::new(any, dim))
    }

    /// The next frame to write, without a wait.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where [`next`](Self::next) would wait; those of `next`.
    pub fn try_next(&mut self) -> Result<FrameMut<'_, T, D, I>> {
        let dim = self.dim.clone();
        self.any.try_next().map(|any| FrameMut::new(any, dim))
    }

    /// The next frame to write, waiting no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// Those of [`next`](Self::next).
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<FrameMut<'_, T, D, I>> {
        let dim = self.dim.clone();
        self.any
            .next_timeout(timeout)
            .map(|any| FrameMut::new(any, dim))
    }

    /// Waits until at least so many subscribers are there: a frame that is published before one
    /// subscribes is lost to it.
    ///
    /// # Errors
    ///
    /// `Timeout`; `Released`; `Interrupted`; `NotOwner` in a forked child.
    pub fn wait_subscribers(&mut self, count: usize, timeout: Duration) -> Result<()> {
        self.any.wait_subscribers(count, timeout)
    }

    /// Ends the stream: subscribers get the frames that are there, and then none. The next producer
    /// begins it anew.
    ///
    /// # Errors
    ///
    /// `NotOwner` in a forked child.
    pub fn finish(self) -> Result<()> {
        self.any.finish()
    }
}

impl<'a, T: Element, D: Dimension, I: FrameInfo> FrameMut<'a, T, D, I> {
    fn new(any: AnyFrameMut<'a>, dim: D) -> Self {
        let ring = &any.producer.ring;
        let mut layout = Layout::whole(dim, Order::C, 1);
        layout.offset = ring.offset_of(any.slot());
        // SAFETY: the layout is that of a slot, contiguous and inside the payload; the slot was
        // reserved, so no process reads or writes it until this frame is published or dropped; the
        // view never leaves this struct, which borrows the producer and so keeps the ring open, for
        // writing.
        let view = unsafe { view::elements_mut(&ring.opened, &layout) };
        Self {
            view,
            any,
            types: PhantomData,
        }
    }

    /// Publishes the frame: it is the newest one now. Returns its number. The first frame of a ring
    /// has the number 1, and each later one the number after that of the frame before.
    ///
    /// # Errors
    ///
    /// `NotOwner` in a forked child.
    pub fn publish(self) -> Result<u64> {
        self.any.publish()
    }

    /// Publishes the first `rows` rows of the frame: subscribers see a frame whose first axis is so
    /// long. A frame without axes has one row.
    ///
    /// # Errors
    ///
    /// `Layout` if the frame has fewer rows; then it is dropped.
    pub fn publish_rows(self, rows: usize) -> Result<u64> {
        self.any.publish_rows(rows)
    }

    /// Publishes the frame with its information.
    ///
    /// # Errors
    ///
    /// Those of [`publish`](Self::publish).
    pub fn publish_with(mut self, info: I) -> Result<u64> {
        self.set_info(info)?;
        self.publish()
    }

    /// Sets the information beside the frame. Where it is not set, it is all zeros.
    ///
    /// # Errors
    ///
    /// `Layout` if the ring has information of another size: it was opened without its type;
    /// `NotOwner` in a forked child.
    pub fn set_info(&mut self, info: I) -> Result<()> {
        self.any.set_info(info.bytes())
    }
}

impl<T: Element, D: Dimension, I: FrameInfo> Deref for FrameMut<'_, T, D, I> {
    type Target = ArrayRef<T, D>;

    fn deref(&self) -> &ArrayRef<T, D> {
        &self.view
    }
}

impl<T: Element, D: Dimension, I: FrameInfo> DerefMut for FrameMut<'_, T, D, I> {
    fn deref_mut(&mut self) -> &mut ArrayRef<T, D> {
        &mut self.view
    }
}

impl<T: Element + fmt::Debug, D: Dimension, I: FrameInfo> fmt::Debug for FrameMut<'_, T, D, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view.fmt(f)
    }
}

impl fmt::Debug for AnyProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("path", &self.ring.opened.path())
            .finish_non_exhaustive()
    }
}

impl<T: Element, D: Dimension, I: FrameInfo> fmt::Debug for Producer<T, D, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.any.fmt(f)
    }
}

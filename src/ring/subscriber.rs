//! A subscriber of a ring: which frame is the next one, and how it is waited for.

use super::{
    FrameInfo,
    frame::{AnyFrame, Frame},
    opened::{Living, OpenRing, check_generation},
    seat::Seat,
};
use crate::{
    element::Element,
    error::{Error, Result},
    state::ring::{Mode, Place},
    sys::{
        fork,
        prefetch::prefetch,
        wait::{Deadline, Wait},
    },
};
use ndarray::Dimension;
use std::{
    fmt,
    hint::spin_loop,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::Ordering::{Acquire, Relaxed, SeqCst},
    },
    time::{Duration, Instant},
};

/// A subscription, with elements of any type; see [`Subscriber`].
pub struct AnySubscriber {
    seat: Arc<Seat>,
    place: Place,
    /// The number of the last frame that it took, or of the newest one when it came.
    last: u64,
    missed: u64,
    /// The dead producer of which the caller knows.
    dead: u64,
    spin: Duration,
    living: Living,
}

/// A subscription to the frames of a ring.
///
/// Made by [`Ring::subscribe`](crate::Ring::subscribe). It begins with the frame that is published
/// next. The producer does not wait for it, unless it is
/// [lossless](crate::Ring::subscribe_lossless). Iterating over it by [`iter`](Self::iter) gives the
/// frames in order until the stream ends.
///
/// # Examples
///
/// ```
/// let manager = ndshm::Manager::new()?;
/// let ring = manager.options().name("camera").ring::<u8, _>((480, 640), 4)?;
/// let mut subscriber = ring.subscribe()?;
/// let mut producer = ring.produce()?;
/// for value in 1..=3 {
///     let mut frame = producer.next()?;
///     frame.fill(value);
///     frame.publish()?;
/// }
/// producer.finish()?;
/// let mut seen = Vec::new();
/// for frame in subscriber.iter() {
///     seen.push(frame?[[0, 0]]);
/// }
/// assert_eq!((seen, subscriber.missed()), (vec![1, 2, 3], 0));
/// # Ok::<(), ndshm::Error>(())
/// ```
pub struct Subscriber<T: Element, D: Dimension, I: FrameInfo = ()> {
    any: AnySubscriber,
    dim: D,
    types: PhantomData<fn() -> (T, I)>,
}

/// The answer to a look at the ring: a frame, the end of the stream, an error; or none yet.
type Found = Option<Result<Option<AnyFrame>>>;

impl AnySubscriber {
    pub(super) fn begin(ring: &Arc<OpenRing>, mode: Mode) -> Result<Self> {
        ring.opened.mark_used();
        ring.check_wait()?;
        let member = ring.opened.member();
        let (me, living, table) = (member.id()?, Living::default(), ring.table());
        let dead = table.last_dead();
        let is_alive = |other| living.is_alive(&ring.opened, other);
        let place = table.join(me, member.process(), mode, is_alive);
        let place = place.ok_or_else(|| Error::TooManySubscribers {
            path: ring.opened.path().into(),
            limit: ring.max_subscribers(),
        })?;
        let seat = Seat::new(ring, place.seat, me);
        ring.warm_up();
        Ok(Self {
            last: table.last_number(),
            seat: Arc::new(seat),
            place,
            missed: 0,
            dead,
            spin: Duration::ZERO,
            living,
        })
    }

    /// Spins before it sleeps; see [`Subscriber::spin`].
    pub fn spin(&mut self, time: Duration) {
        self.spin = time;
    }

    /// How many frames were missed; see [`Subscriber::missed`].
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The newest frame; see [`Subscriber::latest`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn latest(&mut self) -> Result<Option<AnyFrame>> {
        self.check()?;
        let found = self
            .seat
            .ring
            .table()
            .latest(|position| self.seat.pin(position));
        Ok(found.map(|position| self.take(position)))
    }

    /// The frame of a number; see [`Subscriber::frame`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn frame(&self, number: u64) -> Result<Option<AnyFrame>> {
        self.check()?;
        let table = self.seat.ring.table();
        for frame in table.frames {
            let position = frame.position.load(Acquire);
            if position == 0 || frame.number.load(Relaxed) != number || !self.seat.pin(position) {
                continue;
            }
            let found = AnyFrame::pinned(&self.seat, position);
            if found.number() == number {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The next frame, which is waited for; see [`Subscriber::next`].
    ///
    /// # Errors
    ///
    /// As there.
    #[allow(clippy::should_implement_trait, reason = "iter() iterates")]
    pub fn next(&mut self) -> Result<Option<AnyFrame>> {
        let deadline = self.seat.ring.opened.member().deadline();
        self.next_until(&deadline)
    }

    /// The next frame, without a wait; see [`Subscriber::try_next`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_next(&mut self) -> Result<Option<AnyFrame>> {
        self.check()?;
        let found = self.look();
        found.unwrap_or_else(|| Err(self.waited_in_vain(&Wait::Never.begin())))
    }

    /// The next frame, within a time; see [`Subscriber::next_timeout`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<AnyFrame>> {
        self.next_until(&Wait::AtMost(timeout).begin())
    }

    fn next_until(&mut self, deadline: &Deadline) -> Result<Option<AnyFrame>> {
        self.check()?;
        let found = self.look().or_else(|| self.spin_until(deadline));
        let found = found.or_else(|| {
            let ring = self.seat.ring.clone();
            ring.table().wait_for_frame(deadline.instant(), |is_due| {
                let found = self.look();
                match is_due && found.is_none() {
                    true => self.look_around(),
                    false => found,
                }
            })
        });
        found.unwrap_or_else(|| Err(self.waited_in_vain(deadline)))
    }

    fn spin_until(&mut self, deadline: &Deadline) -> Found {
        if self.spin.is_zero() {
            return None;
        }
        let now = Instant::now();
        let end = now.checked_add(self.spin)?;
        let end = deadline.instant().map_or(end, |limit| limit.min(end));
        let ring = self.seat.ring.clone();
        // Looked up once: each look at it would take as long as a pause.
        let newest = &ring.table().control.newest;
        let mut seen = self.place.at;
        loop {
            for _ in 0..64 {
                let newest = newest.load(Acquire);
                if newest != seen {
                    seen = newest;
                    if let Some(found) = self.look() {
                        return Some(found);
                    }
                }
                spin_loop();
            }
            if Instant::now() >= end {
                return self.look();
            }
        }
    }

    /// A frame that is there, the end of the stream, or the death of a producer.
    fn look(&mut self) -> Found {
        if let Some(position) = self.next_position() {
            return Some(Ok(Some(self.take(position))));
        }
        let table = self.seat.ring.table();
        if table.has_ended() {
            // The last frame was published before the end.
            let last = self.next_position();
            return Some(Ok(last.map(|position| self.take(position))));
        }
        let dead = table.last_dead();
        if dead != self.dead {
            self.dead = dead;
            return Some(Err(Error::Abandoned {
                path: self.seat.ring.opened.path().into(),
                member: dead,
            }));
        }
        None
    }

    /// What only a look at other processes finds.
    fn look_around(&mut self) -> Found {
        let ring = self.seat.ring.clone();
        if let Err(error) = ring.check_wait() {
            return Some(Err(error));
        }
        let table = ring.table();
        let noted = table.last_dead();
        let producer = table.control.producer.load(SeqCst);
        if producer != 0 && !self.living.is_alive(&ring.opened, producer) {
            table.end_turn_of(producer, noted);
            return self.look();
        }
        None
    }

    fn next_position(&self) -> Option<u64> {
        let ring = &self.seat.ring;
        let table = ring.table();
        // The producer's processor has just written all of these: they come at the same time as
        // the seat, not one after the other.
        let next = self.place.at.wrapping_add(1);
        prefetch(table.frame(next));
        prefetch(
            ring.opened
                .payload(ring.offset_of(table.slot(next)))
                .as_ptr(),
        );
        table.next(&self.place, |position| self.seat.pin(position))
    }

    /// The frame at a position that was pinned, which is the last one that was taken now.
    fn take(&mut self, position: u64) -> AnyFrame {
        let frame = AnyFrame::pinned(&self.seat, position);
        self.seat.ring.table().advance(&mut self.place, position);
        let passed = frame.number().wrapping_sub(self.last);
        // The newest frame may be the last one again, or one before it after another boot.
        if (passed as i64) > 0 {
            self.missed += passed - 1;
        }
        self.last = frame.number();
        frame
    }

    fn check(&self) -> Result<()> {
        check_generation(&self.seat.ring, self.seat.generation)?;
        self.seat.ring.opened.check_ready()
    }

    fn waited_in_vain(&self, deadline: &Deadline) -> Error {
        let ring = &self.seat.ring;
        let (obstacle, holders) = match ring.producer() {
            Some(producer) => ("the producer published no frame", vec![producer]),
            None => ("no process produced", Vec::new()),
        };
        let error = deadline.failed(ring.opened.path(), obstacle);
        error.held_by(holders.into_iter().collect())
    }
}

impl Drop for AnySubscriber {
    fn drop(&mut self) {
        // Frames may keep the seat for longer.
        if self.seat.generation == fork::generation() && self.place.mode == Mode::Lossless {
            self.seat
                .ring
                .table()
                .stop_waiting_for(self.place.seat, self.seat.me);
        }
    }
}

impl<T: Element, D: Dimension, I: FrameInfo> Subscriber<T, D, I> {
    pub(super) fn new(any: AnySubscriber, dim: D) -> Self {
        Self {
            any,
            dim,
            types: PhantomData,
        }
    }

    fn typed(&self, any: AnyFrame) -> Frame<T, D, I> {
        Frame::new(any, self.dim.clone())
    }

    /// Makes each wait spin for so long before it sleeps: a frame is then seen after less than a
    /// microsecond instead of some ten, at the cost of a processor. By default a wait sleeps at
    /// once.
    pub fn spin(&mut self, time: Duration) {
        self.any.spin(time);
    }

    /// How many frames this subscription missed: published since it began, and not taken, because
    /// the producer was faster or [`latest`](Self::latest) stepped over them.
    pub fn missed(&self) -> u64 {
        self.any.missed()
    }

    /// The newest frame, also if it was taken before; `None` if there is none yet. Does not wait.
    ///
    /// # Errors
    ///
    /// `Released` if the ring was released; `NotOwner` in a forked child.
    pub fn latest(&mut self) -> Result<Option<Frame<T, D, I>>> {
        Ok(self.any.latest()?.map(|any| self.typed(any)))
    }

    /// The frame of a number, if it was not overwritten yet. It counts as neither taken nor missed.
    ///
    /// # Errors
    ///
    /// Those of [`latest`](Self::latest).
    pub fn frame(&self, number: u64) -> Result<Option<Frame<T, D, I>>> {
        Ok(self.any.frame(number)?.map(|any| self.typed(any)))
    }

    /// The next frame in order; `None` at the end of the stream. Where it was overwritten, the
    /// newest one. Waits for it, for the manager's lock timeout at most, if it has one.
    ///
    /// # Errors
    ///
    /// `Abandoned` once for each producer that died, within 100 ms: the next call waits for the
    /// next producer. `Timeout`, which names the producer; `Released`; `Interrupted`; `NotOwner` in
    /// a forked child.
    #[allow(clippy::should_implement_trait, reason = "iter() iterates")]
    pub fn next(&mut self) -> Result<Option<Frame<T, D, I>>> {
        Ok(self.any.next()?.map(|any| self.typed(any)))
    }

    /// The next frame in order, if it is there.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where [`next`](Self::next) would wait; those of `next`.
    pub fn try_next(&mut self) -> Result<Option<Frame<T, D, I>>> {
        Ok(self.any.try_next()?.map(|any| self.typed(any)))
    }

    /// The next frame in order, waiting no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// Those of [`next`](Self::next).
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Frame<T, D, I>>> {
        Ok(self.any.next_timeout(timeout)?.map(|any| self.typed(any)))
    }

    /// The next frames in order, each waited for as by [`next`](Self::next), until the stream ends.
    pub fn iter(&mut self) -> impl Iterator<Item = Result<Frame<T, D, I>>> + '_ {
        std::iter::from_fn(|| self.next().transpose())
    }
}

impl fmt::Debug for AnySubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber")
            .field("path", &self.seat.ring.opened.path())
            .field("missed", &self.missed)
            .finish_non_exhaustive()
    }
}

impl<T: Element, D: Dimension, I: FrameInfo> fmt::Debug for Subscriber<T, D, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.any.fmt(f)
    }
}

//! The state of a ring: a copy of its words, read without mapping the file and without a seat.

use super::{GuardKind, Observer};
use crate::{
    error::{Error, Result},
    format::kind::{ArrayKind, CONTROL_LEN, FRAME_LEN, Kind, SEAT_LEN},
    inspect::{holder::Holder, info::ArrayInfo},
    segment,
    state::ring_snapshot::RingSnapshot,
    store::member,
    sys::{fs::open_file, process},
};
use std::os::unix::fs::FileExt;

/// A subscriber of a ring, as [`AnyRing::subscribers`](crate::AnyRing::subscribers) and
/// [`Observer::ring`](crate::Observer::ring) find it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberState {
    /// Its process.
    pub process: Holder,
    /// Whether the producer waits for it.
    pub is_lossless: bool,
    /// The number of positions from the last frame that it took to the newest one.
    pub lag: u64,
    /// The number of frames that it holds.
    pub held: usize,
}

impl SubscriberState {
    pub(crate) fn new(process: Holder, is_lossless: bool, lag: u64, held: usize) -> Self {
        Self {
            process,
            is_lossless,
            lag,
            held,
        }
    }
}

/// The state of a ring when it was looked at. Given by
/// [`Observer::ring`](crate::Observer::ring).
///
/// # Examples
///
/// ```
/// use ndshm::Observer;
///
/// let manager = ndshm::Manager::new()?;
/// let ring = manager.options().name("camera").ring::<u8, _>((480, 640), 4)?;
/// let _subscriber = ring.subscribe()?;
/// let mut producer = ring.produce()?;
/// producer.next()?.publish()?;
///
/// let state = Observer::open(manager.path())?.ring(&ring.handle().info()?)?;
/// assert_eq!((state.newest, state.has_ended), (1, false));
/// assert_eq!(state.producer.unwrap().pid, Some(std::process::id()));
/// assert_eq!(state.subscribers[0].lag, 1);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingState {
    /// The number of frames that the ring has room for.
    pub frames: usize,
    /// The most subscribers.
    pub max_subscribers: usize,
    /// The number of the newest frame; 0 before the first one.
    pub newest: u64,
    /// Whether the stream has ended.
    pub has_ended: bool,
    /// The process that has the turn to produce, if any has.
    pub producer: Option<Holder>,
    /// The subscribers, in the order of their seats, dead ones included.
    pub subscribers: Vec<SubscriberState>,
}

impl Observer {
    /// The state of a ring of this store: its newest frame, its producer and its subscribers.
    ///
    /// It reads the ring's words from the file. It takes no seat, and neither the producer nor a
    /// subscriber notices it.
    ///
    /// # Errors
    ///
    /// `Kind` if the array is no ring; `Released` if it is gone; `Io`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let ring = manager.options().max_subscribers(1).ring::<u8, _>(10, 4)?;
    /// let _only = ring.subscribe()?;
    /// let observer = ndshm::Observer::open(manager.path())?;
    /// let state = observer.ring(&ring.handle().info()?)?;
    /// assert_eq!((state.max_subscribers, state.subscribers.len()), (1, 1));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn ring(&self, info: &ArrayInfo) -> Result<RingState> {
        let parsed = segment::read_header(&info.path, Some(info.id))?.parsed;
        let (Kind::Ring(kind), Some(work)) = (&parsed.header.kind, parsed.work_range()) else {
            return Err(Error::Kind {
                path: info.path.clone(),
                expected: ArrayKind::Ring,
                found: parsed.header.kind.public(),
            });
        };
        let file = open_file(&info.path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::Released {
                path: info.path.clone(),
                id: info.id,
            },
            _ => Error::io(&info.path, "open the array file")(source),
        })?;
        let read = |bytes: &mut [u8], at: usize| {
            file.read_exact_at(bytes, at as u64)
                .map_err(Error::io(&info.path, "read the words of the ring"))
        };
        let (frames, most) = (parsed.header.spec.shape()[0], kind.seats as usize);
        let mut control = [0; CONTROL_LEN];
        read(&mut control, work.start)?;
        let seats = RingSnapshot::used_seats(&control, most);
        let mut words = vec![0; frames * FRAME_LEN + seats * SEAT_LEN];
        read(&mut words, work.start + CONTROL_LEN)?;
        // The file may be another array's by now: then the words are too.
        segment::read_header(&info.path, Some(info.id))?;
        let (frame_words, seat_words) = words.split_at(frames * FRAME_LEN);
        let boot = bytemuck::cast(member::boot_id().unwrap_or_default().into_bytes());
        let found = RingSnapshot::of(&control, frame_words, seat_words, boot);
        let producer = found
            .producer
            .map(|(member, number)| self.process(info, member, number, GuardKind::Write));
        let subscribers = found.seats.iter().map(|seat| {
            let process = self.process(info, seat.member, seat.process, GuardKind::Read)?;
            let (lag, held) = (seat.lag, seat.held);
            Ok(SubscriberState::new(process, seat.is_lossless, lag, held))
        });
        Ok(RingState {
            frames,
            max_subscribers: most,
            newest: found.newest,
            has_ended: found.has_ended,
            producer: producer.transpose()?,
            subscribers: subscribers.collect::<Result<_>>()?,
        })
    }

    /// The process of a member that uses all of a ring.
    fn process(
        &self,
        info: &ArrayInfo,
        member: u64,
        number: u32,
        kind: GuardKind,
    ) -> Result<Holder> {
        let is_alive = self.store.is_alive(member)?;
        let pid = process::pid_of(number);
        let is_this_process = is_alive && pid == Some(std::process::id());
        Ok(Holder {
            path: Some(info.path.clone()),
            kind: Some(kind),
            is_waiting: false,
            range: 0..0,
            slice: Some("[:]".into()),
            member,
            is_alive,
            pid,
            command: pid.filter(|_| is_alive).and_then(process::command_of),
            is_this_process,
            is_this_thread: false,
            since: None,
        })
    }
}

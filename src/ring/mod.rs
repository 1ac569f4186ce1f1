//! Rings of frames: [`Ring`] and [`AnyRing`], their producer and their subscribers.
//!
//! `state::ring` has the protocol. This folder opens rings, makes views of frames that the protocol
//! gives, and says why a wait was in vain. `producer`, `subscriber` and `frame` have one untyped
//! type each, and a typed one around it.

#[allow(unsafe_code)]
mod frame;
mod info;
#[allow(unsafe_code)]
mod opened;
#[allow(unsafe_code)]
mod producer;
mod seat;
mod serde;
mod subscriber;

pub use frame::{AnyFrame, Frame};
pub use info::FrameInfo;
pub use producer::{AnyFrameMut, AnyProducer, FrameMut, Producer};
pub use subscriber::{AnySubscriber, Subscriber};

use crate::{
    array::{Content, Labels, any::MappedMemory, create_any, open_array::OpenArray, spec_of},
    element::{Element, dtype::DType, numpy::NumpyDType},
    error::{Error, Result},
    format::{
        id::ArrayId,
        kind::{ArrayKind, FRAMES, Kind, MAX_INFO, MAX_SEATS, RingKind},
        name,
    },
    handle::Handle,
    inspect::{holder::Holder, observer::SubscriberState},
    layout::Order,
    scope::Scope,
    segment::{Segment, draft::Draft},
    state::ring::Mode,
    store::member::Member,
    sys::wait::Wait,
};
use ::serde::de::DeserializeOwned;
use ndarray::Dimension;
use opened::OpenRing;
use std::{fmt, marker::PhantomData, path::Path, sync::Arc, time::Duration};

/// A ring of frames with elements of any type: what [`Ring`] is, with bytes instead of elements.
///
/// # Deletion
///
/// As of [`SharedArray`](crate::SharedArray).
#[derive(Clone)]
pub struct AnyRing {
    ring: Arc<OpenRing>,
}

/// A ring of frames: one process at a time publishes frames of one shape and type, and any
/// subscriber takes the newest or the next one, without a copy.
///
/// Made by [`ArrayOptions::ring`](crate::ArrayOptions::ring) with 2 to 256 frames, in one file. It
/// is opened by its name, path or handle, in any process of the user, and only as a ring. A ring
/// needs two frames more than its subscribers hold at once: the newest, and one to write.
///
/// `T` is the type of the elements, `D` the number of axes of a frame, and `I` the type of the
/// [information](FrameInfo) that goes with each frame. A ring that has information may be opened
/// without it.
///
/// # What survives
///
/// A producer that dies leaves the ring usable, and its unfinished frame is never seen. A
/// subscriber that dies blocks no process. The frames of a persistent ring outlive all processes,
/// but not the machine: after another boot the ring is empty, and its numbers go on.
///
/// # Deletion
///
/// As of [`SharedArray`](crate::SharedArray). Frames that are held stay valid.
///
/// # Examples
///
/// ```
/// use ndarray::Ix3;
/// use ndshm::Ring;
///
/// let manager = ndshm::Manager::new()?;
/// let ring = manager.options().name("camera").ring::<u8, _>((480, 640, 3), 8)?;
///
/// // In another process: manager.ring("camera")
/// let camera: Ring<u8, Ix3> = ring.handle().open_ring()?;
/// let mut subscriber = camera.subscribe()?;
///
/// let mut producer = ring.produce()?;
/// let mut frame = producer.next()?;
/// frame.fill(255);
/// frame.publish()?;
///
/// let frame = subscriber.next()?.expect("the stream has not ended");
/// assert_eq!((frame.number(), frame[[0, 0, 0]]), (1, 255));
/// # Ok::<(), ndshm::Error>(())
/// ```
pub struct Ring<T: Element, D: Dimension, I: FrameInfo = ()> {
    any: AnyRing,
    dim: D,
    types: PhantomData<fn() -> (T, I)>,
}

/// The settings of a new ring, beside its labels.
pub(crate) struct RingPlan<'a> {
    pub(crate) dtype: DType,
    /// The shape of a frame.
    pub(crate) shape: &'a [usize],
    pub(crate) frames: usize,
    pub(crate) seats: u32,
    pub(crate) info: Option<DType>,
}

type NoDraft = fn(&mut Draft);

impl AnyRing {
    /// Makes a ring.
    pub(crate) fn create(
        member: &Arc<Member>,
        mut labels: Labels,
        plan: RingPlan<'_>,
    ) -> Result<Self> {
        let refuse = |reason: String| Err(Error::layout("create a ring", reason));
        let (frames, seats) = (plan.frames, plan.seats);
        if !FRAMES.contains(&frames) {
            return refuse(format!("{frames} frames: a ring has 2 to 256"));
        }
        if !(1..=MAX_SEATS).contains(&seats) {
            return refuse(format!(
                "{seats} subscribers: a ring has seats for 1 to {MAX_SEATS}"
            ));
        }
        if let Some(info) = plan.info.as_ref().filter(|info| info.itemsize() > MAX_INFO) {
            return refuse(format!(
                "{info} has {} bytes: the information of a frame has at most {MAX_INFO}",
                info.itemsize()
            ));
        }
        if plan.shape.contains(&0) {
            return refuse(format!(
                "shape {:?}: a frame has at least one element",
                plan.shape
            ));
        }
        let shape = [&[frames], plan.shape].concat();
        let spec = spec_of(&plan.dtype, &shape, Order::C)?;
        if !labels.axis_names.is_empty() {
            labels.axis_names.insert(0, None);
        }
        labels.kind = Kind::Ring(RingKind {
            seats,
            info: plan.info,
        });
        let segment = create_any(member, labels, spec, Content::<NoDraft>::Zeros)?;
        Self::new(OpenArray::new(segment, None), true)
    }

    fn new(opened: Arc<OpenArray>, is_writable: bool) -> Result<Self> {
        let ring = OpenRing::new(opened, is_writable)?;
        Ok(Self { ring })
    }

    /// Opens the ring with this chosen name, in the file at `path`.
    pub(crate) fn open_named(member: &Arc<Member>, path: &Path) -> Result<Self> {
        let segment = Segment::open(member, path, None, true)?;
        Self::new(OpenArray::new(segment, None), true)
    }

    /// Opens the ring in the file at `path`.
    ///
    /// # Errors
    ///
    /// As [`Ring::open_path`], without `Dtype` and `Rank`.
    pub fn open_path(path: impl AsRef<Path>) -> Result<Self> {
        let segment = Segment::at_path(path.as_ref())?;
        Self::new(OpenArray::new(segment, None), true)
    }

    fn of_handle(handle: &Handle) -> Result<Self> {
        let segment = Segment::of_handle(handle, Wait::Forever)?;
        segment.check_kind(ArrayKind::Ring)?;
        let claim = segment.receive(handle.scope())?;
        Self::new(OpenArray::new(segment, claim), handle.is_writable())
    }

    /// The ring with elements of this type, frames of this rank, and information of this type.
    ///
    /// # Errors
    ///
    /// `Dtype` if the elements have another type, or the information has, unless `I` is `()`;
    /// `Rank` if the frames have another number of axes.
    pub fn downcast<T: Element, D: Dimension, I: FrameInfo>(self) -> Result<Ring<T, D, I>> {
        let path = || self.path().to_path_buf();
        let wrong_type = |expected: DType, found: DType| Error::Dtype {
            path: path(),
            expected,
            found,
        };
        if *self.ring.dtype() != T::DTYPE {
            return Err(wrong_type(T::DTYPE, self.ring.dtype().clone()));
        }
        if let Some(expected) = I::dtype()
            && self.ring.info_dtype() != Some(&expected)
        {
            let Some(found) = self.ring.info_dtype() else {
                return Err(Error::layout(
                    "open a ring",
                    format!("{} has no information beside its frames", path().display()),
                ));
            };
            return Err(wrong_type(expected, found.clone()));
        }
        let shape = self.ring.shape();
        let mut dim = D::zeros(D::NDIM.unwrap_or(shape.len()));
        if dim.ndim() != shape.len() {
            return Err(Error::Rank {
                path: path(),
                expected: dim.ndim(),
                found: shape.len(),
            });
        }
        dim.slice_mut().copy_from_slice(shape);
        Ok(Ring {
            any: self,
            dim,
            types: PhantomData,
        })
    }

    /// The turn to produce; see [`Ring::produce`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn produce(&self) -> Result<AnyProducer> {
        let limit = self.ring.opened.member().settings().lock_timeout();
        AnyProducer::begin(&self.ring, Wait::limited(limit))
    }

    /// The turn to produce, if no process has it; see [`Ring::try_produce`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_produce(&self) -> Result<AnyProducer> {
        AnyProducer::begin(&self.ring, Wait::Never)
    }

    /// The turn to produce, within a time; see [`Ring::produce_timeout`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn produce_timeout(&self, timeout: Duration) -> Result<AnyProducer> {
        AnyProducer::begin(&self.ring, Wait::AtMost(timeout))
    }

    /// A subscription; see [`Ring::subscribe`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn subscribe(&self) -> Result<AnySubscriber> {
        AnySubscriber::begin(&self.ring, Mode::Newest)
    }

    /// A lossless subscription; see [`Ring::subscribe_lossless`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn subscribe_lossless(&self) -> Result<AnySubscriber> {
        AnySubscriber::begin(&self.ring, Mode::Lossless)
    }

    /// The frame of a number; see [`Ring::frame`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn frame(&self, number: u64) -> Result<Option<AnyFrame>> {
        self.subscribe()?.frame(number)
    }

    /// The type of the elements.
    pub fn dtype(&self) -> &DType {
        self.ring.dtype()
    }

    /// NumPy's type of the elements, where the ring is stored as another one; see
    /// [`AnyArray::numpy_dtype`](crate::AnyArray::numpy_dtype).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let attrs = BTreeMap::from([("numpy.dtype", "<M8[ns]")]);
    /// let options = manager.options().attrs(&attrs)?;
    /// let ring = options.ring_any(&"<i8".parse()?, &[3], 4, None)?;
    /// assert_eq!(ring.numpy_dtype().unwrap().to_string(), "<M8[ns]");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn numpy_dtype(&self) -> Option<NumpyDType> {
        let header = self.ring.opened.header();
        NumpyDType::believed(header.attrs.as_ref(), header.spec.dtype())
    }

    /// The memory of the frames, which stays mapped while this lives; for bindings. It keeps
    /// neither the ring nor a frame.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let ring = manager.options().ring_any(&"<f4".parse()?, &[5], 4, None)?;
    /// let path = ring.path().to_path_buf();
    /// let memory = ring.memory();
    /// drop(ring);
    /// assert!(!path.exists());
    /// # drop(memory);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn memory(&self) -> MappedMemory {
        self.ring.opened.mark_used();
        MappedMemory::new(self.ring.opened.pages())
    }

    /// The shape of a frame.
    pub fn frame_shape(&self) -> &[usize] {
        self.ring.shape()
    }

    /// The type of the information beside each frame; `None` if there is none.
    pub fn info_dtype(&self) -> Option<&DType> {
        self.ring.info_dtype()
    }

    /// The number of frames.
    pub fn frames(&self) -> usize {
        self.ring.frames()
    }

    /// The most subscribers.
    pub fn max_subscribers(&self) -> usize {
        self.ring.max_subscribers()
    }

    /// The number of the newest frame; 0 before the first one.
    pub fn newest(&self) -> u64 {
        self.ring.table().last_number()
    }

    /// Whether the stream has ended.
    pub fn has_ended(&self) -> bool {
        self.ring.table().has_ended()
    }

    /// The process that has the turn to produce, if any has.
    pub fn producer(&self) -> Option<Holder> {
        self.ring.producer()
    }

    /// The subscribers, in the order of their seats, dead ones included.
    pub fn subscribers(&self) -> Vec<SubscriberState> {
        let seats = 0..self.ring.max_subscribers();
        seats
            .filter_map(|seat| self.ring.subscriber(seat))
            .collect()
    }

    /// A value that names the ring for another process.
    pub fn handle(&self) -> Handle {
        Handle::new(
            self.path(),
            self.id(),
            self.dtype().fingerprint(),
            self.ring.is_writable(),
            self.scope(),
            None,
        )
    }

    /// Lets the first process that opens the handle inherit the ring; see
    /// [`SharedArray::hand_over`](crate::SharedArray::hand_over).
    pub fn hand_over(&self) -> Handle {
        let scope = self.ring.opened.hand_over();
        self.handle().with_scope(scope)
    }

    /// The chosen name; `None` without one.
    pub fn name(&self) -> Option<String> {
        name::of(self.path())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.ring.opened.path()
    }

    /// The identity of the ring.
    pub fn id(&self) -> ArrayId {
        self.ring.opened.header().id
    }

    /// Which process deletes the ring; see [`Scope`].
    pub fn scope(&self) -> Scope {
        self.ring.opened.scope()
    }

    /// Changes which process deletes the ring.
    ///
    /// # Errors
    ///
    /// As [`SharedArray::set_scope`](crate::SharedArray::set_scope).
    pub fn set_scope(&self, scope: Scope) -> Result<()> {
        self.ring.opened.mark_used();
        self.ring.opened.set_scope(scope)
    }

    /// Deletes the ring now. Frames that are held stay valid; producer and subscribers get
    /// `Released`.
    ///
    /// # Errors
    ///
    /// As [`SharedArray::release`](crate::SharedArray::release).
    pub fn release(&self) -> Result<()> {
        self.ring.opened.mark_used();
        self.ring.opened.release()
    }

    /// The attributes, as any type that deserializes from a map.
    ///
    /// # Errors
    ///
    /// `Attrs` if they do not fit the type.
    pub fn attrs<A: DeserializeOwned>(&self) -> Result<A> {
        crate::format::attributes::from_value(self.ring.opened.header().attrs.as_ref())
    }

    /// The names of the axes of a frame: one entry for each, or none at all.
    pub fn axis_names(&self) -> &[Option<String>] {
        let names = &self.ring.opened.header().axis_names;
        names.get(1..).unwrap_or_default()
    }
}

impl Handle {
    /// Opens the ring that the handle names.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open); `Kind` if it names no ring.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix2;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let ring = manager.options().ring::<u8, _>((480, 640), 4)?;
    /// assert_eq!(ring.handle().open_ring::<u8, Ix2, ()>()?.id(), ring.id());
    /// assert!(matches!(ring.handle().open_any(), Err(ndshm::Error::Kind { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open_ring<T: Element, D: Dimension, I: FrameInfo>(&self) -> Result<Ring<T, D, I>> {
        self.open_any_ring()?.downcast()
    }

    /// Opens the ring that the handle names, with elements of any type.
    ///
    /// # Errors
    ///
    /// As [`open_ring`](Self::open_ring), without `Dtype` and `Rank`.
    pub fn open_any_ring(&self) -> Result<AnyRing> {
        AnyRing::of_handle(self)
    }
}

impl<T: Element, D: Dimension, I: FrameInfo> Ring<T, D, I> {
    /// Opens the ring in the file at `path`.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Kind` if it is no ring; `Dtype`, `Rank`; those of
    /// [`SharedArray::open_path`](crate::SharedArray::open_path).
    pub fn open_path(path: impl AsRef<Path>) -> Result<Self> {
        AnyRing::open_path(path)?.downcast()
    }

    /// Takes the turn to produce. Waits while another process or thread has it, for the manager's
    /// lock timeout at most, if it has one.
    ///
    /// # Errors
    ///
    /// `Timeout`, which names the process; `Released`; `Interrupted`.
    pub fn produce(&self) -> Result<Producer<T, D, I>> {
        Ok(Producer::new(self.any.produce()?, self.dim.clone()))
    }

    /// Takes the turn to produce, if no process or thread has it.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, which names the process; `Released`.
    pub fn try_produce(&self) -> Result<Producer<T, D, I>> {
        Ok(Producer::new(self.any.try_produce()?, self.dim.clone()))
    }

    /// Takes the turn to produce, waiting no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// Those of [`produce`](Self::produce).
    pub fn produce_timeout(&self, timeout: Duration) -> Result<Producer<T, D, I>> {
        Ok(Producer::new(
            self.any.produce_timeout(timeout)?,
            self.dim.clone(),
        ))
    }

    /// Subscribes to the frames that are published from now on. The producer does not wait: where
    /// it is faster, frames are missed.
    ///
    /// # Errors
    ///
    /// `TooManySubscribers`; `Released`.
    pub fn subscribe(&self) -> Result<Subscriber<T, D, I>> {
        Ok(Subscriber::new(self.any.subscribe()?, self.dim.clone()))
    }

    /// Subscribes without losses: the producer waits until this subscriber has taken each frame, as
    /// long as its process lives. A stopped process stops the producer, whose `Timeout` names it.
    ///
    /// # Errors
    ///
    /// Those of [`subscribe`](Self::subscribe).
    pub fn subscribe_lossless(&self) -> Result<Subscriber<T, D, I>> {
        Ok(Subscriber::new(
            self.any.subscribe_lossless()?,
            self.dim.clone(),
        ))
    }

    /// The frame of a number, if it was not overwritten yet: for processes that send each other
    /// numbers of frames.
    ///
    /// # Errors
    ///
    /// Those of [`subscribe`](Self::subscribe).
    pub fn frame(&self, number: u64) -> Result<Option<Frame<T, D, I>>> {
        self.subscribe()?.frame(number)
    }

    /// The same ring with elements of any type.
    pub fn as_any(&self) -> &AnyRing {
        &self.any
    }
}

/// The properties of a ring do not depend on the type of its elements.
impl<T: Element, D: Dimension, I: FrameInfo> std::ops::Deref for Ring<T, D, I> {
    type Target = AnyRing;

    fn deref(&self) -> &AnyRing {
        &self.any
    }
}

impl<T: Element, D: Dimension, I: FrameInfo> Clone for Ring<T, D, I> {
    fn clone(&self) -> Self {
        Self {
            any: self.any.clone(),
            dim: self.dim.clone(),
            types: PhantomData,
        }
    }
}

impl fmt::Debug for AnyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("path", &self.path())
            .field("dtype", self.dtype())
            .field("frame_shape", &self.frame_shape())
            .field("frames", &self.frames())
            .finish_non_exhaustive()
    }
}

impl<T: Element, D: Dimension, I: FrameInfo> fmt::Debug for Ring<T, D, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.any.fmt(f)
    }
}

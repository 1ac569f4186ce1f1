//! An opened ring: the places of its words and frames in the mapping.
//!
//! One of the modules with unsafe code: it keeps references to the words, and gives the bytes of
//! frames that the words say are the caller's to read or to write.

use crate::{
    array::{obstacles, open_array::OpenArray},
    element::dtype::DType,
    error::{Error, Result},
    format::kind::{ArrayKind, CONTROL_LEN, Kind},
    inspect::{
        holder::Holder,
        observer::{GuardKind, SubscriberState},
    },
    segment::Segment,
    state::ring::{Mode, RingTable, member_of},
    store::member,
    sys::{fork, wait::is_interrupted},
};
use std::{
    cell::RefCell,
    collections::HashMap,
    mem,
    ops::Range,
    slice,
    sync::{
        Arc,
        atomic::Ordering::{Acquire, Relaxed, SeqCst},
    },
    time::{Duration, Instant},
};

/// For how long a member that lived counts as alive. To ask the kernel costs more than a frame.
const LIVES_FOR: Duration = Duration::from_millis(20);
/// Rings up to this size have all of their pages mapped when a process begins to use them.
const WARM_UP_TO: usize = 64 << 20;

/// A ring that this process has open.
pub(crate) struct OpenRing {
    // Private, and its lifetime never leaves this struct: it ends with the opening below.
    table: RingTable<'static>,
    pub(super) opened: Arc<OpenArray>,
    infos_at: usize,
    info_stride: usize,
    seats: usize,
    frames: usize,
    /// Bytes of a frame.
    pub(super) frame_len: usize,
    info: Option<DType>,
    /// Invariant: true only if the segment is mapped for writing.
    is_writable: bool,
}

impl OpenRing {
    /// The ring in a segment. `is_writable` says whether that was opened for writing.
    pub(crate) fn new(opened: Arc<OpenArray>, is_writable: bool) -> Result<Arc<Self>> {
        opened.check_kind(ArrayKind::Ring)?;
        if opened.is_read_only() {
            return Err(Error::ReadOnly {
                path: opened.path().into(),
                reason: "its file system is mounted read-only here, and subscribers of a ring \
                         write into its file",
            });
        }
        let (header, work) = (opened.header(), opened.work_range());
        let (Kind::Ring(kind), Some(work)) = (&header.kind, work) else {
            unreachable!("the kind was checked")
        };
        let frames = header.spec.shape()[0];
        let table = RingTable {
            control: &opened.atomics_at(work.start, 1)[0],
            frames: opened.atomics_at(work.start + CONTROL_LEN, frames),
            seats: opened.atomics_at(work.start + kind.seats_at(frames), kind.seats as usize),
        };
        // SAFETY: the words lie in a mapping of the segment, which keeps both of its mappings until
        // it is dropped; `opened` keeps the segment for as long as this struct lives, and the
        // lifetime never leaves it: `table` shortens it.
        let table = unsafe { mem::transmute::<RingTable<'_>, RingTable<'static>>(table) };
        let ring = Self {
            table,
            infos_at: work.start + kind.infos_at(frames),
            info_stride: kind.info_stride(),
            seats: kind.seats as usize,
            frames,
            frame_len: header.spec.byte_len() / frames,
            info: kind.info.clone(),
            is_writable,
            opened,
        };
        ring.renew_after_boot()?;
        Ok(Arc::new(ring))
    }

    /// After another boot the frames are gone: not all pages may have reached the disk.
    fn renew_after_boot(&self) -> Result<()> {
        let boot: [u64; 2] = bytemuck::cast(member::boot_id().unwrap_or_default().into_bytes());
        let words = &self.table().control.boot;
        if words[0].load(SeqCst) == boot[0] && words[1].load(SeqCst) == boot[1] {
            return Ok(());
        }
        let member = self.opened.member();
        member.with_names(&member.deadline(), || {
            self.table().renew(boot);
            Ok(())
        })
    }

    #[inline]
    pub(super) fn table(&self) -> RingTable<'_> {
        self.table
    }

    /// The shape of a frame.
    pub(super) fn shape(&self) -> &[usize] {
        &self.opened.header().spec.shape()[1..]
    }

    /// The type of the elements.
    pub(super) fn dtype(&self) -> &DType {
        self.opened.header().spec.dtype()
    }

    pub(super) fn info_dtype(&self) -> Option<&DType> {
        self.info.as_ref()
    }

    /// The number of frames.
    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    pub(super) fn max_subscribers(&self) -> usize {
        self.seats
    }

    /// The place of a slot's elements in the payload.
    pub(super) fn offset_of(&self, slot: usize) -> usize {
        slot * self.frame_len
    }

    /// Maps the pages of all frames now, so that the first round is as fast as the others.
    pub(super) fn warm_up(&self) {
        if self.opened.data_len() <= WARM_UP_TO {
            self.opened.populate_payload();
        }
    }

    /// An error if this process opened the ring for reading only.
    pub(super) fn check_writable(&self) -> Result<()> {
        if self.is_writable {
            return Ok(());
        }
        Err(Error::ReadOnly {
            path: self.opened.path().into(),
            reason: "its handle is for reading only: subscribe, or take a handle for writing",
        })
    }

    /// Whether this process may produce.
    pub(super) fn is_writable(&self) -> bool {
        self.is_writable
    }

    /// An error if the ring was released, or the wait was interrupted.
    pub(super) fn check_wait(&self) -> Result<()> {
        self.opened.check_ready()?;
        self.opened.member().check_open()?;
        if is_interrupted() {
            return Err(Error::Interrupted {
                path: self.opened.path().into(),
            });
        }
        Ok(())
    }

    /// The bytes of the first rows of a slot.
    ///
    /// # Safety
    ///
    /// The slot is pinned by a seat of this process for as long as `'a` lasts, and the ring stays
    /// open.
    pub(super) unsafe fn bytes<'a>(&self, slot: usize, len: usize) -> &'a [u8] {
        assert!(
            len <= self.frame_len,
            "{len} bytes of a frame of {}",
            self.frame_len
        );
        let start = self.opened.payload(self.offset_of(slot));
        // SAFETY: the slot lies inside the payload, which stays mapped and has its pages; no
        // producer writes a slot that a seat pins (the caller's promise, `state::ring`).
        unsafe { slice::from_raw_parts(start.as_ptr(), len) }
    }

    /// The bytes of a slot, to write them.
    ///
    /// # Safety
    ///
    /// The slot was reserved by this process for as long as `'a` lasts, no other reference to it
    /// exists, and the ring stays open, for writing.
    pub(super) unsafe fn bytes_mut<'a>(&self, slot: usize) -> &'a mut [u8] {
        let start = self.opened.payload(self.offset_of(slot));
        // SAFETY: as above; a reserved slot is hidden and no seat pins it, so no process reads it.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), self.frame_len) }
    }

    fn info_place(&self, slot: usize) -> Range<usize> {
        assert!(slot < self.frames, "slot {slot} of {}", self.frames);
        let start = self.infos_at + slot * self.info_stride;
        start..start + self.info.as_ref().map_or(0, DType::itemsize)
    }

    /// The information beside a slot.
    ///
    /// # Safety
    ///
    /// As of [`bytes`](Self::bytes).
    pub(super) unsafe fn info<'a>(&self, slot: usize) -> &'a [u8] {
        let place = self.info_place(slot);
        let start = self.opened.file_at(place.start);
        // SAFETY: the place lies inside the work area, which is mapped; the pin protects it as it
        // protects the elements.
        unsafe { slice::from_raw_parts(start.as_ptr(), place.len()) }
    }

    /// The information beside a slot, to write it.
    ///
    /// # Safety
    ///
    /// As of [`bytes_mut`](Self::bytes_mut).
    pub(super) unsafe fn info_mut<'a>(&self, slot: usize) -> &'a mut [u8] {
        let place = self.info_place(slot);
        let start = self.opened.file_at(place.start);
        // SAFETY: as above, and the slot is reserved.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), place.len()) }
    }

    /// The process of a member, as errors name it.
    fn process(&self, member: u64, number: u32, kind: GuardKind) -> Holder {
        Holder {
            kind: Some(kind),
            ..obstacles::process(&self.opened, member, number)
        }
    }

    /// The process that has the turn to produce.
    pub(super) fn producer(&self) -> Option<Holder> {
        let control = self.table().control;
        let member = control.producer.load(SeqCst);
        let number = control.pid.load(Relaxed);
        (member != 0).then(|| self.process(member, number, GuardKind::Write))
    }

    /// The subscriber in a seat, with its lag in frames; `None` if the seat is free.
    pub(super) fn subscriber(&self, index: usize) -> Option<SubscriberState> {
        let table = self.table();
        let seat = &table.seats[index];
        let tag = seat.tag.load(Acquire);
        let is_lossless = tag & 0xff == Mode::Lossless as u64;
        if tag == 0 || !is_lossless && tag & 0xff != Mode::Newest as u64 {
            return None;
        }
        let held = seat.held.iter().map(|word| word.load(Relaxed).count_ones());
        Some(SubscriberState::new(
            self.process(member_of(tag), seat.pid.load(Relaxed), GuardKind::Read),
            is_lossless,
            table.lag(index),
            held.sum::<u32>() as usize,
        ))
    }

    /// The subscribers that hold frames.
    pub(super) fn holders(&self) -> Vec<Holder> {
        let all = (0..self.seats).filter_map(|index| self.subscriber(index));
        let holding = all.filter(|subscriber| subscriber.held > 0);
        holding
            .map(|subscriber| subscriber.process)
            .take(16)
            .collect()
    }
}

/// The members that lived a moment ago: a cache for one thread.
#[derive(Default)]
pub(super) struct Living(RefCell<HashMap<u64, Instant>>);

impl Living {
    /// Whether a member lives, or lived a moment ago.
    pub(super) fn is_alive(&self, segment: &Segment, member: u64) -> bool {
        if segment.member().is_own_id(member) {
            return true;
        }
        let now = Instant::now();
        let mut seen = self.0.borrow_mut();
        if seen
            .get(&member)
            .is_some_and(|at| now.duration_since(*at) < LIVES_FOR)
        {
            return true;
        }
        let lives = segment.member().is_alive(member).unwrap_or(true);
        if lives {
            seen.insert(member, now);
        } else {
            seen.remove(&member);
        }
        lives
    }
}

/// The error of a producer or subscriber that a child inherited over a fork.
pub(super) fn check_generation(ring: &OpenRing, generation: u64) -> Result<()> {
    if generation == fork::generation() {
        return Ok(());
    }
    Err(Error::NotOwner {
        path: ring.opened.path().into(),
        reason: "the process was forked, and the turn and the subscription are its parent's: \
                 subscribe or produce anew",
    })
}

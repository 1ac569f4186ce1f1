//! Published frames of a ring, which pin their slots.
//!
//! One of the modules with unsafe code: a pinned slot becomes a view to read.

use super::{
    FrameInfo,
    seat::{Pin, Seat},
};
use crate::{
    array::view,
    element::{Element, dtype::DType},
    layout::{Layout, Order},
};
use ndarray::{ArrayRef, ArrayView, Dimension};
use std::{
    fmt,
    ops::Deref,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A published frame, with elements of any type; see [`Frame`].
pub struct AnyFrame {
    pin: Pin,
    number: u64,
    time: u64,
    rows: usize,
}

/// A published frame of a ring: dereferences to [`ndarray::ArrayRef`].
///
/// While it lives, the producer does not overwrite it, and needs another frame to write: a ring
/// needs two frames more than all subscribers hold at once. It stays valid after the subscriber and
/// the ring are dropped, also where the ring was released.
pub struct Frame<T: Element, D: Dimension, I: FrameInfo = ()> {
    // Private, and its lifetime never leaves this struct: it ends with the frame below.
    view: ArrayView<'static, T, D>,
    info: I,
    any: AnyFrame,
}

impl AnyFrame {
    /// The frame at a position that this seat has pinned for it.
    pub(super) fn pinned(seat: &Arc<Seat>, position: u64) -> Self {
        let table = seat.ring.table();
        let words = table.frame(position);
        let most = seat.ring.shape().first().copied().unwrap_or(1) as u64;
        Self {
            pin: Pin {
                slot: table.slot(position),
                seat: seat.clone(),
            },
            number: words.number.load(Relaxed),
            time: words.time.load(Relaxed),
            rows: words.rows.load(Relaxed).min(most) as usize,
        }
    }

    /// The number of the frame; see [`Frame::number`].
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When the frame was published; see [`Frame::time`].
    pub fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.time)
    }

    /// The type of the elements.
    pub fn dtype(&self) -> &DType {
        self.pin.seat.ring.dtype()
    }

    /// The shape of the frame: that of the ring's frames, but for the valid rows.
    pub fn shape(&self) -> Vec<usize> {
        let mut shape = self.pin.seat.ring.shape().to_vec();
        if let Some(first) = shape.first_mut() {
            *first = self.rows;
        }
        shape
    }

    /// The bytes of the valid elements, in C order.
    pub fn bytes(&self) -> &[u8] {
        let ring = &self.pin.seat.ring;
        let most = ring.shape().first().copied().unwrap_or(1);
        let len = ring.frame_len / most * self.rows;
        let len = if ring.shape().is_empty() {
            ring.frame_len
        } else {
            len
        };
        // SAFETY: the pin holds the slot for as long as this frame lives, and its seat keeps the
        // ring open.
        unsafe { ring.bytes(self.pin.slot, len) }
    }

    /// The type of the information beside the frame; `None` if the ring has none.
    pub fn info_dtype(&self) -> Option<&DType> {
        self.pin.seat.ring.info_dtype()
    }

    /// The bytes of the information beside the frame.
    pub fn info(&self) -> &[u8] {
        // SAFETY: as in `bytes`.
        unsafe { self.pin.seat.ring.info(self.pin.slot) }
    }
}

impl<T: Element, D: Dimension, I: FrameInfo> Frame<T, D, I> {
    pub(super) fn new(any: AnyFrame, mut dim: D) -> Self {
        let ring = &any.pin.seat.ring;
        if let Some(first) = dim.slice_mut().first_mut() {
            *first = any.rows;
        }
        let mut layout = Layout::whole(dim, Order::C, 1);
        layout.offset = ring.offset_of(any.pin.slot);
        // SAFETY: the layout is that of the first rows of a slot, inside the payload; the pin holds
        // the slot for as long as this frame lives, so no producer writes it; the view never leaves
        // this struct, whose pin keeps the ring open.
        let view = unsafe { view::elements(&ring.opened, &layout) };
        Self {
            view,
            info: I::from_bytes(any.info()),
            any,
        }
    }

    /// The number of the frame. The first frame of a ring has the number 1, and each later one the
    /// number after that of the frame before.
    pub fn number(&self) -> u64 {
        self.any.number()
    }

    /// When the frame was published, by the clock of the machine.
    pub fn time(&self) -> SystemTime {
        self.any.time()
    }

    /// The information that the producer put beside the frame; zeros where it put none.
    pub fn info(&self) -> I {
        self.info
    }
}

impl<T: Element, D: Dimension, I: FrameInfo> Deref for Frame<T, D, I> {
    type Target = ArrayRef<T, D>;

    fn deref(&self) -> &ArrayRef<T, D> {
        &self.view
    }
}

impl<T: Element + fmt::Debug, D: Dimension, I: FrameInfo> fmt::Debug for Frame<T, D, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view.fmt(f)
    }
}

impl fmt::Debug for AnyFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("number", &self.number)
            .field("shape", &self.shape())
            .field("dtype", self.dtype())
            .finish_non_exhaustive()
    }
}

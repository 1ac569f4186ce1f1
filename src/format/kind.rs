//! The kinds of array files: plain arrays, rings of frames, and arrays that grow.
//!
//! A ring and a growing array have a **work area**: words that processes share, at the end of the
//! padding. Its length is a function of the header, and so is its place: it ends less than 64 bytes
//! before the payload prefix.

use crate::{
    cbor,
    element::dtype::DType,
    error::HeaderError,
    format::{array_spec::ArraySpec, constants::MAX_ALIGN},
    layout::Order,
};
use ciborium::Value;
use std::{fmt, ops::Range};

/// The header's key for the kind; named in `crit`.
pub(crate) const KIND_KEY: &str = "kind";
/// The fewest and the most frames of a ring.
pub(crate) const FRAMES: std::ops::RangeInclusive<usize> = 2..=256;
/// The most seats of a ring.
pub(crate) const MAX_SEATS: u32 = 4096;
/// The most bytes of the information beside a frame.
pub(crate) const MAX_INFO: usize = 4096;
/// Bytes of a ring's control words.
pub(crate) const CONTROL_LEN: usize = 128;
/// Bytes of a frame's words, without its information.
pub(crate) const FRAME_LEN: usize = 64;
/// Bytes of a subscriber's seat.
pub(crate) const SEAT_LEN: usize = 64;
/// Bytes of a growing array's words.
pub(crate) const GROWTH_LEN: usize = 64;

/// The kind of an array file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Kind {
    #[default]
    Array,
    Ring(RingKind),
    Growing,
}

/// The header's description of a ring, beside its shape and element type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RingKind {
    /// The most subscribers, from 1 to [`MAX_SEATS`].
    pub(crate) seats: u32,
    /// The type of the information beside each frame, of at most [`MAX_INFO`] bytes.
    pub(crate) info: Option<DType>,
}

impl RingKind {
    /// Bytes of the information beside a frame.
    pub(crate) fn info_len(&self) -> usize {
        self.info.as_ref().map_or(0, DType::itemsize)
    }

    /// Bytes from the information of one frame to that of the next.
    pub(crate) fn info_stride(&self) -> usize {
        self.info_len().next_multiple_of(MAX_ALIGN)
    }

    /// Where the seats start in the work area of a ring of so many frames.
    pub(crate) fn seats_at(&self, frames: usize) -> usize {
        CONTROL_LEN + frames * FRAME_LEN
    }

    /// Where the information of the frames starts in the work area.
    pub(crate) fn infos_at(&self, frames: usize) -> usize {
        self.seats_at(frames) + self.seats as usize * SEAT_LEN
    }
}

impl Kind {
    /// Bytes of the work area of an array of this specification.
    pub(crate) fn work_len(&self, spec: &ArraySpec) -> usize {
        match self {
            Kind::Array => 0,
            Kind::Ring(ring) => {
                let frames = spec.shape().first().copied().unwrap_or(0);
                ring.infos_at(frames) + frames * ring.info_stride()
            }
            Kind::Growing => GROWTH_LEN,
        }
    }

    /// The place of the work area before a payload prefix that starts at `prefix_at`; `None` where
    /// there is no room.
    pub(crate) fn work_range(&self, spec: &ArraySpec, prefix_at: usize) -> Option<Range<usize>> {
        let len = self.work_len(spec);
        let start = prefix_at.checked_sub(len)?;
        let start = start - start % MAX_ALIGN;
        Some(start..start + len)
    }

    /// The most bytes that the work area and the gap behind it take.
    pub(crate) fn room(&self, spec: &ArraySpec) -> usize {
        match self.work_len(spec) {
            0 => 0,
            len => len + MAX_ALIGN,
        }
    }

    /// The reason why no array of this kind has this specification.
    pub(crate) fn check(&self, spec: &ArraySpec) -> Result<(), &'static str> {
        let first = spec.shape().first().copied();
        match self {
            Kind::Array => Ok(()),
            // Where both orders have the same strides, a header cannot tell them apart.
            _ if spec.strides_in(Order::C) != spec.strides_in(spec.order()) => {
                Err("rings and growing arrays have C order")
            }
            Kind::Ring(ring) => {
                if first.is_none_or(|frames| !FRAMES.contains(&frames)) {
                    Err("a ring has 2 to 256 frames")
                } else if spec.byte_len() == 0 {
                    Err("the frames of a ring have at least one byte")
                } else if !(1..=MAX_SEATS).contains(&ring.seats) {
                    Err("a ring has seats for 1 to 4096 subscribers")
                } else if ring.info_len() > MAX_INFO {
                    Err("the information beside a frame has at most 4096 bytes")
                } else {
                    Ok(())
                }
            }
            Kind::Growing if first.is_none() => Err("a growing array has at least one axis"),
            Kind::Growing if spec.byte_len() == 0 => {
                Err("a growing array has rows of at least one byte, and room for one")
            }
            Kind::Growing => Ok(()),
        }
    }

    /// The entry of the header; `None` for plain arrays, which have none.
    pub(super) fn to_value(&self) -> Option<Value> {
        let (name, entries) = match self {
            Kind::Array => return None,
            Kind::Ring(ring) => {
                let mut entries = vec![("seats".into(), cbor::size(ring.seats as usize))];
                if let Some(info) = &ring.info {
                    entries.push(("info".into(), info.to_value()));
                }
                ("ring", entries)
            }
            Kind::Growing => ("growing", Vec::new()),
        };
        Some(Value::Map(vec![(name.into(), Value::Map(entries))]))
    }

    pub(super) fn from_value(value: &Value) -> Result<Self, HeaderError> {
        let wrong = || HeaderError::Key { key: KIND_KEY };
        let [(name, settings)] = value.as_map().map(Vec::as_slice).ok_or_else(wrong)? else {
            return Err(wrong());
        };
        let settings = settings.as_map().ok_or_else(wrong)?;
        let known = |keys: &[&str]| {
            let mut found = settings.iter().map(|(key, _)| key.as_text());
            found.all(|key| key.is_some_and(|key| keys.contains(&key)))
        };
        let find = |key: &str| {
            let entry = settings
                .iter()
                .find(|(found, _)| found.as_text() == Some(key));
            entry.map(|(_, value)| value)
        };
        match name.as_text() {
            Some("ring") if known(&["seats", "info"]) => {
                let seats = find("seats").and_then(Value::as_integer);
                let seats = seats
                    .and_then(|seats| seats.try_into().ok())
                    .ok_or_else(wrong)?;
                let info = find("info").map(DType::from_value).transpose();
                let info = info.map_err(|reason| HeaderError::Dtype { reason })?;
                Ok(Kind::Ring(RingKind { seats, info }))
            }
            Some("growing") if known(&[]) => Ok(Kind::Growing),
            Some("ring" | "growing") | None => Err(wrong()),
            Some(unknown) => Err(HeaderError::Critical {
                key: format!("{KIND_KEY} {unknown}"),
            }),
        }
    }
}

impl Kind {
    /// The kind without its settings.
    pub(crate) fn public(&self) -> ArrayKind {
        match self {
            Kind::Array => ArrayKind::Array,
            Kind::Ring(_) => ArrayKind::Ring,
            Kind::Growing => ArrayKind::Growing,
        }
    }
}

/// The kind of an array file.
///
/// # Examples
///
/// ```
/// use ndshm::ArrayKind;
///
/// let manager = ndshm::Manager::new()?;
/// let xs = manager.zeros::<f64, _>(5)?;
/// assert_eq!(xs.handle().info()?.kind, ArrayKind::Array);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArrayKind {
    /// An array of fixed shape, read and written under guards.
    #[default]
    Array,
    /// A ring of frames: one producer publishes, many subscribers take the newest or the next.
    Ring,
    /// An array whose first axis grows, and whose rows never change.
    Growing,
}

impl fmt::Display for ArrayKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ArrayKind::Array => "array",
            ArrayKind::Ring => "ring",
            ArrayKind::Growing => "growing array",
        })
    }
}

//! The way from a handle, a path or a name to an array.
//!
//! A handle is never trusted: its fingerprint must name the array's element type or that of a part,
//! and its view must lie inside the payload. A claim is the last step, so a failed opening claims
//! nothing.

use super::{Core, ElementType};
use crate::{
    array::open_array::OpenArray,
    error::{Error, Result},
    format::kind::ArrayKind,
    handle::Handle,
    segment::Segment,
    store::member::Member,
    sys::wait::Wait,
};
use ndarray::Dimension;
use std::{path::Path, sync::Arc};

impl<K: ElementType, D: Dimension> Core<K, D> {
    /// Opens the array or view that a handle names.
    pub(in crate::array) fn open(handle: &Handle) -> Result<Self> {
        Self::of_segment(Segment::of_handle(handle, Wait::Forever)?, Some(handle))
    }

    /// Opens the array in the file at a path, for reading and writing.
    pub(in crate::array) fn open_path(path: &Path) -> Result<Self> {
        Self::of_segment(Segment::at_path(path)?, None)
    }

    /// Opens the array of a member's store in the file at a path, for reading and writing.
    pub(in crate::array) fn open_in(member: &Arc<Member>, path: &Path) -> Result<Self> {
        Self::of_segment(Segment::open(member, path, None, true)?, None)
    }

    /// The array or view that a handle names in a segment; without a handle the whole array.
    fn of_segment(segment: Arc<Segment>, handle: Option<&Handle>) -> Result<Self> {
        check_kind(&segment, handle)?;
        let element_type: K = type_of(&segment, handle)?;
        let layout =
            segment.locate(handle, element_type.dtype(), K::ALIGN, size_of::<K::Unit>())?;
        element_type.check_byte_len(layout.dim.slice())?;
        let wrong_rank = || Error::Rank {
            path: segment.path().into(),
            expected: D::NDIM.unwrap_or_default(),
            found: layout.dim.ndim(),
        };
        let layout = layout.to_dimensionality().ok_or_else(wrong_rank)?;
        let is_writable = handle.is_none_or(Handle::is_writable);
        Ok(Self::new(
            element_type,
            claim(segment, handle)?,
            layout,
            is_writable,
        ))
    }
}

/// An error if the file is no array, and the handle names no rows of one that grows.
fn check_kind(segment: &Segment, handle: Option<&Handle>) -> Result<()> {
    match handle.filter(|handle| segment.is_growing() && handle.view().is_some()) {
        Some(rows) if rows.is_writable() => Err(Error::ReadOnly {
            path: segment.path().into(),
            reason: "the rows of an array that grows never change: ask for reading",
        }),
        Some(_) => Ok(()),
        None => segment.check_kind(ArrayKind::Array),
    }
}

/// The type `K` for the elements that a handle names; without a handle for those of the array.
fn type_of<K: ElementType>(segment: &Segment, handle: Option<&Handle>) -> Result<K> {
    match segment.dtype_of(handle) {
        Ok(found) => K::accept(&found, segment.path()),
        // A wrong type of the array is the better reason to report.
        Err(error) => K::accept(segment.header().spec.dtype(), segment.path()).and(Err(error)),
    }
}

/// The opening of a segment, which claims the array if the handle says so.
pub(in crate::array) fn claim(
    segment: Arc<Segment>,
    handle: Option<&Handle>,
) -> Result<Arc<OpenArray>> {
    let claim = match handle {
        Some(handle) => segment.receive(handle.scope())?,
        None => None,
    };
    if claim.is_some() {
        event!(DEBUG, path = %segment.path().display(), "claimed an array");
    }
    failpoint!(OpenReceived);
    Ok(OpenArray::new(segment, claim))
}

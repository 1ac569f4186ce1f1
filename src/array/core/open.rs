//! The way from a handle, a path or a name to an array.
//!
//! A handle is never trusted: its fingerprint must name the array's element type or that of a part,
//! and its view must lie inside the payload. A claim is the last step, so a failed opening claims
//! nothing.

use super::{Core, ElementType};
use crate::{
    array::open_array::OpenArray,
    element::dtype::DType,
    error::{Error, Result},
    handle::Handle,
    layout::{self, Layout},
    segment::Segment,
    store::member::Member,
};
use ndarray::{Dimension, IxDyn};
use std::{path::Path, sync::Arc};

impl<K: ElementType, D: Dimension> Core<K, D> {
    /// Opens the array or view that a handle names.
    pub(in crate::array) fn open(handle: &Handle) -> Result<Self> {
        Self::of_segment(segment_of(handle)?, Some(handle))
    }

    /// Opens the array in the file at a path, for reading and writing.
    pub(in crate::array) fn open_path(path: &Path) -> Result<Self> {
        Self::of_segment(segment_at(path)?, None)
    }

    /// Opens the array of a member's store in the file at a path, for reading and writing.
    pub(in crate::array) fn open_in(member: &Arc<Member>, path: &Path) -> Result<Self> {
        Self::of_segment(Segment::open(member, path, None, true)?, None)
    }

    /// The array or view that a handle names in a segment; without a handle the whole array.
    fn of_segment(segment: Arc<Segment>, handle: Option<&Handle>) -> Result<Self> {
        let element_type: K = type_of(&segment, handle)?;
        let layout = locate(&segment, handle, &element_type)?;
        element_type.check_byte_len(layout.dim.slice())?;
        let wrong_rank = || Error::Rank {
            path: segment.path().into(),
            expected: D::NDIM.unwrap_or_default(),
            found: layout.dim.ndim(),
        };
        let layout = layout.to_dimensionality().ok_or_else(wrong_rank)?;
        Ok(Self {
            element_type,
            opened: claim(segment, handle)?,
            layout,
            is_writable: handle.is_none_or(Handle::is_writable),
        })
    }
}

/// The type `K` for the elements that a handle names; without a handle for those of the array.
fn type_of<K: ElementType>(segment: &Segment, handle: Option<&Handle>) -> Result<K> {
    match dtype_of(segment, handle) {
        Ok(found) => K::accept(&found, segment.path()),
        // A wrong type of the array is the better reason to report.
        Err(error) => K::accept(segment.header().spec.dtype(), segment.path()).and(Err(error)),
    }
}

/// The type of the elements that a handle names: that of the array, or of a field or part of it.
fn dtype_of(segment: &Segment, handle: Option<&Handle>) -> Result<DType> {
    let whole = segment.header().spec.dtype();
    let Some(handle) = handle else {
        return Ok(whole.clone());
    };
    let unknown = || Error::Handle {
        reason: format!("its fingerprint is neither that of {whole} nor that of a part of it"),
    };
    whole
        .find(handle.fingerprint())
        .filter(|found| found == whole || handle.view().is_some())
        .ok_or_else(unknown)
}

/// The place in the payload of the view that a handle names, or of the whole array, with every
/// check of `docs/format.md`, "A view".
fn locate<K: ElementType>(
    segment: &Segment,
    handle: Option<&Handle>,
    element_type: &K,
) -> Result<Layout<IxDyn>> {
    let whole = &segment.header().spec;
    let Some(view) = handle.and_then(Handle::view) else {
        let shape = IxDyn(whole.shape());
        return Ok(Layout::whole(shape, whole.order(), element_type.units()));
    };
    let shape: Vec<usize> = view.shape.iter().map(|&n| n as usize).collect();
    let strides: Vec<isize> = view.strides.iter().map(|&stride| stride as isize).collect();
    let (offset, itemsize) = (view.offset as usize, element_type.itemsize());
    layout::check(
        element_type.bounds(segment.data_len()),
        offset,
        &shape,
        &strides,
    )
    .map_err(|reason| Error::layout("open the view", reason))?;
    let dtype = element_type.dtype();
    if !whole.dtype().has_view(dtype, offset, &shape, &strides) {
        return Err(Error::layout(
            "open the view",
            format!(
                "it names no elements, fields or parts of type {dtype} of an array of {}",
                whole.dtype()
            ),
        ));
    }
    if handle.is_some_and(Handle::is_writable) && !layout::disjoint(&shape, &strides, itemsize) {
        return Err(Error::layout(
            "open the view for writing",
            "some of its elements share bytes; ask for reading",
        ));
    }
    let unit = size_of::<K::Unit>();
    Ok(Layout::from_bytes(offset, IxDyn(&shape), &strides, unit))
}

/// The opening of a segment, which claims the array if the handle says so.
fn claim(segment: Arc<Segment>, handle: Option<&Handle>) -> Result<Arc<OpenArray>> {
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

/// The segment that a handle names.
pub(crate) fn segment_of(handle: &Handle) -> Result<Arc<Segment>> {
    let (path, id, is_writable) = (handle.path(), handle.id(), handle.is_writable());
    if let Some(known) = Segment::known(path, id, is_writable) {
        return Ok(known);
    }
    let released = || Error::Released {
        path: path.into(),
        id,
    };
    let directory = path.parent().ok_or_else(released)?;
    if let Some(member) = Member::known(directory) {
        // An opened file names its store. Where opening fails, the directory may be that of another
        // store by now.
        match Segment::open(&member, path, Some(id), is_writable) {
            Err(_) if !member.is_at_its_path() => {}
            opened => return opened,
        }
    }
    let member = Member::join(directory, false).map_err(|error| match error {
        Error::NotFound { .. } => released(),
        other => other,
    })?;
    Segment::open(&member, path, Some(id), is_writable)
}

/// The segment of the file at a path, for reading and writing.
fn segment_at(path: &Path) -> Result<Arc<Segment>> {
    let missing = || Error::NotFound {
        path: path.into(),
        what: "no such array",
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(missing());
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let directory = std::fs::canonicalize(parent).map_err(|_| missing())?;
    let member = Member::join(&directory, false)?;
    Segment::open(&member, &directory.join(name), None, true)
}

//! Opening arrays: from handles, from paths, from serde.

use super::SharedArray;
use crate::{
    array::open_array::OpenArray,
    element::{Element, dtype::DType},
    error::{Error, Result},
    handle::Handle,
    layout::{self, Bounds, Layout},
    segment::Segment,
    store::member::Member,
};
use ndarray::{Dimension, IxDyn};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{marker::PhantomData, path::Path, sync::Arc};

/// The segment that a handle names.
pub(crate) fn segment_of(handle: &Handle) -> Result<Arc<Segment>> {
    let (path, id, is_writable) = (handle.path(), handle.id(), handle.is_writable());
    if let Some(known) = Segment::lookup(path, id, is_writable) {
        return Ok(known);
    }
    let released = || Error::Released {
        path: path.into(),
        id,
    };
    let directory = path.parent().ok_or_else(released)?;
    if let Some(member) = Member::lookup(directory) {
        // What is opened names its store. Where that fails, the directory may be another store's by
        // now.
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
pub(crate) fn segment_at(path: &Path) -> Result<Arc<Segment>> {
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

/// The type of a handle's elements: that of its array, or of a field or part of it.
pub(crate) fn dtype_of(segment: &Segment, handle: Option<&Handle>) -> Result<DType> {
    let whole = &segment.header().dtype;
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

/// Where what a handle names, or the whole array, lies in the payload, with every check that
/// `docs/design.md` lists; strides in units of `unit` bytes. Elements have the type `dtype`, which
/// the array has or which is a part of it, and are aligned to `align`.
pub(crate) fn locate(
    segment: &Segment,
    handle: Option<&Handle>,
    dtype: &DType,
    align: usize,
    unit: usize,
) -> Result<Layout<IxDyn>> {
    let header = segment.header();
    let Some(view) = handle.and_then(Handle::view) else {
        return Ok(Layout::whole(
            IxDyn(&header.shape),
            header.order,
            header.dtype.itemsize() / unit,
        ));
    };
    let shape: Vec<usize> = view.shape.iter().map(|&n| n as usize).collect();
    let strides: Vec<isize> = view.strides.iter().map(|&stride| stride as isize).collect();
    let (offset, itemsize) = (view.offset as usize, dtype.itemsize());
    let bounds = Bounds {
        len: segment.data_len(),
        itemsize,
        align,
    };
    layout::check(bounds, offset, &shape, &strides)
        .map_err(|reason| Error::layout("open the view", reason))?;
    if !header.dtype.has_view(dtype, offset, &shape, &strides) {
        return Err(Error::layout(
            "open the view",
            format!(
                "it names no elements, fields or parts of type {dtype} of an array of {}",
                header.dtype
            ),
        ));
    }
    if handle.is_some_and(Handle::is_writable) && !layout::disjoint(&shape, &strides, itemsize) {
        return Err(Error::layout(
            "open the view for writing",
            "some of its elements share bytes; ask for reading",
        ));
    }
    Ok(Layout::from_bytes(offset, IxDyn(&shape), &strides, unit))
}

/// The opening of a segment: claims it, if the handle says so. The last step, so that whatever
/// fails before claims nothing.
pub(crate) fn open_array(segment: Arc<Segment>, handle: Option<&Handle>) -> Result<Arc<OpenArray>> {
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

/// The array in a segment, or what a handle says of it, as elements of type `T`.
fn opened<T: Element, D: Dimension>(
    segment: Arc<Segment>,
    handle: Option<&Handle>,
) -> Result<SharedArray<T, D>> {
    let path = || segment.path().to_path_buf();
    let dtype = match dtype_of(&segment, handle) {
        Ok(dtype) if dtype == T::DTYPE => dtype,
        Ok(found) => {
            return Err(Error::Dtype {
                path: path(),
                expected: T::DTYPE,
                found,
            });
        }
        Err(_) if segment.header().dtype != T::DTYPE => {
            return Err(Error::Dtype {
                path: path(),
                expected: T::DTYPE,
                found: segment.header().dtype.clone(),
            });
        }
        Err(error) => return Err(error),
    };
    let layout = locate(&segment, handle, &dtype, align_of::<T>(), size_of::<T>())?;
    let wrong_rank = || Error::Rank {
        path: path(),
        expected: D::NDIM.unwrap_or_default(),
        found: layout.dim.ndim(),
    };
    let layout = layout.to_dimensionality().ok_or_else(wrong_rank)?;
    let is_writable = handle.is_none_or(Handle::is_writable);
    Ok(SharedArray {
        open_array: open_array(segment, handle)?,
        layout,
        is_writable,
        _element: PhantomData,
    })
}

/// Opens the array with this chosen name.
pub(crate) fn open_named<T: Element, D: Dimension>(
    member: &Arc<Member>,
    path: &Path,
) -> Result<SharedArray<T, D>> {
    opened(Segment::open(member, path, None, true)?, None)
}

impl Handle {
    /// Opens the array or view that the handle names.
    ///
    /// The cost does not depend on the array's size. Opening follows the transfer table of
    /// [`Scope`](crate::Scope): a `Remote` handle is claimed as the last step. A claimant that is
    /// dropped before it was read, written or viewed gives the claim back.
    ///
    /// # Errors
    ///
    /// `Dtype` and `Rank` where the array is of another type; `Released` where it is gone;
    /// `PathReused` where another array took its path; `Closed` where its store was closed;
    /// `Layout` where the view does not lie inside the array, or could write one element twice;
    /// `ReadOnly` where the file cannot be written; `TooManyMappings`; `Untrusted` and `Header`
    /// where the file is not what it should be. Nothing is deleted or claimed by an opening that
    /// fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix2;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((2, 3))?;
    /// assert_eq!(xs.handle().open::<f64, Ix2>()?.shape(), [2, 3]);
    /// assert!(matches!(xs.handle().open::<f32, Ix2>(), Err(ndshm::Error::Dtype { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open<T: Element, D: Dimension>(&self) -> Result<SharedArray<T, D>> {
        opened(segment_of(self)?, Some(self))
    }
}

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// Opens the array in the file at `path`, for reading and writing.
    ///
    /// # Errors
    ///
    /// As [`Handle::open`]; `NotFound` where there is no such file.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::SharedArray1;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.options().name("xs").zeros::<f64, _>(5)?;
    /// assert_eq!(SharedArray1::<f64>::open_path(xs.path())?.id(), xs.id());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open_path(path: impl AsRef<Path>) -> Result<Self> {
        opened(segment_at(path.as_ref())?, None)
    }
}

impl<T: Element, D: Dimension> Serialize for SharedArray<T, D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.handle().serialize(serializer)
    }
}

impl<'de, T: Element, D: Dimension> Deserialize<'de> for SharedArray<T, D> {
    fn deserialize<De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        Handle::deserialize(deserializer)?
            .open()
            .map_err(de::Error::custom)
    }
}

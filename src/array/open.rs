//! Opening arrays: from handles, from paths, from serde.

use super::SharedArray;
use crate::{
    array::open_array::OpenArray,
    element::Element,
    error::{Error, Result},
    handle::Handle,
    segment::Segment,
    store::member::Member,
};
use ndarray::Dimension;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{marker::PhantomData, path::Path, sync::Arc};

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
    let dtype = match segment.dtype_of(handle) {
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
    let layout = segment.locate(handle, &dtype, align_of::<T>(), size_of::<T>())?;
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
        opened(Segment::of_handle(self)?, Some(self))
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
        opened(Segment::at_path(path.as_ref())?, None)
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

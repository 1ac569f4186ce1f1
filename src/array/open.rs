//! Opening arrays: from handles, from paths, from names.

use super::{SharedArray, any::AnyArray, core::Core};
use crate::{element::Element, error::Result, handle::Handle, store::member::Member};
use ndarray::Dimension;
use std::{path::Path, sync::Arc};

impl Handle {
    /// Opens the array or view that the handle names.
    ///
    /// The cost does not depend on the array's size. Opening follows the transfer table of
    /// [`Scope`](crate::Scope): the last step for a `Remote` handle is the claim. An array that is
    /// dropped before it was read, written or viewed gives its claim back.
    ///
    /// # Errors
    ///
    /// `Dtype` and `Rank` where the array is of another type; `Released` where it is gone;
    /// `PathReused` where another array took its path; `Closed` where its store was closed;
    /// `Layout` where the view does not lie inside the array, or could write one element twice;
    /// `ReadOnly` where the file cannot be written; `TooManyMappings`; `Untrusted` and `Header`
    /// where the file cannot be trusted or is no array file. A failed opening deletes and claims
    /// nothing.
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
        Core::open(self).map(SharedArray::new)
    }

    /// Opens the array or view that the handle names, with elements of any type.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), without `Dtype` and `Rank`; `Layout` also for a broadcast of more
    /// bytes than can be counted.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((2, 3))?;
    /// assert_eq!(xs.t()?.handle().open_any()?.shape(), [3, 2]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open_any(&self) -> Result<AnyArray> {
        Core::open(self).map(AnyArray::new)
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
        Core::open_path(path.as_ref()).map(Self::new)
    }
}

impl AnyArray {
    /// Opens the array with this chosen name, in the file at `path`.
    pub(crate) fn open_named(member: &Arc<Member>, path: &Path) -> Result<Self> {
        Core::open_in(member, path).map(Self::new)
    }

    /// Opens the array in the file at `path`, for reading and writing.
    ///
    /// # Errors
    ///
    /// As [`SharedArray::open_path`](crate::SharedArray::open_path), without `Dtype` and `Rank`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert_eq!(ndshm::AnyArray::open_path(xs.path())?.shape(), [5]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open_path(path: impl AsRef<Path>) -> Result<Self> {
        Core::open_path(path.as_ref()).map(Self::new)
    }
}

/// Opens the array with this chosen name, in the file at `path`.
pub(crate) fn open_named<T: Element, D: Dimension>(
    member: &Arc<Member>,
    path: &Path,
) -> Result<SharedArray<T, D>> {
    Core::open_in(member, path).map(SharedArray::new)
}

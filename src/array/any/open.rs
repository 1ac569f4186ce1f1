//! Opening arrays of run-time type: from handles, from paths, from serde.

use super::{AnyArray, check_byte_len};
use crate::{array, error::Result, handle::Handle, segment::Segment, store::member::Member};
use ndarray::Dimension;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{path::Path, sync::Arc};

impl AnyArray {
    /// Opens what a handle names, or the whole array.
    fn opened(segment: Arc<Segment>, handle: Option<&Handle>) -> Result<Self> {
        let dtype = segment.dtype_of(handle)?;
        let layout = segment.locate(handle, &dtype, 1, 1)?;
        check_byte_len(layout.dim.slice(), &dtype)?;
        Ok(Self {
            open_array: array::open_array(segment, handle)?,
            dtype,
            layout,
            is_writable: handle.is_none_or(Handle::is_writable),
        })
    }

    /// Opens the array with this chosen name.
    pub(crate) fn open_named(member: &Arc<Member>, path: &Path) -> Result<Self> {
        Self::opened(Segment::open(member, path, None, true)?, None)
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
        Self::opened(Segment::at_path(path.as_ref())?, None)
    }
}

impl Handle {
    /// Opens what the handle names, whatever the type of its elements.
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
        AnyArray::opened(Segment::of_handle(self)?, Some(self))
    }
}

impl Serialize for AnyArray {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.handle().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AnyArray {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Handle::deserialize(deserializer)?
            .open_any()
            .map_err(de::Error::custom)
    }
}

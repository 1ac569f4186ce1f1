//! Handles: plain values that name an array or a view.
//!
//! This file has the fields and the check that they are well formed, `text` a handle as one line of
//! text, `fields` a handle in serde. `array` opens handles, and trusts none.

mod fields;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use fields::path_field;

use crate::{
    error::{Error, Result},
    format::id::ArrayId,
    layout::MAX_NDIM,
    scope::Scope,
};
use serde::{Deserialize, Serialize};
use std::{
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

/// Version of the handle's fields, in text and in serde.
const VERSION: u8 = 1;
/// Longest path, in bytes.
const MAX_PATH: usize = 4095;

/// The name of an array or of a view of it: a plain value that any process of the same user opens.
///
/// A handle does no I/O and holds nothing: making, copying, serializing and dropping one has no
/// effect on the array. It carries the [scope](Scope) that its source had when the handle was made.
/// Opening it decides the scope of the opened array.
///
/// As text it is one line of printable ASCII, of less than 300 bytes for usual paths and ranks, fit
/// for arguments, the environment, logs and sockets: use `to_string` and `parse`. With serde it is
/// a struct that any format carries, self-describing or not.
///
/// # Examples
///
/// ```
/// use ndarray::{Ix1, s};
/// use ndshm::Handle;
///
/// let manager = ndshm::Manager::new()?;
/// let xs = manager.from_shape_fn::<f64, _>(10, |i| i as f64)?;
/// let text = xs.slice(s![2..;3])?.handle().to_string();
/// // In any process of this user:
/// let view = text.parse::<Handle>()?.open::<f64, Ix1>()?;
/// assert_eq!(view.to_ndarray()?, ndarray::array![2.0, 5.0, 8.0]);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    path: PathBuf,
    id: ArrayId,
    fingerprint: u64,
    is_writable: bool,
    scope: Scope,
    view: Option<Placement>,
}

/// Where a view lies in its array: all in bytes but the shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Placement {
    pub(crate) offset: u64,
    pub(crate) shape: Vec<u64>,
    pub(crate) strides: Vec<i64>,
}

impl Placement {
    pub(crate) fn new(offset: usize, shape: &[usize], strides: &[isize]) -> Self {
        Self {
            offset: offset as u64,
            shape: shape.iter().map(|&n| n as u64).collect(),
            strides: strides.iter().map(|&stride| stride as i64).collect(),
        }
    }
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::Handle {
        reason: reason.into(),
    }
}

impl Handle {
    pub(crate) fn new(
        path: &Path,
        id: ArrayId,
        fingerprint: u64,
        is_writable: bool,
        scope: Scope,
        view: Option<Placement>,
    ) -> Self {
        Self {
            path: path.into(),
            id,
            fingerprint,
            is_writable,
            scope,
            view,
        }
    }

    /// The array's file.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert_eq!(xs.handle().path(), xs.path());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The array's identity.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert_eq!(xs.handle().id(), xs.id());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn id(&self) -> ArrayId {
        self.id
    }

    /// The scope that the source had when this handle was made.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert_eq!(xs.handle().scope(), ndshm::Scope::Local);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether the opened array can be written.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert!(xs.handle().is_writable() && !xs.read_only()?.handle().is_writable());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_writable(&self) -> bool {
        self.is_writable
    }

    /// The same handle for reading only: an array that is opened with it cannot be written.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert!(!xs.handle().read_only().open::<f64, ndarray::Ix1>()?.is_writable());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn read_only(&self) -> Self {
        Self {
            is_writable: false,
            ..self.clone()
        }
    }

    /// The same handle with another scope. With [`Scope::Store`] opening it claims nothing: for
    /// processes that only look at an array that was sent to another one. The array keeps its own
    /// scope; [`SharedArray::set_scope`](crate::SharedArray::set_scope) changes that.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Observer, Scope};
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let handle = manager.options().scope(Scope::Remote).zeros::<f64, _>(5)?.handle();
    /// let onlooker = handle.with_scope(Scope::Store).open::<f64, ndarray::Ix1>()?;
    /// assert_eq!(onlooker.read()?.sum(), 0.0);
    /// drop(onlooker);
    /// assert_eq!(handle.open::<f64, ndarray::Ix1>()?.scope(), Scope::Local);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn with_scope(&self, scope: Scope) -> Self {
        Self {
            scope,
            ..self.clone()
        }
    }

    /// The hash of the element type, as the source knew it.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub(crate) fn view(&self) -> Option<&Placement> {
        self.view.as_ref()
    }

    /// A handle to another view of the same array: `offset` and `strides` in bytes, the offset from
    /// the start of the array's data.
    ///
    /// Opening the handle checks that the view lies inside the array.
    ///
    /// # Errors
    ///
    /// `Handle` where shape and strides differ in length or have more than 32 dimensions.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix1;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.from_shape_fn::<f64, _>(10, |i| i as f64)?;
    /// let backwards = xs.handle().with_layout(72, &[4], &[-16])?.open::<f64, Ix1>()?;
    /// assert_eq!(backwards.to_ndarray()?, ndarray::array![9.0, 7.0, 5.0, 3.0]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn with_layout(&self, offset: usize, shape: &[usize], strides: &[isize]) -> Result<Self> {
        Self {
            view: Some(Placement::new(offset, shape, strides)),
            ..self.clone()
        }
        .checked()
    }

    /// This handle, if its fields are well formed.
    fn checked(self) -> Result<Self> {
        let bytes = self.path.as_os_str().as_bytes();
        if bytes.len() > MAX_PATH {
            return Err(invalid(format!(
                "the path has {} bytes, at most {MAX_PATH} are allowed",
                bytes.len()
            )));
        }
        if !self.path.is_absolute() || bytes.contains(&0) || has_parent(&self.path) {
            return Err(invalid(
                "the path must be absolute, without NUL and without ..",
            ));
        }
        if let Some(view) = &self.view
            && (view.shape.len() != view.strides.len() || view.shape.len() > MAX_NDIM)
        {
            return Err(invalid(format!(
                "{} dimensions and {} strides, at most {MAX_NDIM}",
                view.shape.len(),
                view.strides.len()
            )));
        }
        Ok(self)
    }
}

/// Whether a part of the path is `..`. Most paths have no two dots, which is told faster.
fn has_parent(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.windows(2).any(|pair| pair == b"..")
        && path.components().any(|part| part == Component::ParentDir)
}

//! `AnyArray`: an array whose element type is known at run time only, for generic tools.

mod access;
mod properties;
mod views;

use crate::{
    array::{self, Content, Labels, SharedArray, core::Core},
    element::{Element, dtype::DType},
    error::Result,
    format::{array_spec::ArraySpec, id::ArrayId},
    handle::Handle,
    scope::Scope,
    segment::{Segment, draft::Draft},
    store::member::Member,
};
use ndarray::{Dimension, IxDyn};
use std::{fmt, path::Path, sync::Arc};

pub use views::MappedMemory;

/// An array, or a view of one, whose element type is known at run time.
///
/// It is the same shared memory as a [`SharedArray`], with the same locks, scopes and handles, and
/// its elements are read and written as bytes. [`downcast`](Self::downcast) makes it a typed array,
/// [`dispatch!`](crate::dispatch) does so for any scalar type.
///
/// # Deletion
///
/// As that of [`SharedArray`]: the [scope](Scope) says which process deletes the memory.
///
/// # Examples
///
/// ```
/// use ndarray::Ix2;
///
/// let manager = ndshm::Manager::new()?;
/// let xs = manager.from_shape_fn::<u16, _>((2, 2), |(i, j)| (2 * i + j) as u16)?;
/// let any = xs.handle().open_any()?;
/// assert_eq!((any.dtype().to_string().as_str(), any.shape()), ("<u2", &[2, 2][..]));
/// assert_eq!(any.read_bytes()?, [0, 0, 1, 0, 2, 0, 3, 0]);
/// assert_eq!(any.downcast::<u16, Ix2>()?.read()?[[1, 1]], 3);
/// # Ok::<(), ndshm::Error>(())
/// ```
pub struct AnyArray {
    pub(super) core: Core<DType, IxDyn>,
}

impl AnyArray {
    pub(super) fn new(core: Core<DType, IxDyn>) -> Self {
        Self { core }
    }

    /// Makes an array.
    pub(crate) fn create(
        member: &Arc<Member>,
        labels: Labels,
        spec: ArraySpec,
        content: Content<'_, impl FnOnce(&mut Draft)>,
    ) -> Result<Self> {
        array::create_any(member, labels, spec, content).map(Self::of_published)
    }

    /// The whole array in a segment that this process has just published.
    pub(crate) fn of_published(segment: Arc<Segment>) -> Self {
        let spec = &segment.header().spec;
        let (dtype, dim) = (spec.dtype().clone(), IxDyn(spec.shape()));
        Self::new(Core::published(segment, dtype, dim))
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        self.core.member()
    }

    /// The typed array. Takes `&self`: a wrong type cannot lose the array.
    ///
    /// # Errors
    ///
    /// `Dtype` and `Rank` where it is of another type; `Layout` where a view's elements do not lie
    /// as `T` and ndarray need them.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::{Ix1, Ix2};
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.zeros::<f64, _>(5)?.into_any()?;
    /// assert_eq!(any.downcast::<f64, Ix1>()?.len(), 5);
    /// assert!(matches!(any.downcast::<f32, Ix1>(), Err(ndshm::Error::Dtype { .. })));
    /// assert!(matches!(any.downcast::<f64, Ix2>(), Err(ndshm::Error::Rank { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn downcast<T: Element, D: Dimension>(&self) -> Result<SharedArray<T, D>> {
        self.core.downcast().map(SharedArray::new)
    }

    /// A value that names this array or view for another process.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.zeros_any(&"<f8".parse()?, &[5])?;
    /// assert_eq!(any.handle().open::<f64, ndarray::Ix1>()?.len(), 5);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn handle(&self) -> Handle {
        self.core.handle()
    }

    /// A handle that lets its first opener inherit the array; see [`SharedArray::hand_over`].
    ///
    /// # Deletion
    ///
    /// That of [`SharedArray::hand_over`].
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.zeros_any(&"<f8".parse()?, &[5])?;
    /// let handle = any.hand_over();
    /// drop(any);
    /// assert_eq!(handle.open_any()?.shape(), [5]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn hand_over(&self) -> Handle {
        self.core.hand_over()
    }

    /// The name that was chosen for the array, if any.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("xs").zeros::<f64, _>(5)?;
    /// assert_eq!(manager.array_any("xs")?.name().as_deref(), Some("xs"));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn name(&self) -> Option<String> {
        self.core.name()
    }

    /// The key for this array in a file of several arrays: its name, or the key that an
    /// [import](crate::Import::prefix) made the name of.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("layer%2Fweight").zeros::<f64, _>(5)?;
    /// let any = manager.array_any("layer%2Fweight")?;
    /// assert_eq!(any.key().as_deref(), Some("layer/weight"));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn key(&self) -> Option<String> {
        self.core.key()
    }

    /// One attribute.
    #[cfg(feature = "safetensors")]
    pub(crate) fn attribute(&self, key: &str) -> Option<&ciborium::Value> {
        self.core.attribute(key)
    }

    /// The array's identity.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert_eq!(xs.into_any()?.id(), xs.id());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn id(&self) -> ArrayId {
        self.core.id()
    }

    /// The array's file.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert_eq!(xs.into_any()?.path(), xs.path());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        self.core.path()
    }

    /// The scope of the array in this process: it says which process deletes the array.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros_any(&"<f4".parse()?, &[5])?.scope(), ndshm::Scope::Local);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn scope(&self) -> Scope {
        self.core.scope()
    }

    /// Changes the scope of the array; see [`SharedArray::set_scope`].
    ///
    /// # Errors
    ///
    /// Those of [`SharedArray::set_scope`].
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager.zeros_any(&"<f4".parse()?, &[5])?.set_scope(ndshm::Scope::Store)?;
    /// assert_eq!(manager.list()?.len(), 1);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn set_scope(&self, scope: Scope) -> Result<()> {
        self.core.set_scope(scope)
    }

    /// Deletes the array now, whichever process owns it; see [`SharedArray::release`].
    ///
    /// # Errors
    ///
    /// `Released` where a process did so before; `Io` where the file cannot be removed.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager.zeros_any(&"<f4".parse()?, &[5])?.release()?;
    /// assert_eq!(manager.list()?.len(), 0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn release(&self) -> Result<()> {
        self.core.release()
    }
}

impl fmt::Debug for AnyArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("AnyArray");
        debug
            .field("dtype", self.dtype())
            .field("shape", &self.shape())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

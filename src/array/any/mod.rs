//! Arrays whose element type is known at run time only: what generic tools stand on.

#[allow(unsafe_code)]
mod access;
mod open;
mod views;

use crate::{
    array::{self, Content, Labels, SharedArray, open_array::OpenArray},
    element::{Element, dtype::DType},
    error::{Error, Result},
    format::{attributes, id::ArrayId, name},
    handle::{Handle, Placement},
    layout::{self, Bounds, Layout, Order, span::Span},
    scope::Scope,
    segment::{Segment, draft::Draft},
    store::member::Member,
};
use ndarray::{Dimension, IxDyn};
use serde::de::DeserializeOwned;
use std::{fmt, path::Path, sync::Arc};

/// An array, or a view of one, whose element type is known at run time.
///
/// It is the same shared memory as a [`SharedArray`], with the same locks, scopes and handles, and
/// its elements are read and written as bytes. [`downcast`](Self::downcast) makes it a typed array,
/// [`dispatch!`](crate::dispatch) does so for whatever scalar type it has.
///
/// # Deletion
///
/// As that of [`SharedArray`]: the [scope](Scope) says who deletes the memory.
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
    open_array: Arc<OpenArray>,
    dtype: DType,
    /// As if of bytes: strides are in bytes. Invariant: `layout::check` accepted it for this
    /// segment's payload and the size of `dtype`, and the bytes of its elements can be counted
    /// ([`check_byte_len`]).
    layout: Layout<IxDyn>,
    /// Invariant: true only if `layout::disjoint` accepted the layout and the segment is mapped
    /// writable.
    is_writable: bool,
}

/// An error where a view repeats its elements so often that their bytes cannot be counted: no guard
/// could be made of them.
fn check_byte_len(shape: &[usize], dtype: &DType) -> Result<()> {
    let reason = || format!("shape {shape:?} of {dtype} has more bytes than can be counted");
    layout::byte_len(shape, dtype.itemsize())
        .map(|_| ())
        .ok_or_else(|| Error::layout("take an array of run-time type", reason()))
}

impl AnyArray {
    /// Makes an array.
    pub(crate) fn create(
        member: &Arc<Member>,
        labels: Labels,
        dtype: &DType,
        shape: &[usize],
        order: Order,
        content: Content<'_, impl FnOnce(&mut Draft)>,
    ) -> Result<Self> {
        array::create_any(member, labels, dtype.clone(), shape, order, content)
            .map(Self::of_published)
    }

    /// The whole array in a segment that this process has just published.
    pub(crate) fn of_published(segment: Arc<Segment>) -> Self {
        let header = segment.header();
        let dtype = header.dtype.clone();
        let layout = Layout::whole(IxDyn(&header.shape), header.order, dtype.itemsize());
        Self {
            open_array: OpenArray::new(segment, None),
            dtype,
            layout,
            is_writable: true,
        }
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
        if self.dtype != T::DTYPE {
            return Err(Error::Dtype {
                path: self.path().into(),
                expected: T::DTYPE,
                found: self.dtype.clone(),
            });
        }
        let (itemsize, strides) = (size_of::<T>(), self.byte_strides());
        let bounds = Bounds {
            len: self.open_array.data_len(),
            itemsize,
            align: align_of::<T>(),
        };
        let fits = layout::check(bounds, self.layout.offset, self.shape(), &strides);
        fits.map_err(|reason| Error::layout("make a typed array", reason))?;
        let layout = Layout::from_bytes(
            self.layout.offset,
            self.layout.dim.clone(),
            &strides,
            itemsize,
        );
        let wrong_rank = || Error::Rank {
            path: self.path().into(),
            expected: D::NDIM.unwrap_or_default(),
            found: self.ndim(),
        };
        let layout = layout.to_dimensionality().ok_or_else(wrong_rank)?;
        self.open_array.used();
        Ok(SharedArray::from_parts(
            self.open_array.clone(),
            layout,
            self.is_writable,
        ))
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
        let view = self
            .is_view()
            .then(|| Placement::new(self.layout.offset, self.shape(), &self.byte_strides()));
        Handle::new(
            self.path(),
            self.id(),
            self.dtype.fingerprint(),
            self.is_writable(),
            self.scope(),
            view,
        )
    }

    /// The type of the elements.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros_any(&"(3,)<f4".parse()?, &[5])?.dtype().itemsize(), 12);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn dtype(&self) -> &DType {
        &self.dtype
    }

    /// The lengths of the axes.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros_any(&"<f4".parse()?, &[5, 0])?.shape(), [5, 0]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn shape(&self) -> &[usize] {
        self.layout.dim.slice()
    }

    /// The strides in bytes, as NumPy gives them: elements have no size that the compiler knows.
    /// Those of axes of length 0 and 1 are zero.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros_any(&"<f4".parse()?, &[5, 2])?.byte_strides(), [8, 4]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn byte_strides(&self) -> Vec<isize> {
        self.layout.byte_strides(1)
    }

    /// The number of axes.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros_any(&"<f4".parse()?, &[5, 2])?.ndim(), 2);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn ndim(&self) -> usize {
        self.layout.dim.ndim()
    }

    /// The number of elements.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros_any(&"<f4".parse()?, &[5, 2])?.len(), 10);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.layout.dim.size()
    }

    /// Whether there are no elements.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(manager.zeros_any(&"<f4".parse()?, &[5, 0])?.is_empty());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The order in which the elements lie in memory; `None` where they are not contiguous in
    /// either.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros_any(&"<f4".parse()?, &[5, 2])?.order(), Some(ndshm::Order::C));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn order(&self) -> Option<Order> {
        layout::order_of(self.shape(), &self.byte_strides(), self.dtype.itemsize())
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
        name::of(self.path(), self.id())
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
        self.open_array.header().id
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
        self.open_array.path()
    }

    /// Who deletes the array, as this process holds it.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros_any(&"<f4".parse()?, &[5])?.scope(), ndshm::Scope::Local);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn scope(&self) -> Scope {
        self.open_array.scope()
    }

    /// Changes who deletes the array; see [`SharedArray::set_scope`].
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
        self.open_array.used();
        self.open_array.set_scope(scope)
    }

    /// The names of the whole array's axes: one entry for each, or none at all.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.options().axis_names(["time"]).zeros_any(&"<f4".parse()?, &[5])?;
    /// assert_eq!(any.axis_names()[0].as_deref(), Some("time"));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn axis_names(&self) -> &[Option<String>] {
        &self.open_array.header().axis_names
    }

    /// The array's attributes; see [`SharedArray::attrs`].
    ///
    /// # Errors
    ///
    /// `Attrs` where they do not fit the type.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.options().attrs(&BTreeMap::from([("unit", "m")]))?.zeros_any(&"<f4".parse()?, &[5])?;
    /// assert_eq!(any.attrs::<BTreeMap<String, String>>()?["unit"], "m");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn attrs<A: DeserializeOwned>(&self) -> Result<A> {
        attributes::from_value(self.open_array.header().attrs.as_ref())
    }

    /// Whether this is not the whole array in its own order, but a part or another arrangement of
    /// it.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.zeros_any(&"<f4".parse()?, &[5, 2])?;
    /// assert!(!any.is_view() && any.t()?.is_view());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_view(&self) -> bool {
        let header = self.open_array.header();
        header.dtype != self.dtype
            || !self
                .layout
                .is_whole(&header.shape, header.order, header.dtype.itemsize())
    }

    /// Whether elements can be written through this array.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(manager.zeros_any(&"<f4".parse()?, &[5])?.is_writable());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_writable(&self) -> bool {
        self.is_writable && !self.open_array.is_frozen()
    }

    /// Deletes the array now, whoever owns it; see [`SharedArray::release`].
    ///
    /// # Errors
    ///
    /// `Released` where somebody did so before; `Io` where the file cannot be removed.
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
        self.open_array.used();
        self.open_array.release()
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        self.open_array.member()
    }

    /// The layout of the bytes: with a last axis for those of one element.
    fn bytes(&self) -> Layout<IxDyn> {
        let itemsize = self.dtype.itemsize();
        let dim: Vec<_> = self.shape().iter().copied().chain([itemsize]).collect();
        let strides: Vec<_> = self.byte_strides().into_iter().chain([1]).collect();
        Layout::from_bytes(self.layout.offset, IxDyn(&dim), &strides, 1)
    }

    /// The bytes that a guard covers: the same as those of the typed array.
    fn span(&self) -> Span {
        Span::of(&self.layout, 1, self.dtype.itemsize())
    }
}

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// The same array or view with its element type known at run time only. Takes `&self`, as all
    /// views.
    ///
    /// # Errors
    ///
    /// `Layout` for a broadcast of more bytes than can be counted: the guards of what comes out are
    /// views of bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros::<f64, _>(5)?.into_any()?.dtype().to_string(), "<f8");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn into_any(&self) -> Result<AnyArray> {
        let view = self.into_dyn()?;
        check_byte_len(view.shape(), &T::DTYPE)?;
        let layout =
            Layout::from_bytes(view.offset(), IxDyn(view.shape()), &view.byte_strides(), 1);
        Ok(AnyArray {
            open_array: view.open_array().clone(),
            dtype: T::DTYPE,
            layout,
            is_writable: view.is_writable(),
        })
    }
}

impl fmt::Debug for AnyArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("AnyArray");
        debug
            .field("dtype", &self.dtype)
            .field("shape", &self.shape())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

//! The shared array: its shape and strides over a segment, its making and its opening.

mod access;
pub(crate) mod any;
#[allow(unsafe_code)]
pub(crate) mod atomic;
mod bounds;
mod create;
mod dispatch;
mod fields;
#[allow(unsafe_code)]
pub(crate) mod frozen;
#[allow(unsafe_code)]
pub(crate) mod guard;
mod open;
pub(crate) mod open_array;
#[allow(unsafe_code)]
mod unlocked;
#[allow(unsafe_code)]
pub(crate) mod view;
mod views;

pub(crate) use bounds::{check_axis_index, check_slice_info};
pub(crate) use create::{Content, Labels, create, create_any, draft_any, from_ndarray};
pub(crate) use open::{open_array, open_named};

use crate::{
    array::open_array::OpenArray,
    element::{Element, dtype::DType},
    error::{Error, Result},
    format::{attributes, id::ArrayId, name},
    handle::{Handle, Placement},
    layout::{self, Layout, Order, span::Span},
    scope::Scope,
};
use ndarray::{Dimension, Ix0, Ix1, Ix2, Ix3, Ix4, Ix5, Ix6, IxDyn};
use serde::de::DeserializeOwned;
use std::{fmt, marker::PhantomData, ops::Range, path::Path, sync::Arc};

/// A shared array without dimensions: one element.
pub type SharedArray0<T> = SharedArray<T, Ix0>;
/// A shared array of one dimension.
pub type SharedArray1<T> = SharedArray<T, Ix1>;
/// A shared array of two dimensions.
pub type SharedArray2<T> = SharedArray<T, Ix2>;
/// A shared array of three dimensions.
pub type SharedArray3<T> = SharedArray<T, Ix3>;
/// A shared array of four dimensions.
pub type SharedArray4<T> = SharedArray<T, Ix4>;
/// A shared array of five dimensions.
pub type SharedArray5<T> = SharedArray<T, Ix5>;
/// A shared array of six dimensions.
pub type SharedArray6<T> = SharedArray<T, Ix6>;
/// A shared array whose number of dimensions is known at run time.
pub type SharedArrayD<T> = SharedArray<T, IxDyn>;

/// A typed n-dimensional array, or a view of one, in memory that many processes share.
///
/// Elements are reached through guards: [`read`](Self::read) and [`write`](Self::write). Views
/// ([`slice`](Self::slice), [`t`](Self::t) and many more) are shared arrays too: the same memory, a
/// shape and strides of their own. [`handle`](Self::handle) names an array or view for another
/// process; serde does the same implicitly.
///
/// There is no `Clone`, because in ndarray that copies: [`view`](Self::view) shares,
/// [`copy`](Self::copy) copies.
///
/// # Deletion
///
/// The [scope](Scope) says who deletes the memory. A [`Scope::Local`] array goes when the last
/// array, view or guard of it in the process that owns it is dropped, and when that process panics
/// and unwinds; others that have it open can go on using it, but it cannot be opened again. A
/// `Local` array that a forked child makes is gone when the child ends.
///
/// An array does not keep its store: `Manager::new()?.zeros(..)` as the result of a function gives
/// an array whose store was deleted when the manager was dropped. It can be used, but not opened by
/// anybody. Keep the manager.
///
/// # Examples
///
/// ```
/// use ndarray::s;
///
/// let manager = ndshm::Manager::new()?;
/// let table = manager.from_shape_fn::<i32, _>((3, 4), |(i, j)| (10 * i + j) as i32)?;
/// let column = table.slice(s![.., 1])?;
/// column.write()?.fill(0);
/// assert_eq!(table.read()?.row(2), ndarray::array![20, 0, 22, 23]);
/// # Ok::<(), ndshm::Error>(())
/// ```
pub struct SharedArray<T, D> {
    open_array: Arc<OpenArray>,
    /// Invariant: `layout::check` accepted it for this segment's payload and `T`.
    layout: Layout<D>,
    /// Invariant: true only if `layout::disjoint` accepted the layout and the segment is mapped
    /// writable.
    is_writable: bool,
    _element: PhantomData<T>,
}

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// A value that names this array or view for another process; see [`Handle`].
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert!(xs.handle().to_string().starts_with("ndshm1:m=w:s=local:"));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn handle(&self) -> Handle {
        let view = self
            .is_view()
            .then(|| Placement::new(self.layout.offset, self.shape(), &self.byte_strides()));
        Handle::new(
            self.path(),
            self.id(),
            T::DTYPE.fingerprint(),
            self.is_writable(),
            self.scope(),
            view,
        )
    }

    /// The lengths of the axes.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert_eq!(xs.slice(ndarray::s![1.., 2])?.shape(), [2]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn shape(&self) -> &[usize] {
        self.layout.dim.slice()
    }

    /// The strides, in elements; may be negative, and zero where the view was broadcast.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert_eq!((xs.strides(), xs.t()?.strides()), (&[4, 1][..], &[1, 4][..]));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn strides(&self) -> &[isize] {
        self.layout.element_strides()
    }

    /// The number of axes.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert_eq!(xs.ndim(), 2);
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
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert_eq!(xs.len(), 12);
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
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert!(!xs.is_empty() && xs.slice(ndarray::s![3.., ..])?.is_empty());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lengths of the axes as ndarray's pattern: a number, a tuple.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// let (rows, columns) = xs.dim();
    /// assert_eq!((rows, columns), (3, 4));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn dim(&self) -> D::Pattern {
        self.layout.dim.clone().into_pattern()
    }

    /// The type of the elements.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert_eq!(xs.dtype().to_string(), "<f8");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn dtype(&self) -> DType {
        T::DTYPE
    }

    /// The order in which the elements lie in memory; `None` where they are not contiguous in
    /// either.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Order;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert_eq!((xs.order(), xs.t()?.order(), xs.slice(ndarray::s![.., 1])?.order()), (Some(Order::C), Some(Order::F), None));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn order(&self) -> Option<Order> {
        layout::order_of(self.shape(), self.strides(), 1)
    }

    /// The name that was chosen for the array, if any.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.options().name("xs").zeros::<f64, _>(5)?;
    /// assert_eq!(xs.name().as_deref(), Some("xs"));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn name(&self) -> Option<String> {
        name::of(self.path(), self.id())
    }

    /// The array's identity: the same for all its views, in all processes.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert_eq!(xs.t()?.id(), xs.id());
    /// assert_ne!(xs.copy()?.id(), xs.id());
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
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert!(xs.path().starts_with(manager.path()));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        self.open_array.path()
    }

    /// Who deletes the array, as this process holds it; in a forked child it is [`Scope::Store`],
    /// because a child owns nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Scope;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros::<f64, _>(5)?.scope(), Scope::Local);
    /// assert_eq!(manager.options().name("xs").zeros::<f64, _>(5)?.scope(), Scope::Store);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn scope(&self) -> Scope {
        self.open_array.scope()
    }

    /// Changes who deletes the array: for this process's hold, all its arrays and views of it
    /// included. Handles made before are not changed.
    ///
    /// # Errors
    ///
    /// `NotOwner` where another process owns the array and `scope` is not [`Scope::Store`];
    /// `Released`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Scope;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// xs.set_scope(Scope::Store)?;
    /// let handle = xs.handle();
    /// drop(xs);
    /// assert_eq!(handle.open::<f64, ndarray::Ix1>()?.len(), 5);
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
    /// let xs = manager.options().axis_names(["row", "column"]).zeros::<f64, _>((3, 4))?;
    /// assert_eq!(xs.axis_names()[1].as_deref(), Some("column"));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn axis_names(&self) -> &[Option<String>] {
        &self.open_array.header().axis_names
    }

    /// The array's attributes, as any type that deserializes from a map; an empty map where it has
    /// none.
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
    /// let xs = manager.options().attrs(&BTreeMap::from([("unit", "m/s")]))?.zeros::<f64, _>(5)?;
    /// assert_eq!(xs.attrs::<BTreeMap<String, String>>()?["unit"], "m/s");
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
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert!(!xs.is_view() && xs.t()?.is_view());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_view(&self) -> bool {
        self.open_array.header().dtype != T::DTYPE
            || !self.layout.is_whole(
                &self.open_array.header().shape,
                self.open_array.header().order,
                1,
            )
    }

    /// Whether elements can be written through this array: not through a read-only view, nor where
    /// the array is frozen.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert!(xs.is_writable() && !xs.read_only()?.is_writable());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_writable(&self) -> bool {
        self.is_writable && !self.open_array.is_frozen()
    }

    /// Deletes the array now, whoever owns it: the whole array, from any view of it. Arrays that
    /// are open go on working.
    ///
    /// # Errors
    ///
    /// `Released` where somebody did so before; `Io` where the file cannot be removed.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// let handle = xs.handle();
    /// xs.release()?;
    /// assert!(matches!(handle.open::<f64, ndarray::Ix1>(), Err(ndshm::Error::Released { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn release(&self) -> Result<()> {
        self.open_array.used();
        self.open_array.release()
    }

    /// The caller checked the layout, for `T` and as writable, as the fields' invariants say.
    pub(crate) fn from_parts(
        open_array: Arc<OpenArray>,
        layout: Layout<D>,
        is_writable: bool,
    ) -> Self {
        Self {
            open_array,
            layout,
            is_writable,
            _element: PhantomData,
        }
    }

    pub(crate) fn layout(&self) -> &Layout<D> {
        &self.layout
    }

    /// Bytes from the start of the payload.
    pub(crate) fn offset(&self) -> usize {
        self.layout.offset
    }

    pub(crate) fn open_array(&self) -> &Arc<OpenArray> {
        &self.open_array
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        match self.is_writable {
            _ if self.open_array.is_frozen() => Err(Error::Frozen {
                path: self.path().into(),
            }),
            true => Ok(()),
            false => Err(Error::ReadOnly {
                path: self.path().into(),
                reason: "the view is read-only, or some of its elements share memory",
            }),
        }
    }

    pub(crate) fn byte_strides(&self) -> Vec<isize> {
        self.layout.byte_strides(size_of::<T>())
    }

    /// The bytes of the payload from the view's first to its last.
    fn extent(&self) -> Range<usize> {
        self.layout.extent(size_of::<T>(), size_of::<T>())
    }

    pub(crate) fn span(&self) -> Span {
        Span::of(&self.layout, size_of::<T>(), size_of::<T>())
    }
}

impl<T: Element, D: Dimension> fmt::Debug for SharedArray<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedArray")
            .field("dtype", &T::DTYPE)
            .field("shape", &self.shape())
            .field("strides", &self.strides())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

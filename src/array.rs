//! The shared array: its shape and strides over a segment, its making and its opening.

mod access;
#[allow(unsafe_code)]
mod unlocked;
mod views;

pub(crate) use access::from_ndarray;

use crate::{
    dtype::DType,
    element::Element,
    error::{Error, Result},
    grip::Grip,
    handle::{Handle, Placement},
    header::Header,
    id::ArrayId,
    info,
    layout::{self, Bounds, Layout, Order},
    member::Member,
    scope::Scope,
    segment::{Draft, Plan, Segment},
    span::Span,
    view,
};
use ciborium::Value;
use ndarray::{ArrayViewMut, Dimension, Ix0, Ix1, Ix2, Ix3, Ix4, Ix5, Ix6, IxDyn};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned};
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
/// Elements are reached through guards: [`read`](Self::read) and [`write`](Self::write). Views ([`slice`](Self::slice), [`t`](Self::t) and
/// many more) are shared arrays too: the same memory, a shape and strides of their own. [`handle`](Self::handle) names an array or view for
/// another process; serde does the same implicitly.
///
/// There is no `Clone`, because in ndarray that copies: [`view`](Self::view) shares, [`copy`](Self::copy) copies.
///
/// # Deletion
///
/// The [scope](Scope) says who deletes the memory. A [`Scope::Local`] array goes when the last array, view or guard of it in the process
/// that owns it is dropped, and when that process panics and unwinds; others that have it open can go on using it, but it cannot be opened
/// again. A `Local` array that a forked child makes is gone when the child ends.
///
/// An array does not keep its store: `Manager::new()?.zeros(..)` as the result of a function gives an array whose store was deleted when
/// the manager was dropped. It can be used, but not opened by anybody. Keep the manager.
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
    grip: Arc<Grip>,
    /// Invariant: `layout::check` accepted it for this segment's payload and `T`.
    layout: Layout<D>,
    /// Invariant: true only if `layout::disjoint` accepted the layout and the segment is mapped writable.
    is_writable: bool,
    _element: PhantomData<T>,
}

/// What a new array gets beside its elements.
#[derive(Clone, Default)]
pub(crate) struct Labels {
    pub(crate) name: Option<String>,
    pub(crate) scope: Option<Scope>,
    pub(crate) attrs: Option<Value>,
    pub(crate) axis_names: Vec<Option<String>>,
}

/// Makes an array whose elements are zero unless `fill` sets them before anybody else can see it.
pub(crate) fn create<T: Element, D: Dimension>(
    member: &Arc<Member>,
    labels: Labels,
    dim: D,
    order: Order,
    fill: Option<impl FnOnce(ArrayViewMut<'_, T, D>)>,
) -> Result<SharedArray<T, D>> {
    let shape = dim.slice().to_vec();
    if !labels.axis_names.is_empty() && labels.axis_names.len() != shape.len() {
        return Err(Error::Attrs { reason: format!("{} axis names for {} axes", labels.axis_names.len(), shape.len()) });
    }
    let too_large = || Error::layout("create an array", format!("shape {shape:?} of {} is too large", T::DTYPE));
    let size = size_of::<T>();
    layout::byte_len(&shape, size).ok_or_else(too_large)?;
    let strides = layout::contiguous_strides(&shape, order, size).ok_or_else(too_large)?;
    let layout = Layout::contiguous(dim, &strides, size);
    let scope = labels.scope.unwrap_or(if labels.name.is_some() { Scope::Store } else { Scope::Local });
    let header = Header {
        id: ArrayId::new(),
        dtype: T::DTYPE,
        shape,
        order,
        axis_names: labels.axis_names,
        attrs: labels.attrs,
        created: Plan::created(member)?,
    };
    let mut draft = Draft::new(member, Plan { name: labels.name, scope, header })?;
    if let Some(fill) = fill {
        view::fill(&mut draft, &layout, fill);
    }
    let segment = draft.publish()?;
    Ok(SharedArray { grip: Grip::new(segment, None), layout, is_writable: true, _element: PhantomData })
}

/// Opens the whole of an array, or what a handle says of it, with every check that `docs/design.md` lists.
fn open<T: Element, D: Dimension>(segment: Arc<Segment>, wanted: Option<&Handle>, is_writable: bool) -> Result<SharedArray<T, D>> {
    let header = segment.header();
    let path = || segment.path().to_path_buf();
    if header.dtype != T::DTYPE {
        return Err(Error::Dtype { path: path(), expected: T::DTYPE, found: header.dtype.clone() });
    }
    let fingerprint = header.dtype.fingerprint();
    if wanted.is_some_and(|handle| handle.fingerprint() != fingerprint) {
        return Err(Error::Handle { reason: format!("its fingerprint is not {fingerprint:016x}, that of {}", header.dtype) });
    }
    let itemsize = size_of::<T>();
    let placement = match wanted.and_then(Handle::view) {
        Some(view) => view.clone(),
        None => {
            let strides = layout::contiguous_strides(&header.shape, header.order, itemsize).unwrap_or_default();
            let shape = header.shape.iter().map(|&n| n as u64).collect();
            Placement { offset: 0, shape, strides: strides.into_iter().map(|stride| stride as i64).collect() }
        }
    };
    if D::NDIM.is_some_and(|ndim| ndim != placement.shape.len()) {
        return Err(Error::Rank { path: path(), expected: D::NDIM.unwrap_or_default(), found: placement.shape.len() });
    }
    if !segment.payload(0).as_ptr().addr().is_multiple_of(align_of::<T>()) {
        return Err(Error::layout("open the array", format!("its data is not aligned to the {} bytes that {} needs", align_of::<T>(), T::DTYPE)));
    }
    let mut dim = D::zeros(placement.shape.len());
    for (n, &wanted) in dim.slice_mut().iter_mut().zip(&placement.shape) {
        *n = wanted as usize;
    }
    let strides: Vec<isize> = placement.strides.iter().map(|&stride| stride as isize).collect();
    let offset = placement.offset as usize;
    let bounds = Bounds { len: segment.data_len(), itemsize, align: align_of::<T>() };
    layout::check(bounds, offset, dim.slice(), &strides).map_err(|reason| Error::layout("open the view", reason))?;
    if is_writable && !layout::disjoint(dim.slice(), &strides, itemsize) {
        return Err(Error::layout("open the view for writing", "some of its elements share bytes; ask for reading"));
    }
    let layout = match wanted.and_then(Handle::view) {
        Some(_) => Layout::from_bytes(offset, dim, &strides, itemsize),
        None => Layout::contiguous(dim, &strides, itemsize),
    };
    // The last step, so that whatever fails before claims nothing.
    let claim = match wanted {
        Some(handle) => segment.receive(handle.scope())?,
        None => None,
    };
    Ok(SharedArray { grip: Grip::new(segment, claim), layout, is_writable, _element: PhantomData })
}

/// Opens the array with this chosen name.
pub(crate) fn open_named<T: Element, D: Dimension>(member: &Arc<Member>, path: &Path) -> Result<SharedArray<T, D>> {
    open(Segment::open(member, path, None, true)?, None, true)
}

impl Handle {
    /// Opens the array or view that the handle names.
    ///
    /// The cost does not depend on the array's size. Opening follows the transfer table of [`Scope`]: a [`Scope::Remote`] handle is claimed
    /// as the last step. A claimant that is dropped before it was read, written or viewed gives the claim back.
    ///
    /// # Errors
    ///
    /// `Dtype` and `Rank` where the array is of another type; `Released` where it is gone; `PathReused` where another array took its path;
    /// `Closed` where its store was closed; `Layout` where the view does not lie inside the array, or could write one element twice;
    /// `ReadOnly` where the file cannot be written; `TooManyMappings`; `Untrusted` and `Header` where the file is not what it should be.
    /// Nothing is deleted or claimed by an opening that fails.
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
        let released = || Error::Released { path: self.path().into(), id: self.id() };
        let member = Member::join(self.path().parent().ok_or_else(released)?, false).map_err(|error| match error {
            Error::NotFound { .. } => released(),
            other => other,
        })?;
        let segment = Segment::open(&member, self.path(), Some(self.id()), self.is_writable())?;
        open(segment, Some(self), self.is_writable())
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
        let path = path.as_ref();
        let missing = || Error::NotFound { path: path.into(), what: "no such array" };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(missing()) };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let directory = std::fs::canonicalize(parent).map_err(|_| missing())?;
        let member = Member::join(&directory, false)?;
        open_named(&member, &directory.join(name))
    }

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
        let view = self.is_view().then(|| Placement {
            offset: self.layout.offset as u64,
            shape: self.shape().iter().map(|&n| n as u64).collect(),
            strides: self.byte_strides().into_iter().map(|stride| stride as i64).collect(),
        });
        Handle::new(self.path(), self.id(), T::DTYPE.fingerprint(), self.is_writable, self.scope(), view)
    }

    /// The lengths of the axes.
    pub fn shape(&self) -> &[usize] {
        self.layout.dim.slice()
    }

    /// The strides, in elements; may be negative, and zero where the view was broadcast.
    pub fn strides(&self) -> &[isize] {
        self.layout.element_strides()
    }

    /// The number of axes.
    pub fn ndim(&self) -> usize {
        self.layout.dim.ndim()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.layout.dim.size()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lengths of the axes as ndarray's pattern: a number, a tuple.
    pub fn dim(&self) -> D::Pattern {
        self.layout.dim.clone().into_pattern()
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        T::DTYPE
    }

    /// The order in which the elements lie in memory; `None` where they are not contiguous in either.
    pub fn order(&self) -> Option<Order> {
        layout::order_of(self.shape(), self.strides(), 1)
    }

    /// The name that was chosen for the array, if any.
    pub fn name(&self) -> Option<String> {
        info::name_of(self.path(), self.id())
    }

    /// The array's identity: the same for all its views, in all processes.
    pub fn id(&self) -> ArrayId {
        self.grip.header().id
    }

    /// The array's file.
    pub fn path(&self) -> &Path {
        self.grip.path()
    }

    /// Who deletes the array, as this process holds it; in a forked child it is [`Scope::Store`], because a child owns nothing.
    pub fn scope(&self) -> Scope {
        self.grip.scope()
    }

    /// Changes who deletes the array: for this process's hold, all its arrays and views of it included. Handles made before are not changed.
    ///
    /// # Errors
    ///
    /// `NotOwner` where another process owns the array and `scope` is not [`Scope::Store`]; `Released`.
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
        self.grip.used();
        self.grip.set_scope(scope)
    }

    /// The names of the whole array's axes: one entry for each, or none at all.
    pub fn axis_names(&self) -> &[Option<String>] {
        &self.grip.header().axis_names
    }

    /// The array's attributes, as any type that deserializes from a map; an empty map where it has none.
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
        info::from_attrs(self.grip.header().attrs.as_ref())
    }

    /// Whether this is not the whole array in its own order, but a part or another arrangement of it.
    pub fn is_view(&self) -> bool {
        let header = self.grip.header();
        let whole = layout::contiguous_strides(&header.shape, header.order, 1).unwrap_or_default();
        let same = |axis: usize| header.shape[axis] <= 1 || whole[axis] == self.strides()[axis];
        let is_whole = self.shape() == header.shape && (self.is_empty() || self.layout.offset == 0 && (0..self.ndim()).all(same));
        !is_whole
    }

    /// Whether elements can be written through this array.
    pub fn is_writable(&self) -> bool {
        self.is_writable
    }

    /// Deletes the array now, whoever owns it: the whole array, from any view of it. Arrays that are open go on working.
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
        self.grip.used();
        self.grip.release()
    }

    pub(crate) fn grip(&self) -> &Arc<Grip> {
        &self.grip
    }

    fn check_writable(&self) -> Result<()> {
        match self.is_writable {
            true => Ok(()),
            false => Err(Error::ReadOnly { path: self.path().into(), reason: "the view is read-only, or some of its elements share memory" }),
        }
    }

    fn byte_strides(&self) -> Vec<isize> {
        self.layout.byte_strides(size_of::<T>())
    }

    /// The bytes of the payload from the view's first to its last.
    fn extent(&self) -> Range<usize> {
        let bounds = Bounds { len: self.grip.data_len(), itemsize: size_of::<T>(), align: align_of::<T>() };
        match layout::check(bounds, self.layout.offset, self.shape(), &self.byte_strides()) {
            Ok(extent) => extent,
            Err(reason) => unreachable!("a layout that was checked before: {reason}"),
        }
    }

    fn span(&self) -> Span {
        Span::of(self.extent(), self.shape(), &self.byte_strides(), size_of::<T>())
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

impl<T: Element, D: Dimension> Serialize for SharedArray<T, D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.handle().serialize(serializer)
    }
}

impl<'de, T: Element, D: Dimension> Deserialize<'de> for SharedArray<T, D> {
    fn deserialize<De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        Handle::deserialize(deserializer)?.open().map_err(de::Error::custom)
    }
}

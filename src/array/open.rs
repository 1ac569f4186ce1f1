//! Making and opening arrays: from settings, from handles, from paths, from serde.

use super::SharedArray;
use crate::{
    draft::{Draft, Plan},
    element::Element,
    error::{Error, Result},
    format::MAX_NDIM,
    grip::Grip,
    handle::{Handle, Placement},
    header::Header,
    id::ArrayId,
    layout::{self, Bounds, Layout, Order},
    member::Member,
    scope::Scope,
    segment::Segment,
    view,
};
use ciborium::Value;
use ndarray::{ArrayRef, ArrayViewMut, Dimension};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{marker::PhantomData, path::Path, sync::Arc};

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
    if shape.len() > MAX_NDIM {
        return Err(Error::layout("create an array", format!("{} axes, at most {MAX_NDIM} are possible", shape.len())));
    }
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

/// A new shared array with a copy of these elements.
pub(crate) fn from_ndarray<T: Element, D: Dimension>(member: &Arc<Member>, labels: Labels, source: &ArrayRef<T, D>) -> Result<SharedArray<T, D>> {
    let order = layout::order_of(source.shape(), source.strides(), 1).unwrap_or(Order::C);
    let fill = |mut elements: ArrayViewMut<'_, T, D>| elements.assign(source);
    create(member, labels, source.raw_dim(), order, Some(fill))
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

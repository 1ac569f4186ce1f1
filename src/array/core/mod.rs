//! The core of every array: an opening of its file, a layout over the payload, and a type of
//! elements.
//!
//! `SharedArray` and `AnyArray` wrap a [`Core`] each. They differ in their [`ElementType`] alone,
//! so every verb is written here, once: properties and lifetime in this file, `views` and `reshape`
//! for views of the same elements, `parts` for views of elements of another type, `access` for
//! guards, `open` for the way from a handle to an array.

mod access;
mod bounds;
mod element_type;
mod open;
mod parts;
mod reshape;
mod views;

pub(crate) use element_type::{ElementType, Typed};
pub(in crate::array) use open::claim;

use crate::{
    array::open_array::OpenArray,
    element::{
        dtype::{DType, Scalar},
        numpy::NumpyDType,
    },
    error::{Error, Result},
    format::{attributes, id::ArrayId, name},
    handle::{Handle, Placement},
    layout::{self, Layout, Order, span::Span},
    scope::Scope,
    segment::Segment,
    store::member::Member,
};
use ciborium::Value;
use ndarray::Dimension;
use serde::de::DeserializeOwned;
use std::{ops::Range, path::Path, sync::Arc};

/// An array, or a view of one, with elements of the type `K` and `D` dimensions.
pub(crate) struct Core<K, D> {
    pub(in crate::array) element_type: K,
    pub(in crate::array) opened: Arc<OpenArray>,
    /// Strides count units of the element type. Invariant: `layout::check` accepted it for this
    /// segment's payload and the size of an element; of elements whose type is known at run time
    /// only, `ElementType::check_byte_len` accepted it too.
    pub(in crate::array) layout: Layout<D>,
    /// The bytes that a guard covers: those of the layout.
    span: Span,
    /// Invariant: true only if `layout::disjoint` accepted the layout and the segment is mapped
    /// writable.
    pub(in crate::array) is_writable: bool,
}

impl<K: ElementType, D: Dimension> Core<K, D> {
    /// The view of a checked layout. `is_writable` keeps the invariant of that field.
    fn new(element_type: K, opened: Arc<OpenArray>, layout: Layout<D>, is_writable: bool) -> Self {
        Self {
            span: Span::of(&layout, size_of::<K::Unit>(), element_type.itemsize()),
            element_type,
            opened,
            layout,
            is_writable,
        }
    }

    /// The whole array in a segment that this process has just published; `dim` is its shape.
    pub(in crate::array) fn published(segment: Arc<Segment>, element_type: K, dim: D) -> Self {
        let layout = Layout::whole(dim, segment.header().spec.order(), element_type.units());
        Self::new(element_type, OpenArray::new(segment, None), layout, true)
    }

    /// Committed rows of an array that grows.
    pub(in crate::array) fn of_rows(
        element_type: K,
        opened: Arc<OpenArray>,
        layout: Layout<D>,
    ) -> Self {
        Self::new(element_type, opened, layout, false)
    }

    pub(in crate::array) fn handle(&self) -> Handle {
        self.handle_with(self.scope())
    }

    /// A handle that lets its first opener inherit the array, if this process owns it.
    pub(in crate::array) fn hand_over(&self) -> Handle {
        self.handle_with(self.opened.hand_over())
    }

    fn handle_with(&self, scope: Scope) -> Handle {
        let view = self
            .is_view()
            .then(|| Placement::new(self.layout.offset, self.shape(), &self.byte_strides()));
        Handle::new(
            self.path(),
            self.id(),
            self.element_type.dtype().fingerprint(),
            self.is_writable(),
            scope,
            view,
        )
    }

    pub(in crate::array) fn shape(&self) -> &[usize] {
        self.layout.dim.slice()
    }

    /// The strides in bytes; zero for axes of length 0 and 1.
    pub(in crate::array) fn byte_strides(&self) -> Vec<isize> {
        self.layout.byte_strides(size_of::<K::Unit>())
    }

    pub(in crate::array) fn ndim(&self) -> usize {
        self.layout.dim.ndim()
    }

    pub(in crate::array) fn len(&self) -> usize {
        self.layout.dim.size()
    }

    pub(in crate::array) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(in crate::array) fn order(&self) -> Option<Order> {
        let strides = self.layout.element_strides();
        layout::order_of(self.shape(), strides, self.element_type.units())
    }

    pub(in crate::array) fn name(&self) -> Option<String> {
        name::of(self.path())
    }

    pub(in crate::array) fn key(&self) -> Option<String> {
        let claimed = self.attribute(name::KEY_ATTRIBUTE);
        self.name()
            .map(|name| name::key_of(&name, claimed.and_then(Value::as_text)))
    }

    /// One attribute.
    pub(in crate::array) fn attribute(&self, key: &str) -> Option<&Value> {
        attributes::entry(self.opened.header().attrs.as_ref(), key)
    }

    pub(in crate::array) fn id(&self) -> ArrayId {
        self.opened.header().id
    }

    pub(in crate::array) fn path(&self) -> &Path {
        self.opened.path()
    }

    pub(in crate::array) fn member(&self) -> &Arc<Member> {
        self.opened.member()
    }

    pub(in crate::array) fn scope(&self) -> Scope {
        self.opened.scope()
    }

    pub(in crate::array) fn set_scope(&self, scope: Scope) -> Result<()> {
        self.opened.mark_used();
        self.opened.set_scope(scope)
    }

    pub(in crate::array) fn release(&self) -> Result<()> {
        self.opened.mark_used();
        self.opened.release()
    }

    pub(in crate::array) fn axis_names(&self) -> &[Option<String>] {
        &self.opened.header().axis_names
    }

    pub(in crate::array) fn attrs<A: DeserializeOwned>(&self) -> Result<A> {
        attributes::from_value(self.opened.header().attrs.as_ref())
    }

    /// NumPy's type of the elements, as the attribute of the array says it; `None` where it says
    /// nothing about elements of this type at this place.
    pub(in crate::array) fn numpy_dtype(&self) -> Option<NumpyDType> {
        let header = self.opened.header();
        let claimed = NumpyDType::believed(header.attrs.as_ref(), header.spec.dtype())?;
        // The invariant of the layout: it begins at a part of an element.
        let inside = self.layout.offset % header.spec.dtype().itemsize();
        claimed.part_at(self.element_type.dtype(), inside).cloned()
    }

    /// NumPy's type of the elements that a file had, where each is a whole last axis of bytes here.
    pub(in crate::array) fn numpy_dtype_of_last_axis(&self) -> Option<NumpyDType> {
        let last = *self.shape().last()?;
        let is_bytes = *self.element_type.dtype() == DType::scalar(Scalar::U8);
        let claimed = NumpyDType::claimed(self.opened.header().attrs.as_ref())?;
        let is_such = is_bytes && claimed.itemsize() == last && claimed.stored().is_none();
        (is_such && !self.is_view()).then_some(claimed)
    }

    pub(in crate::array) fn is_view(&self) -> bool {
        let whole = &self.opened.header().spec;
        self.opened.is_growing()
            || whole.dtype() != self.element_type.dtype()
            || !self
                .layout
                .is_whole(whole.shape(), whole.order(), self.element_type.units())
    }

    pub(in crate::array) fn is_writable(&self) -> bool {
        self.is_writable && !self.is_frozen()
    }

    #[inline]
    pub(in crate::array) fn is_frozen(&self) -> bool {
        self.opened.is_immutable()
    }

    /// An error where no element can be written through this array.
    #[inline]
    pub(in crate::array) fn check_writable(&self) -> Result<()> {
        match self.is_writable && !self.is_frozen() {
            true => Ok(()),
            false => Err(self.not_writable()),
        }
    }

    #[cold]
    fn not_writable(&self) -> Error {
        let path = self.path().into();
        match self.is_frozen() {
            true => Error::Frozen { path },
            false => Error::ReadOnly {
                path,
                reason: "the view is read-only, or some of its elements share memory",
            },
        }
    }

    /// The bytes of the payload from the first to the last of this view.
    pub(in crate::array) fn extent(&self) -> Range<usize> {
        self.layout
            .extent(size_of::<K::Unit>(), self.element_type.itemsize())
    }

    /// The bytes that a guard covers.
    #[inline]
    pub(in crate::array) fn span(&self) -> Span {
        self.span
    }
}

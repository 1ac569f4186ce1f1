//! The one place where a payload becomes an ndarray view.
//!
//! # From a layout to a view and back
//!
//! A [`Layout`] is numbers: an offset in the payload, lengths of axes, strides. It has two uses:
//!
//! - A guard shows its elements: the address of the payload in this process plus the layout is a
//!   raw view, and a lock makes the raw view a view that may be read or written.
//! - A view operation (a slice, a transposition) computes another layout. It runs on ndarray's raw
//!   view, which holds an address, a shape and strides and never reads an element. The result is
//!   read back as a layout. ndarray panics where an index does not fit, so callers check every
//!   bound before.
//!
//! ndarray starts a view at its lowest address and with strides that are not negative. A layout
//! with negative strides therefore starts with the axes turned upwards, which are inverted
//! afterwards.
//!
//! One of the modules with unsafe code. Invariant of every `Layout` given to it: `layout::check`
//! accepted it for this segment's payload.

use crate::{
    element::Element,
    error::{Error, Result},
    format::constants::MAX_ALIGN,
    layout::{self, Layout, Order},
    segment::{Segment, draft::Draft},
};
use ndarray::{
    ArrayView, ArrayViewMut, Axis, Dimension, IxDyn, RawArrayView, RawArrayViewMut, ShapeBuilder,
    StrideShape,
};
use std::ptr::NonNull;

/// Whether ndarray can start with the strides as they are: none is negative, and there are
/// elements.
#[inline]
fn is_plain<D: Dimension>(layout: &Layout<D>) -> bool {
    layout
        .dim
        .slice()
        .iter()
        .zip(layout.element_strides())
        .all(|(&n, &stride)| n != 0 && stride >= 0)
}

/// A layout in the form in which ndarray starts: the lowest address, strides that are not negative,
/// and the axes that run downwards.
///
/// Axes of length 1 get a stride of zero. A view without elements gets ndarray's own strides, which
/// satisfy its checks.
#[cold]
fn upwards<D: Dimension>(
    layout: &Layout<D>,
    itemsize: usize,
) -> (usize, StrideShape<D>, Vec<Axis>) {
    if layout.dim.slice().contains(&0) {
        return (layout.offset, layout.dim.clone().into(), Vec::new());
    }
    let mut offset = layout.offset;
    let mut sizes = D::zeros(layout.dim.ndim());
    let mut downwards = Vec::new();
    for (axis, ((size, &n), &stride)) in sizes
        .slice_mut()
        .iter_mut()
        .zip(layout.dim.slice())
        .zip(layout.element_strides())
        .enumerate()
    {
        if n > 1 {
            *size = stride.unsigned_abs();
            if stride < 0 {
                offset -= (n - 1) * *size * itemsize;
                downwards.push(Axis(axis));
            }
        }
    }
    (offset, layout.dim.clone().strides(sizes), downwards)
}

/// Checks at compile time that every payload is aligned for `T`: mappings start at a page, payloads
/// at a multiple of 64 in it.
const fn assert_aligned<T>() {
    assert!(
        align_of::<T>() <= MAX_ALIGN,
        "an element is aligned to at most 64 bytes"
    );
}

/// The raw view of a layout over memory that starts at `base`, the start of a payload.
#[inline]
fn raw<T: Element, D: Dimension>(base: NonNull<u8>, layout: &Layout<D>) -> RawArrayView<T, D> {
    const { assert_aligned::<T>() };
    if is_plain(layout) {
        // SAFETY: as below, with the strides as they are: none is negative.
        return unsafe {
            RawArrayView::from_shape_ptr(
                layout.dim.clone().strides(layout.strides.clone()),
                address(base, layout.offset),
            )
        };
    }
    let (offset, shape, downwards) = upwards(layout, size_of::<T>());
    let start = address(base, offset);
    // SAFETY: `start` is not null and aligned, since the payload and `layout.offset` are (check);
    // strides are not negative; the number of elements and the reach in bytes fit isize (check);
    // every element lies inside the mapping (check), which is all that a reader may assume, and
    // nothing is read here.
    let mut view = unsafe { RawArrayView::from_shape_ptr(shape, start) };
    downwards
        .into_iter()
        .for_each(|axis| view.invert_axis(axis));
    view
}

/// [`raw`] for writing.
#[inline]
fn raw_mut<T: Element, D: Dimension>(
    base: NonNull<u8>,
    layout: &Layout<D>,
) -> RawArrayViewMut<T, D> {
    const { assert_aligned::<T>() };
    if is_plain(layout) {
        // SAFETY: as below, with the strides as they are: none is negative.
        return unsafe {
            RawArrayViewMut::from_shape_ptr(
                layout.dim.clone().strides(layout.strides.clone()),
                address(base, layout.offset),
            )
        };
    }
    let (offset, shape, downwards) = upwards(layout, size_of::<T>());
    let start = address(base, offset);
    // SAFETY: as in `raw`; the callers of this function checked in addition that no two elements
    // share a byte (disjoint).
    let mut view = unsafe { RawArrayViewMut::from_shape_ptr(shape, start) };
    downwards
        .into_iter()
        .for_each(|axis| view.invert_axis(axis));
    view
}

/// The element at `offset` bytes from the start of a payload.
#[inline]
fn address<T>(base: NonNull<u8>, offset: usize) -> *mut T {
    base.as_ptr().wrapping_add(offset).cast()
}

/// The layout that ndarray's operation makes of this one.
pub(crate) fn apply<T: Element, D: Dimension, E: Dimension, X>(
    segment: &Segment,
    layout: &Layout<D>,
    operation: impl FnOnce(RawArrayView<T, D>) -> Result<RawArrayView<T, E>, X>,
) -> Result<Layout<E>, X> {
    let base = segment.payload(0);
    operation(raw(base, layout)).map(|view| read_back(base, &view))
}

/// [`apply`] for an operation that makes two views.
pub(crate) fn apply_pair<T: Element, D: Dimension>(
    segment: &Segment,
    layout: &Layout<D>,
    operation: impl FnOnce(RawArrayView<T, D>) -> (RawArrayView<T, D>, RawArrayView<T, D>),
) -> (Layout<D>, Layout<D>) {
    let base = segment.payload(0);
    let (first, second) = operation(raw(base, layout));
    (read_back(base, &first), read_back(base, &second))
}

/// The layout of this one broadcast to `dim`, if ndarray allows it.
pub(crate) fn broadcast<T: Element, D: Dimension, E: Dimension>(
    segment: &Segment,
    layout: &Layout<D>,
    dim: E,
) -> Option<Layout<E>> {
    let base = segment.payload(0);
    let view = raw::<T, D>(base, layout);
    // SAFETY: the elements lie inside the mapping, which outlives this call (check), and are valid
    // with any bytes; `broadcast` computes strides and reads none of them, so concurrent writers do
    // not matter.
    let view = unsafe { view.deref_into_view() };
    let wide = view.broadcast(dim)?;
    Some(read_back(base, &wide.raw_view()))
}

fn read_back<T: Element, D: Dimension>(base: NonNull<u8>, view: &RawArrayView<T, D>) -> Layout<D> {
    let mut strides = D::zeros(view.ndim());
    let is_empty = view.is_empty();
    for (word, &stride) in strides.slice_mut().iter_mut().zip(view.strides()) {
        *word = if is_empty { 0 } else { stride as usize };
    }
    Layout {
        offset: view.as_ptr().addr() - base.addr().get(),
        dim: view.raw_dim(),
        strides,
    }
}

/// The elements of a view, for reading.
///
/// # Safety
///
/// For as long as `'a` lasts the segment stays mapped, and no thread or process writes these
/// elements.
#[inline]
pub(crate) unsafe fn elements<'a, T: Element, D: Dimension>(
    segment: &Segment,
    layout: &Layout<D>,
) -> ArrayView<'a, T, D> {
    let view = raw::<T, D>(segment.payload(0), layout);
    // SAFETY: the elements are inside the mapping (check), aligned, valid with any bytes (Element),
    // and by the caller's promise mapped and unwritten during 'a.
    unsafe { view.deref_into_view() }
}

/// The elements of a view, as atomics.
///
/// # Safety
///
/// `A` is the atomic integer of `T`. For as long as `'a` lasts the segment stays mapped writable,
/// and every access to these elements is an atomic operation of the same size.
pub(crate) unsafe fn atomics<'a, T: Element, D: Dimension, A>(
    segment: &Segment,
    layout: &Layout<D>,
) -> ArrayView<'a, A, D> {
    let view = raw::<T, D>(segment.payload(0), layout).cast::<A>();
    // SAFETY: as in `elements`; an atomic has the size, alignment and validity of its integer, and
    // by the caller's promise it is mapped writable and shared with atomic operations only.
    unsafe { view.deref_into_view() }
}

/// The elements of a view, for writing.
///
/// # Safety
///
/// `layout::disjoint` accepted the layout. For as long as `'a` lasts the segment stays mapped
/// writable, and the caller alone reads and writes these elements.
#[inline]
pub(crate) unsafe fn elements_mut<'a, T: Element, D: Dimension>(
    segment: &Segment,
    layout: &Layout<D>,
) -> ArrayViewMut<'a, T, D> {
    let view = raw_mut::<T, D>(segment.payload(0), layout);
    // SAFETY: as in `elements`; no two elements share a byte (disjoint), and by the caller's
    // promise no other code touches them in 'a.
    unsafe { view.deref_into_view_mut() }
}

/// The payload of an array that no other process can see yet, of `len` bytes, to be filled.
#[cfg(feature = "zarr")]
pub(crate) fn bytes_of(draft: &mut Draft, len: usize) -> &mut [u8] {
    let layout = Layout::whole(ndarray::Ix1(len), Order::C, 1);
    let view = raw_mut::<u8, ndarray::Ix1>(draft.payload(), &layout);
    // SAFETY: `len` is that of the payload, so every byte lies inside the mapping; the draft is
    // borrowed exclusively for as long as the slice, no other process knows it, and its bytes are
    // initialised, as those of every page of a file are.
    let view = unsafe { view.deref_into_view_mut() };
    match view.into_slice() {
        Some(bytes) => bytes,
        None => unreachable!("one axis of bytes is contiguous"),
    }
}

/// Fills the payload of an array that no other process can see yet. `layout` is the draft's own:
/// its whole payload, contiguous.
pub(crate) fn fill<T: Element, D: Dimension>(
    draft: &mut Draft,
    layout: &Layout<D>,
    fill: impl FnOnce(ArrayViewMut<'_, T, D>),
) {
    let view = raw_mut::<T, D>(draft.payload(), layout);
    // SAFETY: a contiguous layout of the draft's shape lies inside its payload and no two elements
    // share a byte; the draft is borrowed exclusively, no other process knows it, and its bytes are
    // initialised, as those of every page of a file are.
    fill(unsafe { view.deref_into_view_mut() });
}

/// Bytes as words of `N` bytes: the last axis, along which the bytes are contiguous, gets `N` times
/// shorter. `None` where the places of the bytes do not allow it, and where there are none.
pub(crate) fn in_words<const N: usize>(
    mut bytes: ArrayView<'_, u8, IxDyn>,
) -> Option<ArrayView<'_, [u8; N], IxDyn>> {
    let last = bytes.ndim() - 1;
    let counts = |axis: &usize| bytes.len_of(Axis(*axis)) > 1;
    let is_fit = (0..last)
        .filter(counts)
        .all(|axis| bytes.strides()[axis].unsigned_abs().is_multiple_of(N));
    let is_run = bytes.len_of(Axis(last)).is_multiple_of(N)
        && (!counts(&last) || bytes.strides()[last] == 1);
    if bytes.is_empty() || !is_fit || !is_run {
        return None;
    }
    let downwards: Vec<Axis> = (0..last)
        .filter(|axis| counts(axis) && bytes.strides()[*axis] < 0)
        .map(Axis)
        .collect();
    downwards.iter().for_each(|axis| bytes.invert_axis(*axis));
    let (mut dim, mut strides) = (bytes.raw_dim(), IxDyn::zeros(last + 1));
    for axis in (0..last).filter(|axis| dim[*axis] > 1) {
        strides[axis] = bytes.strides()[axis] as usize / N;
    }
    dim[last] /= N;
    strides[last] = 1;
    // SAFETY: the address is that of a byte, not null, and words of bytes are aligned anywhere; no
    // stride is negative, because all axes that run downwards were inverted; the words consist of
    // the bytes of the view and of no others (is_fit, is_run), so number and reach fit isize, and
    // they are borrowed for the same time.
    let mut words = unsafe {
        ArrayView::from_shape_ptr(dim.strides(strides), bytes.as_ptr().cast::<[u8; N]>())
    };
    downwards
        .into_iter()
        .for_each(|axis| words.invert_axis(axis));
    Some(words)
}

/// The dimensions and the order of a shape given as ndarray's `ShapeBuilder`, which does not give
/// its order.
pub(crate) fn shape_of<Sh: ShapeBuilder>(shape: Sh) -> Result<(Sh::Dim, Order)> {
    let shape = shape.into_shape_with_order();
    let dim = shape.raw_dim().clone();
    if !layout::is_countable(dim.slice()) {
        return Err(Error::layout(
            "create an array",
            format!("shape {:?} is too large", dim.slice()),
        ));
    }
    // SAFETY: the address is not null; elements of size zero take no memory and their offsets are
    // zero; the number of elements fits isize.
    let strided = unsafe {
        RawArrayView::from_shape_ptr(shape, NonNull::<()>::dangling().as_ptr().cast_const())
    };
    Ok((
        dim.clone(),
        layout::order_of(dim.slice(), strided.strides(), 1).unwrap_or(Order::C),
    ))
}

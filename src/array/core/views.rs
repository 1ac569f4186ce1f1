//! Views of an array: the same memory, fewer of its elements.
//!
//! Bounds are checked (`bounds`) before ndarray computes a view, because its raw views panic. No
//! operation of ndarray makes elements share bytes that did not share them before.

use super::{
    Core, ElementType,
    bounds::{axis_length, check_axis_index, check_slice, check_slice_info},
};
use crate::{
    array::view,
    element::dtype::DType,
    error::{Error, Result},
    layout::Layout,
};
use ndarray::{Axis, Dimension, IxDyn, RawArrayView, RemoveAxis, Slice, SliceArg};
use std::convert::Infallible;

impl<K: ElementType, D: Dimension> Core<K, D> {
    pub(in crate::array) fn view(&self) -> Self {
        self.with_layout(self.layout.clone())
    }

    pub(in crate::array) fn read_only(&self) -> Self {
        Self {
            is_writable: false,
            ..self.view()
        }
    }

    pub(in crate::array) fn slice<I: SliceArg<D>>(&self, info: I) -> Result<Core<K, I::OutDim>> {
        check_slice_info(&info, self.shape())?;
        Ok(self.derive(|view| view.slice_move(info)))
    }

    pub(in crate::array) fn slice_axis(&self, axis: Axis, indices: Slice) -> Result<Self> {
        let operation = "slice an axis";
        let length = axis_length(operation, self.shape(), axis)?;
        check_slice(operation, indices.start, indices.end, indices.step, length)?;
        Ok(self.part_of_axis(axis, indices))
    }

    pub(in crate::array) fn index_axis(
        &self,
        axis: Axis,
        index: usize,
    ) -> Result<Core<K, D::Smaller>>
    where
        D: RemoveAxis,
    {
        check_axis_index(self.shape(), axis, index)?;
        Ok(self.derive(|view| view.index_axis_move(axis, index)))
    }

    pub(in crate::array) fn split_at(&self, axis: Axis, index: usize) -> Result<(Self, Self)> {
        let operation = "split";
        let length = axis_length(operation, self.shape(), axis)?;
        if index > length {
            return Err(Error::layout(
                operation,
                format!("at {index} of axis {} of length {length}", axis.index()),
            ));
        }
        let (first, second) = view::apply_pair::<K::Unit, D>(&self.opened, &self.layout, |view| {
            view.split_at(axis, index)
        });
        Ok((self.with_layout(first), self.with_layout(second)))
    }

    pub(in crate::array) fn axis_chunks(
        &self,
        axis: Axis,
        size: usize,
    ) -> Result<impl ExactSizeIterator<Item = Self> + use<K, D>> {
        let operation = "split into chunks";
        let length = axis_length(operation, self.shape(), axis)?;
        if size == 0 {
            return Err(Error::layout(
                operation,
                "a chunk must have at least one index",
            ));
        }
        let whole = self.view();
        Ok((0..length.div_ceil(size)).map(move |chunk| {
            let start = chunk * size;
            let end = start.saturating_add(size).min(length);
            whole.part_of_axis(axis, Slice::from(start..end))
        }))
    }

    /// These indices of an axis; the caller checked them.
    fn part_of_axis(&self, axis: Axis, indices: Slice) -> Self {
        self.derive(|mut view| {
            view.slice_axis_inplace(axis, indices);
            view
        })
    }

    /// The view that ndarray's operation makes of this one.
    pub(super) fn derive<E: Dimension>(
        &self,
        operation: impl FnOnce(RawArrayView<K::Unit, D>) -> RawArrayView<K::Unit, E>,
    ) -> Core<K, E> {
        let Ok(layout) = view::apply(&self.opened, &self.layout, |view| {
            Ok::<_, Infallible>(operation(view))
        });
        self.with_layout(layout)
    }

    /// The whole array, with elements of its own type.
    pub(in crate::array) fn whole(&self) -> Core<DType, IxDyn> {
        let spec = &self.opened.header().spec;
        let element_type = spec.dtype().clone();
        let layout = Layout::whole(IxDyn(spec.shape()), spec.order(), element_type.units());
        self.opened.mark_used();
        Core::new(element_type, self.opened.clone(), layout, self.is_writable)
    }

    /// The view with a layout of the same elements, or of some of them.
    pub(super) fn with_layout<E: Dimension>(&self, layout: Layout<E>) -> Core<K, E> {
        self.opened.mark_used();
        Core::new(
            self.element_type.clone(),
            self.opened.clone(),
            layout,
            self.is_writable,
        )
    }
}

//! Views of all elements of an array under other axes.

use super::{Core, ElementType};
use crate::{
    array::view,
    error::{Error, Result},
    layout::{self, Layout, MAX_NDIM},
};
use ndarray::{Axis, Dimension, IntoDimension, Ix1, IxDyn, RawArrayView, ShapeArg};

impl<K: ElementType, D: Dimension> Core<K, D> {
    pub(in crate::array) fn insert_axis(&self, axis: Axis) -> Result<Core<K, D::Larger>> {
        if axis.index() > self.ndim() || self.ndim() >= MAX_NDIM {
            return Err(Error::layout(
                "insert an axis",
                format!(
                    "axis {} into {} axes (at most 32)",
                    axis.index(),
                    self.ndim()
                ),
            ));
        }
        Ok(self.derive(|view| view.insert_axis(axis)))
    }

    pub(in crate::array) fn reversed_axes(&self) -> Self {
        self.derive(RawArrayView::reversed_axes)
    }

    pub(in crate::array) fn permuted_axes(&self, axes: D) -> Result<Self> {
        let mut sorted = axes.slice().to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..self.ndim()) {
            return Err(Error::layout(
                "permute the axes",
                format!(
                    "{:?} does not name each of {} axes once",
                    axes.slice(),
                    self.ndim()
                ),
            ));
        }
        Ok(self.derive(|view| view.permuted_axes(axes)))
    }

    pub(in crate::array) fn broadcast<E: IntoDimension>(
        &self,
        shape: E,
    ) -> Result<Core<K, E::Dim>> {
        let dim = shape.into_dimension();
        let cannot = || {
            Error::layout(
                "broadcast",
                format!("{:?} to {:?}", self.shape(), dim.slice()),
            )
        };
        if !layout::is_countable(dim.slice()) {
            return Err(cannot());
        }
        let layout = view::broadcast::<K::Unit, D, E::Dim>(&self.opened, &self.layout, dim.clone())
            .ok_or_else(cannot)?;
        self.element_type.check_byte_len(dim.slice())?;
        Ok(Core {
            is_writable: false,
            ..self.with_layout(layout)
        })
    }

    pub(in crate::array) fn diag(&self) -> Core<K, Ix1> {
        self.derive(RawArrayView::into_diag)
    }

    pub(in crate::array) fn reshaped<E: ShapeArg>(&self, shape: E) -> Result<Core<K, E::Dim>> {
        let operation = "reshape";
        let (dim, order) = shape.into_shape_and_order();
        if !layout::is_countable(dim.slice()) {
            return Err(Error::layout(
                operation,
                format!("{:?} is too large", dim.slice()),
            ));
        }
        let wanted = dim.slice().to_vec();
        let shape = (dim, order.unwrap_or(ndarray::Order::RowMajor));
        let layout = view::apply(
            &self.opened,
            &self.layout,
            |view: RawArrayView<K::Unit, D>| view.into_shape_with_order(shape),
        );
        let layout = layout.map_err(|error| {
            let strides = self.layout.element_strides();
            let reason = format!(
                "{:?} with strides {strides:?} to {wanted:?}: {error}",
                self.shape()
            );
            Error::layout(operation, reason)
        })?;
        Ok(self.with_layout(layout))
    }

    pub(in crate::array) fn to_dyn(&self) -> Core<K, IxDyn> {
        self.derive(RawArrayView::into_dyn)
    }

    /// The same array with its number of dimensions known at run time.
    pub(in crate::array) fn into_dyn(self) -> Core<K, IxDyn> {
        Core {
            element_type: self.element_type,
            opened: self.opened,
            layout: Layout {
                offset: self.layout.offset,
                dim: self.layout.dim.into_dyn(),
                strides: self.layout.strides.into_dyn(),
            },
            span: self.span,
            is_writable: self.is_writable,
        }
    }

    pub(in crate::array) fn to_dimensionality<E: Dimension>(&self) -> Result<Core<K, E>> {
        let layout = self.layout.to_dimensionality();
        Ok(self.with_layout(layout.ok_or_else(|| self.wrong_rank::<E>())?))
    }

    pub(super) fn wrong_rank<E: Dimension>(&self) -> Error {
        Error::Rank {
            path: self.path().into(),
            expected: E::NDIM.unwrap_or_default(),
            found: self.ndim(),
        }
    }
}

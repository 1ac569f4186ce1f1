//! Making arrays: a draft, filled before anybody else can see it, then published.

use super::SharedArray;
use crate::{
    draft::{Draft, Plan},
    dtype::DType,
    element::Element,
    error::{Error, Result},
    format::MAX_NDIM,
    grip::Grip,
    header::Header,
    id::ArrayId,
    layout::{self, Layout, Order},
    member::Member,
    scope::Scope,
    segment::Segment,
    view,
};
use ciborium::Value;
use ndarray::{ArrayRef, ArrayViewMut, Dimension};
use std::{marker::PhantomData, sync::Arc};

/// What a new array gets beside its elements.
#[derive(Clone, Default)]
pub(crate) struct Labels {
    pub(crate) name: Option<String>,
    pub(crate) scope: Option<Scope>,
    pub(crate) attrs: Option<Value>,
    pub(crate) axis_names: Vec<Option<String>>,
}

/// Makes an array whose bytes are zero unless `fill` sets them before anybody else can see it.
pub(crate) fn create_any(
    member: &Arc<Member>,
    labels: Labels,
    dtype: DType,
    shape: &[usize],
    order: Order,
    fill: Option<impl FnOnce(&mut Draft)>,
) -> Result<Arc<Segment>> {
    if !labels.axis_names.is_empty() && labels.axis_names.len() != shape.len() {
        return Err(Error::Attrs { reason: format!("{} axis names for {} axes", labels.axis_names.len(), shape.len()) });
    }
    if shape.len() > MAX_NDIM {
        return Err(Error::layout("create an array", format!("{} axes, at most {MAX_NDIM} are possible", shape.len())));
    }
    if layout::byte_len(shape, dtype.itemsize()).is_none() {
        return Err(Error::layout("create an array", format!("shape {shape:?} of {dtype} is too large")));
    }
    let scope = labels.scope.unwrap_or(if labels.name.is_some() { Scope::Store } else { Scope::Local });
    let header = Header {
        id: ArrayId::new(),
        dtype,
        shape: shape.into(),
        order,
        axis_names: labels.axis_names,
        attrs: labels.attrs,
        created: Plan::created(member)?,
    };
    let mut draft = Draft::new(member, Plan { name: labels.name, scope, header })?;
    if let Some(fill) = fill {
        fill(&mut draft);
    }
    draft.publish()
}

/// The same with elements whose type is known.
pub(crate) fn create<T: Element, D: Dimension>(
    member: &Arc<Member>,
    labels: Labels,
    dim: D,
    order: Order,
    fill: Option<impl FnOnce(ArrayViewMut<'_, T, D>)>,
) -> Result<SharedArray<T, D>> {
    let shape = dim.slice().to_vec();
    let layout = || Layout::whole(dim.clone(), order, 1);
    let fill = fill.map(|fill| |draft: &mut Draft| view::fill(draft, &layout(), fill));
    let segment = create_any(member, labels, T::DTYPE, &shape, order, fill)?;
    Ok(SharedArray { grip: Grip::new(segment, None), layout: layout(), is_writable: true, _element: PhantomData })
}

/// A new shared array with a copy of these elements.
pub(crate) fn from_ndarray<T: Element, D: Dimension>(member: &Arc<Member>, labels: Labels, source: &ArrayRef<T, D>) -> Result<SharedArray<T, D>> {
    let order = layout::order_of(source.shape(), source.strides(), 1).unwrap_or(Order::C);
    let fill = |mut elements: ArrayViewMut<'_, T, D>| elements.assign(source);
    create(member, labels, source.raw_dim(), order, Some(fill))
}

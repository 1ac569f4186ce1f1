//! Making arrays: a draft, filled before anybody else can see it, then published.

use super::SharedArray;
use crate::{
    array::{open_array::OpenArray, view},
    element::{Element, dtype::DType},
    error::{Error, Result},
    format::{header::Header, id::ArrayId, name::ArrayName},
    layout::{self, Layout, MAX_NDIM, Order},
    scope::Scope,
    segment::{
        Segment,
        draft::{Draft, Plan},
        pages::Payload,
    },
    store::member::Member,
};
use ciborium::Value;
use ndarray::{ArrayRef, ArrayViewMut, Dimension};
use std::{marker::PhantomData, sync::Arc};

/// What a new array gets beside its elements.
#[derive(Clone, Default)]
pub(crate) struct Labels {
    pub(crate) name: Option<ArrayName>,
    pub(crate) scope: Option<Scope>,
    pub(crate) attrs: Option<Value>,
    pub(crate) axis_names: Vec<Option<String>>,
}

/// What a new array holds when others can see it.
pub(crate) enum Content<'a, F> {
    Zeros,
    /// Something, it does not matter what.
    Anything,
    /// These bytes, in the order of the array's memory.
    Bytes(&'a [u8]),
    /// What this function writes.
    Filled(F),
}

impl<'a, F> Content<'a, F> {
    fn map<G>(self, map: impl FnOnce(F) -> G) -> Content<'a, G> {
        match self {
            Content::Zeros => Content::Zeros,
            Content::Anything => Content::Anything,
            Content::Bytes(bytes) => Content::Bytes(bytes),
            Content::Filled(fill) => Content::Filled(map(fill)),
        }
    }
}

/// Makes an array.
pub(crate) fn create_any(
    member: &Arc<Member>,
    labels: Labels,
    dtype: DType,
    shape: &[usize],
    order: Order,
    content: Content<'_, impl FnOnce(&mut Draft)>,
) -> Result<Arc<Segment>> {
    let draft = |payload| draft_any(member, labels, dtype, shape, order, payload);
    let draft = match content {
        Content::Zeros => draft(Payload::Zeros)?,
        Content::Anything => draft(Payload::Anything)?,
        Content::Bytes(bytes) => draft(Payload::Bytes(bytes))?,
        Content::Filled(fill) => {
            let mut draft = draft(Payload::ToBeFilled)?;
            fill(&mut draft);
            draft
        }
    };
    draft.publish()
}

/// Makes the file of an array that nobody else can see yet.
pub(crate) fn draft_any(
    member: &Arc<Member>,
    labels: Labels,
    dtype: DType,
    shape: &[usize],
    order: Order,
    payload: Payload<'_>,
) -> Result<Draft> {
    if !labels.axis_names.is_empty() && labels.axis_names.len() != shape.len() {
        return Err(Error::Attrs {
            reason: format!(
                "{} axis names for {} axes",
                labels.axis_names.len(),
                shape.len()
            ),
        });
    }
    if shape.len() > MAX_NDIM {
        return Err(Error::layout(
            "create an array",
            format!("{} axes, at most {MAX_NDIM} are possible", shape.len()),
        ));
    }
    if layout::byte_len(shape, dtype.itemsize()).is_none() {
        return Err(Error::layout(
            "create an array",
            format!("shape {shape:?} of {dtype} is too large"),
        ));
    }
    let scope = labels.scope.unwrap_or(if labels.name.is_some() {
        Scope::Store
    } else {
        Scope::Local
    });
    let header = Header {
        id: ArrayId::new(),
        dtype,
        shape: shape.into(),
        order,
        axis_names: labels.axis_names,
        attrs: labels.attrs,
        created: Plan::created(member)?,
    };
    Draft::new(
        member,
        Plan {
            name: labels.name,
            scope,
            header,
        },
        payload,
    )
}

/// The same with elements whose type is known.
pub(crate) fn create<T: Element, D: Dimension>(
    member: &Arc<Member>,
    labels: Labels,
    dim: D,
    order: Order,
    content: Content<'_, impl FnOnce(ArrayViewMut<'_, T, D>)>,
) -> Result<SharedArray<T, D>> {
    let shape = dim.slice().to_vec();
    let layout = || Layout::whole(dim.clone(), order, 1);
    let content = content.map(|fill| |draft: &mut Draft| view::fill(draft, &layout(), fill));
    let segment = create_any(member, labels, T::DTYPE, &shape, order, content)?;
    Ok(SharedArray {
        open_array: OpenArray::new(segment, None),
        layout: layout(),
        is_writable: true,
        _element: PhantomData,
    })
}

/// A new shared array with a copy of these elements.
pub(crate) fn from_ndarray<T: Element, D: Dimension>(
    member: &Arc<Member>,
    labels: Labels,
    source: &ArrayRef<T, D>,
) -> Result<SharedArray<T, D>> {
    let order = layout::order_of(source.shape(), source.strides(), 1);
    let content = match source.as_slice_memory_order().filter(|_| order.is_some()) {
        Some(elements) => Content::Bytes(bytemuck::cast_slice(elements)),
        None => Content::Filled(|mut elements: ArrayViewMut<'_, T, D>| elements.assign(source)),
    };
    create(
        member,
        labels,
        source.raw_dim(),
        order.unwrap_or(Order::C),
        content,
    )
}

//! Making arrays: a draft, filled before any other process can see it, then published.

use super::SharedArray;
use crate::{
    array::{
        core::{Core, Typed},
        view,
    },
    element::{Element, dtype::DType},
    error::{Error, Result},
    format::{array_spec::ArraySpec, header::Header, id::ArrayId, kind::Kind, name::ArrayName},
    layout::{self, Layout, Order},
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
use std::sync::Arc;

/// The settings of a new array, apart from its elements.
#[derive(Clone, Default)]
pub(crate) struct Labels {
    pub(crate) name: Option<ArrayName>,
    pub(crate) scope: Option<Scope>,
    pub(crate) attrs: Option<Value>,
    pub(crate) axis_names: Vec<Option<String>>,
    pub(crate) kind: Kind,
}

/// The elements of a new array when other processes can see it.
pub(crate) enum Content<'a, F> {
    Zeros,
    /// Any bytes, initialised.
    Anything,
    /// These bytes, in the order of the array's memory.
    Bytes(&'a [u8]),
    /// The elements that this function writes.
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

/// The specification of a new array of this type and shape.
pub(crate) fn spec_of(dtype: &DType, shape: &[usize], order: Order) -> Result<ArraySpec> {
    ArraySpec::new(dtype.clone(), shape, order)
        .map_err(|impossible| Error::layout("create an array", impossible.to_string()))
}

/// Makes an array.
pub(crate) fn create_any(
    member: &Arc<Member>,
    labels: Labels,
    spec: ArraySpec,
    content: Content<'_, impl FnOnce(&mut Draft)>,
) -> Result<Arc<Segment>> {
    let draft = |payload| draft(member, labels, spec, payload);
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

/// Makes the file of an array of this type and shape that no other process can see yet.
pub(crate) fn draft_any(
    member: &Arc<Member>,
    labels: Labels,
    dtype: DType,
    shape: &[usize],
    order: Order,
    payload: Payload<'_>,
) -> Result<Draft> {
    draft(member, labels, spec_of(&dtype, shape, order)?, payload)
}

/// Makes the file of an array that no other process can see yet.
pub(crate) fn draft(
    member: &Arc<Member>,
    labels: Labels,
    spec: ArraySpec,
    payload: Payload<'_>,
) -> Result<Draft> {
    let (names, axes) = (labels.axis_names.len(), spec.shape().len());
    if names != 0 && names != axes {
        return Err(Error::Attrs {
            reason: format!("{names} axis names for {axes} axes"),
        });
    }
    let default_scope = match labels.name {
        Some(_) => Scope::Store,
        None => Scope::Local,
    };
    let header = Header {
        id: ArrayId::new().map_err(Error::io(member.directory(), "take random bytes"))?,
        spec,
        kind: labels.kind,
        axis_names: labels.axis_names,
        attrs: labels.attrs,
        created: Plan::created(member)?,
    };
    let plan = Plan {
        name: labels.name,
        scope: labels.scope.unwrap_or(default_scope),
        header,
    };
    Draft::new(member, plan, payload)
}

/// Makes an array whose element type is known at compile time.
pub(crate) fn create<T: Element, D: Dimension>(
    member: &Arc<Member>,
    labels: Labels,
    dim: D,
    order: Order,
    content: Content<'_, impl FnOnce(ArrayViewMut<'_, T, D>)>,
) -> Result<SharedArray<T, D>> {
    let spec = spec_of(&T::DTYPE, dim.slice(), order)?;
    let layout = || Layout::whole(dim.clone(), order, 1);
    let content = content.map(|fill| |draft: &mut Draft| view::fill(draft, &layout(), fill));
    let segment = create_any(member, labels, spec, content)?;
    Ok(SharedArray::new(Core::published(
        segment,
        Typed::new(),
        dim,
    )))
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

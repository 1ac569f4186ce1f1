//! Making and opening arrays that grow: from handles, from paths, from names.

use super::{AnyGrowing, GrowingArray};
use crate::{
    array::{
        core::{ElementType, Typed, claim},
        create::{Content, Labels, create_any, spec_of},
        open_array::OpenArray,
    },
    element::{Element, dtype::DType},
    error::{Error, Result},
    format::kind::{ArrayKind, Kind},
    handle::Handle,
    layout::Order,
    segment::{MOST_ROWS, Segment, draft::Draft},
    store::member::Member,
    sys::wait::Wait,
};
use ndarray::Dimension;
use std::{path::Path, sync::Arc};

impl Handle {
    /// Opens the array that grows that the handle names: a handle of
    /// [`GrowingArray::handle`](crate::GrowingArray::handle). With a
    /// [read-only](Self::read_only) handle nothing can be appended.
    ///
    /// # Errors
    ///
    /// `Kind` if the array is of another kind; `Handle` if it names rows, which
    /// [`open_frozen`](Self::open_frozen) opens; `AddressSpace`; those of [`open`](Self::open). An
    /// opening that fails claims nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::{Ix1, Ix2};
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f64, _>(1000, 3)?;
    /// assert_eq!(log.handle().open_growing::<f64, Ix2>()?.max_len(), 1000);
    /// let refused = manager.zeros::<f64, _>(5)?.handle().open_growing::<f64, Ix1>();
    /// assert!(matches!(refused, Err(ndshm::Error::Kind { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open_growing<T: Element, D: Dimension>(&self) -> Result<GrowingArray<T, D>> {
        let segment = Segment::of_handle(self, Wait::Forever)?;
        check_kind(&segment, Some(self))?;
        check_type::<T, D>(&segment)?;
        of_segment(segment, Some(self)).map(GrowingArray::new)
    }

    /// Opens the array that grows that the handle names, with elements of any type.
    ///
    /// # Errors
    ///
    /// Those of [`open_growing`](Self::open_growing), without `Dtype` and `Rank`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f64, _>(1000, 3)?;
    /// assert_eq!(log.handle().open_any_growing()?.row_shape(), [3]);
    /// let refused = manager.zeros::<f64, _>(5)?.handle().open_any_growing();
    /// assert!(matches!(refused, Err(ndshm::Error::Kind { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open_any_growing(&self) -> Result<AnyGrowing> {
        of_segment(Segment::of_handle(self, Wait::Forever)?, Some(self))
    }
}

impl<T: Element, D: Dimension> GrowingArray<T, D> {
    /// Opens the array in the file at `path`.
    ///
    /// # Errors
    ///
    /// As [`Handle::open_growing`]; `NotFound` if there is no such file.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix1;
    /// use ndshm::GrowingArray;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().name("log").growing::<f64, _>(1000, ())?;
    /// assert_eq!(GrowingArray::<f64, Ix1>::open_path(log.path())?.id(), log.id());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open_path(path: impl AsRef<Path>) -> Result<Self> {
        AnyGrowing::open_path(path)?.downcast()
    }
}

impl AnyGrowing {
    /// Opens the array in the file at `path`.
    ///
    /// # Errors
    ///
    /// As [`Handle::open_any_growing`]; `NotFound` if there is no such file.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::AnyGrowing;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().name("log").growing::<f64, _>(1000, ())?;
    /// assert_eq!(AnyGrowing::open_path(log.path())?.id(), log.id());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open_path(path: impl AsRef<Path>) -> Result<Self> {
        of_segment(Segment::at_path(path.as_ref())?, None)
    }

    /// Opens the array with this chosen name, in the file at `path`.
    pub(crate) fn open_named(member: &Arc<Member>, path: &Path) -> Result<Self> {
        of_segment(Segment::open(member, path, None, true)?, None)
    }

    /// Makes an array of at most so many rows of this shape.
    pub(crate) fn create(
        member: &Arc<Member>,
        labels: Labels,
        dtype: &DType,
        row_shape: &[usize],
        max_len: usize,
    ) -> Result<Self> {
        let impossible = |reason: String| Error::layout("create an array that grows", reason);
        if max_len > MOST_ROWS {
            let reason = format!("{max_len} rows are more than any process can map: {MOST_ROWS}");
            return Err(impossible(reason));
        }
        let shape = [&[max_len], row_shape].concat();
        let spec = spec_of(dtype, &shape, Order::C)?;
        Kind::Growing
            .check(&spec)
            .map_err(|reason| impossible(reason.into()))?;
        let labels = Labels {
            kind: Kind::Growing,
            ..labels
        };
        let segment = create_any(member, labels, spec, Content::<fn(&mut Draft)>::Zeros)?;
        Ok(Self::new(OpenArray::new(segment, None), true))
    }
}

/// An error if the file is no array that grows, or the handle names rows of it.
fn check_kind(segment: &Segment, handle: Option<&Handle>) -> Result<()> {
    segment.check_kind(ArrayKind::Growing)?;
    if handle.is_some_and(|handle| handle.view().is_some()) {
        return Err(Error::Handle {
            reason: "it names rows of an array that grows: open it with open_frozen".into(),
        });
    }
    // Without a view, the fingerprint must be that of the elements.
    segment.dtype_of(handle).map(drop)
}

/// An error if the elements have another type, or the whole has another number of axes.
pub(super) fn check_type<T: Element, D: Dimension>(segment: &Segment) -> Result<()> {
    Typed::<T>::accept(segment.header().spec.dtype(), segment.path())?;
    let found = segment.header().spec.shape().len();
    match D::NDIM {
        Some(expected) if expected != found => Err(Error::Rank {
            path: segment.path().into(),
            expected,
            found,
        }),
        _ => Ok(()),
    }
}

/// The array in a segment. A claim is the last step.
fn of_segment(segment: Arc<Segment>, handle: Option<&Handle>) -> Result<AnyGrowing> {
    check_kind(&segment, handle)?;
    let is_writable = handle.is_none_or(Handle::is_writable);
    Ok(AnyGrowing::new(claim(segment, handle)?, is_writable))
}

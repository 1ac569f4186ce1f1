//! Settings for an array, and the verbs that make it.

use crate::{
    array::{self, Content, Labels, SharedArray, any::AnyArray, view},
    element::{Element, dtype::DType},
    error::{Error, Result},
    format::{constants::SUFFIX, name},
    inspect::info,
    layout::{self, Layout, Order},
    scope::Scope,
    segment::draft::Draft,
    store::member::Member,
    sys::copy,
};
use ndarray::{ArrayRef, ArrayViewMut, Dimension, IntoDimension, Ix1, ShapeBuilder};
use num_traits::One;
use serde::Serialize;
use std::{path::PathBuf, sync::Arc};

/// Settings for an array: name, scope, attributes, axis names. Made by
/// [`Manager::options`](crate::Manager::options).
///
/// An array without a name is [`Scope::Local`], one with a name [`Scope::Store`], unless
/// [`scope`](Self::scope) says otherwise.
///
/// # Examples
///
/// ```
/// use ndshm::Scope;
///
/// let manager = ndshm::Manager::new()?;
/// let frames = manager.options().name("frames").scope(Scope::Local).axis_names(["row", "column"]).ones::<u8, _>((480, 640))?;
/// assert_eq!(frames.scope(), Scope::Local);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct ArrayOptions<'a> {
    member: &'a Arc<Member>,
    labels: Labels,
}

/// How often an array that is neither there nor to be made is looked for again, while others make
/// and delete it.
const TRIES: usize = 1000;

type NoDraft = fn(&mut Draft);
type NoFill<T, D> = fn(ArrayViewMut<'_, T, D>);

impl<'a> ArrayOptions<'a> {
    pub(crate) fn new(member: &'a Arc<Member>) -> Self {
        Self {
            member,
            labels: Labels::default(),
        }
    }

    /// The name to open the array by: up to 200 bytes, not starting with a dot, without a slash,
    /// and not 32 hexadecimal digits.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("xs").zeros::<f64, _>(5)?;
    /// assert!(manager.contains("xs")?);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.labels.name = Some(name.into());
        self
    }

    /// Who deletes the array.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.options().scope(ndshm::Scope::Remote).zeros::<f64, _>(5)?;
    /// let handle = xs.handle();
    /// drop(xs);
    /// // The first to open the handle owns the array.
    /// assert_eq!(handle.open::<f64, ndarray::Ix1>()?.scope(), ndshm::Scope::Local);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn scope(mut self, scope: Scope) -> Self {
        self.labels.scope = Some(scope);
        self
    }

    /// Attributes: anything that serializes as a map with text keys. They never change, and every
    /// opener can read them.
    ///
    /// # Errors
    ///
    /// `Attrs` where they are no such map.
    ///
    /// # Examples
    ///
    /// ```
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Camera { exposure_ms: f64 }
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let frame = manager.options().attrs(&Camera { exposure_ms: 2.5 })?.zeros::<u8, _>((480, 640))?;
    /// assert_eq!(frame.attrs::<Camera>()?.exposure_ms, 2.5);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn attrs(mut self, attrs: &impl Serialize) -> Result<Self> {
        self.labels.attrs = Some(info::to_attrs(attrs)?);
        Ok(self)
    }

    /// The names of the axes, one for each.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.options().axis_names(["row", "column"]).zeros::<f64, _>((3, 4))?;
    /// assert_eq!(xs.axis_names()[0].as_deref(), Some("row"));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn axis_names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.labels.axis_names = names.into_iter().map(|name| Some(name.into())).collect();
        self
    }

    /// [`Manager::zeros`](crate::Manager::zeros) with these settings.
    ///
    /// # Errors
    ///
    /// Those of `Manager::zeros`; `AlreadyExists` where the name is taken; `Name` where it cannot
    /// be one.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.options().name("xs").zeros::<f64, _>(5)?.read()?.sum(), 0.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn zeros<T: Element, Sh: ShapeBuilder>(
        &self,
        shape: Sh,
    ) -> Result<SharedArray<T, Sh::Dim>> {
        let (dim, order) = view::shape_of(shape)?;
        self.make(dim, order, Content::<NoFill<T, Sh::Dim>>::Zeros)
    }

    /// [`Manager::zeros_any`](crate::Manager::zeros_any) with these settings.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("xs").zeros_any(&"<f8".parse()?, &[5])?;
    /// assert_eq!(manager.array::<f64, ndarray::Ix1>("xs")?.len(), 5);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn zeros_any(&self, dtype: &DType, shape: &[usize]) -> Result<AnyArray> {
        self.check_name()?;
        AnyArray::create(
            self.member,
            self.labels.clone(),
            dtype,
            shape,
            Order::C,
            Content::<NoDraft>::Zeros,
        )
    }

    /// A new array whose element type and order are known at run time, and whose contents are
    /// unspecified, but initialised.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Order;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.options().empty_any(&"<f4".parse()?, &[5, 2], Order::F)?;
    /// assert_eq!(any.byte_strides(), [4, 20]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn empty_any(&self, dtype: &DType, shape: &[usize], order: Order) -> Result<AnyArray> {
        self.check_name()?;
        AnyArray::create(
            self.member,
            self.labels.clone(),
            dtype,
            shape,
            order,
            Content::<NoDraft>::Anything,
        )
    }

    /// A new array of these bytes, which lie as the array's elements do in memory: in its order,
    /// native-endian.
    ///
    /// # Errors
    ///
    /// `Layout` where the number of bytes is not that of the elements; those of
    /// [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Order;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.options().from_bytes(&"|u1".parse()?, &[2, 2], Order::F, &[1, 2, 3, 4])?;
    /// assert_eq!(any.read_bytes()?, [1, 3, 2, 4]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn from_bytes(
        &self,
        dtype: &DType,
        shape: &[usize],
        order: Order,
        bytes: &[u8],
    ) -> Result<AnyArray> {
        self.check_name()?;
        match layout::byte_len(shape, dtype.itemsize()) {
            // What is too large is told where the array is made.
            Some(expected) if expected != bytes.len() => Err(Error::layout(
                "make an array of bytes",
                format!("{} bytes for {expected}", bytes.len()),
            )),
            _ => AnyArray::create(
                self.member,
                self.labels.clone(),
                dtype,
                shape,
                order,
                Content::<NoDraft>::Bytes(bytes),
            ),
        }
    }

    /// A new array whose bytes a function sets, from zeros; they lie as the array's elements do in
    /// memory. Nobody sees the array before that is done.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Order;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.options().from_bytes_fn(&"<u2".parse()?, &[3], Order::C, |bytes| bytes.fill(1))?;
    /// assert_eq!(any.downcast::<u16, ndarray::Ix1>()?.read()?[2], 257);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn from_bytes_fn(
        &self,
        dtype: &DType,
        shape: &[usize],
        order: Order,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<AnyArray> {
        self.check_name()?;
        let byte_len = layout::byte_len(shape, dtype.itemsize()).unwrap_or_default();
        let fill = |draft: &mut Draft| {
            let is_recycled = draft.is_recycled();
            view::fill(
                draft,
                &Layout::whole(Ix1(byte_len), Order::C, 1),
                |mut bytes: ArrayViewMut<'_, u8, Ix1>| {
                    if let Some(bytes) = bytes.as_slice_mut() {
                        if is_recycled {
                            copy::clear(bytes);
                        }
                        fill(bytes);
                    }
                },
            );
        };
        AnyArray::create(
            self.member,
            self.labels.clone(),
            dtype,
            shape,
            order,
            Content::Filled(fill),
        )
    }

    /// [`Manager::ones`](crate::Manager::ones) with these settings.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.options().name("xs").ones::<f64, _>(5)?.read()?.sum(), 5.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn ones<T: Element + One, Sh: ShapeBuilder>(
        &self,
        shape: Sh,
    ) -> Result<SharedArray<T, Sh::Dim>> {
        self.from_elem(shape, T::one())
    }

    /// [`Manager::empty`](crate::Manager::empty) with these settings.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("xs").empty::<f64, _>(5)?.write()?.fill(0.5);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn empty<T: Element, Sh: ShapeBuilder>(
        &self,
        shape: Sh,
    ) -> Result<SharedArray<T, Sh::Dim>> {
        let (dim, order) = view::shape_of(shape)?;
        self.make(dim, order, Content::<NoFill<T, Sh::Dim>>::Anything)
    }

    /// [`Manager::from_elem`](crate::Manager::from_elem) with these settings.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.options().name("xs").from_elem(5, 2.0)?.read()?.sum(), 10.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn from_elem<T: Element, Sh: ShapeBuilder>(
        &self,
        shape: Sh,
        element: T,
    ) -> Result<SharedArray<T, Sh::Dim>> {
        let (dim, order) = view::shape_of(shape)?;
        self.make(
            dim,
            order,
            Content::Filled(|mut elements: ArrayViewMut<'_, T, Sh::Dim>| elements.fill(element)),
        )
    }

    /// [`Manager::from_shape_fn`](crate::Manager::from_shape_fn) with these settings.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.options().name("xs").from_shape_fn::<f64, _>(5, |i| i as f64)?;
    /// assert_eq!(xs.read()?.sum(), 10.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn from_shape_fn<T: Element, Sh: ShapeBuilder>(
        &self,
        shape: Sh,
        mut f: impl FnMut(<Sh::Dim as Dimension>::Pattern) -> T,
    ) -> Result<SharedArray<T, Sh::Dim>> {
        let (dim, order) = view::shape_of(shape)?;
        let fill = |mut elements: ArrayViewMut<'_, T, Sh::Dim>| match order {
            Order::C => elements
                .indexed_iter_mut()
                .for_each(|(index, element)| *element = f(index)),
            // With its axes reversed the array is in C order; each index is turned round again.
            Order::F => elements
                .reversed_axes()
                .indexed_iter_mut()
                .for_each(|(index, element)| {
                    let mut index = index.into_dimension();
                    index.slice_mut().reverse();
                    *element = f(index.into_pattern());
                }),
        };
        self.make(dim, order, Content::Filled(fill))
    }

    /// [`Manager::from_ndarray`](crate::Manager::from_ndarray) with these settings.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.options().name("xs").from_ndarray(&ndarray::array![1, 2, 3])?;
    /// assert_eq!(xs.read()?.sum(), 6);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn from_ndarray<T: Element, D: Dimension>(
        &self,
        source: &ArrayRef<T, D>,
    ) -> Result<SharedArray<T, D>> {
        self.check_name()?;
        array::from_ndarray(self.member, self.labels.clone(), source)
    }

    /// Opens the array with this name, or makes it of zeros where there is none: what a workflow
    /// that may be resumed starts with.
    ///
    /// # Errors
    ///
    /// `Name` where no name was given; `Dtype`, `Rank` and `Layout` where the array is there with
    /// another type or shape; those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let done = manager.options().name("done").open_or_zeros::<u8, _>(100)?;
    /// done.atomic()?[0].store(1, std::sync::atomic::Ordering::Release);
    /// assert_eq!(manager.options().name("done").open_or_zeros::<u8, _>(100)?.read()?[0], 1);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open_or_zeros<T: Element, Sh: ShapeBuilder>(
        &self,
        shape: Sh,
    ) -> Result<SharedArray<T, Sh::Dim>> {
        let path = self.path()?;
        let (dim, order) = view::shape_of(shape)?;
        for _ in 0..TRIES {
            match array::open_named::<T, Sh::Dim>(self.member, &path) {
                Ok(found) if found.shape() == dim.slice() => return Ok(found),
                Ok(found) => {
                    let reason = format!(
                        "{} has shape {:?}, not {:?}",
                        path.display(),
                        found.shape(),
                        dim.slice()
                    );
                    return Err(Error::layout("open or create an array", reason));
                }
                Err(Error::NotFound { .. } | Error::Released { .. }) => {}
                Err(error) => return Err(error),
            }
            match self.make(dim.clone(), order, Content::<NoFill<T, Sh::Dim>>::Zeros) {
                // Somebody was faster: open theirs.
                Err(Error::AlreadyExists { .. }) => {}
                made => return made,
            }
        }
        Err(Error::AlreadyExists { path })
    }

    /// The file of the array with this name; an error where none was given or where it cannot be
    /// one.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        let name = self.labels.name.as_deref().unwrap_or_default();
        name::check(name).map(|()| self.member.directory().join(format!("{name}{SUFFIX}")))
    }

    fn check_name(&self) -> Result<()> {
        self.labels.name.as_deref().map_or(Ok(()), name::check)
    }

    fn make<T: Element, D: Dimension>(
        &self,
        dim: D,
        order: Order,
        content: Content<'_, impl FnOnce(ArrayViewMut<'_, T, D>)>,
    ) -> Result<SharedArray<T, D>> {
        self.check_name()?;
        array::create(self.member, self.labels.clone(), dim, order, content)
    }
}

//! Settings for an array, and the verbs that make it.

mod any;
mod growing;
mod ring;

use crate::{
    array::{self, Content, Labels, SharedArray, view},
    element::Element,
    error::{Error, Result},
    format::{attributes, name::ArrayName},
    layout::Order,
    scope::Scope,
    segment::draft::Draft,
    store::member::Member,
};
use ndarray::{ArrayRef, ArrayViewMut, Dimension, IntoDimension, ShapeBuilder};
use num_traits::One;
use serde::Serialize;
use std::{path::Path, sync::Arc};

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
/// let frames = manager
///     .options()
///     .name("frames")
///     .scope(Scope::Local)
///     .axis_names(["row", "column"])
///     .ones::<u8, _>((480, 640))?;
/// assert_eq!(frames.scope(), Scope::Local);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct ArrayOptions<'a> {
    member: &'a Arc<Member>,
    /// As it was given: the verbs parse it, because a setting cannot fail.
    name: Option<String>,
    /// All but the name.
    labels: Labels,
    /// The most subscribers of a ring.
    seats: u32,
}

/// How often an array that can neither be opened nor made is tried again, while other processes
/// make and delete it.
const TRIES: usize = 1000;

type NoDraft = fn(&mut Draft);
type NoFill<T, D> = fn(ArrayViewMut<'_, T, D>);

impl<'a> ArrayOptions<'a> {
    pub(crate) fn new(member: &'a Arc<Member>) -> Self {
        Self {
            member,
            name: None,
            labels: Labels::default(),
            seats: ring::SEATS,
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
        self.name = Some(name.into());
        self
    }

    /// Which process deletes the array.
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

    /// Attributes: any value that serializes as a map with text keys. They never change, and every
    /// opener can read them.
    ///
    /// # Errors
    ///
    /// `Attrs` if they are not such a map.
    ///
    /// # Examples
    ///
    /// ```
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Camera { exposure_ms: f64 }
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let frame = manager
    ///     .options()
    ///     .attrs(&Camera { exposure_ms: 2.5 })?
    ///     .zeros::<u8, _>((480, 640))?;
    /// assert_eq!(frame.attrs::<Camera>()?.exposure_ms, 2.5);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn attrs(mut self, attrs: &impl Serialize) -> Result<Self> {
        self.labels.attrs = Some(attributes::to_value(attrs)?);
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
    /// Those of `Manager::zeros`; `AlreadyExists` if the name is taken; `Name` if an array cannot
    /// have it.
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
        array::from_ndarray(self.member, self.labels()?, source)
    }

    /// Opens the array with this name, or makes it of zeros if there is none: the start of a
    /// workflow that may be resumed.
    ///
    /// # Errors
    ///
    /// `Name` if no name was given; `Dtype`, `Rank` and `Layout` if the array exists with another
    /// type or shape; those of [`zeros`](Self::zeros).
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
        let (dim, order) = view::shape_of(shape)?;
        self.open_or_make(
            |path| {
                let found = array::open_named::<T, Sh::Dim>(self.member, path)?;
                check_shape(path, found.shape(), dim.slice())?;
                Ok(found)
            },
            || self.make(dim.clone(), order, Content::<NoFill<T, Sh::Dim>>::Zeros),
        )
    }

    /// Opens the array with the chosen name, or makes it where there is none. The name of a
    /// released array is free.
    fn open_or_make<A>(
        &self,
        open: impl Fn(&Path) -> Result<A>,
        make: impl Fn() -> Result<A>,
    ) -> Result<A> {
        let name = ArrayName::parse(self.name.as_deref().unwrap_or_default())?;
        let path = name.file_in(self.member.directory());
        for _ in 0..TRIES {
            match open(&path) {
                Err(Error::NotFound { .. } | Error::Released { .. }) => {}
                opened => return opened,
            }
            match make() {
                // Another process was faster: open its array.
                Err(Error::AlreadyExists { .. }) => {}
                made => return made,
            }
        }
        Err(Error::name_taken(path))
    }

    /// The labels of the array, with its name parsed.
    fn labels(&self) -> Result<Labels> {
        Ok(Labels {
            name: self.name.as_deref().map(ArrayName::parse).transpose()?,
            ..self.labels.clone()
        })
    }

    fn make<T: Element, D: Dimension>(
        &self,
        dim: D,
        order: Order,
        content: Content<'_, impl FnOnce(ArrayViewMut<'_, T, D>)>,
    ) -> Result<SharedArray<T, D>> {
        array::create(self.member, self.labels()?, dim, order, content)
    }
}

/// An error where an array that exists has another shape than the caller wants.
fn check_shape(path: &Path, found: &[usize], wanted: &[usize]) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    let reason = format!(
        "{} has shape {found:?}, not {wanted:?}: open it as it is, or choose another name",
        path.display()
    );
    Err(Error::layout("open or create an array", reason))
}

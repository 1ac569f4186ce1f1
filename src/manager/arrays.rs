//! The manager's verbs that make and open arrays, and the way from an array back to its manager.

use super::Manager;
use crate::{
    array::{
        self, SharedArray,
        any::AnyArray,
        growing::{AnyGrowing, GrowingArray},
    },
    element::{Element, dtype::DType},
    error::{Error, Result},
    format::name::ArrayName,
    inspect::info::ArrayInfo,
    manager::options::ArrayOptions,
    state::signals,
    sys::wait::is_interrupted,
};
use ndarray::{ArrayRef, Dimension, ShapeBuilder};
use num_traits::One;
use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

impl Manager {
    /// Settings for an array, to be followed by one of the verbs that make it.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix2;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let frames = manager
    ///     .options()
    ///     .name("frames")
    ///     .axis_names(["row", "column"])
    ///     .zeros::<u8, _>((480, 640))?;
    /// assert_eq!(manager.array::<u8, Ix2>("frames")?.id(), frames.id());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn options(&self) -> ArrayOptions<'_> {
        ArrayOptions::new(self.member())
    }

    /// A new array of zeros. The shape is any of ndarray's: `5`, `(2, 3)`, `[2, 3]`, `(2, 3).f()`,
    /// `()`, `IxDyn(&[2, 3])`.
    ///
    /// # Errors
    ///
    /// `NoSpace` if it does not fit, with nothing left behind; `Layout` if its size overflows;
    /// `Closed`; `TooManyMappings`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::ShapeBuilder;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros::<f32, _>((2, 3).f())?.strides(), [1, 2]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn zeros<T: Element, Sh: ShapeBuilder>(
        &self,
        shape: Sh,
    ) -> Result<SharedArray<T, Sh::Dim>> {
        self.options().zeros(shape)
    }

    /// A new array of zeros whose element type is known at run time; the order is C.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.zeros_any(&"(3,)<f4".parse()?, &[10])?;
    /// assert_eq!(any.downcast::<[f32; 3], ndarray::Ix1>()?.len(), 10);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn zeros_any(&self, dtype: &DType, shape: &[usize]) -> Result<AnyArray> {
        self.options().zeros_any(dtype, shape)
    }

    /// A new array of ones.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.ones::<u64, _>(10)?.read()?.sum(), 10);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn ones<T: Element + One, Sh: ShapeBuilder>(
        &self,
        shape: Sh,
    ) -> Result<SharedArray<T, Sh::Dim>> {
        self.options().ones(shape)
    }

    /// A new array whose contents are unspecified, but initialised: for callers that write all of
    /// it anyway.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.empty::<f64, _>(10)?;
    /// xs.write()?.fill(0.5);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn empty<T: Element, Sh: ShapeBuilder>(
        &self,
        shape: Sh,
    ) -> Result<SharedArray<T, Sh::Dim>> {
        self.options().empty(shape)
    }

    /// A new array of one value.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.from_elem((2, 2), 7i32)?.read()?.sum(), 28);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn from_elem<T: Element, Sh: ShapeBuilder>(
        &self,
        shape: Sh,
        element: T,
    ) -> Result<SharedArray<T, Sh::Dim>> {
        self.options().from_elem(shape, element)
    }

    /// A new array whose elements are computed from their indices, in the order in which they lie
    /// in memory.
    ///
    /// No other process sees the array before it is complete; if `f` panics, nothing is left.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.from_shape_fn::<u64, _>((2, 2), |(i, j)| (2 * i + j) as u64)?;
    /// assert_eq!(xs.to_ndarray()?, ndarray::array![[0, 1], [2, 3]]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn from_shape_fn<T: Element, Sh: ShapeBuilder>(
        &self,
        shape: Sh,
        f: impl FnMut(<Sh::Dim as Dimension>::Pattern) -> T,
    ) -> Result<SharedArray<T, Sh::Dim>> {
        self.options().from_shape_fn(shape, f)
    }

    /// A new array with a copy of these elements: of an array, a view, or a guard (`&*guard`).
    ///
    /// The order of a contiguous source is kept, any other becomes C.
    ///
    /// # Errors
    ///
    /// Those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.from_ndarray(&ndarray::array![[1.0, 2.0], [3.0, 4.0]])?;
    /// assert_eq!(xs.read()?[[1, 0]], 3.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn from_ndarray<T: Element, D: Dimension>(
        &self,
        source: &ArrayRef<T, D>,
    ) -> Result<SharedArray<T, D>> {
        self.options().from_ndarray(source)
    }

    /// Opens the array with this name, for reading and writing.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Dtype` and `Rank` if it is of another type; the others of
    /// [`Handle::open`](crate::Handle::open).
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix1;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("xs").ones::<f64, _>(3)?;
    /// assert_eq!(manager.array::<f64, Ix1>("xs")?.read()?.sum(), 3.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn array<T: Element, D: Dimension>(&self, name: &str) -> Result<SharedArray<T, D>> {
        let path = ArrayName::parse(name)?.file_in(self.path());
        array::open_named(self.member(), &path)
    }

    /// Opens the array that grows with this name.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Kind`, `Dtype` and `Rank` if it is another array; the others of
    /// [`Handle::open_growing`](crate::Handle::open_growing).
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix1;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("log").growing::<f64, _>(1000, ())?.push(0.5)?;
    /// assert_eq!(manager.growing::<f64, Ix1>("log")?.len(), 1);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn growing<T: Element, D: Dimension>(&self, name: &str) -> Result<GrowingArray<T, D>> {
        self.growing_any(name)?.downcast()
    }

    /// Opens the array that grows with this name, with elements of any type.
    ///
    /// # Errors
    ///
    /// Those of [`growing`](Self::growing), without `Dtype` and `Rank`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("log").growing::<f64, _>(1000, 3)?;
    /// assert_eq!(manager.growing_any("log")?.row_shape(), [3]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn growing_any(&self, name: &str) -> Result<AnyGrowing> {
        let path = ArrayName::parse(name)?.file_in(self.path());
        AnyGrowing::open_named(self.member(), &path)
    }

    /// Waits until an array of this name exists, and returns its description: at once if it exists
    /// already. [`array`](Self::array) opens it.
    ///
    /// The thread sleeps in the kernel until the array is published.
    ///
    /// # Errors
    ///
    /// `Timeout` if there was none after `timeout`; `Closed` if the store was closed meanwhile;
    /// `Abandoned` if the store is ephemeral, its owner was alive when the wait began, and has
    /// ended since. These two are noticed within 25 ms. `Name` if no array can have the name.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// std::thread::scope(|scope| {
    ///     let maker = scope.spawn(|| manager.options().name("xs").zeros::<f64, _>(3));
    ///     let found = manager.wait_for("xs", Duration::from_secs(60))?;
    ///     assert_eq!(found.shape, [3]);
    ///     maker.join().unwrap().map(drop)
    /// })?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn wait_for(&self, name: &str, timeout: Duration) -> Result<ArrayInfo> {
        let path = ArrayName::parse(name)?.file_in(self.path());
        let member = self.member();
        let owner = member.page().owner.load(SeqCst);
        // A store that became persistent outlives its owner.
        let is_owned = || {
            let page = member.page();
            page.owner.load(SeqCst) == owner && !page.is_persistent()
        };
        let mut owner_lived = None;
        let look = || match ArrayInfo::at(&path) {
            Ok(info) => Some(Ok(info)),
            Err(Error::NotFound { .. } | Error::Released { .. }) => None,
            Err(error) => Some(Err(error)),
        };
        let deadline = Instant::now().checked_add(timeout);
        let outcome = signals::wait_for(member.page().published(&path), deadline, |slept| {
            if let Some(found) = look() {
                return Some(found);
            }
            if is_interrupted() {
                return Some(Err(Error::Interrupted { path: path.clone() }));
            }
            let lived = match owner_lived {
                Some(_) if !slept => return None,
                Some(lived) => lived,
                None => {
                    let lives = owner != 0 && member.is_alive(owner).unwrap_or(true);
                    *owner_lived.insert(lives)
                }
            };
            let is_in_vain = member.check_open().and_then(|()| {
                match lived && is_owned() && !member.is_alive(owner)? {
                    true => Err(Error::Abandoned {
                        path: path.clone(),
                        member: owner,
                    }),
                    false => Ok(()),
                }
            });
            // It may have been published just before.
            look().or(is_in_vain.err().map(Err))
        });
        outcome.unwrap_or(Err(Error::Timeout {
            path,
            obstacle: "there was no array of this name",
            waited: timeout,
            holders: Default::default(),
        }))
    }

    /// Opens the array with this name whatever the type of its elements, for reading and writing.
    ///
    /// # Errors
    ///
    /// As [`array`](Self::array), without `Dtype` and `Rank`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("xs").ones::<f64, _>(3)?;
    /// assert_eq!(manager.array_any("xs")?.dtype().to_string(), "<f8");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn array_any(&self, name: &str) -> Result<AnyArray> {
        let path = ArrayName::parse(name)?.file_in(self.path());
        AnyArray::open_named(self.member(), &path)
    }
}

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// A manager of the array's store, as a member: it does not keep the store from being deleted.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(3)?;
    /// assert_eq!(xs.manager().path(), manager.path());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn manager(&self) -> Manager {
        Manager::from_member(self.member().clone(), false)
    }

    /// A new shared array in another store with a copy of the elements; see [`copy`](Self::copy).
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read) and of [`Manager::zeros`].
    ///
    /// # Examples
    ///
    /// ```
    /// let (here, there) = (ndshm::Manager::new()?, ndshm::Manager::new()?);
    /// let copy = here.ones::<f64, _>(3)?.copy_into(&there)?;
    /// assert_eq!(copy.manager().path(), there.path());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn copy_into(&self, manager: &Manager) -> Result<Self> {
        self.copy_to(manager.member())
    }
}

impl<T: Element, D: Dimension> GrowingArray<T, D> {
    /// A manager of the array's store, as a member; see [`SharedArray::manager`].
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f64, _>(1000, ())?;
    /// assert_eq!(log.manager().path(), manager.path());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn manager(&self) -> Manager {
        self.as_any().manager()
    }
}

impl AnyGrowing {
    /// A manager of the array's store, as a member; see [`SharedArray::manager`].
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// assert_eq!(log.manager().path(), manager.path());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn manager(&self) -> Manager {
        Manager::from_member(self.member().clone(), false)
    }
}

impl AnyArray {
    /// A manager of the array's store, as a member; see [`SharedArray::manager`].
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros_any(&"<f8".parse()?, &[3])?.manager().path(), manager.path());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn manager(&self) -> Manager {
        Manager::from_member(self.member().clone(), false)
    }
}

//! `SharedArray`: an array whose element type is known at compile time.

mod access;
mod fields;
mod properties;
mod reshape;
mod views;

use crate::{
    array::{
        any::AnyArray,
        core::{Core, Typed},
    },
    element::Element,
    error::Result,
    format::id::ArrayId,
    handle::Handle,
    scope::Scope,
    store::member::Member,
};
use ndarray::{Dimension, Ix0, Ix1, Ix2, Ix3, Ix4, Ix5, Ix6, IxDyn};
use std::{fmt, path::Path, sync::Arc};

/// A shared array without dimensions: one element.
pub type SharedArray0<T> = SharedArray<T, Ix0>;
/// A shared array of one dimension.
pub type SharedArray1<T> = SharedArray<T, Ix1>;
/// A shared array of two dimensions.
pub type SharedArray2<T> = SharedArray<T, Ix2>;
/// A shared array of three dimensions.
pub type SharedArray3<T> = SharedArray<T, Ix3>;
/// A shared array of four dimensions.
pub type SharedArray4<T> = SharedArray<T, Ix4>;
/// A shared array of five dimensions.
pub type SharedArray5<T> = SharedArray<T, Ix5>;
/// A shared array of six dimensions.
pub type SharedArray6<T> = SharedArray<T, Ix6>;
/// A shared array whose number of dimensions is known at run time.
pub type SharedArrayD<T> = SharedArray<T, IxDyn>;

/// A typed n-dimensional array, or a view of one, in memory that many processes share.
///
/// Guards give access to the elements: [`read`](Self::read) and [`write`](Self::write). Views
/// ([`slice`](Self::slice), [`t`](Self::t) and many more) are shared arrays too: the same memory, a
/// shape and strides of their own. [`handle`](Self::handle) names an array or view for another
/// process; serde does the same implicitly.
///
/// There is no `Clone`, because in ndarray that copies: [`view`](Self::view) shares,
/// [`copy`](Self::copy) copies.
///
/// # Deletion
///
/// The [scope](Scope) says which process deletes the memory. A [`Scope::Local`] array is deleted
/// when its owner process drops the last array, view or guard of it, also by a panic that unwinds.
/// Other processes that have it open can go on using it, but it cannot be opened again. A `Local`
/// array that a forked child makes is deleted when the child ends.
///
/// An array does not keep its store: `Manager::new()?.zeros(..)` as the result of a function gives
/// an array whose store was deleted when the manager was dropped. It can be used, but no process
/// can open it. Keep the manager.
///
/// # Examples
///
/// ```
/// use ndarray::s;
///
/// let manager = ndshm::Manager::new()?;
/// let table = manager.from_shape_fn::<i32, _>((3, 4), |(i, j)| (10 * i + j) as i32)?;
/// let column = table.slice(s![.., 1])?;
/// column.write()?.fill(0);
/// assert_eq!(table.read()?.row(2), ndarray::array![20, 0, 22, 23]);
/// # Ok::<(), ndshm::Error>(())
/// ```
pub struct SharedArray<T, D> {
    pub(super) core: Core<Typed<T>, D>,
}

impl<T: Element, D: Dimension> SharedArray<T, D> {
    pub(super) fn new(core: Core<Typed<T>, D>) -> Self {
        Self { core }
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        self.core.member()
    }

    /// A value that names this array or view for another process; see [`Handle`].
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert!(xs.handle().to_string().starts_with("ndshm1:m=w:s=local:"));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn handle(&self) -> Handle {
        self.core.handle()
    }

    /// A handle that lets its first opener inherit the array: for an array that this process is
    /// about to drop, such as the result of a worker.
    ///
    /// If this process owns the array ([`Scope::Local`]), the handle has the scope
    /// [`Scope::Remote`], and the array is *handed over* as said below. In all other cases this is
    /// [`handle`](Self::handle). Serializing an array with serde does not hand it over; pickling an
    /// array in Python does.
    ///
    /// # Deletion
    ///
    /// The process owns the array as before, and deletes it with its last array or view, if a
    /// process opened such a handle and has closed the array again. Otherwise the array stays:
    ///
    /// - A process that opened such a handle first, and still has the array open, owns it from then
    ///   on.
    /// - If no process has opened one yet, the first that does owns the array. Until then only
    ///   [`release`](Self::release) or the end of the store deletes it, as with a remote array.
    ///
    /// Each call of `hand_over` begins this anew. A change of the scope ends it.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix1;
    /// use ndshm::Scope;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<f64, _>(5)?;
    /// let handle = xs.hand_over();
    /// drop(xs);
    /// let received = handle.open::<f64, Ix1>()?;
    /// assert_eq!((received.read()?.sum(), received.scope()), (5.0, Scope::Local));
    /// drop(received);
    /// assert!(handle.open::<f64, Ix1>().is_err(), "deleted by its new owner");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn hand_over(&self) -> Handle {
        self.core.hand_over()
    }

    /// The name that was chosen for the array, if any.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.options().name("xs").zeros::<f64, _>(5)?;
    /// assert_eq!(xs.name().as_deref(), Some("xs"));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn name(&self) -> Option<String> {
        self.core.name()
    }

    /// The array's identity: the same for all its views, in all processes.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert_eq!(xs.t()?.id(), xs.id());
    /// assert_ne!(xs.copy()?.id(), xs.id());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn id(&self) -> ArrayId {
        self.core.id()
    }

    /// The array's file.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert!(xs.path().starts_with(manager.path()));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        self.core.path()
    }

    /// The scope of the array in this process: it says which process deletes the array. In a forked
    /// child it is [`Scope::Store`], because a child owns nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Scope;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros::<f64, _>(5)?.scope(), Scope::Local);
    /// assert_eq!(manager.options().name("xs").zeros::<f64, _>(5)?.scope(), Scope::Store);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn scope(&self) -> Scope {
        self.core.scope()
    }

    /// Changes the scope of the array in this process, for all arrays and views of it that the
    /// process has. Handles made before keep the old scope.
    ///
    /// # Errors
    ///
    /// `NotOwner` where another process owns the array and `scope` is not [`Scope::Store`];
    /// `Released`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Scope;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// xs.set_scope(Scope::Store)?;
    /// let handle = xs.handle();
    /// drop(xs);
    /// assert_eq!(handle.open::<f64, ndarray::Ix1>()?.len(), 5);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn set_scope(&self, scope: Scope) -> Result<()> {
        self.core.set_scope(scope)
    }

    /// Deletes the array now, whichever process owns it: the whole array, from any view of it.
    /// Arrays that are open go on working.
    ///
    /// # Errors
    ///
    /// `Released` where a process did so before; `Io` where the file cannot be removed.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// let handle = xs.handle();
    /// xs.release()?;
    /// assert!(matches!(handle.open::<f64, ndarray::Ix1>(), Err(ndshm::Error::Released { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn release(&self) -> Result<()> {
        self.core.release()
    }

    /// The same array or view with its element type known at run time only. Takes `&self`, as all
    /// views do.
    ///
    /// # Errors
    ///
    /// `Layout` for a broadcast of more bytes than can be counted: the guards of an [`AnyArray`]
    /// are views of bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros::<f64, _>(5)?.into_any()?.dtype().to_string(), "<f8");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn into_any(&self) -> Result<AnyArray> {
        self.core.to_any().map(AnyArray::new)
    }
}

impl<T: Element, D: Dimension> fmt::Debug for SharedArray<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedArray")
            .field("dtype", &T::DTYPE)
            .field("shape", &self.shape())
            .field("strides", &self.strides())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

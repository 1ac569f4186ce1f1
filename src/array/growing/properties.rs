//! The properties of a `GrowingArray`: its shape and type, its labels, its lifetime.

use super::GrowingArray;
use crate::{
    element::{Element, dtype::DType},
    error::Result,
    format::id::ArrayId,
    handle::Handle,
    scope::Scope,
};
use ndarray::Dimension;
use serde::de::DeserializeOwned;
use std::path::Path;

impl<T: Element, D: Dimension> GrowingArray<T, D> {
    /// The most rows that the array can have.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.options().growing::<u8, _>(1000, ())?.max_len(), 1000);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn max_len(&self) -> usize {
        self.any.max_len()
    }

    /// The lengths of a row's axes.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let images = manager.options().growing::<u8, _>(1000, (480, 640))?;
    /// assert_eq!(images.row_shape(), [480, 640]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn row_shape(&self) -> &[usize] {
        self.any.row_shape()
    }

    /// The type of the elements.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f64, _>(1000, ())?;
    /// assert_eq!(log.dtype().to_string(), "<f8");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn dtype(&self) -> DType {
        T::DTYPE
    }

    /// Whether the growth has ended for good.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f64, _>(1000, ())?;
    /// assert!(!log.is_frozen());
    /// log.freeze()?;
    /// assert!(log.is_frozen());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_frozen(&self) -> bool {
        self.any.is_frozen()
    }

    /// Whether rows can be appended: not if it was opened for reading only, nor if its growth has
    /// ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix1;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f64, _>(1000, ())?;
    /// let reader = log.handle().read_only().open_growing::<f64, Ix1>()?;
    /// assert!(log.is_writable() && !reader.is_writable());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_writable(&self) -> bool {
        self.any.is_writable()
    }

    /// A value that names the array for another process; see
    /// [`Handle::open_growing`](crate::Handle::open_growing).
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix1;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f64, _>(1000, ())?;
    /// // In any other process:
    /// log.handle().open_growing::<f64, Ix1>()?.push(0.5)?;
    /// assert_eq!(log.len(), 1);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn handle(&self) -> Handle {
        self.any.handle()
    }

    /// A handle that lets its first opener inherit the array; see [`SharedArray::hand_over`].
    ///
    /// # Deletion
    ///
    /// That of [`SharedArray::hand_over`].
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix1;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f64, _>(1000, ())?;
    /// log.push(0.5)?;
    /// let handle = log.hand_over();
    /// drop(log);
    /// assert_eq!(handle.open_growing::<f64, Ix1>()?.len(), 1);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    ///
    /// [`SharedArray::hand_over`]: crate::SharedArray::hand_over
    pub fn hand_over(&self) -> Handle {
        self.any.hand_over()
    }

    /// The name that was chosen for the array, if any.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().name("log").growing::<f64, _>(1000, ())?;
    /// assert_eq!(log.name().as_deref(), Some("log"));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn name(&self) -> Option<String> {
        self.any.name()
    }

    /// The array's identity.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f64, _>(1000, ())?;
    /// assert_eq!(log.all()?.shared().id(), log.id());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn id(&self) -> ArrayId {
        self.any.id()
    }

    /// The array's file.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f64, _>(1000, ())?;
    /// assert!(log.path().starts_with(manager.path()));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        self.any.path()
    }

    /// The scope of the array in this process; see
    /// [`SharedArray::scope`](crate::SharedArray::scope).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().name("log").growing::<f64, _>(1000, ())?;
    /// assert_eq!(log.scope(), ndshm::Scope::Store);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn scope(&self) -> Scope {
        self.any.scope()
    }

    /// Changes the scope of the array in this process; see
    /// [`SharedArray::set_scope`](crate::SharedArray::set_scope).
    ///
    /// # Errors
    ///
    /// Those of `SharedArray::set_scope`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f64, _>(1000, ())?;
    /// log.set_scope(ndshm::Scope::Store)?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn set_scope(&self, scope: Scope) -> Result<()> {
        self.any.set_scope(scope)
    }

    /// Deletes the array now, whichever process owns it. It stays open where it is open, and its
    /// rows can be read there; no more are appended.
    ///
    /// # Errors
    ///
    /// `Released` if a process did so before; `Io` if the file cannot be removed.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing::<f64, _>(1000, ())?;
    /// log.push(0.5)?;
    /// log.release()?;
    /// assert_eq!(log.all()?.sum(), 0.5);
    /// assert!(matches!(log.push(1.0), Err(ndshm::Error::Released { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn release(&self) -> Result<()> {
        self.any.release()
    }

    /// The names of the axes: one entry for each, that of the rows first, or none at all.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let options = manager.options().axis_names(["step", "joint"]);
    /// let log = options.growing::<f64, _>(1000, 6)?;
    /// assert_eq!(log.axis_names()[0].as_deref(), Some("step"));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn axis_names(&self) -> &[Option<String>] {
        self.any.axis_names()
    }

    /// The array's attributes, as any type that deserializes from a map; an empty map if it has
    /// none.
    ///
    /// # Errors
    ///
    /// `Attrs` if they do not fit the type.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let options = manager.options().attrs(&BTreeMap::from([("unit", "m/s")]))?;
    /// let log = options.growing::<f64, _>(1000, ())?;
    /// assert_eq!(log.attrs::<BTreeMap<String, String>>()?["unit"], "m/s");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn attrs<A: DeserializeOwned>(&self) -> Result<A> {
        self.any.attrs()
    }
}

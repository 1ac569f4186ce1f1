//! The properties of an `AnyGrowing`: its shape and type, its labels, its lifetime.

use super::AnyGrowing;
use crate::{
    array::any::MappedMemory,
    element::{dtype::DType, numpy::NumpyDType},
    error::Result,
    format::{attributes, id::ArrayId, name},
    handle::Handle,
    scope::Scope,
    store::member::Member,
};
use serde::de::DeserializeOwned;
use std::{path::Path, sync::Arc};

impl AnyGrowing {
    pub(crate) fn member(&self) -> &Arc<Member> {
        self.opened.member()
    }

    /// The most rows that the array can have.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// assert_eq!(log.max_len(), 1000);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn max_len(&self) -> usize {
        self.opened.max_rows()
    }

    /// The lengths of a row's axes.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// assert_eq!(log.row_shape(), [3]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn row_shape(&self) -> &[usize] {
        &self.opened.header().spec.shape()[1..]
    }

    /// The type of the elements.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// assert_eq!(log.dtype().to_string(), "<f8");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn dtype(&self) -> &DType {
        self.opened.header().spec.dtype()
    }

    /// NumPy's type of the elements, where the array is stored as another one; see
    /// [`AnyArray::numpy_dtype`](crate::AnyArray::numpy_dtype).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// assert!(log.numpy_dtype().is_none());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn numpy_dtype(&self) -> Option<NumpyDType> {
        let header = self.opened.header();
        NumpyDType::believed(header.attrs.as_ref(), header.spec.dtype())
    }

    /// The memory of the rows, which stays mapped while this lives; for bindings. It does not keep
    /// the array.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// let path = log.path().to_path_buf();
    /// let memory = log.memory();
    /// drop(log);
    /// assert!(!path.exists());
    /// # drop(memory);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn memory(&self) -> MappedMemory {
        self.opened.mark_used();
        MappedMemory::new(self.opened.pages())
    }

    /// Whether the growth has ended for good.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// assert!(!log.is_frozen());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_frozen(&self) -> bool {
        self.opened.is_frozen()
    }

    /// Whether rows can be appended; see
    /// [`GrowingArray::is_writable`](crate::GrowingArray::is_writable).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// let reader = log.handle().read_only().open_any_growing()?;
    /// assert!(log.is_writable() && !reader.is_writable());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_writable(&self) -> bool {
        self.is_writable && !self.is_frozen()
    }

    /// A value that names the array for another process; see
    /// [`Handle::open_any_growing`](crate::Handle::open_any_growing).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// assert_eq!(log.handle().open_any_growing()?.id(), log.id());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn handle(&self) -> Handle {
        self.handle_with(self.scope())
    }

    /// A handle that lets its first opener inherit the array; see
    /// [`SharedArray::hand_over`](crate::SharedArray::hand_over).
    ///
    /// # Deletion
    ///
    /// That of [`SharedArray::hand_over`](crate::SharedArray::hand_over).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// let handle = log.hand_over();
    /// drop(log);
    /// assert_eq!(handle.open_any_growing()?.max_len(), 1000);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn hand_over(&self) -> Handle {
        self.handle_with(self.opened.hand_over())
    }

    fn handle_with(&self, scope: Scope) -> Handle {
        Handle::new(
            self.path(),
            self.id(),
            self.dtype().fingerprint(),
            self.is_writable(),
            scope,
            None,
        )
    }

    /// The name that was chosen for the array, if any.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// assert_eq!(log.name(), None);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn name(&self) -> Option<String> {
        name::of(self.path())
    }

    /// The array's identity.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// assert_eq!(log.rows(..)?.id(), log.id());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn id(&self) -> ArrayId {
        self.opened.header().id
    }

    /// The array's file.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// assert!(log.path().starts_with(manager.path()));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        self.opened.path()
    }

    /// The scope of the array in this process; see
    /// [`SharedArray::scope`](crate::SharedArray::scope).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// assert_eq!(log.scope(), ndshm::Scope::Local);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn scope(&self) -> Scope {
        self.opened.scope()
    }

    /// Changes the scope of the array in this process.
    ///
    /// # Errors
    ///
    /// Those of [`SharedArray::set_scope`](crate::SharedArray::set_scope).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// log.set_scope(ndshm::Scope::Store)?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn set_scope(&self, scope: Scope) -> Result<()> {
        self.opened.mark_used();
        self.opened.set_scope(scope)
    }

    /// Deletes the array now, whichever process owns it; see
    /// [`GrowingArray::release`](crate::GrowingArray::release).
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// log.release()?;
    /// assert!(!log.path().exists());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn release(&self) -> Result<()> {
        self.opened.mark_used();
        self.opened.release()
    }

    /// The names of the axes: one entry for each, that of the rows first, or none at all.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// assert!(log.axis_names().is_empty());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn axis_names(&self) -> &[Option<String>] {
        &self.opened.header().axis_names
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
    /// let manager = ndshm::Manager::new()?;
    /// let log = manager.options().growing_any(&"<f8".parse()?, &[3], 1000)?;
    /// let attrs: std::collections::BTreeMap<String, String> = log.attrs()?;
    /// assert!(attrs.is_empty());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn attrs<A: DeserializeOwned>(&self) -> Result<A> {
        attributes::from_value(self.opened.header().attrs.as_ref())
    }
}

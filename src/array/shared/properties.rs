//! The properties of a `SharedArray`: its shape and type, and the labels of the whole array.

use super::SharedArray;
use crate::{
    element::{Element, dtype::DType},
    error::Result,
    layout::Order,
};
use ndarray::Dimension;
use serde::de::DeserializeOwned;

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// The lengths of the axes.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert_eq!(xs.slice(ndarray::s![1.., 2])?.shape(), [2]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn shape(&self) -> &[usize] {
        self.core.shape()
    }

    /// The strides, in elements; may be negative, and zero where the view was broadcast.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert_eq!((xs.strides(), xs.t()?.strides()), (&[4, 1][..], &[1, 4][..]));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn strides(&self) -> &[isize] {
        self.core.layout.element_strides()
    }

    /// The number of axes.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert_eq!(xs.ndim(), 2);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn ndim(&self) -> usize {
        self.core.ndim()
    }

    /// The number of elements.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert_eq!(xs.len(), 12);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.core.len()
    }

    /// Whether there are no elements.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert!(!xs.is_empty() && xs.slice(ndarray::s![3.., ..])?.is_empty());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.core.is_empty()
    }

    /// The lengths of the axes as ndarray's pattern: a number, a tuple.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// let (rows, columns) = xs.dim();
    /// assert_eq!((rows, columns), (3, 4));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn dim(&self) -> D::Pattern {
        self.core.layout.dim.clone().into_pattern()
    }

    /// The type of the elements.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert_eq!(xs.dtype().to_string(), "<f8");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn dtype(&self) -> DType {
        T::DTYPE
    }

    /// The order in which the elements lie in memory; `None` where they are not contiguous in
    /// either.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Order;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert_eq!(
    ///     (
    ///         xs.order(),
    ///         xs.t()?.order(),
    ///         xs.slice(ndarray::s![.., 1])?.order()
    ///     ),
    ///     (Some(Order::C), Some(Order::F), None)
    /// );
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn order(&self) -> Option<Order> {
        self.core.order()
    }

    /// The names of the whole array's axes: one entry for each, or none at all.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.options().axis_names(["row", "column"]).zeros::<f64, _>((3, 4))?;
    /// assert_eq!(xs.axis_names()[1].as_deref(), Some("column"));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn axis_names(&self) -> &[Option<String>] {
        self.core.axis_names()
    }

    /// The array's attributes, as any type that deserializes from a map; an empty map where it has
    /// none.
    ///
    /// # Errors
    ///
    /// `Attrs` where they do not fit the type.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.options().attrs(&BTreeMap::from([("unit", "m/s")]))?.zeros::<f64, _>(5)?;
    /// assert_eq!(xs.attrs::<BTreeMap<String, String>>()?["unit"], "m/s");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn attrs<A: DeserializeOwned>(&self) -> Result<A> {
        self.core.attrs()
    }

    /// Whether this is a part or another arrangement of the array, not the whole array in its own
    /// order.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert!(!xs.is_view() && xs.t()?.is_view());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_view(&self) -> bool {
        self.core.is_view()
    }

    /// Whether elements can be written through this array: not through a read-only view, nor where
    /// the array is frozen.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((3, 4))?;
    /// assert!(xs.is_writable() && !xs.read_only()?.is_writable());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_writable(&self) -> bool {
        self.core.is_writable()
    }

    /// Whether the array is frozen.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<f64, _>(5)?;
    /// assert!(!xs.is_frozen());
    /// xs.freeze()?;
    /// assert!(xs.is_frozen() && !xs.is_writable());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_frozen(&self) -> bool {
        self.core.is_frozen()
    }
}

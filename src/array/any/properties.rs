//! The properties of an `AnyArray`: its shape and type, and the labels of the whole array.

use super::AnyArray;
use crate::{
    element::{dtype::DType, numpy::NumpyDType},
    error::Result,
    layout::Order,
};
use serde::de::DeserializeOwned;

impl AnyArray {
    /// The type of the elements.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros_any(&"(3,)<f4".parse()?, &[5])?.dtype().itemsize(), 12);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn dtype(&self) -> &DType {
        &self.core.element_type
    }

    /// The lengths of the axes.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros_any(&"<f4".parse()?, &[5, 0])?.shape(), [5, 0]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn shape(&self) -> &[usize] {
        self.core.shape()
    }

    /// The strides in bytes, as NumPy gives them, because the compiler does not know the size of an
    /// element. Those of axes of length 0 and 1 are zero.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros_any(&"<f4".parse()?, &[5, 2])?.byte_strides(), [8, 4]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn byte_strides(&self) -> Vec<isize> {
        self.core.byte_strides()
    }

    /// The number of axes.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros_any(&"<f4".parse()?, &[5, 2])?.ndim(), 2);
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
    /// assert_eq!(manager.zeros_any(&"<f4".parse()?, &[5, 2])?.len(), 10);
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
    /// assert!(manager.zeros_any(&"<f4".parse()?, &[5, 0])?.is_empty());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.core.is_empty()
    }

    /// The order in which the elements lie in memory; `None` where they are not contiguous in
    /// either.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert_eq!(manager.zeros_any(&"<f4".parse()?, &[5, 2])?.order(), Some(ndshm::Order::C));
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
    /// let any = manager.options().axis_names(["time"]).zeros_any(&"<f4".parse()?, &[5])?;
    /// assert_eq!(any.axis_names()[0].as_deref(), Some("time"));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn axis_names(&self) -> &[Option<String>] {
        self.core.axis_names()
    }

    /// The array's attributes; see [`SharedArray::attrs`](crate::SharedArray::attrs).
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
    /// let any = manager
    ///     .options()
    ///     .attrs(&BTreeMap::from([("unit", "m")]))?
    ///     .zeros_any(&"<f4".parse()?, &[5])?;
    /// assert_eq!(any.attrs::<BTreeMap<String, String>>()?["unit"], "m");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn attrs<A: DeserializeOwned>(&self) -> Result<A> {
        self.core.attrs()
    }

    /// NumPy's type of the elements, where the attribute `numpy.dtype` of the array says one that
    /// this format lacks: text, times, `longdouble`.
    ///
    /// The attribute is believed only if elements of its type are stored as those of the array are;
    /// see [`NumpyDType::is_stored_as`]. Of a view of a field it is the field's type.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let attrs = BTreeMap::from([("numpy.dtype", "<M8[ns]")]);
    /// let times = manager.options().attrs(&attrs)?.zeros::<i64, _>(5)?.into_any()?;
    /// assert_eq!(times.numpy_dtype(), Some("<M8[ns]".parse()?));
    /// let floats = manager.options().attrs(&attrs)?.zeros::<f64, _>(5)?.into_any()?;
    /// assert_eq!(floats.numpy_dtype(), None);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn numpy_dtype(&self) -> Option<NumpyDType> {
        self.core.numpy_dtype()
    }

    /// NumPy's type of elements that are the whole last axis here, because they have no bytes or
    /// too many to be elements.
    pub(crate) fn numpy_dtype_of_last_axis(&self) -> Option<NumpyDType> {
        self.core.numpy_dtype_of_last_axis()
    }

    /// Whether this is a part or another arrangement of the array, not the whole array in its own
    /// order.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.zeros_any(&"<f4".parse()?, &[5, 2])?;
    /// assert!(!any.is_view() && any.t()?.is_view());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_view(&self) -> bool {
        self.core.is_view()
    }

    /// Whether elements can be written through this array.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(manager.zeros_any(&"<f4".parse()?, &[5])?.is_writable());
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
    /// assert!(!manager.ones::<f64, _>(5)?.into_any()?.is_frozen());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_frozen(&self) -> bool {
        self.core.is_frozen()
    }
}

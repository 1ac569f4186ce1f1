//! The verbs that make an array whose element type is known at run time.

use super::{ArrayOptions, NoDraft, check_shape};
use crate::{
    array::{self, Content, any::AnyArray, view},
    element::dtype::DType,
    error::{Error, Result},
    layout::{Layout, Order},
    segment::draft::Draft,
    sys::copy,
};
use ndarray::{ArrayViewMut, Ix1};

impl ArrayOptions<'_> {
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
        self.make_any(dtype, shape, Order::C, Content::<NoDraft>::Zeros)
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
        self.make_any(dtype, shape, order, Content::<NoDraft>::Anything)
    }

    /// Opens the array with the chosen name, or makes it with zeros where there is none, as
    /// [`open_or_zeros`](Self::open_or_zeros) does for a type known at compile time. The order is
    /// that of a new array; one that exists may have another.
    ///
    /// # Errors
    ///
    /// Those of [`open_or_zeros`](Self::open_or_zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Order;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let options = manager.options().name("done");
    /// let first = options.open_or_zeros_any(&"|u1".parse()?, &[100], Order::C)?;
    /// let second = options.open_or_zeros_any(&"|u1".parse()?, &[100], Order::C)?;
    /// assert_eq!(first.id(), second.id());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open_or_zeros_any(
        &self,
        dtype: &DType,
        shape: &[usize],
        order: Order,
    ) -> Result<AnyArray> {
        self.open_or_make(
            |path| {
                let found = AnyArray::open_named(self.member, path)?;
                if found.dtype() != dtype {
                    return Err(Error::Dtype {
                        path: path.into(),
                        expected: dtype.clone(),
                        found: found.dtype().clone(),
                    });
                }
                check_shape(path, found.shape(), shape)?;
                Ok(found)
            },
            || self.make_any(dtype, shape, order, Content::<NoDraft>::Zeros),
        )
    }

    /// A new array of these bytes, which lie as the array's elements do in memory: in its order,
    /// native-endian.
    ///
    /// # Errors
    ///
    /// `Layout` if the number of bytes is not that of the elements; those of
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
        let labels = self.labels()?;
        let spec = array::spec_of(dtype, shape, order)?;
        if spec.byte_len() != bytes.len() {
            return Err(Error::layout(
                "make an array of bytes",
                format!("{} bytes for {}", bytes.len(), spec.byte_len()),
            ));
        }
        let content = Content::<NoDraft>::Bytes(bytes);
        AnyArray::create(self.member, labels, spec, content)
    }

    /// A new array whose bytes a function sets, from zeros; they lie as the array's elements do in
    /// memory. The array is published when the function returns.
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
    /// let any = manager
    ///     .options()
    ///     .from_bytes_fn(&"<u2".parse()?, &[3], Order::C, |bytes| bytes.fill(1))?;
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
        let labels = self.labels()?;
        let spec = array::spec_of(dtype, shape, order)?;
        let byte_len = spec.byte_len();
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
        let content = Content::Filled(fill);
        AnyArray::create(self.member, labels, spec, content)
    }

    fn make_any(
        &self,
        dtype: &DType,
        shape: &[usize],
        order: Order,
        content: Content<'_, impl FnOnce(&mut Draft)>,
    ) -> Result<AnyArray> {
        let labels = self.labels()?;
        let spec = array::spec_of(dtype, shape, order)?;
        AnyArray::create(self.member, labels, spec, content)
    }
}

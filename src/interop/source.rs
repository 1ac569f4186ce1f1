//! The arrays that an export writes.

use super::{
    described::without_subarray, elements, failure::Failure, meter::Meter, npy, outlet::Drain,
};
use crate::{
    array::{SharedArray, any::AnyArray, frozen::FrozenArray},
    element::{Bool, Element, numpy::NumpyDType},
    error::Result,
    layout::Order,
};
use ndarray::Dimension;

/// Arrays and views that [`Export`](crate::Export) writes: [`SharedArray`], [`FrozenArray`] and
/// [`AnyArray`].
///
/// # Examples
///
/// ```
/// use ndshm::{Export, Exportable};
///
/// # let scratch = tempfile::tempdir().unwrap();
/// let manager = ndshm::Manager::new()?;
/// let (xs, ys) = (manager.zeros::<f64, _>(5)?, manager.ones::<u8, _>((2, 2))?.freeze()?);
/// let arrays: [&dyn Exportable; 2] = [&xs, &ys];
/// for (number, array) in arrays.into_iter().enumerate() {
///     Export::new().npy(array, scratch.path().join(format!("{number}.npy")))?;
/// }
/// # Ok::<(), ndshm::Error>(())
/// ```
pub trait Exportable: sealed::Erase {}

mod sealed {
    use crate::{array::any::AnyArray, error::Result};

    pub trait Erase {
        /// The same array or view, with its element type known at run time only.
        fn erase(&self) -> Result<AnyArray>;
    }
}

impl Exportable for AnyArray {}

impl sealed::Erase for AnyArray {
    fn erase(&self) -> Result<AnyArray> {
        self.view()
    }
}

impl<T: Element, D: Dimension> Exportable for SharedArray<T, D> {}

impl<T: Element, D: Dimension> sealed::Erase for SharedArray<T, D> {
    fn erase(&self) -> Result<AnyArray> {
        self.into_any()
    }
}

impl<T: Element, D: Dimension> Exportable for FrozenArray<T, D> {}

impl<T: Element, D: Dimension> sealed::Erase for FrozenArray<T, D> {
    fn erase(&self) -> Result<AnyArray> {
        self.shared().into_any()
    }
}

/// The arrays of a file with their keys, which must differ.
#[cfg(any(feature = "zip", feature = "safetensors"))]
pub(super) fn keyed<'k, N: AsRef<str>>(
    arrays: &'k [(N, &dyn Exportable)],
) -> Result<Vec<(&'k str, AnyArray)>, Failure> {
    let mut keys: Vec<&str> = arrays.iter().map(|(key, _)| key.as_ref()).collect();
    keys.sort_unstable();
    if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("duplicate key {:?}: give each array its own key", pair[0]).into());
    }
    arrays
        .iter()
        .map(|(key, array)| Ok((key.as_ref(), array.erase()?)))
        .collect()
}

/// The number of bytes of an array's elements.
pub(super) fn byte_len(array: &AnyArray) -> u64 {
    array.len() as u64 * array.dtype().itemsize() as u64
}

/// Writes an array as a `.npy` file.
pub(super) fn write_npy(
    array: &AnyArray,
    meter: &mut Meter<'_>,
    out: &mut dyn Drain,
) -> Result<(), Failure> {
    let (header, order) = npy_header(array);
    out.write_all(&header)?;
    write_elements(array, order, meter, out)
}

/// The header of a `.npy` file, and the order in which the file has the elements of an array.
fn npy_header(array: &AnyArray) -> (Vec<u8>, Order) {
    if let Some(dtype) = array.numpy_dtype_of_last_axis()
        && let Some(descr) = dtype.descr()
    {
        let (shape, order) = (&array.shape()[..array.ndim() - 1], Order::C);
        return (npy::header(&descr, shape, order), order);
    }
    let order = array.order().unwrap_or(Order::C);
    if let Some(descr) = array.numpy_dtype().and_then(|dtype| dtype.descr()) {
        return (npy::header(&descr, array.shape(), order), order);
    }
    let (dtype, shape) = without_subarray(array.dtype(), array.shape());
    let order = if shape.len() > array.ndim() {
        Order::C
    } else {
        order
    };
    let Some(descr) = NumpyDType::of(&dtype).descr() else {
        unreachable!("the fields of an element type do not overlap")
    };
    (npy::header(&descr, &shape, order), order)
}

/// Writes the elements of an array and nothing else.
pub(super) fn write_elements(
    array: &AnyArray,
    order: Order,
    meter: &mut Meter<'_>,
    out: &mut dyn Drain,
) -> Result<(), Failure> {
    let guard = array.read()?;
    let are_bools = *array.dtype() == Bool::DTYPE;
    elements::write(guard.view(), order, are_bools, meter, out)
}

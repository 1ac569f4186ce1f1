//! The arrays that an export writes.

use super::{described::without_subarray, elements, failure::Failure, meter::Meter, npy};
use crate::{
    array::{SharedArray, any::AnyArray, frozen::FrozenArray},
    element::{Bool, Element},
    error::Result,
    layout::Order,
};
use ndarray::Dimension;
use std::io::Write;

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
/// let arrays: [&dyn Exportable; 2] = [
///     &manager.zeros::<f64, _>(5)?,
///     &manager.ones::<u8, _>((2, 2))?.freeze()?,
/// ];
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

/// The arrays of a file with their keys, which must differ and not be empty.
#[cfg(any(feature = "zip", feature = "safetensors"))]
pub(super) fn keyed<'k, N: AsRef<str>>(
    arrays: &'k [(N, &dyn Exportable)],
) -> Result<Vec<(&'k str, AnyArray)>, Failure> {
    let mut keys: Vec<&str> = arrays.iter().map(|(key, _)| key.as_ref()).collect();
    keys.sort_unstable();
    if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("duplicate key {:?}: give each array its own key", pair[0]).into());
    }
    if keys.first().is_some_and(|key| key.is_empty()) {
        return Err("empty key: give each array a key".into());
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
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let order = npy_order(array);
    out.write_all(&npy::header(array.dtype(), array.shape(), order))?;
    write_elements(array, order, meter, out)
}

/// The order in which a `.npy` file has the elements of an array.
fn npy_order(array: &AnyArray) -> Order {
    let has_subarray = !without_subarray(array.dtype(), &[]).1.is_empty();
    if has_subarray {
        Order::C
    } else {
        array.order().unwrap_or(Order::C)
    }
}

/// Writes the elements of an array and nothing else.
pub(super) fn write_elements(
    array: &AnyArray,
    order: Order,
    meter: &mut Meter<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let guard = array.read()?;
    let are_bools = *array.dtype() == Bool::DTYPE;
    elements::write(guard.view(), order, are_bools, meter, out)
}

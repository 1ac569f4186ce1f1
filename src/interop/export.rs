//! Arrays and views into files of other formats.

use super::{Meter, Progress, elements, npy, output::Output, without_subarray};
use crate::{
    array::{SharedArray, any::AnyArray},
    element::Element,
    error::Result,
    layout::Order,
};
use ndarray::Dimension;
use std::{io::Write, path::Path};

/// Settings for files that arrays are exported to.
///
/// A file gets its name when it is complete, and not before: an export that fails, and one that is
/// killed, leave none. (On file systems without unnamed files, NFS for one, a killed process leaves
/// a file called `.ndshm-export-` and letters beside it.) Each array is read under one guard, so
/// the file shows it as it was at one moment; writers of its bytes wait as long.
///
/// # Examples
///
/// ```
/// use ndshm::Export;
///
/// # let scratch = tempfile::tempdir().unwrap();
/// # let path = scratch.path().join("xs.npy");
/// let manager = ndshm::Manager::new()?;
/// let xs = manager.zeros::<f64, _>((3, 4))?.into_any()?;
/// Export::new().npy(&xs, &path)?;
/// assert!(matches!(Export::new().npy(&xs, &path), Err(ndshm::Error::AlreadyExists { .. })));
/// Export::new().replace().progress(&|done, total| eprintln!("{done} of {total} bytes")).npy(&xs.t()?, &path)?;
/// assert_eq!(manager.import_npy(&path)?.shape(), [4, 3]);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Copy, Default)]
#[must_use]
pub struct Export<'a> {
    replaces: bool,
    #[cfg(feature = "zip")]
    pub(super) compresses: bool,
    pub(super) progress: Progress<'a>,
}

impl<'a> Export<'a> {
    /// The usual settings: nothing is replaced, nothing is compressed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces a file that is at the path already, in one step, when the new one is complete.
    pub fn replace(mut self) -> Self {
        self.replaces = true;
        self
    }

    /// Compresses the entries of a `.npz` file, by deflate.
    #[cfg(feature = "zip")]
    pub fn compress(mut self) -> Self {
        self.compresses = true;
        self
    }

    /// What is called after every few megabytes, with the bytes of elements that were written and
    /// those of all.
    pub fn progress(mut self, progress: &'a (dyn Fn(u64, u64) + Sync)) -> Self {
        self.progress = Progress(Some(progress));
        self
    }

    /// Writes a `.npy` file, in Fortran's order where the array lies so in memory, in C's else.
    ///
    /// The axes of `[T; N]` elements follow those of the array, because NumPy has no such elements.
    /// Neither has it `bf16` and 128-bit integers: they become raw bytes, as NumPy writes the types
    /// of `ml_dtypes`; `numpy.load(path).view(ml_dtypes.bfloat16)` reads them,
    /// [`ArrayOptions::dtype`](crate::ArrayOptions::dtype) does here. Fields of structs are written
    /// in the order of their offsets. Names and attributes are not in the file.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`; those of [`SharedArray::read`](crate::SharedArray::read); `Io`. There is no
    /// file then.
    pub fn npy(&self, array: &AnyArray, path: impl AsRef<Path>) -> Result<()> {
        self.write(path.as_ref(), array.byte_len(), |meter, out| {
            write_npy(array, meter, out)
        })
    }

    /// Writes the elements and nothing else, in C order, native-endian.
    ///
    /// # Errors
    ///
    /// Those of [`npy`](Self::npy).
    pub fn raw(&self, array: &AnyArray, path: impl AsRef<Path>) -> Result<()> {
        self.write(path.as_ref(), array.byte_len(), |meter, out| {
            write_elements(array, Order::C, meter, out)
        })
    }

    fn write(
        &self,
        path: &Path,
        total: u64,
        write: impl FnOnce(&mut Meter<'_>, &mut dyn Write) -> Result<(), super::Failure>,
    ) -> Result<()> {
        self.create(path, |output| {
            let mut meter = Meter::new(self.progress, total);
            write(&mut meter, output.file())
        })
    }

    /// A file that is there only if `write` succeeds.
    pub(super) fn create(
        &self,
        path: &Path,
        write: impl FnOnce(&mut Output) -> Result<(), super::Failure>,
    ) -> Result<()> {
        let mut output = Output::create(path, self.replaces)?;
        write(&mut output).map_err(|failure| failure.at(path, "write the file"))?;
        output.commit()
    }
}

/// The order in which an array is written, where the format can say so.
fn order_of(array: &AnyArray) -> Order {
    let has_subarray = !without_subarray(array.dtype(), &[]).1.is_empty();
    if has_subarray {
        Order::C
    } else {
        array.order().unwrap_or(Order::C)
    }
}

pub(super) fn write_npy(
    array: &AnyArray,
    meter: &mut Meter<'_>,
    out: &mut dyn Write,
) -> Result<(), super::Failure> {
    let order = order_of(array);
    out.write_all(&npy::header(array.dtype(), array.shape(), order))?;
    write_elements(array, order, meter, out)
}

pub(super) fn write_elements(
    array: &AnyArray,
    order: Order,
    meter: &mut Meter<'_>,
    out: &mut dyn Write,
) -> Result<(), super::Failure> {
    let guard = array.read()?;
    let are_truths = *array.dtype() == crate::element::Bool::DTYPE;
    elements::write(guard.view(), order, are_truths, meter, out)
}

/// The keys that arrays have in a file of several: their own, or as NumPy calls them.
#[cfg(any(feature = "zip", feature = "safetensors"))]
fn key_of(array: &AnyArray) -> String {
    array.name().unwrap_or_else(|| "arr_0".into())
}

/// An error where two arrays shall have one key.
#[cfg(any(feature = "zip", feature = "safetensors"))]
pub(super) fn check_keys<N: AsRef<str>>(arrays: &[(N, &AnyArray)], path: &Path) -> Result<()> {
    let mut keys: Vec<_> = arrays.iter().map(|(key, _)| key.as_ref()).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(crate::Error::transfer(
            path,
            format!("two arrays shall have the key {:?}", pair[0]),
        )),
        None if keys.first().is_some_and(|key| key.is_empty()) => Err(crate::Error::transfer(
            path,
            "an array needs a key that is not empty",
        )),
        None => Ok(()),
    }
}

impl AnyArray {
    pub(super) fn byte_len(&self) -> u64 {
        self.len() as u64 * self.dtype().itemsize() as u64
    }

    /// Writes the array or view into a new `.npy` file; see [`Export::npy`].
    ///
    /// # Errors
    ///
    /// Those of [`Export::npy`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs.npy");
    /// let manager = ndshm::Manager::new()?;
    /// manager.zeros_any(&"<f4".parse()?, &[5])?.export_npy(&path)?;
    /// assert_eq!(manager.import_npy(&path)?.len(), 5);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn export_npy(&self, path: impl AsRef<Path>) -> Result<()> {
        Export::new().npy(self, path)
    }

    /// Writes the elements of the array or view into a new file, and nothing else; see
    /// [`Export::raw`].
    ///
    /// # Errors
    ///
    /// Those of [`Export::npy`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs");
    /// let manager = ndshm::Manager::new()?;
    /// manager.ones::<u16, _>(2)?.into_any()?.export_raw(&path)?;
    /// assert_eq!(std::fs::read(&path).unwrap(), [1, 0, 1, 0]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn export_raw(&self, path: impl AsRef<Path>) -> Result<()> {
        Export::new().raw(self, path)
    }

    /// Writes the array or view into a new `.npz` file, under its name or as `arr_0`; for several
    /// arrays see [`Export::npz`].
    ///
    /// # Errors
    ///
    /// Those of [`Export::npz`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs.npz");
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("xs").zeros_any(&"<f4".parse()?, &[5])?.export_npz(&path)?;
    /// assert_eq!(manager.import_npz(&path)?[0].0, "xs");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    #[cfg(feature = "zip")]
    pub fn export_npz(&self, path: impl AsRef<Path>) -> Result<()> {
        Export::new().npz(&[(key_of(self), self)], path)
    }

    /// Writes the array or view into a new safetensors file, under its name or as `arr_0`; for
    /// several arrays see [`Export::safetensors`].
    ///
    /// # Errors
    ///
    /// Those of [`Export::safetensors`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs.safetensors");
    /// let manager = ndshm::Manager::new()?;
    /// manager.zeros_any(&"bfloat16".parse()?, &[5])?.export_safetensors(&path)?;
    /// assert_eq!(manager.import_safetensors(&path)?[0].1.dtype().to_string(), "bfloat16");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    #[cfg(feature = "safetensors")]
    pub fn export_safetensors(&self, path: impl AsRef<Path>) -> Result<()> {
        Export::new().safetensors(&[(key_of(self), self)], path)
    }
}

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// Writes the array or view into a new `.npy` file; see [`Export::npy`].
    ///
    /// # Errors
    ///
    /// Those of [`Export::npy`].
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::{Ix1, s};
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("row.npy");
    /// let manager = ndshm::Manager::new()?;
    /// let table = manager.from_shape_fn::<i32, _>((3, 4), |(i, j)| (10 * i + j) as i32)?;
    /// table.slice(s![1, ..;-1])?.export_npy(&path)?;
    /// assert_eq!(manager.import_npy(&path)?.downcast::<i32, Ix1>()?.to_ndarray()?, ndarray::array![13, 12, 11, 10]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn export_npy(&self, path: impl AsRef<Path>) -> Result<()> {
        self.into_any()?.export_npy(path)
    }

    /// Writes the elements of the array or view into a new file, and nothing else; see
    /// [`Export::raw`].
    ///
    /// # Errors
    ///
    /// Those of [`Export::npy`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs");
    /// let manager = ndshm::Manager::new()?;
    /// manager.ones::<u16, _>(2)?.export_raw(&path)?;
    /// assert_eq!(std::fs::read(&path).unwrap(), [1, 0, 1, 0]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn export_raw(&self, path: impl AsRef<Path>) -> Result<()> {
        self.into_any()?.export_raw(path)
    }

    /// Writes the array or view into a new `.npz` file; see [`AnyArray::export_npz`].
    ///
    /// # Errors
    ///
    /// Those of [`Export::npz`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs.npz");
    /// let manager = ndshm::Manager::new()?;
    /// manager.ones::<f64, _>((2, 3))?.export_npz(&path)?;
    /// assert_eq!(manager.import_npz(&path)?[0].1.shape(), [2, 3]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    #[cfg(feature = "zip")]
    pub fn export_npz(&self, path: impl AsRef<Path>) -> Result<()> {
        self.into_any()?.export_npz(path)
    }

    /// Writes the array or view into a new safetensors file; see [`AnyArray::export_safetensors`].
    ///
    /// # Errors
    ///
    /// Those of [`Export::safetensors`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs.safetensors");
    /// let manager = ndshm::Manager::new()?;
    /// manager.ones::<f64, _>((2, 3))?.export_safetensors(&path)?;
    /// assert_eq!(manager.import_safetensors(&path)?[0].1.shape(), [2, 3]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    #[cfg(feature = "safetensors")]
    pub fn export_safetensors(&self, path: impl AsRef<Path>) -> Result<()> {
        self.into_any()?.export_safetensors(path)
    }
}

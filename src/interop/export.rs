//! The builder that writes arrays and views into files of other formats.

#[cfg(feature = "zip")]
use super::npz;
#[cfg(feature = "safetensors")]
use super::safetensors;
#[cfg(any(feature = "zip", feature = "safetensors"))]
use super::source::keyed;
use super::{
    failure::{Failure, writing},
    meter::{Meter, Progress},
    output::Output,
    source::{Exportable, byte_len, write_elements, write_npy},
};
use crate::{error::Result, layout::Order, sys::process::Bounded};
use std::path::Path;

/// Settings for an export, and the verbs that write arrays into files of other formats.
///
/// Each verb takes arrays and views of any kind: [`SharedArray`](crate::SharedArray),
/// [`FrozenArray`](crate::FrozenArray), [`AnyArray`](crate::AnyArray). [`Import`](crate::Import) is
/// the way back.
///
/// A file gets its name only when it is complete: an export that fails leaves no file, nor does one
/// whose process is killed. (On file systems without unnamed files, such as NFS, a killed process
/// leaves a file called `.ndshm-export-` and letters beside it.) Each array is read under one
/// guard, so the file shows it at one moment; writers of its bytes wait as long.
///
/// # Examples
///
/// ```
/// use ndshm::{Error, Export, Import};
///
/// # let scratch = tempfile::tempdir().unwrap();
/// # let path = scratch.path().join("xs.npy");
/// let manager = ndshm::Manager::new()?;
/// let xs = manager.zeros::<f64, _>((3, 4))?;
/// Export::new().npy(&xs, &path)?;
/// assert!(matches!(Export::new().npy(&xs, &path), Err(Error::AlreadyExists { .. })));
/// let show = |done, total| eprintln!("{done} of {total} bytes");
/// Export::new().replace().progress(&show).npy(&xs.t()?, &path)?;
/// assert_eq!(Import::new().npy(&manager, &path)?.shape(), [4, 3]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Default)]
#[must_use]
pub struct Export<'a> {
    replaces: bool,
    #[cfg(feature = "zip")]
    compresses: bool,
    progress: Progress<'a>,
}

impl<'a> Export<'a> {
    /// The default settings: an existing file is not replaced, and nothing is compressed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces an existing file at the path, in one step, when the new file is complete.
    pub fn replace(mut self) -> Self {
        self.replaces = true;
        self
    }

    /// Compresses the entries of a `.npz` file with deflate.
    #[cfg(feature = "zip")]
    pub fn compress(mut self) -> Self {
        self.compresses = true;
        self
    }

    /// Calls a function every few megabytes, with the bytes of elements written so far and the
    /// bytes of all elements.
    pub fn progress(mut self, progress: &'a (dyn Fn(u64, u64) + Sync)) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Writes a `.npy` file, in Fortran order if the array has that order in memory, else in C
    /// order.
    ///
    /// The axes of `[T; N]` elements follow those of the array, because NumPy has no such elements.
    /// NumPy has no `bf16` and no 128-bit integers either: they become raw bytes, as NumPy writes
    /// the types of `ml_dtypes`. To read them back, use
    /// `numpy.load(path).view(ml_dtypes.bfloat16)` in Python and
    /// [`Import::dtype`](crate::Import::dtype) here. An array whose attribute `numpy.dtype` says
    /// NumPy's type is written with that type: see
    /// [`AnyArray::numpy_dtype`](crate::AnyArray::numpy_dtype). Fields of structs are written in
    /// the order of their offsets. The file has no names and no other attributes.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`; those of [`SharedArray::read`](crate::SharedArray::read); `Io`. Then there
    /// is no file.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::{Ix1, array, s};
    /// use ndshm::{Export, Import};
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("row.npy");
    /// let manager = ndshm::Manager::new()?;
    /// let table = manager.from_shape_fn::<i32, _>((3, 4), |(i, j)| (10 * i + j) as i32)?;
    /// Export::new().npy(&table.slice(s![1, ..;-1])?, &path)?;
    /// let row = Import::new().npy(&manager, &path)?.downcast::<i32, Ix1>()?;
    /// assert_eq!(row.to_ndarray()?, array![13, 12, 11, 10]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn npy(&self, array: &dyn Exportable, path: impl AsRef<Path>) -> Result<()> {
        let array = array.erase()?;
        self.write(path.as_ref(), byte_len(&array), |meter, file| {
            write_npy(&array, meter, file)
        })
    }

    /// Writes the elements and nothing else, in C order, native-endian.
    ///
    /// # Errors
    ///
    /// Those of [`npy`](Self::npy).
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs");
    /// let manager = ndshm::Manager::new()?;
    /// ndshm::Export::new().raw(&manager.ones::<u16, _>(2)?, &path)?;
    /// assert_eq!(std::fs::read(&path).unwrap(), [1, 0, 1, 0]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn raw(&self, array: &dyn Exportable, path: impl AsRef<Path>) -> Result<()> {
        let array = array.erase()?;
        self.write(path.as_ref(), byte_len(&array), |meter, file| {
            write_elements(&array, Order::C, meter, file)
        })
    }

    /// Writes arrays into a `.npz` file, each under its key and as [`npy`](Self::npy) writes it.
    /// Each array is read under a guard of its own, one after another.
    ///
    /// # Errors
    ///
    /// Those of [`npy`](Self::npy); `Transfer` where two arrays have one key.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Export, Import};
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("all.npz");
    /// let manager = ndshm::Manager::new()?;
    /// let (xs, ys) = (manager.zeros::<f64, _>(5)?, manager.ones::<u8, _>((2, 2))?);
    /// Export::new().compress().npz(&[("xs", &xs), ("ys", &ys)], &path)?;
    /// assert_eq!(Import::new().npz(&manager, &path)?.arrays.len(), 2);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    #[cfg(feature = "zip")]
    pub fn npz<N: AsRef<str>>(
        &self,
        arrays: &[(N, &dyn Exportable)],
        path: impl AsRef<Path>,
    ) -> Result<()> {
        let path = path.as_ref();
        let arrays = keyed(arrays).map_err(writing(path))?;
        let total = arrays.iter().map(|(_, array)| byte_len(array)).sum();
        self.write(path, total, |meter, file| {
            npz::write(&arrays, self.compresses, meter, file)
        })
    }

    /// Writes arrays into a safetensors file, each under its key. Each array is read under a guard
    /// of its own, one after another.
    ///
    /// The order is always C. The axes of `[T; N]` elements follow those of the array. The metadata
    /// of files that the arrays were imported from are written again; of arrays that disagree, the
    /// first decides.
    ///
    /// # Errors
    ///
    /// Those of [`npy`](Self::npy); `Transfer` for types that the format does not have (structs,
    /// raw bytes, `complex128`, 128-bit integers), where two arrays have one key, and where a key
    /// is `__metadata__`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Export, Import};
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("all.safetensors");
    /// let manager = ndshm::Manager::new()?;
    /// let (xs, ys) = (manager.zeros::<f64, _>(5)?, manager.ones::<u8, _>((2, 2))?);
    /// Export::new().safetensors(&[("xs", &xs), ("ys", &ys)], &path)?;
    /// assert_eq!(Import::new().safetensors(&manager, &path)?.arrays.len(), 2);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    #[cfg(feature = "safetensors")]
    pub fn safetensors<N: AsRef<str>>(
        &self,
        arrays: &[(N, &dyn Exportable)],
        path: impl AsRef<Path>,
    ) -> Result<()> {
        let path = path.as_ref();
        let mut arrays = keyed(arrays).map_err(writing(path))?;
        safetensors::sort(&mut arrays);
        let (header, total) = safetensors::header(&arrays).map_err(writing(path))?;
        self.write(path, total, |meter, file| {
            safetensors::write(&header, &arrays, meter, file)
        })
    }

    /// Makes a file of `total` bytes of elements, which gets its name only if `write` succeeds.
    fn write(
        &self,
        path: &Path,
        total: u64,
        write: impl FnOnce(&mut Meter<'_>, &mut Bounded<'_>) -> Result<(), Failure>,
    ) -> Result<()> {
        let mut output = Output::create(path, self.replaces)?;
        let mut meter = Meter::new(self.progress, total);
        write(&mut meter, &mut output.file()).map_err(writing(path))?;
        output.commit()
    }
}

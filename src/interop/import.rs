//! Files of other formats into new arrays.

use super::{Described, Failure, Meter, Progress, elements, npy};
use crate::{
    array::{self, Labels, any::AnyArray},
    element::dtype::DType,
    error::{Error, Result},
    format::name::ArrayName,
    layout::{self, Order},
    manager::{Manager, options::ArrayOptions},
    segment::{draft::Draft, pages::Payload},
    store::member::Member,
};
use std::{
    fs::{self, File},
    io::Read,
    path::Path,
    sync::Arc,
};

/// What an import goes by: the settings of its [`ArrayOptions`].
pub(super) struct Importer<'a> {
    member: &'a Arc<Member>,
    /// The name of the array, or the beginning of the names of all of them.
    name: Option<&'a str>,
    labels: &'a Labels,
    dtype: Option<&'a DType>,
    pub(super) progress: Progress<'a>,
    path: &'a Path,
}

impl<'a> Importer<'a> {
    fn new(options: &'a ArrayOptions<'_>, path: &'a Path) -> Self {
        let (member, name, labels, dtype, progress) = options.parts();
        Self {
            member,
            name,
            labels,
            dtype,
            progress,
            path,
        }
    }

    /// The file, which must be a regular one, and its length.
    pub(super) fn open(&self) -> Result<(File, u64)> {
        let failed = || Error::io(self.path, "open the file");
        // Opening a FIFO waits, and opening a device can have effects.
        if !fs::metadata(self.path).map_err(failed())?.is_file() {
            return Err(Error::transfer(self.path, "it is not a regular file"));
        }
        let file = File::open(self.path).map_err(failed())?;
        let len = file.metadata().map_err(failed())?.len();
        Ok((file, len))
    }

    /// A draft with what comes next of a file that says this of it. `left` is how many bytes of the
    /// file are left; there must be no more of them than elements.
    pub(super) fn receive(
        &self,
        key: Option<&str>,
        described: Described,
        left: u64,
        meter: &mut Meter<'_>,
        input: &mut dyn Read,
    ) -> Result<Draft, Failure> {
        let Described {
            dtype,
            shape,
            order,
            swaps,
        } = described;
        let dtype = self.dtype_for(dtype)?;
        let itemsize = dtype.itemsize();
        let Some(len) = layout::byte_len(&shape, itemsize) else {
            return Err(format!("shape {shape:?} of {dtype} is too large").into());
        };
        match len as u64 {
            len if left < len => {
                return Err(format!(
                    "it is cut off: {left} bytes of elements are there, its header says {len}"
                )
                .into());
            }
            len if left > len => {
                return Err(format!(
                    "{} more bytes follow behind its {len} bytes of elements",
                    left - len
                )
                .into());
            }
            _ => {}
        }
        let name = self
            .name
            .map(|name| ArrayName::parse(format!("{name}{}", key.unwrap_or_default())));
        let labels = Labels {
            name: name.transpose()?,
            ..self.labels.clone()
        };
        let mut draft = array::draft_any(
            self.member,
            labels,
            dtype,
            &shape,
            order,
            Payload::ToBeFilled,
        )?;
        elements::read(&mut draft, len, itemsize, &swaps, meter, input)?;
        Ok(draft)
    }

    /// The type that was asked for, if a file's elements can be ones of it.
    fn dtype_for(&self, found: DType) -> Result<DType, Failure> {
        let is_raw = found.to_string().starts_with("|V");
        match self.dtype {
            Some(wanted) if is_raw && wanted.itemsize() == found.itemsize() => Ok(wanted.clone()),
            Some(wanted) if *wanted != found => Err(format!(
                "its elements are {found}, and it was to be imported as one of {wanted}"
            )
            .into()),
            _ => Ok(found),
        }
    }

    /// Publishes arrays, all or none of them.
    #[cfg(any(feature = "zip", feature = "safetensors"))]
    pub(super) fn publish(drafts: Vec<(String, Draft)>) -> Result<Vec<(String, AnyArray)>> {
        let mut arrays: Vec<(String, AnyArray)> = Vec::with_capacity(drafts.len());
        for (key, draft) in drafts {
            match draft.publish() {
                Ok(segment) => arrays.push((key, AnyArray::of_published(segment))),
                Err(error) => {
                    arrays.iter().for_each(|(_, array)| drop(array.release()));
                    return Err(error);
                }
            }
        }
        Ok(arrays)
    }

    fn npy(&self) -> Result<AnyArray> {
        let (mut file, file_len) = self.open()?;
        let mut receive = || {
            let (described, header_len) = npy::read_header(&mut file)?;
            let left = file_len.saturating_sub(header_len as u64);
            self.receive(
                None,
                described,
                left,
                &mut Meter::new(self.progress, left),
                &mut file,
            )
        };
        let draft = receive().map_err(|failure| failure.at(self.path, "read the file"))?;
        draft.publish().map(AnyArray::of_published)
    }

    fn raw(&self, dtype: &DType, shape: &[usize]) -> Result<AnyArray> {
        let (mut file, len) = self.open()?;
        let described = Described {
            dtype: dtype.clone(),
            shape: shape.into(),
            order: Order::C,
            swaps: Vec::new(),
        };
        let draft = self.receive(
            None,
            described,
            len,
            &mut Meter::new(self.progress, len),
            &mut file,
        );
        let draft = draft.map_err(|failure| failure.at(self.path, "read the file"))?;
        draft.publish().map(AnyArray::of_published)
    }
}

impl ArrayOptions<'_> {
    /// [`Manager::import_npy`] with these settings.
    ///
    /// # Errors
    ///
    /// Those of `Manager::import_npy`; `AlreadyExists` where the name is taken; `Name` where it
    /// cannot be one.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs.npy");
    /// let manager = ndshm::Manager::new()?;
    /// manager.zeros::<f64, _>(5)?.export_npy(&path)?;
    /// manager.options().name("xs").import_npy(&path)?;
    /// assert_eq!(manager.array::<f64, ndarray::Ix1>("xs")?.len(), 5);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn import_npy(&self, path: impl AsRef<Path>) -> Result<AnyArray> {
        Importer::new(self, path.as_ref()).npy()
    }

    /// [`Manager::import_raw`] with these settings.
    ///
    /// # Errors
    ///
    /// Those of [`import_npy`](Self::import_npy).
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs");
    /// let manager = ndshm::Manager::new()?;
    /// std::fs::write(&path, [1, 0, 0, 1]).unwrap();
    /// let xs = manager.options().name("xs").import_raw(&path, &"<u2".parse()?, &[2])?;
    /// assert_eq!(xs.downcast::<u16, ndarray::Ix1>()?.to_ndarray()?, ndarray::array![1, 256]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn import_raw(
        &self,
        path: impl AsRef<Path>,
        dtype: &DType,
        shape: &[usize],
    ) -> Result<AnyArray> {
        Importer::new(self, path.as_ref()).raw(dtype, shape)
    }

    /// [`Manager::import_npz`] with these settings. A name is put before the key of each array, be
    /// it empty: without one the arrays have no names.
    ///
    /// # Errors
    ///
    /// Those of [`import_npy`](Self::import_npy), also where a key makes no name. Then no array was
    /// made.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs.npz");
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?.into_any()?;
    /// ndshm::Export::new().npz(&[("a", &xs), ("b", &xs)], &path)?;
    /// manager.options().name("run7.").import_npz(&path)?;
    /// assert!(manager.contains("run7.a")? && manager.contains("run7.b")?);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    #[cfg(feature = "zip")]
    pub fn import_npz(&self, path: impl AsRef<Path>) -> Result<Vec<(String, AnyArray)>> {
        super::npz::import(&Importer::new(self, path.as_ref()))
            .map_err(|failure| failure.at(path.as_ref(), "read the file"))
    }

    /// [`Manager::import_safetensors`] with these settings. A name is put before the key of each
    /// array, be it empty: without one the arrays have no names.
    ///
    /// # Errors
    ///
    /// Those of [`import_npy`](Self::import_npy), also where a key makes no name. Then no array was
    /// made.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs.safetensors");
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?.into_any()?;
    /// ndshm::Export::new().safetensors(&[("a", &xs), ("b", &xs)], &path)?;
    /// manager.options().name("").import_safetensors(&path)?;
    /// assert!(manager.contains("a")? && manager.contains("b")?);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    #[cfg(feature = "safetensors")]
    pub fn import_safetensors(&self, path: impl AsRef<Path>) -> Result<Vec<(String, AnyArray)>> {
        super::safetensors::import(&Importer::new(self, path.as_ref()))
            .map_err(|failure| failure.at(path.as_ref(), "read the file"))
    }
}

impl Manager {
    /// A new array from a `.npy` file (versions 1.0 to 3.0), in the order that the file has.
    ///
    /// Elements go from the file into the mapping; numbers of the other byte order are turned round
    /// on the way. Others see the array when it is complete. What is interrupted leaves none: a
    /// killed process leaves a file under construction, which a [sweep](Self::sweep) deletes.
    ///
    /// # Errors
    ///
    /// `Transfer` where it is no such file, is cut off or followed by something, or has elements
    /// that cannot be ones here: Python objects, text, times, `longdouble`; `Io`; those of
    /// [`zeros`](Self::zeros). There is no new array then.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs.npy");
    /// let manager = ndshm::Manager::new()?;
    /// manager.from_elem((2, 3), 7i32)?.export_npy(&path)?;
    /// assert_eq!(manager.import_npy(&path)?.downcast::<i32, ndarray::Ix2>()?.read()?.sum(), 42);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn import_npy(&self, path: impl AsRef<Path>) -> Result<AnyArray> {
        self.options().import_npy(path)
    }

    /// A new array from a file of elements and nothing else, in C order, native-endian.
    ///
    /// # Errors
    ///
    /// Those of [`import_npy`](Self::import_npy).
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs");
    /// let manager = ndshm::Manager::new()?;
    /// std::fs::write(&path, [7; 12]).unwrap();
    /// assert_eq!(manager.import_raw(&path, &"|u1".parse()?, &[3, 4])?.shape(), [3, 4]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn import_raw(
        &self,
        path: impl AsRef<Path>,
        dtype: &DType,
        shape: &[usize],
    ) -> Result<AnyArray> {
        self.options().import_raw(path, dtype, shape)
    }

    /// New arrays from a `.npz` file, compressed or not, each with its key; all or none.
    ///
    /// # Errors
    ///
    /// Those of [`import_npy`](Self::import_npy); `Transfer` where a checksum differs.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs.npz");
    /// let manager = ndshm::Manager::new()?;
    /// manager.ones::<f64, _>((2, 3))?.export_npz(&path)?;
    /// let arrays = manager.import_npz(&path)?;
    /// assert_eq!((arrays[0].0.as_str(), arrays[0].1.shape()), ("arr_0", &[2, 3][..]));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    #[cfg(feature = "zip")]
    pub fn import_npz(&self, path: impl AsRef<Path>) -> Result<Vec<(String, AnyArray)>> {
        self.options().import_npz(path)
    }

    /// New arrays from a safetensors file, each with its key; all or none. The file's metadata are
    /// not taken over.
    ///
    /// # Errors
    ///
    /// Those of [`import_npy`](Self::import_npy); `Transfer` for tensors of types that cannot be
    /// elements here: 8-bit floats and smaller ones.
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
    pub fn import_safetensors(&self, path: impl AsRef<Path>) -> Result<Vec<(String, AnyArray)>> {
        self.options().import_safetensors(path)
    }
}

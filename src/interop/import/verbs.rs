//! The verbs that make arrays, one for each format of a file and of a stream.

use super::Import;
#[cfg(feature = "zip")]
use crate::interop::npz;
#[cfg(feature = "safetensors")]
use crate::interop::safetensors;
use crate::{
    array::any::AnyArray,
    element::dtype::DType,
    error::{Error, Result},
    interop::{
        described::Described,
        failure::{Failure, STREAM, reading},
        input::Input,
        meter::Meter,
        npy,
        target::{self, Target},
    },
    manager::Manager,
};
#[cfg(any(feature = "zip", feature = "safetensors"))]
use crate::{
    format::name::ArrayName,
    interop::{import::Imported, target::Taken},
};
use std::{io::Read, path::Path};

impl Import<'_> {
    /// Makes an array from a `.npy` file (versions 1.0 to 3.0), in the order that the file has.
    ///
    /// Text of fixed width, times, `longdouble` and structs with fields of these are stored as
    /// other element types, and the attribute `numpy.dtype` keeps NumPy's type: see
    /// [`NumpyDType`](crate::NumpyDType). An [export](crate::Export::npy) writes that type again,
    /// and Python's `ndshm.open` gives it to the elements. Titles of fields are not kept. Elements
    /// without bytes, or of more than 1 MiB, become bytes along a further axis.
    ///
    /// # Errors
    ///
    /// `Transfer` where the file is not a `.npy` file, is cut off or goes on after the elements, or
    /// has Python objects as elements; `AlreadyExists` where the name is taken; `Name` where it
    /// cannot be one, and where a prefix or keys were given; `Io`; those of [`Manager::zeros`].
    /// Then there is no new array.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Export, Import};
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs.npy");
    /// let manager = ndshm::Manager::new()?;
    /// Export::new().npy(&manager.from_elem((2, 3), 7i32)?, &path)?;
    /// let xs = Import::new().npy(&manager, &path)?.downcast::<i32, ndarray::Ix2>()?;
    /// assert_eq!(xs.read()?.sum(), 42);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn npy(&self, manager: &Manager, path: impl AsRef<Path>) -> Result<AnyArray> {
        let path = path.as_ref();
        self.read_npy(manager, path, || Input::open(path))
    }

    /// Makes an array from a `.npy` file in a stream: a pipe, a socket, a slice. It takes as many
    /// bytes as the file has, so another file may follow.
    ///
    /// # Errors
    ///
    /// Those of [`npy`](Self::npy); their path is `stream`. Then the stream has lost some bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Export, Import};
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let mut bytes = Vec::new();
    /// for n in [3, 4] {
    ///     Export::new().npy_to(&manager.zeros::<f64, _>(n)?, &mut bytes)?;
    /// }
    /// let mut stream = &bytes[..];
    /// assert_eq!(Import::new().npy_from(&manager, &mut stream)?.shape(), [3]);
    /// assert_eq!(Import::new().npy_from(&manager, &mut stream)?.shape(), [4]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn npy_from(&self, manager: &Manager, mut input: impl Read) -> Result<AnyArray> {
        self.read_npy(manager, Path::new(STREAM), || Ok(Input::Reader(&mut input)))
    }

    fn read_npy<'i>(
        &self,
        manager: &Manager,
        path: &Path,
        open: impl FnOnce() -> Result<Input<'i>>,
    ) -> Result<AnyArray> {
        self.single(manager, path, open, |input| npy::read_header(input))
    }

    /// Makes an array from a file of elements and nothing else, in C order, native-endian.
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
    /// std::fs::write(&path, [1, 0, 0, 1]).unwrap();
    /// let xs = ndshm::Import::new().name("xs").raw(&manager, &path, &"<u2".parse()?, &[2])?;
    /// assert_eq!(xs.downcast::<u16, ndarray::Ix1>()?.to_ndarray()?, ndarray::array![1, 256]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn raw(
        &self,
        manager: &Manager,
        path: impl AsRef<Path>,
        dtype: &DType,
        shape: &[usize],
    ) -> Result<AnyArray> {
        let path = path.as_ref();
        self.read_raw(manager, path, || Input::open(path), dtype, shape)
    }

    /// Makes an array from the elements that come next in a stream, as
    /// [`npy_from`](Self::npy_from) does.
    ///
    /// # Errors
    ///
    /// Those of [`npy_from`](Self::npy_from).
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Element, Import};
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = Import::new().raw_from(&manager, &[1, 2, 3, 4][..], &u8::DTYPE, &[2, 2])?;
    /// assert_eq!(xs.read_bytes()?, [1, 2, 3, 4]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn raw_from(
        &self,
        manager: &Manager,
        mut input: impl Read,
        dtype: &DType,
        shape: &[usize],
    ) -> Result<AnyArray> {
        self.read_raw(
            manager,
            Path::new(STREAM),
            || Ok(Input::Reader(&mut input)),
            dtype,
            shape,
        )
    }

    fn read_raw<'i>(
        &self,
        manager: &Manager,
        path: &Path,
        open: impl FnOnce() -> Result<Input<'i>>,
        dtype: &DType,
        shape: &[usize],
    ) -> Result<AnyArray> {
        let described = Described::native(dtype.clone(), shape.into());
        self.single(manager, path, open, |_| Ok((described, 0)))
    }

    /// Makes arrays from a `.npz` file, compressed or not, each with its key; all or none.
    ///
    /// # Errors
    ///
    /// Those of [`npy`](Self::npy), but it is a name instead of a prefix that gives `Name`;
    /// `Transfer` where a checksum differs, and with all reasons where arrays cannot be taken. Then
    /// there is no new array.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Export, Import};
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs.npz");
    /// let manager = ndshm::Manager::new()?;
    /// Export::new().npz(&[("xs", &manager.ones::<f64, _>((2, 3))?)], &path)?;
    /// let arrays = Import::new().npz(&manager, &path)?.arrays;
    /// assert_eq!((arrays[0].0.as_str(), arrays[0].1.shape()), ("xs", &[2, 3][..]));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    #[cfg(feature = "zip")]
    pub fn npz(&self, manager: &Manager, path: impl AsRef<Path>) -> Result<Imported> {
        let path = path.as_ref();
        self.read_npz(manager, path, || Input::open(path))
    }

    /// Makes an array for each entry of a `.npz` file in a stream, which it reads to its end, into
    /// a temporary file (`TMPDIR`): the directory of such a file stands at its end.
    ///
    /// # Errors
    ///
    /// Those of [`npz`](Self::npz); their path is `stream`.
    ///
    /// # Examples
    ///
    /// See [`Export::npz_to`](crate::Export::npz_to).
    #[cfg(feature = "zip")]
    pub fn npz_from(&self, manager: &Manager, mut input: impl Read) -> Result<Imported> {
        self.read_npz(manager, Path::new(STREAM), || Ok(Input::Reader(&mut input)))
    }

    #[cfg(feature = "zip")]
    fn read_npz<'i>(
        &self,
        manager: &Manager,
        path: &Path,
        open: impl FnOnce() -> Result<Input<'i>>,
    ) -> Result<Imported> {
        self.several(manager, path, open, |target, input| {
            let file = input
                .into_file()
                .map_err(Error::io(path, "spool the file"))?;
            npz::read(&target, &self.selection, self.progress, file)
        })
    }

    /// Makes arrays from a safetensors file, each with its key; all or none.
    ///
    /// The metadata of the file become the attribute `safetensors.metadata` of each array, a map of
    /// texts, which an [export](crate::Export::safetensors) writes again. Metadata of more than
    /// 32 KiB are left and listed.
    ///
    /// # Errors
    ///
    /// Those of [`npy`](Self::npy), but it is a name instead of a prefix that gives `Name`;
    /// `Transfer` with all reasons where tensors cannot be taken (floats of 8 bits and fewer). Then
    /// there is no new array.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Export, Import};
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs.safetensors");
    /// let manager = ndshm::Manager::new()?;
    /// Export::new().safetensors(&[("xs", &manager.ones::<f64, _>((2, 3))?)], &path)?;
    /// Import::new().prefix("").safetensors(&manager, &path)?;
    /// assert_eq!(manager.array_any("xs")?.shape(), [2, 3]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    #[cfg(feature = "safetensors")]
    pub fn safetensors(&self, manager: &Manager, path: impl AsRef<Path>) -> Result<Imported> {
        let path = path.as_ref();
        self.read_safetensors(manager, path, || Input::open(path))
    }

    /// Makes an array for each tensor of a safetensors file in a stream, as
    /// [`npy_from`](Self::npy_from) does.
    ///
    /// # Errors
    ///
    /// Those of [`safetensors`](Self::safetensors); their path is `stream`.
    ///
    /// # Examples
    ///
    /// See [`Export::safetensors_to`](crate::Export::safetensors_to).
    #[cfg(feature = "safetensors")]
    pub fn safetensors_from(&self, manager: &Manager, mut input: impl Read) -> Result<Imported> {
        self.read_safetensors(manager, Path::new(STREAM), || Ok(Input::Reader(&mut input)))
    }

    #[cfg(feature = "safetensors")]
    fn read_safetensors<'i>(
        &self,
        manager: &Manager,
        path: &Path,
        open: impl FnOnce() -> Result<Input<'i>>,
    ) -> Result<Imported> {
        self.several(manager, path, open, |target, mut input| {
            safetensors::read(target, &self.selection, self.progress, &mut input)
        })
    }

    /// Imports the array of a file of one array. `describe` reads up to the elements, and returns
    /// how many bytes follow.
    fn single<'i>(
        &self,
        manager: &Manager,
        path: &Path,
        open: impl FnOnce() -> Result<Input<'i>>,
        describe: impl FnOnce(&mut dyn Read) -> Result<(Described, usize), Failure>,
    ) -> Result<AnyArray> {
        if let Some(prefix) = self.prefix.as_ref().or(self.selection.only.first()) {
            return Err(Error::Name {
                name: prefix.clone(),
                reason: "the file has one array and no keys: give a name, not a prefix or keys",
            });
        }
        let target = self.target(manager, self.name.as_deref());
        let mut input = open()?;
        let (described, header_len) = describe(&mut input).map_err(reading(path))?;
        // A stream has as many bytes as come: fewer are noticed when they are read.
        let left = match input.len() {
            Some(len) => len.saturating_sub(header_len as u64),
            None => described.byte_len(),
        };
        let mut meter = Meter::new(self.progress, left);
        let draft = target
            .receive(None, described, left, &mut meter, &mut input)
            .map_err(reading(path))?;
        input.finish().map_err(reading(path))?;
        target::publish(draft)
    }

    /// Imports the arrays of a file of several arrays, all or none. `read` makes the drafts.
    #[cfg(any(feature = "zip", feature = "safetensors"))]
    fn several<'i>(
        &self,
        manager: &Manager,
        path: &Path,
        open: impl FnOnce() -> Result<Input<'i>>,
        read: impl FnOnce(Target<'_>, Input<'i>) -> Result<Taken, Failure>,
    ) -> Result<Imported> {
        let target = self.container(manager)?;
        let (drafts, left) = read(target, open()?).map_err(reading(path))?;
        let arrays = target::publish_all(drafts)?;
        Ok(Imported { arrays, left })
    }

    /// The target for a file of several arrays.
    #[cfg(any(feature = "zip", feature = "safetensors"))]
    fn container<'t>(&'t self, manager: &'t Manager) -> Result<Target<'t>> {
        if let Some(name) = &self.name {
            return Err(Error::Name {
                name: name.clone(),
                reason: "the file has an array for each of its keys: give a prefix, not a name",
            });
        }
        // Keys are escaped, but what the caller chose is not.
        if let Some(prefix) = self.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
            ArrayName::parse(format!("{prefix}-"))?;
        }
        Ok(self.target(manager, self.prefix.as_deref()))
    }

    fn target<'t>(&'t self, manager: &'t Manager, name: Option<&'t str>) -> Target<'t> {
        Target {
            member: manager.member(),
            name,
            labels: &self.labels,
            dtype: self.dtype.as_ref(),
            extras: Vec::new(),
        }
    }
}

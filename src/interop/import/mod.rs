//! The builder that makes arrays from files of other formats: its settings here, in `verbs` the
//! calls that read.

mod verbs;

use crate::{
    array::{Labels, any::AnyArray},
    element::dtype::DType,
    error::Result,
    format::attributes,
    interop::{
        meter::Progress,
        selection::{Left, Selection},
    },
    scope::Scope,
};
use serde::Serialize;

/// Settings for an import, and the verbs that make arrays from files of other formats.
///
/// [`Export`](crate::Export) is the way back. The settings are those of
/// [`ArrayOptions`](crate::ArrayOptions), for the new arrays, and a few for the file.
///
/// Elements go from the file into the mapping; numbers of the other byte order are swapped on the
/// way. Other processes see an array only when it is complete. An import that fails makes no array.
/// A killed process leaves a file under construction, which a [sweep](crate::Manager::sweep)
/// deletes.
///
/// # Examples
///
/// One array, with a name and attributes:
///
/// ```
/// use ndshm::{Export, Import};
/// use std::collections::BTreeMap;
///
/// # let scratch = tempfile::tempdir().unwrap();
/// # let path = scratch.path().join("frames.npy");
/// let manager = ndshm::Manager::new()?;
/// Export::new().npy(&manager.zeros::<u8, _>((480, 640))?, &path)?;
/// let attrs = BTreeMap::from([("camera", "left")]);
/// let frames = Import::new().name("frames").attrs(&attrs)?.npy(&manager, &path)?;
/// assert_eq!((frames.name().as_deref(), frames.shape()), (Some("frames"), &[480, 640][..]));
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Import<'a> {
    name: Option<String>,
    prefix: Option<String>,
    /// All but the name.
    labels: Labels,
    dtype: Option<DType>,
    selection: Selection,
    progress: Progress<'a>,
}

/// The arrays that were made of a file of several arrays.
///
/// It is an iterator of the arrays with their keys, for callers that leave nothing.
#[derive(Debug)]
#[non_exhaustive]
pub struct Imported {
    /// Each array with its key, in the order of the file.
    pub arrays: Vec<(String, AnyArray)>,
    /// The arrays that were left; see [`Import::skip_unsupported`].
    pub left: Vec<Left>,
}

impl IntoIterator for Imported {
    type Item = (String, AnyArray);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.arrays.into_iter()
    }
}

impl<'a> Import<'a> {
    /// The default settings: arrays without names or attributes, of any type that the file has.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of the array, for a file of one array; see
    /// [`ArrayOptions::name`](crate::ArrayOptions::name). For a file of several arrays, use
    /// [`prefix`](Self::prefix).
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Names each array of a `.npz` or safetensors file by this prefix and its key. The prefix may
    /// be empty; without one the arrays have no names.
    ///
    /// Characters of keys that a name cannot have are percent-encoded (`a/b` becomes `a%2Fb`, and
    /// `%` becomes `%25`), a long key is cut, and [`AnyArray::key`] gives the key back.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "zip")] {
    /// use ndshm::{Export, Import};
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("run7.npz");
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// Export::new().npz(&[("a", &xs), ("b", &xs)], &path)?;
    /// Import::new().prefix("run7.").npz(&manager, &path)?;
    /// assert!(manager.contains("run7.a")? && manager.contains("run7.b")?);
    /// # }
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// The scope of each array; see [`ArrayOptions::scope`](crate::ArrayOptions::scope).
    pub fn scope(mut self, scope: Scope) -> Self {
        self.labels.scope = Some(scope);
        self
    }

    /// The attributes of each array; see [`ArrayOptions::attrs`](crate::ArrayOptions::attrs).
    ///
    /// # Errors
    ///
    /// `Attrs` where they do not serialize as a map with text keys.
    pub fn attrs(mut self, attrs: &impl Serialize) -> Result<Self> {
        self.labels.attrs = Some(attributes::to_value(attrs)?);
        Ok(self)
    }

    /// The names of the axes of each array; see
    /// [`ArrayOptions::axis_names`](crate::ArrayOptions::axis_names).
    pub fn axis_names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.labels.axis_names = names.into_iter().map(|name| Some(name.into())).collect();
        self
    }

    /// The element type that the file must have. Raw bytes of the same size are taken for elements
    /// of this type.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Export, Import};
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs.npy");
    /// let manager = ndshm::Manager::new()?;
    /// let bfloat16 = "bfloat16".parse()?;
    /// Export::new().npy(&manager.zeros_any(&bfloat16, &[5])?, &path)?;
    /// // NumPy has no such type.
    /// assert_eq!(Import::new().npy(&manager, &path)?.dtype().to_string(), "|V2");
    /// assert_eq!(*Import::new().dtype(&bfloat16).npy(&manager, &path)?.dtype(), bfloat16);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn dtype(mut self, dtype: &DType) -> Self {
        self.dtype = Some(dtype.clone());
        self
    }

    /// Takes only the arrays with these keys of a `.npz` or safetensors file. A key may be a
    /// pattern as for file names in a shell: `*`, `?`, `[0-9]`, `[!0-9]`. Nothing else of the file
    /// is read.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "zip")] {
    /// use ndshm::{Export, Import};
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("all.npz");
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// Export::new().npz(&[("run1/a", &xs), ("run1/b", &xs), ("run2/a", &xs)], &path)?;
    /// let read = Import::new().only(["run1/*"]).npz(&manager, &path)?;
    /// assert_eq!(read.arrays.len(), 2);
    /// assert!(Import::new().only(["run3/*"]).npz(&manager, &path).is_err());
    /// # }
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn only<K: Into<String>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.selection.only = keys.into_iter().map(Into::into).collect();
        self
    }

    /// Leaves the arrays of a `.npz` or safetensors file that cannot be arrays here, and lists them
    /// in [`Imported::left`]. Without this setting the import fails, and its error lists them.
    ///
    /// Such are Python objects, entries that are no `.npy` files, encrypted entries, methods of
    /// compression other than deflate, and element types that the library lacks. A file that is
    /// damaged is an error in any case.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "safetensors")] {
    /// use ndshm::Import;
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("x.safetensors");
    /// let json = r#"{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
    ///     "y":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[1,2]}}"#;
    /// # let len = json.len().to_le_bytes();
    /// # std::fs::write(&path, [&len, json.as_bytes(), &[7, 8]].concat()).unwrap();
    /// let manager = ndshm::Manager::new()?;
    /// let read = Import::new().skip_unsupported().safetensors(&manager, &path)?;
    /// assert_eq!((read.arrays[0].0.as_str(), read.left[0].key.as_str()), ("x", "y"));
    /// assert!(Import::new().safetensors(&manager, &path).is_err());
    /// # }
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn skip_unsupported(mut self) -> Self {
        self.selection.skips = true;
        self
    }

    /// Calls a function every few megabytes, in this thread, with the bytes read so far and the
    /// bytes to read.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Export, Import};
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("xs.npy");
    /// let manager = ndshm::Manager::new()?;
    /// Export::new().npy(&manager.zeros::<f64, _>(1000)?, &path)?;
    /// let show = |done, total| eprintln!("{done} of {total} bytes");
    /// Import::new().progress(&show).npy(&manager, &path)?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn progress(mut self, progress: &'a (dyn Fn(u64, u64) + Sync)) -> Self {
        self.progress = Some(progress);
        self
    }
}

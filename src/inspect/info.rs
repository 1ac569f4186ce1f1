//! The description of an array in its file, for people and programs that do not open it.

use crate::{
    element::dtype::DType,
    error::{Error, Result},
    format::{attributes, header::Header, id::ArrayId, kind::ArrayKind, name},
    handle::Handle,
    layout::Order,
    scope::Scope,
    segment,
    store::listing,
};
use ciborium::Value;
use serde::de::DeserializeOwned;
use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// The description of an array, read from its file without mapping it.
///
/// # Examples
///
/// ```
/// let manager = ndshm::Manager::new()?;
/// manager.options().name("xs").zeros::<f64, _>((3, 4))?;
/// for info in manager.list()? {
///     println!(
///         "{:?} {} {:?}, {} bytes, made by process {}",
///         info.name, info.dtype, info.shape, info.byte_len, info.pid
///     );
/// }
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ArrayInfo {
    /// The array's identity.
    pub id: ArrayId,
    /// Its chosen name, if it has one.
    pub name: Option<String>,
    /// Its file.
    pub path: PathBuf,
    /// Whether it is an array of fixed shape, a ring or an array that grows.
    pub kind: ArrayKind,
    /// The type of its elements.
    pub dtype: DType,
    /// The lengths of its axes. The first one of an array that grows is its length at this moment.
    pub shape: Vec<usize>,
    /// The most rows of an array that grows; `None` of another kind.
    pub max_len: Option<usize>,
    /// The order of its elements in memory.
    pub order: Order,
    /// The names of its axes: one entry for each, or none at all.
    pub axis_names: Vec<Option<String>>,
    /// Bytes of its elements.
    pub byte_len: usize,
    /// When it was made.
    pub created: SystemTime,
    /// The process that made it.
    pub pid: u32,
    /// The software that made it.
    pub software: String,
    attrs: Option<Value>,
    /// That of the file, which may be reused for another array.
    pub(crate) generation: u64,
}

impl ArrayInfo {
    /// Reads the description of the array in the file at `path`.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none; `Released`; `Header` and `Untrusted` if the file is not an
    /// array.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert_eq!(ndshm::ArrayInfo::at(xs.path())?.shape, [5]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn at(path: impl AsRef<Path>) -> Result<Self> {
        Self::read(path.as_ref(), None)
    }

    /// A handle to the whole array, to read and to write, that claims nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("xs").ones::<f64, _>(5)?;
    /// let handle = manager.list()?[0].handle();
    /// assert_eq!(handle.open::<f64, ndarray::Ix1>()?.read()?.sum(), 5.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn handle(&self) -> Handle {
        Handle::new(
            &self.path,
            self.id,
            self.dtype.fingerprint(),
            true,
            Scope::Store,
            None,
        )
    }

    /// Reads the description of the array at `path`.
    pub(crate) fn read(path: &Path, expected: Option<ArrayId>) -> Result<Self> {
        let found = segment::read_header(path, expected)?;
        let Header {
            id,
            spec,
            kind,
            axis_names,
            attrs,
            created,
        } = found.parsed.header;
        let (dtype, mut shape, order) = spec.into_parts();
        let max_len = match (found.rows, shape.first_mut()) {
            (Some(rows), Some(first)) => Some(std::mem::replace(first, rows)),
            _ => None,
        };
        let byte_len = shape.iter().product::<usize>() * dtype.itemsize();
        Ok(Self {
            id,
            name: name::of(path),
            path: path.into(),
            kind: kind.public(),
            dtype,
            shape,
            max_len,
            order,
            axis_names,
            byte_len,
            created: SystemTime::UNIX_EPOCH + Duration::from_nanos(created.ns),
            pid: created.pid,
            software: created.software.as_ref().into(),
            attrs,
            generation: found.generation,
        })
    }

    /// The array's attributes, as any type that deserializes from a map; an empty map if it has
    /// none.
    ///
    /// # Errors
    ///
    /// `Attrs` if they do not fit the type.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.options().attrs(&BTreeMap::from([("unit", "m/s")]))?.zeros::<f64, _>(5)?;
    /// assert_eq!(xs.handle().info()?.attrs::<BTreeMap<String, String>>()?["unit"], "m/s");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn attrs<A: DeserializeOwned>(&self) -> Result<A> {
        attributes::from_value(self.attrs.as_ref())
    }
}

/// The descriptions of the arrays in a store's directory, oldest first, and the reasons why others
/// of its arrays cannot be read, in the order of their paths. Files that are not the store's are
/// left out.
pub(crate) fn of_store(directory: &Path) -> Result<(Vec<ArrayInfo>, Vec<Error>)> {
    let strays = listing::strays(directory)?;
    let is_of_store = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        strays
            .binary_search_by(|stray| stray.as_os_str().cmp(name))
            .is_err()
    };
    let mut paths = listing::arrays(directory)?;
    paths.retain(is_of_store);
    paths.sort();
    let (mut infos, mut errors) = (Vec::new(), Vec::new());
    for path in paths {
        match ArrayInfo::at(path) {
            Ok(info) => infos.push(info),
            // Deleted since the directory was read, or about to be.
            Err(Error::NotFound { .. } | Error::Released { .. }) => {}
            Err(error) => errors.push(error),
        }
    }
    infos.sort_by_key(|info| (info.created, info.id));
    Ok((infos, errors))
}

impl Handle {
    /// Reads the description of the array from its file, without opening it. An array that was
    /// [renamed](crate::Manager::rename) since is found by its id.
    ///
    /// # Errors
    ///
    /// `Released` if the file is gone, `PathReused` if another array took its path, `Header` and
    /// `Untrusted` if the file is not an array.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f32, _>((3, 4))?;
    /// let info = xs.handle().info()?;
    /// assert_eq!((info.dtype.to_string().as_str(), info.shape.as_slice()), ("<f4", &[3, 4][..]));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn info(&self) -> Result<ArrayInfo> {
        match ArrayInfo::read(self.path(), Some(self.id())) {
            Err(error @ (Error::Released { .. } | Error::PathReused { .. })) => {
                match segment::moved(self.path(), self.id()) {
                    Some(path) => ArrayInfo::read(&path, Some(self.id())),
                    None => Err(error),
                }
            }
            found => found,
        }
    }
}

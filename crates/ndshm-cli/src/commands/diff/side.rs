//! One of the two arrays that are compared: of a store, or of a file of another format.

use crate::{
    context::Context,
    elements::reading::Reading,
    failure::{Code, Failure},
    target::{self, Target},
};
use ciborium::Value as Cbor;
use ndshm::{AnyArray, Import, Imported, Manager, Scope};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// An array that is compared.
pub(super) struct Side {
    pub(super) array: AnyArray,
    pub(super) reading: Reading,
    /// The attributes of the array; `None` for a file, whose format has none.
    pub(super) attrs: Option<Vec<(Cbor, Cbor)>>,
    /// The store that the array of a file is in, deleted when it is dropped.
    _store: Option<Manager>,
}

/// The formats of files that are compared.
#[derive(Clone, Copy)]
enum Format {
    Npy,
    Npz,
    Safetensors,
}

impl Format {
    /// The format that the first bytes of a file show; `None` also if there is no such file.
    fn of(path: &Path) -> Option<Self> {
        if !path.metadata().ok()?.is_file() {
            return None;
        }
        let mut start = Vec::new();
        File::open(path)
            .ok()?
            .take(9)
            .read_to_end(&mut start)
            .ok()?;
        match &start[..] {
            start if start.starts_with(b"\x93NUMPY") => Some(Self::Npy),
            start if start.starts_with(b"PK") => Some(Self::Npz),
            [_, _, _, _, _, _, _, _, b'{'] => Some(Self::Safetensors),
            _ => None,
        }
    }
}

impl Side {
    /// The array of a name, path or handle, or of a file: `FILE`, `FILE:KEY`, each with an optional
    /// slice.
    pub(super) fn open(context: &Context, text: &str, unlocked: bool) -> Result<Self, Failure> {
        // A name without a slash is that of an array first.
        let found = match text.contains('/') {
            true if file_of(text)?.is_some() => None,
            _ => Some(Target::find(context, text)),
        };
        match (found, file_of(text)?) {
            (Some(Ok(target)), _) => Self::of_array(&target, unlocked),
            (_, Some(file)) => file.open(),
            (Some(Err(failure)), None) => Err(failure),
            (None, None) => unreachable!("the text names a file"),
        }
    }

    fn of_array(target: &Target, unlocked: bool) -> Result<Self, Failure> {
        let (array, reading) = target.look(unlocked)?;
        let attrs: Cbor = target.info()?.attrs()?;
        Ok(Self {
            array,
            reading,
            attrs: Some(attrs.into_map().unwrap_or_default()),
            _store: None,
        })
    }
}

/// A file, and the part of it that is compared.
struct Named<'a> {
    path: PathBuf,
    format: Format,
    key: Option<&'a str>,
    slice: Option<target::slice::Slice>,
}

/// The file that a text names, if there is one of a known format.
fn file_of(text: &str) -> Result<Option<Named<'_>>, Failure> {
    let whole = |text: &str| Format::of(Path::new(text)).map(|format| (text.into(), format));
    if let Some((path, format)) = whole(text) {
        return Ok(Some(Named {
            path,
            format,
            key: None,
            slice: None,
        }));
    }
    let (rest, slice) = target::split(text)?;
    let found = whole(rest).map(|file| (file, None)).or_else(|| {
        let (file, key) = rest.rsplit_once(':')?;
        Some((whole(file)?, Some(key)))
    });
    Ok(found.map(|((path, format), key)| Named {
        path,
        format,
        key,
        slice,
    }))
}

impl Named<'_> {
    /// Copies the array into a store of this process, so that files of every format are read alike.
    fn open(self) -> Result<Side, Failure> {
        let store = Manager::new()?;
        let import = Import::new().scope(Scope::Local);
        let import = match self.key {
            Some(key) => import.only([key]),
            None => import,
        };
        let array = match (self.format, self.key) {
            (Format::Npy, None) => import.npy(&store, &self.path)?,
            (Format::Npy, Some(_)) => {
                return Err(Failure::usage(format!(
                    "{}: a .npy file has one array and no keys",
                    self.path.display()
                )));
            }
            (Format::Npz, _) => self.only_one(import.npz(&store, &self.path)?)?,
            (Format::Safetensors, _) => self.only_one(import.safetensors(&store, &self.path)?)?,
        };
        let array = match &self.slice {
            Some(slice) => slice.of(&array)?,
            None => array,
        };
        Ok(Side {
            array,
            reading: Reading::Locked,
            attrs: None,
            _store: Some(store),
        })
    }

    fn only_one(&self, imported: Imported) -> Result<AnyArray, Failure> {
        let keys: Vec<_> = imported.arrays.iter().map(|(key, _)| key.clone()).collect();
        let mut arrays = imported.arrays.into_iter();
        match (arrays.next(), arrays.next()) {
            (Some((_, array)), None) => Ok(array),
            (None, _) => Err(Failure::new(
                Code::NotFound,
                format!("{}: it has no arrays", self.path.display()),
            )),
            (Some((first, _)), _) => Err(Failure::usage(format!(
                "{}: it has {} arrays: choose one by its key, {}:{first}",
                self.path.display(),
                keys.len(),
                self.path.display()
            ))),
        }
    }
}

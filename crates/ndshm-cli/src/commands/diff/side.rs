//! One of the two arrays that are compared: of a store, or of a file of another format.

use super::file::{Format, Stored};
use crate::{
    context::Context,
    elements::{chunks::Piece, reading::Reading, stream::Stream},
    failure::{Code, Failure, words_of},
    target::{
        Target,
        selector::{self, Selector},
    },
};
use ciborium::Value as Cbor;
use ndshm::{AnyArray, DType, Import, Imported, Manager, Order, Scope};
use std::path::{Path, PathBuf};

/// An array that is compared.
pub(super) struct Side {
    elements: Elements,
    /// The attributes of the array; `None` for a file, whose format has none.
    pub(super) attrs: Option<Vec<(Cbor, Cbor)>>,
    /// The store that the array of a file is in, deleted when it is dropped.
    _store: Option<Manager>,
}

/// The place of the elements.
enum Elements {
    Mapped(AnyArray, Reading),
    Stored(Stored, PathBuf),
}

/// Reads the pieces of one side.
pub(super) enum Pieces<'a> {
    Mapped(Stream<'a>),
    Stored(&'a mut Stored, &'a Path),
}

impl Pieces<'_> {
    /// The bytes of a piece in C order.
    pub(super) fn copied(&mut self, piece: &Piece) -> Result<&[u8], Failure> {
        match self {
            Self::Mapped(stream) => stream.copied(piece),
            Self::Stored(stored, path) => stored.copied(piece).map_err(|error| {
                let line = format!("{}: {}", path.display(), words_of(&error));
                Failure::new(Code::Failed, line)
            }),
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

    pub(super) fn shape(&self) -> &[usize] {
        match &self.elements {
            Elements::Mapped(array, _) => array.shape(),
            Elements::Stored(stored, _) => &stored.shape,
        }
    }

    pub(super) fn dtype(&self) -> &DType {
        match &self.elements {
            Elements::Mapped(array, _) => array.dtype(),
            Elements::Stored(stored, _) => &stored.dtype,
        }
    }

    /// The names of the axes; empty where none has one.
    pub(super) fn axis_names(&self) -> &[Option<String>] {
        match &self.elements {
            Elements::Mapped(array, _) if array.axis_names().iter().any(Option::is_some) => {
                array.axis_names()
            }
            _ => &[],
        }
    }

    pub(super) fn reading(&self) -> Reading {
        match &self.elements {
            Elements::Mapped(_, reading) => *reading,
            Elements::Stored(..) => Reading::Locked,
        }
    }

    /// Whether the elements follow each other in C order.
    pub(super) fn is_contiguous(&self) -> bool {
        match &self.elements {
            Elements::Mapped(array, _) => array.order() == Some(Order::C),
            Elements::Stored(..) => true,
        }
    }

    pub(super) fn pieces(&mut self) -> Pieces<'_> {
        match &mut self.elements {
            Elements::Mapped(array, reading) => Pieces::Mapped(Stream::new(array, *reading)),
            Elements::Stored(stored, path) => Pieces::Stored(stored, path),
        }
    }

    fn of_array(target: &Target, unlocked: bool) -> Result<Self, Failure> {
        let (array, reading) = target.look(unlocked)?;
        let attrs: Cbor = target.info()?.attrs()?;
        Ok(Self {
            elements: Elements::Mapped(array, reading),
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
    selector: Option<Selector>,
}

/// The file that a text names, if there is one of a known format. The name of a file is as long as
/// possible, a key as short as possible: brackets behind it are a slice where they can be one.
fn file_of(text: &str) -> Result<Option<Named<'_>>, Failure> {
    let whole = |text: &str| Format::of(Path::new(text)).map(|format| (text.into(), format));
    let mut splits: Vec<_> = [(text, "")]
        .into_iter()
        .chain(selector::splits(text))
        .collect();
    let file = splits
        .iter()
        .find_map(|&(name, brackets)| Some((whole(name)?, None, brackets)));
    splits.reverse();
    let with_key = || {
        splits.into_iter().find_map(|(name, brackets)| {
            let (file, key) = name.rsplit_once(':')?;
            Some((whole(file)?, Some(key), brackets))
        })
    };
    let Some(((path, format), key, brackets)) = file.or_else(with_key) else {
        return Ok(None);
    };
    let selector = (!brackets.is_empty()).then(|| Selector::parse(brackets));
    Ok(Some(Named {
        path,
        format,
        key,
        selector: selector.transpose()?,
    }))
}

impl Named<'_> {
    /// Opens the array in the file. A slice of it, and an array that does not lie in the file as in
    /// memory, is copied into a store of this process first.
    fn open(self) -> Result<Side, Failure> {
        if self.selector.is_none()
            && let Some(stored) = Stored::find(&self.path, self.format, self.key)
        {
            return Ok(Side {
                elements: Elements::Stored(stored, self.path),
                attrs: None,
                _store: None,
            });
        }
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
        let array = match &self.selector {
            Some(selector) => selector.read(&array, Reading::Locked)?.0,
            None => array,
        };
        Ok(Side {
            elements: Elements::Mapped(array, Reading::Locked),
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

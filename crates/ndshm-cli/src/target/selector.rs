//! The part of an array that follows its name: slices and fields in brackets, as in NumPy:
//! `["position"][0:10, :2]`.

use super::slice::Slice;
use crate::{
    elements::{chunks, reading::Reading},
    failure::Failure,
};
use ndshm::{AnyArray, DType, Field, Manager};
use std::{cell::Cell, path::Path};

/// Slices and fields, in the order in which they are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Slice(Slice),
    Field {
        name: String,
        /// Shells take the quotes of `["id"]` away.
        is_quoted: bool,
    },
}

/// A pair of brackets.
#[derive(Debug, PartialEq, Eq)]
enum Group<'a> {
    Plain(&'a str),
    Quoted(String),
}

impl Selector {
    /// Parses the text behind a name: one pair of brackets or more.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let groups = groups(text)
            .ok_or_else(|| Failure::usage(format!("{text}: is no slice and no field")))?;
        let steps = groups.into_iter().map(|group| match group {
            Group::Quoted(name) => Ok(Step::Field {
                name,
                is_quoted: true,
            }),
            Group::Plain(inner) => match Slice::parse(inner) {
                Ok(slice) => Ok(Step::Slice(slice)),
                Err(_) if is_word(inner) => Ok(Step::Field {
                    name: inner.to_owned(),
                    is_quoted: false,
                }),
                Err(failure) => Err(failure),
            },
        });
        Ok(Self {
            steps: steps.collect::<Result<_, _>>()?,
        })
    }

    /// The view of an array that NumPy would return.
    pub(crate) fn of(&self, array: &AnyArray) -> Result<AnyArray, Failure> {
        self.take(array, |part, found| {
            Err(Failure::usage(format!(
                "[{:?}]: its elements lie in a packed struct of {} bytes, which is no multiple of \
                 their size, so no view has them alone: name the whole array; ndshm cp copies the \
                 field",
                found.path,
                part.dtype().itemsize()
            )))
        })
    }

    /// The same to read its elements, and how they are read: a field that no view has alone is
    /// copied.
    pub(crate) fn read(
        &self,
        array: &AnyArray,
        reading: Reading,
    ) -> Result<(AnyArray, Reading), Failure> {
        let then = Cell::new(reading);
        let part = self.take(array, |part, found| {
            let copy = found.copy(part, then.get())?;
            if then.get() == Reading::Unlocked {
                then.set(Reading::Copied);
            }
            Ok(copy)
        })?;
        Ok((part, then.get()))
    }

    /// `packed` gives a field whose elements do not lie a multiple of their size apart.
    fn take(
        &self,
        array: &AnyArray,
        packed: impl Fn(&AnyArray, &Found) -> Result<AnyArray, Failure>,
    ) -> Result<AnyArray, Failure> {
        let mut part = array.view()?;
        for step in &self.steps {
            part = match step {
                Step::Slice(slice) => slice.of(&part)?,
                Step::Field { name, is_quoted } => {
                    let found = Found::of(part.dtype(), name, *is_quoted)?;
                    match found.is_packed(&part) {
                        true => packed(&part, &found)?,
                        false => found.view(&part)?,
                    }
                }
            };
        }
        Ok(part)
    }
}

/// A field that a type has, with its place in the elements.
struct Found<'a> {
    /// Its name, or its path, `deep.n`.
    path: &'a str,
    dtype: DType,
    /// In bytes.
    offset: usize,
}

impl<'a> Found<'a> {
    fn of(dtype: &DType, path: &'a str, is_quoted: bool) -> Result<Self, Failure> {
        let fields = dtype.fields();
        if fields.is_empty() {
            return Err(Failure::usage(match is_quoted {
                true => format!("[{path:?}]: elements of type {dtype} have no fields"),
                false => format!(
                    "[{path}]: {path:?} is no slice, and elements of type {dtype} have no fields: \
                     write slices as in NumPy, [0:10, ::2]"
                ),
            }));
        }
        let Some((offset, found)) = place_of(dtype, path) else {
            let names: Vec<_> = fields.iter().map(Field::name).collect();
            return Err(Failure::usage(format!(
                "[{path:?}]: there is no such field: the fields are {}",
                names.join(", ")
            )));
        };
        Ok(Self {
            path,
            dtype: found.clone(),
            offset,
        })
    }

    /// Whether no view has the elements alone: those of a view lie a multiple of their size apart.
    fn is_packed(&self, array: &AnyArray) -> bool {
        let mut leaf = self.dtype.clone();
        if self.is_array() {
            while let Some((_, element)) = leaf.subarray() {
                leaf = element;
            }
        }
        let size = leaf.itemsize().max(1) as isize;
        let axes = array.shape().iter().zip(array.byte_strides());
        axes.into_iter()
            .any(|(&len, stride)| len > 1 && stride % size != 0)
    }

    fn is_array(&self) -> bool {
        self.dtype.to_string().starts_with('(')
    }

    /// The items of a field of type `(3,)<f4` are further axes, as in NumPy.
    fn view(&self, array: &AnyArray) -> Result<AnyArray, Failure> {
        Ok(match self.is_array() {
            true => array.field_array(self.path)?,
            false => array.field(self.path)?,
        })
    }

    /// A copy of the field, read piece by piece. Its file has no name in the store any more when
    /// this returns, so a process that is killed later leaves nothing.
    fn copy(&self, array: &AnyArray, reading: Reading) -> Result<AnyArray, Failure> {
        const NAME: &str = "field";
        let len = self.dtype.itemsize();
        let alone = DType::structure([(NAME, self.dtype.clone(), 0)], len)?;
        let manager = Manager::open(array.path().parent().unwrap_or(Path::new("/")))?;
        let copy = manager.zeros_any(&alone, array.shape())?;
        for piece in chunks::of(array, chunks::PIECE) {
            let bytes = reading.bytes(&chunks::view(array, &piece)?)?;
            let elements = bytes.chunks_exact(array.dtype().itemsize());
            let field = elements.flat_map(|element| &element[self.offset..self.offset + len]);
            chunks::view(&copy, &piece)?.write_bytes(&field.copied().collect::<Vec<u8>>())?;
        }
        copy.release()?;
        Self {
            path: NAME,
            dtype: self.dtype.clone(),
            offset: 0,
        }
        .view(&copy)
    }
}

/// The offset and the type of a field, or of one by its path, `deep.n`.
fn place_of<'a>(dtype: &'a DType, path: &str) -> Option<(usize, &'a DType)> {
    dtype.fields().iter().find_map(|field| {
        let rest = path.strip_prefix(field.name())?;
        match rest.strip_prefix('.') {
            Some(rest) => {
                let (offset, found) = place_of(field.dtype(), rest)?;
                Some((field.offset() + offset, found))
            }
            None => rest.is_empty().then(|| (field.offset(), field.dtype())),
        }
    })
}

/// Whether brackets around it can be those of a field whose quotes a shell took away.
fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' '))
}

/// The ways to read a text as a name and the brackets behind it, the longest name first: a name may
/// contain brackets itself.
pub(crate) fn splits(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.rmatch_indices('[')
        .map(|(at, _)| text.split_at(at))
        .filter(|(_, rest)| groups(rest).is_some())
}

/// The pairs of brackets that a text consists of; `None` if it has anything else.
fn groups(mut text: &str) -> Option<Vec<Group<'_>>> {
    let mut groups = Vec::new();
    while !text.is_empty() {
        let inner = text.strip_prefix('[')?;
        let group = match inner.trim_start().chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let (name, rest) = quoted(inner.trim_start(), quote)?;
                text = rest.trim_start().strip_prefix(']')?;
                Group::Quoted(name)
            }
            _ => {
                let (inner, rest) = inner.split_once(']')?;
                text = rest;
                Group::Plain(inner).checked()?
            }
        };
        groups.push(group);
    }
    (!groups.is_empty()).then_some(groups)
}

impl Group<'_> {
    fn checked(self) -> Option<Self> {
        match self {
            Self::Plain(inner) if inner.contains('[') => None,
            group => Some(group),
        }
    }
}

/// The text between quotes, in which a backslash stands before a quote or a backslash, and the rest
/// behind them.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.push(chars.next()?.1),
            c if c == quote => return Some((name, &text[at + c.len_utf8()..])),
            c => name.push(c),
        }
    }
    None
}

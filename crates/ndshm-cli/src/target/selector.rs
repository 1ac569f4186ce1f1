//! The part of an array that follows its name: slices and fields in brackets, as in NumPy:
//! `["position"][0:10, :2]`.

use super::slice::Slice;
use crate::failure::Failure;
use ndshm::{AnyArray, DType, Field};

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
        let mut part = array.view()?;
        for step in &self.steps {
            part = match step {
                Step::Slice(slice) => slice.of(&part)?,
                Step::Field { name, is_quoted } => field(&part, name, *is_quoted)?,
            };
        }
        Ok(part)
    }
}

/// A field, with the items of a field of type `(3,)<f4` as further axes, as in NumPy.
fn field(array: &AnyArray, name: &str, is_quoted: bool) -> Result<AnyArray, Failure> {
    let dtype = array.dtype();
    let fields = dtype.fields();
    if fields.is_empty() {
        return Err(Failure::usage(match is_quoted {
            true => format!("[{name:?}]: elements of type {dtype} have no fields"),
            false => format!(
                "[{name}]: {name:?} is no slice, and elements of type {dtype} have no fields: \
                 write slices as in NumPy, [0:10, ::2]"
            ),
        }));
    }
    let Some(found) = field_type(dtype, name) else {
        let names: Vec<_> = fields.iter().map(Field::name).collect();
        return Err(Failure::usage(format!(
            "[{name:?}]: there is no such field: the fields are {}",
            names.join(", ")
        )));
    };
    Ok(match found.to_string().starts_with('(') {
        true => array.field_array(name)?,
        false => array.field(name)?,
    })
}

/// The type of a field, or of one by its path, `deep.n`.
fn field_type<'a>(dtype: &'a DType, path: &str) -> Option<&'a DType> {
    dtype.fields().iter().find_map(|field| {
        let rest = path.strip_prefix(field.name())?;
        match rest.strip_prefix('.') {
            Some(rest) => field_type(field.dtype(), rest),
            None => rest.is_empty().then(|| field.dtype()),
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

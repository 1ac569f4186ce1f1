//! NumPy's types from literals: the `descr` of a `.npy` file, and the attribute `numpy.dtype`.

use super::{
    Kind, NumpyDType, Part, Swap,
    literal::{self, Literal},
    typestr,
};
use std::collections::HashSet;

/// The most bytes of an element. NumPy has a limit of its own, about as high.
const MAX_BYTES: usize = i32::MAX as usize;
/// The most runs of numbers of the other byte order in an element. A short text can describe many.
const MAX_SWAPS: usize = 1 << 16;

/// The type of the attribute's text: a name, or the literal of a dictionary.
pub(super) fn attribute(text: &str) -> Result<NumpyDType, String> {
    let parsed = match text.starts_with(['{', '[']) {
        true => read(&literal::parse(text)?)?,
        false => read(&Literal::Text(text.into()))?,
    };
    match parsed {
        (dtype, swaps) if swaps.is_empty() => Ok(dtype),
        _ => Err(format!(
            "{text:.60} has the other byte order than the elements"
        )),
    }
}

/// The type of a literal, and the numbers of its elements that have the other byte order.
pub(crate) fn read(descr: &Literal) -> Result<(NumpyDType, Vec<Swap>), String> {
    match descr {
        Literal::Text(text) if text.starts_with('(') => packed(text),
        Literal::Text(text) => {
            let (dtype, swap) = typestr::parse(text)?;
            Ok((dtype, swap.into_iter().collect()))
        }
        Literal::List(entries) => list(entries),
        Literal::Dictionary(entries) => dictionary(entries),
        Literal::Tuple(parts) => match &parts[..] {
            [base, lengths] => array(read(base)?, lengths),
            _ => Err(unsupported()),
        },
        _ => Err(unsupported()),
    }
}

fn unsupported() -> String {
    "its 'descr' is not a supported element type".into()
}

/// The type of `(2,3)<f4`.
fn packed(text: &str) -> Result<(NumpyDType, Vec<Swap>), String> {
    let (dims, base) = text.split_once(')').ok_or_else(unsupported)?;
    let lengths = literal::parse(&format!("{dims})"))?;
    array(read(&Literal::Text(base.into()))?, &lengths)
}

/// The type of an array with these lengths of elements of a type.
fn array(
    (base, mut swaps): (NumpyDType, Vec<Swap>),
    lengths: &Literal,
) -> Result<(NumpyDType, Vec<Swap>), String> {
    let mut shape = match lengths {
        Literal::Tuple(lengths) | Literal::List(lengths) => {
            lengths.iter().map(size).collect::<Result<Vec<_>, _>>()?
        }
        one => vec![size(one)?],
    };
    let itemsize = base.itemsize();
    let count = shape.iter().try_fold(1usize, |n, &len| n.checked_mul(len));
    let Some(count) = count.filter(|n| n.saturating_mul(itemsize.max(1)) <= MAX_BYTES) else {
        return Err("it has elements that are too large".into());
    };
    if shape.is_empty() {
        return Ok((base, swaps));
    }
    swaps = match &swaps[..] {
        // All numbers of the array are neighbours.
        [swap] if swap.offset == 0 && swap.width * swap.count == itemsize => vec![Swap {
            count: swap.count * count,
            ..*swap
        }],
        [] => Vec::new(),
        many => repeated(many, itemsize, count)?,
    };
    // As NumPy does: an array of arrays is an array of more axes.
    let base = match base.0 {
        Kind::Array { shape: inner, base } => {
            shape.extend(inner);
            base
        }
        _ => base.into(),
    };
    Ok((NumpyDType(Kind::Array { shape, base }), swaps))
}

/// The swaps of `count` elements that follow each other.
fn repeated(swaps: &[Swap], itemsize: usize, count: usize) -> Result<Vec<Swap>, String> {
    check_swaps(swaps.len().saturating_mul(count))?;
    let moved = |i: usize| {
        swaps.iter().map(move |swap| Swap {
            offset: swap.offset + i * itemsize,
            ..*swap
        })
    };
    Ok((0..count).flat_map(moved).collect())
}

fn check_swaps(count: usize) -> Result<(), String> {
    match count <= MAX_SWAPS {
        true => Ok(()),
        false => Err(format!(
            "its elements have more than {MAX_SWAPS} fields in the other byte order"
        )),
    }
}

fn size(literal: &Literal) -> Result<usize, String> {
    match literal {
        Literal::Integer(n) if *n <= MAX_BYTES as u64 => Ok(*n as usize),
        _ => Err("its element type has a length or an offset that is none".into()),
    }
}

/// A struct as a `.npy` file has it: a list of fields, one behind the other.
fn list(entries: &[Literal]) -> Result<(NumpyDType, Vec<Swap>), String> {
    let mut made = Struct::default();
    for entry in entries {
        let (name, base, lengths) = field(entry)?;
        let mut dtype = read(base)?;
        if let Some(lengths) = lengths {
            dtype = array(dtype, lengths)?;
        }
        let itemsize = dtype.0.itemsize();
        let is_padding =
            name.is_empty() && matches!(base, Literal::Text(text) if text.contains('V'));
        if !is_padding {
            made.push(name, dtype, made.end)?;
        }
        made.end = made.end.saturating_add(itemsize);
    }
    let end = made.end;
    made.finish(end)
}

/// The name, the type and, for an array, the lengths of a field.
fn field(entry: &Literal) -> Result<(&str, &Literal, Option<&Literal>), String> {
    let Literal::Tuple(parts) = entry else {
        return Err("its 'descr' has a field that is not a tuple".into());
    };
    let (name, base, lengths) = match &parts[..] {
        [name, base] => (name, base, None),
        [name, base, lengths] => (name, base, Some(lengths)),
        _ => return Err("its 'descr' has a field that is not a tuple of two or three".into()),
    };
    let name = match name {
        // A title comes before the name.
        Literal::Tuple(names) => match &names[..] {
            [Literal::Text(_), name] => name,
            _ => name,
        },
        _ => name,
    };
    match name {
        Literal::Text(name) => Ok((name, base, lengths)),
        _ => Err("its 'descr' has a field without a name".into()),
    }
}

/// A struct as `numpy.dtype` takes it: lists of names, formats and offsets, and the size.
fn dictionary(entries: &[(Literal, Literal)]) -> Result<(NumpyDType, Vec<Swap>), String> {
    let value = |key: &str| {
        let is_key = |found: &Literal| matches!(found, Literal::Text(text) if text == key);
        entries
            .iter()
            .find(|(found, _)| is_key(found))
            .map(|(_, value)| value)
    };
    let lists = ["names", "formats", "offsets"].map(value);
    let (
        [
            Some(Literal::List(names)),
            Some(Literal::List(formats)),
            Some(Literal::List(offsets)),
        ],
        Some(itemsize),
        4,
    ) = (lists, value("itemsize"), entries.len())
    else {
        return Err("a struct needs names, formats, offsets and itemsize, and nothing else".into());
    };
    if names.len() != formats.len() || names.len() != offsets.len() {
        return Err("a struct needs as many names as formats and offsets".into());
    }
    let mut made = Struct::default();
    for ((name, format), offset) in names.iter().zip(formats).zip(offsets) {
        let Literal::Text(name) = name else {
            return Err("a field's name is not a text".into());
        };
        made.push(name, read(format)?, size(offset)?)?;
    }
    made.finish(size(itemsize)?)
}

/// The fields of a struct so far.
#[derive(Default)]
struct Struct {
    fields: Vec<Part>,
    names: HashSet<String>,
    swaps: Vec<Swap>,
    /// Where the next field of a list begins.
    end: usize,
}

impl Struct {
    fn push(
        &mut self,
        name: &str,
        (dtype, swaps): (NumpyDType, Vec<Swap>),
        offset: usize,
    ) -> Result<(), String> {
        if !self.names.insert(name.into()) {
            return Err(format!("two fields have the same name, {name:?}"));
        }
        check_swaps(self.swaps.len() + swaps.len())?;
        self.swaps.extend(swaps.into_iter().map(|swap| Swap {
            offset: swap.offset + offset,
            ..swap
        }));
        self.fields.push(Part {
            name: name.into(),
            dtype,
            offset,
        });
        Ok(())
    }

    fn finish(self, itemsize: usize) -> Result<(NumpyDType, Vec<Swap>), String> {
        if itemsize > MAX_BYTES || self.fields.iter().any(|field| field.end() > itemsize) {
            return Err("it has elements that are too large, or a field outside of them".into());
        }
        let fields = self.fields;
        Ok((NumpyDType(Kind::Struct { fields, itemsize }), self.swaps))
    }
}

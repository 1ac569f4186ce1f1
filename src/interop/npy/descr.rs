//! Element types in `.npy` headers: a typestr, or a list of fields with raw bytes as the padding
//! between them.

use super::super::{
    described::Swap,
    literal::{Literal, quoted},
};
use crate::element::dtype::DType;

/// The literal of a type that is not a subarray. Fields come in the order of their offsets: NumPy's
/// form has no other.
///
/// A type that NumPy lacks becomes raw bytes, as NumPy itself writes the types of `ml_dtypes`.
pub(super) fn write(dtype: &DType) -> String {
    if dtype.fields().is_empty() {
        return quoted(&typestr(&dtype.to_string()));
    }
    let mut fields: Vec<_> = dtype.fields().iter().collect();
    fields.sort_by_key(|field| field.offset());
    let mut items = Vec::new();
    let mut end = 0;
    for field in fields {
        items.extend(padding(end, field.offset()));
        let name = quoted(field.name());
        let text = field.dtype().to_string();
        items.push(
            match text.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
                Some((dims, base)) => format!("({name}, {}, ({dims}))", quoted(&typestr(base))),
                None => format!("({name}, {})", write(field.dtype())),
            },
        );
        end = field.offset() + field.dtype().itemsize();
    }
    items.extend(padding(end, dtype.itemsize()));
    format!("[{}]", items.join(", "))
}

/// The field of raw bytes that fills a gap between fields, if there is one.
fn padding(from: usize, upto: usize) -> Option<String> {
    (upto > from).then(|| format!("('', '|V{}')", upto - from))
}

fn typestr(text: &str) -> String {
    match text {
        "bfloat16" => "<V2".into(),
        "int128" | "uint128" => "|V16".into(),
        text => text.into(),
    }
}

/// The type of a literal, and the numbers of its elements that have the other byte order.
pub(super) fn read(descr: &Literal) -> Result<(DType, Vec<Swap>), String> {
    match descr {
        Literal::Text(text) => scalar(text),
        Literal::List(entries) => structure(entries),
        Literal::Tuple(parts) => match &parts[..] {
            [base, lengths] => subarray(base, lengths),
            _ => Err(unknown(descr)),
        },
        _ => Err(unknown(descr)),
    }
}

fn unknown(descr: &Literal) -> String {
    match descr {
        Literal::Text(text) => {
            format!("its element type {text:?} is not supported")
        }
        _ => "its 'descr' is not a supported element type".into(),
    }
}

fn scalar(text: &str) -> Result<(DType, Vec<Swap>), String> {
    let unsupported = || unknown(&Literal::Text(text.into()));
    let Some(rest) = text.strip_prefix(['<', '>', '|', '=']) else {
        return Err(unsupported());
    };
    let Some(kind) = rest.chars().next().filter(char::is_ascii) else {
        return Err(unsupported());
    };
    let digits = &rest[1..];
    let size = digits
        .parse::<usize>()
        .ok()
        .filter(|size| size.to_string() == digits);
    if let Some(advice) = foreign(text, kind, size) {
        return Err(advice);
    }
    let native = match (kind, size) {
        ('b' | 'u' | 'i', Some(1)) | ('V', Some(_)) => format!("|{kind}{digits}"),
        ('u' | 'i' | 'f', Some(2 | 4 | 8)) | ('c', Some(8 | 16)) => format!("<{kind}{digits}"),
        _ => return Err(unsupported()),
    };
    let dtype: DType = native.parse().map_err(|_| unsupported())?;
    let (width, count) = match (kind, dtype.itemsize()) {
        ('V', _) | (_, 1) => (0, 0),
        ('c', size) => (size / 2, 2),
        (_, size) => (size, 1),
    };
    let swap = Swap {
        offset: 0,
        width,
        count,
    };
    let needs_swap = text.starts_with('>') && width > 0;
    Ok((dtype, needs_swap.then_some(swap).into_iter().collect()))
}

/// Why elements of a type of NumPy cannot be elements here, and the conversion that helps.
fn foreign(text: &str, kind: char, size: Option<usize>) -> Option<String> {
    Some(match (kind, size) {
        ('O', _) => "its elements are Python objects, which are never unpickled: convert them \
                     with .astype(..) first"
            .into(),
        ('M' | 'm', _) => {
            format!("its elements are times ({text}): save them as integers, with .view('<i8')")
        }
        ('U', _) => {
            format!("its elements are text ({text}): save their code points, with .view('<u4')")
        }
        ('S' | 'a', Some(size)) => {
            format!("its elements are text ({text}): save their bytes, with .view('V{size}')")
        }
        ('f', Some(10 | 12 | 16)) | ('c', Some(20 | 24 | 32)) => format!(
            "its elements are of numpy.longdouble ({text}), which differs between machines: \
             convert them with .astype('<f8')"
        ),
        _ => return None,
    })
}

/// The type of an array with these lengths of elements of a type. Single bytes make raw bytes.
fn subarray(base: &Literal, lengths: &Literal) -> Result<(DType, Vec<Swap>), String> {
    let mut lengths = match lengths {
        Literal::Tuple(lengths) => lengths
            .iter()
            .map(field_length)
            .collect::<Result<Vec<_>, _>>()?,
        one => vec![field_length(one)?],
    };
    let (dtype, mut swaps) = read(base)?;
    let text = dtype.to_string();
    if !dtype.fields().is_empty() || text.starts_with('(') {
        return Err(
            "it has arrays of structs, or of arrays, as fields, which cannot be elements \
                    here: save the fields apart"
                .into(),
        );
    }
    let text = match lengths.pop() {
        None => return Ok((dtype, swaps)),
        Some(last) if text == "|u1" => format!("|V{last}"),
        Some(last) => {
            lengths.push(last);
            text
        }
    };
    let dims: Vec<_> = lengths.iter().map(u64::to_string).collect();
    let text = match &dims[..] {
        [] => text,
        [one] => format!("({one},){text}"),
        many => format!("({}){text}", many.join(",")),
    };
    let total: DType = text
        .parse()
        .map_err(|error: crate::Error| error.to_string())?;
    swaps
        .iter_mut()
        .for_each(|swap| swap.count *= total.itemsize() / dtype.itemsize());
    Ok((total, swaps))
}

fn field_length(literal: &Literal) -> Result<u64, String> {
    match literal {
        Literal::Integer(n) if *n > 0 => Ok(*n),
        _ => Err("a field is an array whose length is not a number above 0".into()),
    }
}

fn structure(entries: &[Literal]) -> Result<(DType, Vec<Swap>), String> {
    let (mut fields, mut swaps, mut offset) = (Vec::new(), Vec::new(), 0usize);
    for entry in entries {
        let (name, base, lengths) = field(entry)?;
        let (dtype, inner) =
            lengths.map_or_else(|| read(base), |lengths| subarray(base, lengths))?;
        let itemsize = dtype.itemsize();
        let is_padding =
            name.is_empty() && matches!(base, Literal::Text(text) if text.contains('V'));
        if !is_padding {
            swaps.extend(inner.into_iter().map(|swap| Swap {
                offset: swap.offset + offset,
                ..swap
            }));
            fields.push((name.to_owned(), dtype, offset));
        }
        offset += itemsize;
    }
    let dtype = DType::structure(fields, offset).map_err(|error| error.to_string())?;
    Ok((dtype, swaps))
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

//! Element types as `.npy` headers have them: a typestr, or a list of fields with raw bytes for the
//! padding between.

use super::super::{
    described::Swap,
    literal::{Literal, quoted},
};
use crate::element::dtype::DType;

/// The literal of a type, which is no subarray. Fields come in the order of their offsets: NumPy's
/// form has no other.
///
/// What NumPy has no type for becomes raw bytes, as NumPy itself writes the types of `ml_dtypes`.
pub(super) fn write(dtype: &DType) -> String {
    if dtype.fields().is_empty() {
        return quoted(&typestr(&dtype.to_string()));
    }
    let mut fields: Vec<_> = dtype.fields().iter().collect();
    fields.sort_by_key(|field| field.offset());
    let mut items = Vec::new();
    let mut end = 0;
    let padding =
        |from: usize, upto: usize| (upto > from).then(|| format!("('', '|V{}')", upto - from));
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

fn typestr(text: &str) -> String {
    match text {
        "bfloat16" => "<V2".into(),
        "int128" | "uint128" => "|V16".into(),
        text => text.into(),
    }
}

/// The type of a literal, and where its elements have numbers of the other byte order.
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
            format!("its elements have the type {text:?}, which is no element type here")
        }
        _ => "its 'descr' is no element type".into(),
    }
}

fn scalar(text: &str) -> Result<(DType, Vec<Swap>), String> {
    let unknown = || unknown(&Literal::Text(text.into()));
    let Some(rest) = text.strip_prefix(['<', '>', '|', '=']) else {
        return Err(unknown());
    };
    let Some(kind) = rest.chars().next().filter(char::is_ascii) else {
        return Err(unknown());
    };
    let rest = &rest[1..];
    let size = rest
        .parse::<usize>()
        .ok()
        .filter(|size| size.to_string() == rest);
    let is_big = text.starts_with('>');
    let dtype = match (kind, size) {
        ('O', _) => return Err("its elements are Python objects, which are never unpickled: convert them with .astype(..) first".into()),
        ('M' | 'm', _) => return Err(format!("its elements are times ({text}): save them as integers, with .view('<i8')")),
        ('U', _) => return Err(format!("its elements are text ({text}): save their code points, with .view('<u4')")),
        ('S' | 'a', Some(size)) => return Err(format!("its elements are text ({text}): save their bytes, with .view('V{size}')")),
        ('f', Some(10 | 12 | 16)) | ('c', Some(20 | 24 | 32)) => {
            return Err(format!("its elements are of numpy.longdouble ({text}), which differs between machines: convert them with .astype('<f8')"));
        }
        ('b', Some(1)) | ('u' | 'i', Some(1)) | ('V', Some(_)) => format!("|{kind}{rest}"),
        ('u' | 'i' | 'f', Some(2 | 4 | 8)) | ('c', Some(8 | 16)) => format!("<{kind}{rest}"),
        _ => return Err(unknown()),
    };
    let dtype: DType = dtype.parse().map_err(|_| unknown())?;
    let (width, count) = match (kind, dtype.itemsize()) {
        ('V', _) | (_, 1) => (0, 0),
        ('c', size) => (size / 2, 2),
        (_, size) => (size, 1),
    };
    Ok((
        dtype,
        if is_big && width > 0 {
            vec![Swap {
                offset: 0,
                width,
                count,
            }]
        } else {
            Vec::new()
        },
    ))
}

/// The type of `len` elements of a type, one behind the other, and so on inwards. That of raw bytes
/// where they are single ones.
fn subarray(base: &Literal, lengths: &Literal) -> Result<(DType, Vec<Swap>), String> {
    let length = |literal: &Literal| match literal {
        Literal::Integer(n) if *n > 0 => Ok(*n),
        _ => Err("a field is an array whose length is not a number above 0".to_owned()),
    };
    let mut lengths = match lengths {
        Literal::Tuple(lengths) => lengths.iter().map(length).collect::<Result<Vec<_>, _>>()?,
        one => vec![length(one)?],
    };
    let (dtype, mut swaps) = read(base)?;
    let text = dtype.to_string();
    if !dtype.fields().is_empty() || text.starts_with('(') {
        return Err("it has arrays of structs, or of arrays, as fields, which cannot be elements here: save the fields apart".into());
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

fn structure(entries: &[Literal]) -> Result<(DType, Vec<Swap>), String> {
    let (mut fields, mut swaps, mut offset) = (Vec::new(), Vec::new(), 0usize);
    for entry in entries {
        let Literal::Tuple(parts) = entry else {
            return Err("its 'descr' has a field that is no tuple".into());
        };
        let (name, base, lengths) = match &parts[..] {
            [name, base] => (name, base, None),
            [name, base, lengths] => (name, base, Some(lengths)),
            _ => return Err("its 'descr' has a field that is no tuple of two or three".into()),
        };
        let name = match name {
            Literal::Text(name) => name,
            // A title comes before the name.
            Literal::Tuple(names) => match &names[..] {
                [Literal::Text(_), Literal::Text(name)] => name,
                _ => return Err("its 'descr' has a field without a name".into()),
            },
            _ => return Err("its 'descr' has a field without a name".into()),
        };
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
            fields.push((name.clone(), dtype, offset));
        }
        offset += itemsize;
    }
    let dtype = DType::structure(fields, offset).map_err(|error| error.to_string())?;
    Ok((dtype, swaps))
}

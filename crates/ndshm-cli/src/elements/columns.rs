//! The numbers inside an element: one for a scalar, one for each field of a struct and for each
//! item of `[T; N]`.

use crate::{elements::number::Number, failure::Failure};
use ndshm::DType;

/// A number inside an element.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// The fields and items that lead to it: `position[0]`, `a.b`; empty for a scalar.
    pub(crate) name: String,
    /// Bytes from the start of the element.
    pub(crate) offset: usize,
    pub(crate) number: Number,
}

/// All numbers of an element, in the order of their bytes.
pub(crate) fn of(dtype: &DType) -> Result<Vec<Column>, Failure> {
    let mut columns = Vec::new();
    add(&mut columns, dtype, String::new(), 0)?;
    Ok(columns)
}

fn add(
    columns: &mut Vec<Column>,
    dtype: &DType,
    name: String,
    offset: usize,
) -> Result<(), Failure> {
    for field in dtype.fields() {
        let inner = match name.is_empty() {
            true => field.name().to_owned(),
            false => format!("{name}.{}", field.name()),
        };
        add(columns, field.dtype(), inner, offset + field.offset())?;
    }
    if !dtype.fields().is_empty() {
        return Ok(());
    }
    if let Some((len, part)) = dtype.subarray() {
        for at in 0..len {
            let inner = format!("{name}[{at}]");
            add(columns, &part, inner, offset + at * part.itemsize())?;
        }
        return Ok(());
    }
    let number = Number::of(dtype)
        .ok_or_else(|| Failure::usage(format!("elements of type {dtype} are no numbers")))?;
    columns.push(Column {
        name,
        offset,
        number,
    });
    Ok(())
}

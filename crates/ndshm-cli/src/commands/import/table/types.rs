//! The types of the columns of a table: told, or found in the first pass.

use super::{Header, Lines, Table};
use crate::{commands::new, elements::number::Number, failure::Failure};
use csv::StringRecord;
use ndshm::DType;

/// The columns in the first pass.
pub(super) struct Types {
    names: Option<Vec<String>>,
    columns: Vec<Kind>,
    /// Whether the command line has a type for a column by its name: such a table has fields.
    is_told_by_name: bool,
    has_told_type: bool,
}

/// The type of a column.
#[derive(Clone, Debug)]
enum Kind {
    Told(Number),
    /// All fields so far are integers. An integer that is too large for 64 bits has its line and
    /// its text here.
    Integers(Option<(u64, String)>),
    /// At least one field is none.
    Floats,
}

/// The columns and lines of a table.
pub(super) struct Plan {
    names: Option<Vec<String>>,
    columns: Vec<Number>,
    /// Bytes from the start of a row.
    offsets: Vec<usize>,
    /// Whether a row is a struct.
    has_fields: bool,
    pub(super) has_header: bool,
    pub(super) rows: usize,
    pub(super) row_size: usize,
}

/// Whether a field is empty or a number, so that it is not the name of a column.
pub(super) fn is_number_or_empty(field: &str) -> bool {
    let field = field.trim();
    field.is_empty() || Number::Complex64.parse(field, &mut Vec::new()).is_some()
}

/// The type of a number that the command line names.
fn number(text: &str) -> Result<Number, Failure> {
    let dtype = new::dtype(text)?;
    Number::of(&dtype).ok_or_else(|| {
        Failure::usage(format!(
            "a column has one number, and {dtype} is none: give a type for each column, as \
             --dtype id=i8,position=f8"
        ))
    })
}

impl Types {
    /// The types that the command line has, of a table with so many columns.
    pub(super) fn told(
        table: &Table<'_>,
        names: Option<Vec<String>>,
        width: usize,
    ) -> Result<Self, Failure> {
        let mut types = Self {
            names,
            columns: vec![Kind::Integers(None); width],
            is_told_by_name: false,
            has_told_type: table.dtype.is_some(),
        };
        let Some(text) = table.dtype else {
            return Ok(types);
        };
        if !text.contains('=') {
            types.columns = vec![Kind::Told(number(text)?); width];
            return Ok(types);
        }
        types.is_told_by_name = true;
        let mut told = Vec::new();
        for column in text.split(',') {
            let (name, dtype) = column.rsplit_once('=').ok_or_else(|| {
                Failure::usage(format!("{column:?}: write NAME=TYPE for each column"))
            })?;
            told.push((name.trim(), number(dtype)?));
        }
        if types.names.is_none() && told.len() == width {
            types.names = Some(told.iter().map(|(name, _)| (*name).to_owned()).collect());
        }
        for (name, number) in told {
            let at = (0..width).find(|&at| types.name(at) == name);
            let at = at.ok_or_else(|| {
                let names: Vec<_> = (0..width.min(20)).map(|at| types.name(at)).collect();
                Failure::usage(format!(
                    "{}: no column has the name {name:?}: the columns are {}",
                    table.source,
                    names.join(", ")
                ))
            })?;
            types.columns[at] = Kind::Told(number);
        }
        Ok(types)
    }

    fn name(&self, at: usize) -> String {
        name(self.names.as_deref(), at)
    }

    /// Looks at the fields of a line.
    pub(super) fn note(&mut self, lines: &Lines<'_>, record: &StringRecord) -> Result<(), Failure> {
        if record.len() != self.columns.len() {
            return Err(lines.failure(&format!(
                "line {}: {} fields, where the first line has {}; --delimiter tells what is \
                 between fields",
                lines.line_of(record),
                record.len(),
                self.columns.len()
            )));
        }
        for at in 0..record.len() {
            let Kind::Integers(large) = &mut self.columns[at] else {
                continue;
            };
            let field = record[at].trim();
            if field.parse::<i64>().is_ok() {
                continue;
            }
            let digits = field.trim_start_matches(['+', '-']);
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                large.get_or_insert_with(|| (lines.line_of(record), field.to_owned()));
                continue;
            }
            if !field.is_empty() && field.parse::<f64>().is_err() {
                return Err(no_number(lines, record, &self.name(at), field, Number::F64));
            }
            self.columns[at] = Kind::Floats;
        }
        Ok(())
    }

    /// The end of the first pass.
    pub(super) fn plan(
        self,
        lines: &Lines<'_>,
        rows: usize,
        has_header: bool,
    ) -> Result<Plan, Failure> {
        if rows == 0 && !self.has_told_type {
            return Err(lines.failure(
                "it has no lines of numbers behind its header line: --dtype tells the type, and \
                 --header no that the line has numbers",
            ));
        }
        let mut columns = Vec::new();
        for (at, kind) in self.columns.iter().enumerate() {
            columns.push(match kind {
                Kind::Told(number) => *number,
                Kind::Floats => Number::F64,
                Kind::Integers(None) => Number::I64,
                Kind::Integers(Some((line, text))) => {
                    return Err(lines.failure(&format!(
                        "line {line}, column {}: {text} is too large for an integer of 64 bits: \
                         give --dtype u64, u128 or f8",
                        self.name(at)
                    )));
                }
            });
        }
        let has_fields = self.is_told_by_name || columns.iter().any(|&one| one != columns[0]);
        let (mut offsets, mut row_size) = (Vec::new(), 0_usize);
        for column in &columns {
            if has_fields {
                row_size = row_size.next_multiple_of(alignment(*column));
            }
            offsets.push(row_size);
            row_size += column.size();
        }
        if has_fields {
            let most = columns.iter().map(|&column| alignment(column)).max();
            row_size = row_size.next_multiple_of(most.unwrap_or(1));
        }
        Ok(Plan {
            names: self.names,
            columns,
            offsets,
            has_fields,
            has_header,
            rows,
            row_size,
        })
    }
}

fn name(names: Option<&[String]>, at: usize) -> String {
    match names {
        Some(names) => names[at].clone(),
        None => format!("c{at}"),
    }
}

fn alignment(number: Number) -> usize {
    match number {
        Number::Complex32 | Number::Complex64 => number.size() / 2,
        _ => number.size(),
    }
}

impl Plan {
    /// The type and the shape of the array.
    pub(super) fn layout(&self, table: &Table<'_>) -> Result<(DType, Vec<usize>), Failure> {
        let dtype = |number: Number| number.name().parse::<DType>();
        if !self.has_fields {
            let shape = match self.columns.len() {
                1 => vec![self.rows],
                width => vec![self.rows, width],
            };
            return Ok((dtype(self.columns[0])?, shape));
        }
        let mut fields = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (at, &number) in self.columns.iter().enumerate() {
            let name = name(self.names.as_deref(), at);
            if name.is_empty() || !seen.insert(name.clone()) {
                let reason = match name.is_empty() {
                    true => "has no name".to_owned(),
                    false => format!("has the name {name:?} of another one"),
                };
                return Err(table.failure(&format!(
                    "column {} {reason}, and columns of several types are the fields of a struct: \
                     give --dtype f8 for one type of all",
                    at + 1
                )));
            }
            fields.push((name, dtype(number)?, self.offsets[at]));
        }
        Ok((DType::structure(fields, self.row_size)?, vec![self.rows]))
    }

    /// Appends the bytes of a line.
    pub(super) fn append(
        &self,
        lines: &Lines<'_>,
        record: &StringRecord,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let start = bytes.len();
        if record.len() != self.columns.len() {
            return Err(lines.failure("it changed while it was read"));
        }
        for (at, (field, number)) in record.iter().zip(&self.columns).enumerate() {
            bytes.resize(start + self.offsets[at], 0);
            let field = field.trim();
            let is_missing = field.is_empty() && number.is_float();
            let text = if is_missing { "nan" } else { field };
            if number.parse(text, bytes).is_none() {
                let name = name(self.names.as_deref(), at);
                return Err(no_number(lines, record, &name, field, *number));
            }
        }
        bytes.resize(start + self.row_size, 0);
        Ok(())
    }
}

/// The failure for a field that is no number of the column's type.
fn no_number(
    lines: &Lines<'_>,
    record: &StringRecord,
    column: &str,
    field: &str,
    number: Number,
) -> Failure {
    const WIDEST: usize = 40;
    let short: String = field.chars().take(WIDEST).collect();
    let (line, number_name) = (lines.line_of(record), number.name());
    let is_number = is_number_or_empty(field);
    let remedy = match () {
        () if field.is_empty() => {
            return lines.failure(&format!(
                "line {line}, column {column}: the field is empty, and only floats have a value \
                 for that, NaN: give --dtype f8"
            ));
        }
        () if is_number => "--dtype tells another type",
        () if field.contains([' ', ';', '|', '\t']) => {
            "--delimiter tells the character between fields"
        }
        () if line == 1 && lines.table.header != Header::No => {
            "--header yes tells that the line has names"
        }
        () => "leave columns of text out, for example with cut -d, -f2-",
    };
    lines.failure(&format!(
        "line {line}, column {column}: {short:?} is no number of type {number_name}; {remedy}"
    ))
}

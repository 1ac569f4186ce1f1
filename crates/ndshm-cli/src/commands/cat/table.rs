//! Elements as lines of comma- or tab-separated values.

use super::Text;
use crate::{
    elements::{columns::Column, number::Style},
    failure::Failure,
};
use ndshm::AnyArray;

/// Writes the elements of an array as lines.
pub(super) struct Table {
    columns: Vec<Column>,
    itemsize: usize,
    delimiter: u8,
    /// Elements of a line.
    row_len: usize,
    /// Elements of the line that is being written.
    written: usize,
    /// Lines without elements: those of an array whose last axis has the length 0.
    empty_lines: usize,
}

impl Table {
    pub(super) fn new(array: &AnyArray, columns: Vec<Column>, delimiter: u8) -> Self {
        let (row_len, rows) = match array.shape() {
            [] => (1, 1),
            [len] => (1, *len),
            [rows @ .., len] => (*len, rows.iter().product()),
        };
        Self {
            columns,
            itemsize: array.dtype().itemsize(),
            delimiter,
            row_len,
            written: 0,
            empty_lines: if row_len == 0 { rows } else { 0 },
        }
    }

    /// The line of the columns' names.
    pub(super) fn header(&self, array: &AnyArray) -> Result<Vec<u8>, Failure> {
        if self.row_len == 0 {
            return Ok(b"\n".to_vec());
        }
        let axis = array.axis_names().last().cloned().flatten();
        let axis = axis.filter(|_| array.ndim() > 1);
        let axis = axis.unwrap_or_else(|| "c".to_owned());
        let is_wide = array.ndim() > 1;
        let name = |at: usize, field: &str| match (is_wide, field) {
            (false, "") => "c0".to_owned(),
            (false, field) if !field.starts_with('[') => field.to_owned(),
            (_, field) if field.is_empty() || field.starts_with('[') => {
                format!("{axis}{at}{field}")
            }
            (_, field) => format!("{axis}{at}.{field}"),
        };
        let names = (0..self.row_len)
            .flat_map(|at| self.columns.iter().map(move |column| (at, &column.name)));
        let mut line = csv::WriterBuilder::new()
            .delimiter(self.delimiter)
            .from_writer(Vec::new());
        for (at, field) in names {
            line.write_field(name(at, field)).map_err(failure)?;
        }
        line.write_record(None::<&[u8]>).map_err(failure)?;
        line.into_inner()
            .map_err(|error| Failure::from(error.into_error()))
    }
}

fn failure(error: csv::Error) -> Failure {
    std::io::Error::from(error).into()
}

impl Text for Table {
    fn add(&mut self, elements: &[u8], text: &mut Vec<u8>) {
        for element in elements.chunks_exact(self.itemsize) {
            for column in &self.columns {
                let bytes = &element[column.offset..];
                let bytes = &bytes[..column.number.size()];
                column.number.write(bytes, text, Style::Plain);
                text.push(self.delimiter);
            }
            self.written += 1;
            if self.written == self.row_len {
                self.written = 0;
                if let Some(last) = text.last_mut() {
                    *last = b'\n';
                }
            }
        }
    }

    fn end(&mut self, text: &mut Vec<u8>) {
        text.extend(std::iter::repeat_n(b'\n', self.empty_lines));
    }
}

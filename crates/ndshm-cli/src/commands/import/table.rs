//! Lines of comma- or tab-separated numbers into an array.
//!
//! A file is read twice: first for the number of lines and the types of the columns, then for the
//! numbers. A stream is kept in a temporary file meanwhile. So memory holds a line and a few
//! thousand elements, whatever the size of the file.

mod types;

use crate::{
    commands::export::Format,
    elements::chunks,
    failure::{Code, Failure, words_of},
};
use csv::StringRecord;
use ndshm::{AnyArray, Manager, Scope};
use std::{
    fs::File,
    io::{self, BufRead, Read, Seek},
    os::unix::fs::FileExt,
    path::Path,
};
use types::{Plan, Types};

/// Bytes of elements that are written at once.
const PIECE: usize = 1 << 20;
/// Lines between two reports of progress.
const SOME: usize = 10_000;

/// Whether the first line has the names of the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Header {
    Yes,
    No,
    /// It has if no field of it is a number
    #[default]
    Auto,
}

/// The character of --delimiter.
pub(super) fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [b'"' | b'#' | b'\n' | b'\r'] => Err("it has a meaning of its own".into()),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err("one ASCII character is needed, or tab".into()),
    }
}

/// The way to read a table.
pub(super) struct Table<'a> {
    /// The name of the file in errors.
    pub(super) source: String,
    pub(super) header: Header,
    /// By default that of the first line: a tab if it has one and no comma.
    pub(super) delimiter: Option<u8>,
    /// A type of all columns, or `NAME=TYPE,NAME=TYPE`.
    pub(super) dtype: Option<&'a str>,
    pub(super) progress: &'a dyn Fn(u64, u64),
}

/// The delimiter of a format; none for the standard input, whose format was not told.
pub(super) fn delimiter_of(format: Option<Format>) -> Option<u8> {
    match format {
        Some(Format::Tsv) => Some(b'\t'),
        Some(_) => Some(b','),
        None => None,
    }
}

impl Table<'_> {
    /// Imports a file, or what a pipe brings.
    pub(super) fn import_file(
        self,
        manager: &Manager,
        name: String,
        path: &Path,
    ) -> Result<AnyArray, Failure> {
        let file = File::open(path).map_err(|error| self.failure(&words_of(&error)))?;
        let metadata = file.metadata()?;
        match metadata.is_file() {
            true => self.import(manager, name, file),
            false if metadata.is_dir() => Err(self.failure("it is a directory")),
            false => self.import_stream(manager, name, file),
        }
    }

    /// Imports a stream by way of a temporary file.
    pub(super) fn import_stream(
        self,
        manager: &Manager,
        name: String,
        mut input: impl Read,
    ) -> Result<AnyArray, Failure> {
        let mut keep = || {
            let mut kept = tempfile::tempfile()?;
            io::copy(&mut input, &mut kept)?;
            Ok(kept)
        };
        let kept = keep().map_err(|error: io::Error| {
            self.failure(&format!(
                "its copy in {}: {}; TMPDIR names another directory",
                std::env::temp_dir().display(),
                words_of(&error)
            ))
        })?;
        self.import(manager, name, kept)
    }

    fn import(self, manager: &Manager, name: String, file: File) -> Result<AnyArray, Failure> {
        let delimiter = match self.delimiter {
            Some(delimiter) => delimiter,
            None => shown_delimiter(&file)?,
        };
        let lines = Lines {
            table: &self,
            file: &file,
            delimiter,
        };
        let plan = lines.plan()?;
        let (dtype, shape) = plan.layout(&self)?;
        // This process owns the array until it is complete: nothing is left of a failure.
        let options = manager.options().name(name).scope(Scope::Local);
        let array = options.zeros_any(&dtype, &shape)?;
        lines.fill(&array, &plan)?;
        array.set_scope(Scope::Store)?;
        Ok(array)
    }

    /// A failure of the file.
    fn failure(&self, reason: &str) -> Failure {
        Failure::new(Code::Failed, format!("{}: {reason}", self.source))
    }
}

/// The lines of a file.
struct Lines<'a> {
    table: &'a Table<'a>,
    file: &'a File,
    delimiter: u8,
}

impl Lines<'_> {
    /// The first pass: the names, the types and the number of lines.
    fn plan(&self) -> Result<Plan, Failure> {
        let total = 2 * self.file.metadata()?.len();
        let mut records = reader(self.file, self.delimiter)?;
        let mut record = StringRecord::new();
        if !self.next(&mut records, &mut record)? {
            return Err(self.failure("it has no lines of numbers"));
        }
        let is_header = match self.table.header {
            Header::Yes => true,
            Header::No => false,
            Header::Auto => !record.iter().any(types::is_number_or_empty),
        };
        let names = is_header.then(|| record.iter().map(|name| name.trim().to_owned()).collect());
        let mut types = Types::told(self.table, names, record.len())?;
        let mut rows = 0;
        if !is_header {
            types.note(self, &record)?;
            rows += 1;
        }
        while self.next(&mut records, &mut record)? {
            types.note(self, &record)?;
            rows += 1;
            if rows % SOME == 0 {
                (self.table.progress)(byte_of(&record), total);
            }
        }
        types.plan(self, rows, is_header)
    }

    /// The second pass: the numbers.
    fn fill(&self, array: &AnyArray, plan: &Plan) -> Result<(), Failure> {
        let size = self.file.metadata()?.len();
        let mut records = reader(self.file, self.delimiter)?;
        let mut record = StringRecord::new();
        if plan.has_header {
            self.next(&mut records, &mut record)?;
        }
        let rows_at_once = (PIECE / plan.row_size.max(1)).clamp(1, plan.rows.max(1));
        let mut bytes = Vec::with_capacity(rows_at_once * plan.row_size);
        let mut first = 0;
        let changed = || self.failure("it changed while it was read");
        while first < plan.rows {
            let end = (first + rows_at_once).min(plan.rows);
            bytes.clear();
            for _ in first..end {
                if !self.next(&mut records, &mut record)? {
                    return Err(changed());
                }
                plan.append(self, &record, &mut bytes)?;
            }
            let piece = std::iter::once(first..end)
                .chain(array.shape().iter().skip(1).map(|&len| 0..len))
                .collect::<Vec<_>>();
            chunks::view(array, &piece)?.write_bytes(&bytes)?;
            (self.table.progress)(size + byte_of(&record), 2 * size);
            first = end;
        }
        match self.next(&mut records, &mut record)? {
            true => Err(changed()),
            false => Ok(()),
        }
    }

    /// Reads the next line; false at the end.
    fn next(
        &self,
        records: &mut csv::Reader<&File>,
        record: &mut StringRecord,
    ) -> Result<bool, Failure> {
        records.read_record(record).map_err(|error| {
            let line = error.position().map_or(0, |at| line_at(self.file, at));
            match error.into_kind() {
                csv::ErrorKind::Io(error) => self.failure(&words_of(&error)),
                csv::ErrorKind::Utf8 { .. } => {
                    self.failure(&format!("line {line}: it is no text in UTF-8"))
                }
                kind => self.failure(&format!("line {line}: {kind:?}")),
            }
        })
    }

    /// The line of a record.
    fn line_of(&self, record: &StringRecord) -> u64 {
        record.position().map_or(0, |at| line_at(self.file, at))
    }

    /// A failure of the file.
    fn failure(&self, reason: &str) -> Failure {
        self.table.failure(reason)
    }
}

fn reader(file: &File, delimiter: u8) -> Result<csv::Reader<&File>, Failure> {
    let mut start = file;
    start.rewind()?;
    Ok(csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .delimiter(delimiter)
        .buffer_capacity(256 << 10)
        .from_reader(file))
}

/// A tab if the first line has one and no comma, else a comma.
fn shown_delimiter(file: &File) -> Result<u8, Failure> {
    /// A line without a comma in so many bytes has none.
    const START: u64 = 64 << 10;
    let mut input = file;
    input.rewind()?;
    let mut start = Vec::new();
    input.take(START).read_to_end(&mut start)?;
    let line = start
        .split(|&byte| byte == b'\n')
        .find(|line| !line.starts_with(b"#") && !line.trim_ascii().is_empty())
        .unwrap_or_default();
    match line.contains(&b'\t') && !line.contains(&b',') {
        true => Ok(b'\t'),
        false => Ok(b','),
    }
}

fn byte_of(record: &StringRecord) -> u64 {
    record.position().map_or(0, csv::Position::byte)
}

/// The line of a record that begins here. The reader's position is that behind the record before:
/// empty lines and comments may come first.
fn line_at(file: &File, position: &csv::Position) -> u64 {
    let rest = Rest {
        file,
        at: position.byte(),
    };
    let mut number = position.line();
    for line in io::BufReader::new(rest).split(b'\n') {
        match line {
            Ok(line) if line.starts_with(b"#") || line == b"\r" || line.is_empty() => number += 1,
            _ => break,
        }
    }
    number
}

/// A file from a position on, whose own position stays as it is.
struct Rest<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Rest<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(bytes, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

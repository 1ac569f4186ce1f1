//! `cat`: the elements of an array on the standard output, as bytes or as text.

mod json;
mod table;

use crate::{
    Outcome,
    commands::export,
    context::Context,
    elements::{columns, reading::Reading, stream::Stream},
    failure::{Failure, printable},
    target::Target,
};
use json::Json;
use ndshm::AnyArray;
use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    os::{fd::AsFd, unix::fs::FileTypeExt},
    path::Path,
    process::ExitCode,
};
use table::Table;

/// Text is written in parts of about so many bytes.
const PART: usize = 256 << 10;

/// The form of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The bytes of the elements, in C order
    Raw,
    /// A line for each row, with commas
    Csv,
    /// The same with tabs
    Tsv,
    /// Nested lists
    Json,
}

/// Write the elements of an array, or of a part of it, to the standard output
///
/// As text, the last axis is a row; of an array with one axis each element is one. Numbers have the
/// fewest digits that give them back. A struct has a column for each field. A ring shows its newest
/// frame, an array that grows the rows that it has now.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  ndshm cat frames --format csv --header > frames.csv
  ndshm cat 'frames[0]' | od -t f4 | head")]
pub(crate) struct Args {
    /// The array, with an optional slice
    array: String,
    /// The form of the elements [default: raw, with --json json]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Begin with a line of the names of the columns: the fields of structs, else the name of the
    /// last axis or c, with the index
    #[arg(long)]
    header: bool,
    /// Take no lock: read a snapshot of elements that other processes may change meanwhile
    #[arg(long)]
    unlocked: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let format = format(context, args)?;
    let out = match format {
        Format::Raw => export::standard_output(Path::new("-"))?,
        _ => None,
    };
    let (array, reading) = Target::find(context, &args.array)?.look(args.unlocked)?;
    match out {
        Some(out) => write_raw(&array, reading, out)?,
        None => {
            let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
            write_text(&array, reading, format, args.header, out)?;
        }
    }
    if let Some(warning) = reading.warning() {
        writeln!(anstream::stderr(), "read {warning}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn format(context: &Context, args: &Args) -> Result<Format, Failure> {
    let format = match (args.format, context.is_json) {
        (None, false) => Format::Raw,
        (None | Some(Format::Json), _) => Format::Json,
        (Some(format), false) => format,
        (Some(_), true) => {
            return Err(Failure::usage(
                "--json is --format json: leave one of the two formats out",
            ));
        }
    };
    match (args.header, format) {
        (true, Format::Raw) => Err(Failure::usage(
            "--header: raw elements have no header; take --format csv, or ndshm export -o \
             FILE.npy, whose head has the type and the shape",
        )),
        (true, Format::Json) => Err(Failure::usage(
            "--header: JSON has no line of names; ndshm show --json has the type and the shape",
        )),
        _ => Ok(format),
    }
}

fn write_raw(array: &AnyArray, reading: Reading, mut out: File) -> Result<(), Failure> {
    let kind = out.metadata()?.file_type();
    // The reader of a pipe may let this process wait, and writers must not wait for that.
    let may_block = kind.is_fifo() || kind.is_socket();
    let is_direct = array.is_frozen() || !may_block;
    let mut stream = Stream::new(array, reading);
    for piece in stream.pieces() {
        match is_direct {
            true => stream.lent(&piece, &mut |bytes| Ok(out.write_all(bytes)?))?,
            false => out.write_all(stream.copied(&piece)?)?,
        }
    }
    Ok(())
}

/// The elements as text of one form.
trait Text {
    /// Appends elements, given by their bytes.
    fn add(&mut self, elements: &[u8], text: &mut Vec<u8>);

    /// Appends the end.
    fn end(&mut self, text: &mut Vec<u8>);
}

fn write_text(
    array: &AnyArray,
    reading: Reading,
    format: Format,
    has_header: bool,
    mut out: File,
) -> Result<(), Failure> {
    let mut text = Vec::with_capacity(2 * PART);
    let mut writer: Box<dyn Text> = match format {
        Format::Json => Box::new(Json::new(array)?),
        _ => {
            let delimiter = if format == Format::Tsv { b'\t' } else { b',' };
            let table = Table::new(array, columns::of(array.dtype())?, delimiter);
            if has_header {
                text = table.header(array)?;
            }
            Box::new(table)
        }
    };
    if out.is_terminal() {
        // Names may have characters that a terminal obeys.
        let lines = String::from_utf8_lossy(&text);
        text = lines
            .split_inclusive('\n')
            .map(|line| printable(line.trim_end_matches('\n')) + "\n")
            .collect::<String>()
            .into_bytes();
    }
    let itemsize = array.dtype().itemsize();
    let mut stream = Stream::new(array, reading);
    for piece in stream.pieces() {
        let bytes = stream.copied(&piece)?;
        for some in bytes.chunks((PART / itemsize / 8).max(1) * itemsize) {
            writer.add(some, &mut text);
            if text.len() >= PART {
                out.write_all(&text)?;
                text.clear();
            }
        }
    }
    writer.end(&mut text);
    Ok(out.write_all(&text)?)
}

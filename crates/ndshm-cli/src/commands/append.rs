//! `append`: rows of a file, or of a pipe, to the end of an array that grows.

use crate::{
    Outcome,
    context::Context,
    failure::{Code, Failure},
    target::Target,
};
use ndshm::{AnyGrowing, Import};
use std::{
    fs::File,
    io::{self, Cursor, IsTerminal, Read},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The start of a .npy file.
const NPY: &[u8] = b"\x93NUMPY";
/// About so many bytes of raw rows are appended at once.
const PIECE: usize = 1 << 20;

/// Append the rows of a .npy file to an array that grows; any other file has rows as raw bytes
///
/// A .npy file has one row or several, of the array's type. Raw rows are appended as they come, so
/// that other processes see them while a pipe is still open.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm append run/log rows.npy
  ./measure | ndshm append run/log -")]
pub(crate) struct Args {
    /// The array that grows
    array: String,
    /// The file; - for the standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let target = Target::find(context, &args.array)?;
    let log = target.growing()?;
    let is_input = args.file == Path::new("-");
    let mut file = match is_input {
        true => File::from(io::stdin().as_fd().try_clone_to_owned()?),
        false => File::open(&args.file).map_err(|error| {
            Failure::new(Code::Failed, format!("{}: {error}", args.file.display()))
        })?,
    };
    if is_input && file.is_terminal() {
        return Err(Failure::usage(
            "the standard input is a terminal, which has no bytes of rows: name a file, or pipe \
             one into this program",
        ));
    }
    let mut start = Vec::new();
    (&mut file).take(NPY.len() as u64).read_to_end(&mut start)?;
    let is_npy = start == NPY;
    let mut input = Cursor::new(start).chain(file);
    match is_npy {
        true => append_npy(context, &log, &mut input)?,
        false => append_raw(&log, &mut input)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Appends all rows of a .npy file at once.
fn append_npy(context: &Context, log: &AnyGrowing, input: &mut impl Read) -> Result<(), Failure> {
    let store = log.path().parent().unwrap_or(Path::new("/"));
    // A local array without a name: deleted when it is dropped.
    let rows = Import::new().npy_from(&context.join(store)?, input)?;
    let shape = rows.shape();
    let is_fit = shape == log.row_shape() || shape.get(1..) == Some(log.row_shape());
    if !is_fit || rows.dtype() != log.dtype() {
        return Err(Failure::usage(format!(
            "the file has {} {shape:?}, and a row of the array is {} {:?}",
            rows.dtype(),
            log.dtype(),
            log.row_shape()
        )));
    }
    log.append_bytes(&rows.read_bytes()?)?;
    Ok(())
}

/// Appends rows as they come.
fn append_raw(log: &AnyGrowing, input: &mut impl Read) -> Result<(), Failure> {
    let row_len = log.row_shape().iter().product::<usize>() * log.dtype().itemsize();
    let mut rows = vec![0; (PIECE / row_len).max(1) * row_len];
    let mut filled = 0;
    loop {
        let count = match input.read(&mut rows[filled..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        filled += count;
        let whole = filled - filled % row_len;
        if whole > 0 {
            log.append_bytes(&rows[..whole])?;
            rows.copy_within(whole..filled, 0);
            filled -= whole;
        }
        match (count, filled) {
            (0, 0) => return Ok(()),
            (0, rest) => {
                return Err(Failure::new(
                    Code::Failed,
                    format!(
                        "{rest} bytes at the end are no row, which has {row_len}; the rows before \
                         them were appended"
                    ),
                ));
            }
            _ => {}
        }
    }
}

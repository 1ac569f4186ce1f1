//! `export`: arrays and parts of them into files of other formats.

mod directory;

use crate::{
    Outcome,
    context::Context,
    display::bar::Bar,
    failure::{Code, Failure, printable},
    target::{For, Target},
};
use ndshm::{__private::words, AnyArray, Error, Export, Exportable};
use std::{
    fs::File,
    io::{self, IsTerminal},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The formats of files, from their suffix or --format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Npy,
    Npz,
    Safetensors,
    /// The elements alone, in C order
    Raw,
    /// Numbers with commas, for import; ndshm cat writes them
    Csv,
    /// Numbers with tabs, for import
    Tsv,
}

impl Format {
    /// An error for text, which only import takes.
    fn check_is_written(self) -> Result<(), Failure> {
        match self {
            Self::Csv | Self::Tsv => Err(Failure::usage(
                "export writes no text: ndshm cat ARRAY --format csv --header > FILE",
            )),
            _ => Ok(()),
        }
    }

    /// The format of --format, else that of the file's suffix.
    pub(crate) fn of(path: &Path, asked: Option<Format>) -> Result<Format, Failure> {
        let unknown = || {
            Failure::usage(format!(
                "{}: name it .npy, .npz, .safetensors or .raw, or give --format; import takes .csv \
                 and .tsv too",
                path.display()
            ))
        };
        asked.or_else(|| Self::by_suffix(path)).ok_or_else(unknown)
    }

    fn by_suffix(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()? {
            "npy" => Some(Format::Npy),
            "npz" => Some(Format::Npz),
            "safetensors" => Some(Format::Safetensors),
            "raw" | "bin" => Some(Format::Raw),
            "csv" => Some(Format::Csv),
            "tsv" => Some(Format::Tsv),
            _ => None,
        }
    }
}

/// Write arrays, or parts of them, into a file: .npy, .npz, .safetensors, .raw
///
/// The file gets its name when it is complete; an interrupted export leaves no file of that name. A
/// symbolic link is followed. A pipe or a device gets the bytes as they come, and - is the standard
/// output, which gets nothing else.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm export 'run/frame-*' -o all.npz
  ndshm export frames -o - | zstd > frames.npy.zst")]
pub(crate) struct Args {
    /// The arrays, each with an optional slice, or patterns such as 'frame-*'; .npz, .safetensors
    /// and directories take several, as KEY=ARRAY for another key than the one that the name stands
    /// for
    #[arg(required = true, value_name = "ARRAY")]
    arrays: Vec<String>,
    /// The file; - for the standard output; a directory, or a new one with a slash at its end, gets
    /// a file for each array, .npy by default
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The format, for a file without one of the suffixes; by default .npy for the standard output
    #[arg(long)]
    format: Option<Format>,
    /// Replace an existing file
    #[arg(short, long)]
    force: bool,
    /// Compress the entries of a .npz file
    #[arg(long)]
    compress: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    if directory::is_meant(&args.output) {
        return directory::run(context, args);
    }
    let stdout = standard_output(&args.output)?;
    let default = stdout.as_ref().map(|_| Format::Npy);
    let format = Format::of(&args.output, args.format.or(default))?;
    format.check_is_written()?;
    let mut arrays = Vec::new();
    for text in &args.arrays {
        keyed(context, text, &mut arrays)?;
    }
    let bar = Bar::new(
        printable(&args.output.display().to_string()),
        !context.is_json,
    );
    let show = |done, total| bar.show(done, total);
    let export = Export::new().progress(&show);
    let export = if args.force { export.replace() } else { export };
    let export = if args.compress {
        export.compress()
    } else {
        export
    };
    let all: Vec<_> = arrays
        .iter()
        .map(|(key, array)| (key.as_str(), array as &dyn Exportable))
        .collect();
    let written = match (format, &all[..], stdout) {
        (Format::Npz, all, None) => export.npz(all, &args.output),
        (Format::Npz, all, Some(out)) => export.npz_to(all, out),
        (Format::Safetensors, all, None) => export.safetensors(all, &args.output),
        (Format::Safetensors, all, Some(out)) => export.safetensors_to(all, out),
        (Format::Npy, [(_, array)], None) => export.npy(*array, &args.output),
        (Format::Npy, [(_, array)], Some(out)) => export.npy_to(*array, out),
        (Format::Raw, [(_, array)], None) => export.raw(*array, &args.output),
        (Format::Raw, [(_, array)], Some(out)) => export.raw_to(*array, out),
        _ => {
            return Err(Failure::usage(
                "a file of this format has one array: take .npz or .safetensors for several, by \
                 the name of the file or by --format",
            ));
        }
    };
    written.map_err(failure_of)?;
    Ok(ExitCode::SUCCESS)
}

/// The failure of an export, with the option of the tool that helps.
fn failure_of(error: Error) -> Failure {
    match error {
        Error::AlreadyExists { path, .. } => Failure::new(
            Code::Refused,
            format!("{}: the file exists; --force replaces it", path.display()),
        ),
        Error::Timeout {
            path,
            waited,
            holders,
            ..
        } => Failure::new(
            Code::Busy,
            format!(
                "{}: another process held it for all of {waited:?}{}; --wait waits longer, ndshm \
                 cp --unlocked makes a copy that can be exported",
                path.display(),
                words::named(&holders)
            ),
        ),
        error => error.into(),
    }
}

/// The standard output, if it is meant. Not by its path: the path of a socket cannot be opened, and
/// a file would be written from its beginning.
pub(crate) fn standard_output(path: &Path) -> Result<Option<File>, Failure> {
    if path != Path::new("-") && path != Path::new("/dev/stdout") {
        return Ok(None);
    }
    let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    match out.is_terminal() {
        true => Err(Failure::usage(
            "the standard output is a terminal, which cannot show the bytes of arrays: name a \
             file, or pipe them into another program",
        )),
        false => Ok(Some(out)),
    }
}

/// Adds the arrays that a text names, each with its key: the text before `=`, the key that its name
/// stands for, or NumPy's `arr_0`, `arr_1`, ...
fn keyed(
    context: &Context,
    text: &str,
    arrays: &mut Vec<(String, AnyArray)>,
) -> Result<(), Failure> {
    let found = match (Target::find_all(context, text), text.split_once('=')) {
        // A handle and a name may contain an equals sign.
        (Err(_), Some((key, rest))) if !key.starts_with("ndshm1:") => {
            let array = Target::find(context, rest)?.open(For::Reading)?;
            arrays.push((key.to_owned(), array));
            return Ok(());
        }
        (found, _) => found?,
    };
    for target in found {
        let array = target.open(For::Reading)?;
        let key = array
            .key()
            .unwrap_or_else(|| format!("arr_{}", arrays.len()));
        arrays.push((key, array));
    }
    Ok(())
}

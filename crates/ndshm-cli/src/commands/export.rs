//! `export`: arrays and parts of them into files of other formats.

use crate::{
    Outcome,
    context::Context,
    display::bar::Bar,
    failure::{Code, Failure, printable},
    target::{For, Target},
};
use ndshm::{AnyArray, Error, Export, Exportable};
use std::{
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
}

impl Format {
    /// The format of --format, else that of the file's suffix.
    pub(crate) fn of(path: &Path, asked: Option<Format>) -> Result<Format, Failure> {
        let by_suffix = || match path.extension()?.to_str()? {
            "npy" => Some(Format::Npy),
            "npz" => Some(Format::Npz),
            "safetensors" => Some(Format::Safetensors),
            "raw" | "bin" => Some(Format::Raw),
            _ => None,
        };
        let unknown = || {
            Failure::usage(format!(
                "{}: name it .npy, .npz, .safetensors or .raw, or give --format",
                path.display()
            ))
        };
        asked.or_else(by_suffix).ok_or_else(unknown)
    }
}

/// Write arrays, or parts of them, into a file: .npy, .npz, .safetensors, .raw
///
/// The file gets its name when it is complete; an interrupted export leaves no file of that name.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The arrays, each with an optional slice; .npz and .safetensors take several, as KEY=ARRAY
    /// for another key than the one that the name stands for
    #[arg(required = true, value_name = "ARRAY")]
    arrays: Vec<String>,
    /// The file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The format, for a file without one of the suffixes
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
    let format = Format::of(&args.output, args.format)?;
    let mut arrays = Vec::new();
    for (number, text) in args.arrays.iter().enumerate() {
        arrays.push(keyed(context, text, number)?);
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
    let written = match (format, &all[..]) {
        (Format::Npz, all) => export.npz(all, &args.output),
        (Format::Safetensors, all) => export.safetensors(all, &args.output),
        (Format::Npy, [(_, array)]) => export.npy(*array, &args.output),
        (Format::Raw, [(_, array)]) => export.raw(*array, &args.output),
        _ => {
            return Err(Failure::usage(
                "a file of this format has one array: take .npz or .safetensors for several",
            ));
        }
    };
    written.map_err(|error| match error {
        Error::AlreadyExists { path } => Failure::new(
            Code::Refused,
            format!("{}: the file exists; --force replaces it", path.display()),
        ),
        error => error.into(),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// An array with its key: the text before `=`, the key that its name stands for, or NumPy's
/// `arr_0`, `arr_1`, ...
fn keyed(context: &Context, text: &str, number: usize) -> Result<(String, AnyArray), Failure> {
    let open = |text| Target::find(context, text)?.open(For::Reading);
    let array = match (open(text), text.split_once('=')) {
        // A handle and a name may contain an equals sign.
        (Err(_), Some((key, rest))) if !key.starts_with("ndshm1:") => {
            return Ok((key.to_owned(), open(rest)?));
        }
        (array, _) => array?,
    };
    Ok((
        array.key().unwrap_or_else(|| format!("arr_{number}")),
        array,
    ))
}

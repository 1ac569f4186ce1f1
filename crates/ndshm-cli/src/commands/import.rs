//! `import`: files of other formats into new arrays.

use crate::{
    Outcome,
    commands::export::Format,
    commands::new,
    context::Context,
    display::bar::Bar,
    failure::{Failure, printable},
};
use ndshm::{AnyArray, ArrayOptions, DType, Scope};
use serde_json::{Value, json};
use std::{io::Write, path::PathBuf, process::ExitCode};

/// Copy the arrays of a file into a store: .npy, .npz, .safetensors, .raw
///
/// Other processes see an array when it is complete. The store must be persistent, or have another
/// process as a member.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The name of the array, by default that of the file; for .npz and .safetensors the prefix of
    /// the keys
    #[arg(long)]
    name: Option<String>,
    /// The format, for a file without one of the suffixes
    #[arg(long)]
    format: Option<Format>,
    /// The type of the elements: required for .raw, and for .npy files with types that NumPy lacks
    /// (bfloat16)
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<String>,
    /// The shape of the array in a .raw file: 480,640
    #[arg(long, value_delimiter = ',')]
    shape: Option<Vec<usize>>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let format = Format::of(&args.file, args.format)?;
    let manager = context.manager(false)?;
    let dtype = args.dtype.as_deref().map(new::dtype).transpose()?;
    let bar = Bar::new(
        printable(&args.file.display().to_string()),
        !context.is_json,
    );
    let show = |done, total| bar.show(done, total);
    // The tool ends at once, and arrays that it owned would end with it.
    let options = manager
        .options()
        .name(name(args, format))
        .scope(Scope::Store)
        .progress(&show);
    let options = dtype
        .iter()
        .fold(options, |options, dtype| options.dtype(dtype));
    let arrays = import(args, format, &options, dtype.as_ref())?;
    drop(bar);
    if context.is_json {
        context.print_json(&arrays.iter().map(json_of).collect())?;
    } else {
        let mut out = context.out();
        for array in &arrays {
            writeln!(out, "{}", printable(&array.path().display().to_string()))?;
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The name of the array, or the prefix of the keys of a file with several.
fn name(args: &Args, format: Format) -> String {
    match (&args.name, format, args.file.file_stem()) {
        (Some(name), _, _) => name.clone(),
        (None, Format::Npy | Format::Raw, Some(stem)) => stem.to_string_lossy().into_owned(),
        _ => String::new(),
    }
}

fn import(
    args: &Args,
    format: Format,
    options: &ArrayOptions<'_>,
    dtype: Option<&DType>,
) -> Result<Vec<AnyArray>, Failure> {
    let keyed = match format {
        Format::Npy => return Ok(vec![options.import_npy(&args.file)?]),
        Format::Npz => options.import_npz(&args.file)?,
        Format::Safetensors => options.import_safetensors(&args.file)?,
        Format::Raw => {
            let (Some(dtype), Some(shape)) = (dtype, &args.shape) else {
                return Err(Failure::usage(
                    "a raw file has no header: give --dtype '<f8' --shape 480,640",
                ));
            };
            return Ok(vec![options.import_raw(&args.file, dtype, shape)?]);
        }
    };
    Ok(keyed.into_iter().map(|(_, array)| array).collect())
}

fn json_of(array: &AnyArray) -> Value {
    json!({
        "name": array.name(), "path": array.path(), "dtype": array.dtype().to_string(),
        "shape": array.shape(), "handle": array.handle().to_string(),
    })
}

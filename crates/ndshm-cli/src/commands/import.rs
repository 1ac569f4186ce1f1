//! `import`: files of other formats into new arrays.

use crate::{
    Outcome,
    commands::export::Format,
    commands::new,
    context::Context,
    display::bar::Bar,
    failure::{Failure, printable},
};
use ndshm::{AnyArray, Import, Scope};
use serde_json::json;
use std::{io::Write, path::PathBuf, process::ExitCode};

/// Make arrays of a file: .npy, .npz, .safetensors, .raw
///
/// Others see them when they are complete. The store must be one that stays, or that another
/// process is in.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The name of the array, else that of the file; what comes before the keys of .npz and
    /// .safetensors
    #[arg(long)]
    name: Option<String>,
    /// The format, where the suffix does not say it
    #[arg(long)]
    format: Option<Format>,
    /// The type of the elements: needed for .raw, and for .npy files with types that NumPy does not
    /// have (bfloat16)
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<String>,
    /// The shape of the elements of a .raw file, as 480,640
    #[arg(long, value_delimiter = ',')]
    shape: Option<Vec<usize>>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let format = Format::of(&args.file, args.format)?;
    let manager = context.manager(false)?;
    let dtype = args.dtype.as_deref().map(new::dtype).transpose()?;
    let stem = || {
        args.file
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let bar = Bar::new(
        printable(&args.file.display().to_string()),
        !context.is_json,
    );
    let show = |done, total| bar.show(done, total);
    // The tool ends at once, and with it would go all arrays that it owned.
    let import = Import::new().scope(Scope::Store).progress(&show);
    let import = dtype
        .iter()
        .fold(import, |import, dtype| import.dtype(dtype));
    let name = args.name.clone();
    let import = match format {
        Format::Npy | Format::Raw => import.name(name.unwrap_or_else(stem)),
        Format::Npz | Format::Safetensors => import.prefix(name.unwrap_or_default()),
    };
    let arrays: Vec<AnyArray> = match format {
        Format::Npy => vec![import.npy(&manager, &args.file)?],
        Format::Npz => without_keys(import.npz(&manager, &args.file)?),
        Format::Safetensors => without_keys(import.safetensors(&manager, &args.file)?),
        Format::Raw => {
            let (Some(dtype), Some(shape)) = (&dtype, &args.shape) else {
                return Err(Failure::usage(
                    "a raw file does not say what is in it: give --dtype '<f8' --shape 480,640",
                ));
            };
            vec![import.raw(&manager, &args.file, dtype, shape)?]
        }
    };
    drop(bar);
    if context.is_json {
        let item = |array: &AnyArray| json!({ "name": array.name(), "path": array.path(), "dtype": array.dtype().to_string(), "shape": array.shape(), "handle": array.handle().to_string() });
        context.print_json(&arrays.iter().map(item).collect())?;
    } else {
        let mut out = context.out();
        for array in &arrays {
            writeln!(out, "{}", printable(&array.path().display().to_string()))?;
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn without_keys(arrays: Vec<(String, AnyArray)>) -> Vec<AnyArray> {
    arrays.into_iter().map(|(_, array)| array).collect()
}

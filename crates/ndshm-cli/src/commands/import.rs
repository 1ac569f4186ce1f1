//! `import`: files of other formats into new arrays.

use crate::{
    Outcome,
    commands::export::Format,
    commands::new,
    context::Context,
    display::bar::Bar,
    failure::{Failure, printable},
};
use ndshm::{AnyArray, DType, Import, Left, Manager, Scope};
use serde_json::{Value, json};
use std::{io::Write, path::PathBuf, process::ExitCode};

/// Copy the arrays of a file into a store: .npy, .npz, .safetensors, .raw
///
/// Other processes see an array when it is complete. The store must be persistent, or have another
/// process as a member. Keys become names with their slashes escaped (a%2Fb), which export undoes.
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
    /// The arrays of a .npz or .safetensors file to take, by keys or patterns: 'layer.*.weight'
    #[arg(long, value_name = "KEY", num_args = 1..)]
    only: Vec<String>,
    /// Leave what cannot be an array (objects, other files), and list it
    #[arg(long)]
    skip_unsupported: bool,
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
    let import = Import::new().scope(Scope::Store).progress(&show);
    let import = dtype
        .iter()
        .fold(import, |import, dtype| import.dtype(dtype));
    let import = import.only(args.only.iter().map(String::as_str));
    let import = match args.skip_unsupported {
        true => import.skip_unsupported(),
        false => import,
    };
    let (arrays, left) = imported(args, format, &manager, import, dtype.as_ref())?;
    drop(bar);
    for Left { key, reason, .. } in &left {
        let line = format!("left {key:?}: {reason}");
        writeln!(anstream::stderr(), "{}", printable(&line))?;
    }
    if context.is_json {
        let left = left
            .iter()
            .map(|left| json!({ "key": left.key, "reason": left.reason }));
        context.print_json(&json!({
            "arrays": arrays.iter().map(json_of).collect::<Vec<_>>(),
            "left": left.collect::<Vec<_>>(),
        }))?;
    } else {
        let mut out = context.out();
        for array in &arrays {
            writeln!(out, "{}", printable(&array.path().display().to_string()))?;
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Imports under the name that was given, or that of the file; of a file with several arrays, the
/// given name is the prefix of their keys.
fn imported(
    args: &Args,
    format: Format,
    manager: &Manager,
    import: Import<'_>,
    dtype: Option<&DType>,
) -> Result<(Vec<AnyArray>, Vec<Left>), Failure> {
    let file = &args.file;
    if matches!(format, Format::Npy | Format::Raw) && !args.only.is_empty() {
        return Err(Failure::usage(
            "--only is for files of several arrays: .npz, .safetensors",
        ));
    }
    let name = args.name.clone();
    let stem = || {
        file.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let keyed = match format {
        Format::Npy => {
            let import = import.name(name.unwrap_or_else(stem));
            return Ok((vec![import.npy(manager, file)?], Vec::new()));
        }
        Format::Raw => {
            let (Some(dtype), Some(shape)) = (dtype, &args.shape) else {
                return Err(Failure::usage(
                    "a raw file has no header: give --dtype '<f8' --shape 480,640",
                ));
            };
            let import = import.name(name.unwrap_or_else(stem));
            return Ok((vec![import.raw(manager, file, dtype, shape)?], Vec::new()));
        }
        Format::Npz => import.prefix(name.unwrap_or_default()).npz(manager, file)?,
        Format::Safetensors => {
            let import = import.prefix(name.unwrap_or_default());
            import.safetensors(manager, file)?
        }
    };
    let arrays = keyed.arrays.into_iter().map(|(_, array)| array);
    Ok((arrays.collect(), keyed.left))
}

fn json_of(array: &AnyArray) -> Value {
    json!({
        "key": array.key(), "name": array.name(), "path": array.path(),
        "dtype": array.dtype().to_string(), "shape": array.shape(),
        "handle": array.handle().to_string(),
    })
}

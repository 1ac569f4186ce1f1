//! `import`: files of other formats into new arrays.

mod table;

use crate::{
    Outcome,
    commands::export::Format,
    commands::new,
    context::Context,
    display::bar::Bar,
    failure::{Code, Failure, printable},
};
use ndshm::{AnyArray, DType, Import, Imported, Left, Manager, Scope};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{self, Cursor, IsTerminal, Read, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Copy the arrays of a file into a store: .npy, .npz, .safetensors, .raw, .csv, .tsv
///
/// Other processes see an array when it is complete. The store must be persistent, or have another
/// process as a member. Keys become names with their slashes escaped (a%2Fb), which export undoes.
/// A pipe or a device is read to its end, and - is the standard input. Lines of text become an
/// array of one or two axes if all columns have one type, else one of structs with a field for each
/// column.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  ndshm import frames.npy --name frames
  zstd -dc frames.csv.zst | ndshm import - --name frames --dtype id=i8,position=f8")]
pub(crate) struct Args {
    /// The file; - for the standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The name of the array, by default that of the file; for .npz and .safetensors the prefix of
    /// the keys. Required for the standard input with one array
    #[arg(long)]
    name: Option<String>,
    /// The format, for a file without one of the suffixes; the standard input shows it
    #[arg(long)]
    format: Option<Format>,
    /// The arrays of a .npz or .safetensors file to take, by keys or patterns: 'layer.*.weight'
    #[arg(long, value_name = "KEY", num_args = 1..)]
    only: Vec<String>,
    /// Leave entries that cannot be arrays (objects, other files), and list them
    #[arg(long)]
    skip_unsupported: bool,
    /// The type of the elements: required for .raw, and for .npy files with types that NumPy lacks
    /// (bfloat16); of .csv and .tsv the type of all columns, or of some by name,
    /// id=i8,position=f8, which makes structs. Without it a column of integers has the type i8, and
    /// another one f8
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<String>,
    /// The shape of the array in a .raw file: 480,640
    #[arg(long, value_delimiter = ',')]
    shape: Option<Vec<usize>>,
    /// Whether the first line of a .csv or .tsv file has the names of the columns
    #[arg(long, value_name = "WHEN", value_enum)]
    header: Option<table::Header>,
    /// The character between the fields of a .csv or .tsv file
    #[arg(long, value_name = "CHARACTER", value_parser = table::delimiter)]
    delimiter: Option<u8>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let input = StandardInput::open(args)?;
    let manager = context.manager(false)?;
    let dtype = args.dtype.as_deref().filter(|dtype| !dtype.contains('='));
    let dtype = dtype.map(new::dtype).transpose()?;
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
    let (arrays, left) = match input {
        Some(input) => input.imported(args, &manager, import, dtype.as_ref(), &show)?,
        None => imported(args, &manager, import, dtype.as_ref(), &show)?,
    };
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
    manager: &Manager,
    import: Import<'_>,
    dtype: Option<&DType>,
    progress: &dyn Fn(u64, u64),
) -> Result<(Vec<AnyArray>, Vec<Left>), Failure> {
    let file = &args.file;
    let format = Format::of(file, args.format)?;
    check_options(args, format)?;
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
            let (dtype, shape) = described(args, dtype)?;
            let import = import.name(name.unwrap_or_else(stem));
            return Ok((vec![import.raw(manager, file, dtype, shape)?], Vec::new()));
        }
        Format::Csv | Format::Tsv => {
            let table = table_of(args, Some(format), progress);
            let name = name.unwrap_or_else(stem);
            return Ok((vec![table.import_file(manager, name, file)?], Vec::new()));
        }
        Format::Npz => import.prefix(name.unwrap_or_default()).npz(manager, file)?,
        Format::Safetensors => {
            let import = import.prefix(name.unwrap_or_default());
            import.safetensors(manager, file)?
        }
    };
    Ok(unkeyed(keyed))
}

/// The way to read lines of text.
fn table_of<'a>(
    args: &'a Args,
    format: Option<Format>,
    progress: &'a dyn Fn(u64, u64),
) -> table::Table<'a> {
    let source = match args.file == Path::new("-") {
        true => "the standard input".to_owned(),
        false => args.file.display().to_string(),
    };
    table::Table {
        source,
        header: args.header.unwrap_or_default(),
        delimiter: args.delimiter.or(table::delimiter_of(format)),
        dtype: args.dtype.as_deref(),
        progress,
    }
}

/// The type and the shape of a file without a header.
fn described<'a>(
    args: &'a Args,
    dtype: Option<&'a DType>,
) -> Result<(&'a DType, &'a [usize]), Failure> {
    match (dtype, &args.shape) {
        (Some(dtype), Some(shape)) => Ok((dtype, shape)),
        _ => Err(Failure::usage(
            "a raw file has no header: give --dtype '<f8' --shape 480,640",
        )),
    }
}

/// The standard input, which is not read by its path: the path of a socket cannot be opened, and a
/// file would be read from its beginning.
struct StandardInput {
    format: Format,
    input: io::Chain<Cursor<Vec<u8>>, File>,
}

impl StandardInput {
    /// The standard input, if it is meant, with the format that its first bytes show.
    fn open(args: &Args) -> Result<Option<Self>, Failure> {
        if args.file != Path::new("-") && args.file != Path::new("/dev/stdin") {
            return Ok(None);
        }
        let mut file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        if file.is_terminal() {
            return Err(Failure::usage(
                "the standard input is a terminal, which has no bytes of arrays: name a file, or \
                 pipe one into this program",
            ));
        }
        let mut start = Vec::new();
        let is_raw = args.shape.is_some() || args.format == Some(Format::Raw);
        if !is_raw && args.format.is_none() {
            (&mut file).take(9).read_to_end(&mut start)?;
        }
        let format = match (args.format, &start[..]) {
            (Some(format), _) => format,
            (None, _) if is_raw => Format::Raw,
            (None, start) if start.starts_with(b"\x93NUMPY") => Format::Npy,
            (None, start) if start.starts_with(b"PK") => Format::Npz,
            (None, [_, _, _, _, _, _, _, _, b'{']) => Format::Safetensors,
            (None, start) if is_text(start) => Format::Csv,
            _ => {
                return Err(Failure::usage(
                    "the standard input is no .npy, .npz or safetensors file, and no text; \
                     elements alone need --format raw, --dtype and --shape",
                ));
            }
        };
        let input = Cursor::new(start).chain(file);
        Ok(Some(Self { format, input }))
    }

    /// Imports all of it.
    fn imported(
        mut self,
        args: &Args,
        manager: &Manager,
        import: Import<'_>,
        dtype: Option<&DType>,
        progress: &dyn Fn(u64, u64),
    ) -> Result<(Vec<AnyArray>, Vec<Left>), Failure> {
        check_options(args, self.format)?;
        let input = &mut self.input;
        let prefix = args.name.clone().unwrap_or_default();
        let import = match (self.format, &args.name) {
            (Format::Npz | Format::Safetensors, _) => import.prefix(prefix),
            (_, Some(name)) => import.name(name),
            (_, None) => {
                return Err(Failure::usage(
                    "the standard input has no name for the array: give --name",
                ));
            }
        };
        let (arrays, left) = match self.format {
            Format::Npy => (vec![import.npy_from(manager, input)?], Vec::new()),
            Format::Raw => {
                let (dtype, shape) = described(args, dtype)?;
                let array = import.raw_from(manager, input, dtype, shape)?;
                (vec![array], Vec::new())
            }
            Format::Csv | Format::Tsv => {
                let table = table_of(args, args.format, progress);
                let name = args.name.clone().unwrap_or_default();
                (vec![table.import_stream(manager, name, input)?], Vec::new())
            }
            Format::Npz => unkeyed(import.npz_from(manager, input)?),
            Format::Safetensors => unkeyed(import.safetensors_from(manager, input)?),
        };
        if io::copy(&mut self.input.take(1), &mut io::sink())? > 0 {
            for array in &arrays {
                array.release()?;
            }
            return Err(Failure::new(
                Code::Failed,
                "the standard input: more bytes follow the elements",
            ));
        }
        Ok((arrays, left))
    }
}

/// An error where options are given that the format has no use for.
fn check_options(args: &Args, format: Format) -> Result<(), Failure> {
    let is_keyed = matches!(format, Format::Npz | Format::Safetensors);
    let is_table = matches!(format, Format::Csv | Format::Tsv);
    match () {
        () if !is_keyed && !args.only.is_empty() => Err(Failure::usage(
            "--only is for files of several arrays: .npz, .safetensors",
        )),
        () if !is_table && (args.header.is_some() || args.delimiter.is_some()) => Err(
            Failure::usage("--header and --delimiter are for text: .csv, .tsv"),
        ),
        () if is_table && args.shape.is_some() => Err(Failure::usage(
            "--shape is for raw elements: lines of text show the shape",
        )),
        () => match &args.dtype {
            // A type for a column is no type of elements.
            Some(text) if !is_table && text.contains('=') => new::dtype(text).map(drop),
            _ => Ok(()),
        },
    }
}

/// Whether bytes begin lines of text: UTF-8, whose last character may be cut off, without bytes of
/// control other than those of lines.
fn is_text(start: &[u8]) -> bool {
    let is_of_text = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
    let is_utf8 =
        std::str::from_utf8(start).map_or_else(|error| error.error_len().is_none(), |_| true);
    !start.is_empty() && is_utf8 && start.iter().all(is_of_text)
}

fn unkeyed(imported: Imported) -> (Vec<AnyArray>, Vec<Left>) {
    let arrays = imported.arrays.into_iter().map(|(_, array)| array);
    (arrays.collect(), imported.left)
}

fn json_of(array: &AnyArray) -> Value {
    json!({
        "key": array.key(), "name": array.name(), "path": array.path(),
        "dtype": array.dtype().to_string(), "shape": array.shape(),
        "handle": array.handle().to_string(),
    })
}

//! `new`: makes an array.

use crate::{
    Outcome,
    context::Context,
    elements::chunks,
    elements::scalar,
    failure::{Failure, printable},
};
use ndshm::{AnyArray, DType, Manager, Scope};
use serde_json::json;
use std::{collections::BTreeMap, io::Write, path::Path, process::ExitCode};

const EXAMPLES: &str = "\
Examples:
  ndshm new run/log f64 8 --grow 1000000
  ndshm new run/camera u8 1080,1920,3 --frames 8";

/// Make an array, an array that grows or a ring, and print its path, or with --scope remote its
/// handle
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The name of the array, or STORE/NAME
    name: String,
    /// The type of the elements in NumPy's notation: f8, <f8, float64, u1, c16, '(3,)<f4',
    /// bfloat16, ...; or in Rust's: f64, u8, ... A u8 or i8 is Rust's, of one byte; NumPy's of
    /// eight bytes is u64 or <u8
    dtype: String,
    /// The lengths of the axes: 3,4 or '(3, 4)'; () for no axis. With --grow it is the shape of a
    /// row, with --frames that of a frame
    shape: String,
    /// Make an array that grows: rows are appended, up to this number of them. Memory is taken as
    /// rows come, so the number may be large
    #[arg(long, value_name = "ROWS", conflicts_with_all = ["fill", "frames"])]
    grow: Option<usize>,
    /// Make a ring with room for this number of frames, from 2 to 256
    #[arg(long, value_name = "N", conflicts_with = "fill")]
    frames: Option<usize>,
    /// The most subscribers of the ring, from 1 to 4096 [default: 64]
    #[arg(long, value_name = "N", requires = "frames")]
    max_subscribers: Option<usize>,
    /// The type of the information beside each frame of the ring
    #[arg(long, value_name = "DTYPE", requires = "frames")]
    info: Option<String>,
    /// The value of all elements
    #[arg(
        long,
        value_name = "VALUE",
        default_value = "0",
        allow_hyphen_values = true
    )]
    fill: String,
    /// An attribute with a text as its value: unit=m/s
    #[arg(long = "attr", value_name = "KEY=VALUE", value_parser = key_and_value)]
    attrs: Vec<(String, String)>,
    /// The names of the axes: time,channel
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    axes: Vec<String>,
    /// The array is deleted with the store, or by the first process that opens its handle
    #[arg(long, value_enum, default_value = "store")]
    scope: Keeper,
    /// Make the store, a persistent one, if it does not exist
    #[arg(long)]
    create_store: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Keeper {
    Store,
    Remote,
}

pub(crate) fn key_and_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.into(), value.into()))
        .ok_or_else(|| "write KEY=VALUE".into())
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let (manager, name) = place(context, &args.name, args.create_store)?;
    let (element, shape) = (dtype(&args.dtype)?, shape(&args.shape)?);
    // This process owns the array until it is filled: a killed process leaves no array.
    let mut options = manager.options().name(name).scope(Scope::Local);
    if !args.attrs.is_empty() {
        options = options.attrs(&args.attrs.iter().cloned().collect::<BTreeMap<_, _>>())?;
    }
    if !args.axes.is_empty() {
        options = options.axis_names(args.axes.clone());
    }
    let scope = match args.scope {
        Keeper::Remote => Scope::Remote,
        Keeper::Store => Scope::Store,
    };
    let handle = match (args.grow, args.frames) {
        (Some(rows), _) => {
            let log = options.growing_any(&element, &shape, rows)?;
            log.set_scope(scope)?;
            log.handle()
        }
        (_, Some(frames)) => {
            if let Some(most) = args.max_subscribers {
                options = options.max_subscribers(most);
            }
            let info = args.info.as_deref().map(dtype).transpose()?;
            let ring = options.ring_any(&element, &shape, frames, info)?;
            ring.set_scope(scope)?;
            ring.handle()
        }
        (None, None) => {
            let array = options.zeros_any(&element, &shape)?;
            fill(&array, &args.fill)?;
            array.set_scope(scope)?;
            array.handle()
        }
    };
    let (path, handle) = (handle.path().to_path_buf(), handle.to_string());
    if context.is_json {
        context.print_json(&json!({ "path": path, "handle": handle }))?;
    } else {
        let mut out = context.out();
        match args.scope {
            Keeper::Remote => writeln!(out, "{handle}")?,
            Keeper::Store => writeln!(out, "{}", printable(&path.to_string_lossy()))?,
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn fill(array: &AnyArray, value: &str) -> Result<(), Failure> {
    if value == "0" {
        return Ok(());
    }
    for piece in chunks::of(array, chunks::PIECE) {
        scalar::fill(&chunks::view(array, &piece)?, value)?;
    }
    Ok(())
}

/// The store and the name in `NAME` or `STORE/NAME`.
pub(crate) fn place(
    context: &Context,
    text: &str,
    create_store: bool,
) -> Result<(Manager, String), Failure> {
    let (store, name) = match text.rsplit_once('/') {
        Some((store, name)) => (Some(store), name),
        None => (None, text),
    };
    let manager = match store {
        Some(store) => context.open_store(Path::new(store), create_store)?,
        None => context.manager(create_store)?,
    };
    Ok((
        manager,
        name.strip_suffix(".ndshm").unwrap_or(name).to_owned(),
    ))
}

/// A type in NumPy's notation, or by its name in Rust.
pub(crate) fn dtype(text: &str) -> Result<DType, Failure> {
    const NAMES: &[(&str, &str)] = &[
        ("bool", "|b1"),
        ("bool_", "|b1"),
        ("?", "|b1"),
        ("u8", "|u1"),
        ("i8", "|i1"),
        ("u16", "<u2"),
        ("i16", "<i2"),
        ("u32", "<u4"),
        ("i32", "<i4"),
        ("u64", "<u8"),
        ("i64", "<i8"),
        ("u128", "uint128"),
        ("i128", "int128"),
        ("f16", "<f2"),
        ("bf16", "bfloat16"),
        ("f32", "<f4"),
        ("f64", "<f8"),
        ("uint8", "|u1"),
        ("int8", "|i1"),
        ("uint16", "<u2"),
        ("int16", "<i2"),
        ("uint32", "<u4"),
        ("int32", "<i4"),
        ("uint64", "<u8"),
        ("int64", "<i8"),
        ("int", "<i8"),
        ("uint", "<u8"),
        ("int_", "<i8"),
        ("intp", "<i8"),
        ("uintp", "<u8"),
        ("ubyte", "|u1"),
        ("byte", "|i1"),
        ("float16", "<f2"),
        ("half", "<f2"),
        ("float32", "<f4"),
        ("single", "<f4"),
        ("float64", "<f8"),
        ("float", "<f8"),
        ("double", "<f8"),
        ("complex64", "<c8"),
        ("complex128", "<c16"),
        ("complex", "<c16"),
    ];
    parse_dtype(text, NAMES).ok_or_else(|| {
        Failure::usage(format!(
            "{text:?} is no element type; some are f64, f8, <f8 or float64, u8 or uint8, \
             complex128 or c16, '(3,)f4'"
        ))
    })
}

/// A type by a name of the list, or in NumPy's notation. NumPy takes its letters without an order
/// of bytes too: `f8` is the machine's, which the file format writes as `<f8`. A name of Rust comes
/// first: `u8` is a byte, and NumPy's `u8` of eight bytes is written as `<u8`.
fn parse_dtype(text: &str, names: &[(&str, &str)]) -> Option<DType> {
    let text = text.trim();
    if let Some((lengths, part)) = text.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        let part = parse_dtype(part, names)?;
        return format!("({lengths}){part}").parse().ok();
    }
    let text = ["numpy.", "np."]
        .iter()
        .find_map(|module| text.strip_prefix(module))
        .unwrap_or(text);
    if let Some((_, numpy)) = names.iter().find(|(name, _)| *name == text) {
        return numpy.parse().ok();
    }
    // `=` is the machine's order; one of a byte has none.
    let letters = text.trim_start_matches(['=', '|']);
    [
        text.to_owned(),
        format!("<{letters}"),
        format!("|{letters}"),
        format!("|{}", text.trim_start_matches('<')),
    ]
    .iter()
    .find_map(|text| text.parse().ok())
}

/// `3,4`, `(3, 4)`, `3x4`, `5`, `()`.
fn shape(text: &str) -> Result<Vec<usize>, Failure> {
    let inner = text
        .trim()
        .trim_start_matches('(')
        .trim_end_matches(')')
        .trim()
        .trim_end_matches(',');
    if inner.is_empty() {
        return Ok(Vec::new());
    }
    let refuse = |_| Failure::usage(format!("{text:?} is no shape: write 3,4 or '(3, 4)'"));
    inner
        .split([',', 'x'])
        .map(|length| length.trim().parse().map_err(refuse))
        .collect()
}

//! `restore`: the arrays of a checkpoint, or of another Zarr v3 group, into a store.

use crate::{
    Outcome,
    commands::place,
    context::Context,
    display::text,
    failure::{Failure, printable},
};
use comfy_table::Cell;
use ndshm::{Checkpoint, Listed, Listing, Order, Restore};
use serde_json::json;
use std::{io::Write, ops::Range, path::PathBuf, process::ExitCode};

/// Make the arrays of a checkpoint, or of another Zarr v3 group, in a store
///
/// All arrays are made, or none; space for all of them is reserved before anything is fetched, and
/// chunks are compared with the checksums of the checkpoint. Other Zarr v3 groups need regular
/// chunks with the codecs bytes, zstd, gzip, crc32c, transpose and sharding_indexed.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm restore /data/checkpoints --list
  ndshm restore s3://bucket/run run --slice 'frames[100:200, 0:480, 0:640]'")]
pub(crate) struct Args {
    /// The directory of the checkpoints, that of one checkpoint or of another Zarr group; or
    /// s3://BUCKET/PREFIX
    #[arg(value_name = "PLACE")]
    place: String,
    /// The store: a name or a directory
    #[arg(value_name = "STORE", required_unless_present = "list")]
    store: Option<PathBuf>,
    /// List the arrays, and the ids of the other checkpoints, and make nothing
    #[arg(long, conflicts_with_all = ["store", "create_store", "prefix", "in_flight"])]
    list: bool,
    /// Make the store, persistent, if there is none
    #[arg(long)]
    create_store: bool,
    /// The id of the checkpoint, by default the latest
    #[arg(long, value_name = "ID")]
    checkpoint: Option<String>,
    /// A part of an array, with a range along each axis: 'xs[0:10, 5:20]'
    #[arg(long, value_name = "NAME[A:B, ...]")]
    slice: Vec<String>,
    /// Put this before the name of each array
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// Leave arrays of other groups that cannot be arrays here, and list them
    #[arg(long)]
    skip_unsupported: bool,
    #[command(flatten)]
    transfer: place::Transfer,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let slices: Result<Vec<_>, _> = args.slice.iter().map(|text| part_of(text)).collect();
    let slices = slices?;
    let bucket = place::open(&args.place)?;
    let mut restore = Restore::new()
        .only(&args.transfer.only)
        .prefix(&args.prefix)
        .in_flight(args.transfer.in_flight as usize);
    if let Some(id) = &args.checkpoint {
        restore = restore.checkpoint(id);
    }
    if args.skip_unsupported {
        restore = restore.skip_unsupported();
    }
    for (name, ranges) in slices {
        restore = restore.slice(name, ranges);
    }
    let Some(store) = &args.store else {
        return list(
            context,
            &restore.list(&*bucket)?,
            &Checkpoint::ids(&*bucket)?,
        );
    };
    let manager = context.open_store(store, args.create_store)?;
    let bar = place::bar(context, &args.place);
    let show = |done, total| bar.show(done, total);
    let restored = restore.progress(&show).read(&manager, &*bucket)?;
    drop(bar);
    place::report_left(&restored.left)?;
    if context.is_json {
        context.print_json(&json!({
            "checkpoint": restored.checkpoint,
            "store": manager.path(),
            "arrays": restored.names,
            "bytes": restored.byte_len,
            "left": place::left_json(&restored.left),
        }))?;
    } else {
        let mut out = context.out();
        writeln!(
            out,
            "{}  {}, {}",
            printable(&manager.path().display().to_string()),
            text::count(restored.names.len(), "array"),
            text::bytes(restored.byte_len)
        )?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the arrays of a checkpoint, and the ids of all checkpoints of the place.
fn list(context: &Context, listing: &Listing, ids: &[String]) -> Outcome {
    place::report_left(&listing.left)?;
    if context.is_json {
        let arrays: Vec<_> = listing.arrays.iter().map(listed_json).collect();
        context.print_json(&json!({
            "checkpoint": listing.checkpoint,
            "arrays": arrays,
            "left": place::left_json(&listing.left),
            "checkpoints": ids,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = context.out();
    let lens = listing.arrays.iter().map(|array| array.byte_len);
    let total = lens.fold(0, u64::saturating_add);
    writeln!(
        out,
        "{}  {}, {}",
        listing.checkpoint.as_deref().unwrap_or("no checkpoint"),
        text::count(listing.arrays.len(), "array"),
        text::bytes(total)
    )?;
    if !listing.arrays.is_empty() {
        let header = ["NAME", "DTYPE", "SHAPE", "SIZE", "STATE"];
        let mut table = text::table(&header, context.has_colors());
        for array in &listing.arrays {
            table.add_row(vec![
                Cell::new(printable(&array.name)),
                Cell::new(printable(&array.dtype.to_string())),
                Cell::new(text::shape(&array.shape)),
                text::right(text::bytes(array.byte_len)),
                Cell::new(state_of(array)),
            ]);
        }
        for line in table.lines() {
            writeln!(out, " {}", line.trim_end())?;
        }
    }
    for id in ids {
        if Some(id) != listing.checkpoint.as_ref() {
            writeln!(out, "{id}: another checkpoint")?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What is special about an array, in a few words.
fn state_of(array: &Listed) -> String {
    let words = [
        (array.max_len.is_some(), "growing"),
        (array.is_frozen, "frozen"),
        (array.is_poisoned, "poisoned"),
    ];
    let words = words
        .into_iter()
        .filter_map(|(is, word)| is.then_some(word));
    words.collect::<Vec<_>>().join(", ")
}

fn listed_json(array: &Listed) -> serde_json::Value {
    json!({
        "name": array.name,
        "dtype": array.dtype.to_string(),
        "shape": array.shape,
        "order": match array.order {
            Order::C => "C",
            Order::F => "F",
        },
        "bytes": array.byte_len,
        "max_len": array.max_len,
        "frozen": array.is_frozen,
        "poisoned": array.is_poisoned,
    })
}

/// The name and the ranges in `NAME[A:B, ...]`.
fn part_of(text: &str) -> Result<(&str, Vec<Range<usize>>), Failure> {
    let parse = || {
        let (name, rest) = text.split_once('[')?;
        let ranges = rest.strip_suffix(']')?.split(',').map(|range| {
            let (start, end) = range.trim().split_once(':')?;
            Some(start.trim().parse().ok()?..end.trim().parse().ok()?)
        });
        Some((name, ranges.collect::<Option<Vec<_>>>()?))
    };
    parse().ok_or_else(|| {
        Failure::usage(format!(
            "{text}: it is no part of an array: write a range along each axis, 'xs[0:10, 5:20]'"
        ))
    })
}

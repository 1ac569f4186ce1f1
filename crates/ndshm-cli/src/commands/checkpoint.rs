//! `checkpoint`: a store as a Zarr v3 group in a directory or an object store.

use crate::{
    Outcome,
    commands::place,
    context::Context,
    display::text,
    failure::{Failure, printable},
};
use ndshm::{Checkpoint, Error, Structs};
use serde_json::json;
use std::{io::Write, path::PathBuf, process::ExitCode};

/// Write the named arrays of a store into a directory or an object store, as a Zarr v3 group
///
/// All arrays are read at one moment; writers wait for the slabs before their own. The checkpoint
/// is a folder of its own in PLACE, there whole or not at all, which zarr-python, xarray,
/// tensorstore and zarrs read and ndshm restore brings back. Only chunks that PLACE does not have
/// yet are sent. Rings and arrays without a name are left.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm checkpoint run /data/checkpoints --keep 3
  ndshm checkpoint run s3://bucket/run --zstd 1")]
pub(crate) struct Args {
    /// The store: a name or a directory
    #[arg(value_name = "STORE")]
    store: PathBuf,
    /// The directory of the checkpoints, or s3://BUCKET/PREFIX
    #[arg(value_name = "PLACE")]
    place: String,
    /// Delete all but the newest N checkpoints in PLACE afterwards
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Write structs as an array for each field, which every reader takes, or as Zarr's struct,
    /// which needs zarr-python 3.4
    #[arg(long, value_name = "HOW", default_value = "fields")]
    structs: How,
    /// Compress the chunks by zstd at this level, from 1 to 22
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(i32).range(1..=22))]
    zstd: Option<i32>,
    /// Make each chunk a shard of inner chunks of about so many MiB
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=64))]
    shards: Option<u32>,
    /// Take arrays that a dead writer left half-written too, and mark them as poisoned
    #[arg(long)]
    poisoned: bool,
    /// Read each array at a moment of its own, so that writers wait less
    #[arg(long)]
    each: bool,
    #[command(flatten)]
    transfer: place::Transfer,
}

/// How structs are written.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum How {
    Fields,
    Struct,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let manager = context.open_store(&args.store, false)?;
    let bucket = place::open(&args.place)?;
    let bar = place::bar(context, &args.place);
    let show = |done, total| bar.show(done, total);
    let mut checkpoint = Checkpoint::new()
        .only(&args.transfer.only)
        .in_flight(args.transfer.in_flight as usize)
        .structs(match args.structs {
            How::Fields => Structs::Fields,
            How::Struct => Structs::Struct,
        })
        .progress(&show);
    if let Some(keep) = args.keep {
        checkpoint = checkpoint.keep(keep as usize);
    }
    if let Some(level) = args.zstd {
        checkpoint = checkpoint.zstd(level);
    }
    if let Some(mib) = args.shards {
        checkpoint = checkpoint.sharded((mib as usize) << 20);
    }
    if args.poisoned {
        checkpoint = checkpoint.poisoned();
    }
    if args.each {
        checkpoint = checkpoint.each_by_itself();
    }
    let written = checkpoint.write(&manager, &*bucket).map_err(failure_of)?;
    drop(bar);
    place::report_left(&written.left)?;
    if !written.is_compared {
        let line = format!(
            "{}: it does not compare before it replaces an object (If-Match): of two checkpoints \
             that end at the same time, the one that writes last is the latest",
            args.place
        );
        writeln!(anstream::stderr(), "{}", printable(&line))?;
    }
    if !written.is_latest {
        let line = "a newer checkpoint was written meanwhile, and stays the latest";
        writeln!(anstream::stderr(), "{line}")?;
    }
    if context.is_json {
        context.print_json(&json!({
            "checkpoint": written.id,
            "group": format!("{}/{}", args.place.trim_end_matches('/'), written.id),
            "arrays": written.arrays,
            "bytes": written.byte_len,
            "sent": written.sent,
            "referred": written.referred,
            "latest": written.is_latest,
            "compared": written.is_compared,
            "deleted": written.deleted,
            "left": place::left_json(&written.left),
        }))?;
    } else {
        let mut out = context.out();
        let group = format!("{}/{}", args.place.trim_end_matches('/'), written.id);
        writeln!(
            out,
            "{}  {}, {}: {} sent, {} there already",
            printable(&group),
            text::count(written.arrays, "array"),
            text::bytes(written.byte_len),
            text::bytes(written.sent),
            text::bytes(written.referred)
        )?;
        if !written.deleted.is_empty() {
            writeln!(
                out,
                "deleted {}",
                text::count(written.deleted.len(), "checkpoint")
            )?;
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The failure of a checkpoint, with the option of the tool that helps.
fn failure_of(error: Error) -> Failure {
    match error {
        error @ Error::Poisoned { .. } => {
            let failure = Failure::from(error);
            let advice = "--poisoned takes them as they are, and marks the array";
            Failure::new(failure.code(), format!("{failure}, or {advice}"))
        }
        error @ Error::Timeout { .. } => {
            let failure = Failure::from(error);
            let advice = "--wait waits longer, --each reads one array after another";
            Failure::new(failure.code(), format!("{failure}; {advice}"))
        }
        error => error.into(),
    }
}

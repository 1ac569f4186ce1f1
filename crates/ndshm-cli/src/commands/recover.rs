//! `recover`: ends the poison of bytes that a dead writer left half-written.

use crate::{
    Outcome,
    context::Context,
    display::text,
    elements::scalar,
    failure::Failure,
    target::{For, Target},
};
use serde_json::json;
use std::{io::Write, process::ExitCode};

/// Make bytes that a dead writer left half-written usable again: set them anew, or keep them
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm recover 'run/frames[0:10]' --fill 0
  ndshm recover run/frames --keep")]
#[command(group(clap::ArgGroup::new("bytes").required(true).args(["fill", "keep"])))]
pub(crate) struct Args {
    /// The array, with an optional slice: all elements of it are set, or kept
    array: String,
    /// Set all elements of the array or slice to this value
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    fill: Option<String>,
    /// Keep the bytes as they are: you checked them, or will compute them anew
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let array = Target::find(context, &args.array)?.open(For::Writing)?;
    let before = array.poisoned()?;
    if before.is_empty() {
        return finish(context, 0, 0, "no byte is poisoned");
    }
    scalar::recover(&array, args.fill.as_deref())?;
    let bytes = before.iter().map(|range| range.len() as u64).sum();
    let left = array.poisoned()?.len();
    finish(
        context,
        bytes,
        left,
        &format!(
            "recovered {} in {}",
            text::bytes(bytes),
            text::count(before.len(), "range")
        ),
    )
}

fn finish(context: &Context, bytes: u64, left: usize, words: &str) -> Outcome {
    if context.is_json {
        context.print_json(&json!({ "recovered_bytes": bytes, "ranges_left": left }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = context.out();
    writeln!(out, "{words}")?;
    out.flush().map_err(Failure::from)?;
    Ok(ExitCode::SUCCESS)
}

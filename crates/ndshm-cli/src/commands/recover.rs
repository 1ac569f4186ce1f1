//! `recover`: gives bytes back to use that a dead writer left half-written.

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

/// Give back to use what a writer that died left half-written: set it anew, or keep it as it is
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("bytes").required(true).args(["fill", "keep"])))]
pub(crate) struct Args {
    /// The array, with an optional slice: all of its elements are set, or kept
    array: String,
    /// Set all elements of what was named to this value
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    fill: Option<String>,
    /// Keep the bytes as they are: you looked at them, or will compute them anew
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let array = Target::find(context, &args.array)?.open(For::Writing)?;
    let before = array.poisoned()?;
    if before.is_empty() {
        return finish(context, 0, 0, "nothing is poisoned there");
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

//! `freeze`: ends all writing to arrays.

use crate::{
    Outcome,
    context::Context,
    failure::Failure,
    target::{For, Target},
};
use std::process::ExitCode;

/// Freeze arrays: no process can write them from then on
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The arrays
    #[arg(required = true)]
    arrays: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    // All of them are found and opened before the first is frozen, which cannot be undone.
    let mut arrays = Vec::new();
    for text in &args.arrays {
        let target = Target::find(context, text)?;
        if target.is_sliced() {
            return Err(Failure::usage(format!(
                "{text}: arrays are frozen as a whole: leave the slice out"
            )));
        }
        arrays.push(target.open(For::Writing)?);
    }
    for array in &arrays {
        array.freeze()?;
    }
    Ok(ExitCode::SUCCESS)
}

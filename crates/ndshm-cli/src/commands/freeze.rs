//! `freeze`: ends all writing to arrays.

use crate::{
    Outcome,
    context::Context,
    failure::Failure,
    target::{For, Target},
};
use ndshm::{AnyArray, AnyGrowing, ArrayKind};
use std::process::ExitCode;

/// An array that was opened to be frozen.
enum Freezable {
    Array(AnyArray),
    Growing(AnyGrowing),
}

/// Freeze arrays: no process can write them from then on, nor append rows
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm freeze frames
  ndshm freeze 'run/frame-*'")]
pub(crate) struct Args {
    /// The arrays, or patterns such as 'frame-*'
    #[arg(required = true)]
    arrays: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    // All of them are found and opened before the first is frozen, which cannot be undone.
    let mut arrays = Vec::new();
    for text in &args.arrays {
        for target in Target::find_all(context, text)? {
            if target.is_sliced() {
                return Err(Failure::usage(format!(
                    "{text}: arrays are frozen as a whole: leave the slice out"
                )));
            }
            arrays.push(match target.info()?.kind {
                ArrayKind::Growing => Freezable::Growing(target.growing()?),
                _ => Freezable::Array(target.open(For::Writing)?),
            });
        }
    }
    for array in &arrays {
        match array {
            Freezable::Array(array) => array.freeze()?,
            Freezable::Growing(log) => log.freeze()?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! `fill`: sets elements to one value.

use crate::{
    Outcome,
    context::Context,
    display::bar::Bar,
    elements::{chunks, scalar},
    failure::{Code, Failure, printable},
    target::{For, Target},
};
use ndshm::AnyArray;
use serde_json::json;
use std::process::ExitCode;

/// Set all elements of an array, a slice or a field to one value, under a guard for each piece
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm fill 'frames[0, ::2]' nan
  ndshm fill 'points[\"position\"][:, 0]' -- -1.5")]
pub(crate) struct Args {
    /// The array, with optional slices and fields
    array: String,
    /// The value, of the type of the elements: 1, -2.5, nan, inf, true, 1+2j
    #[arg(allow_hyphen_values = true)]
    value: String,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let array = Target::find(context, &args.array)?.open(For::Writing)?;
    // The items of elements such as (3,)<f4 are set one by one.
    let array = match array.dtype().to_string().starts_with('(') {
        true => array.unpack()?,
        false => array,
    };
    scalar::check(&array, &args.value)?;
    fill(context, &array, &args.value)?;
    if context.is_json {
        context.print_json(&json!({
            "path": array.path(),
            "elements": array.len(),
        }))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn fill(context: &Context, array: &AnyArray, value: &str) -> Result<(), Failure> {
    let bar = Bar::new(
        printable(&array.path().display().to_string()),
        !context.is_json,
    );
    let itemsize = array.dtype().itemsize() as u64;
    let (mut filled, total) = (0, array.len() as u64);
    for piece in chunks::of(array, chunks::PIECE) {
        let part = chunks::view(array, &piece)?;
        scalar::fill(&part, value).map_err(|failure| match (failure.code(), filled) {
            (Code::Busy | Code::Refused, 1..) => Failure::new(
                failure.code(),
                format!("{failure}; {filled} of {total} elements are filled"),
            ),
            _ => failure,
        })?;
        filled += part.len() as u64;
        bar.show(filled * itemsize, total * itemsize);
    }
    Ok(())
}

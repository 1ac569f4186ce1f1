//! `tail`: the last rows of an array that grows, and those that come.

use crate::{
    Outcome, context::Context, display::preview, elements::reading::Reading, failure::Failure,
    target::Target,
};
use ndarray::Axis;
use ndshm::{AnyGrowing, Error};
use std::{io::Write, process::ExitCode, time::Duration};

/// How long each wait for rows takes; then the next one begins.
const PATIENCE: Duration = Duration::from_secs(1);
/// Rows that are looked at together.
const TOGETHER: usize = 1000;

/// Show the last rows of an array that grows, a line for each with its index; takes no lock
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The array
    array: String,
    /// The number of rows
    #[arg(short = 'n', long, default_value_t = 10, value_name = "N")]
    rows: usize,
    /// Show rows as they are appended, until the growth ends
    #[arg(short, long)]
    follow: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    if context.is_json {
        return Err(Failure::usage(
            "tail has no JSON: ndshm export writes the rows as .npy",
        ));
    }
    let target = Target::find(context, &args.array)?;
    if target.is_sliced() {
        return Err(Failure::usage(format!(
            "{}: tail chooses rows by -n; ndshm show takes slices",
            args.array
        )));
    }
    let log = target.growing()?;
    let mut out = context.out();
    let mut seen = log.len();
    print(&mut out, &log, seen.saturating_sub(args.rows), seen)?;
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        // In this order: the last rows come before the end.
        let is_over = log.is_frozen();
        let len = match log.wait_grown(seen, PATIENCE) {
            Err(Error::Timeout { .. }) => continue,
            len => len?,
        };
        print(&mut out, &log, seen, len)?;
        seen = len;
        if is_over {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Rows of a range, a line for each; of more axes a block.
fn print(out: &mut impl Write, log: &AnyGrowing, first: usize, end: usize) -> Result<(), Failure> {
    let width = end.saturating_sub(1).to_string().len();
    for start in (first..end).step_by(TOGETHER) {
        let rows = log.rows(start..end.min(start + TOGETHER))?;
        for (at, index) in (start..end.min(start + TOGETHER)).enumerate() {
            let row = preview::of(&rows.index_axis(Axis(0), at)?, Reading::Locked)?;
            let row = row.replace('\n', &format!("\n{:width$}  ", ""));
            writeln!(out, "{index:width$}  {row}")?;
        }
    }
    Ok(out.flush()?)
}

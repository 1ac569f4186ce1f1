//! `tail`: the last rows of an array that grows, or the last frames of a ring, and those that come.

use crate::{
    Outcome,
    commands::follow::{self, Line, PATIENCE},
    context::Context,
    display::preview,
    elements::{json, reading::Reading},
    failure::Failure,
    signals,
    target::Target,
};
use ndarray::Axis;
use ndshm::{AnyFrame, AnyGrowing, AnyRing, AnySubscriber, Error};
use std::{io::Write, process::ExitCode};

/// Rows that are looked at together.
const TOGETHER: usize = 1000;
const EXAMPLES: &str = "\
Examples:
  ndshm tail run/log -n 3
  ndshm tail --follow --json run/log | jq '.values[0]'";

/// Show the last rows of an array that grows, a line for each with its index, or the last frames of
/// a ring; takes no lock
///
/// A ring keeps few frames: the last ones are those that are still there. With --json each row or
/// frame is one object in a line.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The array that grows, or the ring
    array: String,
    /// The number of rows or frames
    #[arg(short = 'n', long, default_value_t = 10, value_name = "N")]
    rows: usize,
    /// Show rows as they are appended, or frames as they are published, until there are no more
    #[arg(short, long)]
    follow: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let target = Target::find(context, &args.array)?;
    if target.is_sliced() {
        return Err(Failure::usage(format!(
            "{}: tail chooses rows by -n; ndshm show takes slices",
            args.array
        )));
    }
    if args.follow {
        signals::catch()?;
    }
    match target.ring()? {
        Some(ring) => frames(context, args, &ring),
        None => rows(context, args, &target.growing()?),
    }
}

fn rows(context: &Context, args: &Args, log: &AnyGrowing) -> Outcome {
    let mut out = context.out();
    let mut seen = log.len();
    print_rows(context, &mut out, log, seen.saturating_sub(args.rows), seen)?;
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        // In this order: the last rows come before the end.
        let is_over = log.is_frozen();
        let len = match log.wait_grown(seen, PATIENCE) {
            Err(Error::Timeout { .. } | Error::Interrupted { .. }) => match signals::ended() {
                Some(code) => return Ok(code),
                None => continue,
            },
            len => len?,
        };
        print_rows(context, &mut out, log, seen, len)?;
        seen = len;
        if is_over {
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(code) = signals::caught() {
            return Ok(code);
        }
    }
}

/// Rows of a range, a line for each; of more axes a block.
fn print_rows(
    context: &Context,
    out: &mut impl Write,
    log: &AnyGrowing,
    first: usize,
    end: usize,
) -> Result<(), Failure> {
    let width = end.saturating_sub(1).to_string().len();
    for start in (first..end).step_by(TOGETHER) {
        let rows = log.rows(start..end.min(start + TOGETHER))?;
        for (at, index) in (start..end.min(start + TOGETHER)).enumerate() {
            let row = rows.index_axis(Axis(0), at)?;
            if context.is_json {
                write!(out, "{{\"index\":{index},\"values\":")?;
                json::write(out, &row, Reading::Locked)?;
                writeln!(out, "}}")?;
                continue;
            }
            let row = preview::of(&row, Reading::Locked)?;
            let row = row.replace('\n', &format!("\n{:width$}  ", ""));
            writeln!(out, "{index:width$}  {row}")?;
        }
        if signals::caught().is_some() {
            break;
        }
    }
    Ok(out.flush()?)
}

fn frames(context: &Context, args: &Args, ring: &AnyRing) -> Outcome {
    let mut subscriber = ring.subscribe()?;
    // Those that are published from now on are the subscriber's, so none comes twice.
    let newest = match args.rows {
        0 => None,
        _ => subscriber.latest()?,
    };
    if let Some(newest) = newest {
        let number = newest.number();
        let kept = number.min((args.rows as u64).min(ring.frames() as u64));
        for earlier in number - kept + 1..number {
            // The producer may have overwritten it.
            if let Some(frame) = subscriber.frame(earlier)? {
                print_frame(context, frame, &subscriber)?;
            }
        }
        print_frame(context, newest, &subscriber)?;
    }
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    follow::each_frame(&mut subscriber, |frame, subscriber| {
        print_frame(context, frame, subscriber)
    })
}

/// A frame in a line, with its first elements; with --json all of them.
fn print_frame(
    context: &Context,
    frame: AnyFrame,
    subscriber: &AnySubscriber,
) -> Result<(), Failure> {
    let line = Line::of(&frame, subscriber);
    let mut out = context.out();
    if !context.is_json {
        let elements = preview::first(frame.dtype(), frame.bytes());
        drop(frame);
        writeln!(out, "{line}  {elements}")?;
        return Ok(out.flush()?);
    }
    // A slow reader of the output must not hold the frame.
    let (dtype, shape, bytes) = (frame.dtype().clone(), frame.shape(), frame.bytes().to_vec());
    drop(frame);
    let fields = line.to_json().to_string();
    let fields = fields.strip_suffix('}').unwrap_or(&fields);
    write!(out, "{fields},\"values\":")?;
    json::write_bytes(&mut out, &dtype, &shape, &bytes)?;
    writeln!(out, "}}")?;
    Ok(out.flush()?)
}

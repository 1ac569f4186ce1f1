//! `handle`: the texts by which another process opens arrays or parts of them.

use crate::{
    Outcome,
    context::Context,
    target::{Target, patterns},
};
use serde_json::json;
use std::{io::Write, process::ExitCode};

/// Print the handles by which another process opens arrays or parts of them
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm handle 'frames[0]'
  ndshm handle --read-only 'run/frame-*'")]
pub(crate) struct Args {
    /// The arrays, with an optional slice, or patterns such as 'frame-*'
    #[arg(required = true, value_name = "ARRAY")]
    arrays: Vec<String>,
    /// Print handles that give no write access
    #[arg(long)]
    read_only: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let mut handles = Vec::new();
    for text in &args.arrays {
        for target in Target::find_all(context, text)? {
            let handle = target.view_handle()?;
            handles.push(match args.read_only {
                true => handle.read_only(),
                false => handle,
            });
        }
    }
    if context.is_json {
        let items: Vec<_> = handles
            .iter()
            .map(|handle| {
                json!({
                    "handle": handle.to_string(),
                    "path": handle.path(),
                    "writable": handle.is_writable(),
                })
            })
            .collect();
        // One array that is named without a pattern is an object.
        let is_one = matches!(&args.arrays[..], [only] if !patterns::is_pattern(only));
        match &items[..] {
            [item] if is_one => context.print_json(item)?,
            items => context.print_json(&json!(items))?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = context.out();
    for handle in &handles {
        writeln!(out, "{handle}")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

//! `handle`: the text that names an array or a part of it for another process.

use crate::{Outcome, context::Context, target::Target};
use serde_json::json;
use std::{io::Write, process::ExitCode};

/// Print the handle of an array or of a part of it, for another process
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The array, with an optional slice
    array: String,
    /// A handle that cannot be written through
    #[arg(long)]
    read_only: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let target = Target::find(context, &args.array)?;
    let handle = target.view_handle()?;
    let handle = if args.read_only {
        handle.read_only()
    } else {
        handle
    };
    match context.is_json {
        true => context.print_json(&json!({ "handle": handle.to_string(), "path": handle.path(), "writable": handle.is_writable() }))?,
        false => {
            let mut out = context.out();
            writeln!(out, "{handle}")?;
            out.flush()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! `handle`: the text by which another process opens an array or a part of it.

use crate::{Outcome, context::Context, target::Target};
use serde_json::json;
use std::{io::Write, process::ExitCode};

/// Print the handle by which another process opens an array or a part of it
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The array, with an optional slice
    array: String,
    /// Print a handle that gives no write access
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
        true => context.print_json(&json!({
            "handle": handle.to_string(),
            "path": handle.path(),
            "writable": handle.is_writable(),
        }))?,
        false => {
            let mut out = context.out();
            writeln!(out, "{handle}")?;
            out.flush()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

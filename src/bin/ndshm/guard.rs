//! `guard`: deletes an ephemeral store with the last of its processes.

use crate::{Outcome, context::Context};
use ndshm::Manager;
use serde_json::json;
use std::{io::Write, path::PathBuf, process::ExitCode};

/// Wait until no process is in an ephemeral store any more, and delete it then
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The store: its directory, or its name in the root
    #[arg(value_name = "STORE")]
    guarded: PathBuf,
    /// How a program starts this as the janitor of its store
    #[arg(long, hide = true, value_name = "STAGE")]
    janitor: Option<String>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    if let Some(stage) = &args.janitor {
        ndshm::__private::serve_as_janitor(stage, &args.guarded)?;
        return Ok(ExitCode::SUCCESS);
    }
    let store = context.find_store(&args.guarded)?;
    let swept = Manager::sweep_when_deserted(&store)?;
    if context.is_json {
        context.print_json(&json!({ "path": store, "deleted": swept.stores == 1, "arrays": swept.arrays, "bytes": swept.bytes }))?;
    } else {
        let mut out = context.out();
        match swept.stores {
            0 => writeln!(out, "{}: left as it is: it was kept, or deleted by others", store.display())?,
            _ => writeln!(out, "{}: deleted with {} arrays", store.display(), swept.arrays)?,
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

//! `guard`: deletes an ephemeral store when its last process is gone.

use crate::{
    Outcome,
    context::Context,
    display::text,
    failure::{Code, Failure},
};
use ndshm::{Manager, Observer};
use serde_json::json;
use std::{io::Write, path::PathBuf, process::ExitCode};

/// Wait until the last process of an ephemeral store is gone, then delete the store
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm guard run-7 &
  ndshm guard run-7 --wait 60")]
pub(crate) struct Args {
    /// The store: its directory, or its name in the root
    #[arg(value_name = "STORE")]
    guarded: PathBuf,
    /// The stage of a janitor: a program starts this process as the janitor of its store
    #[arg(long, hide = true, value_name = "STAGE")]
    janitor: Option<String>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    if let Some(stage) = &args.janitor {
        Manager::serve_as_janitor(stage, &args.guarded)?;
        return Ok(ExitCode::SUCCESS);
    }
    let store = context.find_store(&args.guarded)?;
    if Observer::open(&store)?.is_persistent() {
        let why = "the store is persistent and stays when its processes are gone; ndshm rm \
                   --whole-store deletes it";
        return Err(Failure::new(
            Code::Refused,
            format!("{}: {why}", store.display()),
        ));
    }
    let swept = match context.given_patience {
        Some(patience) => Manager::sweep_when_deserted_timeout(&store, patience)?,
        None => Manager::sweep_when_deserted(&store)?,
    };
    if context.is_json {
        context.print_json(&json!({
            "path": store,
            "deleted": swept.stores == 1,
            "arrays": swept.arrays,
            "bytes": swept.bytes,
        }))?;
    } else {
        let mut out = context.out();
        match swept.stores {
            0 => writeln!(
                out,
                "{}: not deleted: a process made it persistent, or deleted it before",
                store.display()
            )?,
            _ => writeln!(
                out,
                "{}: deleted with {}",
                store.display(),
                text::count(swept.arrays, "array")
            )?,
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

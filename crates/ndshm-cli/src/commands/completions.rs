//! `completions`: the script by which a shell completes commands and options.

use crate::{Cli, Outcome, context::Context};
use clap::CommandFactory;
use clap_complete::Shell;
use std::{io::Write, process::ExitCode};

/// Print the script by which a shell completes commands: ndshm completions bash >
/// ~/.local/share/bash-completion/completions/ndshm
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ndshm", &mut text);
    let mut out = context.out();
    out.write_all(&text)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

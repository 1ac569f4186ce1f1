//! `completions`: the script by which a shell completes commands, options, arrays and stores.

use crate::{Cli, Outcome, context::Context};
use clap::CommandFactory;
use clap_complete::Shell;
use std::{io::Write, process::ExitCode};

/// The scripts call `ndshm __complete`, which knows the arrays and stores of the moment.
const BASH: &str = include_str!("completions/ndshm.bash");
const ZSH: &str = include_str!("completions/ndshm.zsh");
const FISH: &str = include_str!("completions/ndshm.fish");

/// Print the script by which a shell completes commands, options, and names of arrays and stores
///
/// bash: ndshm completions bash > ~/.local/share/bash-completion/completions/ndshm
///
/// zsh: ndshm completions zsh > a file _ndshm in a directory of $fpath
///
/// fish: ndshm completions fish > ~/.config/fish/completions/ndshm.fish
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  source <(ndshm completions bash)
  ndshm completions fish > ~/.config/fish/completions/ndshm.fish")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let mut text = Vec::new();
    match args.shell {
        Shell::Bash => text.extend(BASH.bytes()),
        Shell::Zsh => text.extend(ZSH.bytes()),
        Shell::Fish => text.extend(FISH.bytes()),
        // Commands and options alone.
        other => clap_complete::generate(other, &mut Cli::command(), "ndshm", &mut text),
    }
    let mut out = context.out();
    out.write_all(&text)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

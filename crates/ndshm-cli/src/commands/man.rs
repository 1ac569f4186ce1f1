//! `man`: the manual pages, made from the texts of --help.

use crate::{Cli, Outcome, context::Context, failure::Failure};
use clap::CommandFactory;
use std::{fs, io::Write, path::PathBuf, process::ExitCode};

/// Print the manual page, or write the pages of all commands: ndshm man | man -l -
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm man | man -l -
  ndshm man --dir ~/.local/share/man/man1")]
pub(crate) struct Args {
    /// Write ndshm.1, ndshm-ls.1, ... into this directory instead
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let mut command = Cli::command();
    command.build();
    match &args.dir {
        None => {
            let mut out = context.out();
            out.write_all(&page(command)?)?;
            out.flush()?;
        }
        Some(directory) => {
            fs::create_dir_all(directory)?;
            for sub in command
                .get_subcommands()
                .filter(|sub| sub.get_name() != "help" && !sub.is_hide_set())
            {
                let name = format!("ndshm-{}", sub.get_name());
                fs::write(directory.join(format!("{name}.1")), page(sub.clone())?)?;
            }
            fs::write(directory.join("ndshm.1"), page(command)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn page(command: clap::Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(page)
}

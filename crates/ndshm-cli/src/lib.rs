//! The command-line tool: see, check, move and clean what fills /dev/shm.
//!
//! It stands on the public interface of the library and on /proc. How it is laid out:
//!
//! - `commands`: a module for each command.
//! - `context`: what every command gets: the store that was asked for, output, colours, JSON.
//! - `target`: how an array is named (name, path, handle, each with an optional `[slice]`), and how
//!   it is found. `target::slice`: NumPy's syntax.
//! - `failure`: the one error type, its line for people, its exit code.
//! - `survey`: all stores and arrays at once, for `ls` and `top`, and the fields of `--json`.
//!   `survey::proc`: who has what mapped, from /proc.
//! - `elements`: arrays of any size, read piece by piece (`chunks`, `tally`), and their elements as
//!   numbers (`scalar`).
//! - `display`: elements, pictures, numbers and words for people.

mod commands;
mod context;
mod display;
mod elements;
mod failure;
mod survey;
mod target;

use clap::{ColorChoice, Parser};
use commands::Command;
use context::Context;
use failure::Failure;
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// What a command gives: the exit code of its success, mostly 0.
type Outcome = Result<ExitCode, Failure>;

/// How arrays are named and which codes there are, for --help and the manual page.
const AFTER_HELP: &str = "\
Arrays:
  NAME            in the store of --store or NDSHM_STORE; else the only store that has one of this name
  STORE/NAME      in a store of the root, by name
  PATH            its file
  ndshm1:...      a handle
  each with an optional slice as in NumPy: 'xs[0:10, ::2]', 'xs[-1]', 'xs[..., 0]'. Arrays without a name: their id, or its first digits.

Exit codes:
  0  done
  1  failed: no space, an error of the operating system, ...
  2  the command line is wrong
  3  no such store or array
  4  refused: it exists already, is frozen, read-only, poisoned, another's, or not to be trusted
  5  a file is damaged
  6  somebody holds it, and the time to wait is over

Environment:
  NDSHM_STORE     the store in which names are looked for
  NDSHM_ROOT      where the stores are; else /dev/shm/ndshm-<uid>
  NO_COLOR        no colours, which there are on a terminal only";

/// See, check, move and clean shared arrays.
#[derive(Parser)]
#[command(name = "ndshm", version, after_help = AFTER_HELP, max_term_width = 120, infer_subcommands = false)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The store: its directory, or its name in the root
    #[arg(
        long,
        global = true,
        env = "NDSHM_STORE",
        value_name = "STORE",
        hide_env_values = true
    )]
    store: Option<PathBuf>,
    /// Print JSON, with field names that stay
    #[arg(long, global = true)]
    json: bool,
    /// Wait so long for guards that others hold
    #[arg(long, global = true, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    wait: Duration,
    /// Colours
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = false
    )]
    color: ColorChoice,
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "a number of seconds is needed".into())
}

fn run(cli: &Cli) -> Outcome {
    let context = Context::new(cli.store.clone(), cli.json, cli.wait, cli.color);
    cli.command.run(&context)
}

/// Runs the tool with the arguments of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

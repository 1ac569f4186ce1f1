//! The command-line tool `ndshm`: see, check, move and delete the arrays in /dev/shm.
//!
//! It uses the public interface of the library, and /proc. Its modules:
//!
//! - `commands`: a module for each command.
//! - `context`: the options that all commands share: the store, output, colours, JSON.
//! - `target`: finds an array by its name, path, id or handle, each with optional slices and
//!   fields. `target::selector` and `target::slice`: NumPy's syntax. `target::patterns`: several
//!   arrays. `target::nearest`: names that are close to a wrong one.
//! - `shell`: words in quotes, and slices that were not in quotes.
//! - `failure`: the only error type, with its line for users and its exit code.
//! - `survey`: all stores and arrays at once, for `ls` and `top`, and the fields of `--json`.
//!   `survey::proc`: the files that each process has mapped, from /proc.
//! - `elements`: arrays of any size, read piece by piece (`chunks`, `stream`, `tally`), and their
//!   elements as numbers (`scalar`; `number` and `columns` for types that are known at run time).
//! - `display`: elements, pictures, numbers and words for the terminal.
//! - `signals`: ends commands that wait or watch.
//! - `users`: a command over the roots of all users, in processes with the rights of each.

mod commands;
mod context;
mod display;
mod elements;
mod failure;
mod shell;
mod signals;
mod survey;
mod target;
mod users;

use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, error::ErrorKind};
use commands::Command;
use context::Context;
use failure::{Code, Failure};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use target::Target;

/// The result of a command: the exit code of its success, mostly 0.
type Outcome = Result<ExitCode, Failure>;

/// The names of arrays, the exit codes and the variables, for --help and the manual page.
const AFTER_HELP: &str = "\
Arrays:
  NAME            in the store of --store or NDSHM_STORE; else in the only store with an array of \
this name
  STORE/NAME      in a store of the root, by name
  PATH            its file
  ndshm1:...      a handle
  ID              its id, or the first digits of it, also STORE/ID
  each with optional slices and fields as in NumPy: 'xs[0:10, ::2]', 'xs[-1]', 'xs[..., 0]', \
'points[\"position\"][:, 0]'.
  Where several arrays can be named, 'frame-*' and 'run/tmp-?' are all that match. An array whose \
name has these characters wins.

Exit codes:
  0  done
  1  failed: no space, an error of the operating system, ...
  2  the command line is wrong
  3  no such store or array
  4  refused: it exists already, is frozen, read-only, poisoned, owned by another process, or not \
trusted
  5  a file is damaged
  6  another process holds a guard on it, or an event did not come, and the time of --wait is over
  diff has those of diff: 0 equal, 1 different, 2 trouble; sum --check has 1 for digests that differ

Environment:
  NDSHM_STORE     the store of the names
  NDSHM_ROOT      the directory of the stores; else /dev/shm/ndshm-<uid>
  NDSHM_JANITOR   the program that ndshm run starts as the janitor of its store; else this one
  NO_COLOR        no colours on a terminal; elsewhere there are none";

/// See, check, move and delete shared arrays.
#[derive(Parser)]
#[command(
    name = "ndshm",
    version,
    after_help = AFTER_HELP,
    max_term_width = 120,
    infer_subcommands = false
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The store: its directory, or its name in the root
    #[arg(
        long,
        global = true,
        env = STORE_VARIABLE,
        value_name = "STORE",
        hide_env_values = true
    )]
    store: Option<PathBuf>,
    /// Print JSON; later versions keep the names of its fields
    #[arg(long, global = true)]
    json: bool,
    /// The longest wait for guards and locks that other processes hold, and for the events of the
    /// command wait [default: 10, for the commands guard and wait no limit]
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,
    /// Take the rights of this user first: root starts a worker for each user of --all-users
    #[arg(long, global = true, hide = true, value_name = "UID")]
    as_user: Option<u32>,
    /// When to print colours
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = false
    )]
    color: ColorChoice,
}

/// A time in seconds; `inf`, and a time that no clock can count, is one without an end.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds >= 0.0 => {
            Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
        }
        Ok(seconds) if seconds < 0.0 => Err("a time cannot be negative".into()),
        _ => Err("a number of seconds is needed".into()),
    }
}

fn run(cli: &Cli) -> Outcome {
    if let Some(user) = cli.as_user {
        users::take_rights_of(user)?;
    }
    let context = Context::new(cli.store.clone(), cli.json, cli.wait, cli.color);
    cli.command.run(&context).map_err(|failure| {
        let may_be_a_slice = matches!(failure.code(), Code::Usage | Code::NotFound);
        let unquoted = may_be_a_slice.then(|| unquoted_slice(&context)).flatten();
        unquoted.unwrap_or(failure)
    })
}

/// Reports a command line that clap refuses.
fn report(error: &clap::Error) -> ExitCode {
    if error.kind() == ErrorKind::UnknownArgument {
        let store = ndshm::__private::trusted_variable(STORE_VARIABLE).map(PathBuf::from);
        let context = Context::new(store, false, None, ColorChoice::Auto);
        if let Some(failure) = unquoted_slice(&context) {
            return failure.report();
        }
    }
    error.exit()
}

/// The variable that names the store.
const STORE_VARIABLE: &str = "NDSHM_STORE";

/// The command line of this process. A tool with raised rights (setuid) believes no variable.
fn command_line() -> Result<Cli, clap::Error> {
    let command = Cli::command();
    let is_set = std::env::var_os(STORE_VARIABLE).is_some();
    let command = if is_set && ndshm::__private::trusted_variable(STORE_VARIABLE).is_none() {
        command.mut_arg("store", |store| store.env(None::<&str>))
    } else {
        command
    };
    Cli::from_arg_matches(&command.try_get_matches()?)
}

/// The failure of a command line whose slice was not in quotes, if it can be the cause of another
/// failure.
fn unquoted_slice(context: &Context) -> Option<Failure> {
    let words: Vec<_> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let is_file = |word: &str| Path::new(word).symlink_metadata().is_ok();
    let is_array = |word: &str| Target::find(context, word).is_ok();
    shell::unquoted_slice(&words, is_file, is_array).map(Failure::usage)
}

/// Runs the tool with the arguments of this process.
pub fn main() -> ExitCode {
    // A write beyond the limit on the size of files is an error then, not the end of the process.
    // An exec resets the handler.
    let exceeded = Arc::new(AtomicBool::new(false));
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, exceeded);
    let cli = match command_line() {
        Ok(cli) => cli,
        Err(error) => return report(&error),
    };
    match run(&cli) {
        Ok(code) => code,
        // A wait that a signal ended is no failure.
        Err(failure) => signals::caught().unwrap_or_else(|| failure.report()),
    }
}

//! `__complete`: the candidates for a word that a shell completes, one in each line.
//!
//! It looks at directories alone: it takes no lock, joins no store and opens no array, so it never
//! waits. Names with control characters are left out.

mod line;
mod names;

use crate::{Outcome, context::Context};
use line::Line;
use std::{ffi::OsString, io::Write, process::ExitCode};

/// Print the candidates for a word of a command line, for the scripts of ndshm completions
#[derive(clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
    /// The characters at which bash breaks words
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    breaks: String,
    /// The command line up to the cursor in one word for bash, else its words
    #[arg(last = true)]
    words: Vec<OsString>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let words = args.words.iter().map(|word| word.to_string_lossy());
    let line = match args.shell {
        Shell::Bash => Line::parse(&words.collect::<String>()),
        // These shells unquote the words themselves, but fish not the last one.
        Shell::Zsh => Line::of_words(words.map(|word| word.into_owned()).collect()),
        Shell::Fish => {
            let mut words: Vec<_> = words.map(|word| word.into_owned()).collect();
            let last = words.pop().map(|last| Line::parse(&last).current);
            words.push(last.unwrap_or_default());
            Line::of_words(words)
        }
    };
    let mut out = context.out();
    for candidate in names::candidates(context, &line) {
        if candidate.chars().any(char::is_control) {
            continue;
        }
        let text = match args.shell {
            Shell::Bash => line.in_bash(&candidate, &args.breaks),
            Shell::Zsh | Shell::Fish => candidate,
        };
        writeln!(out, "{text}")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

//! The commands, a module for each.
//!
//! A command's module has `struct Args` (clap; its doc comment is the help) and
//! `fn run(&Context, &Args) -> Outcome`. A new command also takes a line in [`Command`] and one in
//! [`Command::run`].

mod append;
mod attrs;
mod cat;
mod checkpoint;
mod complete;
mod completions;
mod copying;
mod cp;
mod diff;
mod export;
mod fill;
mod follow;
mod freeze;
mod guard;
mod handle;
mod import;
mod locks;
mod ls;
mod man;
mod metrics;
mod mv;
mod new;
mod place;
mod plot;
mod recover;
mod restore;
mod rm;
mod run;
mod show;
mod sum;
mod sweep;
mod tail;
mod top;
mod verify;
mod wait;
mod watch;

use crate::{Outcome, context::Context};
use clap::Subcommand;

/// In the order of the help.
#[derive(Subcommand)]
pub(crate) enum Command {
    Ls(ls::Args),
    Locks(locks::Args),
    Show(show::Args),
    Plot(plot::Args),
    Tail(tail::Args),
    Cat(cat::Args),
    New(new::Args),
    Cp(cp::Args),
    Mv(mv::Args),
    Fill(fill::Args),
    Attrs(attrs::Args),
    Handle(handle::Args),
    Freeze(freeze::Args),
    Recover(recover::Args),
    Rm(rm::Args),
    Sweep(sweep::Args),
    Top(top::Args),
    Metrics(metrics::Args),
    Export(export::Args),
    Import(import::Args),
    Checkpoint(checkpoint::Args),
    Restore(restore::Args),
    Append(append::Args),
    Diff(diff::Args),
    Sum(sum::Args),
    Verify(verify::Args),
    Run(run::Args),
    Guard(guard::Args),
    Wait(wait::Args),
    Completions(completions::Args),
    #[command(name = "__complete")]
    Complete(complete::Args),
    Man(man::Args),
}

impl Command {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::Ls(args) => ls::run(context, args),
            Self::Locks(args) => locks::run(context, args),
            Self::Show(args) => show::run(context, args),
            Self::Plot(args) => plot::run(context, args),
            Self::Tail(args) => tail::run(context, args),
            Self::Cat(args) => cat::run(context, args),
            Self::New(args) => new::run(context, args),
            Self::Cp(args) => cp::run(context, args),
            Self::Mv(args) => mv::run(context, args),
            Self::Fill(args) => fill::run(context, args),
            Self::Attrs(args) => attrs::run(context, args),
            Self::Handle(args) => handle::run(context, args),
            Self::Freeze(args) => freeze::run(context, args),
            Self::Recover(args) => recover::run(context, args),
            Self::Rm(args) => rm::run(context, args),
            Self::Sweep(args) => sweep::run(context, args),
            Self::Top(args) => top::run(context, args),
            Self::Metrics(args) => metrics::run(context, args),
            Self::Export(args) => export::run(context, args),
            Self::Import(args) => import::run(context, args),
            Self::Checkpoint(args) => checkpoint::run(context, args),
            Self::Restore(args) => restore::run(context, args),
            Self::Append(args) => append::run(context, args),
            Self::Diff(args) => diff::run(context, args),
            Self::Sum(args) => sum::run(context, args),
            Self::Verify(args) => verify::run(context, args),
            Self::Run(args) => run::run(context, args),
            Self::Guard(args) => guard::run(context, args),
            Self::Wait(args) => wait::run(context, args),
            Self::Completions(args) => completions::run(context, args),
            Self::Complete(args) => complete::run(context, args),
            Self::Man(args) => man::run(context, args),
        }
    }
}

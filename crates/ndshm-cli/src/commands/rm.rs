//! `rm`: deletes arrays and stores.

use crate::{
    Outcome,
    context::Context,
    failure::{Code, Failure},
    target::{For, Target},
};
use ndshm::{Manager, Observer};
use std::{path::Path, process::ExitCode};

/// Delete arrays, or with --whole-store a whole store; processes that have them open keep using
/// them
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The arrays
    #[arg(required_unless_present = "stores")]
    arrays: Vec<String>,
    /// Delete this store with all its arrays: a persistent one, or one without living processes
    #[arg(short = 'r', long = "whole-store", value_name = "STORE")]
    stores: Vec<String>,
    /// Delete also arrays that a living process owns or has guards on, and stores with members
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    for text in &args.arrays {
        let target = Target::find(context, text).map_err(|failure| {
            match context.find_store(Path::new(text)) {
                Ok(_) if failure.code() == Code::NotFound => Failure::new(
                    Code::NotFound,
                    format!(
                        "{text}: it is a store; --whole-store deletes a store with all its arrays"
                    ),
                ),
                _ => failure,
            }
        })?;
        if target.is_sliced() {
            return Err(Failure::usage(format!(
                "{text}: arrays are deleted as a whole: leave the slice out"
            )));
        }
        remove(&target, args.force)?;
    }
    for store in &args.stores {
        remove_store(context, &context.find_store(Path::new(store))?, args.force)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Deletes an array. With `force` also one that is in use.
pub(crate) fn remove(target: &Target, force: bool) -> Result<(), Failure> {
    let info = target.info()?;
    if !force {
        let state = target.observer()?.state(&info)?;
        let refuse = |why: String| {
            Err(Failure::new(
                Code::Refused,
                format!(
                    "{}: {why}; --force deletes it nevertheless",
                    info.path.display()
                ),
            ))
        };
        if let Some(owner) = state.owner.filter(|owner| owner.is_alive) {
            return refuse(format!(
                "member {} of the store, which is alive, owns it",
                owner.id
            ));
        }
        if let Some(guard) = state.guards.first() {
            return refuse(format!("member {} holds a guard on it", guard.member));
        }
    }
    Ok(target.open(For::Reading)?.release()?)
}

/// Deletes a store without living members. With `force` also a persistent one that has some.
pub(crate) fn remove_store(context: &Context, store: &Path, force: bool) -> Result<(), Failure> {
    let refuse = |why: String| {
        Err(Failure::new(
            Code::Refused,
            format!("{}: {why}", store.display()),
        ))
    };
    let observer = Observer::open(store)?;
    let members = observer.members()?.len();
    if !observer.is_persistent() || observer.is_closing() {
        if members > 0 {
            return refuse(format!(
                "it is ephemeral and has {members} living members: it ends with the process that \
                 made it"
            ));
        }
        drop(observer);
        let root = store.parent().unwrap_or(store);
        let swept = Manager::sweep_root_timeout(root, context.patience)?;
        return match swept.skipped.into_iter().next().filter(|_| store.exists()) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        };
    }
    if members > 0 && !force {
        return refuse(format!(
            "it has {members} living members; --force deletes it nevertheless"
        ));
    }
    Ok(context.join(store)?.close()?)
}

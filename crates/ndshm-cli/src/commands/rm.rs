//! `rm`: deletes arrays and stores.

use crate::{
    Outcome,
    context::Context,
    failure::{Code, Failure},
    target::Target,
};
use ndshm::{Manager, Observer};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Delete arrays, or with --whole-store a whole store; processes that have them open keep using
/// them
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm rm frames 'run/tmp-*'
  ndshm rm --whole-store run")]
pub(crate) struct Args {
    /// The arrays, or patterns such as 'tmp-*'
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
    // All of them are found, and may be deleted, before the first is deleted: a mistyped name in a
    // list is a mistake in the whole list.
    let mut targets: Vec<Target> = Vec::new();
    let mut ids = HashSet::new();
    for text in &args.arrays {
        for target in find(context, text)? {
            if ids.insert(target.info()?.id) {
                check(&target, args.force, "deletes")?;
                targets.push(target);
            }
        }
    }
    let mut stores: Vec<PathBuf> = Vec::new();
    for text in &args.stores {
        let store = context.find_store(Path::new(text))?;
        if !stores.contains(&store) {
            check_store(&store, args.force)?;
            stores.push(store);
        }
    }
    for target in &targets {
        remove(target)?;
    }
    for store in &stores {
        remove_store(context, store, args.force)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Finds the whole arrays that a text names.
fn find(context: &Context, text: &str) -> Result<Vec<Target>, Failure> {
    let targets = Target::find_all(context, text).map_err(|failure| {
        match context.find_store(Path::new(text)) {
            Ok(_) if failure.code() == Code::NotFound => Failure::new(
                Code::NotFound,
                format!("{text}: it is a store; --whole-store deletes a store with all its arrays"),
            ),
            _ => failure,
        }
    })?;
    if targets.iter().any(Target::is_sliced) {
        return Err(Failure::usage(format!(
            "{text}: arrays are deleted as a whole: leave the slice out"
        )));
    }
    Ok(targets)
}

/// Deletes an array, even one that is in use.
pub(crate) fn remove(target: &Target) -> Result<(), Failure> {
    target.release()
}

/// An error where an array is in use, unless `force` is set.
pub(crate) fn check(target: &Target, force: bool, verb: &str) -> Result<(), Failure> {
    let info = target.info()?;
    if force {
        return Ok(());
    }
    let state = target.observer()?.state(&info)?;
    let refuse = |why: String| {
        Err(Failure::new(
            Code::Refused,
            format!(
                "{}: {why}; --force {verb} it nevertheless",
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
    Ok(())
}

/// Deletes a store without living members. With `force` also a persistent one that has some.
pub(crate) fn remove_store(context: &Context, store: &Path, force: bool) -> Result<(), Failure> {
    check_store(store, force)?;
    if !is_swept(&Observer::open(store)?) {
        return Ok(context.join(store)?.close()?);
    }
    let root = store.parent().unwrap_or(store);
    let swept = Manager::sweep_root_timeout(root, context.patience)?;
    match swept.skipped.into_iter().next().filter(|_| store.exists()) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// Whether a sweep deletes the store as soon as it has no members.
fn is_swept(observer: &Observer) -> bool {
    !observer.is_persistent() || observer.is_closing()
}

/// An error where a store has members, unless it is persistent and `force` is set.
fn check_store(store: &Path, force: bool) -> Result<(), Failure> {
    let observer = Observer::open(store)?;
    let members = observer.members()?.len();
    let why = match is_swept(&observer) {
        true => format!(
            "it is ephemeral and has {members} living members: it ends with the process that made \
             it"
        ),
        false => format!("it has {members} living members; --force deletes it nevertheless"),
    };
    let is_refused = members > 0 && (is_swept(&observer) || !force);
    match is_refused {
        true => Err(Failure::new(
            Code::Refused,
            format!("{}: {why}", store.display()),
        )),
        false => Ok(()),
    }
}

//! `mv`: gives arrays other names, in their store or another one.

use crate::{
    Outcome,
    commands::{copying, rm},
    context::Context,
    failure::{Code, Failure, printable},
    target::{Target, nearest},
};
use ciborium::Value;
use ndshm::{ArrayInfo, ArrayKind, Manager};
use serde_json::json;
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Rename an array, or move arrays into another store, and print the new paths
///
/// Within a store this is one step, and processes that have the array open go on using it; handles
/// that were given out before find it. Into another store the array is copied, and deleted when the
/// copy is complete: a process that has it open keeps the old memory.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm mv frames old-frames
  ndshm mv 'run/frame-*' archive/")]
pub(crate) struct Args {
    /// The array; with a new name that ends in a slash also a pattern such as 'frame-*'
    #[arg(value_name = "OLD")]
    array: String,
    /// The new name, in the same store; or STORE/NAME, or STORE/ for the same name there
    #[arg(value_name = "NEW")]
    to: String,
    /// Replace an array that has the name; move also an array that a living process owns or has
    /// guards on into another store
    #[arg(short, long)]
    force: bool,
}

/// An array with its new place.
struct Move {
    target: Target,
    info: ArrayInfo,
    manager: Manager,
    name: String,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let moves = plan(context, args)?;
    let mut paths = Vec::new();
    for one in &moves {
        paths.push(execute(context, one, args.force)?);
    }
    match (context.is_json, &moves[..]) {
        (true, _) => {
            let moved = moves.iter().zip(&paths);
            let moved = moved.map(|(one, path)| json!({ "from": one.info.path, "path": path }));
            context.print_json(&json!(moved.collect::<Vec<_>>()))?;
        }
        (false, _) => {
            let mut out = context.out();
            for path in &paths {
                writeln!(out, "{}", printable(&path.to_string_lossy()))?;
            }
            out.flush()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All arrays with their new places, after all refusals that can be known.
fn plan(context: &Context, args: &Args) -> Result<Vec<Move>, Failure> {
    let (store, name) = match args.to.rsplit_once('/') {
        Some((store, name)) => (Some(context.find_store(Path::new(store))?), name),
        None => (None, args.to.as_str()),
    };
    let name = name.strip_suffix(".ndshm").unwrap_or(name);
    let targets = match store.is_some() && name.is_empty() {
        true => Target::find_all(context, &args.array)?,
        false => vec![Target::find(context, &args.array)?],
    };
    let mut moves: Vec<Move> = Vec::new();
    for target in targets {
        let info = target.info()?;
        if target.is_sliced() {
            return Err(Failure::usage(format!(
                "{}: arrays are moved as a whole: ndshm cp copies a slice",
                args.array
            )));
        }
        let name = match (store.is_some(), name) {
            (true, "") => own_name(args, &info)?,
            (_, name) => name.to_owned(),
        };
        let from = info.path.parent().unwrap_or(Path::new("/")).to_path_buf();
        let manager = context.join(store.as_ref().unwrap_or(&from))?;
        if from != manager.path() {
            check_other_store(&target, &info, args.force)?;
        }
        // The rename itself replaces nothing; this is for the arrays of a pattern, none of which
        // is moved if one cannot be.
        if !args.force && manager.contains(&name)? {
            return Err(exists(&manager, &name));
        }
        if moves
            .iter()
            .any(|other| other.name == name && other.manager.path() == manager.path())
        {
            return Err(Failure::usage(format!(
                "{}: two arrays would get the name {}",
                args.array,
                nearest::in_store(context, manager.path(), &name)
            )));
        }
        moves.push(Move {
            target,
            info,
            manager,
            name,
        });
    }
    Ok(moves)
}

/// The name that an array keeps.
fn own_name(args: &Args, info: &ArrayInfo) -> Result<String, Failure> {
    info.name
        .clone()
        .ok_or_else(|| Failure::usage(format!("{}: it has no name: write STORE/NAME", args.array)))
}

fn exists(manager: &Manager, name: &str) -> Failure {
    Failure::new(
        Code::Refused,
        format!(
            "{}: already exists; --force replaces it",
            manager.path().join(format!("{name}.ndshm")).display()
        ),
    )
}

fn check_other_store(target: &Target, info: &ArrayInfo, force: bool) -> Result<(), Failure> {
    if info.kind == ArrayKind::Ring {
        return Err(Failure::new(
            Code::Refused,
            format!(
                "{}: it is a ring, which stays in its store; ndshm cp copies its newest frame",
                info.path.display()
            ),
        ));
    }
    let is_frozen = target.observer()?.state(info)?.is_frozen;
    if info.kind == ArrayKind::Growing && !is_frozen {
        return Err(Failure::new(
            Code::Refused,
            format!(
                "{}: it grows, and rows that come meanwhile would be lost: ndshm freeze ends its \
                 growth",
                info.path.display()
            ),
        ));
    }
    rm::check(target, force, "moves")
}

fn execute(context: &Context, one: &Move, force: bool) -> Result<PathBuf, Failure> {
    let Move {
        target,
        info,
        manager,
        name,
    } = one;
    if info.path.parent() == Some(manager.path()) {
        let stem = info.path.file_stem().unwrap_or_default().to_string_lossy();
        match force && *stem != **name {
            true => manager.replace(&stem, name)?,
            false => manager.rename(&stem, name).map_err(|error| match error {
                ndshm::Error::AlreadyExists { .. } if *stem != **name => exists(manager, name),
                error => error.into(),
            })?,
        }
        return Ok(manager.path().join(format!("{name}.ndshm")));
    }
    let attrs: Value = info.attrs()?;
    let replaces = force && manager.contains(name)?;
    copying::instead_of(context, target, manager, (name, &attrs), replaces)
}

//! `cp`: copies arrays, parts of them and whole stores.

mod store;

use crate::{
    Outcome,
    commands::copying,
    context::Context,
    failure::{Code, Failure, printable},
    target::{Target, nearest, patterns},
};
use ciborium::Value;
use ndshm::{AnyArray, ArrayInfo, Manager};
use serde_json::{Value as Json, json};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Copy an array or a part of it into a new array, or a whole store, and print the path of the copy
///
/// An array is copied piece by piece, each under a guard. The copy of an array that grows is a
/// plain array, and that of a ring is its newest frame. With --recursive a store is copied with all
/// arrays, names, attributes and frozen flags; arrays that grow go on growing there, and rings are
/// left out. The new store is persistent, and has its name when it is complete.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm cp 'frames[0:10, ::2]' part
  ndshm cp --recursive run /dev/shm/backup/run")]
pub(crate) struct Args {
    /// The array, with an optional slice; with a new name that ends in a slash also a pattern such
    /// as 'frame-*'; with --recursive the store
    source: String,
    /// The name of the copy, or STORE/NAME, or STORE/ for the same name there; the store is that of
    /// --store, else that of the source
    name: String,
    /// Copy a whole store into a new one
    #[arg(short, long, conflicts_with_all = ["force", "freeze", "unlocked"])]
    recursive: bool,
    /// Replace an array that has the name, when the copy is complete
    #[arg(long)]
    force: bool,
    /// Freeze the copy before another process can write it
    #[arg(long)]
    freeze: bool,
    /// Take no lock: read a snapshot of elements that other processes may change meanwhile
    #[arg(long)]
    unlocked: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    if args.recursive {
        return store::run(context, &args.source, &args.name);
    }
    let mut plans: Vec<Plan> = Vec::new();
    let targets = match args.name.ends_with('/') {
        true => Target::find_all(context, &args.source)?,
        false => vec![Target::find(context, &args.source)?],
    };
    for target in targets {
        let info = target.info()?;
        let (manager, name) = place(context, args, &info)?;
        if !args.force && manager.contains(&name)? {
            return Err(exists(&manager, &name));
        }
        if plans
            .iter()
            .any(|other| other.name == name && other.manager.path() == manager.path())
        {
            return Err(Failure::usage(format!(
                "{}: two copies would get the name {}",
                args.source,
                nearest::in_store(context, manager.path(), &name)
            )));
        }
        plans.push(Plan {
            target,
            info,
            manager,
            name,
        });
    }
    let mut made = Vec::new();
    for plan in &plans {
        made.push(copy(context, args, plan)?);
    }
    report(context, args, &made)
}

fn report(context: &Context, args: &Args, made: &[(PathBuf, Json)]) -> Outcome {
    if context.is_json {
        let items: Vec<_> = made.iter().map(|(_, item)| item).collect();
        match &items[..] {
            [item] if !patterns::is_pattern(&args.source) => context.print_json(item)?,
            items => context.print_json(&json!(items))?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = context.out();
    for (path, _) in made {
        writeln!(out, "{}", printable(&path.to_string_lossy()))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A copy that is to be made.
struct Plan {
    target: Target,
    info: ArrayInfo,
    manager: Manager,
    name: String,
}

fn exists(manager: &Manager, name: &str) -> Failure {
    Failure::new(
        Code::Refused,
        format!(
            "{}: already exists; choose another name, delete it with ndshm rm, or replace it with \
             --force",
            manager.path().join(format!("{name}.ndshm")).display()
        ),
    )
}

/// The store and the name of the copy of an array.
fn place(context: &Context, args: &Args, info: &ArrayInfo) -> Result<(Manager, String), Failure> {
    let (store, name) = match args.name.rsplit_once('/') {
        Some((store, name)) => (Some(PathBuf::from(store)), name),
        None => (context.store()?, args.name.as_str()),
    };
    let manager = match store {
        Some(store) => context.open_store(&store, false)?,
        None => context.join(info.path.parent().unwrap_or(Path::new("/")))?,
    };
    let has_store = args.name.contains('/');
    let name = match (name.strip_suffix(".ndshm").unwrap_or(name), &info.name) {
        ("", Some(name)) if has_store => name.clone(),
        ("", None) if has_store => {
            return Err(Failure::usage(format!(
                "{}: it has no name: write STORE/NAME",
                args.source
            )));
        }
        (name, _) => name.to_owned(),
    };
    Ok((manager, name))
}

/// Makes a copy, and returns its path and description.
fn copy(context: &Context, args: &Args, plan: &Plan) -> Result<(PathBuf, Json), Failure> {
    let Plan {
        target,
        info,
        manager,
        name,
    } = plan;
    let (source, reading) = target.look(args.unlocked)?;
    let attrs: Value = info.attrs()?;
    let options = copying::options(manager, None, info, &attrs, source.ndim())?;
    let copy: AnyArray = copying::room_for(options, &source)?;
    let path = manager.path().join(format!("{name}.ndshm"));
    copying::with_bar(context, &path, (&source, &copy), reading)
        .map_err(Failure::or_look_unlocked)?;
    if args.freeze {
        copy.freeze()?;
    }
    copying::publish(manager, &copy, name, args.force)?;
    let handle = ArrayInfo::at(&path)?.handle();
    let item = json!({
        "path": path,
        "handle": handle.to_string(),
        "read": reading.name(),
    });
    Ok((path, item))
}

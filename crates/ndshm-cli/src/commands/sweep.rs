//! `sweep`: deletes the leftovers of dead processes.

use crate::{
    Outcome,
    context::Context,
    display::text,
    failure::{Code, Failure, printable},
    users,
};
use ndshm::{Leftovers, Manager, Observer, Swept};
use serde_json::{Value, json};
use std::{io::Write, process::ExitCode};

/// Delete the leftovers of dead processes: whole stores, and arrays in stores with living processes
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm sweep --dry-run
  ndshm sweep --all-users --wait 10")]
pub(crate) struct Args {
    /// Only print the leftovers that a sweep would delete
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Sweep the default roots of all users, for root only
    #[arg(long)]
    all_users: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    if args.all_users {
        let mut command = vec!["sweep"];
        command.extend(args.dry_run.then_some("--dry-run"));
        return users::run_for_all(context, &command);
    }
    let store = context.store()?;
    let root = match (&store, context.root()) {
        (Some(_), _) => None,
        (None, Ok(root)) => Some(root),
        // No process ever made a store here.
        (None, Err(failure)) if failure.code() == Code::NotFound => None,
        (None, Err(failure)) => return Err(failure),
    };
    let leftovers = match (&store, &root) {
        (Some(store), _) => Observer::open(store)?.leftovers()?,
        (None, Some(root)) => Observer::leftovers_in(root)?,
        (None, None) => Vec::new(),
    };
    if args.dry_run {
        return report(context, &leftovers, None);
    }
    let swept = match (&store, &root) {
        // A store without members is not joined: this process would be its member, and a sweep
        // would leave it.
        (Some(store), _) if is_dead(&Observer::open(store)?)? => {
            let root = store.parent().unwrap_or(store);
            Manager::sweep_root_timeout(root, context.patience)?
        }
        (Some(store), _) => context.join(store)?.sweep()?,
        (None, Some(root)) => Manager::sweep_root_timeout(root, context.patience)?,
        (None, None) => Swept::default(),
    };
    report(context, &leftovers, Some(&swept))
}

/// Whether a sweep deletes the store, unless it contains files of others.
fn is_dead(observer: &Observer) -> ndshm::Result<bool> {
    let is_kept = observer.is_persistent() && !observer.is_closing();
    Ok(!is_kept && observer.members()?.is_empty())
}

fn report(context: &Context, leftovers: &[Leftovers], swept: Option<&Swept>) -> Outcome {
    if context.is_json {
        context.print_json(&json_of(leftovers, swept))?;
    } else {
        print(context, leftovers, swept)?;
    }
    let skipped = swept.map_or(&[][..], |swept| &swept.skipped);
    for error in skipped {
        let bad = text::BAD;
        let error = printable(&error.to_string());
        let _ = writeln!(
            anstream::stderr(),
            "{bad}ndshm: not deleted:{bad:#} {error}"
        );
    }
    Ok(ExitCode::from(u8::from(!skipped.is_empty())))
}

fn json_of(leftovers: &[Leftovers], swept: Option<&Swept>) -> Value {
    let found = |found: &Leftovers| {
        json!({
            "path": found.path,
            "store": found.is_store,
            "arrays": found.arrays,
            "half_made": found.half_made,
            "bytes": found.bytes,
        })
    };
    let swept = swept.map_or(Value::Null, |swept| {
        let skipped: Vec<_> = swept.skipped.iter().map(ToString::to_string).collect();
        json!({
            "stores": swept.stores,
            "arrays": swept.arrays,
            "half_made": swept.half_made,
            "bytes": swept.bytes,
            "skipped": skipped,
        })
    });
    json!({ "found": leftovers.iter().map(found).collect::<Vec<_>>(), "swept": swept })
}

fn print(context: &Context, leftovers: &[Leftovers], swept: Option<&Swept>) -> Result<(), Failure> {
    let mut out = context.out();
    for found in leftovers {
        let what = if found.is_store {
            format!("store with {}", things(found.arrays, found.half_made))
        } else if found.arrays == 0 {
            "half-made array".into()
        } else {
            "array".into()
        };
        let (path, bytes) = (found.path.to_string_lossy(), text::bytes(found.bytes));
        writeln!(out, "{}  {what}, {bytes}", printable(&path))?;
    }
    match swept {
        Some(swept) => {
            let stores = text::count(swept.stores, "store");
            let arrays = things(swept.arrays, swept.half_made);
            let bytes = text::bytes(swept.bytes);
            writeln!(out, "deleted {stores} and {arrays}, {bytes}")?;
        }
        None if leftovers.is_empty() => writeln!(out, "nothing to delete")?,
        None => {
            let things = text::count(leftovers.len(), "thing");
            let bytes = text::bytes(leftovers.iter().map(|leftover| leftover.bytes).sum());
            writeln!(out, "would delete {things}, {bytes}")?;
        }
    }
    Ok(out.flush()?)
}

/// The arrays, and the files without one if there are any.
fn things(arrays: usize, half_made: usize) -> String {
    let arrays = text::count(arrays, "array");
    match half_made {
        0 => arrays,
        half_made => format!("{arrays}, {}", text::count(half_made, "half-made array")),
    }
}

//! `sweep`: deletes what the dead left.

use crate::{Outcome, context::Context, display::text, failure::Code, failure::printable};
use ndshm::{Leftovers, Manager, Observer, Swept};
use serde_json::{Value, json};
use std::{io::Write, process::ExitCode};

/// Delete what dead processes left: whole stores, and arrays in the stores that live on
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only say what would be deleted
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let store = context.store()?;
    let root = match (&store, context.root()) {
        (Some(_), _) => None,
        (None, Ok(root)) => Some(root),
        // No store was ever made.
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
        // A store without members is not joined: this process would be its member, and a sweep would
        // leave it.
        (Some(store), _) if is_dead(&Observer::open(store)?)? => {
            Manager::sweep_root(store.parent().unwrap_or(store))?
        }
        (Some(store), _) => Manager::open(store)?.sweep()?,
        (None, Some(root)) => Manager::sweep_root(root)?,
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
        let found = |found: &Leftovers| json!({ "path": found.path, "store": found.is_store, "arrays": found.arrays, "bytes": found.bytes });
        let swept = swept.map_or(Value::Null, |swept| {
            let skipped: Vec<_> = swept.skipped.iter().map(ToString::to_string).collect();
            json!({ "stores": swept.stores, "arrays": swept.arrays, "bytes": swept.bytes, "skipped": skipped })
        });
        context.print_json(
            &json!({ "found": leftovers.iter().map(found).collect::<Vec<_>>(), "swept": swept }),
        )?;
    } else {
        let mut out = context.out();
        for found in leftovers {
            let what = if found.is_store {
                format!("store with {}", text::count(found.arrays, "array"))
            } else if found.arrays == 0 {
                "half-made array".into()
            } else {
                "array".into()
            };
            writeln!(
                out,
                "{}  {what}, {}",
                printable(&found.path.to_string_lossy()),
                text::bytes(found.bytes)
            )?;
        }
        match swept {
            Some(swept) => {
                let (stores, arrays) = (
                    text::count(swept.stores, "store"),
                    text::count(swept.arrays, "array"),
                );
                writeln!(
                    out,
                    "deleted {stores} and {arrays}, {}",
                    text::bytes(swept.bytes)
                )?;
            }
            None if leftovers.is_empty() => writeln!(out, "nothing to delete")?,
            None => {
                let bytes = leftovers.iter().map(|leftover| leftover.bytes).sum();
                writeln!(
                    out,
                    "would delete {}, {}",
                    text::count(leftovers.len(), "thing"),
                    text::bytes(bytes)
                )?;
            }
        }
        out.flush()?;
    }
    for error in swept.map_or(&[][..], |swept| &swept.skipped) {
        let bad = text::BAD;
        let _ = writeln!(
            anstream::stderr(),
            "{bad}ndshm: left:{bad:#} {}",
            printable(&error.to_string())
        );
    }
    Ok(ExitCode::from(u8::from(
        swept.is_some_and(|swept| !swept.skipped.is_empty()),
    )))
}

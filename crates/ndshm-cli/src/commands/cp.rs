//! `cp`: copies an array, or a part of one, into a new array.

use crate::{
    Outcome,
    commands::new,
    context::Context,
    elements::{chunks, reading::Reading},
    failure::{Failure, printable},
    target::Target,
};
use ciborium::Value;
use ndshm::{AnyArray, Scope};
use serde_json::json;
use std::{io::Write, process::ExitCode};

/// Copy an array or a part of it into a new array, and print the path of the copy
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The array, with an optional slice
    source: String,
    /// The name of the copy, or STORE/NAME; the store is that of --store, else that of the source
    name: String,
    /// Freeze the copy before another process can write it
    #[arg(long)]
    freeze: bool,
    /// Take no lock: read a snapshot of elements that other processes may change meanwhile
    #[arg(long)]
    unlocked: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let target = Target::find(context, &args.source)?;
    let info = target.info()?;
    let (source, reading) = target.look(args.unlocked)?;
    let in_source_store = !args.name.contains('/') && context.store()?.is_none();
    let (manager, name) = match in_source_store {
        true => new::place(
            context,
            &format!(
                "{}/{}",
                info.path.parent().unwrap_or(&info.path).display(),
                args.name
            ),
            false,
        )?,
        false => new::place(context, &args.name, false)?,
    };
    // This process owns the copy until it is complete: a killed process leaves no half copy.
    let mut options = manager.options().name(name).scope(Scope::Local);
    let attrs: Value = info.attrs()?;
    if attrs.as_map().is_some_and(|entries| !entries.is_empty()) {
        options = options.attrs(&attrs)?;
    }
    if !info.axis_names.is_empty() && source.ndim() == info.axis_names.len() {
        options = options.axis_names(
            info.axis_names
                .iter()
                .map(|name| name.clone().unwrap_or_default()),
        );
    }
    let copy = options.zeros_any(source.dtype(), source.shape())?;
    for piece in chunks::of(&source, chunks::PIECE) {
        assign(
            &chunks::view(&copy, &piece)?,
            &chunks::view(&source, &piece)?,
            reading,
        )
        .map_err(Failure::or_look_unlocked)?;
    }
    if args.freeze {
        copy.freeze()?;
    }
    copy.set_scope(Scope::Store)?;
    match context.is_json {
        true => context.print_json(&json!({
            "path": copy.path(),
            "handle": copy.handle().to_string(),
            "read": reading.name(),
        }))?,
        false => {
            let mut out = context.out();
            writeln!(out, "{}", printable(&copy.path().to_string_lossy()))?;
            out.flush()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn assign(to: &AnyArray, from: &AnyArray, reading: Reading) -> Result<(), Failure> {
    if reading != Reading::Locked {
        return Ok(to.write_bytes(&reading.bytes(from)?)?);
    }
    ndshm::dispatch!(
        from,
        xs: T => to.downcast::<T, ndarray::IxDyn>()?.assign(&xs)?,
        else => to.write_bytes(&from.read_bytes()?)?
    )?;
    Ok(())
}

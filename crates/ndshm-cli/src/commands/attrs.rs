//! `attrs`: the attributes of an array.

use crate::{
    Outcome,
    commands::{copying, rm, show},
    context::Context,
    failure::{Code, Failure, printable},
    target::Target,
};
use ciborium::Value;
use ndshm::{ArrayInfo, ArrayKind};
use serde_json::json;
use std::{io::Write, path::Path, process::ExitCode};

/// Print the attributes of an array, or replace the array by a copy with other ones
///
/// Attributes stand in the header, which never changes: with KEY=VALUE or --unset the array is
/// replaced by a copy, which --copy confirms. The copy has the name and a new id. Processes that
/// have the old array open keep its memory, and handles that were given out before find nothing.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm attrs frames
  ndshm attrs frames unit=m/s --unset draft --copy")]
pub(crate) struct Args {
    /// The array
    array: String,
    /// Attributes with texts as their values
    #[arg(value_name = "KEY=VALUE", value_parser = super::new::key_and_value)]
    set: Vec<(String, String)>,
    /// Leave this attribute out
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    /// Replace the array by a copy with these attributes
    #[arg(long)]
    copy: bool,
    /// Replace also an array that a living process owns
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let target = Target::find(context, &args.array)?;
    if target.is_sliced() {
        return Err(Failure::usage(format!(
            "{}: attributes belong to the whole array: leave the slice out",
            args.array
        )));
    }
    let info = target.info()?;
    if args.set.is_empty() && args.unset.is_empty() {
        print(context, &info)?;
        return Ok(ExitCode::SUCCESS);
    }
    let attrs = changed(&info, args)?;
    if !args.copy {
        return Err(Failure::usage(format!(
            "{}: the attributes stand in its header, which never changes: --copy replaces it by a \
             copy with these attributes, which has a new id",
            args.array
        )));
    }
    let state = target.observer()?.state(&info)?;
    let reason = match (info.kind, state.is_frozen) {
        (ArrayKind::Ring, _) => Some("a ring, whose processes would not find the copy"),
        (ArrayKind::Growing, false) => Some("an array that grows: ndshm freeze ends its growth"),
        _ => None,
    };
    if let Some(reason) = reason {
        return Err(Failure::new(
            Code::Refused,
            format!("{}: it is {reason}", args.array),
        ));
    }
    rm::check(&target, args.force, "replaces")?;
    let manager = context.join(info.path.parent().unwrap_or(Path::new("/")))?;
    let Some(name) = &info.name else {
        return Err(Failure::usage(format!(
            "{}: it has no name by which the copy could be found: give it one with ndshm mv",
            args.array
        )));
    };
    let path = copying::instead_of(context, &target, &manager, (name, &attrs), true)?;
    report(context, &info, &ArrayInfo::at(path)?)
}

fn report(context: &Context, old: &ArrayInfo, new: &ArrayInfo) -> Outcome {
    if context.is_json {
        context.print_json(&json!({
            "path": new.path,
            "id": new.id.to_string(),
            "replaced": old.id.to_string(),
            "attributes": show::to_json(&new.attrs::<Value>()?),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = context.out();
    let path = printable(&new.path.to_string_lossy());
    writeln!(out, "{path}: replaced by a copy with the id {}", new.id)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn print(context: &Context, info: &ArrayInfo) -> Result<(), Failure> {
    let attrs = show::to_json(&info.attrs::<Value>()?);
    if context.is_json {
        return context.print_json(&json!({ "path": info.path, "attributes": attrs }));
    }
    let mut out = context.out();
    for (key, value) in attrs.as_object().into_iter().flatten() {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        writeln!(out, "{} = {}", printable(key), printable(&value))?;
    }
    Ok(out.flush()?)
}

/// The attributes of an array with those of the command line. An attribute that is to be left out
/// must be there.
fn changed(info: &ArrayInfo, args: &Args) -> Result<Value, Failure> {
    let attrs: Value = info.attrs()?;
    let mut entries = attrs.into_map().unwrap_or_default();
    for key in &args.unset {
        let before = entries.len();
        entries.retain(|(found, _)| found.as_text() != Some(key));
        if entries.len() == before {
            return Err(Failure::new(
                Code::NotFound,
                format!("{key}: {} has no such attribute", args.array),
            ));
        }
    }
    for (key, value) in &args.set {
        entries.retain(|(found, _)| found.as_text() != Some(key));
        entries.push((Value::from(key.as_str()), Value::from(value.as_str())));
    }
    Ok(Value::Map(entries))
}

//! `verify`: every check of the file format.

use crate::{
    Outcome,
    context::Context,
    display::text,
    failure::{Code, Failure, printable},
    target::{Target, nearest, patterns},
};
use ndshm::{Severity, Verification};
use serde_json::json;
use std::{io::Write, path::PathBuf, process::ExitCode};

/// Check stores and arrays against the file format without writing; damage gives the exit code 5
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm verify run
  ndshm verify 'run/frame-*' /backup/run")]
pub(crate) struct Args {
    /// Stores and arrays, or patterns such as 'frame-*'; by default the store of --store, else all
    /// stores of the root
    #[arg(value_name = "STORE|ARRAY")]
    what: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let paths = match (&args.what[..], context.store()?) {
        ([], Some(store)) => vec![store],
        ([], None) => context.stores()?,
        (what, _) => {
            let mut paths = Vec::new();
            for what in what {
                paths.extend(find(context, what)?);
            }
            paths
        }
    };
    let (mut all, mut items) = (Verification::default(), Vec::new());
    for path in &paths {
        let found = ndshm::verify(path)?;
        let findings = found.findings.iter();
        let findings = findings.map(|finding| {
            json!({
                "path": finding.path,
                "severity": finding.severity.to_string(),
                "text": finding.text,
            })
        });
        let findings: Vec<_> = findings.collect();
        items.push(json!({
            "path": path,
            "sound": found.is_sound(),
            "arrays": found.arrays,
            "bytes": found.bytes,
            "findings": findings,
        }));
        all.arrays += found.arrays;
        all.bytes += found.bytes;
        all.findings.extend(found.findings);
    }
    if context.is_json {
        context.print_json(&json!(items))?;
    } else {
        print(context, &all)?;
    }
    Ok(if all.is_sound() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Code::Damaged as u8)
    })
}

/// A store by its path or name, or the arrays that a text names.
fn find(context: &Context, what: &str) -> Result<Vec<PathBuf>, Failure> {
    let path = PathBuf::from(what);
    // A damaged file may have no valid header to find it by: a path is taken as it stands.
    if what.contains('/') && path.symlink_metadata().is_ok() {
        return Ok(vec![path]);
    }
    match context.find_store(&path) {
        Ok(store) => Ok(vec![store]),
        Err(failure) => match Target::find_all(context, what) {
            Ok(targets) => targets
                .iter()
                .map(|target| Ok(target.info()?.path))
                .collect(),
            Err(other) if what.contains('/') || patterns::is_pattern(what) => Err(other),
            Err(other) if other.code() == Code::NotFound && !what.contains(['[', ':']) => {
                Err(unknown(context, what))
            }
            Err(_) if !what.contains(['[', ':']) => Err(failure),
            Err(other) => Err(other),
        },
    }
}

/// The failure of a name that neither a store nor an array has.
fn unknown(context: &Context, what: &str) -> Failure {
    let stores = context.choose_stores(&[]).unwrap_or_default();
    let arrays = stores.iter().flat_map(|store| nearest::names_in(store));
    let stores = stores.iter().map(|store| nearest::name_of(store));
    let close = nearest::close_to(what, arrays.chain(stores));
    Failure::new(
        Code::NotFound,
        format!(
            "{what}: no such store or array{}; ndshm ls lists them",
            nearest::suggestion(&close)
        ),
    )
}

fn print(context: &Context, all: &Verification) -> Result<(), Failure> {
    let mut out = context.out();
    for finding in &all.findings {
        let color = match finding.severity {
            Severity::Damage => anstyle::AnsiColor::Red.on_default().bold(),
            _ => anstyle::AnsiColor::Yellow.on_default(),
        };
        let (path, text) = (
            printable(&finding.path.display().to_string()),
            printable(&finding.text),
        );
        writeln!(out, "{path}: {color}{}{color:#}: {text}", finding.severity)?;
    }
    let damaged = all
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Damage)
        .count();
    let verdict = if damaged == 0 {
        "sound".to_owned()
    } else {
        text::count(damaged, "damage")
    };
    let others = all.findings.len() - damaged;
    let others = if others == 0 {
        String::new()
    } else {
        format!(", {}", text::count(others, "other finding"))
    };
    writeln!(
        out,
        "{}, {}: {verdict}{others}",
        text::count(all.arrays, "array"),
        text::bytes(all.bytes)
    )?;
    Ok(out.flush()?)
}

//! Exports into a directory: a file for each array.

use super::{Args, Format, failure_of, keyed};
use crate::{
    Outcome,
    context::Context,
    display::bar::Bar,
    failure::{Code, Failure, printable},
};
use ndshm::Export;
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Whether the output is a directory, or would be one.
pub(super) fn is_meant(output: &Path) -> bool {
    output.is_dir() || output.as_os_str().as_encoded_bytes().ends_with(b"/")
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let mut arrays = Vec::new();
    for text in &args.arrays {
        keyed(context, text, &mut arrays)?;
    }
    let format = args.format.unwrap_or(Format::Npy);
    format.check_is_written()?;
    let suffix = match format {
        Format::Npy => "npy",
        Format::Npz => "npz",
        Format::Safetensors => "safetensors",
        _ => "raw",
    };
    // All names are looked at before the first file is written.
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut names = HashSet::new();
    for (key, _) in &arrays {
        let name = format!("{}.{suffix}", file_name(key));
        let path = args.output.join(&name);
        if !names.insert(name) {
            return Err(Failure::usage(format!(
                "{}: two arrays would have this file: give one of them another key, KEY=ARRAY",
                path.display()
            )));
        }
        if !args.force && path.symlink_metadata().is_ok() {
            return Err(Failure::new(
                Code::Refused,
                format!("{}: the file exists; --force replaces it", path.display()),
            ));
        }
        paths.push(path);
    }
    std::fs::create_dir_all(&args.output).map_err(|error| {
        Failure::new(
            Code::Failed,
            format!("{}: cannot make it: {error}", args.output.display()),
        )
    })?;
    for ((key, array), path) in arrays.iter().zip(&paths) {
        let bar = Bar::new(printable(&path.display().to_string()), !context.is_json);
        let show = |done, total| bar.show(done, total);
        let export = Export::new().progress(&show);
        let export = if args.force { export.replace() } else { export };
        let export = if args.compress {
            export.compress()
        } else {
            export
        };
        match format {
            Format::Npy => export.npy(array, path),
            Format::Npz => export.npz(&[(key.as_str(), array as _)], path),
            Format::Safetensors => export.safetensors(&[(key.as_str(), array as _)], path),
            _ => export.raw(array, path),
        }
        .map_err(failure_of)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The name of a file for a key: without slashes, and not hidden.
fn file_name(key: &str) -> String {
    let name = key.replace('/', "%2F").replace('\0', "%00");
    match name.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None if name.is_empty() => "%-".into(),
        None => name,
    }
}

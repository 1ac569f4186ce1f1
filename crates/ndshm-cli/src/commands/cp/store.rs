//! `cp --recursive`: copies a store into a new one, which has its name when it is complete.
//!
//! Until then it is an ephemeral store beside its place, `NAME.copying-PID`: a process that is
//! killed leaves a dead store, which `ndshm sweep` deletes.

use crate::{
    Outcome,
    commands::copying,
    context::Context,
    display::{bar::Bar, text},
    failure::{Code, Failure, printable},
    shell,
    target::Target,
};
use ciborium::Value;
use ndshm::{ArrayInfo, ArrayKind, Manager, Observer, Scope};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

pub(super) fn run(context: &Context, source: &str, to: &str) -> Outcome {
    let store = context.find_store(Path::new(source))?;
    let place = place_of(context, to)?;
    check_free(&place)?;
    let observer = Observer::open(&store)?;
    // A damaged array is an error before anything is made.
    let (rings, arrays): (Vec<_>, Vec<_>) = observer
        .arrays()?
        .into_iter()
        .collect::<Result<Vec<ArrayInfo>, _>>()?
        .into_iter()
        .partition(|info| info.kind == ArrayKind::Ring);
    let beside = beside(&place);
    // An error deletes it with this manager.
    let manager = Manager::builder()
        .path(&beside)
        .ephemeral()
        .lock_timeout(context.patience)
        .create()?;
    copy_all(context, &manager, &arrays, &place)?;
    manager.persist()?;
    drop(manager);
    if let Err(failure) = publish(&beside, &place) {
        context.join(&beside)?.close()?;
        return Err(failure);
    }
    report(context, &place, &arrays, &rings)
}

/// The directory of the new store: in the root, or at a path.
fn place_of(context: &Context, to: &str) -> Result<PathBuf, Failure> {
    let path = Path::new(to.trim_end_matches('/'));
    let (parent, name) = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => (parent, name),
        _ => return Err(Failure::usage(format!("{to}: it is no name of a store"))),
    };
    let parent = match parent.as_os_str().is_empty() {
        true => context.root()?,
        false => parent.to_path_buf(),
    };
    let parent = std::fs::canonicalize(&parent).map_err(|error| {
        Failure::new(
            Code::NotFound,
            format!("{}: {error}; make the directory first", parent.display()),
        )
    })?;
    Ok(parent.join(name))
}

fn check_free(place: &Path) -> Result<(), Failure> {
    match place.symlink_metadata() {
        Ok(_) => Err(exists(place)),
        Err(_) => Ok(()),
    }
}

fn exists(place: &Path) -> Failure {
    Failure::new(
        Code::Refused,
        format!(
            "{}: already exists; choose another name, or delete it with ndshm rm --whole-store {}",
            place.display(),
            shell::quote(&place.to_string_lossy())
        ),
    )
}

/// The directory of the store until it is complete.
fn beside(place: &Path) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".copying-{}", std::process::id()));
    place.with_file_name(name)
}

fn copy_all(
    context: &Context,
    manager: &Manager,
    arrays: &[ArrayInfo],
    place: &Path,
) -> Result<(), Failure> {
    let bar = Bar::new(printable(&place.display().to_string()), !context.is_json);
    let total: u64 = arrays.iter().map(|info| info.byte_len as u64).sum();
    let mut done = 0;
    let mut show = |bytes| {
        done += bytes;
        bar.show(done, total.max(done));
    };
    for info in arrays {
        match copy(context, manager, info, &mut show) {
            // It was deleted since the store was listed.
            Err(failure) if failure.code() == Code::NotFound => {}
            copied => copied?,
        }
    }
    Ok(())
}

fn copy(
    context: &Context,
    manager: &Manager,
    info: &ArrayInfo,
    mut show: impl FnMut(u64),
) -> Result<(), Failure> {
    let source = Target::of_info(context, info);
    let attrs: Value = info.attrs()?;
    let options = || {
        copying::options(
            manager,
            info.name.as_deref(),
            info,
            &attrs,
            info.shape.len(),
        )
    };
    if info.kind == ArrayKind::Growing {
        copying::growing(options()?, &source, info, show)?;
        return Ok(());
    }
    let (array, reading) = source.look(false)?;
    let copy = copying::room_for(options()?, &array)?;
    // An array that is frozen while it is copied is frozen in the copy or not; one that was frozen
    // before is.
    let is_frozen = array.is_frozen();
    copying::elements(&array, &copy, reading, &mut show)?;
    if is_frozen {
        copy.freeze()?;
    }
    copy.set_scope(Scope::Store)?;
    Ok(())
}

/// Gives the complete store its name, unless something has it.
fn publish(beside: &Path, place: &Path) -> Result<(), Failure> {
    match renameat_with(CWD, beside, CWD, place, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => Err(exists(place)),
        Err(errno) => Err(std::io::Error::from(errno).into()),
    }
}

fn report(context: &Context, place: &Path, arrays: &[ArrayInfo], rings: &[ArrayInfo]) -> Outcome {
    let left: Vec<_> = rings
        .iter()
        .map(|ring| ring.name.clone().unwrap_or_else(|| ring.id.to_string()))
        .collect();
    if context.is_json {
        context.print_json(&json!({
            "path": place, "arrays": arrays.len(), "left": left,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for name in &left {
        let words = format!(
            "left {name:?}: a ring belongs to its processes; ndshm cp copies its newest frame"
        );
        let _ = writeln!(
            anstream::stderr(),
            "{}",
            text::styled(text::FAINT, printable(&words))
        );
    }
    let mut out = context.out();
    writeln!(out, "{}", printable(&place.to_string_lossy()))?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

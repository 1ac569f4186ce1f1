//! Copies of arrays, piece by piece: for `cp`, and for the commands that give an array another
//! place or other attributes.

use crate::{
    context::Context,
    display::bar::Bar,
    elements::{chunks, reading::Reading},
    failure::{Failure, printable},
    target::{For, Target},
};
use ciborium::Value;
use ndshm::{AnyArray, ArrayInfo, ArrayKind, ArrayOptions, Manager, Order, Scope};
use std::path::{Path, PathBuf};

/// Bytes of an array that grows that are appended at once.
const ROWS: usize = 16 << 20;

/// The settings of a copy: the attributes and the names of the axes, where these are as many.
///
/// This process owns the copy until it is complete: a killed process leaves no half copy.
pub(crate) fn options<'m>(
    manager: &'m Manager,
    name: Option<&str>,
    info: &ArrayInfo,
    attrs: &Value,
    ndim: usize,
) -> Result<ArrayOptions<'m>, Failure> {
    let mut options = manager.options().scope(Scope::Local);
    if let Some(name) = name {
        options = options.name(name);
    }
    if attrs.as_map().is_some_and(|entries| !entries.is_empty()) {
        options = options.attrs(attrs)?;
    }
    if !info.axis_names.is_empty() && ndim == info.axis_names.len() {
        options = options.axis_names(
            info.axis_names
                .iter()
                .map(|name| name.clone().unwrap_or_default()),
        );
    }
    Ok(options)
}

/// A new array of the type, shape and order of another, whose elements are not copied yet.
pub(crate) fn room_for(options: ArrayOptions<'_>, source: &AnyArray) -> Result<AnyArray, Failure> {
    let order = source.order().unwrap_or(Order::C);
    Ok(options.empty_any(source.dtype(), source.shape(), order)?)
}

/// Copies the elements of an array into another one of the same shape. `show` is told the number of
/// bytes of each piece.
pub(crate) fn elements(
    from: &AnyArray,
    to: &AnyArray,
    reading: Reading,
    mut show: impl FnMut(u64),
) -> Result<(), Failure> {
    let itemsize = from.dtype().itemsize() as u64;
    for piece in chunks::of(from, chunks::PIECE) {
        let part = chunks::view(from, &piece)?;
        assign(&chunks::view(to, &piece)?, &part, reading)?;
        show(part.len() as u64 * itemsize);
    }
    Ok(())
}

/// Copies the elements with a bar for this file.
pub(crate) fn with_bar(
    context: &Context,
    path: &Path,
    (from, to): (&AnyArray, &AnyArray),
    reading: Reading,
) -> Result<(), Failure> {
    let bar = Bar::new(printable(&path.display().to_string()), !context.is_json);
    let total = (from.len() * from.dtype().itemsize()) as u64;
    let mut done = 0;
    elements(from, to, reading, |bytes| {
        done += bytes;
        bar.show(done, total);
    })
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

/// Gives a complete copy, which was made without a name, its name: no process finds a part of it
/// there, whenever this process is killed.
pub(crate) fn publish(
    manager: &Manager,
    copy: &AnyArray,
    name: &str,
    replaces: bool,
) -> Result<(), Failure> {
    let stem = stem_of(copy.path());
    if !replaces {
        manager.rename(&stem, name)?;
        return Ok(copy.set_scope(Scope::Store)?);
    }
    // In this order: a copy that is in the place of another array must not be deleted with this
    // process.
    copy.set_scope(Scope::Store)?;
    if let Err(error) = manager.replace(&stem, name) {
        let _ = copy.release();
        return Err(error.into());
    }
    Ok(())
}

/// The name of an array's file without its suffix.
fn stem_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// Copies the rows of an array that grows into a new one that grows, frozen if that is.
pub(crate) fn growing(
    options: ArrayOptions<'_>,
    source: &Target,
    info: &ArrayInfo,
    mut show: impl FnMut(u64),
) -> Result<PathBuf, Failure> {
    let from = source.growing()?;
    let most = info.max_len.unwrap_or(info.shape[0]);
    let to = options.growing_any(&info.dtype, &info.shape[1..], most)?;
    // Before the rows are counted: no row comes after it.
    let is_frozen = from.is_frozen();
    let row = info.dtype.itemsize() * info.shape[1..].iter().product::<usize>();
    let (rows, step) = (from.len(), (ROWS / row.max(1)).max(1));
    for start in (0..rows).step_by(step) {
        let bytes = from.rows(start..rows.min(start + step))?.read_bytes()?;
        to.append_bytes(&bytes)?;
        show(bytes.len() as u64);
    }
    if is_frozen {
        to.freeze()?;
    }
    to.set_scope(Scope::Store)?;
    Ok(to.path().to_path_buf())
}

/// Replaces an array by a copy of it: in the place of `to`, a name in the store of `manager`, or
/// of the array of that name. Returns the path of the copy.
///
/// No process writes the array between the copy and its deletion, because a guard is held for as
/// long. The copy stays if this process is killed before the deletion.
pub(crate) fn instead_of(
    context: &Context,
    source: &Target,
    manager: &Manager,
    (to, attrs): (&str, &Value),
    replaces: bool,
) -> Result<PathBuf, Failure> {
    let info = source.info()?;
    let path = manager.path().join(format!("{to}.ndshm"));
    let options = options(manager, None, &info, attrs, info.shape.len())?;
    let deletes_source = path != info.path;
    if info.kind == ArrayKind::Growing {
        let made = growing(options, source, &info, |_| {})?;
        match replaces {
            true => manager.replace(&stem_of(&made), to)?,
            false => manager.rename(&stem_of(&made), to)?,
        }
        if deletes_source {
            source.release()?;
        }
        return Ok(path);
    }
    let array = source.open(For::Reading)?;
    let is_frozen = array.is_frozen();
    let guard = array.read()?;
    let copy = room_for(options, &array)?;
    with_bar(context, &path, (&array, &copy), Reading::Unlocked)?;
    if is_frozen {
        copy.freeze()?;
    }
    publish(manager, &copy, to, replaces)?;
    if deletes_source {
        source.release()?;
    }
    drop(guard);
    Ok(path)
}

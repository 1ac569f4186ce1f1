//! What the dead left: the same questions that a sweep asks, without its answers.

use super::Observer;
use crate::{
    error::{Error, Result},
    format::constants::{GONE_PREFIX, NEW_PREFIX, SUFFIX},
    inspect::info::ArrayInfo,
    store,
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Something that a sweep would delete. Given by [`Observer::leftovers`] and
/// [`Observer::leftovers_in`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftovers {
    /// The directory of a store, or a file in one.
    pub path: PathBuf,
    /// Whether it is a whole store.
    pub is_store: bool,
    /// The arrays in it, or 1 for an array.
    pub arrays: usize,
    /// Bytes that it takes.
    pub bytes: u64,
}

/// What a sweep of a root would delete.
pub(crate) fn of_root(root: &Path) -> Result<Vec<Leftovers>> {
    let mut leftovers = Vec::new();
    for entry in store::entries(root)? {
        let path = root.join(&entry);
        match Observer::open(&path) {
            Ok(observer) => leftovers.extend(of_store(&observer)?),
            // What was left half-deleted has no lock file any more; whether a half-built store has
            // a builder, only a sweep finds out.
            Err(_) if entry.as_encoded_bytes().starts_with(GONE_PREFIX.as_bytes()) => {
                leftovers.push(whole(&path)?)
            }
            Err(_) => {}
        }
    }
    Ok(leftovers)
}

pub(super) fn of_store(observer: &Observer) -> Result<Vec<Leftovers>> {
    let directory = observer.path();
    let is_being_built = directory
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(NEW_PREFIX.as_bytes()));
    let is_deserted = observer.members()?.is_empty();
    if is_deserted && (!observer.is_persistent() || observer.is_closing()) && !is_being_built {
        return Ok(vec![whole(directory)?]);
    }
    let mut leftovers = Vec::new();
    for name in store::entries(directory)? {
        let path = directory.join(&name);
        let is_array = name.as_encoded_bytes().ends_with(SUFFIX.as_bytes());
        let builder = name.to_str().and_then(|name| {
            name.strip_prefix(NEW_PREFIX)?
                .split('-')
                .next()?
                .parse()
                .ok()
        });
        let is_left = match builder {
            Some(builder) => !observer.is_alive(builder)?,
            None => is_array && is_left(observer, &path)?,
        };
        if is_left {
            leftovers.push(Leftovers {
                bytes: allocated(&path),
                path,
                is_store: false,
                arrays: usize::from(is_array),
            });
        }
    }
    Ok(leftovers)
}

fn is_left(observer: &Observer, path: &Path) -> Result<bool> {
    let state = ArrayInfo::at(path).and_then(|info| observer.state(&info));
    match state {
        Ok(state) => Ok(state.owner.is_some_and(|owner| !owner.is_alive)),
        // Released, and still there: a deleter was killed, or is about to delete it.
        Err(Error::Released { .. } | Error::NotFound { .. }) => Ok(path.symlink_metadata().is_ok()),
        Err(_) => Ok(false),
    }
}

fn whole(directory: &Path) -> Result<Leftovers> {
    let mut leftovers = Leftovers {
        path: directory.into(),
        is_store: true,
        arrays: 0,
        bytes: 0,
    };
    for name in store::entries(directory)? {
        leftovers.arrays += usize::from(name.as_encoded_bytes().ends_with(SUFFIX.as_bytes()));
        leftovers.bytes += allocated(&directory.join(name));
    }
    Ok(leftovers)
}

fn allocated(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}

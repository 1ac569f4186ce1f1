//! The arrays of a checkpoint, and those of the Zarr v3 groups of others.

use super::{
    bucket::Bucket,
    checkpoint::failed,
    fill::{Column, Job},
    grid::Grid,
    read::{self, ZarrArray},
    record::{self, ArrayRecord, Manifest},
    types::{self, Run},
};
use crate::{
    cbor,
    element::numpy,
    error::{Error, Result},
    interop::selection::Left,
    layout::{MAX_NDIM, Order},
    sys::wait::is_interrupted,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ciborium::Value as Cbor;
use rustix::io::Errno;
use serde_json::Value;
use std::{collections::HashMap, io, path::Path};

/// A checkpoint, or a group without a manifest.
pub(super) struct Opened {
    /// Its folder at the place; empty for the place itself.
    pub(super) folder: String,
    /// The metadata of the group.
    pub(super) metadata: Value,
    pub(super) manifest: Option<Manifest>,
}

/// A key below a folder.
pub(super) fn below(folder: &str, key: &str) -> String {
    match (folder, key) {
        ("", key) => key.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, key) => format!("{folder}/{key}"),
    }
}

/// The metadata of the group or array in a folder; `None` if there is none.
pub(super) fn metadata(bucket: &dyn Bucket, place: &Path, folder: &str) -> Result<Option<Value>> {
    let key = below(folder, record::METADATA);
    let object = bucket
        .get(&key)
        .map_err(failed(place, "read the object", &key))?;
    let Some(object) = object else {
        return Ok(None);
    };
    let parsed = serde_json::from_slice(&object.bytes);
    parsed
        .map(Some)
        .map_err(|error| Error::transfer(place.join(key), format!("it is no JSON: {error}")))
}

/// The metadata of all nodes of a group, by their paths.
fn consolidated(group: &Value) -> Option<&serde_json::Map<String, Value>> {
    group
        .pointer("/consolidated_metadata/metadata")?
        .as_object()
}

/// The arrays of a checkpoint.
pub(super) fn of_checkpoint(
    place: &Path,
    folder: &str,
    group: &Value,
    manifest: &Manifest,
) -> Result<Vec<Job>> {
    let path = place.join(below(folder, record::METADATA));
    let damaged = |reason: String| Error::transfer(&path, reason);
    let nodes = consolidated(group)
        .ok_or_else(|| damaged("it has no metadata of its arrays: it is damaged".into()))?;
    manifest
        .arrays
        .iter()
        .map(|record| job_of(record, nodes, folder))
        .map(|job| job.map_err(&damaged))
        .collect()
}

fn job_of(
    record: &ArrayRecord,
    nodes: &serde_json::Map<String, Value>,
    folder: &str,
) -> Result<Job, String> {
    let named = |reason: &str| format!("array {:?}: {reason}: it is damaged", record.name);
    let dtype = record
        .element_type()
        .ok_or_else(|| named("its type is not known"))?;
    let order = record
        .memory_order()
        .ok_or_else(|| named("it has no order"))?;
    let is_of_rows =
        |max_len| order == Order::C && record.shape.first().is_some_and(|&len| len <= max_len);
    if record.max_len.is_some_and(|max_len| !is_of_rows(max_len)) {
        return Err(named("its rows are more than it can have"));
    }
    let attrs = match &record.attrs {
        None => None,
        Some(text) => {
            let bytes = STANDARD
                .decode(text)
                .map_err(|_| named("its attributes are no base64"))?;
            Some(cbor::decode(&bytes).map_err(|reason| named(&reason))?)
        }
    };
    let described = types::columns(&dtype, record.structs());
    if described.len() != record.columns.len() {
        return Err(named("its columns are not those of its type"));
    }
    let mut columns = Vec::new();
    for (described, recorded) in described.iter().zip(&record.columns) {
        let metadata = nodes
            .get(&recorded.node)
            .ok_or_else(|| named("it has no metadata"))?;
        let mut zarr = ZarrArray::parse(metadata).map_err(|reason| named(&reason))?;
        let is_as_recorded = zarr.shape == [&record.shape[..], &described.inner].concat()
            && zarr.chunk == [&record.chunk_shape[..], &described.inner].concat()
            && zarr.foreign.dtype.itemsize() == described.word;
        if !is_as_recorded {
            return Err(named("its metadata and the manifest disagree"));
        }
        // The checksums, by the keys of the chunks.
        let mut checks = HashMap::new();
        if let Some(grid) = Grid::of_chunks(&record.shape, order, &record.chunk_shape) {
            if grid.len() != recorded.chunks.len() {
                return Err(named("its chunks are not all recorded"));
            }
            for (number, chunk) in recorded.chunks.iter().enumerate() {
                let mut coordinates = grid.coordinates(number);
                coordinates.resize(zarr.shape.len(), 0);
                checks.insert(zarr.key(&coordinates), (chunk.len, chunk.crc32));
            }
        } else if !record.shape.contains(&0) {
            return Err(named("its chunks do not fit its shape"));
        }
        zarr.fill = vec![0; described.word];
        columns.push(Column {
            folder: below(folder, &recorded.node),
            zarr,
            size: described.size,
            runs: described.runs.clone(),
            checks: Some(checks),
        });
    }
    Ok(Job {
        name: record.name.clone(),
        key: None,
        dtype,
        shape: record.shape.clone(),
        order,
        attrs,
        axis_names: record.axis_names.clone(),
        max_len: record.max_len,
        is_frozen: record.is_frozen,
        is_poisoned: record.is_poisoned,
        starts: vec![0; record.shape.len()],
        columns,
    })
}

/// The arrays of a group that another program wrote, and those that cannot be arrays here.
pub(super) fn of_others(
    bucket: &dyn Bucket,
    place: &Path,
    folder: &str,
    root: Value,
) -> Result<(Vec<Job>, Vec<Left>)> {
    let (mut nodes, mut left) = (Vec::new(), Vec::new());
    if root.get("node_type").and_then(Value::as_str) == Some("array") {
        let name = place
            .file_name()
            .map_or("array".into(), |name| name.to_string_lossy());
        let name = name.strip_suffix(".zarr").unwrap_or(&name).to_owned();
        nodes.push((name, String::new(), root));
    } else if let Some(consolidated) = consolidated(&root) {
        for (path, metadata) in consolidated {
            let is_plain = |segment: &str| !matches!(segment, "" | "." | "..");
            match path.split('/').all(is_plain) {
                true => nodes.push((path.clone(), path.clone(), metadata.clone())),
                // The keys of its chunks would be none, or would lead to those of others.
                false => left.push(Left::new(path, "its path is none of a node in the group")),
            }
        }
    } else {
        walk(bucket, place, folder, &mut nodes, &mut left)?;
    }
    let mut jobs = Vec::new();
    for (name, path, metadata) in nodes {
        match metadata.get("node_type").and_then(Value::as_str) {
            Some("array") => match foreign_job(&name, below(folder, &path), &metadata) {
                Ok(job) => jobs.push(job),
                Err(reason) => left.push(Left::new(name, reason)),
            },
            Some("group") => {}
            _ => left.push(Left::new(name, "its metadata are of no array and no group")),
        }
    }
    jobs.sort_by(|one, other| one.name.cmp(&other.name));
    left.sort_by(|one, other| one.key.cmp(&other.key));
    Ok((jobs, left))
}

/// The most groups in each other that are walked.
const MAX_DEPTH: usize = 32;
/// The most nodes of a group that are found by a walk.
const MAX_NODES: usize = 100_000;
/// The most bytes of their metadata.
const MAX_METADATA: usize = 1 << 28;

/// Adds the nodes of a group without consolidated metadata, and to `left` those whose metadata
/// cannot be read.
///
/// A link may lead to a group above, so the walk has an end of its own.
fn walk(
    bucket: &dyn Bucket,
    place: &Path,
    folder: &str,
    nodes: &mut Vec<(String, String, Value)>,
    left: &mut Vec<Left>,
) -> Result<()> {
    let mut groups = vec![(String::new(), 0)];
    let (mut count, mut byte_len) = (0, 0);
    while let Some((group, depth)) = groups.pop() {
        let at = below(folder, &group);
        let mut children = bucket
            .children(&at)
            .map_err(failed(place, "list the group", &at))?;
        children.sort();
        for child in children {
            if is_interrupted() {
                return Err(Error::Interrupted { path: place.into() });
            }
            if child == record::METADATA {
                continue;
            }
            let path = below(&group, &child);
            let key = below(&below(folder, &path), record::METADATA);
            let object = match bucket.get(&key) {
                Ok(None) => continue,
                Ok(Some(object)) => Ok(object),
                // These are of the node alone, not of the place.
                Err(error) if is_of_node(&error) => Err(format!("it cannot be read: {error}")),
                Err(error) => return Err(failed(place, "read the object", &key)(error)),
            };
            count += 1;
            byte_len += object.as_ref().map_or(0, |object| object.bytes.len());
            if count > MAX_NODES || byte_len > MAX_METADATA {
                let reason = format!(
                    "it has more than {MAX_NODES} nodes, or {MAX_METADATA} bytes of metadata: if \
                     a link leads to a group above, remove it, or restore one of its groups after \
                     the other"
                );
                return Err(Error::transfer(place, reason));
            }
            let metadata = object.and_then(|object| {
                let parsed: serde_json::Result<Value> = serde_json::from_slice(&object.bytes);
                parsed.map_err(|error| format!("its {} is no JSON: {error}", record::METADATA))
            });
            let metadata = match metadata {
                Ok(metadata) => metadata,
                Err(reason) => {
                    left.push(Left::new(path, reason));
                    continue;
                }
            };
            if metadata.get("node_type").and_then(Value::as_str) == Some("group") {
                if depth == MAX_DEPTH {
                    let reason = format!(
                        "its groups are nested deeper than {MAX_DEPTH}: if a link leads to a group \
                         above, remove it, or restore an inner group"
                    );
                    return Err(Error::transfer(place.join(path), reason));
                }
                groups.push((path, depth + 1));
            } else {
                nodes.push((path.clone(), path, metadata));
            }
        }
    }
    Ok(())
}

fn is_of_node(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
        || Errno::from_io_error(error) == Some(Errno::LOOP)
}

fn foreign_job(name: &str, folder: String, metadata: &Value) -> Result<Job, String> {
    let zarr = ZarrArray::parse(metadata)?;
    // The Zarr arrays of a checkpoint may have more, for the axes in their elements.
    if zarr.shape.len() > MAX_NDIM {
        return Err(read::too_many(zarr.shape.len(), MAX_NDIM));
    }
    let mut attrs: Vec<(Cbor, Cbor)> = zarr
        .attributes
        .iter()
        .map(|(key, value)| (Cbor::Text(key.clone()), record::cbor_of(value)))
        .collect();
    if let Some(numpy) = &zarr.foreign.numpy
        && !zarr.attributes.contains_key(numpy::ATTRIBUTE)
    {
        attrs.push((numpy::ATTRIBUTE.into(), numpy.as_str().into()));
    }
    let itemsize = zarr.foreign.dtype.itemsize();
    let mut axis_names = zarr.dimension_names.clone();
    if axis_names.iter().all(Option::is_none) {
        axis_names.clear();
    }
    Ok(Job {
        name: name.to_owned(),
        key: Some(name.to_owned()),
        dtype: zarr.foreign.dtype.clone(),
        shape: zarr.shape.clone(),
        order: zarr.order(),
        attrs: (!attrs.is_empty()).then_some(Cbor::Map(attrs)),
        axis_names,
        max_len: None,
        is_frozen: false,
        is_poisoned: false,
        starts: vec![0; zarr.shape.len()],
        columns: vec![Column {
            folder,
            size: itemsize,
            runs: vec![Run {
                at: 0,
                to: 0,
                len: itemsize,
                are_bools: false,
            }],
            zarr,
            checks: None,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::{super::DirectoryBucket, *};
    use crate::sys::wait;
    use std::time::Duration;

    #[test]
    fn the_walk_over_a_group_ends_with_the_call() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("a")).unwrap();
        let bucket = DirectoryBucket::new(scratch.path());
        let walked = || of_others(&bucket, scratch.path(), "", Value::Null).map(drop);
        walked().unwrap();
        let ended = wait::limited(Duration::ZERO, walked);
        assert!(matches!(ended, Err(Error::Interrupted { .. })), "{ended:?}");
    }
}

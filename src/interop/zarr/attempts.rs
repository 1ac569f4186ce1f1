//! What a place has already: checkpoints, attempts that died, and the chunks of both.

use super::{
    bucket::{Bucket, Version},
    checkpoint::{chunk_key, failed},
    grid::Grid,
    opened,
    record::{self, Attempt, Manifest, Sent},
    types,
};
use crate::error::Result;
use std::{collections::HashMap, path::Path};
use uuid::Uuid;

/// A chunk that the place has.
pub(super) struct Candidate {
    /// The folder that it is in.
    pub(super) folder: String,
    pub(super) sent: Sent,
}

/// The chunks that the place has, by their keys in a checkpoint.
pub(super) type Known = HashMap<String, Vec<Candidate>>;

#[derive(Default)]
pub(super) struct Found {
    /// All folders that are named after ids.
    pub(super) ids: Vec<Uuid>,
    /// Checkpoints, the newest first.
    pub(super) committed: Vec<Uuid>,
    /// The folders of attempts whose process is dead.
    pub(super) dead: Vec<String>,
    pub(super) known: Known,
}

/// The ids of the checkpoints of a place, the newest first, and those of the other folders.
pub(super) fn ids(bucket: &dyn Bucket, place: &Path) -> Result<(Vec<Uuid>, Vec<Uuid>)> {
    let children = bucket
        .children("")
        .map_err(failed(place, "list the checkpoints", ""))?;
    let mut ids: Vec<Uuid> = children
        .iter()
        .filter_map(|name| record::id_of(name))
        .collect();
    ids.sort_unstable_by(|one, other| other.cmp(one));
    let (mut committed, mut others) = (Vec::new(), Vec::new());
    for id in ids {
        let key = format!("{id}/{}", record::METADATA);
        match bucket
            .get(&key)
            .map_err(failed(place, "read the object", &key))?
        {
            Some(_) => committed.push(id),
            None => others.push(id),
        }
    }
    Ok((committed, others))
}

/// Looks at a place on behalf of a new checkpoint.
pub(super) fn look(bucket: &dyn Bucket, place: &Path, own: Uuid) -> Result<Found> {
    let (committed, others) = ids(bucket, place)?;
    let mut found = Found {
        ids: committed.iter().chain(&others).copied().collect(),
        ..Found::default()
    };
    for &id in &others {
        let key = Attempt::key(&id.to_string());
        let attempt = bucket
            .get(&key)
            .map_err(failed(place, "read the object", &key))?;
        let attempt =
            attempt.and_then(|object| serde_json::from_slice::<Attempt>(&object.bytes).ok());
        // The record is the first object of an attempt, and the last one of a folder to be missed.
        if attempt.is_some_and(|attempt| attempt.lives(id, record::time_of(own))) {
            continue;
        }
        found.dead.push(id.to_string());
        add_sent(bucket, place, id, &mut found.known)?;
    }
    // A manifest that cannot be read gives nothing to refer to.
    if let Some(&id) = committed.first()
        && let Ok(Some(manifest)) = opened::manifest_of(bucket, place, id)
    {
        add_manifest(&manifest, &mut found.known);
    }
    found.committed = committed;
    Ok(found)
}

/// Adds the chunks that a dead attempt sent.
fn add_sent(bucket: &dyn Bucket, place: &Path, id: Uuid, known: &mut Known) -> Result<()> {
    let folder = format!("{id}/{}", record::SENT);
    let list = bucket
        .list(&folder)
        .map_err(failed(place, "list the objects", &folder))?;
    for (key, _) in list {
        let object = bucket
            .get(&key)
            .map_err(failed(place, "read the object", &key))?;
        let chunks =
            object.and_then(|object| serde_json::from_slice::<Vec<Sent>>(&object.bytes).ok());
        for sent in chunks.into_iter().flatten() {
            known.entry(sent.key.clone()).or_default().push(Candidate {
                folder: id.to_string(),
                sent,
            });
        }
    }
    Ok(())
}

/// Adds the chunks of a checkpoint.
fn add_manifest(manifest: &Manifest, known: &mut Known) {
    for array in &manifest.arrays {
        let (Some(dtype), Some(order)) = (array.element_type(), array.memory_order()) else {
            continue;
        };
        let Some(grid) = Grid::of_chunks(&array.shape, order, &array.chunk_shape) else {
            continue;
        };
        let columns = types::columns(&dtype, array.structs());
        for (column, recorded) in columns.iter().zip(&array.columns) {
            for (number, chunk) in recorded.chunks.iter().enumerate() {
                let coordinates = grid.coordinates(number);
                let key = chunk_key(&recorded.node, &coordinates, column.inner.len());
                let sent = Sent {
                    key: key.clone(),
                    encoding: array.encoding.clone(),
                    id: array.id.clone(),
                    is_frozen: array.is_frozen,
                    chunk: chunk.clone(),
                };
                known.entry(key).or_default().push(Candidate {
                    folder: manifest.checkpoint.to_string(),
                    sent,
                });
            }
        }
    }
}

/// Whether a place compares before it replaces an object, by a trial with an object in the folder
/// of an attempt.
pub(super) fn compares(bucket: &dyn Bucket, place: &Path, own: Uuid) -> Result<bool> {
    let key = format!("{own}/_ndshm/trial");
    let trial = || {
        bucket.put_if(&key, b"1", None)?;
        let other = Version("none".into());
        let is_replaced =
            bucket.put_if(&key, b"2", None)? || bucket.put_if(&key, b"3", Some(&other))?;
        bucket.delete(&key)?;
        Ok(!is_replaced)
    };
    trial().map_err(failed(place, "try whether it compares objects", &key))
}

//! What a place has already: checkpoints, attempts that died, and the chunks of both.

use super::{
    bucket::{Bucket, Part, Version},
    checkpoint::{chunk_key, failed},
    grid::Grid,
    opened,
    record::{self, Attempt, Manifest, Sent},
    types,
};
use crate::error::Result;
use std::{collections::HashMap, io, path::Path};
use uuid::Uuid;

/// The suffix of the note that a folder is being deleted.
const GONE: &str = ".gone";

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
    pub(super) dead: Vec<Uuid>,
    /// Folders whose deletion did not end.
    pub(super) gone: Vec<Uuid>,
    pub(super) known: Known,
}

/// What the names at a place are.
pub(super) struct Names {
    /// Checkpoints, the newest first.
    pub(super) committed: Vec<Uuid>,
    /// Folders that are named after ids, and have no Zarr group.
    others: Vec<Uuid>,
    /// Folders whose deletion did not end.
    gone: Vec<Uuid>,
}

/// Sorts the names at a place. The groups of other programs are left out.
pub(super) fn names(bucket: &dyn Bucket, place: &Path) -> Result<Names> {
    let children = bucket
        .children("")
        .map_err(failed(place, "list the checkpoints", ""))?;
    let gone: Vec<Uuid> = children
        .iter()
        .filter_map(|name| record::id_of(name.strip_suffix(GONE)?))
        .collect();
    let mut ids: Vec<Uuid> = children
        .iter()
        .filter_map(|name| record::id_of(name))
        .filter(|id| !gone.contains(id))
        .collect();
    ids.sort_unstable_by(|one, other| other.cmp(one));
    let mut names = Names {
        committed: Vec::new(),
        others: Vec::new(),
        gone,
    };
    for id in ids {
        let key = format!("{id}/{}", record::METADATA);
        let object = bucket
            .get(&key)
            .map_err(failed(place, "read the object", &key))?;
        match object {
            Some(object) if record::commits(&object.bytes, id) => names.committed.push(id),
            Some(_) => {}
            None => names.others.push(id),
        }
    }
    Ok(names)
}

/// Looks at a place on behalf of a new checkpoint.
pub(super) fn look(bucket: &dyn Bucket, place: &Path, now_ms: u64) -> Result<Found> {
    let Names {
        committed,
        others,
        gone,
    } = names(bucket, place)?;
    let mut found = Found {
        ids: committed.iter().chain(&others).copied().collect(),
        gone,
        ..Found::default()
    };
    for &id in &others {
        match record_of(bucket, place, id)? {
            Some(attempt) if attempt.is_dead(id, now_ms) => {
                found.dead.push(id);
                add_sent(bucket, place, id, &mut found.known)?;
            }
            None if record::is_abandoned(id, now_ms) && is_unbegun(bucket, place, id)? => {
                found.gone.push(id);
            }
            _ => {}
        }
    }
    // A manifest that cannot be read gives nothing to refer to.
    if let Some(&id) = committed.first()
        && let Ok(Some(manifest)) = opened::manifest_of(bucket, place, id)
    {
        add_manifest(&manifest, &mut found.known);
        keep_those_there(bucket, place, id, &mut found.known)?;
    }
    for &id in &found.dead {
        keep_those_there(bucket, place, id, &mut found.known)?;
    }
    found.committed = committed;
    Ok(found)
}

/// Whether a folder is that of a process which died before its record had its name. Only
/// directories have such.
fn is_unbegun(bucket: &dyn Bucket, place: &Path, id: Uuid) -> Result<bool> {
    let folder = id.to_string();
    let look =
        || Ok(bucket.list(&folder)?.is_empty() && bucket.children(&folder)? == [record::OWN]);
    look().map_err(failed(place, "list the objects", &folder))
}

/// The record of an attempt, and its version.
struct Recorded {
    /// `None` if this library cannot read it.
    attempt: Option<Attempt>,
    version: Version,
}

impl Recorded {
    fn is_dead(&self, id: Uuid, now_ms: u64) -> bool {
        match &self.attempt {
            Some(attempt) => !attempt.lives(id, now_ms),
            None => record::is_abandoned(id, now_ms),
        }
    }
}

/// The record of an attempt, without which a folder is not looked at: it may be any program's, and
/// an attempt that begins or ends just now.
fn record_of(bucket: &dyn Bucket, place: &Path, id: Uuid) -> Result<Option<Recorded>> {
    let key = Attempt::key(&id.to_string());
    let object = bucket
        .get(&key)
        .map_err(failed(place, "read the object", &key))?;
    Ok(object.map(|object| Recorded {
        attempt: serde_json::from_slice(&object.bytes).ok(),
        version: object.version,
    }))
}

/// Whether a checkpoint is still being ended by the process that committed it.
pub(super) fn is_ending(bucket: &dyn Bucket, place: &Path, id: Uuid, now_ms: u64) -> Result<bool> {
    let recorded = record_of(bucket, place, id)?;
    Ok(recorded.is_some_and(|recorded| !recorded.is_dead(id, now_ms)))
}

/// Deletes the folder of an attempt that was dead at the look, unless the attempt lives after all,
/// or has ended in a checkpoint.
///
/// Writer and deleter cannot miss each other. The deleter marks the record, and then looks for the
/// commit; the writer writes the commit, and then looks at its record.
pub(super) fn remove_dead(bucket: &dyn Bucket, place: &Path, id: Uuid, now_ms: u64) -> Result<()> {
    let Some(recorded) = record_of(bucket, place, id)?.filter(|one| one.is_dead(id, now_ms)) else {
        return Ok(());
    };
    let folder = id.to_string();
    let key = Attempt::key(&folder);
    let over = record::to_json(&Attempt::over());
    let is_marked = bucket
        .put_if(&key, &over, Some(&recorded.version))
        .map_err(failed(place, "mark the dead attempt", &key))?;
    let commit = format!("{folder}/{}", record::METADATA);
    let is_committed = || bucket.get(&commit).map(|object| object.is_some());
    if !is_marked || is_committed().map_err(failed(place, "read the object", &commit))? {
        return Ok(());
    }
    remove(bucket, place, id)
}

/// Deletes the folder of a checkpoint or an attempt. A note at the place says so first: a deletion
/// that is killed is ended by the next checkpoint.
pub(super) fn remove(bucket: &dyn Bucket, place: &Path, id: Uuid) -> Result<()> {
    let folder = id.to_string();
    let note = format!("{folder}{GONE}");
    let deletion = || {
        bucket.put(&note, &[Part::Bytes(b"{}")])?;
        // Without its commit it is no group any more.
        bucket.delete(&format!("{folder}/{}", record::METADATA))?;
        bucket.delete_all(&folder)?;
        bucket.delete(&note)
    };
    deletion().map_err(failed(place, "delete the folder", &folder))
}

/// Leaves only those of a folder's chunks whose objects are there with their lengths.
fn keep_those_there(bucket: &dyn Bucket, place: &Path, id: Uuid, known: &mut Known) -> Result<()> {
    let folder = id.to_string();
    let listed = bucket
        .list(&folder)
        .map_err(failed(place, "list the objects", &folder))?;
    let listed: HashMap<String, u64> = listed.into_iter().collect();
    for (key, candidates) in known {
        let len = listed.get(&format!("{folder}/{key}"));
        candidates.retain(|one| one.folder != folder || len == Some(&one.sent.chunk.len));
    }
    Ok(())
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
    let key = format!("{own}/{}/trial", record::OWN);
    let trial = || {
        bucket.put_if(&key, b"1", None)?;
        let other = Version("none".into());
        let is_replaced =
            bucket.put_if(&key, b"2", None)? || bucket.put_if(&key, b"3", Some(&other))?;
        let seen = bucket.get(&key)?.map(|object| object.version);
        let takes_own = bucket.put_if(&key, b"4", seen.as_ref())?;
        bucket.delete(&key)?;
        match takes_own {
            true => Ok(!is_replaced),
            false => Err(io::Error::other(
                "it refuses to replace an object whose version it has just given: its versions \
                 (ETag) cannot be used; switch conditions off, for S3 by \
                 AWS_CONDITIONAL_PUT=disabled",
            )),
        }
    };
    trial().map_err(failed(place, "try whether it compares objects", &key))
}

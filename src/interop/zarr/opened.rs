//! The checkpoint of a place that is read: the one that was asked for, or the latest.

use super::{
    attempts,
    bucket::Bucket,
    checkpoint::failed,
    group::{self, Opened},
    record::{self, Commit, Latest, Manifest},
};
use crate::error::{Error, Result};
use std::path::Path;
use uuid::Uuid;

/// The checkpoint with this id, or the latest, or the group that the place is.
pub(super) fn open(bucket: &dyn Bucket, place: &Path, checkpoint: Option<&str>) -> Result<Opened> {
    if let Some(text) = checkpoint {
        let opened = match record::id_of(text) {
            Some(_) => checkpoint_in(bucket, place, text)?,
            None => None,
        };
        return opened
            .ok_or_else(|| no_checkpoint(bucket, place, &format!("has no checkpoint {text}")));
    }
    // A checkpoint that is deleted while it is opened has a successor.
    let mut before = None;
    while let Some(latest) = latest(bucket, place)? {
        let folder = latest.to_string();
        let opened = checkpoint_in(bucket, place, &folder);
        match opened {
            Ok(Some(opened)) => return Ok(opened),
            opened if before == Some(latest) => {
                opened?;
                let reason = format!("its latest checkpoint, {folder}, is gone");
                return Err(no_checkpoint(bucket, place, &reason));
            }
            _ => before = Some(latest),
        }
    }
    let Some(metadata) = group::metadata(bucket, place, "")? else {
        return Err(no_checkpoint(bucket, place, "has no latest checkpoint"));
    };
    let folder = String::new();
    Ok(Opened {
        manifest: manifest_in(bucket, place, &folder, &metadata)?,
        folder,
        metadata,
    })
}

/// The checkpoint that the pointer of a place leads to; `None` without a pointer.
fn latest(bucket: &dyn Bucket, place: &Path) -> Result<Option<Uuid>> {
    let object =
        bucket
            .get(record::LATEST)
            .map_err(failed(place, "read the object", record::LATEST))?;
    let Some(object) = object else {
        return Ok(None);
    };
    match serde_json::from_slice::<Latest>(&object.bytes) {
        Ok(latest) => Ok(Some(latest.checkpoint)),
        Err(error) => {
            let reason = format!("has a damaged {}: {error}", record::LATEST);
            Err(no_checkpoint(bucket, place, &reason))
        }
    }
}

/// Whether a checkpoint is no more at the place where it was opened.
pub(super) fn is_gone(bucket: &dyn Bucket, place: &Path, folder: &str) -> Result<bool> {
    let key = group::below(folder, record::METADATA);
    let object = bucket
        .get(&key)
        .map_err(failed(place, "read the object", &key))?;
    Ok(object.is_none())
}

/// The checkpoint in a folder; `None` if there is none.
fn checkpoint_in(bucket: &dyn Bucket, place: &Path, folder: &str) -> Result<Option<Opened>> {
    let Some(metadata) = group::metadata(bucket, place, folder)? else {
        return Ok(None);
    };
    let manifest = manifest_in(bucket, place, folder, &metadata)?;
    Ok(manifest.map(|manifest| Opened {
        folder: folder.to_owned(),
        metadata,
        manifest: Some(manifest),
    }))
}

/// The manifest of a checkpoint; `None` if there is no such checkpoint.
///
/// # Errors
///
/// `Transfer` where it is damaged.
pub(super) fn manifest_of(bucket: &dyn Bucket, place: &Path, id: Uuid) -> Result<Option<Manifest>> {
    let opened = checkpoint_in(bucket, place, &id.to_string())?;
    Ok(opened.and_then(|opened| opened.manifest))
}

/// The manifest of the group in a folder; `None` if the group is no checkpoint.
fn manifest_in(
    bucket: &dyn Bucket,
    place: &Path,
    folder: &str,
    metadata: &serde_json::Value,
) -> Result<Option<Manifest>> {
    let commit = metadata.pointer("/attributes/ndshm").cloned();
    let Some(commit) = commit.and_then(|value| serde_json::from_value::<Commit>(value).ok()) else {
        return Ok(None);
    };
    let key = group::below(folder, record::MANIFEST);
    let damaged = |reason: String| Error::transfer(place.join(&key), reason);
    if commit.format != record::FORMAT {
        return Err(damaged(format!(
            "the checkpoint has version {}, this library knows {}: use a newer one, or restore the \
             arrays by another reader of Zarr",
            commit.format,
            record::FORMAT
        )));
    }
    let bytes = bucket
        .get(&key)
        .map_err(failed(place, "read the object", &key))?
        .ok_or_else(|| damaged("it is missing: the checkpoint is damaged".into()))?
        .bytes;
    let is_whole = bytes.len() as u64 == commit.manifest_len
        && crc32fast::hash(&bytes) == commit.manifest_crc32;
    if !is_whole {
        return Err(damaged(
            "its checksum differs: the checkpoint is damaged".into(),
        ));
    }
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| damaged(format!("it is damaged: {error}")))
}

/// The error where there is no checkpoint, with those that there are.
fn no_checkpoint(bucket: &dyn Bucket, place: &Path, reason: &str) -> Error {
    let ids = attempts::names(bucket, place).map_or(Vec::new(), |names| names.committed);
    let advice = match ids[..] {
        [] => "is it the place that was given to the checkpoint?".to_owned(),
        _ => {
            let ids: Vec<String> = ids.iter().take(5).map(Uuid::to_string).collect();
            format!("it has {}", ids.join(", "))
        }
    };
    Error::transfer(place, format!("{reason}: {advice}"))
}

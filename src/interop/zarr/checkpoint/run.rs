//! The steps of writing a checkpoint.
//!
//! # Whole or not at all
//!
//! A chunk that is missing reads as zeros, without an error, in every reader of Zarr. So the order
//! of the steps is fixed, and each object appears whole:
//!
//! 1. The record of the attempt, in a folder with a new id.
//! 2. The chunks. After each MiB of them goes a record that they were sent.
//! 3. The metadata of each array, and the manifest.
//! 4. A look whether all chunks are there, with their lengths.
//! 5. The metadata of the group: the *commit*. Without it the folder is no Zarr group.
//! 6. The pointer to the latest checkpoint, if it still points to an older one.
//! 7. Folders of dead attempts and of old checkpoints go: of these, the commit first.
//!
//! A process that dies before the fifth step leaves a folder that no reader takes, and the next
//! checkpoint uses its chunks.

use super::{
    Checkpoint, Checkpointed,
    source::{self, Source},
};
use crate::{
    array::together,
    error::{Error, Result},
    interop::{
        selection::Left,
        zarr::{
            attempts::{self, Found},
            bucket::{Bucket, Object, Part},
            parallel,
            record::{self, Attempt, Commit, Latest, Manifest, Running, Sent},
            slab::Slab,
        },
    },
    manager::Manager,
    sys::wait,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use uuid::Uuid;

/// The most guards of one checkpoint, where arrays do not need more.
const GUARDS: usize = 1024;

/// How often the pointer to the latest checkpoint is written, where others replace it meanwhile.
const MOST_TRIES: usize = 100;
/// How long a checkpoint that failed tries to say so.
const CLEANING: Duration = Duration::from_secs(2);

/// A chunk to send, and the guard on its elements.
pub(super) struct Task {
    pub(super) source: usize,
    pub(super) number: usize,
    pub(super) slab: Arc<Slab>,
    /// Where its elements begin in the slab, in bytes.
    pub(super) at: usize,
}

pub(super) struct Run<'a> {
    pub(super) settings: &'a Checkpoint<'a>,
    pub(super) bucket: &'a dyn Bucket,
    pub(super) manager: &'a Manager,
    pub(super) place: PathBuf,
    /// Chosen after a look at the place.
    pub(super) id: Uuid,
    pub(super) now: SystemTime,
    pub(super) sources: Vec<Source>,
    pub(super) left: Vec<Left>,
    pub(super) total: u64,
    pub(super) sent: AtomicU64,
    pub(super) referred: AtomicU64,
    /// Chunks that were sent and are in no record yet, and the bytes of their objects.
    pub(super) unrecorded: Mutex<(Vec<Sent>, u64)>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        settings: &'a Checkpoint<'a>,
        manager: &'a Manager,
        bucket: &'a dyn Bucket,
    ) -> Result<Self> {
        let place = PathBuf::from(bucket.location());
        let now = SystemTime::now();
        let (sources, left) = source::sources(settings, manager, &place)?;
        let total = sources
            .iter()
            .map(|source| source.info.byte_len as u64)
            .sum();
        Ok(Self {
            settings,
            bucket,
            manager,
            place,
            id: Uuid::nil(),
            now,
            sources,
            left,
            total,
            sent: AtomicU64::new(0),
            referred: AtomicU64::new(0),
            unrecorded: Mutex::default(),
        })
    }

    pub(super) fn write(mut self) -> Result<Checkpointed> {
        if self.get(record::METADATA)?.is_some() {
            let reason = "it is a Zarr group or array: choose another place for checkpoints, each \
                          of which is a group in it";
            return Err(Error::transfer(&self.place, reason));
        }
        let now_ms = millis(self.now);
        let found = attempts::look(self.bucket, &self.place, now_ms)?;
        // Ids sort by time, also where another machine's clock is ahead.
        let newest = found
            .committed
            .first()
            .map_or(0, |id| record::time_of(*id) + 1);
        self.id = record::new_id(now_ms.max(newest))
            .map_err(Error::io(&self.place, "take random bytes"))?;
        let _running = Running::new(self.id);
        let attempt = record::to_json(&Attempt::of_this_process());
        let key = Attempt::key(&self.id.to_string());
        self.put(&key, &[Part::Bytes(&attempt)])?;
        let written = attempts::compares(self.bucket, &self.place, self.id)
            .and_then(|compares| self.fill(&found).map(|()| compares))
            .and_then(|compares| self.commit(&attempt).map(|()| compares));
        let is_compared = match written {
            Ok(compares) => compares,
            Err(error) => {
                // What was sent stays, for the next attempt. If the server is away, the record
                // stays as it is, and counts until this process ends.
                let over = record::to_json(&Attempt::over());
                let mark = || self.bucket.put(&key, &[Part::Bytes(&over)]);
                drop(wait::limited(CLEANING, mark));
                return Err(error);
            }
        };
        let is_latest = self.point(&found)?;
        // Before older ones go.
        self.sync("")?;
        let deleted = self.clean(&found)?;
        Ok(Checkpointed {
            id: self.id.to_string(),
            arrays: self.sources.len(),
            byte_len: self.total,
            sent: self.sent.load(Relaxed),
            referred: self.referred.load(Relaxed),
            left: std::mem::take(&mut self.left),
            deleted,
            is_latest,
            is_compared,
        })
    }

    /// Sends the chunks of all arrays.
    pub(super) fn fill(&mut self, found: &Found) -> Result<()> {
        let all: Vec<usize> = (0..self.sources.len()).collect();
        let groups: Vec<&[usize]> = match self.settings.is_one_moment {
            true => vec![&all],
            false => all.chunks(1).collect(),
        };
        for group in groups {
            let tasks = self.guard(group)?;
            let count = tasks.len();
            let tasks: Vec<_> = tasks
                .into_iter()
                .map(|task| Mutex::new(Some(task)))
                .collect();
            parallel::for_each(&self.place, count, self.settings.threads, |number| {
                let mut task = tasks[number].lock().unwrap_or_else(PoisonError::into_inner);
                // The slab's guard goes with its last task.
                match task.take() {
                    Some(task) => self.send(task, &found.known),
                    None => Ok(()),
                }
            })?;
        }
        Ok(())
    }

    /// Takes the guards of some arrays together, and makes a task of each chunk.
    pub(super) fn guard(&mut self, group: &[usize]) -> Result<Vec<Task>> {
        let chunks: usize = group
            .iter()
            .map(|&index| self.sources[index].grid.len())
            .sum();
        let chunks_of_guard = chunks.div_ceil(GUARDS).max(1);
        for _ in 0..8 {
            for &index in group {
                let source = &mut self.sources[index];
                source.is_poisoned = self.settings.takes_poison && source.array.is_poisoned()?;
            }
            let (mut wanted, mut places) = (Vec::new(), Vec::new());
            for &index in group {
                let source = &self.sources[index];
                let numbers: Vec<usize> = (0..source.grid.len()).collect();
                for numbers in numbers.chunks(chunks_of_guard) {
                    let view = source::view_of(source, numbers)?;
                    if !source.is_poisoned {
                        wanted.push(view.reading());
                    }
                    places.push((index, numbers.to_vec()));
                }
            }
            let timeout = self.settings.timeout;
            let guards = match timeout {
                Some(timeout) => together::lock_timeout(wanted, timeout),
                None => together::lock(wanted),
            };
            let guards = match guards {
                // A writer died after the look.
                Err(Error::Poisoned { .. }) if self.settings.takes_poison => continue,
                guards => guards?,
            };
            let mut guards = guards.into_iter();
            let mut tasks = Vec::new();
            for (index, numbers) in places {
                let source = &self.sources[index];
                let slab = match source.is_poisoned {
                    true => Slab::Unlocked,
                    false => match guards.next() {
                        Some(guard) => Slab::guarded(guard),
                        None => unreachable!("each view has a guard"),
                    },
                };
                let slab = Arc::new(slab);
                let start = source.grid.range(numbers[0]).0;
                tasks.extend(numbers.into_iter().map(|number| Task {
                    source: index,
                    number,
                    slab: slab.clone(),
                    at: (source.grid.range(number).0 - start) * source.itemsize(),
                }));
            }
            return Ok(tasks);
        }
        let reason = "writers died again and again while it was about to be read: try again";
        Err(Error::transfer(self.manager.path(), reason))
    }

    /// Writes all metadata, the group's last.
    pub(super) fn commit(&self, attempt: &[u8]) -> Result<()> {
        let (nodes, records) = self.describe()?;
        let entries: Vec<_> = nodes.iter().collect();
        parallel::for_each(&self.place, entries.len(), self.settings.threads, |index| {
            let (node, metadata) = entries[index];
            let key = self.key(&format!("{node}/{}", record::METADATA));
            self.put(&key, &[Part::Bytes(&pretty(metadata))])
        })?;
        let manifest = Manifest {
            format: record::FORMAT,
            checkpoint: self.id,
            software: concat!("ndshm ", env!("CARGO_PKG_VERSION")).into(),
            created_ns: self
                .now
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| time.as_nanos() as u64),
            arrays: records,
        };
        let bytes = record::to_json(&manifest);
        self.put(&self.key(record::MANIFEST), &[Part::Bytes(&bytes)])?;
        self.check_chunks(&manifest)?;
        self.sync(&self.id.to_string())?;
        let commit = Commit {
            format: record::FORMAT,
            checkpoint: self.id,
            manifest_len: bytes.len() as u64,
            manifest_crc32: crc32fast::hash(&bytes),
        };
        let group = json!({
            "zarr_format": 3,
            "node_type": "group",
            "attributes": {"ndshm": commit},
            "consolidated_metadata": {
                "kind": "inline",
                "must_understand": false,
                "metadata": nodes,
            },
        });
        let key = self.key(record::METADATA);
        self.put(&key, &[Part::Bytes(&pretty(&group))])?;
        let own = self.get(&Attempt::key(&self.id.to_string()))?;
        if own.is_none_or(|object| object.bytes != attempt) {
            // Its chunks may be gone.
            let deleted = self.bucket.delete(&key);
            deleted.map_err(self.failed("take the checkpoint back", &key))?;
            let reason = "another process took this one for dead, and deletes what it sent: a \
                          clock may differ by more than a day; try again";
            return Err(Error::transfer(self.place.join(key), reason));
        }
        self.sync(&self.id.to_string())
    }

    /// Fails unless all chunks are there, with their lengths: a missing one would read as zeros.
    pub(super) fn check_chunks(&self, manifest: &Manifest) -> Result<()> {
        let listed = self
            .bucket
            .list(&self.id.to_string())
            .map_err(self.failed("list the chunks", ""))?;
        let listed: HashMap<_, _> = listed.into_iter().collect();
        for (source, record) in self.sources.iter().zip(&manifest.arrays) {
            for (index, column) in record.columns.iter().enumerate() {
                for (number, chunk) in column.chunks.iter().enumerate() {
                    let key = self.key(&source.key(index, number));
                    let found = listed.get(&key);
                    if found != Some(&chunk.len) {
                        let reason = format!(
                            "the chunk has {found:?} bytes instead of {}: another program changed \
                             or deleted it; try again",
                            chunk.len
                        );
                        return Err(Error::transfer(self.place.join(key), reason));
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes the pointer lead to this checkpoint, unless it leads to a newer one.
    pub(super) fn point(&self, found: &Found) -> Result<bool> {
        let latest = Latest {
            format: record::FORMAT,
            checkpoint: self.id,
        };
        let bytes = record::to_json(&latest);
        for _ in 0..MOST_TRIES {
            let seen = self.get(record::LATEST)?;
            let pointed = seen
                .as_ref()
                .and_then(|object| serde_json::from_slice::<Latest>(&object.bytes).ok());
            // A checkpoint that was there before this one is older, whatever the clock said then.
            let is_newer = |latest: &Latest| {
                latest.checkpoint > self.id && !found.ids.contains(&latest.checkpoint)
            };
            if pointed.is_some_and(|latest| is_newer(&latest)) {
                return Ok(false);
            }
            let version = seen.as_ref().map(|object| &object.version);
            let is_written = self
                .bucket
                .put_if(record::LATEST, &bytes, version)
                .map_err(self.failed("write the pointer to the latest checkpoint", ""))?;
            if is_written {
                return Ok(true);
            }
        }
        let reason = "the checkpoint is written, but the place takes no pointer to it: another \
                      process replaces it all the time; restore it by its id";
        Err(Error::transfer(self.place.join(record::LATEST), reason))
    }

    /// Deletes the records of this attempt, dead attempts, and old checkpoints. Returns the ids of
    /// these.
    pub(super) fn clean(&self, found: &Found) -> Result<Vec<String>> {
        let id = self.id.to_string();
        let now_ms = millis(self.now);
        self.bucket
            .delete_all(&self.key(record::SENT))
            .and_then(|()| self.bucket.delete(&Attempt::key(&id)))
            .map_err(self.failed(
                "delete the records of the checkpoint, which is written,",
                &id,
            ))?;
        for &gone in &found.gone {
            attempts::remove(self.bucket, &self.place, gone)?;
        }
        for &dead in &found.dead {
            attempts::remove_dead(self.bucket, &self.place, dead, now_ms)?;
        }
        let Some(keep) = self.settings.keep else {
            return Ok(Vec::new());
        };
        let latest = self
            .get(record::LATEST)?
            .and_then(|object| serde_json::from_slice::<Latest>(&object.bytes).ok());
        let mut deleted = Vec::new();
        // Newest first, without this one.
        for &old in found.committed.iter().skip(keep - 1) {
            if latest.as_ref().is_none_or(|one| one.checkpoint != old)
                && !attempts::is_ending(self.bucket, &self.place, old, now_ms)?
            {
                attempts::remove(self.bucket, &self.place, old)?;
                deleted.push(old.to_string());
            }
        }
        Ok(deleted)
    }

    pub(super) fn sync(&self, folder: &str) -> Result<()> {
        self.bucket
            .sync(folder)
            .map_err(self.failed("write the checkpoint to the disk", folder))
    }

    pub(super) fn key(&self, key: &str) -> String {
        format!("{}/{key}", self.id)
    }

    pub(super) fn put(&self, key: &str, parts: &[Part<'_>]) -> Result<()> {
        self.bucket
            .put(key, parts)
            .map_err(self.failed("write the object", key))
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Object>> {
        self.bucket
            .get(key)
            .map_err(self.failed("read the object", key))
    }

    pub(super) fn failed(
        &self,
        action: &'static str,
        key: &str,
    ) -> impl FnOnce(io::Error) -> Error + use<> {
        failed(&self.place, action, key)
    }
}
/// The error of an object of a place.
pub(in crate::interop::zarr) fn failed(
    place: &Path,
    action: &'static str,
    key: &str,
) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = match key {
        "" => place.to_path_buf(),
        key => place.join(key),
    };
    move |error| match error.kind() {
        // The bucket says so; a signal by itself ends no wait.
        io::ErrorKind::Interrupted => Error::Interrupted { path },
        _ => Error::io(&path, action)(error),
    }
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_millis() as u64)
}

fn pretty(value: &Value) -> Vec<u8> {
    match serde_json::to_vec_pretty(value) {
        Ok(bytes) => bytes,
        Err(_) => unreachable!("it has text keys"),
    }
}

//! The builder that restores checkpoints, and imports the Zarr v3 groups of others.
//!
//! # All or none
//!
//! The space of all arrays is reserved before anything is fetched. The arrays are filled where no
//! other process sees them, and get their names when all of them are complete. An array that grows
//! is filled without a name, and renamed.

use super::{
    bucket::Bucket,
    checkpoint::failed,
    fill::{Filling, Job},
    group::{self, Opened},
    parallel,
    record::{self, Commit, Latest, Manifest},
};
use crate::{
    array::{self, any::AnyArray, growing::AnyGrowing, view},
    error::{Error, Result},
    format::name::ArrayName,
    interop::{failure, meter::Progress, selection::Left, selection::Selection},
    manager::Manager,
    scope::Scope,
    segment::{draft::Draft, pages::Payload},
};
use std::{
    collections::HashMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use uuid::Uuid;

/// Chunks that are in flight.
const THREADS: usize = 4;

/// Settings for a restore, and the verbs that make arrays of a checkpoint or of another Zarr v3
/// group.
///
/// The place is that of [`Checkpoint`](crate::Checkpoint), and its latest checkpoint is taken, or
/// the one with a given id. A folder with a checkpoint is a place too, and so is any other Zarr v3
/// group or array: regular chunks with the codecs `bytes`, `zstd`, `gzip`, `crc32c`, `transpose`
/// and `sharding_indexed`.
///
/// A restored array has the name, type, shape, order, attributes and axis names that it had, and is
/// frozen, grows or is poisoned as it did. An array of another group has the name of its path in
/// the group (`a/b` becomes `a%2Fb`), its dimension names and its attributes.
///
/// All arrays are made, or none. Space for all of them is reserved before anything is fetched;
/// chunks go straight into the mappings where they are not compressed, and are compared with the
/// checksums of the checkpoint.
///
/// # Examples
///
/// ```
/// use ndshm::{Manager, Restore};
///
/// # let scratch = tempfile::tempdir().unwrap();
/// # let directory = scratch.path().join("checkpoints");
/// let manager = Manager::new()?;
/// manager.options().name("xs").from_shape_fn::<i32, _>((4, 3), |(i, j)| (10 * i + j) as i32)?;
/// manager.checkpoint(&directory)?;
///
/// let rows = Restore::new().prefix("part.").slice("xs", [1..3, 0..3]);
/// let restored = rows.from_directory(&manager, &directory)?;
/// assert_eq!(restored.names, ["part.xs"]);
/// let part = manager.array::<i32, ndarray::Ix2>("part.xs")?;
/// assert_eq!(part.to_ndarray()?, ndarray::array![[10, 11, 12], [20, 21, 22]]);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Restore<'a> {
    checkpoint: Option<String>,
    selection: Selection,
    slices: HashMap<String, Vec<Range<usize>>>,
    prefix: String,
    threads: usize,
    progress: Progress<'a>,
}

/// The arrays that were restored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Restored {
    /// The id of the checkpoint; `None` for the group of another program.
    pub checkpoint: Option<String>,
    /// The names of the new arrays, in the order of the checkpoint.
    pub names: Vec<String>,
    /// Bytes of their elements.
    pub byte_len: u64,
    /// Arrays that were left, because they cannot be arrays here: see
    /// [`Restore::skip_unsupported`].
    pub left: Vec<Left>,
}

impl Default for Restore<'_> {
    fn default() -> Self {
        Self {
            checkpoint: None,
            selection: Selection::default(),
            slices: HashMap::new(),
            prefix: String::new(),
            threads: THREADS,
            progress: None,
        }
    }
}

impl<'a> Restore<'a> {
    /// The default settings: all arrays of the latest checkpoint, under their names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the checkpoint with this id, instead of the latest.
    pub fn checkpoint(mut self, id: impl Into<String>) -> Self {
        self.checkpoint = Some(id.into());
        self
    }

    /// Takes only arrays whose names match one of these patterns (`*`, `?`, `[a-z]`); of other
    /// groups, whose paths do. Each pattern must have an array.
    pub fn only<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.selection
            .only
            .extend(names.into_iter().map(Into::into));
        self
    }

    /// Takes only a part of the array with this name, a range along each axis, and this array only
    /// unless other calls name more. Only the chunks with that part are fetched.
    pub fn slice(
        mut self,
        name: impl Into<String>,
        ranges: impl IntoIterator<Item = Range<usize>>,
    ) -> Self {
        let name = name.into();
        self.selection.only.push(name.clone());
        self.slices.insert(name, ranges.into_iter().collect());
        self
    }

    /// Puts this before the name of each array.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Leaves arrays of other groups that cannot be arrays here, instead of failing: those of other
    /// types and codecs. [`Restored::left`] has the reasons.
    pub fn skip_unsupported(mut self) -> Self {
        self.selection.skips = true;
        self
    }

    /// The most chunks that are in flight. Default: 4.
    pub fn in_flight(mut self, chunks: usize) -> Self {
        self.threads = chunks.clamp(1, 64);
        self
    }

    /// Calls a function after each chunk, with the bytes of elements that are done and those of all
    /// elements.
    pub fn progress(mut self, progress: &'a (dyn Fn(u64, u64) + Sync)) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Restores from a directory.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    #[allow(
        clippy::wrong_self_convention,
        reason = "the directory is that of the checkpoints"
    )]
    pub fn from_directory(
        &self,
        manager: &Manager,
        directory: impl AsRef<Path>,
    ) -> Result<Restored> {
        self.read(manager, &super::DirectoryBucket::new(directory.as_ref()))
    }

    /// Restores from a bucket.
    ///
    /// # Errors
    ///
    /// `NoSpace` before anything is fetched; `AlreadyExists` where a name is taken; `Transfer`
    /// where there is no checkpoint, where a chunk is missing or damaged, where a pattern has no
    /// array, and where an array of another group cannot be one here; `Layout` where a slice does
    /// not fit; `Name`; `Io`. Then there is no new array.
    pub fn read(&self, manager: &Manager, bucket: &dyn Bucket) -> Result<Restored> {
        let place = PathBuf::from(bucket.location());
        let Opened { folder, manifest } = self.open(bucket, &place)?;
        let checkpoint = manifest
            .as_ref()
            .map(|manifest| manifest.checkpoint.to_string());
        let (found, left) = match &manifest {
            Some(manifest) => (
                group::of_checkpoint(bucket, &place, &folder, manifest)?,
                Vec::new(),
            ),
            None => group::of_others(bucket, &place, &folder)?,
        };
        let keys: Vec<&str> = found.iter().map(|job| job.name.as_str()).collect();
        let all_keys = keys
            .iter()
            .copied()
            .chain(left.iter().map(|left| left.key.as_str()));
        let left: Vec<Left> = left
            .iter()
            .filter(|left| self.selection.takes(&left.key))
            .cloned()
            .collect();
        let all_keys: Vec<&str> = all_keys.collect();
        self.selection
            .check(all_keys.iter().copied(), &left)
            .map_err(failure::reading(&place))?;
        let mut jobs = Vec::new();
        for job in found {
            if self.selection.takes(&job.name) {
                let ranges = self.slices.get(&job.name);
                jobs.push(match ranges {
                    Some(ranges) => job.sliced(ranges)?,
                    None => job,
                });
            }
        }
        let (names, byte_len) = self.make(manager, bucket, &place, &jobs)?;
        Ok(Restored {
            checkpoint,
            names,
            byte_len,
            left,
        })
    }

    /// The checkpoint or the group that is meant.
    fn open(&self, bucket: &dyn Bucket, place: &Path) -> Result<Opened> {
        let get = |key: &str| {
            bucket
                .get(key)
                .map_err(failed(place, "read the object", key))
        };
        if let Some(text) = &self.checkpoint {
            let id = record::id_of(text);
            let manifest = id
                .map(|id| manifest_of(bucket, place, id))
                .transpose()?
                .flatten();
            return match manifest {
                Some(manifest) => Ok(Opened {
                    folder: text.clone(),
                    manifest: Some(manifest),
                }),
                None => Err(no_checkpoint(
                    bucket,
                    place,
                    &format!("has no checkpoint {text}"),
                )),
            };
        }
        if get(record::METADATA)?.is_some() {
            return Ok(Opened {
                folder: String::new(),
                manifest: manifest_in(bucket, place, "")?,
            });
        }
        let Some(latest) = get(record::LATEST)? else {
            return Err(no_checkpoint(bucket, place, "has no latest checkpoint"));
        };
        let latest: Latest = serde_json::from_slice(&latest.bytes).map_err(|error| {
            Error::transfer(
                place.join(record::LATEST),
                format!("it is damaged: {error}"),
            )
        })?;
        let folder = latest.checkpoint.to_string();
        match manifest_in(bucket, place, &folder)? {
            Some(manifest) => Ok(Opened {
                folder,
                manifest: Some(manifest),
            }),
            None => {
                let reason = format!("its latest checkpoint, {folder}, is gone");
                Err(no_checkpoint(bucket, place, &reason))
            }
        }
    }

    /// Makes the arrays of these jobs.
    fn make(
        &self,
        manager: &Manager,
        bucket: &dyn Bucket,
        place: &Path,
        jobs: &[Job],
    ) -> Result<(Vec<String>, u64)> {
        let mut names = Vec::new();
        for job in jobs {
            let name = job.array_name(&self.prefix)?;
            if names.contains(&name) {
                return Err(Error::transfer(
                    place,
                    format!(
                        "two of its arrays would be called {name:?}: take one by Restore::only"
                    ),
                ));
            }
            names.push(name);
        }
        let mut made = Vec::new();
        for (job, name) in jobs.iter().zip(&names) {
            made.push(Made::new(manager, job, name)?);
        }
        let total = jobs.iter().map(Job::byte_len).sum();
        self.fill(bucket, place, jobs, &mut made, total)?;
        publish(manager, made, &names, jobs)?;
        Ok((names, total))
    }

    /// Fetches the elements of all arrays.
    fn fill(
        &self,
        bucket: &dyn Bucket,
        place: &Path,
        jobs: &[Job],
        made: &mut [Made],
        total: u64,
    ) -> Result<()> {
        let done = AtomicU64::new(0);
        let mut reserved = Vec::new();
        let mut fillings = Vec::new();
        // The rows of an array that grows borrow it, so they come first.
        let mut drafts = Vec::new();
        for (job, made) in jobs.iter().zip(made) {
            match made {
                Made::Draft(draft) => drafts.push((job, draft)),
                Made::Growing(growing) if job.shape[0] > 0 => {
                    reserved.push((job, growing.reserve(job.shape[0])?));
                }
                Made::Growing(_) => {}
            }
        }
        for (job, draft) in drafts {
            let len = job.byte_len() as usize;
            fillings.push(Filling::new(job, view::bytes_of(draft, len)));
        }
        for (job, rows) in &mut reserved {
            fillings.push(Filling::new(job, rows.bytes_mut()));
        }
        // The number behind the last chunk of each array.
        let ends: Vec<usize> = fillings
            .iter()
            .scan(0, |end, filling| {
                *end += filling.count();
                Some(*end)
            })
            .collect();
        let count = ends.last().copied().unwrap_or(0);
        parallel::for_each(place, count, self.threads, |number| {
            let index = ends.partition_point(|&end| end <= number);
            let first = if index == 0 { 0 } else { ends[index - 1] };
            let bytes = fillings[index].fill(bucket, place, number - first)?;
            let done = done.fetch_add(bytes, Relaxed) + bytes;
            if let Some(progress) = self.progress {
                progress(done.min(total), total);
            }
            Ok(())
        })?;
        drop(fillings);
        for (_, rows) in reserved {
            rows.commit()?;
        }
        Ok(())
    }
}

impl Manager {
    /// Makes the arrays of the latest checkpoint in a directory, or of another Zarr v3 group, with
    /// the default settings of [`Restore`].
    ///
    /// # Errors
    ///
    /// Those of [`Restore::read`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let directory = scratch.path().join("checkpoints");
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("xs").ones::<f64, _>(3)?;
    /// manager.checkpoint(&directory)?;
    ///
    /// let later = ndshm::Manager::new()?;
    /// assert_eq!(later.restore(&directory)?.names, ["xs"]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn restore(&self, directory: impl AsRef<Path>) -> Result<Restored> {
        Restore::new().from_directory(self, directory)
    }
}

/// An array that no other process finds by its name yet.
enum Made {
    Draft(Box<Draft>),
    Growing(AnyGrowing),
}

impl Made {
    fn new(manager: &Manager, job: &Job, name: &str) -> Result<Self> {
        let member = manager.member();
        let mut labels = job.labels(name)?;
        if let Some(max_len) = job.max_len {
            if manager.contains(name)? {
                return Err(Error::name_taken(
                    ArrayName::parse(name)?.file_in(manager.path()),
                ));
            }
            labels.name = None;
            labels.scope = Some(Scope::Local);
            let growing = AnyGrowing::create(member, labels, &job.dtype, &job.shape[1..], max_len)?;
            return Ok(Self::Growing(growing));
        }
        let draft = array::draft_any(
            member,
            labels,
            job.dtype.clone(),
            &job.shape,
            job.order,
            Payload::ToBeFilled,
        )?;
        Ok(Self::Draft(Box::new(draft)))
    }
}

/// An array that has its name.
enum Published {
    Array(AnyArray),
    Growing(AnyGrowing),
}

impl Published {
    fn release(&self) {
        // It was this restore's alone.
        drop(match self {
            Self::Array(array) => array.release(),
            Self::Growing(growing) => growing.release(),
        });
    }
}

/// Gives all arrays their names, or none.
fn publish(manager: &Manager, made: Vec<Made>, names: &[String], jobs: &[Job]) -> Result<()> {
    let mut published: Vec<Published> = Vec::with_capacity(made.len());
    let publish = || {
        for ((made, name), job) in made.into_iter().zip(names).zip(jobs) {
            match made {
                Made::Draft(draft) => {
                    published.push(Published::Array(AnyArray::of_published(draft.publish()?)));
                }
                Made::Growing(growing) => {
                    // The file of an array without a name is called by its digits.
                    let stem = growing.path().file_stem().unwrap_or_default();
                    let id = stem.to_string_lossy().into_owned();
                    published.push(Published::Growing(growing));
                    manager.rename(&id, name)?;
                }
            }
            match published.last() {
                Some(Published::Array(array)) if job.is_frozen => array.freeze()?,
                Some(Published::Array(array)) if job.is_poisoned && !array.is_empty() => {
                    array.write()?.poison();
                }
                Some(Published::Growing(growing)) => {
                    if job.is_frozen {
                        growing.freeze()?;
                    }
                    growing.set_scope(Scope::Store)?;
                }
                _ => {}
            }
        }
        Ok(())
    };
    publish().inspect_err(|_| published.iter().for_each(Published::release))
}

/// The manifest of a checkpoint; `None` if there is no such checkpoint.
///
/// # Errors
///
/// `Transfer` where it is damaged.
pub(super) fn manifest_of(bucket: &dyn Bucket, place: &Path, id: Uuid) -> Result<Option<Manifest>> {
    manifest_in(bucket, place, &id.to_string())
}

/// The manifest of the checkpoint in a folder; `None` if there is no checkpoint.
fn manifest_in(bucket: &dyn Bucket, place: &Path, folder: &str) -> Result<Option<Manifest>> {
    let key = group::below(folder, record::METADATA);
    let read = |key: &str| {
        bucket
            .get(key)
            .map_err(failed(place, "read the object", key))
    };
    let Some(metadata) = read(&key)? else {
        return Ok(None);
    };
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.bytes)
        .map_err(|error| Error::transfer(place.join(&key), format!("it is no JSON: {error}")))?;
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
    let bytes = read(&key)?
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
    let ids = super::attempts::ids(bucket, place).map_or(Vec::new(), |(committed, _)| committed);
    let advice = match ids[..] {
        [] => "is it the place that was given to the checkpoint?".to_owned(),
        _ => {
            let ids: Vec<String> = ids.iter().take(5).map(Uuid::to_string).collect();
            format!("it has {}", ids.join(", "))
        }
    };
    Error::transfer(place, format!("{reason}: {advice}"))
}

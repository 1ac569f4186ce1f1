//! The builder that restores checkpoints, and imports the Zarr v3 groups of others.
//!
//! # All or none
//!
//! The space of all arrays is reserved before anything is fetched. The arrays are filled where no
//! other process sees them, and get their names when all of them are complete. An array that grows
//! is filled without a name, and renamed.

use super::{
    bucket::Bucket,
    fill::{Filling, Job},
    group::{self, Opened},
    made::{Made, publish},
    opened, parallel,
};
use crate::{
    array::view,
    element::dtype::DType,
    error::{Error, Result},
    interop::{failure, meter::Progress, selection::Left, selection::Selection},
    layout::Order,
    manager::Manager,
};
use std::{
    collections::HashMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// How often a restore begins anew, because a later checkpoint took the place of the one it read.
const MOST_TRIES: usize = 8;
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

/// What a place has for a [`Restore`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listing {
    /// The id of the checkpoint; `None` for the group of another program.
    pub checkpoint: Option<String>,
    /// Its arrays, in its order.
    pub arrays: Vec<Listed>,
    /// Arrays that cannot be arrays here: see [`Restore::skip_unsupported`].
    pub left: Vec<Left>,
}

/// An array of a [`Listing`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listed {
    /// Its name in the checkpoint, or its path in another group.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Its shape, or that of the slice.
    pub shape: Vec<usize>,
    /// Its order in memory.
    pub order: Order,
    /// Bytes of its elements.
    pub byte_len: u64,
    /// The most rows of an array that grows.
    pub max_len: Option<usize>,
    /// Whether it is frozen.
    pub is_frozen: bool,
    /// Whether a dead writer left bytes of it half-written.
    pub is_poisoned: bool,
}

/// The arrays that a restore takes.
struct Found {
    checkpoint: Option<String>,
    /// Its folder at the place.
    folder: String,
    jobs: Vec<Job>,
    left: Vec<Left>,
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
    /// types and codecs, and nodes whose metadata cannot be read. [`Restored::left`] has the
    /// reasons.
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
        let mut tries = 0..MOST_TRIES;
        loop {
            let found = self.find(bucket, &place)?;
            let made = self.make(manager, bucket, &place, &found.jobs);
            if made.is_err()
                && let Some(id) = &found.checkpoint
                && opened::is_gone(bucket, &place, &found.folder)?
            {
                // A later checkpoint took its place.
                if self.checkpoint.is_none() && tries.next().is_some() {
                    continue;
                }
                let reason =
                    format!("checkpoint {id} was deleted while it was restored: take another");
                return Err(Error::transfer(place, reason));
            }
            let (names, byte_len) = made?;
            return Ok(Restored {
                checkpoint: found.checkpoint,
                names,
                byte_len,
                left: found.left,
            });
        }
    }

    /// The arrays that a restore would make, without fetching any element: those that the patterns
    /// and slices choose.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read) that do not depend on the store.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{DirectoryBucket, Manager, Restore};
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let directory = scratch.path().join("checkpoints");
    /// let manager = Manager::new()?;
    /// manager.options().name("xs").zeros::<f32, _>((4, 3))?;
    /// manager.checkpoint(&directory)?;
    ///
    /// let listing = Restore::new().list(&DirectoryBucket::new(&directory))?;
    /// let xs = &listing.arrays[0];
    /// assert_eq!((&*xs.name, &xs.shape[..], xs.byte_len), ("xs", &[4, 3][..], 48));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn list(&self, bucket: &dyn Bucket) -> Result<Listing> {
        let place = PathBuf::from(bucket.location());
        let Found {
            checkpoint,
            jobs,
            left,
            ..
        } = self.find(bucket, &place)?;
        let arrays = jobs.into_iter().map(|job| Listed {
            byte_len: job.byte_len(),
            name: job.name,
            dtype: job.dtype,
            shape: job.shape,
            order: job.order,
            max_len: job.max_len,
            is_frozen: job.is_frozen,
            is_poisoned: job.is_poisoned,
        });
        Ok(Listing {
            checkpoint,
            arrays: arrays.collect(),
            left,
        })
    }

    /// The arrays of the place that are chosen.
    fn find(&self, bucket: &dyn Bucket, place: &Path) -> Result<Found> {
        let Opened {
            folder,
            metadata,
            manifest,
        } = opened::open(bucket, place, self.checkpoint.as_deref())?;
        let checkpoint = manifest
            .as_ref()
            .map(|manifest| manifest.checkpoint.to_string());
        let (found, left) = match &manifest {
            Some(manifest) => (
                group::of_checkpoint(place, &folder, &metadata, manifest)?,
                Vec::new(),
            ),
            None => group::of_others(bucket, place, &folder, metadata)?,
        };
        let keys = found.iter().map(|job| job.name.as_str());
        let all_keys: Vec<&str> = keys
            .chain(left.iter().map(|left| left.key.as_str()))
            .collect();
        let taken: Vec<Left> = left
            .iter()
            .filter(|left| self.selection.takes(&left.key))
            .cloned()
            .collect();
        self.selection
            .check(all_keys.iter().copied(), &taken)
            .map_err(failure::reading(place))?;
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
        Ok(Found {
            checkpoint,
            folder,
            jobs,
            left: taken,
        })
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
                        "two of its arrays would be called {name:?}: take one with the setting only"
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

//! The builder that writes checkpoints. `run` has the steps of writing one, `source` its arrays,
//! `send` their chunks and `describe` the metadata.

mod describe;
mod run;
mod send;
mod source;

use super::{attempts, bucket::Bucket, encode::Codecs, types::Structs};
use crate::{
    error::Result,
    interop::{
        meter::Progress,
        selection::{Left, Selection},
    },
    manager::Manager,
};
use run::Run;
pub(super) use run::failed;
pub(super) use source::chunk_key;
use std::{path::Path, time::Duration};

/// Bytes of a chunk, about.
const CHUNK_LEN: usize = 64 << 20;
/// Object stores take up to 5 GiB at once, and a restore decompresses up to 4 GiB.
const MOST_CHUNK_LEN: usize = 1 << 30;
/// Chunks that are in flight.
const THREADS: usize = 4;

/// Settings for a checkpoint of a store, and the verbs that write it.
///
/// A checkpoint is a Zarr v3 group, in a folder of its own at a place: a directory, or any other
/// [`Bucket`]. zarr-python, xarray, tensorstore and zarrs read it, and [`Restore`](crate::Restore)
/// brings it back into a store. It has the named arrays of the store; of an array that grows, the
/// rows that are committed. Rings and arrays without a name are left.
///
/// All arrays are read at one moment: the guards on all of them are taken together, as
/// [`lock`](crate::lock()) takes them. They are given back slab by slab as the slabs are sent, so a
/// writer waits for the slabs before its own, not for the whole.
///
/// A checkpoint is there whole or not at all, whenever the process is killed. The next one sends
/// only the chunks that the place does not have yet: chunks of the last checkpoint and of killed
/// attempts that have the same elements are [copied](Bucket::copy) there. Of frozen arrays not even
/// the elements are read again.
///
/// Memory: what is in flight, which is up to four chunks of 32 to 128 MiB where elements are
/// compressed, or sent to an object store, or are fields of structs; else nothing.
///
/// # Examples
///
/// ```
/// use ndshm::{Checkpoint, Manager};
///
/// # let scratch = tempfile::tempdir().unwrap();
/// # let directory = scratch.path().join("checkpoints");
/// let manager = Manager::new()?;
/// let xs = manager.options().name("xs").zeros::<f64, _>((1000, 3))?;
/// let first = Checkpoint::new().keep(2).to_directory(&manager, &directory)?;
/// xs.write()?.fill(1.0);
/// let second = Checkpoint::new().keep(2).to_directory(&manager, &directory)?;
/// assert_eq!((second.arrays, second.byte_len), (1, 24_000));
///
/// let later = Manager::new()?;
/// later.restore(&directory)?; // the latest checkpoint
/// assert_eq!(later.array::<f64, ndarray::Ix2>("xs")?.read()?.sum(), 3000.0);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Checkpoint<'a> {
    selection: Selection,
    keep: Option<usize>,
    structs: Structs,
    takes_poison: bool,
    is_one_moment: bool,
    timeout: Option<Duration>,
    chunk_len: usize,
    threads: usize,
    codecs: Codecs,
    progress: Progress<'a>,
}

/// A checkpoint that was written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Checkpointed {
    /// Its id, which is the name of its folder. Ids sort by time.
    pub id: String,
    /// The number of arrays in it.
    pub arrays: usize,
    /// Bytes of their elements.
    pub byte_len: u64,
    /// Bytes of the elements of chunks that were sent.
    pub sent: u64,
    /// Bytes of the elements of chunks that the place had already.
    pub referred: u64,
    /// What of the store is not in it, and why: rings, arrays without a name, damaged arrays.
    pub left: Vec<Left>,
    /// The ids of older checkpoints that were deleted.
    pub deleted: Vec<String>,
    /// Whether the pointer to the latest checkpoint leads to this one. Not where a newer checkpoint
    /// was written meanwhile.
    pub is_latest: bool,
    /// Whether the place compares before it replaces the pointer. Where it does not, of two
    /// checkpoints that end at the same time the pointer leads to the one that wrote last.
    pub is_compared: bool,
}

impl Default for Checkpoint<'_> {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            keep: None,
            structs: Structs::default(),
            takes_poison: false,
            is_one_moment: true,
            timeout: None,
            chunk_len: CHUNK_LEN,
            threads: THREADS,
            codecs: Codecs::default(),
            progress: None,
        }
    }
}

impl<'a> Checkpoint<'a> {
    /// The default settings: all named arrays at one moment, nothing compressed, nothing deleted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes only arrays whose names match one of these patterns (`*`, `?`, `[a-z]`). Each pattern
    /// must have an array.
    pub fn only<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.selection
            .only
            .extend(names.into_iter().map(Into::into));
        self
    }

    /// Deletes older checkpoints at the place afterwards, all but the newest `count` with this one.
    /// At least this one is kept.
    pub fn keep(mut self, count: usize) -> Self {
        self.keep = Some(count.max(1));
        self
    }

    /// How structs are written.
    pub fn structs(mut self, structs: Structs) -> Self {
        self.structs = structs;
        self
    }

    /// Takes arrays with poisoned bytes too, instead of refusing the checkpoint. They are copied
    /// without a guard, and marked: [`Restore`](crate::Restore) makes them poisoned as a whole, and
    /// their attribute `ndshm` says so to other readers.
    pub fn poisoned(mut self) -> Self {
        self.takes_poison = true;
        self
    }

    /// Takes the guards of one array after those of another, instead of all at once: writers wait
    /// less, and each array is from a moment of its own.
    pub fn each_by_itself(mut self) -> Self {
        self.is_one_moment = false;
        self
    }

    /// The longest wait for the guards. Default: the store's
    /// [lock time-out](crate::Builder::lock_timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// About so many bytes of elements in a chunk, from half to twice as many, and at most 1 GiB.
    /// Default: 64 MiB.
    pub fn chunk_len(mut self, bytes: usize) -> Self {
        self.chunk_len = bytes.clamp(1, MOST_CHUNK_LEN);
        self
    }

    /// The most chunks that are in flight. Default: 4.
    pub fn in_flight(mut self, chunks: usize) -> Self {
        self.threads = chunks.clamp(1, 64);
        self
    }

    /// Compresses the chunks by zstd at this level: from 1, the fastest, to 22.
    #[cfg(feature = "zstd")]
    pub fn zstd(mut self, level: i32) -> Self {
        self.codecs.zstd = Some(level);
        self
    }

    /// Makes each chunk a shard of inner chunks of about so many bytes, which other readers fetch
    /// one by one.
    pub fn sharded(mut self, inner_bytes: usize) -> Self {
        self.codecs.shard = Some(inner_bytes.max(1));
        self
    }

    /// Calls a function after each chunk, with the bytes of elements that are done and those of all
    /// elements.
    pub fn progress(mut self, progress: &'a (dyn Fn(u64, u64) + Sync)) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Writes a checkpoint into a directory, which is made if it does not exist.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write).
    pub fn to_directory(
        &self,
        manager: &Manager,
        directory: impl AsRef<Path>,
    ) -> Result<Checkpointed> {
        self.write(manager, &super::DirectoryBucket::new(directory.as_ref()))
    }

    /// The ids of the checkpoints in a bucket, the newest first; none where nothing is.
    /// [`Restore::list`](crate::Restore::list) says what each has.
    ///
    /// # Errors
    ///
    /// `Io` where the bucket cannot be read.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Checkpoint, DirectoryBucket};
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let bucket = DirectoryBucket::new(scratch.path().join("checkpoints"));
    /// let manager = ndshm::Manager::new()?;
    /// let first = Checkpoint::new().write(&manager, &bucket)?.id;
    /// let second = Checkpoint::new().write(&manager, &bucket)?.id;
    /// assert_eq!(Checkpoint::ids(&bucket)?, [second, first]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn ids(bucket: &dyn Bucket) -> Result<Vec<String>> {
        let names = attempts::names(bucket, Path::new(&bucket.location()))?;
        Ok(names.committed.iter().map(ToString::to_string).collect())
    }

    /// Writes a checkpoint into a bucket.
    ///
    /// # Errors
    ///
    /// `Poisoned` where bytes may be half-written, unless [`poisoned`](Self::poisoned) takes them;
    /// `Timeout` and the other errors of [`lock`](crate::lock()); `Transfer` where a pattern has no
    /// array, and where the place is a Zarr group itself; `Io` where the place cannot be written.
    /// Then the last checkpoint stands.
    pub fn write(&self, manager: &Manager, bucket: &dyn Bucket) -> Result<Checkpointed> {
        Run::new(self, manager, bucket)?.write()
    }
}

impl Manager {
    /// Writes a checkpoint of the named arrays into a directory, as a Zarr v3 group, with the
    /// default settings of [`Checkpoint`].
    ///
    /// # Errors
    ///
    /// Those of [`Checkpoint::write`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let directory = scratch.path().join("checkpoints");
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("xs").ones::<f64, _>(3)?;
    /// let written = manager.checkpoint(&directory)?;
    /// assert!(directory.join(written.id).join("zarr.json").exists());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn checkpoint(&self, directory: impl AsRef<Path>) -> Result<Checkpointed> {
        Checkpoint::new().to_directory(self, directory)
    }
}

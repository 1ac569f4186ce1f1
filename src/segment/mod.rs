//! One array file: mapped once for each process, unlinked once.

pub(crate) mod draft;
mod find;
mod frozen;
mod growth;
mod header;
mod open;
pub(crate) mod pages;
mod payload_file;
mod release;
mod rename;
mod scope;
mod surroundings;
pub(crate) mod sweep;

pub(crate) use find::described;
pub(crate) use growth::{MOST_ROWS, defects_of_rows, rows_in_file};
pub(crate) use header::{read_header, read_state};
pub(crate) use payload_file::PayloadFile;
pub(crate) use rename::{moved, rename, replace};

use self::growth::Grown;
use crate::{
    error::{Error, HeaderError, Result},
    format::{
        header::{Header, Parsed},
        id::ArrayId,
        kind::ArrayKind,
    },
    layout::span::Span,
    scope::Scope,
    state::{
        block::{StateBlock, lifecycle},
        lock_table::LockTable,
        mapped::Counted,
        ownership::Ownership,
    },
    store::{lane_pool::LanePool, member::Member, temporary::TempName},
    sys::{
        fork,
        mapping::{Atomics, Mapping, Pages},
    },
};
use std::{
    collections::BTreeMap,
    fs::Metadata,
    ops::Range,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::{
        Arc, Weak,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

/// The arrays that this process has mapped.
static SEGMENTS: fork::Mutex<Segments> = fork::Mutex::new(Segments {
    by_inode: BTreeMap::new(),
    by_id: BTreeMap::new(),
});

struct Segments {
    /// By device and inode: one for each file.
    by_inode: BTreeMap<(u64, u64), Weak<Segment>>,
    /// The same by their ids; of a file and its copies, the one that was opened last.
    by_id: BTreeMap<ArrayId, Weak<Segment>>,
}

impl Segments {
    fn insert(&mut self, segment: &Arc<Segment>) {
        self.by_inode.insert(segment.inode, Arc::downgrade(segment));
        self.by_id
            .insert(segment.header().id, Arc::downgrade(segment));
    }

    /// Forgets a segment that is being dropped, unless another one has its place.
    fn remove(&mut self, segment: &Segment) {
        if is_dropped(self.by_inode.get(&segment.inode)) {
            self.by_inode.remove(&segment.inode);
        }
        if is_dropped(self.by_id.get(&segment.header().id)) {
            self.by_id.remove(&segment.header().id);
        }
    }
}

fn is_dropped(segment: Option<&Weak<Segment>>) -> bool {
    segment.is_some_and(|segment| segment.strong_count() == 0)
}

/// A published array, mapped by this process: at most one for each file.
pub(crate) struct Segment {
    member: Arc<Member>,
    path: PathBuf,
    parsed: Parsed,
    inode: (u64, u64),
    /// With a writable payload.
    writable: fork::OnceLock<Counted>,
    /// With a payload that is protected against writing, for openings that only read.
    protected: fork::OnceLock<Counted>,
    ownership: fork::Mutex<Ownership>,
    /// This process found the array frozen, and may have protected its mapping.
    was_frozen: AtomicBool,
    /// The array's key in the lanes of the store.
    key: u64,
    /// No other segment of this process has the same number; not 0.
    serial: u64,
    /// The 64ths of the payload whose pages were mapped before they were written first.
    warm: AtomicU64,
    /// The name of the file after its release, if this process keeps it for reuse.
    stash_for_reuse: fork::OnceLock<TempName>,
    /// Of an array that grows.
    grown: Option<Grown>,
    generation: u64,
}

/// A file that is complete, but has no name yet.
pub(crate) struct NewFile {
    /// The path that it will have.
    pub(crate) path: PathBuf,
    pub(crate) parsed: Parsed,
    pub(crate) inode: (u64, u64),
    pub(crate) scope: Scope,
}

/// Pages of views of fewer bytes are not mapped in advance: that would cost as much as it saves.
const WARM_FROM: u64 = 16 << 10;

impl Segment {
    /// The segment of an array that has no name yet.
    ///
    /// It is registered before any other thread or process can see the file: a thread that opens
    /// the array at once finds this segment.
    pub(crate) fn unpublished(
        member: &Arc<Member>,
        file: NewFile,
        mapping: Counted,
    ) -> Arc<Segment> {
        let NewFile {
            path,
            parsed,
            inode,
            scope,
        } = file;
        let segment = Segment::assemble(member, path, parsed, inode, Ownership::created(scope));
        let _ = segment.writable.set(mapping);
        segment.warm.store(u64::MAX, Relaxed);
        SEGMENTS.lock().insert(&segment);
        failpoint!(PublishEnlisted);
        segment
    }

    /// Publishes the array: `rename` gives it its name.
    pub(crate) fn publish(&self, rename: impl FnOnce() -> Result<()>) -> Result<()> {
        if let Err(error) = rename() {
            // The file at this path, if any, is another array.
            self.ownership.lock().discard(self.state());
            // Other processes may keep a mapping of the array that the file had before.
            self.state().give_up_recycling();
            return Err(error);
        }
        if self.member.page().is_closing() {
            // The closer may have listed the store before the array got its name.
            failpoint!(PublishClosingSeen);
            self.release()?;
            return Err(self.member.closed());
        }
        failpoint!(PublishLooked);
        Ok(())
    }

    /// The payload of an array that could not be published: its file was gone.
    pub(crate) fn lost_payload(&mut self) -> &[u8] {
        let payload = self.parsed.data_offset..self.file_len();
        self.writable
            .get_mut()
            .map_or(&[], |mapping| mapping.lost_bytes(payload))
    }

    fn assemble(
        member: &Arc<Member>,
        path: PathBuf,
        parsed: Parsed,
        inode: (u64, u64),
        ownership: Ownership,
    ) -> Arc<Segment> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Segment {
            serial: NEXT.fetch_add(1, Relaxed),
            key: parsed.header.id.lane_key(),
            grown: Grown::of(&parsed),
            member: member.clone(),
            path,
            parsed,
            inode,
            writable: fork::OnceLock::new(),
            protected: fork::OnceLock::new(),
            ownership: fork::Mutex::new(ownership),
            was_frozen: AtomicBool::new(false),
            warm: AtomicU64::new(0),
            stash_for_reuse: fork::OnceLock::new(),
            generation: fork::generation(),
        })
    }

    #[inline]
    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// A number that no other segment of this process has or had.
    #[inline]
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// Device and inode of the file: no other file has them while it is mapped.
    pub(crate) fn inode(&self) -> (u64, u64) {
        self.inode
    }

    /// The path by which it was opened; the array may have another name by now.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn header(&self) -> &Header {
        &self.parsed.header
    }

    /// An error if the file is of another kind.
    pub(crate) fn check_kind(&self, expected: ArrayKind) -> Result<()> {
        let found = self.header().kind.public();
        if found == expected {
            return Ok(());
        }
        Err(Error::Kind {
            path: self.path.clone(),
            expected,
            found,
        })
    }

    /// Bytes of the payload; of an array that grows the most that it can have.
    pub(crate) fn data_len(&self) -> usize {
        self.parsed.data_len
    }

    /// The address of a byte of the payload: for reading, or for writing if this process opened the
    /// array so.
    #[inline]
    pub(crate) fn payload(&self, offset: usize) -> NonNull<u8> {
        assert!(
            offset <= self.parsed.data_len,
            "offset {offset} lies outside the payload"
        );
        self.any_mapping().at(self.parsed.data_offset + offset)
    }

    /// The address of a byte of the file before the payload.
    pub(crate) fn file_at(&self, offset: usize) -> NonNull<u8> {
        assert!(
            offset <= self.parsed.data_offset,
            "offset {offset} lies behind the head"
        );
        self.any_mapping().at(offset)
    }

    /// Words that processes share beside the state block, by their offset in the file.
    #[inline]
    pub(crate) fn atomics_at<T: Atomics>(&self, at: usize, count: usize) -> &[T] {
        self.any_mapping().atomics_from(at, count)
    }

    /// The place of these words.
    pub(crate) fn work_range(&self) -> Option<Range<usize>> {
        self.parsed.work_range()
    }

    /// Maps all pages of the payload that the file has.
    pub(crate) fn populate_payload(&self) {
        // If this fails, they are mapped one by one.
        let _ = self
            .any_mapping()
            .populate_from_file(self.parsed.data_offset..self.file_len());
    }

    /// The offset in the payload of an address in either mapping.
    pub(crate) fn offset_of(&self, address: usize) -> Option<usize> {
        let mappings = [&self.writable, &self.protected]
            .into_iter()
            .filter_map(fork::OnceLock::get);
        let starts = mappings.map(|counted| counted.at(self.parsed.data_offset).as_ptr().addr());
        starts
            .filter_map(|start| address.checked_sub(start))
            .find(|&offset| offset <= self.parsed.data_len)
    }

    pub(crate) fn flush(&self) -> Result<()> {
        if self.is_growing() {
            return self.flush_rows();
        }
        self.any_mapping()
            .flush()
            .map_err(Error::io(&self.path, "write the pages to the disk"))
    }

    /// The lock table of the array.
    #[inline]
    pub(crate) fn lock_table(&self) -> LockTable<'_, LanePool> {
        LockTable {
            block: self.state(),
            lanes: self.member.lanes(),
            key: self.key,
        }
    }

    #[inline]
    pub(crate) fn state(&self) -> &StateBlock {
        self.any_mapping().state()
    }

    /// Maps the pages that the caller is going to write, if the array was opened, not made, and
    /// they are not mapped yet.
    ///
    /// The first write to a page costs a fault; mapping the pages all at once costs a fifth of
    /// that.
    #[inline]
    pub(crate) fn warm_up(&self, span: &Span) {
        if self.warm.load(Relaxed) != u64::MAX {
            self.warm_up_parts(span);
        }
    }

    #[cold]
    fn warm_up_parts(&self, span: &Span) {
        let is_dense = u64::from(span.pitch) <= rustix::param::page_size() as u64;
        if span.end - span.start < WARM_FROM || !is_dense {
            return;
        }
        let part_len = (self.parsed.data_len as u64).div_ceil(64);
        let (first, last) = (span.start / part_len, (span.end - 1) / part_len);
        let parts = u64::MAX >> (63 - (last - first)) << first;
        if self.warm.fetch_or(parts, Relaxed) & parts != parts
            && let Some(mapping) = self.writable.get()
        {
            let start = self.parsed.data_offset;
            // If this fails, they are mapped one by one.
            let _ =
                mapping.populate_from_file(start + span.start as usize..start + span.end as usize);
        }
    }

    /// The pages of its mappings: they stay mapped, though the segment may be gone.
    pub(crate) fn pages(&self) -> Vec<Arc<Pages>> {
        let mappings = [&self.writable, &self.protected]
            .into_iter()
            .filter_map(fork::OnceLock::get);
        mappings.map(|counted| counted.pages()).collect()
    }

    #[inline]
    fn any_mapping(&self) -> &Mapping {
        match self.writable.get().or(self.protected.get()) {
            Some(counted) => counted,
            None => unreachable!("a segment has a mapping from the start"),
        }
    }

    /// Whether the file system is mounted read-only: then this process only reads the array, and
    /// the state block is its own copy.
    pub(crate) fn is_read_only(&self) -> bool {
        self.any_mapping().is_private()
    }

    fn check_writable(&self) -> Result<()> {
        if self.is_read_only() {
            return Err(Error::ReadOnly {
                path: self.path.clone(),
                reason: "its file system is mounted read-only here",
            });
        }
        Ok(())
    }

    /// Bytes of the file; of an array that grows the most that it can have.
    fn file_len(&self) -> usize {
        self.parsed.data_offset + self.parsed.data_len
    }

    /// An error if the array was released.
    pub(crate) fn check_ready(&self) -> Result<()> {
        match self.state().lifecycle.load(SeqCst) {
            lifecycle::READY => Ok(()),
            _ => Err(self.released()),
        }
    }

    fn released(&self) -> Error {
        Error::Released {
            path: self.path.clone(),
            id: self.header().id,
        }
    }
}

/// Device and inode of a file.
pub(crate) fn inode_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

pub(crate) fn header_error(path: &Path, source: HeaderError) -> Error {
    let path = path.into();
    match source {
        // It says nothing about the contents of the file.
        HeaderError::Unreadable { errno } => Error::Io {
            path,
            action: "read the header",
            source: std::io::Error::from_raw_os_error(errno),
        },
        source => Error::Header { path, source },
    }
}

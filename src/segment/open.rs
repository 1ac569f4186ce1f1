//! Opens array files: a file that is not trusted becomes a segment, one for each file and process,
//! or an error.
//!
//! # Four ways to a segment
//!
//! An opening takes the first of these that works:
//!
//! 1. The process has the array mapped: [`lookup`](Segment::lookup) finds the segment by the
//!    array's id.
//! 2. The process kept a mapping of the array when it dropped the last use of it: `open_cached`
//!    counts the mapping in again.
//! 3. The process has the file mapped, at another path or under another id: `find` opens the file
//!    and compares its inode.
//! 4. None of these: `map_and_parse` maps the file, checks it and parses its header.
//!
//! The first two ways make no system call.
//!
//! # A file that is reused
//!
//! The owner of a released array may reuse its file for a new array
//! ([`recycle_pool`](crate::store::recycle_pool)). An opener of the old array must not take the new
//! one for it. `map_and_parse` excludes that in this order:
//!
//! 1. Read the first bytes of the file, with the lifecycle and the generation in them. If it has no
//!    array, because it is being made or reused, leave it alone: its maker may be writing the word
//!    in which openers count themselves.
//! 2. Map the file, count the mapping in (`openers`), and only then read the lifecycle. The owner
//!    does the reverse: it changes the lifecycle to "recycling", and only then looks at the count.
//!    So either the owner sees the count and leaves the file alone, or the opener sees "recycling"
//!    and reports that the array is gone.
//! 3. Compare the generation in the bytes of step 1 with the mapped one. If they differ, the file
//!    was reused before the count, and the bytes belong to the old array: it is gone.
//! 4. Parse the header, and check the id and the store. From the count on the file does not change,
//!    but it may have changed its length before.
//!
//! A mapping that was kept is not counted, so `open_cached` counts it in first, and then compares
//! lifecycle and generation.
//!
//! # What an opening changes
//!
//! It counts itself in, and changes nothing else: no owner, no lock. If it fails, dropping the
//! mapping counts it out. A claim is taken after the opening ([`receive`](Segment::receive)).

use super::{
    SEGMENTS, Segment,
    growth::{mapped_len, needed_len},
    header::{
        check_array_file, check_begun, check_id, gone, has_other_len, is_unready, open_error,
    },
    header_error, inode_of,
};
use crate::{
    error::{Error, HeaderError, Result},
    format::{
        constants::*,
        header::{Header, Parsed},
        header_template,
        id::ArrayId,
    },
    scope::Scope,
    state::{block::lifecycle, mapped::Counted, ownership::Ownership},
    store::{mapping_cache::Cached, member::Member},
    sys::{
        file_lock,
        file_system::{FileSystem, missing},
        fork,
        fs::open_file,
    },
};
use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    sync::{
        Arc, Weak,
        atomic::Ordering::{Relaxed, SeqCst},
    },
};

impl Segment {
    /// Opens the array at `path`, an absolute path in the store that was joined, with its payload
    /// writable or not.
    ///
    /// `expected` is the id that it must have. The scope is that of its file until
    /// [`receive`](Self::receive) is called.
    pub(crate) fn open(
        member: &Arc<Member>,
        path: &Path,
        expected: Option<ArrayId>,
        writable: bool,
    ) -> Result<Arc<Segment>> {
        member.check_open()?;
        if let Some(id) = expected
            && let Some(segment) = Self::open_cached(member, path, id, writable)?
        {
            return Ok(segment);
        }
        let file = open_file(path).map_err(|source| open_error(source, path, expected))?;
        let segment = Self::find(member, path, &file, expected, writable)?;
        segment.check_ready()?;
        Ok(segment)
    }

    /// The array with this path and id, if this process has it mapped as it is wanted, and the
    /// array was not released and its store not closed. Without a system call, and so without a
    /// look at the file.
    pub(crate) fn lookup(path: &Path, id: ArrayId, writable: bool) -> Option<Arc<Segment>> {
        let segment = SEGMENTS.lock().by_id.get(&id).and_then(Weak::upgrade)?;
        let is_same_mapping = segment.generation == fork::generation()
            && segment.path.as_os_str() == path.as_os_str()
            && segment.is_mapped_for(writable);
        (is_same_mapping && segment.is_usable()).then_some(segment)
    }

    /// Whether the array was not released and its store not closed.
    pub(super) fn is_usable(&self) -> bool {
        self.check_ready().is_ok() && self.member.check_open().is_ok()
    }

    /// The array by a mapping that this process kept of it, without a system call, if the array is
    /// still in the file.
    fn open_cached(
        member: &Arc<Member>,
        path: &Path,
        id: ArrayId,
        writable: bool,
    ) -> Result<Option<Arc<Segment>>> {
        let Some(cached) = member.cache().take(path, id, writable) else {
            return Ok(None);
        };
        let lifecycle = cached.state().count_in();
        if !cached.is_ready(lifecycle) {
            cached.state().count_out();
            return Ok(None);
        }
        let Cached {
            parsed,
            inode,
            was_frozen,
            warm,
            ..
        } = cached;
        let mapping = Counted::counted_before(cached.mapping);
        failpoint!(OpenFromCache);
        let is_frozen = was_frozen || mapping.state().is_frozen();
        if is_frozen {
            mapping.protect(parsed.data_offset..mapping.len(), path)?;
        }
        let segment = Self::of_opened(
            member,
            path,
            inode,
            Opened {
                mapping,
                parsed,
                is_frozen,
                warm,
            },
            writable,
        )?;
        // Another thread may have enlisted a segment meanwhile, for reading only: then that one
        // lacks a mapping, as it would without this one.
        Ok(Some(segment.enlist()).filter(|enlisted| enlisted.is_mapped_for(writable)))
    }

    /// Whether the current mappings suffice: always to read; to write if a writable one exists or
    /// the array is frozen.
    fn is_mapped_for(&self, writable: bool) -> bool {
        !writable || self.writable.get().is_some() || self.is_frozen() && !self.is_growing()
    }

    /// Opens an array that may be released already.
    pub(crate) fn open_for_sweep(member: &Arc<Member>, path: &Path) -> Result<Arc<Segment>> {
        // In the store's own directory, wherever it is by now.
        let file = member
            .place()
            .open_to_write(path.file_name().unwrap_or_default())
            .map_err(|source| open_error(source, path, None))?;
        Self::find(member, path, &file, None, false)
    }

    /// Unlinks a released array that still has its name, because its deleter died or has not come
    /// to it. Returns false if there is none.
    pub(crate) fn finish_release_at(member: &Arc<Member>, path: &Path) -> Result<bool> {
        match Self::open_for_sweep(member, path) {
            Ok(segment) => segment.finish_release(&member.deadline()),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The process's segment of an open file, or a new one.
    fn find(
        member: &Arc<Member>,
        path: &Path,
        file: &File,
        expected: Option<ArrayId>,
        writable: bool,
    ) -> Result<Arc<Segment>> {
        let metadata = check_array_file(file, path)?;
        if writable && metadata.mode() & 0o200 == 0 {
            return Err(Error::ReadOnly {
                path: path.into(),
                reason: "its file may only be read: open it for reading, or chmod u+w",
            });
        }
        let inode = inode_of(&metadata);
        let mapped = SEGMENTS.lock().by_inode.get(&inode).and_then(Weak::upgrade);
        let segment = match mapped.filter(|segment| segment.is_for(member, path)) {
            Some(segment) => {
                // A published file keeps its length, so this one was changed by other means: the
                // pages that it lost must not be read.
                let (expected, found) = (segment.file_len() as u64, metadata.len());
                let is_whole = match segment.is_growing() {
                    true => segment.least_len() <= found && found <= expected,
                    false => expected == found,
                };
                if !is_whole {
                    return Err(header_error(path, HeaderError::Length { expected, found }));
                }
                segment
            }
            None => {
                let opened = map_and_parse(member, file, &metadata, path, expected, writable)?;
                check_id(path, expected, opened.parsed.header.id)?;
                let segment = Self::of_opened(member, path, inode, opened, writable)?;
                segment.restart_after_boot(file)?;
                let enlisted = segment.enlist();
                failpoint!(OpenEnlisted);
                event!(
                    DEBUG,
                    path = %path.display(),
                    bytes = enlisted.data_len(),
                    writable,
                    "opened an array"
                );
                enlisted
            }
        };
        check_id(path, expected, segment.header().id)?;
        if !segment.is_mapped_for(writable) {
            let needed = needed_len(file, &segment.parsed, metadata.len(), path)?;
            complete(member, file, &metadata, path, needed)?;
            let mapping = match segment.is_growing() {
                true => member.map_beyond(file, segment.file_len(), path)?,
                false => member.map(file, segment.file_len(), path)?,
            };
            let mapping = Counted::new(mapping);
            let _ = segment.writable.set(mapping);
            failpoint!(OpenWritableMapped);
        }
        if member.settings().prefault() {
            segment.populate_payload();
        }
        Ok(segment)
    }

    /// A segment of an opened file, whose mapping is the one for writing or the protected one.
    fn of_opened(
        member: &Arc<Member>,
        path: &Path,
        inode: (u64, u64),
        opened: Opened,
        writable: bool,
    ) -> Result<Arc<Segment>> {
        let Opened {
            mapping,
            parsed,
            is_frozen,
            warm,
        } = opened;
        // Where a process can write nothing, it owns nothing.
        let ownership = match mapping.is_private() {
            true => Ownership::created(Scope::Store),
            false => Ownership::opened(mapping.state(), member.id()?),
        };
        let segment = Segment::assemble(member, path.into(), parsed, inode, ownership);
        segment.was_frozen.store(is_frozen, Relaxed);
        segment.warm.store(warm, Relaxed);
        let _ = if writable {
            segment.writable.set(mapping)
        } else {
            segment.protected.set(mapping)
        };
        Ok(segment)
    }

    /// Makes this the process's segment of its file, unless another thread was faster: then that
    /// one is.
    fn enlist(self: Arc<Self>) -> Arc<Self> {
        let mut segments = SEGMENTS.lock();
        let other = segments.by_inode.get(&self.inode).and_then(Weak::upgrade);
        let is_same = other
            .as_ref()
            .is_some_and(|other| other.is_for(&self.member, &self.path));
        if !is_same {
            segments.insert(&self);
        }
        // Unlocked before anything is dropped: the last reference to a segment locks it too.
        drop(segments);
        if is_same {
            // The other segment has the process's ownership, and may own the array by now.
            self.ownership.lock().abandon();
        }
        other.filter(|_| is_same).unwrap_or(self)
    }

    /// Whether this is this process's segment of a file that was opened at `path`, which may lead
    /// to the same store through links.
    fn is_for(&self, member: &Arc<Member>, path: &Path) -> bool {
        let is_same_name = || self.path.file_name() == path.file_name();
        self.generation == fork::generation()
            && Arc::ptr_eq(&self.member, member)
            && (is_same_name() || self.was_renamed(path))
    }

    /// Whether the array got the name of `path` since it was opened, or had it before: of two names
    /// of a linked file, both lead to the file still.
    fn was_renamed(&self, path: &Path) -> bool {
        let leads_here = |path: &Path| {
            let name = path.file_name().unwrap_or_default();
            let found = self.member.place().inode_of(name);
            found.is_ok_and(|found| found == Some(self.inode))
        };
        !(leads_here(&self.path) && leads_here(path))
    }
}

/// Why an array that is not frozen is not opened on a file system that is mounted read-only.
const NOT_FROZEN_THERE: &str = "its file system is mounted read-only here, and an array that is \
                                not frozen is read under a lock, which is written into its file: \
                                freeze it through a mount that can be written, or open it there";

/// A file that was opened.
struct Opened {
    mapping: Counted,
    parsed: Parsed,
    /// Whether the payload is protected because the array is frozen.
    is_frozen: bool,
    /// Parts of the payload whose pages are mapped to be written.
    warm: u64,
}

/// Maps a file, or takes a mapping that was kept of it, and parses its header.
fn map_and_parse(
    member: &Member,
    file: &File,
    metadata: &Metadata,
    path: &Path,
    expected: Option<ArrayId>,
    writable: bool,
) -> Result<Opened> {
    let refuse = |source| header_error(path, source);
    let mut head = [0; header_template::LONGEST];
    let head_len = read_head(file, &mut head, path)?;
    if !head.starts_with(&MAGIC) || head_len < HEADER_AT {
        // Nothing is written into a file that is not an array. The parser says why it is none.
        check_begun(file, path, expected)?;
        let parsed = Header::parse(file, metadata.len());
        return Err(refuse(parsed.err().unwrap_or(HeaderError::Magic)));
    }
    let lifecycle = head[LIFECYCLE_AT..].first_chunk().copied();
    if lifecycle.is_some_and(|word| is_unready(u32::from_ne_bytes(word), path)) {
        // Its maker may be writing the words in which an opener counts itself.
        return Err(gone(path, expected));
    }
    let beyond = mapped_len(&head, file, metadata.len());
    let len = addressable(beyond.unwrap_or(metadata.len())).map_err(refuse)?;
    // A file that has its bytes may be asked for before it is known to be sound; of one with holes
    // the first page, which every opener writes.
    let has_holes = missing(metadata) > 0;
    let first = match writable && !has_holes && beyond.is_none() {
        true => metadata.len(),
        false => rustix::param::page_size() as u64,
    };
    complete(member, file, metadata, path, first)?;
    let (mapping, warm) = match member.cache().take_file(inode_of(metadata), len, writable) {
        Some(kept) => (kept.mapping, kept.warm),
        None if beyond.is_some() => (member.map_beyond(file, len, path)?, 0),
        None => (member.map(file, len, path)?, 0),
    };
    failpoint!(OpenMapped);
    if mapping.is_private() {
        // In the place of the count: the mapping keeps the lock with the open file.
        let is_held = file_lock::try_share(file);
        if !is_held.map_err(Error::io(path, "lock the file against reuse"))? {
            return Err(gone(path, expected));
        }
    }
    let (mapping, found) = Counted::opened(mapping);
    failpoint!(OpenCounted);
    let state = mapping.state();
    match found {
        lifecycle::READY | lifecycle::RELEASED | lifecycle::DELETED => {}
        lifecycle::RECYCLING => return Err(gone(path, expected)),
        found => return Err(refuse(HeaderError::Lifecycle { found })),
    }
    if head[GENERATION_AT..].first_chunk() != Some(&state.generation.load(SeqCst).to_ne_bytes()) {
        return Err(gone(path, expected));
    }
    let parsed = match header_template::read(&head[..head_len], file, metadata.len()) {
        Ok(parsed) => parsed,
        // From the count on the file stays as it is, but its length was read before.
        Err(_) if has_other_len(file, metadata) => return Err(gone(path, expected)),
        Err(source) => return Err(refuse(source)),
    };
    failpoint!(OpenHeaderRead);
    if parsed.header.created.store != member.page().uuid() {
        return Err(refuse(HeaderError::ForeignStore));
    }
    if state.endian.load(SeqCst) != ENDIAN_PROBE {
        return Err(refuse(HeaderError::Endian));
    }
    if has_holes && (writable || member.file_system().is_some_and(FileSystem::is_in_memory)) {
        let needed = needed_len(file, &parsed, metadata.len(), path)?;
        complete(member, file, metadata, path, needed)?;
    }
    let is_frozen = state.is_frozen();
    if mapping.is_private() && !is_frozen {
        return Err(Error::ReadOnly {
            path: path.into(),
            reason: NOT_FROZEN_THERE,
        });
    }
    if !writable || is_frozen {
        mapping.protect(parsed.data_offset..len, path)?;
    }
    Ok(Opened {
        mapping,
        parsed,
        is_frozen,
        warm,
    })
}

/// Reserves the space that the first bytes of a file lack. A store on a file system that does not
/// keep its promises was made at the user's risk.
fn complete(
    member: &Member,
    file: &File,
    metadata: &Metadata,
    path: &Path,
    len: u64,
) -> Result<()> {
    let range = 0..len.min(metadata.len());
    member.file_system().map_or(Ok(()), |file_system| {
        file_system.complete(file, metadata, range, path)
    })
}

/// A file's length, if so many bytes can be mapped.
fn addressable(len: u64) -> Result<usize, HeaderError> {
    isize::try_from(len)
        .map(isize::unsigned_abs)
        .map_err(|_| HeaderError::Bounds {
            field: "file length",
            value: len,
        })
}

/// Reads the first bytes of a file. Returns how many there are.
fn read_head(file: &File, head: &mut [u8; header_template::LONGEST], path: &Path) -> Result<usize> {
    loop {
        match file.read_at(head, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read.map_err(Error::io(path, "read the header")),
        }
    }
}

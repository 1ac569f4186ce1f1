//! Opening array files: what is not trusted becomes a segment, one for each file and process, or an
//! error.

use super::{SEGMENTS, Segment, header_error, inode_of};
use crate::{
    error::{Error, HeaderError, Result},
    format::{
        constants::*,
        header::{Header, Parsed},
        header_template,
        id::ArrayId,
        name,
    },
    state::{block::lifecycle, mapped::Counted, ownership::Ownership},
    store::{mapping_cache::Cached, member::Member, permissions},
    sys::{fork, fs::open_file, mapping::Mapping},
};
use std::{
    fs::{self, File, Metadata},
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

    /// The array with this path and id if this process has it open as it is wanted, and nobody
    /// released it or closed its store: without a system call, and so without a look at the file.
    pub(crate) fn known(path: &Path, id: ArrayId, writable: bool) -> Option<Arc<Segment>> {
        let known = SEGMENTS.lock().by_id.get(&id).and_then(Weak::upgrade)?;
        let is_as_wanted = known.generation == fork::generation()
            && known.path.as_os_str() == path.as_os_str()
            && known.is_mapped_for(writable);
        let is_there = || known.check_ready().is_ok() && known.member.check_open().is_ok();
        (is_as_wanted && is_there()).then_some(known)
    }

    /// The array by a mapping that this process kept of it, without a system call, if it is still
    /// there.
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
        let is_frozen = was_frozen || mapping.state().frozen.load(SeqCst) != 0;
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
        // The process's segment may have been there, open for reading only: then it lacks a
        // mapping, as it would without this one.
        Ok(Some(segment.enlist()).filter(|enlisted| enlisted.is_mapped_for(writable)))
    }

    /// Whether nothing has to be mapped for who wants to read, or to write what can be written.
    fn is_mapped_for(&self, writable: bool) -> bool {
        !writable || self.writable.get().is_some() || self.is_frozen()
    }

    /// Opens what may be half-deleted already.
    pub(crate) fn open_for_sweep(member: &Arc<Member>, path: &Path) -> Result<Arc<Segment>> {
        let file = open_file(path).map_err(|source| open_error(source, path, None))?;
        Self::find(member, path, &file, None, false)
    }

    /// Whether a sweep has anything to do with a file: where it was released, its owner is dead, or
    /// it is not what it should be. By one look at its first bytes, without mapping it; `is_dead`
    /// is asked about its owner.
    pub(crate) fn needs_sweep(
        path: &Path,
        is_dead: impl FnOnce(u64) -> Result<bool>,
    ) -> Result<bool> {
        let file = open_file(path).map_err(|source| open_error(source, path, None))?;
        let mut head = [0; OWNER_AT + 8];
        if file.read_exact_at(&mut head, 0).is_err() || !head.starts_with(&MAGIC) {
            return Ok(true);
        }
        let lifecycle = head[LIFECYCLE_AT as usize..]
            .first_chunk()
            .map(|bytes| u32::from_ne_bytes(*bytes));
        let owner = head[OWNER_AT..]
            .first_chunk()
            .map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        match owner {
            _ if lifecycle != Some(lifecycle::READY) => Ok(true),
            0 | CLAIMABLE => Ok(false),
            owner => is_dead(owner),
        }
    }

    /// Takes the name of a released array away, if its deleter did not come to it. False where
    /// there is none.
    pub(crate) fn finish_release_at(member: &Arc<Member>, path: &Path) -> Result<bool> {
        match Self::open_for_sweep(member, path) {
            Ok(segment) => segment.finish_release(),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The process's mapping of an open file, or a new one.
    fn find(
        member: &Arc<Member>,
        path: &Path,
        file: &File,
        expected: Option<ArrayId>,
        writable: bool,
    ) -> Result<Arc<Segment>> {
        let metadata = permissions::check_file(file, path)?;
        if writable && metadata.mode() & 0o200 == 0 {
            return Err(Error::ReadOnly {
                path: path.into(),
                reason: "its file may only be read",
            });
        }
        let inode = inode_of(&metadata);
        let known = SEGMENTS.lock().by_inode.get(&inode).and_then(Weak::upgrade);
        let segment = match known.filter(|known| known.is_for(member, path)) {
            Some(known) => {
                // A published file keeps its length, so somebody changed this one by other means:
                // the pages it lost must not be read.
                let (expected, found) = (known.file_len() as u64, metadata.len());
                if expected != found {
                    return Err(header_error(path, HeaderError::Length { expected, found }));
                }
                known
            }
            None => {
                let opened = map_and_parse(member, file, &metadata, path, expected, writable)?;
                check_id(path, expected, opened.parsed.header.id)?;
                let enlisted = Self::of_opened(member, path, inode, opened, writable)?.enlist();
                failpoint!(OpenEnlisted);
                event!(DEBUG, path = %path.display(), bytes = enlisted.data_len(), writable, "opened an array");
                enlisted
            }
        };
        check_id(path, expected, segment.header().id)?;
        if !segment.is_mapped_for(writable) {
            let mapping = Counted::new(Mapping::new(file, segment.file_len(), path)?);
            let _ = segment.writable.set(mapping);
            failpoint!(OpenWritableMapped);
        }
        if member.settings().prefault() {
            // Without it the pages are mapped one by one.
            let _ = segment
                .any_mapping()
                .populate_from_file(segment.parsed.data_offset..segment.file_len());
        }
        Ok(segment)
    }

    /// A segment of what was opened, with its mapping as the one for writing or not.
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
        let ownership = Ownership::opened(mapping.state(), member.id()?);
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

    /// Makes this the process's mapping of its file, unless another thread was faster: then that
    /// one.
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
            // The other one's hold is the process's, and may own the array by now.
            self.ownership.lock().abandon();
        }
        other.filter(|_| is_same).unwrap_or(self)
    }

    /// Whether this is the segment of a file that was opened in this process, at this path or at
    /// one that links make of it.
    fn is_for(&self, member: &Arc<Member>, path: &Path) -> bool {
        self.generation == fork::generation()
            && Arc::ptr_eq(&self.member, member)
            && self.path.file_name() == path.file_name()
    }
}

/// Reads the header of an array file without mapping it.
pub(crate) fn read_header(path: &Path, expected: Option<ArrayId>) -> Result<(Parsed, u64)> {
    // Opening a FIFO or a device can have effects, and the path may be anybody's: nothing has
    // looked at its directory.
    if fs::symlink_metadata(path)
        .is_ok_and(|metadata| !metadata.is_file() && !metadata.is_symlink())
    {
        return Err(Error::Untrusted {
            path: path.into(),
            reason: "it is not a regular file".into(),
        });
    }
    let file = open_file(path).map_err(|source| open_error(source, path, expected))?;
    let metadata = permissions::check_file(&file, path)?;
    let word = |at| {
        let mut word = [0; 4];
        file.read_exact_at(&mut word, at)
            .map_err(Error::io(path, "read the state block"))?;
        Ok::<_, Error>(u32::from_ne_bytes(word))
    };
    // Nobody is counted in here, so the file may be used again while it is read: then its
    // generation has changed behind the header, or its length.
    let generation = || {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, GENERATION_AT as u64)
            .map_err(Error::io(path, "read the state block"))?;
        Ok::<_, Error>(u64::from_ne_bytes(word))
    };
    let before = if metadata.len() < HEADER_AT as u64 {
        None
    } else {
        Some(generation()?)
    };
    let parsed = Header::parse(&file, metadata.len());
    if let Some(before) = before {
        let id = expected.or(parsed.as_ref().ok().map(|parsed| parsed.header.id));
        if word(LIFECYCLE_AT)? == lifecycle::RECYCLING
            || generation()? != before
            || has_other_len(&file, &metadata)
        {
            return Err(gone(path, id));
        }
    }
    let parsed = parsed.map_err(|source| header_error(path, source))?;
    check_id(path, expected, parsed.header.id)?;
    if word(STATE_AT as u64)? != ENDIAN_PROBE {
        return Err(header_error(path, HeaderError::Endian));
    }
    match word(LIFECYCLE_AT)? {
        lifecycle::READY => Ok((parsed, before.unwrap_or_default())),
        lifecycle::RELEASED | lifecycle::RECYCLING => Err(Error::Released {
            path: path.into(),
            id: parsed.header.id,
        }),
        found => Err(header_error(path, HeaderError::Lifecycle { found })),
    }
}

/// Checks that a file has the array that it was opened for. One that is called by its id and has
/// another array was renamed and used again after it was opened here.
fn check_id(path: &Path, expected: Option<ArrayId>, found: ArrayId) -> Result<()> {
    match expected {
        Some(expected) if expected == found => Ok(()),
        Some(expected) if name::is_called(path, expected) => Err(gone(path, Some(expected))),
        Some(expected) => Err(Error::PathReused {
            path: path.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        }),
        None if name::is_called(path, found) || !name::is_of_id(path) => Ok(()),
        None => Err(gone(path, None)),
    }
}

/// The error of whoever finds that a file was used again since it was opened: it was renamed
/// before, so the array that was at `path` is gone.
fn gone(path: &Path, expected: Option<ArrayId>) -> Error {
    match expected {
        Some(id) => Error::Released {
            path: path.into(),
            id,
        },
        None => Error::NotFound {
            path: path.into(),
            what: "the array was released",
        },
    }
}

/// A file that was opened.
struct Opened {
    mapping: Counted,
    parsed: Parsed,
    /// Whether the payload is protected because the array is frozen.
    is_frozen: bool,
    /// Parts of the payload whose pages are mapped to be written.
    warm: u64,
}

/// Maps a file, be it by a mapping that was kept of it, and parses its header.
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
        // Nothing is written into a file that is not an array; this names what it is instead.
        return Err(refuse(
            Header::parse(file, metadata.len())
                .err()
                .unwrap_or(HeaderError::Magic),
        ));
    }
    let len = usize::try_from(metadata.len())
        .ok()
        .filter(|&len| isize::try_from(len).is_ok());
    let len = len.ok_or(refuse(HeaderError::Bounds {
        field: "file length",
        value: metadata.len(),
    }))?;
    let (mapping, warm) = match member.cache().take_file(inode_of(metadata), len, writable) {
        Some(kept) => (kept.mapping, kept.warm),
        None => (Mapping::new(file, len, path)?, 0),
    };
    failpoint!(OpenMapped);
    let (mapping, found) = Counted::opened(mapping);
    failpoint!(OpenCounted);
    let state = mapping.state();
    match found {
        lifecycle::READY | lifecycle::RELEASED => {}
        lifecycle::RECYCLING => return Err(gone(path, expected)),
        found => return Err(refuse(HeaderError::Lifecycle { found })),
    }
    if head[GENERATION_AT..].first_chunk() != Some(&state.generation.load(SeqCst).to_ne_bytes()) {
        return Err(gone(path, expected));
    }
    // From the count on the file stays as it is, but its length was looked at before.
    let parsed =
        header_template::read(&head[..head_len], file, metadata.len()).map_err(|source| {
            match has_other_len(file, metadata) {
                true => gone(path, expected),
                false => refuse(source),
            }
        })?;
    failpoint!(OpenHeaderRead);
    if parsed.header.created.store != member.page().uuid() {
        return Err(refuse(HeaderError::ForeignStore));
    }
    if state.endian.load(SeqCst) != ENDIAN_PROBE {
        return Err(refuse(HeaderError::Endian));
    }
    let is_frozen = state.frozen.load(SeqCst) != 0;
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

fn has_other_len(file: &File, before: &Metadata) -> bool {
    file.metadata().is_ok_and(|now| now.len() != before.len())
}

/// Reads the first bytes of a file; gives how many there are.
fn read_head(file: &File, head: &mut [u8; header_template::LONGEST], path: &Path) -> Result<usize> {
    loop {
        match file.read_at(head, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read.map_err(Error::io(path, "read the header")),
        }
    }
}

fn open_error(source: io::Error, path: &Path, expected: Option<ArrayId>) -> Error {
    match (source.raw_os_error(), expected) {
        (Some(libc::ENOENT), Some(id)) => Error::Released {
            path: path.into(),
            id,
        },
        (Some(libc::ENOENT), None) => Error::NotFound {
            path: path.into(),
            what: "no such array",
        },
        (Some(libc::ELOOP), _) => Error::Untrusted {
            path: path.into(),
            reason: "it is a symbolic link".into(),
        },
        (Some(libc::EISDIR | libc::ENXIO), _) => Error::Untrusted {
            path: path.into(),
            reason: "it is not a regular file".into(),
        },
        (Some(libc::EACCES), _) => Error::ReadOnly {
            path: path.into(),
            reason: "its file may not be written, and every opener counts itself in it: chmod u+rw",
        },
        _ => Error::Io {
            path: path.into(),
            action: "open the array file",
            source,
        },
    }
}

//! One published array file: opened and checked, mapped once for each process, unlinked once.

use crate::{
    error::{Error, HeaderError, Result},
    fork,
    format::*,
    header::{Header, Parsed},
    hold::Hold,
    id::ArrayId,
    mapping::{Counted, Mapping},
    member::Member,
    scope::Scope,
    span::Span,
    state::{StateBlock, lifecycle},
    trust,
};
use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

/// The arrays that this process has mapped, by device and inode.
static SEGMENTS: fork::Mutex<BTreeMap<(u64, u64), Weak<Segment>>> = fork::Mutex::new(BTreeMap::new());

/// A published array, mapped by this process: at most one for each file.
pub(crate) struct Segment {
    member: Arc<Member>,
    path: PathBuf,
    parsed: Parsed,
    inode: (u64, u64),
    /// With a writable payload.
    writable: OnceLock<Counted>,
    /// With a payload that is protected against writing, for who asked for no more.
    protected: OnceLock<Counted>,
    hold: fork::Mutex<Hold>,
    /// The thread of this process that holds each slot of the lock table.
    threads: [AtomicU64; SLOTS],
    /// The 64ths of the payload whose pages were mapped before they were written first.
    warm: AtomicU64,
    generation: u64,
}

/// Views of fewer bytes are written as they are: to have their pages mapped costs as much as it saves.
const WARM_FROM: u64 = 16 << 10;

impl Segment {
    /// Opens the array at `path`, an absolute path in the store that was joined, with its payload writable or not.
    ///
    /// `expected` is the id that it must have. The scope is that of its file until [`receive`](Self::receive) is called.
    pub(crate) fn open(member: &Arc<Member>, path: &Path, expected: Option<ArrayId>, writable: bool) -> Result<Arc<Segment>> {
        member.check_open()?;
        let file = trust::open_file(path).map_err(|source| open_error(source, path, expected))?;
        let segment = Self::find(member, path, &file, writable)?;
        check_id(path, expected, segment.header().id)?;
        segment.check_ready()?;
        Ok(segment)
    }

    /// Opens what may be half-deleted already.
    pub(crate) fn open_for_sweep(member: &Arc<Member>, path: &Path) -> Result<Arc<Segment>> {
        let file = trust::open_file(path).map_err(|source| open_error(source, path, None))?;
        Self::find(member, path, &file, false)
    }

    /// Takes the name of a released array away, if its deleter did not come to it. False where there is none.
    pub(crate) fn finish_release_at(member: &Arc<Member>, path: &Path) -> Result<bool> {
        match Self::open_for_sweep(member, path) {
            Ok(segment) => segment.finish_release(),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The process's mapping of an open file, or a new one.
    fn find(member: &Arc<Member>, path: &Path, file: &File, writable: bool) -> Result<Arc<Segment>> {
        let metadata = trust::check_file(file, path)?;
        if writable && metadata.mode() & 0o200 == 0 {
            return Err(Error::ReadOnly { path: path.into(), reason: "its file may only be read" });
        }
        let inode = inode_of(&metadata);
        let known = SEGMENTS.lock().get(&inode).and_then(Weak::upgrade);
        let segment = match known.filter(|known| known.is_for(member, path)) {
            Some(known) => {
                // A published file keeps its length, so somebody changed this one by other means: the pages it lost must not be read.
                let (expected, found) = (known.file_len() as u64, metadata.len());
                if expected != found {
                    return Err(header_error(path, HeaderError::Length { expected, found }));
                }
                known
            }
            None => {
                let (mapping, parsed) = map_and_parse(member, file, &metadata, path, writable)?;
                let hold = Hold::opened(mapping.state(), member.id()?);
                let opened = Segment::assemble(member, path.into(), parsed, inode, hold);
                let _ = if writable { opened.writable.set(mapping) } else { opened.protected.set(mapping) };
                let enlisted = opened.enlist();
                failpoint!(OpenEnlisted);
                enlisted
            }
        };
        if writable && segment.writable.get().is_none() && !segment.is_frozen() {
            let mapping = Counted::new(Mapping::new(file, segment.file_len(), path)?);
            let _ = segment.writable.set(mapping);
            failpoint!(OpenWritableMapped);
        }
        if member.settings().prefault() {
            // Without it the pages are mapped one by one.
            let _ = segment.any_mapping().populate_from_file(segment.parsed.data_offset..segment.file_len());
        }
        Ok(segment)
    }

    /// The segment of an array that `publish` gives its name at `path`.
    ///
    /// It is the process's mapping of its file before anybody can see the file: a thread that opens it at once finds this one.
    pub(crate) fn publish(
        member: &Arc<Member>,
        path: PathBuf,
        parsed: Parsed,
        inode: (u64, u64),
        scope: Scope,
        mapping: Counted,
        publish: impl FnOnce() -> Result<()>,
    ) -> Result<Arc<Segment>> {
        let segment = Segment::assemble(member, path, parsed, inode, Hold::created(scope));
        let _ = segment.writable.set(mapping);
        segment.warm.store(u64::MAX, Relaxed);
        SEGMENTS.lock().insert(inode, Arc::downgrade(&segment));
        failpoint!(PublishEnlisted);
        if let Err(error) = publish() {
            // What has this path, if anything, is another array.
            segment.hold.lock().abandon();
            return Err(error);
        }
        if member.page().is_closing() || !member.is_at_its_path() {
            // The closer may have looked before the array got its name, or somebody put another store into this one's place: what nobody
            // else deletes goes here.
            failpoint!(PublishClosingSeen);
            segment.release()?;
            return Err(member.closed());
        }
        failpoint!(PublishLooked);
        Ok(segment)
    }

    fn assemble(member: &Arc<Member>, path: PathBuf, parsed: Parsed, inode: (u64, u64), hold: Hold) -> Arc<Segment> {
        Arc::new(Segment {
            member: member.clone(),
            path,
            parsed,
            inode,
            writable: OnceLock::new(),
            protected: OnceLock::new(),
            hold: fork::Mutex::new(hold),
            threads: [const { AtomicU64::new(0) }; SLOTS],
            warm: AtomicU64::new(0),
            generation: fork::generation(),
        })
    }

    /// Makes this the process's mapping of its file, unless another thread was faster: then that one.
    fn enlist(self: Arc<Self>) -> Arc<Self> {
        let mut segments = SEGMENTS.lock();
        let other = segments.get(&self.inode).and_then(Weak::upgrade);
        let is_same = other.as_ref().is_some_and(|other| other.is_for(&self.member, &self.path));
        if !is_same {
            segments.insert(self.inode, Arc::downgrade(&self));
        }
        // Unlocked before anything is dropped: the last reference to a segment locks it too.
        drop(segments);
        other.filter(|_| is_same).unwrap_or(self)
    }

    /// Whether this is the segment of a file that was opened in this process, at this path or at one that links make of it.
    fn is_for(&self, member: &Arc<Member>, path: &Path) -> bool {
        self.generation == fork::generation() && Arc::ptr_eq(&self.member, member) && self.path.file_name() == path.file_name()
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.member
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn header(&self) -> &Header {
        &self.parsed.header
    }

    /// Bytes of the payload.
    pub(crate) fn data_len(&self) -> usize {
        self.parsed.data_len
    }

    /// Where a byte of the payload lies in memory: for reading, or for writing if this process opened it so.
    #[inline]
    pub(crate) fn payload(&self, offset: usize) -> NonNull<u8> {
        assert!(offset <= self.parsed.data_len, "offset {offset} lies outside the payload");
        self.any_mapping().at(self.parsed.data_offset + offset)
    }

    /// Where in the payload an address lies, be it of the one or the other mapping.
    pub(crate) fn offset_of(&self, address: usize) -> Option<usize> {
        let mappings = [&self.writable, &self.protected].into_iter().filter_map(OnceLock::get);
        let starts = mappings.map(|counted| counted.at(self.parsed.data_offset).as_ptr().addr());
        starts.filter_map(|start| address.checked_sub(start)).find(|&offset| offset <= self.parsed.data_len)
    }

    pub(crate) fn flush(&self) -> Result<()> {
        self.any_mapping().flush().map_err(Error::io(&self.path, "write the pages to the disk"))
    }

    /// The thread of this process that holds a slot.
    pub(crate) fn thread_of(&self, slot: usize) -> &AtomicU64 {
        &self.threads[slot]
    }

    #[inline]
    pub(crate) fn state(&self) -> &StateBlock {
        self.any_mapping().state()
    }

    /// Has the pages mapped that are going to be written, where the array was opened and this was not done before.
    ///
    /// A page that is written first costs a fault of its own; mapping them all at once costs a fifth of that.
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
            // Without it they are mapped one by one.
            let _ = mapping.populate_from_file(start + span.start as usize..start + span.end as usize);
        }
    }

    /// Whether the array was frozen.
    #[inline]
    pub(crate) fn is_frozen(&self) -> bool {
        self.state().frozen.load(SeqCst) != 0
    }

    /// Marks the array as frozen. The caller holds all of it exclusively.
    pub(crate) fn freeze(&self) {
        self.state().frozen.store(1, SeqCst);
        failpoint!(FreezeFlagged);
        self.state().wake();
        failpoint!(FreezeWoken);
    }

    /// Takes from this process the right to write a frozen array's payload, so that a bug that does so faults here.
    pub(crate) fn protect(&self) -> Result<()> {
        match self.writable.get() {
            Some(mapping) => mapping.protect(self.parsed.data_offset..self.file_len(), &self.path),
            None => Ok(()),
        }
    }

    /// Whether the process that made the array lives.
    pub(crate) fn has_producer(&self) -> Result<bool> {
        self.member.is_alive(self.producer())
    }

    /// The member id of the process that made the array.
    pub(crate) fn producer(&self) -> u64 {
        self.state().producer.load(SeqCst)
    }

    fn any_mapping(&self) -> &Mapping {
        match self.writable.get().or(self.protected.get()) {
            Some(counted) => counted,
            None => unreachable!("a segment has a mapping from the start"),
        }
    }

    fn file_len(&self) -> usize {
        self.parsed.data_offset + self.parsed.data_len
    }

    /// An error where the array was released.
    pub(crate) fn check_ready(&self) -> Result<()> {
        match self.state().lifecycle.load(SeqCst) {
            lifecycle::READY => Ok(()),
            _ => Err(self.released()),
        }
    }

    fn released(&self) -> Error {
        Error::Released { path: self.path.clone(), id: self.header().id }
    }

    /// This process's scope; a forked child owns nothing.
    pub(crate) fn scope(&self) -> Scope {
        let scope = self.hold.lock().scope();
        if self.generation == fork::generation() { scope } else { Scope::Store }
    }

    /// Applies a handle's scope; see [`Hold::receive`].
    pub(crate) fn receive(&self, handle: Scope) -> Result<Option<u64>> {
        let me = self.member.id()?;
        Ok(self.hold.lock().receive(handle, self.state(), me))
    }

    /// Marks the array as used, so that a claim is kept.
    pub(crate) fn used(&self) {
        self.hold.lock().used();
    }

    /// Undoes a [`receive`](Self::receive) that gave a claim.
    pub(crate) fn give_back(&self, token: u64) {
        if self.generation == fork::generation()
            && let Ok(me) = self.member.id()
        {
            self.hold.lock().give_back(token, self.state(), me);
        }
    }

    /// Changes who deletes the array.
    pub(crate) fn set_scope(&self, scope: Scope) -> Result<()> {
        self.check_ready()?;
        let me = self.member.id()?;
        let not_owner = |reason| Error::NotOwner { path: self.path.clone(), reason };
        if self.generation != fork::generation() {
            let reason = "the array was inherited over a fork, and a child owns nothing: open it from its handle first";
            return if scope == Scope::Store { Ok(()) } else { Err(not_owner(reason)) };
        }
        let owned = |_| not_owner("another process owns the array and deletes it: only the owner changes that");
        self.hold.lock().set(scope, self.state(), me).map_err(owned)
    }

    /// Deletes the array now, whoever owns it. Where it was released before, finishes what the deleter may not have come to.
    pub(crate) fn release(&self) -> Result<()> {
        let me = self.member.id()?;
        let released = self.hold.lock().release(self.state(), me);
        failpoint!(ReleaseMarked);
        self.unlink()?;
        if released { Ok(()) } else { Err(self.released()) }
    }

    /// Deletes what a dead process owned, and what was released and still has its name. False where there is nothing to do.
    pub(crate) fn sweep(&self) -> Result<bool> {
        if self.finish_release()? {
            return Ok(true);
        }
        let owner = self.state().owner.load(SeqCst);
        if owner == 0 || owner == CLAIMABLE || self.member.is_alive(owner)? {
            return Ok(false);
        }
        failpoint!(SweepDeadOwnerFound);
        self.hold.lock().release(self.state(), self.member.id()?);
        failpoint!(ReleaseMarked);
        self.unlink().map(|()| true)
    }

    fn finish_release(&self) -> Result<bool> {
        match self.state().lifecycle.load(SeqCst) {
            lifecycle::RELEASED => {
                failpoint!(SweepReleasedFound);
                self.unlink().map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// Removes the file's name if it is still this array's.
    fn unlink(&self) -> Result<()> {
        let remove = || {
            failpoint!(UnlinkWanted);
            let removed = fs::remove_file(&self.path);
            failpoint!(UnlinkDone);
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(&self.path, "delete the file")(error)),
                _ => Ok(()),
            }
        };
        if self.path.file_stem().is_some_and(|stem| *stem == *self.header().id.file_stem()) {
            return remove();
        }
        self.member.with_names(|| match fs::symlink_metadata(&self.path) {
            // An inode is not used again while it is mapped, so the file at this path is this array.
            Ok(metadata) if inode_of(&metadata) == self.inode => remove(),
            _ => Ok(()),
        })
    }
}

impl Drop for Segment {
    /// Deletes the array if this process owns it; reports nothing.
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            return;
        }
        let deletes = self.member.id().is_ok_and(|me| self.hold.lock().end(self.state(), me));
        if deletes {
            failpoint!(DropMarked);
            let _ = self.unlink();
        }
        let mut segments = SEGMENTS.lock();
        if segments.get(&self.inode).is_some_and(|known| known.strong_count() == 0) {
            segments.remove(&self.inode);
        }
    }
}

/// Reads the header of an array file without mapping it.
pub(crate) fn read_header(path: &Path, expected: Option<ArrayId>) -> Result<Parsed> {
    // Opening a FIFO or a device can have effects, and the path may be anybody's: nothing has looked at its directory.
    if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_symlink()) {
        return Err(Error::Untrusted { path: path.into(), reason: "it is not a regular file".into() });
    }
    let file = trust::open_file(path).map_err(|source| open_error(source, path, expected))?;
    let metadata = trust::check_file(&file, path)?;
    let parsed = Header::parse(&file, metadata.len()).map_err(|source| header_error(path, source))?;
    check_id(path, expected, parsed.header.id)?;
    let word = |at| {
        let mut word = [0; 4];
        file.read_exact_at(&mut word, at).map_err(Error::io(path, "read the state block"))?;
        Ok(u32::from_ne_bytes(word))
    };
    if word(STATE_AT as u64)? != ENDIAN_PROBE {
        return Err(header_error(path, HeaderError::Endian));
    }
    match word(LIFECYCLE_AT)? {
        lifecycle::READY => Ok(parsed),
        lifecycle::RELEASED | lifecycle::RECYCLING => Err(Error::Released { path: path.into(), id: parsed.header.id }),
        found => Err(header_error(path, HeaderError::Lifecycle { found })),
    }
}

fn check_id(path: &Path, expected: Option<ArrayId>, found: ArrayId) -> Result<()> {
    match expected.filter(|&expected| expected != found) {
        Some(expected) => Err(Error::PathReused { path: path.into(), expected: expected.to_string(), found: found.to_string() }),
        None => Ok(()),
    }
}

fn map_and_parse(member: &Member, file: &File, metadata: &Metadata, path: &Path, writable: bool) -> Result<(Counted, Parsed)> {
    let refuse = |source| header_error(path, source);
    let mut magic = [0; MAGIC.len()];
    let is_ours = file.read_exact_at(&mut magic, 0).is_ok() && magic == MAGIC && metadata.len() >= HEADER_AT as u64;
    if !is_ours {
        // Nothing is written into a file that is not an array; this names what it is instead.
        return Err(refuse(Header::parse(file, metadata.len()).err().unwrap_or(HeaderError::Magic)));
    }
    let len = usize::try_from(metadata.len()).ok().filter(|&len| isize::try_from(len).is_ok());
    let len = len.ok_or(refuse(HeaderError::Bounds { field: "file length", value: metadata.len() }))?;
    let mapping = Mapping::new(file, len, path)?;
    failpoint!(OpenMapped);
    let (mapping, found) = Counted::opened(mapping);
    failpoint!(OpenCounted);
    let state = mapping.state();
    match found {
        lifecycle::READY | lifecycle::RELEASED => {}
        lifecycle::RECYCLING => return Err(Error::NotFound { path: path.into(), what: "the array was released" }),
        found => return Err(refuse(HeaderError::Lifecycle { found })),
    }
    let parsed = Header::parse(file, metadata.len()).map_err(refuse)?;
    failpoint!(OpenHeaderRead);
    if parsed.header.created.store != member.page().uuid() {
        return Err(refuse(HeaderError::ForeignStore));
    }
    let now = file.metadata().map_err(Error::io(path, "look at the file again"))?.len();
    if now != metadata.len() {
        return Err(refuse(HeaderError::Length { expected: metadata.len(), found: now }));
    }
    if state.endian.load(SeqCst) != ENDIAN_PROBE {
        return Err(refuse(HeaderError::Endian));
    }
    if !writable || state.frozen.load(SeqCst) != 0 {
        mapping.protect(parsed.data_offset..len, path)?;
    }
    Ok((mapping, parsed))
}

pub(crate) fn inode_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

pub(crate) fn header_error(path: &Path, source: HeaderError) -> Error {
    Error::Header { path: path.into(), source }
}

fn open_error(source: io::Error, path: &Path, expected: Option<ArrayId>) -> Error {
    match (source.raw_os_error(), expected) {
        (Some(libc::ENOENT), Some(id)) => Error::Released { path: path.into(), id },
        (Some(libc::ENOENT), None) => Error::NotFound { path: path.into(), what: "no such array" },
        (Some(libc::ELOOP), _) => Error::Untrusted { path: path.into(), reason: "it is a symbolic link".into() },
        (Some(libc::EISDIR | libc::ENXIO), _) => Error::Untrusted { path: path.into(), reason: "it is not a regular file".into() },
        (Some(libc::EACCES), _) => {
            Error::ReadOnly { path: path.into(), reason: "its file may not be written, and every opener counts itself in it: chmod u+rw" }
        }
        _ => Error::Io { path: path.into(), action: "open the array file", source },
    }
}

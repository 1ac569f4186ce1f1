//! New arrays: made with their space reserved, and published complete.
//!
//! An array with a chosen name is made under a temporary name and renamed. The file of one without
//! has its name from the start, because no process can have a handle of it yet; a word in it says
//! when it is ready (`store::unready`).

use crate::{
    error::{Error, HeaderError, Result},
    format::{
        constants::*,
        directory_entry,
        header::{Created, Header, Parsed},
        header_template,
        name::{ArrayName, file_in},
    },
    scope::Scope,
    segment::{
        NewFile, Segment,
        growth::initial_words,
        header_error,
        pages::{self, Payload},
    },
    state::{
        block::StateBlock,
        mapped::{Counted, Unpublished},
        ownership::Ownership,
        signals,
    },
    store::{
        member::{self, Member},
        recycle_pool::Kept,
        temporary::TempName,
    },
    sys::{
        fs::{check_fits, creation_error, inode_at, inode_of_file, reserve},
        process::{self, file_size_limit},
    },
};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::{Arc, LazyLock},
    time::{SystemTime, UNIX_EPOCH},
};

/// The name, scope and header of a new array.
pub(crate) struct Plan {
    /// Chosen by the user; without one the file keeps the name that its maker gives it.
    pub(crate) name: Option<ArrayName>,
    pub(crate) scope: Scope,
    pub(crate) header: Header,
}

impl Plan {
    /// The record of an array that this process makes now.
    pub(crate) fn created(member: &Member) -> Result<Created> {
        let ns = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as u64);
        static SOFTWARE: LazyLock<Arc<str>> =
            LazyLock::new(|| concat!("ndshm ", env!("CARGO_PKG_VERSION")).into());
        Ok(Created {
            ns,
            software: SOFTWARE.clone(),
            pid: process::id(),
            boot: member::boot_id().unwrap_or_default(),
            store: member.page().uuid(),
        })
    }
}

/// An array file that no other process can see yet: dropping it deletes the file, publishing it
/// makes it visible.
pub(crate) struct Draft {
    member: Arc<Member>,
    backing: Backing,
    parsed: Parsed,
    path: PathBuf,
    /// Chosen by the user.
    name: Option<ArrayName>,
    scope: Scope,
}

impl Draft {
    /// Makes the file with its space reserved.
    pub(crate) fn new(member: &Arc<Member>, plan: Plan, payload: Payload<'_>) -> Result<Draft> {
        member.check_open()?;
        let (id, directory) = (member.id()?, member.directory());
        let Plan {
            name,
            scope,
            header,
        } = plan;
        let owner = Ownership::owner_word(scope, id);
        let align = MIN_ALIGN.max(rustix::param::page_size());
        let chosen = name.as_ref().map(|name| name.file_in(directory));
        let mut head = header_template::write(&header, align, &StateBlock::initial(owner, id))
            .map_err(|source| unwritable(chosen.as_deref().unwrap_or(directory), source))?;
        let data_len = header.spec.byte_len();
        let mapped_len = data_len
            .checked_add(head.len())
            .filter(|&len| isize::try_from(len).is_ok())
            .ok_or_else(|| Error::layout("create an array", "its size overflows"))?;
        let parsed = Parsed {
            header,
            data_offset: head.len(),
            data_len,
        };
        // The file of an array that grows has no rows yet.
        let len = match initial_words(&parsed) {
            Some((place, words)) => {
                head[place].copy_from_slice(&words);
                head.len()
            }
            None => mapped_len,
        };
        if let Some(path) = &chosen
            && !is_free(member, path)?
        {
            return Err(Error::name_taken(path));
        }
        let content = FileContent {
            len,
            mapped_len,
            head: &head,
            payload,
            owner,
            producer: id,
            is_named: name.is_some(),
        };
        let backing = Backing::new(member, content)?;
        Ok(Draft {
            member: member.clone(),
            path: chosen.unwrap_or_else(|| file_in(directory, backing.file.name())),
            backing,
            parsed,
            name,
            scope,
        })
    }

    /// Whether the payload has the elements of another array instead of zeros, unless zeros or
    /// bytes were asked for.
    pub(crate) fn is_recycled(&self) -> bool {
        self.backing.is_recycled
    }

    /// The payload: `data_len` bytes that belong to the caller alone until the draft is published.
    pub(crate) fn payload(&mut self) -> NonNull<u8> {
        self.backing.mapping.at(self.parsed.data_offset)
    }

    /// Gives the file its name, unless another array has it, and makes it visible to other
    /// processes.
    pub(crate) fn publish(self) -> Result<Arc<Segment>> {
        failpoint!(CreateFilled);
        let Draft {
            member,
            backing,
            parsed,
            path,
            name,
            scope,
        } = self;
        let Backing {
            file,
            inode,
            mapping,
            is_recycled,
        } = backing;
        if !file.is_own() {
            let reason =
                "the process was forked while the array was being filled: its parent publishes it";
            return Err(Error::NotOwner { path, reason });
        }
        let new = NewFile {
            path,
            parsed,
            inode,
            scope,
        };
        let segment = Segment::unpublished(&member, new, mapping.publish());
        let published = segment.publish(|| {
            let make_ready = || match is_recycled {
                true => segment.state().finish_recycling(),
                false => segment.state().make_ready(),
            };
            if name.is_some() {
                make_ready();
                failpoint!(PublishReady);
                let rename = || give_name(&member, file, segment.path());
                return member.with_names(&member.deadline(), rename);
            }
            check_place(&member, &segment)?;
            failpoint!(PublishWanted);
            make_ready();
            file.keep();
            failpoint!(PublishReady);
            Ok(())
        });
        match published {
            // Another process deleted the file that this process kept: the payload goes into
            // another file.
            Err(error) if is_recycled && is_not_found(&error) => {
                let header = segment.header().clone();
                // No other thread knows the id yet, so none has the segment.
                let Some(mut lost) = Arc::into_inner(segment) else {
                    return Err(error);
                };
                let plan = Plan {
                    name,
                    scope,
                    header,
                };
                Self::new(&member, plan, Payload::Bytes(lost.lost_payload()))?.publish()
            }
            published => {
                published?;
                event!(
                    DEBUG,
                    path = %segment.path().display(),
                    bytes = segment.data_len(),
                    is_recycled,
                    "created an array"
                );
                Ok(segment)
            }
        }
    }
}

/// The error of a header that cannot be written: attributes, names of axes and fields are the
/// user's.
fn unwritable(path: &Path, source: HeaderError) -> Error {
    match source {
        HeaderError::Bounds {
            field: "header_end",
            value,
        } => Error::Attrs {
            reason: format!(
                "the header of {} would have {value} bytes, at most {MAX_HEADER_END} fit: put \
                 large attributes into an array or a file of their own",
                path.display()
            ),
        },
        source => header_error(path, source),
    }
}

/// An error where this process may not make a file of `len` bytes.
fn check_size_limit(directory: &Path, len: usize) -> Result<()> {
    match file_size_limit() {
        Some(limit) if len as u64 > limit => Err(Error::NoSpace {
            path: directory.into(),
            needed: len as u64,
            available: limit,
            limited_by: "RLIMIT_FSIZE of this process",
        }),
        _ => Ok(()),
    }
}

/// Whether no array has this path. The name of a released array is free, also where its deleter
/// died before it removed the file, or removes it just now.
///
/// # Errors
///
/// `Timeout` where the lock on the names was not to be had; `Io` where the path cannot be looked
/// at. Another error in the file's release means that the name is taken.
pub(super) fn is_free(member: &Arc<Member>, path: &Path) -> Result<bool> {
    if !is_taken(path)? {
        return Ok(true);
    }
    match Segment::finish_release_at(member, path) {
        Ok(true) => Ok(true),
        Err(error @ (Error::Timeout { .. } | Error::Interrupted { .. })) => Err(error),
        Ok(false) | Err(_) => Ok(!is_taken(path)?),
    }
}

fn is_taken(path: &Path) -> Result<bool> {
    let named = inode_at(path).map_err(Error::io(path, "look whether the name is taken"))?;
    Ok(named.is_some())
}

/// An error unless the file of a new array without a chosen name is at its path: a user can have
/// moved the store, or deleted the file.
fn check_place(member: &Member, segment: &Segment) -> Result<()> {
    let path = segment.path();
    let found = inode_at(path).map_err(Error::io(path, "look at the new file"))?;
    if found == Some(segment.inode()) {
        return Ok(());
    }
    if member.page().is_closing() || member.is_at_its_path().is_ok_and(|is_there| !is_there) {
        return Err(member.closed());
    }
    Err(Error::io(
        path,
        "publish the array: another process deleted its file",
    )(io::ErrorKind::NotFound.into()))
}

/// Gives a new file its name, at which other processes find it.
fn give_name(member: &Member, file: TempName, path: &Path) -> Result<()> {
    failpoint!(PublishWanted);
    let file_name = path.file_name().unwrap_or_default();
    let published = file.publish(file_name);
    published.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::name_taken(path),
        _ if member.page().is_closing() => member.closed(),
        _ if member.is_at_its_path().is_ok_and(|is_there| !is_there) => member.closed(),
        _ => creation_error(error, path, 0, "publish the array"),
    })?;
    failpoint!(PublishRenamed);
    signals::raise(member.page().published(path));
    Ok(())
}

fn is_not_found(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// The file of a draft, which has no array yet.
struct Backing {
    file: TempName,
    inode: (u64, u64),
    mapping: Unpublished,
    /// Whether it was the file of another array before.
    is_recycled: bool,
}

/// The content of a new file.
#[derive(Clone, Copy)]
struct FileContent<'a> {
    /// Bytes of the file.
    len: usize,
    /// Bytes to map: more than those of the file if it will grow.
    mapped_len: usize,
    /// All bytes before the payload.
    head: &'a [u8],
    payload: Payload<'a>,
    /// The owner word of the state block.
    owner: u64,
    /// The member that makes the array.
    producer: u64,
    /// Whether it gets a chosen name.
    is_named: bool,
}

impl Backing {
    /// A kept file of this length, or else a new one.
    fn new(member: &Arc<Member>, content: FileContent<'_>) -> Result<Self> {
        let is_growing = content.mapped_len > content.len;
        if let Some(kept) = (!is_growing)
            .then(|| member.pool().take(content.len))
            .flatten()
        {
            match Self::renewed(kept, content, member.is_on_tmpfs()) {
                Ok(renewed) => return Ok(renewed),
                // Another process deleted the file that this process kept; or a disk has no block
                // for its new end, and gets its other blocks back now.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound
                            | io::ErrorKind::StorageFull
                            | io::ErrorKind::QuotaExceeded
                    ) => {}
                Err(error) => {
                    return Err(failure(member, error, content.len, "use a file again"));
                }
            }
        }
        match Self::made(member, content) {
            // The files that this process keeps for reuse give way.
            Err(Error::NoSpace { .. }) if Member::give_way() => Self::made(member, content),
            made => made,
        }
    }

    /// A new file.
    fn made(member: &Arc<Member>, content: FileContent<'_>) -> Result<Self> {
        let FileContent {
            len,
            mapped_len,
            head,
            payload,
            producer,
            is_named,
            ..
        } = content;
        let failed = |source, action| failure(member, source, len, action);
        check_size_limit(member.directory(), len)?;
        check_fits(member.directory(), len as u64, member.is_on_tmpfs())?;
        let (file, name) = make_file(member, producer, is_named)
            .map_err(|error| failed(error, "create an array file"))?;
        failpoint!(CreateFileMade);
        let mapping = match mapped_len > len {
            true => pages::make_growing(member, &file, mapped_len, head, failed)?,
            false => pages::make(member, &file, len, head, payload, failed)?,
        };
        let mapping = Unpublished::new(Counted::new(mapping));
        failpoint!(CreateMapped);
        let inode =
            inode_of_file(&file).map_err(Error::io(member.directory(), "look at the new file"))?;
        Ok(Self {
            file: name,
            inode,
            mapping,
            is_recycled: false,
        })
    }

    /// A kept file, with another content.
    fn renewed(mut kept: Kept, content: FileContent<'_>, is_on_tmpfs: bool) -> io::Result<Self> {
        if let Err(error) = Self::rewrite(&mut kept, content, is_on_tmpfs) {
            kept.forget();
            return Err(error);
        }
        let Kept {
            mapping,
            path,
            inode,
        } = kept;
        Ok(Self {
            file: path,
            inode,
            mapping: Unpublished::new(Counted::counted_before(mapping)),
            is_recycled: true,
        })
    }

    fn rewrite(kept: &mut Kept, content: FileContent<'_>, is_on_tmpfs: bool) -> io::Result<()> {
        let Kept {
            mapping,
            path,
            inode,
        } = kept;
        let FileContent { len, head, .. } = content;
        if content.is_named {
            // Ready, it must not be found without its name.
            let name = directory_entry::draft_prefix(content.producer);
            path.rename(format!("{name}{:x}", inode.1).into())?;
        }
        if len != mapping.len() {
            // Within the last page.
            let file = path.open()?;
            if inode_of_file(&file)? != *inode {
                return Err(io::ErrorKind::NotFound.into());
            }
            if file_size_limit().is_some_and(|limit| limit < len as u64) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            if len > mapping.len() && !is_on_tmpfs {
                // A page may have several blocks. Growing with them, the file has no hole that an
                // opener of the old array could meet.
                reserve(&file, mapping.len() as u64..len as u64)?;
            }
            file.set_len(len as u64)?;
            mapping.set_len(len);
        }
        mapping.put(0, &head[..STATE_AT]);
        mapping.state().renew(content.owner, content.producer);
        mapping.put(HEADER_KEY_AT, &head[HEADER_KEY_AT..]);
        failpoint!(RecycleHeaderWritten);
        match content.payload {
            Payload::Zeros => mapping.clear(head.len()..len),
            Payload::Bytes(bytes) => mapping.put(head.len(), bytes),
            Payload::Anything | Payload::ToBeFilled => {}
        }
        Ok(())
    }
}

/// A new, empty file of this member: under a temporary name if it gets a chosen one, or under the
/// name that it keeps.
fn make_file(member: &Member, id: u64, is_named: bool) -> io::Result<(File, TempName)> {
    let (file, name) = match is_named {
        true => member
            .place()
            .make_file(&directory_entry::draft_prefix(id))?,
        false => member.place().make_unnamed_file(id)?,
    };
    Ok((file, TempName::new(member.place(), name)))
}

/// The error of a failed action on a new file of `len` bytes.
fn failure(member: &Member, source: io::Error, len: usize, action: &'static str) -> Error {
    if member.page().is_closing() || member.is_at_its_path().is_ok_and(|is_there| !is_there) {
        return member.closed();
    }
    creation_error(source, member.directory(), len as u64, action)
}

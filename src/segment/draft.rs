//! New arrays: made under a temporary name with their space reserved, and published complete.

use crate::{
    error::{Error, Result},
    format::{
        constants::*,
        directory_entry,
        header::{Created, Header, Parsed},
        header_template,
        name::{self, ArrayName},
    },
    layout,
    scope::Scope,
    segment::{
        NewFile, Segment, header_error,
        pages::{self, Payload},
    },
    state::{block::StateBlock, mapped::Counted, ownership::Ownership},
    store::{
        member::{self, Member},
        recycle_pool::Kept,
        temporary::TempName,
    },
    sys::fs::{above_the_streams, creation_error, inode_of_file, open_file},
};
use rustix::process::{Resource, getrlimit};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// The plan of a new array.
pub(crate) struct Plan {
    /// The chosen name; without one the file is named after the array's id.
    pub(crate) name: Option<ArrayName>,
    pub(crate) scope: Scope,
    pub(crate) header: Header,
}

impl Plan {
    /// The record of an array made here and now.
    pub(crate) fn created(member: &Member) -> Result<Created> {
        let ns = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as u64);
        let software = concat!("ndshm ", env!("CARGO_PKG_VERSION")).to_owned();
        Ok(Created {
            ns,
            software,
            pid: std::process::id(),
            boot: member::boot_id()?,
            store: member.page().uuid(),
        })
    }
}

/// A mapped file under a temporary name, with its device and inode.
type Made = (Counted, TempName, (u64, u64));

/// An array file that no other process or thread can see yet. Dropping it deletes the file,
/// publishing it makes the array visible.
pub(crate) struct Draft {
    member: Arc<Member>,
    file: TempName,
    inode: (u64, u64),
    mapping: Counted,
    parsed: Parsed,
    path: PathBuf,
    /// The chosen name.
    name: Option<ArrayName>,
    scope: Scope,
    /// Whether the file had another array before.
    is_recycled: bool,
}

impl Draft {
    /// Makes the file with its space reserved.
    pub(crate) fn new(member: &Arc<Member>, plan: Plan, payload: Payload<'_>) -> Result<Draft> {
        member.check_open()?;
        let (id, directory) = (member.id()?, member.directory());
        let owner = Ownership::owner_word(plan.scope, id);
        let align = MIN_ALIGN.max(rustix::param::page_size());
        let head = header_template::write(&plan.header, align, &StateBlock::initial(owner, id))
            .map_err(|source| header_error(directory, source))?;
        let (data_len, total) = lengths(&plan.header, head.len())?;
        check_file_size_limit(directory, total)?;
        let path = path_of(member, &plan)?;
        let parsed = Parsed {
            header: plan.header,
            data_offset: head.len(),
            data_len,
        };
        let draft = |(mapping, file, inode), is_recycled| Draft {
            member: member.clone(),
            file,
            inode,
            mapping,
            parsed,
            path,
            name: plan.name,
            scope: plan.scope,
            is_recycled,
        };
        if let Some(kept) = member.pool().take(total) {
            match Self::renew(kept, total, &head, payload, owner, id) {
                Ok(renewed) => return Ok(draft(renewed, true)),
                // The file that this process kept was deleted by other means.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(making_error(member, total, error, "reuse a file")),
            }
        }
        let made = match Self::make(member, id, total, &head, payload) {
            // The files and mappings that this process keeps give way to the new array.
            Err(Error::NoSpace { .. }) if Member::give_way() => {
                Self::make(member, id, total, &head, payload)?
            }
            made => made?,
        };
        Ok(draft(made, false))
    }

    /// Makes a new file with this head and payload.
    fn make(
        member: &Member,
        id: u64,
        total: usize,
        head: &[u8],
        payload: Payload<'_>,
    ) -> Result<Made> {
        let failed = |source, action| making_error(member, total, source, action);
        let (file, temporary) =
            Self::make_file(member, id).map_err(|error| failed(error, "create an array file"))?;
        failpoint!(CreateFileMade);
        let mapping = Counted::new(pages::make(member, &file, total, head, payload, failed)?);
        failpoint!(CreateMapped);
        let inode =
            inode_of_file(&file).map_err(Error::io(member.directory(), "look at the new file"))?;
        Ok((mapping, temporary, inode))
    }

    /// A new, empty file under a temporary name.
    fn make_file(member: &Member, id: u64) -> io::Result<(File, TempName)> {
        let prefix = directory_entry::draft_prefix(id);
        let (file, name) = tempfile::Builder::new()
            .prefix(&prefix)
            .tempfile_in(member.directory())?
            .into_parts();
        Ok((above_the_streams(file)?, TempName::new(name)))
    }

    /// Makes a kept file that of a new array.
    fn renew(
        kept: Kept,
        len: usize,
        head: &[u8],
        payload: Payload<'_>,
        owner: u64,
        producer: u64,
    ) -> io::Result<Made> {
        let Kept {
            mut mapping,
            path,
            inode,
        } = kept;
        if len != mapping.len() {
            // Within the last page.
            let file = open_file(&path)?;
            if inode_of_file(&file)? != inode {
                return Err(io::ErrorKind::NotFound.into());
            }
            file.set_len(len as u64)?;
            mapping.set_len(len);
        }
        mapping.put(0, &head[..STATE_AT]);
        mapping.state().renew(owner, producer);
        mapping.put(HEADER_KEY_AT, &head[HEADER_KEY_AT..]);
        failpoint!(RecycleHeaderWritten);
        match payload {
            Payload::Zeros => mapping.clear(head.len()..len),
            Payload::Bytes(bytes) => mapping.put(head.len(), bytes),
            Payload::Anything | Payload::ToBeFilled => {}
        }
        Ok((Counted::counted_before(mapping), path, inode))
    }

    /// Whether the file had another array before: then the payload has its elements, unless it was
    /// asked for as zeros or bytes.
    pub(crate) fn is_recycled(&self) -> bool {
        self.is_recycled
    }

    /// The payload: `data_len` bytes that belong to the caller alone until the draft is published.
    pub(crate) fn payload(&mut self) -> NonNull<u8> {
        self.mapping.at(self.parsed.data_offset)
    }

    /// Gives the file its name, unless another array has it, and so makes the array visible.
    pub(crate) fn publish(self) -> Result<Arc<Segment>> {
        failpoint!(CreateFilled);
        let Draft {
            member,
            file,
            inode,
            mapping,
            parsed,
            path,
            name,
            scope,
            is_recycled,
        } = self;
        if !file.is_own() {
            let reason =
                "the process was forked while the array was being filled: its parent publishes it";
            return Err(Error::NotOwner { path, reason });
        }
        if is_recycled {
            mapping.state().finish_recycling();
            failpoint!(RecycleReady);
        }
        let segment = Segment::unpublished(
            &member,
            NewFile {
                path,
                parsed,
                inode,
                scope,
            },
            mapping,
        );
        let has_chosen_name = name.is_some();
        let published = segment.publish(is_recycled, || {
            let rename = || give_name(&member, file, segment.path());
            if has_chosen_name {
                member.with_names(rename)
            } else {
                rename()
            }
        });
        match published {
            Ok(()) => {
                event!(DEBUG, path = %segment.path().display(), bytes = segment.data_len(), is_recycled, "created an array");
                Ok(segment)
            }
            Err(error) if is_recycled && is_missing(&error) => {
                // The file that this process kept was deleted by other means. The elements in it by
                // now go into another file.
                let plan = Plan {
                    name,
                    scope,
                    header: segment.header().clone(),
                };
                // The id was not given to any caller yet, so there is no other reference.
                let mut lost = Arc::into_inner(segment).ok_or(error)?;
                Self::new(&member, plan, Payload::Bytes(lost.lost_payload()))?.publish()
            }
            Err(error) => Err(error),
        }
    }
}

/// Renames a complete file to its path, unless another array has that.
fn give_name(member: &Member, file: TempName, path: &Path) -> Result<()> {
    failpoint!(PublishWanted);
    file.publish(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path: path.into() },
        _ if member.page().is_closing() => member.closed(),
        _ => creation_error(error, path, 0, "publish the array"),
    })?;
    failpoint!(PublishRenamed);
    Ok(())
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// Bytes of the payload, and of the whole file.
fn lengths(header: &Header, head_len: usize) -> Result<(usize, usize)> {
    let data_len = layout::byte_len(&header.shape, header.dtype.itemsize());
    let total = data_len
        .and_then(|len| len.checked_add(head_len))
        .filter(|&total| isize::try_from(total).is_ok());
    data_len
        .zip(total)
        .ok_or_else(|| Error::layout("create an array", "its size overflows"))
}

/// An error if the process may not make files of so many bytes: the kernel would send a signal.
fn check_file_size_limit(directory: &Path, total: usize) -> Result<()> {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if total as u64 > limit => Err(Error::NoSpace {
            path: directory.into(),
            needed: total as u64,
            available: limit,
            limited_by: "RLIMIT_FSIZE of this process",
        }),
        _ => Ok(()),
    }
}

/// The path of the new array. An error if another array has it.
fn path_of(member: &Arc<Member>, plan: &Plan) -> Result<PathBuf> {
    let Some(name) = &plan.name else {
        let stem = plan.header.id.file_stem();
        return Ok(member.directory().join(name::file_name(&stem)));
    };
    let path = name.file_in(member.directory());
    // The name of a released array is free, even if its deleter has not unlinked it yet.
    if exists(&path)
        && !Segment::finish_release_at(member, &path).is_ok_and(|was_released| was_released)
        && exists(&path)
    {
        return Err(Error::AlreadyExists { path });
    }
    Ok(path)
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The error of a step of making a file: `Closed` if the store is gone.
fn making_error(member: &Member, total: usize, source: io::Error, action: &'static str) -> Error {
    if member.page().is_closing() || !member.is_at_its_path() {
        member.closed()
    } else {
        creation_error(source, member.directory(), total as u64, action)
    }
}

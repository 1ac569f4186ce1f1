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
    path::PathBuf,
    ptr::NonNull,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// What a new array shall be.
pub(crate) struct Plan {
    /// Chosen by the user; without one the file is named after its id.
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

/// An array file that nobody else can see yet: deleted when it is dropped, visible when it is
/// published.
pub(crate) struct Draft {
    member: Arc<Member>,
    file: TempName,
    inode: (u64, u64),
    mapping: Counted,
    parsed: Parsed,
    path: PathBuf,
    /// Chosen by the user.
    name: Option<ArrayName>,
    scope: Scope,
    /// Whether it was made of the file of another array.
    is_recycled: bool,
}

impl Draft {
    /// Makes the file with its space reserved.
    pub(crate) fn new(member: &Arc<Member>, plan: Plan, payload: Payload<'_>) -> Result<Draft> {
        member.check_open()?;
        let (id, me) = (member.id()?, member.directory());
        let state = StateBlock::initial(Ownership::owner_word(plan.scope, id), id);
        let align = MIN_ALIGN.max(rustix::param::page_size());
        let head = header_template::write(&plan.header, align, &state)
            .map_err(|source| header_error(me, source))?;
        let data_len = layout::byte_len(&plan.header.shape, plan.header.dtype.itemsize());
        let total = data_len
            .and_then(|len| len.checked_add(head.len()))
            .filter(|&total| isize::try_from(total).is_ok());
        let (Some(data_len), Some(total)) = (data_len, total) else {
            return Err(Error::layout("create an array", "its size overflows"));
        };
        if let Some(limit) = getrlimit(Resource::Fsize)
            .current
            .filter(|&limit| (total as u64) > limit)
        {
            let limited_by = "RLIMIT_FSIZE of this process";
            return Err(Error::NoSpace {
                path: me.into(),
                needed: total as u64,
                available: limit,
                limited_by,
            });
        }
        let failed = |source, action| match member.page().is_closing() || !member.is_at_its_path() {
            true => member.closed(),
            false => creation_error(source, me, total as u64, action),
        };
        let path = match &plan.name {
            Some(name) => name.file_in(me),
            None => me.join(name::file_name(&plan.header.id.file_stem())),
        };
        // A name whose array was released is free, also where its deleter did not come to that, and
        // where it does so just now.
        let is_taken = || fs::symlink_metadata(&path).is_ok();
        if plan.name.is_some()
            && is_taken()
            && !Segment::finish_release_at(member, &path).is_ok_and(|was_released| was_released)
            && is_taken()
        {
            return Err(Error::AlreadyExists { path });
        }
        let (name, scope) = (plan.name, plan.scope);
        let parsed = Parsed {
            header: plan.header,
            data_offset: head.len(),
            data_len,
        };
        let draft = |mapping, file, inode, is_recycled| Draft {
            member: member.clone(),
            file,
            inode,
            mapping,
            parsed,
            path,
            name,
            scope,
            is_recycled,
        };
        if let Some(kept) = member.pool().take(total) {
            match Self::renew(
                kept,
                total,
                &head,
                payload,
                Ownership::owner_word(scope, id),
                id,
            ) {
                Ok((mapping, file, inode)) => return Ok(draft(mapping, file, inode, true)),
                // Somebody deleted the file that this process kept.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error, "use a file again")),
            }
        }
        let make = || {
            let (file, temporary) = Self::make_file(member, id)
                .map_err(|error| failed(error, "create an array file"))?;
            failpoint!(CreateFileMade);
            let mapping = Counted::new(pages::make(member, &file, total, &head, payload, failed)?);
            failpoint!(CreateMapped);
            let inode = inode_of_file(&file).map_err(Error::io(me, "look at the new file"))?;
            Ok((mapping, temporary, inode))
        };
        let (mapping, temporary, inode) = match make() {
            // What this process keeps for later gives way.
            Err(Error::NoSpace { .. }) if Member::give_way() => make()?,
            made => made?,
        };
        Ok(draft(mapping, temporary, inode, false))
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

    /// Makes a file that was kept that of a new array.
    fn renew(
        kept: Kept,
        len: usize,
        head: &[u8],
        payload: Payload<'_>,
        owner: u64,
        producer: u64,
    ) -> io::Result<(Counted, TempName, (u64, u64))> {
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

    /// Whether the payload has the elements of another array, and not zeros, unless it was asked
    /// for as zeros or bytes.
    pub(crate) fn is_recycled(&self) -> bool {
        self.is_recycled
    }

    /// The payload: `data_len` bytes that belong to the caller alone until the draft is published.
    pub(crate) fn payload(&mut self) -> NonNull<u8> {
        self.mapping.at(self.parsed.data_offset)
    }

    /// Gives the file its name, unless somebody has it, and lets the others see it.
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
        let path = segment.path();
        let rename = || {
            failpoint!(PublishWanted);
            file.publish(path).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Error::AlreadyExists { path: path.into() },
                _ if member.page().is_closing() => member.closed(),
                _ => creation_error(error, path, 0, "publish the array"),
            })?;
            failpoint!(PublishRenamed);
            Ok(())
        };
        match segment.publish(is_recycled, || {
            if name.is_some() {
                member.with_names(rename)
            } else {
                rename()
            }
        }) {
            Err(Error::Io {
                path,
                action,
                source,
            }) if is_recycled && source.kind() == io::ErrorKind::NotFound => {
                // Somebody deleted the file that this process kept: what is in it by now goes into
                // another one.
                let plan = Plan {
                    name,
                    scope,
                    header: segment.header().clone(),
                };
                // Nobody knows the id yet, so nobody has the segment.
                let Some(mut lost) = Arc::into_inner(segment) else {
                    return Err(Error::Io {
                        path,
                        action,
                        source,
                    });
                };
                Self::new(&member, plan, Payload::Bytes(lost.lost_payload()))?.publish()
            }
            published => {
                published?;
                event!(DEBUG, path = %path.display(), bytes = segment.data_len(), is_recycled, "created an array");
                Ok(segment)
            }
        }
    }
}

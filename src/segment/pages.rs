//! The pages of a new array file: huge or small. All of them exist before the array is published,
//! so that no access can fail for want of a page.
//!
//! A fresh page of 4 KiB costs more than filling it. A huge page costs little more than its bytes,
//! but the kernel makes one for a file on tmpfs by itself only if the file system was mounted with
//! an option for it. Elsewhere it makes one when a process asks it to collapse the file's small
//! pages, which needs no privilege (Linux 6.1).

use crate::{
    error::{Error, Result},
    store::{member::Member, settings::HugePages},
    sys::{
        fs::reserve,
        mapping::{HUGE_PAGE, Mapping},
        share::{share, threads},
    },
};
use rustix::io::Errno;
use std::{
    fs::File,
    io::{self, IoSlice},
    ops::Range,
    os::unix::fs::FileExt,
};

/// The payload of a new file when it is mapped.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    /// Zeros, which may stay.
    Zeros,
    /// Any bytes: zeros in a new file.
    Anything,
    /// Any bytes; the caller overwrites all of them at once.
    ToBeFilled,
    /// These bytes.
    Bytes(&'a [u8]),
}

/// Below so many bytes, mapping the pages at once costs more than mapping them one by one.
const POPULATE_FROM: usize = 64 << 10;

/// Bytes of pages that a thread makes at once, where several share it: the kernel clears them.
const SHARED_PIECE: usize = 32 << 20;

/// Gives a new, empty file its head, its payload and all pages of its `len` bytes, and maps it.
/// `failed` makes the error of a step.
pub(crate) fn make(
    member: &Member,
    file: &File,
    len: usize,
    head: &[u8],
    payload: Payload<'_>,
    failed: impl Fn(io::Error, &'static str) -> Error,
) -> Result<Mapping> {
    let wanted = member.settings().huge_pages();
    let is_on_tmpfs = member.is_on_tmpfs();
    if len >= HUGE_PAGE && wanted != HugePages::Never {
        let made = if is_on_tmpfs {
            make_huge(member, file, len, payload).and_then(|mapping| match wanted {
                HugePages::Require => check_huge(mapping),
                _ => Ok(mapping),
            })
        } else {
            Err(io::ErrorKind::Unsupported.into())
        };
        match made {
            Ok(mut mapping) => {
                reserve(file, 0..len as u64).map_err(|error| failed(error, "reserve space"))?;
                failpoint!(CreateReserved);
                mapping.put(0, head);
                failpoint!(CreateHeaderWritten);
                event!(DEBUG, len, "made huge pages");
                if let Payload::Bytes(bytes) = payload {
                    mapping.put(head.len(), bytes);
                }
                return Ok(mapping);
            }
            Err(source) if wanted == HugePages::Require => {
                return Err(Error::io(
                    member.directory(),
                    "make huge pages: they need a tmpfs, Linux 6.1, and free memory in one piece; \
                     HugePages::Auto does without them",
                )(source));
            }
            // The pages that were made on the way are a part of the file.
            Err(_error) => event!(DEBUG, len, error = %_error, "made no huge pages"),
        }
    }
    let bytes = if let Payload::Bytes(bytes) = payload {
        bytes
    } else {
        &[]
    };
    // On tmpfs a written page exists. Elsewhere it may be on its way to the disk without a place
    // there.
    if head.len() + bytes.len() < len || !is_on_tmpfs {
        reserve(file, 0..len as u64).map_err(|error| failed(error, "reserve space"))?;
        failpoint!(CreateReserved);
    }
    write(file, head, bytes).map_err(|error| failed(error, "write the new file"))?;
    failpoint!(CreateHeaderWritten);
    let mapping = member.map(file, len, member.directory())?;
    if len >= POPULATE_FROM && is_used_at_once(payload) || member.settings().prefault() {
        // If this fails, the pages are mapped one by one.
        let _ = in_pieces(0..len, payload, |range| mapping.populate(range));
    }
    Ok(mapping)
}

/// Makes the pages of a range: by several threads where the elements of a file follow, which the
/// caller brings by as many threads.
fn in_pieces(
    range: Range<usize>,
    payload: Payload<'_>,
    make: impl Fn(Range<usize>) -> io::Result<()> + Sync,
) -> io::Result<()> {
    if !matches!(payload, Payload::ToBeFilled) || range.len() < 2 * SHARED_PIECE {
        return make(range);
    }
    let end = range.end;
    let pieces = range
        .step_by(SHARED_PIECE)
        .map(move |start| start..end.min(start + SHARED_PIECE));
    let work = |_: &mut (), piece: Range<usize>| make(piece).map(|()| 0);
    share(threads(), pieces, || (), work, &mut |_| ())
}

/// Whether the pages are mapped when the array is made. The first mapping of a page costs more than
/// each later one in any process, which the first reader would pay otherwise. Zeros may never be
/// touched; the first write guard maps the pages that it is for.
pub(crate) fn is_used_at_once(payload: Payload<'_>) -> bool {
    matches!(payload, Payload::ToBeFilled | Payload::Bytes(_))
}

/// Gives a new, empty file of an array that grows its head, and maps `mapped_len` bytes: all that
/// it can have.
pub(crate) fn make_growing(
    member: &Member,
    file: &File,
    mapped_len: usize,
    head: &[u8],
    failed: impl Fn(io::Error, &'static str) -> Error,
) -> Result<Mapping> {
    if !member.is_on_tmpfs() {
        reserve(file, 0..head.len() as u64).map_err(|error| failed(error, "reserve space"))?;
    }
    write(file, head, &[]).map_err(|error| failed(error, "write the new file"))?;
    failpoint!(CreateHeaderWritten);
    member.map_beyond(file, mapped_len, member.directory())
}

/// Maps a new file that has huge pages as far as they go.
fn make_huge(
    member: &Member,
    file: &File,
    len: usize,
    payload: Payload<'_>,
) -> io::Result<Mapping> {
    file.set_len(len as u64)?;
    let mapping = member
        .map(file, len, member.directory())
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    let huge_len = len - len % HUGE_PAGE;
    if member.has_huge_mount() {
        mapping.prefer_huge_pages()?;
        in_pieces(0..huge_len, payload, |range| mapping.populate(range))?;
        return Ok(mapping);
    }
    in_pieces(0..huge_len, payload, |range| {
        for start in range.clone().step_by(HUGE_PAGE) {
            // The kernel does not collapse a range that has no page.
            file.write_all_at(&[0], start as u64)?;
        }
        mapping.collapse(range)
    })?;
    Ok(mapping)
}

/// An error if a part of the mapping that could have huge pages has none. The kernel's answer to
/// `madvise` does not tell: advice may be ignored, an emulator says yes to all, and where a page
/// has more than 4 KiB, 2 MiB are no huge page.
fn check_huge(mapping: Mapping) -> io::Result<Mapping> {
    let huge_len = mapping.len() - mapping.len() % HUGE_PAGE;
    mapping.populate(0..huge_len)?;
    let found = mapping.huge_len()?;
    if found >= huge_len {
        return Ok(mapping);
    }
    Err(io::Error::other(format!(
        "{found} of {huge_len} bytes are on huge pages"
    )))
}

/// Writes the head and the bytes that follow it, usually by one system call. Writing costs half as
/// much as mapping fresh pages to copy into them.
fn write(file: &File, head: &[u8], bytes: &[u8]) -> io::Result<()> {
    let written = match rustix::io::pwritev(file, &[IoSlice::new(head), IoSlice::new(bytes)], 0) {
        Err(Errno::INTR) => 0,
        written => written?,
    };
    file.write_all_at(&head[written.min(head.len())..], written as u64)?;
    let of_bytes = written.saturating_sub(head.len());
    file.write_all_at(&bytes[of_bytes..], (head.len() + of_bytes) as u64)
}

//! The file system that holds a store: whether locks and reserved space keep their promises on it,
//! and the space that its files lack.
//!
//! # Overlays
//!
//! New files of an overlay lie on the file system of its upper layer, and only that one decides
//! whether reserved space holds. statfs(2) of an overlay has the numbers of the upper file system
//! and hides its type (`ovl_statfs`, fs/overlayfs/super.c). The option `upperdir` in
//! `/proc/self/mountinfo` is a path as the mounting process saw it: relative, or one of the host
//! that a container cannot reach. So the upper file system is the one that is mounted here, has the
//! same size and is of a known type. Where none is, the overlay is not trusted.
//!
//! # Missing space
//!
//! A file that another program copied may have holes (`cp --sparse=always`, the copy-up of an
//! overlay), or share its blocks with the original (`cp --reflink`). Writing to either through a
//! mapping needs space; without it the kernel sends SIGBUS. On a tmpfs reading a hole needs a page
//! too. [`complete`](FileSystem::complete) reserves the space before the file is mapped.

use super::fs::{check_fits, creation_error, is_read_only, reserve_with};
use crate::error::{Error, Result};
use rustix::{
    fs::{FallocateFlags, StatFs},
    io::Errno,
};
use std::{
    fs::{self, File, Metadata},
    io,
    ops::Range,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// A file system on which flock, byte locks and reserved space keep their promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileSystem {
    kind: Kind,
    /// Whether it is the upper layer of an overlay.
    is_below_overlay: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tmpfs,
    /// And its predecessors.
    Ext4,
    Xfs,
}

/// The type of an overlay, as statfs returns it.
const OVERLAY: u64 = 0x794c_7630;

impl Kind {
    /// By the type that statfs returns.
    fn of(magic: u64) -> Option<Self> {
        match magic {
            0x0102_1994 => Some(Self::Tmpfs),
            0xef53 => Some(Self::Ext4),
            0x5846_5342 => Some(Self::Xfs),
            _ => None,
        }
    }

    /// Whether `/proc/self/mountinfo` calls one of them so. Asking others, as a server that does
    /// not answer, may take for ever.
    fn has_name(name: &str) -> bool {
        matches!(name, "tmpfs" | "ext2" | "ext3" | "ext4" | "xfs")
    }
}

/// Whether an open file lies on a tmpfs, below no overlay.
pub(crate) fn is_on_tmpfs(file: &File) -> bool {
    kind_of(file) == Some(Kind::Tmpfs)
}

/// Whether an open file lies on a disk where space that was reserved is written faster.
pub(crate) fn is_on_disk(file: &File) -> bool {
    matches!(kind_of(file), Some(Kind::Ext4 | Kind::Xfs))
}

fn kind_of(file: &File) -> Option<Kind> {
    let found = rustix::fs::fstatfs(file).ok()?;
    Kind::of(found.f_type as u64)
}

impl FileSystem {
    /// The file system of a path; none if it is not one that keeps the promises.
    pub(crate) fn of(path: &Path) -> Result<Option<Self>> {
        let found = rustix::fs::statfs(path).map_err(|errno| match errno {
            // Deleted since the caller looked at it.
            Errno::NOENT => Error::NotFound {
                path: path.into(),
                what: "no such directory",
            },
            errno => Error::io(path, "ask for its file system")(errno.into()),
        })?;
        let is_below_overlay = found.f_type as u64 == OVERLAY;
        let kind = if is_below_overlay {
            upper_of(&found, &mounted())
        } else {
            Kind::of(found.f_type as u64)
        };
        Ok(kind.map(|kind| Self {
            kind,
            is_below_overlay,
        }))
    }

    pub(crate) fn is_tmpfs(self) -> bool {
        self.kind == Kind::Tmpfs && !self.is_below_overlay
    }

    /// Whether files lie in memory only: reading a hole through a mapping needs a page then.
    pub(crate) fn is_in_memory(self) -> bool {
        self.kind == Kind::Tmpfs
    }

    /// Reserves the space that a range of an existing file lacks, before it is mapped to be written
    /// or not. The file keeps its length.
    ///
    /// On a tmpfs `st_blocks` tells whether a file has holes, so files without holes cost nothing.
    /// On a disk it counts the file's bookkeeping too, and blocks that the file shares with a copy,
    /// so the file system is asked each time.
    ///
    /// # Errors
    ///
    /// `NoSpace` if there is too little.
    pub(crate) fn complete(
        self,
        file: &File,
        metadata: &Metadata,
        range: Range<u64>,
        path: &Path,
    ) -> Result<()> {
        let missing = missing(metadata);
        if self.is_in_memory() && missing == 0 {
            return Ok(());
        }
        // A mount that is read-only reserves nothing, and reading a hole of a disk needs no space.
        if !self.is_in_memory() && is_read_only(file) {
            return Ok(());
        }
        let refuse = |error| of_copy(error, metadata.len());
        check_fits(path, missing.min(range.end - range.start), self.is_tmpfs()).map_err(refuse)?;
        match self.reserve(file, range) {
            // ext2 and ext3 cannot reserve.
            Err(error) if is_unsupported(&error) && missing == 0 => Ok(()),
            Err(error) => Err(refuse(creation_error(
                error,
                path,
                metadata.len(),
                "reserve the space of its holes; copy it again with cp --sparse=never",
            ))),
            Ok(()) => Ok(()),
        }
    }

    fn reserve(self, file: &File, range: Range<u64>) -> io::Result<()> {
        let keep = FallocateFlags::KEEP_SIZE;
        if self.kind == Kind::Xfs {
            match reserve_with(file, range.clone(), keep | FallocateFlags::UNSHARE_RANGE) {
                // Before Linux 4.9.
                Err(error) if is_unsupported(&error) => {}
                reserved => return reserved,
            }
        }
        reserve_with(file, range, keep)
    }
}

/// `NoSpace` for a file of `len` bytes that has a part of its space, with the usual cause.
fn of_copy(error: Error, len: u64) -> Error {
    match error {
        Error::NoSpace {
            path, available, ..
        } => Error::NoSpace {
            path,
            needed: len,
            available,
            limited_by: "it was copied with holes or shared blocks (cp --sparse=never \
                         --reflink=never makes a full copy), and the file system",
        },
        error => error,
    }
}

/// Bytes of a file for which its file system has no block.
pub(crate) fn missing(metadata: &Metadata) -> u64 {
    // stat(2) counts in blocks of 512 bytes on every file system.
    metadata
        .len()
        .saturating_sub(metadata.blocks().saturating_mul(512))
}

fn is_unsupported(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL))
}

/// The mounts of this process, as text; empty where they cannot be read. Their paths need not be
/// UTF-8.
fn mounted() -> String {
    let text = fs::read("/proc/self/mountinfo").unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// The mounts in a text of the form of `/proc/self/mountinfo`, proc(5).
fn mounts(text: &str) -> impl Iterator<Item = Mount<'_>> {
    text.lines().filter_map(|line| {
        let (fields, of_file_system) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(2);
        Some(Mount {
            device: fields.next()?,
            point: fields.nth(1)?,
            kind: of_file_system.split(' ').next()?,
            options: of_file_system.rsplit(' ').next()?,
        })
    })
}

struct Mount<'a> {
    /// Major and minor number.
    device: &'a str,
    /// Blanks and the like are escaped.
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

/// Whether a file system tells its size. btrfs has no number of inodes, ramfs no size: a tmpfs of
/// the same size must not pass for it.
fn has_size(found: &StatFs) -> bool {
    found.f_blocks != 0 && found.f_files != 0
}

/// The kind of the file system that has an overlay's upper layer.
fn upper_of(overlay: &StatFs, text: &str) -> Option<Kind> {
    if !has_size(overlay) {
        return None;
    }
    mounts(text)
        .filter(|mount| Kind::has_name(mount.kind))
        .filter_map(|mount| rustix::fs::statfs(unescaped(mount.point)).ok())
        .filter(|found| {
            has_size(found)
                && (found.f_bsize, found.f_blocks) == (overlay.f_bsize, overlay.f_blocks)
        })
        .find_map(|found| Kind::of(found.f_type as u64))
}

/// A path of the mounts: blank, tab, newline, backslash and number sign are `\` and three octal
/// digits.
fn unescaped(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                path.push(char::from(code));
                path.push_str(&part[3..]);
            }
            None => {
                path.push('\\');
                path.push_str(part);
            }
        }
    }
    path.into()
}

/// Whether the file system with this device number was mounted with an option that gives its files
/// huge pages.
pub(crate) fn has_huge_mount(device: u64) -> bool {
    let number = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    mounts(&mounted())
        .filter(|mount| mount.device == number)
        .flat_map(|mount| mount.options.split(','))
        .any(|option| matches!(option, "huge=always" | "huge=within_size" | "huge=advise"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_their_optional_fields_and_escapes() {
        let text = "25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=1k,huge=advise\n\
                    40 25 8:1 /a /mnt/a\\040b\\134 rw shared:1 master:2 - ext4 /dev/sda1 rw\n\
                    broken line\n";
        let found: Vec<_> = mounts(text)
            .map(|mount| (mount.device, unescaped(mount.point), mount.kind))
            .collect();
        assert_eq!(
            found,
            [
                ("0:23", "/dev/shm".into(), "tmpfs"),
                ("8:1", "/mnt/a b\\".into(), "ext4")
            ]
        );
        assert_eq!(unescaped("\\9z"), PathBuf::from("\\9z"));
    }

    #[test]
    fn an_upper_layer_has_the_size_of_a_mount_of_a_known_kind() {
        let shm = rustix::fs::statfs("/dev/shm").unwrap();
        let text = "25 24 0:23 / /dev/shm rw - tmpfs tmpfs rw\n";
        assert_eq!(upper_of(&shm, text), Some(Kind::Tmpfs));
        assert_eq!(upper_of(&shm, &text.replace("- tmpfs", "- nfs")), None);
        assert_eq!(upper_of(&shm, ""), None);
        for change in [
            |found: &mut StatFs| found.f_blocks += 1,
            |found: &mut StatFs| found.f_files = 0,
        ] {
            let mut other = shm;
            change(&mut other);
            assert_eq!(upper_of(&other, text), None);
        }
    }
}

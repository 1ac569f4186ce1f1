//! The files that a process has mapped, from `/proc/<pid>/maps`.
//!
//! From Linux 6.11 on that file answers questions (PROCMAP_QUERY): the next mapping of a file at or
//! above an address. The kernel passes over the others and formats no text, so a process costs a
//! few microseconds instead of tens. Older kernels have the text only.
//!
//! A module with unsafe code: such a question is an ioctl.
#![allow(unsafe_code)]

use rustix::{
    io::Errno,
    ioctl::{Opcode, Updater, ioctl, opcode},
};
use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    io::Read,
};

/// `PROCMAP_QUERY` of linux/fs.h.
const PROCMAP_QUERY: Opcode = opcode::read_write::<Query>(b'f', 17);
// The flags of a question.
const WRITABLE: u64 = 0x2;
const SHARED: u64 = 0x8;
/// The mapping that has the address, or the next one.
const NEXT: u64 = 0x10;
const OF_FILES: u64 = 0x20;

/// `struct procmap_query` of linux/fs.h.
#[derive(Default)]
#[repr(C)]
struct Query {
    size: u64,
    wanted: u64,
    address: u64,
    start: u64,
    end: u64,
    /// The flags of the mapping.
    of_mapping: u64,
    page_size: u64,
    offset: u64,
    inode: u64,
    major: u32,
    minor: u32,
    name_len: u32,
    build_id_len: u32,
    name: u64,
    build_id: u64,
}

/// A file by its device and inode.
pub(crate) type FileId = (u64, u64);

impl Query {
    fn file(&self) -> FileId {
        (rustix::fs::makedev(self.major, self.minor), self.inode)
    }
}

/// A mapping of a file of a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part {
    pub(crate) file: FileId,
    pub(crate) bytes: u64,
    pub(crate) end_in_file: u64,
    pub(crate) path: String,
}

/// A look at the mappings of many processes.
#[derive(Default)]
pub(crate) struct Look {
    /// The paths of the files that were met; `None` for those that are not of a store. Most
    /// processes have the same ones.
    paths: HashMap<FileId, Option<String>>,
}

impl Look {
    /// The mappings of files that have the name of a store's file, by ascending address; none if
    /// this process may not inspect that one, or it has ended.
    pub(crate) fn at(&mut self, pid: u32) -> Vec<Part> {
        let Ok(maps) = File::open(format!("/proc/{pid}/maps")) else {
            return Vec::new();
        };
        self.ask(&maps).unwrap_or_else(|| read(maps))
    }

    /// The mappings by questions. `None` if only the text has the whole answer.
    pub(crate) fn ask(&mut self, maps: &File) -> Option<Vec<Part>> {
        let (mut parts, mut from) = (Vec::new(), 0);
        while let Some(found) = next(maps, from, SHARED, &mut []).ok()? {
            from = found.end;
            parts.extend(self.path_of(maps, &found)?.map(|path| Part {
                file: found.file(),
                bytes: found.end.saturating_sub(found.start),
                end_in_file: found.offset + found.end.saturating_sub(found.start),
                path: path.to_owned(),
            }));
        }
        // A member whose file system is mounted read-only maps the files privately, and may write
        // their first page.
        from = 0;
        while let Some(found) = next(maps, from, WRITABLE, &mut []).ok()?
            && parts.is_empty()
        {
            from = found.end;
            if self.path_of(maps, &found)?.is_some() {
                return None;
            }
        }
        Some(parts)
    }

    /// The path of a mapped file if it is one of a store; `None` if the kernel does not tell.
    fn path_of(&mut self, maps: &File, found: &Query) -> Option<Option<&str>> {
        let path = match self.paths.entry(found.file()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                // The kernel refuses a path that does not fit.
                let mut path = [0; 4096];
                let again = next(maps, found.start, 0, &mut path).ok()??;
                if again.file() != found.file() {
                    return None;
                }
                // With the zero at its end.
                let len = (again.name_len as usize).saturating_sub(1);
                let path = String::from_utf8_lossy(path.get(..len)?).into_owned();
                place.insert(Some(path).filter(|path| is_of_a_store(path)))
            }
        };
        Some(path.as_deref())
    }
}

/// The mapping of a file with this address, or the next one, if it has this flag; its path goes
/// into `path`.
fn next(
    maps: &File,
    address: u64,
    flag: u64,
    path: &mut [u8],
) -> rustix::io::Result<Option<Query>> {
    let mut query = Query {
        size: size_of::<Query>() as u64,
        wanted: NEXT | OF_FILES | flag,
        address,
        name_len: path.len() as u32,
        ..Query::default()
    };
    if !path.is_empty() {
        query.name = path.as_mut_ptr().expose_provenance() as u64;
    }
    // SAFETY: the opcode is that of PROCMAP_QUERY, whose argument is a `Query`.
    let question = unsafe { Updater::<PROCMAP_QUERY, Query>::new(&mut query) };
    // SAFETY: the kernel writes the query, and no more than `name_len` of the bytes that it points
    // to; both outlive the call.
    match unsafe { ioctl(maps, question) } {
        Ok(()) => Ok(Some(query)),
        // No mapping follows, or the process has ended.
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The mappings by the text.
pub(crate) fn read(mut maps: File) -> Vec<Part> {
    let mut text = Vec::new();
    if maps.read_to_end(&mut text).is_err() {
        return Vec::new();
    }
    // Paths need not be UTF-8.
    let text = String::from_utf8_lossy(&text);
    text.lines().filter_map(parse).collect()
}

/// `7f00-7f01 rw-s 00000000 00:1c 12    /dev/shm/ndshm-0/run/xs.ndshm`
fn parse(line: &str) -> Option<Part> {
    let path = &line[line.find('/')?..];
    if !is_of_a_store(path) {
        return None;
    }
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let bytes = hex(end)?.checked_sub(hex(start)?)?;
    let offset = hex(words.nth(1)?)?;
    let (major, minor) = words.next()?.split_once(':')?;
    let device = rustix::fs::makedev(hex(major)? as u32, hex(minor)? as u32);
    Some(Part {
        file: (device, words.next()?.parse().ok()?),
        bytes,
        end_in_file: offset + bytes,
        path: path.to_owned(),
    })
}

fn is_of_a_store(path: &str) -> bool {
    [".ndshm", "/.lock", ".ndshm (deleted)"]
        .iter()
        .any(|end| path.ends_with(end))
}

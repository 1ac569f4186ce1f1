//! The files that processes have mapped, from /proc. It shows no processes of other users, which
//! cannot have a store of this user open.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// A file by its device and inode.
pub(crate) type FileId = (u64, u64);

/// A process that has a file mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) pid: u32,
    /// Bytes of its address space: of all mappings of the file together.
    pub(crate) bytes: u64,
}

/// An array file without a name, which processes still have mapped.
#[derive(Clone, Debug)]
pub(crate) struct Unlinked {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) pids: Vec<u32>,
}

/// All processes that had files of stores mapped at the time of the survey.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    by_file: HashMap<FileId, Vec<Mapped>>,
    commands: HashMap<u32, String>,
    unlinked: BTreeMap<FileId, Unlinked>,
}

impl Processes {
    /// Reads the maps of all processes that this one may inspect, except its own.
    pub(crate) fn look() -> Self {
        let mut processes = Self::default();
        let own = std::process::id();
        let pids = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        for pid in pids.filter(|pid| *pid != own) {
            // Paths need not be UTF-8.
            let Ok(maps) = fs::read(format!("/proc/{pid}/maps")) else {
                continue;
            };
            String::from_utf8_lossy(&maps)
                .lines()
                .filter_map(Line::parse)
                .for_each(|line| processes.note(pid, line));
        }
        processes
    }

    fn note(&mut self, pid: u32, line: Line<'_>) {
        let mapped = self.by_file.entry(line.file).or_default();
        match mapped.last_mut() {
            Some(last) if last.pid == pid => last.bytes += line.bytes,
            _ => mapped.push(Mapped {
                pid,
                bytes: line.bytes,
            }),
        }
        if let Some(path) = line
            .path
            .strip_suffix(" (deleted)")
            .filter(|path| path.ends_with(".ndshm"))
        {
            let unlinked = self.unlinked.entry(line.file).or_insert_with(|| Unlinked {
                path: path.into(),
                bytes: 0,
                pids: Vec::new(),
            });
            // Parts of one mapping have different rights, so the end of the last part gives the
            // length of the file.
            unlinked.bytes = unlinked.bytes.max(line.end_in_file);
            if unlinked.pids.last() != Some(&pid) {
                unlinked.pids.push(pid);
            }
        }
        self.commands.entry(pid).or_insert_with(|| command(pid));
    }

    /// The processes that have this file mapped.
    pub(crate) fn of(&self, metadata: &fs::Metadata) -> &[Mapped] {
        self.by_file
            .get(&(metadata.dev(), metadata.ino()))
            .map_or(&[], Vec::as_slice)
    }

    /// The name of a process's program.
    pub(crate) fn command(&self, pid: u32) -> &str {
        self.commands.get(&pid).map_or("", String::as_str)
    }

    /// Arrays that were released, or whose store was deleted, and that are still mapped.
    pub(crate) fn unlinked(&self, root: &Path) -> Vec<Unlinked> {
        self.unlinked
            .values()
            .filter(|unlinked| unlinked.path.starts_with(root))
            .cloned()
            .collect()
    }

    /// The process of each member of the store with this lock file. The kernel lists a process's
    /// byte locks with its descriptors.
    pub(crate) fn members(&self, lock: &Path) -> HashMap<u64, u32> {
        let Ok(metadata) = fs::metadata(lock) else {
            return HashMap::new();
        };
        let mut members = HashMap::new();
        for Mapped { pid, .. } in self.of(&metadata) {
            for entry in fs::read_dir(format!("/proc/{pid}/fd"))
                .into_iter()
                .flatten()
                .flatten()
            {
                if fs::metadata(entry.path()).is_ok_and(|found| {
                    (found.dev(), found.ino()) == (metadata.dev(), metadata.ino())
                }) {
                    let info =
                        format!("/proc/{pid}/fdinfo/{}", entry.file_name().to_string_lossy());
                    members.extend(
                        locked_members(&fs::read_to_string(info).unwrap_or_default())
                            .map(|member| (member, *pid)),
                    );
                }
            }
        }
        members
    }
}

/// The offset of the members' byte locks: see docs/format.md, "The store".
const MEMBER_LOCKS_AT: u64 = 1 << 32;

/// The members whose byte locks a descriptor's `fdinfo` lists:
/// `lock: 1: OFDLCK ADVISORY WRITE -1 00:1c:2 4294967297 4294967297`.
fn locked_members(info: &str) -> impl Iterator<Item = u64> + '_ {
    let bounds = info
        .lines()
        .filter(|line| line.starts_with("lock:") && line.contains("OFDLCK"))
        .filter_map(|line| {
            let mut words = line.split_whitespace().rev();
            let (end, start) = (
                words.next()?.parse::<u64>().ok()?,
                words.next()?.parse::<u64>().ok()?,
            );
            Some((
                start.checked_sub(MEMBER_LOCKS_AT)?,
                end.checked_sub(MEMBER_LOCKS_AT)?,
            ))
        });
    bounds.flat_map(|(start, end)| (start..=end).take(1024))
}

fn command(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

/// A line of a process's maps for a file of a store.
struct Line<'a> {
    file: FileId,
    bytes: u64,
    end_in_file: u64,
    path: &'a str,
}

impl<'a> Line<'a> {
    /// `7f00-7f01 rw-s 00000000 00:1c 12    /dev/shm/ndshm-0/run/xs.ndshm`
    fn parse(line: &'a str) -> Option<Self> {
        let path = &line[line.find('/')?..];
        if !path.ends_with(".ndshm")
            && !path.ends_with("/.lock")
            && !path.ends_with(".ndshm (deleted)")
        {
            return None;
        }
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let bytes = hex(end)?.checked_sub(hex(start)?)?;
        let offset = hex(words.nth(1)?)?;
        let (major, minor) = words.next()?.split_once(':')?;
        let device = rustix::fs::makedev(hex(major)? as u32, hex(minor)? as u32);
        Some(Self {
            file: (device, words.next()?.parse().ok()?),
            bytes,
            end_in_file: offset + bytes,
            path,
        })
    }
}

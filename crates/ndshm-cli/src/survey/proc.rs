//! The files that processes have mapped, from /proc. It shows no processes of other users, which
//! cannot have a store of this user open.

use super::maps::{FileId, Look, Part};
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fs,
    num::NonZero,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    vec::IntoIter,
};

/// The most threads that look at processes, and the processes for which one more is started.
const MOST_THREADS: usize = 8;
const PROCESSES_OF_A_THREAD: usize = 200;

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
    /// Read when they are first shown.
    commands: RefCell<HashMap<u32, String>>,
    unlinked: BTreeMap<FileId, Unlinked>,
}

impl Processes {
    /// Looks at the mappings of all processes that this one may inspect, except its own.
    pub(crate) fn look() -> Self {
        let own = std::process::id();
        let mut pids: Vec<u32> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| *pid != own)
            .collect();
        pids.sort_unstable();
        let threads = thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(1 + pids.len() / PROCESSES_OF_A_THREAD)
            .min(MOST_THREADS);
        let mut processes = Self::default();
        thread::scope(|scope| {
            let parts_of = |pids: &[u32]| -> Vec<_> {
                let mut look = Look::default();
                pids.iter().map(|&pid| (pid, look.at(pid))).collect()
            };
            let shares: Vec<_> = pids
                .chunks(pids.len().div_ceil(threads).max(1))
                .map(|share| scope.spawn(move || parts_of(share)))
                .collect();
            let found = shares.into_iter().filter_map(|share| share.join().ok());
            for (pid, parts) in found.flatten() {
                parts.into_iter().for_each(|part| processes.note(pid, part));
            }
        });
        processes
    }

    fn note(&mut self, pid: u32, part: Part) {
        let mapped = self.by_file.entry(part.file).or_default();
        match mapped.last_mut() {
            Some(last) if last.pid == pid => last.bytes += part.bytes,
            _ => mapped.push(Mapped {
                pid,
                bytes: part.bytes,
            }),
        }
        if let Some(path) = part
            .path
            .strip_suffix(" (deleted)")
            .filter(|path| path.ends_with(".ndshm"))
        {
            let unlinked = self.unlinked.entry(part.file).or_insert_with(|| Unlinked {
                path: path.into(),
                bytes: 0,
                pids: Vec::new(),
            });
            // Parts of one mapping have different rights, so the end of the last part gives the
            // length of the file.
            unlinked.bytes = unlinked.bytes.max(part.end_in_file);
            if unlinked.pids.last() != Some(&pid) {
                unlinked.pids.push(pid);
            }
        }
    }

    /// The processes that have this file mapped.
    pub(crate) fn of(&self, metadata: &fs::Metadata) -> &[Mapped] {
        self.by_file
            .get(&(metadata.dev(), metadata.ino()))
            .map_or(&[], Vec::as_slice)
    }

    /// The name of a process's program.
    pub(crate) fn command(&self, pid: u32) -> String {
        let mut commands = self.commands.borrow_mut();
        commands.entry(pid).or_insert_with(|| command(pid)).clone()
    }

    /// Arrays that were released, or whose store was deleted, and that are still mapped.
    pub(crate) fn unlinked(&self, root: &Path) -> Vec<Unlinked> {
        self.unlinked
            .values()
            .filter(|unlinked| unlinked.path.starts_with(root))
            .cloned()
            .collect()
    }

    /// The processes of the members of the store with this lock file.
    pub(crate) fn members(&self, lock: &Path) -> Members {
        let metadata = fs::metadata(lock).ok();
        let mapped = metadata.iter().flat_map(|metadata| self.of(metadata));
        let rest: Vec<_> = mapped.map(|mapped| mapped.pid).collect();
        Members(RefCell::new(Search {
            lock: metadata.map(|metadata| (metadata.dev(), metadata.ino())),
            found: HashMap::new(),
            rest: rest.into_iter(),
        }))
    }
}

/// The processes of the members of a store. A look at one process takes tens of microseconds, so
/// each is looked at when a member is asked for that was not found before it.
#[derive(Debug)]
pub(crate) struct Members(RefCell<Search>);

#[derive(Debug)]
struct Search {
    lock: Option<FileId>,
    found: HashMap<u64, u32>,
    /// The processes that have the lock file mapped and were not looked at.
    rest: IntoIter<u32>,
}

impl Members {
    /// The process of a living member, if /proc shows it.
    pub(crate) fn process_of(&self, member: u64) -> Option<u32> {
        let search = &mut *self.0.borrow_mut();
        loop {
            if let Some(&pid) = search.found.get(&member) {
                return Some(pid);
            }
            let (pid, lock) = (search.rest.next()?, search.lock?);
            search.found.extend(
                members_of(pid, lock)
                    .into_iter()
                    .map(|member| (member, pid)),
            );
        }
    }
}

/// The members of the store with this lock file that a process is. The kernel lists a process's
/// byte locks with its descriptors.
fn members_of(pid: u32, lock: FileId) -> Vec<u64> {
    let mut members = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let is_lock =
            fs::metadata(entry.path()).is_ok_and(|found| (found.dev(), found.ino()) == lock);
        if is_lock {
            let info = format!("/proc/{pid}/fdinfo/{}", entry.file_name().to_string_lossy());
            members.extend(locked_members(
                &fs::read_to_string(info).unwrap_or_default(),
            ));
        }
    }
    members
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

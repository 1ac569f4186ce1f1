//! Facts about this process that the kernel knows: its rights, its limits, random bytes.
//!
//! One of the modules with unsafe code: `getauxval`, `getrlimit` and the mask of signals are calls
//! of libc, because rustix lacks the first and the last, and takes the second for one that cannot
//! fail.

use crate::sys::{fork, region::Region};
use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    mem::MaybeUninit,
    os::unix::fs::MetadataExt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};
use uuid::Uuid;

/// An environment variable, unless it is empty.
///
/// A process that runs with raised rights (setuid, setgid, file capabilities) believes none: its
/// caller, which has fewer rights, chose them. Programs and directories that such a process uses
/// come from its own code only.
pub fn trusted_variable(name: &str) -> Option<OsString> {
    if has_raised_rights() {
        return None;
    }
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Whether the kernel started this program with more rights than its caller has (AT_SECURE,
/// getauxval(3)).
pub(crate) fn has_raised_rights() -> bool {
    // SAFETY: getauxval only reads the auxiliary vector of this process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Bytes that a file written by this process may have (RLIMIT_FSIZE); none where there is no limit.
///
/// Exceeding it is a signal, so it is asked for before. A sandbox that refuses the question counts
/// as one without a limit.
pub(crate) fn file_size_limit() -> Option<u64> {
    // SAFETY: the pointer is to a valid rlimit, which the call fills or leaves as it is.
    limit_by(|limit| unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, limit) })
}

/// Bytes that this process may map (RLIMIT_AS); none where there is no limit.
pub(crate) fn address_space_limit() -> Option<u64> {
    // SAFETY: as above.
    limit_by(|limit| unsafe { libc::getrlimit(libc::RLIMIT_AS, limit) })
}

fn limit_by(ask: impl FnOnce(&mut libc::rlimit) -> libc::c_int) -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    let answer = ask(&mut limit);
    (answer == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Blocks all signals in this thread: they go to the threads of the program.
pub(crate) fn block_signals() {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is to a set of signals, which the call fills.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set is filled; it changes the mask of this thread alone.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut()) };
}

/// The id of this process. The kernel is asked once: a child asks anew.
pub(crate) fn id() -> u32 {
    /// The fork generation that asked, and the id in the lower half; 0 before.
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    let generation = fork::generation() + 1;
    let known = KNOWN.load(Relaxed);
    if known >> 32 == generation & 0xffff_ffff {
        return known as u32;
    }
    fork::count_forks();
    let id = std::process::id();
    KNOWN.store(generation << 32 | u64::from(id), Relaxed);
    id
}

/// Bits of a process's number that are its pid: the kernel gives no higher ones.
const PID_BITS: u32 = 22;

/// A number for this process among those of the machine: its pid in its own pid namespace, and
/// above it some bits of that namespace's inode.
pub(crate) fn number() -> u32 {
    namespace() << PID_BITS | std::process::id() & ((1 << PID_BITS) - 1)
}

/// The pid in a process's number, if it has a meaning in this process: if the namespace is the
/// same.
pub(crate) fn pid_of(number: u32) -> Option<u32> {
    pids_here()(number)
}

/// [`pid_of`] for many numbers: it asks for the namespace of this process once.
pub(crate) fn pids_here() -> impl Fn(u32) -> Option<u32> {
    let own = namespace();
    move |number| (number >> PID_BITS == own).then_some(number & ((1 << PID_BITS) - 1))
}

/// The command of a process, its arguments separated by spaces.
pub(crate) fn command_of(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    let text: String = text
        .trim()
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(200)
        .collect();
    (!text.is_empty()).then_some(text)
}

/// Ten bits of the inode of this process's pid namespace.
fn namespace() -> u32 {
    // A process keeps its namespace, and its children are made in the same one unless it asked for
    // another: then they see another number.
    let inode = fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino());
    (inode ^ inode >> 10 ^ inode >> 20) as u32 & 0x3ff
}

/// A file that is written from its start, within the limit on the size of files of this process:
/// the kernel would answer a larger file by a signal that ends the process.
pub(crate) struct Bounded<'a> {
    file: &'a mut File,
    at: u64,
    limit: Option<u64>,
}

impl<'a> Bounded<'a> {
    pub(crate) fn new(file: &'a mut File) -> Self {
        let limit = file_size_limit();
        Self { file, at: 0, limit }
    }

    /// The same for an open end: a file that is written from its end, or a pipe or a device, which
    /// has no limit.
    pub(crate) fn at_end(file: &'a mut File) -> io::Result<Self> {
        let found = file.metadata()?;
        let limit = if found.is_file() {
            file_size_limit()
        } else {
            None
        };
        let at = found.len();
        Ok(Self { file, at, limit })
    }

    /// The place of the next `len` bytes, and passes over them; `None` where the limit does not
    /// allow them all. With `sums`, their CRC-32 is counted.
    pub(crate) fn region(&mut self, len: usize, sums: bool) -> io::Result<Option<Region<'_>>> {
        let (start, end) = (self.at, self.at.saturating_add(len as u64));
        if self.limit.is_some_and(|limit| end > limit) {
            return Ok(None);
        }
        self.seek(SeekFrom::Start(end))?;
        Ok(Some(Region::new(self.file, start, len, sums)))
    }
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self
            .limit
            .map_or(u64::MAX, |limit| limit.saturating_sub(self.at));
        if left == 0 && !bytes.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!(
                    "this process may not write a file of more than {} bytes: raise the limit \
                     (ulimit -f)",
                    self.at
                ),
            ));
        }
        let fitting = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let written = self.file.write(&bytes[..fitting])?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Bounded<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.file.seek(to)?;
        Ok(self.at)
    }
}

/// Random bytes of the kernel that were not given yet.
struct Random {
    bytes: [u8; STOCK],
    left: usize,
    /// The fork generation that asked for them: a child gives none that its parent may give too.
    generation: u64,
}

/// Bytes that are asked for at once: getrandom gives so many whole.
const STOCK: usize = 256;

static RANDOM: fork::Mutex<Random> = fork::Mutex::new(Random {
    bytes: [0; STOCK],
    left: 0,
    generation: 0,
});

/// Random bytes.
fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let generation = fork::generation();
    let stocked = || {
        let mut random = RANDOM.lock();
        let left = random.left.checked_sub(N)?;
        if random.generation != generation {
            return None;
        }
        random.left = left;
        random.bytes[left..].first_chunk::<N>().copied()
    };
    if let Some(bytes) = stocked() {
        return Ok(bytes);
    }
    fork::count_forks();
    let bytes: [u8; STOCK] = fresh_random_bytes()?;
    let mut random = RANDOM.lock();
    let (own, rest) = bytes.split_at(N);
    random.bytes[..rest.len()].copy_from_slice(rest);
    (random.left, random.generation) = (rest.len(), generation);
    let mut given = [0; N];
    given.copy_from_slice(own);
    Ok(given)
}

/// Random bytes from the kernel: by getrandom, and by /dev/urandom where a sandbox refuses that.
fn fresh_random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        // Up to 256 bytes come whole, random(4).
        Ok(len) if len == N => return Ok(bytes),
        _ => File::open("/dev/urandom")?.read_exact(&mut bytes)?,
    }
    Ok(bytes)
}

/// A UUID of this moment and of 74 random bits (version 7), whose first bytes are the time, without
/// the panic of `Uuid::new_v7` where the kernel gives no random bytes.
pub(crate) fn time_ordered_uuid() -> io::Result<Uuid> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let millis = now.as_millis() as u64;
    random_bytes()
        .map(|random| uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}

/// A random UUID, without the panic of `Uuid::new_v4` where the kernel gives no random bytes.
pub(crate) fn random_uuid() -> io::Result<Uuid> {
    random_bytes().map(|random| uuid::Builder::from_random_bytes(random).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_differ() {
        let (first, second): ([u8; 16], [u8; 16]) =
            (random_bytes().unwrap(), random_bytes().unwrap());
        assert_ne!(first, second);
    }
}

//! The lock file of a store: its page of shared words, and the kernel's locks that say who lives.
//!
//! The only caller of flock and of byte-range locks. Byte locks are those of open file descriptions (F_OFD_SETLK): they vanish with
//! the last descriptor of the description that took them, and with nothing else.
//!
//! One of the modules with unsafe code: libc's `fcntl` is the only way to those locks.

use crate::format::*;
use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
};
use uuid::Uuid;

/// No process has more ids in a row; other programs may lock as many bytes as they want.
const MOST_IN_A_ROW: usize = 1024;
/// The store stays when its processes are gone.
const FLAG_PERSISTENT: u32 = 1;
/// The store is being deleted: nothing may be created or opened.
const FLAG_CLOSING: u32 = 2;

/// The lock file's page as it is mapped.
#[repr(C)]
pub(crate) struct LockPage {
    magic: AtomicU64,
    version: AtomicU32,
    endian: AtomicU32,
    next_member: AtomicU64,
    pub(crate) owner: AtomicU64,
    flags: AtomicU32,
    zero: AtomicU32,
    uuid: [AtomicU64; 2],
    boot: [AtomicU64; 2],
}

const _: () = assert!(size_of::<LockPage>() == 72);

impl LockPage {
    /// The bytes of a new lock file. Its first member will have id 1, and is its owner unless the store is persistent.
    pub(crate) fn initial(uuid: Uuid, boot: Uuid, persistent: bool) -> [u8; LOCK_LEN] {
        let mut page = [0; LOCK_LEN];
        let mut put = |at: usize, value: &[u8]| page[at..at + value.len()].copy_from_slice(value);
        put(0, &LOCK_MAGIC);
        put(8, &LOCK_VERSION.to_ne_bytes());
        put(12, &ENDIAN_PROBE.to_ne_bytes());
        put(16, &1u64.to_ne_bytes());
        put(24, &u64::from(!persistent).to_ne_bytes());
        put(32, &(if persistent { FLAG_PERSISTENT } else { 0 }).to_ne_bytes());
        put(40, uuid.as_bytes());
        put(56, boot.as_bytes());
        page
    }

    /// Why this is not a lock file that this library can use, if so.
    pub(crate) fn defect(&self) -> Option<&'static str> {
        let (magic, version, endian) = (self.magic.load(SeqCst), self.version.load(SeqCst), self.endian.load(SeqCst));
        match () {
            () if magic.to_ne_bytes() != LOCK_MAGIC => Some("its .lock is not a lock file of a store"),
            () if endian != ENDIAN_PROBE => Some("the store was made on a machine of another byte order"),
            () if version != LOCK_VERSION => Some("the store was made by a later version of this library: update ndshm"),
            () => None,
        }
    }

    /// The same for the bytes of a lock file.
    pub(crate) fn defect_of(page: &[u8; LOCK_LEN]) -> Option<&'static str> {
        let part = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| page[at + i]));
        let magic = AtomicU64::new(u64::from_ne_bytes(std::array::from_fn(|i| page[i])));
        let (version, endian) = (AtomicU32::new(part(8)), AtomicU32::new(part(12)));
        let zero = || [AtomicU64::new(0), AtomicU64::new(0)];
        let (next_member, owner, flags) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU32::new(0));
        LockPage { magic, version, endian, next_member, owner, flags, zero: AtomicU32::new(0), uuid: zero(), boot: zero() }.defect()
    }

    pub(crate) fn uuid(&self) -> Uuid {
        load_uuid(&self.uuid)
    }

    pub(crate) fn is_persistent(&self) -> bool {
        self.flags.load(SeqCst) & FLAG_PERSISTENT != 0
    }

    pub(crate) fn set_persistent(&self) {
        self.flags.fetch_or(FLAG_PERSISTENT, SeqCst);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.flags.load(SeqCst) & FLAG_CLOSING != 0
    }

    /// Marks the store as closing; false where it was already.
    pub(crate) fn set_closing(&self) -> bool {
        self.flags.fetch_or(FLAG_CLOSING, SeqCst) & FLAG_CLOSING == 0
    }

    /// A member id that nobody had before.
    pub(crate) fn next_member(&self) -> Option<u64> {
        Some(self.next_member.fetch_add(1, SeqCst)).filter(|id| (1..MAX_MEMBER).contains(id))
    }

    /// Whether nobody joined since the machine was started with this boot id.
    pub(crate) fn is_of_another_boot(&self, boot: Uuid) -> bool {
        load_uuid(&self.boot) != boot
    }

    /// Notes the boot. Ids of members that the disk never heard of are stepped over. The caller holds the names lock.
    pub(crate) fn note_boot(&self, boot: Uuid) {
        if self.is_of_another_boot(boot) {
            self.next_member.fetch_add(BOOT_STEP, SeqCst);
            let (first, second) = boot.as_u64_pair();
            self.boot[0].store(u64::from_ne_bytes(first.to_be_bytes()), SeqCst);
            self.boot[1].store(u64::from_ne_bytes(second.to_be_bytes()), SeqCst);
        }
    }
}

fn load_uuid(words: &[AtomicU64; 2]) -> Uuid {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&words[0].load(SeqCst).to_ne_bytes());
    bytes[8..].copy_from_slice(&words[1].load(SeqCst).to_ne_bytes());
    Uuid::from_bytes(bytes)
}

/// Takes flock shared without waiting; false where somebody holds it exclusively.
pub(crate) fn try_share(file: &File) -> io::Result<bool> {
    contended(fs2::FileExt::try_lock_shared(file))
}

/// Takes flock exclusively without waiting; false where somebody else holds it. On a fresh descriptor only.
pub(crate) fn try_exclude(file: &File) -> io::Result<bool> {
    contended(fs2::FileExt::try_lock_exclusive(file))
}

/// Takes flock exclusively, and waits for it. On a fresh descriptor only.
pub(crate) fn exclude(file: &File) -> io::Result<()> {
    loop {
        match fs2::FileExt::lock_exclusive(file) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Takes the byte lock that says that this member lives, without waiting; false where another one has it.
pub(crate) fn try_live(file: &File, member: u64) -> io::Result<bool> {
    set(file, libc::F_OFD_SETLK, libc::F_WRLCK, MEMBER_LOCKS_AT + member)
}

/// Whether another open file description holds the byte lock of this member. Never asked about oneself: the kernel would say no.
/// What is not a member id has never lived.
pub(crate) fn is_alive(file: &File, member: u64) -> io::Result<bool> {
    if !(1..MAX_MEMBER).contains(&member) {
        return Ok(false);
    }
    let mut lock = byte(libc::F_WRLCK, MEMBER_LOCKS_AT + member);
    // SAFETY: F_OFD_GETLK reads and writes the flock it is given, which is a valid one with a pid of zero; the descriptor is open.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(i32::from(lock.l_type) != libc::F_UNLCK),
    }
}

/// The members whose byte locks somebody holds, by growing id. `file` must hold none itself: the kernel does not tell of a description's own locks.
pub(crate) fn living(file: &File) -> io::Result<Vec<u64>> {
    let mut living = Vec::new();
    // Parts of the ids that nobody asked about yet; a lock that is found leaves one on each side.
    let mut parts = vec![(1, MAX_MEMBER)];
    while let Some((first, behind)) = parts.pop() {
        if first >= behind {
            continue;
        }
        let mut lock = byte(libc::F_WRLCK, MEMBER_LOCKS_AT + first);
        lock.l_len = (behind - first) as i64;
        // SAFETY: as in `is_alive`.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } == -1 {
            return Err(io::Error::last_os_error());
        }
        if i32::from(lock.l_type) == libc::F_UNLCK {
            continue;
        }
        // Locks of neighbours that one process holds come as one.
        let start = (lock.l_start as u64).saturating_sub(MEMBER_LOCKS_AT).clamp(first, behind);
        let end = start.saturating_add(if lock.l_len == 0 { u64::MAX } else { lock.l_len as u64 }).min(behind);
        living.extend((start..end).take(MOST_IN_A_ROW));
        parts.push((first, start));
        parts.push((end, behind));
    }
    living.sort_unstable();
    Ok(living)
}

/// Takes the names lock, waiting for it where `wait`; false where it did not wait and somebody has it.
pub(crate) fn lock_names(file: &File, wait: bool) -> io::Result<bool> {
    set(file, if wait { libc::F_OFD_SETLKW } else { libc::F_OFD_SETLK }, libc::F_WRLCK, NAMES_LOCK_AT)
}

/// Gives the names lock back.
pub(crate) fn unlock_names(file: &File) -> io::Result<()> {
    set(file, libc::F_OFD_SETLK, libc::F_UNLCK, NAMES_LOCK_AT).map(|_| ())
}

fn contended(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => Ok(false),
        Err(error) => Err(error),
    }
}

fn set(file: &File, command: i32, kind: i32, at: u64) -> io::Result<bool> {
    let lock = byte(kind, at);
    loop {
        // SAFETY: the F_OFD_SETLK commands read the flock they are given, which is a valid one with a pid of zero; the descriptor is open.
        if unsafe { libc::fcntl(file.as_raw_fd(), command, &raw const lock) } != -1 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EAGAIN | libc::EACCES) => return Ok(false),
            _ => return Err(error),
        }
    }
}

fn byte(kind: i32, at: u64) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: at as i64, l_len: 1, l_pid: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_words_where_the_format_says() {
        let uuid = Uuid::from_bytes([7; 16]);
        let page = LockPage::initial(uuid, Uuid::from_bytes([9; 16]), false);
        assert_eq!(&page[..8], b"ndshmlck");
        assert_eq!((&page[16..24], &page[24..32]), (&1u64.to_ne_bytes()[..], &1u64.to_ne_bytes()[..]));
        assert_eq!((&page[40..56], &page[56..72]), (&[7; 16][..], &[9; 16][..]));
        assert_eq!(std::mem::offset_of!(LockPage, flags), 32);
        assert_eq!(std::mem::offset_of!(LockPage, uuid), 40);
    }

    #[test]
    fn a_byte_lock_is_seen_through_another_description_and_goes_with_its_own() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().read(true).write(true).open(path.path()).unwrap();
        let (mine, other) = (open(), open());
        assert!(try_live(&mine, 5).unwrap());
        assert!(is_alive(&other, 5).unwrap() && !is_alive(&other, 6).unwrap());
        assert!(!try_live(&other, 5).unwrap());
        drop(mine);
        assert!(!is_alive(&other, 5).unwrap());
    }

    #[test]
    fn all_members_that_live_are_found_and_none_that_does_not() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().read(true).write(true).open(path.path()).unwrap();
        // Neighbours of one process come as one lock; the first and the last id are members too.
        let (first, second, third) = (open(), open(), open());
        [7, 8, 9, MAX_MEMBER - 1].into_iter().for_each(|id| assert!(try_live(&first, id).unwrap()));
        [1, 10, 500].into_iter().for_each(|id| assert!(try_live(&second, id).unwrap()));
        assert!(lock_names(&third, false).unwrap());
        assert_eq!(living(&open()).unwrap(), [1, 7, 8, 9, 10, 500, MAX_MEMBER - 1]);
        drop(first);
        assert_eq!(living(&open()).unwrap(), [1, 10, 500]);
    }
}

//! The page of shared words in a store's lock file, as it is mapped.
//!
//! One of the modules with unsafe code: it promises that the page consists of atomics.

use crate::{
    error::{Error, Result},
    format::{
        constants::*,
        words::{self, flags},
    },
    store::lock_snapshot,
    sys::mapping::{Atomics, Mapping},
};
use std::{
    mem::offset_of,
    path::Path,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
};
use uuid::Uuid;

/// The lock file's page as it is mapped.
#[repr(C)]
pub(crate) struct LockPage {
    magic: AtomicU64,
    version: AtomicU32,
    endian: AtomicU32,
    next_member: AtomicU64,
    /// The member that deletes the store when it ends; 0 if it is persistent.
    pub(crate) owner: AtomicU64,
    flags: AtomicU32,
    zero: AtomicU32,
    uuid: [AtomicU64; 2],
    boot: [AtomicU64; 2],
    /// Lanes whose pages exist: only ever raised.
    lanes: AtomicU32,
    zero_too: AtomicU32,
    /// Raised when an array gets its name: by a hash of the name.
    published: [AtomicU32; PUBLISHED],
}

const _: () = {
    assert!(offset_of!(LockPage, lanes) == LOCK_LANES_AT);
    assert!(offset_of!(LockPage, zero_too) == LOCK_ZERO_TOO_AT);
    assert!(offset_of!(LockPage, published) == LOCK_PUBLISHED_AT);
    assert!(size_of::<LockPage>() == LOCK_END);
    assert!(offset_of!(LockPage, magic) == 0);
    assert!(offset_of!(LockPage, version) == LOCK_VERSION_AT);
    assert!(offset_of!(LockPage, endian) == LOCK_ENDIAN_AT);
    assert!(offset_of!(LockPage, next_member) == LOCK_NEXT_MEMBER_AT);
    assert!(offset_of!(LockPage, owner) == LOCK_OWNER_AT);
    assert!(offset_of!(LockPage, flags) == LOCK_FLAGS_AT);
    assert!(offset_of!(LockPage, zero) == LOCK_ZERO_AT);
    assert!(offset_of!(LockPage, uuid) == LOCK_UUID_AT);
    assert!(offset_of!(LockPage, boot) == LOCK_BOOT_AT);
};

impl LockPage {
    /// The bytes of a new lock file. Its first member will have id 1, and is its owner unless the
    /// store is persistent.
    pub(crate) fn initial(uuid: Uuid, boot: Option<Uuid>, persistent: bool) -> [u8; LOCK_LEN] {
        let flags = flags::encode(if persistent { flags::PERSISTENT } else { 0 });
        let mut page = [0; LOCK_LEN];
        let mut put = |at: usize, value: &[u8]| page[at..at + value.len()].copy_from_slice(value);
        put(0, &LOCK_MAGIC);
        put(LOCK_VERSION_AT, &LOCK_VERSION.to_ne_bytes());
        put(LOCK_ENDIAN_AT, &ENDIAN_PROBE.to_ne_bytes());
        put(LOCK_NEXT_MEMBER_AT, &words::seal(1).to_ne_bytes());
        put(LOCK_OWNER_AT, &u64::from(!persistent).to_ne_bytes());
        put(LOCK_FLAGS_AT, &flags.to_ne_bytes());
        put(LOCK_UUID_AT, uuid.as_bytes());
        put(LOCK_BOOT_AT, boot.unwrap_or_default().as_bytes());
        put(LOCK_LANES_AT, &(FIRST_LANES as u32).to_ne_bytes());
        page
    }

    /// Why this library cannot use the lock file, if so.
    pub(crate) fn defect(&self) -> Option<&'static str> {
        lock_snapshot::defect(
            self.magic.load(SeqCst).to_ne_bytes(),
            self.version.load(SeqCst),
            self.endian.load(SeqCst),
        )
    }

    pub(crate) fn uuid(&self) -> Uuid {
        load_uuid(&self.uuid)
    }

    /// The flags; `None` if the word is damaged.
    fn flags(&self) -> Option<u8> {
        flags::decode(self.flags.load(SeqCst))
    }

    pub(crate) fn accepts_any_file_system(&self) -> bool {
        self.flags()
            .is_some_and(|flags| flags & flags::ANY_FILE_SYSTEM != 0)
    }

    /// Records that the store may be on any file system. The maker's choice, before any other
    /// process finds the store.
    pub(crate) fn accept_any_file_system(&self) {
        let _ = self.flags.fetch_update(SeqCst, SeqCst, |word| {
            with_flag(word, flags::ANY_FILE_SYSTEM)
        });
    }

    /// An error if the flags are damaged. The store is then neither ephemeral nor closing, so
    /// nothing deletes it.
    pub(crate) fn check_flags(&self, directory: &Path) -> Result<()> {
        match self.flags() {
            Some(_) => Ok(()),
            None => Err(damaged(directory, self.flags.load(SeqCst))),
        }
    }

    pub(crate) fn is_persistent(&self) -> bool {
        lock_snapshot::is_persistent(self.flags())
    }

    /// Makes the store persistent. This also replaces damaged flags.
    pub(crate) fn set_persistent(&self) {
        let _ = self.flags.fetch_update(SeqCst, SeqCst, |word| {
            let flags = flags::decode(word).unwrap_or(0);
            Some(flags::encode(flags | flags::PERSISTENT))
        });
    }

    pub(crate) fn is_closing(&self) -> bool {
        lock_snapshot::is_closing(self.flags())
    }

    /// Marks the store in this directory as closing. Returns false if it was marked before.
    ///
    /// # Errors
    ///
    /// `Untrusted` if the flags are damaged.
    pub(crate) fn set_closing(&self, directory: &Path) -> Result<bool> {
        let before = self
            .flags
            .fetch_update(SeqCst, SeqCst, |word| with_flag(word, flags::CLOSING));
        match before {
            Ok(before) => Ok(!lock_snapshot::is_closing(flags::decode(before))),
            Err(word) => Err(damaged(directory, word)),
        }
    }

    /// The number of lanes in the file. Not to be trusted: see `lane_pool`.
    pub(crate) fn lanes(&self) -> u32 {
        self.lanes.load(SeqCst)
    }

    pub(crate) fn raise_lanes(&self, lanes: u32) {
        self.lanes.fetch_max(lanes, SeqCst);
    }

    /// The word that is raised when an array gets this path, or another one in the store whose file
    /// name has the same hash.
    pub(crate) fn published(&self, path: &Path) -> &AtomicU32 {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        // FNV-1a: every process must compute the same.
        let hash = name.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        &self.published[(hash % PUBLISHED as u64) as usize]
    }

    /// A member id that no process had before. One damaged bit of the counter is corrected by this;
    /// where more are damaged, no process joins.
    pub(crate) fn next_member(&self) -> Option<u64> {
        self.advance(1)
    }

    /// Adds to the counter of member ids, and returns the id before that.
    fn advance(&self, step: u64) -> Option<u64> {
        let next = |word| {
            Some(words::seal(
                id_in(word)?.saturating_add(step).min(MAX_MEMBER),
            ))
        };
        let before = self.next_member.fetch_update(SeqCst, SeqCst, next);
        before.ok().and_then(id_in)
    }

    /// Whether perhaps no process joined since the machine was started with this boot id: always
    /// where the kernel does not tell it.
    pub(crate) fn is_of_another_boot(&self, boot: Option<Uuid>) -> bool {
        boot.is_none_or(|boot| load_uuid(&self.boot) != boot)
    }

    /// Notes the boot, and steps over the ids that were given before a crash and may never have
    /// reached the disk. The caller holds the names lock.
    pub(crate) fn note_boot(&self, boot: Option<Uuid>) {
        if self.is_of_another_boot(boot) {
            self.advance(BOOT_STEP);
            let (first, second) = boot.unwrap_or_default().as_u64_pair();
            self.boot[0].store(u64::from_ne_bytes(first.to_be_bytes()), SeqCst);
            self.boot[1].store(u64::from_ne_bytes(second.to_be_bytes()), SeqCst);
        }
    }
}

/// The word of these flags and one more; `None` if it is damaged.
fn with_flag(word: u32, flag: u8) -> Option<u32> {
    Some(flags::encode(flags::decode(word)? | flag))
}

/// The member id in a word, with one damaged bit corrected.
fn id_in(word: u64) -> Option<u64> {
    words::unseal_corrected(word).filter(|id| (1..MAX_MEMBER).contains(id))
}

fn damaged(directory: &Path, word: u32) -> Error {
    Error::Untrusted {
        path: directory.into(),
        reason: format!(
            "the flags {word:#010x} in its .lock are damaged, so nothing deletes the store: \
             Manager::persist writes them anew; then close it, or go on with it"
        ),
    }
}

fn load_uuid(words: &[AtomicU64; 2]) -> Uuid {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&words[0].load(SeqCst).to_ne_bytes());
    bytes[8..].copy_from_slice(&words[1].load(SeqCst).to_ne_bytes());
    Uuid::from_bytes(bytes)
}

// SAFETY: the page is `repr(C)` and consists of atomics of 4 and 8 bytes, for which any bytes are
// valid; the asserted offsets and its size leave no room for padding.
unsafe impl Atomics for LockPage {}

impl Mapping {
    /// The page of a lock file.
    pub(crate) fn lock_page(&self) -> &LockPage {
        self.atomics(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_words_where_the_format_says() {
        let uuid = Uuid::from_bytes([7; 16]);
        let page = LockPage::initial(uuid, Some(Uuid::from_bytes([9; 16])), false);
        assert_eq!(&page[..8], b"ndshmlck");
        assert_eq!(
            (&page[16..24], &page[24..32]),
            (&words::seal(1).to_ne_bytes()[..], &1u64.to_ne_bytes()[..])
        );
        assert_eq!((&page[40..56], &page[56..72]), (&[7; 16][..], &[9; 16][..]));
    }
}

//! The page of shared words in a store's lock file.
//!
//! One of the modules with unsafe code: it promises that the page consists of atomics.

use crate::{
    format::constants::*,
    sys::mapping::{Atomics, Mapping},
};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use uuid::Uuid;

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
        put(
            32,
            &(if persistent { FLAG_PERSISTENT } else { 0 }).to_ne_bytes(),
        );
        put(40, uuid.as_bytes());
        put(56, boot.as_bytes());
        page
    }

    /// Why this is not a lock file that this library can use, if so.
    pub(crate) fn defect(&self) -> Option<&'static str> {
        let (magic, version, endian) = (
            self.magic.load(SeqCst),
            self.version.load(SeqCst),
            self.endian.load(SeqCst),
        );
        match () {
            () if magic.to_ne_bytes() != LOCK_MAGIC => {
                Some("its .lock is not a lock file of a store")
            }
            () if endian != ENDIAN_PROBE => {
                Some("the store was made on a machine of another byte order")
            }
            () if version != LOCK_VERSION => {
                Some("the store was made by a later version of this library: update ndshm")
            }
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
        LockPage {
            magic,
            version,
            endian,
            next_member,
            owner,
            flags,
            zero: AtomicU32::new(0),
            uuid: zero(),
            boot: zero(),
        }
        .defect()
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

// SAFETY: the page consists of atomics of 4 and 8 bytes, for which any bytes are valid, without padding (the size is asserted).
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
        let page = LockPage::initial(uuid, Uuid::from_bytes([9; 16]), false);
        assert_eq!(&page[..8], b"ndshmlck");
        assert_eq!(
            (&page[16..24], &page[24..32]),
            (&1u64.to_ne_bytes()[..], &1u64.to_ne_bytes()[..])
        );
        assert_eq!((&page[40..56], &page[56..72]), (&[7; 16][..], &[9; 16][..]));
        assert_eq!(std::mem::offset_of!(LockPage, flags), 32);
        assert_eq!(std::mem::offset_of!(LockPage, uuid), 40);
    }
}

//! A copy of a store's lock page, and the judgement whether it is one.

use crate::{
    error::{Error, Result},
    format::{
        constants::*,
        words::{self, flags},
    },
    state::snapshot::{LaneSnapshot, long, part, word},
    store::lane_pool::LONGEST,
};
use std::{fs::File, os::unix::fs::FileExt, path::Path};
use uuid::Uuid;

/// The words of a lock page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LockPageSnapshot {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u32,
    pub(crate) endian: u32,
    /// The word with the next member id.
    pub(crate) next_member: u64,
    pub(crate) owner: u64,
    pub(crate) flags: u32,
    pub(crate) uuid: Uuid,
    pub(crate) lanes: u32,
    /// Whether all bytes are zero that the format says are.
    pub(crate) is_zero_elsewhere: bool,
}

impl LockPageSnapshot {
    /// Copies the page of an open lock file.
    pub(crate) fn read(lock: &File, path: &Path) -> Result<Self> {
        let mut page = [0; LOCK_LEN];
        lock.read_exact_at(&mut page, 0)
            .map_err(Error::io(path, "read the lock file"))?;
        Ok(Self::of(&page))
    }

    pub(crate) fn of(page: &[u8; LOCK_LEN]) -> Self {
        Self {
            magic: part(page, 0),
            version: word(page, LOCK_VERSION_AT),
            endian: word(page, LOCK_ENDIAN_AT),
            next_member: long(page, LOCK_NEXT_MEMBER_AT),
            owner: long(page, LOCK_OWNER_AT),
            flags: word(page, LOCK_FLAGS_AT),
            uuid: Uuid::from_bytes(part(page, LOCK_UUID_AT)),
            lanes: word(page, LOCK_LANES_AT),
            is_zero_elsewhere: is_zero(&page[LOCK_ZERO_AT..LOCK_UUID_AT])
                && is_zero(&page[LOCK_ZERO_TOO_AT..LOCK_PUBLISHED_AT])
                && is_zero(&page[LOCK_END..LANES_AT]),
        }
    }

    pub(crate) fn is_persistent(&self) -> bool {
        is_persistent(flags::decode(self.flags))
    }

    pub(crate) fn is_closing(&self) -> bool {
        is_closing(flags::decode(self.flags))
    }

    /// A number above all member ids that were given, as far as the word tells.
    pub(crate) fn member_limit(&self) -> u64 {
        words::unseal_corrected(self.next_member).unwrap_or(MAX_MEMBER)
    }

    /// Why this library cannot use the lock file, if so.
    pub(crate) fn defect(&self) -> Option<&'static str> {
        defect(self.magic, self.version, self.endian)
    }
}

/// Copies the lanes of an open lock file, the free ones too.
pub(crate) fn read_lanes(lock: &File, path: &Path) -> Result<Vec<LaneSnapshot>> {
    let failed = || Error::io(path, "read the lanes of the lock file");
    let len = lock.metadata().map_err(failed())?.len().min(LONGEST as u64) as usize;
    let mut bytes = vec![0; len.saturating_sub(LANES_AT)];
    lock.read_exact_at(&mut bytes, LANES_AT as u64)
        .map_err(failed())?;
    let (lanes, _) = bytes.as_chunks::<LANE_LEN>();
    Ok(lanes.iter().map(LaneSnapshot::of).collect())
}

/// Whether a store with these flags stays. Damaged flags, `None`, delete nothing.
pub(super) fn is_persistent(flags: Option<u8>) -> bool {
    flags.is_none_or(|flags| flags & flags::PERSISTENT != 0)
}

/// Whether a store with these flags is being deleted. Damaged flags, `None`, delete nothing.
pub(super) fn is_closing(flags: Option<u8>) -> bool {
    flags.is_some_and(|flags| flags & flags::CLOSING != 0)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// Why this library cannot use a lock file that begins like this, if so.
pub(super) fn defect(magic: [u8; 8], version: u32, endian: u32) -> Option<&'static str> {
    if magic != LOCK_MAGIC {
        Some("its .lock is not a lock file of a store")
    } else if endian != ENDIAN_PROBE {
        Some("the store was made on a machine of another byte order")
    } else if version != LOCK_VERSION {
        Some("the store was made by a later version of this library: update ndshm")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::lock_page::LockPage;

    #[test]
    fn a_snapshot_has_the_words_of_the_page() {
        let (uuid, boot) = (Uuid::from_bytes([7; 16]), Uuid::from_bytes([9; 16]));
        let mut page = LockPage::initial(uuid, Some(boot), true);
        let found = LockPageSnapshot::of(&page);
        assert_eq!(
            (found.member_limit(), found.owner, found.uuid),
            (1, 0, uuid)
        );
        assert!(found.is_persistent() && !found.is_closing() && found.is_zero_elsewhere);
        assert_eq!(found.defect(), None);
        for at in [
            LOCK_ZERO_AT,
            LOCK_UUID_AT - 1,
            LOCK_ZERO_TOO_AT,
            LOCK_END,
            LANES_AT - 1,
        ] {
            page[at] = 1;
            assert!(!LockPageSnapshot::of(&page).is_zero_elsewhere, "{at}");
            page[at] = 0;
        }
    }

    #[test]
    fn a_page_of_another_kind_order_or_version_is_refused() {
        let page = LockPage::initial(Uuid::nil(), None, false);
        for (at, reason) in [
            (0, "not a lock file"),
            (LOCK_ENDIAN_AT, "another byte order"),
            (LOCK_VERSION_AT, "a later version"),
        ] {
            let mut page = page;
            page[at] ^= 0x40;
            let defect = LockPageSnapshot::of(&page).defect();
            assert!(defect.is_some_and(|defect| defect.contains(reason)), "{at}");
        }
    }
}

//! The lock file, looked at without mapping it.

use super::{Severity, Verification, open, reason_of};
use crate::{
    error::{Error, Result},
    format::constants::*,
    store::{lock_page::LockPage, member_locks, permissions},
};
use std::{fs::File, os::unix::fs::FileExt, path::Path};
use uuid::Uuid;

/// Where the fields of the page stand.
const NEXT_MEMBER_AT: usize = 16;
const OWNER_AT: usize = 24;
const FLAGS_AT: usize = 32;
const ZERO_AT: usize = 36;
const UUID_AT: usize = 40;
const END: usize = 72;

const PERSISTENT: u32 = 1;
const CLOSING: u32 = 2;

/// What the lock file says that the arrays beside it are checked against.
pub(super) struct Store {
    lock: File,
    pub(super) uuid: Uuid,
}

impl Store {
    /// Looks at the lock file in a directory, and notes what is wrong with it. `None` where it is
    /// so wrong that nothing can be compared with it.
    pub(super) fn look(directory: &Path, found: &mut Verification) -> Result<Option<Self>> {
        let path = directory.join(LOCK_NAME);
        let lock = match open(&path) {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                found.note(directory, Severity::Damage, "it has arrays but no .lock: the store is damaged, or the files were copied here");
                return Ok(None);
            }
            Err(error) => {
                found.note(&path, Severity::Damage, error.to_string());
                return Ok(None);
            }
        };
        let len = match permissions::check_file(&lock, &path) {
            Ok(metadata) => metadata.len(),
            Err(error) => {
                found.note(&path, Severity::Damage, reason_of(error));
                return Ok(None);
            }
        };
        if len != LOCK_LEN as u64 {
            found.note(
                &path,
                Severity::Damage,
                format!("it has {len} bytes, a lock file has {LOCK_LEN}"),
            );
            return Ok(None);
        }
        let mut page = [0; LOCK_LEN];
        lock.read_exact_at(&mut page, 0)
            .map_err(Error::io(&path, "read the lock file"))?;
        if let Some(defect) = LockPage::defect_of(&page) {
            found.note(&path, Severity::Damage, defect);
            return Ok(None);
        }
        let (word, long) = (
            |at: usize| u32::from_ne_bytes(part(&page, at)),
            |at: usize| u64::from_ne_bytes(part(&page, at)),
        );
        let (flags, next_member, owner) = (word(FLAGS_AT), long(NEXT_MEMBER_AT), long(OWNER_AT));
        let mut damage = |text: String| found.note(&path, Severity::Damage, text);
        if !(1..MAX_MEMBER).contains(&next_member) {
            damage(format!(
                "the next member id is {next_member}, which is none"
            ));
        }
        if owner >= next_member {
            damage(format!(
                "its owner has the member id {owner}, which was never given"
            ));
        }
        if flags & !(PERSISTENT | CLOSING) != 0 {
            damage(format!(
                "its flags are {flags:#x}, which this library does not know"
            ));
        }
        if word(ZERO_AT) != 0 || page[END..].iter().any(|&byte| byte != 0) {
            damage("bytes that are zero by the format are not".into());
        }
        let uuid = Uuid::from_bytes(part(&page, UUID_AT));
        if uuid.is_nil() {
            damage("the store's id is zero".into());
        }
        let living = member_locks::living(&lock).map_err(Error::io(&path, "ask who lives"))?;
        // Who has joined since the page was read has a higher id, and raised the next one before.
        lock.read_exact_at(&mut page, 0)
            .map_err(Error::io(&path, "read the lock file"))?;
        let next_member = u64::from_ne_bytes(part(&page, NEXT_MEMBER_AT));
        if let Some(member) = living.iter().find(|&&member| member >= next_member) {
            damage(format!("member {member} lives, whose id was never given"));
        }
        if flags & CLOSING != 0 {
            found.note(
                directory,
                Severity::Leftover,
                "it is being deleted; if its closer was killed, a sweep goes on with that",
            );
        } else if flags & PERSISTENT == 0 && living.is_empty() {
            found.note(
                directory,
                Severity::Leftover,
                "all its processes are gone: a sweep deletes it",
            );
        }
        Ok(Some(Self { lock, uuid }))
    }

    pub(super) fn is_alive(&self, member: u64) -> Result<bool> {
        member_locks::is_alive(&self.lock, member)
            .map_err(Error::io(LOCK_NAME, "ask whether a member lives"))
    }

    /// Whether this id was given to a member. Who joined since the last look has raised the next
    /// one.
    pub(super) fn has_given(&self, member: u64) -> Result<bool> {
        if !(1..MAX_MEMBER).contains(&member) {
            return Ok(false);
        }
        let mut next = [0; 8];
        self.lock
            .read_exact_at(&mut next, NEXT_MEMBER_AT as u64)
            .map_err(Error::io(LOCK_NAME, "read the lock file"))?;
        Ok(member < u64::from_ne_bytes(next))
    }
}

fn part<const N: usize>(page: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| page[at + i])
}

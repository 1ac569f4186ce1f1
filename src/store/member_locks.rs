//! Byte locks of a store's lock file: one for each living member, and one for the names.
//!
//! A member holds the byte at 2^32 plus its id for as long as its process lives. The kernel frees
//! the byte when the process ends, whatever ends it, so the byte answers whether a member lives.

use crate::{
    format::constants::{CLOSING_LOCK_AT, MAX_MEMBER, MEMBER_LOCKS_AT, NAMES_LOCK_AT},
    sys::file_lock,
};
use std::{fs::File, io, ops::Range};

/// Neighbouring ids that one lock may stand for. No process has more in a row; other programs may
/// lock as many bytes as they want.
const MOST_IN_A_ROW: usize = 1024;
/// The bytes of all members.
const ALL_MEMBERS: Range<u64> = MEMBER_LOCKS_AT + 1..MEMBER_LOCKS_AT + MAX_MEMBER;

/// Takes the byte of a member, without waiting. Returns false if another process has it.
pub(crate) fn try_live(file: &File, member: u64) -> io::Result<bool> {
    file_lock::try_lock_byte(file, MEMBER_LOCKS_AT + member)
}

/// Whether another open file description holds the byte of this member. A process must not ask
/// about itself through its own description: the kernel would say no. A number that is not a member
/// id has never lived.
pub(crate) fn is_alive(file: &File, member: u64) -> io::Result<bool> {
    if !(1..MAX_MEMBER).contains(&member) {
        return Ok(false);
    }
    let at = MEMBER_LOCKS_AT + member;
    file_lock::first_locked(file, at..at + 1).map(|locked| locked.is_some())
}

/// Whether any member lives. One question, whatever their number is. `file` must hold no byte
/// itself: the kernel does not report a description's own locks.
pub(crate) fn is_any_alive(file: &File) -> io::Result<bool> {
    file_lock::first_locked(file, ALL_MEMBERS).map(|locked| locked.is_some())
}

/// The living members, by ascending id. `file` must hold no byte itself, as for [`is_any_alive`].
///
/// The time grows with the square of their number: each lock and each gap between two takes a
/// question, and for each question the kernel walks its list of the file's locks up to the first
/// that is in the range. Use it only to show the members.
pub(crate) fn living(file: &File) -> io::Result<Vec<u64>> {
    let mut living = Vec::new();
    // Ranges of bytes that the kernel was not asked about yet. A lock that is found leaves one on
    // each side.
    let mut parts = Vec::from([ALL_MEMBERS]);
    while let Some(part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        if let Some(locked) = file_lock::first_locked(file, part.clone())? {
            // The kernel reports the locks of neighbouring ids that one process holds as one.
            living.extend(
                locked
                    .clone()
                    .map(|at| at - MEMBER_LOCKS_AT)
                    .take(MOST_IN_A_ROW),
            );
            parts.push(part.start..locked.start);
            parts.push(locked.end..part.end);
        }
    }
    living.sort_unstable();
    Ok(living)
}

/// Why a call did not get the names lock in time.
pub(crate) const NAMES_ARE_LOCKED: &str = "another process held the lock on the names of the \
                                           store (if it is stopped: continue it by SIGCONT, or end \
                                           it)";

/// Takes the lock under which chosen names are published and unlinked, without waiting. Returns
/// false if another description has it.
pub(crate) fn try_lock_names(file: &File) -> io::Result<bool> {
    file_lock::try_lock_byte(file, NAMES_LOCK_AT)
}

/// Takes the lock under which the store is renamed away, without waiting. Returns false if another
/// process has it. For a fresh descriptor: the lock goes with it.
pub(crate) fn try_lock_closing(file: &File) -> io::Result<bool> {
    file_lock::try_lock_byte(file, CLOSING_LOCK_AT)
}

/// Releases the names lock.
pub(crate) fn unlock_names(file: &File) -> io::Result<()> {
    file_lock::unlock_byte(file, NAMES_LOCK_AT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_lock_is_seen_through_another_description_and_goes_with_its_own() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let open = || {
            File::options()
                .read(true)
                .write(true)
                .open(path.path())
                .unwrap()
        };
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
        let open = || {
            File::options()
                .read(true)
                .write(true)
                .open(path.path())
                .unwrap()
        };
        // Neighbours of one process come as one lock; the first and the last id are members too.
        let (first, second, third) = (open(), open(), open());
        [7, 8, 9, MAX_MEMBER - 1]
            .into_iter()
            .for_each(|id| assert!(try_live(&first, id).unwrap()));
        [1, 10, 500]
            .into_iter()
            .for_each(|id| assert!(try_live(&second, id).unwrap()));
        assert!(file_lock::try_lock_byte(&third, NAMES_LOCK_AT).unwrap());
        assert_eq!(
            living(&open()).unwrap(),
            [1, 7, 8, 9, 10, 500, MAX_MEMBER - 1]
        );
        assert!(is_any_alive(&open()).unwrap());
        drop(first);
        assert_eq!(living(&open()).unwrap(), [1, 10, 500]);
        // The lock on the names is no member.
        drop(second);
        assert!(living(&open()).unwrap().is_empty() && !is_any_alive(&open()).unwrap());
    }
}

//! The lock file, read without mapping it.

use super::{Severity, Verification, open, reason_of};
use crate::{
    error::{Error, Result},
    format::{
        constants::*,
        words::{self, flags},
    },
    state::{
        lanes::{Mode, OF_ARRAYS, is_in, member_of},
        rests::RESTING,
        snapshot::LaneSnapshot,
    },
    store::{
        lane_pool::LONGEST,
        lock_snapshot::{LockPageSnapshot, read_lanes},
        member_locks, permissions,
        plan::Reason,
    },
};
use std::{collections::HashSet, fs::File, path::Path};
use uuid::Uuid;

/// The lock file that the arrays beside it are checked against.
pub(super) struct Store {
    lock: File,
    pub(super) uuid: Uuid,
}

impl Store {
    /// Looks at the lock file in a directory, and notes its defects. `None` if the file is so wrong
    /// that nothing can be compared with it.
    pub(super) fn look(directory: &Path, found: &mut Verification) -> Result<Option<Self>> {
        let path = directory.join(LOCK_NAME);
        let Some(lock) = open_lock(directory, &path, found) else {
            return Ok(None);
        };
        let page = LockPageSnapshot::read(&lock, &path)?;
        if let Some(defect) = page.defect() {
            found.note(&path, Severity::Damage, defect);
            return Ok(None);
        }
        // After the page: a file grows before its number of lanes does.
        let len = lock
            .metadata()
            .map_err(Error::io(&path, "look at the lock file"))?
            .len();
        for damage in damages(&page, len) {
            found.note(&path, Severity::Damage, damage);
        }
        let living =
            member_locks::living(&lock).map_err(Error::io(&path, "ask which members live"))?;
        // A process that joined since the page was read has a higher id, and raised the next one
        // before.
        let next_member = LockPageSnapshot::read(&lock, &path)?.member_limit();
        if let Some(member) = living.iter().find(|&&member| member >= next_member) {
            let text = format!("member {member} lives, whose id was never given");
            found.note(&path, Severity::Damage, text);
        }
        let has_members = !living.is_empty();
        let reason = Reason::of_store(page.is_persistent(), page.is_closing(), has_members)
            .or(page.is_closing().then_some(Reason::Closing));
        if let Some(reason) = reason {
            found.note(directory, Severity::Leftover, reason.to_string());
        }
        Ok(Some(Self {
            lock,
            uuid: page.uuid,
        }))
    }

    pub(super) fn is_alive(&self, member: u64) -> Result<bool> {
        member_locks::is_alive(&self.lock, member)
            .map_err(Error::io(LOCK_NAME, "ask whether a member lives"))
    }

    /// Copies the lanes of the array that has this key.
    pub(super) fn lanes_of(&self, key: u64) -> Result<Vec<(usize, LaneSnapshot)>> {
        let lanes = read_lanes(&self.lock, LOCK_NAME.as_ref())?;
        let is_of_array = |lane: &LaneSnapshot| lane.key == key && is_in(lane.tag, OF_ARRAYS);
        Ok(lanes
            .into_iter()
            .enumerate()
            .filter(|(_, lane)| is_of_array(lane))
            .collect())
    }

    /// Notes lanes that name an array which is not one of these.
    pub(super) fn check_lanes(
        &self,
        path: &Path,
        keys: &HashSet<u64>,
        found: &mut Verification,
    ) -> Result<()> {
        let lanes = read_lanes(&self.lock, path)?;
        for (index, lane) in lanes.iter().enumerate() {
            let member = member_of(lane.tag);
            if !is_in(lane.tag, OF_ARRAYS | RESTING | Mode::Leased.bit() | 1) {
                let mode = lane.tag & 0xf;
                let text = format!("lane {index} has the mode {mode}, which does not exist");
                found.note(path, Severity::Damage, text);
            } else if !is_in(lane.tag, 1) && !self.has_given(member)? {
                let text =
                    format!("lane {index} has the member id {member}, which was never given");
                found.note(path, Severity::Damage, text);
            } else if is_in(lane.tag, OF_ARRAYS) && !keys.contains(&lane.key) {
                // A released array that a process still has mapped, or one of a process that died.
                if Mode::Poisoned.is(lane.tag) || !self.is_alive(member)? {
                    let text = format!("lane {index} belongs to an array that is gone");
                    found.note(path, Severity::Leftover, text);
                }
            }
        }
        Ok(())
    }

    /// Whether this id was given to a member. A process that joined since the last look has raised
    /// the next id.
    pub(super) fn has_given(&self, member: u64) -> Result<bool> {
        if !(1..MAX_MEMBER).contains(&member) {
            return Ok(false);
        }
        let page = LockPageSnapshot::read(&self.lock, LOCK_NAME.as_ref())?;
        Ok(member < page.member_limit())
    }
}

/// Opens the lock file, and notes why if it cannot be one.
fn open_lock(directory: &Path, path: &Path, found: &mut Verification) -> Option<File> {
    let lock = match open(path) {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            found.note(
                directory,
                Severity::Damage,
                "it has arrays but no .lock: the store is damaged, or the files were copied here",
            );
            return None;
        }
        Err(error) => {
            found.note(path, Severity::Damage, error.to_string());
            return None;
        }
    };
    let len = match permissions::check_file(&lock, path) {
        Ok(metadata) => metadata.len(),
        Err(error) => {
            found.note(path, Severity::Damage, reason_of(error));
            return None;
        }
    };
    if !(LOCK_LEN as u64..=LONGEST as u64).contains(&len) {
        let text = format!("it has {len} bytes, a lock file has {LOCK_LEN} to {LONGEST}");
        found.note(path, Severity::Damage, text);
        return None;
    }
    Some(lock)
}

/// The words of a lock page that no process of this library leaves so.
fn damages(page: &LockPageSnapshot, len: u64) -> Vec<String> {
    let LockPageSnapshot {
        next_member,
        owner,
        flags,
        lanes,
        ..
    } = *page;
    let mut damages = Vec::new();
    match words::unseal(next_member) {
        None => damages.push(format!(
            "the word {next_member:#018x} with the next member id is damaged"
        )),
        Some(id) if !(1..MAX_MEMBER).contains(&id) => {
            damages.push(format!(
                "the next member id is {id}, which is not a member id"
            ));
        }
        Some(_) => {}
    }
    if owner >= page.member_limit() {
        damages.push(format!(
            "its owner has the member id {owner}, which was never given"
        ));
    }
    match flags::decode(flags) {
        None => damages.push(format!(
            "its flags {flags:#010x} are damaged, so nothing deletes the store: Manager::persist \
             writes them anew"
        )),
        Some(flags) if flags & !flags::KNOWN != 0 => {
            damages.push(format!(
                "its flags are {flags:#x}, which this library does not know"
            ));
        }
        Some(_) => {}
    }
    let more = (lanes as usize).checked_sub(FIRST_LANES);
    if more.is_none_or(|more| !more.is_multiple_of(MORE_LANES)) || lanes as usize > MOST_LANES {
        damages.push(format!(
            "it has {lanes} lanes, which is not {FIRST_LANES} and a multiple of {MORE_LANES}"
        ));
    } else if len < (LANES_AT + lanes as usize * LANE_LEN) as u64 {
        damages.push(format!("its {len} bytes have no room for {lanes} lanes"));
    }
    if !page.is_zero_elsewhere {
        damages.push("bytes that are zero by the format are not".into());
    }
    if page.uuid.is_nil() {
        damages.push("the store's id is zero".into());
    }
    damages
}

//! The array's answers to the questions of its lock table, and the poison of a deleted array.

use super::{SEGMENTS, Segment};
use crate::{
    error::{Error, Result},
    format::{directory_entry::StoreEntry, header::Header},
    layout::span::Span,
    state::{
        lanes::{Lanes, Mode, is_in},
        lock_table::{Request, Surroundings},
    },
    store::{deadlock, member::Member, unready},
    sync::Instant,
    sys::wait::is_interrupted,
};
use std::{
    collections::HashSet,
    sync::{Weak, atomic::Ordering::Acquire},
};

impl Surroundings for Segment {
    fn is_alive(&self, member: u64) -> bool {
        // A member counts as alive where the kernel does not tell: waiting is safe. If this process
        // no longer has the file that it asks about, `is_cut_off` ends the wait.
        self.member.is_alive(member).unwrap_or(true)
    }

    fn reach_lanes(&self) -> bool {
        self.member.reach_lanes().is_ok()
    }

    fn lease(&self) -> Option<u32> {
        let member = &self.member;
        member.id().and_then(|id| member.lease_lane(id)).ok()
    }

    fn is_deadlocked(&self, lane: u32) -> bool {
        deadlock::is_victim(&self.member, lane)
    }

    fn is_cut_off(&self) -> bool {
        self.member.is_lost()
    }

    fn is_interrupted(&self) -> bool {
        is_interrupted()
    }
}

/// The modes of lanes that only processes which have the array free: poison, and a guard that was
/// given back and may not be counted yet.
const LEFT: u32 = Mode::Poisoned.bit() | Mode::Written.bit();

/// Frees the lanes with poison of arrays that are gone, which two deaths in a row can leave. Only
/// where no other process is a member: it may have such an array mapped.
pub(super) fn free_lanes_of_gone_arrays(member: &Member) -> Result<()> {
    if member.is_read_only() {
        return Ok(());
    }
    let lanes = member.lanes();
    let poisoned = || {
        (0..lanes.count())
            .filter_map(|index| lanes.lane(index))
            .filter(|lane| is_in(lane.tag.load(Acquire), LEFT))
    };
    let mut gone: HashSet<u64> = poisoned().map(|lane| lane.key.load(Acquire)).collect();
    if gone.is_empty() || member.count_living()? > 1 {
        return Ok(());
    }
    // All of them, until the mutex is unlocked: any may be the last reference by now.
    let mapped: Vec<_> = {
        let segments = SEGMENTS.lock();
        segments
            .by_inode
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    };
    for segment in mapped {
        gone.remove(&segment.key);
    }
    // In the store's own directory: another one, or none, may be at its path.
    let place = member.place();
    for name in place.names()? {
        let StoreEntry::Array(_) = StoreEntry::of(&name) else {
            continue;
        };
        let Some(file) = place.open_file(&name)? else {
            continue;
        };
        let maker = unready::maker_of(&name, &file)
            .map_err(Error::io(place.path().join(&name), "read the file"))?;
        if maker.is_some() {
            continue;
        }
        let len = file.metadata().map_or(0, |metadata| metadata.len());
        match Header::parse(&file, len) {
            Ok(parsed) => _ = gone.remove(&parsed.header.id.lane_key()),
            // It may be the one that the poison belongs to.
            Err(_) => return Ok(()),
        }
    }
    for lane in poisoned() {
        let tag = lane.tag.load(Acquire);
        if is_in(tag, LEFT) && gone.contains(&lane.key.load(Acquire)) {
            lane.replace_if(tag, 0);
        }
    }
    Ok(())
}

impl Segment {
    /// Moves records of poison from the store's lanes into the array's block: a deleted array keeps
    /// no lanes of the store. Processes that still have the array see its poison.
    pub(super) fn settle_poison(&self, me: u64) {
        let request = Request {
            member: me,
            thread: 0,
            lane: u32::MAX,
            span: Span::ALL,
            mode: Mode::Read,
            deadline: Some(Instant::now()),
        };
        self.lock_table().settle_poison(&request, self);
    }
}

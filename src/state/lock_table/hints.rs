//! Hints: which lanes of the store are this array's. Read and written under the lock word.
//!
//! The first 64 lanes of an array stand in its list by index; a bit of `used` says that an entry
//! means something. Where the list is full, a bit of `groups` stands for 16 neighbouring lanes, and
//! `overflown` says that any bit is set. A hint is set before its lane is published, and cleared by
//! a scan that finds that it leads nowhere.
//!
//! A member leases a lane only after the store's number of lanes includes it. So a hint that leads
//! beyond this number is stale too: it is left from before a crash of the machine.

use super::LockTable;
use crate::{
    format::constants::{GROUP, GROUP_WORDS, LIST_LEN},
    state::lanes::{Lane, Lanes},
};
use std::sync::atomic::Ordering::{Acquire, Relaxed};

/// The result of a scan.
pub(super) struct Hints {
    /// The entries of the list that lead to a lane of this array.
    used: u64,
    /// Whether all lanes were visited. If not, this process may not touch one of them yet.
    pub(super) is_complete: bool,
}

impl<L: Lanes> LockTable<'_, L> {
    /// Calls `visit` with each lane of this array and its tag, but for `mine`, and clears stale
    /// hints of groups. Those of the list are cleared by [`lead_to`](Self::lead_to).
    #[inline]
    pub(super) fn each_lane(&self, mine: u32, mut visit: impl FnMut(u32, &Lane, u64)) -> Hints {
        let mut hints = Hints {
            used: self.block.used.load(Relaxed),
            is_complete: true,
        };
        let mut rest = hints.used;
        while rest != 0 {
            let entry = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let index = u32::from(self.block.list[entry].load(Relaxed));
            match self.lanes.lane(index) {
                None if index >= self.lanes.total() => hints.used &= !(1 << entry),
                None => hints.is_complete = false,
                Some(lane) => {
                    let tag = lane.tag.load(Acquire);
                    if !self.is_of_this(lane, tag) {
                        hints.used &= !(1 << entry);
                    } else if index != mine {
                        visit(index, lane, tag);
                    }
                }
            }
        }
        if self.block.overflown.load(Relaxed) != 0 {
            hints.is_complete &= self.each_lane_of_groups(mine, true, &mut visit);
        }
        hints
    }

    /// Returns whether all lanes were visited.
    #[cold]
    fn each_lane_of_groups(
        &self,
        mine: u32,
        clears: bool,
        visit: &mut impl FnMut(u32, &Lane, u64),
    ) -> bool {
        let (mut is_complete, mut is_any_left) = (true, false);
        let total = self.lanes.total();
        for (word, bits) in self.block.groups.iter().enumerate() {
            let mut rest = bits.load(Relaxed);
            while rest != 0 {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                let first = ((word * 64 + bit) * GROUP) as u32;
                let mut has_any = false;
                for index in first..(first + GROUP as u32).min(total) {
                    let Some(lane) = self.lanes.lane(index) else {
                        if index < self.lanes.total() {
                            (is_complete, has_any) = (false, true);
                        }
                        break;
                    };
                    let tag = lane.tag.load(Acquire);
                    if self.is_of_this(lane, tag) {
                        has_any = true;
                        if index != mine {
                            visit(index, lane, tag);
                        }
                    }
                }
                // At once: a visit to a lane of another group may set bits of this word.
                if clears && !has_any {
                    bits.store(bits.load(Relaxed) & !(1 << bit), Relaxed);
                }
            }
            is_any_left |= bits.load(Relaxed) != 0;
        }
        if clears && !is_any_left {
            self.block.overflown.store(0, Relaxed);
        }
        is_complete
    }

    /// Like [`each_lane`](Self::each_lane), for a caller that does not hold the lock word: it may
    /// miss lanes, and changes no hint.
    pub(super) fn each_lane_at_any_time(&self, mut visit: impl FnMut(u32, &Lane, u64)) {
        let used = self.block.used.load(Relaxed);
        for entry in (0..LIST_LEN).filter(|entry| used >> entry & 1 != 0) {
            let index = u32::from(self.block.list[entry].load(Relaxed));
            if let Some(lane) = self.lanes.lane(index) {
                let tag = lane.tag.load(Acquire);
                if self.is_of_this(lane, tag) {
                    visit(index, lane, tag);
                }
            }
        }
        if self.block.overflown.load(Relaxed) != 0 {
            self.each_lane_of_groups(u32::MAX, false, &mut visit);
        }
    }

    /// Sets a hint that leads to a lane, and clears those that the scan found stale.
    #[inline]
    pub(super) fn lead_to(&self, index: u32, hints: &mut Hints) {
        // Threads that take turns find their entries as they left them: the line of the list is
        // written by none of them, and stays in the caches of all.
        let own = index as usize % LIST_LEN;
        let entry = match hints.used >> own & 1 {
            0 => own,
            _ => (!hints.used).trailing_zeros() as usize,
        };
        if entry < LIST_LEN {
            let hint = &self.block.list[entry];
            if hint.load(Relaxed) != index as u16 {
                hint.store(index as u16, Relaxed);
            }
            failpoint!(HintWritten);
            hints.used |= 1 << entry;
            self.block.used.store(hints.used, Relaxed);
        } else {
            self.lead_to_group(index);
        }
        failpoint!(HintSet);
    }

    #[cold]
    fn lead_to_group(&self, index: u32) {
        let group = index as usize / GROUP;
        self.block.overflown.store(1, Relaxed);
        let word = &self.block.groups[group / 64 % GROUP_WORDS];
        word.store(word.load(Relaxed) | 1 << (group % 64), Relaxed);
    }
}

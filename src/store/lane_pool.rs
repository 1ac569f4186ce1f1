//! The lanes of a store as one member has them mapped: leasing, clearing after the dead, growth.
//!
//! # Pages that exist
//!
//! A member maps the lock file in its greatest length when it joins, though the file is shorter. It
//! touches a lane only if it knows that the lane's page exists: that of the first page, which every
//! lock file has, or one that it reserved itself with success. It does not trust the number of
//! lanes in the file: a page behind the end of a file, and a hole on a full tmpfs, raise SIGBUS.
//!
//! # Growth
//!
//! Where no lane is free and no dead member has any, the file grows by 1,024 lanes. The pages are
//! reserved first, then the number of lanes in the file is raised, and only then the member leases
//! one of them: a lane beyond the number has no guard. Two members may do so at once, and one may
//! die in between: the file is then longer than the number says, which does no harm.

use crate::{
    error::{Error, Result},
    format::constants::{FIRST_LANES, LANE_LEN, LANES_AT, LOCK_NAME, MORE_LANES, MOST_LANES},
    state::{
        lanes::{self, Lane, Lanes, Mode},
        rests,
    },
    store::{lock_page::LockPage, member::Member},
    sys::{
        fork,
        fs::{creation_error, reserve},
        mapping::Mapping,
        process,
    },
};
use std::{
    io, ptr,
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Relaxed, Release, SeqCst},
    },
};

/// Bytes of the longest lock file.
pub(crate) const LONGEST: usize = LANES_AT + MOST_LANES * LANE_LEN;

/// The mapped lock file of a member.
pub(crate) struct LanePool {
    page: Mapping,
    /// Lanes whose pages exist, as this member knows.
    count: AtomicU32,
    /// Lanes of threads that ended while another thread had their guards: the member's id, the lane
    /// and its epoch. A forked child has those of its parent too, and leaves them alone.
    orphans: fork::Mutex<Vec<(u64, u32, u32)>>,
    /// No other pool of this process had the same number.
    serial: u64,
}

impl LanePool {
    /// Takes the mapping of a lock file that has its first page.
    pub(crate) fn new(page: Mapping) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            page,
            count: AtomicU32::new(FIRST_LANES as u32),
            orphans: fork::Mutex::new(Vec::new()),
            serial: NEXT.fetch_add(1, Relaxed),
        }
    }

    pub(crate) fn page(&self) -> &LockPage {
        self.page.lock_page()
    }

    /// Whether the lock file is mapped without the right to change it: it is on a file system that
    /// is mounted read-only.
    pub(crate) fn is_private(&self) -> bool {
        self.page.is_private()
    }

    #[inline]
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// The index of a lane that this pool gave.
    pub(crate) fn index_of(&self, lane: &Lane) -> u32 {
        let bytes = ptr::from_ref(lane).addr() - ptr::from_ref(self.page.lane(0)).addr();
        (bytes / LANE_LEN) as u32
    }

    /// Adds a lane that is leased and has a guard, with its epoch, of a thread that ends.
    pub(super) fn orphan(&self, member: u64, lane: u32, epoch: u32) {
        self.orphans.lock().push((member, lane, epoch));
    }

    /// Takes a lane of a thread that ended, if its guard was given back.
    pub(super) fn adopt(&self, member: u64) -> Option<(u32, u32)> {
        let mut orphans = self.orphans.lock();
        // Another thread may have leased a lane that became poison.
        orphans.retain(|&(of, lane, epoch)| {
            let lane = self.lane(lane);
            of == member && lane.is_some_and(|lane| lane.epoch.load(SeqCst) == epoch)
        });
        let is_idle = |&(_, lane, epoch): &(u64, u32, u32)| {
            self.lane(lane).is_some_and(|lane| {
                rests::end_rest(lane, member);
                lanes::is_idle(lane, member, epoch)
            })
        };
        let at = orphans.iter().position(is_idle)?;
        let (_, lane, epoch) = orphans.swap_remove(at);
        Some((lane, epoch))
    }

    /// Frees the lanes that a member has leased and that have no guard: it leaves the store.
    pub(super) fn free_all(&self, member: u64) {
        for lane in (0..self.count()).filter_map(|index| self.lane(index)) {
            rests::end_rest(lane, member);
            if lane.tag.load(Relaxed) == Mode::Leased.tag(member) {
                lanes::free(lane, member);
            }
        }
    }
}

impl Lanes for LanePool {
    #[inline]
    fn lane(&self, index: u32) -> Option<&Lane> {
        (index < self.count.load(Relaxed)).then(|| self.page.lane(index))
    }

    #[inline]
    fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    fn total(&self) -> u32 {
        self.page().lanes().max(self.count()).min(MOST_LANES as u32)
    }
}

impl Member {
    /// Leases a lane for this process. Frees those of dead members and makes the file longer where
    /// no lane is free.
    ///
    /// # Errors
    ///
    /// `NoSpace` if the file system has no room for more; `TooManyGuards` if the file has its
    /// greatest length.
    pub(crate) fn lease_lane(&self, member: u64) -> Result<u32> {
        let lane = self.lease_any_lane(member)?;
        if let Some(lane) = self.lanes().lane(lane) {
            lane.process.store(self.process(), Release);
        }
        failpoint!(LaneLeased);
        Ok(lane)
    }

    fn lease_any_lane(&self, member: u64) -> Result<u32> {
        let pool = self.lanes();
        // Members begin at different lanes, so that they do not meet.
        let start = (member as u32).wrapping_mul(14);
        if let Some(lane) = lanes::lease(&**pool, member, start) {
            return Ok(lane);
        }
        self.reach_lanes()?;
        let is_alive = |other| other == member || self.is_alive(other).unwrap_or(true);
        lanes::clear_dead(&**pool, is_alive);
        loop {
            if let Some(lane) = lanes::lease(&**pool, member, start) {
                return Ok(lane);
            }
            if !self.add_lanes()? {
                return Err(Error::TooManyGuards {
                    path: self.directory().into(),
                    limit: MOST_LANES,
                });
            }
        }
    }

    /// Leases this lane for this process again, if it is free.
    pub(crate) fn lease_lane_again(&self, index: u32, member: u64) -> bool {
        let Some(lane) = self.lanes().lane(index) else {
            return false;
        };
        let is_leased = lanes::lease_one(lane, member);
        if is_leased {
            lane.process.store(self.process(), Release);
        }
        failpoint!(LaneLeased);
        is_leased
    }

    /// Makes the lanes touchable that other members added.
    pub(crate) fn reach_lanes(&self) -> Result<()> {
        let added = self.page().lanes().min(MOST_LANES as u32);
        if added > self.lanes().count() {
            self.reserve_lanes(added)?;
            self.lanes().count.fetch_max(added, SeqCst);
        }
        Ok(())
    }

    /// Makes the lock file longer. Returns false if it has its greatest length.
    fn add_lanes(&self) -> Result<bool> {
        let count = self.lanes().count();
        let more = (count + MORE_LANES as u32).min(MOST_LANES as u32);
        if more > count {
            self.reserve_lanes(more)?;
            failpoint!(LanesReserved);
            self.page().raise_lanes(more);
            failpoint!(LanesAdded);
            self.lanes().count.fetch_max(more, SeqCst);
        }
        Ok(more > count)
    }

    fn reserve_lanes(&self, count: u32) -> Result<()> {
        let path = self.directory().join(LOCK_NAME);
        let end = (LANES_AT + count as usize * LANE_LEN) as u64;
        let file = self
            .lock_file()
            .file()
            .map_err(Error::io(&path, "use the lock file"))?;
        // Exceeding the limit would be a signal. A file that is longer already is not limited.
        let len = file.metadata().map_or(0, |metadata| metadata.len());
        let is_beyond = len < end && process::file_size_limit().is_some_and(|limit| limit < end);
        let reserved = match is_beyond {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => reserve(file, 0..end),
        };
        reserved.map_err(|source| {
            creation_error(
                source,
                &path,
                end,
                "make the lock file longer for more guards",
            )
        })
    }
}

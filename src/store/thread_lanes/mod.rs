//! The lanes that each thread keeps.
//!
//! A thread that gave a guard back keeps its lane for the next one, up to [`KEPT`] in a store. So
//! the usual guard finds its lane without a search, in a line that no other processor has. A thread
//! that holds more guards at once leases a lane for each further one, and frees it with the guard.
//!
//! # Whose lane is it?
//!
//! All threads of a process have one member id, so a tag does not say which of them leased a lane.
//! A thread recognizes its own by the *epoch* that the lane had when it leased it. A lane leaves
//! its thread in two ways only: the thread ends, or the lane becomes poison. Poison raises the
//! epoch before it changes the tag, and a thread reads the tag first ([`lanes::is_idle`]), so it
//! never takes or frees a lane that another thread leased since.
//!
//! # Ends
//!
//! A thread that ends frees its lanes. One that still has a guard, which was moved into another
//! thread, goes to the process ([`LanePool::orphan`]), and a thread that needs a lane adopts it. A
//! forked child touches none of its parent's lanes: they belong to another member.

use crate::{
    error::{Error, Result},
    layout::span::Span,
    state::lanes::{self, Lanes, Mode},
    store::{lane_pool::LanePool, member::Member},
    sys::{fork, process},
};
use std::{
    cell::RefCell,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// How many lanes of a store a thread keeps.
const KEPT: usize = 4;
/// How often at most a thread takes the same guard again before it may rest, after revocations.
const MOST_PATIENCE: u32 = 64;

/// A lane that a thread has leased for a guard: its index in bits 0 to 29, its use after the guard
/// in bits 30 and 31, the number of the thread from bit 32 on. One word, so that it is returned in
/// a register.
#[derive(Clone, Copy)]
pub(crate) struct LeasedLane(u64);

const REST_AT: u32 = 30;

impl LeasedLane {
    #[inline]
    fn new(index: u32, thread: u32, rest: Rest) -> Self {
        Self(u64::from(thread) << 32 | u64::from(rest as u32) << REST_AT | u64::from(index))
    }

    #[inline]
    pub(crate) fn index(self) -> u32 {
        self.0 as u32 & ((1 << REST_AT) - 1)
    }

    /// The number of the thread in its process.
    #[inline]
    pub(crate) fn thread(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    pub(crate) fn rest(self) -> Rest {
        match self.0 as u32 >> REST_AT {
            0 => Rest::Freed,
            1 => Rest::No,
            2 => Rest::IfAtOnce,
            _ => Rest::Resumed,
        }
    }

    /// Whether the thread keeps the lane after the guard.
    pub(crate) fn is_kept(self) -> bool {
        self.rest() != Rest::Freed
    }

    /// The same lane, for a guard that does not rest.
    pub(crate) fn without_rest(self) -> Self {
        let rest = match self.is_kept() {
            true => Rest::No,
            false => Rest::Freed,
        };
        Self::new(self.index(), self.thread(), rest)
    }
}

/// What becomes of a lane when its guard is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Rest {
    /// The thread does not keep the lane.
    Freed,
    /// The guard does not rest in it.
    No,
    /// The guard rests in it if it is taken at once.
    IfAtOnce,
    /// It did, and the thread has taken it again.
    Resumed,
}

/// A guard that a thread wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The segment's number, which no other one of the process has or had.
    pub(crate) segment: u64,
    pub(crate) span: Span,
    pub(crate) mode: Mode,
}

struct Own {
    /// This thread's number, which no other thread of the process has.
    number: u32,
    stores: Vec<OwnLanes>,
}

struct OwnLanes {
    pool: Weak<LanePool>,
    serial: u64,
    generation: u64,
    member: u64,
    lanes: Vec<Kept>,
}

/// A lane that a thread keeps.
#[derive(Clone, Copy)]
struct Kept {
    index: u32,
    epoch: u32,
    /// The last guard in it.
    last: Option<Wanted>,
    /// That guard was to rest when it was given back.
    rests: bool,
    /// How often it was taken again since it last changed, or was revoked.
    times: u32,
    /// How often it has to be taken again before it rests: more after each revocation, so that
    /// guards which go to and fro between threads do not rest.
    patience: u32,
}

impl Kept {
    fn new(index: u32, epoch: u32, last: Option<Wanted>) -> Self {
        Self {
            index,
            epoch,
            last,
            rests: false,
            times: 0,
            patience: 1,
        }
    }

    /// Notes that the guard that was last in the lane is taken anew. Returns whether it may rest.
    fn repeat(&mut self) -> Rest {
        if self.rests {
            self.patience = (self.patience * 2).min(MOST_PATIENCE);
            self.times = 0;
        }
        self.times += 1;
        self.rests = self.times >= self.patience;
        match self.rests {
            true => Rest::IfAtOnce,
            false => Rest::No,
        }
    }
}

thread_local! {
    static OWN: RefCell<Own> = const {
        RefCell::new(Own {
            number: 0,
            stores: Vec::new(),
        })
    };
}

/// Leases a lane of the member's store for a guard of the calling thread. A guard that is not said
/// does not rest.
#[inline]
pub(crate) fn lease(
    member: &Member,
    id: u64,
    wanted: Option<&Wanted>,
) -> Result<LeasedLane, Box<Error>> {
    // The usual answer is small, and apart from the others.
    let kept = OWN.try_with(|own| own.borrow_mut().kept(member.lanes(), id, wanted));
    match kept {
        Ok(Some(kept)) => Ok(kept),
        _ => Ok(lease_another(member, id, wanted)?),
    }
}

#[cold]
fn lease_another(member: &Member, id: u64, wanted: Option<&Wanted>) -> Result<LeasedLane> {
    let leased = OWN.try_with(|own| own.borrow_mut().lease(member, id, wanted));
    // The thread ends, and its destructors take guards.
    leased.unwrap_or_else(|_| Ok(LeasedLane::new(member.lease_lane(id)?, 0, Rest::Freed)))
}

/// Runs `action`, which may take guards, while the thread does not keep this lane: the lane is
/// leased for a guard that it does not have yet. A forked child in which `action` returns keeps
/// none of its parent's lanes.
#[cold]
pub(crate) fn set_aside<R>(member: &Member, lane: u32, action: impl FnOnce() -> R) -> R {
    let _aside = SetAside::new(member.lanes().serial(), lane);
    action()
}

/// A lane that its thread keeps again when this is dropped.
struct SetAside {
    serial: u64,
    lane: Option<Kept>,
    generation: u64,
}

impl SetAside {
    fn new(serial: u64, lane: u32) -> Self {
        let take = |own: &RefCell<Own>| {
            let own = &mut *own.borrow_mut();
            let store = own.stores.iter_mut().find(|store| store.serial == serial)?;
            let at = store.lanes.iter().position(|kept| kept.index == lane)?;
            Some(store.lanes.swap_remove(at))
        };
        Self {
            serial,
            lane: OWN.try_with(take).ok().flatten(),
            generation: fork::generation(),
        }
    }
}

impl Drop for SetAside {
    fn drop(&mut self) {
        let Some(lane) = self.lane else {
            return;
        };
        let _ = OWN.try_with(|own| {
            let own = &mut *own.borrow_mut();
            let store = own
                .stores
                .iter_mut()
                .find(|store| store.serial == self.serial && store.generation == self.generation);
            if let (Some(store), true) = (store, self.generation == fork::generation()) {
                store.lanes.insert(0, lane);
            }
        });
    }
}

/// The number of the calling thread.
pub(crate) fn number() -> u32 {
    OWN.try_with(|own| own.borrow_mut().number()).unwrap_or(0)
}

impl Own {
    /// A kept lane that has no guard: the one that had this guard last, where that is possible, and
    /// with the guard in it if it rests there.
    #[inline]
    fn kept(
        &mut self,
        pool: &LanePool,
        member: u64,
        wanted: Option<&Wanted>,
    ) -> Option<LeasedLane> {
        let thread = self.number;
        let leased = |index, rest| LeasedLane::new(index, thread, rest);
        let store = self
            .stores
            .iter_mut()
            .find(|store| store.serial == pool.serial() && store.member == member)?;
        if store.generation != fork::generation() {
            return None;
        }
        for kept in &mut store.lanes {
            let Some(wanted) = wanted.filter(|&wanted| kept.last.as_ref() == Some(wanted)) else {
                continue;
            };
            let Some(lane) = pool.lane(kept.index) else {
                continue;
            };
            if kept.rests && lane.resume(wanted.mode, member) {
                if lane.epoch.load(Relaxed) == kept.epoch {
                    return Some(leased(kept.index, Rest::Resumed));
                }
                // It was that of another thread, which leased the lane since.
                lane.give_back();
            } else if lanes::is_idle(lane, member, kept.epoch) {
                return Some(leased(kept.index, kept.repeat()));
            }
        }
        store
            .other(pool, member, wanted)
            .map(|index| leased(index, Rest::No))
    }

    fn number(&mut self) -> u32 {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Threads of other processes have other numbers as a rule: see `store::deadlock`.
        static FIRST: fork::OnceLock<u32> = fork::OnceLock::new();
        while self.number == 0 {
            let first =
                FIRST.get_or_init(|| process::random_uuid().map_or(1, |id| id.as_fields().0));
            self.number = first.wrapping_add(NEXT.fetch_add(1, Relaxed));
        }
        self.number
    }

    #[cold]
    fn lease(&mut self, member: &Member, id: u64, wanted: Option<&Wanted>) -> Result<LeasedLane> {
        let thread = self.number();
        let pool = member.lanes();
        self.stores.retain(|store| {
            store.pool.strong_count() > 0
                && (store.serial != pool.serial()
                    || store.member == id && store.generation == fork::generation())
        });
        let at = match self
            .stores
            .iter()
            .position(|store| store.serial == pool.serial())
        {
            Some(at) => at,
            None => {
                self.stores.push(OwnLanes {
                    pool: Arc::downgrade(pool),
                    serial: pool.serial(),
                    generation: fork::generation(),
                    member: id,
                    lanes: Vec::with_capacity(KEPT),
                });
                self.stores.len() - 1
            }
        };
        let kept = &mut self.stores[at].lanes;
        // Lanes that became poison.
        kept.retain(|kept| {
            pool.lane(kept.index)
                .is_some_and(|lane| lane.epoch.load(Relaxed) == kept.epoch)
        });
        if kept.len() >= KEPT {
            return Ok(LeasedLane::new(member.lease_lane(id)?, thread, Rest::Freed));
        }
        let (index, epoch) = match pool.adopt(id) {
            Some(orphan) => orphan,
            None => {
                let index = member.lease_lane(id)?;
                let epoch = pool.lane(index).map_or(0, |lane| lane.epoch.load(Relaxed));
                (index, epoch)
            }
        };
        kept.push(Kept::new(index, epoch, wanted.copied()));
        Ok(LeasedLane::new(index, thread, Rest::No))
    }
}

impl OwnLanes {
    /// A kept lane for a guard that was in none of them last. Guards on other arrays and in other
    /// modes keep theirs, while there are few: a thread that uses two arrays in turn finds both at
    /// rest.
    fn other(&mut self, pool: &LanePool, member: u64, wanted: Option<&Wanted>) -> Option<u32> {
        let is_full = self.lanes.len() >= KEPT;
        let is_alike = |kept: &Kept| match (&kept.last, wanted) {
            (Some(last), Some(wanted)) => {
                (last.segment, last.mode) == (wanted.segment, wanted.mode)
            }
            _ => true,
        };
        let may_have = |kept: &&mut Kept| is_full || is_alike(kept);
        self.lanes.iter_mut().filter(may_have).find_map(|kept| {
            let lane = pool.lane(kept.index)?;
            if kept.rests {
                lanes::end_rest(lane, member);
            }
            if !lanes::is_idle(lane, member, kept.epoch) {
                return None;
            }
            *kept = Kept::new(kept.index, kept.epoch, wanted.copied());
            Some(kept.index)
        })
    }
}

impl Drop for OwnLanes {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        if self.generation != fork::generation() {
            return;
        }
        for &Kept { index, epoch, .. } in &self.lanes {
            let has_guard = pool
                .lane(index)
                .is_some_and(|lane| lanes::leave(lane, self.member, epoch));
            if has_guard {
                pool.orphan(self.member, index, epoch);
            }
        }
    }
}

#[cfg(test)]
mod tests;

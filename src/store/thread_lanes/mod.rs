//! The lanes that each thread keeps.
//!
//! A thread that gave a guard back keeps its lane for the next one, up to [`KEPT`] in a store. So
//! the usual guard finds its lane without a search, in a line that no other processor has. A thread
//! that holds more guards at once leases a lane for each further one, and frees it with the guard.
//! If it leases the last of these again, it keeps that one too, up to [`MOST_KEPT`]: such a thread
//! takes guards in turn beside others that it holds.
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
    state::{
        lanes::{self, Lanes, Mode},
        rests::{self, Reservation},
    },
    store::{lane_pool::LanePool, member::Member},
    sys::{fork, process},
};
use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// How many lanes of a store a thread keeps.
const KEPT: usize = 4;
/// How many it keeps that takes guards in turn beside others that it holds.
const MOST_KEPT: usize = 2 * KEPT;
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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The segment's number, which no other one of the process has or had; not 0.
    pub(crate) segment: u64,
    /// By reference: to copy what was just written in smaller parts costs more than to compare it.
    pub(crate) span: &'a Span,
    pub(crate) mode: Mode,
}

struct Own {
    stores: Vec<OwnLanes>,
}

struct OwnLanes {
    pool: Weak<LanePool>,
    serial: u64,
    generation: u64,
    member: u64,
    lanes: Vec<Kept>,
    /// The last lane that the thread leased for one guard only.
    further: u32,
}

/// A lane that a thread keeps.
#[derive(Clone, Copy)]
struct Kept {
    index: u32,
    epoch: u32,
    /// The segment of the last guard in it; 0 if there was none.
    segment: u64,
    /// What is reserved where that guard rests. Its span holds all guards in turn that the lane has
    /// had, or is that of the last one.
    reserved: Reservation,
    /// That guard was to rest when it was given back.
    rests: bool,
    /// How many guards in turn were within `reserved`, since that last changed or was revoked.
    times: u32,
    /// How many have to be before the guard rests: more after each revocation, so that guards which
    /// go to and fro between threads do not rest.
    patience: u32,
}

impl Kept {
    fn new(index: u32, epoch: u32, wanted: Option<&Wanted<'_>>) -> Self {
        Self {
            index,
            epoch,
            segment: wanted.map_or(0, |wanted| wanted.segment),
            reserved: Reservation {
                mode: wanted.map_or(Mode::Read, |wanted| wanted.mode),
                span: wanted.map_or(Span::NOTHING, |wanted| *wanted.span),
                has_parts: false,
            },
            rests: false,
            times: 0,
            patience: 1,
        }
    }

    /// Whether the guard may be in the reservation that rests here.
    #[inline]
    fn may_give(&self, wanted: &Wanted<'_>) -> bool {
        self.rests
            && self.segment == wanted.segment
            && self.reserved.gives(wanted.mode, wanted.span)
    }

    /// Whether the last guard in the lane was one on the same array in the same mode.
    #[inline]
    fn is_alike(&self, wanted: &Wanted<'_>) -> bool {
        (self.segment, self.reserved.mode) == (wanted.segment, wanted.mode)
    }

    /// Notes that what was to rest here was revoked, and that this guard is wanted instead.
    #[cold]
    fn lose(&mut self, wanted: &Wanted<'_>) {
        (self.rests, self.times) = (false, 0);
        self.patience = (self.patience * 2).min(MOST_PATIENCE);
        (self.reserved.span, self.reserved.has_parts) = (*wanted.span, false);
    }

    /// Notes that the lane gets this guard, which is like the last one but was not given without
    /// the lock word. Returns whether it may rest.
    #[inline]
    fn note(&mut self, wanted: &Wanted<'_>) -> Rest {
        let (all, span) = (self.reserved.span, *wanted.span);
        let union = all.union(&span);
        self.reserved.has_parts = all != span && union.is_some();
        self.reserved.span = union.unwrap_or(span);
        if self.reserved.span == all {
            self.times += 1;
            self.rests = self.times >= self.patience;
        } else {
            // Guards that are new each time reserve nothing: it would cost more than it saves.
            (self.rests, self.times) = (false, 0);
        }
        match self.rests {
            true => Rest::IfAtOnce,
            false => Rest::No,
        }
    }

    /// The range that the lane is to reserve around the guard.
    #[inline]
    fn range(&self) -> Option<Span> {
        (self.rests && self.reserved.has_parts).then_some(self.reserved.span)
    }
}

thread_local! {
    /// This thread's number; 0 before it is asked for. Apart from the rest: a thread has it until
    /// its end.
    static NUMBER: Cell<u32> = const { Cell::new(0) };
    static OWN: RefCell<Own> = const {
        RefCell::new(Own {
            stores: Vec::new(),
        })
    };
}

/// Leases a lane of the member's store for a guard of the calling thread. A guard that is not said
/// does not rest. `range` becomes the range that the lane is to reserve around the guard, if any.
#[inline]
pub(crate) fn lease(
    member: &Member,
    id: u64,
    wanted: Option<&Wanted<'_>>,
    range: &mut Option<Span>,
) -> Result<LeasedLane, Box<Error>> {
    // The usual answer is small, and apart from the others.
    let kept = OWN.try_with(|own| own.borrow_mut().kept(member, id, wanted, range));
    match kept {
        Ok(Some(kept)) => Ok(kept),
        _ => Ok(lease_another(member, id, wanted)?),
    }
}

#[cold]
fn lease_another(member: &Member, id: u64, wanted: Option<&Wanted<'_>>) -> Result<LeasedLane> {
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

/// The number of the calling thread, which no other thread of the process has; not 0.
#[inline]
pub(crate) fn number() -> u32 {
    match NUMBER.get() {
        0 => next_number(),
        number => number,
    }
}

#[cold]
fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Threads of other processes have other numbers as a rule: see `store::deadlock`.
    static FIRST: fork::OnceLock<u32> = fork::OnceLock::new();
    let first = FIRST.get_or_init(|| process::random_uuid().map_or(1, |id| id.as_fields().0));
    let mut number = 0;
    while number == 0 {
        number = first.wrapping_add(NEXT.fetch_add(1, Relaxed));
    }
    NUMBER.set(number);
    number
}

impl Own {
    /// A lane for a guard without a search: with the guard, where it rests, or a kept one that has
    /// no guard, or the last one that was leased for one guard only.
    #[inline]
    fn kept(
        &mut self,
        member: &Member,
        id: u64,
        wanted: Option<&Wanted<'_>>,
        range: &mut Option<Span>,
    ) -> Option<LeasedLane> {
        let thread = number();
        let leased = |index, rest| LeasedLane::new(index, thread, rest);
        let pool = member.lanes();
        let store = self
            .stores
            .iter_mut()
            .find(|store| store.serial == pool.serial() && store.member == id)?;
        if store.generation != fork::generation() {
            return None;
        }
        if let Some(wanted) = wanted {
            for kept in &mut store.lanes {
                if kept.may_give(wanted)
                    && let Some(lane) = pool.lane(kept.index)
                {
                    let (mode, span) = (wanted.mode, wanted.span);
                    if lane.resume(id, kept.epoch, &kept.reserved, mode, span) {
                        return Some(leased(kept.index, Rest::Resumed));
                    }
                    // Else this thread has a guard in it.
                    if lanes::is_idle(lane, id, kept.epoch) {
                        kept.lose(wanted);
                    }
                }
            }
            for kept in &mut store.lanes {
                if kept.is_alike(wanted)
                    && let Some(lane) = pool.lane(kept.index)
                {
                    if kept.rests {
                        rests::end_rest(lane, id);
                    }
                    if lanes::is_idle(lane, id, kept.epoch) {
                        let rest = kept.note(wanted);
                        *range = kept.range();
                        return Some(leased(kept.index, rest));
                    }
                }
            }
        }
        if let Some(index) = store.other(pool, id, wanted) {
            return Some(leased(index, Rest::No));
        }
        let is_further = store.lanes.len() >= KEPT && member.lease_lane_again(store.further, id);
        is_further.then(|| leased(store.further, store.keep_further(pool, wanted)))
    }

    #[cold]
    fn lease(
        &mut self,
        member: &Member,
        id: u64,
        wanted: Option<&Wanted<'_>>,
    ) -> Result<LeasedLane> {
        let thread = number();
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
                    lanes: Vec::with_capacity(MOST_KEPT),
                    further: u32::MAX,
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
            let index = member.lease_lane(id)?;
            self.stores[at].further = index;
            return Ok(LeasedLane::new(index, thread, Rest::Freed));
        }
        let (index, epoch) = match pool.adopt(id) {
            Some(orphan) => orphan,
            None => {
                let index = member.lease_lane(id)?;
                let epoch = pool.lane(index).map_or(0, |lane| lane.epoch.load(Relaxed));
                (index, epoch)
            }
        };
        kept.push(Kept::new(index, epoch, wanted));
        Ok(LeasedLane::new(index, thread, Rest::No))
    }
}

impl OwnLanes {
    /// Keeps the lane that was leased for one guard, freed, and leased again, if the thread may
    /// keep one more.
    #[cold]
    fn keep_further(&mut self, pool: &LanePool, wanted: Option<&Wanted<'_>>) -> Rest {
        if self.lanes.len() >= MOST_KEPT {
            return Rest::Freed;
        }
        let index = self.further;
        let epoch = pool.lane(index).map_or(0, |lane| lane.epoch.load(Relaxed));
        // A lane that became poison may have come back.
        self.lanes.retain(|kept| kept.index != index);
        self.lanes.push(Kept::new(index, epoch, wanted));
        Rest::No
    }

    /// A kept lane for a guard that is like the last one of none of them. Guards on other arrays
    /// and in other modes keep theirs, while there are few: a thread that uses two arrays in turn
    /// finds both at rest.
    fn other(&mut self, pool: &LanePool, member: u64, wanted: Option<&Wanted<'_>>) -> Option<u32> {
        let is_full = self.lanes.len() >= KEPT;
        let may_have = |kept: &&mut Kept| is_full || wanted.is_none() || kept.segment == 0;
        self.lanes.iter_mut().filter(may_have).find_map(|kept| {
            let lane = pool.lane(kept.index)?;
            if kept.rests {
                rests::end_rest(lane, member);
            }
            if !lanes::is_idle(lane, member, kept.epoch) {
                return None;
            }
            *kept = Kept::new(kept.index, kept.epoch, wanted);
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

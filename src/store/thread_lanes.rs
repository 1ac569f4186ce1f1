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
                lanes::wake_up(lane, member);
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
mod tests {
    use super::*;
    use crate::sys::wait::Wait;
    use crate::{
        state::{
            lanes::{Lane, Mode},
            lock_table::{poison, withdraw},
        },
        store::create,
    };
    use std::sync::atomic::Ordering::SeqCst;

    struct Store {
        member: Arc<Member>,
        id: u64,
        _root: tempfile::TempDir,
    }

    impl Store {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let member = create::create(
                &root.path().join("store"),
                false,
                true,
                &Wait::Forever.begin(),
            )
            .unwrap();
            let id = member.id().unwrap();
            Self {
                member,
                id,
                _root: root,
            }
        }

        fn lease(&self) -> LeasedLane {
            lease(&self.member, self.id, None).unwrap()
        }

        fn lane(&self, index: u32) -> &Lane {
            self.member.lanes().lane(index).unwrap()
        }

        /// Leases a lane and takes a guard in it.
        fn guard(&self, mode: Mode) -> LeasedLane {
            let leased = self.lease();
            self.lane(leased.index()).replace(mode.tag(self.id));
            leased
        }

        fn tag(&self, index: u32) -> u64 {
            self.lane(index).tag.load(SeqCst)
        }

        /// Runs `action` in a thread that ends.
        fn elsewhere<R: Send>(&self, action: impl FnOnce() -> R + Send) -> R {
            std::thread::scope(|scope| scope.spawn(action).join().unwrap())
        }

        /// Turns the guard in a lane into poison that is then moved into its array.
        fn poison_and_free(&self, index: u32) {
            poison(self.lane(index), self.id);
            self.lane(index).replace(0);
        }
    }

    #[test]
    fn a_thread_takes_its_lane_again_and_another_thread_has_another() {
        let store = Store::new();
        let first = store.guard(Mode::Write);
        withdraw(store.lane(first.index()));
        let second = store.lease();
        assert!(first.is_kept() && second.is_kept() && first.index() == second.index());
        let other = store.elsewhere(|| store.lease());
        assert!(other.index() != first.index() && other.thread() != first.thread());
    }

    fn wanted(segment: u64, start: u64, mode: Mode) -> Wanted {
        let span = Span {
            start,
            end: start + 8,
            pitch: 0,
            width: 0,
        };
        Wanted {
            segment,
            span,
            mode,
        }
    }

    impl Store {
        /// Takes a guard and gives it back as `array::lock` does. Returns its lane.
        fn use_once(&self, wanted: Wanted) -> LeasedLane {
            let leased = lease(&self.member, self.id, Some(&wanted)).unwrap();
            let lane = self.lane(leased.index());
            if leased.rest() != Rest::Resumed {
                lane.replace(wanted.mode.tag(self.id));
            }
            assert_eq!(lane.tag.load(SeqCst), wanted.mode.tag(self.id));
            if leased.rest() == Rest::No || !lane.rest() {
                withdraw(lane);
            }
            leased
        }

        fn rests_of(&self, wanted: Wanted, times: usize) -> Vec<Rest> {
            (0..times).map(|_| self.use_once(wanted).rest()).collect()
        }
    }

    #[test]
    fn a_guard_that_is_taken_again_rests_and_is_resumed() {
        let store = Store::new();
        for mode in [Mode::Read, Mode::Write, Mode::Atomic] {
            let rests = store.rests_of(wanted(1, 0, mode), 4);
            let expected = [Rest::No, Rest::IfAtOnce, Rest::Resumed, Rest::Resumed];
            assert_eq!(rests, expected, "{mode:?}");
        }
    }

    #[test]
    fn a_thread_that_uses_two_arrays_in_turn_finds_both_at_rest() {
        let store = Store::new();
        for round in 0..4 {
            for segment in [1, 2] {
                let rest = store.use_once(wanted(segment, 0, Mode::Read)).rest();
                assert_eq!(rest == Rest::Resumed, round >= 2, "{round} {segment}");
            }
        }
    }

    #[test]
    fn guards_on_rows_in_turn_use_one_lane_and_do_not_rest() {
        let store = Store::new();
        let used: Vec<_> = (0..10)
            .map(|row| store.use_once(wanted(1, 8 * row, Mode::Read)))
            .collect();
        assert!(used.iter().all(|one| one.index() == used[0].index()));
        assert!(used.iter().all(|one| one.rest() == Rest::No));
    }

    // Each would cost the other side a revocation, and this one a vain attempt.
    #[test]
    fn a_guard_that_is_revoked_rests_only_after_more_and_more_times() {
        let store = Store::new();
        let xs = wanted(1, 0, Mode::Write);
        let mut patience = 1;
        for _ in 0..9 {
            let mut times = 0;
            let leased = loop {
                let leased = store.use_once(xs);
                if leased.rest() == Rest::IfAtOnce {
                    break leased;
                }
                times += 1;
            };
            assert_eq!(
                times,
                patience.min(64) - u32::from(patience > 1),
                "{patience}"
            );
            patience *= 2;
            assert!(store.lane(leased.index()).revoke(store.tag(leased.index())));
        }
    }

    #[test]
    fn a_thread_that_keeps_all_its_lanes_at_rest_gives_one_to_another_guard() {
        let store = Store::new();
        for segment in 1..=10 {
            store.rests_of(wanted(segment, 0, Mode::Read), 3);
        }
        let mine = |tag: &u64| tag >> 8 == store.id;
        let tags = (0..store.member.lanes().count()).map(|index| store.tag(index));
        assert_eq!(tags.filter(mine).count(), KEPT);
    }

    #[test]
    fn a_thread_that_ends_frees_the_lanes_in_which_guards_rest() {
        let store = Store::new();
        let index = store.elsewhere(|| {
            store.rests_of(wanted(1, 0, Mode::Write), 3);
            let index = store.use_once(wanted(1, 0, Mode::Write)).index();
            assert!(lanes::is_resting(store.tag(index)));
            index
        });
        assert_eq!(store.tag(index), 0);
    }

    // The other thread's guard has the same tag.
    #[test]
    fn the_guard_of_another_thread_is_not_resumed_in_a_lane_that_became_poison() {
        let store = Store::new();
        let xs = wanted(1, 0, Mode::Write);
        store.rests_of(xs, 3);
        let lost = lease(&store.member, store.id, Some(&xs)).unwrap();
        assert_eq!(lost.rest(), Rest::Resumed);
        store.poison_and_free(lost.index());
        store
            .lane(lost.index())
            .replace(Mode::WriteRest.tag(store.id));
        let next = lease(&store.member, store.id, Some(&xs)).unwrap();
        assert_ne!(next.index(), lost.index());
        assert_eq!(
            store.tag(lost.index()),
            Mode::Leased.tag(store.id),
            "revoked"
        );
    }

    #[test]
    fn a_thread_with_more_guards_than_it_keeps_lanes_leases_one_for_each() {
        let store = Store::new();
        let guards: Vec<_> = (0..10).map(|_| store.guard(Mode::Read)).collect();
        let kept: Vec<_> = guards.iter().map(|leased| leased.is_kept()).collect();
        assert_eq!(kept, [[true; 4].as_slice(), &[false; 6]].concat());
        let mut indices: Vec<_> = guards.iter().map(|leased| leased.index()).collect();
        indices.sort_unstable();
        indices.dedup();
        assert_eq!(indices.len(), 10);
        withdraw(store.lane(guards[2].index()));
        assert_eq!(store.lease().index(), guards[2].index());
    }

    /// The tag of a lane that another thread leased since is the same as before.
    #[test]
    fn a_lane_that_became_poison_is_not_taken_back_by_its_thread() {
        let store = Store::new();
        let lost = store.guard(Mode::Write).index();
        store.poison_and_free(lost);
        // Another thread leases the lane, and has no guard in it.
        store.lane(lost).replace(Mode::Leased.tag(store.id));
        for _ in 0..10 {
            assert_ne!(store.guard(Mode::Read).index(), lost);
        }
    }

    #[test]
    fn a_thread_that_ends_frees_its_lanes_and_none_that_it_lost() {
        let store = Store::new();
        let (kept, lost) = store.elsewhere(|| {
            let lost = store.guard(Mode::Write).index();
            store.poison_and_free(lost);
            store.lane(lost).replace(Mode::Leased.tag(store.id));
            (store.lease().index(), lost)
        });
        assert_eq!(store.tag(kept), 0);
        assert_eq!(store.tag(lost), Mode::Leased.tag(store.id));
    }

    #[test]
    fn the_lane_of_a_moved_guard_outlives_its_thread_and_is_adopted_after_the_guard() {
        let store = Store::new();
        let moved = store.elsewhere(|| store.guard(Mode::Read).index());
        assert_eq!(store.tag(moved), Mode::Read.tag(store.id));
        let other = store.guard(Mode::Read).index();
        assert_ne!(other, moved, "a guard is in it");
        withdraw(store.lane(moved));
        let adopted = store.lease();
        assert!(adopted.index() == moved && adopted.is_kept());
    }

    // A forked child inherits the list, and may lease the same lane for one of its threads.
    #[test]
    fn the_lane_of_a_moved_guard_of_another_member_is_not_adopted() {
        let store = Store::new();
        let moved = store.elsewhere(|| store.guard(Mode::Read).index());
        let child = store.id + 1;
        store.lane(moved).replace(Mode::Leased.tag(child));
        assert_eq!(store.member.lanes().adopt(child), None);
    }

    #[test]
    fn the_lane_of_a_moved_guard_that_became_poison_is_not_adopted() {
        let store = Store::new();
        let moved = store.elsewhere(|| store.guard(Mode::Write).index());
        store.poison_and_free(moved);
        store.lane(moved).replace(Mode::Leased.tag(store.id));
        for _ in 0..10 {
            assert_ne!(store.guard(Mode::Read).index(), moved);
        }
    }
}

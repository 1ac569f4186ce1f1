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
    error::Result,
    state::lanes::{self, Lanes},
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

/// A lane that a thread has leased for a guard.
#[derive(Clone, Copy)]
pub(crate) struct LeasedLane {
    pub(crate) index: u32,
    /// Whether the thread keeps the lane after the guard.
    pub(crate) is_kept: bool,
    /// The number of the thread in its process.
    pub(crate) thread: u32,
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
    /// Indices and epochs.
    lanes: Vec<(u32, u32)>,
}

thread_local! {
    static OWN: RefCell<Own> = const {
        RefCell::new(Own {
            number: 0,
            stores: Vec::new(),
        })
    };
}

/// Leases a lane of the member's store for a guard of the calling thread.
#[inline]
pub(crate) fn lease(member: &Member, id: u64) -> Result<LeasedLane> {
    let leased = OWN.try_with(|own| {
        let own = &mut *own.borrow_mut();
        match own.kept(member.lanes(), id) {
            Some(index) => Ok(LeasedLane {
                index,
                is_kept: true,
                thread: own.number,
            }),
            None => own.lease(member, id),
        }
    });
    // The thread ends, and its destructors take guards.
    leased.unwrap_or_else(|_| {
        Ok(LeasedLane {
            index: member.lease_lane(id)?,
            is_kept: false,
            thread: 0,
        })
    })
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
    lane: Option<(u32, u32)>,
    generation: u64,
}

impl SetAside {
    fn new(serial: u64, lane: u32) -> Self {
        let take = |own: &RefCell<Own>| {
            let own = &mut *own.borrow_mut();
            let store = own.stores.iter_mut().find(|store| store.serial == serial)?;
            let at = store.lanes.iter().position(|&(index, _)| index == lane)?;
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
    /// A kept lane that has no guard.
    #[inline]
    fn kept(&self, pool: &LanePool, member: u64) -> Option<u32> {
        let store = self
            .stores
            .iter()
            .find(|store| store.serial == pool.serial() && store.member == member)?;
        if store.generation != fork::generation() {
            return None;
        }
        store.lanes.iter().find_map(|&(index, epoch)| {
            pool.lane(index)
                .is_some_and(|lane| lanes::is_idle(lane, member, epoch))
                .then_some(index)
        })
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
    fn lease(&mut self, member: &Member, id: u64) -> Result<LeasedLane> {
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
        kept.retain(|&(index, epoch)| {
            pool.lane(index)
                .is_some_and(|lane| lane.epoch.load(Relaxed) == epoch)
        });
        if kept.len() >= KEPT {
            return Ok(LeasedLane {
                index: member.lease_lane(id)?,
                is_kept: false,
                thread,
            });
        }
        let (index, epoch) = match pool.adopt(id) {
            Some(orphan) => orphan,
            None => {
                let index = member.lease_lane(id)?;
                let epoch = pool.lane(index).map_or(0, |lane| lane.epoch.load(Relaxed));
                (index, epoch)
            }
        };
        kept.push((index, epoch));
        Ok(LeasedLane {
            index,
            is_kept: true,
            thread,
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
        for &(index, epoch) in &self.lanes {
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
            lease(&self.member, self.id).unwrap()
        }

        fn lane(&self, index: u32) -> &Lane {
            self.member.lanes().lane(index).unwrap()
        }

        /// Leases a lane and takes a guard in it.
        fn guard(&self, mode: Mode) -> LeasedLane {
            let leased = self.lease();
            self.lane(leased.index).replace(mode.tag(self.id));
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
        withdraw(store.lane(first.index));
        let second = store.lease();
        assert!(first.is_kept && second.is_kept && first.index == second.index);
        let other = store.elsewhere(|| store.lease());
        assert!(other.index != first.index && other.thread != first.thread);
    }

    #[test]
    fn a_thread_with_more_guards_than_it_keeps_lanes_leases_one_for_each() {
        let store = Store::new();
        let guards: Vec<_> = (0..10).map(|_| store.guard(Mode::Read)).collect();
        let kept: Vec<_> = guards.iter().map(|leased| leased.is_kept).collect();
        assert_eq!(kept, [[true; 4].as_slice(), &[false; 6]].concat());
        let mut indices: Vec<_> = guards.iter().map(|leased| leased.index).collect();
        indices.sort_unstable();
        indices.dedup();
        assert_eq!(indices.len(), 10);
        withdraw(store.lane(guards[2].index));
        assert_eq!(store.lease().index, guards[2].index);
    }

    /// The tag of a lane that another thread leased since is the same as before.
    #[test]
    fn a_lane_that_became_poison_is_not_taken_back_by_its_thread() {
        let store = Store::new();
        let lost = store.guard(Mode::Write).index;
        store.poison_and_free(lost);
        // Another thread leases the lane, and has no guard in it.
        store.lane(lost).replace(Mode::Leased.tag(store.id));
        for _ in 0..10 {
            assert_ne!(store.guard(Mode::Read).index, lost);
        }
    }

    #[test]
    fn a_thread_that_ends_frees_its_lanes_and_none_that_it_lost() {
        let store = Store::new();
        let (kept, lost) = store.elsewhere(|| {
            let lost = store.guard(Mode::Write).index;
            store.poison_and_free(lost);
            store.lane(lost).replace(Mode::Leased.tag(store.id));
            (store.lease().index, lost)
        });
        assert_eq!(store.tag(kept), 0);
        assert_eq!(store.tag(lost), Mode::Leased.tag(store.id));
    }

    #[test]
    fn the_lane_of_a_moved_guard_outlives_its_thread_and_is_adopted_after_the_guard() {
        let store = Store::new();
        let moved = store.elsewhere(|| store.guard(Mode::Read).index);
        assert_eq!(store.tag(moved), Mode::Read.tag(store.id));
        let other = store.guard(Mode::Read).index;
        assert_ne!(other, moved, "a guard is in it");
        withdraw(store.lane(moved));
        let adopted = store.lease();
        assert!(adopted.index == moved && adopted.is_kept);
    }

    // A forked child inherits the list, and may lease the same lane for one of its threads.
    #[test]
    fn the_lane_of_a_moved_guard_of_another_member_is_not_adopted() {
        let store = Store::new();
        let moved = store.elsewhere(|| store.guard(Mode::Read).index);
        let child = store.id + 1;
        store.lane(moved).replace(Mode::Leased.tag(child));
        assert_eq!(store.member.lanes().adopt(child), None);
    }

    #[test]
    fn the_lane_of_a_moved_guard_that_became_poison_is_not_adopted() {
        let store = Store::new();
        let moved = store.elsewhere(|| store.guard(Mode::Write).index);
        store.poison_and_free(moved);
        store.lane(moved).replace(Mode::Leased.tag(store.id));
        for _ in 0..10 {
            assert_ne!(store.guard(Mode::Read).index, moved);
        }
    }
}

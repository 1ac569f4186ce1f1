//! Which lane a thread gets for a guard, and what it finds at rest.

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

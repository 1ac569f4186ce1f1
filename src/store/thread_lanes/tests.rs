//! Which lane a thread gets for a guard, and what it finds at rest.

use super::*;
use crate::sys::wait::Wait;
use crate::{
    state::{
        lanes::{Lane, Mode, READING, is_in},
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
        lease(&self.member, self.id, None, &mut None).unwrap()
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

/// A guard on eight bytes, or more.
#[derive(Clone, Copy)]
struct Guard {
    segment: u64,
    span: Span,
    mode: Mode,
}

fn range(start: u64, end: u64) -> Span {
    Span {
        start,
        end,
        pitch: 0,
        width: 0,
    }
}

fn wanted(segment: u64, start: u64, mode: Mode) -> Guard {
    Guard {
        segment,
        span: range(start, start + 8),
        mode,
    }
}

impl Store {
    /// Leases a lane for a guard. The range says what it reserves around the guard.
    fn lease_for(&self, guard: &Guard) -> (LeasedLane, Option<Span>) {
        let wanted = Wanted {
            segment: guard.segment,
            span: &guard.span,
            mode: guard.mode,
        };
        let mut range = None;
        let leased = lease(&self.member, self.id, Some(&wanted), &mut range).unwrap();
        (leased, range)
    }

    /// Takes a guard and gives it back as `array::lock` does. Returns its lane.
    fn use_once(&self, guard: Guard) -> LeasedLane {
        let (leased, range) = self.lease_for(&guard);
        let lane = self.lane(leased.index());
        if leased.rest() != Rest::Resumed {
            let mut span = guard.span;
            let mut tag = guard.mode.tag(self.id);
            if let Some(range) = range {
                let (offset, len) = Reservation::part(&range, &span).unwrap();
                span = Span {
                    pitch: offset,
                    width: len,
                    ..range
                };
                tag |= rests::PART;
            }
            lane.put(guard.segment, span);
            lane.replace(tag);
        }
        let tag = lane.tag.load(SeqCst);
        let is_read = guard.mode == Mode::Read && is_in(tag, READING);
        assert!(guard.mode.is(tag) || is_read);
        assert_eq!(lane.hold(tag), guard.span);
        if leased.rest() == Rest::No || !lane.rest() {
            withdraw(lane);
        }
        leased
    }

    fn rests_of(&self, guard: Guard, times: usize) -> Vec<Rest> {
        (0..times).map(|_| self.use_once(guard).rest()).collect()
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
fn new_rows_use_one_lane_and_do_not_rest() {
    let store = Store::new();
    let used: Vec<_> = (0..10)
        .map(|row| store.use_once(wanted(1, 8 * row, Mode::Read)))
        .collect();
    assert!(used.iter().all(|one| one.index() == used[0].index()));
    assert!(used.iter().all(|one| one.rest() == Rest::No));
}

#[test]
fn rows_that_are_used_again_rest_together() {
    let store = Store::new();
    for mode in [Mode::Read, Mode::Write, Mode::Atomic] {
        let rows = || (0..10).map(|row| wanted(1, 8 * row, mode));
        rows().for_each(|row| _ = store.use_once(row));
        let rests: Vec<_> = rows().map(|row| store.use_once(row).rest()).collect();
        assert_eq!(rests[0], Rest::IfAtOnce, "{mode:?}");
        assert!(rests[1..].iter().all(|&rest| rest == Rest::Resumed));
        // All of them and each range of them are one guard for the thread, and other bytes are not.
        for (start, end, rest) in [
            (0, 80, Rest::Resumed),
            (3, 77, Rest::Resumed),
            (72, 81, Rest::No),
        ] {
            let span = range(start, end);
            let guard = Guard {
                span,
                ..wanted(1, 0, mode)
            };
            assert_eq!(store.use_once(guard).rest(), rest, "{start}..{end}");
        }
    }
}

#[test]
fn columns_in_turn_do_not_rest() {
    let store = Store::new();
    for column in [0, 8, 0, 8, 0, 8] {
        let span = Span {
            pitch: 16,
            width: 8,
            ..range(column, 100 + column)
        };
        let guard = Guard {
            span,
            ..wanted(1, 0, Mode::Read)
        };
        assert_eq!(store.use_once(guard).rest(), Rest::No);
    }
}

#[test]
fn rows_that_lie_too_far_apart_do_not_rest_together() {
    let store = Store::new();
    for start in [0, 1 << 32, 0, 1 << 32, 0] {
        let rest = store.use_once(wanted(1, start, Mode::Read)).rest();
        assert_eq!(rest, Rest::No);
    }
}

#[test]
fn a_thread_that_writes_and_reads_in_turn_reads_where_its_guard_to_write_rests() {
    let store = Store::new();
    let mut rests = Vec::new();
    for _ in 0..4 {
        for mode in [Mode::Read, Mode::Write] {
            rests.push(store.use_once(wanted(1, 0, mode)).rest());
            // As the request of the other mode does.
            if mode == Mode::Write {
                let tags = (0..store.member.lanes().count()).map(|lane| (lane, store.tag(lane)));
                let reads = tags.filter(|&(_, tag)| Mode::ReadRest.is(tag));
                reads.for_each(|(lane, tag)| assert!(store.lane(lane).revoke(tag)));
            }
        }
    }
    assert!(
        rests[4..].iter().all(|&rest| rest == Rest::Resumed),
        "{rests:?}"
    );
}

// It would count as a revocation.
#[test]
fn a_guard_beside_one_from_a_reservation_leaves_that_alone() {
    let store = Store::new();
    let rows = || (0..4).map(|row| wanted(1, 8 * row, Mode::Write));
    for _ in 0..2 {
        rows().for_each(|row| _ = store.use_once(row));
    }
    let (held, _) = store.lease_for(&wanted(1, 0, Mode::Write));
    assert_eq!(held.rest(), Rest::Resumed);
    let (beside, _) = store.lease_for(&wanted(1, 8, Mode::Write));
    assert_ne!(beside.index(), held.index());
    assert!(store.lane(held.index()).rest());
    assert_eq!(
        store.use_once(wanted(1, 8, Mode::Write)).rest(),
        Rest::Resumed
    );
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
        assert!(rests::is_resting(store.tag(index)));
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
    let (lost, _) = store.lease_for(&xs);
    assert_eq!(lost.rest(), Rest::Resumed);
    store.poison_and_free(lost.index());
    store
        .lane(lost.index())
        .replace(Mode::WriteRest.tag(store.id));
    let (next, _) = store.lease_for(&xs);
    assert_ne!(next.index(), lost.index());
    assert_ne!(store.tag(lost.index()), Mode::Write.tag(store.id));
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

// The search of a free one looks at those of all others first.
#[test]
fn a_thread_leases_the_last_lane_again_that_it_leased_for_one_guard() {
    let store = Store::new();
    let guards: Vec<_> = (0..10).map(|_| store.guard(Mode::Read).index()).collect();
    for index in [guards[4], guards[9]] {
        store.lane(index).replace(0);
    }
    let again = store.guard(Mode::Read);
    assert!(again.index() == guards[9]);
    assert_eq!(store.guard(Mode::Read).index(), guards[4]);
}

// A guard beside others that the thread held took and freed a lane each time.
#[test]
fn a_thread_keeps_a_few_lanes_more_that_it_leases_again() {
    let store = Store::new();
    (0..10).for_each(|_| _ = store.guard(Mode::Read));
    let mut kept = Vec::new();
    for _ in 0..6 {
        let first = store.guard(Mode::Read);
        assert!(!first.is_kept());
        store.lane(first.index()).replace(0);
        let again = store.guard(Mode::Read);
        assert_eq!(again.index(), first.index());
        kept.push(again.is_kept());
        if again.is_kept() {
            withdraw(store.lane(again.index()));
            assert_eq!(store.guard(Mode::Read).index(), again.index());
        }
    }
    assert_eq!(kept, [true, true, true, true, false, false]);
}

/// A lane of two entries would be found by the one while the other is set aside.
#[test]
fn a_lane_that_became_poison_and_is_leased_again_is_kept_once() {
    let store = Store::new();
    let guards: Vec<_> = (0..5).map(|_| store.guard(Mode::Read).index()).collect();
    let lost = guards[1];
    OWN.with(|own| own.borrow_mut().stores[0].further = lost);
    store.poison_and_free(lost);
    let again = store.guard(Mode::Read);
    assert!(again.index() == lost && again.is_kept());
    let is_it = |kept: &&Kept| kept.index == lost;
    let entries = OWN.with(|own| own.borrow().stores[0].lanes.iter().filter(is_it).count());
    assert_eq!(entries, 1);
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

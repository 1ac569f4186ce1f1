//! Leases of lanes: which lane a member gets, and which lanes the dead leave.

use super::*;

#[test]
fn lanes_of_even_index_are_leased_first() {
    let pool = Pool::new(9);
    let leased: Vec<_> = (0..9)
        .map(|_| lanes::lease(&pool, ME, 4).unwrap())
        .collect();
    assert_eq!(leased[..5], [4, 6, 8, 0, 2]);
    assert_eq!(leased[5..], [5, 7, 1, 3]);
    assert_eq!(lanes::lease(&pool, ME, 4), None);
    assert!(lanes::free(&pool.lanes[7], ME));
    assert_eq!(lanes::lease(&pool, OTHER, 4), Some(7));
}

/// The first lane comes from the member id by a product that wraps around, and so did the sum of it
/// and the steps: lanes before the end were tried twice and others never.
#[test]
fn every_free_lane_is_found_wherever_the_search_starts() {
    let pool = Pool::new(62);
    while lanes::lease(&pool, ME, 0).is_some() {}
    for free in 0..62 {
        assert!(lanes::free(&pool.lanes[free], ME));
        for start in [0, 61, u32::MAX - 70, u32::MAX - 30, u32::MAX] {
            assert_eq!(
                lanes::lease(&pool, ME, start),
                Some(free as u32),
                "from {start}"
            );
            assert!(lanes::free(&pool.lanes[free], ME));
        }
        assert_eq!(lanes::lease(&pool, ME, 0), Some(free as u32));
    }
}

/// A waiter may set its bit in the tag of a lane that is just being freed.
#[test]
fn a_free_lane_is_leased_whatever_its_other_bits_are() {
    let pool = Pool::new(1);
    pool.lanes[0].tag.store(AWAITED | 99 << 8, SeqCst);
    assert_eq!(lanes::lease(&pool, ME, 0), Some(0));
    assert_eq!(pool.tag(0), Mode::Leased.tag(ME));
}

#[test]
fn a_lane_with_a_guard_is_not_freed() {
    let store = Fixture::new(3);
    let lane = store.take(ME, span(0, 10), Mode::Read).unwrap();
    assert!(!lanes::free(store.lane(lane), ME));
    withdraw(store.lane(lane));
    assert!(!lanes::free(store.lane(lane), OTHER));
    assert!(lanes::free(store.lane(lane), ME));
}

#[test]
fn lanes_of_dead_members_are_leased_again_and_their_poison_is_not() {
    let store = Fixture::new(12);
    let modes = [
        Mode::Read,
        Mode::Write,
        Mode::WriteWait,
        Mode::Poisoned,
        Mode::Atomic,
        Mode::ReadWait,
        Mode::AtomicWait,
    ];
    let left = modes.map(|mode| store.put(OTHER, span(0, 10), mode));
    let leased = store.lease(OTHER).unwrap();
    let living = modes[..4]
        .iter()
        .map(|&mode| store.put(9, span(20, 30), mode));
    let living: Vec<_> = living.collect();
    let before: Vec<_> = living.iter().map(|&lane| store.pool.tag(lane)).collect();
    assert!(!lanes::clear_dead(&store.pool, |_| true));
    assert_eq!(store.lease(ME), None);
    store.kill(OTHER);
    assert!(lanes::clear_dead(&store.pool, |member| store.is_alive(member)));
    assert!(!lanes::clear_dead(&store.pool, |member| store.is_alive(member)));
    assert!(is_free(store.pool.tag(leased)));
    for (mode, lane) in modes.into_iter().zip(left) {
        let is_poison = matches!(mode, Mode::Write | Mode::Poisoned);
        let expected = if is_poison {
            Mode::Poisoned.tag(OTHER)
        } else {
            0
        };
        assert_eq!(store.pool.tag(lane), expected, "{mode:?}");
    }
    let after: Vec<_> = living.iter().map(|&lane| store.pool.tag(lane)).collect();
    assert_eq!(before, after, "lanes of the living");
}

#[test]
fn a_round_asks_once_for_each_member() {
    let store = Fixture::new(1100);
    for i in 0..1000 {
        store.put(100 + i % 10, span(0, 10), Mode::Read);
    }
    let asked = std::cell::RefCell::new(Vec::new());
    lanes::clear_dead(&store.pool, |member| {
        asked.borrow_mut().push(member);
        member % 2 == 0
    });
    let mut asked = asked.into_inner();
    asked.sort_unstable();
    assert_eq!(asked, (100..110).collect::<Vec<_>>());
    assert_eq!(store.pool.used(), 500);
}

#[test]
fn a_panic_raises_the_epoch_of_the_lane_before_it_can_be_leased_again() {
    let store = Fixture::new(1);
    let lane = store.take(ME, span(0, 10), Mode::Write).unwrap();
    let epoch = store.lane(lane).epoch.load(SeqCst);
    super::super::poison(store.lane(lane), ME);
    assert_eq!(store.lane(lane).epoch.load(SeqCst), epoch + 1);
    let request = now(ME, span(0, 10), Mode::Read);
    assert_eq!(
        store.table().yield_lane(&request, &store.around(ME)),
        Ok(true)
    );
    assert_eq!(store.take(ME, span(20, 30), Mode::Read), Ok(lane));
    assert_eq!(store.lane(lane).epoch.load(SeqCst), epoch + 1);
}

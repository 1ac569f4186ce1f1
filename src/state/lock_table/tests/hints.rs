//! Hints: the list of 64 lanes, the groups, and lanes that went elsewhere.

use super::*;

fn far(i: u64) -> Span {
    span(1000 + 2 * i, 1001 + 2 * i)
}

fn groups(store: &Fixture) -> u32 {
    let words = store.block.groups.iter();
    words.map(|word| word.load(SeqCst).count_ones()).sum()
}

#[test]
fn a_stale_hint_is_cleared_by_the_next_guard() {
    let store = Fixture::new(70);
    let lanes: Vec<_> = (0..10)
        .map(|i| store.take(ME, far(i), Mode::Write).unwrap())
        .collect();
    assert_eq!(store.listed(), lanes);
    lanes[1..9].iter().for_each(|&lane| store.give_back(lane));
    assert_eq!(store.listed().len(), 10, "giving back needs no lock word");
    let last = store.take(OTHER, far(20), Mode::Write).unwrap();
    let mut listed = store.listed();
    listed.sort_unstable();
    let mut expected = [lanes[0], lanes[9], last];
    expected.sort_unstable();
    assert_eq!(listed, expected);
}

#[test]
fn the_list_runs_over_into_groups_and_comes_back() {
    let store = Fixture::new(1100);
    let guards: Vec<_> = (0..1100)
        .map(|i| store.take(ME, far(i), Mode::Write).unwrap())
        .collect();
    assert_eq!(store.listed().len(), LIST_LEN);
    assert_eq!(store.block.overflown.load(SeqCst), 1);
    assert!(groups(&store) >= (1100 - LIST_LEN as u32) / GROUP as u32);
    let visited: HashSet<_> = store.visited().into_iter().collect();
    assert_eq!(visited.len(), 1100);
    // Each of them excludes.
    let first = guards[0];
    store.give_back(first);
    for i in 1..1100 {
        assert_eq!(
            store.take(OTHER, far(i), Mode::Read),
            Err(Refusal::WouldBlock),
            "guard {i}"
        );
    }
    guards[1..].iter().for_each(|&lane| store.give_back(lane));
    let last = store.take(OTHER, far(0), Mode::Write).unwrap();
    assert_eq!(store.block.overflown.load(SeqCst), 0);
    assert_eq!((groups(&store), store.listed()), (0, vec![last]));
}

#[test]
fn a_lane_that_went_to_another_array_leads_nowhere() {
    let (store, block) = (Fixture::new(70), block());
    let elsewhere = LockTable {
        block: &block,
        lanes: &store.pool,
        key: ELSEWHERE,
    };
    let lane = store.take(ME, span(0, 10), Mode::Write).unwrap();
    store.give_back(lane);
    assert_eq!(store.lease(ME), Some(lane));
    let request = Request {
        lane,
        ..now(ME, span(0, 10), Mode::Write)
    };
    assert!(elsewhere.acquire_at_once(&request, &mut None));
    assert_eq!((store.listed(), store.visited()), (vec![lane], vec![]));
    let mine = store.take(OTHER, span(0, 10), Mode::Write).unwrap();
    assert_eq!(store.listed(), [mine]);
}

#[test]
fn no_lane_is_listed_twice() {
    let store = Fixture::new(200);
    let kept: Vec<_> = (0..100)
        .map(|i| store.take(ME, far(i), Mode::Read).unwrap())
        .collect();
    for round in 0..500u64 {
        // One lane is taken and given back again and again, others come and go.
        let lane = kept[round as usize * 7 % 100];
        withdraw(store.lane(lane));
        let request = Request {
            lane,
            ..now(ME, far(round), Mode::Read)
        };
        assert!(store.table().acquire_at_once(&request, &mut None));
        let listed = store.listed();
        let different: HashSet<_> = listed.iter().collect();
        assert_eq!(different.len(), listed.len(), "round {round}: {listed:?}");
        let visited: HashSet<_> = store.visited().into_iter().collect();
        assert_eq!(visited.len(), 100, "round {round}");
    }
}

#[test]
fn a_lane_that_another_member_added_is_reached_before_anything_is_decided() {
    let store = Fixture::new(70);
    store.put_in(Request {
        lane: 65,
        ..now(OTHER, span(0, 10), Mode::Write)
    });
    store.pool.reached.store(62, SeqCst);
    let request = Request {
        lane: store.lease(ME).unwrap(),
        ..now(ME, span(0, 10), Mode::Read)
    };
    assert!(!store.table().acquire_at_once(&request, &mut None));
    assert_eq!(
        store.table().acquire(request, &store.around(ME)),
        Err(Refusal::WouldBlock)
    );
    assert_eq!(store.pool.reached.load(SeqCst), 70);
}

/// After a crash of the machine the block of an array may lead to lanes that its store does not
/// have any more. Guards then waited for a lane that no process could ever reach.
#[test]
fn hints_beyond_the_lanes_of_the_store_lead_nowhere() {
    let store = Fixture::new(70);
    for (lane, overflown) in [(70, 0), (MOST_LANES as u16 - 1, 0), (u16::MAX, 0), (0, 1)] {
        store.block.list[5].store(lane, SeqCst);
        store
            .block
            .used
            .store(if overflown == 0 { 1 << 5 } else { 0 }, SeqCst);
        store.block.overflown.store(overflown, SeqCst);
        let words = &store.block.groups;
        words[3].store(u64::from(overflown) << 9, SeqCst);
        words[16].store(u64::from(overflown) << 40, SeqCst);
        let guard = store.take(ME, span(0, 10), Mode::Write);
        assert!(guard.is_ok(), "{lane} {overflown}: {guard:?}");
        store.give_back(guard.unwrap());
        assert_eq!(groups(&store), 0);
    }
}

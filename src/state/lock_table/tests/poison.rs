//! Poison: in records, in lanes, merged, and recovered.

use super::*;
use crate::state::lock_table;

fn panic_in(store: &Fixture, lane: u32) {
    let member = member_of(store.pool.tag(lane));
    lock_table::poison(store.lane(lane), member);
}

/// The records of the block that are used.
fn records(store: &Fixture) -> usize {
    store.block.poisoned.load(SeqCst).count_ones() as usize
}

fn lanes_of_poison(store: &Fixture) -> Vec<u32> {
    store.pool.with_mode(|tag| Mode::Poisoned.is(tag))
}

/// Lets members die that each write 10 of 100 bytes.
fn deaths(store: &Fixture, deaths: u64) -> Vec<Poison> {
    let written = |death| span(100 * death, 100 * death + 10);
    (0..deaths)
        .map(|death| {
            let member = 1000 + death;
            store.kill(member);
            store.take(member, written(death), Mode::Write).unwrap();
            Poison {
                span: written(death),
                member,
            }
        })
        .collect()
}

/// Everything is free again: no poison, no guard, no lane that is kept.
#[track_caller]
fn assert_empty(store: &Fixture) {
    assert_eq!(store.poisoned(ME, span(0, u64::MAX)), []);
    assert_eq!(records(store), 0);
    assert_eq!(store.pool.used(), 0);
}

#[test]
fn a_recovery_ends_the_poison_of_its_bytes_and_leaves_the_rest() {
    let store = Fixture::new(70);
    store.kill(OTHER);
    store.take(OTHER, span(10, 50), Mode::Write).unwrap();
    store.take(OTHER, span(60, 70), Mode::Write).unwrap();
    let all = || store.poisoned(ME, span(0, 100));
    assert_eq!(all(), [poison_of(10, 50, OTHER), poison_of(60, 70, OTHER)]);
    let recovery = store.recover(ME, span(20, 30)).unwrap();
    assert_eq!(
        store.take(9, span(20, 21), Mode::Read),
        Err(Refusal::WouldBlock),
        "exclusive"
    );
    assert_eq!(
        all(),
        [
            poison_of(10, 20, OTHER),
            poison_of(30, 50, OTHER),
            poison_of(60, 70, OTHER)
        ]
    );
    store.give_back(recovery);
    store.give_back(store.take(ME, span(20, 30), Mode::Write).unwrap());
    // A recovery that panics or dies leaves its bytes poisoned.
    panic_in(&store, store.recover(ME, span(10, 20)).unwrap());
    assert!(store.take(ME, span(15, 16), Mode::Write).is_err());
    store.recover(9, span(0, 100)).unwrap();
    store.kill(9);
    assert!(store.take(ME, span(65, 66), Mode::Read).is_err());
    store.give_back(store.recover(ME, span(0, 100)).unwrap());
    assert_empty(&store);
}

#[test]
fn poison_moves_from_its_lane_into_a_record_when_a_request_meets_it() {
    let store = Fixture::new(70);
    let lane = store.take(ME, span(10, 20), Mode::Write).unwrap();
    panic_in(&store, lane);
    assert_eq!((records(&store), lanes_of_poison(&store)), (0, vec![lane]));
    for look in 0..2 {
        assert_eq!(
            store.take(OTHER, span(15, 30), Mode::Read),
            Err(Refusal::Poisoned(poison_of(10, 20, ME)))
        );
        assert_eq!(
            (records(&store), store.pool.used()),
            (1, 0),
            "after look {look}"
        );
    }
    store.give_back(store.recover(ME, span(10, 20)).unwrap());
    assert_empty(&store);
}

#[test]
fn poison_stays_in_its_lane_where_all_records_are_used() {
    let store = Fixture::new(70);
    let poison = deaths(&store, RECORDS as u64 + 5);
    for record in &poison {
        assert_eq!(
            store.take(ME, record.span, Mode::Read),
            Err(Refusal::Poisoned(*record))
        );
    }
    assert_eq!(records(&store), RECORDS);
    assert_eq!(lanes_of_poison(&store).len(), 5);
    assert_eq!(store.poisoned(ME, span(0, u64::MAX)), poison);
    // A record becomes free, and the next request that meets poison moves it there.
    store.give_back(store.recover(ME, poison[3].span).unwrap());
    assert_eq!(records(&store), RECORDS - 1);
    let last = poison[RECORDS + 4];
    assert_eq!(
        store.take(ME, last.span, Mode::Write),
        Err(Refusal::Poisoned(last))
    );
    assert_eq!(
        (records(&store), lanes_of_poison(&store).len()),
        (RECORDS, 4)
    );
    store.give_back(store.recover(ME, span(0, 10_000)).unwrap());
    assert_empty(&store);
}

/// A process that dies between the two steps of a move leaves the poison in both places.
#[test]
fn poison_that_stands_in_a_record_and_in_a_lane_is_one() {
    let store = Fixture::new(70);
    let poison = poison_of(10, 20, OTHER);
    store.put(OTHER, poison.span, Mode::Poisoned);
    store.table().publish_record(0, poison);
    assert_eq!(store.poisoned(ME, span(0, 100)), [poison]);
    assert_eq!(
        store.take(ME, span(0, 100), Mode::Read),
        Err(Refusal::Poisoned(poison))
    );
    assert_eq!(store.poisoned(ME, span(0, 100)), [poison]);
    store.give_back(store.recover(ME, span(10, 20)).unwrap());
    assert_empty(&store);
}

#[test]
fn the_poison_of_4096_dead_writers_is_remembered_without_merging() {
    let store = Fixture::new(5000);
    let poison = deaths(&store, 4096);
    assert_eq!(store.poisoned(ME, span(0, u64::MAX)), poison);
    for record in &poison {
        assert_eq!(
            store.take(ME, record.span, Mode::Read),
            Err(Refusal::Poisoned(*record))
        );
    }
    assert_eq!(store.poisoned(ME, span(0, u64::MAX)), poison);
    assert_eq!(records(&store) + lanes_of_poison(&store).len(), 4096);
    let beside = store.take(ME, span(50, 60), Mode::Write).unwrap();
    store.give_back(beside);
    store.give_back(store.recover(ME, span(0, 409_600)).unwrap());
    assert_empty(&store);
}

/// A store whose lanes are all poison of one array: the array gives lanes by merging, and no byte
/// loses its poison.
#[test]
fn a_thousand_deaths_do_not_jam_a_small_pool() {
    let store = Fixture::new(70);
    for death in 0..1000u64 {
        let bytes = span(100 * death, 100 * death + 10);
        store.kill(1000 + death);
        take_with_merging(&store, 1000 + death, bytes).unwrap();
    }
    let mine = take_with_merging(&store, ME, span(200_000, 200_001)).unwrap();
    store.give_back(mine);
    let records = store.poisoned(ME, span(0, u64::MAX));
    assert!(records.len() <= RECORDS + 70, "{}", records.len());
    for death in 0..1000u64 {
        let bytes = span(100 * death, 100 * death + 10);
        assert!(
            records
                .iter()
                .any(|record| record.span.start <= bytes.start && bytes.end <= record.span.end),
            "{death}"
        );
    }
    store.give_back(store.recover(ME, span(0, 200_000)).unwrap());
    assert_empty(&store);
}

/// Takes a guard to write as the library does: where no lane is free, the array's poison gives one.
fn take_with_merging(store: &Fixture, member: u64, span: Span) -> Result<u32, Refusal> {
    let request = now(member, span, Mode::Write);
    while store
        .lease(member)
        .map(|lane| lanes::free(store.lane(lane), member))
        != Some(true)
    {
        if !store.table().yield_lane(&request, &store.around(member))? {
            return Err(Refusal::TooManyGuards);
        }
    }
    store.request(request)
}

#[test]
fn an_array_gives_lanes_of_poison_before_it_merges_any() {
    let store = Fixture::new(20);
    let poison = deaths(&store, 20);
    assert_eq!(store.poisoned(ME, span(0, u64::MAX)), poison);
    assert_eq!(store.lease(ME), None);
    for _ in 0..20 {
        let request = now(ME, span(0, 1), Mode::Read);
        assert_eq!(
            store.table().yield_lane(&request, &store.around(ME)),
            Ok(true)
        );
    }
    assert_eq!((records(&store), store.pool.used()), (20, 0));
    assert_eq!(store.poisoned(ME, span(0, u64::MAX)), poison);
    let request = now(ME, span(0, 1), Mode::Read);
    assert_eq!(
        store.table().yield_lane(&request, &store.around(ME)),
        Ok(false),
        "it has no lane"
    );
    assert_eq!(store.poisoned(ME, span(0, u64::MAX)), poison);
}

/// A killed process that held all lanes leaves poison in each, so a recovery finds no lane for its
/// own guard.
#[test]
fn poison_in_all_lanes_does_not_keep_a_recovery_out() {
    let store = Fixture::new(70);
    (0..70).for_each(|i| {
        _ = store
            .take(OTHER, span(8 * i, 8 * i + 8), Mode::Write)
            .unwrap()
    });
    store.kill(OTHER);
    assert_eq!(store.lease(ME), None);
    let request = now(ME, span(20, 44), Mode::Write);
    assert_eq!(
        store.table().yield_lane(&request, &store.around(ME)),
        Ok(true)
    );
    assert!(store.take(ME, span(0, 8), Mode::Read).is_err());
    let recovery = store.recover(ME, span(20, 44)).unwrap();
    let records = store.poisoned(ME, span(0, 560));
    let is_poisoned = |byte| {
        records
            .iter()
            .any(|record| (record.span.start..record.span.end).contains(&byte))
    };
    assert!(
        (0..560).all(|byte| is_poisoned(byte) != (20..44).contains(&byte)),
        "{records:?}"
    );
    store.give_back(recovery);
    store.give_back(store.recover(ME, span(0, 560)).unwrap());
    assert_empty(&store);
}

fn poisoned_columns(store: &Fixture, columns: u64) {
    (0..columns).for_each(|j| {
        panic_in(store, store.take(ME, column(j), Mode::Write).unwrap());
    });
}

#[track_caller]
fn assert_columns_are_poisoned_beside(store: &Fixture, columns: u64, row: std::ops::Range<u64>) {
    let records = store.poisoned(ME, span(0, 2048));
    let is_poisoned = |byte| {
        records
            .iter()
            .any(|record| bytes(record.span).any(|poisoned| poisoned == byte))
    };
    assert!(
        (0..columns)
            .flat_map(|j| bytes(column(j)))
            .all(|byte| is_poisoned(byte) != row.contains(&byte)),
        "{records:?}"
    );
}

/// The rest of 31 columns around a row needs 62 places: more than the block has records.
#[test]
fn a_recovery_that_leaves_more_parts_than_records_puts_them_into_lanes() {
    let store = Fixture::new(200);
    poisoned_columns(&store, 31);
    let row = store.recover(ME, span(512, 768)).unwrap();
    assert_columns_are_poisoned_beside(&store, 31, 512..768);
    assert_eq!(
        store.poisoned(ME, span(0, 2048)).len(),
        62,
        "none was merged"
    );
    store.give_back(row);
    assert_eq!(records(&store), RECORDS);
    // All lanes that were leased for parts and not needed are free again.
    assert_eq!(store.pool.used(), 62 - RECORDS);
    store.give_back(store.recover(ME, span(0, 2048)).unwrap());
    assert_empty(&store);
}

/// Where parts need lanes and there are none, records are merged.
#[test]
fn a_recovery_that_leaves_more_than_fits_merges_poison_only() {
    let store = Fixture::new(32);
    poisoned_columns(&store, 31);
    let row = store.recover(ME, span(512, 768)).unwrap();
    assert_columns_are_poisoned_beside(&store, 31, 512..768);
    store.give_back(row);
}

/// Recoveries that all wait for places keep their waits meanwhile. Counting the waits as places
/// that will be given back kept all of them out.
#[test]
fn recoveries_do_not_wait_for_each_other_s_waits() {
    let store = Fixture::new(45);
    poisoned_columns(&store, 20);
    (0..20).for_each(|_| _ = store.put(OTHER, span(512, 768), Mode::WriteWait));
    assert!(store.recover(ME, span(512, 768)).is_ok());
}

#[test]
fn a_recovery_of_a_span_that_is_not_exact_clears_no_poison() {
    let store = Fixture::new(70);
    panic_in(&store, store.take(ME, span(10, 20), Mode::Write).unwrap());
    let lane = store.lease(ME).unwrap();
    let recover = |bytes| {
        let request = Request {
            lane,
            ..now(ME, bytes, Mode::Write)
        };
        let spread = Recovery {
            is_exact: false,
            ..AT_ONCE
        };
        store.table().recover(request, spread, &store.around(ME))
    };
    assert_eq!(
        recover(span(0, 100)),
        Err(Refusal::Interleaved(poison_of(10, 20, ME)))
    );
    assert_eq!(recover(span(20, 100)), Ok(()));
    assert_eq!(store.poisoned(ME, span(0, 100)), [poison_of(10, 20, ME)]);
}

/// Parts of a record beside a recovery came to lanes of groups whose bits the scan around it then
/// wrote back without them.
#[test]
fn hints_that_a_recovery_sets_while_it_scans_stay() {
    let store = Fixture::new(1100);
    // The list is full, and groups 5 to 7 are hinted, the last one for nothing.
    let far = |i: u64| span(1 << 20 | i, (1 << 20 | i) + 1);
    let list: Vec<_> = (0..64)
        .map(|i| store.put(OTHER, far(i), Mode::Read))
        .collect();
    let mut listed = store.listed();
    listed.sort_unstable();
    assert_eq!(listed, list);
    deaths(&store, RECORDS as u64);
    let table = store.table();
    for death in 0..RECORDS as u64 {
        assert!(
            store
                .take(ME, span(100 * death, 100 * death + 1), Mode::Read)
                .is_err()
        );
    }
    assert_eq!(records(&store), RECORDS);
    let at = |lane| Request {
        lane,
        ..now(OTHER, span(1 << 30, (1 << 30) + 100), Mode::Poisoned)
    };
    let is_leased = |lane: u32| {
        let lane = store.lane(lane);
        lane.tag.store(Mode::Leased.tag(ME), SeqCst);
    };
    store.put_in(at(1000));
    let mut spare = vec![968, 984];
    spare.iter().for_each(|&lane| is_leased(lane));
    is_leased(970);
    let request = Request {
        lane: 970,
        ..now(ME, span((1 << 30) + 40, (1 << 30) + 60), Mode::Write)
    };
    let mut hints = table.each_lane(970, |_, _, _| {});
    assert!(table.publish(&request, Mode::Write, 0, &mut hints));
    // Stale since the last scan: a guard was given back, which needs no lock word.
    table.lead_to(1008, &mut hints);
    table.lead_to(984, &mut hints);
    table.replace_records(&request.span, &mut hints, &mut spare);
    let left = store.poisoned(ME, span(1 << 30, 1 << 31));
    assert_eq!(
        left,
        [
            poison_of(1 << 30, (1 << 30) + 40, OTHER),
            poison_of((1 << 30) + 60, (1 << 30) + 100, OTHER)
        ]
    );
}

#[test]
fn a_recovery_in_two_steps_clears_poison_in_the_second_one() {
    let later = Recovery {
        clears: false,
        ..AT_ONCE
    };
    // The rest of each record needs two places. Records, or lanes, are used up.
    for records_used in [0, RECORDS as u64 - 1] {
        let store = Fixture::new(70);
        (0..records_used).for_each(|death| {
            let written = span(1000 + 100 * death, 1010 + 100 * death);
            panic_in(&store, store.take(ME, written, Mode::Write).unwrap());
        });
        panic_in(&store, store.take(ME, span(10, 50), Mode::Write).unwrap());
        let all = || store.poisoned(ME, span(0, 100));
        let take = |member| {
            store.with_lane(now(member, span(20, 30), Mode::Write), |request| {
                let around = store.around(member);
                store.table().recover(request, later, &around)
            })
        };
        let clear = |member, lane| {
            let request = Request {
                lane,
                ..now(member, span(20, 30), Mode::Write)
            };
            let around = store.around(member);
            store.table().clear_poison(request, true, &around)
        };
        let refused = take(ME).unwrap();
        assert_eq!(all(), [poison_of(10, 50, ME)]);
        assert_eq!(take(OTHER), Err(Refusal::WouldBlock), "exclusive");
        store.give_back(refused);
        assert_eq!(all(), [poison_of(10, 50, ME)]);
        // A death before the second step, and one after it.
        take(9).unwrap();
        store.kill(9);
        assert_eq!(all(), [poison_of(10, 50, ME), poison_of(20, 30, 9)]);
        let lane = take(10).unwrap();
        assert_eq!(clear(10, lane), Ok(()));
        assert_eq!(all(), [poison_of(10, 20, ME), poison_of(30, 50, ME)]);
        store.kill(10);
        assert_eq!(all()[1], poison_of(20, 30, 10));
        store.give_back(store.recover(ME, span(0, 10_000)).unwrap());
        assert_empty(&store);
    }
}

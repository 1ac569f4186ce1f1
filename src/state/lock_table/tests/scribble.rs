//! A table that another thread overwrites all the time: no call outlasts its deadline, and nothing
//! panics.

use super::*;
use std::sync::{
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    mpsc,
};

/// A hostile process: it puts another dead reader into the table whenever one is cleared.
struct Reappearing<'a> {
    store: &'a Fixture,
    asked: AtomicUsize,
}

impl Surroundings for Reappearing<'_> {
    fn is_alive(&self, member: u64) -> bool {
        let asked = self.asked.fetch_add(1, SeqCst);
        // In the other lane than the one that is being cleared.
        let other = &self.store.pool.lanes[(asked + 1) % 2 * 40];
        other.tag.store(Mode::Read.tag(member + 1), SeqCst);
        self.store.block.used.store(0b11, SeqCst);
        false
    }

    fn reach_lanes(&self) -> bool {
        true
    }

    fn lease(&self) -> Option<u32> {
        None
    }

    fn is_deadlocked(&self, _: u32) -> bool {
        false
    }
}

/// A call that does not wait cleared dead members for as long as there were any.
#[test]
fn dead_readers_that_keep_reappearing_do_not_delay_a_call_that_does_not_wait() {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let store = Fixture::new(70);
        store.block.list[1].store(40, SeqCst);
        store.block.used.store(0b11, SeqCst);
        let lanes = &store.pool.lanes;
        for lane in [0, 40] {
            lanes[lane].put(KEY, span(0, 10));
        }
        lanes[0].tag.store(Mode::Read.tag(OTHER), SeqCst);
        let reappearing = Reappearing {
            store: &store,
            asked: AtomicUsize::new(0),
        };
        let request = Request {
            lane: 2,
            ..now(ME, span(0, 10), Mode::Write)
        };
        let result = store.table().acquire(request, &reappearing);
        sender
            .send((result, reappearing.asked.load(SeqCst)))
            .unwrap();
    });
    let (result, asked) = receiver
        .recv_timeout(Duration::from_secs(20))
        .expect("still clearing dead members");
    assert_eq!(result, Err(Refusal::WouldBlock));
    assert!(asked as u32 >= LOOKS);
}

/// Ends the other thread, also if this one panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Calls `round` with each number below `rounds`, while another thread keeps calling `change` with
/// a source of random numbers below a limit.
fn amid(
    change: impl Fn(&mut dyn FnMut(u64) -> u64) + Sync,
    rounds: u64,
    mut round: impl FnMut(u64),
) {
    let (is_over, changes) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = 1u64;
            while !is_over.load(Relaxed) {
                change(&mut |limit| {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    (random >> 33) % limit
                });
                changes.fetch_add(1, Relaxed);
            }
        });
        let _over = Over(&is_over);
        for number in 0..rounds {
            // Now and then wait until the other thread has run.
            let seen = changes.load(Relaxed);
            while number % 16 == 0 && changes.load(Relaxed) == seen {
                std::thread::yield_now();
            }
            round(number);
        }
    });
}

#[track_caller]
fn in_time<R>(action: impl FnOnce() -> R) -> R {
    let began = Instant::now();
    let result = action();
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "it took {:?}",
        began.elapsed()
    );
    result
}

/// Merging recursed as long as there were too many records, even if a hostile process added some.
#[test]
fn records_are_merged_one_by_one() {
    let store = Fixture::new(70);
    let all = RECORDS + 9;
    (0..all as u64).for_each(|i| {
        _ = store.put(20, span(2 * i, 2 * i + 1), Mode::Poisoned);
    });
    let poison = || store.poisoned(ME, span(0, 1000)).len();
    let request = now(ME, span(1000, 1010), Mode::Read);
    let yields = || store.table().yield_lane(&request, &store.around(ME));
    for moved in 0..RECORDS {
        assert_eq!((poison(), store.pool.used()), (all, all - moved));
        assert_eq!(yields(), Ok(true));
    }
    for merged in 0..9 {
        assert_eq!((poison(), store.pool.used()), (all - merged, 9 - merged));
        assert_eq!(yields(), Ok(true));
    }
    assert_eq!(yields(), Ok(false));
    assert_eq!(poison(), RECORDS);
}

/// A recovery counts the places that it needs, and reads the spans again when it takes them. A span
/// that was changed in between must not lead it to places that there are not.
#[test]
fn a_record_that_grows_while_it_is_recovered_stays_where_there_is_no_room_for_the_rest() {
    let store = Fixture::new(3);
    // Other poison uses all other records, and no lane can be leased for a part.
    (1..RECORDS).for_each(|record| {
        let at = 1000 + record as u64;
        let poison = poison_of(at, at + 1, OTHER);
        store.table().publish_record(record, poison);
    });
    store.table().publish_record(0, poison_of(12, 18, 20));
    for lane in [1, 2] {
        store.pool.lanes[lane]
            .tag
            .store(Mode::Read.tag(OTHER), SeqCst);
    }
    let record = &store.block.records[0];
    let change = |below: &mut dyn FnMut(u64) -> u64| {
        let (start, end) = [(12, 18), (5, 50)][below(2) as usize];
        record.start.store(start, Relaxed);
        record.end.store(end, Relaxed);
    };
    let (mut given, mut stayed) = (0, 0);
    let began = Instant::now();
    while stayed == 0 && began.elapsed() < Duration::from_secs(60) {
        amid(change, 100, |_| {
            record.tag.store(Mode::Poisoned.tag(20), SeqCst);
            store.block.poisoned.store((1 << RECORDS) - 1, SeqCst);
            // Merging would free a record of the others.
            let lane = store.lease(ME).unwrap();
            let request = Request {
                lane,
                ..now(ME, span(10, 40), Mode::Write)
            };
            let placed = in_time(|| {
                let (wait, spare) = (&mut Wait::new(), &mut Vec::new());
                let around = store.around(ME);
                store
                    .table()
                    .place_recovery(&request, AT_ONCE, &around, wait, spare)
            });
            if placed.is_ok() {
                given += 1;
                stayed += usize::from(record.tag.load(SeqCst) != 0);
                withdraw(store.lane(lane));
            }
            assert!(lanes::free(store.lane(lane), ME));
        });
    }
    assert!(given > 0 && stayed > 0, "{given} given, {stayed} stayed");
}

/// Changes a word of the block or of a lane to anything.
fn scribble(store: &Fixture, below: &mut dyn FnMut(u64) -> u64) {
    let block = &store.block;
    let lanes = store.pool.lanes.len() as u64;
    let start = below(300);
    let span = Span {
        start: [start, 0, u64::MAX][(below(20) / 18) as usize],
        end: if below(20) == 0 {
            u64::MAX
        } else {
            start + below(40)
        },
        pitch: if below(4) == 0 { 64 } else { 0 },
        width: 8,
    };
    // Mostly poison that partly overlaps the request: the case with the most work.
    let mode = if below(4) == 0 {
        below(16)
    } else {
        Mode::Poisoned as u64
    };
    // With any flags: the guard has a part of its reservation, and may rest as another one.
    let tag = ((20 + below(6)) << 8) | (below(16) << 4) | mode;
    // The calls use the first lanes.
    if lanes > 4 {
        let lane = &store.pool.lanes[(4 + below(lanes - 4)) as usize];
        lane.put(if below(8) == 0 { ELSEWHERE } else { KEY }, span);
        lane.turn.store(below(8) << 31, Relaxed);
        lane.thread.store(below(3) as u32, Relaxed);
        lane.tag.store(tag, SeqCst);
    }
    let record = &block.records[below(RECORDS as u64) as usize];
    record.put(span);
    record.tag.store(tag, SeqCst);
    let any = |below: &mut dyn FnMut(u64) -> u64| match below(4) {
        0 => 0,
        1 => u64::MAX,
        _ => below(1 << 31) << 31 | below(1 << 31),
    };
    match below(16) {
        0 => block.used.store(any(below), Relaxed),
        1 => block.poisoned.store(any(below), Relaxed),
        2 => block.overflown.store(any(below) as u32, Relaxed),
        3 => block.ticket.store(any(below) as u32, Relaxed),
        4 => block.groups[below(17) as usize].store(any(below), Relaxed),
        5..10 => block.list[below(64) as usize].store(below(2 * lanes) as u16, Relaxed),
        10 => block.list[below(64) as usize].store(any(below) as u16, Relaxed),
        _ => {}
    }
    match below(400) {
        0 => block.lock.store(ME, SeqCst),
        1 => block.lock.store(20, SeqCst),
        2..20 => block.lock.store(0, SeqCst),
        _ => {}
    }
}

fn a_table_that_changes_all_the_time(lanes: u32) {
    let store = Fixture::new(lanes);
    (0..5).for_each(|member| store.kill(20 + member));
    let change = |below: &mut dyn FnMut(u64) -> u64| scribble(&store, below);
    let shortly = |bytes| Request {
        deadline: Some(Instant::now() + Duration::from_micros(300)),
        ..now(ME, bytes, Mode::Write)
    };
    let (mut given, mut refused) = (0, 0);
    amid(change, 1500, |round| {
        let at = round * 7 % 400;
        let bytes = [
            span(at, at + 30),
            Span {
                start: at,
                end: at + 128,
                pitch: 64,
                width: 8,
            },
            span(1000, 1010),
        ][round as usize % 3];
        // The calls keep a lane that the other thread does not write, as a thread does.
        let lane = &store.pool.lanes[0];
        lane.tag.store(Mode::Leased.tag(ME), SeqCst);
        let at = |request: Request| Request {
            lane: 0,
            thread: 1,
            ..request
        };
        let (table, around) = (store.table(), store.around(ME));
        let result = in_time(|| match round % 6 {
            0 => table.recover(at(now(ME, bytes, Mode::Write)), AT_ONCE, &around),
            1 => table.recover(at(shortly(bytes)), AT_ONCE, &around),
            2 => table
                .poisoned(&now(ME, bytes, Mode::Read), &around)
                .map(drop),
            3 => table.acquire(at(shortly(bytes)), &around),
            4 => table
                .yield_lane(&now(ME, bytes, Mode::Read), &around)
                .map(drop),
            _ => table.acquire(at(now(ME, bytes, Mode::Read)), &around),
        });
        match result {
            Ok(()) => given += 1,
            Err(_) => refused += 1,
        }
    });
    assert!(
        given > 100 && refused > 100,
        "{given} given, {refused} refused"
    );
}

#[test]
fn a_table_that_changes_all_the_time_is_left_in_time() {
    for lanes in [1, 3, 70, 1100] {
        a_table_that_changes_all_the_time(lanes);
    }
}

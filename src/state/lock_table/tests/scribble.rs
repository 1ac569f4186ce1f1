//! A table that another thread overwrites all the time: no call outlasts its deadline, and nothing
//! panics.

use super::*;
use std::sync::{
    atomic::{AtomicBool, AtomicUsize},
    mpsc,
};

/// A hostile process: it puts another dead reader into the table whenever one is cleared.
struct Reappearing<'a> {
    block: &'a StateBlock,
    asked: AtomicUsize,
}

impl Liveness for Reappearing<'_> {
    fn is_alive(&self, member: u64) -> bool {
        let asked = self.asked.fetch_add(1, SeqCst);
        // In the other slot than the one that is being cleared.
        self.block.slots[(asked + 1) % 2 * 40]
            .tag
            .store(Mode::Read.tag(member + 1), SeqCst);
        self.block.used.store(1 << 40 | 1, SeqCst);
        false
    }

    fn is_own(&self, _: usize) -> bool {
        false
    }
}

/// `try_write` used to clear dead members as long as there were any, whatever its deadline.
#[test]
fn dead_readers_that_keep_reappearing_do_not_delay_a_call_that_does_not_wait() {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let block = block();
        block.used.store(1 << 40 | 1, SeqCst);
        [0, 40]
            .iter()
            .for_each(|&slot| block.slots[slot].put(span(0, 10)));
        block.slots[0].tag.store(Mode::Read.tag(OTHER), SeqCst);
        let reappearing = Reappearing {
            block: &block,
            asked: AtomicUsize::new(0),
        };
        sender
            .send((
                block.acquire(now(ME, span(0, 10), Mode::Write), &reappearing),
                reappearing.asked.load(SeqCst),
            ))
            .unwrap();
    });
    let (result, asked) = receiver
        .recv_timeout(Duration::from_secs(60))
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

/// Merging used to recurse as long as there were too many records, even if a hostile process added
/// some. Now it returns after each merge, and its caller looks again a bounded number of times.
#[test]
fn records_are_merged_one_by_one_and_not_for_as_long_as_there_are_too_many() {
    let (block, members) = (block(), Members::default());
    (0..40).for_each(|slot| {
        _ = block.publish(
            u64::MAX << slot,
            span(slot, slot + 1),
            Mode::Poisoned.tag(20),
        )
    });
    let records = || {
        block
            .slots_where(|_, tag| Mode::Poisoned.is(tag))
            .count_ones()
    };
    let request = now(ME, span(1000, 1010), Mode::Read);
    assert!(matches!(
        block.place(request, &mut None, &members),
        Err(Obstacle::Merged)
    ));
    assert_eq!(records(), 39);
    assert!(block.acquire(request, &members).is_ok() && LOOKS as usize > SLOTS);
    assert_eq!(records(), MAX_POISONED);
}

/// A recovery counts the slots that it needs, and read the spans again when it took them. A span
/// that was changed in between led it beyond the table's end, and it panicked under the lock word.
#[test]
fn a_record_that_grows_while_it_is_recovered_stays_where_there_is_no_room_for_the_rest() {
    let (block, members) = (block(), Members::default());
    // Other members hold all slots but the record's and one more.
    (1..63).for_each(|slot| {
        _ = block.publish(
            1 << slot,
            span(1000 + slot, 1001 + slot),
            Mode::Read.tag(OTHER),
        )
    });
    let change = |below: &mut dyn FnMut(u64) -> u64| {
        let record = &block.slots[0];
        let (start, end) = [(12, 18), (5, 50)][below(2) as usize];
        record.start.store(start, Relaxed);
        record.end.store(end, Relaxed);
    };
    let (mut given, mut refused) = (0, 0);
    amid(change, 2000, |_| {
        block.slots[0].tag.store(Mode::Poisoned.tag(20), SeqCst);
        block.used.store(u64::MAX, SeqCst);
        match in_time(|| block.recover(now(ME, span(10, 40), Mode::Write), true, &members)) {
            Ok(slot) => {
                given += 1;
                block.withdraw(slot);
            }
            Err(_) => refused += 1,
        }
    });
    assert!(given > 0 && refused > 0, "{given} given, {refused} refused");
}

#[test]
fn a_table_that_changes_all_the_time_is_left_in_time() {
    let (block, members) = (block(), Members::default());
    (0..5).for_each(|member| members.kill(20 + member));
    let change = |below: &mut dyn FnMut(u64) -> u64| {
        let slot = &block.slots[below(64) as usize];
        // Mostly poison that partly overlaps the request: the case with the most work.
        let start = below(300);
        slot.start
            .store([start, 0, u64::MAX][(below(20) / 18) as usize], Relaxed);
        slot.end.store(
            if below(20) == 0 {
                u64::MAX
            } else {
                start + below(40)
            },
            Relaxed,
        );
        slot.pitch
            .store(if below(4) == 0 { 64 } else { 0 }, Relaxed);
        slot.width.store(8, Relaxed);
        let mode = if below(8) == 0 {
            below(8)
        } else {
            Mode::Poisoned as u64
        };
        slot.tag.store(mode << 56 | (20 + below(6)), SeqCst);
        block.used.store(
            if below(4) == 0 {
                below(1 << 20)
            } else {
                u64::MAX
            },
            Relaxed,
        );
        match below(400) {
            0 => block.lock.store(ME, SeqCst),
            1 => block.lock.store(20, SeqCst),
            2..20 => block.lock.store(0, SeqCst),
            _ => {}
        }
    };
    let shortly = |bytes| Request {
        deadline: Some(Instant::now() + Duration::from_micros(300)),
        ..now(ME, bytes, Mode::Write)
    };
    let (mut given, mut refused) = (0, 0);
    amid(change, 4000, |round| {
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
        let result = in_time(|| match round % 5 {
            0 => block.recover(now(ME, bytes, Mode::Write), true, &members),
            1 => block.recover(shortly(bytes), true, &members),
            2 => block
                .poisoned(now(ME, bytes, Mode::Read), &members)
                .map(|_| 0),
            3 => block.acquire(shortly(bytes), &members),
            _ => block.acquire(now(ME, bytes, Mode::Read), &members),
        });
        match result {
            Ok(slot) => {
                given += 1;
                block.withdraw(slot);
            }
            Err(_) => refused += 1,
        }
    });
    assert!(
        given > 100 && refused > 100,
        "{given} given, {refused} refused"
    );
}

use super::*;
use std::{sync::Arc, time::Duration};

fn words() -> Growth {
    Growth {
        appender: AtomicU64::new(0),
        committed: AtomicU64::new(0),
        reserved: AtomicU64::new(4096),
        flushed: AtomicU64::new(0),
        boot: [AtomicU64::new(1), AtomicU64::new(2)],
        grown: AtomicU32::new(0),
        waiting: AtomicU32::new(0),
        pid: AtomicU32::new(0),
        freed: AtomicU32::new(0),
    }
}

fn all_live(_: u64) -> bool {
    true
}

#[test]
fn one_member_has_the_turn_and_a_dead_ones_is_taken_over() {
    let words = words();
    assert_eq!(words.try_take(7, all_live), Ok(()));
    assert_eq!(words.try_take(8, all_live), Err(7));
    // Another thread of the same process.
    assert_eq!(words.try_take(7, |_| false), Err(7));
    assert_eq!(words.try_take(8, |member| member != 7), Ok(()));
    words.give_back();
    assert_eq!(words.try_take(9, all_live), Ok(()));
}

#[test]
fn a_wait_for_the_turn_ends_at_its_time_or_by_the_look() {
    let words = words();
    words.take_free(7).unwrap();
    let now = Some(Instant::now());
    assert_eq!(words.take(8, now, all_live, |_| true), Err(NoTurn::Held(7)));
    assert_eq!(words.take(8, None, all_live, |_| false), Err(NoTurn::Ended));
    assert_eq!(words.take(8, None, |_| false, |_| true), Ok(()));
}

#[test]
fn no_wake_up_of_an_appender_or_a_reader_is_lost() {
    const ROUNDS: u64 = 10_000;
    const APPENDERS: u64 = 4;
    let words = Arc::new(words());
    let (done, finished) = std::sync::mpsc::channel();
    for member in 1..=APPENDERS {
        let (words, done) = (words.clone(), done.clone());
        std::thread::spawn(move || {
            for _ in 0..ROUNDS {
                words.take(member, None, all_live, |_| true).unwrap();
                words.commit(words.committed.load(Relaxed) + 1);
                words.give_back();
            }
            done.send(()).unwrap();
        });
    }
    const READERS: u64 = 3;
    for _ in 0..READERS {
        let (words, done) = (words.clone(), done.clone());
        std::thread::spawn(move || {
            let mut seen = 0;
            while seen < APPENDERS * ROUNDS {
                let look = |_| {
                    let found = words.committed.load(Acquire);
                    (found > seen).then_some(found)
                };
                seen = words.wait_for(None, look).unwrap();
            }
            done.send(()).unwrap();
        });
    }
    for _ in 0..APPENDERS + READERS {
        finished
            .recv_timeout(Duration::from_secs(60))
            .expect("a thread sleeps on, though its event has come");
    }
    assert_eq!(words.committed.load(SeqCst), APPENDERS * ROUNDS);
}

#[test]
fn another_boot_leaves_the_flushed_rows_once() {
    let words = words();
    words.commit(10);
    words.flushed_up_to(6);
    words.flushed_up_to(4);
    words.restart([1, 2], 4096, 100);
    assert_eq!(words.committed.load(SeqCst), 10, "it is the same boot");
    words.restart([3, 4], 8192, 100);
    assert_eq!(words.committed.load(SeqCst), 6);
    assert_eq!(words.reserved.load(SeqCst), 8192);
    words.commit(9);
    // The second opener.
    words.restart([3, 4], 8192, 100);
    assert_eq!(words.committed.load(SeqCst), 9);
}

#[test]
fn another_boot_leaves_no_more_rows_than_the_file_has() {
    let words = words();
    words.flushed_up_to(u64::MAX);
    words.restart([3, 4], 8192, 100);
    assert_eq!(words.committed.load(SeqCst), 100);
    assert_eq!(words.flushed.load(SeqCst), 100);
}

#[test]
fn new_words_are_those_of_an_empty_array() {
    let bytes = Growth::initial(4096, [5, 6]);
    let words: [u64; 8] =
        std::array::from_fn(|word| u64::from_ne_bytes(*bytes[8 * word..].first_chunk().unwrap()));
    assert_eq!(words, [0, 0, 4096, 0, 5, 6, 0, 0]);
}

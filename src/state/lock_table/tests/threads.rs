//! Threads that wait for each other, with the kernel's futex.

use super::*;
use crate::format::constants::ASKED;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize},
    mpsc,
};

/// A thread with a lane that it keeps.
struct Worker {
    store: Arc<Fixture>,
    member: u64,
    lane: u32,
}

impl Worker {
    fn new(store: &Arc<Fixture>, member: u64) -> Self {
        Self {
            store: store.clone(),
            member,
            lane: store.lease(member).unwrap(),
        }
    }

    fn request(&self, span: Span, mode: Mode) -> Request {
        Request {
            lane: self.lane,
            thread: self.lane + 1,
            ..forever(self.member, span, mode)
        }
    }

    fn take(&self, span: Span, mode: Mode) -> Result<(), Refusal> {
        let request = self.request(span, mode);
        match self.store.table().acquire_at_once(&request, &mut None) {
            true => Ok(()),
            false => self
                .store
                .table()
                .acquire(request, &self.store.around(self.member)),
        }
    }

    fn give_back(&self) {
        withdraw(self.store.lane(self.lane));
    }

    fn is_awaited(&self) -> bool {
        self.store.pool.tag(self.lane) & AWAITED != 0
    }
}

fn store(lanes: u32) -> Arc<Fixture> {
    Arc::new(Fixture::new(lanes))
}

/// Runs `action` in a thread of its own.
fn spawn<R: Send + 'static>(action: impl FnOnce() -> R + Send + 'static) -> mpsc::Receiver<R> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || _ = sender.send(action()));
    receiver
}

#[track_caller]
fn result_of<R>(receiver: &mpsc::Receiver<R>) -> R {
    receiver
        .recv_timeout(Duration::from_secs(60))
        .expect("a thread sleeps on, though its way is free")
}

/// Four threads of the members, with as many lanes in use beside theirs, so that hints are in the
/// list or in groups.
fn no_wake_up_is_lost(others: u64, member_of: impl Fn(u64) -> u64) {
    let (store, inside) = (store(1100), Arc::new(AtomicUsize::new(0)));
    for i in 0..others {
        store.put(99, span(1000 + i, 1001 + i), Mode::Read);
    }
    let threads: Vec<_> = (1..=4)
        .map(|thread| {
            let (worker, inside) = (Worker::new(&store, member_of(thread)), inside.clone());
            spawn(move || {
                for round in 0..20_000 {
                    let mode = [Mode::Read, Mode::Write, Mode::Write, Mode::Atomic][round % 4];
                    worker.take(span(0, 8), mode).unwrap();
                    if mode == Mode::Write {
                        assert_eq!(inside.fetch_add(1, SeqCst), 0);
                        inside.fetch_sub(1, SeqCst);
                    }
                    worker.give_back();
                }
            })
        })
        .collect();
    threads.iter().for_each(result_of);
}

#[test]
fn a_waiter_gets_the_bytes_when_they_are_given_back_and_no_wake_up_is_lost() {
    no_wake_up_is_lost(0, |thread| thread);
}

#[test]
fn no_wake_up_is_lost_between_threads_of_one_process() {
    no_wake_up_is_lost(0, |_| ME);
}

#[test]
fn no_wake_up_is_lost_between_lanes_of_groups() {
    no_wake_up_is_lost(200, |thread| thread);
}

/// Lets three threads take guards in a mode whose times overlap, again and again, while this one
/// takes a hundred in another mode.
fn a_stream_does_not_starve(stream: Mode, other: Mode) {
    let store = store(70);
    let (is_over, guards) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let threads: Vec<_> = (1..=3)
        .map(|member| {
            let worker = Worker::new(&store, member);
            let (is_over, guards) = (is_over.clone(), guards.clone());
            spawn(move || {
                while !is_over.load(SeqCst) {
                    worker.take(span(0, 8), stream).unwrap();
                    guards.fetch_add(1, SeqCst);
                    std::thread::yield_now();
                    worker.give_back();
                }
            })
        })
        .collect();
    until(|| guards.load(SeqCst) >= 1000);
    let mine = Worker::new(&store, 9);
    let done = spawn(move || {
        for _ in 0..100 {
            mine.take(span(0, 8), other).unwrap();
            mine.give_back();
        }
    });
    result_of(&done);
    is_over.store(true, SeqCst);
    threads.iter().for_each(result_of);
}

#[test]
fn a_stream_of_readers_does_not_starve_a_writer() {
    a_stream_does_not_starve(Mode::Read, Mode::Write);
}

#[test]
fn a_stream_of_writers_does_not_starve_a_reader() {
    a_stream_does_not_starve(Mode::Write, Mode::Read);
}

#[test]
fn a_stream_of_readers_does_not_starve_atomic_access_nor_the_reverse() {
    a_stream_does_not_starve(Mode::Read, Mode::Atomic);
    a_stream_does_not_starve(Mode::Atomic, Mode::Read);
}

#[test]
fn a_waiter_is_woken_when_the_writer_in_its_way_panics() {
    let store = store(3);
    let (writer, reader) = (Worker::new(&store, OTHER), Worker::new(&store, ME));
    writer.take(span(0, 10), Mode::Write).unwrap();
    let result = spawn(move || reader.take(span(5, 6), Mode::Read));
    until(|| writer.is_awaited());
    super::super::poison(store.lane(writer.lane), OTHER);
    assert_eq!(
        result_of(&result),
        Err(Refusal::Poisoned(poison_of(0, 10, OTHER)))
    );
}

#[test]
fn a_waiter_is_woken_when_another_waiter_in_its_way_gives_up() {
    let store = store(4);
    let [holder, first, second] = [20, 21, 22].map(|member| Worker::new(&store, member));
    holder.take(span(0, 5), Mode::Read).unwrap();
    let waiting = store.put(21, span(0, 10), Mode::WriteWait);
    let result = spawn(move || second.take(span(5, 10), Mode::Read));
    until(|| store.pool.tag(waiting) & AWAITED != 0);
    store.give_back(waiting);
    assert_eq!(result_of(&result), Ok(()));
    assert!(!first.is_awaited());
}

#[test]
fn a_waiter_is_woken_when_another_process_clears_the_dead_guard_in_its_way() {
    let store = store(3);
    let (holder, writer) = (Worker::new(&store, OTHER), Worker::new(&store, ME));
    holder.take(span(0, 10), Mode::Read).unwrap();
    let result = spawn(move || writer.take(span(0, 10), Mode::Write));
    until(|| holder.is_awaited());
    store.kill(OTHER);
    assert!(lanes::clear_dead(&store.pool, |member| store.is_alive(member)));
    assert_eq!(result_of(&result), Ok(()));
}

/// Whether a thread of this process sleeps.
fn sleeps(thread: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
    stat.rsplit(')')
        .next()
        .unwrap()
        .trim_start()
        .starts_with('S')
}

/// Otherwise none would ask about a guard whose holder has waited itself: they sleep for long.
#[test]
fn a_waiter_that_gets_its_guard_wakes_the_next_one_to_ask_about_it() {
    let store = store(6);
    let [holder, first, second] = [20, 21, 22].map(|member| Worker::new(&store, member));
    let (first_lane, block) = (first.lane, &store.block);
    holder.take(span(0, 10), Mode::Write).unwrap();
    let got_it = spawn(move || first.take(span(0, 10), Mode::Write));
    until(|| holder.is_awaited());
    let (number, thread) = mpsc::channel();
    let last = spawn(move || {
        let id = rustix::thread::gettid().as_raw_nonzero().get();
        number.send(id).unwrap();
        second.take(span(0, 10), Mode::Write)
    });
    let thread = thread.recv().unwrap();
    until(|| store.pool.tag(first_lane) & AWAITED != 0 && sleeps(thread));
    holder.give_back();
    assert_eq!(result_of(&got_it), Ok(()));
    until(|| block.asked[first_lane as usize % ASKED].load(SeqCst) >> 32 == u64::from(first_lane));
    withdraw(store.lane(first_lane));
    assert_eq!(result_of(&last), Ok(()));
}

/// Between a waiter's wake-up and its look, the lane in its way can come to another array or to
/// other bytes and get the same tag again. The waiter then slept on for as long as that guard was
/// held.
fn a_waiter_does_not_wait_for_the_next_guard(key: u64, next: Span) {
    let store = store(3);
    let (holder, waiter) = (Worker::new(&store, OTHER), Worker::new(&store, ME));
    holder.take(span(0, 10), Mode::Read).unwrap();
    let result = spawn(move || waiter.take(span(0, 10), Mode::Write));
    until(|| holder.is_awaited());
    // Patience is no reason to look again any more.
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_millis(1300) {
        store.poke(holder.lane);
        std::thread::sleep(Duration::from_millis(20));
    }
    store.lane(holder.lane).put(key, next);
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        store.poke(holder.lane);
        if let Ok(taken) = result.recv_timeout(Duration::from_millis(20)) {
            assert_eq!(taken, Ok(()));
            return;
        }
    }
    panic!("it waits for a guard that is not in its way");
}

#[test]
fn a_waiter_does_not_wait_for_a_guard_on_another_array_in_the_same_lane() {
    a_waiter_does_not_wait_for_the_next_guard(ELSEWHERE, span(0, 10));
}

#[test]
fn a_waiter_does_not_wait_for_a_guard_on_other_bytes_in_the_same_lane() {
    a_waiter_does_not_wait_for_the_next_guard(KEY, span(20, 30));
}

/// Between the scan and the announcement as well.
#[test]
fn a_waiter_is_not_announced_to_a_guard_on_another_array() {
    let store = store(3);
    let (holder, waiter) = (Worker::new(&store, OTHER), Worker::new(&store, ME));
    holder.take(span(0, 10), Mode::Read).unwrap();
    let (table, tag) = (store.table(), store.pool.tag(holder.lane));
    let mut hints = table.each_lane(waiter.lane, |_, _, _| {});
    store.lane(holder.lane).key.store(ELSEWHERE, SeqCst);
    let obstacle = table.wait_behind(
        &waiter.request(span(0, 10), Mode::Write),
        &mut Wait::new(),
        &mut hints,
        table.ahead(Some((holder.lane, tag)), None),
    );
    assert!(matches!(obstacle, Obstacle::Changed));
}

//! Threads that wait for each other, with the kernel's futex.

use super::*;
use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, AtomicUsize},
    mpsc,
};

/// No member dies, and no thread holds two guards.
struct AllAlive;

impl Liveness for AllAlive {
    fn is_alive(&self, _: u64) -> bool {
        true
    }

    fn is_own(&self, _: usize) -> bool {
        false
    }
}

#[test]
fn a_waiter_gets_the_slot_when_it_is_released_and_no_wake_up_is_lost() {
    let (done, finished) = mpsc::channel();
    let (block, inside): (Arc<StateBlock>, _) = (block().into(), Arc::new(AtomicUsize::new(0)));
    for member in 1..=4 {
        let (block, inside, done) = (block.clone(), inside.clone(), done.clone());
        std::thread::spawn(move || {
            for round in 0..20_000 {
                let mode = if round % 3 == 0 {
                    Mode::Read
                } else {
                    Mode::Write
                };
                let slot = block
                    .acquire(
                        Request {
                            member,
                            span: span(0, 8),
                            mode,
                            deadline: None,
                        },
                        &AllAlive,
                    )
                    .unwrap();
                if mode == Mode::Write {
                    assert_eq!(inside.fetch_add(1, SeqCst), 0);
                    inside.fetch_sub(1, SeqCst);
                }
                block.withdraw(slot);
            }
            done.send(()).unwrap();
        });
    }
    for _ in 0..4 {
        finished
            .recv_timeout(Duration::from_secs(60))
            .expect("a thread sleeps on, though the slot is free");
    }
}

#[test]
fn a_stream_of_readers_does_not_starve_a_writer() {
    let block: Arc<StateBlock> = block().into();
    let stop = Arc::new(AtomicU32::new(0));
    let reads = Arc::new(AtomicU64::new(0));
    // Three readers whose guards overlap in time, again and again.
    let readers: Vec<_> = (1..=3)
        .map(|member| {
            let (block, stop, reads) = (block.clone(), stop.clone(), reads.clone());
            std::thread::spawn(move || {
                let read = || {
                    block
                        .acquire(
                            Request {
                                member,
                                span: span(0, 8),
                                mode: Mode::Read,
                                deadline: None,
                            },
                            &AllAlive,
                        )
                        .unwrap()
                };
                while stop.load(SeqCst) == 0 {
                    let slot = read();
                    reads.fetch_add(1, SeqCst);
                    std::thread::yield_now();
                    block.withdraw(slot);
                }
            })
        })
        .collect();
    while reads.load(SeqCst) < 1000 {
        std::thread::yield_now();
    }
    for _ in 0..100 {
        let slot = block
            .acquire(
                Request {
                    member: 9,
                    span: span(0, 8),
                    mode: Mode::Write,
                    deadline: None,
                },
                &AllAlive,
            )
            .unwrap();
        block.withdraw(slot);
    }
    stop.store(1, SeqCst);
    readers
        .into_iter()
        .for_each(|reader| reader.join().unwrap());
}

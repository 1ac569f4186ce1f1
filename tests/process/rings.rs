//! Rings of frames between processes: deaths of producers and subscribers, the successor, forks,
//! another boot, words that lie.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Peer, Root, words};
use ndarray::Ix1;
use ndshm::{Error, Handle, Manager, Ring};
use std::{path::Path, time::Duration};

const SOON: Duration = Duration::from_secs(60);
/// Elements of a frame: so many that writing it takes a while.
const LEN: usize = 1 << 14;

fn ring(manager: &Manager, frames: usize) -> Ring<u64, Ix1> {
    manager.options().name("ring").ring((LEN,), frames).unwrap()
}

fn child(kind: &str, ring: &Ring<u64, Ix1>) -> Peer {
    // A reader's payload is mapped without the right to write it.
    let handle = match kind {
        "read" => ring.handle().read_only(),
        _ => ring.handle(),
    };
    Peer::start(child_of_a_ring, &[kind.to_owned(), handle.to_string()])
}

#[test]
#[ignore = "runs in a child"]
fn child_of_a_ring() {
    let arguments = common::arguments();
    let handle: Handle = arguments[1].parse().unwrap();
    let ring: Ring<u64, Ix1> = handle.open_ring().unwrap();
    let wait = || std::io::stdin().lines().for_each(drop);
    match arguments[0].as_str() {
        // Publishes two frames, and stops amid the third.
        "produce" => {
            let mut producer = ring.produce().unwrap();
            for value in 1..=2 {
                let mut frame = producer.next().unwrap();
                frame.fill(value);
                frame.publish().unwrap();
            }
            let mut frame = producer.next().unwrap();
            frame.fill(999);
            println!("amid a frame");
            wait();
        }
        // Publishes as fast as it can.
        "flood" => {
            let mut producer = ring.produce().unwrap();
            println!("begins");
            loop {
                let mut frame = producer.next().unwrap();
                let value = ring.newest() + 1;
                frame.fill(value);
                assert_eq!(frame.publish().unwrap(), value);
            }
        }
        kind @ ("hold" | "lossless") => {
            let mut subscriber = match kind {
                "hold" => ring.subscribe().unwrap(),
                _ => ring.subscribe_lossless().unwrap(),
            };
            println!("subscribed");
            let _first = subscriber.next_timeout(SOON).unwrap().unwrap();
            let _second = subscriber.next_timeout(SOON).unwrap().unwrap();
            println!("holds two");
            wait();
        }
        // Reads until the end of the stream.
        "read" => {
            let mut subscriber = ring.subscribe_lossless().unwrap();
            println!("subscribed");
            let mut seen = 0;
            for frame in subscriber.iter() {
                let frame = frame.unwrap();
                assert_eq!(frame.number(), seen + 1);
                assert!(frame.iter().all(|&x| x == frame.number()));
                seen += 1;
            }
            println!("read {seen}");
        }
        _ => unreachable!("no such child"),
    }
    common::done();
}

#[test]
fn frames_reach_other_processes_in_order() {
    let root = Root::new();
    let manager = root.manager();
    let ring = ring(&manager, 3);
    let mut readers: Vec<_> = (0..4).map(|_| child("read", &ring)).collect();
    let mut producer = ring.produce().unwrap();
    producer.wait_subscribers(4, SOON).unwrap();
    for value in 1..=500 {
        let mut frame = producer.next_timeout(SOON).unwrap();
        frame.fill(value);
        frame.publish().unwrap();
    }
    producer.finish().unwrap();
    for reader in &mut readers {
        reader.hear("subscribed");
        assert_eq!(reader.hear("read").trim(), "500");
    }
    readers.into_iter().for_each(Peer::finish);
    assert_eq!(ring.subscribers(), []);
}

/// A producer was killed amid a frame: the frame is never seen, subscribers are told once, and the
/// next producer goes on at the next number.
#[test]
fn a_producer_that_is_killed_amid_a_frame_leaves_the_ring_usable() {
    let root = Root::new();
    let manager = root.manager();
    let ring = ring(&manager, 3);
    let mut subscribers = [
        ring.subscribe().unwrap(),
        ring.subscribe_lossless().unwrap(),
    ];
    let mut victim = child("produce", &ring);
    victim.hear("amid a frame");
    for subscriber in &mut subscribers {
        for value in 1..=2 {
            let frame = subscriber.next_timeout(SOON).unwrap().unwrap();
            assert!(frame.iter().all(|&x| x == value));
        }
        let refused = subscriber.try_next().unwrap_err();
        assert!(matches!(refused, Error::WouldBlock { .. }), "{refused}");
        assert!(
            refused
                .to_string()
                .contains(&victim.pid().as_raw_nonzero().to_string())
        );
    }
    victim.kill();
    let member = subscribers.each_mut().map(|subscriber| {
        let told = subscriber.next_timeout(SOON).unwrap_err();
        let Error::Abandoned { member, .. } = told else {
            panic!("{told}")
        };
        let waited = subscriber
            .next_timeout(Duration::from_millis(1))
            .unwrap_err();
        assert!(
            waited.to_string().contains("no process produced"),
            "{waited}"
        );
        member
    });
    assert!(member[0] == member[1] && member[0] != 0);
    let mut producer = ring.try_produce().unwrap();
    for value in 3..=8 {
        let mut frame = producer.next_timeout(SOON).unwrap();
        frame.fill(value);
        assert_eq!(frame.publish().unwrap(), value);
        for subscriber in &mut subscribers {
            let frame = subscriber.next_timeout(SOON).unwrap().unwrap();
            assert!(frame.number() == value && frame.iter().all(|&x| x == value));
        }
    }
}

/// Producers are killed while they write as fast as they can, again and again: no frame is torn,
/// and numbers have no gap.
#[test]
fn no_frame_is_torn_by_the_deaths_of_producers() {
    let root = Root::new();
    let manager = root.manager();
    let ring = ring(&manager, 4);
    let mut subscriber = ring.subscribe().unwrap();
    let mut last = 0;
    for _ in 0..25 {
        let mut victim = child("flood", &ring);
        victim.hear("begins");
        let mut taken = 0;
        let mut told = 0;
        while taken < 20 {
            let frame = subscriber.next_timeout(SOON).unwrap().unwrap();
            assert!(frame.number() > last);
            last = frame.number();
            assert!(frame.iter().all(|&x| x == last), "frame {last} is torn");
            taken += 1;
        }
        victim.kill();
        while told == 0 {
            match subscriber.next_timeout(SOON) {
                Ok(frame) => {
                    let frame = frame.unwrap();
                    last = frame.number();
                    assert!(frame.iter().all(|&x| x == last), "frame {last} is torn");
                }
                Err(Error::Abandoned { .. }) => told += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(ring.newest(), last);
    }
}

#[test]
fn a_subscriber_that_is_killed_blocks_no_process() {
    let root = Root::new();
    let manager = root.manager();
    for kind in ["hold", "lossless"] {
        let ring: Ring<u64, Ix1> = manager.options().ring((LEN,), 3).unwrap();
        let mut victim = child(kind, &ring);
        victim.hear("subscribed");
        let mut producer = ring.produce().unwrap();
        let publish = |producer: &mut ndshm::Producer<u64, Ix1>| {
            producer.next_timeout(SOON).unwrap().publish().unwrap()
        };
        publish(&mut producer);
        publish(&mut producer);
        victim.hear("holds two");
        // The third slot is the last one, and then the newest.
        publish(&mut producer);
        let refused = producer.next_timeout(Duration::from_millis(1)).unwrap_err();
        let pid = victim.pid().as_raw_nonzero().to_string();
        assert!(refused.to_string().contains(&pid), "{kind}: {refused}");
        victim.kill();
        for _ in 0..10 {
            publish(&mut producer);
        }
        assert_eq!(ring.subscribers(), [], "{kind}");
    }
}

/// All seats are those of dead subscribers.
#[test]
fn the_seats_of_the_dead_are_given_away() {
    let root = Root::new();
    let manager = root.manager();
    let ring: Ring<u64, Ix1> = {
        let options = manager.options().max_subscribers(2);
        options.ring((LEN,), 3).unwrap()
    };
    for _ in 0..3 {
        let mut victims = [child("hold", &ring), child("hold", &ring)];
        victims
            .iter_mut()
            .for_each(|victim| _ = victim.hear("subscribed"));
        assert!(matches!(
            ring.subscribe(),
            Err(Error::TooManySubscribers { .. })
        ));
        victims.iter_mut().for_each(|victim| _ = victim.kill());
        let seats = [ring.subscribe().unwrap(), ring.subscribe().unwrap()];
        assert_eq!(ring.subscribers().len(), 2);
        drop(seats);
    }
}

/// A persistent ring outlives its processes; after another boot it is empty, and numbers go on.
#[test]
fn a_persistent_ring_goes_on_after_a_crash_and_is_empty_after_a_boot() {
    let root = Root::new();
    let store = root.path().join("store");
    let run = |boot_changes: bool| {
        let manager = Manager::open_or_create(&store).unwrap();
        let options = manager.options().name("ring");
        let ring = options.open_or_ring::<u64, _, ()>((LEN,), 3).unwrap();
        if boot_changes {
            assert!(ring.frame(1).unwrap().is_none() && ring.newest() == 2);
        }
        ring
    };
    let ring = run(false);
    let mut victim = child("produce", &ring);
    victim.hear("amid a frame");
    victim.kill();
    drop(ring);
    let ring = run(false);
    assert_eq!(ring.frame(2).unwrap().unwrap()[0], 2);
    let path = ring.path().to_path_buf();
    drop(ring);
    // A seat and a turn of another boot, whose members may have the ids of living processes now.
    let control = control_at(&path);
    words::set(&path, control + 8, 1);
    words::set(&path, control + 64, 0x1234);
    let ring = run(true);
    let mut subscriber = ring.subscribe().unwrap();
    assert!(subscriber.latest().unwrap().is_none());
    let mut producer = ring.try_produce().unwrap();
    producer.next().unwrap().publish().unwrap();
    assert_eq!(subscriber.try_next().unwrap().unwrap().number(), 3);
}

/// Where the words of a ring stand in its file, before the payload prefix.
fn control_at(path: &Path) -> u64 {
    let file = std::fs::read(path).unwrap();
    let prefix_at = file
        .windows(8)
        .position(|bytes| bytes == b"gpayload")
        .unwrap();
    let frames = 3;
    let len = 128 + frames * 64 + 64 * 64;
    ((prefix_at - len) / 64 * 64) as u64
}

/// Any bytes are sound words: calls end with a frame or an error, and none waits for ever.
#[test]
fn words_that_lie_give_no_undefined_behaviour_and_no_endless_loop() {
    let root = Root::new();
    let manager = root.manager();
    let ring = ring(&manager, 3);
    let control = control_at(ring.path());
    let (frames, seats) = (control + 128, control + 128 + 3 * 64);
    let lies = [
        0,
        1,
        2,
        3,
        4,
        255,
        1 << 31,
        u64::MAX,
        u64::MAX - 1,
        1 << 63,
        0x0505_0505_0505_0505,
    ];
    let boot = [64, 72].map(|at| words::get(ring.path(), control + at));
    let in_time = Duration::from_millis(1);
    let words_of_ring: Vec<u64> = (0..8)
        .map(|word| control + 8 * word)
        .chain((0..4).map(|word| frames + 64 + 8 * word))
        .chain((0..7).map(|word| seats + 8 * word))
        .collect();
    for at in words_of_ring {
        for lie in lies {
            let mut subscriber = ring.subscribe_lossless().unwrap();
            words::set(ring.path(), at, lie);
            let _ = subscriber.latest();
            let _ = subscriber.next_timeout(in_time);
            let _ = subscriber.frame(lie);
            let _ = (ring.newest(), ring.subscribers(), ring.producer());
            if let Ok(mut producer) = ring.produce_timeout(in_time) {
                if let Ok(mut frame) = producer.next_timeout(in_time) {
                    frame.fill(lie);
                    let _ = frame.publish();
                }
                let _ = producer.wait_subscribers(1, in_time);
            }
            if let Ok(Some(frame)) = subscriber.latest() {
                assert!(frame.len() <= LEN);
            }
            drop(subscriber);
            let size = (frames - control) as usize + 3 * 64 + 64 * 64;
            let file = std::fs::OpenOptions::new()
                .write(true)
                .open(ring.path())
                .unwrap();
            let zeros = vec![0; size];
            std::os::unix::fs::FileExt::write_all_at(&file, &zeros, control).unwrap();
            for (at, word) in [64, 72].into_iter().zip(boot) {
                words::set(ring.path(), control + at, word);
            }
        }
    }
    // With sound words the ring is usable again.
    let mut subscriber = ring.subscribe().unwrap();
    ring.produce().unwrap().next().unwrap().publish().unwrap();
    assert_eq!(subscriber.try_next().unwrap().unwrap().number(), 1);
}

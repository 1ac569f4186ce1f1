//! Deaths of producers and subscribers of a ring, at each of their steps.
//!
//! A process dies at a point, or stands there and is killed. Then no frame is torn, no number is
//! missing, and another process produces and subscribes.

use crate::{
    common::{self, Peer},
    setup::soon,
};
use ndarray::Ix1;
use ndshm::{Error, Handle, Producer, Ring, Subscriber, failpoint};
use std::{collections::BTreeSet, path::Path, time::Duration};

const SOON: Duration = Duration::from_secs(60);
const LEN: usize = 4096;
/// Frames of the ring, and its seats.
const FRAMES: usize = 3;
const SEATS: usize = 3;

/// What a process does until it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// It publishes; one subscriber sleeps, one holds a frame.
    Produces,
    /// It takes the turn of a dead producer.
    Succeeds,
    /// It publishes where a dead subscriber holds frames.
    Clears,
    /// It subscribes without losses, and takes frames.
    Subscribes,
}

/// The points, and how often they are passed before.
const DEATHS: &[(Part, &str, u64)] = &[
    (Part::Produces, "RingTurnTaken", 1),
    (Part::Produces, "RingFrameHidden", 1),
    (Part::Produces, "RingFrameHidden", 2),
    (Part::Produces, "RingFrameHidden", 5),
    (Part::Produces, "RingFrameWritten", 1),
    (Part::Produces, "RingFrameWritten", 4),
    (Part::Produces, "RingFrameWhole", 1),
    (Part::Produces, "RingFrameWhole", 2),
    (Part::Produces, "RingFrameWhole", 6),
    (Part::Produces, "RingFramePublished", 1),
    (Part::Produces, "RingFramePublished", 3),
    (Part::Produces, "RingWakeRaised", 1),
    (Part::Produces, "RingWakeRaised", 2),
    (Part::Succeeds, "RingDeathNoted", 1),
    (Part::Succeeds, "RingTurnTakenOver", 1),
    (Part::Clears, "RingSeatTakenOver", 1),
    (Part::Subscribes, "RingSeatTaken", 1),
    (Part::Subscribes, "RingFramePinned", 1),
    (Part::Subscribes, "RingFramePinned", 3),
    (Part::Subscribes, "RingFrameAwaited", 1),
    (Part::Subscribes, "RingFrameAwaited", 2),
];

#[test]
fn a_death_at_any_step_of_a_ring_tears_no_frame_and_blocks_no_process() {
    for &(part, point, nth) in DEATHS {
        for stands in [false, true] {
            run(part, point, nth, stands);
        }
    }
    let died: BTreeSet<_> = DEATHS.iter().map(|(_, point, _)| *point).collect();
    let all = failpoint::NAMES.iter().filter(|name| is_of_rings(name));
    let missing: Vec<_> = all.filter(|name| !died.contains(**name)).collect();
    assert!(missing.is_empty(), "no process died at {missing:?}");
}

/// Whether the deaths of this file are at this point.
pub(crate) fn is_of_rings(point: &str) -> bool {
    point.starts_with("Ring")
}

fn run(part: Part, point: &str, nth: u64, stands: bool) {
    let title = format!("{part:?} at {point} {nth}, stands: {stands}");
    let root = common::Root::new();
    let manager = root.manager();
    let options = manager.options().name("ring").max_subscribers(SEATS);
    let ring: Ring<u64, Ix1> = options.ring((LEN,), FRAMES).unwrap();
    let marker = root.path().join("stands");
    let start = |part: Part, point: &str, marker: &Path| {
        let words = [
            format!("{part:?}"),
            point.into(),
            nth.to_string(),
            marker.to_str().unwrap().into(),
            ring.handle().to_string(),
        ];
        Peer::start(child_of_a_ring, &words)
    };
    let mut last = 0;
    // An earlier death that the victim finds.
    match part {
        Part::Succeeds => {
            let mut dead = start(Part::Produces, "", Path::new(""));
            let mut subscriber = ring.subscribe().unwrap();
            for _ in 0..3 {
                last = whole(&mut subscriber, &title);
            }
            dead.kill();
        }
        Part::Clears => {
            let mut dead = start(Part::Subscribes, "", Path::new(""));
            dead.hear("subscribed");
            let mut producer = ring.produce().unwrap();
            last = publish(&ring, &mut producer, &title);
            soon("it holds the frame", || ring.subscribers()[0].held > 0);
            dead.kill();
        }
        _ => {}
    }
    let mut subscriber = ring.subscribe_lossless().unwrap();
    let marker = if stands {
        marker.as_path()
    } else {
        Path::new("")
    };
    let mut victim = start(part, point, marker);
    if part == Part::Subscribes {
        let mut producer = ring.produce().unwrap();
        // It holds a frame or lacks one, and is waited for until it is dead.
        let mut publishing = || {
            while !stands || !marker.exists() {
                let frame = producer.try_next();
                let Ok(mut frame) = frame else {
                    if !stands {
                        return;
                    }
                    std::thread::sleep(Duration::from_micros(200));
                    continue;
                };
                frame.fill(last + 1);
                last = frame.publish().unwrap();
                assert_eq!(whole(&mut subscriber, &title), last, "{title}");
                if last > 1000 {
                    return;
                }
            }
        };
        publishing();
        if stands {
            soon("the victim stands", || marker.exists());
            victim.kill();
        } else {
            // It dies by itself, with the help of more frames.
            publishing();
        }
        drop(producer);
    } else {
        let mut seen = Vec::new();
        let mut is_killed = false;
        let told = loop {
            if stands && !is_killed && marker.exists() {
                // The others go on beside it.
                let mut other = ring.subscribe().unwrap();
                let newest = other.latest().unwrap();
                assert!(newest.is_none_or(|frame| frame.iter().all(|&x| x == frame.number())));
                let refused = ring.try_produce().map(drop).err();
                let is_expected = match &refused {
                    None => part == Part::Succeeds,
                    Some(error) => matches!(error, Error::WouldBlock { .. }),
                };
                assert!(is_expected, "{title}: {refused:?}");
                victim.kill();
                is_killed = true;
            }
            match subscriber.next_timeout(if stands {
                Duration::from_millis(5)
            } else {
                SOON
            }) {
                Ok(frame) => {
                    let frame = frame.unwrap();
                    assert!(frame.iter().all(|&x| x == frame.number()), "{title}: torn");
                    seen.push(frame.number());
                }
                Err(Error::Timeout { .. }) if stands => {
                    if part == Part::Succeeds && is_killed {
                        break None;
                    }
                }
                Err(error) => break Some(error),
            }
        };
        assert!(
            told.is_none_or(|told| matches!(told, Error::Abandoned { .. })),
            "{title}"
        );
        let expected: Vec<_> = (last + 1..).take(seen.len()).collect();
        assert_eq!(seen, expected, "{title}");
        last += seen.len() as u64;
    }
    assert_eq!(ring.newest(), last, "{title}");
    // The next producer goes on at the next number, and all seats of the dead can be had.
    let mut producer = ring.produce_timeout(SOON).unwrap();
    for _ in 0..2 * FRAMES {
        let number = publish(&ring, &mut producer, &title);
        last += 1;
        assert_eq!(number, last, "{title}");
        assert_eq!(whole(&mut subscriber, &title), last, "{title}");
    }
    let rest: Vec<_> = (1..SEATS).map(|_| ring.subscribe().unwrap()).collect();
    drop((rest, victim));
}

/// Publishes a frame of its own number.
fn publish(ring: &Ring<u64, Ix1>, producer: &mut Producer<u64, Ix1>, title: &str) -> u64 {
    let number = ring.newest() + 1;
    let mut frame = producer
        .next_timeout(SOON)
        .unwrap_or_else(|error| panic!("{title}: {error}"));
    frame.fill(number);
    frame.publish().unwrap()
}

/// The number of the next frame, which is whole.
fn whole(subscriber: &mut Subscriber<u64, Ix1>, title: &str) -> u64 {
    let frame = subscriber
        .next_timeout(SOON)
        .unwrap_or_else(|error| panic!("{title}: {error}"));
    let frame = frame.unwrap();
    let value = frame[0];
    assert!(frame.iter().all(|&x| x == value), "{title}: torn");
    frame.number()
}

#[test]
#[ignore = "runs in a child"]
fn child_of_a_ring() {
    let arguments = common::arguments();
    let [part, point, nth, marker, handle] = arguments.try_into().unwrap();
    let ring: Ring<u64, Ix1> = handle.parse::<Handle>().unwrap().open_ring().unwrap();
    let nth = nth.parse().unwrap();
    match (point.as_str(), marker.as_str()) {
        ("", _) => {}
        (point, "") => failpoint::die(point, nth),
        (point, marker) => failpoint::stand(point, nth, Path::new(marker)),
    }
    if part == "Subscribes" {
        let mut subscriber = ring.subscribe_lossless().unwrap();
        println!("subscribed");
        let mut held = None;
        loop {
            held = subscriber.next_timeout(SOON).unwrap().or(held);
        }
    }
    let mut producer = ring.produce_timeout(SOON).unwrap();
    loop {
        let number = ring.newest() + 1;
        let mut frame = producer.next_timeout(SOON).unwrap();
        frame.fill(number);
        frame.publish().unwrap();
        // So that subscribers sleep now and then.
        std::thread::sleep(Duration::from_micros(300));
    }
}

//! Rings of frames, in one process.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use ndarray::{Ix0, Ix1, Ix2, Ix3, array};
use ndshm::{AnyRing, ArrayKind, Element, Error, Manager, Observer, Ring, Scope, SubscriberState};
use std::{thread, time::Duration};

const SOON: Duration = Duration::from_secs(60);
const NOW: Duration = Duration::from_millis(1);

fn ring(manager: &Manager, frames: usize) -> Ring<u64, Ix1> {
    manager.options().ring((3,), frames).unwrap()
}

/// Publishes a frame of one value, and returns its number.
fn publish(producer: &mut ndshm::Producer<u64, Ix1>, value: u64) -> u64 {
    let mut frame = producer.next_timeout(SOON).unwrap();
    frame.fill(value);
    frame.publish().unwrap()
}

#[test]
fn a_subscriber_gets_each_frame_in_order_and_then_the_end() {
    let manager = Manager::new().unwrap();
    let ring = ring(&manager, 4);
    let mut subscriber = ring.subscribe().unwrap();
    assert!(matches!(
        subscriber.try_next(),
        Err(Error::WouldBlock { .. })
    ));
    assert!(subscriber.latest().unwrap().is_none());
    let mut producer = ring.produce().unwrap();
    for value in 1..=20 {
        assert_eq!(publish(&mut producer, value), value);
        let frame = subscriber.next().unwrap().unwrap();
        assert_eq!((frame.number(), frame.to_vec()), (value, vec![value; 3]));
        assert!(frame.time().elapsed().unwrap() < SOON);
    }
    publish(&mut producer, 21);
    producer.finish().unwrap();
    assert_eq!(subscriber.next().unwrap().unwrap()[0], 21);
    for _ in 0..2 {
        assert!(subscriber.next().unwrap().is_none());
        assert!(subscriber.try_next().unwrap().is_none());
        assert!(subscriber.next_timeout(NOW).unwrap().is_none());
    }
    assert_eq!((subscriber.iter().count(), subscriber.missed()), (0, 0));
    assert!(ring.has_ended());
    // The next producer begins the stream anew.
    assert_eq!(publish(&mut ring.produce().unwrap(), 22), 22);
    assert_eq!(subscriber.next().unwrap().unwrap().number(), 22);
}

#[test]
fn a_slow_subscriber_goes_on_at_the_newest_frame_and_counts_what_it_missed() {
    let manager = Manager::new().unwrap();
    for frames in [2, 3, 8, 64, 65, 256] {
        let ring = ring(&manager, frames);
        let mut producer = ring.produce().unwrap();
        publish(&mut producer, 1);
        let mut subscriber = ring.subscribe().unwrap();
        for value in 2..=10 + frames as u64 {
            publish(&mut producer, value);
        }
        let newest = 10 + frames as u64;
        let frame = subscriber.try_next().unwrap().unwrap();
        assert_eq!(
            (frame.number(), frame[2]),
            (newest, newest),
            "{frames} frames"
        );
        assert_eq!(subscriber.missed(), newest - 2);
        assert_eq!(subscriber.latest().unwrap().unwrap().number(), newest);
        assert_eq!(subscriber.missed(), newest - 2, "the same frame again");
        assert!(matches!(
            subscriber.try_next(),
            Err(Error::WouldBlock { .. })
        ));
    }
}

#[test]
fn held_frames_are_never_overwritten_and_the_newest_neither() {
    let manager = Manager::new().unwrap();
    let ring = ring(&manager, 5);
    let mut subscriber = ring.subscribe().unwrap();
    let mut producer = ring.produce().unwrap();
    let mut held = Vec::new();
    for value in 1..=3 {
        publish(&mut producer, value);
        held.push(subscriber.try_next().unwrap().unwrap());
    }
    // Of five frames three are held: the other two go to and fro.
    for value in 4..40 {
        publish(&mut producer, value);
        let frame = subscriber.try_next().unwrap().unwrap();
        assert_eq!((frame.number(), frame[0]), (value, value));
        for (frame, value) in held.iter().zip(1..) {
            assert_eq!(**frame, array![value, value, value]);
        }
    }
    assert_eq!(subscriber.missed(), 0);
    // The newest is held too: one more can be written, and then none.
    let newest = subscriber.latest().unwrap().unwrap();
    publish(&mut producer, 40);
    let last = subscriber.try_next().unwrap().unwrap();
    let refused = producer.try_next().unwrap_err();
    assert!(matches!(refused, Error::WouldBlock { .. }), "{refused}");
    assert!(refused.to_string().contains("this process"), "{refused}");
    let refused = producer.next_timeout(NOW).unwrap_err();
    assert!(
        refused.to_string().contains("make a ring of more frames"),
        "{refused}"
    );
    assert_eq!(refused.holders().len(), 1);
    drop(newest);
    publish(&mut producer, 41);
    assert_eq!((last[1], held[0][1]), (40, 1));
}

#[test]
fn one_frame_is_taken_twice_and_kept_until_both_are_dropped() {
    let manager = Manager::new().unwrap();
    let ring = ring(&manager, 2);
    let mut producer = ring.produce().unwrap();
    publish(&mut producer, 1);
    let mut subscriber = ring.subscribe().unwrap();
    let (one, two) = (
        subscriber.latest().unwrap().unwrap(),
        subscriber.latest().unwrap().unwrap(),
    );
    publish(&mut producer, 2);
    drop(one);
    assert!(matches!(producer.try_next(), Err(Error::WouldBlock { .. })));
    assert_eq!(two[0], 1);
    drop(two);
    publish(&mut producer, 3);
}

#[test]
fn a_frame_outlives_its_subscriber_its_ring_and_its_manager() {
    let manager = Manager::new().unwrap();
    let ring = ring(&manager, 3);
    let mut subscriber = ring.subscribe_lossless().unwrap();
    let mut producer = ring.produce().unwrap();
    publish(&mut producer, 7);
    let frame = subscriber.next().unwrap().unwrap();
    publish(&mut producer, 8);
    drop(subscriber);
    // No subscriber is waited for any more, and the held frame stays.
    for value in 9..20 {
        publish(&mut producer, value);
    }
    ring.release().unwrap();
    let refused = producer.next().unwrap_err();
    assert!(matches!(refused, Error::Released { .. }), "{refused}");
    assert!(matches!(ring.subscribe(), Err(Error::Released { .. })));
    drop((producer, ring));
    drop(manager);
    assert_eq!(*frame, array![7, 7, 7]);
    let sent = thread::spawn(move || frame.sum());
    assert_eq!(sent.join().unwrap(), 21);
}

#[test]
fn a_frame_that_is_dropped_never_was() {
    let manager = Manager::new().unwrap();
    let ring = ring(&manager, 3);
    let mut subscriber = ring.subscribe().unwrap();
    let mut producer = ring.produce().unwrap();
    publish(&mut producer, 1);
    producer.next().unwrap().fill(99);
    let panicked = thread::scope(|scope| {
        let producer = &mut producer;
        let thread = scope.spawn(move || {
            let mut frame = producer.next().unwrap();
            frame.fill(98);
            panic!("amid a frame");
        });
        thread.join().is_err()
    });
    assert!(panicked);
    assert_eq!(publish(&mut producer, 2), 2);
    let seen: Vec<_> = (0..2)
        .map(|_| subscriber.try_next().unwrap().unwrap()[0])
        .collect();
    assert_eq!((seen, subscriber.missed()), (vec![1, 2], 0));
}

#[test]
fn the_producer_waits_for_a_lossless_subscriber() {
    let manager = Manager::new().unwrap();
    for frames in [2, 3, 7] {
        let ring = ring(&manager, frames);
        let mut lossless = ring.subscribe_lossless().unwrap();
        let mut other = ring.subscribe().unwrap();
        let mut producer = ring.produce().unwrap();
        for value in 1..frames as u64 + 1 {
            publish(&mut producer, value);
        }
        let refused = producer.next_timeout(NOW).unwrap_err();
        assert!(
            refused.to_string().contains("a lossless subscriber"),
            "{refused}"
        );
        assert_eq!(refused.holders().len(), 1);
        thread::scope(|scope| {
            scope.spawn(|| {
                for value in frames as u64 + 1..=1000 {
                    publish(&mut producer, value);
                }
            });
            // It holds two frames now and then, which the producer steps over.
            let mut held = None;
            for value in 1..=1000 {
                let frame = lossless.next_timeout(SOON).unwrap().unwrap();
                assert_eq!(
                    (frame.number(), frame[0]),
                    (value, value),
                    "{frames} frames"
                );
                held = (value % 5 == 0 && frames > 2).then_some(frame);
            }
            drop(held);
        });
        assert_eq!(lossless.missed(), 0);
        assert_eq!(other.latest().unwrap().unwrap().number(), 1000);
        assert_eq!(other.missed(), 999);
    }
}

#[test]
fn rows_and_information_go_with_a_frame() {
    #[derive(Clone, Copy, Debug, PartialEq, Element)]
    #[repr(C)]
    struct Exposure {
        seconds: f32,
        gain: f32,
        episode: u64,
    }
    let manager = Manager::new().unwrap();
    let options = manager.options().name("lidar").max_subscribers(2);
    let ring = options
        .ring_with_info::<f32, _, Exposure>((100, 3), 3)
        .unwrap();
    let mut subscriber = ring.subscribe().unwrap();
    let mut producer = ring.produce().unwrap();
    let exposure = |episode| Exposure {
        seconds: 0.5,
        gain: 2.0,
        episode,
    };
    for rows in [100, 7, 0, 100] {
        let mut frame = producer.next().unwrap();
        frame.fill(rows as f32);
        frame.set_info(exposure(rows as u64)).unwrap();
        frame.publish_rows(rows).unwrap();
        let frame = subscriber.try_next().unwrap().unwrap();
        assert_eq!(
            (frame.dim(), frame.info()),
            ((rows, 3), exposure(rows as u64))
        );
        assert!(frame.iter().all(|&x| x == rows as f32));
    }
    let refused = producer.next().unwrap().publish_rows(101).unwrap_err();
    assert!(matches!(refused, Error::Layout { .. }), "{refused}");
    // What is not set is zero, not that of an older frame.
    producer.next().unwrap().publish().unwrap();
    let frame = subscriber.try_next().unwrap().unwrap();
    let zero: Exposure = bytemuck::Zeroable::zeroed();
    assert_eq!((frame.number(), frame.info()), (5, zero));
    // Without its type, and with another one.
    let plain: Ring<f32, Ix2> = manager.ring("lidar").unwrap();
    assert_eq!(plain.frame(5).unwrap().unwrap().info(), ());
    assert!(matches!(
        manager.ring::<f32, Ix2, f64>("lidar"),
        Err(Error::Dtype { .. })
    ));
    let refused = options
        .ring_with_info::<u8, _, [u8; 4097]>((1,), 2)
        .unwrap_err();
    assert!(refused.to_string().contains("4096"), "{refused}");
}

#[test]
fn a_ring_is_opened_by_name_path_and_handle_and_only_as_a_ring() {
    let manager = Manager::new().unwrap();
    let options = manager
        .options()
        .name("camera")
        .axis_names(["row", "column", "color"]);
    let ring = options.ring::<u8, _>((4, 5, 3), 8).unwrap();
    assert_eq!(
        (ring.scope(), ring.name().as_deref()),
        (Scope::Store, Some("camera"))
    );
    let named: Ring<u8, Ix3> = manager.ring("camera").unwrap();
    let by_path = Ring::<u8, Ix3>::open_path(ring.path()).unwrap();
    let by_handle: AnyRing = ring.handle().open_any_ring().unwrap();
    let text = serde_json::to_string(&ring).unwrap();
    let sent: Ring<u8, Ix3> = serde_json::from_str(&text).unwrap();
    for other in [named.as_any(), by_path.as_any(), &by_handle, sent.as_any()] {
        assert_eq!(
            (other.id(), other.frames(), other.frame_shape()),
            (ring.id(), 8, &[4, 5, 3][..])
        );
        assert_eq!(other.axis_names()[2].as_deref(), Some("color"));
    }
    let is_refused = |error: Error| {
        assert!(
            matches!(
                error,
                Error::Kind {
                    found: ArrayKind::Ring,
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains("it is a ring, not an array: open it as Ring"),
            "{error}"
        );
    };
    is_refused(manager.array_any("camera").unwrap_err());
    is_refused(manager.array::<u8, ndarray::Ix4>("camera").unwrap_err());
    is_refused(ring.handle().open_any().unwrap_err());
    is_refused(ring.handle().open_frozen::<u8, ndarray::Ix4>().unwrap_err());
    is_refused(ndshm::AnyArray::open_path(ring.path()).unwrap_err());
    is_refused(ring.handle().wait_frozen(NOW).unwrap_err());
    // A handle for reading subscribes, and produces nothing.
    let reading: Ring<u8, Ix3> = ring.handle().read_only().open_ring().unwrap();
    let mut subscriber = reading.subscribe().unwrap();
    let refused = reading.produce().unwrap_err();
    assert!(matches!(refused, Error::ReadOnly { .. }), "{refused}");
    assert!(!reading.handle().is_writable());
    ring.produce().unwrap().next().unwrap().publish().unwrap();
    assert_eq!(subscriber.try_next().unwrap().unwrap().number(), 1);
    let xs = manager.options().name("xs").zeros::<u8, _>(5).unwrap();
    let refused = manager.ring_any("xs").unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Kind {
                expected: ArrayKind::Ring,
                ..
            }
        ),
        "{refused}"
    );
    assert!(matches!(
        xs.handle().open_any_ring(),
        Err(Error::Kind { .. })
    ));
    assert!(matches!(
        manager.ring::<i8, Ix3, ()>("camera"),
        Err(Error::Dtype { .. })
    ));
    assert!(matches!(
        manager.ring::<u8, Ix2, ()>("camera"),
        Err(Error::Rank { .. })
    ));
    assert!(matches!(
        manager.ring_any("none"),
        Err(Error::NotFound { .. })
    ));
    assert_eq!(ring.handle().info().unwrap().kind, ArrayKind::Ring);
    assert_eq!(
        options
            .open_or_ring::<u8, _, ()>((4, 5, 3), 8)
            .unwrap()
            .id(),
        ring.id()
    );
    let other = |dtype: &str, info: Option<&str>| {
        let info = info.map(|info| info.parse().unwrap());
        let made = options.open_or_ring_any(&dtype.parse().unwrap(), &[4, 5, 3], 8, info);
        made.unwrap_err()
    };
    assert!(matches!(other("<u2", None), Error::Dtype { .. }));
    assert!(matches!(other("|u1", Some("<f8")), Error::Layout { .. }));
    let refused = options.open_or_ring::<u8, _, ()>((4, 5, 3), 9).unwrap_err();
    assert!(matches!(refused, Error::Layout { .. }), "{refused}");
}

#[test]
fn rings_that_cannot_be_are_refused_with_the_reason() {
    let manager = Manager::new().unwrap();
    let options = manager.options();
    let refusal = |frames, shape: &[usize]| {
        let made = options.ring_any(&u8::DTYPE, shape, frames, None);
        made.unwrap_err().to_string()
    };
    assert!(refusal(1, &[3]).contains("2 to 256"));
    assert!(refusal(257, &[3]).contains("2 to 256"));
    assert!(refusal(2, &[3, 0]).contains("at least one element"));
    assert!(refusal(2, &[usize::MAX / 2, 4]).contains("too large"));
    assert!(refusal(2, &[1; 32]).contains("33 axes"));
    for most in [0, 4097, usize::MAX] {
        let refused = manager
            .options()
            .max_subscribers(most)
            .ring::<u8, _>((3,), 2);
        assert!(refused.unwrap_err().to_string().contains("1 to 4096"));
    }
    assert_eq!(manager.list().unwrap(), []);
    // A frame without axes is one element.
    let ring = options.ring::<f64, _>((), 2).unwrap();
    let mut producer = ring.produce().unwrap();
    let mut frame = producer.next().unwrap();
    frame[()] = 2.5;
    frame.publish().unwrap();
    let frame: ndshm::Frame<f64, Ix0> = ring.frame(1).unwrap().unwrap();
    assert_eq!(frame[()], 2.5);
}

#[test]
fn a_full_ring_refuses_a_subscriber_and_takes_it_after_another_left() {
    let manager = Manager::new().unwrap();
    let ring = manager
        .options()
        .max_subscribers(2)
        .ring::<u8, _>((3,), 3)
        .unwrap();
    let one = ring.subscribe().unwrap();
    let mut two = ring.subscribe().unwrap();
    ring.produce().unwrap().next().unwrap().publish().unwrap();
    let frame = two.try_next().unwrap().unwrap();
    drop(two);
    let refused = ring.subscribe().unwrap_err();
    assert!(
        matches!(refused, Error::TooManySubscribers { limit: 2, .. }),
        "{refused}"
    );
    assert_eq!(
        ring.subscribers()
            .iter()
            .map(|found| found.held)
            .collect::<Vec<_>>(),
        [0, 1]
    );
    drop(frame);
    let _two = ring.subscribe().unwrap();
    drop(one);
    ring.subscribe_lossless().unwrap();
}

#[test]
fn one_thread_has_the_turn_at_a_time() {
    let manager = Manager::new().unwrap();
    let ring = ring(&manager, 3);
    let producer = ring.produce().unwrap();
    let refused = ring.try_produce().unwrap_err();
    assert!(matches!(refused, Error::WouldBlock { .. }), "{refused}");
    assert_eq!(ring.producer().unwrap().pid, Some(std::process::id()));
    let refused = ring.produce_timeout(NOW).unwrap_err();
    assert!(
        refused.to_string().contains("had the turn to produce"),
        "{refused}"
    );
    thread::scope(|scope| {
        let next = scope.spawn(|| ring.produce_timeout(SOON).map(drop));
        drop(producer);
        next.join().unwrap().unwrap();
    });
    assert!(ring.producer().is_none());
}

#[test]
fn a_producer_waits_for_its_subscribers_and_they_for_it() {
    let manager = Manager::new().unwrap();
    let ring = ring(&manager, 3);
    let mut producer = ring.produce().unwrap();
    let refused = producer.wait_subscribers(1, NOW).unwrap_err();
    assert!(matches!(refused, Error::Timeout { .. }), "{refused}");
    producer.wait_subscribers(0, NOW).unwrap();
    thread::scope(|scope| {
        for spin in [Duration::ZERO, SOON, Duration::from_micros(50)] {
            let ring = &ring;
            scope.spawn(move || {
                let mut subscriber = ring.subscribe().unwrap();
                subscriber.spin(spin);
                for value in 1..=3 {
                    let frame = subscriber.next_timeout(SOON).unwrap().unwrap();
                    assert_eq!(frame[0], value);
                }
                assert!(subscriber.next_timeout(SOON).unwrap().is_none());
            });
        }
        producer.wait_subscribers(3, SOON).unwrap();
        for value in 1..=3 {
            publish(&mut producer, value);
        }
        producer.finish().unwrap();
    });
    let mut subscriber = ring.subscribe().unwrap();
    let _producer = ring.produce().unwrap();
    let refused = subscriber.next_timeout(NOW).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("the producer published no frame"),
        "{refused}"
    );
}

#[test]
fn a_number_finds_its_frame_as_long_as_it_is_there() {
    let manager = Manager::new().unwrap();
    let ring = ring(&manager, 4);
    let mut producer = ring.produce().unwrap();
    assert!(ring.frame(0).unwrap().is_none() && ring.frame(1).unwrap().is_none());
    for value in 1..=6 {
        publish(&mut producer, value);
    }
    for number in 0..10 {
        let found = ring.frame(number).unwrap().map(|frame| frame[0]);
        assert_eq!(found, (3..=6).contains(&number).then_some(number));
    }
    assert_eq!(ring.newest(), 6);
}

/// One producer at full speed, and subscribers that hold frames at random: no frame is torn.
#[test]
fn no_frame_is_torn() {
    let manager = Manager::new().unwrap();
    let ring: Ring<u64, Ix1> = manager.options().ring((64,), 4).unwrap();
    let mut producer = ring.produce().unwrap();
    let frames = if cfg!(debug_assertions) {
        20_000
    } else {
        200_000
    };
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|reader| {
                let mut subscriber = ring.subscribe().unwrap();
                scope.spawn(move || {
                    let (mut taken, mut last, mut held) = (0u64, 0, Vec::new());
                    while let Some(frame) = subscriber.next_timeout(SOON).unwrap() {
                        assert!(frame.number() > last);
                        last = frame.number();
                        taken += 1;
                        assert!(frame.iter().all(|&x| x == last), "frame {last} is torn");
                        held.push((last, frame));
                        if held.len() > reader % 2 {
                            let (number, frame) = held.remove(0);
                            assert!(frame.iter().all(|&x| x == number), "frame {number} changed");
                        }
                    }
                    assert_eq!(last, frames);
                    taken + subscriber.missed()
                })
            })
            .collect();
        for value in 1..=frames {
            publish(&mut producer, value);
        }
        producer.finish().unwrap();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), frames);
        }
    });
}

#[test]
fn a_ring_believes_a_type_of_numpys_only_for_elements_that_are_stored_so() {
    let manager = Manager::new().unwrap();
    for (claimed, stored, is_believed) in [
        ("<M8[ns]", "<i8", true),
        ("<M8[ns]", "<i4", false),
        ("no type", "<i8", false),
    ] {
        let attrs = std::collections::BTreeMap::from([("numpy.dtype", claimed)]);
        let options = manager.options().attrs(&attrs).unwrap();
        let dtype = stored.parse().unwrap();
        let ring = options.ring_any(&dtype, &[2], 3, None).unwrap();
        assert_eq!(
            ring.numpy_dtype().is_some(),
            is_believed,
            "{claimed} {stored}"
        );
    }
}

#[test]
fn an_observer_sees_a_ring_without_a_seat() {
    let manager = Manager::new().unwrap();
    let ring: Ring<u64, Ix1> = manager.options().max_subscribers(2).ring((3,), 4).unwrap();
    let observer = Observer::open(manager.path()).unwrap();
    let info = ring.handle().info().unwrap();
    let state = observer.ring(&info).unwrap();
    assert_eq!((state.frames, state.max_subscribers), (4, 2));
    assert_eq!((state.newest, state.has_ended), (0, false));
    assert_eq!((state.producer, state.subscribers), (None, Vec::new()));

    let mut newest = ring.subscribe().unwrap();
    let lossless = ring.subscribe_lossless().unwrap();
    let mut producer = ring.produce().unwrap();
    for value in 1..=3 {
        publish(&mut producer, value);
    }
    let held = newest.next().unwrap();
    let state = observer.ring(&info).unwrap();
    // The library's own look says the same.
    let any: AnyRing = ring.handle().open_any_ring().unwrap();
    assert_eq!(state.newest, any.newest());
    let seen = |subscribers: &[SubscriberState]| -> Vec<_> {
        let seen = subscribers.iter();
        seen.map(|seat| (seat.process.pid, seat.is_lossless, seat.lag, seat.held))
            .collect()
    };
    let me = Some(std::process::id());
    let expected = [(me, false, 2, 1), (me, true, 3, 0)];
    assert_eq!(seen(&state.subscribers), expected);
    assert_eq!(seen(&any.subscribers()), expected);
    assert!(
        state
            .producer
            .is_some_and(|process| process.is_this_process)
    );

    drop((held, newest, lossless));
    producer.finish().unwrap();
    let state = observer.ring(&info).unwrap();
    assert_eq!((state.newest, state.has_ended), (3, true));
    assert_eq!((state.producer, state.subscribers), (None, Vec::new()));
}

#[test]
fn only_a_ring_that_is_there_has_a_state() {
    let manager = Manager::new().unwrap();
    let observer = Observer::open(manager.path()).unwrap();
    let xs = manager.zeros::<f64, _>(3).unwrap();
    assert!(matches!(
        observer.ring(&xs.handle().info().unwrap()),
        Err(Error::Kind { .. })
    ));
    let ring = ring(&manager, 2);
    let info = ring.handle().info().unwrap();
    ring.release().unwrap();
    assert!(matches!(observer.ring(&info), Err(Error::Released { .. })));
}

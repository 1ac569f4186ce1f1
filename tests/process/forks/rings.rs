//! A ring in a process that forks: turn, seats and frames stay the parent's.

use super::*;
use ndshm::Ring;
use std::time::Duration;

#[test]
fn a_forked_child_has_neither_turn_nor_seat_nor_frame_of_its_parent() {
    run(child_forks_with_a_turn_and_a_seat);
}

#[test]
#[ignore = "runs in a child"]
fn child_forks_with_a_turn_and_a_seat() {
    let manager = manager();
    let ring: Ring<u64, Ix1> = manager.options().ring((3,), 3).unwrap();
    let mut subscriber = ring.subscribe_lossless().unwrap();
    let mut producer = ring.produce().unwrap();
    let is_refused =
        |error: Option<Error>| assert!(matches!(error, Some(Error::NotOwner { .. })), "{error:?}");
    producer.next().unwrap().publish().unwrap();
    let frame = subscriber.next().unwrap().unwrap();
    let mut writing = producer.next().unwrap();
    writing.fill(2);
    match fork() {
        Fork::Child(end) => {
            is_refused(writing.publish().err());
            is_refused(producer.next().map(drop).err());
            is_refused(producer.wait_subscribers(0, Duration::ZERO).err());
            is_refused(producer.finish().err());
            is_refused(subscriber.latest().map(drop).err());
            is_refused(subscriber.try_next().map(drop).err());
            is_refused(subscriber.frame(1).map(drop).err());
            assert_eq!(frame.sum(), 0);
            drop((frame, subscriber));
            // It waits for its parent's turn as for any other, and subscribes anew.
            let refused = ring.try_produce().unwrap_err();
            assert!(matches!(refused, Error::WouldBlock { .. }), "{refused}");
            let mut own = ring.subscribe().unwrap();
            assert_eq!(own.latest().unwrap().unwrap().number(), 1);
            assert_eq!(ring.subscribers().len(), 2);
            drop((own, ring));
            end.done()
        }
        Fork::Parent(pid) => wait(pid),
    }
    let held = |subscribers: Vec<ndshm::SubscriberState>| {
        let [only] = &subscribers[..] else {
            panic!("{subscribers:?}")
        };
        only.held
    };
    assert_eq!((held(ring.subscribers()), ring.has_ended()), (1, false));
    assert_eq!(writing.publish().unwrap(), 2);
    assert_eq!(subscriber.next().unwrap().unwrap().sum(), 6);
    assert_eq!(frame.sum(), 0);
    // A child that takes a turn of its own, and dies with it.
    drop(producer);
    match fork() {
        Fork::Child(_) => {
            let mut producer = ring.produce().unwrap();
            let _frame = producer.next().unwrap();
            exit(0)
        }
        Fork::Parent(pid) => wait(pid),
    }
    let told = subscriber
        .next_timeout(Duration::from_secs(60))
        .unwrap_err();
    assert!(matches!(told, Error::Abandoned { .. }), "{told}");
    assert_eq!(
        ring.produce().unwrap().next().unwrap().publish().unwrap(),
        3
    );
    drop((frame, subscriber, ring));
    manager.close().unwrap();
    common::done();
}

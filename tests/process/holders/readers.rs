//! The holders of one call: readers in the way of a writer, waits, and how long each was seen.

use super::*;
use crate::common::{elsewhere, words};
use std::time::Instant;

/// A call sleeps on the guard of one process, and when that is given back on the guard of another
/// one: only its time counts.
#[test]
fn the_time_of_a_holder_is_the_time_for_which_the_call_saw_it() {
    let root = Root::new();
    let manager = root.manager();
    let xs: SharedArray1<u64> = manager.zeros(10).unwrap();
    let (left, right) = (xs.slice(s![..5]).unwrap(), xs.slice(s![5..]).unwrap());
    let (mut first, mut second) = (peer(), peer());
    takes(&mut first, "write", &left.handle());
    takes(&mut second, "read", &right.handle());
    let began = Instant::now();
    let limit = Duration::from_secs(2);
    let error = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| xs.write_timeout(limit).map(drop).unwrap_err());
        while words::waits(xs.path()) == 0 {
            std::thread::yield_now();
        }
        let given_back = Instant::now();
        takes(&mut first, "free", &left.handle());
        let error = waiter.join().unwrap();
        let since = only(&error).since.unwrap();
        assert!(
            since <= given_back.elapsed() && since > Duration::ZERO,
            "{error}"
        );
        error
    });
    names(&error, &second, GuardKind::Read, Some("[5:10]"));
    assert!(only(&error).since.unwrap() < began.elapsed());
    [first, second].into_iter().for_each(Peer::finish);
}

#[test]
fn all_readers_in_the_way_of_a_writer_are_named_and_a_waiting_writer_too() {
    let root = Root::new();
    let manager = root.manager();
    let xs: SharedArray1<u64> = manager.options().name("xs").zeros(30).unwrap();
    let mut peers: Vec<_> = (0..3).map(|_| peer()).collect();
    for (at, peer) in peers.iter_mut().enumerate() {
        let part = xs.slice(s![at * 10..at * 10 + 5]).unwrap();
        takes(peer, "read", &part.handle());
    }
    for error in [
        xs.try_write().map(drop).unwrap_err(),
        xs.write_timeout(Duration::from_millis(5))
            .map(drop)
            .unwrap_err(),
    ] {
        let mut pids: Vec<_> = error
            .holders()
            .iter()
            .map(|holder| holder.pid.unwrap())
            .collect();
        let mut expected: Vec<_> = peers.iter().map(pid_of).collect();
        pids.sort_unstable();
        expected.sort_unstable();
        assert_eq!(pids, expected, "{error}");
    }
    // A writer that waits keeps new readers out.
    let mut writer = peer();
    writer.tell(&format!("waits {}", xs.handle()));
    writer.hear("tries");
    while words::waits(xs.path()) < 2 {
        std::thread::yield_now();
    }
    let error = xs
        .slice(s![25..])
        .unwrap()
        .try_read()
        .map(drop)
        .unwrap_err();
    let holder = only(&error);
    assert_eq!(
        (holder.pid, holder.is_waiting),
        (Some(pid_of(&writer)), true)
    );
    assert!(holder.since.is_some(), "{error}");
    assert!(
        error.to_string().contains(" waits to write xs, for "),
        "{error}"
    );
    peers.into_iter().for_each(Peer::finish);
    writer.hear("has it");
    writer.finish();
}

#[test]
fn an_error_names_a_few_holders_and_counts_the_others() {
    let root = Root::new();
    let manager = root.manager();
    let xs: SharedArray1<u8> = manager.options().name("xs").zeros(100).unwrap();
    let parts: Vec<_> = (0..40)
        .map(|at| xs.slice(s![at..at + 1]).unwrap())
        .collect();
    let held: Vec<_> = parts.iter().map(|part| part.read().unwrap()).collect();
    let error = elsewhere(|| xs.try_write().map(drop)).unwrap_err();
    assert_eq!(error.holders().len(), 16);
    assert!(error.to_string().contains(", and 12 more; wait"), "{error}");
    drop(held);
}

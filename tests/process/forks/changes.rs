//! The numbers of writes in a process that forks.

use super::*;
use std::time::Duration;

#[test]
fn a_forked_child_counts_no_guard_that_it_inherits() {
    run(child_forks_while_it_writes);
}

#[test]
#[ignore = "runs in a child"]
fn child_forks_while_it_writes() {
    let manager = manager();
    let xs = manager.zeros::<f64, _>(3).unwrap();
    for is_watched_first in [false, true] {
        if is_watched_first {
            assert_eq!(xs.changed().unwrap(), 1);
        }
        let guard = xs.write().unwrap();
        match fork() {
            Fork::Child(end) => {
                let before = xs.changed().unwrap();
                drop(guard);
                assert_eq!(xs.changed().unwrap(), before);
                assert!(matches!(
                    xs.wait_changed(before, Duration::ZERO),
                    Err(Error::Timeout { .. })
                ));
                drop(xs);
                end.done()
            }
            Fork::Parent(pid) => wait(pid),
        }
        let before = xs.changed().unwrap();
        drop(guard);
        assert_eq!(xs.changed().unwrap(), before + 1);
    }
    // A write of the child is one.
    match fork() {
        Fork::Child(end) => {
            xs.write().unwrap().fill(1.0);
            drop(xs);
            end.done()
        }
        Fork::Parent(pid) => {
            assert_eq!(xs.wait_changed(2, Duration::from_secs(60)).unwrap(), 3);
            wait(pid)
        }
    }
    common::done();
}

//! Turns of appenders over a fork: they stay the parent's.

use super::*;
use ndshm::GrowingArray;

#[test]
fn a_child_has_nothing_of_a_turn_and_appends_for_itself() {
    let root = Root::new();
    common::run(child_forks_with_a_turn, &[root.path()]);
}

#[test]
#[ignore = "runs in a child"]
fn child_forks_with_a_turn() {
    let manager = Manager::builder()
        .root(common::arguments().remove(0))
        .create()
        .unwrap();
    let log: GrowingArray<u64, Ix1> = manager.options().growing(1 << 20, ()).unwrap();
    log.push(1).unwrap();
    let mut rows = log.reserve(2).unwrap();
    rows.fill(2);
    match fork() {
        Fork::Child(child) => {
            // Its drop and its commit are the parent's.
            let refused = log.try_append(&ndarray::array![9]).unwrap_err();
            assert!(matches!(refused, Error::WouldBlock { .. }), "{refused}");
            let refused = rows.commit().unwrap_err();
            assert!(matches!(refused, Error::NotOwner { .. }), "{refused}");
            let refused = log.try_append(&ndarray::array![9]).unwrap_err();
            assert!(matches!(refused, Error::WouldBlock { .. }), "{refused}");
            // It sees the growth, though its parent had the turn when it was forked.
            assert_eq!(
                log.wait_grown(1, std::time::Duration::from_secs(60))
                    .unwrap(),
                3
            );
            assert_eq!(log.push(3).unwrap(), 3);
            child.done();
        }
        Fork::Parent(pid) => {
            std::thread::sleep(std::time::Duration::from_millis(50));
            rows.commit().unwrap();
            wait(pid);
        }
    }
    assert_eq!(*log.all().unwrap(), ndarray::array![1, 2, 2, 3]);
    common::done();
}

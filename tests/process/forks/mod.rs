//! Forked children: they own nothing that they inherit, and keep no dead member alive.
//!
//! Every test forks in a process of its own, so that no child inherits the arrays of other tests.
#![allow(
    unsafe_code,
    reason = "forking, and ending a forked child, are calls of libc"
)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod changes;
mod growing;
mod many;
mod recycling;
mod rings;
mod steps;
mod threads;

use crate::common::{self, Peer, Root};
use ndarray::Ix1;
use ndshm::{Error, Manager, Scope, SharedArray1};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

/// Which process it is after a fork.
enum Fork {
    Child(ChildEnd),
    Parent(Pid),
}

/// Ends the forked child with an error where its work does not come to its end: it must not return
/// into the test harness.
struct ChildEnd;

impl ChildEnd {
    /// Ends the child with success, without running destructors.
    fn done(self) -> ! {
        exit(0)
    }
}

impl Drop for ChildEnd {
    fn drop(&mut self) {
        exit(1)
    }
}

fn exit(code: i32) -> ! {
    // SAFETY: `_exit` may be called at any time; it ends the process.
    unsafe { libc::_exit(code) }
}

fn fork() -> Fork {
    // SAFETY: the child of a process with other threads may call only what is safe in a signal
    // handler: libc's allocator counts as such, being kept consistent over a fork by glibc, and
    // that this library's own locks do too is what is tested here.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: `alarm` may be called at any time. A child that waits for ever is killed,
            // which its parent reports.
            unsafe { libc::alarm(60) };
            Fork::Child(ChildEnd)
        }
        pid => Fork::Parent(Pid::from_raw(pid).expect("fork failed")),
    }
}

/// Waits for a forked child, and requires that it did its work.
#[track_caller]
fn wait(pid: Pid) {
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(
        (status.exit_status(), status.terminating_signal()),
        (Some(0), None),
        "(exit status, signal) of the forked child"
    );
}

/// Runs a child's test in a root that must be empty afterwards.
#[track_caller]
fn run(child: impl Fn()) {
    let root = Root::new();
    common::run(child, &[root.path()]);
    assert_eq!(root.contents(), Vec::<PathBuf>::new());
}

fn manager() -> Manager {
    Manager::builder()
        .root(common::arguments().remove(0))
        .create()
        .unwrap()
}

#[test]
fn a_forked_child_owns_nothing_that_it_inherits() {
    run(child_forks_with_all_that_it_owns);
}

#[test]
#[ignore = "runs in a child"]
fn child_forks_with_all_that_it_owns() {
    let manager = manager();
    let xs = manager.ones::<f64, _>(3).unwrap();
    let view = xs.view().unwrap();
    let path = xs.path().to_path_buf();
    let stored = manager.options().name("stored").ones::<f64, _>(3).unwrap();
    match fork() {
        Fork::Child(end) => {
            assert!(
                matches!(stored.set_scope(Scope::Local), Err(Error::NotOwner { .. })),
                "inherited, though it has no owner"
            );
            assert!(matches!(
                stored.set_scope(Scope::Remote),
                Err(Error::NotOwner { .. })
            ));
            stored.set_scope(Scope::Store).unwrap();
            assert_eq!(
                (xs.scope(), view.scope(), xs.handle().scope()),
                (Scope::Store, Scope::Store, Scope::Store)
            );
            assert!(!manager.is_owner());
            assert!(matches!(
                xs.set_scope(Scope::Local),
                Err(Error::NotOwner { .. })
            ));
            assert!(matches!(manager.close(), Err(Error::NotOwner { .. })));
            assert!(matches!(manager.persist(), Err(Error::NotOwner { .. })));
            let again: SharedArray1<f64> = xs.handle().open().unwrap();
            assert_eq!(
                (
                    again.scope(),
                    SharedArray1::<f64>::open_path(&path).unwrap().scope()
                ),
                (Scope::Store, Scope::Store)
            );
            again.write().unwrap().fill(2.0);
            assert_eq!(xs.read().unwrap().sum(), 6.0);
            drop((xs, view, again));
            assert!(path.exists());
            // It may own the arrays that it opens itself.
            let opened: SharedArray1<f64> = stored.handle().open().unwrap();
            opened.set_scope(Scope::Local).unwrap();
            drop(opened);
            assert!(!stored.path().exists());
            let store = manager.path().to_path_buf();
            drop(manager);
            assert!(path.exists() && store.exists());
            end.done()
        }
        Fork::Parent(pid) => wait(pid),
    }
    assert!(matches!(stored.release(), Err(Error::Released { .. })));
    assert_eq!(
        (xs.scope(), xs.read().unwrap().sum(), manager.is_owner()),
        (Scope::Local, 6.0, true)
    );
    assert_eq!(
        xs.handle().open::<f64, Ix1>().unwrap().scope(),
        Scope::Local
    );

    // One that drops nothing, and ends with the handlers of the process's end.
    match fork() {
        Fork::Child(_) => std::process::exit(0),
        Fork::Parent(pid) => wait(pid),
    }
    assert!(path.exists() && manager.zeros::<f64, _>(1).is_ok());
    drop((xs, view));
    assert!(!path.exists(), "the owner still deletes");
    drop(manager);
    common::done();
}

#[test]
fn a_local_array_made_in_a_forked_child_is_gone_when_the_child_ends() {
    run(child_forks_a_maker);
}

#[test]
#[ignore = "runs in a child"]
fn child_forks_a_maker() {
    let manager = manager();
    let inherited = manager.ones::<f64, _>(3).unwrap();
    match fork() {
        Fork::Child(end) => {
            {
                let made = manager.ones::<f64, _>(3).unwrap();
                let named = manager
                    .options()
                    .name("of the child")
                    .ones::<f64, _>(3)
                    .unwrap();
                let path = made.path().to_path_buf();
                assert_eq!((made.scope(), named.scope()), (Scope::Local, Scope::Store));
                assert!(path.exists());
                match fork() {
                    Fork::Child(grandchild) => {
                        assert_eq!(
                            (made.scope(), inherited.scope()),
                            (Scope::Store, Scope::Store)
                        );
                        drop((made, inherited));
                        grandchild.done()
                    }
                    Fork::Parent(pid) => wait(pid),
                }
                assert!(path.exists() && inherited.path().exists());
                drop(made);
                assert!(!path.exists());
            }
            end.done()
        }
        Fork::Parent(pid) => wait(pid),
    }
    let names = || {
        manager
            .list()
            .unwrap()
            .into_iter()
            .map(|info| info.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(), [None, Some("of the child".to_owned())]);
    // A process that is killed with its array: the sweep deletes its arrays.
    match fork() {
        Fork::Child(end) => {
            let _made = manager.ones::<f64, _>(3).unwrap();
            end.done()
        }
        Fork::Parent(pid) => wait(pid),
    }
    assert_eq!((names().len(), manager.sweep().unwrap().arrays), (3, 1));
    assert_eq!(names(), [None, Some("of the child".to_owned())]);
    common::done();
}

#[test]
fn a_claim_and_a_guard_stay_with_the_process_that_took_them() {
    run(child_forks_with_a_claim_and_a_guard);
}

#[test]
#[ignore = "runs in a child"]
fn child_forks_with_a_claim_and_a_guard() {
    let manager = manager();
    let source = manager
        .options()
        .scope(Scope::Remote)
        .ones::<f64, _>(3)
        .unwrap();
    let (handle, path) = (source.handle(), source.path().to_path_buf());
    let claimed: SharedArray1<f64> = handle.open().unwrap();
    let locked = manager.ones::<f64, _>(3).unwrap();
    let guard = locked.write().unwrap();
    assert_eq!(claimed.scope(), Scope::Local);
    match fork() {
        Fork::Child(end) => {
            assert_eq!(
                (claimed.scope(), handle.open::<f64, Ix1>().unwrap().scope()),
                (Scope::Store, Scope::Store)
            );
            drop((claimed, source));
            assert_eq!(
                handle.open::<f64, Ix1>().unwrap().scope(),
                Scope::Store,
                "a process that did not take the claim gave it back"
            );
            drop(guard);
            assert!(matches!(locked.try_read(), Err(Error::WouldBlock { .. })));
            end.done()
        }
        Fork::Parent(pid) => wait(pid),
    }
    let view = locked.view().unwrap();
    std::thread::spawn(move || assert!(matches!(view.try_read(), Err(Error::WouldBlock { .. }))))
        .join()
        .unwrap();
    drop(guard);
    assert!(locked.try_read().is_ok() && path.exists());
    assert_eq!(
        (claimed.scope(), claimed.read().unwrap().sum()),
        (Scope::Local, 3.0)
    );
    drop((claimed, source));
    assert!(!path.exists());
    common::done();
}

#[test]
fn an_idle_forked_child_keeps_no_dead_parent_alive() {
    let root = Root::new();
    let sweeper = root.manager();
    let (mut parent, idle) = start_parent("idle", &root, &sweeper);
    let swept = sweeper.sweep().unwrap();
    assert_eq!(
        (sweeper.list().unwrap().len(), swept.stores, swept.arrays),
        (2, 0, 0),
        "no member is dead yet"
    );
    parent.kill();
    assert!(is_running(idle));
    let swept = sweeper.sweep().unwrap();
    assert_eq!(
        (swept.stores, swept.arrays),
        (1, 1 + 2),
        "its store with two arrays, and the local array that it had in this one"
    );
    assert_eq!(
        sweeper
            .list()
            .unwrap()
            .into_iter()
            .map(|info| info.name)
            .collect::<Vec<_>>(),
        [Some("kept".to_owned())]
    );
    assert_eq!(
        root.contents().len(),
        1 + 1 + 1,
        "the store, its lock file, the array that was kept: {:?}",
        root.contents()
    );
    assert!(is_running(idle), "it lived all the while");
    assert_eq!(
        parent.wait_for_descendants(),
        ["the forked child read 3 and ends"],
        "the memory stays valid"
    );
}

#[test]
fn a_forked_child_that_joined_keeps_its_store_and_what_it_made() {
    let root = Root::new();
    let sweeper = root.manager();
    let (mut parent, busy) = start_parent("busy", &root, &sweeper);
    parent.kill();
    let swept = sweeper.sweep().unwrap();
    assert_eq!(
        (swept.stores, swept.arrays),
        (0, 1),
        "only what the dead one owned here"
    );
    assert_eq!(
        sweeper.list().unwrap().len(),
        2,
        "the kept one, and that of the forked child"
    );
    assert!(is_running(busy));
    assert_eq!(
        parent.wait_for_descendants(),
        ["the forked child read 3 and ends"]
    );
    let swept = sweeper.sweep().unwrap();
    assert_eq!(
        (swept.stores, swept.arrays),
        (1, 1 + 3),
        "it ended without dropping anything"
    );
}

/// Starts a process with a store of its own and arrays in the sweeper's, and returns it with the
/// pid of the child that it forked.
fn start_parent(kind: &str, root: &Root, sweeper: &Manager) -> (Peer, Pid) {
    let mut parent = Peer::start(
        child_forks_and_waits_to_be_killed,
        &[Path::new(kind), root.path(), sweeper.path()],
    );
    let forked = parent.hear("forked ").parse().unwrap();
    (parent, Pid::from_raw(forked).unwrap())
}

fn is_running(pid: Pid) -> bool {
    let status =
        std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    status
        .rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[test]
#[ignore = "runs in a child"]
fn child_forks_and_waits_to_be_killed() {
    let arguments = common::arguments();
    let own = Manager::builder().root(&arguments[1]).create().unwrap();
    let (_named, _unnamed) = (
        own.options().name("xs").ones::<f64, _>(3).unwrap(),
        own.ones::<f64, _>(3).unwrap(),
    );
    let shared = Manager::open(&arguments[2]).unwrap();
    let _kept = shared.options().name("kept").ones::<f64, _>(3).unwrap();
    let local = shared.ones::<f64, _>(3).unwrap();
    match fork() {
        Fork::Child(end) => {
            let _made = (arguments[0] == "busy").then(|| {
                (
                    own.ones::<f64, _>(3).unwrap(),
                    shared.ones::<f64, _>(3).unwrap(),
                )
            });
            println!("forked {}", std::process::id());
            std::io::stdin().lines().for_each(drop);
            println!(
                "the forked child read {} and ends",
                local.read().unwrap().sum()
            );
            end.done()
        }
        Fork::Parent(pid) => wait(pid),
    }
}

//! Arrays that their owner hands over: the process that opens one first inherits it, and an array
//! that was opened and closed goes with its owner.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Peer, Root, words};
use ndarray::{Ix1, s};
use ndshm::{Error, Handle, Manager, Scope, SharedArray1, verify};
use std::{os::unix::fs::MetadataExt, path::PathBuf};

/// An array that was handed over, with the path of its file.
fn handed_over(manager: &Manager) -> (SharedArray1<f64>, Handle, PathBuf) {
    let xs: SharedArray1<f64> = manager.ones(3).unwrap();
    let (handle, path) = (xs.hand_over(), xs.path().to_path_buf());
    assert_eq!((handle.scope(), xs.scope()), (Scope::Remote, Scope::Local));
    (xs, handle, path)
}

fn start(handle: &Handle) -> Peer {
    Peer::start(child_opens_as_it_is_told, &[handle.to_string()])
}

fn ask(peer: &mut Peer, question: &str) -> String {
    peer.tell(question);
    peer.hear("answer ")
}

#[test]
#[ignore = "runs in a child"]
fn child_opens_as_it_is_told() {
    let handle: Handle = common::arguments()[0].parse().unwrap();
    let mut arrays = Vec::<SharedArray1<f64>>::new();
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "open" => match handle.open() {
                Ok(array) => {
                    arrays.push(array);
                    println!("answer {}", arrays.last().unwrap().scope());
                }
                Err(error) => println!("answer {error}"),
            },
            "read" => println!("answer {}", arrays[0].read().unwrap().sum()),
            "scope" => println!("answer {}", arrays[0].scope()),
            "hand over" => println!("answer {}", arrays[0].hand_over().scope()),
            _ => {
                arrays.clear();
                println!("answer dropped");
            }
        }
    }
    common::done();
}

#[test]
fn an_array_that_is_dropped_unopened_is_the_first_opener_s() {
    let root = Root::new();
    let manager = root.manager();
    let (xs, handle, path) = handed_over(&manager);
    drop(xs);
    assert!(path.exists() && verify(&path).unwrap().findings.is_empty());
    let (mut first, mut second) = (start(&handle), start(&handle));
    assert_eq!(ask(&mut first, "open"), "local");
    assert_eq!(ask(&mut second, "open"), "store");
    assert_eq!(ask(&mut first, "read"), "3");
    assert_eq!(ask(&mut second, "drop"), "dropped");
    assert!(path.exists());
    assert_eq!(ask(&mut first, "drop"), "dropped");
    assert!(
        !crate::common::words::has_array(&path),
        "its new owner deleted it"
    );
    first.finish();
    second.finish();
}

#[test]
fn an_array_that_was_opened_and_closed_goes_with_its_owner() {
    let root = Root::new();
    let manager = root.manager();
    let (xs, handle, path) = handed_over(&manager);
    let mut peer = start(&handle);
    for _ in 0..2 {
        assert_eq!(ask(&mut peer, "open"), "store");
        assert_eq!(ask(&mut peer, "drop"), "dropped");
    }
    drop(xs);
    assert!(!crate::common::words::has_array(&path));
    assert!(ask(&mut peer, "open").contains("released"));
    peer.finish();
}

/// A worker sends its result and drops it a moment later. Where the receiver opened it in between,
/// the array was deleted under the receiver, which could not send it on.
#[test]
fn an_opener_that_has_the_array_open_when_its_owner_drops_it_inherits_it() {
    let root = Root::new();
    let manager = root.manager();
    for looks in [true, false] {
        let (xs, handle, path) = handed_over(&manager);
        let (mut heir, mut other) = (start(&handle), start(&handle));
        assert_eq!(ask(&mut heir, "open"), "store");
        assert_eq!(
            ask(&mut heir, "hand over"),
            "store",
            "it is not its own yet"
        );
        drop(xs);
        assert_eq!(ask(&mut other, "open"), "store", "it can be sent on");
        if looks {
            assert_eq!(ask(&mut heir, "scope"), "local");
        }
        assert_eq!(ask(&mut other, "drop"), "dropped");
        assert!(path.exists());
        assert_eq!(ask(&mut heir, "drop"), "dropped");
        assert!(!crate::common::words::has_array(&path));
        heir.finish();
        other.finish();
    }
}

#[test]
fn an_heir_hands_the_array_on() {
    let root = Root::new();
    let manager = root.manager();
    let (xs, handle, path) = handed_over(&manager);
    let (mut heir, mut other) = (start(&handle), start(&handle));
    assert_eq!(ask(&mut heir, "open"), "store");
    drop(xs);
    assert_eq!(ask(&mut heir, "hand over"), "remote");
    assert_eq!(ask(&mut heir, "drop"), "dropped");
    assert_eq!(ask(&mut other, "open"), "local");
    assert_eq!(ask(&mut other, "read"), "3");
    assert_eq!(ask(&mut other, "drop"), "dropped");
    assert!(!crate::common::words::has_array(&path));
    heir.finish();
    other.finish();
}

#[test]
fn the_owner_of_an_array_whose_heir_was_killed_deletes_it() {
    let root = Root::new();
    let manager = root.manager();
    let (xs, handle, path) = handed_over(&manager);
    let mut peer = start(&handle);
    assert_eq!(ask(&mut peer, "open"), "store");
    peer.kill();
    drop(xs);
    assert!(!crate::common::words::has_array(&path));
}

#[test]
fn an_array_whose_owner_or_new_owner_was_killed_is_swept() {
    let root = Root::new();
    let manager = root.manager();
    // A new owner, by a claim and by an inheritance.
    for opens_first in [false, true] {
        let (xs, handle, path) = handed_over(&manager);
        let mut peer = start(&handle);
        let mut xs = Some(xs);
        if !opens_first {
            drop(xs.take());
        }
        ask(&mut peer, "open");
        drop(xs.take());
        peer.kill();
        assert_eq!(manager.sweep().unwrap().arrays, 1);
        assert!(!crate::common::words::has_array(&path));
    }
    let mut owner = Peer::start(child_hands_over, &[manager.path()]);
    let handle: Handle = owner.hear("handle ").parse().unwrap();
    owner.kill();
    assert_eq!(manager.sweep().unwrap().arrays, 1);
    assert!(matches!(
        handle.open::<f64, Ix1>(),
        Err(Error::Released { .. })
    ));
}

#[test]
#[ignore = "runs in a child"]
fn child_hands_over() {
    let manager = Manager::open(&common::arguments()[0]).unwrap();
    let (_xs, handle, _) = handed_over(&manager);
    println!("handle {handle}");
    std::io::stdin().lines().count();
}

#[test]
fn an_array_that_no_process_opens_goes_with_its_store() {
    let root = Root::new();
    let manager = root.manager();
    let (xs, _, path) = handed_over(&manager);
    drop(xs);
    assert_eq!(manager.sweep().unwrap().arrays, 0, "it is no leftover");
    assert!(path.exists());
    manager.close().unwrap();
    assert!(!crate::common::words::has_array(&path));
}

#[test]
fn an_array_is_handed_over_by_its_views_and_by_a_frozen_one() {
    let root = Root::new();
    let manager = root.manager();
    let xs: SharedArray1<f64> = manager.ones(5).unwrap();
    let part = xs.slice(s![1..3]).unwrap();
    let handle = part.hand_over();
    drop(xs);
    drop(part);
    assert_eq!(
        handle.open::<f64, Ix1>().unwrap().read().unwrap().sum(),
        2.0
    );

    let frozen = manager.ones::<f64, _>(5).unwrap().freeze().unwrap();
    let (handle, path) = (
        frozen.shared().hand_over(),
        frozen.handle().path().to_owned(),
    );
    drop(frozen);
    let frozen = handle.open_frozen::<f64, Ix1>().unwrap();
    assert_eq!(frozen.sum(), 5.0);
    drop(frozen);
    assert!(!crate::common::words::has_array(&path));
}

#[test]
fn a_release_and_a_change_of_the_scope_end_a_hand_over() {
    let root = Root::new();
    let manager = root.manager();
    let (xs, handle, path) = handed_over(&manager);
    xs.release().unwrap();
    drop(xs);
    assert!(!crate::common::words::has_array(&path) && handle.open::<f64, Ix1>().is_err());
    let (xs, _, path) = handed_over(&manager);
    xs.set_scope(Scope::Local).unwrap();
    drop(xs);
    assert!(!crate::common::words::has_array(&path));
}

#[test]
fn only_an_owner_hands_an_array_over() {
    let root = Root::new();
    let manager = root.manager();
    for scope in [Scope::Remote, Scope::Store] {
        let xs = manager.options().scope(scope).ones::<f64, _>(3).unwrap();
        assert_eq!(xs.hand_over(), xs.handle());
        assert_eq!(words::get(xs.path(), words::HEIR_AT), 0, "{scope}");
    }
}

/// A recycled file must not keep the heir word of its old array: the next array would not be
/// deleted.
#[test]
fn an_array_in_a_recycled_file_is_not_handed_over() {
    let root = Root::new();
    let manager = Manager::builder()
        .root(root.path())
        .recycle(1 << 20)
        .create()
        .unwrap();
    let (xs, _, path) = handed_over(&manager);
    let inode = path.metadata().unwrap().ino();
    xs.release().unwrap();
    drop(xs);
    let next: SharedArray1<f64> = manager.ones(3).unwrap();
    let path = next.path().to_path_buf();
    assert_eq!(path.metadata().unwrap().ino(), inode, "the same file");
    assert_eq!(words::get(&path, words::HEIR_AT), 0);
    drop(next);
    assert!(!crate::common::words::has_array(&path));
}

//! The directory of a store: held by its members, by its descriptor.
#![allow(
    unsafe_code,
    reason = "a number of a descriptor is given to another file"
)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use super::{
    NOTHING,
    common::{self, Root},
};
use ndshm::{Error, Manager};
use rustix::fs::FlockOperation;
use std::{
    fs,
    io::{BufRead, BufReader},
    os::fd::AsRawFd,
    path::Path,
};

// A maker whose store was closed by another process made its array in the store that had taken the
// path, by the path, and took it away again after a look. Killed in between, it left the array
// there, and the other store could not be closed any more.
#[test]
fn an_array_that_is_being_made_is_never_in_another_store_at_the_same_path() {
    let root = Root::new();
    let place = root.path().join("run");
    let moved = root.path().join("moved");
    let old = Manager::builder().path(&place).recycle(0).create().unwrap();
    for recycles in [false, true] {
        let old = if recycles {
            let builder = Manager::builder().root(root.path()).name("run");
            let old = builder.recycle(1 << 20).open().unwrap();
            drop(old.zeros::<f64, _>(3).unwrap());
            old
        } else {
            old.clone()
        };
        fs::rename(&place, &moved).unwrap();
        let new = Manager::create(&place).unwrap();
        let names = |directory: &Path| fs::read_dir(directory).unwrap().count();
        for name in [None, Some("xs")] {
            let options = name.map_or(old.options(), |name| old.options().name(name));
            let mut looks = 0;
            let made = options.from_shape_fn::<f64, _>(3, |_| {
                looks += 1;
                assert_eq!(names(&place), 1, "the lock file");
                assert_eq!(
                    names(&moved),
                    2,
                    "{:?}: the lock file, and the new file",
                    common::files_below(&moved)
                );
                1.0
            });
            assert!(matches!(made, Err(Error::Closed { .. })), "{made:?}");
            assert_eq!((looks, names(&moved), names(&place)), (3, 1, 1));
        }
        new.close().unwrap();
        fs::rename(&moved, &place).unwrap();
    }
    old.close().unwrap();
    assert_eq!(root.contents(), NOTHING);
}

// A process that closes descriptors that are not its own gave the number of the directory's to
// another directory; new arrays must not go there. A release looked there for the array's name,
// did not find it, and said that the array was deleted. The drop of the store closed the number,
// which was another file's.
#[test]
fn a_process_that_closed_the_directory_of_its_store_makes_no_array_elsewhere() {
    common::run(child_closes_the_directory_of_its_store, &["x"]);
}

#[test]
#[ignore = "runs in a child"]
fn child_closes_the_directory_of_its_store() {
    let (root, elsewhere) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let xs = manager.options().name("xs").zeros::<u8, _>(5).unwrap();
    let number = fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .find(|entry| fs::read_link(entry.path()).is_ok_and(|path| path == manager.path()))
        .map(|entry| entry.file_name().to_str().unwrap().parse::<i32>().unwrap())
        .unwrap();
    let other = fs::File::open(elsewhere.path()).unwrap();
    // SAFETY: both numbers are open; that the library uses one of them is what is tested.
    unsafe { libc::dup2(other.as_raw_fd(), number) };
    let error = manager.zeros::<u8, _>(5).unwrap_err();
    assert!(
        error.to_string().contains("closed the descriptor"),
        "{error}"
    );
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    let error = xs.release().unwrap_err();
    assert!(
        error.to_string().contains("closed the descriptor"),
        "{error}"
    );
    assert!(xs.path().exists());
    drop((xs, manager));
    // SAFETY: the number is open or not; asking is all that is done.
    let is_open = unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
    assert!(is_open, "the number is that of another directory");
    common::done();
}

// systemd-tmpfiles deletes what is old in /tmp and /var/tmp, the files of a store in use too. It
// leaves a directory that it cannot lock exclusively.
#[test]
fn a_store_in_use_holds_its_directory_against_programs_that_delete_old_files() {
    let root = Root::new();
    let manager = root.manager();
    let directory = fs::File::open(manager.path()).unwrap();
    let is_held = || !try_exclude(&directory);
    assert!(is_held());
    let mut peer = common::start(child_is_a_member, &[manager.path()]);
    let mut lines = BufReader::new(peer.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "joined"));
    let path = manager.persist().unwrap();
    drop(manager);
    assert!(is_held(), "by the other member");
    drop(peer.stdin.take());
    assert_eq!(
        lines
            .map(Result::unwrap)
            .filter(|line| line == common::MARKER)
            .count(),
        1
    );
    assert!(peer.wait().unwrap().success());
    assert!(!is_held(), "no process uses the store");
    // A cleaner that holds the lock delays a member, no more.
    let manager = Manager::open(path).unwrap();
    assert!(try_exclude(&directory) || is_held());
    manager.close().unwrap();
}

fn try_exclude(directory: &fs::File) -> bool {
    let locked = rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive);
    let is_locked = locked.is_ok();
    if is_locked {
        rustix::fs::flock(directory, FlockOperation::Unlock).unwrap();
    }
    is_locked
}

#[test]
#[ignore = "runs in a child"]
fn child_is_a_member() {
    let _manager = Manager::open(&common::arguments()[0]).unwrap();
    println!("joined");
    std::io::stdin().lines().for_each(drop);
    common::done();
}

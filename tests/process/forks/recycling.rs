//! Forks of a process that keeps files to use them again, or that fills a new one.

use super::{Fork, fork, wait};
use crate::{
    common::{self, Root},
    recycling::small::{has_idle_thread, wait_until},
};
use ndshm::{Error, Manager, SharedArray1};
use std::{os::unix::fs::MetadataExt, path::Path};

const LEN: usize = 50_000;

fn recycling() -> Manager {
    Manager::builder()
        .path(&common::arguments()[0])
        .recycle(1 << 30)
        .open()
        .unwrap()
}

fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

/// Files of the store that have no array.
fn kept_files(manager: &Manager) -> usize {
    common::files_below(manager.path())
        .iter()
        .filter(|path| crate::common::words::is_kept(path))
        .count()
}

/// Runs a child's test in a store in which there must be nothing afterwards.
#[track_caller]
fn run_in_store(child: impl Fn()) {
    let root = Root::new();
    let manager = Manager::builder().root(root.path()).create().unwrap();
    common::run(child, &[manager.path()]);
    assert_eq!(manager.sweep().unwrap().skipped.len(), 0);
    assert_eq!(
        (manager.list().unwrap().len(), kept_files(&manager)),
        (0, 0)
    );
}

/// A child that is forked has the array that its parent drops: it was counted before there was a
/// child, so the file is not used again.
#[test]
fn a_forked_child_keeps_the_elements_that_its_parent_drops() {
    run_in_store(child_forks_and_drops);
}

#[test]
#[ignore = "runs in a child"]
fn child_forks_and_drops() {
    let manager = recycling();
    for round in 0..50 {
        let xs = manager.from_elem(LEN, f64::from(round)).unwrap();
        drop(manager.zeros::<f64, _>(LEN).unwrap());
        match fork() {
            Fork::Child(end) => {
                assert!((0..20).all(|_| {
                    xs.read()
                        .is_ok_and(|elements| elements.iter().all(|&x| x == f64::from(round)))
                }));
                end.done()
            }
            Fork::Parent(pid) => {
                drop(xs);
                for _ in 0..3 {
                    let other = manager.from_elem(LEN, -1.0).unwrap();
                    assert_eq!(other.read().unwrap()[LEN - 1], -1.0);
                }
                wait(pid);
            }
        }
    }
    drop(manager);
    common::done();
}

#[test]
fn a_forked_child_neither_uses_nor_deletes_what_its_parent_keeps() {
    run_in_store(child_keeps_a_file_and_forks);
}

#[test]
#[ignore = "runs in a child"]
fn child_keeps_a_file_and_forks() {
    let manager = recycling();
    let make = |manager: &Manager| inode(manager.from_elem(LEN, 1.0).unwrap().path());
    let file = make(&manager);
    assert_eq!(kept_files(&manager), 1);
    match fork() {
        Fork::Child(end) => {
            assert_ne!(make(&manager), file);
            // The last manager of this process: it drops the kept files.
            drop(manager);
            end.done()
        }
        Fork::Parent(pid) => wait(pid),
    }
    assert_eq!((kept_files(&manager), make(&manager)), (1, file));
    drop(manager);
    common::done();
}

/// The function that fills an array may fork: the array is the parent's, and the child can neither
/// publish nor delete it.
#[test]
fn a_fork_while_an_array_is_filled_leaves_it_to_the_parent() {
    run_in_store(child_forks_while_it_fills);
}

#[test]
#[ignore = "runs in a child"]
fn child_forks_while_it_fills() {
    let manager = recycling();
    // Once with a new file, once with one that was kept.
    for round in 0..2 {
        if round == 1 {
            drop(manager.zeros::<u64, _>(LEN).unwrap());
        }
        assert_eq!(kept_files(&manager), round as usize);
        let mut is_child = None;
        let made = manager.from_shape_fn(LEN, |i| {
            if i == 1 {
                match fork() {
                    Fork::Child(end) => is_child = Some(end),
                    Fork::Parent(pid) => wait(pid),
                }
            }
            i as u64 + round
        });
        if let Some(end) = is_child {
            let error = made.unwrap_err();
            assert!(matches!(error, Error::NotOwner { .. }), "{error}");
            end.done();
        }
        let made: SharedArray1<u64> = made.unwrap();
        assert!(
            made.read()
                .unwrap()
                .iter()
                .enumerate()
                .all(|(i, &x)| x == i as u64 + round)
        );
        assert_eq!(kept_files(&manager), 0);
    }
    drop(manager);
    common::done();
}

/// Large arrays are copied by several threads where the feature `rayon` is on. A child does not
/// have those that its parent started, and used to wait for them for ever. Into a file that is used
/// again, because that is always copied into the mapping.
#[test]
fn a_forked_child_copies_large_arrays_without_the_threads_of_its_parent() {
    run_in_store(child_copies_much_and_forks);
}

#[test]
#[ignore = "runs in a child"]
fn child_copies_much_and_forks() {
    let manager = recycling();
    let source = ndarray::Array1::from_elem(3 << 20, 7u64);
    let copy_twice = || {
        drop(manager.from_ndarray(&source).unwrap());
        assert_eq!(
            *manager.from_ndarray(&source).unwrap().read().unwrap(),
            source
        );
    };
    copy_twice();
    let pid = match fork() {
        Fork::Child(end) => {
            copy_twice();
            end.done()
        }
        Fork::Parent(pid) => pid,
    };
    wait(pid);
    drop(manager);
    common::done();
}

#[test]
fn a_fork_finds_no_small_files_and_no_thread() {
    run_in_store(child_forks_with_small_files);
}

#[test]
#[ignore = "runs in a child"]
fn child_forks_with_small_files() {
    let manager = Manager::open(&common::arguments()[0]).unwrap();
    for round in 0..20 {
        let small = manager.from_elem(10, 1.0).unwrap();
        let path = small.path().to_path_buf();
        drop(small);
        assert!(common::words::is_kept(&path), "{round}");
        // It gives itself its name.
        wait_until("the thread runs", has_idle_thread);
        match fork() {
            Fork::Child(end) => {
                assert!(!path.exists());
                end.done()
            }
            Fork::Parent(pid) => {
                assert!(!path.exists() && !has_idle_thread(), "{round}");
                wait(pid);
            }
        }
    }
    drop(manager);
    common::done();
}

//! Kept files that become no array: they must not stay marked as being recycled, or processes that
//! keep a mapping of the old array keep its pages for ever.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use super::*;
use crate::common::words;
use std::{fs::File, os::unix::fs::FileExt};

fn lifecycle(file: &File) -> u32 {
    let mut word = [0; 4];
    file.read_exact_at(&mut word, words::LIFECYCLE_AT).unwrap();
    u32::from_ne_bytes(word)
}

/// Makes and drops an array, and returns its file, which is kept for reuse.
fn is_released(file: &File) -> bool {
    [words::RELEASED, words::DELETED].contains(&lifecycle(file))
}

fn keep(manager: &Manager) -> File {
    let first = manager.from_elem(LEN, 1.0).unwrap();
    let file = File::open(first.path()).unwrap();
    drop(first);
    assert_eq!(kept_files(manager), 1);
    assert_eq!(lifecycle(&file), words::RECYCLING);
    file
}

fn caught(panics: impl FnOnce()) {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics));
    assert!(outcome.is_err());
}

/// A panic while a kept file was filled, for one, left it as "recycling" for ever.
#[test]
fn a_kept_file_that_becomes_no_array_is_released() {
    type Way = fn(&Manager);
    let ways: [(&str, Way); 6] = [
        ("a panic while it is filled", |manager| {
            caught(|| {
                let fill = |i| if i == 7 { panic!("on purpose") } else { 2.0f64 };
                manager.from_shape_fn(LEN, fill).unwrap();
            });
        }),
        ("a panic amid a panic", |manager| {
            struct Fill<'a>(&'a Manager);
            impl Drop for Fill<'_> {
                fn drop(&mut self) {
                    caught(|| {
                        let fill = |_| -> f64 { panic!("the second") };
                        self.0.from_shape_fn(LEN, fill).map(drop).unwrap();
                    });
                }
            }
            caught(|| {
                let _fill = Fill(manager);
                panic!("the first");
            });
        }),
        ("a name that is taken meanwhile", |manager| {
            let fill = |i| {
                if i == 0 {
                    manager.options().name("xs").zeros::<u8, _>(1).unwrap();
                }
                1.0f64
            };
            let made = manager.options().name("xs").from_shape_fn(LEN, fill);
            assert!(matches!(made, Err(Error::AlreadyExists { .. })));
        }),
        ("a store that is closed meanwhile", |manager| {
            let fill = |i| {
                if i == 0 {
                    manager.close().unwrap();
                }
                1.0f64
            };
            assert!(manager.from_shape_fn(LEN, fill).is_err());
        }),
        ("a file that another process deleted", |manager| {
            for path in common::files_below(manager.path()) {
                if crate::common::words::is_kept(&path) {
                    std::fs::remove_file(path).unwrap();
                }
            }
            // Another length within the last page, so the file is looked for.
            let shorter = manager.zeros::<u8, _>(8 * LEN - 1).unwrap();
            assert_eq!(shorter.read().unwrap().len(), 8 * LEN - 1);
        }),
        ("no room for it", |manager| {
            drop(manager.from_elem(2 * LEN, 1.0).unwrap());
            let builder = Manager::builder().path(manager.path()).recycle(1);
            drop(builder.open().unwrap());
        }),
    ];
    for (what, way) in ways {
        let root = Root::new();
        let manager = recycling(&root, 1 << 30);
        let file = keep(&manager);
        way(&manager);
        assert!(is_released(&file), "{what}");
        drop(manager);
        assert!(is_released(&file), "{what}, at the end");
    }
}

/// The kept file of a killed process is deleted by a sweep, which is the last one to know of it.
#[test]
fn the_kept_file_of_a_killed_process_is_released_by_the_sweep() {
    let root = Root::new();
    let manager = root.manager();
    let mut peer = Peer::start(child_keeps_a_file, &[manager.path()]);
    let path = peer.hear("made ");
    let file = File::open(path).unwrap();
    peer.tell("drop");
    peer.hear("kept");
    assert_eq!(lifecycle(&file), words::RECYCLING);
    peer.kill();
    assert_eq!(manager.sweep().unwrap().half_made, 1);
    assert_eq!(lifecycle(&file), words::DELETED);
}

#[test]
#[ignore = "runs in a child"]
fn child_keeps_a_file() {
    let path = common::arguments().remove(0);
    let builder = Manager::builder().path(path).recycle(1 << 30);
    let manager = builder.open().unwrap();
    let xs = manager.from_elem(LEN, 1.0).unwrap();
    println!("made {}", xs.path().display());
    let mut lines = std::io::stdin().lines();
    lines.next().unwrap().unwrap();
    drop(xs);
    println!("kept");
    lines.for_each(drop);
    common::done();
}

/// A forked child that drops its parent's draft leaves the file as it is.
#[test]
fn a_forked_child_does_not_release_the_kept_files_of_its_parent() {
    let root = Root::new();
    let manager = root.manager();
    common::run(child_forks_with_a_kept_file, &[manager.path()]);
}

#[test]
#[ignore = "runs in a child"]
#[allow(unsafe_code, reason = "only libc forks")]
fn child_forks_with_a_kept_file() {
    let path = common::arguments().remove(0);
    let builder = Manager::builder().path(path).recycle(1 << 30);
    let manager = builder.open().unwrap();
    let file = keep(&manager);
    let fork = |i| {
        if i == 7 {
            // SAFETY: the test harness runs one thread here; the child unwinds to `_exit` below.
            if unsafe { libc::fork() } == 0 {
                panic!("in the child");
            }
            let mut status = 0;
            // SAFETY: waits for the child that was forked above.
            unsafe { libc::wait(&raw mut status) };
            assert_eq!(status, 0);
        }
        1.0f64
    };
    let parent = std::process::id();
    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        manager.from_shape_fn(LEN, fork)
    }));
    if std::process::id() != parent {
        // SAFETY: ends the process, and runs nothing of its parent's.
        unsafe { libc::_exit(i32::from(lifecycle(&file) != words::RECYCLING)) };
    }
    let made = made.unwrap().unwrap();
    assert_eq!(made.read().unwrap().sum(), LEN as f64);
    assert_eq!(lifecycle(&file), words::READY);
    common::done();
}

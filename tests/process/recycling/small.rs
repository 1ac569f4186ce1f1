//! Files of small arrays, which are kept for a moment without being asked for, and files that have
//! no array yet.

use super::inode;
use crate::common::{self, Root, words};
use ndshm::{Error, Manager, SharedArray1};
use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path, thread, time::Duration};

/// Waits until a condition holds.
pub(crate) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("in a minute: {what}");
}

/// Whether the thread runs that gives idle files back.
pub(crate) fn has_idle_thread() -> bool {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .any(|name| name.trim() == "ndshm-idle")
}

#[test]
fn the_file_of_a_small_array_serves_the_next_one_and_is_given_back_after_a_moment() {
    let root = Root::new();
    common::run(child_makes_small_arrays, &[root.path()]);
}

#[test]
#[ignore = "runs in a child"]
fn child_makes_small_arrays() {
    let root = common::arguments().remove(0);
    let manager = Manager::builder().root(root).create().unwrap();
    let first = manager.from_elem(10, 1.0).unwrap();
    let (path, file) = (first.path().to_path_buf(), inode(first.path()));
    drop(first);
    assert!(words::is_kept(&path));
    assert!(manager.usage().unwrap().kept > 0 && manager.list().unwrap().is_empty());
    assert!(matches!(
        SharedArray1::<f64>::open_path(&path),
        Err(Error::NotFound { .. })
    ));
    let second = manager.zeros::<f64, _>(12).unwrap();
    assert_eq!(
        (second.path(), inode(second.path())),
        (path.as_path(), file)
    );
    assert_eq!(second.read().unwrap().sum(), 0.0);
    drop(second);
    wait_until("the file is given back", || !path.exists());
    assert_eq!(manager.usage().unwrap().kept, 0);
    wait_until("the thread ends", || !has_idle_thread());

    // Again, after the thread has ended.
    let third = manager.from_elem(10, 1.0).unwrap();
    let path = third.path().to_path_buf();
    drop(third);
    assert!(words::is_kept(&path));
    wait_until("the thread runs", has_idle_thread);
    wait_until("the file is given back", || !path.exists());
    common::done();
}

#[test]
fn of_small_arrays_no_more_is_kept_than_a_little_and_of_large_ones_nothing() {
    let root = Root::new();
    let manager = root.manager();
    let kept = || {
        common::files_below(manager.path())
            .iter()
            .filter(|path| words::is_kept(path))
            .count()
    };
    let arrays: Vec<_> = (0..300)
        .map(|_| manager.zeros::<u8, _>(8).unwrap())
        .collect();
    drop(arrays);
    assert!((1..=256).contains(&kept()), "{}", kept());
    let arrays: Vec<_> = (0..9)
        .map(|_| manager.zeros::<u8, _>(1 << 20).unwrap())
        .collect();
    drop(arrays);
    assert!((1..=4).contains(&kept()), "{}", kept());
    assert!(manager.usage().unwrap().kept <= 4 << 20);
    let large = manager.zeros::<u8, _>(3 << 20).unwrap();
    let path = large.path().to_path_buf();
    drop(large);
    assert!(!path.exists());

    let none = Manager::builder().path(manager.path()).recycle(0);
    let _none = none.open().unwrap();
    assert_eq!(kept(), 0);
    drop(manager.zeros::<u8, _>(8).unwrap());
    assert_eq!(kept(), 0);
}

#[test]
fn a_file_that_is_deleted_before_its_array_is_ready_gets_none() {
    let root = Root::new();
    let manager = root.manager();
    // A program that deletes all files of the store while the array is filled.
    let fill = || {
        manager.from_shape_fn::<f64, _>(3, |at| {
            for path in common::files_below(manager.path()) {
                if path.file_name() != Some(".lock".as_ref()) {
                    std::fs::remove_file(path).unwrap();
                }
            }
            at as f64
        })
    };
    let refused = fill();
    assert!(
        matches!(&refused, Err(Error::Io { action, .. }) if action.contains("deleted its file")),
        "{refused:?}"
    );
    assert!(manager.list().unwrap().is_empty());

    // The elements that went into a kept file go into another one.
    drop(manager.zeros::<f64, _>(3).unwrap());
    let made = fill().unwrap();
    assert!(words::has_array(made.path()));
    assert_eq!(made.to_ndarray().unwrap().to_vec(), [0.0, 1.0, 2.0]);
}

#[test]
fn an_array_that_is_being_made_is_neither_listed_nor_opened_nor_damaged() {
    let root = Root::new();
    let manager = root.manager();
    let files = || common::files_below(manager.path());
    for round in 0..2 {
        let mut looks = 0;
        let made = manager
            .from_shape_fn::<f64, _>(3, |_| {
                looks += 1;
                let half_made = files();
                let is_array = |path: &&Path| path.extension().is_some();
                let path = half_made.iter().map(|path| path.as_path()).find(is_array);
                let path = path.unwrap();
                assert!(
                    manager.list().unwrap().is_empty() && manager.damaged().unwrap().is_empty()
                );
                assert!(manager.usage().unwrap().kept > 0);
                assert!(matches!(
                    SharedArray1::<f64>::open_path(path),
                    Err(Error::NotFound { .. })
                ));
                let found = ndshm::verify(manager.path()).unwrap();
                assert_eq!((found.arrays, found.findings.len()), (0, 0), "{found:?}");
                let swept = manager.sweep().unwrap();
                assert_eq!((swept.half_made, swept.skipped.len()), (0, 0), "{swept:?}");
                1.0
            })
            .unwrap();
        assert_eq!(
            (looks, made.read().unwrap().sum()),
            (3, 3.0),
            "round {round}"
        );
        // The second time in the kept file of the first.
        drop(made);
    }
}

#[test]
fn a_file_that_a_living_member_has_just_made_is_no_array_and_no_damage() {
    let root = Root::new();
    let manager = root.manager();
    let array = manager.zeros::<f64, _>(3).unwrap();
    let stem = array.path().file_stem().unwrap().to_str().unwrap();
    // Of the same member, with another number.
    let begun = manager
        .path()
        .join(format!("{}ffffffffffffffff.ndshm", &stem[..16]));
    for bytes in [0, 10, 8192] {
        std::fs::write(&begun, vec![0; bytes]).unwrap();
        std::fs::set_permissions(&begun, Permissions::from_mode(0o600)).unwrap();
        let opened = SharedArray1::<f64>::open_path(&begun);
        assert!(
            matches!(opened, Err(Error::NotFound { .. })),
            "{bytes}: {opened:?}"
        );
        assert_eq!(manager.list().unwrap().len(), 1);
        assert!(manager.damaged().unwrap().is_empty());
        let found = ndshm::verify(manager.path()).unwrap();
        assert_eq!((found.arrays, found.findings.len()), (1, 0), "{found:?}");
        let swept = manager.sweep().unwrap();
        assert_eq!((swept.half_made, swept.skipped.len()), (0, 0), "{swept:?}");
        std::fs::remove_file(&begun).unwrap();
    }
}

#[test]
fn a_file_whose_memory_is_kept_mapped_is_not_used_again() {
    let root = Root::new();
    let manager = root.manager();
    let first = manager.zeros_any(&"<f8".parse().unwrap(), &[4]).unwrap();
    let (path, file) = (first.path().to_path_buf(), inode(first.path()));
    let memory = first.memory();
    drop(first);
    let second = manager.zeros::<f64, _>(4).unwrap();
    assert!(!path.exists() && inode(second.path()) != file);
    drop(memory);
}

#[test]
fn an_array_that_got_a_name_does_not_lend_its_file() {
    let root = Root::new();
    let manager = root.manager();
    let array = manager.from_elem(10, 1.0).unwrap();
    let (digits, file) = (
        array
            .path()
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned(),
        inode(array.path()),
    );
    manager.rename(&digits, "xs").unwrap();
    let named = manager.path().join("xs.ndshm");
    assert_eq!(inode(&named), file);
    drop(array);
    assert!(!named.exists(), "it was local");
    let next = manager.from_elem(10, 2.0).unwrap();
    assert_eq!(next.read().unwrap().sum(), 20.0);
    let again: SharedArray1<f64> = next.handle().open().unwrap();
    assert_eq!(again.read().unwrap().sum(), 20.0);
}

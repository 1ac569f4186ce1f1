//! Files of released arrays that are used again: when, with which contents, and that no opener of
//! the old array sees the new one.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod limits;
mod races;
pub(crate) mod small;
mod unpublished;

use crate::common::{self, Peer, Root};
use ndarray::{Array1, Ix1, s};
use ndshm::{Error, Handle, HugePages, Manager, Order, Scope, SharedArray1};
use std::{os::unix::fs::MetadataExt, path::Path};

const LEN: usize = 50_000;

fn recycling(root: &Root, bytes: usize) -> Manager {
    Manager::builder()
        .root(root.path())
        .recycle(bytes)
        .create()
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

#[test]
fn the_file_of_a_dropped_array_serves_the_next_one_under_another_id() {
    let root = Root::new();
    let manager = recycling(&root, 1 << 30);
    let first = manager.from_elem(LEN, 1.0).unwrap();
    let (file, handle) = (inode(first.path()), first.handle());
    drop(first);
    assert_eq!(
        (manager.list().unwrap().len(), kept_files(&manager)),
        (0, 1)
    );
    let kept = manager.usage().unwrap().kept;
    assert!(kept >= 8 * LEN as u64, "{kept}");
    assert!(matches!(
        handle.open::<f64, Ix1>(),
        Err(Error::Released { .. })
    ));

    let second = manager.empty::<f64, _>(LEN).unwrap();
    assert_eq!(
        (
            inode(second.path()),
            kept_files(&manager),
            manager.usage().unwrap().kept
        ),
        (file, 0, 0)
    );
    assert_ne!(second.id(), handle.id());
    assert!(
        matches!(handle.open::<f64, Ix1>(), Err(Error::Released { .. })),
        "the id of the first one is gone for ever"
    );
    second.write().unwrap().fill(2.0);
    let text = second.handle().to_string();
    assert!(common::run(child_reads_twos, &[text]).contains("sum 100000"));
    drop(second);

    let zeros = manager.zeros::<f64, _>(LEN).unwrap();
    assert_eq!(
        (inode(zeros.path()), zeros.read().unwrap().sum()),
        (file, 0.0)
    );
    drop(zeros);
    let source = Array1::from_shape_fn(LEN, |i| i as f64);
    let copied = manager.from_ndarray(&source).unwrap();
    assert_eq!(inode(copied.path()), file);
    assert_eq!(*copied.read().unwrap(), source);
    drop(copied);
    let computed = manager.from_shape_fn(LEN, |i| i as f64).unwrap();
    assert_eq!(*computed.read().unwrap(), source);
    assert_eq!(inode(computed.path()), file);
}

#[test]
#[ignore = "runs in a child"]
fn child_reads_twos() {
    let xs: SharedArray1<f64> = common::arguments()[0]
        .parse::<Handle>()
        .unwrap()
        .open()
        .unwrap();
    println!("sum {}", xs.read().unwrap().sum());
    common::done();
}

#[test]
fn another_type_and_shape_of_as_many_pages_may_follow() {
    let root = Root::new();
    let manager = recycling(&root, 1 << 30);
    let first = manager.from_elem(LEN, 1.0f64).unwrap();
    let file = inode(first.path());
    drop(first);
    // A hundred bytes less, in the same page.
    let shorter = manager.zeros::<u8, _>(8 * LEN - 100).unwrap();
    assert_eq!(
        (
            inode(shorter.path()),
            std::fs::metadata(shorter.path()).unwrap().len()
        ),
        (file, (common::page() + 8 * LEN - 100) as u64)
    );
    assert!(shorter.read().unwrap().iter().all(|&byte| byte == 0));
    let text = shorter.handle().to_string();
    drop(shorter);
    assert!(matches!(
        text.parse::<Handle>().unwrap().open::<u8, Ix1>(),
        Err(Error::Released { .. })
    ));
    let named = manager
        .options()
        .name("named")
        .from_elem((LEN / 2, 2), 3i64)
        .unwrap();
    assert_eq!(
        (inode(named.path()), named.read().unwrap().sum()),
        (file, 3 * LEN as i64)
    );
    assert_eq!(
        manager.array::<i64, ndarray::Ix2>("named").unwrap().id(),
        named.id()
    );
    assert_ne!(
        inode(manager.zeros::<f64, _>(LEN + 512).unwrap().path()),
        file,
        "a page more"
    );
}

#[test]
fn a_file_that_is_open_elsewhere_or_was_named_is_not_used_again() {
    let root = Root::new();
    let manager = recycling(&root, 1 << 30);
    let make = || manager.from_elem(LEN, 1.0).unwrap();
    // Open in another process: it goes on reading its array.
    let xs = make();
    let mut peer = Peer::start(child_holds_an_array, &[xs.handle().to_string()]);
    peer.hear("open");
    drop(xs);
    assert_eq!(kept_files(&manager), 0);
    let other = make();
    other.write().unwrap().fill(5.0);
    peer.tell("sum");
    assert_eq!(peer.hear("sum "), "50000");
    peer.finish();
    drop(other);
    assert_eq!(kept_files(&manager), 1);
    drop(make());

    let named = manager
        .options()
        .name("named")
        .scope(Scope::Local)
        .ones::<f64, _>(LEN)
        .unwrap();
    drop(named);
    assert_eq!(kept_files(&manager), 0);
    let stays = make();
    stays.set_scope(Scope::Store).unwrap();
    drop(stays);
    assert_eq!(
        (kept_files(&manager), manager.list().unwrap().len()),
        (0, 1)
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_holds_an_array() {
    let xs: SharedArray1<f64> = common::arguments()[0]
        .parse::<Handle>()
        .unwrap()
        .open()
        .unwrap();
    println!("open");
    for line in std::io::stdin().lines() {
        assert_eq!(line.unwrap(), "sum");
        println!("sum {}", xs.read().unwrap().sum());
    }
    common::done();
}

#[test]
fn a_released_array_stays_usable_and_its_file_is_used_again_when_its_last_view_is_gone() {
    let root = Root::new();
    let manager = recycling(&root, 1 << 30);
    let xs = manager.from_elem(LEN, 1.0).unwrap();
    let (file, view) = (inode(xs.path()), xs.slice(s![..10]).unwrap());
    xs.release().unwrap();
    assert!(matches!(
        xs.handle().open::<f64, Ix1>(),
        Err(Error::Released { .. })
    ));
    drop(xs);
    assert_ne!(inode(manager.zeros::<f64, _>(LEN).unwrap().path()), file);
    assert_eq!(view.read().unwrap().sum(), 10.0);
    drop(view);
    let files: Vec<_> = (0..2)
        .map(|_| manager.zeros::<f64, _>(LEN).unwrap())
        .map(|array| inode(array.path()))
        .collect();
    assert!(files.contains(&file), "{files:?} {file}");
}

/// Readers of a frozen array take no guard, so its file is used again only when no process has it
/// open any more.
#[test]
fn a_frozen_array_keeps_its_file_while_any_process_has_it_open() {
    let root = Root::new();
    let manager = recycling(&root, 1 << 30);
    let frozen = manager.from_elem(LEN, 1.0).unwrap().freeze().unwrap();
    let file = inode(frozen.handle().path());
    let mut peer = Peer::start(child_holds_an_array, &[frozen.handle().to_string()]);
    peer.hear("open");
    drop(frozen);
    let other = manager.from_elem(LEN, 5.0).unwrap();
    assert_ne!(inode(other.path()), file);
    peer.tell("sum");
    assert_eq!(peer.hear("sum "), "50000");
    peer.finish();

    // No process has this one open. One that holds its flock may read it by a read-only mount.
    for is_held in [false, true] {
        let frozen = manager.from_elem(LEN, 2.0).unwrap().freeze().unwrap();
        let file = inode(frozen.handle().path());
        let reader = std::fs::File::open(frozen.handle().path()).unwrap();
        if is_held {
            fs2::FileExt::lock_shared(&reader).unwrap();
        }
        drop(frozen);
        let next = manager.from_elem(LEN, 3.0).unwrap();
        assert_eq!(inode(next.path()) != file, is_held);
        assert!(!next.is_frozen());
        next.write().unwrap()[0] = 4.0;
        assert_eq!(next.read().unwrap()[0], 4.0);
    }
}

/// Freezing takes the right to write from the mapping, also where the array was released before.
#[test]
fn what_was_frozen_after_its_release_is_used_again() {
    let root = Root::new();
    let manager = recycling(&root, 1 << 30);
    common::run(child_freezes_after_a_release, &[manager.path()]);
}

#[test]
#[ignore = "runs in a child"]
fn child_freezes_after_a_release() {
    let manager = Manager::builder()
        .path(&common::arguments()[0])
        .recycle(1 << 30)
        .open()
        .unwrap();
    let xs = manager.from_elem(LEN, 1.0).unwrap();
    let file = inode(xs.path());
    xs.release().unwrap();
    assert_eq!(xs.freeze().unwrap().sum(), LEN as f64);
    drop(xs);
    let zeros = manager.zeros::<f64, _>(LEN).unwrap();
    assert_eq!(inode(zeros.path()), file);
    assert_eq!(zeros.read().unwrap().sum(), 0.0);
    zeros.write().unwrap().fill(7.0);
    common::done();
}

/// Poison, slots of dead members and the frozen flag belong to the old array.
#[test]
fn the_lock_table_of_a_file_that_is_used_again_is_new() {
    let root = Root::new();
    let manager = recycling(&root, 1 << 30);
    let xs = manager.from_elem(LEN, 1.0).unwrap();
    let file = inode(xs.path());
    let (poisoned, view) = (xs.slice(s![..10]).unwrap(), xs.slice(s![10..20]).unwrap());
    common::elsewhere(|| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = poisoned.write().unwrap();
            panic!("on purpose");
        }))
        .unwrap_err();
    });
    let mut peer = Peer::start(child_holds_a_guard, &[view.handle().to_string()]);
    peer.hear("held");
    peer.kill();
    assert!(poisoned.is_poisoned().unwrap());
    drop((xs, poisoned, view));
    // A reader that was killed is counted for good: its file is not used again. One that was not
    // is.
    let second = manager.from_elem(LEN, 2.0).unwrap();
    assert_ne!(inode(second.path()), file);
    let file = inode(second.path());
    let parts: Vec<_> = (0..40)
        .map(|i| second.slice(s![3 * i..3 * i + 1]).unwrap())
        .collect();
    for part in &parts {
        common::elsewhere(|| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _guard = part.write().unwrap();
                panic!("on purpose");
            }))
            .unwrap_err();
        });
    }
    assert!(second.is_poisoned().unwrap());
    drop((second, parts));
    let third = manager.from_elem(LEN, 3.0).unwrap();
    assert_eq!(inode(third.path()), file);
    assert!(
        !third.is_poisoned().unwrap() && !third.is_frozen() && third.poisoned().unwrap().is_empty()
    );
    third.try_write().unwrap().fill(4.0);
    assert_eq!(third.try_read().unwrap().sum(), 4.0 * LEN as f64);
    // The map of used records.
    assert_eq!(std::fs::read(third.path()).unwrap()[144..152], [0; 8]);
    assert_eq!(third.freeze().unwrap().sum(), 4.0 * LEN as f64);
}

#[test]
#[ignore = "runs in a child"]
fn child_holds_a_guard() {
    let view: SharedArray1<f64> = common::arguments()[0]
        .parse::<Handle>()
        .unwrap()
        .open()
        .unwrap();
    let _guard = view.write().unwrap();
    println!("held");
    let _ = std::io::stdin().lines().count();
    common::done();
}

/// The file has pages that were not wanted when it was made.
#[test]
fn what_was_made_before_the_choice_of_pages_is_not_used_after_it() {
    let root = Root::new();
    let manager = recycling(&root, 1 << 30);
    drop(manager.zeros::<u8, _>(4 << 20).unwrap());
    assert_eq!(kept_files(&manager), 1);
    Manager::builder()
        .path(manager.path())
        .huge_pages(HugePages::Never)
        .open()
        .unwrap();
    assert_eq!(kept_files(&manager), 0);
}

#[test]
fn a_store_that_another_process_closes_has_nothing_kept() {
    let root = Root::new();
    let manager = Manager::builder()
        .path(root.path().join("store"))
        .persistent()
        .recycle(1 << 30)
        .create()
        .unwrap();
    drop((
        manager.from_elem(LEN, 1.0).unwrap(),
        manager.from_elem(LEN, 1.0).unwrap(),
    ));
    let open = manager.from_elem(LEN, 2.0).unwrap();
    common::run(child_closes, &[manager.path()]);
    assert_eq!(root.contents(), Vec::<std::path::PathBuf>::new());
    assert!(matches!(
        manager.from_elem(LEN, 3.0),
        Err(Error::Closed { .. })
    ));
    drop(open);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let store = root.path().join("store").to_str().unwrap().to_owned();
    let left: Vec<_> = maps
        .lines()
        .filter(|line| line.contains(root.path().to_str().unwrap()))
        .collect();
    assert!(
        left.len() == 2 && left.iter().all(|line| line.contains(".lock")),
        "of {store} are mapped: {left:?}"
    );
    drop(manager);
    assert_eq!(root.contents(), Vec::<std::path::PathBuf>::new());
}

#[test]
#[ignore = "runs in a child"]
fn child_closes() {
    Manager::open(&common::arguments()[0])
        .unwrap()
        .close()
        .unwrap();
    common::done();
}

#[test]
fn a_kept_file_that_another_process_deletes_is_made_anew() {
    let root = Root::new();
    let manager = recycling(&root, 1 << 30);
    // The second time the next array has another length, which the file is given before it is
    // written.
    for (name, kept) in [(None, LEN), (Some("results"), LEN + 1)] {
        drop(manager.from_elem(kept, 1.0).unwrap());
        assert_eq!(kept_files(&manager), 1);
        for path in common::files_below(manager.path())
            .iter()
            .filter(|path| crate::common::words::is_kept(path))
        {
            std::fs::remove_file(path).unwrap();
        }
        let options = manager.options().scope(Scope::Local);
        let options = if let Some(name) = name {
            options.name(name)
        } else {
            options
        };
        let made = options.from_shape_fn(LEN, |i| i as f64).unwrap();
        assert_eq!(
            (made.read().unwrap()[LEN - 1], made.name()),
            (LEN as f64 - 1.0, name.map(String::from))
        );
        let again: SharedArray1<f64> = made.handle().open().unwrap();
        again.write().unwrap()[0] = 7.0;
        assert_eq!(made.read().unwrap()[0], 7.0);
        let path = made.path().to_path_buf();
        drop((made, again));
        assert!(!crate::common::words::has_array(&path));
        assert!(manager.sweep().unwrap().skipped.is_empty());
    }
}

/// A function that sets bytes starts from zeros, and need not set all of them. It used to be given
/// those of the array before.
#[test]
fn bytes_that_a_function_sets_are_zeros_before() {
    let root = Root::new();
    let manager = recycling(&root, 1 << 30);
    let kept = manager.from_elem(LEN, 1.0).unwrap();
    let file = inode(kept.path());
    drop(kept);
    let dtype = "<f8".parse().unwrap();
    let made = manager
        .options()
        .from_bytes_fn(&dtype, &[LEN], Order::C, |bytes| bytes[0] = 1)
        .unwrap();
    assert_eq!(
        (
            inode(made.path()),
            made.read()
                .unwrap()
                .iter()
                .filter(|&&byte| byte != 0)
                .count()
        ),
        (file, 1)
    );
}

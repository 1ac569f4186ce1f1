//! Chunks that are not sent again, and checkpoints that are deleted.

use super::{fresh, small};
use crate::common::Root;
use ndarray::{Ix1, s};
use ndshm::{Checkpoint, DirectoryBucket, Restore};
use std::fs;

#[test]
fn only_chunks_that_changed_are_sent_again() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let options = manager.options().name("xs");
    let xs = options.from_shape_fn::<f64, _>(1000, |i| i as f64).unwrap();
    let first = small().to_directory(&manager, scratch.path()).unwrap();
    assert_eq!((first.sent, first.referred), (8000, 0));
    let same = small().to_directory(&manager, scratch.path()).unwrap();
    assert_eq!((same.sent, same.referred), (0, 8000));
    xs.slice(s![500..501]).unwrap().write().unwrap().fill(-1.0);
    let changed = small().to_directory(&manager, scratch.path()).unwrap();
    assert!(changed.sent > 0 && changed.sent <= 1000, "{changed:?}");
    assert_eq!(changed.sent + changed.referred, 8000);
    // Other chunks have other bytes.
    let other = Checkpoint::new()
        .chunk_len(500)
        .to_directory(&manager, scratch.path())
        .unwrap();
    assert_eq!(other.referred, 0);
    for (id, expected) in [(&first.id, 500.0), (&changed.id, -1.0)] {
        let manager = fresh(&root);
        let restore = Restore::new().checkpoint(id);
        restore.from_directory(&manager, scratch.path()).unwrap();
        let xs = manager.array::<f64, Ix1>("xs").unwrap();
        assert_eq!(xs.read().unwrap()[500], expected);
    }
}

#[test]
fn frozen_arrays_are_referred_to_without_reading_them() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let options = manager.options().name("xs");
    let xs = options.ones::<f64, _>(1000).unwrap();
    small().to_directory(&manager, scratch.path()).unwrap();
    xs.freeze().unwrap();
    // The last checkpoint was written before the freeze: its chunks are compared.
    let frozen = small().to_directory(&manager, scratch.path()).unwrap();
    assert_eq!((frozen.sent, frozen.referred), (0, 8000));
    let again = small().to_directory(&manager, scratch.path()).unwrap();
    assert_eq!((again.sent, again.referred), (0, 8000));
    // Another array of this name is another array.
    manager.remove("xs").unwrap();
    let options = manager.options().name("xs");
    let zeros = options.zeros::<f64, _>(1000).unwrap();
    zeros.freeze().unwrap();
    let zeros = small().to_directory(&manager, scratch.path()).unwrap();
    assert_eq!((zeros.sent, zeros.referred), (8000, 0));
}

#[test]
fn old_checkpoints_are_deleted_and_the_others_stay_whole() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    manager.options().name("xs").ones::<f64, _>(1000).unwrap();
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(manager.checkpoint(scratch.path()).unwrap().id);
    }
    let kept = Checkpoint::new()
        .keep(2)
        .to_directory(&manager, scratch.path())
        .unwrap();
    let mut deleted = kept.deleted.clone();
    deleted.sort();
    assert_eq!(deleted, ids[..3]);
    for id in [&ids[3], &kept.id] {
        let other = fresh(&root);
        let restore = Restore::new().checkpoint(id);
        restore.from_directory(&other, scratch.path()).unwrap();
        let xs = other.array::<f64, Ix1>("xs").unwrap();
        assert_eq!(xs.read().unwrap().sum(), 1000.0);
    }
    let one = Checkpoint::new()
        .keep(0)
        .to_directory(&manager, scratch.path())
        .unwrap();
    assert_eq!(one.deleted.len(), 2);
    let mut left: Vec<_> = fs::read_dir(scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let mut expected = vec![".ndshm-lock".to_owned(), one.id, "latest.json".to_owned()];
    expected.sort();
    assert_eq!(left, expected);
}

#[test]
fn a_checkpoint_that_another_one_overtakes_does_not_take_its_place() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    manager.options().name("xs").ones::<f64, _>(100).unwrap();
    let bucket = DirectoryBucket::new(scratch.path());
    let inner = std::sync::Mutex::new(None);
    let overtake = |_, _| {
        let mut inner = inner.lock().unwrap();
        if inner.is_none() {
            // Ids have milliseconds.
            let now = std::time::SystemTime::now();
            while now.elapsed().unwrap().as_millis() < 2 {}
            *inner = Some(Checkpoint::new().write(&manager, &bucket).unwrap());
        }
    };
    let outer = Checkpoint::new()
        .progress(&overtake)
        .write(&manager, &bucket);
    let (outer, inner) = (outer.unwrap(), inner.into_inner().unwrap().unwrap());
    assert!(inner.is_latest && !outer.is_latest);
    assert!(inner.id > outer.id);
    let other = fresh(&root);
    let restored = other.restore(scratch.path()).unwrap();
    assert_eq!(restored.checkpoint, Some(inner.id));
}

#[test]
fn a_log_that_grew_sends_its_new_rows() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let options = manager.options().name("log");
    let log = options.growing::<u64, _>(100_000, ()).unwrap();
    let rows = |from: u64| ndarray::Array1::from_iter(from..from + 1000);
    for number in 0..4 {
        log.append(&rows(1000 * number)).unwrap();
        let written = small().to_directory(&manager, scratch.path()).unwrap();
        assert!(written.sent <= 9000, "{written:?}");
        let other = fresh(&root);
        other.restore(scratch.path()).unwrap();
        let restored = other.growing::<u64, Ix1>("log").unwrap();
        let all = restored.all().unwrap();
        assert_eq!(all.len() as u64, 1000 * (number + 1));
        assert!(all.iter().enumerate().all(|(i, x)| i as u64 == *x));
    }
}

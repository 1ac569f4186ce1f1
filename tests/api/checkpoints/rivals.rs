//! Several processes that write and delete checkpoints at one place, and readers beside them: as a
//! bucket that runs something else before or after one of its operations.

use super::{fresh, small};
use crate::common::Root;
use ndarray::Ix1;
use ndshm::{
    Bucket, Checkpoint, Checkpointed, DirectoryBucket, Error, Manager, Object, Part, Restore,
    Version,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, mpsc},
    thread,
};

type Event<'a> = (
    Box<dyn Fn(&str, &str) -> bool + Send + 'a>,
    Box<dyn FnOnce() + Send + 'a>,
);

/// A directory before one of whose operations something happens, once.
struct Eventful<'a> {
    inner: DirectoryBucket,
    event: Mutex<Option<Event<'a>>>,
}

impl<'a> Eventful<'a> {
    /// `event` happens before the first operation and key that `is_it` chooses.
    fn new(
        place: &Path,
        is_it: impl Fn(&str, &str) -> bool + Send + 'a,
        event: impl FnOnce() + Send + 'a,
    ) -> Self {
        Self {
            inner: DirectoryBucket::new(place),
            event: Mutex::new(Some((Box::new(is_it), Box::new(event)))),
        }
    }

    fn has_happened(&self) -> bool {
        self.event.lock().unwrap().is_none()
    }

    fn before(&self, operation: &str, key: &str) -> &DirectoryBucket {
        let mut event = self.event.lock().unwrap();
        let happens = event
            .as_ref()
            .is_some_and(|(is_it, _)| is_it(operation, key));
        let happening = event.take_if(|_| happens);
        drop(event);
        if let Some((_, happens)) = happening {
            happens();
        }
        &self.inner
    }
}

impl Bucket for Eventful<'_> {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn put(&self, key: &str, parts: &[Part<'_>]) -> io::Result<()> {
        self.before("put", key).put(key, parts)
    }
    fn put_if(&self, key: &str, bytes: &[u8], seen: Option<&Version>) -> io::Result<bool> {
        self.before("put_if", key).put_if(key, bytes, seen)
    }
    fn get(&self, key: &str) -> io::Result<Option<Object>> {
        self.before("get", key).get(key)
    }
    fn get_range(&self, key: &str, start: u64, into: &mut [u8]) -> io::Result<()> {
        self.before("get_range", key).get_range(key, start, into)
    }
    fn list(&self, prefix: &str) -> io::Result<Vec<(String, u64)>> {
        self.before("list", prefix).list(prefix)
    }
    fn children(&self, prefix: &str) -> io::Result<Vec<String>> {
        self.before("children", prefix).children(prefix)
    }
    fn copy(&self, from: &str, to: &str) -> io::Result<()> {
        self.before("copy", from).copy(from, to)
    }
    fn delete(&self, key: &str) -> io::Result<()> {
        self.before("delete", key).delete(key)
    }
    fn delete_all(&self, prefix: &str) -> io::Result<()> {
        self.before("delete_all", prefix).delete_all(prefix)
    }
}

fn store(root: &Root, number: f64) -> Manager {
    let manager = root.manager();
    let options = manager.options().name("xs");
    options.from_elem::<f64, _>(1000, number).unwrap();
    manager
}

#[track_caller]
fn check(root: &Root, place: &Path, id: &str, number: f64) {
    let manager = fresh(root);
    let restore = Restore::new().checkpoint(id);
    restore.from_directory(&manager, place).unwrap();
    let xs = manager.array::<f64, Ix1>("xs").unwrap();
    assert!(xs.read().unwrap().iter().all(|x| *x == number));
}

/// Runs a checkpoint up to its commit in a thread, then `meanwhile`, which may let it go on: the
/// call that it gets waits for the end of the checkpoint.
fn amid_a_checkpoint<T>(
    manager: &Manager,
    place: &Path,
    meanwhile: impl FnOnce(&(dyn Fn() + Sync)) -> T,
) -> (ndshm::Result<Checkpointed>, T) {
    let (reached, is_reached) = mpsc::channel();
    let (go, goes) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let ended = Mutex::new(ended);
    let is_commit = |operation: &str, key: &str| {
        operation == "put" && key.ends_with("/zarr.json") && key.split('/').count() == 2
    };
    thread::scope(|scope| {
        let paused = scope.spawn(move || {
            let wait = move || {
                reached.send(()).unwrap();
                // Also if the other side is gone.
                let _ = goes.recv();
            };
            let written = small().write(manager, &Eventful::new(place, is_commit, wait));
            let _ = end.send(());
            written
        });
        is_reached.recv().unwrap();
        let resume = || {
            go.send(()).unwrap();
            ended.lock().unwrap().recv().unwrap();
        };
        let met = meanwhile(&resume);
        drop(go);
        (paused.join().unwrap(), met)
    })
}

/// Once a checkpoint that was committed between two looks of another process, at its metadata and
/// at its record, counted as a dead attempt, and was deleted.
#[test]
fn a_checkpoint_that_ends_amid_the_look_of_another_process_stays() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let place = scratch.path();
    let (one, other) = (store(&root, 1.0), store(&root, 2.0));
    let (first, second) = amid_a_checkpoint(&one, place, |resume| {
        let is_look =
            |operation: &str, key: &str| operation == "get" && key.ends_with("attempt.json");
        let bucket = Eventful::new(place, is_look, resume);
        let written = small().write(&other, &bucket).unwrap();
        assert!(bucket.has_happened());
        written
    });
    check(&root, place, &first.unwrap().id, 1.0);
    check(&root, place, &second.id, 2.0);
}

#[test]
fn an_attempt_that_goes_on_is_left_alone() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let place = scratch.path();
    let (one, other) = (store(&root, 1.0), store(&root, 2.0));
    let (first, second) = amid_a_checkpoint(&one, place, |_| {
        small().keep(1).to_directory(&other, place).unwrap()
    });
    check(&root, place, &first.unwrap().id, 1.0);
    check(&root, place, &second.id, 2.0);
}

#[test]
fn a_checkpoint_that_was_taken_for_dead_fails_and_leaves_no_group() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let place = scratch.path();
    let (one, other) = (store(&root, 1.0), store(&root, 2.0));
    let (first, second) = amid_a_checkpoint(&one, place, |_| {
        // The record of a process that has ended.
        let [folder] = &folders(place)[..] else {
            panic!("more than the attempt");
        };
        let record = folder.join("_ndshm/attempt.json");
        let text = fs::read_to_string(&record).unwrap();
        let dead = text.replace("\"is_over\":false", "\"is_over\":true");
        assert_ne!(text, dead);
        fs::remove_file(&record).unwrap();
        fs::write(&record, dead).unwrap();
        small().to_directory(&other, place).unwrap()
    });
    let Err(Error::Transfer { reason, .. }) = first else {
        panic!("{first:?}");
    };
    assert!(reason.contains("took this one for dead"), "{reason}");
    let bucket = DirectoryBucket::new(place);
    assert_eq!(Checkpoint::ids(&bucket).unwrap(), [second.id]);
    // What is left of it goes with the next one.
    let third = small().keep(1).to_directory(&other, place).unwrap();
    assert_eq!(folders(place), [place.join(third.id)]);
}

#[test]
fn a_deletion_that_was_killed_is_ended_by_the_next_checkpoint() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let place = scratch.path();
    let manager = store(&root, 1.0);
    let old = small().to_directory(&manager, place).unwrap();
    let half = place.join(&old.id);
    fs::write(place.join(format!("{}.gone", old.id)), "{}").unwrap();
    fs::remove_file(half.join("zarr.json")).unwrap();
    let new = small().to_directory(&manager, place).unwrap();
    assert_eq!(folders(place), [place.join(new.id)]);
    assert!(!half.exists());
}

#[test]
fn folders_of_other_programs_stay_whatever_their_names_are() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let place = scratch.path();
    let manager = store(&root, 1.0);
    let named = |number| place.join(format!("0190000{number}-0000-7000-8000-000000000000"));
    fs::create_dir_all(named(1)).unwrap();
    fs::write(named(1).join("results.csv"), "1").unwrap();
    fs::create_dir_all(named(2)).unwrap();
    let group = r#"{"zarr_format": 3, "node_type": "group", "attributes": {}}"#;
    fs::write(named(2).join("zarr.json"), group).unwrap();
    fs::create_dir_all(named(3)).unwrap();
    for _ in 0..3 {
        small().keep(1).to_directory(&manager, place).unwrap();
    }
    assert!(named(1).join("results.csv").exists());
    assert!(named(2).join("zarr.json").exists());
    assert!(named(3).exists());
    assert_eq!(folders(place).len(), 4);
    assert_eq!(
        Checkpoint::ids(&DirectoryBucket::new(place)).unwrap().len(),
        1
    );
}

#[test]
fn a_checkpoint_that_is_deleted_while_it_is_restored_has_a_successor() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let place = scratch.path();
    let (one, other) = (store(&root, 1.0), store(&root, 2.0));
    for operation in ["get_range", "get manifest", "get commit"] {
        for names_it in [false, true] {
            let first = small().to_directory(&one, place).unwrap();
            let is_it = move |called: &str, key: &str| match operation {
                "get manifest" => called == "get" && key.ends_with("manifest.json"),
                "get commit" => called == "get" && key.ends_with("/zarr.json"),
                _ => called == operation,
            };
            let bucket = Eventful::new(place, is_it, || {
                small().keep(1).to_directory(&other, place).unwrap();
            });
            let manager = fresh(&root);
            let restore = match names_it {
                true => Restore::new().checkpoint(&first.id),
                false => Restore::new(),
            };
            let restored = restore.read(&manager, &bucket);
            assert!(bucket.has_happened());
            if names_it {
                let Err(Error::Transfer { reason, .. }) = restored else {
                    panic!("{operation}: {restored:?}");
                };
                let is_told = reason.contains("deleted while") || reason.contains("no checkpoint");
                assert!(
                    is_told || reason.contains("missing"),
                    "{operation}: {reason}"
                );
                assert!(manager.list().unwrap().is_empty());
            } else {
                restored.unwrap();
                let xs = manager.array::<f64, Ix1>("xs").unwrap();
                assert_eq!(xs.read().unwrap()[999], 2.0, "{operation}");
            }
        }
    }
}

/// Once a chunk that was cut off was referred to again and again, and each checkpoint failed.
#[test]
fn a_chunk_that_is_damaged_at_the_place_is_sent_again() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let place = scratch.path();
    let manager = store(&root, 1.0);
    for is_frozen in [false, true] {
        if is_frozen {
            manager.array_any("xs").unwrap().freeze().unwrap();
            small().to_directory(&manager, place).unwrap();
        }
        let first = small().to_directory(&manager, place).unwrap();
        let chunk = place.join(first.id).join("xs/c/0");
        fs::remove_file(&chunk).unwrap();
        fs::write(&chunk, "cut off").unwrap();
        let second = small().to_directory(&manager, place).unwrap();
        assert!(
            second.sent > 0 && second.sent + second.referred == 8000,
            "{second:?}"
        );
        check(&root, place, &second.id, 1.0);
    }
}

fn folders(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

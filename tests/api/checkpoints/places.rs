//! Places that fail, and that compare nothing.

use super::{fresh, small};
use crate::common::Root;
use ndarray::Ix1;
use ndshm::{Bucket, DirectoryBucket, Error, Object, Part, Restore, Version};
use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

/// A directory whose operations fail from a number on.
struct Failing {
    inner: DirectoryBucket,
    left: AtomicUsize,
    compares: bool,
}

impl Failing {
    fn new(inner: &DirectoryBucket, left: usize) -> Self {
        Self {
            inner: inner.clone(),
            left: AtomicUsize::new(left),
            compares: true,
        }
    }

    fn step(&self) -> io::Result<()> {
        let left = self.left.load(SeqCst);
        self.left.store(left.saturating_sub(1), SeqCst);
        match left {
            0 => Err(io::Error::other("500 Internal Server Error")),
            _ => Ok(()),
        }
    }
}

impl Bucket for Failing {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn put(&self, key: &str, parts: &[Part<'_>]) -> io::Result<()> {
        self.step()?;
        self.inner.put(key, parts)
    }
    fn put_if(&self, key: &str, bytes: &[u8], seen: Option<&Version>) -> io::Result<bool> {
        self.step()?;
        if !self.compares {
            self.inner.put(key, &[Part::Bytes(bytes)])?;
            return Ok(true);
        }
        self.inner.put_if(key, bytes, seen)
    }
    fn get(&self, key: &str) -> io::Result<Option<Object>> {
        self.step()?;
        self.inner.get(key)
    }
    fn get_range(&self, key: &str, start: u64, into: &mut [u8]) -> io::Result<()> {
        self.step()?;
        self.inner.get_range(key, start, into)
    }
    fn list(&self, prefix: &str) -> io::Result<Vec<(String, u64)>> {
        self.step()?;
        self.inner.list(prefix)
    }
    fn children(&self, prefix: &str) -> io::Result<Vec<String>> {
        self.step()?;
        self.inner.children(prefix)
    }
    fn copy(&self, from: &str, to: &str) -> io::Result<()> {
        self.step()?;
        self.inner.copy(from, to)
    }
    fn delete(&self, key: &str) -> io::Result<()> {
        self.step()?;
        self.inner.delete(key)
    }
    fn delete_all(&self, prefix: &str) -> io::Result<()> {
        self.step()?;
        self.inner.delete_all(prefix)
    }
}

#[test]
fn an_error_at_any_step_leaves_the_last_checkpoint_or_the_new_one() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let options = manager.options().name("xs");
    let xs = options.zeros::<f64, _>(1000).unwrap();
    let bucket = DirectoryBucket::new(scratch.path());
    small().write(&manager, &bucket).unwrap();
    let mut failures = 0;
    for step in 0..1000 {
        let number = step as f64 + 1.0;
        // Deletes what the failures left.
        small().keep(1).write(&manager, &bucket).unwrap();
        xs.write().unwrap().fill(number);
        let written = small()
            .keep(2)
            .in_flight(1)
            .write(&manager, &Failing::new(&bucket, step));
        let other = fresh(&root);
        other.restore(scratch.path()).unwrap();
        let restored = other.array::<f64, Ix1>("xs").unwrap();
        let restored = restored.read().unwrap();
        assert!(restored.iter().all(|value| *value == restored[0]), "{step}");
        match written {
            Ok(_) => {
                assert_eq!(restored[0], number);
                break;
            }
            Err(Error::Io { source, .. }) => {
                assert!(source.to_string().contains("500"));
                failures += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(failures > 20, "{failures}");
    // Nothing is left of all the attempts.
    let ids = bucket.children("").unwrap().len();
    assert!(ids <= 4, "{ids} entries");
}

#[test]
fn an_error_at_any_step_of_a_restore_makes_no_array() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let options = manager.options().name("xs");
    options.ones::<f64, _>(1000).unwrap();
    let log = manager
        .options()
        .name("log")
        .growing::<u64, _>(100, ())
        .unwrap();
    log.push(1).unwrap();
    let bucket = DirectoryBucket::new(scratch.path());
    small().write(&manager, &bucket).unwrap();
    let other = fresh(&root);
    for step in 0.. {
        match Restore::new().read(&other, &Failing::new(&bucket, step)) {
            Ok(_) => {
                assert!(step > 5);
                break;
            }
            Err(Error::Io { .. }) => assert_eq!(other.list().unwrap().len(), 0),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(other.list().unwrap().len(), 2);
}

#[test]
fn an_attempt_that_failed_is_used_by_the_next_one() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let len = 1 << 20;
    let options = manager.options().name("xs");
    options.from_shape_fn::<u64, _>(len, |i| i as u64).unwrap();
    let bucket = DirectoryBucket::new(scratch.path());
    let settings = small().chunk_len(1 << 20).in_flight(1);
    // Enough for four chunks and the records that they were sent.
    let refused = settings.write(&manager, &Failing::new(&bucket, 15));
    assert!(refused.is_err());
    let written = settings.write(&manager, &bucket).unwrap();
    assert_eq!(written.sent + written.referred, 8 << 20);
    assert!(written.referred >= 3 << 20, "{written:?}");
    let other = fresh(&root);
    other.restore(scratch.path()).unwrap();
    let restored = other.array::<u64, Ix1>("xs").unwrap();
    assert!(
        restored
            .read()
            .unwrap()
            .iter()
            .enumerate()
            .all(|(i, x)| i as u64 == *x)
    );
}

/// Once only chunks of 1 MiB and more were noted, so a store of many small arrays began anew.
#[test]
fn small_chunks_of_an_attempt_that_failed_are_used_too() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    for number in 0..600 {
        let options = manager.options().name(format!("a{number}"));
        options.from_elem::<u16, _>(500, number).unwrap();
    }
    let bucket = DirectoryBucket::new(scratch.path());
    let settings = small().in_flight(1);
    // Enough for more than 512 chunks, and for two records of 256 each.
    let refused = settings.write(&manager, &Failing::new(&bucket, 560));
    assert!(refused.is_err());
    let written = settings.write(&manager, &bucket).unwrap();
    assert_eq!((written.sent, written.referred), (88 * 1000, 512 * 1000));
    let other = fresh(&root);
    assert_eq!(other.restore(scratch.path()).unwrap().names.len(), 600);
    for number in 0..600 {
        let restored = other.array::<u16, Ix1>(&format!("a{number}")).unwrap();
        let restored = restored.to_ndarray().unwrap();
        assert_eq!(restored, ndarray::Array1::from_elem(500, number));
    }
}

#[test]
fn a_place_that_compares_nothing_is_found_out() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    manager.options().name("xs").ones::<f64, _>(10).unwrap();
    let bucket = DirectoryBucket::new(scratch.path());
    let place = Failing {
        compares: false,
        ..Failing::new(&bucket, usize::MAX)
    };
    let written = small().write(&manager, &place).unwrap();
    assert_eq!((written.is_latest, written.is_compared), (true, false));
    assert!(small().write(&manager, &bucket).unwrap().is_compared);
}

#[test]
fn keys_that_lead_out_of_the_directory_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let bucket = DirectoryBucket::new(scratch.path().join("a"));
    for key in ["../x", "a/../../x", "/x", "a//b", "."] {
        let refused = bucket.put(key, &[Part::Bytes(b"x")]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{key}");
    }
    assert!(bucket.list("").unwrap().is_empty());
}

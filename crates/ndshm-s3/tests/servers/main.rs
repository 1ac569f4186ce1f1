//! Checkpoints in real servers on loopback, which `.ci/s3` installs and names by variables.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]
#![allow(unreachable_pub, reason = "the modules of a test are seen by it alone")]

#[path = "../../../../tests/common/mod.rs"]
mod common;
mod faults;
mod full;
mod interrupts;
mod kills;
mod proxy;
mod server;

use ndarray::Ix1;
use ndshm::{Bucket, Checkpoint, Manager, Part, Restore};
use ndshm_s3::S3Bucket;
use server::{SECRET, Server};
use std::io::ErrorKind;

fn store() -> Manager {
    let manager = Manager::new().unwrap();
    let options = manager.options().name("xs");
    options
        .from_shape_fn::<f64, _>(300_000, |i| i as f64)
        .unwrap();
    manager
        .options()
        .name("50% a/b".replace('/', "-"))
        .ones::<u8, _>(3)
        .unwrap();
    manager
}

fn settings() -> Checkpoint<'static> {
    Checkpoint::new().chunk_len(500_000)
}

fn operations(bucket: &dyn Bucket, compares: bool) {
    assert!(bucket.get("none").unwrap().is_none());
    assert!(bucket.list("").unwrap().is_empty());
    bucket
        .put("a/b", &[Part::Bytes(b"xyz"), Part::Zeros(3)])
        .unwrap();
    assert_eq!(bucket.get("a/b").unwrap().unwrap().bytes, b"xyz\0\0\0");
    let mut part = [0; 2];
    bucket.get_range("a/b", 1, &mut part).unwrap();
    assert_eq!(&part, b"yz");
    let missing = bucket.get_range("a/c", 0, &mut part).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    bucket.copy("a/b", "a/c/d").unwrap();
    let missing = bucket.copy("none", "x").unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    let mut listed = bucket.list("a").unwrap();
    listed.sort();
    assert_eq!(listed, [("a/b".to_owned(), 6), ("a/c/d".to_owned(), 6)]);
    assert_eq!(bucket.children("").unwrap(), ["a"]);
    assert!(bucket.put_if("p", b"1", None).unwrap());
    if compares {
        let seen = bucket.get("p").unwrap().unwrap().version;
        assert!(!bucket.put_if("p", b"2", None).unwrap());
        assert!(bucket.put_if("p", b"3", Some(&seen)).unwrap());
        assert!(!bucket.put_if("p", b"4", Some(&seen)).unwrap());
        assert_eq!(bucket.get("p").unwrap().unwrap().bytes, b"3");
    }
    bucket.delete("p").unwrap();
    bucket.delete("p").unwrap();
    bucket.delete_all("a").unwrap();
    assert!(bucket.list("").unwrap().is_empty());
}

fn round_trip(bucket: &dyn Bucket, compares: bool) {
    let manager = store();
    let first = settings().write(&manager, bucket).unwrap();
    assert_eq!((first.is_latest, first.is_compared), (true, compares));
    let xs = manager.array::<f64, Ix1>("xs").unwrap();
    xs.write().unwrap()[7] = -1.0;
    let second = settings().keep(1).write(&manager, bucket).unwrap();
    assert_eq!(second.deleted, [first.id]);
    assert!(
        second.sent < 1_000_000 && second.referred > 1_000_000,
        "{second:?}"
    );
    let other = Manager::new().unwrap();
    let restored = Restore::new().read(&other, bucket).unwrap();
    assert_eq!(restored.checkpoint, Some(second.id));
    let found = other.array::<f64, Ix1>("xs").unwrap();
    assert_eq!(found.to_ndarray().unwrap(), xs.to_ndarray().unwrap());
}

#[test]
fn an_honest_server_keeps_checkpoints() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = Server::honest(directory.path()) else {
        return;
    };
    operations(&server.bucket("s3://bucket/p/q", SECRET), true);
    round_trip(&server.bucket("s3://bucket/run", SECRET), true);
}

#[test]
fn a_server_without_conditions_keeps_checkpoints_and_is_found_out() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = Server::without_conditions(directory.path()) else {
        return;
    };
    operations(&server.bucket("s3://bucket/p/q", SECRET), false);
    round_trip(&server.bucket("s3://bucket/run", SECRET), false);
}

/// A runtime refuses to be dropped, and to wait, in another one.
#[test]
fn a_place_is_made_used_and_dropped_inside_of_another_runtime() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = Server::honest(directory.path()) else {
        return;
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).build().unwrap();
    runtime.block_on(async {
        round_trip(&server.bucket("s3://bucket/run", SECRET), true);
    });
}

#[test]
fn urls_and_settings_are_checked() {
    for url in ["http://x", "s3://", "s3:///p", "x"] {
        let error = S3Bucket::from_url(url).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}");
    }
    for (name, value) in [("no_such", "x"), ("max_attempts", "0"), ("timeout", "soon")] {
        let error = S3Bucket::with_options("s3://b", [(name, value)]);
        let error = error.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error}");
    }
}

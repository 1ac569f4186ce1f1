//! Buckets without room.

use crate::{
    common::{self, Root},
    proxy::{Harm, Proxy},
    server::{self, SECRET, Server},
};
use ndarray::Ix1;
use ndshm::{Checkpoint, Error, Manager, Restore};
use std::{
    io::ErrorKind,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

const URL: &str = "s3://bucket/run";
/// Elements of an array: 2 MiB in chunks of 1 MiB, which are recorded when they were sent.
const LEN: usize = 1 << 18;

fn settings() -> Checkpoint<'static> {
    Checkpoint::new().chunk_len(1 << 20).in_flight(1)
}

fn store(root: &Root) -> Manager {
    let manager = root.manager();
    for (at, name) in ["xs", "ys"].into_iter().enumerate() {
        let options = manager.options().name(name);
        // No two chunks are alike.
        let value = |i| (i * 2 + at) as f64;
        options.from_shape_fn::<f64, _>(LEN, value).unwrap();
    }
    manager
}

#[test]
fn a_bucket_that_becomes_full_is_a_clear_error_and_the_next_checkpoint_sends_the_rest() {
    let (root, directory) = (Root::new(), tempfile::tempdir().unwrap());
    let Some(server) = Server::honest(directory.path()) else {
        return;
    };
    let (proxy, direct) = (Proxy::before(server.port), server.bucket(URL, SECRET));
    let bucket = server::bucket(proxy.port, URL, SECRET, &[("max_attempts", "1")]);
    let manager = store(&root);
    let mut last = settings().only(["xs"]).write(&manager, &direct).unwrap();
    for (status, code) in [
        ("507 Insufficient Storage", "InsufficientStorage"),
        ("403 Forbidden", "QuotaExceeded"),
    ] {
        let ys = manager.array::<f64, Ix1>("ys").unwrap();
        ys.write().unwrap().mapv_inplace(|y| y + 1.0);
        let chunks = AtomicUsize::new(0);
        proxy.plan(move |request| {
            let is_full = request.writes_a_chunk()
                && request.target.contains("/ys/")
                && chunks.fetch_add(1, SeqCst) > 0;
            match is_full {
                true => Harm::Answer(status, code),
                false => Harm::None,
            }
        });
        let refused = settings().write(&manager, &bucket);
        let Err(Error::Io { source, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(source.kind(), ErrorKind::StorageFull, "{source}");
        assert!(source.to_string().contains("delete old"), "{source}");
        let restored = Restore::new().read(&root.manager(), &direct).unwrap();
        assert_eq!(restored.checkpoint.as_ref(), Some(&last.id));
        let next = settings().only(["ys"]).write(&manager, &direct).unwrap();
        assert_eq!((next.sent, next.referred), (1 << 20, 1 << 20));
        last = settings().only(["xs"]).write(&manager, &direct).unwrap();
    }
}

#[test]
fn a_server_whose_disk_is_full_keeps_the_last_checkpoint() {
    if Server::is_missing() {
        return;
    }
    let root = Root::new();
    common::run_on_tmpfs(
        "a_server_whose_disk_is_full_keeps_the_last_checkpoint",
        child_has_a_full_server,
        "5m",
        root.path(),
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_has_a_full_server() {
    let mount = common::arguments().remove(0);
    let root = Root::new();
    let server = Server::honest(Path::new(&mount)).unwrap();
    let bucket = server::bucket(server.port, URL, SECRET, &[("max_attempts", "2")]);
    let manager = store(&root);
    let one = settings().only(["xs"]).write(&manager, &bucket).unwrap();
    // A server may copy a chunk of the last checkpoint, so both arrays need room.
    let refused = settings().write(&manager, &bucket);
    let Err(Error::Io { source, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(source.to_string().contains("run it again"), "{source}");
    let other = root.manager();
    let restored = Restore::new().read(&other, &bucket).unwrap();
    assert_eq!(restored.checkpoint, Some(one.id));
    // What the failed one sent takes room until the next one ends, which needs no more.
    let next = settings().only(["ys"]).keep(1).write(&manager, &bucket);
    eprintln!("{next:?}");
    common::done();
}

//! Processes that are killed at every request of a checkpoint and of a restore.

#[path = "../../../../tests/common/checkpointed.rs"]
mod checkpointed;

use crate::{
    common::{self, Root, files_below},
    proxy::{Harm, Proxy},
    server::{self, SECRET, Server},
};
use checkpointed::number_of;
use ndshm::{Bucket, Checkpoint, Manager, Restore};
use std::path::Path;

/// Elements of each array: a chunk of 1 MiB, which is recorded when it was sent.
const LEN: usize = 1 << 17;
const CHUNK: u64 = 1 << 20;
const URL: &str = "s3://bucket/run";

/// One request after another, so that each has a number.
fn settings() -> Checkpoint<'static> {
    Checkpoint::new().chunk_len(CHUNK as usize).in_flight(1)
}

#[test]
#[ignore = "runs in a child"]
fn child_is_killed() {
    let arguments = common::arguments();
    let [verb, store, port] = &arguments[..] else {
        panic!("{arguments:?}");
    };
    let manager = Manager::open(store).unwrap();
    let bucket = server::bucket(port.parse().unwrap(), URL, SECRET, &[]);
    match verb.as_str() {
        "checkpoint" => drop(settings().keep(2).write(&manager, &bucket).unwrap()),
        _ => drop(Restore::new().in_flight(1).read(&manager, &bucket).unwrap()),
    }
    println!("survived");
    common::done();
}

/// Runs a verb in a process that is killed at a request. Returns whether it came to its end.
fn survives(proxy: &Proxy, verb: &str, store: &Path, step: usize, how: Harm) -> bool {
    proxy.plan(move |request| match request.number == step {
        true => how,
        false => Harm::None,
    });
    let arguments = [verb, store.to_str().unwrap(), &proxy.port.to_string()];
    checkpointed::survives(proxy.victim(|| common::start(child_is_killed, &arguments)))
}

#[test]
fn a_checkpoint_that_is_killed_at_any_request_leaves_whole_ones_and_is_continued() {
    let (root, directory) = (Root::new(), tempfile::tempdir().unwrap());
    let Some(server) = Server::honest(directory.path()) else {
        return;
    };
    let (proxy, bucket) = (Proxy::before(server.port), server.bucket(URL, SECRET));
    let store = root.path().join("store");
    let manager = Manager::create(&store).unwrap();
    let arrays = ["xs", "ys"].map(|name| {
        let options = manager.options().name(name);
        options.zeros::<f64, _>(LEN).unwrap()
    });
    let (mut last, mut kills, mut continued) = (0.0, 0, 0);
    settings().write(&manager, &bucket).unwrap();
    for how in [Harm::KillBefore, Harm::KillAmid, Harm::KillAfter] {
        for step in 0.. {
            let number = last + 1.0;
            for array in &arrays {
                array.write().unwrap().fill(number);
            }
            let survived = survives(&proxy, "checkpoint", &store, step, how);
            kills += usize::from(!survived);
            let found = number_of(&root.manager(), Restore::new(), &bucket);
            assert!(
                found == number || !survived && found == last,
                "{how:?} {step}: {found}"
            );
            // Each folder that is a group is whole; one that is none may have records of chunks.
            let mut is_committed = false;
            let mut recorded = 0;
            for name in bucket.children("").unwrap() {
                match bucket.get(&format!("{name}/zarr.json")).unwrap() {
                    Some(_) => {
                        let restore = Restore::new().checkpoint(&name);
                        is_committed |= number_of(&root.manager(), restore, &bucket) == number;
                    }
                    None => recorded += bucket.list(&format!("{name}/_ndshm/sent")).unwrap().len(),
                }
            }
            // The next one sends only what is missing, and deletes what is left.
            let next = settings().keep(1).write(&manager, &bucket).unwrap();
            let there = if is_committed { 2 } else { recorded as u64 };
            assert_eq!(
                (next.sent, next.referred),
                ((2 - there) * CHUNK, there * CHUNK),
                "{how:?} {step}"
            );
            continued += usize::from(there > 0);
            assert_eq!(number_of(&root.manager(), Restore::new(), &bucket), number);
            let mut names = bucket.children("").unwrap();
            names.sort();
            assert_eq!(names, [next.id, "latest.json".to_owned()], "{how:?} {step}");
            last = number;
            if survived {
                break;
            }
        }
    }
    eprintln!("{kills} kills, {continued} times the next one sent less");
    assert!(
        kills > 60 && continued > 30,
        "{kills} kills, {continued} continued"
    );
    manager.close().unwrap();
}

#[test]
fn a_restore_that_is_killed_at_any_request_leaves_no_array() {
    let (root, directory) = (Root::new(), tempfile::tempdir().unwrap());
    let Some(server) = Server::honest(directory.path()) else {
        return;
    };
    let (proxy, bucket) = (Proxy::before(server.port), server.bucket(URL, SECRET));
    let source = root.manager();
    for name in ["xs", "ys"] {
        let options = source.options().name(name);
        options.ones::<f64, _>(2 * LEN).unwrap();
    }
    let log = source.options().name("log");
    let log = log.growing::<u64, _>(1000, ()).unwrap();
    log.push(7).unwrap();
    settings().write(&source, &bucket).unwrap();
    let store = root.path().join("store");
    let manager = Manager::create(&store).unwrap();
    let empty = files_below(&store).len();
    let mut kills = 0;
    for how in [Harm::KillBefore, Harm::KillAmid, Harm::KillAfter] {
        for step in 0.. {
            if survives(&proxy, "restore", &store, step, how) {
                assert_eq!(manager.list().unwrap().len(), 3);
                for name in ["xs", "ys", "log"] {
                    manager.remove(name).unwrap();
                }
                break;
            }
            kills += 1;
            manager.sweep().unwrap();
            assert!(manager.list().unwrap().is_empty(), "{how:?} {step}");
            assert_eq!(files_below(&store).len(), empty, "{how:?} {step}");
        }
    }
    eprintln!("{kills} kills");
    assert!(kills > 20, "{kills} kills");
    manager.close().unwrap();
}

//! Servers and connections that fail.

use crate::{
    common::{Root, files_below},
    proxy::{Harm, Proxy},
    server::{self, SECRET, Server},
    settings, store,
};
use ndarray::Ix1;
use ndshm::{Bucket, Checkpointed, Error, Manager, Restore};
use ndshm_s3::S3Bucket;
use std::{
    collections::HashMap,
    io::{self, ErrorKind},
    sync::Mutex,
};

const URL: &str = "s3://bucket/run";

/// A server and a proxy before it, with the place at both.
pub(crate) struct Place {
    _server: Server,
    pub(crate) direct: S3Bucket,
    pub(crate) proxy: Proxy,
    pub(crate) bucket: S3Bucket,
}

impl Place {
    /// `None` without the server.
    pub(crate) fn new(directory: &tempfile::TempDir, more: &[(&str, &str)]) -> Option<Self> {
        let server = Server::honest(directory.path())?;
        let proxy = Proxy::before(server.port);
        Some(Self {
            direct: server.bucket(URL, SECRET),
            bucket: server::bucket(proxy.port, URL, SECRET, more),
            _server: server,
            proxy,
        })
    }
}

/// The error of a request, and its text.
#[track_caller]
fn failure_of<T: std::fmt::Debug>(refused: ndshm::Result<T>) -> (ErrorKind, String) {
    match refused {
        Err(Error::Io { source, .. }) => (source.kind(), source.to_string()),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check(bucket: &S3Bucket, expected: f64) -> Option<String> {
    let manager = Manager::new().unwrap();
    let restored = Restore::new().read(&manager, bucket).unwrap();
    let xs = manager.array::<f64, Ix1>("xs").unwrap();
    let xs = xs.read().unwrap();
    assert_eq!(xs[0], expected);
    assert!(
        xs.iter()
            .skip(1)
            .enumerate()
            .all(|(i, x)| *x == (i + 1) as f64)
    );
    restored.checkpoint
}

fn change(manager: &Manager, first: f64) {
    let xs = manager.array::<f64, Ix1>("xs").unwrap();
    xs.write().unwrap()[0] = first;
}

#[test]
fn requests_that_fail_once_are_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let Some(place) = Place::new(&directory, &[("max_attempts", "4")]) else {
        return;
    };
    let manager = store();
    for harm in [
        Harm::Answer("500 Internal Server Error", "InternalError"),
        Harm::Answer("503 Service Unavailable", "SlowDown"),
        Harm::Refuse,
        Harm::Lose,
        Harm::Cut,
    ] {
        let seen = Mutex::new(HashMap::<String, usize>::new());
        place.proxy.plan(move |request| {
            let mut seen = seen.lock().unwrap();
            let key = format!("{} {}", request.method, request.target);
            let times = seen.entry(key).or_default();
            *times += 1;
            match *times == 1 {
                true => harm,
                false => Harm::None,
            }
        });
        change(&manager, -1.0);
        let written = settings().keep(1).write(&manager, &place.bucket).unwrap();
        assert!(written.is_latest, "{harm:?}");
        assert_eq!(check(&place.bucket, -1.0), Some(written.id), "{harm:?}");
        let names = place.direct.children("").unwrap();
        assert_eq!(names.len(), 2, "{harm:?}: {names:?}");
        place.direct.delete_all("").unwrap();
    }
}

/// Checks that a failed checkpoint left the one before it, and that the next one ends it.
fn is_continued(place: &Place, manager: &Manager, last: &Checkpointed, number: f64) -> u64 {
    assert_eq!(check(&place.direct, 0.0).as_ref(), Some(&last.id));
    let next = settings().keep(1).write(manager, &place.direct).unwrap();
    assert_eq!(check(&place.direct, number), Some(next.id));
    next.referred
}

#[test]
fn a_server_that_fails_from_any_request_on_leaves_the_last_checkpoint_and_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let Some(place) = Place::new(&directory, &[("max_attempts", "1")]) else {
        return;
    };
    let manager = store();
    let mut failures = 0;
    for step in 0.. {
        change(&manager, 0.0);
        let last = settings().keep(1).write(&manager, &place.direct).unwrap();
        change(&manager, 5.0);
        place
            .proxy
            .plan(move |request| match request.number >= step {
                true => Harm::Answer("500 Internal Server Error", "InternalError"),
                false => Harm::None,
            });
        let written = settings().in_flight(1).write(&manager, &place.bucket);
        if written.is_ok() {
            break;
        }
        failures += 1;
        let (_, text) = failure_of(written);
        assert!(
            text.contains("500") && text.contains("run it again"),
            "{step}: {text}"
        );
        // At its last requests the new one is there already.
        let found = Restore::new()
            .only(["xs"])
            .read(&Manager::new().unwrap(), &place.direct)
            .unwrap();
        if found.checkpoint == Some(last.id.clone()) {
            is_continued(&place, &manager, &last, 5.0);
        }
    }
    assert!(failures > 20, "{failures}");
}

#[test]
fn a_restore_of_a_server_that_fails_makes_no_array_and_gives_its_space_back() {
    let (root, directory) = (Root::new(), tempfile::tempdir().unwrap());
    let Some(place) = Place::new(&directory, &[("max_attempts", "1")]) else {
        return;
    };
    settings().write(&store(), &place.direct).unwrap();
    let manager = root.manager_that_forgets();
    let empty = files_below(manager.path()).len();
    for harm in [
        Harm::Answer("503 Service Unavailable", "SlowDown"),
        Harm::Refuse,
        Harm::Cut,
    ] {
        for step in 0.. {
            place
                .proxy
                .plan(move |request| match request.number >= step {
                    true => harm,
                    false => Harm::None,
                });
            let restored = Restore::new().in_flight(1).read(&manager, &place.bucket);
            if restored.is_ok() {
                assert!(step > 4, "{step}");
                break;
            }
            let (_, text) = failure_of(restored);
            assert!(text.contains("run it again"), "{harm:?} {step}: {text}");
            assert!(manager.list().unwrap().is_empty(), "{harm:?} {step}");
            assert_eq!(files_below(manager.path()).len(), empty, "{harm:?} {step}");
        }
        for info in manager.list().unwrap() {
            manager.remove(&info.name.unwrap()).unwrap();
        }
    }
}

#[test]
fn a_byte_that_changes_on_the_way_is_found_and_makes_no_array() {
    let (root, directory) = (Root::new(), tempfile::tempdir().unwrap());
    let Some(place) = Place::new(&directory, &[]) else {
        return;
    };
    settings().write(&store(), &place.direct).unwrap();
    let manager = root.manager();
    for wanted in ["/c/1", "/manifest.json"] {
        place
            .proxy
            .plan(move |request| match request.target.ends_with(wanted) {
                true => Harm::Flip,
                false => Harm::None,
            });
        let refused = Restore::new().read(&manager, &place.bucket);
        let Err(Error::Transfer { reason, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert!(reason.contains("checksum"), "{reason}");
        assert!(manager.list().unwrap().is_empty());
    }
}

#[test]
fn slow_connections_carry_checkpoints_and_hung_ones_end() {
    let directory = tempfile::tempdir().unwrap();
    let more = [("max_attempts", "2"), ("timeout", "2 seconds")];
    let Some(place) = Place::new(&directory, &more) else {
        return;
    };
    let manager = store();
    change(&manager, -2.0);
    place.proxy.plan(|_| Harm::Slow(20_000));
    let written = settings().write(&manager, &place.bucket).unwrap();
    assert_eq!(check(&place.bucket, -2.0), Some(written.id));

    place.proxy.plan(|request| match request.writes_a_chunk() {
        true => Harm::Hang,
        false => Harm::None,
    });
    change(&manager, 3.0);
    let (kind, text) = failure_of(settings().write(&manager, &place.bucket));
    assert_eq!(kind, ErrorKind::ConnectionAborted, "{text}");
    assert!(text.contains("AWS_ENDPOINT_URL"), "{text}");
    check(&place.direct, -2.0);
}

#[test]
fn a_server_that_is_not_there_is_a_clear_error() {
    let bucket = server::bucket(1, URL, SECRET, &[("max_attempts", "1")]);
    for refused in [
        failure_of(settings().write(&store(), &bucket)),
        failure_of(Restore::new().read(&Manager::new().unwrap(), &bucket)),
    ] {
        assert!(refused.1.contains("AWS_ENDPOINT_URL"), "{refused:?}");
    }
}

#[test]
fn wrong_credentials_and_buckets_are_clear_errors() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = Server::honest(directory.path()) else {
        return;
    };
    let manager = store();
    let restore = |bucket: &S3Bucket| Restore::new().read(&Manager::new().unwrap(), bucket);
    let wrong = server.bucket(URL, "wrong");
    for (kind, text) in [
        failure_of(settings().write(&manager, &wrong)),
        failure_of(restore(&wrong)),
    ] {
        assert_eq!(kind, ErrorKind::PermissionDenied, "{text}");
        assert!(text.contains("check AWS_ACCESS_KEY_ID"), "{text}");
    }
    let none = server.bucket("s3://none/run", SECRET);
    let (_, text) = failure_of(settings().write(&manager, &none));
    assert!(text.contains("make the bucket first"), "{text}");
}

#[test]
fn a_chunk_whose_credentials_ended_leaves_the_last_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let Some(place) = Place::new(&directory, &[]) else {
        return;
    };
    let manager = store();
    change(&manager, 0.0);
    let last = settings().write(&manager, &place.direct).unwrap();
    change(&manager, 7.0);
    place.proxy.plan(|request| match request.writes_a_chunk() {
        true => Harm::Answer("403 Forbidden", "ExpiredToken"),
        false => Harm::None,
    });
    let (kind, text) = failure_of(settings().write(&manager, &place.bucket));
    assert_eq!(kind, io::ErrorKind::PermissionDenied, "{text}");
    is_continued(&place, &manager, &last, 7.0);
}

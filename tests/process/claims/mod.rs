//! Claims and changes of scope: one process owns a remote array, and gives it back where it never
//! used it.
#![allow(
    unsafe_code,
    reason = "the barrier of the race is two words in memory that two processes map"
)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod race;

use crate::common::{self, Peer, Root};
use memmap2::MmapRaw;
use ndarray::{Axis, Ix1, Ix2, s};
use ndshm::{Error, Handle, Manager, Scope, SharedArray, SharedArray1, SharedArray2};
use rustix::{
    thread::futex,
    time::{ClockId, clock_gettime},
};
use serde::Deserialize;
use std::{
    fs::File,
    path::Path,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    time::Instant,
};

fn remote(manager: &Manager) -> SharedArray1<f64> {
    manager.options().scope(Scope::Remote).ones(3).unwrap()
}

#[test]
fn a_claimant_that_never_used_the_array_gives_the_claim_back() {
    let root = Root::new();
    let manager = root.manager();
    let xs = remote(&manager);
    let path = xs.path().to_path_buf();
    let start = || Peer::start(child_claims_as_it_is_told, &[xs.handle().to_string()]);
    let (mut first, mut second) = (start(), start());
    assert_eq!(ask(&mut first, "open"), "local");
    assert_eq!(ask(&mut second, "open"), "store", "the claim is taken");
    assert_eq!(
        ask(&mut first, "open"),
        "local",
        "by the process, as often as it opens"
    );
    assert_eq!(ask(&mut first, "drop"), "dropped");
    assert!(path.exists());
    assert_eq!(ask(&mut second, "open"), "local", "it was given back");
    assert_eq!(ask(&mut first, "open"), "store");
    assert_eq!(ask(&mut second, "drop"), "dropped");
    assert_eq!(
        ask(&mut first, "drop"),
        "dropped",
        "the loser gives nothing back and deletes nothing"
    );
    second.finish();
    assert!(path.exists(), "neither does the end of a process");
    assert_eq!(ask(&mut first, "open"), "local");
    assert_eq!(ask(&mut first, "read"), "read");
    assert_eq!(ask(&mut first, "drop"), "dropped");
    assert!(
        !crate::common::words::has_array(&path),
        "what was used is deleted"
    );
    first.finish();
}

fn ask(peer: &mut Peer, question: &str) -> String {
    peer.tell(question);
    peer.hear("answer ")
}

#[test]
#[ignore = "runs in a child"]
fn child_claims_as_it_is_told() {
    let handle: Handle = common::arguments()[0].parse().unwrap();
    let mut arrays = Vec::<SharedArray1<f64>>::new();
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "open" => {
                arrays.push(handle.open().unwrap());
                println!("answer {}", arrays.last().unwrap().scope());
            }
            "read" => {
                arrays.last().unwrap().read().unwrap();
                println!("answer read");
            }
            _ => {
                arrays.clear();
                println!("answer dropped");
            }
        }
    }
    common::done();
}

#[test]
fn a_claimant_that_read_wrote_or_viewed_the_array_deletes_it() {
    let root = Root::new();
    let manager = root.manager();
    let arrays: Vec<_> = USES.iter().map(|_| remote(&manager)).collect();
    let handles: Vec<_> = arrays
        .iter()
        .map(|array| array.handle().to_string())
        .collect();
    common::run(child_uses_each_in_another_way, &handles);
    for (array, (name, _)) in arrays.iter().zip(USES) {
        assert!(!array.path().exists(), "{name}");
    }
}

type Use = fn(&SharedArray1<f64>);

const USES: [(&str, Use); 10] = [
    ("read", |xs| drop(xs.read().unwrap())),
    ("try_read", |xs| drop(xs.try_read().unwrap())),
    ("write", |xs| xs.write().unwrap().fill(1.0)),
    ("to_ndarray", |xs| drop(xs.to_ndarray().unwrap())),
    ("copy", |xs| drop(xs.copy().unwrap())),
    ("assign", |xs| {
        xs.assign(&xs.manager().zeros::<f64, _>(3).unwrap())
            .unwrap()
    }),
    ("view", |xs| drop(xs.view().unwrap())),
    ("slice", |xs| drop(xs.slice(s![1..]).unwrap())),
    ("into_dyn", |xs| drop(xs.into_dyn().unwrap())),
    ("set_scope", |xs| xs.set_scope(Scope::Local).unwrap()),
];

#[test]
#[ignore = "runs in a child"]
fn child_uses_each_in_another_way() {
    for (text, (name, use_it)) in common::arguments().iter().zip(USES) {
        let xs: SharedArray1<f64> = text.parse::<Handle>().unwrap().open().unwrap();
        assert_eq!(xs.scope(), Scope::Local, "{name}");
        use_it(&xs);
    }
    common::done();
}

/// The variants that a deserializer tries in turn: all but the last open the array or fail to, and
/// then find that a field is missing.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[allow(dead_code, reason = "only the last variant is ever made")]
enum Message {
    Integers {
        data: SharedArray1<i64>,
    },
    Matrix {
        data: SharedArray2<f64>,
    },
    Weighted {
        data: SharedArray1<f64>,
        weights: Vec<f64>,
    },
    Pair {
        data: SharedArray1<f64>,
        other: SharedArray1<f64>,
    },
    Values {
        data: SharedArray1<f64>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[allow(dead_code, reason = "no variant is ever made")]
enum Refusing {
    Weighted {
        data: SharedArray1<f64>,
        weights: Vec<f64>,
    },
    Matrix {
        data: SharedArray<f64, Ix2>,
    },
}

#[test]
fn an_untagged_enum_that_tries_and_fails_loses_nothing() {
    let root = Root::new();
    let manager = root.manager();
    let xs = remote(&manager);
    let json = serde_json::json!({ "data": xs }).to_string();
    common::run(child_deserializes_an_untagged_enum, &["refusing", &json]);
    assert!(xs.path().exists(), "a deserializer that failed deleted it");
    common::run(child_deserializes_an_untagged_enum, &["message", &json]);
    assert!(!xs.path().exists(), "the variant that fits claimed it");
}

#[test]
#[ignore = "runs in a child"]
fn child_deserializes_an_untagged_enum() {
    let arguments = common::arguments();
    if arguments[0] == "refusing" {
        serde_json::from_str::<Refusing>(&arguments[1]).unwrap_err();
    } else {
        let message: Message = serde_json::from_str(&arguments[1]).unwrap();
        let Message::Values { data } = &message else {
            panic!("{message:?}")
        };
        assert_eq!(
            (data.scope(), data.read().unwrap().sum()),
            (Scope::Local, 3.0)
        );
    }
    common::done();
}

#[test]
fn a_claimant_keeps_the_array_by_setting_store() {
    let root = Root::new();
    let manager = root.manager();
    let xs = remote(&manager);
    common::run(
        child_claims_and_sets,
        &[xs.handle().to_string(), "store".to_owned()],
    );
    assert!(xs.path().exists());
    let again = xs.handle().open::<f64, Ix1>().unwrap();
    assert_ne!(
        again.scope(),
        Scope::Local,
        "what was kept for the store is not claimed"
    );
}

#[test]
fn a_claimant_hands_the_array_on_by_setting_remote() {
    let root = Root::new();
    let manager = root.manager();
    let xs = remote(&manager);
    let printed = common::run(
        child_claims_and_sets,
        &[xs.handle().to_string(), "remote".to_owned()],
    );
    assert!(xs.path().exists());
    let handle = printed
        .lines()
        .find_map(|line| line.strip_prefix("handle "))
        .unwrap();
    let mut third = Peer::start(child_claims_as_it_is_told, &[handle]);
    assert_eq!(ask(&mut third, "open"), "local");
    assert_eq!(ask(&mut third, "read"), "read");
    assert_eq!(ask(&mut third, "drop"), "dropped");
    assert!(!xs.path().exists());
    third.finish();
}

#[test]
#[ignore = "runs in a child"]
fn child_claims_and_sets() {
    let arguments = common::arguments();
    let xs: SharedArray1<f64> = arguments[0].parse::<Handle>().unwrap().open().unwrap();
    assert_eq!(
        (xs.scope(), xs.handle().scope()),
        (Scope::Local, Scope::Local),
        "a claimant's handles are those of an owner"
    );
    let scope: Scope = serde_json::from_value(arguments[1].as_str().into()).unwrap();
    xs.set_scope(scope).unwrap();
    assert_eq!(xs.handle().scope(), scope);
    println!("handle {}", xs.handle());
    drop(xs);
    common::done();
}

#[test]
fn a_scope_set_after_receipt_takes_only_an_array_without_an_owner() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.ones::<f64, _>(3).unwrap();
    let mut child = Peer::start(child_sets_scopes, &[xs.handle().to_string()]);
    let mut set = |scope: &str| {
        child.tell(scope);
        child.hear("now ")
    };
    assert_eq!(
        [set("local"), set("remote"), set("store")],
        ["store: refused", "store: refused", "store: set"]
    );
    assert_eq!(
        xs.scope(),
        Scope::Local,
        "what another process sets is its own hold"
    );
    xs.set_scope(Scope::Store).unwrap();
    assert_eq!(set("local"), "local: set");
    assert!(matches!(
        xs.set_scope(Scope::Local),
        Err(Error::NotOwner { .. })
    ));
    assert!(matches!(
        xs.set_scope(Scope::Remote),
        Err(Error::NotOwner { .. })
    ));
    xs.set_scope(Scope::Store).unwrap();
    assert_eq!(set("store"), "store: set");
    xs.set_scope(Scope::Local).unwrap();
    assert_eq!(set("local"), "store: refused");
    xs.set_scope(Scope::Remote).unwrap();
    assert_eq!(set("local"), "local: set");
    assert!(xs.path().exists());
    child.finish();
    assert!(!xs.path().exists(), "the child owned it at its end");
}

#[test]
#[ignore = "runs in a child"]
fn child_sets_scopes() {
    let xs: SharedArray1<f64> = common::arguments()[0]
        .parse::<Handle>()
        .unwrap()
        .open()
        .unwrap();
    for line in std::io::stdin().lines() {
        let scope = serde_json::from_value(line.unwrap().into()).unwrap();
        let outcome = match xs.set_scope(scope) {
            Ok(()) => "set",
            Err(Error::NotOwner { path, .. }) if path == xs.path() => "refused",
            Err(error) => panic!("{error}"),
        };
        println!("now {}: {outcome}", xs.scope());
    }
    drop(xs);
    common::done();
}

#[test]
fn a_scope_is_set_for_all_arrays_and_views_of_a_process() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.ones::<f64, _>((2, 3)).unwrap();
    let (path, view, again) = (
        xs.path().to_path_buf(),
        xs.t().unwrap(),
        xs.handle().open::<f64, Ix2>().unwrap(),
    );
    view.set_scope(Scope::Store).unwrap();
    assert_eq!((xs.scope(), again.scope()), (Scope::Store, Scope::Store));
    drop((xs, view));
    assert!(path.exists());
    drop(again);
    assert!(path.exists());
    let xs = SharedArray2::<f64>::open_path(&path).unwrap();
    let view = xs.index_axis(Axis(0), 1).unwrap();
    xs.set_scope(Scope::Local).unwrap();
    drop(xs);
    assert!(path.exists() && view.scope() == Scope::Local);
    drop(view);
    assert!(!crate::common::words::has_array(&path));
}

//! The lanes that killed writers leave in the lock file of their store.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges are what is compared"
)]

use crate::common::{self, Peer, Root, words};
use ndarray::s;
use ndshm::{Error, Handle, Manager, Scope, SharedArray1};
use rustix::process::{Signal, getpid, kill_process};
use std::{os::unix::process::ExitStatusExt, path::Path};

/// Where the lanes begin in a lock file, and their length.
const LANES_AT: usize = 128;
const LANE: usize = 64;
/// The modes of a free lane, and of one that a thread has and no guard is in, or one that rests.
const IDLE: [u8; 5] = [0, 8, 9, 10, 13];

const NONE: [u8; 0] = [];

/// The modes of the lanes that a guard, a wait or poison is in.
fn modes(store: &Path) -> Vec<u8> {
    let bytes = std::fs::read(store.join(".lock")).unwrap();
    let modes = bytes[LANES_AT..].chunks(LANE).map(|lane| lane[0] & 0xf);
    modes.filter(|mode| !IDLE.contains(mode)).collect()
}

/// Runs a child that takes a write guard on two elements of an array and is killed.
fn kill_a_writer(array: &Handle, at: usize) {
    let child = common::start(child_dies_writing, &[array.to_string(), at.to_string()]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(9), "{output:?}");
}

#[test]
#[ignore = "runs in a child"]
fn child_dies_writing() {
    let arguments = common::arguments();
    let at: usize = arguments[1].parse().unwrap();
    let xs: SharedArray1<f64> = arguments[0].parse::<Handle>().unwrap().open().unwrap();
    let _guard = xs.slice(s![at..at + 2]).unwrap().write().unwrap();
    kill_process(getpid(), Signal::KILL).unwrap();
}

// The sweep listed the arrays at the path of the store, where nothing was any more: so all poison
// was that of arrays that are gone.
#[test]
fn a_sweep_of_a_store_that_a_user_renamed_keeps_the_poison_of_its_arrays() {
    let root = Root::new();
    let (place, moved) = (root.path().join("run"), root.path().join("moved"));
    let manager = Manager::create(&place).unwrap();
    let xs = manager.options().name("xs").zeros::<f64, _>(10).unwrap();
    kill_a_writer(&xs.handle(), 4);
    // The lane becomes a record of poison.
    assert_eq!(xs.poisoned().unwrap(), [32..48]);
    assert_eq!(modes(&place), [4]);
    drop(xs);
    for has_other_at_path in [false, true] {
        std::fs::rename(&place, &moved).unwrap();
        let other = has_other_at_path.then(|| Manager::create(&place).unwrap());
        // No member has this id; a sweep of the other store may delete its file.
        let draft = place.join(words::draft(1000) + "x");
        other
            .iter()
            .for_each(|_| std::fs::write(&draft, "x").unwrap());
        let swept = manager.sweep().unwrap();
        assert_eq!((swept.arrays, swept.half_made), (0, 0), "{swept:?}");
        assert_eq!(draft.exists(), has_other_at_path);
        other.inspect(|other| other.close().unwrap());
        std::fs::rename(&moved, &place).unwrap();
    }
    let xs: SharedArray1<f64> = manager.array("xs").unwrap();
    assert!(matches!(xs.read(), Err(Error::Poisoned { .. })));
    assert_eq!(xs.poisoned().unwrap(), [32..48]);
    drop(xs);
    manager.close().unwrap();
}

// Each of them kept a lane for ever, while the store had two members or more.
#[test]
fn killed_writers_of_arrays_that_are_deleted_keep_no_lanes() {
    let root = Root::new();
    let manager = root.manager();
    let store = manager.path();
    let start = || {
        let mut member = Peer::start(child_is_a_member, &[store.display().to_string()]);
        member.hear("joined");
        member
    };
    let (mut owner, member) = (start(), start());
    // Its owner dies, and a sweep deletes it.
    owner.tell("make");
    let handle: Handle = owner.hear("made ").parse().unwrap();
    kill_a_writer(&handle, 0);
    kill_a_writer(&handle, 4);
    owner.kill();
    assert_eq!(modes(store).len(), 2, "{:?}", modes(store));
    assert_eq!(manager.sweep().unwrap().arrays, 1);
    assert_eq!(modes(store), NONE);
    // Its owner releases it.
    let xs = manager.zeros::<f64, _>(10).unwrap();
    kill_a_writer(&xs.handle(), 0);
    kill_a_writer(&xs.handle(), 4);
    xs.release().unwrap();
    assert_eq!(modes(store), NONE);
    // The writers are killed when it was released already.
    let xs = manager.zeros::<f64, _>(10).unwrap();
    let mut writer = start();
    writer.tell(&xs.handle().to_string());
    writer.hear("writing");
    xs.release().unwrap();
    writer.kill();
    assert_eq!(modes(store).len(), 1, "{:?}", modes(store));
    drop(xs);
    assert_eq!(modes(store), NONE);
    member.finish();
}

#[test]
#[ignore = "runs in a child"]
fn child_is_a_member() {
    let manager = Manager::open(&common::arguments()[0]).unwrap();
    println!("joined");
    let mut made = Vec::new();
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "make" => {
                let xs = manager.options().scope(Scope::Local).zeros::<f64, _>(10);
                made.push(xs.unwrap());
                println!("made {}", made[made.len() - 1].handle());
            }
            handle => {
                let xs: SharedArray1<f64> = handle.parse::<Handle>().unwrap().open().unwrap();
                std::mem::forget(xs.write().unwrap());
                println!("writing");
            }
        }
    }
    common::done();
}

//! `guard`.

use crate::{
    common,
    fixture::{Fixture, leave_a_dead_store},
};
use ndshm::Manager;
use std::process::{Command, Stdio};

#[test]
fn an_ephemeral_store_is_deleted_with_the_last_of_its_processes() {
    let fixture = Fixture::new();
    let mut peer = common::Peer::start(
        crate::fixture::child_with_a_store,
        &[fixture.root.path().to_str().unwrap()],
    );
    peer.hear("ready");
    let store = fixture.root.path().join("dead");
    let mut guard = Command::new(snapbox::cmd::cargo_bin!("ndshm"));
    guard
        .env("NDSHM_ROOT", fixture.root.path())
        .env_remove("NDSHM_STORE")
        .args(["guard", "dead"])
        .stdout(Stdio::piped());
    let mut guard = guard.spawn().unwrap();
    // While a member lives, the guard waits and the store exists.
    assert!(guard.try_wait().unwrap().is_none() && store.exists());
    peer.kill();
    let output = guard.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{}: deleted with 1 array\n", store.display())
    );
    assert!(!store.exists());
}

#[test]
fn a_store_that_is_dead_is_deleted_at_once_and_a_persistent_one_is_refused_at_once() {
    let fixture = Fixture::new();
    leave_a_dead_store(&fixture);
    let json = fixture.json("guard dead");
    assert_eq!(
        (&json["deleted"], &json["arrays"]),
        (&true.into(), &1.into()),
        "{json}"
    );
    assert!(!fixture.root.path().join("dead").exists());
    let kept = Manager::builder()
        .root(fixture.root.path())
        .name("kept")
        .persistent()
        .create()
        .unwrap();
    let (line, code) = fixture.failure("guard kept");
    assert!(
        code == 4 && line.contains("the store is persistent") && line.contains("--whole-store"),
        "{line}"
    );
    drop(kept);
    assert!(fixture.root.path().join("kept").exists());
}

#[test]
fn a_missing_store_is_reported() {
    let fixture = Fixture::new();
    assert_eq!(fixture.failure("guard nowhere").1, 3);
    fixture.ndshm("guard").code(2);
    drop(
        Manager::builder()
            .root(fixture.root.path())
            .name("gone")
            .create()
            .unwrap(),
    );
    assert_eq!(fixture.failure("guard gone").1, 3);
}

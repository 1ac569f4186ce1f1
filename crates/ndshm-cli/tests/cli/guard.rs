//! `guard`.

use crate::{
    common,
    stage::{Stage, a_dead_store},
};
use ndshm::Manager;
use std::process::{Command, Stdio};

#[test]
fn an_ephemeral_store_is_deleted_with_the_last_of_its_processes() {
    let stage = Stage::new();
    let mut peer = common::Peer::start(
        crate::stage::owns_a_store,
        &[stage.root.path().to_str().unwrap()],
    );
    peer.hear("ready");
    let store = stage.root.path().join("dead");
    let mut guard = Command::new(snapbox::cmd::cargo_bin!("ndshm"));
    guard
        .env("NDSHM_ROOT", stage.root.path())
        .env_remove("NDSHM_STORE")
        .args(["guard", "dead"])
        .stdout(Stdio::piped());
    let mut guard = guard.spawn().unwrap();
    // It has not ended, and nothing was deleted, while there is a process.
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
    let stage = Stage::new();
    a_dead_store(&stage);
    let json = stage.json("guard dead");
    assert_eq!(
        (&json["deleted"], &json["arrays"]),
        (&true.into(), &1.into()),
        "{json}"
    );
    assert!(!stage.root.path().join("dead").exists());
    let kept = Manager::builder()
        .root(stage.root.path())
        .name("kept")
        .persistent()
        .create()
        .unwrap();
    let (line, code) = stage.failure("guard kept");
    assert!(
        code == 4 && line.contains("it is persistent") && line.contains("--whole-store"),
        "{line}"
    );
    drop(kept);
    assert!(stage.root.path().join("kept").exists());
}

#[test]
fn what_is_no_store_is_told_so() {
    let stage = Stage::new();
    assert_eq!(stage.failure("guard nowhere").1, 3);
    stage.ndshm("guard").code(2);
    drop(
        Manager::builder()
            .root(stage.root.path())
            .name("gone")
            .create()
            .unwrap(),
    );
    assert_eq!(stage.failure("guard gone").1, 3);
}

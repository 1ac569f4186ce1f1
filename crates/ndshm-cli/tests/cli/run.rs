//! `run`.

use crate::fixture::{Fixture, tool, words};
use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// `ndshm run` with a shell whose script prints the path of its store as the first line.
fn start(fixture: &Fixture, script: &str) -> (Child, PathBuf) {
    let mut command = Command::new(snapbox::cmd::cargo_bin!("ndshm"));
    command
        .env("NDSHM_ROOT", fixture.root.path())
        .env_remove("NDSHM_STORE")
        .args(["run", "--", "sh", "-c"])
        .arg(script);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, PathBuf::from(line.trim()))
}

#[track_caller]
fn wait_until_gone(store: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.exists() {
        assert!(
            Instant::now() < deadline,
            "{} still exists",
            store.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_command_has_a_store_of_its_own_that_ends_with_it() {
    let fixture = Fixture::new();
    let script = format!(
        "run --name mine -- sh -c '{} new xs f64 3 >&2 && {} show -q xs; echo $NDSHM_STORE'",
        bin(),
        bin()
    );
    let output = fixture.output(&script);
    let store = fixture.root.path().join("mine");
    assert!(
        output.starts_with("xs  <f8 (3,)") && output.ends_with(&format!("{}\n", store.display())),
        "{output}"
    );
    assert!(!store.exists());
}

fn bin() -> String {
    snapbox::cmd::cargo_bin!("ndshm").display().to_string()
}

#[test]
fn the_exit_code_is_that_of_the_command_or_a_shells_for_a_missing_one() {
    let fixture = Fixture::new();
    for (command, code) in [
        ("true", 0),
        ("sh -c 'exit 77'", 77),
        ("sh -c 'kill -KILL $$'", 137),
        ("/nowhere/nothing", 127),
        ("/dev/null", 126),
    ] {
        tool(fixture.root.path())
            .arg("run")
            .arg("--")
            .args(words(command))
            .assert()
            .code(code);
    }
    assert!(
        fixture
            .failure("run -- /nowhere/nothing")
            .0
            .contains("/nowhere/nothing: ")
    );
    fixture.ndshm("run").code(2);
    assert_eq!(fixture.failure("run --name run -- true").1, 4);
    let left: Vec<_> = std::fs::read_dir(fixture.root.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["run"]);
}

#[test]
fn signals_reach_the_command_and_the_store_is_deleted() {
    let fixture = Fixture::new();
    let (mut child, store) = start(
        &fixture,
        "trap 'exit 5' TERM; echo $NDSHM_STORE; for i in $(seq 1000); do sleep 0.02; done",
    );
    assert!(store.exists());
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert!(!store.exists());
}

#[test]
fn a_store_is_gone_soon_after_its_run_is_killed() {
    let fixture = Fixture::new();
    let (mut child, store) = start(&fixture, "echo $NDSHM_STORE; read line");
    assert!(store.exists());
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    wait_until_gone(&store);
}

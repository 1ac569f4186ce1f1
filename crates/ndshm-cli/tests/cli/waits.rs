//! `--wait`: the limit of every wait.

use crate::{common, fixture::Fixture};
use std::fs::File;

#[test]
fn a_time_that_is_none_is_refused_and_one_without_an_end_is_no_limit() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[3]);
    for (time, words) in [
        ("nan", "a number of seconds is needed"),
        ("-nan", "a number of seconds is needed"),
        ("soon", "a number of seconds is needed"),
        ("-1", "a time cannot be negative"),
        ("-inf", "a time cannot be negative"),
    ] {
        for command in [
            format!("--wait={time} ls"),
            format!("top --interval={time}"),
        ] {
            let assert = fixture.ndshm(&command).code(2);
            let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
            assert!(error.contains(words), "{command}: {error}");
        }
    }
    for time in ["inf", "1e300", "1e18", "0", "-0", "1e-300"] {
        fixture.ndshm(&format!("--wait={time} show xs")).success();
    }
}

// `--wait` limited the waits for guards only: a lock of a store that a stopped process holds hung
// the tool, and `guard` had no limit at all.
#[test]
fn a_limit_ends_the_waits_for_locks_too() {
    let fixture = Fixture::new();
    let root = File::open(fixture.root.path()).unwrap();
    root.lock().unwrap();
    let (line, code) = fixture.failure("--wait=0.1 new other/xs f8 3 --create-store");
    assert!(
        code == 6 && line.contains("the flock of this directory"),
        "{line}"
    );
    let (line, code) = fixture.failure("--wait=0.1 run -- true");
    assert!(
        code == 6 && line.contains("the flock of this directory"),
        "{line}"
    );
    drop(root);

    let mut peer = common::Peer::start(
        crate::fixture::child_with_a_store,
        &[fixture.root.path().to_str().unwrap()],
    );
    peer.hear("ready");
    let (line, code) = fixture.failure("--wait=0.1 guard dead");
    assert!(code == 6 && line.contains("members of the store"), "{line}");
    peer.kill();
    fixture.ndshm("--wait=60 guard dead").success();
}

// The kernel ended a tool that wrote a file beyond the limit on files, without a word.
#[test]
fn a_file_beyond_the_limit_on_files_is_an_error() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[100, 100]);
    let tool = snapbox::cmd::cargo_bin!("ndshm").display().to_string();
    let scratch = tempfile::tempdir().unwrap();
    for command in [
        format!("{tool} export xs -o out.npy"),
        format!("{tool} plot xs -o out.png"),
        format!("{tool} man > out.1"),
    ] {
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("ulimit -f 4; {command}")])
            .env("NDSHM_ROOT", fixture.root.path())
            .env_remove("NDSHM_STORE")
            .current_dir(scratch.path())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(1) && error.contains("ulimit -f"),
            "{command}: {error}"
        );
    }
}

//! A janitor without the tool, and the other users of its wait. The tool's crate tests the tool as
//! the janitor.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::common::{self, Root};
use ndshm::{Error, Manager};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// This test binary as a janitor's program: the script passes the arguments of the janitor on.
fn own_program(directory: &Path) -> PathBuf {
    let program = directory.join("own-janitor");
    let script = format!(
        "#!/bin/sh\nSTAGE=\"$2\" STORE=\"$3\" exec {} {} --exact --ignored --nocapture \
         --test-threads=1\n",
        std::env::current_exe().unwrap().display(),
        common::test_name(child_as_janitor)
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    program
}

#[test]
#[ignore = "started by others"]
fn child_as_janitor() {
    let (stage, store) = (
        std::env::var("STAGE").unwrap(),
        std::env::var("STORE").unwrap(),
    );
    let stage = stage.strip_prefix("--janitor=").unwrap();
    Manager::serve_as_janitor(stage, store).unwrap();
}

#[test]
fn a_program_can_be_its_own_janitor() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let program = own_program(scratch.path());
    let mut owner = common::Peer::start(child_with_its_own_janitor, &[root.path(), &program]);
    let store = owner.hear("in ");
    assert!(Path::new(&store).exists());
    owner.kill();
    let deadline = Instant::now() + Duration::from_secs(10);
    // The store loses its name first, then its files.
    while !root.contents().is_empty() {
        assert!(
            Instant::now() < deadline,
            "the janitor left {:?}",
            root.contents()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
#[ignore = "started by others"]
fn child_with_its_own_janitor() {
    let arguments = common::arguments();
    let manager = Manager::builder()
        .root(&arguments[0])
        .janitor(true)
        .janitor_program(&arguments[1])
        .create()
        .unwrap();
    println!("in {}", manager.path().display());
    std::io::stdin().read_line(&mut String::new()).unwrap();
    common::done();
}

#[test]
fn a_janitor_has_two_stages() {
    let root = Root::new();
    let refused = Manager::serve_as_janitor("watch", root.path()).unwrap_err();
    assert!(refused.to_string().contains("detach and wait"), "{refused}");
}

#[test]
fn a_named_program_must_be_one() {
    let root = Root::new();
    for program in ["ndshm", "/nowhere/ndshm", "/etc/passwd", "/"] {
        let builder = Manager::builder()
            .root(root.path())
            .janitor_program(program);
        let refused = builder.clone().janitor(true).create().unwrap_err();
        assert!(
            matches!(refused, Error::NotFound { .. }),
            "{program}: {refused}"
        );
        assert_eq!(root.contents(), [] as [PathBuf; 0]);
        // Only a janitor needs the program.
        builder.create().unwrap().close().unwrap();
    }
}

#[test]
fn without_a_program_no_store_is_made() {
    let root = Root::new();
    let run = |program: &str| {
        let output = common::child_command(child_without_a_program, &[root.path()])
            .env("NDSHM_JANITOR", program)
            .env("PATH", "/nowhere")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && text.contains(common::MARKER),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        text
    };
    assert!(run("/nowhere/ndshm").contains("NotFound"));
    assert!(run("/bin/true").contains("Io: /bin/true: start the janitor: it ended without a word"));
    assert!(run("/bin/ls").contains("Io: /bin/ls: start the janitor: "));
}

#[test]
#[ignore = "started by others"]
fn child_without_a_program() {
    let arguments = common::arguments();
    println!(
        "{:?}",
        Manager::builder()
            .root(&arguments[0])
            .janitor(true)
            .create()
            .unwrap_err()
    );
    // A persistent store needs none.
    Manager::builder()
        .root(&arguments[0])
        .persistent()
        .janitor(true)
        .create()
        .unwrap()
        .close()
        .unwrap();
    common::done();
}

#[test]
fn a_member_does_not_wait_for_its_own_end() {
    let root = Root::new();
    let manager = root.manager();
    assert!(matches!(
        Manager::sweep_when_deserted(manager.path()),
        Err(Error::Io { .. })
    ));
    assert!(matches!(
        Manager::sweep_when_deserted(root.path()),
        Err(Error::NotFound { .. })
    ));
    let path = manager.persist().unwrap();
    drop(manager);
    assert_eq!(Manager::sweep_when_deserted(&path).unwrap().stores, 0);
    Manager::open(&path).unwrap().close().unwrap();
}

#[test]
fn the_environment_names_a_store() {
    let root = Root::new();
    let manager = root.manager();
    let run = |value: Option<&Path>| {
        let mut command = common::child_command::<&str>(child_of_an_environment, &[]);
        command.env_remove("NDSHM_STORE");
        value.map(|value| command.env("NDSHM_STORE", value));
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    };
    assert!(run(Some(manager.path())).contains(&format!("joined {}", manager.path().display())));
    assert!(run(None).contains("NDSHM_STORE: not found: this environment variable is not set"));
    assert!(run(Some(Path::new(""))).contains("is not set"));
    assert!(run(Some(Path::new("a/b"))).contains("absolute"));
    assert!(
        run(Some(&root.path().join("none"))).contains("NDSHM_STORE names it, and no store is here")
    );
    assert!(run(Some(root.path())).contains("NDSHM_STORE names it, and no store is here"));
}

#[test]
#[ignore = "started by others"]
fn child_of_an_environment() {
    match Manager::from_env() {
        Ok(manager) => println!("joined {}", manager.path().display()),
        Err(error) => println!("{error}"),
    }
}

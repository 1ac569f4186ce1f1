//! Janitors without the tool, and what stands on the same wait.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::common::{self, Root};
use ndshm::{Error, Manager};
use std::{fs, path::Path};

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

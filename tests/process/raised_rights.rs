//! A program that runs with more rights than its caller (setuid) does not believe the environment,
//! which its caller chose.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Root};
use ndshm::{Error, Manager};
use std::{
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    process::{Command, Stdio},
};

/// A user that is not the one of the tests.
const CALLER: u32 = 65_534;

#[test]
fn a_setuid_program_believes_no_variable() {
    let test = "a_setuid_program_believes_no_variable";
    if !rustix::process::geteuid().is_root() {
        return common::skip(
            test,
            "only root can make a program that another user runs as root",
        );
    }
    // To start a program as another user takes a fork, after which this process would recycle no
    // file that it has open: tests beside this one look for that.
    let root = Root::new();
    let manager = root.manager();
    let printed = common::run(
        child_starts_a_setuid_program,
        &[root.path(), manager.path()],
    );
    if printed.contains("no raised rights") {
        common::skip(
            test,
            "programs in the directory for temporary files cannot be setuid",
        );
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_starts_a_setuid_program() {
    let arguments = common::arguments();
    let (root, store) = (&arguments[0], &arguments[1]);
    let directory = tempfile::tempdir().unwrap();
    let open = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(directory.path(), open(0o755)).unwrap();
    let child = common::child_command(child_asks_the_environment, &[root]);
    let program = directory.path().join("program");
    std::fs::copy(child.get_program(), &program).unwrap();
    chown(&program, Some(0), Some(0)).unwrap();
    std::fs::set_permissions(&program, open(0o4755)).unwrap();

    let mut command = Command::new(&program);
    command.args(child.get_args());
    command.envs(
        child
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    command
        .env("NDSHM_ROOT", root)
        .env("NDSHM_STORE", store)
        .current_dir("/")
        .uid(CALLER)
        .gid(CALLER)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    println!("{}", common::finish(command.spawn().unwrap()));
    common::done();
}

#[test]
#[ignore = "runs in a child"]
fn child_asks_the_environment() {
    if rustix::process::geteuid() == rustix::process::getuid() {
        println!("no raised rights");
        return common::done();
    }
    // The root is there to be believed: the one of the environment is not taken, whatever the other
    // one is.
    let named = std::path::PathBuf::from(std::env::var_os("NDSHM_ROOT").unwrap());
    let root = Manager::default_root();
    assert!(
        root.as_ref().is_ok_and(|root| *root != named) || root.is_err(),
        "{root:?}"
    );
    let from_env = Manager::from_env();
    assert!(
        matches!(from_env, Err(Error::NotFound { .. })),
        "{from_env:?}"
    );
    common::done();
}

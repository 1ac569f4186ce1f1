//! A program that runs with more rights than its caller (setuid, file capabilities) believes
//! nothing that its caller chose: no environment variable, and no program that the caller could
//! replace.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(unsafe_code, reason = "getauxval is a call of libc")]

use crate::common::{self, Root};
use ndshm::{Error, Manager};
use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A user that is not the one of the tests.
const CALLER: u32 = 65_534;

// A setuid program believed NDSHM_ROOT and NDSHM_STORE, and ran the program of NDSHM_JANITOR, or
// one called ndshm on the PATH, with its own rights.
#[test]
fn a_program_with_raised_rights_believes_nothing_of_its_caller() {
    let test = "a_program_with_raised_rights_believes_nothing_of_its_caller";
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
    for rights in ["setuid", "capability"] {
        let printed = common::run(
            child_starts_a_program_with_rights,
            &[root.path(), manager.path(), Path::new(rights)],
        );
        if printed.contains("no raised rights") {
            common::skip(
                &format!("{test}: {rights}"),
                "programs in the directory for temporary files cannot have them, or setcap is \
                 not installed",
            );
        }
    }
}

/// Writes a script that tells that it was run, with the rights of its caller or others.
fn write_evil(directory: &Path, name: &str, marker: &Path) -> PathBuf {
    let program = directory.join(name);
    let script = format!("#!/bin/sh\nid -u > {}\n", marker.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
#[ignore = "runs in a child"]
fn child_starts_a_program_with_rights() {
    let arguments = common::arguments();
    let (root, store, rights) = (&arguments[0], &arguments[1], arguments[2].as_str());
    // `own` belongs to root as programs do, `callers` to the caller, which linked the program into
    // it.
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
    let [own, callers, marks] = ["own", "callers", "marks"].map(|name| {
        let directory = scratch.path().join(name);
        fs::create_dir(&directory).unwrap();
        directory
    });
    fs::set_permissions(&marks, Permissions::from_mode(0o777)).unwrap();
    let child = common::child_command(child_asks_the_environment, &[root, &"own".to_owned()]);
    let program = own.join("program");
    fs::copy(child.get_program(), &program).unwrap();
    chown(&program, Some(0), Some(0)).unwrap();
    if rights == "setuid" {
        fs::set_permissions(&program, Permissions::from_mode(0o4755)).unwrap();
    } else {
        let mut setcap = Command::new("setcap");
        let status = setcap.arg("cap_net_raw+ep").arg(&program).status();
        if !status.is_ok_and(|status| status.success()) {
            println!("no raised rights");
            return common::done();
        }
    }
    fs::hard_link(&program, callers.join("program")).unwrap();
    let evil = write_evil(&callers, "ndshm", &marks.join("evil"));
    chown(&evil, Some(CALLER), Some(CALLER)).unwrap();
    chown(&callers, Some(CALLER), Some(CALLER)).unwrap();

    for (place, directory) in [("own", &own), ("callers", &callers)] {
        let child = common::child_command(child_asks_the_environment, &[root.as_str(), place]);
        let mut command = Command::new(directory.join("program"));
        command.args(child.get_args());
        command.envs(
            child
                .get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        );
        command
            .env("NDSHM_ROOT", root)
            .env("NDSHM_STORE", store)
            .env("NDSHM_JANITOR", &evil)
            .env("PATH", &callers)
            .current_dir("/")
            .uid(CALLER)
            .gid(CALLER)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        println!("{}", common::finish(command.spawn().unwrap()));
        assert!(!marks.join("evil").exists(), "the caller's program was run");
    }
    common::done();
}

/// Whether the kernel says that this program has raised rights.
fn has_raised_rights() -> bool {
    // SAFETY: getauxval only reads the auxiliary vector of this process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

#[test]
#[ignore = "runs in a child"]
fn child_asks_the_environment() {
    let arguments = common::arguments();
    let (own_root, place) = (&arguments[0], &arguments[1]);
    let is_setuid = rustix::process::geteuid() != rustix::process::getuid();
    if !is_setuid && !has_raised_rights() {
        println!("no raised rights");
        return common::done();
    }
    // The root is there to be believed: the one of the environment is not taken, whatever the other
    // one is.
    let named = PathBuf::from(std::env::var_os("NDSHM_ROOT").unwrap());
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
    let named = std::env::var_os("NDSHM_JANITOR").unwrap();
    let builder = || Manager::builder().root(own_root).janitor(true);
    let (found, given) = (
        builder().create(),
        builder().janitor_program(named).create(),
    );
    // In its own directory the program finds none; in the caller's it refuses the one beside it.
    let is_refused = match place.as_str() {
        "own" => matches!(found, Err(Error::NotFound { .. })),
        _ => matches!(found, Err(Error::Untrusted { .. })),
    };
    assert!(is_refused, "{place}: {found:?}");
    assert!(matches!(given, Err(Error::Untrusted { .. })), "{given:?}");
    common::done();
}

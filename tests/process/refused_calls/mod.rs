//! System calls that a signal interrupts, or that a sandbox or an older kernel refuses. strace
//! gives the answers of such kernels.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod every;

use crate::common::{self, Root};
use ndshm::{Error, Manager, Scope};
use std::process::{Command, Stdio};

fn has_strace() -> bool {
    let version = Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// Runs a child's test whose system calls are answered as strace's `inject=` says; does nothing
/// where strace is not installed.
fn run_with(injections: &[&str], test: &str, child: impl Fn() + Copy) {
    if !has_strace() {
        common::skip(test, "strace is not installed here");
        return;
    }
    for injection in injections {
        let root = Root::new();
        let child = common::child_command(child, &[root.path()]);
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null"]);
        // Calls that name one path only.
        let (injection, path) = injection.split_once(" of ").unwrap_or((injection, ""));
        if !path.is_empty() {
            strace.args(["-P", path]);
        }
        strace.arg("-e").arg(format!("inject={injection}"));
        strace.arg(child.get_program()).args(child.get_args());
        strace.envs(
            child
                .get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        );
        strace.stdout(Stdio::piped()).stderr(Stdio::piped());
        println!("{injection}");
        common::finish(strace.spawn().unwrap());
        // Where fcntl is refused, the half-built store cannot be listed to be deleted either.
        if !injection.starts_with("fcntl:error=E") || injection.contains("EINTR") {
            assert_eq!(
                root.contents(),
                Vec::<std::path::PathBuf>::new(),
                "{injection}"
            );
        }
    }
}

// fallocate under a timer gives EINTR on kernels before about 6.7, each time anew for a large
// range; a creation failed then.
#[test]
fn interrupted_calls_are_tried_again() {
    run_with(
        &[
            "fallocate:error=EINTR:when=1..3",
            "fallocate:error=EINTR:when=2+2",
            "flock:error=EINTR:when=1",
            "flock:error=EINTR:when=1+2",
            "fcntl:error=EINTR:when=3",
            "pwritev:error=EINTR:when=1",
        ],
        "interrupted_calls_are_tried_again",
        child_makes_opens_and_deletes,
    );
}

// A sandbox that refuses prlimit64 gave limits out of nothing, one that refuses getrandom a panic.
#[test]
fn what_a_sandbox_may_refuse_is_done_without() {
    run_with(
        &[
            "prlimit64:error=EPERM",
            "prlimit64:error=ENOSYS",
            "getrandom:error=EPERM",
            "getrandom:error=ENOSYS",
            "madvise:error=EINVAL",
            "madvise:error=EPERM",
            "renameat2:error=ENOSYS",
            "renameat2:error=EINVAL",
            // WSL 1, and a masked /proc.
            "openat:error=ENOENT of /proc/sys/kernel/random/boot_id",
            "openat:error=EACCES of /proc/sys/kernel/random/boot_id",
            "openat:error=ENOENT of /proc/meminfo",
            "openat:error=ENOENT of /proc/self/cgroup",
        ],
        "what_a_sandbox_may_refuse_is_done_without",
        child_makes_opens_and_deletes,
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_makes_opens_and_deletes() {
    let root = common::arguments().remove(0);
    let manager = Manager::builder().root(&root).create().unwrap();
    let large = manager.zeros::<f64, _>(1 << 20).unwrap();
    let named = manager.options().name("named").scope(Scope::Store);
    let named = named.from_ndarray(&ndarray::arr1(&[1.0, 2.0])).unwrap();
    drop(large.write().unwrap());
    let opened = named.handle().open::<f64, ndarray::Ix1>().unwrap();
    assert_eq!(opened.read().unwrap().sum(), 3.0);
    named.release().unwrap();
    let taken = manager.options().name("named").zeros::<u8, _>(5).unwrap();
    let again = manager.options().name("named").zeros::<u8, _>(5);
    assert!(
        matches!(again, Err(Error::AlreadyExists { .. })),
        "{again:?}"
    );
    drop((large, opened, taken));
    manager.sweep().unwrap();
    manager.close().unwrap();
    common::done();
}

// A policy that answers byte locks with EACCES was taken for another holder, of one id after the
// other: an endless loop at 46,000 calls a second.
#[test]
fn refused_byte_locks_are_an_error_at_once() {
    run_with(
        &["fcntl:error=EACCES:when=2+", "fcntl:error=EPERM:when=2+"],
        "refused_byte_locks_are_an_error_at_once",
        child_is_refused_byte_locks,
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_is_refused_byte_locks() {
    let root = common::arguments().remove(0);
    let refused = Manager::builder().root(&root).create();
    let Err(Error::Io { source, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
    common::done();
}

//! Helpers of all tests: a root for each test, and child processes.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file uses another part"
)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

pub mod bad;
mod peer;
pub mod words;

#[allow(unused_imports, reason = "not every test file has peers")]
pub use peer::Peer;

use ndshm::Manager;
use std::{
    any::type_name,
    ffi::OsStr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};
use tempfile::TempDir;

/// The variable that hands arguments to a child's test, separated by newlines.
const ARGUMENTS: &str = "NDSHM_TEST_ARGUMENTS";
/// Every child prints this last: a harness without a matching test exits with success too.
pub const MARKER: &str = "the child's test ran to its end";

/// Where roots are made; the process id and random letters follow.
const ROOTS: &str = "/dev/shm/ndshm-test-";

/// A root on tmpfs, deleted with its contents when the test ends, also when it fails. The next test
/// deletes the leftovers of an aborted one.
pub struct Root(TempDir);

impl Root {
    pub fn new() -> Self {
        let (parent, prefix) = ROOTS.rsplit_once('/').unwrap();
        for entry in std::fs::read_dir(parent).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            let process = name
                .strip_prefix(prefix)
                .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
            if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let permissions = std::fs::Permissions::from_mode(0o700);
        let prefix = format!("{prefix}{}-", std::process::id());
        Self(
            tempfile::Builder::new()
                .prefix(&prefix)
                .permissions(permissions)
                .tempdir_in(parent)
                .unwrap(),
        )
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// An ephemeral store in the root.
    pub fn manager(&self) -> Manager {
        Manager::builder().root(self.path()).create().unwrap()
    }

    /// The same, keeping no mapping and no file of arrays that are not used any more: for tests
    /// that change files between two openings.
    pub fn manager_that_forgets(&self) -> Manager {
        Manager::builder()
            .root(self.path())
            .cache(0)
            .recycle(0)
            .create()
            .unwrap()
    }

    /// All that is in the root, at any depth.
    pub fn contents(&self) -> Vec<PathBuf> {
        files_below(self.path())
    }
}

/// All files and directories below a directory.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        found.push(entry.path());
        found.extend(files_below(&entry.path()));
    }
    found
}

/// The name by which the test harness knows a test function: its path without the binary.
pub fn test_name<F: Fn()>(_: F) -> &'static str {
    let (_binary, name) = type_name::<F>().split_once("::").unwrap();
    name
}

/// A command that runs one ignored test of this test binary in a process of its own, by exec, with
/// these arguments.
pub fn child_command<A: AsRef<OsStr>>(test: impl Fn(), arguments: &[A]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let joined = arguments
        .iter()
        .map(|argument| argument.as_ref().to_os_string())
        .collect::<Vec<_>>()
        .join(OsStr::new("\n"));
    command
        .args([
            test_name(test),
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ARGUMENTS, joined);
    command
}

/// Starts such a process; its output is kept for [`finish`].
pub fn start<A: AsRef<OsStr>>(test: impl Fn(), arguments: &[A]) -> Child {
    child_command(test, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for a child, requires that its test ran and succeeded, and returns its output.
#[track_caller]
pub fn finish(child: Child) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&stdout).into_owned(),
        String::from_utf8_lossy(&stderr),
    );
    assert!(
        status.success() && stdout.contains(MARKER),
        "{status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
    );
    stdout
}

/// Starts a child and waits for it.
#[track_caller]
pub fn run<A: AsRef<OsStr>>(test: impl Fn(), arguments: &[A]) -> String {
    finish(start(test, arguments))
}

/// Runs a child's test with a tmpfs mounted at `mount`, of this size and with the options that
/// follow it, in a user and mount namespace of its own.
#[track_caller]
pub fn run_on_tmpfs(test: &str, child: impl Fn(), size: &str, mount: &Path) {
    let namespace = || {
        let mut command = Command::new("unshare");
        command.arg("-Urm");
        command
    };
    if !namespace()
        .arg("true")
        .status()
        .is_ok_and(|status| status.success())
    {
        return skip(test, "unshare -Urm is not allowed or not installed here");
    }
    let child = child_command(child, &[mount]);
    let mut command = namespace();
    command
        .args([
            "sh",
            "-c",
            "mount -t tmpfs -o mode=700,size=\"$1\" tmpfs \"$2\" && shift 2 && exec \"$@\"",
            "sh",
            size,
        ])
        .arg(mount);
    command
        .arg(child.get_program())
        .args(child.get_args())
        .envs(
            child
                .get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        );
    finish(
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
}

/// In a child's test: its arguments. Call [`done`] at the end.
pub fn arguments() -> Vec<String> {
    // The test harness leaves the line open on which it named the test.
    println!();
    std::env::var(ARGUMENTS)
        .expect("this test is started by another one")
        .split('\n')
        .map(str::to_owned)
        .collect()
}

/// In a child's test, as its last line.
pub fn done() {
    println!("\n{MARKER}");
}

/// Says that a test cannot run on this machine: `.ci/run` counts and names the skipped tests.
pub fn skip(test: &str, reason: &str) {
    use std::io::Write;
    eprintln!("skipped {test}: {reason}");
    if let Some(list) = std::env::var_os("NDSHM_SKIPPED") {
        let mut list = std::fs::File::options()
            .append(true)
            .create(true)
            .open(list)
            .unwrap();
        writeln!(list, "{test}: {reason}").unwrap();
    }
}

/// Bytes of a page of this machine. So many also precede the payload of an array, because its
/// header is short.
pub fn page() -> usize {
    rustix::param::page_size()
}

/// The result of an attempt in another thread.
pub fn elsewhere<R: Send>(attempt: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| scope.spawn(attempt).join().unwrap())
}

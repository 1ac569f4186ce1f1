//! The fixture of the tests: a root with a store, and the tool run in it.

use crate::common::{self, Root};
use ndarray::IxDyn;
use ndshm::{AnyArray, Manager};
use rustix::process::{Pid, Signal, kill_process};
use snapbox::cmd::{Command, OutputAssert};
use std::{
    fs::Permissions,
    io::{BufRead, BufReader, Lines, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, ChildStdout, Stdio},
    time::{Duration, Instant},
};

pub(crate) struct Fixture {
    pub(crate) root: Root,
    /// A persistent store with the name `run`.
    pub(crate) run: Manager,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let root = Root::new();
        let run = Manager::builder()
            .root(root.path())
            .name("run")
            .persistent()
            .create()
            .unwrap();
        Self { root, run }
    }

    /// The tool with these arguments; single quotes work as in a shell.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        tool(self.root.path()).args(words(arguments))
    }

    /// Starts the tool with these arguments.
    pub(crate) fn start(&self, arguments: &str) -> Running {
        let mut child = std::process::Command::new(snapbox::cmd::cargo_bin!("ndshm"))
            .args(words(arguments))
            .env("NDSHM_ROOT", self.root.path())
            .env_remove("NDSHM_STORE")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let lines = Some(lines);
        Running { child, lines }
    }

    pub(crate) fn ndshm(&self, arguments: &str) -> OutputAssert {
        self.command(arguments).assert()
    }

    /// The output of the tool, which must succeed.
    #[track_caller]
    pub(crate) fn output(&self, arguments: &str) -> String {
        String::from_utf8(self.ndshm(arguments).success().get_output().stdout.clone()).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &str) -> serde_json::Value {
        serde_json::from_str(&self.output(&format!("--json {arguments}"))).unwrap()
    }

    /// The error line of a failure, and its exit code.
    #[track_caller]
    pub(crate) fn failure(&self, arguments: &str) -> (String, i32) {
        let assert = self.ndshm(arguments).failure();
        let output = assert.get_output();
        let line = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        (line, output.status.code().unwrap())
    }

    /// A new array of 0., 1., 2., ...
    pub(crate) fn arange(&self, name: &str, shape: &[usize]) -> AnyArray {
        let mut next = 0.0;
        let count = |_| {
            next += 1.0;
            next - 1.0
        };
        self.run
            .options()
            .name(name)
            .from_shape_fn::<f64, _>(IxDyn(shape), count)
            .unwrap()
            .into_any()
            .unwrap()
    }
}

/// A run of the tool whose output is read while it runs. It is killed at the end of the test.
pub(crate) struct Running {
    child: Child,
    /// `None` once it is closed.
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Running {
    /// The next line of the output; `None` at its end.
    #[track_caller]
    pub(crate) fn line(&mut self) -> Option<String> {
        self.lines.as_mut().unwrap().next().map(Result::unwrap)
    }

    /// Closes this end of the pipe.
    pub(crate) fn close(&mut self) {
        self.lines = None;
    }

    #[track_caller]
    pub(crate) fn json(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.line().expect("the output has ended")).unwrap()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for the end. The rest of the output, what was written beside it, and the exit code.
    #[track_caller]
    pub(crate) fn end(mut self) -> (String, String, Option<i32>) {
        let lines = self.lines.iter_mut().flatten();
        let rest: Vec<_> = lines.map(Result::unwrap).collect();
        let mut errors = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        (rest.join("\n"), errors, self.child.wait().unwrap().code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The tool in a root, without the variables of the tests' own environment.
pub(crate) fn tool(root: &Path) -> Command {
    Command::new(snapbox::cmd::cargo_bin!("ndshm"))
        .env("NDSHM_ROOT", root)
        .env_remove("NDSHM_STORE")
        .env_remove("NO_COLOR")
}

/// Looks until something is as wanted.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "never seen: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Splits a text into words; single quotes enclose words with spaces.
pub(crate) fn words(text: &str) -> Vec<String> {
    let parts = text.split('\'').enumerate();
    let words = parts.flat_map(|(at, part)| {
        if at % 2 == 1 {
            vec![part.to_owned()]
        } else {
            part.split_whitespace().map(str::to_owned).collect()
        }
    });
    words.collect()
}

/// Starts a process that makes an ephemeral store `dead` with the local array `left`, and kills it.
pub(crate) fn leave_a_dead_store(fixture: &Fixture) {
    let mut peer = common::Peer::start(
        crate::fixture::child_with_a_store,
        &[fixture.root.path().to_str().unwrap()],
    );
    peer.hear("ready");
    peer.kill();
}

#[test]
#[ignore = "started by another test"]
pub(crate) fn child_with_a_store() {
    let root = common::arguments().remove(0);
    std::fs::set_permissions(&root, Permissions::from_mode(0o700)).unwrap();
    let manager = Manager::builder().root(root).name("dead").create().unwrap();
    let _left = manager
        .options()
        .name("left")
        .scope(ndshm::Scope::Local)
        .zeros::<f64, _>(1000)
        .unwrap();
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    common::done();
}

/// Starts a process that holds a write guard on the elements 2 and 3 of `run/xs` until it is killed
/// or gets a line.
pub(crate) fn start_a_writer(fixture: &Fixture) -> common::Peer {
    let path = fixture.run.path().join("xs.ndshm");
    let mut peer = common::Peer::start(
        crate::fixture::child_with_a_guard,
        &[path.to_str().unwrap()],
    );
    peer.hear("ready");
    peer
}

#[test]
#[ignore = "started by another test"]
pub(crate) fn child_with_a_guard() {
    let xs = ndshm::SharedArray1::<f64>::open_path(common::arguments().remove(0)).unwrap();
    let part = xs.slice(ndarray::s![2..4]).unwrap();
    let guard = part.write().unwrap();
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    drop(guard);
    common::done();
}

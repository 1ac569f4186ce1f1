//! A process of a test that is talked to, line by line.

use rustix::process::Pid;
use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Lines, Read, Write},
    process::{Child, ChildStdout, ExitStatus},
};

/// A child that takes lines and answers with lines; killed when it is dropped before
/// [`finish`](Peer::finish).
pub struct Peer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    pub fn start<A: AsRef<OsStr>>(test: impl Fn(), arguments: &[A]) -> Self {
        Self::of(super::start(test, arguments))
    }

    /// A child that was started otherwise, with pipes for all streams.
    pub fn of(mut child: Child) -> Self {
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The child's id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Gives the child a line to read.
    #[track_caller]
    pub fn tell(&mut self, line: &str) {
        if let Err(error) = writeln!(self.child.stdin.as_mut().unwrap(), "{line}") {
            panic!(
                "the child does not hear {line:?}: {error}\n--- stderr\n{}",
                self.errors()
            );
        }
    }

    /// Waits for a line that starts so, and returns the rest of it.
    #[track_caller]
    pub fn hear(&mut self, start: &str) -> String {
        match self
            .lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix(start).map(str::to_owned))
        {
            Some(rest) => rest,
            None => panic!(
                "the child never said {start:?}\n--- stderr\n{}",
                self.errors()
            ),
        }
    }

    /// Ends the child's input, waits, and requires that its test ran and succeeded.
    #[track_caller]
    pub fn finish(mut self) {
        drop(self.child.stdin.take());
        let ran = self
            .lines
            .by_ref()
            .map(Result::unwrap)
            .filter(|line| line == super::MARKER)
            .count();
        let status = self.child.wait().unwrap();
        assert!(
            status.success() && ran == 1,
            "{status}\n--- stderr\n{}",
            self.errors()
        );
    }

    /// Ends the child's input and waits. Returns what it printed: as an error, with its status,
    /// unless its test ran and succeeded.
    pub fn end(mut self) -> Result<String, String> {
        drop(self.child.stdin.take());
        let lines: Vec<_> = self.lines.by_ref().map(Result::unwrap).collect();
        let status = self.child.wait().unwrap();
        let (output, errors) = (lines.join("\n"), self.errors());
        match status.success() && lines.iter().any(|line| line == super::MARKER) {
            true => Ok(output),
            false => Err(format!("{status}\n{output}\n{errors}")),
        }
    }

    /// Kills the child as kill -9 does, and waits until it is gone.
    pub fn kill(&mut self) -> ExitStatus {
        self.child.kill().unwrap();
        // Not `Child::wait`, which would end the input: processes that the child forked may be
        // waiting for it.
        let input = self.child.stdin.take();
        let status = self.child.wait().unwrap();
        self.child.stdin = input;
        status
    }

    /// After [`kill`](Self::kill): ends the input, and waits until no process is left that could
    /// write a line.
    pub fn wait_for_descendants(mut self) -> Vec<String> {
        drop(self.child.stdin.take());
        self.lines.by_ref().map(Result::unwrap).collect()
    }

    fn errors(&mut self) -> String {
        let mut errors = String::new();
        let _ = self
            .child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors);
        errors
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

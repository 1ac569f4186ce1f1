//! A variant's producer process, from the driver's side.

use crate::{
    peer::{Place, Result},
    python::Python,
    variants::{Kind, Variant},
};
use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

/// The longest time of a job.
const PATIENCE: Duration = Duration::from_secs(240);
/// The longest time that a producer takes to end.
const FAREWELL: Duration = Duration::from_secs(20);

/// A running producer. A drop closes its input, so that it ends; if it does not end in time, it is
/// killed.
pub struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Worker {
    /// Starts the producer of a variant. Its standard error goes to a file in the place.
    pub fn start(variant: &Variant, place: &Place, python: &Python) -> Result<Self> {
        let mut command = match variant.kind {
            Kind::Python => python.command(),
            _ => Command::new(std::env::current_exe()?),
        };
        command
            .args(["producer", variant.name])
            .arg(&place.directory)
            .env("TMPDIR", &place.directory);
        Self::spawn(
            command,
            &place.directory.join(format!("{}.log", variant.name)),
        )
    }

    /// Starts a process that answers jobs. Its standard error goes to a file.
    pub fn spawn(mut command: Command, log: &Path) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().ok_or("the producer has no output")?);
        thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Ok(Self {
            input: child.stdin.take(),
            child,
            lines,
        })
    }

    /// Sends a job, and returns the lines of the answer.
    pub fn work(&mut self, job: &str) -> Result<Vec<String>> {
        self.send(job)?;
        self.answer()
    }

    /// Sends a job.
    pub fn send(&mut self, job: &str) -> Result<()> {
        let input = self.input.as_mut().ok_or("the producer has no input")?;
        Ok(writeln!(input, "{job}")?)
    }

    /// Waits for the lines of the answer.
    pub fn answer(&mut self) -> Result<Vec<String>> {
        let deadline = Instant::now() + PATIENCE;
        let mut answer = Vec::new();
        loop {
            let line = match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => line,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(format!("no answer in {} s", PATIENCE.as_secs()).into());
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(format!("the process ended: {:?}", self.child.wait()?).into());
                }
            };
            if line == "end" {
                return Ok(answer);
            }
            if let Some(reason) = line.strip_prefix("error ") {
                return Err(reason.into());
            }
            answer.push(line);
        }
    }
}

impl Worker {
    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the process after a last job.
    pub fn end(&mut self) -> Result<ExitStatus> {
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        Ok(self.child.wait()?)
    }

    /// Ends the jobs, without waiting for the end of the process.
    pub fn dismiss(&mut self) {
        self.input = None;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.dismiss();
        let deadline = Instant::now() + FAREWELL;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

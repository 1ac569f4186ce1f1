//! `--all-users`: a command over the default roots of all users, for root.
//!
//! The root of another user is hostile: its owner may replace directories by links and shorten
//! mapped files while root works there. So this process touches nothing in it. For each user it
//! starts this program once more, as a *worker*, which takes that user's rights and no others
//! before it looks at anything. A worker can do nothing that its user could not do. Its output is
//! data of that user: of limited length, within a limited time, and printed without control
//! characters.

use crate::{
    Outcome,
    context::Context,
    failure::{Code, Failure, printable},
};
use ndshm::{Observer, UserRoot};
use rustix::{
    process::{DumpableBehavior, Gid, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use serde_json::{Value, json};
use std::{
    ffi::OsString,
    io::{Read, Write},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

/// How long a worker may take beside the wait for locks.
const LONGEST: Duration = Duration::from_secs(60);
/// Bytes of a worker's output.
const LARGEST: u64 = 64 << 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// The group of a worker, `nogroup`: root's own would open files to it.
const GROUP: u32 = 65_534;

/// Makes this process, which root started as a worker, one of this user for ever.
pub(crate) fn take_rights_of(user: u32) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(
            Code::Refused,
            "only root takes the rights of another user",
        ));
    }
    let failed = |errno: rustix::io::Errno| {
        Failure::new(
            Code::Failed,
            format!("take the rights of user {user}: {errno}"),
        )
    };
    // Without a terminal: if the user gains control of this process, it must not type into root's.
    let _ = rustix::process::setsid();
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(GROUP));
    // The only thread so far, so these calls are for the whole process.
    set_thread_groups(&[]).map_err(failed)?;
    set_thread_res_gid(group, group, group).map_err(failed)?;
    set_thread_res_uid(user, user, user).map_err(failed)?;
    // The user must not trace it: its memory is a copy of root's.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed)
}

/// Runs a command of the tool for each user that has a default root, and prints the answers.
pub(crate) fn run_for_all(context: &Context, command: &[&str]) -> Outcome {
    let mut answers = Vec::new();
    let mut has_failed = false;
    for root in Observer::roots_of_users()? {
        let answer = Answer::of(context, root, command, context.is_json);
        has_failed |= answer.error.is_some();
        if !context.is_json {
            answer.print(context)?;
        }
        answers.push(answer);
    }
    if context.is_json {
        let users: Vec<_> = answers.iter().map(Answer::to_json).collect();
        context.print_json(&json!({ "users": users }))?;
    }
    Ok(ExitCode::from(u8::from(has_failed)))
}

/// The answers of a command of the tool, as JSON, with the user of each.
pub(crate) fn ask_all(context: &Context, command: &[&str]) -> Result<Vec<Answer>, Failure> {
    let ask = |root| Answer::of(context, root, command, true);
    Ok(Observer::roots_of_users()?.into_iter().map(ask).collect())
}

/// A worker's answer, or why there is none.
pub(crate) struct Answer {
    root: Option<UserRoot>,
    output: String,
    error: Option<String>,
}

impl Answer {
    fn of(
        context: &Context,
        root: ndshm::Result<UserRoot>,
        command: &[&str],
        is_json: bool,
    ) -> Self {
        match root {
            Ok(root) => {
                let answer = run_as(context, &root, command, is_json);
                Self::new(Some(root), answer)
            }
            Err(error) => Self::new(None, Err(error.into())),
        }
    }

    /// The number of the user whose root it is.
    pub(crate) fn user(&self) -> Option<u32> {
        self.root.as_ref().map(|root| root.user)
    }

    /// The output, if it is JSON.
    pub(crate) fn value(&self) -> Option<Value> {
        serde_json::from_str(&self.output).ok()
    }

    fn new(root: Option<UserRoot>, output: Result<Output, Failure>) -> Self {
        match output {
            Ok(Output { stdout, stderr }) => Self {
                root,
                output: stdout,
                error: Some(stderr).filter(|stderr| !stderr.is_empty()),
            },
            Err(failure) => Self {
                root,
                output: String::new(),
                error: Some(failure.to_string()),
            },
        }
    }

    fn print(&self, context: &Context) -> Result<(), Failure> {
        let mut out = context.out();
        if let Some(root) = &self.root {
            writeln!(out, "user {}: {}", root.user, root.path.display())?;
        }
        for line in self.output.lines() {
            writeln!(out, "  {}", printable(line))?;
        }
        out.flush()?;
        for line in self.error.iter().flat_map(|error| error.lines()) {
            let _ = writeln!(anstream::stderr(), "ndshm: {}", printable(line));
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        json!({
            "user": self.user(),
            "root": self.root.as_ref().map(|root| &root.path),
            "answer": self.value().unwrap_or(Value::Null),
            "error": self.error,
        })
    }
}

struct Output {
    stdout: String,
    stderr: String,
}

/// Runs a command in a worker with the rights of the owner of this root.
fn run_as(
    context: &Context,
    root: &UserRoot,
    command: &[&str],
    is_json: bool,
) -> Result<Output, Failure> {
    let mut arguments: Vec<OsString> = vec![
        format!("--as-user={}", root.user).into(),
        format!("--wait={}", context.patience.as_secs_f64()).into(),
        "--color=never".into(),
    ];
    if is_json {
        arguments.push("--json".into());
    }
    let mut worker = Command::new("/proc/self/exe")
        .args(arguments)
        .args(command)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (stdout, stderr) = (read(worker.stdout.take()), read(worker.stderr.take()));
    let deadline = Instant::now().checked_add(context.patience.saturating_add(LONGEST));
    let status = wait(&mut worker, deadline)?;
    let output = Output {
        stdout: received(&stdout),
        stderr: received(&stderr),
    };
    match status {
        // 1 with an output says that not everything could be done.
        Some(status) if status.success() || !output.stderr.is_empty() => Ok(output),
        Some(status) => Err(Failure::new(
            Code::Failed,
            format!("{}: the worker ended with {status}", root.path.display()),
        )),
        None => Err(Failure::new(
            Code::Failed,
            format!("{}: the worker did not end in time", root.path.display()),
        )),
    }
}

/// Waits for the end of a worker, and kills it at the deadline: then there is no status.
fn wait(worker: &mut Child, deadline: Option<Instant>) -> Result<Option<ExitStatus>, Failure> {
    loop {
        if let Some(status) = worker.try_wait()? {
            return Ok(Some(status));
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            worker.kill()?;
            worker.wait()?;
            return Ok(None);
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// Reads a pipe in a thread.
fn read(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(pipe) = pipe {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.take(LARGEST).read_to_end(&mut bytes);
            let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
        });
    }
    receiver
}

/// The text that an ended worker wrote to its pipe. Another process may keep the pipe open.
fn received(pipe: &Receiver<String>) -> String {
    pipe.recv_timeout(Duration::from_secs(10))
        .unwrap_or_default()
}

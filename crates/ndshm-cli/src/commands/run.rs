//! `run`: a command with a store of its own, which ends with the command.

use crate::{
    Outcome,
    context::Context,
    failure::{Code, Failure},
};
use ndshm::Manager;
use signal_hook::{
    consts::signal::*,
    iterator::{SignalsInfo, exfiltrator::WithOrigin},
    low_level::siginfo::{Cause, Sent},
};
use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitCode, ExitStatus},
};

/// The signals that this process forwards to the command. Stop and continue signals reach the
/// command through the process group, or concern this process alone.
const FORWARDED: [i32; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH];

/// Run a command with an ephemeral store in NDSHM_STORE, and delete the store when the command
/// ends, however it ends
///
/// The exit code is that of the command; 128 plus the signal's number if a signal ended it; 127 if
/// the command does not exist; 126 if it cannot be run.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm run -- ./workers.sh
  ndshm run --name train -- python3 train.py")]
pub(crate) struct Args {
    /// The name of the store's directory in the root
    #[arg(long)]
    name: Option<String>,
    /// The command and its arguments
    #[arg(
        trailing_var_arg = true,
        required = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    // Before the store exists: from here on no catchable signal ends this process before it deletes
    // the store. Its exec resets the handlers for the command.
    let mut signals = SignalsInfo::<WithOrigin>::new(FORWARDED)?;
    let builder = Manager::builder().lock_timeout(context.patience);
    let builder = args
        .name
        .iter()
        .fold(builder, |builder, name| builder.name(name));
    // After a SIGKILL of this process the janitor, which is this program, deletes the store when
    // the store's last process is gone.
    let manager = builder.janitor(true).create()?;
    let [program, arguments @ ..] = &args.command[..] else {
        return Err(Failure::usage("run needs a command: ndshm run -- COMMAND"));
    };
    let mut child = match Command::new(program)
        .args(arguments)
        .env("NDSHM_STORE", manager.path())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => {
            manager.close()?;
            Failure::new(Code::Failed, format!("{}: {error}", program.display())).report();
            return Ok(ExitCode::from(if error.kind() == io::ErrorKind::NotFound {
                127
            } else {
                126
            }));
        }
    };
    let (id, handle) = (rustix::process::Pid::from_child(&child), signals.handle());
    let forwarder = std::thread::spawn(move || {
        for origin in &mut signals {
            // Signals of the terminal reach the command directly.
            let is_from_process = matches!(
                origin.cause,
                Cause::Sent(Sent::User | Sent::TKill | Sent::Queue)
            );
            let signal = rustix::process::Signal::from_named_raw(origin.signal);
            if let (true, Some(signal)) = (is_from_process, signal) {
                let _ = rustix::process::kill_process(id, signal);
            }
        }
    });
    let status = wait(&mut child, || handle.close());
    let _ = forwarder.join();
    let closed = manager.close();
    let code = code_of(status?);
    closed.or_else(|error| {
        if matches!(error, ndshm::Error::Closed { .. }) {
            Ok(())
        } else {
            Err(error)
        }
    })?;
    Ok(ExitCode::from(code))
}

/// Waits for the command to end, and stops forwarding signals before the kernel can give its
/// process id to another process.
fn wait(child: &mut std::process::Child, stop: impl FnOnce()) -> io::Result<ExitStatus> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let id = rustix::process::Pid::from_child(child);
    while let Err(rustix::io::Errno::INTR) = waitid(
        WaitId::Pid(id),
        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
    ) {}
    stop();
    child.wait()
}

fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

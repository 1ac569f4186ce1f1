//! The error of a command: one line with the cause and the remedy, and an exit code for scripts.

use ndshm::{__private::words, Error};
use std::{fmt, io, io::Write, process::ExitCode};

/// The exit codes of the tool, as its help lists them; 2 is clap's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Refused = 4,
    Damaged = 5,
    Busy = 6,
}

/// An error of a command.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    message: String,
    /// The reader of the output has closed it: that is not reported.
    is_closed_pipe: bool,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            is_closed_pipe: false,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// Adds the way to look at an array that another process holds.
    pub(crate) fn or_look_unlocked(mut self) -> Self {
        if self.code == Code::Busy {
            self.message += "; --unlocked takes a snapshot of elements that may change";
        }
        self
    }

    /// Prints the line, and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let code = self.code as u8;
        self.report_as(code)
    }

    /// Prints the line, and returns this exit code, for a command with codes of its own.
    pub(crate) fn report_as(self, code: u8) -> ExitCode {
        if self.is_closed_pipe {
            return ExitCode::SUCCESS;
        }
        let red = anstyle::AnsiColor::Red.on_default().bold();
        let _ = writeln!(anstream::stderr(), "{red}ndshm:{red:#} {self}");
        ExitCode::from(code)
    }
}

impl fmt::Display for Failure {
    /// Writes one line, whatever the message contains: control characters of names never reach the
    /// terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.message))
    }
}

/// The same text with its control characters replaced.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            code: code_of(&error),
            message: message_of(&error),
            is_closed_pipe: matches!(
                &error,
                Error::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe
            ),
        }
    }
}

fn code_of(error: &Error) -> Code {
    match error {
        Error::NotFound { .. } | Error::Released { .. } | Error::Closed { .. } => Code::NotFound,
        Error::AlreadyExists { .. }
        | Error::NotOwner { .. }
        | Error::PathReused { .. }
        | Error::Frozen { .. }
        | Error::NotFrozen { .. }
        | Error::Abandoned { .. }
        | Error::ReadOnly { .. }
        | Error::Poisoned { .. }
        | Error::Untrusted { .. } => Code::Refused,
        Error::Header { .. } => Code::Damaged,
        Error::WouldBlock { .. }
        | Error::Timeout { .. }
        | Error::Interrupted { .. }
        | Error::WouldDeadlock { .. } => Code::Busy,
        Error::Handle { .. }
        | Error::Name { .. }
        | Error::Layout { .. }
        | Error::Dtype { .. }
        | Error::Kind { .. }
        | Error::Rank { .. } => Code::Usage,
        _ => Code::Failed,
    }
}

/// The message of an error. Where the library's names a function, the tool's names a command.
fn message_of(error: &Error) -> String {
    match error {
        Error::Poisoned {
            path,
            range,
            member,
            holders,
        } => format!(
            "{}: the bytes {}..{} may be half-written: {} died or panicked; set them anew with \
             ndshm recover",
            path.display(),
            range.start,
            range.end,
            words::writer(*member, holders)
        ),
        Error::Frozen { path } => {
            format!(
                "{}: the array is frozen for ever; copy it with ndshm cp to change the copy",
                path.display()
            )
        }
        Error::Released { path, .. } => {
            format!(
                "{}: the array was released, or its store was deleted; ndshm ls lists the arrays",
                path.display()
            )
        }
        Error::NotFound { path, what } => format!(
            "{}: not found: {}; ndshm ls lists the arrays",
            path.display(),
            // The rest names a function of the library.
            what.split(';').next().unwrap_or_default()
        ),
        Error::AlreadyExists { path, .. } => format!(
            "{}: already exists; choose another name, or delete it with ndshm rm",
            path.display()
        ),
        Error::Timeout {
            path,
            obstacle,
            waited,
            holders,
        } => format!(
            "{}: {obstacle} for all of {waited:?}{}; --wait waits longer, ndshm locks shows the \
             guards that processes hold",
            path.display(),
            words::named(holders)
        ),
        Error::WouldBlock {
            path,
            obstacle,
            holders,
        } => format!(
            "{}: {obstacle}{}; --wait waits for it",
            path.display(),
            words::named(holders)
        ),
        Error::Transfer { .. } => error
            .to_string()
            .replace("the setting skip_unsupported", "--skip-unsupported")
            .replace("the setting only", "--only"),
        Error::Closed { path } => format!(
            "{}: the store was closed; ndshm ls lists the stores",
            path.display()
        ),
        _ => error.to_string(),
    }
}

/// The words for an error of the operating system, with the remedy where it is known.
pub(crate) fn words_of(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::FileTooLarge => {
            format!("{error}: raise the limit on the size of files (ulimit -f)")
        }
        _ => error.to_string(),
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            code: Code::Failed,
            message: words_of(&error),
            is_closed_pipe: error.kind() == io::ErrorKind::BrokenPipe,
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        io::Error::from(error).into()
    }
}

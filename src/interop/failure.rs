//! Why a transfer failed, for code that does not know the file's path.

use crate::error::Error;
use std::{io, path::Path};

/// The path in the errors of a stream that the caller opened.
pub(super) const STREAM: &str = "stream";

#[derive(Debug)]
pub(super) enum Failure {
    /// The contents of the file are not as its format requires.
    Format(String),
    Io(io::Error),
    /// The error names its file already.
    Other(Error),
}

impl Failure {
    fn at(self, path: &Path, action: &'static str) -> Error {
        match self {
            Failure::Format(reason) => Error::transfer(path, reason),
            Failure::Io(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                Error::transfer(path, "it ends too early")
            }
            Failure::Io(source) => Error::io(path, action)(source),
            Failure::Other(error) => error,
        }
    }
}

/// Turns a failure into the error of a file that is read.
pub(super) fn reading(path: &Path) -> impl Fn(Failure) -> Error {
    |failure| failure.at(path, "read the file")
}

/// Turns a failure into the error of a file that is written.
pub(super) fn writing(path: &Path) -> impl Fn(Failure) -> Error {
    |failure| failure.at(path, "write the file")
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Failure::Format(reason)
    }
}

impl From<&str> for Failure {
    fn from(reason: &str) -> Self {
        Failure::Format(reason.into())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Other(error)
    }
}

//! The Python that runs the variants in Python.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// An interpreter and the script.
#[derive(Clone, Debug)]
pub struct Python {
    interpreter: PathBuf,
}

impl Python {
    /// With the interpreter of the virtual environment that `run` makes.
    pub fn new(interpreter: &Path) -> Self {
        Self {
            interpreter: interpreter.into(),
        }
    }

    /// The command that starts the script; the rest is its arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/peers.py"));
        command
    }

    /// The versions of what it imports, a line each.
    pub fn versions(&self) -> String {
        let output = self.command().arg("versions").output().ok();
        output
            .map(|output| {
                String::from_utf8_lossy(&output.stdout)
                    .trim()
                    .replace('\n', ", ")
            })
            .unwrap_or_default()
    }
}

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
        self.script(concat!(env!("CARGO_MANIFEST_DIR"), "/python/peers.py"))
    }

    /// The command that starts the script of streams.
    pub fn streams(&self) -> Command {
        self.script(concat!(env!("CARGO_MANIFEST_DIR"), "/python/streams.py"))
    }

    fn script(&self, path: &str) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.arg(path);
        command
    }

    /// The versions of what the script imports.
    pub fn versions(&self) -> String {
        versions(self.command())
    }

    /// The versions of what the script of streams imports.
    pub fn versions_of_streams(&self) -> String {
        versions(self.streams())
    }
}

/// The lines that a script prints, as one.
fn versions(mut command: Command) -> String {
    let output = command.arg("versions").output().ok();
    output
        .map(|output| {
            String::from_utf8_lossy(&output.stdout)
                .trim()
                .replace('\n', ", ")
        })
        .unwrap_or_default()
}

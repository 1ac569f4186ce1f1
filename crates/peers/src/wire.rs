//! Lines between processes: from a producer to its consumer and back.

use crate::peer::Result;
use std::{
    io::{BufRead, BufReader, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, Stdio},
};

/// One end of a socket that carries lines.
pub struct Wire {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    line: String,
}

impl Wire {
    fn new(stream: UnixStream) -> Result<Self> {
        Ok(Self {
            reader: BufReader::with_capacity(1 << 16, stream.try_clone()?),
            writer: stream,
            line: String::new(),
        })
    }

    /// The consumer's end: its standard input.
    pub fn of_consumer() -> Result<Self> {
        let socket: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned()?;
        Self::new(UnixStream::from(socket))
    }

    /// Starts this program again as a consumer, and returns the producer's end.
    pub fn to_consumer(arguments: &[&str]) -> Result<(Self, Child)> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(std::env::current_exe()?);
        let child = command
            .arg("consumer")
            .args(arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        Ok((Self::new(ours)?, child))
    }

    /// Sends a line, and appends the end of line.
    pub fn send(&mut self, mut line: String) -> Result<()> {
        line.push('\n');
        Ok(self.writer.write_all(line.as_bytes())?)
    }

    /// Waits for a line.
    pub fn receive(&mut self) -> Result<&str> {
        self.line.clear();
        if self.reader.read_line(&mut self.line)? == 0 {
            return Err("the other process ended".into());
        }
        Ok(self.line.trim_end())
    }

    /// Sends a line and waits for the answer, which must not be an error.
    pub fn ask(&mut self, line: String) -> Result<&str> {
        self.send(line)?;
        let answer = self.receive()?;
        match answer.strip_prefix("error ") {
            Some(reason) => Err(reason.into()),
            None => Ok(answer),
        }
    }
}
